"""A label map blended over its photo."""
from __future__ import annotations

import numpy as np

_STRENGTH = 0.5


def overlay(photo: np.ndarray, colors: np.ndarray, clear: np.ndarray | None = None) -> np.ndarray:
    """Blend photo and colours half and half, with a border of pure colour around every region.

    Args:
        photo, colors: (H, W, 3) uint8.      clear: (H, W) bool, where only the photo is shown (the background).

    Returns:
        (H, W, 3) uint8.
    """
    mixed = photo * (1 - _STRENGTH) + colors * _STRENGTH
    if clear is not None:
        mixed = np.where(clear[:, :, None], photo, mixed)
    border = np.zeros(photo.shape[:2], bool)
    border[1:] |= (colors[1:] != colors[:-1]).any(2)
    border[:, 1:] |= (colors[:, 1:] != colors[:, :-1]).any(2)
    return np.where(border[:, :, None], colors, np.rint(mixed)).astype(np.uint8)
