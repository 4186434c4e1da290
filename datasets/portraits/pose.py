"""Position and rotation of the head.

Head frame: 1 is the width of a picture that the face fills, the origin lies between the eyes,
x to the viewer's right, y down, z toward the viewer. Image frame: (0, 0) to (1, 1).
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHRUG = 0.035  # how far the shoulders are raised, so that they show below the chin
NECK_JOINT = np.array([0.0, 0.30])  # the head rolls about this point


@dataclass(frozen=True)
class Pose:
    """Angles in radians; positive yaw looks to the viewer's right, positive pitch looks up."""

    yaw: float
    pitch: float
    roll: float
    scale: float
    centre: tuple[float, float]

    def turn(self, points, depth=0.0, keep_width: bool = False) -> np.ndarray:
        """Yaw and pitch alone: (N, 2) of the head frame, at `depth`, as seen from the front.

        keep_width: for outlines, since a turned head shows other parts of a silhouette just as wide.
        """
        x, y = np.asarray(points, float).reshape(-1, 2).T
        sine, cosine = np.sin(self.yaw), np.cos(self.yaw)
        squeeze = 1 - 0.2 * (1 - cosine) if keep_width else cosine
        nearer = depth * cosine - (0 if keep_width else x * sine)
        turned = np.empty((len(x), 2))
        turned[:, 0] = x * squeeze + depth * sine
        turned[:, 1] = y * np.cos(self.pitch) - nearer * np.sin(self.pitch)
        return turned

    def head(self, points, depth=0.0, keep_width: bool = False) -> np.ndarray:
        """Points (N, 2) of the head frame into the image frame."""
        return self.place(self.turn(points, depth, keep_width))

    def face(self, points, lift: float = 0.0) -> np.ndarray:
        """Points (N, 2) that lie on the front of the face into the image frame."""
        return self.head(points, face_depth(points) + lift)

    def place(self, turned: np.ndarray) -> np.ndarray:
        """Roll, scale and shift: what `turn` returned into the image frame."""
        return (turned - NECK_JOINT) @ self._rotation().T * self.scale + NECK_JOINT * self.scale + self.centre

    def body(self, points) -> np.ndarray:
        """Points (N, 2) of the shoulders, which do not turn with the head, into the image frame."""
        return (np.asarray(points, float).reshape(-1, 2) - (0, SHRUG)) * self.scale + self.centre

    def placing(self) -> np.ndarray:
        """`place` as an affine matrix (2, 3)."""
        linear = self._rotation() * self.scale
        return np.column_stack([linear, NECK_JOINT * self.scale + self.centre - linear @ NECK_JOINT])

    def _rotation(self) -> np.ndarray:
        sine, cosine = np.sin(self.roll), np.cos(self.roll)
        return np.array([[cosine, -sine], [sine, cosine]])


def face_depth(points) -> np.ndarray:
    """How far (N,) the front of the face stands out at points (N, 2) of the head frame."""
    x, y = np.asarray(points, float).reshape(-1, 2).T
    return 0.22 * np.sqrt(np.maximum(1 - (x / 0.27) ** 2 - ((y - 0.02) / 0.5) ** 4, 0.02))
