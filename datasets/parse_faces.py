"""Make a data root from a folder of photos, with label maps by a trained face parser.

python -m datasets.parse_faces --images photos --out datasets/mine --checkpoint checkpoints/parser --align
"""
from __future__ import annotations

import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from data import face_detection
from data.dataset_spec import SCHEMES, DatasetSpec, face_spec
from data.face_alignment import Landmarks, read_landmarks
from data.image_files import image_names
from datasets._folders import start_root, write_ids, write_photo
from datasets._parsing_journal import MOST_MIRRORED, Journal, Row
from datasets._parsing_page import write_page
from datasets._program import Program
from datasets._work import Faults, work
from options.flags import folder_name, number, whole
from util import page_facts
from util.command_line import command_line
from util.device import PRECISIONS
from util.errors import UserError, first_few
from util.files import make_folder
from util.lazy import LazyModule
from util.overlay import overlay
from util.util import palette

torch, face_parser = LazyModule("torch"), LazyModule("models.face_parser")
DEFAULT_SCHEME = "celebamask-hq"


@dataclass(frozen=True)
class Settings:
    """How photos are made into label maps.

    size: side of photos and maps in pixels. aligned: align and crop faces; every: all faces of a photo, not only the largest.
    smooth: see FaceParser. least: the agreement below which maps are listed as unsure. photos, overlays: whether to write these
    too. batch: photos parsed at a time. jobs: worker processes.
    """

    size: int = 512
    aligned: bool = False
    every: bool = False
    smooth: float = 0.0
    least: float = 0.8
    photos: bool = True
    overlays: bool = True
    batch: int = 4
    jobs: int = 0


def parse_folder(images, out, parser: face_parser.FaceParser, phase: str = "train", scheme: str | None = None,
                 settings: Settings | None = None, landmarks: Landmarks | None = None, limit: int | None = None) -> Journal:
    """Make <phase>_label (with <phase>_img and <phase>_overlay as `settings` say) in `out` from a folder of photos.

    out: an existing folder, whose dataset.json the caller writes. scheme: the maps' numbering, see `translation`. landmarks: of
    the faces, instead of detecting them. Photos that have a map already are skipped.
    Returns the journal. Raises UserError at the end if photos could not be read.
    """
    settings, out = settings or Settings(), Path(out)
    photos = image_names(images)
    if not photos:
        raise UserError(f"--images {images}: holds no pictures")
    spec, table = translation(parser.spec, scheme)
    journal = Journal(out, phase, settings.least)
    names = journal.names_of(photos, settings.every)
    photos = photos[:limit]
    journal.write_tables(photos)
    tasks = [(photo, Path(images) / photo, landmarks and landmarks.of(photo))
             for photo in journal.undone({photo: names[photo] for photo in photos}, settings.every)]
    writer = _Writer(out, phase, settings, palette(len(table), spec.class_colors or None), journal)
    try:
        _parse(tasks, names, parser, table, settings, writer)
    finally:
        journal.write_tables(photos)
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


def _parse(tasks, names, parser, table, settings: Settings, writer: _Writer) -> None:
    """Read, parse and write all photos, `settings.batch` portraits at a time."""
    waiting, faults = [], Faults()
    read = functools.partial(face_detection.read_portraits, size=settings.size, aligned=settings.aligned,
                             every=settings.every)
    with ThreadPoolExecutor(4) as pool:
        for (photo, _, _), found in faults.without(work(read, tasks, settings.jobs, "photos")):
            waiting += _items(photo, names[photo], *found, settings, writer.journal)
            while len(waiting) >= settings.batch:
                _parse_batch(waiting[:settings.batch], parser, table, settings, writer, pool)
                del waiting[:settings.batch]
        if waiting:
            _parse_batch(waiting, parser, table, settings, writer, pool)
    faults.report()


