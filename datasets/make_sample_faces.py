"""Draw a data set of illustrated portraits with exact label maps in the 19 classes of CelebAMask-HQ.

    python -m datasets.make_sample_faces --out datasets/faces --train 2000 --test 100 --size 512

writes DIR/{train,test}_img/NNNN.jpg, DIR/{train,test}_label/NNNN.png (8 bits, ids 0..18) and DIR/dataset.json.
The same seed gives the same files, byte for byte, whatever the number of jobs; portrait NNNN depends on nothing
but the seed, its number, its half of the set and its size.
"""
from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.portraits import classes
from datasets.portraits.portrait import draw_portrait
from util.errors import UserError, command_line, first_few

SPLITS = ("train", "test")
SMALLEST, LARGEST = 32, 2048
JPEG = {"quality": 90, "optimize": True}


def make_sample_faces(out: str | os.PathLike, train: int, test: int, size: int, seed: int = 0,
                      jobs: int | None = None, quiet: bool = False) -> None:
    """Write `train` and `test` portraits of `size` x `size` pixels into the folder `out`, `jobs` at a time."""
    out, jobs = Path(out), jobs or _cores()
    _check(train, test, size, seed, jobs)
    tasks = [(split, number) for split, count in zip(SPLITS, (train, test)) for number in range(count)]
    draw = partial(_write_portrait, out, size, seed)
    try:
        _prepare(out, {f"{split}/{number:04d}" for split, number in tasks})
        with tqdm(total=len(tasks), unit="face", disable=quiet) as progress:
            if jobs == 1:
                cv2.setNumThreads(1)  # as in the workers, so that the files are the same
                for task in tasks:
                    draw(task)
                    progress.update()
            else:
                # spawn starts clean workers on every system: a fork may copy locks that other threads hold.
                spawn = multiprocessing.get_context("spawn")
                with spawn.Pool(min(jobs, len(tasks)), _start_worker) as pool:
                    for _ in pool.imap_unordered(draw, tasks, chunksize=max(1, min(16, len(tasks) // (4 * jobs)))):
                        progress.update()
        _write(out / "dataset.json", (json.dumps(_description(size), indent=2) + "\n").encode())
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}; name a folder that can be written") from error


def _description(size: int) -> dict:
    return {"label_nc": len(classes.NAMES), "scheme": "celebamask-hq", "labels": list(classes.NAMES),
            "flip_pairs": [list(pair) for pair in classes.FLIP_PAIRS], "defaults": {"loadSize": size}}


def _cores() -> int:
    """The cores this process may use, which a container or a scheduler can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(train: int, test: int, size: int, seed: int, jobs: int) -> None:
    for flag, number in (("--train", train), ("--test", test), ("--seed", seed)):
        if number < 0:
            raise UserError(f"{flag} {number}: must not be negative")
    if train + test == 0:
        raise UserError("--train 0 --test 0: nothing to draw; ask for at least one portrait")
    if not SMALLEST <= size <= LARGEST:
        raise UserError(f"--size {size}: must be from {SMALLEST} to {LARGEST}")
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: must be at least 1")


def _prepare(out: Path, wanted: set[str]) -> None:
    """Make the folders, and refuse one with pictures that would not be part of this set."""
    strangers = []
    for split in SPLITS:
        for kind in ("img", "label"):
            folder = out / f"{split}_{kind}"
            folder.mkdir(parents=True, exist_ok=True)
            strangers += [f"{folder.name}/{file.name}" for file in sorted(folder.iterdir())
                          if not file.name.startswith(".") and f"{split}/{file.stem}" not in wanted]
    if strangers:
        raise UserError(f"--out {out}: holds files of another set, which would be mixed into this one "
                        f"({first_few(strangers, 3)}); name another folder or empty it")


def _start_worker() -> None:
    cv2.setNumThreads(1)  # there is a process for each core already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its workers


def _write_portrait(out: Path, size: int, seed: int, task: tuple[str, int]) -> None:
    split, number = task
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    picture, labels = draw_portrait(rng, size)
    _write(out / f"{split}_img" / f"{number:04d}.jpg", _encoded(picture, "JPEG", **JPEG))
    _write(out / f"{split}_label" / f"{number:04d}.png", _encoded(labels, "PNG", optimize=True))


def _encoded(pixels: np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the run is cut short."""
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


class _Parser(argparse.ArgumentParser):
    """Reports a bad argument as every other fault of the user's: in one line."""

    def error(self, message: str):
        raise UserError(f"{message}; see --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m datasets.make_sample_faces", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Draw illustrated portraits with exact label maps (19 classes of CelebAMask-HQ).",
        epilog="example:\n  python -m datasets.make_sample_faces --out datasets/faces --train 2000 --test 100 "
               "--size 512 --seed 1")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; made where it is missing")
    parser.add_argument("--train", type=int, default=96, metavar="N", help="training portraits (default 96)")
    parser.add_argument("--test", type=int, default=24, metavar="M", help="test portraits (default 24)")
    parser.add_argument("--size", type=int, default=256, metavar="S",
                        help=f"pixels each way, {SMALLEST} to {LARGEST} (default 256)")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="another seed, other people (default 0)")
    parser.add_argument("--jobs", type=int, default=_cores(), metavar="J",
                        help="portraits drawn at a time (default: one for each core, %(default)s here)")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error too")
    return parser


@command_line
def main() -> None:
    """The command line."""
    flags = _parser().parse_args()
    _check(flags.train, flags.test, flags.size, flags.seed, flags.jobs)
    make_sample_faces(flags.out, flags.train, flags.test, flags.size, flags.seed, flags.jobs)
    print(f"{flags.out}: {flags.train} training and {flags.test} test portraits of {flags.size} x {flags.size} pixels")


if __name__ == "__main__":
    main()
