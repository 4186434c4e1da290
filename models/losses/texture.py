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
        size = _sums(torch.ones_like(member, dtype=torch.float32), member, classes)
        counts = (size >= _LEAST_PIXELS).float()
        drawn, true = (torch.sqrt(_sums(_contrasts(picture), member, classes) / size.clamp_min(1) + _EPSILON)
                       for picture in (fake, real))
        total = total + (((drawn - true).abs() * counts).sum(1) / counts.sum(1).clamp_min(1)).mean()
    return total / _SCALES


def _insides(labels, classes):
    """(N, (H - 1) * (W - 1)): the class of each pixel with its neighbours to the right and below, `classes` if they differ."""
    corner = labels[:, :-1, :-1]
    same = (corner == labels[:, :-1, 1:]) & (corner == labels[:, 1:, :-1])
    return torch.where(same, corner, classes).flatten(1)


def _contrasts(picture):
    """(N, (H - 1) * (W - 1)) float32: the squared differences of each pixel from its neighbours to the right and below."""
    bright = picture.float().mean(1)
    corner = bright[:, :-1, :-1]
    return ((bright[:, :-1, 1:] - corner).square() + (bright[:, 1:, :-1] - corner).square()).flatten(1)


def _sums(values, member, classes):
    """(N, P) float32 values and the class of each, (N, P) -> (N, classes): their sums, without those of class `classes`."""
    return torch.zeros(len(values), classes + 1, device=values.device).scatter_add(1, member, values)[:, :classes]
