"""The adversarial loss over all scales."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class GANLoss(nn.Module):
    """Least squares (Mao et al. 2017), or binary cross-entropy of answers that went through a sigmoid."""

    def __init__(self, use_lsgan: bool = True):
        super().__init__()
        self.criterion = F.mse_loss if use_lsgan else F.binary_cross_entropy

    def forward(self, answers: list[list[torch.Tensor]], real: bool) -> torch.Tensor:
        """answers: the discriminator's result. real: what it should have said. -> scalar, summed over scales."""
        total = 0.0
        for scale in answers:
            answer = scale[-1].float()
            total = total + self.criterion(answer, torch.full_like(answer, float(real)))
        return total