def _items(photo: str, name: str, portraits, faces: int | None, settings, journal) -> list[tuple[Row, np.ndarray]]:
    """(journal row without agreement, pixels (size, size, 3) uint8) of a photo's portraits, to be parsed."""
    count = "" if faces is None else str(faces)
    if not portraits:
        journal.add(Row(name, photo, "none", count))
    return [(Row(f"{name}_{i}" if settings.every else name, photo, portrait.how, count, f"{portrait.mirrored:.3f}"),
             portrait.pixels) for i, portrait in enumerate(portraits, 1)]


def _parse_batch(items, parser, table, settings, writer, pool) -> None:
    rows, photos = zip(*items)
    label, agreement = parser(torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2), settings.smooth)
    rows = [row._replace(agreement=f"{share:.4f}") for row, share in zip(rows, agreement.tolist())]
    writer.journal.written += len(list(pool.map(writer.write, rows, photos, table[label.numpy()])))


class _Writer:
    """Writes one portrait's files; the label map last, as it marks the portrait as done."""

    def __init__(self, out: Path, phase: str, settings: Settings, colors: np.ndarray, journal: Journal):
        self.settings, self.colors, self.journal = settings, colors, journal
        kinds = ["label"] + ["img"] * settings.photos + ["overlay"] * settings.overlays
        self.folders = {kind: make_folder(out / f"{phase}_{kind}") for kind in kinds}

    def write(self, row: Row, photo: np.ndarray, ids: np.ndarray) -> None:
        for kind, folder in self.folders.items():
            if kind != "label":
                shown = photo if kind == "img" else overlay(photo, self.colors[ids], ids == 0)
                write_photo(_place(folder, row.name, ".jpg"), Image.fromarray(shown))
        self.journal.add(row)
        write_ids(_place(self.folders["label"], row.name, ".png"), ids)


def _place(folder: Path, name: str, suffix: str) -> Path:
    """folder/name.suffix; makes the folders within the name."""
    path = folder / (name + suffix)
    if "/" in name:
        make_folder(path.parent)
    return path


def fingerprint(checkpoint) -> str:
    """A hash of the weights, so that maps of different parsers are not mixed in one folder."""
    path = Path(checkpoint)
    path = path / "latest_net_P.pth" if path.is_dir() else path
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12] if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(stream.read()).hexdigest()[:12]


def flags() -> Program:
    parser = Program("parse_faces", "Make a data root from a folder of photos: <phase>_img of square photos, <phase>_label "
                     "with the maps that a face parser makes, <phase>_overlay to look at, and tables of what was found and of "
                     "what to look at. Each is named after its photo. A second run does only what is missing.",
                     "--images photos --out datasets/mine --checkpoint checkpoints/parser --align",
                     "python train.py --dataroot datasets/mine --label_feat --name mine")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of photos, subfolders included")
    parser.add_shared("--out")
    parser.add_argument("--checkpoint", required=True, metavar="DIR_OR_PTH", help="an experiment of train.py --model "
                        "parsing, or a file of BiSeNet's weights such as 79999_iter.pth")
    parser.add_argument("--scheme", choices=sorted(SCHEMES), help=f"numbering of the maps (default: {DEFAULT_SCHEME} where the "
                        "parser has those classes, else its own)")
    parser.add_argument("--phase", type=folder_name, default="train", help="train, val, test, ...: prefix of the folders")
    parser.add_shared("--size")
    parser.add_argument("--align", action="store_true", help="find each face (with OpenCV's cascades, which versions before "
                        "5 bring), and turn, scale and cut the photo so that all faces lie alike; photos without a face "
                        "are listed and left out")
    parser.add_argument("--faces", choices=("largest", "all"), default="largest", help="with --align, of a photo of several "
                        "people: take the largest face, or all, numbered from the largest on (a_1, a_2)")
    parser.add_argument("--landmarks", metavar="FILE", help="align by these points instead of searching: rows of a name and "
                        "x y of left eye, right eye, nose, left and right corner of the mouth, such as CelebA's")
    parser.add_argument("--smooth", type=number(0, 50), default=0.0, metavar="PIXELS", help="take specks and ragged borders "
                        "away: feather the classes' probabilities over so many pixels; 0: not at all")
    parser.add_argument("--min_agreement", "--min_confidence", type=number(0, 1), default=0.8, metavar="KAPPA", help="list "
                        "photos whose map agrees less with that of their mirror image, 1 being the same map and 0 chance; a "
                        "low figure means a bad map, a high one not always a good one")
    parser.add_argument("--no_overlay", action="store_true", help="write no <phase>_overlay")
    parser.add_argument("--batch", type=whole(1), default=4, help="photos parsed at a time")
    parser.add_argument("--gpu_ids", default="0", help="device, such as 0; -1 for the CPU")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="what the network computes in")
    parser.add_shared("--limit", "--jobs", "--verbose")
    return parser


