"""Scaling, cropping, flipping and augmentation, with the same random parameters for picture, label map and instance map."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from util.lazy import LazyModule

torch = LazyModule("torch")


@dataclass(frozen=True)
class Draw:
    """The random parameters of one item's transform.

    crop: upper left corner of the crop in pixels. flip: whether to flip horizontally. angle: rotation about the centre, in
    degrees. zoom: factor of enlargement. color: factors of brightness, contrast and saturation of the photo.
    """

    crop: tuple[int, int] = (0, 0)
    flip: bool = False
    angle: float = 0.0
    zoom: float = 1.0
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Augmentation:
    """The ranges of augmentation: degrees, share of enlargement, share of brightness, contrast and saturation."""

    rotate: float = 0.0
    scale: float = 0.0
    color: float = 0.0

    def draw(self, random: np.random.Generator) -> dict:
        """Fields of a Draw. An augmentation that is off uses no random number, so that the others' do not depend on it."""
        values = {}
        if self.rotate:
            values["angle"] = float(random.uniform(-self.rotate, self.rotate))
        if self.scale:
            values["zoom"] = float(1 + random.uniform(-self.scale, self.scale))
        if self.color:
            values["color"] = tuple(float(1 + v) for v in random.uniform(-self.color, self.color, 3))
        return values


