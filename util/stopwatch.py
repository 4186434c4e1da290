"""Timing of the training loop."""
from __future__ import annotations

import time


class Stopwatch:
    """Seconds a picture, and the share of time spent waiting for data, since the last `read`."""

    def __init__(self):
        self._begin()

    def _begin(self):
        self.started, self.waited, self.pictures = time.perf_counter(), 0.0, 0

    def waiting(self, batches):
        """Iterate over `batches`, measuring the time spent waiting for each."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self.waited += time.perf_counter() - asked
            yield batch

    @property
    def share(self) -> float:
        """The share of time spent waiting, 0..1."""
        return self.waited / max(time.perf_counter() - self.started, 1e-9)

    def read(self) -> tuple[float, float]:
        """(seconds a picture, share of waiting) since the last call; resets both."""
        seconds = (time.perf_counter() - self.started) / max(self.pictures, 1)
        share = self.share
        self._begin()
        return seconds, share
