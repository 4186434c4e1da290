"""Features of many pictures, and the styles they cluster into."""
from __future__ import annotations

import warnings

import numpy as np

_RESTARTS, _ITERATIONS = 10, 100
SMALLEST = 0.5  # in 1/32 of the picture: smaller regions are left out of the clusters, as their features are noisy


class FeatureTable:
    """The feature rows of many pictures by class: (n, columns) each, and the picture that each row comes from.

    Buffers double when they are full, so that appending takes amortised constant time, and memory about 40 bytes a row.
    """

    def __init__(self, labels, columns: int):
        """
        Args:
            labels: classes to list even if no picture has them.     columns: numbers in a row.
        """
        self.columns, self.names = columns, []
        self._rows: dict[int, np.ndarray] = {int(label): np.empty((0, columns)) for label in labels}
        self._pictures: dict[int, np.ndarray] = {label: np.empty(0, np.int32) for label in self._rows}
        self._count = dict.fromkeys(self._rows, 0)

    def add(self, names: list[str], tables: list[dict[int, np.ndarray]]) -> None:
        """Append pictures: the name of each, and its {class: (n, columns)}."""
        for name, table in zip(names, tables, strict=True):
            for label, rows in table.items():
                self._append(int(label), rows, len(self.names))
            self.names.append(name)

    def extend(self, other: FeatureTable) -> None:
        """Append the pictures of another table, in its order."""
        first = len(self.names)
        self.names += other.names
        for label in other.labels:
            self._append(label, other.rows(label), first + other.pictures(label))

    def __getstate__(self):
        """Pickle the rows without the free part of the buffers."""
        return {**vars(self), "_rows": {label: self.rows(label) for label in self._rows},
                "_pictures": {label: self.pictures(label) for label in self._rows}}

    def _append(self, label, rows, picture):
        count = self._count.get(label, 0)
        need = count + len(rows)
        if label not in self._rows or need > len(self._rows[label]):
            size = max(16, 2 * need)
            for store, empty in ((self._rows, np.empty((size, self.columns))), (self._pictures, np.empty(size, np.int32))):
                empty[:count] = store.get(label, empty[:0])[:count]
                store[label] = empty
        self._rows[label][count:need], self._pictures[label][count:need] = rows, picture
        self._count[label] = need

    @property
    def labels(self) -> list[int]:
        """The classes, in order."""
        return sorted(self._rows)

    def rows(self, label: int) -> np.ndarray:
        """(n, columns) float64 of a class, in the order of the pictures; n may be 0."""
        return self._rows[label][:self._count[label]]

    def pictures(self, label: int) -> np.ndarray:
        """(n,) int32: the index of the picture that each row of `rows(label)` comes from."""
        return self._pictures[label][:self._count[label]]

    def as_dict(self) -> dict[int, np.ndarray]:
        """{class: (n, columns)}, as features.npy holds it."""
        return {label: self.rows(label) for label in self.labels}


def cluster(features: dict[int, np.ndarray], n_clusters: int, seed: int) -> dict[int, np.ndarray]:
    """{class: (n, d + 1) rows with the region's size last} -> {class: (k, d) centres}, largest cluster first.

    k = min(n_clusters, regions larger than SMALLEST); classes without such regions are left out. Deterministic given the seed.
    """
    large = {label: rows[rows[:, -1] > SMALLEST, :-1] for label, rows in features.items()}
    return {label: class_centres(points, n_clusters, seed, label) for label, points in large.items() if len(points)}


def class_centres(points: np.ndarray, n_clusters: int, seed: int, label: int) -> np.ndarray:
    """The styles of one class: (n, d) -> (min(n, n_clusters), d). The random numbers depend on seed and label only."""
    return k_means(points, min(len(points), n_clusters), np.random.default_rng((seed, label)))


def k_means(points: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """(n, d) -> (k, d) centres: the best of several runs of k-means, largest cluster first.

    Initialised by k-means++ (Arthur and Vassilvitskii 2007), refined by Lloyd's algorithm until it converges.
    """
    from scipy.cluster.vq import kmeans2
    if len(points) <= k:
        return points.copy()
    best, lowest = points[:k], np.inf
    for _ in range(_RESTARTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a cluster that is empty, as points coincide, keeps its centre
            start, _ = kmeans2(points, k, iter=1, minit="++", missing="warn", rng=random)
        centres, nearest, inertia = _lloyd(points, start)
        if inertia < lowest:
            best, lowest = centres[np.argsort(-np.bincount(nearest, minlength=k), kind="stable")], inertia
    return best


def _lloyd(points, centres):
    """Lloyd's algorithm until no assignment changes: (centres, each point's centre, sum of squared distances)."""
    before = None
    for _ in range(_ITERATIONS):
        nearest, distance = nearest_centre(points, centres)
        if before is not None and np.array_equal(nearest, before):
            break
        before, counts = nearest, np.bincount(nearest, minlength=len(centres))
        sums = np.stack([np.bincount(nearest, weights=column, minlength=len(centres)) for column in points.T], 1)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return centres, nearest, float((distance ** 2).sum())


def nearest_centre(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d), (k, d) -> the index of each point's nearest centre (n,), and the distance to it (n,)."""
    from scipy.cluster.vq import vq
    return vq(points, centres, check_finite=False)
