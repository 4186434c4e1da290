"""The progress bar of a training, and a line on its duration if that is long."""
from __future__ import annotations

import sys
import time

from tqdm import tqdm

LONG = 3600.0  # seconds from which the duration is printed
_MEASURED = 2.0  # seconds over which the speed is measured


class Progress:
    """Pictures done of all, pictures a second, time left, the epoch and the share of time spent waiting for data.

    On a terminal a bar on stderr, else a line every ten seconds, so that a log file stays short; the last state is
    always shown. Use it as a context manager, or call `close()`.
    """

    def __init__(self, total_pictures: int, done: int = 0, shorter: str = "", unit: str = "pictures"):
        """
        Args:
            total_pictures: of the whole training.      done: of those, before a resume; they do not count as speed.
            shorter: if given, a long duration is printed, with this text after it.      unit: what is counted.
        """
        self._forecast = Forecast(total_pictures - done, shorter) if shorter else None
        terminal = sys.stderr.isatty()
        words = f"{{n_fmt}}/{{total_fmt}} {unit}, " + "{rate_noinv_fmt}, {remaining} left{postfix}"
        self._bar = tqdm(
            total=total_pictures, initial=done, unit=f" {unit}", miniters=1, mininterval=0.5 if terminal else 10,
            file=sys.stderr if terminal else _Lines(sys.stderr), dynamic_ncols=terminal, smoothing=0.1,
            bar_format=("{percentage:3.0f}%|{bar}| " if terminal else "{percentage:3.0f}%  ") + words)

    def update(self, n: int = 1, epoch=None, waiting: float | None = None) -> None:
        """Count `n` more pictures.

        Args:
            epoch: (3, 200) shows as `epoch 3/200`; other values as they are.
            waiting: share of the time spent waiting for data, 0..1, shown as `waiting for data 3%`.
        """
        words = []
        if epoch is not None:
            words.append("epoch " + ("/".join(map(str, epoch)) if isinstance(epoch, tuple) else str(epoch)))
        if waiting is not None:
            words.append(f"waiting for data {waiting:.0%}")
        if words:
            self._bar.set_postfix_str(", ".join(words), refresh=False)
        self._bar.update(n)
        if self._forecast and (line := self._forecast.after(n)):
            tqdm.write(line)

    def to(self, done: int) -> None:
        """Count up to `done`."""
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Show the last state and leave it standing. A second call does nothing."""
        self._bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class DrawingProgress:
    """The bar of pictures that take several steps each; nothing for those that take one."""

    def __init__(self, pictures: int, shown: bool = True):
        """pictures: that are drawn in all. shown: False in all processes but the first."""
        self._pictures, self._shown, self._bar = pictures, shown, None

    def __call__(self, done: int, steps: int, pictures: int) -> None:
        """Count a step of `pictures` pictures, which take `steps` each."""
        if self._shown:
            self._bar = self._bar or Progress(self._pictures * steps, unit="steps")
            self._bar.update(pictures)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._bar:
            self._bar.close()


class Forecast:
    """Estimates the duration of a training from its first steps, for one line if it is longer than `LONG`.

    The first step is not counted, as it includes allocation, the start of loader processes and compilation.
    """

    def __init__(self, pictures: int, shorter: str):
        """pictures: number still to train on. shorter: text at the end of the line."""
        self._left, self._shorter = pictures, shorter
        self._began, self._counted, self._said = None, 0, False

    def after(self, count: int) -> str:
        """The line, if it is due after a step of `count` pictures; else ''."""
        now, self._left = time.monotonic(), self._left - count
        if self._said:
            return ""
        if self._began is None:
            self._began = now
            return ""
        self._counted += count
        if now - self._began < _MEASURED:
            return ""
        self._said = True
        speed = (now - self._began) / self._counted
        if speed * self._left < LONG:
            return ""
        return f"This training will take about {in_words(speed * self._left)}, at {speed:.2g} s a picture. {self._shorter}"


def in_words(seconds: float) -> str:
    """A long time: '90 minutes', '7 hours', '12 days'."""
    for unit, length, most in (("minutes", 60, 120), ("hours", 3600, 72)):
        if seconds < length * most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


class _Lines:
    """A stream for tqdm where there is no terminal: a line for each state instead of carriage returns."""

    def __init__(self, stream):
        self._stream, self._last = stream, ""

    def write(self, text: str) -> None:
        line = text.strip()
        if line and line != self._last:
            self._last = line
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()
