"""What was computed lately, kept by a digest of what it was computed from."""
from __future__ import annotations

import hashlib
from collections import OrderedDict


class Recent:
    """A cache of at most `most` results. Not thread-safe: it is used in the model's thread alone."""

    def __init__(self, most: int):
        self.most, self._kept = most, OrderedDict()

    def get(self, work, *parts: bytes):
        """The result of `work()` for these parts, computed if it is not kept."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        key = digest.digest()
        if key not in self._kept:
            self._kept[key] = work()
            if len(self._kept) > self.most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
