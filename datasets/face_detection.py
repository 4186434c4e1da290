"""Faces in a photo: found by OpenCV's cascades, found again in what is cut out around them, or given; then cut out."""
from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

from data.image_files import read_image
from datasets.face_alignment import TEMPLATE, align, mirrored_share, similarity
from util.errors import UserError

# The landmarks of TEMPLATE in the square that OpenCV's face cascades draw around a face, in shares of its side:
IN_BOX = np.array([(0.308, 0.392), (0.694, 0.392), (0.5, 0.615), (0.332, 0.803), (0.668, 0.803)])
_FACE, _OTHERS = "haarcascade_frontalface_alt2", ("haarcascade_frontalface_default", "haarcascade_frontalface_alt")
_EYES = "haarcascade_eye_tree_eyeglasses", "haarcascade_eye"
_SEARCHED = 640  # pixels of the longer side that faces are searched at
_SMALLEST = 0.08  # of the shorter side: smaller squares are no portraits
_CUT = 256  # side in pixels of the cut that a face is searched for again ...
_AROUND = TEMPLATE / 2 + 0.25  # ... in which it lies so, with as much again around it


@dataclass(frozen=True)
class Face:
    """points: (5, 2) landmarks in the photo's pixels, in the order of TEMPLATE. how they were found: see `find_faces`."""

    points: np.ndarray
    how: str


@dataclass(frozen=True)
class Portrait:
    """A square cut out of a photo. pixels: (size, size, 3) uint8.

    how: 'middle' for the middle square, 'given' landmarks, or as `find_faces` says. mirrored: the share of the square, 0
    to 1, that lies beyond the photo's border and is filled with its mirror image.
    """

    pixels: np.ndarray
    how: str
    mirrored: float = 0.0


def read_portraits(task, size: int, aligned: bool, every: bool = False) -> tuple[list[Portrait], int | None]:
    """Read a photo as square portraits. task: (anything, path, given landmarks or None).

    aligned: cut out the largest face (`every`: each, the largest first); else the middle square is the only portrait.
    -> (portraits, the number of faces found in the photo; None where none were searched for). Raises UserError naming
    the file.
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
    """The faces of (H, W, 3) uint8, the largest first; those below 8 % of its shorter side are not looked for.

    how: 'eyes' where the landmarks follow from both eyes; 'box' where the eyes were not sure, from the face's square.
    Raises UserError where OpenCV brings no cascades.
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
        if apart and _is_found_again(grey, face):
            faces.append(face)
    return [Face(face.points / scale, face.how) for face in faces]


def _face_in(grey: np.ndarray, square: tuple[int, int, int, int]) -> Face:
    """The landmarks in a square (x, y, width, height) in which a face was found."""
    x, y, w, h = square
    eyes = _eyes(grey[y:y + int(0.6 * h), x:x + w], w)
    if eyes is None:
        return Face(np.array([x, y]) + IN_BOX * (w, h), "box")
    matrix = similarity(TEMPLATE[:2], eyes + (x, y))
    return Face(TEMPLATE @ matrix[:, :2].T + matrix[:, 2], "eyes")


def _is_found_again(grey: np.ndarray, face: Face) -> bool:
    """Whether a face is found again, the right way up, in what is cut out around its landmarks.

    A cascade takes mouth and chin of an upside-down face for a face; it is surer of the whole one, which it finds in the
    cut turned by 180 degrees. Where the eyes were not sure, two more cascades must find the face.
    """
    cut = align(grey, face.points, _CUT, _AROUND, cv2.BORDER_CONSTANT)
    upright, turned = _strength(_FACE, cut, in_place=True), _strength(_FACE, np.ascontiguousarray(cut[::-1, ::-1]))
    return upright > turned and (face.how == "eyes" or all(_strength(name, cut, in_place=True) > 0 for name in _OTHERS))


def _strength(name: str, cut: np.ndarray, in_place: bool = False) -> float:
    """How sure a cascade is of the face that it is surest of; 0 without one. in_place: of one that lies as _AROUND says."""
    squares, _, weights = _cascade(name).detectMultiScale3(cut, 1.1, 3, minSize=(_CUT // 6, _CUT // 6),
                                                           maxSize=(_CUT * 2 // 3, _CUT * 2 // 3), outputRejectLevels=True)
    matrix = similarity(IN_BOX, _AROUND * _CUT)
    side, centre = np.hypot(*matrix[:, 0]), matrix @ (0.5, 0.5, 1)
    strengths = [float(weight) for (x, y, w, h), weight in zip(squares, np.ravel(weights)) if not in_place or
                 np.hypot(x + w / 2 - centre[0], y + h / 2 - centre[1]) < side / 4 and side / 1.5 < w < side * 1.5]
    return max(strengths, default=0.0)


def _eyes(grey: np.ndarray, width: int) -> np.ndarray | None:
    """(2, 2) centres of the left and right eye in the upper part of a face `width` pixels wide; None if not sure."""
    for name in _EYES:
        found = _cascade(name).detectMultiScale(grey, 1.1, 4, minSize=(width // 8, width // 8))
        centres = np.array([(x + w / 2, y + h / 2) for x, y, w, h in found]).reshape(-1, 2)
        # nearest to where eyes are in such a square, one in each half
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
    """Raise UserError where faces cannot be searched for, before hours of work begin."""
    for name in (_FACE, *_OTHERS, *_EYES):
        _cascade(name)
