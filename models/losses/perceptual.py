"""Perceptual loss: L1 between VGG19 features, or a pyramid L1 where VGG19's weights are not available."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


class VGGLoss(nn.Module):
    """L1 between VGG19 features, weighted 1/32, 1/16, 1/8, 1/4, 1 from fine to coarse (Johnson et al. 2016)."""

    def __init__(self, features: nn.Module, recompute: bool = False):
        """recompute: checkpoint the activations between the compared features: less memory, a slower backward pass."""
        super().__init__()
        self.features = features
        self.features.recompute = recompute

    def forward(self, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Two pictures (N, C, H, W) in [-1, 1] -> scalar. No gradient flows into the real one."""
        with torch.no_grad():
            target = self.features(real)
        return sum(w * F.l1_loss(a.float(), b.float()) for w, a, b in zip(VGG_WEIGHTS, self.features(fake), target))


class PyramidLoss(nn.Module):
    """L1 at full, 1/2, 1/4 and 1/8 size, each a quarter of the VGG term's total weight (1 + 15/16)."""

    levels = 4

    def forward(self, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Two pictures (N, C, H, W) in [-1, 1] -> scalar."""
        total, weight = 0.0, sum(VGG_WEIGHTS) / self.levels
        difference = fake.float() - real.float()  # averaging is linear: pooling the difference is enough
        for level in range(self.levels):
            if level:
                difference = F.avg_pool2d(difference, 2, ceil_mode=True)
            total = total + weight * difference.abs().mean()
        return total
