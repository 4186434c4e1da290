"""End scripts in every way, each run in processes of its own, with the loader processes that they have by default.

    python -m tests.endings RUNS.json

RUNS.json: [{"script", "argv", "end": what happens at the second batch, "world": processes}, ...]. Runs are forked, as importing
torch takes longer than they do, but end as any program does, with the interpreter. Prints a JSON list: each run's exit
statuses, what it said, and the seconds from its last word until the last of its processes was gone.
"""
from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

LIMIT = 60  # seconds without a word, after which a run counts as hanging


def disturb(end: str) -> None:
    """Let something happen in this process where it takes its second batch, or in its loader processes."""
    from data import data_loader
    from data.aligned_dataset import AlignedDataset
    from util.checkpoint import Checkpoint
    take, seen = data_loader.DataLoader._next, []

    def disturbed(self, *args):
        seen.append(1)
        if len(seen) == 2:
            HAPPENS[end]()
        return take(self, *args)

    if end == "KeyError in the data set":
        AlignedDataset.__getitem__ = lambda self, key: {}[key]
    elif end in HAPPENS:
        data_loader.DataLoader._next = disturbed
    if end.startswith("SIGTERM"):  # once more while the checkpoint is written
        write = Checkpoint.save

        def save(self, *args):
            signal.raise_signal(signal.SIGTERM)
            write(self, *args)
        Checkpoint.save = save


def signalled(number, *, again=False, rank=None):
    """What signals this run's processes, loader processes as well, or one of them alone."""
    def act():
        if rank is None:
            os.killpg(0, number)
            if again:
                os.killpg(0, number)
        elif os.environ["RANK"] == rank:
            os.kill(os.getpid(), number)
    return act


def fail():
    """A bug."""
    raise ZeroDivisionError("a bug")


HAPPENS = {
    "a loader process dies": lambda: multiprocessing.active_children()[0].kill(),
    "a bug": fail,
    "a bug in one": lambda: os.environ["RANK"] == "1" and fail(),
    "Ctrl-C": signalled(signal.SIGINT),
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGTERM twice": signalled(signal.SIGTERM, again=True),
    "SIGTERM to one": signalled(signal.SIGTERM, rank="1"),
    "SIGTERM at the end": lambda: None,
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def fork(run: dict, rank: int, port: int, say: int) -> int:
    """Start one process of a run; gives its id. In that process, returns never."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    for stream in (1, 2):
        os.dup2(say, stream)
    os.close(say)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))  # the parent's may be files
    if run["world"] > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(run["world"]), MASTER_ADDR="127.0.0.1",
                          MASTER_PORT=str(port))
    sys.argv = [f"{run['script']}.py", *run["argv"]]
    import torch

    from tests.conftest import load_script
    torch.set_num_threads(1)
    disturb(run["end"])
    load_script(run["script"]).main()
    raise AssertionError("main() ends the program")


def watch(run: dict) -> dict:
    """Carry out a run: {'statuses', 'said', 'seconds'}; None as a status means that it had to be killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hear, say = os.pipe()
    pids = [fork(run, rank, port, say) for rank in range(run["world"])]
    os.close(say)
    said, last, gone = b"", time.monotonic(), False
    while not gone and select.select([hear], [], [], LIMIT)[0]:
        words = os.read(hear, 1 << 16)
        said, last, gone = said + words, time.monotonic() if words else last, not words
    seconds = time.monotonic() - last
    os.close(hear)
    return {"statuses": [reap(pid, gone) for pid in pids], "said": said.decode(), "seconds": seconds}


def reap(pid: int, gone: bool) -> int | None:
    """The exit status of a process; of one that hangs, or whose loader processes do, None."""
    if not gone:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if gone else None


def main():
    """Read the runs, carry them out, tell what was seen."""
    import torch._dynamo  # noqa: F401 - which optimizers import; once, before the first fork, as no import starts a thread

    import options.train_options  # noqa: F401
    import train  # noqa: F401
    runs = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([watch({"world": 1, "end": "", **run}) for run in runs]))


if __name__ == "__main__":
    main()
