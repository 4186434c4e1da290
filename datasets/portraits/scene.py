"""The state that the parts of a portrait are drawn with."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from datasets.portraits.canvas import Canvas, Patch
from datasets.portraits.head import head_outline
from datasets.portraits.light import Light, lit_skin
from datasets.portraits.look import Look
from datasets.portraits.pose import Pose


@dataclass
class Scene:
    """A portrait being drawn; `diffuse` and `gloss` are the light on the head, (size, size) float32.

    `rng` is replaced before each part is drawn, so that the parts are random independently of each other.
    """

    canvas: Canvas
    look: Look
    light: Light
    diffuse: np.ndarray
    gloss: np.ndarray
    rng: np.random.Generator

    @property
    def pose(self) -> Pose:
        return self.look.pose

    @cached_property
    def head_outline(self) -> np.ndarray:
        """The head without hair, (N, 2) in the image frame."""
        return head_outline(self.look)

    @cached_property
    def head(self) -> Patch:
        """The patch of the head."""
        return self.canvas.cover(self.head_outline)

    def skin(self, patch: Patch, colour=None, shine: float = 1.0) -> np.ndarray:
        """Lit skin over a patch, (h, w, 3) float32, in the person's tone or in `colour`."""
        window = patch.rows, patch.cols
        return lit_skin(self.look.skin if colour is None else colour, self.diffuse[window], self.gloss[window] * shine)

    def lit(self, patch: Patch, colour, depth: float = 0.7) -> np.ndarray:
        """A matt colour over a patch, (h, w, 3) float32, that takes `depth` of the head's light."""
        light = 1 + depth * (self.diffuse[patch.rows, patch.cols] - 1)
        return np.clip(light[..., None] * np.asarray(colour, np.float32), 0, 1)
