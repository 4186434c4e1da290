"""SSIM and sharpness inside the parts of a picture that people look at, such as eyes, mouth and hair."""
from __future__ import annotations

import cv2
import numpy as np

from util.metrics.base import Figure, Metric, check_sizes
from util.metrics.pictures import luma, ssim_map

LEAST_PIXELS = 16  # a smaller part of a picture has no figures there: a few pixels of a border say nothing about it
LEAST_GRADIENT = 1.0  # grey levels a pixel: nor has a part of less than that in truth a sharpness of its own


def squared_gradient(image) -> np.ndarray:
    """(H, W) float64: squared Sobel gradient of the luma of an (H, W, 3) uint8 picture, in grey levels a pixel."""
    bright = luma(image)
    return sum(cv2.Sobel(bright, cv2.CV_64F, *order, ksize=3, scale=1 / 8) ** 2 for order in ((1, 0), (0, 1)))


def inner_quarter(mask) -> np.ndarray:
    """(H, W) bool: the quarter of an (H, W) uint8 mask's pixels that lie farthest from its border."""
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    return (mask > 0) & (depth >= np.quantile(depth[mask > 0], 0.75, method="higher"))


def part_figures(drawn, true, label, parts: dict[str, list[int]]) -> dict[str, tuple[float, float, float]]:
    """{part: (SSIM, gradient drawn, gradient true)} of the parts that a picture has.

    SSIM is the mean over the part's pixels of the SSIM map of the whole picture. The gradients are root mean squares in the
    part's inner quarter, in grey levels a pixel. (The jump at a part's border comes from the label map: with it, hair without a
    single strand is sharp. And a blurred border reaches into the part.)

    Args:
        drawn, true: (H, W, 3) uint8.
        label: (H, W) class ids. parts: {part: ids of its classes}.
    """
    similar, energies = ssim_map(drawn, true), [squared_gradient(picture) for picture in (drawn, true)]
    label, figures = np.asarray(label), {}
    for part, ids in parts.items():
        member = np.zeros(max(label.max(), *ids) + 1, np.uint8)
        member[ids] = 1
        mask = member[label]
        if np.count_nonzero(mask) >= LEAST_PIXELS:
            inside = inner_quarter(mask)
            figures[part] = float(similar[mask > 0].mean()), *(float(np.sqrt(one[inside].mean())) for one in energies)
    return figures


class PartMetrics(Metric):
    """SSIM and sharpness of each part; a part is a set of classes, as "parts" in dataset.json names them.

    Sharpness is the root of the mean squared gradient, drawn : true; 1 is as sharp as the truth, less is blurred.
    """

    requires = ("drawn", "true", "label")

    def __init__(self, parts: dict[str, list[int]]):
        """parts: {part: ids of the classes it is made of}."""
        super().__init__(settings={"parts": {part: list(ids) for part, ids in parts.items()}})
        self._parts = self.settings["parts"]
        self.figures = {f"ssim_{part}": Figure(f"SSIM in {part}", 1) for part in parts}
        self.figures |= {f"sharpness_{part}": Figure(f"sharpness of {part}", 1) for part in parts}

    @classmethod
    def create(cls, only, available):
        return cls(available.parts)

    def measure(self, name, drawn, true, label) -> dict:
        """Of each part 'ssim_', 'sharpness_' and its two sides; None where it has fewer than 16 pixels.

        Nor has a part a sharpness that is plain in truth (less than one grey level a pixel).
        """
        check_sizes(name, drawn, true, label)
        found, figures = part_figures(drawn, true, label, self._parts), {}
        for part in self._parts:
            ssim, gradient, true_gradient = found.get(part, (None, None, None))
            sharp = gradient / true_gradient if true_gradient is not None and true_gradient >= LEAST_GRADIENT else None
            figures |= {f"ssim_{part}": ssim, f"sharpness_{part}": sharp, f"sharpness_{part}_drawn": gradient,
                        f"sharpness_{part}_true": true_gradient}
        return figures

    def summary(self) -> dict:
        """{'pictures', 'ssim_<part>', 'sharpness_<part>', 'by_part': {part: {'ssim', 'sharpness', 'pictures'}}}.

        Over the pictures that have the part, of which by_part tells the number: SSIM's mean, and for sharpness the ratio of
        the root mean squares of all their gradients, so that a picture counts by how much there is to see in it.
        """
        means = self._means()
        by_part = {part: {"ssim": means[f"ssim_{part}"], "sharpness": means[f"sharpness_{part}"],
                          "pictures": sum(one[f"ssim_{part}"] is not None for one in self.each)} for part in self._parts}
        return {"pictures": len(self.each), **means, "by_part": by_part}
