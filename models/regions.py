"""The shared primitive: means over regions, vectors painted on regions, edges between regions.

A region is the set of pixels of one picture that share an id in its label or instance map.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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

    def classes(self, labels: torch.Tensor | None) -> tuple[np.ndarray, np.ndarray]:
        """The class of each region, (R,) int64, and the share of its pixels that are of it, (R,) float64 in (0, 1].

        labels: the label map (N, 1, H, W) under the regions. The class is that of most pixels, of equally many the lowest.
        Without a label map (--label_nc 0) ids from 1000 up are class * 1000 + number, and others are classes.
        """
        numbered = torch.where(self.ids < 1000, self.ids, self.ids // 1000)
        labels = None if labels is None else labels[:, 0].long()
        if labels is None or torch.equal(numbered[self.index], labels):  # true of most data, and faster to see than to count
            return numbered.cpu().numpy(), np.ones(len(self))
        span = labels.max() + 1
        pairs, count = (found.cpu().numpy() for found in torch.unique(self.index * span + labels, return_counts=True))
        region, label = np.divmod(pairs, int(span))
        order = np.lexsort((label, -count, region))
        first = order[np.unique(region[order], return_index=True)[1]]
        return label[first], count[first] / self.size.cpu().numpy()

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
