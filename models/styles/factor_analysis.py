"""Factor analysis of samples that consist of several blocks of numbers, any of which may be missing, or there several times.

A sample (a photo) has factors z ~ N(0, I) of length r. Each row of its block c (a region of class c) is x = m_c + L_c z + e,
with e ~ N(0, Psi_c) of its own. So all numbers of a sample are jointly Gaussian; what rows share goes through the factors,
hence has low rank. Blocks that a sample lacks are marginalised: they add nothing to what is known of its factors.
Fitted by EM (Rubin and Thayer 1982) with parameter expansion (Liu, Rubin and Wu 1998).
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_RANKS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48)  # numbers of factors to choose from by cross-validation
_FOLDS, _TRIED, _TRIED_ITERATIONS = 4, 1000, 30  # of it: folds, samples and iterations of EM at most
_LEEWAY, _HOPELESS = 1.03, 1.1  # errors, of the least, of numbers that may be chosen, and after which no more are tried
_ITERATIONS, _TOLERANCE = 200, 1e-4  # of EM, and the gain in log-likelihood a row that ends it
_RIDGE = 8.0  # precision of the loadings' prior, for numbers of variance 1
_DENSE = 600  # numbers of all blocks together, above which few eigenvalues are cheaper than all
_LEAST = 1e-12  # variance of numbers that never vary
_OWN = 0.005  # of a block's covariance that its rows keep to themselves at least, so that factors never determine them


@dataclass(frozen=True)
class Rows:
    """Rows of all blocks.

    values: per block (n_c, d) float64. samples: per block (n_c,), the sample that each row is of. count: of samples.
    """

    values: list[np.ndarray]
    samples: list[np.ndarray]
    count: int

    def of(self, chosen: np.ndarray) -> Rows:
        """The rows of some samples, (count,) bool."""
        number, keep = np.cumsum(chosen) - 1, [chosen[samples] for samples in self.samples]
        return Rows([values[k] for values, k in zip(self.values, keep)],
                    [number[samples[k]] for samples, k in zip(self.samples, keep)], int(chosen.sum()))

    def evenly(self, most: int) -> Rows:
        """At most so many samples, evenly spread over all."""
        chosen = np.zeros(self.count, bool)
        chosen[np.linspace(0, self.count - 1, min(self.count, most)).astype(int)] = True
        return self.of(chosen)

    def counts(self) -> np.ndarray:
        """(C,) rows of each block."""
        return np.array([len(values) for values in self.values])

    @cached_property
    def table(self) -> np.ndarray:
        """(count, C): how many rows of each block each sample has."""
        return np.stack([np.bincount(samples, minlength=self.count) for samples in self.samples], 1)

    @cached_property
    def patterns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The different rows of `table` (U, C), how many samples have each (U,), and which one each sample has (count,)."""
        different, which, samples = np.unique(self.table, axis=0, return_inverse=True, return_counts=True)
        return different, samples, which.reshape(-1)

    def sums(self, c: int, values: np.ndarray) -> np.ndarray:
        """(n_c, k) values of a block's rows -> (count, k): their sums by sample."""
        if len(values) and self.table[:, c].max() == 1:
            total = np.zeros((self.count, values.shape[1]))
            total[self.samples[c]] = values
            return total
        return np.stack([np.bincount(self.samples[c], column, self.count) for column in values.T], 1) if values.size else \
            np.zeros((self.count, values.shape[1]))


@dataclass(frozen=True)
class Factors:
    """The parameters for C blocks of d numbers: mean (C, d), loadings (C, d, r), residual covariances (C, d, d).

    weights: (C, d, r), Psi^-1 L. information: (C, r, r), L^T Psi^-1 L, the precision that a row of the block adds to that of
    its sample's factors.
    """

    mean: np.ndarray
    loadings: np.ndarray
    residual: np.ndarray

    @property
    def rank(self) -> int:
        """The number of factors."""
        return self.loadings.shape[2]

    @cached_property
    def weights(self) -> np.ndarray:
        """See the class."""
        return np.linalg.solve(self.residual, self.loadings)

    @cached_property
    def information(self) -> np.ndarray:
        """See the class."""
        return np.swapaxes(self.loadings, 1, 2) @ self.weights

    def first(self, rank: int) -> Factors:
        """With the first so many factors only."""
        return Factors(self.mean, self.loadings[:, :, :rank], self.residual)


