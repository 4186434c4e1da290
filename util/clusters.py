"""Features of many pictures, and the styles they cluster into."""
from __future__ import annotations

import warnings

import numpy as np

_RESTARTS, _ROUNDS = 10, 100
SMALLEST = 0.5  # regions below half of 1/32 of the picture say little about a style


def collect(rows: list[dict[int, np.ndarray]], labels, columns: int) -> dict[int, np.ndarray]:
    """Stack the rows of all pictures by class. -> {class: (n, columns)}, n may be 0 for the classes in `labels`."""
    classes = sorted({*labels, *(label for picture in rows for label in picture)})
    empty = [np.zeros((0, columns))]
    return {label: np.concatenate(empty + [picture[label] for picture in rows if label in picture]) for label in classes}


def cluster(features: dict[int, np.ndarray], n_clusters: int, seed: int) -> dict[int, np.ndarray]:
    """{class: (n, d + 1) rows with the region's size last} -> {class: (k, d) centres}, largest cluster first.

    k = min(n_clusters, rows of regions large enough); a class without any is left out. The same rows and seed give the
    same centres.
    """
    centres = {}
    for label, rows in features.items():
        points = rows[rows[:, -1] > SMALLEST, :-1]
        if len(points):
            centres[label] = k_means(points, min(len(points), n_clusters), np.random.default_rng((seed, label)))
    return centres


def k_means(points: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """(n, d) -> (k, d) centres: the best of several k-means++ starts, the fullest cluster first."""
    from scipy.cluster.vq import kmeans2
    if len(points) <= k:
        return points.copy()
    best, least = points[:k], np.inf
    for _ in range(_RESTARTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty cluster, where points coincide, keeps its centre
            centres, nearest = kmeans2(points, k, iter=_ROUNDS, minit="++", missing="warn", rng=random)
        spread = ((points - centres[nearest]) ** 2).sum()
        if spread < least:
            best, least = centres[np.argsort(-np.bincount(nearest, minlength=k), kind="stable")], spread
    return best
