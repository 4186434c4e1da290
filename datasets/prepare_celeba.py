"""Make a data root from CelebA: square photos, attributes, landmarks and identities, split as published.

python -m datasets.prepare_celeba --src celeba --out datasets/celeba256 --size 256
"""
from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.dataset_spec import FILE_NAME, SCHEMES, DatasetSpec, face_spec
from data.image_files import list_images, open_image, orientation, read_image, read_label
from data.pairing import Names
from datasets._celeba_source import Photos, download, find_photos, find_table
from datasets._folders import file_names, start_root, write_csv, write_ids, write_photo
from datasets._program import Program
from datasets._tables import read_table
from datasets._work import work, work_through
from util import page_facts
from util.command_line import command_line
from util.errors import UserError, first_few
from util.files import make_folder

PHASES = ("train", "val", "test")  # by the number in list_eval_partition


@dataclass(frozen=True)
class Square:
    """The geometry of a square photo: a picture of (width, height) is resized so that its short side is `size`, and cropped."""

    width: int
    height: int
    size: int

    @property
    def resized(self) -> tuple[int, int]:
        """(width, height) before the crop."""
        scale = self.size / min(self.width, self.height)
        return max(self.size, round(self.width * scale)), max(self.size, round(self.height * scale))

    @property
    def corner(self) -> tuple[int, int]:
        """(left, top) of the crop."""
        return (self.resized[0] - self.size) // 2, (self.resized[1] - self.size) // 2

    def picture(self, image: Image.Image, resample) -> Image.Image:
        """The square of a picture."""
        left, top = self.corner
        return image.resize(self.resized, resample).crop((left, top, left + self.size, top + self.size))

    def point(self, x: float, y: float) -> tuple[float, float]:
        """The position of a point after resizing and cropping, rounded to 1/100 pixel; it may lie outside 0..size-1."""
        (wide, high), (left, top) = self.resized, self.corner
        return (round((x + 0.5) * wide / self.width - 0.5 - left, 2),
                round((y + 0.5) * high / self.height - 0.5 - top, 2))


@dataclass(frozen=True)
class Job:
    """The arguments of `prepare_photo` that are the same for every photo."""

    photos: Photos
    out: Path
    size: int
    label_nc: int | None


def prepare_photo(task, job: Job) -> None:
    """Write the missing files of one photo. task: (file, phase, whether to write the photo, the label map to read or None)."""
    file, phase, needs_photo, label_path = task
    stem = Path(file).stem
    source, name = job.photos.open(file)
    photo = read_image(source, name=name)
    square = Square(*photo.size, job.size)
    if label_path is not None:
        ids = _square_label(label_path, photo.size, square, job.label_nc)
        write_ids(job.out / f"{phase}_label" / f"{stem}.png", ids)
    if needs_photo:
        write_photo(job.out / f"{phase}_img" / f"{stem}.jpg", square.picture(photo, Image.Resampling.BICUBIC))


def _square_label(path: Path, photo_size, square: Square, label_nc: int | None) -> np.ndarray:
    """A label map, made from the whole photo or from its square, with the geometry of the prepared photo."""
    ids = read_label(path)
    if label_nc and int(ids.max()) >= label_nc:
        raise UserError(f"{path}: holds label {ids.max()}, but there are {label_nc} classes; mend it, or pass the "
                        "--scheme it follows")
    image = Image.fromarray(ids)
    (width, height), (wide, high) = photo_size, image.size
    if abs(wide * height - high * width) <= max(width, height):
        same = Square(wide, high, square.size)
        return np.asarray(same.picture(image, Image.Resampling.NEAREST))
    if wide == high:
        return np.asarray(image.resize((square.size, square.size), Image.Resampling.NEAREST))
    raise UserError(f"{path}: is {wide}x{high}; make it from the photo ({width}x{height}) or from its middle square")


def read_split(src: Path) -> dict[str, str]:
    """{file: phase} of the published split. Raises UserError if its table is missing or broken."""
    path = find_table(src, "split")
    if path is None:
        raise UserError(f"--src {src}: holds no list_eval_partition.txt, which says which photo is for training and "
                        "which for testing; put it there, or try --download")
    _, table = read_table(path, columns=1, header=False)
    for file, (part,) in table.items():
        if part not in (0, 1, 2):
            raise UserError(f"{path}: puts {file} into part {part}; there are 0 (train), 1 (val) and 2 (test)")
    return {file: PHASES[part] for file, (part,) in table.items()}


