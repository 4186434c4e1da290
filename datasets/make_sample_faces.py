"""Draw a data set of illustrated portraits with exact label maps in the 19 classes of CelebAMask-HQ.

    python -m datasets.make_sample_faces --out datasets/faces --train 2000 --test 100 --size 512
    python -m datasets.make_sample_faces --out datasets/people --identities 300 --each 6 --size 128
    python -m datasets.make_sample_faces --flow

The first writes DIR/{train,test}_img/NNNN.jpg, DIR/{train,test}_label/NNNN.png (8 bits, ids 0..18), DIR/dataset.json, and
tables as of CelebA: DIR/attributes.csv (datasets/portraits/attributes.py) and DIR/identities.csv, each portrait its own person.
The same seed gives the same files, byte for byte, whatever the number of jobs; portrait NNNN depends only on the seed, its
number, its split and its size. The second draws 300 people six times each, a fifth of them for the test, and writes
DIR/landmarks.csv and DIR/expressions.csv too: pose, expression, light, hairstyle and clothes change, bones, skin, eyes and hair
colour do not. The third writes both data roots of README's documented flow.
"""
from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from data.dataset_spec import FILE_NAME, face_spec
from datasets._folders import start_root, write_csv
from datasets._program import Program
from datasets._work import Faults, work
from datasets.portraits.attributes import ATTRIBUTES, attributes_of
from datasets.portraits.look import sample_look
from datasets.portraits.person import EXPRESSIONS, expression_of, landmarks_of, on_occasion
from datasets.portraits.portrait import draw_portrait
from options.flags import whole
from util.command_line import command_line
from util.errors import UserError, first_few
from util.files import make_folder, write_bytes

SPLITS = ("train", "test")
LANDMARKS = [f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"]
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


def make_people(out: str | os.PathLike, identities: int, each: int, size: int, seed: int = 0, jobs: int = 0) -> None:
    """Draw `identities` people `each` times; every fifth person is of the test split.

    Writes landmarks.csv, and expressions.csv with the head's angles in radians and what the face does, too.

    Portraits are named after the person's number and a count. size, seed, jobs: as of `make_sample_faces`.
    """
    tasks = [_Task("test" if person % 5 == 4 else "train", f"{person:05d}_{i}", person, (len(SPLITS), person, i),
                   (len(SPLITS), person)) for person in range(identities) for i in range(each)]
    _draw_tasks(Path(out), tasks, size, seed, jobs)
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


@dataclass(frozen=True)
class _Task:
    """A portrait. chance: what it is drawn by, beside the seed. person: what all portraits of somebody share, or () of one."""

    split: str
    name: str
    identity: int
    chance: tuple[int, ...]
    person: tuple[int, ...] = ()


class _Drawn(NamedTuple):
    """Facts of a portrait: 1 or 0 of each of ATTRIBUTES; the numbers of LANDMARKS; those of EXPRESSIONS."""

    attributes: list[int]
    landmarks: list[float]
    expression: list[float]


def _draw(out: Path, train: int, test: int, size: int, seed: int, jobs: int) -> None:
    tasks = [_Task(split, f"{number:04d}", number * len(SPLITS) + k, (k, number))  # by split and number alone
             for k, (split, count) in enumerate(zip(SPLITS, (train, test))) for number in range(count)]
    _draw_tasks(out, tasks, size, seed, jobs)


def _draw_tasks(out: Path, tasks: list[_Task], size: int, seed: int, jobs: int) -> None:
    _prepare(out, {f"{task.split}/{task.name}" for task in tasks})
    faults = Faults()
    rows = list(faults.without(work(partial(_write_portrait, out, size, seed), tasks, jobs, "portraits")))
    faults.report()
    write_csv(out / "attributes.csv", ("name", "split", *ATTRIBUTES),
              [(task.name, task.split, *drawn.attributes) for task, drawn in rows])
    write_csv(out / "identities.csv", ("name", "split", "identity"), [(task.name, task.split, task.identity) for task in tasks])
    if all(task.person for task in tasks):  # other names are in both splits, which the table cannot tell apart
        write_csv(out / "landmarks.csv", ("name", "split", *LANDMARKS),
                  [(task.name, task.split, *drawn.landmarks) for task, drawn in rows])
        write_csv(out / "expressions.csv", ("name", "split", *EXPRESSIONS),
                  [(task.name, task.split, *drawn.expression) for task, drawn in rows])


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


def _write_portrait(out: Path, size: int, seed: int, task: _Task) -> _Drawn:
    """Draw and write one portrait; gives its facts."""
    cv2.setNumThreads(1)  # there is a process for each core already, and more threads would change the last bits
    chance = [seed, *task.chance]
    if task.person:
        random, person = np.random.default_rng(chance), np.random.default_rng([seed, *task.person])
        look = on_occasion(sample_look(person), random)
        picture, labels = draw_portrait(random, size, look, person)
    else:
        picture, labels = draw_portrait(np.random.default_rng(chance), size)
        look = sample_look(np.random.default_rng(chance))  # the same person: the first that a portrait draws by chance
    write_bytes(out / f"{task.split}_img" / f"{task.name}.jpg", _encoded(picture, "JPEG", **JPEG))
    write_bytes(out / f"{task.split}_label" / f"{task.name}.png", _encoded(labels, "PNG", optimize=True))
    points = landmarks_of(look) * size - 0.5  # pixel i has its centre at i
    return _Drawn(list(attributes_of(look, labels).values()), np.round(points, 2).ravel().tolist(),
                  [round(float(value), 4) for value in expression_of(look).values()])


def _encoded(pixels: np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def flags() -> Program:
    parser = Program("make_sample_faces", "Draw illustrated portraits with exact label maps (19 classes of CelebAMask-HQ).",
                     "--out datasets/faces --train 2000 --test 100 --size 512 --seed 1",
                     "--out datasets/people --identities 300 --each 6 --size 128", "--flow")
    parser.add_shared("--out", required=False)
    parser.add_argument("--flow", action="store_true", help=f"instead of --out: write {' and '.join(FLOW)}, for the documented "
                        "flow, with small networks and short training in their dataset.json")
    parser.add_argument("--train", type=whole(0), help="training portraits (default: 96, with --flow 48 each)")
    parser.add_argument("--test", type=whole(0), help="test portraits (default: 24, with --flow 12 each)")
    parser.add_argument("--identities", type=whole(2), help="instead of --train and --test: draw so many people several times, "
                        "every fifth of them for the test")
    parser.add_argument("--each", type=whole(1), help="portraits of each of --identities (default: 6)")
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
    if args.each and not args.identities:
        raise UserError(f"--each {args.each}: is a number of portraits of each person; give --identities, too")
    if args.identities:
        return _people(args)
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


def _people(args) -> int:
    if given := [flag for flag in ("flow", "train", "test") if getattr(args, flag) not in (None, False)]:
        raise UserError(f"--identities and --{given[0]}: give one of the two")
    each, size, test = args.each or 6, args.size or 256, args.identities // 5
    make_people(args.out, args.identities, each, size, args.seed, args.jobs)
    print(f"{args.out}: {each} portraits of {size} x {size} pixels of each of {args.identities - test} people to train on and "
          f"{test} to test with")
    return 0


if __name__ == "__main__":
    command_line(main)()
