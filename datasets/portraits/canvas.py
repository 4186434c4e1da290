"""A picture and its label map, drawn together from the same outlines."""
from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

SUB = 3  # samples a pixel each way; odd, so that one of them is the pixel's centre
SHIFT = 4  # bits of fraction in the coordinates handed to OpenCV
SOFT_SIGMA = 2.5  # pixels of blur in the grid that a blurred outline is drawn on


class Patch(NamedTuple):
    """The area of an outline: a window of the canvas, its coverage 0..1, and the pixels whose centre it covers."""

    rows: slice
    cols: slice
    alpha: np.ndarray  # (h, w) float32
    inside: np.ndarray  # (h, w) bool


class Soft(NamedTuple):
    """A blurred outline: a window of the canvas and how far each pixel lies within it, 0..1."""

    rows: slice
    cols: slice
    alpha: np.ndarray  # (h, w) float32


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Points in pixels, pixel centres at halves, as the int32 that OpenCV's drawing takes with SHIFT."""
    return np.round((points - 0.5) * (1 << SHIFT)).astype(np.int32)


class Canvas:
    """`picture` (size, size, 3) float32 RGB 0..1 and `labels` (size, size) uint8; outlines are in the image frame."""

    def __init__(self, size: int):
        self.size = size
        self.picture = np.zeros((size, size, 3), np.float32)
        self.labels = np.zeros((size, size), np.uint8)

    @property
    def fineness(self) -> float:
        """How much finer hairs can be drawn than at 256 pixels: 1 up to there, 3 from 768 pixels."""
        return float(np.clip(self.size / 256, 1, 3))

    def cover(self, *outlines: np.ndarray, within: np.ndarray | None = None,
              hole: np.ndarray | None = None) -> Patch:
        """The union of closed outlines (N, 2), cut to the outline `within` and less the outline `hole`."""
        points = np.concatenate(outlines) * self.size
        low = np.clip(np.floor(points.min(0)) - 1, 0, self.size).astype(int)
        high = np.clip(np.ceil(points.max(0)) + 1, 0, self.size).astype(int)
        (left, top), (width, height) = low, np.maximum(high - low, 0)
        rows, cols = slice(top, top + height), slice(left, left + width)
        if not width or not height:
            return Patch(rows, cols, np.zeros((height, width), np.float32), np.zeros((height, width), bool))
        fine = self._fill(outlines, low, width, height)
        if within is not None:
            fine &= self._fill([within], low, width, height)
        if hole is not None:
            fine &= ~self._fill([hole], low, width, height)
        alpha = cv2.resize(fine, (int(width), int(height)), interpolation=cv2.INTER_AREA) * np.float32(1 / 255)
        return Patch(rows, cols, alpha, fine[SUB // 2::SUB, SUB // 2::SUB] > 0)

    def _fill(self, outlines, low, width, height) -> np.ndarray:
        fine = np.zeros((height * SUB, width * SUB), np.uint8)
        for outline in outlines:
            cv2.fillPoly(fine, [fixed_point((outline * self.size - low) * SUB)], 255, shift=SHIFT)
        return fine

    def paint(self, patch: Patch, colour, label: int | None = None, opacity: float = 1.0, over=None) -> None:
        """Lay `colour`, (3,) or (h, w, 3), on a patch; its pixels become `label` where they are now one of `over`."""
        under = self.picture[patch.rows, patch.cols]
        alpha = (patch.alpha * np.float32(opacity))[..., None]
        under += (np.asarray(colour, np.float32) - under) * alpha
        if label is not None:
            labels = self.labels[patch.rows, patch.cols]
            inside = patch.inside if over is None else patch.inside & np.isin(labels, over)
            labels[inside] = label

    def soft(self, *outlines: np.ndarray, blur: float) -> Soft:
        """The union of outlines with edges blurred over `blur` of the picture's width."""
        points, margin = np.concatenate(outlines) * self.size, 2.5 * blur * self.size + 1
        low = np.clip(np.floor(points.min(0) - margin), 0, self.size).astype(int)
        width, height = (int(n) for n in np.clip(np.ceil(points.max(0) + margin), low, self.size).astype(int) - low)
        rows, cols = slice(low[1], low[1] + height), slice(low[0], low[0] + width)
        if not width or not height:
            return Soft(rows, cols, np.zeros((height, width), np.float32))
        # A wide blur needs no fine grid: on a coarse one, the cost does not depend on the picture's size.
        coarse = max(1.0, blur * self.size / SOFT_SIGMA)
        grid = int(np.ceil(width / coarse)), int(np.ceil(height / coarse))
        field = np.zeros(grid[::-1], np.uint8)
        to_grid = np.array(grid) / (width, height)
        for outline in outlines:
            cv2.fillPoly(field, [fixed_point((outline * self.size - low) * to_grid)], 255, cv2.LINE_AA, SHIFT)
        field = cv2.GaussianBlur(field, (0, 0), max(blur * self.size / coarse, 0.3))
        if coarse > 1:
            field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        return Soft(rows, cols, field * np.float32(1 / 255))

    def glaze(self, patch: Patch, soft: Soft, colour, strength: float) -> None:
        """Tint a patch by `soft` times `strength` toward `colour` (3,); labels stay."""
        common = cut(patch, soft)
        self.paint(common, colour, opacity=strength)

    def darken(self, patch: Patch, soft: Soft, strength: float, tint=(0.35, 0.16, 0.12)) -> None:
        """Shadow on a patch: multiply by `tint` as far as `soft` times `strength` says; labels stay."""
        common = cut(patch, soft)
        under = self.picture[common.rows, common.cols]
        alpha = (common.alpha * np.float32(strength))[..., None]
        under *= 1 + alpha * (np.asarray(tint, np.float32) - 1)


def cut(patch: Patch, soft: Soft) -> Patch:
    """The part of a patch that lies in the window of `soft`, its coverage multiplied by it."""
    top, left = max(patch.rows.start, soft.rows.start), max(patch.cols.start, soft.cols.start)
    low = max(min(patch.rows.stop, soft.rows.stop), top)
    right = max(min(patch.cols.stop, soft.cols.stop), left)

    def window(field, of):
        return field[top - of.rows.start:low - of.rows.start, left - of.cols.start:right - of.cols.start]

    return Patch(slice(top, low), slice(left, right), window(patch.alpha, patch) * window(soft.alpha, soft),
                 window(patch.inside, patch))


def noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Smooth noise (size, size) float32 about -1..1 with `cells` bumps each way."""
    coarse = rng.uniform(-1, 1, (cells + 3, cells + 3)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
