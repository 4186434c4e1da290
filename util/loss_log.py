"""Writing and parsing the training log `loss_log.txt`, which has a line for each time the losses are printed."""
from __future__ import annotations

import math
import os
import re

from util.errors import UserError

_LINE = re.compile(r"^\(epoch: (\d+), iters: (\d+), time: [\d.]+([^)]*)\) (.*)$")
_RATE = re.compile(r", (lr\w*): ([\d.e+-]+)")
# without the space, a line that was truncated within a number would be parsed as a wrong number
_TERM = re.compile(r"(\S+): (\S+) ")


def format_line(epoch, iters, time, terms, extra=None) -> str:
    """One line of the log, without its newline.

    `(epoch: 1, iters: 4, time: 0.016) G_GAN: 1.497 D_real: 1.828 `, with a space at the end.

    Args:
        epoch: counted from 1.       iters: pictures done in this epoch.       time: seconds a picture.
        terms: {name: number}; those that are exactly zero are left out, as they are when a loss is not used.
        extra: {name: text}, added after the time: `time: 0.016, data: 3%`.
    """
    more = "".join(f", {name}: {value}" for name, value in (extra or {}).items())
    values = ((name, float(value)) for name, value in terms.items())
    losses = "".join(f"{name}: {value:.3f} " for name, value in values if value != 0)
    return f"(epoch: {epoch}, iters: {iters}, time: {time:.3f}{more}) {losses}"


def parse_line(line: str) -> dict | None:
    """{'epoch', 'iters', 'terms': {name: float}, 'rates': {'lr': float}} of a complete line of losses, else None."""
    found = _LINE.match(line.rstrip("\r\n"))
    if not found:
        return None
    try:
        terms, rates = ({name: float(text) for name, text in pairs}
                        for pairs in (_TERM.findall(found[4]), _RATE.findall(found[3])))
    except ValueError:
        return None
    return {"epoch": int(found[1]), "iters": int(found[2]), "terms": terms, "rates": rates}


def read(path) -> list[dict]:
    """All lines of losses in the log, in its order, as `parse_line` gives them; [] without a log.

    Headers, notes and an incomplete last line are skipped.
    """
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        entries = [parse_line(line) for line in file if line.endswith("\n")]
    return [entry for entry in entries if entry]


def newest_run(entries) -> list[dict]:
    """The lines of the newest training in a log that several runs wrote to.

    A resumed run continues from its last checkpoint, and a new run of the same name from the start, so a line replaces all
    lines before it whose position is not earlier.
    """
    course: list[dict] = []
    for entry in entries:
        with_entry(course, entry)
    return course


def with_entry(course, entry) -> list[dict]:
    """Append a line to `course` in place, after removing those at its end whose position is not earlier."""
    while course and (course[-1]["epoch"], course[-1]["iters"]) >= (entry["epoch"], entry["iters"]):
        course.pop()
    course.append(entry)
    return course


def rate_title(name: str) -> str:
    """What 'lr' and 'lr_G' are called: 'learning rate', 'learning rate of G'."""
    return "learning rate" + name[2:].replace("_", " of ")


def series(entries, name, epoch_size) -> tuple[list[float], list[float]]:
    """One term as (positions in epochs, values), without lines that lack it or where it is not finite.

    Args:
        epoch_size: pictures in an epoch. Position 0 is the start of epoch 1, 1.5 the middle of epoch 2.
    """
    positions, values = [], []
    for entry in entries:
        value = entry["terms"].get(name)
        if value is not None and math.isfinite(value):
            positions.append(entry["epoch"] - 1 + entry["iters"] / epoch_size)
            values.append(value)
    return positions, values


class LossLog:
    """Appends to `path`. Starting it writes the header; an earlier run's lines stay above."""

    def __init__(self, path, date: str):
        self.path = path
        start = "\n" if _ends_in_the_middle(path) else ""
        self._append(f"{start}================ Training Loss ({date}) ================\n")

    def add(self, line: str) -> None:
        """Append one line. Raises UserError where the file cannot be written."""
        self._append(line + "\n")

    def _append(self, text: str) -> None:
        try:
            with open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}; "
                            "free some space or choose another --checkpoints_dir") from error


def _ends_in_the_middle(path) -> bool:
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        return False
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
