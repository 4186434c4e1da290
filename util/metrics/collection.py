"""Several metrics as one: each picture goes to all that can measure it."""
from __future__ import annotations

import torch

from util.checkpoint import read_tensors
from util.errors import UserError
from util.files import atomic_write
from util.metrics.base import Figure, Metric


class MetricSet:
    """Metrics by the name of their module, with one `add`, `state`, `extend` and `summary`, as one `Metric` has them.

    not_computed: {name: why, in a line}, of the metrics that were asked for. names: the pictures that were measured.
    """

    def __init__(self, metrics: dict[str, Metric], not_computed: dict[str, str] | None = None):
        self.metrics, self.not_computed = metrics, dict(not_computed or {})
        self.names: list[str] = []

    @property
    def figures(self) -> dict[str, Figure]:
        """What each key of `values()` is."""
        return {key: figure for metric in self.metrics.values() for key, figure in metric.figures.items()}

    def add(self, name, drawn, true=None, label=None, looks=None, asked=None) -> dict:
        """Measure one picture by every metric that has what it requires; gives its figures, {key: value or None}."""
        given = (drawn, true, label, looks, asked)
        return self.add_batch([name], *([value] if value is not None else None for value in given))[0]

    def add_batch(self, names, drawn, true=None, label=None, looks=None, asked=None) -> list[dict]:
        """Measure several pictures; the arguments are lists over the pictures, or None. An item of a list may be None."""
        given = {key: value for key, value in (("drawn", drawn), ("true", true), ("label", label), ("looks", looks),
                                               ("asked", asked)) if value is not None}
        figures = [{} for _ in names]
        for metric in self.metrics.values():
            fit = [i for i in range(len(names)) if all(key in given and given[key][i] is not None for key in metric.requires)]
            batch = {key: [values[i] for i in fit] for key, values in given.items() if key != "asked" or key in metric.requires}
            found = metric.add_batch([names[i] for i in fit], batch.pop("drawn", None), **batch)
            for i, one in zip(fit, found):
                figures[i] |= one
        self.names += map(str, names)
        return figures

    def add_rows(self, names, rows: list[dict]) -> list[dict]:
        """Measure several pictures, each given as the arguments of `add` by name: as `BaseModel.compared` gives them."""
        keys = dict.fromkeys(key for row in rows for key in ("drawn", *row))
        return self.add_batch(names, **{key: [row.get(key) for row in rows] for key in keys})

    @property
    def each(self) -> list[dict]:
        """[{'name', key: value or None, ...}]: the figures of each picture, in the order in which they came."""
        rows = {name: {"name": name} for name in self.names}
        for metric in self.metrics.values():
            for one in metric.each:
                rows[one["name"]] |= one
        return list(rows.values())

    def state(self) -> dict:
        """All that was collected, as tensors and plain values."""
        return {"names": list(self.names), "metrics": {key: metric.state() for key, metric in self.metrics.items()}}

    def extend(self, other: MetricSet | dict) -> None:
        """Add what another set of the same metrics collected, or its `state()`, in its order.

        Raises UserError where its metrics or their settings are others.
        """
        state = other.state() if isinstance(other, MetricSet) else other
        if state["metrics"].keys() != self.metrics.keys():
            raise UserError(f"figures of {', '.join(state['metrics'])} cannot be joined with figures of "
                            f"{', '.join(self.metrics)}")
        for key, metric in self.metrics.items():
            metric.extend(state["metrics"][key])
        self.names += state["names"]

    def save(self, path) -> None:
        """Write the state into a file, for `load` to go on from. Raises UserError."""
        with atomic_write(path) as file:
            torch.save(self.state(), file)

    def load(self, path) -> None:
        """`extend` by a state that was saved. Raises UserError naming a file that is broken or holds something else."""
        state = read_tensors(path)
        if not {"names", "metrics"} <= state.keys():
            raise UserError(f"{path}: holds no figures; delete it to measure all pictures again")
        try:
            self.extend(state)
        except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: {error}; delete it to measure all pictures again") from error

    def values(self, summary: dict | None = None) -> dict[str, float | None]:
        """The figures alone: {key: value or None}. summary: what `summary()` gave, which may take a minute to find."""
        summaries = (summary or self.summary())["metrics"]
        return {key: value for module, metric in self.metrics.items()
                for key, value in metric.values(summaries[module]).items()}

    def summary(self) -> dict:
        """{'pictures', 'metrics': {module: its summary}, 'not_computed': {name: why}}, JSON-safe."""
        return {"pictures": len(self.names), "metrics": {key: metric.summary() for key, metric in self.metrics.items()},
                "not_computed": dict(self.not_computed)}
