"""Augmentation for face parsing: colour jitter, scaling, rotation and translation, alike for a photo and its label map."""
from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from models.losses.ohem import IGNORED

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Augment:
    """Random transforms of each picture, which follow from (seed, epoch, index).

    jitter, zoom: ranges as shares in [0, 1). turn: range in degrees. 0 turns a transform off.
    """

    def __init__(self, jitter: float, zoom: float, turn: float, seed: int):
        self.jitter, self.zoom, self.turn, self.seed = jitter, zoom, turn, seed

    def __call__(self, image: torch.Tensor, label: torch.Tensor, epoch: int, indices) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, H, W) in [-1, 1] and (N, H, W) int64 -> the same, transformed; label pixels from outside the map are
        IGNORED."""
        randoms = [np.random.default_rng((self.seed, epoch, int(index), 1)) for index in indices]
        if self.jitter:
            image = torch.stack([self._jitter(one, random) for one, random in zip(image, randoms)])
        if self.zoom or self.turn:
            image, label = self._move(image, label, randoms)
        return image, label

    def _jitter(self, image, random):
        brightness, contrast, saturation = (float(1 + v) for v in random.uniform(-self.jitter, self.jitter, 3))
        image = (image + 1) * brightness
        if len(image) == 3:
            grey = torch.tensordot(image.new_tensor(_GREY), image, 1)[None]
            image = grey + (image - grey) * saturation
        mean = image.mean()
        return (mean + (image - mean) * contrast).clamp(0, 2) - 1

    def _move(self, image, label, randoms):
        height, width = image.shape[2:]
        matrices = torch.tensor(np.array([self._matrix(random, width / height) for random in randoms]), dtype=torch.float32)
        grid = F.affine_grid(matrices.to(image.device), list(image.shape), align_corners=False)
        image = F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        shifted = (label[:, None] - IGNORED).float()  # so that the padding of zeros is IGNORED
        label = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        return image, label[:, 0].round().long() + IGNORED

    def _matrix(self, random, aspect):
        """(2, 3) affine matrix from the output to the input, in coordinates of [-1, 1]."""
        scale = 1 / (1 + random.uniform(-self.zoom, self.zoom))
        angle = math.radians(random.uniform(-self.turn, self.turn))
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        spare = abs(1 - scale)  # range of the translation, which keeps the centre in view
        x, y = random.uniform(-spare, spare, 2)
        return [[cos, -sin / aspect, x], [sin * aspect, cos, y]]
