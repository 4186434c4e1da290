"""The shared primitive: means over regions, vectors painted on regions, edges between regions.

A region is the set of pixels of one picture that share an id in its label or instance map.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Regions:
    """The regions of a batch of maps.

    index: (N, H, W) int64, each pixel's region, 0..R-1, numbered over the whole batch.
    ids: (R,) int64, the id of each region in its map. picture: (R,) int64, which picture it is of.
    size: (R,) float64, its pixels.
    """

    index: torch.Tensor
    ids: torch.Tensor
    picture: torch.Tensor
    size: torch.Tensor

    @classmethod
    def of(cls, maps: torch.Tensor) -> Regions:
        """Find the regions of integer maps (N, 1, H, W). Pictures never share a region, whatever their ids."""
        maps = maps[:, 0].long()
        low = maps.min()
        span = maps.max() - low + 1
        batch = torch.arange(len(maps), device=maps.device).view(-1, 1, 1)
        keys, index, size = torch.unique(maps - low + batch * span, return_inverse=True, return_counts=True)
        return cls(index, keys % span + low, keys // span, size.double())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> torch.Tensor:
        """(R,) int64: the class of each region. Instance ids from 1000 up are class * 1000 + number."""
        return torch.where(self.ids < 1000, self.ids, self.ids // 1000)

    def mean(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (R, C) float64: each region's mean. Sums are in double: a region may be a whole picture."""
        flat = features.double().movedim(1, -1).reshape(-1, features.shape[1])
        total = flat.new_zeros(len(self), features.shape[1]).index_add(0, self.index.flatten(), flat)
        return total / self.size[:, None]

    def paint(self, vectors: torch.Tensor, dtype=torch.float32) -> torch.Tensor:
        """(R, C) -> (N, C, H, W): each region filled with its vector."""
        return vectors[self.index].movedim(-1, 1).to(dtype)

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Replace features (N, C, H, W) by their mean over each region."""
        return self.paint(self.mean(features), features.dtype)


def edges(maps: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) integer map -> float32 (N, 1, H, W): 1 where the id differs from a horizontal or vertical neighbour."""
    edge = torch.zeros_like(maps, dtype=torch.bool)
    across, down = maps[..., 1:] != maps[..., :-1], maps[..., 1:, :] != maps[..., :-1, :]
    edge[..., 1:] |= across
    edge[..., :-1] |= across
    edge[..., 1:, :] |= down
    edge[..., :-1, :] |= down
    return edge.float()


def one_hot(maps: torch.Tensor, classes: int) -> torch.Tensor:
    """(N, 1, H, W) ids in 0..classes-1 -> float32 (N, classes, H, W)."""
    n, _, h, w = maps.shape
    return torch.zeros(n, classes, h, w, device=maps.device).scatter_(1, maps.long(), 1.0)
