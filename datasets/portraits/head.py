"""The outlines of head and ears."""
from __future__ import annotations

import numpy as np

from datasets.portraits.curves import smooth, symmetric
from datasets.portraits.look import Look


def head_outline(look: Look) -> np.ndarray:
    """The whole head without hair, chin to skull, as a closed outline (N, 2) in the image frame."""
    drop, w, jaw = look.chin + 0.02 * look.mouth_open, look.width, look.jaw
    half = [(0, -0.395), (0.115 * w, -0.372), (0.198 * w, -0.290), (0.236 * w, -0.160), (0.243 * w, -0.030),
            (0.240 * w, 0.080), ((0.221 + 0.010 * jaw) * w, 0.180), ((0.172 + 0.034 * jaw) * w, 0.285 + 0.5 * drop),
            ((0.100 + 0.036 * jaw) * w, 0.372 + drop), (0.046 + 0.022 * jaw, 0.408 + drop), (0, 0.415 + drop)]
    outline = symmetric(half)
    chin = np.clip((outline[:, 1] - 0.12) / 0.3, 0, 1)
    return look.pose.head(outline, 0.15 * chin ** 1.5 - 0.01, keep_width=True)


def ear_outline(look: Look, side: int, inset: float = 0.0) -> np.ndarray:
    """An ear, `side` -1 or +1, as a closed outline (N, 2) in the image frame."""
    points = np.array([(0.225, -0.035), (0.262, -0.048), (0.290, -0.015), (0.286, 0.045), (0.268, 0.095),
                       (0.257, 0.140), (0.238, 0.152), (0.222, 0.120)])
    middle = np.array([0.262, 0.040])
    points = smooth(middle + (points - middle) * (1 - inset), closed=True)
    return look.pose.head(points * (side * look.width, 1), -0.12, keep_width=True)
