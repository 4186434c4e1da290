"""Handling of Ctrl-C and SIGTERM: the training stops after the current step and saves."""
from __future__ import annotations

import signal
import sys

from util import distributed


class Interrupts:
    """A context in which SIGINT and SIGTERM are only recorded; the loop calls `should_stop()` after each step.

    Schedulers signal every process of a job, and launchers forward signals to their processes, so a process may receive a
    signal twice or not at all. Further SIGTERMs are therefore ignored, as are all signals while the last checkpoint is saved. A
    second Ctrl-C ends a process at once, unless it was launched as one of several.

    received: the first signal of this process, or 0. stop_signal: that of any process, as of the last `should_stop()`, or 0.
    """

    def __init__(self):
        self.received = self.stop_signal = 0
        self._before = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, frame):
        first = not self.received
        self.received = self.received or number
        if distributed.launched():
            return  # `should_stop` prints it, which is not reached if the launcher sent the signal after a failure
        if number == signal.SIGINT and not first:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if first:
            self._print(number, " (Ctrl-C once more to stop at once)" if number == signal.SIGINT else "")

    def should_stop(self) -> bool:
        """Whether any process received a signal; the result is the same in all processes."""
        self.stop_signal = distributed.all_reduce_max(self.received)
        if self.stop_signal and distributed.launched() and distributed.is_main():
            self._print(self.stop_signal)
        return bool(self.stop_signal)

    @staticmethod
    def _print(number, how=""):
        print(f"\n{signal.Signals(number).name}: finishing this step and saving{how}", file=sys.stderr, flush=True)

    @property
    def exit_status(self) -> int:
        """128 plus the signal's number, as in shells."""
        return 128 + self.stop_signal
