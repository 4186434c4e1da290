"""Many pictures, a few processes: progress, and a list of what went wrong instead of the first fault only."""
from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from util.errors import UserError, first_few

LEAST_SHARE = 8  # a process takes longer to start than to do fewer pictures than that
GIVE_UP_AFTER = 20  # failures in a row: a full disk or a wrong folder fails every picture
_busy = threading.Lock()  # held while a worker works on an item


def job_count(jobs: int) -> int:
    """--jobs as given, or for 0 the number of processor cores that this process may use."""
    return jobs or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def work(function, items, jobs: int, title: str):
    """Yield (item, result, fault) for every item, in order, with a progress bar on stderr.

    function: a module's function or a partial of one, called in another process where jobs > 1. What it raises as
        UserError is the fault, a string; else the fault is ''. Any other exception ends the work.
    A worker that dies (killed for memory) raises UserError: nothing waits for it forever.
    """
    items = list(items)
    jobs = min(job_count(jobs), max(1, len(items) // LEAST_SHARE))
    results = _here(function, items) if jobs == 1 else _elsewhere(function, items, jobs)
    with tqdm(total=len(items), desc=title, unit="", file=sys.stderr, mininterval=0.5 if sys.stderr.isatty() else 10,
              disable=not items) as bar:
        for item, (result, fault) in zip(items, results):
            yield item, result, fault
            bar.update()


class Faults:
    """What could not be done, reported once all else is done: after mending that, a second run has only it to do."""

    def __init__(self):
        self.messages, self.done, self.in_a_row = [], 0, 0

    def without(self, results):
        """(item, result) of the results of `work` that have no fault. Raises UserError where nothing works any more."""
        for item, result, fault in results:
            if not fault:
                self.done, self.in_a_row = self.done + 1, 0
                yield item, result
                continue
            self.messages.append(fault)
            self.in_a_row += 1
            if self.in_a_row >= GIVE_UP_AFTER:
                raise UserError(f"gave up after {self.in_a_row} failures in a row: {first_few(self.messages, 1)}")

    def report(self) -> None:
        """Raise UserError naming what failed, if anything did."""
        if len(self.messages) == 1:
            raise UserError(f"{self.messages[0]} (all else is done; the same command again does what is missing)")
        if self.messages:
            raise UserError(f"{len(self.messages)} of {self.done + len(self.messages)} failed: {first_few(self.messages, 3)}; "
                            "mend those, then the same command again does what is missing")


def work_through(function, items, jobs: int, title: str) -> None:
    """`work` to the end, for functions that give nothing. Raises UserError after it if some items could not be done."""
    faults = Faults()
    for _ in faults.without(work(function, items, jobs, title)):
        pass
    faults.report()


def _call(function, item):
    with _busy:
        try:
            return function(item), ""
        except UserError as error:
            return None, str(error)


def _here(function, items):
    for item in items:
        yield _call(function, item)


def _elsewhere(function, items, jobs):
    """Results in order, with no more than a few items a process ahead of the reader."""
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    waiting, remaining = deque(), iter(items)
    try:
        for item in remaining:
            waiting.append(pool.submit(_call, function, item))
            if len(waiting) >= 16 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError("a worker process died, as it does when memory runs out; lower --jobs") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers an interrupt, once
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent():
    """A parent that is killed says nothing to its workers: they would wait for more for ever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    with _busy:  # what is being written becomes whole first
        os._exit(1)
