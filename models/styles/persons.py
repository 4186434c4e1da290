"""Styles that belong together: one Gaussian over the styles of all classes of a photo, drawn whole or to fit what is fixed."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.styles.clusters import SMALLEST, FeatureTable
from models.styles.factor_analysis import Factors, Rows, fit

_SMALL = SMALLEST / 16  # in 1/32 of the picture: smaller regions, a thin line of an ear, count as missing
_MOST, _RARE = 4000, 200  # photos that the Gaussian is fitted to; a class of at most so many regions keeps all of them
_TAIL = 0.005  # of a class's regions whose number is lower than those drawn ever are, and of those whose is higher
_DIGITS = 8  # of the numbers in styles.json
_NUMBERS = ("mean", "loadings", "residual", "low", "high")  # of a class there


@dataclass(frozen=True)
class Persons:
    """The Gaussian. photos: of how many it was found.

    labels: the C classes, in ascending order. factors: their parameters, see `factor_analysis`. low, high: (C, d), the range
    that drawn numbers are clipped to, as the encoder gives no others.
    """

    photos: int
    labels: tuple[int, ...]
    factors: Factors
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def find(cls, table: FeatureTable, seed: int) -> Persons | None:
        """Fit to a table of rows (features, then size); None for one without rows. Deterministic given the seed."""
        labels = tuple(label for label in table.labels if len(table.rows(label)))
        if not labels:
            return None
        rows = _rows(table, labels)
        factors = fit(rows, seed)
        low, high = (np.array([np.quantile(values, q, axis=0) for values in rows.values]) for q in (_TAIL, 1 - _TAIL))
        rounded = Factors(*map(_rounded, (factors.mean, factors.loadings, factors.residual)))
        return cls(rows.count, labels, rounded, _rounded(low), _rounded(high))

    # drawing

    def draw(self, classes: list[int], key: tuple[int, ...], known=()) -> np.ndarray:
        """(R, d): a vector for each region of one picture; zeros for classes that were never seen.

        classes: of each region. key: whole numbers that all random numbers follow from; those of a class do not depend on which
        others there are. known: (class, vector (d,)) of regions that the rest is to fit: then the draw is from the conditional
        Gaussian. The nearer they are to what the key would draw, the less of the rest changes.
        """
        return self.clipped(classes, self.unclipped(classes, key, known))

    def apart(self, classes: list[int], key: tuple[int, ...]) -> np.ndarray:
        """(R, d): as `draw`, but each region by itself, from its class's own Gaussian."""
        return np.concatenate([self.draw([label], (*key, r)) for r, label in enumerate(classes)])

    def unclipped(self, classes: list[int], key: tuple[int, ...], known=()) -> np.ndarray:
        """As `draw`, of the Gaussian itself."""
        noise = _Noise(self, key)
        factors = noise.factors()
        if known:  # Matheron's rule: correct a draw by the expectation of its error in what is known
            precision, surprise = np.eye(len(factors)), np.zeros(len(factors))
            for label, vector in known:
                if label in self._place:
                    c = self._place[label]
                    precision += self.factors.information[c]
                    surprise += self.factors.weights[c].T @ (vector - self._vector(c, factors, noise))
            factors = factors + np.linalg.solve(precision, surprise)
        vectors = np.zeros((len(classes), self.low.shape[1]))
        for r, label in enumerate(classes):
            if label in self._place:
                vectors[r] = self._vector(self._place[label], factors, noise)
        return vectors

    def clipped(self, classes: list[int], vectors: np.ndarray) -> np.ndarray:
        """(R, d) vectors of regions, with their numbers in the range that was seen of the class."""
        places = [self._place.get(label) for label in classes]
        return np.array([vector if c is None else np.clip(vector, self.low[c], self.high[c])
                         for c, vector in zip(places, vectors)]).reshape(vectors.shape)

    def _vector(self, c, factors, noise):
        return self.factors.mean[c] + self.factors.loadings[c] @ factors + self._roots[c] @ noise.of(c)

    @cached_property
    def _place(self):
        return {label: c for c, label in enumerate(self.labels)}

    @cached_property
    def _roots(self):
        return np.linalg.cholesky(self.factors.residual)

    # in styles.json

    def plain(self, label: int) -> dict:
        """A class's entry; {} for one that is not there."""
        if label not in self._place:
            return {}
        c, factors = self._place[label], self.factors
        values = zip(_NUMBERS, (factors.mean, factors.loadings, factors.residual, self.low, self.high))
        return {name: value[c].tolist() for name, value in values}

    @classmethod
    def parse(cls, photos: int, rank: int, feat_num: int, entries: dict[int, dict]) -> Persons:
        """What `plain` gave of each class. Raises ValueError, KeyError or TypeError for anything else."""
        labels, d = tuple(sorted(entries)), feat_num
        shapes = ((d,), (d, rank), (d, d), (d,), (d,))
        mean, loadings, residual, low, high = (
            np.array([finite(entries[label][name], shape) for label in labels]).reshape(len(labels), *shape)
            for name, shape in zip(_NUMBERS, shapes))
        if not np.allclose(residual, np.swapaxes(residual, 1, 2)):
            raise ValueError("a residual that is not symmetric")
        try:
            np.linalg.cholesky(residual)
        except np.linalg.LinAlgError:
            raise ValueError("a residual that is not positive definite") from None
        if (low > high).any():
            raise ValueError("a number in low that is above that in high")
        return cls(photos, labels, Factors(mean, loadings, residual), low, high)


class _Noise:
    """Standard normal numbers by key: the factors', and those of the first, second, ... region of a class."""

    def __init__(self, persons, key):
        self.persons, self.key, self.streams = persons, key, {}

    def factors(self) -> np.ndarray:
        """(r,)."""
        return np.random.default_rng((*self.key, 0, 1)).standard_normal(self.persons.factors.rank)

    def of(self, c: int) -> np.ndarray:
        """(d,) of the next region of a class."""
        if c not in self.streams:
            self.streams[c] = np.random.default_rng((*self.key, self.persons.labels[c], 2))
        return self.streams[c].standard_normal(self.persons.low.shape[1])


def _rows(table: FeatureTable, labels) -> Rows:
    """The rows to fit: of regions that are not too small, unless all of the class are; of photos evenly spread."""
    used = np.zeros(len(table.names), bool)
    used[np.linspace(0, len(used) - 1, min(len(used), _MOST)).astype(int)] = True
    keep = {}
    for label in labels:
        large = table.rows(label)[:, -1] > _SMALL
        keep[label] = large if large.any() else np.ones(len(large), bool)
        if keep[label].sum() <= _RARE:
            used[table.pictures(label)[keep[label]]] = True
    rows = Rows([table.rows(label)[keep[label], :-1] for label in labels],
                [table.pictures(label)[keep[label]] for label in labels], len(table.names))
    return rows.of(used)


def finite(values, shape: tuple[int, ...]) -> np.ndarray:
    """Lists of numbers as an array of float64. Raises ValueError for another shape, and for numbers that are not finite."""
    array = np.array(values, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"numbers of shape {array.shape}, not {shape}, or not finite")
    return array


def _rounded(array: np.ndarray) -> np.ndarray:
    """To the digits that styles.json holds."""
    return np.array([float(f"{x:.{_DIGITS}g}") for x in array.ravel()]).reshape(array.shape)