def fit(rows: Rows, seed: int = 0, rank: int | None = None) -> Factors:
    """Fit rows, of which each block has one at least. rank: the number of factors, by default chosen by cross-validation."""
    d, counts = rows.values[0].shape[1], rows.counts()
    centre = np.array([values.mean(0) for values in rows.values])
    squares = np.array([((values - mean) ** 2).sum() / d for values, mean in zip(rows.values, centre)])
    pooled = squares.sum() / max((counts - 1).sum(), 1)
    scale = np.sqrt((squares + pooled) / counts)  # of each block, shrunk by one row towards that of all
    scale[scale < 1e-9] = 1
    scaled = Rows([(values - m) / s for values, m, s in zip(rows.values, centre, scale)], rows.samples, rows.count)
    found = _em(scaled, _start(scaled, _best_rank(scaled, seed) if rank is None else rank))
    unit = scale[:, None, None]
    return Factors(centre + scale[:, None] * found.mean, unit * found.loadings, unit ** 2 * found.residual)


def _best_rank(rows: Rows, seed: int) -> int:
    """Most factors with which a block of samples left out is predicted from their others about as well as with any number."""
    rows = rows.evenly(_TRIED)
    fold = np.random.default_rng(seed).permutation(rows.count) % _FOLDS
    ranks = [rank for rank in _RANKS if rank <= rows.count * (_FOLDS - 1) // _FOLDS]
    if len(ranks) < 2:
        return len(ranks)
    parts = [(rows.of(fold != k), rows.of(fold == k)) for k in range(_FOLDS)]
    starts = [_start(train, ranks[-1]) for train, _ in parts]
    errors: list[float] = []
    for rank in ranks:
        errors.append(sum(prediction_error(_em(train, start.first(rank), _TRIED_ITERATIONS), test)
                          for (train, test), start in zip(parts, starts)))
        if errors[-1] > _HOPELESS * min(errors):
            break
    return max(rank for rank, error in zip(ranks, errors) if error <= _LEEWAY * min(errors))


def prediction_error(factors: Factors, rows: Rows) -> float:
    """The sum of squared errors of each row, predicted from its sample's rows of other blocks."""
    information = factors.information
    given = [rows.sums(c, (values - factors.mean[c]) @ factors.weights[c]) for c, values in enumerate(rows.values)]
    total, error = sum(given), 0.0
    precision = np.eye(factors.rank) + np.tensordot(rows.table, information, 1)
    for c, (values, samples) in enumerate(zip(rows.values, rows.samples)):
        others = precision[samples] - rows.table[samples, c, None, None] * information[c]
        z = np.linalg.solve(others, (total - given[c])[samples, :, None])[:, :, 0]
        error += float(((values - factors.mean[c] - z @ factors.loadings[c].T) ** 2).sum())
    return error


def _start(rows: Rows, rank: int) -> Factors:
    """The principal components of what blocks share: of the second moments between blocks, each over the samples that have
    both. Those within a block are left out, as residuals can explain them."""
    rows = rows.evenly(_TRIED)
    blocks, d = len(rows.values), rows.values[0].shape[1]
    sums = np.stack([rows.sums(c, values) for c, values in enumerate(rows.values)], 1)
    means = (sums / np.maximum(rows.table, 1)[:, :, None]).reshape(rows.count, -1)
    shown = (rows.table > 0).astype(float)
    between = (1 - np.eye(blocks)) / (shown.T @ shown + _RIDGE)
    shared = (means.T @ means).reshape(blocks, d, blocks, d) * between[:, None, :, None]
    size, axes = _largest(shared.reshape(blocks * d, blocks * d), rank)
    loadings = np.zeros((blocks * d, rank))
    loadings[:, :len(size)] = axes * np.sqrt(np.maximum(size, 0))
    return Factors(np.zeros((blocks, d)), loadings.reshape(blocks, d, rank), np.tile(np.eye(d), (blocks, 1, 1)))


def _largest(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues of a symmetric (n, n), descending, at most `count` of them, and the eigenvectors, (n, count)."""
    if len(matrix) <= _DENSE:
        size, axes = np.linalg.eigh(matrix)
        return size[::-1][:count], axes[:, ::-1][:, :count]
    from scipy.sparse.linalg import eigsh
    size, axes = eigsh(matrix, count, which="LA", v0=np.ones(len(matrix)))
    order = np.argsort(-size)
    return size[order], axes[:, order]


def _em(rows: Rows, factors: Factors, iterations: int = _ITERATIONS) -> Factors:
    """Improve the parameters, for rows of variance 1."""
    least = _OWN * _shrunk(np.array([values.T @ values for values in rows.values]), rows.counts())
    before = -np.inf
    for _ in range(iterations):
        expected = _expect(factors, rows)
        if expected.log_likelihood - before < _TOLERANCE * rows.counts().sum():
            break
        before = expected.log_likelihood
        factors = _maximize(factors, rows, expected, least)
    return factors


@dataclass(frozen=True)
class _Expected:
    """Of the factors of n samples: mean (n, r), and covariance (U, r, r) by pattern of rows. And the rows' log-likelihood."""

    mean: np.ndarray
    covariance: np.ndarray
    log_likelihood: float


def _expect(factors: Factors, rows: Rows) -> _Expected:
    """The E step. The covariance of a sample's factors follows from the blocks that it has."""
    patterns, samples, which = rows.patterns
    precision = np.eye(factors.rank) + np.tensordot(patterns, factors.information, 1)
    covariance = np.linalg.inv(precision)
    given, squares = np.zeros((rows.count, factors.rank)), 0.0
    for c, values in enumerate(rows.values):
        rest = values - factors.mean[c]
        given += rows.sums(c, rest @ factors.weights[c])
        squares += float((rest * np.linalg.solve(factors.residual[c], rest.T).T).sum())
    mean = np.empty_like(given)
    for start in range(0, rows.count, 4096):  # so that memory does not grow with the samples
        part = slice(start, start + 4096)
        mean[part] = (covariance[which[part]] @ given[part, :, None])[:, :, 0]
    explained = (given * mean).sum() - np.linalg.slogdet(precision)[1] @ samples
    logs = np.linalg.slogdet(factors.residual)[1] + factors.mean.shape[1] * np.log(2 * np.pi)
    return _Expected(mean, covariance, float(explained - squares - logs @ rows.counts()) / 2)


def log_likelihood(factors: Factors, rows: Rows) -> float:
    """The natural logarithm of the rows' joint density."""
    return _expect(factors, rows).log_likelihood


def _maximize(factors: Factors, rows: Rows, expected: _Expected, least: np.ndarray) -> Factors:
    """The M step: a regression of each block's rows on the factors, and the covariance of what that leaves.

    The loadings' prior weighs more the noisier a number is, so that a block that follows others closely goes on to: in the axes
    of Psi a row l of L, of noise psi, solves l (S + psi _RIDGE I) = s. least: (C, d, d), added to the covariance.
    """
    blocks, d, rank = factors.loadings.shape
    patterns, number, _ = rows.patterns
    uncertainty = np.tensordot(patterns.T * number, expected.covariance, 1)  # (C, r, r)
    fitted, left = np.zeros((blocks, d, rank + 1)), np.zeros((blocks, d, d))
    noise, axes = np.linalg.eigh(factors.residual)
    for c, (values, samples) in enumerate(zip(rows.values, rows.samples)):
        z = np.concatenate([expected.mean[samples], np.ones((len(samples), 1))], 1)
        second, both = z.T @ z, values.T @ z
        second[:rank, :rank] += uncertainty[c]
        ridge = noise[c, :, None, None] * np.diag([_RIDGE] * rank + [1e-9])
        fitted[c] = axes[c] @ np.linalg.solve(second + ridge, (axes[c].T @ both)[:, :, None])[:, :, 0]
        left[c] = values.T @ values - both @ fitted[c].T - fitted[c] @ both.T + fitted[c] @ second @ fitted[c].T
    return _normalized(Factors(fitted[:, :, -1], fitted[:, :, :rank], _shrunk(left, rows.counts()) + least), rows, expected)


def _shrunk(left: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(C, d, d) sums of squares over n_c rows each -> covariances.

    Each is shrunk by d rows towards the shape that all blocks share, with its own variance; and that by one row towards the
    variance of all.
    """
    d = left.shape[1]
    shape = left.sum(0) / counts.sum()
    variance = max(np.trace(shape) / d, _LEAST)
    own = (np.trace(left, axis1=1, axis2=2) / d + variance) / (counts + 1)
    covariance = (left + d * own[:, None, None] / variance * shape) / (counts + d)[:, None, None]
    floor = 1e-6 * np.trace(covariance, axis1=1, axis2=2) / d + _LEAST  # so that it can be inverted
    return (covariance + np.swapaxes(covariance, 1, 2)) / 2 + floor[:, None, None] * np.eye(d)


def _normalized(factors: Factors, rows: Rows, expected: _Expected) -> Factors:
    """The same, with factors whose mean over the samples is 0 and covariance I: EM then needs far fewer steps."""
    mean = expected.mean.mean(0)
    rest = expected.mean - mean
    covariance = (rest.T @ rest + np.tensordot(rows.patterns[1], expected.covariance, 1)) / len(rest)
    return Factors(factors.mean + factors.loadings @ mean, factors.loadings @ np.linalg.cholesky(covariance), factors.residual)