def choose_photos(split: dict[str, str], photos: Photos, labels: dict | None, limit: int | None) -> list[str]:
    """The files to prepare, in the published order: those of the split that exist, with --labels those with a label map."""
    names = photos.names()
    present = [file for file in split if file in names]
    if not present:
        raise UserError(f"{photos.place}: holds none of the {len(split)} photos that list_eval_partition names")
    if len(present) < len(split):
        print(f"{photos.place}: {len(split) - len(present)} of {len(split)} photos are not there and are left out")
    if labels is not None:
        known = Names(labels)
        labelled = [file for file in present if known.find(Path(file).stem)]
        if not labelled:
            raise UserError(f"--labels: none of its {len(labels)} label maps is named like a photo "
                            f"({first_few(present, 2)}; found {first_few(labels, 2)}); rename them")
        if len(labelled) < len(present):
            print(f"--labels: {len(present) - len(labelled)} of {len(present)} photos have no label map, left out")
        present = labelled
    return present[:limit]


def missing(files: list[str], split, labels: dict | None, out: Path) -> list[tuple]:
    """The tasks for `prepare_photo` whose files do not exist yet."""
    there = {(phase, kind): file_names(out / f"{phase}_{kind}") for phase in PHASES for kind in ("label", "img")}
    tasks, known = [], Names(labels or ())
    for file in files:
        stem, phase = Path(file).stem, split[file]
        label = labels[known.find(stem)] if labels is not None and f"{stem}.png" not in there[phase, "label"] else None
        photo = f"{stem}.jpg" not in there[phase, "img"]
        if photo or label is not None:
            tasks.append((file, phase, photo, label))
    return tasks


def write_tables(src: Path, out: Path, split: dict[str, str], photos: Photos, size: int) -> None:
    """Write split.csv, attributes.csv, landmarks.csv and identities.csv of the photos in `out`."""
    there = {phase: file_names(out / f"{phase}_img") for phase in PHASES}
    files = [file for file, phase in split.items() if f"{Path(file).stem}.jpg" in there[phase]]
    rows = [(Path(file).stem, split[file]) for file in files]
    write_csv(out / "split.csv", ("name", "split", "source"), [(*row, file) for row, file in zip(rows, files)])
    if (found := _table(src, "attributes", files)) is not None:
        names, values = found
        write_csv(out / "attributes.csv", ("name", "split", *names),
                  [(*row, *(int(v > 0) for v in values[file])) for row, file in zip(rows, files)])
    if (found := _table(src, "identities", files, columns=1)) is not None:
        write_csv(out / "identities.csv", ("name", "split", "identity"),
                  [(*row, found[1][file][0]) for row, file in zip(rows, files)])
    if (found := _table(src, "landmarks", files, columns=10)) is not None:
        names, values = found
        squares = work(functools.partial(_square_of, photos=photos, size=size), files, 1, "landmarks")
        write_csv(out / "landmarks.csv", ("name", "split", *names),
                  [(*row, *_moved(values[file], square)) for (file, square, _), row in zip(squares, rows)])


def _table(src: Path, which: str, files, columns: int | None = None):
    """Read a published table, which must have a row for every file; None, with a line printed, if it does not exist."""
    path = find_table(src, which)
    if path is None:
        print(f"--src {src}: holds no table of {which}, so no {which}.csv")
        return None
    names, table = read_table(path, columns, header=which != "identities")
    absent = [file for file in files if file not in table]
    if absent:
        raise UserError(f"{path}: has no row for {first_few(absent)}; fetch it again")
    return names, table


def _square_of(file: str, photos: Photos, size: int) -> Square:
    """The geometry of a photo, from its header."""
    source, name = photos.open(file)
    with open_image(source, name) as image:
        width, height = image.size
        return Square(height, width, size) if orientation(image) >= 5 else Square(width, height, size)


def _moved(values, square: Square):
    for x, y in zip(values[::2], values[1::2]):
        yield from square.point(x, y)


