"""How near a drawn picture is to the true one: PSNR, SSIM, and the colour of its regions."""
from __future__ import annotations

import json
import math

import cv2
import numpy as np

from util.util import write_text

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(a, b) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels of two (H, W, 3) uint8 pictures; inf if equal."""
    _same_shape(a, b)
    error = np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255.0 ** 2 / error))


def ssim(a, b) -> float:
    """Structural similarity of the luma of two (H, W, 3) uint8 pictures: 1 is identical, about 0 is unrelated.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    IEEE TIP 2004: 11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03, range 255, mean over the places where the
    window lies wholly inside. In a picture smaller than the window the border is mirrored instead.
    """
    _same_shape(a, b)
    x, y = (np.asarray(image, np.float64) @ _LUMA for image in (a, b))
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x ** 2, _blur(y * y) - mean_y ** 2
    covariance = _blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
                  / ((mean_x ** 2 + mean_y ** 2 + _C1) * (variance_x + variance_y + _C2)))
    edge = _WINDOW // 2 if min(similarity.shape) >= _WINDOW else 0
    return float(similarity[edge:similarity.shape[0] - edge, edge:similarity.shape[1] - edge].mean())


def region_color_errors(drawn, true, label, min_share=0.005) -> dict[int, float]:
    """Each region's colour error: {class id: mean over R, G, B of |mean colour drawn - mean colour true|}, 0..255.

    Args:
        drawn, true: (H, W, 3) uint8.
        label: (H, W) non-negative integers; the pixels of one id are one region.
        min_share: regions of this share of the picture, or less, are left out.
    """
    _same_shape(drawn, true)
    ids = np.asarray(label).reshape(-1).astype(np.int64)
    if ids.size != drawn.shape[0] * drawn.shape[1]:
        raise ValueError(f"label has shape {np.shape(label)}, the picture {drawn.shape}")
    difference = (np.asarray(drawn, np.float64) - np.asarray(true, np.float64)).reshape(-1, drawn.shape[2])
    count = np.bincount(ids)
    # the difference of two means over the same pixels is the mean of the differences
    sums = np.stack([np.bincount(ids, weights=channel) for channel in difference.T], axis=1)
    large = np.flatnonzero(count > min_share * ids.size)
    errors = np.abs(sums[large] / count[large, None]).mean(axis=1)
    return {int(i): float(error) for i, error in zip(large, errors)}


def region_color_error(drawn, true, label, min_share=0.005) -> float | None:
    """Mean of `region_color_errors` over the picture's regions, 0..255; None where no region is large enough."""
    errors = region_color_errors(drawn, true, label, min_share)
    return float(np.mean(list(errors.values()))) if errors else None


class PictureMetrics:
    """Collects the figures of a run, picture by picture; 0..255 for colours, dB for PSNR."""

    def __init__(self, class_names=None, min_share=0.005):
        self._names = list(class_names or [])
        self._min_share = min_share
        self._pictures: list[dict] = []
        self._by_class: dict[int, list[float]] = {}

    def add(self, name, drawn, true, label=None) -> dict:
        """Measure one picture ((H, W, 3) uint8 each, label (H, W) ids) and return its figures, JSON-safe.

        `psnr` of two equal pictures is infinite, which JSON cannot say: it is None. `region_color_error` is there
        only with a label map.
        """
        peak = psnr(drawn, true)
        figures = {"ssim": ssim(drawn, true), "psnr": peak if math.isfinite(peak) else None}
        if label is not None:
            errors = region_color_errors(drawn, true, label, self._min_share)
            for i, error in errors.items():
                self._by_class.setdefault(i, []).append(error)
            figures["region_color_error"] = float(np.mean(list(errors.values()))) if errors else None
        self._pictures.append({"name": str(name), **figures})
        return figures

    def extend(self, other: PictureMetrics) -> None:
        """Add the pictures of another run, in its order, as if they had been measured here."""
        self._pictures += other._pictures
        for i, errors in other._by_class.items():
            self._by_class.setdefault(i, []).extend(errors)

    def summary(self) -> dict:
        """{'pictures', 'region_color_error', 'ssim', 'psnr', 'by_class': {name: {'region_color_error', 'pictures'}}}.

        Means over the pictures that have the figure (equal pictures have no PSNR); None where none has. by_class has
        the classes by id, under their names where given; a name that two classes share has the id behind it.
        """
        by_class = {self._class_name(i): {"region_color_error": float(np.mean(errors)), "pictures": len(errors)}
                    for i, errors in sorted(self._by_class.items())}
        means = {key: self._mean(key) for key in ("region_color_error", "ssim", "psnr")}
        return {"pictures": len(self._pictures), **means, "by_class": by_class}

    def write(self, path) -> None:
        """Write the summary, and the figures of each picture under 'each', as JSON. Raises UserError."""
        content = {**self.summary(), "each": self._pictures}
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def _mean(self, key):
        values = [picture[key] for picture in self._pictures if picture.get(key) is not None]
        return float(np.mean(values)) if values else None

    def _class_name(self, i):
        name = str(self._names[i]) if i < len(self._names) else ""
        return name if name and self._names.count(self._names[i]) == 1 else f"{name} {i}".strip()


def _blur(image):
    return cv2.GaussianBlur(image, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REFLECT)


def _same_shape(a, b):
    if np.shape(a) != np.shape(b) or np.ndim(a) != 3 or np.shape(a)[2] != 3:
        raise ValueError(f"two pictures of one shape (H, W, 3) are compared, not {np.shape(a)} and {np.shape(b)}")
