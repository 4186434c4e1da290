"""One random draw for picture, label map and instance map: scaling, cropping, mirroring."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from util.lazy import LazyModule

torch = LazyModule("torch")


@dataclass(frozen=True)
class Draw:
    """What chance decides for one item.

    crop: the crop's upper left corner in pixels. flip: whether it is mirrored. angle: degrees it is turned by, about its
    middle. zoom: what it is enlarged by. light: factors of brightness, contrast and saturation of the photo.
    """

    crop: tuple[int, int] = (0, 0)
    flip: bool = False
    angle: float = 0.0
    zoom: float = 1.0
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Augmentation:
    """How far chance may go: degrees, share of enlargement, share of brightness, contrast and saturation."""

    rotate: float = 0.0
    scale: float = 0.0
    color: float = 0.0

    def draw(self, random: np.random.Generator) -> dict:
        """Values of a Draw; what is switched off draws nothing, so that other draws stay what they were."""
        values = {}
        if self.rotate:
            values["angle"] = float(random.uniform(-self.rotate, self.rotate))
        if self.scale:
            values["zoom"] = float(1 + random.uniform(-self.scale, self.scale))
        if self.color:
            values["light"] = tuple(float(1 + v) for v in random.uniform(-self.color, self.color, 3))
        return values


class Preprocess:
    """--resize_or_crop, --loadSize, --fineSize and --no_flip as a function of sizes and a random generator.

    multiple: with 'none', sides are rounded to this multiple, which is what the generator's halvings ask for.
    flip_pairs: (left, right) ids that swap in a mirrored label map. augmentation: further changes, paired like the rest.
    'crop' cuts a square out of what is wider or higher; where the picture ends first, the rest of the square is black and of
    id 0, as in pix2pixHD. 'pad' keeps every pixel: the right and lower border are repeated up to the next multiple.
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
        """(width, height) after cropping, before 'pad': what pages show."""
        scaled = self.scaled(size)
        return (self.fine_size, self.fine_size) if "crop" in self.mode and max(scaled) > self.fine_size else scaled

    def final(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of what the network sees."""
        width, height = self.shown(size)
        if "pad" not in self.mode:
            return width, height
        step = self.multiple
        return tuple(max(2 * step if step > 1 else 1, -(-side // step) * step) for side in (width, height))

    def draw(self, size: tuple[int, int], random: np.random.Generator) -> Draw:
        """Decide everything for a picture of `size`."""
        (width, height), (w, h) = self.scaled(size), self.shown(size)
        x, y = int(random.integers(0, max(0, width - w) + 1)), int(random.integers(0, max(0, height - h) + 1))
        return Draw((x, y), self.flip and bool(random.random() < 0.5), **self.augmentation.draw(random))

    def image(self, image: Image.Image, size: tuple[int, int], draw: Draw, lit: bool = False,
              smooth: bool = True) -> torch.Tensor:
        """A PIL picture ('RGB', 'L' or 'F' in 0..255) -> float32 (C, H, W) in [-1, 1]. size: the label map's.

        lit: the draw's light falls on it; a photo's does, a feature map's does not. smooth: scaled (bicubic) and turned by
        interpolation; else nearest neighbour.
        """
        values = np.asarray(_resize(image, self.scaled(size), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST))
        values = self._cut(values[:, :, None] if values.ndim == 2 else values, size, draw, smooth)
        tensor = torch.from_numpy(values.transpose(2, 0, 1).astype(np.float32, order="C"))  # always a copy
        light = draw.light if lit else Draw.light
        if values.dtype == np.uint8 and light == Draw.light:
            tensor.div_(127.5).sub_(1)  # the line below bit for bit, in half the passes
        else:
            tensor = _lit(tensor.div_(255).clamp_(0, 1), light).sub_(0.5).div_(0.5)
        return torch.from_numpy(self._filled(tensor.numpy(), size, draw, nothing=-1))

    def ids(self, ids: np.ndarray, size: tuple[int, int], draw: Draw, swap: bool = False) -> torch.Tensor:
        """A map of ids (H, W), uint8 or int32 -> the same dtype (1, H, W), nearest neighbour.

        swap: mirrored left and right classes change names (label maps; instances only where they are label maps).
        """
        scaled = self.scaled(size)
        values = ids if ids.shape[::-1] == scaled else np.asarray(_resize(Image.fromarray(ids), scaled,
                                                                          Image.Resampling.NEAREST))
        values = self._cut(values, size, draw, smooth=False)
        if draw.flip and swap and self.flip_pairs:
            values = swap_ids(values, self.flip_pairs)
        return torch.from_numpy(np.array(self._filled(values, size, draw, nothing=0)))[None]  # never `ids` itself

    def _cut(self, values: np.ndarray, size, draw: Draw, smooth: bool) -> np.ndarray:
        """Turn, crop and mirror a scaled array (H, W) or (H, W, C)."""
        if draw.angle or draw.zoom != 1:
            values = _turned(values, draw.angle, draw.zoom, smooth)
        (x, y), (w, h) = draw.crop, self.shown(size)
        values = values[y:y + h, x:x + w]
        return values[:, ::-1] if draw.flip else values

    def _filled(self, values: np.ndarray, size, draw: Draw, nothing: int) -> np.ndarray:
        """(..., H, W) with `nothing` in the rest of the crop's square, mirrored like the picture; then what 'pad' adds."""
        values = _extended(values, self.shown(size), leftwards=draw.flip, constant_values=nothing)
        return _extended(values, self.final(size), mode="edge")


class Fitted(Preprocess):
    """The preprocessing of a test without crops, to sides that the networks take; the caller scales back what is drawn."""

    def __init__(self, opt):
        super().__init__(opt.resize_or_crop.replace("crop", "") or "none", opt.loadSize, opt.fineSize, False,
                         opt.needs.multiple)
        self.least = opt.needs.least

    def scaled(self, size):
        """(width, height): the nearest multiples that are large enough."""
        return tuple(max(self.least, round(side / self.multiple) * self.multiple) for side in super().scaled(size))


def _extended(values: np.ndarray, size: tuple[int, int], leftwards: bool = False, **how) -> np.ndarray:
    """An array (..., H, W) made as wide and high as `size`, below and to the right or left; how: as np.pad takes it."""
    width, height = size[0] - values.shape[-1], size[1] - values.shape[-2]
    if not (width or height):
        return values
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, height), (width, 0) if leftwards else (0, width)], **how)


