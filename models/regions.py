"""The shared primitive: means over regions, vectors painted on regions, edges between regions.

A region is the set of pixels of one picture that share an id in its label or instance map.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_PARTS = 1024  # sums of which a region's sum is made,
_SHORT = 64  # and how many numbers each of them adds up in float32


@dataclass(frozen=True)
class Regions:
    """The regions of a batch of maps.

    index: (N, H, W) int64, each pixel's region, 0..R-1, numbered over the whole batch.
    ids: (R,) int64, the id of each region in its map. picture: (R,) int64, which picture it is of.
    size: (R,) float64, its pixels; float32 on MPS, which has no float64.
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
        return cls(index, keys % span + low, keys // span, size.to(exact(size.device)))

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
        """(N, C, H, W) -> (R, C): each region's mean, of the precision of `size`."""
        return _Sums.apply(features, self.index, len(self), self.size.dtype) / self.size[:, None]

    def paint(self, vectors: torch.Tensor, dtype=torch.float32) -> torch.Tensor:
        """(R, C), on any device -> (N, C, H, W): each region filled with its vector."""
        if vectors.device != self.index.device:
            vectors = vectors.to(self.size.dtype).to(self.index.device)
        return _Painting.apply(vectors, self.index, dtype)

    def place(self) -> torch.Tensor:
        """(N, 2, H, W) float32: x and y of each pixel less its region's mean, over its region's standard deviation."""
        n, height, width = self.index.shape
        x, y = (torch.arange(side, device=self.index.device, dtype=self.size.dtype) for side in (width, height))
        pixels = torch.stack([x.expand(height, width), y[:, None].expand(height, width)]).expand(n, -1, -1, -1)
        mean = self.mean(pixels)
        scale = torch.rsqrt((self.mean(pixels.square()) - mean.square()).clamp_min(0) + 1 / 12)  # of a pixel itself
        scale, shift = self.paint(torch.cat([scale, mean * scale], 1)).chunk(2, 1)
        return pixels.float() * scale - shift

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Replace features (N, C, H, W) by their mean over each region."""
        return self.paint(self.mean(features), features.dtype)


def sums(values: torch.Tensor, index: torch.Tensor, count: int, dtype: torch.dtype) -> torch.Tensor:
    """(N, C, H, W) values and the region 0..count-1 of each pixel, (N, H, W) -> (count, C): each region's sums.

    Each region is summed in _PARTS parts, neighbouring pixels in different ones: so a GPU's threads seldom wait for each other
    to add to the same number. In float32, which loses digits with every number that is added, parts stay short.
    """
    index, flat = index.flatten(), values.transpose(0, 1).flatten(1)
    length = len(index) if dtype == torch.float64 else _SHORT * _PARTS
    total = torch.zeros(len(flat), count, dtype=dtype, device=values.device)
    for start in range(0, len(index), length):
        part = index[start:start + length] * _PARTS
        part += torch.arange(len(part), device=part.device) % _PARTS
        for channel, its_total in zip(flat, total):
            parts = torch.zeros(count * _PARTS, dtype=dtype, device=values.device)
            parts.index_add_(0, part, channel[start:start + length].to(dtype))
            its_total += parts.view(count, _PARTS).sum(1)
    return total.T


class _Sums(torch.autograd.Function):
    """`sums`. Its gradient is painted, and that of painting is summed: PyTorch's own gradient of `vectors[index]` walks through
    the pixels of a region one by one on a GPU."""

    @staticmethod
    def forward(ctx, values, index, count, dtype):
        ctx.save_for_backward(index)
        ctx.dtype = values.dtype
        return sums(values, index, count, dtype)

    @staticmethod
    def backward(ctx, gradient):
        return _Painting.apply(gradient, *ctx.saved_tensors, ctx.dtype), None, None, None


class _Painting(torch.autograd.Function):
    """(R, C) vectors and the region of each pixel, (N, H, W) -> (N, C, H, W) in `dtype`."""

    @staticmethod
    def forward(ctx, vectors, index, dtype):
        ctx.save_for_backward(index)
        ctx.count, ctx.dtype = len(vectors), vectors.dtype
        channels = vectors.T.to(dtype).contiguous().index_select(1, index.flatten())  # rows are cheaper to write than columns
        return channels.view(-1, *index.shape).movedim(0, 1)

    @staticmethod
    def backward(ctx, gradient):
        total = _Sums.apply(gradient, *ctx.saved_tensors, ctx.count, exact(gradient.device))
        return total.to(ctx.dtype), None, None


def exact(device) -> torch.dtype:
    """The most precise type of a device: float64, which MPS lacks."""
    return torch.float32 if device.type == "mps" else torch.float64


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
