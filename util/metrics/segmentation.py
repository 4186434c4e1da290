"""How well two label maps agree, such as a parsed and the true one: IoU of each class, share of equal pixels, kappa."""
from __future__ import annotations

import numpy as np
import torch

from util.metrics.base import Figure, Metric


def confusion(parsed, true, classes: int) -> np.ndarray:
    """(classes, classes) int64: [t, p] counts the pixels of true class t that were parsed as p.

    Args:
        parsed, true: arrays of one shape, integer ids. Pixels whose true id is outside 0..classes-1 are left out.
    """
    parsed, true = np.asarray(parsed), np.asarray(true)
    if parsed.shape != true.shape:
        raise ValueError(f"two label maps of one shape are compared, not {parsed.shape} and {true.shape}")
    parsed, true = parsed.reshape(-1).astype(np.int64), true.reshape(-1).astype(np.int64)
    known = (true >= 0) & (true < classes)
    return np.bincount(true[known] * classes + parsed[known], minlength=classes ** 2).reshape(classes, classes)


def ious(counts) -> np.ndarray:
    """(classes,) float: intersection over union from `confusion`; NaN for a class that occurs in neither map."""
    hit = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - hit
    return np.divide(hit, union, out=np.full(len(counts), np.nan), where=union > 0)


def kappa(counts) -> float:
    """Cohen's kappa (1960) from `confusion`: how much more of two maps is equal than chance makes equal.

    1 for equal maps, about 0 for maps that have nothing to do with each other; 0 too where each is all of one class, in
    which there is nothing to agree on.
    """
    shares = counts / max(1, counts.sum())
    chance = float(shares.sum(0) @ shares.sum(1))
    return 0.0 if chance > 1 - 1e-9 else (float(np.trace(shares)) - chance) / (1 - chance)


class SegmentationMetrics(Metric):
    """IoU and pixel accuracy; all from 0 to 1. IoUs are of all pictures' pixels together (Everingham et al. 2010)."""

    figures = {"miou": Figure("mean IoU", 1), "miou_large": Figure("mean IoU of large classes", 1),
               "pixel_accuracy": Figure("pixel accuracy", 1)}

    def __init__(self, classes: int, class_names=None, min_share: float = 0.005):
        """min_share: the classes that take up more than this share of all true pixels make `miou_large`."""
        super().__init__(class_names, {"classes": classes})
        self._classes, self._min_share = classes, min_share
        self._counts = np.zeros((classes, classes), np.int64)
        self._seen = np.zeros(classes, np.int64)

    def measure(self, name, parsed, true, label=None) -> dict:
        """parsed, true: (H, W) integer ids. Gives mIoU and pixel accuracy."""
        counts = confusion(parsed, true, self._classes)
        self._counts += counts
        self._seen += counts.sum(1) > 0
        return _means(counts, counts.sum(1) > 0)

    def _sums(self):
        return {"counts": torch.from_numpy(self._counts.copy()), "seen": torch.from_numpy(self._seen.copy())}

    def _add_sums(self, state):
        self._counts += state["counts"].numpy()
        self._seen += state["seen"].numpy()

    def summary(self) -> dict:
        """{'pictures', 'miou', 'miou_large', 'pixel_accuracy', 'by_class': {name: {'iou', 'share', 'pictures'}}}.

        miou: mean over the classes that truly occur; None without pictures. share: of all true pixels.
        """
        share = self._counts.sum(1) / max(1, self._counts.sum())
        each = ious(self._counts)
        large = share > self._min_share
        by_class = {self._class_name(i): {"iou": float(each[i]), "share": float(share[i]), "pictures": int(self._seen[i])}
                    for i in np.flatnonzero(share)}
        means = _means(self._counts, share > 0)
        return {"pictures": len(self.each), "miou": means["miou"],
                "miou_large": float(each[large].mean()) if large.any() else None,
                "pixel_accuracy": means["pixel_accuracy"], "by_class": by_class}


def _means(counts, wanted) -> dict:
    """mIoU over the classes in `wanted`, and pixel accuracy; None where there is nothing to compare."""
    if not counts.sum():
        return {"miou": None, "pixel_accuracy": None}
    return {"miou": float(ious(counts)[wanted].mean()), "pixel_accuracy": float(np.trace(counts) / counts.sum())}
