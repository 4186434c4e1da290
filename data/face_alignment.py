"""Aligning faces: a photo is rotated, scaled and cropped by five landmarks; and reading tables of landmarks."""
from __future__ import annotations

import csv
import re

import cv2
import numpy as np

from data.pairing import IMAGE_EXTENSIONS, composed, strip_extension
from util.errors import UserError
from util.files import read_lines, unescaped

# Left eye, right eye, tip of the nose, left and right corner of the mouth; left and right as in the picture.
# Their positions in CelebAMask-HQ's pictures, in shares of the side (measured on its samples):
TEMPLATE = np.array([(0.376, 0.478), (0.624, 0.478), (0.5, 0.62), (0.392, 0.738), (0.606, 0.738)])
# Their positions in the 112 x 112 pixels that ArcFace's published networks take, as shares; the face fills that square:
ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]) / 112


def similarity(points, target) -> np.ndarray:
    """The similarity transform (rotation, scale, translation) that maps points to a target with the least squared error.

    points, target: (n, 2). -> (2, 3) matrix for cv2.warpAffine. Raises ValueError if all points are the same.
    """
    z, w = (np.asarray(p, float) @ (1, 1j) for p in (points, target))  # a similarity is w = a z + b in complex numbers
    spread = np.sum(np.abs(z - z.mean()) ** 2)
    if not spread > 1e-9:
        raise ValueError("all landmarks lie on one point")
    a = np.sum(np.conj(z - z.mean()) * (w - w.mean())) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(photo: np.ndarray, points, size: int, target=TEMPLATE, border: int = cv2.BORDER_REFLECT) -> np.ndarray:
    """(H, W, 3) or (H, W) uint8 and five landmarks (5, 2) in its pixels -> (size, size[, 3]) with those at `target`.

    border: OpenCV's mode for pixels beyond the photo's border; default: reflection.
    """
    points = np.asarray(points, float)
    scale = np.hypot(*similarity(points + 0.5, target * size)[:, 0])
    if scale < 0.5:  # cubic interpolation alone would alias
        height, width = photo.shape[:2]
        smaller = max(1, round(width * scale)), max(1, round(height * scale))
        points = (points + 0.5) * (smaller[0] / width, smaller[1] / height) - 0.5
        photo = cv2.resize(photo, smaller, interpolation=cv2.INTER_AREA)
    matrix = similarity(points, target * size - 0.5)  # pixel i has its centre at i
    return cv2.warpAffine(photo, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=border)


def mirrored_share(shape, points, samples: int = 64) -> float:
    """The share of `align`'s square, 0 to 1, that lies beyond the border of a photo of `shape` (H, W, ...)."""
    to_photo = cv2.invertAffineTransform(similarity(np.asarray(points, float) + 0.5, TEMPLATE))
    down, across = (np.indices((samples, samples)).reshape(2, -1) + 0.5) / samples
    x, y = to_photo @ (across, down, np.ones_like(down))
    return float(np.mean((x < 0) | (y < 0) | (x > shape[1]) | (y > shape[0])))


class Landmarks:
    """Five landmarks for each photo, looked up by its relative path or its file name, with or without extension.

    rows: {name: (5, 2)}, in the photo's pixels, in the order of TEMPLATE.
    """

    def __init__(self, rows: dict[str, np.ndarray]):
        self.rows, self._by_stem = rows, {}
        for name, points in rows.items():
            stem = strip_extension(name)
            self._by_stem[stem] = None if stem in self._by_stem else points  # ambiguous if there are two

    def of(self, photo: str) -> np.ndarray | None:
        """The landmarks of a photo: the row of exactly its name, else the only one that differs in the extension, else None."""
        names = composed(photo), composed(photo).rpartition("/")[2]
        found = (*(self.rows.get(name) for name in names), *(self._by_stem.get(strip_extension(name)) for name in names))
        return next((points for points in found if points is not None), None)


def read_landmarks(path) -> Landmarks:
    """Read landmarks from rows of a name and, last, ten numbers, separated by commas or spaces.

    Reads CelebA's list_landmarks_align_celeba.txt, its comma-separated mirrors, and prepare_celeba's landmarks.csv; lines
    before the first row may hold a count and column names. Raises UserError naming the file and line.
    """
    rows: dict[str, np.ndarray] = {}
    for number, line in enumerate(read_lines(path), 1):
        name, words = _name_and_numbers(line)
        try:
            points = np.array([float(word) for word in words]).reshape(5, 2)
            if not name or not np.isfinite(points).all():
                raise ValueError
        except ValueError:
            if rows or number > 2:
                raise UserError(f"{path}: line {number} is '{line[:60]}', not a name and ten numbers (x and y of left eye, "
                                "right eye, nose, left and right corner of the mouth)") from None
            continue
        if name in rows:
            raise UserError(f"{path}: names {name} twice; keep one of its rows")
        rows[name] = points
    if not rows:
        raise UserError(f"{path}: holds no row of a name and ten numbers")
    return Landmarks(rows)


def _name_and_numbers(line: str) -> tuple[str, list[str]]:
    """A row's name, which may hold spaces, and its last ten words; columns between them, such as a split, are ignored."""
    if "," in line:
        name, *words = next(csv.reader([line]))
    else:
        text, *words = line.rsplit(None, 10)
        whole = re.match(rf".*?({'|'.join(map(re.escape, IMAGE_EXTENSIONS))})(?=\s|$)", text, re.IGNORECASE)
        name = whole[0] if whole else text
    return composed(unescaped(name.strip())), words[-10:]