class Preprocess:
    """--resize_or_crop, --loadSize, --fineSize and --no_flip as a function of sizes and a random generator.

    multiple: 'none' rounds sides to a multiple of it, as the generator halves them several times.
    flip_pairs: (left, right) ids to swap in a flipped label map. augmentation: applied to pictures and maps alike.
    'crop' cuts out a square if a side is longer than it; if the other side is shorter, the rest is black and of id 0, as in
    pix2pixHD. 'pad' keeps every pixel: the right and lower borders are replicated up to the next multiple.
    """

    def __init__(self, resize_or_crop: str, load_size: int, fine_size: int, flip: bool, multiple: int = 1,
                 flip_pairs: tuple = (), augmentation: Augmentation = Augmentation()):  # noqa: B008 - it is frozen
        self.augmentation = augmentation
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

    def shown(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after cropping, before padding: the part that pages show."""
        scaled = self.scaled(size)
        return (self.fine_size, self.fine_size) if "crop" in self.mode and max(scaled) > self.fine_size else scaled

    def final(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the network's input."""
        width, height = self.shown(size)
        if "pad" not in self.mode:
            return width, height
        step = self.multiple
        return tuple(max(2 * step if step > 1 else 1, -(-side // step) * step) for side in (width, height))

    def draw(self, size: tuple[int, int], random: np.random.Generator) -> Draw:
        """Draw the random parameters for a picture of `size`."""
        (width, height), (w, h) = self.scaled(size), self.shown(size)
        x, y = int(random.integers(0, max(0, width - w) + 1)), int(random.integers(0, max(0, height - h) + 1))
        return Draw((x, y), self.flip and bool(random.random() < 0.5), **self.augmentation.draw(random))

    def image(self, image: Image.Image, size: tuple[int, int], draw: Draw, jitter: bool = False,
              smooth: bool = True) -> torch.Tensor:
        """A PIL picture ('RGB', 'L' or 'F' in 0..255) -> float32 (C, H, W) in [-1, 1]. size: the label map's.

        jitter: apply the colour jitter (to photos, not to feature maps). smooth: resize (bicubic) and rotate with
        interpolation; else nearest neighbour.
        """
        values = np.asarray(_resize(image, self.scaled(size), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST))
        values = self._crop(values[:, :, None] if values.ndim == 2 else values, size, draw, smooth)
        tensor = torch.from_numpy(values.transpose(2, 0, 1).astype(np.float32, order="C"))  # always a copy
        color = draw.color if jitter else Draw.color
        if values.dtype == np.uint8 and color == Draw.color:
            tensor.div_(127.5).sub_(1)  # equals the line below bit for bit, in half the passes
        else:
            tensor = _color_jitter(tensor.div_(255).clamp_(0, 1), color).sub_(0.5).div_(0.5)
        return torch.from_numpy(self._pad(tensor.numpy(), size, draw, fill=-1))

    def ids(self, ids: np.ndarray, size: tuple[int, int], draw: Draw, swap: bool = False) -> torch.Tensor:
        """A map of ids (H, W), uint8 or int32 -> the same dtype (1, H, W), nearest neighbour.

        swap: exchange the ids of flip_pairs if the map is flipped (for label maps, not for instance maps).
        """
        scaled = self.scaled(size)
        values = ids if ids.shape[::-1] == scaled else np.asarray(_resize(Image.fromarray(ids), scaled,
                                                                          Image.Resampling.NEAREST))
        values = self._crop(values, size, draw, smooth=False)
        if draw.flip and swap and self.flip_pairs:
            values = swap_ids(values, self.flip_pairs)
        return torch.from_numpy(np.array(self._pad(values, size, draw, fill=0)))[None]  # always a copy

    def _crop(self, values: np.ndarray, size, draw: Draw, smooth: bool) -> np.ndarray:
        """Rotate, crop and flip a scaled array (H, W) or (H, W, C)."""
        if draw.angle or draw.zoom != 1:
            values = _rotated(values, draw.angle, draw.zoom, smooth)
        (x, y), (w, h) = draw.crop, self.shown(size)
        values = values[y:y + h, x:x + w]
        return values[:, ::-1] if draw.flip else values

    def _pad(self, values: np.ndarray, size, draw: Draw, fill: int) -> np.ndarray:
        """(..., H, W) filled up to the crop's square, on the left if it is flipped; then padded as 'pad' does."""
        values = _padded(values, self.shown(size), leftwards=draw.flip, constant_values=fill)
        return _padded(values, self.final(size), mode="edge")


class Fitted(Preprocess):
    """The preprocessing of a test, without crops, to sides that the networks accept; the caller scales the result back."""

    def __init__(self, opt):
        super().__init__(opt.resize_or_crop.replace("crop", "") or "none", opt.loadSize, opt.fineSize, False,
                         opt.needs.multiple)
        self.least = opt.needs.least

    def scaled(self, size):
        """(width, height): the nearest multiples, at least `least`."""
        return tuple(max(self.least, round(side / self.multiple) * self.multiple) for side in super().scaled(size))


def _padded(values: np.ndarray, size: tuple[int, int], leftwards: bool = False, **how) -> np.ndarray:
    """An array (..., H, W) padded to (width, height) `size`, below and to the right or left. how: keywords of np.pad."""
    width, height = size[0] - values.shape[-1], size[1] - values.shape[-2]
    if not (width or height):
        return values
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, height), (width, 0) if leftwards else (0, width)], **how)


def _rotated(values: np.ndarray, angle: float, zoom: float, smooth: bool) -> np.ndarray:
    """Rotated and enlarged about the centre, with reflection beyond the borders, in maps as in photos."""
    import cv2  # slow to import, and only augmentation uses it
    height, width = values.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom)
    source = values.astype(np.float32) if values.dtype == np.int32 else values  # exact: ids have at most 24 bits
    turned = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST,
                            borderMode=cv2.BORDER_REFLECT_101)
    return turned.astype(values.dtype).reshape(values.shape)


def _color_jitter(image: torch.Tensor, factors: tuple[float, float, float]) -> torch.Tensor:
    """(C, H, W) in [0, 1] with brightness, contrast and saturation multiplied."""
    if factors == (1.0, 1.0, 1.0):
        return image
    from torchvision.transforms import functional as F
    brightness, contrast, saturation = factors
    return F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(image, brightness), contrast), saturation)


def _resize(image: Image.Image, size: tuple[int, int], how) -> Image.Image:
    return image if image.size == size else image.resize(size, how)


def without_crop(text: str) -> str:
    """The training preprocessing as it applies to whole pictures: 'scale_width_and_crop' -> 'scale_width'."""
    if "crop" not in text:
        return text
    return "resize" if "resize" in text else "scale_width" if "scale_width" in text else "none"


def swap_ids(ids: np.ndarray, pairs) -> np.ndarray:
    """A map with the two ids of each pair exchanged."""
    table = np.arange(max(int(ids.max(initial=0)), *(max(pair) for pair in pairs)) + 1, dtype=ids.dtype)
    for left, right in pairs:
        table[left], table[right] = right, left
    return table[ids]
