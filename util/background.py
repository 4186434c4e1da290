"""Work in a second thread, in order, while this one goes on."""
from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor


class Background:
    """Calls functions in one thread, each after the one before it. Use it as a context manager: its end waits for all of them.

    An error of a call is raised by the next `do`, or at the end, and what waits behind it is not called. After another error
    than Ctrl-C, neither is what waits then.
    """

    def __init__(self, most: int = 2):
        """most: calls that may wait, so that what they hold stays bounded."""
        self._pool, self._pending, self._most = ThreadPoolExecutor(1), deque(), most
        self._failed = False

    def do(self, function, *args) -> None:
        """Have a function called; first waits while too many are."""
        self._finish(self._most)
        self._pending.append(self._pool.submit(self._call, function, args))

    def _call(self, function, args) -> None:
        if self._failed:
            return
        try:
            function(*args)
        except BaseException:
            self._failed = True
            raise

    def _finish(self, left: int) -> None:
        while self._pending and (len(self._pending) > left or self._pending[0].done()):
            self._pending.popleft().result()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None or issubclass(kind, KeyboardInterrupt):
                self._finish(0)
        finally:
            self._pool.shutdown(cancel_futures=True)
