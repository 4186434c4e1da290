"""Sliced Wasserstein distance between the patches of drawn and of true pictures, scale by scale; it needs no weights.

Karras, Aila, Laine, Lehtinen, "Progressive growing of GANs for improved quality, stability, and variation", ICLR 2018
(arXiv:1710.10196), section 5: 7x7 patches, 128 a picture, from each level of a Laplacian pyramid whose coarsest level has
16 pixels a side; normalised by mean and deviation of each colour over all patches of a set; the mean over 4 x 128 random
directions of the Wasserstein distance of the patches' projections; told times 1,000.
"""
from __future__ import annotations

import hashlib
import math

import cv2
import numpy as np
import torch

from util.errors import UserError
from util.metrics.base import Figure, Metric, check_picture, check_sizes

COARSEST = 16  # pixels, the shorter side of the last level
PATCH, PATCHES = 7, 128  # pixels a side; patches a picture and level
REPEATS, DIRECTIONS = 4, 128
MOST_PATCHES = 1 << 16  # kept of a set and level, 38 MB: all patches of 512 pictures, a random choice from more
SETS = ("drawn", "true", "again")  # the true pictures are drawn from twice: what the distance of the two draws is, is noise
_SLACK = 1 << 13  # patches that wait to be thinned out


def laplacian_pyramid(picture) -> list[np.ndarray]:
    """(H, W, 3) uint8 -> float32 levels, the finest first: what each loses when halved, and last the smallest picture.

    Halving and doubling use the binomial filter 1 4 6 4 1 (Burt and Adelson 1983), the border mirrored. The last level's
    shorter side has at least 16 pixels, and fewer than 32.
    """
    levels, image = [], np.asarray(picture, np.float32)
    while (min(image.shape[:2]) + 1) // 2 >= COARSEST:
        half = cv2.pyrDown(image)
        levels.append(image - cv2.pyrUp(half, dstsize=image.shape[1::-1]))
        image = half
    return [*levels, image]


