"""Ids that scaling with interpolation left in a map: values between two classes, in thin borders between them."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WIDEST = 8  # pixels of such a border; bilinear enlarging by n makes it n wide
_FEWEST = 12  # crossings of such borders, along rows and columns, that are no accident
_MOST_CROSSINGS = 0.5  # the share of all crossings beyond which nothing but interpolation makes them
_SOME_CROSSINGS = 0.1  # enough where ids occur there alone; maps as people draw them have up to 0.06, the smallest of them
_THERE_ALONE = 0.7
_LINES = 128  # rows and columns that tell whether all of them need looking at


@dataclass(frozen=True)
class Blend:
    """What interpolation left in a map. share: of its pixels. between: (an id, those of the two sides), for an example."""

    share: float
    between: tuple[int, int, int]


@dataclass(frozen=True)
class _Crossings:
    """Places where a row passes from one region to another, each of two pixels at least, whose ids differ by more than 1.

    direct: how many do so at once. places: (n, 2) row and column of the pixels between, where ids only rise or only fall on
    the way. ends: (n, 2) the ids of the two regions. blended: how many crossings those pixels are of.
    """

    direct: int
    blended: int
    places: np.ndarray
    ends: np.ndarray


def find_blend(ids: np.ndarray) -> Blend | None:
    """Whether a map (H, W) of class or instance ids was scaled with interpolation; None where it looks sound.

    Drawn regions meet at once, but for a thin part (a pole, a lip) between two others. After interpolation borders pass
    through values between those of both sides. At least half of all crossings must do so, through several ids; or a tenth
    of them, where two ids or more occur hardly anywhere else. Borders between ids n and n + 1 show no trace and do not count.
    """
    if not _suspicious(_crossings(_some(ids)), _crossings(_some(ids.T)), 1):
        return None
    rows, columns = _crossings(ids), _crossings(ids.T)
    if not _suspicious(rows, columns, _FEWEST):
        return None
    blended = rows.blended + columns.blended
    share = blended / (blended + rows.direct + columns.direct)
    places = np.concatenate([rows.places, columns.places[:, ::-1]])
    ends = np.concatenate([rows.ends, columns.ends])
    between = np.zeros(ids.shape, bool)
    between[tuple(places.T)] = True
    found, count = np.unique(ids[between], return_counts=True)
    there = np.array([n / np.count_nonzero(ids == value) for value, n in zip(found, count)])  # of all pixels of that id
    if (there >= _THERE_ALONE).sum() < 2 and (share < _MOST_CROSSINGS or len(found) < 2):  # one may be a class of outlines
        return None
    shown = np.flatnonzero(ids[tuple(places.T)] == found[there.argmax()])
    low, high = sorted(ends[shown[np.abs(np.diff(ends[shown])).argmax()]].tolist())
    return Blend(float(between.mean()), (int(found[there.argmax()]), low, high))


def _some(lines: np.ndarray) -> np.ndarray:
    return lines[::max(1, len(lines) // _LINES)]


def _suspicious(rows: _Crossings, columns: _Crossings, fewest: int) -> bool:
    blended, direct = rows.blended + columns.blended, rows.direct + columns.direct
    return blended >= fewest and blended >= _SOME_CROSSINGS * (blended + direct)


def _crossings(ids: np.ndarray) -> _Crossings:
    """The crossings along the rows of a map."""
    ids, width = np.ascontiguousarray(ids), ids.shape[1]
    same = ids[:, 1:] == ids[:, :-1]
    row, column = np.nonzero(same[:, :-1] & ~same[:, 1:])
    column = column + 1  # the last pixel of a region
    reach = np.minimum(column[:, None] + np.arange(_WIDEST + 3), width - 1)
    way = ids[row[:, None], reach].astype(np.int64)
    steps = np.diff(way, axis=1)
    arrived = steps[:, 1:] == 0
    length = arrived.argmax(1) + 1  # steps to the first pixel of the next region
    whole = arrived.any(1) & (column + length + 1 < width)
    far = way[np.arange(len(way)), length]
    whole &= np.abs(far - way[:, 0]) > 1
    walked = np.arange(steps.shape[1]) < length[:, None]
    steady = ((np.sign(steps) == np.sign(far - way[:, 0])[:, None]) | ~walked).all(1)
    blended = whole & steady & (length > 1)
    n, k = np.nonzero(walked[blended][:, 1:])
    places = np.stack([row[blended][n], column[blended][n] + k + 1], 1)
    ends = np.stack([way[blended, 0], far[blended]], 1)[n]
    return _Crossings(int((whole & (length == 1)).sum()), int(blended.sum()), places, ends)


def blends_line(blends: dict, looked_at: int, what: str = "label maps") -> str:
    """One line on the blends {file: Blend} that were found in `looked_at` maps."""
    path, blend = max(blends.items(), key=lambda item: item[1].share)
    value, low, high = blend.between
    others = f", as {len(blends) - 1} more of {looked_at} {what} do" if len(blends) > 1 else ""
    return (f"{path}: looks scaled with interpolation, which blends ids: {blend.share:.1%} of it lies in thin borders between "
            f"two classes and has ids between theirs, such as {value} between {low} and {high}{others}; scale maps with "
            "nearest neighbour")