def check(args) -> None:
    """Raise UserError for flags that conflict."""
    if args.faces == "all" and not args.align:
        raise UserError("--faces all: only --align searches for faces; pass it too")
    if not Path(args.images).is_dir():
        raise UserError(f"--images {args.images}: there is no such folder")


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    check(args)
    landmarks = read_landmarks(args.landmarks) if args.landmarks else None
    aligned, every = args.align or landmarks is not None, args.faces == "all"
    parser = face_parser.FaceParser.load(args.checkpoint, args.gpu_ids, args.precision)
    if landmarks is not None:
        _refuse_unnamed(args, landmarks)
    elif args.align:
        face_detection.check_detector()
    spec, _ = translation(parser.spec, args.scheme)
    record = {"program": "parse_faces", "size": args.size, "align": aligned, "faces": args.faces,
              "smooth": args.smooth, "parser": fingerprint(args.checkpoint)}
    out = start_root(args.out, replace(spec, defaults={"loadSize": args.size}), record, earlier={"faces": "largest"})
    settings = Settings(args.size, aligned, every, args.smooth, args.min_agreement, overlays=not args.no_overlay,
                        batch=args.batch, jobs=args.jobs)
    journal = parse_folder(args.images, out, parser, args.phase, args.scheme, settings, landmarks, args.limit)
    report(journal, out, every)
    facts = page_facts.of_command(page_facts.module_command("datasets.parse_faces", arguments), [("parser", args.checkpoint)])
    print(f"Page: {write_page(out, args.phase, journal, args.images, facts)}")
    return 0


def _refuse_unnamed(args, landmarks: Landmarks) -> None:
    photos = image_names(args.images)[:args.limit]
    absent = [photo for photo in photos if landmarks.of(photo) is None]
    if absent and not args.align:
        raise UserError(f"--landmarks {args.landmarks}: has no row for {len(absent)} of {len(photos)} photos "
                        f"({first_few(absent)}); add them, remove the photos, or pass --align to search those faces")
    if absent:
        face_detection.check_detector()


def report(journal: Journal, out: Path, every: bool = False) -> None:
    """Print what was done, and which results should be looked at."""
    faceless, groups = len(journal.faceless()), journal.groups()
    print(f"{out}: {len(journal.rows) - faceless} photos with label maps, {journal.written} of them written now")
    if groups:
        what = "each is a photo of its own" if every else "the largest of each was taken (--faces all takes every one)"
        print(f"several faces: {len(groups)} photos with {sum(groups.values())} faces ({journal.path}); {what}")
    if faceless:
        print(f"{faceless} photos show no face that could be found, and are left out (turn those that are upside down or on "
              f"their side): {journal.unsure_path}")
    if found := len(journal.mirrored()):
        print(f"{found} photos are cut so close that more than {MOST_MIRRORED:.0%} of the result is their border, mirrored: "
              f"{journal.unsure_path}")
    if found := len(journal.disagreeing()):
        print(f"{found} photos have label maps that agree less than {journal.least:g} with those of their mirror image; look "
              f"at them before training: {journal.unsure_path}")


if __name__ == "__main__":
    command_line(main)()
