"""A loss of how strong texture is: a region's contrast between neighbouring pixels, wherever its strands and threads run."""
from __future__ import annotations

import torch
from torch.nn import functional as F

_SCALES = 2  # full size and half
_LEAST_PIXELS = 16  # of a class's inside; fewer say nothing about its texture
_EPSILON = 1e-5  # added to a mean square, where the root's slope is infinite


def texture_loss(fake: torch.Tensor, real: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Mean difference of the strengths of texture in drawn and real pictures, over classes, pictures and two sizes -> scalar.

    An L1 loss draws a texture that it cannot foresee as a plain surface; this one asks for as much of it as there is, or as
    little.

    Args:
        fake, real: (N, C, H, W) in [-1, 1].
        labels: (N, H, W) int64 in 0..classes-1.
    """
    total = 0
    for scale in range(_SCALES):
        if scale:
            fake, real, labels = F.avg_pool2d(fake, 2), F.avg_pool2d(real, 2), labels[:, 1::2, 1::2]
        member = _insides(labels, classes)
        size = torch.zeros(len(labels), classes + 1, device=labels.device).scatter_add_(
            1, member, torch.ones_like(member, dtype=torch.float32))[:, :classes]
        counts = (size >= _LEAST_PIXELS).float()
        drawn, true = (_strengths(picture, member, size) for picture in (fake, real))
        total = total + (((drawn - true).abs() * counts).sum(1) / counts.sum(1).clamp_min(1)).mean()
    return total / _SCALES


def _insides(labels, classes):
    """(N, (H - 1) * (W - 1)): the class of each pixel with its neighbours to the right and below, `classes` if they differ."""
    corner = labels[:, :-1, :-1]
    same = (corner == labels[:, :-1, 1:]) & (corner == labels[:, 1:, :-1])
    return torch.where(same, corner, classes).flatten(1)


def _strengths(picture, member, size):
    """(N, classes) float32: root mean square of the differences between neighbouring pixels in each class."""
    bright = picture.float().mean(1)
    corner = bright[:, :-1, :-1]
    squares = ((bright[:, :-1, 1:] - corner).square() + (bright[:, 1:, :-1] - corner).square()).flatten(1)
    sums = torch.zeros(len(size), size.shape[1] + 1, device=size.device).scatter_add(1, member, squares)[:, :-1]
    return torch.sqrt(sums / size.clamp_min(1) + _EPSILON)