def _turned(values: np.ndarray, angle: float, zoom: float, smooth: bool) -> np.ndarray:
    """Turned and enlarged about the middle; what comes in from outside is the mirrored picture, in maps as in photos."""
    import cv2  # not paid for without augmentation
    height, width = values.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom)
    source = values.astype(np.float32) if values.dtype == np.int32 else values  # exact: ids have at most 24 bits
    turned = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST,
                            borderMode=cv2.BORDER_REFLECT_101)
    return turned.astype(values.dtype).reshape(values.shape)


def _lit(image: torch.Tensor, light: tuple[float, float, float]) -> torch.Tensor:
    """(C, H, W) in [0, 1] with brightness, contrast and saturation multiplied."""
    if light == (1.0, 1.0, 1.0):
        return image
    from torchvision.transforms import functional as F
    brightness, contrast, saturation = light
    return F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(image, brightness), contrast), saturation)


def _resize(image: Image.Image, size: tuple[int, int], how) -> Image.Image:
    return image if image.size == size else image.resize(size, how)


def without_crop(text: str) -> str:
    """The training preprocessing as it applies to whole pictures: 'scale_width_and_crop' -> 'scale_width'."""
    if "crop" not in text:
        return text
    return "resize" if "resize" in text else "scale_width" if "scale_width" in text else "none"


def swap_ids(ids: np.ndarray, pairs) -> np.ndarray:
    """A map with each pair's two ids exchanged; other ids stay."""
    table = np.arange(max(int(ids.max(initial=0)), *(max(pair) for pair in pairs)) + 1, dtype=ids.dtype)
    for left, right in pairs:
        table[left], table[right] = right, left
    return table[ids]
