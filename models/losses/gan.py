"""The adversarial loss over all scales."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class GANLoss(nn.Module):
    """Least squares (Mao et al. 2017), or binary cross-entropy of predictions after a sigmoid."""

    def __init__(self, use_lsgan: bool = True):
        super().__init__()
        self.criterion = F.mse_loss if use_lsgan else F.binary_cross_entropy

    def forward(self, outputs: list[list[torch.Tensor]], target_is_real: bool) -> torch.Tensor:
        """outputs: the discriminator's, whose last layer at each scale is the prediction. -> scalar, summed over scales."""
        total = 0.0
        for scale in outputs:
            prediction = scale[-1].float()
            total = total + self.criterion(prediction, torch.full_like(prediction, float(target_is_real)))
        return total
