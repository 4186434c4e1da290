"""The zero-centred gradient penalty of the discriminator: R1 on real pictures, R2 on drawn ones (Mescheder et al. 2018)."""
from __future__ import annotations

from collections.abc import Callable

import torch


def gradient_penalty(critics: Callable[[torch.Tensor], list[torch.Tensor]], images: torch.Tensor) -> torch.Tensor:
    """E[||grad D||^2] over the pictures -> scalar, whose gradient is for the discriminator's weights (arXiv:1801.04406).

    critics: images (N, C, H, W) -> its predictions, (N, 1, h, w) at each scale. Of h * w predictions each is one discriminator
    of its patch, and the penalty is their mean, which does not depend on the pictures' size.
    """
    images = images.detach().float().requires_grad_()
    total = sum(one.float().sum() / (one.shape[-2] * one.shape[-1]) ** 0.5 for one in critics(images))
    gradient, = torch.autograd.grad(total, images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()
