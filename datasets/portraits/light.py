"""Soft light on the head: the face as a relief, lit from one direction."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datasets.portraits.pose import Pose, face_depth

GRID = 144  # the relief is smooth, so light is computed on this grid for all sizes
REACH = 0.72  # the grid spans -REACH..REACH of the head frame
EDGE = 0.93  # of the dome, as a share of the head's radius

# (x, y, how far it stands out of the face, width, height, amount); those with x > 0 also come mirrored.
BUMPS = (
    (0.0, 0.045, 0.02, 0.020, 0.070, 0.034),  # bridge of the nose
    (0.0, 0.140, 0.06, 0.030, 0.027, 0.050),  # tip of the nose
    (0.042, 0.152, 0.03, 0.019, 0.018, 0.022),  # wings of the nose
    (0.118, 0.000, 0.00, 0.058, 0.034, -0.030),  # eye sockets
    (0.105, -0.085, 0.00, 0.080, 0.022, 0.012),  # brow ridges
    (0.150, 0.115, 0.00, 0.052, 0.050, 0.028),  # cheeks
    (0.090, 0.200, 0.00, 0.026, 0.060, -0.010),  # folds between cheek and mouth
    (0.0, 0.255, 0.00, 0.085, 0.050, 0.022),  # mouth
    (0.0, 0.318, 0.00, 0.055, 0.014, -0.012),  # dip below the lower lip
    (0.0, 0.372, 0.00, 0.050, 0.034, 0.026),  # chin
    (0.0, -0.200, 0.00, 0.130, 0.070, 0.014),  # forehead
)


@dataclass(frozen=True)
class Light:
    """`direction` (3,) points from the face to the light; `ambient` 0..1 fills the shadows."""

    direction: np.ndarray
    ambient: float


def sample_light(rng: np.random.Generator) -> Light:
    """A light above the head, anywhere from left to right."""
    direction = np.array([rng.uniform(-0.85, 0.85), rng.uniform(-0.75, -0.25), 1.0])
    return Light(direction / np.linalg.norm(direction), rng.uniform(0.35, 0.55))


def _height(pose: Pose) -> np.ndarray:
    axis = np.linspace(-REACH, REACH, GRID, dtype=np.float32)
    # A dome that goes on as a cone past the edge of the head, for the hair that lies there.
    out = np.hypot(axis[None] / 0.285, axis[:, None] / 0.47)
    inner = np.minimum(out, EDGE)
    height = 0.23 * (np.sqrt(1.1 - inner**2) - EDGE / np.sqrt(1.1 - EDGE**2) * (out - inner))
    for x, y, lift, wide, high, amount in BUMPS:
        for side in (-1, 1) if x else (1,):
            at = np.array([[side * x, y]])
            cx, cy = pose.turn(at, face_depth(at) + lift)[0]
            height += amount * np.outer(np.exp(-0.5 * ((axis - cy) / high) ** 2),
                                        np.exp(-0.5 * ((axis - cx) / wide) ** 2)).astype(np.float32)
    return height


def light_head(pose: Pose, light: Light, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse light, 1 where the face looks at the viewer, and gloss 0..1: two (size, size) float32 fields."""
    slope_y, slope_x = np.gradient(_height(pose), 2 * REACH / (GRID - 1))
    normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    sine, cosine = np.sin(pose.roll), np.cos(pose.roll)
    lx, ly, lz = light.direction
    toward = np.array([lx * cosine + ly * sine, ly * cosine - lx * sine, lz], np.float32)
    diffuse = light.ambient + (1 - light.ambient) * np.maximum(normal @ toward, 0) / lz
    half = toward + np.array([0, 0, 1], np.float32)
    gloss = np.maximum(normal @ (half / np.linalg.norm(half)), 0) ** 40
    step = 2 * REACH / (GRID - 1)
    placing = pose.placing() * size
    to_image = np.column_stack([placing[:, :2] * step, placing[:, 2] - REACH * placing[:, :2].sum(1) - 0.5])
    return tuple(cv2.warpAffine(field.astype(np.float32), to_image, (size, size), flags=cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REPLICATE)
                 for field in (np.clip(diffuse + 0.04, 0.45, 1.12), gloss))


def lit_skin(colour: np.ndarray, diffuse: np.ndarray, gloss: np.ndarray) -> np.ndarray:
    """A skin colour (3,) under the light fields (h, w): (h, w, 3) float32; shadows go warm, as skin's do."""
    tinted = np.power(diffuse[..., None], np.array([0.8, 1.05, 1.15], np.float32)) * np.asarray(colour, np.float32)
    return np.minimum(tinted + gloss[..., None] * np.array([0.07, 0.065, 0.06], np.float32), 1)
