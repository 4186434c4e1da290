"""What every metric is: pictures in, one at a time or a few; figures out, of each picture and of all."""
from __future__ import annotations

import json
import math
from typing import NamedTuple

import numpy as np

from util.errors import UserError
from util.files import write_text


class NotComputed(Exception):
    """Why a metric cannot be computed here, in one line that says what to fetch or install."""


class Figure(NamedTuple):
    """One number that a metric gives. title: a column's heading. best: its value for a perfect drawing, may be infinite."""

    title: str
    best: float
    digits: int = 3

    def error(self, value: float) -> float:
        """How far a value is from the best one: what pictures and checkpoints are sorted by, the best first."""
        return abs(value - self.best) if math.isfinite(self.best) else -value


class Metric:
    """Collects the figures of a run.

    What is in memory does not grow with the number of pictures, but for a line of figures each (`each`) and, for distances
    between sets of pictures, what the class says. Several processes measure their pictures and one extends its own by the
    others' `state()`; that, in the pictures' order, gives what one process would have found. The state also goes into a
    file for an evaluation to go on from: an empty metric extended by it is as the one that was saved.

    figures: {key: Figure} of `values()`. each: [{'name', key: value or None}, ...], where a single picture has figures.
    settings: what two runs must share for their figures to be joined, JSON-safe.
    requires: the arguments of `add` without which a picture cannot be measured.
    """

    figures: dict[str, Figure] = {}
    requires: tuple[str, ...] = ("drawn", "true")

    def __init__(self, class_names=None, settings: dict | None = None):
        self._names = list(class_names or [])
        self.settings = dict(settings or {})
        self.each: list[dict] = []

    @classmethod
    def create(cls, only, available) -> Metric:
        """The metric for what there is to measure (`util.metrics.registry.Available`).

        only: the figures asked for, of a class that gives several. Raises NotComputed where weights or a package are
        missing, UserError where what the user gave does not fit.
        """
        return cls()

    def add(self, name, drawn, true=None, label=None, looks=None) -> dict:
        """Measure one picture.

        Args:
            name: what the picture is called; UserErrors name it.
            drawn, true: (H, W, 3) uint8. A metric that compares sets of pictures takes either of them alone.
            label: (H, W) class ids of the map that it was drawn from.
            looks: (n, H, W, 3) uint8, several drawings of that map.

        Returns:
            {key: value or None}: the picture's own figures, JSON-safe; {} where a single picture has none.
        """
        figures = self.measure(name, drawn, true, label)
        self.each.append({"name": str(name), **figures})
        return figures

    def add_batch(self, names, drawn, true=None, label=None, looks=None) -> list[dict]:
        """Measure several pictures: as `add`, each argument a list (or an array) over the pictures, or None."""
        columns = [column if column is not None else [None] * len(names) for column in (drawn, true, label, looks)]
        return [self.add(name, *row) for name, *row in zip(names, *columns)]

    def measure(self, name, drawn, true, label) -> dict:
        """The figures of one picture, where `add` does no more than to collect them."""
        raise NotImplementedError

    def state(self) -> dict:
        """All that was collected, as tensors and plain values: it can be saved, and read with weights_only=True."""
        return {"settings": dict(self.settings), "each": list(self.each), **self._sums()}

    def extend(self, other: Metric | dict) -> None:
        """Add what another of this class collected, or its `state()`, in its order, as if it had been measured here.

        Raises UserError where that was measured with other settings.
        """
        state = other.state() if isinstance(other, Metric) else other
        if state["settings"] != self.settings:
            key = next(key for key in {**self.settings, **state["settings"]}
                       if self.settings.get(key) != state["settings"].get(key))
            raise UserError(f"{type(self).__name__}: figures with {key} {state['settings'].get(key)} cannot be joined with "
                            f"those with {key} {self.settings.get(key)}")
        self.each += state["each"]
        self._add_sums(state)

    def _sums(self) -> dict:
        """What is in the state beside `each`."""
        return {}

    def _add_sums(self, state: dict) -> None:
        """Add another's `_sums`."""

    def summary(self) -> dict:
        """The figures of all pictures, JSON-safe: 'pictures', every key of `figures` (None where none has it), and tables."""
        raise NotImplementedError

    def values(self, summary: dict | None = None) -> dict[str, float | None]:
        """The figures alone: {key: value or None}. summary: what `summary()` gave, which may take a minute to find."""
        summary = summary or self.summary()
        return {key: summary[key] for key in self.figures}

    def of_truth(self, summary: dict) -> dict[str, float | None]:
        """What the true pictures would get in the drawn ones' place, as far as that is known: {key: value or None}."""
        return {key: figure.best if math.isfinite(figure.best) else None for key, figure in self.figures.items()}

    def write(self, path, **more) -> None:
        """Write the summary, more values, and the figures of each picture under 'each', as JSON. Raises UserError."""
        content = {**self.summary(), **more, "each": self.each}
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def _means(self) -> dict[str, float | None]:
        """{key: its `average` over the pictures}."""
        return {key: average(self.each, key) for key in self.figures}

    def _class_name(self, i: int) -> str:
        """A class's name; a name that two classes share has the id behind it."""
        name = str(self._names[i]) if i < len(self._names) else ""
        return name if name and self._names.count(self._names[i]) == 1 else f"{name} {i}".strip()


def average(rows, key: str) -> float | None:
    """The figure `key` of several pictures, given the lines that they have in `each`; None where none has it.

    The mean of the pictures that have it; but a ratio, whose line holds its two sides as '<key>_drawn' and '<key>_true', is the
    ratio of the two sides' root mean squares.
    """
    if sides := [(one[f"{key}_drawn"], one[f"{key}_true"]) for one in rows if one.get(f"{key}_true") is not None]:
        drawn, true = np.square(sides).mean(0)
        return float(np.sqrt(drawn / true)) if true > 0 else None
    values = [one[key] for one in rows if one.get(key) is not None]
    return float(np.mean(values)) if values else None


def check_picture(name, picture, what: str = "picture") -> np.ndarray:
    """An (H, W, 3) uint8 array. Raises UserError naming it for anything else."""
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise UserError(f"{name}: the {what} is {picture.dtype} of shape {picture.shape}; give uint8 of shape (H, W, 3)")
    return picture


def check_sizes(name, drawn, true=None, label=None) -> None:
    """Raise UserError naming the picture where what is compared pixel by pixel is not of one size."""
    drawn = check_picture(name, drawn, "drawn picture")
    true = drawn if true is None else check_picture(name, true, "true picture")
    sizes = {"drawn picture": drawn.shape[:2], "true picture": true.shape[:2],
             "label map": drawn.shape[:2] if label is None else np.shape(label)}
    for what, size in sizes.items():
        if size != sizes["drawn picture"]:
            raise UserError(f"{name}: the drawn picture is {drawn.shape[1]}x{drawn.shape[0]}, the {what} "
                            f"{'x'.join(map(str, size[::-1]))}; both must be of one size")
