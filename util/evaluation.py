"""An evaluation: pictures measured one after the other, by several processes, with stops; and what it found."""
from __future__ import annotations

import contextlib
import datetime
import math
import time
from pathlib import Path

from util import distributed
from util.checkpoint import read_tensors
from util.errors import UserError, first_few
from util.experiment import versions
from util.files import atomic_write, read_json
from util.interrupt import Interrupts
from util.lazy import LazyModule
from util.progress import Progress

torch, registry = LazyModule("torch"), LazyModule("util.metrics.registry")
RECORD, FOLDER = "evaluation.json", "evaluation"  # the figures, and beside them the folder of their page
EXTREMES = 8  # pictures shown as the best and as the worst by a figure
_SAVE_EVERY = 30.0  # seconds between saves, at least; a save takes a twentieth of the time at most
_VERSION = 1


class Journal:
    """What this process has measured so far, in a file, for an evaluation that was stopped to go on from.

    It belongs to exactly what `sources` says by name (weights, data, flags) and to as many processes.
    """

    def __init__(self, folder, sources: dict[str, str]):
        self.path = Path(folder) / f".measured-{distributed.rank()}.pth"
        self.sources = {**sources, "the number of processes": str(distributed.world_size())}
        self._next = time.monotonic() + _SAVE_EVERY

    def restore(self, metrics) -> int:
        """Take up what was measured: of how many pictures. 0 where there is nothing, or something else's, which is said."""
        if not self.path.is_file():
            return 0
        changed = ["its file, which is broken"]
        with contextlib.suppress(UserError, KeyError, TypeError, AttributeError, ValueError):
            state = read_tensors(self.path)
            changed = differing(state["sources"], self.sources)
            if not changed:
                metrics.extend(state["metrics"])
                print(f"Going on after {state['done']} pictures, where this evaluation was interrupted")
                return state["done"]
        print(f"{self.path.parent}: what an interrupted evaluation left differs in {first_few(changed)}: starting anew")
        return 0

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() >= self._next

    def save(self, metrics, done: int) -> None:
        """Write what was measured of this process's first `done` pictures. Raises UserError."""
        start = time.monotonic()
        with atomic_write(self.path) as stream:
            torch.save({"sources": self.sources, "done": done, "metrics": metrics.state()}, stream)
        self._next = time.monotonic() + max(_SAVE_EVERY, 20 * (time.monotonic() - start))

    def forget(self) -> None:
        """Remove the files of all processes, once the figures are written."""
        for path in self.path.parent.glob(".measured-*.pth"):
            path.unlink(missing_ok=True)


def differing(one: dict, other: dict) -> list[str]:
    """The keys whose values differ."""
    return [key for key in {**one, **other} if one.get(key) != other.get(key)]


def measure(pictures, metrics, journal: Journal) -> None:
    """Measure this process's pictures, from where the journal stopped; it can be interrupted between two of them.

    pictures: has `share` and `rows(done)`. metrics: a MetricSet. Raises SystemExit once an interruption has been saved.
    """
    done = journal.restore(metrics)
    bar = Progress(pictures.share, done) if distributed.is_main() else distributed.NoOp()
    with Interrupts() as interrupts, bar:
        for names, rows in pictures.rows(done):
            metrics.add_rows(names, rows)
            done += len(names)
            bar.update(len(names))
            if interrupts.received or journal.due():
                journal.save(metrics, done)
            if interrupts.received:
                print(f"Stopped after {done} of {pictures.share} pictures; the same command goes on from there")
                raise SystemExit(128 + interrupts.received)  # each process by itself: they need not be at the same picture
    journal.save(metrics, done)


def joined(metrics):
    """What all processes have measured, in the first of them; None in the others.

    Pictures come in the order in which one process would have measured them, in the same batches.
    """
    shares = distributed.gather(metrics.state())
    for share in (shares or ())[1:]:
        metrics.extend(share)
    return metrics if shares else None


def found(metrics) -> dict:
    """What the measured pictures say: the part of evaluation.json that follows from them, JSON-safe.

    values: {figure: value or None}. of_truth: what the true pictures would get, where it is known. figures: {figure: {'title',
    'best' (None: the higher the better), 'digits'}}. metrics: {metric: its summary}. not_computed: {metric: why}. each:
    [{'name', 'size', 'truth': see `ComparedData`, figure: value or None, ...}].
    """
    summary = metrics.summary()
    summaries, values, missing = summary["metrics"], metrics.values(summary), dict(summary["not_computed"])
    missing |= {name: "too few pictures have it" for name, entry in registry.METRICS.items() if entry.figure in values and
                values[entry.figure] is None}
    notes = [note for one in summaries.values() for note in one.get("notes", ())]
    figures = {key: {"title": figure.title, "best": figure.best if math.isfinite(figure.best) else None,
                     "digits": figure.digits} for key, figure in metrics.figures.items()}
    of_truth = {key: value for name, metric in metrics.metrics.items()
                for key, value in metric.of_truth(summaries[name]).items()}
    return {"values": values, "of_truth": of_truth, "figures": figures, "metrics": summaries,
            "not_computed": missing, "notes": notes, "each": metrics.each}


def error_of(figure: dict, value: float) -> float:
    """How far a value is from the best one; see `util.metrics.base.Figure`."""
    return -value if figure["best"] is None else abs(value - figure["best"])


def shown(value: float | None, figure: dict, sign: str = "") -> str:
    """A value with as many digits as its figure has; '–' for None. sign: '+' shows that of positive values, too."""
    return "–" if value is None else f"{value:{sign}.{figure['digits']}f}"


def extremes(record: dict) -> dict[str, tuple[list[str], list[str]]]:
    """{figure: (the worst pictures, the best pictures)}, each by name, the worst and the best first; none is in both."""
    chosen = {}
    for key, figure in record["figures"].items():
        rows = [row for row in record["each"] if row.get(key) is not None]
        names = [row["name"] for row in sorted(rows, key=lambda row: error_of(figure, row[key]))]
        best = names[:min(EXTREMES, len(names) // 2)]
        if best:
            chosen[key] = names[:-EXTREMES - 1:-1][:len(names) - len(best)], best
    return chosen


def spread_names(record: dict, count: int = 16) -> list[str]:
    """Some of the pictures, evenly spread: the same of all evaluations of the same data."""
    names = [row["name"] for row in record["each"]]
    return names if len(names) <= count else [names[i * len(names) // count] for i in range(count)]


def signed(command: str, seed: int, seconds: float, sources: dict[str, str]) -> dict:
    """The part of evaluation.json that says how it was made: 'version' (of its form), 'command', 'date', 'versions', ..."""
    return {"version": _VERSION, "command": f"python {command}", "seed": seed,
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "seconds": round(seconds, 1),
            "versions": versions(), "sources": sources}


def read_record(folder) -> dict:
    """The evaluation.json of a folder. Raises UserError naming the file."""
    path = Path(folder) / RECORD
    record = read_json(path, limit=1 << 30)
    if not isinstance(record, dict) or record.get("version") != _VERSION:
        raise UserError(f"{path}: is no evaluation that this version wrote; make it again with evaluate.py")
    return record


def recorded(folder, sources: dict[str, str]) -> dict | None:
    """The evaluation.json of a folder, if it was made of these sources; else None, and why in a line."""
    if not (Path(folder) / RECORD).is_file():
        return None
    with contextlib.suppress(UserError):
        record = read_record(folder)
        changed = differing(record["sources"], sources)
        if not changed:
            return record
        print(f"{Path(folder) / RECORD}: differs in {first_few(changed)}, so the pictures are measured again")
    return None
