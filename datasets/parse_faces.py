"""A folder of photos -> a data root with label maps that a trained face parser makes.

python -m datasets.parse_faces --images photos --out datasets/mine --checkpoint checkpoints/parser --align
"""
from __future__ import annotations

import argparse
import csv
import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.dataset_spec import SCHEMES, DatasetSpec, face_spec
from data.image_files import list_images
from datasets import face_alignment
from datasets._folders import check_limit, check_size, start_root, subfolder, write_csv, write_ids, write_photo
from datasets._work import GIVE_UP_AFTER, add_jobs_flag, work
from models.face_parser import FaceParser
from util.device import PRECISIONS
from util.errors import UserError, command_line, first_few
from util.files import escaped, unescaped
from util.overlay import overlay
from util.util import palette

DEFAULT_SCHEME = "celebamask-hq"
COLUMNS = ("name", "face", "confidence")


@dataclass(frozen=True)
class Settings:
    """How photos become label maps.

    size: side of photos and maps in pixels. aligned: turn and cut faces to one place. smooth: see FaceParser.
    least: photos parsed with less confidence are listed. photos, overlays: whether they are written too.
    """

    size: int = 512
    aligned: bool = False
    smooth: float = 0.0
    least: float = 0.8
    photos: bool = True
    overlays: bool = True
    batch: int = 4
    jobs: int = 0


def parse_folder(images, out, parser: FaceParser, phase: str = "train", scheme: str | None = None,
                 settings: Settings | None = None, landmarks: dict | None = None, limit: int | None = None) -> Journal:
    """Make <phase>_label (with <phase>_img and <phase>_overlay as `settings` say) in `out` from a folder of photos.

    out: a folder that is there; its dataset.json is the caller's. scheme: the maps' numbering, see `translation`.
    landmarks: {name: (5, 2)}, see face_alignment.read_landmarks. Photos whose map is there are not done again.
    Returns the journal of what was done. Raises UserError after the rest is done where photos could not be.
    """
    settings, out = settings or Settings(), Path(out)
    files = dict(list(list_images(images).items())[:limit])
    if not files:
        raise UserError(f"--images {images}: holds no pictures")
    spec, table = translation(parser.spec, scheme)
    journal = Journal(out, phase, settings.least)
    tasks = [(name, path, _points(landmarks, name)) for name, path in files.items() if not journal.has(name)]
    writer = _Writer(out, phase, settings, palette(len(table), spec.colors or None), journal)
    try:
        _parse(tasks, parser, table, settings, writer)
    finally:
        journal.write_tables(files)
    return journal


def translation(spec: DatasetSpec, scheme: str | None) -> tuple[DatasetSpec, np.ndarray]:
    """The spec of the maps to write, and a table: table[the parser's id] is the id to write.

    scheme: one of SCHEMES, into which classes go by name. None is celebamask-hq where the parser has those names, else
    the parser's own ids. Raises UserError for a scheme without one of the parser's classes.
    """
    count = spec.label_nc or len(spec.labels)
    if scheme is None and set(spec.labels) != set(SCHEMES[DEFAULT_SCHEME]):
        return spec, np.arange(count)
    target = face_spec(scheme or DEFAULT_SCHEME)
    unknown = [name for name in spec.labels or map(str, range(count)) if name not in target.labels]
    if unknown:
        raise UserError(f"--scheme {scheme}: has no class {first_few(unknown)}, which this parser tells apart; leave "
                        "--scheme out to keep the parser's own numbering")
    return target, np.array([target.labels.index(name) for name in spec.labels])


def _points(landmarks, name):
    """The landmarks of a photo, by its whole name or the last part of it."""
    return None if landmarks is None else landmarks.get(name, landmarks.get(Path(name).name))


def _parse(tasks, parser, table, settings: Settings, writer: _Writer) -> None:
    """Read, parse and write all photos, `settings.batch` at a time."""
    waiting, faults, in_a_row = [], [], 0
    read = functools.partial(face_alignment.read_portrait, size=settings.size, aligned=settings.aligned)
    with ThreadPoolExecutor(4) as pool:
        for (name, _, _), result, fault in work(read, tasks, settings.jobs, "photos"):
            if fault:
                faults.append(fault)
                in_a_row += 1
                if in_a_row >= GIVE_UP_AFTER:
                    raise UserError(f"gave up after {in_a_row} failures in a row: {first_few(faults, 1)}")
                continue
            photo, how = result
            in_a_row = 0
            if photo is None:
                writer.journal.add(name, how, None)
                continue
            waiting.append((name, photo, how))
            if len(waiting) == settings.batch:
                _parse_batch(waiting, parser, table, settings, writer, pool)
                waiting = []
        if waiting:
            _parse_batch(waiting, parser, table, settings, writer, pool)
    if faults:
        raise UserError(f"{len(faults)} of {len(tasks)} photos could not be read: {first_few(faults, 3)}; mend or remove "
                        "them (all else is done; the same command again does what is missing)")


