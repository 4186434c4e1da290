"""From an aligned face back into the photo."""
from __future__ import annotations

import cv2
import numpy as np

from data.face_alignment import ARCFACE, similarity
from models.networks.identity import face_oval

_FADE = 0.06  # width, in shares of the crop's side, over which a face fades out towards the crop's border and the mask's


def paste_mask(side: int, mask: np.ndarray | None = None) -> np.ndarray:
    """(side, side) float32 in [0, 1]: where an aligned face is pasted, feathered; 0 at the border.

    mask: (side, side) 1 where the photo's face is, as a parser says; default: the oval that a face fills.
    """
    found = face_oval(side, side)[0, 0].numpy() if mask is None else mask.astype(np.float32)
    fade = max(1.0, _FADE * side)
    if mask is not None:  # feathered inwards, so that nothing outside the mask changes
        inside = cv2.distanceTransform(np.pad((found > 0).astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        found = np.clip(inside / fade, 0, 1) * (found > 0)
    to_border = np.minimum(np.arange(side), np.arange(side)[::-1])
    return (found * np.clip(np.minimum(to_border[:, None], to_border[None]) / fade, 0, 1)).astype(np.float32)


def paste(photo: np.ndarray, face: np.ndarray, points, mask: np.ndarray | None = None) -> np.ndarray:
    """A copy of a photo (H, W, 3) uint8 with an aligned face (S, S, 3) uint8 where its landmarks (5, 2) say.

    mask: see `paste_mask`. Pixels that it does not reach are those of the photo, bit for bit.
    """
    side, (height, width) = len(face), photo.shape[:2]
    matrix = similarity(np.asarray(points, float), ARCFACE * side - 0.5)
    corners = np.array([(0, 0), (side, 0), (0, side), (side, side)]) - 0.5
    back = cv2.invertAffineTransform(matrix)
    corners = corners @ back[:, :2].T + back[:, 2]
    left, top = np.clip(np.floor(corners.min(0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0)) + 1, 0, (width, height)).astype(int)
    result = photo.copy()
    if right <= left or bottom <= top:
        return result
    matrix[:, 2] += matrix[:, :2] @ (left, top)
    size, how = (int(right - left), int(bottom - top)), cv2.WARP_INVERSE_MAP
    alpha = cv2.warpAffine(paste_mask(side, mask), matrix, size, flags=cv2.INTER_LINEAR | how)[..., None]
    drawn = cv2.warpAffine(face, matrix, size, flags=cv2.INTER_CUBIC | how, borderMode=cv2.BORDER_REPLICATE)
    under = result[top:bottom, left:right]
    mixed = np.round(under + (drawn.astype(np.float32) - under) * alpha).astype(np.uint8)
    result[top:bottom, left:right] = np.where(alpha > 0, mixed, under)
    return result
