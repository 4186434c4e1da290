"""Outlines and lines as float arrays of points (N, 2): x to the right, y down."""
from __future__ import annotations

from functools import cache

import numpy as np


@cache
def _catmull_rom(count: int, per: int, closed: bool) -> np.ndarray:
    """The matrix (samples, count) that turns control points into a smooth curve through them."""
    spans = count if closed else count - 1
    t = np.linspace(0, 1, per, endpoint=False)
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1) / 2
    basis = np.zeros((spans * per + (not closed), count))
    for span in range(spans):
        for k in range(4):
            index = span + k - 1
            index = index % count if closed else min(max(index, 0), count - 1)
            basis[span * per:(span + 1) * per, index] += weights[:, k]
    if not closed:
        basis[-1, -1] = 1
    return basis


def smooth(points, per: int = 8, closed: bool = False) -> np.ndarray:
    """A Catmull-Rom curve through `points` (N, D), `per` samples between each two: (M, D)."""
    points = np.asarray(points, float)
    return _catmull_rom(len(points), per, closed) @ points


def symmetric(half) -> np.ndarray:
    """A closed smooth outline from its right half, given from the top of the axis to its bottom."""
    half = np.asarray(half, float)
    return smooth(np.concatenate([half, half[-2:0:-1] * (-1, 1)]), closed=True)


@cache
def _unit_superellipse(power: float, count: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.sign(unit) * np.abs(unit) ** (2 / power)


def superellipse(centre, rx: float, ry: float, power: float = 2.0, count: int = 48) -> np.ndarray:
    """A closed outline (count, 2): an ellipse at power 2, nearer to a rectangle above."""
    return _unit_superellipse(float(power), count) * (rx, ry) + centre


def ribbon(centre: np.ndarray, width) -> np.ndarray:
    """The closed outline of a line (N, 2) drawn with a pen of `width`, one number or one for each point."""
    step = np.empty_like(centre)
    step[1:-1] = centre[2:] - centre[:-2]
    step[0], step[-1] = centre[1] - centre[0], centre[-1] - centre[-2]
    half = np.asarray(width) / (2 * np.hypot(step[:, 0], step[:, 1]) + 1e-9)
    across = np.empty_like(centre)
    across[:, 0], across[:, 1] = -step[:, 1] * half, step[:, 0] * half
    return np.concatenate([centre + across, (centre - across)[::-1]])


def along(outline: np.ndarray, count: int) -> np.ndarray:
    """`count` points (count, 2) at equal steps along a closed outline."""
    looped = np.concatenate([outline, outline[:1]])
    place = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(looped, axis=0), axis=1))])
    at = np.linspace(0, place[-1], count, endpoint=False)
    return np.stack([np.interp(at, place, looped[:, k]) for k in (0, 1)], 1)


def tufts(outline: np.ndarray, rng: np.random.Generator, radius: float) -> list[np.ndarray]:
    """Round outlines of about `radius` strung along a closed outline; their union with it is a curly edge."""
    steps = np.linalg.norm(np.diff(outline, axis=0, append=outline[:1]), axis=1)
    middles = along(outline, max(8, int(steps.sum() / (1.1 * radius))))
    middles = middles + rng.uniform(-0.35, 0.35, middles.shape) * radius
    return [superellipse(middle, size, size, count=18)
            for middle, size in zip(middles, radius * rng.uniform(0.55, 1.15, len(middles)))]
