"""The shapes of hair: each style as sheets of curves that run from the roots to the tips.

A sheet is an array (K, P, 3): K curves of P points (x, y, depth) in the head frame, from one edge to the other.
"""
from __future__ import annotations

import numpy as np

from datasets.portraits.curves import smooth
from datasets.portraits.look import Look
from datasets.portraits.pose import face_depth

POINTS = 28  # along each curve
VOLUME = {"short": 0.035, "quiff": 0.014, "buzz": 0.010, "curly": 0.070, "bob": 0.050, "long": 0.045, "wavy": 0.060,
          "bun": 0.028, "afro": 0.105, "receding": 0.016, "bald": 0.0}
HAIRLINE = {"receding": -0.325, "buzz": -0.262, "bun": -0.272, "quiff": -0.258}


def _even(points) -> np.ndarray:
    """A smooth curve through points (N, D), resampled to POINTS at equal steps."""
    curve = smooth(points, per=10)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve[:, :2], axis=0), axis=1))])
    at = np.linspace(0, length[-1], POINTS)
    return np.stack([np.interp(at, length, curve[:, k]) for k in range(curve.shape[1])], 1)


def _at_depth(points, depth: float) -> np.ndarray:
    points = np.asarray(points, float)
    return np.column_stack([points, np.full(len(points), depth)])


def _on_face(points, lift: float = 0.0) -> np.ndarray:
    points = np.asarray(points, float)
    return np.column_stack([points, np.maximum(face_depth(points), 0.02) + lift])


def _skull_arc(look: Look, side: int, volume: float, start: float, end: float, count: int = 7) -> np.ndarray:
    """Points (count, 2) around the skull at `volume` above it, from head frame x `start` to an angle `end`."""
    rx, ry = 0.243 * look.width + 0.85 * volume, 0.268 + volume
    first = np.arcsin(np.clip(side * start / rx, -0.9, 0.9))
    angle = np.linspace(first, end, count)
    return np.stack([side * rx * np.sin(angle), -0.130 - ry * np.cos(angle)], 1)


def _hairline(look: Look, side: int) -> np.ndarray:
    high = HAIRLINE.get(look.style, -0.245)
    w = look.width
    return np.array([(look.part, high), (look.part * 0.5 + side * 0.095, high + 0.012),
                     (side * 0.168 * w, high * 0.80), (side * 0.206 * w, high * 0.5), (side * 0.222 * w, -0.045)])


def length_of(look: Look, rng: np.random.Generator) -> float:
    """Where long hair ends, as y in the head frame."""
    return rng.uniform(0.24, 0.42) if look.style == "bob" else rng.uniform(0.55, 0.95)


def _kept_inside(look: Look, side: int, inner: np.ndarray, outer: np.ndarray, depth: float) -> np.ndarray:
    """`inner` (P, 3) brought back as far as it must be so that, on the far side of a turned head, it does not
    pass `outer` (P, 2), which lies at `depth`."""
    away = side * np.sin(look.pose.yaw)
    if away > 0.01:
        room = side * (np.interp(inner[:, 1], outer[:, 1], outer[:, 0]) - inner[:, 0])
        inner[:, 2] = np.minimum(inner[:, 2], depth + (room - 0.006) / away)
    return inner


