"""One random draw for picture, label map and instance map: scaling, cropping, mirroring."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image


@dataclass(frozen=True)
class Draw:
    """What chance decides for one item: the crop's upper left corner in pixels, and whether it is mirrored."""

    crop: tuple[int, int] = (0, 0)
    flip: bool = False


class Preprocess:
    """--resize_or_crop, --loadSize, --fineSize and --no_flip as a function of sizes and a random generator.

    multiple: with 'none', sides are rounded to this multiple, which is what the generator's halvings ask for.
    flip_pairs: (left, right) ids that swap in a mirrored label map.
    """

    def __init__(self, resize_or_crop: str, load_size: int, fine_size: int, flip: bool, multiple: int = 1,
                 flip_pairs: tuple = ()):
        self.mode, self.load_size, self.fine_size = resize_or_crop, load_size, fine_size
        self.flip, self.multiple, self.flip_pairs = flip, multiple, flip_pairs

    def scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after scaling, before cropping."""
        width, height = size
        if "resize" in self.mode:
            return self.load_size, self.load_size
        if "scale_width" in self.mode:
            return (size if width == self.load_size else
                    (self.load_size, max(1, int(self.load_size * height / width))))
        if self.mode == "none":
            return tuple(max(self.multiple, int(round(side / self.multiple) * self.multiple)) for side in size)
        return size

    def final(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of what the network sees."""
        width, height = self.scaled(size)
        return (min(width, self.fine_size), min(height, self.fine_size)) if "crop" in self.mode else (width, height)

    def draw(self, size: tuple[int, int], random: np.random.Generator) -> Draw:
        """Decide crop and mirroring for a picture of `size`. Always the same number of draws."""
        (width, height), (w, h) = self.scaled(size), self.final(size)
        x, y = int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1))
        return Draw((x, y), self.flip and bool(random.random() < 0.5))

    def image(self, image: Image.Image, size: tuple[int, int], draw: Draw) -> torch.Tensor:
        """A PIL picture ('RGB', 'L' or 'F' in 0..255) -> float32 (C, H, W) in [-1, 1]. size: the label map's."""
        image = self._cut(_resize(image, self.scaled(size), Image.Resampling.BICUBIC), size, draw)
        values = np.array(image)
        values = values[:, :, None] if values.ndim == 2 else values
        values = values[:, ::-1] if draw.flip else values
        tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).float()
        return tensor.div_(255).clamp_(0, 1).sub_(0.5).div_(0.5)

    def ids(self, ids: np.ndarray, size: tuple[int, int], draw: Draw, swap: bool = False) -> torch.Tensor:
        """A map of ids (H, W), uint8 or int32 -> the same dtype (1, H, W), nearest neighbour.

        swap: mirrored left and right classes change names (label maps; instances only where they are label maps).
        """
        image = Image.fromarray(ids)
        image = self._cut(_resize(image, self.scaled(size), Image.Resampling.NEAREST), size, draw)
        values = np.array(image)
        if draw.flip:
            values = values[:, ::-1]
            if swap and self.flip_pairs:
                values = swap_ids(values, self.flip_pairs)
        return torch.from_numpy(np.ascontiguousarray(values))[None]

    def _cut(self, image: Image.Image, size, draw: Draw) -> Image.Image:
        if "crop" not in self.mode:
            return image
        (x, y), (w, h) = draw.crop, self.final(size)
        return image if image.size == (w, h) else image.crop((x, y, x + w, y + h))


def _resize(image: Image.Image, size: tuple[int, int], how) -> Image.Image:
    return image if image.size == size else image.resize(size, how)


def swap_ids(ids: np.ndarray, pairs) -> np.ndarray:
    """A map with each pair's two ids exchanged; other ids stay."""
    table = np.arange(max(int(ids.max(initial=0)), *(max(pair) for pair in pairs)) + 1, dtype=ids.dtype)
    for left, right in pairs:
        table[left], table[right] = right, left
    return table[ids]
