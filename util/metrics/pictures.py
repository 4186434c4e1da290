"""How near a drawn picture is to the true one: PSNR, SSIM, and the colour of its regions."""
from __future__ import annotations

import math

import cv2
import numpy as np

from util.metrics.base import Figure, Metric, check_sizes

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_UNIT = 2.0 ** -40  # errors are summed as whole multiples of it: exactly, hence alike in whatever order


def psnr(a, b) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels of two (H, W, 3) uint8 pictures; inf if equal."""
    _same_shape(a, b)
    error = np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255.0 ** 2 / error))


def luma(image) -> np.ndarray:
    """(H, W) float64, 0..255: the brightness of an (H, W, 3) uint8 picture."""
    return np.asarray(image, np.float64) @ _LUMA


def ssim_map(a, b) -> np.ndarray:
    """(H, W) float64: the structural similarity of the luma of two (H, W, 3) uint8 pictures around each pixel.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    IEEE TIP 2004: 11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03, range 255. Where the window reaches over the border
    the picture is mirrored there.
    """
    _same_shape(a, b)
    x, y = luma(a), luma(b)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x ** 2, _blur(y * y) - mean_y ** 2
    covariance = _blur(x * y) - mean_x * mean_y
    return ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
            / ((mean_x ** 2 + mean_y ** 2 + _C1) * (variance_x + variance_y + _C2)))


def ssim(a, b) -> float:
    """Structural similarity of two (H, W, 3) uint8 pictures: 1 is identical, about 0 is unrelated.

    The mean of `ssim_map` over the places where the window lies wholly inside, as published; in a picture smaller than the
    window, over all.
    """
    similarity = ssim_map(a, b)
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


class PictureMetrics(Metric):
    """Colour error of regions (0..255), SSIM and PSNR (dB) against the true pictures; or those of them that are asked for."""

    figures = {"region_color_error": Figure("colour error, of 255", 0, 1), "ssim": Figure("SSIM", 1),
               "psnr": Figure("PSNR, dB", math.inf, 2)}

    def __init__(self, class_names=None, min_share=0.005, only=None):
        """min_share: regions of this share of a picture, or less, have no colour error. only: keys of `figures`."""
        super().__init__(class_names, {"min_share": min_share})
        self._min_share = min_share
        self.figures = {key: figure for key, figure in self.figures.items() if only is None or key in only}
        self._by_class: dict[int, tuple[int, int]] = {}  # by class id: sum of the errors in _UNIT, pictures

    @classmethod
    def create(cls, only, available):
        return cls(available.labels, only=only)

    def measure(self, name, drawn, true, label=None) -> dict:
        """`psnr` of two equal pictures is infinite, which JSON cannot say: it is None.

        `region_color_error` is there only with a label map, and None where no region is large enough.
        """
        check_sizes(name, drawn, true, label)
        figures = {}
        if "ssim" in self.figures:
            figures["ssim"] = ssim(drawn, true)
        if "psnr" in self.figures:
            peak = psnr(drawn, true)
            figures["psnr"] = peak if math.isfinite(peak) else None
        if "region_color_error" in self.figures and label is not None:
            errors = region_color_errors(drawn, true, label, self._min_share)
            self._add_errors({i: (round(error / _UNIT), 1) for i, error in errors.items()})
            figures["region_color_error"] = float(np.mean(list(errors.values()))) if errors else None
        return figures

    def _sums(self):
        return {"by_class": dict(self._by_class)}

    def _add_sums(self, state):
        self._add_errors(state["by_class"])

    def _add_errors(self, by_class):
        for i, (error, pictures) in by_class.items():
            before = self._by_class.get(i, (0, 0))
            self._by_class[i] = before[0] + error, before[1] + pictures

    def summary(self) -> dict:
        """{'pictures', 'region_color_error', 'ssim', 'psnr', 'by_class': {name: {'region_color_error', 'pictures'}}}.

        Means over the pictures that have the figure (equal pictures have no PSNR); None where none has. by_class has
        the classes by id, under their names where given; a name that two classes share has the id behind it.
        """
        summary = {"pictures": len(self.each), **self._means()}
        if "region_color_error" in self.figures:
            summary["by_class"] = {self._class_name(i): {"region_color_error": error * _UNIT / pictures, "pictures": pictures}
                                   for i, (error, pictures) in sorted(self._by_class.items())}
        return summary


def _blur(image):
    return cv2.GaussianBlur(image, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REFLECT)


def _same_shape(a, b):
    if np.shape(a) != np.shape(b) or np.ndim(a) != 3 or np.shape(a)[2] != 3:
        raise ValueError(f"two pictures of one shape (H, W, 3) are compared, not {np.shape(a)} and {np.shape(b)}")
