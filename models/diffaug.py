"""Augmentation of what the discriminator sees, through which gradients flow (Zhao et al. 2020, arXiv:2006.10738)."""
from __future__ import annotations

from dataclasses import dataclass

import torch

_SHIFT, _HOLE = 1 / 8, 1 / 2  # of the sides: the farthest translation, and what is cut out


@dataclass(frozen=True)
class DiffAugment:
    """One random draw for each picture of a batch, to be applied alike to real and drawn pictures and their label maps.

    colour: (3, N, 1, 1, 1): brightness added, factors of saturation and contrast; or None. rows, columns: (N, H, 1), (N, 1, W):
    where each pixel comes from; or None. seen: bool (N, H, W), False where a pixel is from outside the picture or cut out.
    """

    colour: torch.Tensor | None
    rows: torch.Tensor | None
    columns: torch.Tensor | None
    seen: torch.Tensor | None

    @classmethod
    def draw(cls, kinds: set[str], like: torch.Tensor) -> DiffAugment:
        """Draw for a batch (N, C, H, W). kinds: of color, translation, cutout."""
        n, _, height, width = like.shape

        def uniform(*shape):
            return torch.rand(*shape, device=like.device)
        colour = rows = columns = seen = None
        if "color" in kinds:
            brightness, saturation, contrast = uniform(3, n, 1, 1, 1)
            colour = torch.stack([brightness - 0.5, saturation * 2, contrast + 0.5])
        if {"translation", "cutout"} & kinds:
            y, x = (torch.arange(side, device=like.device) for side in (height, width))
            y, x = y[None, :, None], x[None, None]
            seen = torch.ones(n, height, width, dtype=torch.bool, device=like.device)
        if "translation" in kinds:
            rows, columns = (at + ((uniform(n, 1, 1) * 2 - 1) * side * _SHIFT).round().long()
                             for at, side in ((y, height), (x, width)))
            seen &= (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        if "cutout" in kinds:
            far = [(at - uniform(n, 1, 1) * side).abs() > side * _HOLE / 2 for at, side in ((y, height), (x, width))]
            seen &= far[0] | far[1]
        return cls(colour, rows, columns, seen)

    def picture(self, image: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [-1, 1] -> changed in colours, moved, with a hole; 0 outside."""
        if self.colour is not None:
            brightness, saturation, contrast = self.colour.to(image.dtype)
            image = image + brightness
            grey = image.mean(1, keepdim=True)
            image = (image - grey) * saturation + grey
            mean = image.mean((1, 2, 3), keepdim=True)
            image = (image - mean) * contrast + mean
        return self.condition(image)

    def condition(self, maps: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> moved, with a hole; 0 outside."""
        return maps if self.seen is None else self._moved(maps) * self.seen[:, None]

    def labels(self, labels: torch.Tensor, outside: int) -> torch.Tensor:
        """(N, H, W) int64 -> moved, with a hole; `outside` there."""
        return labels if self.seen is None else torch.where(self.seen, self._moved(labels[:, None])[:, 0], outside)

    def _moved(self, maps):
        if self.rows is None:
            return maps
        picture = torch.arange(len(maps), device=maps.device)[:, None, None]
        return maps.movedim(1, -1)[picture, self.rows, self.columns].movedim(-1, 1)
