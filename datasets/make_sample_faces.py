"""Draw a data set of illustrated portraits with exact label maps in the 19 classes of CelebAMask-HQ.

    python -m datasets.make_sample_faces --out datasets/faces --train 2000 --test 100 --size 512

writes DIR/{train,test}_img/NNNN.jpg, DIR/{train,test}_label/NNNN.png (8 bits, ids 0..18) and DIR/dataset.json.
The same seed gives the same files, byte for byte, whatever the number of jobs; portrait NNNN depends only on the seed, its
number, its split and its size.
"""
from __future__ import annotations

import io
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data.dataset_spec import face_spec
from datasets._program import Program
from datasets._work import work_through
from datasets.portraits.portrait import draw_portrait
from options.flags import whole
from util.errors import UserError, command_line, first_few
from util.files import make_folder, write_bytes

SPLITS = ("train", "test")
JPEG = {"quality": 90, "optimize": True}


def make_sample_faces(out: str | os.PathLike, train: int, test: int, size: int, seed: int = 0, jobs: int = 0) -> None:
    """Write `train` and `test` portraits of `size` x `size` pixels into the folder `out`. jobs: see `_work.job_count`."""
    out = Path(out)
    tasks = [(split, number) for split, count in zip(SPLITS, (train, test)) for number in range(count)]
    _prepare(out, {f"{split}/{number:04d}" for split, number in tasks})
    work_through(partial(_write_portrait, out, size, seed), tasks, jobs, "portraits")
    face_spec(defaults={"loadSize": size}).write(out)


def _prepare(out: Path, wanted: set[str]) -> None:
    """Make the folders. Raises UserError if they hold pictures that are not part of this set."""
    others = []
    for split in SPLITS:
        for kind in ("img", "label"):
            folder = make_folder(out / f"{split}_{kind}")
            others += [f"{folder.name}/{file.name}" for file in sorted(folder.iterdir())
                       if not file.name.startswith(".") and f"{split}/{file.stem}" not in wanted]
    if others:
        raise UserError(f"--out {out}: holds files of another set, which would be mixed into this one "
                        f"({first_few(others, 3)}); name another folder or empty it")


def _write_portrait(out: Path, size: int, seed: int, task: tuple[str, int]) -> None:
    split, number = task
    cv2.setNumThreads(1)  # there is a process for each core already, and more threads would change the last bits
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    picture, labels = draw_portrait(rng, size)
    write_bytes(out / f"{split}_img" / f"{number:04d}.jpg", _encoded(picture, "JPEG", **JPEG))
    write_bytes(out / f"{split}_label" / f"{number:04d}.png", _encoded(labels, "PNG", optimize=True))


def _encoded(pixels: np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def flags() -> Program:
    parser = Program("make_sample_faces", "Draw illustrated portraits with exact label maps (19 classes of CelebAMask-HQ).",
                     "--out datasets/faces --train 2000 --test 100 --size 512 --seed 1")
    parser.add_shared("--out")
    parser.add_argument("--train", type=whole(0), default=96, help="training portraits")
    parser.add_argument("--test", type=whole(0), default=24, help="test portraits")
    parser.add_shared("--size", type=whole(32, 2048), default=256)
    parser.add_argument("--seed", type=whole(0), default=0, help="another seed, other people")
    parser.add_shared("--jobs", "--verbose")
    return parser


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    if args.train + args.test == 0:
        raise UserError("--train 0 --test 0: nothing to draw; ask for at least one portrait")
    make_sample_faces(args.out, args.train, args.test, args.size, args.seed, args.jobs)
    print(f"{args.out}: {args.train} training and {args.test} test portraits of {args.size} x {args.size} pixels")
    return 0


if __name__ == "__main__":
    command_line(main)()
