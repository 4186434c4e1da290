"""Processing many pictures in worker processes, with a progress bar; all failures are reported, not only the first."""
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

LEAST_SHARE = 8  # items for each process, at least: starting a process takes longer than doing fewer
GIVE_UP_AFTER = 20  # consecutive failures: with a full disk or a wrong folder, every picture fails
_busy = threading.Lock()  # held while a worker process handles an item


def job_count(jobs: int) -> int:
    """--jobs as given, or for 0 the number of processor cores that this process may use."""
    return jobs or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def work(function, items, jobs: int, title: str):
    """Yield (item, function(item), fault) for every item, in order, with a progress bar on stderr.

    function: picklable, as it is called in worker processes if jobs > 1. fault: the message of the UserError it raised, else
        ''. Other exceptions are raised here.
    Raises UserError if a worker process dies, for example because the memory runs out.
    """
    items = list(items)
    jobs = min(job_count(jobs), max(1, len(items) // LEAST_SHARE))
    results = _in_this_process(function, items) if jobs == 1 else _in_workers(function, items, jobs)
    with tqdm(total=len(items), desc=title, unit="", file=sys.stderr, mininterval=0.5 if sys.stderr.isatty() else 10,
              disable=not items) as bar:
        for item, (result, fault) in zip(items, results):
            yield item, result, fault
            bar.update()


class Faults:
    """Collects failures, to report them once all other items are done; a second run then does the failed ones only."""

    def __init__(self):
        self.messages, self.done, self.in_a_row = [], 0, 0

    def without(self, results):
        """Yield (item, result) of results of `work` without fault. Raises UserError after GIVE_UP_AFTER failures in a row."""
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
        """Raise UserError naming the failures, if there are any."""
        if len(self.messages) == 1:
            raise UserError(f"{self.messages[0]} (all else is done; the same command again does what is missing)")
        if self.messages:
            raise UserError(f"{len(self.messages)} of {self.done + len(self.messages)} failed: {first_few(self.messages, 3)}; "
                            "mend those, then the same command again does what is missing")


def work_through(function, items, jobs: int, title: str) -> None:
    """Call a function without result for all items, as `work` does. Raises UserError at the end if some items failed."""
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


def _in_this_process(function, items):
    for item in items:
        yield _call(function, item)


def _in_workers(function, items, jobs):
    """Results in order; only a bounded number of items is submitted ahead of the reader."""
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent handles it
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent():
    """Exit once the parent process has ended: a killed parent does not shut down its workers."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    with _busy:  # finish the current item
        os._exit(1)