def _parse_batch(items, parser, table, settings, writer, pool) -> None:
    photos = np.stack([photo for _, photo, _ in items])
    label, confidence = parser(torch.from_numpy(photos).permute(0, 3, 1, 2), settings.smooth)
    ids = table[label.numpy()]
    figures = [_confidence(one_ids, one) for one_ids, one in zip(ids, confidence.numpy())]
    for _ in pool.map(writer.write, items, ids, figures):
        pass


def _confidence(ids: np.ndarray, confidence: np.ndarray) -> float:
    """Mean over what is not background, where a portrait has its difficulties; 0 where nothing else was seen."""
    seen = ids != 0
    return float(confidence[seen].mean()) if seen.any() else 0.0


class _Writer:
    """Writes one photo's files; the label map last, since it says that the photo is done."""

    def __init__(self, out: Path, phase: str, settings: Settings, colors: np.ndarray, journal: Journal):
        self.settings, self.colors, self.journal = settings, colors, journal
        kinds = ["label"] + ["img"] * settings.photos + ["overlay"] * settings.overlays
        self.folders = {kind: subfolder(out, f"{phase}_{kind}") for kind in kinds}

    def write(self, item, ids: np.ndarray, confidence: float) -> None:
        name, photo, how = item
        for kind, folder in self.folders.items():
            if kind != "label":
                shown = photo if kind == "img" else overlay(photo, self.colors[ids], ids == 0)
                write_photo(_place(folder, name, ".jpg"), Image.fromarray(shown))
        self.journal.add(name, how, confidence)
        write_ids(_place(self.folders["label"], name, ".png"), ids)


def _place(folder: Path, name: str, suffix: str) -> Path:
    """folder/name.suffix; the folders within the name are made."""
    path = folder / (name + suffix)
    if "/" in name:
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


class Journal:
    """What was done, a row a photo in <phase>_parsing.csv: name, how its face was found, confidence.

    Rows are added as photos are done, so that a run that is killed loses none; `write_tables` puts them in order.
    """

    def __init__(self, out: Path, phase: str, least: float):
        self.path, self.unsure_path, self.least = out / f"{phase}_parsing.csv", out / f"{phase}_unsure.csv", least
        self.rows = self._read()
        labels = out / f"{phase}_label"
        self.done = set(list_images(labels)) if labels.is_dir() else set()
        self.written = 0

    def _read(self) -> dict[str, tuple[str, str]]:
        if not self.path.is_file():
            return {}
        with open(self.path, encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream) if len(row) == len(COLUMNS)]  # a killed run's last may be cut
        return {unescaped(name): (face, confidence) for name, face, confidence in rows if name != COLUMNS[0]}

    def has(self, name: str) -> bool:
        """Whether a photo is done: it has a map, or no face was found in it."""
        return name in self.done or self.rows.get(name, ("", ""))[0] == "none"

    def add(self, name: str, face: str, confidence: float | None) -> None:
        """Note a photo, at once and lastingly. confidence: None where there was nothing to parse."""
        row = (face, "" if confidence is None else f"{confidence:.4f}")
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerow((escaped(name), *row))
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); free some space") from error
        self.rows[name] = row
        self.written += confidence is not None

    def unsure(self) -> list[tuple[str, str, str]]:
        """(name, face, confidence) of photos without a face, then of those parsed with little confidence."""
        rows = [(name, *row) for name, row in self.rows.items() if not row[1] or float(row[1]) < self.least]
        return sorted(rows, key=lambda row: (float(row[2] or -1), row[0]))

    def write_tables(self, order) -> None:
        """Both tables anew, in the order of the photos' names."""
        place = {name: i for i, name in enumerate(order)}
        rows = sorted(self.rows.items(), key=lambda item: (place.get(item[0], len(place)), item[0]))
        write_csv(self.path, COLUMNS, [(name, *row) for name, row in rows])
        write_csv(self.unsure_path, COLUMNS, self.unsure())


