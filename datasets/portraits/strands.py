"""Hair texture: many thin lines that follow the way the hair falls."""
from __future__ import annotations

import cv2
import numpy as np

from datasets.portraits.canvas import SHIFT, Patch, fixed_point

TONES = 10  # strands are drawn in this many shades


def draw_strands(size: int, patch: Patch, strands: np.ndarray, tones: np.ndarray, width: float) -> np.ndarray:
    """Lines (N, P, 2) of the image frame, lighter or darker by `tones` (N,) in -1..1, over a patch.

    Returns (h, w) float32 in -1..1, 0 where no line runs. `width` is a share of the picture's `size`.
    """
    field = np.full(patch.alpha.shape, 128, np.uint8)
    if not field.size:
        return field.astype(np.float32)
    shade = np.round((tones - tones.min()) / max(np.ptp(tones), 1e-6) * (TONES - 1)).astype(int)
    lines = fixed_point(strands * size - (patch.cols.start, patch.rows.start))
    pen = max(1, round(width * size))
    # In random order, else the lightest strands would be drawn over all others.
    for step in np.random.default_rng(len(tones)).permutation(TONES):
        chosen = list(lines[shade == step])
        if chosen:
            value = 128 + 127 * float(tones[shade == step].mean())
            cv2.polylines(field, chosen, False, round(value), pen, cv2.LINE_AA, SHIFT)
    return (field.astype(np.float32) - 128) / 127


def between(first: np.ndarray, last: np.ndarray, count: int, rng: np.random.Generator, wave: float = 0.0,
            cycles: float = 3.0) -> np.ndarray:
    """`count` strands (count, P, 2) that fill the sheet between two curves (P, 2); `wave` is how far they curl."""
    share = np.sort(rng.uniform(0, 1, count))[:, None, None]
    strands = first * (1 - share) + last * share
    along = np.gradient(strands, axis=1)
    across = np.stack([-along[..., 1], along[..., 0]], -1)
    across /= np.linalg.norm(across, axis=-1, keepdims=True) + 1e-6
    t = np.linspace(0, 1, first.shape[0])
    phase = 2 * np.pi * (cycles * t[None] + 0.6 * share[..., 0] + rng.uniform(-0.05, 0.05, (count, 1)))
    reach = wave * np.sqrt(t)[None] * np.sin(phase) + rng.normal(0, 0.004, (count, 1)) * np.sin(np.pi * t)[None]
    return strands + across * reach[..., None]


def curls(outline: np.ndarray, count: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """`count` arcs (count, 9, 2) of about `radius`, strewn over the box of an outline."""
    middle = rng.uniform(outline.min(0), outline.max(0), (count, 2))[:, None]
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 4.2, 9)[None]
    size = radius * rng.uniform(0.5, 1.2, (count, 1))
    return middle + np.stack([np.cos(angle) * size, np.sin(angle) * size], -1)
