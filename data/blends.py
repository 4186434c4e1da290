"""Maps that were resized with interpolation: ids between those of two classes, in thin borders between them."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WIDEST = 8  # pixels of such a border; bilinear enlargement by n makes it n wide
_FEWEST = 12  # blended crossings in a map; fewer may be coincidence
_MOST_CROSSINGS = 0.5  # share of blended crossings that is evidence by itself
_SOME_CROSSINGS = 0.1  # share that is evidence if the ids occur hardly anywhere else; hand-drawn maps have at most 0.06
_THERE_ALONE = 0.7  # share of an id's pixels in such borders from which on it occurs hardly anywhere else
_LINES = 128  # rows and columns that are sampled to decide whether to examine all


@dataclass(frozen=True)
class Blend:
    """Blended ids in a map. share: of its pixels. between: an example, (blended id, lower and higher id beside it)."""

    share: float
    between: tuple[int, int, int]


@dataclass(frozen=True)
class _Crossings:
    """Crossings: places where a row goes from one region to another, of at least two pixels each, whose ids differ by over 1.

    direct: number of crossings without pixels between the regions. blended: number of those with pixels between, whose ids are
    monotonic. places: (n, 2) row and column of these pixels. ends: (n, 2) the ids of the two regions beside each.
    """

    direct: int
    blended: int
    places: np.ndarray
    ends: np.ndarray


def find_blend(ids: np.ndarray) -> Blend | None:
    """Detect whether a map (H, W) of class or instance ids was resized with interpolation; None if it was not.

    In a map of drawn regions most crossings are direct; exceptions are thin parts (a pole, a lip) between two regions. After
    interpolation, crossings go through intermediate ids. A map is reported if at least half of its crossings do so, through
    several ids; or a tenth of them, if two or more of the ids occur hardly anywhere else. Between ids n and n + 1 there is no
    intermediate id, so such borders do not count.
    """
    if not _suspicious(_crossings(_sampled(ids)), _crossings(_sampled(ids.T)), 1):
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
    if (there >= _THERE_ALONE).sum() < 2 and (share < _MOST_CROSSINGS or len(found) < 2):  # a single id may be that of outlines
        return None
    shown = np.flatnonzero(ids[tuple(places.T)] == found[there.argmax()])
    low, high = sorted(ends[shown[np.abs(np.diff(ends[shown])).argmax()]].tolist())
    return Blend(float(between.mean()), (int(found[there.argmax()]), low, high))


def _sampled(lines: np.ndarray) -> np.ndarray:
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
    """A message about the blends {file: Blend} found in `looked_at` maps."""
    path, blend = max(blends.items(), key=lambda item: item[1].share)
    value, low, high = blend.between
    others = f", as {len(blends) - 1} more of {looked_at} {what} do" if len(blends) > 1 else ""
    return (f"{path}: looks scaled with interpolation, which blends ids: {blend.share:.1%} of it lies in thin borders between "
            f"two classes and has ids between theirs, such as {value} between {low} and {high}{others}; scale maps with "
            "nearest neighbour")
