"""Whether unit vectors of faces tell who it is: verification of pairs and retrieval, by LFW's protocol (Huang et al. 2007)."""
from __future__ import annotations

import numpy as np
import torch

from util.metrics.base import Figure, Metric

FOLDS, FAR = 10, 1e-3
_MOST_PAIRS = 6000  # of each kind, in the folds
_ROWS = 1024  # vectors that are compared with all others at a time


def best_threshold(scores, same) -> float:
    """The threshold from which on pairs are accepted that decides most pairs rightly; of equal ones the highest."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    scores, same = np.asarray(scores)[order], np.asarray(same, bool)[order]
    right = np.concatenate([[0], np.cumsum(np.where(same, 1, -1))])  # beyond the number of pairs of different people
    possible = np.concatenate([[True], scores[1:] < scores[:-1], [True]])  # equal scores are decided alike
    best = int(np.argmax(np.where(possible, right, -len(same) - 1)))
    if best == 0:
        return float(np.nextafter(scores[0], np.inf))
    return float(scores[-1] if best == len(scores) else (scores[best - 1] + scores[best]) / 2)


def verification_accuracy(scores, same, folds: int = FOLDS) -> float:
    """The mean over folds of the share decided rightly by the threshold that is best in the other folds.

    scores: (n,) similarities. same: (n,) bool. The folds are every k-th pair, so pairs come in an order that chance gives.
    """
    scores, same, fold = np.asarray(scores), np.asarray(same, bool), np.arange(len(scores)) % folds
    shares = []
    for k in range(min(folds, len(scores))):
        threshold = best_threshold(scores[fold != k], same[fold != k]) if (fold != k).any() else 0.0
        shares.append(np.mean((scores[fold == k] >= threshold) == same[fold == k]))
    return float(np.mean(shares))


def tar_at_far(genuine, impostor, far: float = FAR) -> float:
    """The share of genuine scores above the threshold that accepts at most a share `far` of impostor scores."""
    impostor = np.sort(np.asarray(impostor))[::-1]
    allowed = int(far * len(impostor) + 1e-9)
    return float(np.mean(np.asarray(genuine) > impostor[allowed])) if allowed < len(impostor) else 1.0


def roc(genuine, impostor, points: int = 200) -> np.ndarray:
    """(n, 2): shares of impostor and of genuine scores that are accepted, over thresholds from the highest to the lowest."""
    genuine, impostor = np.sort(genuine), np.sort(impostor)
    thresholds = np.unique(np.quantile(np.concatenate([genuine, impostor]), np.linspace(0, 1, points)))[::-1]
    accepted = [1 - np.searchsorted(scores, thresholds, "left") / len(scores) for scores in (impostor, genuine)]
    return np.concatenate([[(0.0, 0.0)], np.stack(accepted, 1)])


class VerificationMetrics(Metric):
    """Figures from 0 to 1. In memory are all vectors, and for an instant the similarities of all pairs.

    Of all pairs of one person, and of as many pairs of two people that chance chooses, `accuracy` is that of 10 folds; `tar`
    the share of all pairs of one person accepted where one in a thousand of all other pairs is. `rank1`: how often the nearest
    other picture is of the same person, among people with several pictures.
    """

    figures = {"accuracy": Figure("verification accuracy", 1), "tar": Figure("TAR at FAR 1e-3", 1),
               "rank1": Figure("rank-1 retrieval", 1)}

    def __init__(self, seed: int = 0):
        super().__init__(settings={"seed": seed})
        self.seed = seed
        self.vectors, self.people = [], []

    def measure(self, name, drawn, true, label=None) -> dict:
        """drawn: (D,) of length 1. true: the person's number."""
        self.vectors.append(np.asarray(drawn, np.float32))
        self.people.append(int(true))
        return {}

    def _sums(self):
        vectors = np.stack(self.vectors) if self.vectors else np.zeros((0, 0), np.float32)
        return {"vectors": torch.from_numpy(vectors), "people": list(self.people)}

    def _add_sums(self, state):
        self.vectors += list(state["vectors"].numpy())
        self.people += state["people"]

    def _pairs(self):
        """(scores, same, first, second) of all pairs i < j."""
        vectors, people, n = np.stack(self.vectors), np.array(self.people), len(self.people)
        first, second = np.triu_indices(n, 1)
        after = np.arange(n)[None] > np.arange(n)[:, None]
        scores = np.concatenate([(vectors[i:i + _ROWS] @ vectors.T)[after[i:i + _ROWS]] for i in range(0, n, _ROWS)])
        return scores, people[first] == people[second], first, second

    def summary(self) -> dict:
        """The figures, None where there are no pairs of one of the two kinds."""
        found = {"pictures": len(self.people), "people": len(set(self.people)), **dict.fromkeys(self.figures)}
        if len(self.people) < 2:
            return found
        scores, same, first, second = self._pairs()
        if same.all() or not same.any():
            return found
        random = np.random.default_rng(self.seed)
        count = min(int(same.sum()), int((~same).sum()), _MOST_PAIRS)
        chosen = random.permutation(np.concatenate([random.choice(np.flatnonzero(kind), count, replace=False)
                                                    for kind in (same, ~same)]))
        return {**found, "accuracy": verification_accuracy(scores[chosen], same[chosen]),
                "tar": tar_at_far(scores[same], scores[~same]), "rank1": self._rank1()}

    def _rank1(self) -> float | None:
        vectors, people = np.stack(self.vectors), np.array(self.people)
        several = np.isin(people, [person for person, n in zip(*np.unique(people, return_counts=True)) if n > 1])
        if not several.any():
            return None
        similar = vectors @ vectors.T
        np.fill_diagonal(similar, -np.inf)
        return float(np.mean((people[similar.argmax(1)] == people)[several]))

    def roc(self) -> np.ndarray:
        """(n, 2) shares of different and of same people accepted, or (0, 2)."""
        scores, same, *_ = self._pairs() if len(self.people) > 1 else (np.zeros(0), np.zeros(0, bool))
        return roc(scores[same], scores[~same]) if same.any() and not same.all() else np.zeros((0, 2))

    def confused(self, most: int = 12) -> dict[str, list[tuple[str, str, float]]]:
        """{title: [(name, name, cosine)]}: the nearest pairs of different people, the farthest of one person."""
        if len(self.people) < 2:
            return {}
        scores, same, first, second = self._pairs()
        names, found = [one["name"] for one in self.each], {}
        for title, kind, sign in (("Different people, nearest first", ~same, -1), ("One person, farthest first", same, 1)):
            at = np.flatnonzero(kind)
            at = at[np.argsort(sign * scores[at], kind="stable")[:most]]
            found[title] = [(names[first[i]], names[second[i]], float(scores[i])) for i in at]
        return found
