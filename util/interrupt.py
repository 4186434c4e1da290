"""Ctrl-C and SIGTERM as a wish that the loop grants between two steps."""
from __future__ import annotations

import signal
import sys

from util import distributed


class Interrupts:
    """While open, the first SIGINT or SIGTERM only sets `wanted`; a second one ends the process at once.

    wanted: the signal's number, or 0. exit_status: what a shell expects of a process that a signal ended.
    """

    def __init__(self):
        self.wanted = 0
        self._before = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self.wanted:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.wanted = number
        if distributed.is_main():
            print(f"\n{signal.Signals(number).name}: finishing this step and saving (once more to stop at once)",
                  file=sys.stderr, flush=True)

    @property
    def exit_status(self) -> int:
        """128 plus the signal's number."""
        return 128 + self.wanted
