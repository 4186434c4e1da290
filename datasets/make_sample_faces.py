"""Draw a data set of illustrated portraits with exact label maps in the 19 classes of CelebAMask-HQ.

    python -m datasets.make_sample_faces --out datasets/faces --train 2000 --test 100 --size 512
    python -m datasets.make_sample_faces --flow

The first writes DIR/{train,test}_img/NNNN.jpg, DIR/{train,test}_label/NNNN.png (8 bits, ids 0..18), DIR/dataset.json, and
tables as of CelebA: DIR/attributes.csv (datasets/portraits/attributes.py) and DIR/identities.csv, each portrait its own person.
The same seed gives the same files, byte for byte, whatever the number of jobs; portrait NNNN depends only on the seed, its
number, its split and its size. The second writes both data roots of README's documented flow.
"""
from __future__ import annotations

import io
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data.dataset_spec import FILE_NAME, face_spec
from datasets._folders import start_root, write_csv
from datasets._program import Program
from datasets._work import Faults, work
from datasets.portraits.attributes import ATTRIBUTES, attributes_of
from datasets.portraits.look import sample_look
from datasets.portraits.portrait import draw_portrait
from options.flags import whole
from util.command_line import command_line
from util.errors import UserError, first_few
from util.files import make_folder, write_bytes

SPLITS = ("train", "test")
JPEG = {"quality": 90, "optimize": True}
# the data roots of the documented flow: the photos to learn from, and those of the target
FLOW = ("datasets/faceOriginIm", "datasets/faceOriginT")
# small networks and a short training, which two processor cores do in minutes; docs/recipes.md explains each flag
SMALL = {"resize_or_crop": "resize", "batchSize": 2, "ngf": 16, "ndf": 16, "nef": 8, "n_downsample_global": 4,
         "n_blocks_global": 4, "n_downsample_E": 3, "feat_skip": True, "norm_E": "none", "upsample": "resize",
         "no_vgg_loss": True, "lambda_pyr": 20, "lr": 0.0006, "niter": 7, "niter_decay": 7, "print_freq": 48,
         "display_freq": 48}


def make_sample_faces(out: str | os.PathLike, train: int, test: int, size: int, seed: int = 0, jobs: int = 0) -> None:
    """Write `train` and `test` portraits of `size` x `size` pixels into the folder `out`. jobs: see `_work.job_count`."""
    _draw(Path(out), train, test, size, seed, jobs)
    face_spec(defaults={"loadSize": size}).write(out)


def make_flow(train: int, test: int, size: int, seed: int = 0, jobs: int = 0) -> None:
    """Write both data roots of the documented flow. Raises UserError if one of them holds other data."""
    roots = [(Path(out), seed + i) for i, out in enumerate(FLOW)]
    for out, _ in roots:
        if any(out.glob("*_*/*")) and not (out / FILE_NAME).is_file():
            raise UserError(f"--flow: {out} holds data already; move that away, or draw into another folder with --out")
    for out, of in roots:
        start_root(out, face_spec(defaults={"loadSize": size, **SMALL}),
                   {"program": "make_sample_faces", "train": train, "test": test, "size": size, "seed": of})
    for out, of in roots:
        _draw(out, train, test, size, of, jobs)


def _draw(out: Path, train: int, test: int, size: int, seed: int, jobs: int) -> None:
    tasks = [(split, number) for split, count in zip(SPLITS, (train, test)) for number in range(count)]
    _prepare(out, {f"{split}/{number:04d}" for split, number in tasks})
    faults = Faults()
    rows = list(faults.without(work(partial(_write_portrait, out, size, seed), tasks, jobs, "portraits")))
    faults.report()
    write_csv(out / "attributes.csv", ("name", "split", *ATTRIBUTES),
              [(f"{number:04d}", split, *found) for (split, number), found in rows])
    write_csv(out / "identities.csv", ("name", "split", "identity"),  # by split and number alone, like the portraits
              [(f"{number:04d}", split, number * len(SPLITS) + SPLITS.index(split)) for split, number in tasks])


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


def _write_portrait(out: Path, size: int, seed: int, task: tuple[str, int]) -> list[int]:
    """Draw and write one portrait; gives its attributes, 1 or 0 of each of ATTRIBUTES."""
    split, number = task
    cv2.setNumThreads(1)  # there is a process for each core already, and more threads would change the last bits
    chance = [seed, SPLITS.index(split), number]
    picture, labels = draw_portrait(np.random.default_rng(chance), size)
    write_bytes(out / f"{split}_img" / f"{number:04d}.jpg", _encoded(picture, "JPEG", **JPEG))
    write_bytes(out / f"{split}_label" / f"{number:04d}.png", _encoded(labels, "PNG", optimize=True))
    look = sample_look(np.random.default_rng(chance))  # the same person: the first that a portrait draws by chance
    return list(attributes_of(look, labels).values())


def _encoded(pixels: np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def flags() -> Program:
    parser = Program("make_sample_faces", "Draw illustrated portraits with exact label maps (19 classes of CelebAMask-HQ).",
                     "--out datasets/faces --train 2000 --test 100 --size 512 --seed 1", "--flow")
    parser.add_shared("--out", required=False)
    parser.add_argument("--flow", action="store_true", help=f"instead of --out: write {' and '.join(FLOW)}, for the documented "
                        "flow, with small networks and short training in their dataset.json")
    parser.add_argument("--train", type=whole(0), help="training portraits (default: 96, with --flow 48 each)")
    parser.add_argument("--test", type=whole(0), help="test portraits (default: 24, with --flow 12 each)")
    parser.add_shared("--size", type=whole(32, 2048), default=None, help="side of photos and label maps, in pixels (default: "
                      "256, with --flow 512)")
    parser.add_argument("--seed", type=whole(0), default=0, help="another seed, other people")
    parser.add_shared("--jobs", "--verbose")
    return parser


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    if args.flow == bool(args.out):
        raise UserError("--out and --flow: give one of the two" if args.flow else "--out: name a folder, or give --flow")
    train, test, size = (usual if value is None else value for value, usual in zip(
        (args.train, args.test, args.size), (48, 12, 512) if args.flow else (96, 24, 256)))
    if train + test == 0:
        raise UserError("--train 0 --test 0: nothing to draw; ask for at least one portrait")
    if args.flow:
        make_flow(train, test, size, args.seed, args.jobs)
    else:
        make_sample_faces(args.out, train, test, size, args.seed, args.jobs)
    for out in FLOW if args.flow else [args.out]:
        print(f"{out}: {train} training and {test} test portraits of {size} x {size} pixels")
    return 0


if __name__ == "__main__":
    command_line(main)()
