"""The additive angular margin loss (Deng et al. 2019, ArcFace, arXiv:1801.07698, equation 3)."""
from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


def with_margin(cosine: torch.Tensor, label: torch.Tensor, margin: float) -> torch.Tensor:
    """cos(theta + margin) in the column of each row's label; the other cosines stay.

    cosine: (N, C) in [-1, 1]. label: (N,) int64. Where theta + margin > pi, beyond which the cosine would rise again,
    cos(theta) - margin * sin(margin), as ArcFace's authors do.
    """
    own = cosine.gather(1, label[:, None])
    sine = (1 - own.square()).clamp_min(1e-12).sqrt()
    moved = own * math.cos(margin) - sine * math.sin(margin)
    moved = torch.where(own > -math.cos(margin), moved, own - margin * math.sin(margin))
    return cosine.scatter(1, label[:, None], moved)


class AngularMargin(nn.Module):
    """A unit vector for each person of the training, and the loss by it. scale: the factor of the cosines, their inverse
    temperature."""

    def __init__(self, people: int, width: int, scale: float = 64.0):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.empty(people, width)), scale
        self.reset_parameters()

    def reset_parameters(self):
        """Directions that chance gives, of lengths about 1: the shorter they are, the farther a step turns them."""
        nn.init.normal_(self.weight, std=self.weight.shape[1] ** -0.5)

    def forward(self, embedding: torch.Tensor, label: torch.Tensor, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, D) of length 1, (N,) int64 -> (scalar loss, (N, C) cosines without margin)."""
        cosine = (embedding @ F.normalize(self.weight, dim=1).T).clamp(-1, 1)
        return F.cross_entropy(with_margin(cosine, label, margin) * self.scale, label), cosine.detach()
