"""Validation on held-out pictures during training (--val_freq), and selection of the best checkpoint."""
from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from data.data_loader import CreateDataLoader, dataset_class
from data.transforms import without_crop
from util.errors import UserError
from util.evaluation import joined
from util.lazy import LazyModule

registry = LazyModule("util.metrics.registry")  # imports torch, and --help need not wait for it
LOG = "val_log.jsonl"
_FALLBACKS = ("val", "test")  # phases that are held out, where --val_phase says nothing


@dataclass(frozen=True)
class Found:
    """The result of a validation. epoch, total: its time in epochs and in training pictures. pictures: number of pictures.

    values: {figure: value or None}. error: the error of the figure of --val_best (lower is better), None without that flag.
    """

    epoch: int
    total: int
    pictures: int
    values: dict[str, float | None]
    error: float | None = None


def held_out_phase(opt) -> str:
    """The phase whose pictures validate: --val_phase, else val, else test; '' where a share of the training pictures does."""
    if opt.val_phase:
        return opt.val_phase
    return next((phase for phase in _FALLBACKS if dataset_class(opt.dataset_mode).has_phase(opt, phase)), "")


def with_split(opt):
    """The options of the training's own pictures: without those that --val_split holds out, where no phase validates."""
    if not opt.val_freq or held_out_phase(opt):
        return opt
    for phase in _FALLBACKS:
        if any(Path(opt.dataroot).glob(f"{phase}_*")):
            print(f"{opt.dataroot}: not every picture of {phase}_ has a true one to be compared with, so {opt.val_split:.0%} "
                  f"of {opt.phase}_ is held out instead (--val_phase {phase} says which are missing)")
    return opt.replace(part="rest")


class Validation:
    """Draws up to --val_max held-out pictures and measures them, without changing weights and random state of the training.

    Raises UserError naming the flag if there are no such pictures, or the figures do not apply to them.
    """

    def __init__(self, opt, model):
        self.opt, self.model = opt, model
        phase = held_out_phase(opt)
        whole = {"role": "test", "serial_batches": True, "no_flip": True, "nThreads": 0, "max_dataset_size": opt.val_max,
                 "resize_or_crop": _whole(opt.resize_or_crop)}
        try:
            self.loader = CreateDataLoader(opt.replace(**whole, phase=phase or opt.phase, part=None if phase else "held out"))
        except UserError as error:
            raise UserError(f"--val_freq {opt.val_freq}: {error}") from error
        self.what = f"{phase}_" if phase else f"{opt.val_split:.0%} of {opt.phase}_"
        self.figures = list(self.new_metrics().figures)  # at once, so that a wrong name is told before the start
        self.figure = self._figure(opt.val_best) if opt.val_best else None

    def new_metrics(self):
        """What collects the figures of one validation."""
        return self.model.validation_metrics(self.opt.val_metrics)

    def _figure(self, name: str) -> str:
        """The key of the figure that --val_best names."""
        names = registry.choose(name, "--val_best")
        key = registry.METRICS[names[0]].figure
        if len(names) > 1 or key not in self.figures:
            raise UserError(f"--val_best {name}: is none of the figures found here, {', '.join(self.figures)}; name one of "
                            "theirs, or have it found with --val_metrics")
        return key

    def due(self, epoch: int) -> bool:
        """Whether to validate after an epoch (from 1)."""
        return epoch % self.opt.val_freq == 0

    def run(self, epoch: int, total: int) -> Found | None:
        """Draw and measure; in the first of several processes what all of them found, in the others None."""
        metrics = self.new_metrics()
        with self.model.as_at_test():
            for batch in self.loader.load_data():
                outputs = self.model.aimed_inference(batch)
                rows = [self.model.compared(batch, outputs, i) for i in range(len(batch["name"]))]
                metrics.add_rows(batch["name"], rows)
        metrics = joined(metrics)
        if metrics is None:
            return None
        values = metrics.values()
        error = None
        if self.figure and values.get(self.figure) is not None:
            error = metrics.figures[self.figure].error(values[self.figure])
        return Found(epoch, total, len(metrics.names), values, error)


def _whole(resize_or_crop: str) -> str:
    """The preprocessing of whole pictures, whatever the crops that are trained on; padded to sides that the networks take."""
    mode = without_crop(resize_or_crop)
    return mode if mode == "none" or "pad" in mode else f"{mode}_pad"


def improved(found: Found, best: dict | None) -> dict | None:
    """What to remember of a checkpoint that is better than the best so far, as plain values; None where it is not."""
    if found.error is None or best and found.error >= best["error"]:
        return None
    return {"epoch": found.epoch, "total": found.total, "error": found.error,
            "values": {name: value for name, value in found.values.items() if value is not None}}


def read_log(folder, until: float = math.inf) -> list[dict]:
    """[{'epoch', 'total', 'pictures', 'values'}, ...] of an experiment, each epoch's last validation; [] without any.

    until: pictures trained on; what was found later belongs to a training that was given up.
    """
    path = Path(folder) / LOG
    if not path.is_file():
        return []
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            if entry["total"] > until:
                continue
            found = {epoch: one for epoch, one in found.items() if epoch < entry["epoch"]} | {entry["epoch"]: entry}
        except (ValueError, KeyError, TypeError):
            continue  # cut off by the end of an earlier run
    return list(found.values())


def log(folder, found: Found) -> None:
    """Append a line to val_log.jsonl. Raises UserError where it cannot be written."""
    entry = {"epoch": found.epoch, "total": found.total, "pictures": found.pictures, "values": found.values}
    try:
        with open(Path(folder) / LOG, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise UserError(f"{Path(folder) / LOG}: cannot be written ({error.strerror or error}); free some space") from error
