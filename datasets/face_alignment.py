"""Where a face is in a photo, and the photo turned, scaled and cut so that every face lies alike."""
from __future__ import annotations

import functools
import os

import cv2
import numpy as np
from PIL import Image, ImageOps

from data.image_files import read_image
from data.pairing import composed
from datasets._tables import read_lines
from util.errors import UserError
from util.files import unescaped

# Left eye, right eye, tip of the nose, left and right corner of the mouth, left and right as one sees them.
# As they lie in CelebAMask-HQ's pictures, in shares of the side (measured on its samples):
TEMPLATE = np.array([(0.376, 0.478), (0.624, 0.478), (0.5, 0.62), (0.392, 0.738), (0.606, 0.738)])
# ... and in the square that OpenCV's face cascade draws around a face:
IN_BOX = np.array([(0.308, 0.392), (0.694, 0.392), (0.5, 0.615), (0.332, 0.803), (0.668, 0.803)])
_SEARCHED = 640  # pixels of the longer side that faces are searched at
_SMALLEST = 0.08  # of the shorter side: smaller squares are no portraits


def similarity(points, target) -> np.ndarray:
    """The turn, scaling and shift that brings points nearest to a target, in the least-squares sense.

    points, target: (n, 2). -> (2, 3) matrix, as cv2.warpAffine takes it. Raises ValueError where all points are one.
    """
    z, w = (np.asarray(p, float) @ (1, 1j) for p in (points, target))  # a similarity is w = a z + b in complex numbers
    spread = np.sum(np.abs(z - z.mean()) ** 2)
    if not spread > 1e-9:
        raise ValueError("all landmarks lie on one point")
    a = np.sum(np.conj(z - z.mean()) * (w - w.mean())) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(photo: np.ndarray, points, size: int) -> np.ndarray:
    """(H, W, 3) uint8 and five landmarks (5, 2) in its pixels -> (size, size, 3) with the face at TEMPLATE.

    What lies beyond the photo's border is mirrored into the picture.
    """
    points = np.asarray(points, float)
    scale = np.hypot(*similarity(points + 0.5, TEMPLATE * size)[:, 0])
    if scale < 0.5:  # cubic interpolation alone would leave out pixels
        height, width = photo.shape[:2]
        smaller = max(1, round(width * scale)), max(1, round(height * scale))
        points = (points + 0.5) * (smaller[0] / width, smaller[1] / height) - 0.5
        photo = cv2.resize(photo, smaller, interpolation=cv2.INTER_AREA)
    matrix = similarity(points, TEMPLATE * size - 0.5)  # pixel i has its centre at i
    return cv2.warpAffine(photo, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def find_landmarks(photo: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Five landmarks of the largest face in (H, W, 3) uint8 -> ((5, 2) in its pixels, how they were found).

    'eyes': from both eyes. 'box': from the face's square, where the eyes were not sure. (None, 'none') without a face.
    Raises UserError where OpenCV brings no cascades.
    """
    scale = min(1.0, _SEARCHED / max(photo.shape[:2]))
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else photo
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    side = max(24, int(min(grey.shape) * _SMALLEST))
    faces = _cascade("haarcascade_frontalface_alt2").detectMultiScale(grey, 1.1, 4, minSize=(side, side))
    if len(faces) == 0:
        return None, "none"
    x, y, w, h = max((tuple(map(int, face)) for face in faces), key=lambda face: face[2])
    eyes = _eyes(grey[y:y + int(0.6 * h), x:x + w], w)
    if eyes is None:
        return (np.array([x, y]) + IN_BOX * (w, h)) / scale, "box"
    matrix = similarity(TEMPLATE[:2], eyes + (x, y))
    return (TEMPLATE @ matrix[:, :2].T + matrix[:, 2]) / scale, "eyes"


def _eyes(grey: np.ndarray, width: int) -> np.ndarray | None:
    """(2, 2) centres of the left and right eye in the upper part of a face `width` pixels wide; None if not sure."""
    for name in ("haarcascade_eye_tree_eyeglasses", "haarcascade_eye"):
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
    _cascade("haarcascade_frontalface_alt2")


def read_landmarks(path) -> dict[str, np.ndarray]:
    """{name without extension: (5, 2)} from rows of a name and, last, ten numbers.

    Takes CelebA's list_landmarks_align_celeba.txt, its comma-separated mirrors, and prepare_celeba's landmarks.csv;
    lines before the first row may hold a count and column names. Raises UserError naming the file and line.
    """
    table: dict[str, np.ndarray] = {}
    for number, line in enumerate(read_lines(path), 1):
        words = line.replace(",", " ").split()
        try:
            if len(words) < 11:
                raise ValueError
            points = np.array([float(word) for word in words[-10:]]).reshape(5, 2)
            if not np.isfinite(points).all():
                raise ValueError
        except ValueError:
            if table or number > 2:
                raise UserError(f"{path}: line {number} is '{line[:60]}', not a name and ten numbers (x and y of left eye, "
                                "right eye, nose, left and right corner of the mouth)") from None
            continue
        table[composed(unescaped(os.path.splitext(words[0])[0]))] = points
    if not table:
        raise UserError(f"{path}: holds no row of a name and ten numbers")
    return table


def read_portrait(task, size: int, aligned: bool) -> tuple[np.ndarray | None, str]:
    """Read a photo as a square. task: (anything, path, given landmarks or None).

    -> ((size, size, 3) uint8, or None where `aligned` is asked and no face was found; how: 'middle' for the middle
    square, 'given' landmarks, 'eyes', 'box' or 'none'). Raises UserError naming the file.
    """
    _, path, points = task
    photo = read_image(path)
    if not aligned:
        return np.asarray(ImageOps.fit(photo, (size, size), Image.Resampling.BICUBIC)), "middle"
    pixels, how = np.asarray(photo), "given"
    if points is None:
        points, how = find_landmarks(pixels)
    if points is None:
        return None, how
    try:
        return align(pixels, points, size), how
    except ValueError as error:
        raise UserError(f"{path}: {error}; mend its row in --landmarks") from None
