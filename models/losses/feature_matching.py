"""Match the discriminator's features of the fake to those of the real picture."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class FeatureMatchingLoss(nn.Module):
    """L1 between the discriminator's intermediate features (Wang et al. 2018, equation 4), without the factor lambda_feat.

    Each layer is weighted by 4 / (n_layers + 1), each scale by 1 / num_D.
    """

    def __init__(self, n_layers: int, num_D: int):  # noqa: N803 - the flag's name
        super().__init__()
        self.weight = 4.0 / (n_layers + 1) / num_D

    def forward(self, fake: list[list[torch.Tensor]], real: list[list[torch.Tensor]]) -> torch.Tensor:
        """Two outputs of the discriminator -> scalar. No gradient flows into that of the real picture."""
        total = 0.0
        for fake_scale, real_scale in zip(fake, real):
            for a, b in zip(fake_scale[:-1], real_scale[:-1]):
                total = total + F.l1_loss(a.float(), b.detach().float())
        return total * self.weight
