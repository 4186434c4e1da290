"""Ctrl-C and SIGTERM as a wish that the loop grants between two steps."""
from __future__ import annotations

import signal
import sys

from util import distributed


class Interrupts:
    """While open, SIGINT and SIGTERM end nothing; the loop asks `agreed()` after each step, and stops if so.

    Schedulers signal every process of a job, and launchers pass on to theirs what they get, so that one wish may come twice
    or to one process alone. A second SIGTERM therefore adds nothing, nor does anything that comes while the last checkpoint is
    saved. A second Ctrl-C ends a process that no launcher has started, at once.

    wanted: the first signal that came to this process, or 0. agreed_on: what `agreed` last found, the same in all processes.
    """

    def __init__(self):
        self.wanted = self.agreed_on = 0
        self._before = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        first = not self.wanted
        self.wanted = self.wanted or number
        if distributed.launched():
            return  # it may be the launcher that ends the rest after a failure; that is told once all have agreed
        if number == signal.SIGINT and not first:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if first:
            self._tell(number, " (Ctrl-C once more to stop at once)" if number == signal.SIGINT else "")

    def agreed(self) -> bool:
        """Whether a signal came to any of the processes: all of them learn it at the same place."""
        self.agreed_on = distributed.any_of(self.wanted)
        if self.agreed_on and distributed.launched() and distributed.is_main():
            self._tell(self.agreed_on)
        return bool(self.agreed_on)

    @staticmethod
    def _tell(number, how=""):
        print(f"\n{signal.Signals(number).name}: finishing this step and saving{how}", file=sys.stderr, flush=True)

    @property
    def exit_status(self) -> int:
        """128 plus the signal's number."""
        return 128 + self.agreed_on