def read_labels(folder: str | None, scheme: str, size: int) -> tuple[dict | None, DatasetSpec]:
    """The label maps of --labels by name, and the spec of the data root they make."""
    if folder is None:
        return None, DatasetSpec(defaults={"loadSize": size})
    labels = {Path(key).name: path for key, path in list_images(folder).items()}
    own = Path(folder) / FILE_NAME
    if own.is_file():
        return labels, replace(DatasetSpec.read(folder), defaults={"loadSize": size})
    return labels, face_spec(scheme, {"loadSize": size})


def load_parser(checkpoint: str, scheme: str, size: int):
    """(the face parser of --parse, the spec of its label maps, the hash of its weights)."""
    from datasets import parse_faces  # torch takes seconds to import, and only --parse needs it
    from models.face_parser import FaceParser
    parser = FaceParser.load(checkpoint, gpu_ids="0")
    spec, _ = parse_faces.translation(parser.spec, scheme)
    return parser, replace(spec, defaults={"loadSize": size}), parse_faces.fingerprint(checkpoint)


def parse_photos(out: Path, phases, parser, args) -> None:
    """Make the label maps of the prepared photos."""
    from datasets import parse_faces
    for phase in phases:
        settings = parse_faces.Settings(args.size, photos=False, jobs=args.jobs)
        images = out / f"{phase}_img"
        journal = parse_faces.parse_folder(images, out, parser, phase, args.scheme, settings)
        parse_faces.report(journal, out)
        facts = page_facts.of_command(page_facts.module_command("datasets.prepare_celeba"), [("parser", args.parse)])
        print(f"Page: {parse_faces.write_page(out, phase, journal, images, facts)}")


def flags() -> Program:
    parser = Program("prepare_celeba", "Turn CelebA's aligned photos into {train,val,test}_img of square photos (short side "
                     "resized, middle cropped), with split.csv, attributes.csv, landmarks.csv and identities.csv. A second run "
                     "does only what is missing.", "--src celeba --out datasets/celeba256 --size 256")
    parser.add_shared("--src", help="folder with img_align_celeba (or img_align_celeba.zip, read as it is), "
                      "list_eval_partition.txt and the other tables")
    parser.add_shared("--out")
    parser.add_shared("--size", default=256)
    parser.add_argument("--labels", metavar="DIR", help="folder of label maps named like the photos, made from the "
                        "whole photo or its middle square; photos without one are left out")
    parser.add_argument("--parse", metavar="CHECKPOINT", help="make the label maps with a face parser: an experiment of "
                        "train.py --model parsing, or BiSeNet's weights (see datasets.parse_faces)")
    parser.add_argument("--scheme", choices=sorted(SCHEMES), default="celebamask-hq", help="numbering of --labels, where it "
                        "holds no dataset.json, or that --parse writes")
    parser.add_argument("--download", action="store_true", help="fetch the files into --src with torchvision first")
    parser.add_shared("--limit", "--jobs", "--verbose")
    return parser


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    if args.labels and args.parse:
        raise UserError("--labels and --parse: label maps are read or made; give one of the two")
    src = Path(args.src)
    if args.download:
        download(src)
    if not src.is_dir():
        raise UserError(f"--src {src}: there is no such folder")
    split, photos = read_split(src), find_photos(src)
    labels, spec = read_labels(args.labels, args.scheme, args.size)
    files = choose_photos(split, photos, labels, args.limit)
    record = {"program": "prepare_celeba", "size": args.size, "labels": labels is not None}
    if args.parse:
        parser, spec, record["parser"] = load_parser(args.parse, args.scheme, args.size)
    out = start_root(args.out, spec, record)
    phases = [phase for phase in PHASES if phase in {split[file] for file in files}]
    for phase in phases:
        for kind in ("img",) if labels is None else ("label", "img"):
            make_folder(out / f"{phase}_{kind}")
    tasks = missing(files, split, labels, out)
    try:
        work_through(functools.partial(prepare_photo, job=Job(photos, out, args.size, spec.label_nc)), tasks, args.jobs,
                     "photos")
    finally:  # so that the tables of an interrupted run match its files
        write_tables(src, out, split, photos, args.size)
    if args.parse:
        parse_photos(out, phases, parser, args)
    counts = ", ".join(f"{sum(split[file] == phase for file in files)} {phase}" for phase in PHASES)
    print(f"{out}: {len(files)} photos ({counts}), {len(tasks)} of them written now")
    return 0


if __name__ == "__main__":
    command_line(main)()