def side_sheet(look: Look, side: int, end: float, rng: np.random.Generator) -> np.ndarray:
    """Hair from the parting down one side, to the sideburn or, where it hides the ears, down to y `end`."""
    volume = min(VOLUME[look.style], 0.015) if look.hat else VOLUME[look.style]
    line = _hairline(look, side)
    if look.style in ("bob", "long", "wavy"):
        arc = _skull_arc(look, side, volume, look.part, 1.75)
        wide = 0.290 + volume + rng.uniform(0, 0.04)
        outer = np.concatenate([arc, [(side * wide, end * 0.45), (side * (wide + 0.01), end * 0.8),
                                      (side * (wide - 0.03), end)]])
        close = 0.262 if look.tucked else rng.uniform(0.195, 0.222)
        inner = np.concatenate([line, [(side * (close + 0.005), 0.08), (side * close, 0.20), (side * close, end * 0.7),
                                       (side * (close + rng.uniform(-0.05, 0.03)), end)]])
        depth = 0.0
    else:
        low = {"afro": 0.10, "curly": 0.07}.get(look.style, rng.uniform(-0.01, 0.03))
        outer = np.concatenate([_skull_arc(look, side, volume, look.part, 1.62),
                                [(side * (0.240 + 0.4 * volume), low)]])
        inner = np.concatenate([line, [(side * 0.226 * look.width, low + 0.035)]])
        depth = -0.01
    outer, inner = _even(_at_depth(outer, depth)), _kept_inside(look, side, _even(_on_face(inner)), _even(outer), depth)
    middle = (outer + inner) / 2
    middle[:, :2] *= 1.015
    return np.stack([outer, middle, inner])


def back_sheet(look: Look, end: float) -> np.ndarray:
    """Hair behind the neck, down to y `end`, drawn before neck and clothes."""
    volume = min(VOLUME[look.style], 0.015) if look.hat else VOLUME[look.style]
    wide = 0.275 + volume
    edges = []
    for side in (-1, 1):
        arc = _skull_arc(look, side, volume * 0.9, 0.0, 1.7)
        fall = [(side * wide, end * 0.5), (side * wide * 1.02, end * 0.85), (side * wide * 0.92, end)]
        edges.append(_even(_at_depth(np.concatenate([arc, fall]), -0.08)))
    middle = _even(_at_depth([(0, -0.30), (0, 0.0), (0, end * 0.6), (0, end * 1.04)], -0.08))
    return np.stack([edges[0], middle, edges[1]])


def crown_sheet(look: Look, rng: np.random.Generator) -> np.ndarray:
    """A quiff: hair that rises from the hairline and is swept up and aside."""
    high, lean = rng.uniform(0.045, 0.10), rng.uniform(-0.06, 0.06)
    w = look.width
    left = [(-0.200 * w, -0.190), (-0.232 * w, -0.270), (-0.205 + lean, -0.345 - 0.5 * high)]
    right = [(0.200 * w, -0.190), (0.232 * w, -0.270), (0.205 + lean, -0.345 - 0.5 * high)]
    curves = [left, [(-0.10, -0.248), (-0.115 + 0.3 * lean, -0.33), (-0.10 + lean, -0.395 - high)],
              [(0.10, -0.248), (0.115 + 0.3 * lean, -0.33), (0.10 + lean, -0.395 - high)], right]
    return np.stack([_even(_on_face(curve, -0.04)) for curve in curves])


def fringe_sheet(look: Look, rng: np.random.Generator) -> np.ndarray | None:
    """Hair over the forehead: swept to one side, or cut straight; None where there is none."""
    top = -0.385 - 0.7 * VOLUME[look.style]
    if look.fringe == "swept":
        side = 1 if look.part < 0 else -1
        low = rng.uniform(-0.09, -0.03)
        p = look.part
        upper = [(p - side * 0.01, top), (p + side * 0.12, top + 0.025), (side * 0.215, -0.235), (side * 0.246, low)]
        lower = [(p - side * 0.03, top + 0.10), (p + side * 0.03, -0.205), (side * 0.115, -0.150), (side * 0.225, low)]
        return np.stack([_even(_on_face(curve, 0.0)) for curve in (upper, lower)])
    if look.fringe == "blunt":
        low = rng.uniform(-0.115, -0.080)
        xs = np.array([-0.232, -0.12, 0.0, 0.12, 0.232])
        tips = low + np.array([0.03, 0.006, 0.0, 0.006, 0.03])
        return np.stack([_even(_on_face([(0.35 * x, top), (0.75 * x, -0.31), (x * 0.97, -0.21), (x, tip)], 0.01))
                         for x, tip in zip(xs, tips)])
    return None
