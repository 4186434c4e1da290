"""Diversity: how much several drawings of one label map differ from each other."""
from __future__ import annotations

import itertools

import numpy as np

from util.metrics.base import Figure, Metric, NotComputed, check_picture, check_sizes
from util.metrics.lpips import check_least, distances, load_lpips
from util.metrics.pictures import ssim

LPIPS, DISSIMILARITY = "LPIPS", "1 - SSIM"


class Diversity(Metric):
    """The mean distance of two looks of one label map: LPIPS, or 1 - SSIM where its weights cannot be had.

    The two are different figures: the summary says which it is, and they are never joined. 0: all looks are the same.
    """

    requires = ("looks",)

    def __init__(self, network=None, weights: str = "", device="cpu", reason: str = ""):
        """network: as `load_lpips` gives it; None for 1 - SSIM. reason: why it is 1 - SSIM, if LPIPS was wanted."""
        super().__init__(settings={"measure": LPIPS if network is not None else DISSIMILARITY, "weights": weights})
        self.figures = {"diversity": Figure(f"diversity ({self.settings['measure']})", float("inf"))}
        self._network, self._device, self._reason = network, device, reason

    @classmethod
    def create(cls, only, available):
        try:
            return cls(*load_lpips(available.lpips_weights, available.device), available.device)
        except NotComputed as reason:
            return cls(reason=str(reason))

    def add(self, name, drawn, true=None, label=None, looks=None) -> dict:
        """Measure the looks of one label map, at least two; `drawn` is not looked at."""
        if looks is None or len(looks) < 2:
            raise ValueError(f"{name}: diversity compares two looks or more")
        for look in looks:
            check_sizes(name, check_picture(name, look), looks[0])
        figures = {"diversity": float(np.mean(self._distances(name, looks)))}
        self.each.append({"name": str(name), **figures})
        return figures

    def _distances(self, name, looks) -> list[float]:
        pairs = list(itertools.combinations(looks, 2))
        if self._network is None:
            return [1 - ssim(a, b) for a, b in pairs]
        check_least(name, looks[0])
        return distances(self._network, *map(np.stack, zip(*pairs)), self._device)

    def of_truth(self, summary):
        """Nothing: of a label map there is one photo."""
        return dict.fromkeys(self.figures)

    def summary(self) -> dict:
        """{'pictures', 'diversity', 'measure': 'LPIPS' or '1 - SSIM', 'weights', 'notes': [why it is not LPIPS]}."""
        return {"pictures": len(self.each), **self._means(), **self.settings, "notes": [self._reason] if self._reason else []}
