"""Detecting faces with OpenCV's cascades, verifying each in its aligned crop, and cropping portraits."""
from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

from data.face_alignment import TEMPLATE, align, mirrored_share, similarity
from data.image_files import read_image
from util.errors import UserError

# The landmarks of TEMPLATE in the square that OpenCV's face cascades report, in shares of its side:
IN_BOX = np.array([(0.308, 0.392), (0.694, 0.392), (0.5, 0.615), (0.332, 0.803), (0.668, 0.803)])
_FACE, _OTHERS = "haarcascade_frontalface_alt2", ("haarcascade_frontalface_default", "haarcascade_frontalface_alt")
_EYES = "haarcascade_eye_tree_eyeglasses", "haarcascade_eye"
_SEARCHED = 640  # longer side in pixels to which photos are reduced for detection
_SMALLEST = 0.08  # least side of a face, as a share of the photo's shorter side
_CROP = 256  # side in pixels of the aligned crop in which a face is verified ...
_IN_CROP = TEMPLATE / 2 + 0.25  # ... and the positions of its landmarks there: the face fills the middle half


@dataclass(frozen=True)
class Face:
    """points: (5, 2) landmarks in the photo's pixels, in the order of TEMPLATE. how: their origin, see `find_faces`."""

    points: np.ndarray
    how: str


@dataclass(frozen=True)
class Portrait:
    """A square crop of a photo. pixels: (size, size, 3) uint8.

    how: 'middle' for the centre crop, 'given' for given landmarks, or that of `find_faces`. mirrored: the share of the square,
    0 to 1, that lies beyond the photo's border and is filled by reflection.
    """

    pixels: np.ndarray
    how: str
    mirrored: float = 0.0


def read_portraits(task, size: int, aligned: bool, every: bool = False) -> tuple[list[Portrait], int | None]:
    """Read a photo as square portraits. task: (anything, path, given landmarks or None).

    aligned: crop the largest face (`every`: all faces, the largest first); else the only portrait is the centre crop.
    -> (portraits, the number of faces in the photo, or None without detection). Raises UserError naming the file.
    """
    _, path, points = task
    photo = read_image(path)
    if not aligned:
        return [Portrait(np.asarray(ImageOps.fit(photo, (size, size), Image.Resampling.BICUBIC)), "middle")], None
    pixels = np.asarray(photo)
    found = find_faces(pixels) if points is None else [Face(points, "given")]
    try:
        portraits = [Portrait(align(pixels, face.points, size), face.how, mirrored_share(pixels.shape, face.points))
                     for face in (found if every else found[:1])]
    except ValueError as error:
        raise UserError(f"{path}: {error}; mend its row in --landmarks") from None
    return portraits, None if points is not None else len(found)


def find_faces(photo: np.ndarray) -> list[Face]:
    """Detect the faces in (H, W, 3) uint8, the largest first, from 8 % of its shorter side up.

    how: 'eyes' if the landmarks are estimated from both eyes; 'box' if from the face's square, as eyes were not found.
    Raises UserError if OpenCV has no cascades.
    """
    scale = min(1.0, _SEARCHED / max(photo.shape[:2]))
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else photo
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    side = max(24, int(min(grey.shape) * _SMALLEST))
    squares = _cascade(_FACE).detectMultiScale(grey, 1.1, 4, minSize=(side, side))
    faces: list[Face] = []
    for square in sorted((tuple(map(int, square)) for square in squares), key=lambda square: -square[2]):
        face = _face_in(grey, square)
        apart = all(np.hypot(*(face.points - other.points).mean(axis=0)) > square[2] / 2 for other in faces)
        if apart and _is_verified(grey, face):
            faces.append(face)
    return [Face(face.points / scale, face.how) for face in faces]


def _face_in(grey: np.ndarray, square: tuple[int, int, int, int]) -> Face:
    """Estimate the landmarks of a face in its square (x, y, width, height)."""
    x, y, w, h = square
    eyes = _eyes(grey[y:y + int(0.6 * h), x:x + w], w)
    if eyes is None:
        return Face(np.array([x, y]) + IN_BOX * (w, h), "box")
    matrix = similarity(TEMPLATE[:2], eyes + (x, y))
    return Face(TEMPLATE @ matrix[:, :2].T + matrix[:, 2], "eyes")


def _is_verified(grey: np.ndarray, face: Face) -> bool:
    """Whether a face is detected, upright, in the aligned crop around its landmarks too.

    A cascade mistakes mouth and chin of an upside-down face for a face; its confidence is higher in the crop rotated by 180
    degrees, which shows the whole one. If the eyes were not found, two more cascades must detect the face.
    """
    crop = align(grey, face.points, _CROP, _IN_CROP, cv2.BORDER_CONSTANT)
    upright, rotated = _confidence(_FACE, crop, in_place=True), _confidence(_FACE, np.ascontiguousarray(crop[::-1, ::-1]))
    return upright > rotated and (face.how == "eyes" or all(_confidence(name, crop, in_place=True) > 0 for name in _OTHERS))


def _confidence(name: str, crop: np.ndarray, in_place: bool = False) -> float:
    """The highest confidence of a cascade's detections; 0 without any. in_place: of those whose position fits _IN_CROP."""
    squares, _, weights = _cascade(name).detectMultiScale3(crop, 1.1, 3, minSize=(_CROP // 6, _CROP // 6),
                                                           maxSize=(_CROP * 2 // 3, _CROP * 2 // 3), outputRejectLevels=True)
    matrix = similarity(IN_BOX, _IN_CROP * _CROP)
    side, centre = np.hypot(*matrix[:, 0]), matrix @ (0.5, 0.5, 1)
    found = [float(weight) for (x, y, w, h), weight in zip(squares, np.ravel(weights)) if not in_place or
             np.hypot(x + w / 2 - centre[0], y + h / 2 - centre[1]) < side / 4 and side / 1.5 < w < side * 1.5]
    return max(found, default=0.0)


def _eyes(grey: np.ndarray, width: int) -> np.ndarray | None:
    """(2, 2) centres of the left and right eye in the upper part of a face `width` pixels wide; None if they are not found."""
    for name in _EYES:
        found = _cascade(name).detectMultiScale(grey, 1.1, 4, minSize=(width // 8, width // 8))
        centres = np.array([(x + w / 2, y + h / 2) for x, y, w, h in found]).reshape(-1, 2)
        # the detection nearest to the expected position, in each half
        pair = [min(half.tolist(), key=lambda c, at=at: np.hypot(*(np.array(c) - IN_BOX[at] * width)), default=None)
                for at, half in ((0, centres[centres[:, 0] < width / 2]), (1, centres[centres[:, 0] >= width / 2]))]
        if None in pair:
            continue
        across, down = np.subtract(pair[1], pair[0])
        if 0.25 * width < across < 0.55 * width and abs(down) < 0.5 * across:
            return np.array(pair)
    return None


@functools.lru_cache(maxsize=8)
def _cascade(name: str):
    """One of OpenCV's bundled detectors."""
    path = os.path.join(getattr(getattr(cv2, "data", None), "haarcascades", ""), f"{name}.xml")
    if not hasattr(cv2, "CascadeClassifier") or not os.path.isfile(path):
        raise UserError(f"--align: OpenCV {cv2.__version__} brings no face detector ({name}.xml is only in versions before "
                        "5); pip install 'opencv-python-headless<5', or give the points with --landmarks FILE")
    return cv2.CascadeClassifier(path)


def check_detector() -> None:
    """Raise UserError if the cascades are missing, before long work begins."""
    for name in (_FACE, *_OTHERS, *_EYES):
        _cascade(name)