def fingerprint(checkpoint) -> str:
    """Tells weights apart: maps of two parsers in one folder would be a mixture nobody asked for."""
    path = Path(checkpoint)
    path = path / "latest_net_P.pth" if path.is_dir() else path
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12] if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(stream.read()).hexdigest()[:12]


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.parse_faces", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a data root from a folder of photos: <phase>_img of square photos, <phase>_label with the maps\n"
                    "that a face parser makes, <phase>_overlay to look at, and tables of how sure it was. A second run\n"
                    "does only what is missing.",
        epilog="example:\n  python -m datasets.parse_faces --images photos --out datasets/mine --checkpoint "
               "checkpoints/parser --align\n  python train.py --dataroot datasets/mine --label_feat --name mine")
    parser.add_argument("--images", required=True, help="folder of photos, subfolders included")
    parser.add_argument("--out", required=True, help="the data root to write")
    parser.add_argument("--checkpoint", required=True, metavar="DIR_OR_PTH", help="an experiment of train.py --model "
                        "parsing, or a file of BiSeNet's weights such as 79999_iter.pth")
    parser.add_argument("--scheme", choices=sorted(SCHEMES), help=f"numbering of the maps (default: {DEFAULT_SCHEME} where the "
                        "parser has those classes, else its own)")
    parser.add_argument("--phase", default="train", help="train, val, test, ...: prefix of the folders (default: train)")
    parser.add_argument("--size", type=int, default=512, help="side of photos and maps (default: 512)")
    parser.add_argument("--align", action="store_true", help="find each face (with OpenCV's cascades, which versions before "
                        "5 bring), and turn, scale and cut the photo so that all faces lie alike; photos without a face "
                        "are listed and left out")
    parser.add_argument("--landmarks", metavar="FILE", help="align by these points instead of searching: rows of a name and "
                        "x y of left eye, right eye, nose, left and right corner of the mouth, such as CelebA's")
    parser.add_argument("--smooth", type=float, default=0.0, metavar="PIXELS", help="take specks and ragged borders away: "
                        "feather the classes' probabilities over so many pixels (default: 0, not at all)")
    parser.add_argument("--min_confidence", type=float, default=0.8, help="list photos parsed with less (default: 0.8)")
    parser.add_argument("--no_overlay", action="store_true", help="write no <phase>_overlay")
    parser.add_argument("--batch", type=int, default=4, help="photos parsed at a time (default: 4)")
    parser.add_argument("--gpu_ids", default="0", help="device, such as 0; -1 for the CPU (default: 0)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="what the network computes in")
    parser.add_argument("--limit", type=int, help="only the first N photos")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    add_jobs_flag(parser)
    return parser


def check(args) -> None:
    """Refuse flags that cannot be meant."""
    check_size(args.size)
    check_limit(args.limit)
    if not 0 <= args.min_confidence <= 1:
        raise UserError(f"--min_confidence {args.min_confidence}: give a probability from 0 to 1")
    if not 0 <= args.smooth <= 50:
        raise UserError(f"--smooth {args.smooth}: give a number of pixels from 0 to 50")
    if args.batch < 1:
        raise UserError(f"--batch {args.batch}: give a number from 1 up")
    if not args.phase.strip() or args.phase.startswith(".") or "/" in args.phase or "\\" in args.phase:
        raise UserError(f"--phase {args.phase}: must be a plain name such as train or test")
    if not Path(args.images).is_dir():
        raise UserError(f"--images {args.images}: there is no such folder")


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    check(args)
    landmarks = face_alignment.read_landmarks(args.landmarks) if args.landmarks else None
    aligned = args.align or landmarks is not None
    parser = FaceParser.load(args.checkpoint, args.gpu_ids, args.precision)
    if landmarks is not None:
        _refuse_unnamed(args, landmarks)
    elif args.align:
        face_alignment.check_detector()
    spec, _ = translation(parser.spec, args.scheme)
    record = {"program": "parse_faces", "size": args.size, "align": aligned, "smooth": args.smooth,
              "parser": fingerprint(args.checkpoint)}
    spec = DatasetSpec(spec.label_nc, spec.labels, spec.colors, spec.flip_pairs, spec.scheme, {"loadSize": args.size})
    out = start_root(args.out, spec, record)
    settings = Settings(args.size, aligned, args.smooth, args.min_confidence, overlays=not args.no_overlay, batch=args.batch,
                        jobs=args.jobs)
    journal = parse_folder(args.images, out, parser, args.phase, args.scheme, settings, landmarks, args.limit)
    report(journal, out)
    return 0


def _refuse_unnamed(args, landmarks) -> None:
    names = list(list_images(args.images))[:args.limit]
    absent = [name for name in names if _points(landmarks, name) is None]
    if absent and not args.align:
        raise UserError(f"--landmarks {args.landmarks}: has no row for {len(absent)} of {len(names)} photos "
                        f"({first_few(absent)}); add them, remove the photos, or pass --align to search those faces")
    if absent:
        face_alignment.check_detector()


def report(journal: Journal, out: Path) -> None:
    """Say what was done, and what should be looked at."""
    faceless = sum(face == "none" for face, _ in journal.rows.values())
    unsure = len(journal.unsure()) - faceless
    print(f"{out}: {len(journal.rows) - faceless} photos with label maps, {journal.written} of them written now")
    if faceless:
        print(f"{faceless} photos show no face that could be found, and are left out: {journal.unsure_path}")
    if unsure:
        print(f"{unsure} photos were parsed with a confidence below {journal.least:g}; look at them before training: "
              f"{journal.unsure_path}")


if __name__ == "__main__":
    command_line(main)()
