"""Which data were compared: the size and a digest of each picture's truth, so that figures of other data are told apart."""
from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from util.metrics.base import Metric


class ComparedData(Metric):
    """Gives no figures; its `each` says of every picture {'name', 'size': '128x128', 'truth': digest or None}."""

    requires = ()

    def measure(self, name, drawn, true=None, label=None) -> dict:
        """truth: of the true picture and the label map, as they are compared; None without either."""
        shape = np.shape(drawn if drawn is not None else true)
        found = hashlib.blake2b(digest_size=8)
        if true is not None:
            found.update(np.ascontiguousarray(true))
        if label is not None:
            found.update(np.ascontiguousarray(label, np.int32))
        known = true is not None or label is not None
        return {"size": f"{shape[1]}x{shape[0]}", "truth": found.hexdigest() if known else None}

    def add(self, name, drawn, true=None, label=None, looks=None) -> dict:
        """As of every metric; but what a picture is compared with is no figure of it."""
        super().add(name, drawn, true, label)
        return {}

    def summary(self) -> dict:
        """{'pictures', 'sizes': {'128x128': pictures}}."""
        return {"pictures": len(self.each), "sizes": dict(Counter(one["size"] for one in self.each))}