def patch_corners(seed: int, name, which: str, level: int, size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the patches of one picture and level are taken: rows, columns (of their upper left pixel), and priorities.

    Three (128,) int64. They follow from these arguments alone, so that they are the same in whatever process and order.
    Priorities choose among all pictures' patches, the lowest first.
    """
    key = f"{seed} {which} {level} {name}".encode("utf-8", "surrogatepass")
    random = np.random.default_rng(list(hashlib.sha256(key).digest()))
    height, width = size
    return (random.integers(0, height - PATCH + 1, PATCHES), random.integers(0, width - PATCH + 1, PATCHES),
            random.integers(0, 1 << 63, PATCHES))


def sliced_wasserstein(patches: np.ndarray, others, seed) -> list[float]:
    """Sliced Wasserstein distances of some sets of patches to one, each normalised by its own colours' mean and deviation.

    Args:
        patches: (n, 147) float32. others: as many patches each.
        seed: of the random directions.

    In float64, rounded to 9 decimals: the last bits of a matrix product depend on the number of threads.
    """
    normalised = [_normalised(one) for one in (patches, *others)]
    random, distances = np.random.default_rng(seed), []
    for _ in range(REPEATS):
        directions = random.standard_normal((DIRECTIONS, patches.shape[1]))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        first, *rest = (np.sort(directions @ one.T, axis=1) for one in normalised)
        distances.append([np.abs(one - first).mean() for one in rest])
    return np.mean(distances, axis=0).round(9).tolist()


def _normalised(patches: np.ndarray) -> np.ndarray:
    colours = patches.reshape(len(patches), -1, 3)
    centred = colours - colours.mean((0, 1), dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.square(centred).mean((0, 1), dtype=np.float64))
    centred /= np.where(deviation > 0, deviation, 1).astype(np.float32)
    return centred.reshape(patches.shape)


class _Sample:
    """The patches of lowest priority among all that were offered: a random choice that no order changes."""

    def __init__(self, most: int):
        self.most, self._count = most, 0
        self._priorities = np.empty(most + _SLACK, np.int64)  # what is not written yet takes no memory
        self._patches = np.empty((most + _SLACK, 3 * PATCH ** 2), np.float32)

    def offer(self, priorities: np.ndarray, patches: np.ndarray) -> None:
        """priorities: (n,) int64. patches: (n, 147) float32."""
        for i in range(0, len(priorities), _SLACK):
            count = len(priorities[i:i + _SLACK])
            if self._count + count > len(self._priorities):
                self.kept(self.most)
            place = slice(self._count, self._count + count)
            self._priorities[place], self._patches[place] = priorities[i:i + _SLACK], patches[i:i + _SLACK]
            self._count += count

    def kept(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """At most `most` priorities, rising, and their patches; what is over this sample's bound is forgotten."""
        order = np.argsort(self._priorities[:self._count], kind="stable")[:self.most]
        self._count = len(order)
        self._priorities[:self._count], self._patches[:self._count] = self._priorities[order], self._patches[order]
        most = min(most, self._count)
        return self._priorities[:most], self._patches[:most]

    def __len__(self) -> int:
        return min(self._count, self.most)


class SlicedWasserstein(Metric):
    """SWD times 1,000, by level and on average, and its floor: 0 is out of reach, as patches are drawn at random.

    The floor is the distance of two draws of patches from the same true pictures: what a model that draws the true pictures
    would get. (Two halves of the true pictures would not do: with few pictures they differ by who is in them.) Each set is
    normalised by itself, as the authors' program does, so that brightness and contrast of a whole set do not count.

    In memory: patches of at most 512 pictures a level (65,536 x 147 float32, 38 MB), three sets; of more pictures, a random
    choice among all their patches.
    """

    figures = {"swd": Figure("SWD x 1000", 0, 1)}
    requires = ()

    def __init__(self, seed: int = 0, most: int = MOST_PATCHES):
        """most: patches kept of a set and level."""
        super().__init__(settings={"seed": seed, "most": most})
        self._seed, self._most = seed, most
        self._samples: dict[str, dict[int, _Sample]] = {which: {} for which in SETS}  # by level, 0 being the finest
        self._counts = {"drawn": 0, "true": 0}
        self._sides: dict[str, list[int]] = {"drawn": [], "true": []}  # least and largest shorter side, in pixels

    @classmethod
    def create(cls, only, available):
        return cls(available.seed)

    def add(self, name, drawn, true=None, label=None, looks=None) -> dict:
        """Draw patches from a picture of either set, or of both."""
        if drawn is not None and true is not None:
            check_sizes(name, drawn, true)
        for what, picture, takes in (("drawn", drawn, ["drawn"]), ("true", true, ["true", "again"])):
            if picture is None:
                continue
            picture = check_picture(name, picture, f"{what} picture")
            if min(picture.shape[:2]) < COARSEST:
                raise UserError(f"{name}: is {picture.shape[1]}x{picture.shape[0]}, but swd compares pictures from {COARSEST} "
                                "pixels a side up; leave it out of the metrics")
            self._counts[what] += 1
            self._sides[what] = _range([*self._sides[what], min(picture.shape[:2])])
            for level, image in enumerate(laplacian_pyramid(picture)):
                for which in takes:
                    self._offer(which, level, *_patches(image, *patch_corners(self._seed, name, which, level, image.shape[:2])))
        return {}

    def _offer(self, which, level, priorities, patches):
        self._samples[which].setdefault(level, _Sample(self._most)).offer(priorities, patches)

    def _sums(self):
        samples = {which: {level: [torch.from_numpy(kept.copy()) for kept in sample.kept(self._most)]
                           for level, sample in levels.items()} for which, levels in self._samples.items()}
        return {"samples": samples, "counts": dict(self._counts), "sides": dict(self._sides)}

    def _add_sums(self, state):
        for which, levels in state["samples"].items():
            for level, (priorities, patches) in levels.items():
                self._offer(which, level, priorities.numpy(), patches.numpy())
        self._counts = {what: count + state["counts"][what] for what, count in self._counts.items()}
        self._sides = {what: _range(sides + state["sides"][what]) for what, sides in self._sides.items()}

    def summary(self) -> dict:
        """{'pictures', 'true_pictures', 'swd', 'floor', 'by_level': {pixels: {'swd', 'floor', 'patches'}}}, all x 1000.

        by_level goes by the shorter side, the finest first; 'swd' and 'floor' are the means over the levels. Raises UserError
        where all pictures of one set are larger than those of the other.
        """
        (low, high), (true_low, true_high) = (self._sides[what] or [0, math.inf] for what in ("drawn", "true"))
        if low > true_high or true_low > high:
            raise UserError(f"swd: the drawn pictures have {low} pixels a side and the true ones {true_low}; scale them alike")
        levels = {self._level_name(level): self._level(level) for level in sorted(self._samples["true"])
                  if level in self._samples["drawn"]}
        means = {key: float(np.mean([one[key] for one in levels.values()])) if levels else None for key in ("swd", "floor")}
        return {"pictures": self._counts["drawn"], "true_pictures": self._counts["true"], **means, "by_level": levels}

    def of_truth(self, summary):
        """The floor."""
        return {"swd": summary["floor"]}

    def _level(self, level: int) -> dict:
        drawn, true, again = (self._samples[which][level] for which in SETS)
        count = min(len(drawn), len(true))
        distances = sliced_wasserstein(true.kept(count)[1], [drawn.kept(count)[1], again.kept(count)[1]], (self._seed, level))
        return {"swd": 1000 * distances[0], "floor": 1000 * distances[1], "patches": count}

    def _level_name(self, level: int) -> str:
        """The shorter side at that level; of pictures of several sizes, from the smallest to the largest."""
        low, high = (-(-side // 2 ** level) for side in _range(sum(self._sides.values(), [])))
        return str(low) if low == high else f"{low}-{high}"


def _range(sides: list[int]) -> list[int]:
    return [min(sides), max(sides)] if sides else []


def _patches(image, rows, columns, priorities):
    """(priorities, (128, 147) float32): the patches of one level at these places, row by row, colours last."""
    inside = np.arange(PATCH)
    patches = image[rows[:, None, None] + inside[:, None], columns[:, None, None] + inside]
    return priorities, patches.reshape(len(rows), -1)
