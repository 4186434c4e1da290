"""The bar of a running training."""
from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """Pictures done of all, pictures a second, time left, the epoch and the share of time spent waiting for data.

    On a terminal a bar on stderr, else a line every ten seconds, so that a log file stays short; the last state is
    always shown. Use it as a context manager, or call `close()`.
    """

    def __init__(self, total_pictures: int, done: int = 0):
        """
        Args:
            total_pictures: of the whole training.      done: of those, before a resume; they do not count as speed.
        """
        terminal = sys.stderr.isatty()
        words = "{n_fmt}/{total_fmt} pictures, {rate_noinv_fmt}, {remaining} left{postfix}"
        self._bar = tqdm(
            total=total_pictures, initial=done, unit=" pictures", miniters=1, mininterval=0.5 if terminal else 10,
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

    def close(self) -> None:
        """Show the last state and leave it standing. A second call does nothing."""
        self._bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


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
