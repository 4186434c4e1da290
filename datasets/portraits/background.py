"""The background: a studio wall, lights out of focus, a landscape, or panels."""
from __future__ import annotations

import cv2
import numpy as np

from datasets.portraits.canvas import SHIFT, Canvas, fixed_point, noise
from datasets.portraits.curves import superellipse
from datasets.portraits.palette import any_colour, mix

GRID = 128  # a background is out of focus, so it is drawn on this grid and enlarged


def _gradient(rng, first, second) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, GRID)
    share = np.clip(0.5 + np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None], 0, 1)[..., None]
    return (first * (1 - share) + second * share).astype(np.float32)


def _studio(rng) -> np.ndarray:
    base = any_colour(rng)
    picture = _gradient(rng, base, mix(base, any_colour(rng), 0.35))
    axis = np.linspace(-1, 1, GRID)
    glow = np.exp(-((axis[None] - rng.uniform(-0.5, 0.5)) ** 2 + (axis[:, None] + rng.uniform(-0.2, 0.6)) ** 2) / 0.9)
    return picture * (0.78 + 0.35 * glow[..., None]) + 0.03 * noise(rng, 5, GRID)[..., None]


def _bokeh(rng) -> np.ndarray:
    base = any_colour(rng, value=(0.1, 0.55))
    picture = _gradient(rng, base, mix(base, any_colour(rng), 0.5))
    tint = any_colour(rng, saturation=(0.2, 0.8), value=(0.7, 1.0))
    for _ in range(rng.integers(14, 30)):
        disc = superellipse(rng.uniform(0, 1, 2), *[rng.uniform(0.02, 0.085)] * 2)
        field = np.zeros((GRID, GRID), np.uint8)
        cv2.fillPoly(field, [fixed_point(disc * GRID)], 255, cv2.LINE_AA, SHIFT)
        picture[field > 0] += (mix(tint, any_colour(rng, value=(0.7, 1.0)), 0.4) - picture[field > 0]) \
            * rng.uniform(0.12, 0.4)
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.0)


def _landscape(rng) -> np.ndarray:
    sky = any_colour(rng, (0.15, 0.55), (0.65, 0.97))
    picture = _gradient(rng, sky, mix(sky, any_colour(rng, (0.1, 0.5), (0.8, 1.0)), 0.5))
    land, horizon = any_colour(rng, (0.2, 0.6), (0.3, 0.7)), rng.uniform(0.3, 0.6)
    for distance in (0.6, 0.3, 0.0):
        x = np.linspace(0, 1, 9)
        ridge = horizon + (0.6 - distance) * 0.35 + rng.uniform(-0.07, 0.07, 9)
        hill = np.concatenate([np.stack([x, ridge], 1), [(1.1, 1.1), (-0.1, 1.1)]])
        cv2.fillPoly(picture, [fixed_point(hill * GRID)], mix(land, sky, distance).tolist(), cv2.LINE_AA, SHIFT)
        land = land * rng.uniform(0.75, 1.0)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.5, 4))


def _panels(rng) -> np.ndarray:
    first = any_colour(rng)
    picture = _gradient(rng, first, first * 0.8)
    second = mix(first, any_colour(rng), rng.uniform(0.3, 0.8))
    edges = np.sort(rng.uniform(0, 1, 2 * rng.integers(2, 5)))
    lean = rng.uniform(-0.1, 0.1)
    for left, right in edges.reshape(-1, 2):
        panel = np.array([(left, -0.1), (right, -0.1), (right + lean, 1.1), (left + lean, 1.1)])
        cv2.fillPoly(picture, [fixed_point(panel * GRID)], second.tolist(), cv2.LINE_AA, SHIFT)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.0, 4))


def draw_background(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fill the whole picture; its labels are background already."""
    kind = (_studio, _bokeh, _landscape, _panels)[rng.choice(4, p=[0.4, 0.22, 0.22, 0.16])]
    picture = cv2.resize(kind(rng).astype(np.float32), (canvas.size, canvas.size), interpolation=cv2.INTER_CUBIC)
    canvas.picture[:] = np.clip(picture, 0, 1)
