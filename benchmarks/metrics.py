"""The cost of metrics: python -m benchmarks.metrics [--sizes 128 256 512]

For each metric that needs no weights, on pictures of noise: CPU time of a picture in milliseconds (the median), CPU time of the
final summary in seconds, and size of the state in megabytes.
"""
from __future__ import annotations

import argparse
import statistics
import time

import cv2
import numpy as np
import torch

from benchmarks._timing import report
from data.dataset_spec import face_spec
from util.metrics.registry import WITHOUT_WEIGHTS, Available, create


def main():
    """Measure every metric at every size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512], help="sides of the pictures")
    parser.add_argument("--pictures", type=int, default=64, help="how many are measured")
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for size in flags.sizes:
        for name in (*WITHOUT_WEIGHTS, "diversity"):
            measure(name, size, flags.pictures)


def measure(name: str, size: int, count: int) -> None:
    """One metric on `count` pictures of `size` x `size` pixels."""
    random, times = np.random.default_rng(0), []
    metrics = create(name, Available(spec=face_spec(), looks=2)) if name != "diversity" else _plain_diversity()
    for i in range(count):
        drawn, true = random.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
        label = random.integers(0, 19, (size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
        begun = time.process_time()
        metrics.add(f"p{i}", drawn, true, label, np.stack([drawn, true]))
        times.append(time.process_time() - begun)
    begun = time.process_time()
    metrics.summary()
    seconds = time.process_time() - begun
    report("metrics", name, size=size, ms=1000 * statistics.median(times), summary_s=seconds,
           state_mb=_bytes(metrics.state()) / 1e6)


def _plain_diversity():
    from util.metrics.collection import MetricSet
    from util.metrics.diversity import Diversity
    return MetricSet({"diversity": Diversity()})


def _bytes(value) -> int:
    """The bytes of the tensors in a nest of dicts and lists."""
    if isinstance(value, (dict, list)):
        return sum(map(_bytes, value.values() if isinstance(value, dict) else value))
    return value.numel() * value.element_size() if torch.is_tensor(value) else 0


if __name__ == "__main__":
    main()
