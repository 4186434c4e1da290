"""Make a data root from CelebAMask-HQ as it is downloaded.

python -m datasets.prepare_celebamask_hq --src CelebAMask-HQ --out datasets/faceOriginIm
"""
from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.dataset_spec import SCHEMES, face_spec
from data.image_files import load, open_image, read_image
from datasets._folders import file_names, start_root, write_csv, write_ids, write_photo
from datasets._program import Program
from datasets._tables import read_table
from datasets._work import work_through
from util.command_line import command_line
from util.errors import UserError
from util.files import make_folder, read_lines, write_bytes

PHOTOS, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
MAPPING, ATTRIBUTES = "CelebA-HQ-to-CelebA-mapping.txt", "CelebAMask-HQ-attribute-anno.txt"
MASKS_A_FOLDER = 2000
PHASES = ("train", "val", "test")


@dataclass(frozen=True)
class Face:
    """A row of the mapping: index in CelebA-HQ, index and file in CelebA, and the split that follows."""

    index: int
    original: int
    file: str

    @property
    def phase(self) -> str:
        """CelebA's own split, so that no person is in both the training and the test set."""
        if self.original >= 182638:
            return "test"
        return "val" if self.original >= 162771 else "train"


def read_mapping(path) -> list[Face]:
    """The faces of CelebA-HQ-to-CelebA-mapping.txt, with or without its line of column names.

    Raises UserError naming the file and line.
    """
    lines = read_lines(path)
    faces: dict[int, Face] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if number == 1 and words[:2] == ["idx", "orig_idx"]:
            continue
        if len(words) != 3 or not words[0].isdigit() or not words[1].isdigit():
            raise UserError(f"{path}: row {number} is '{line[:60]}', not two indices and a file (idx, orig_idx, orig_file); "
                            "fetch it again")
        face = Face(int(words[0]), int(words[1]), words[2])
        if face.index in faces:
            raise UserError(f"{path}: lists face {face.index} twice; fetch it again")
        faces[face.index] = face
    if not faces:
        raise UserError(f"{path}: lists no face; fetch it again")
    return list(faces.values())


def paint(parts, scheme: str) -> np.ndarray:
    """Make a label map from a face's part masks.

    parts: {part name: (H, W) bool}, in any order. Returns (H, W) uint8 ids of `scheme`, painted in the order of the
    ids: where parts overlap, the one with the higher id is on top (the nose over the skin, the hair over the ear).
    """
    shapes = {mask.shape for mask in parts.values()}
    if len(shapes) != 1:
        raise UserError(f"the part masks of one face have several sizes: {sorted(shapes)}")
    label = np.zeros(shapes.pop(), np.uint8)
    for i, name in enumerate(SCHEMES[scheme]):
        if name in parts:
            np.copyto(label, np.uint8(i), where=parts[name])
    return label


def read_mask(path) -> np.ndarray:
    """(H, W) bool: where a mask of any mode is not black. Raises UserError naming the file."""
    with open_image(path) as image:
        load(image)
        if image.mode not in ("1", "L", "I", "I;16", "RGB"):
            image = image.convert("RGB")
        values = np.asarray(image)
    if values.ndim == 3:  # as published; .any(axis=2) gives the same and takes fifteen times as long
        values = values[..., 0] | values[..., 1] | values[..., 2]
    return values != 0


def face_parts(src: Path, index: int) -> dict[str, np.ndarray]:
    """Read the part masks of a face. Raises UserError if it has none, as every face has skin."""
    folder = src / MASKS / str(index // MASKS_A_FOLDER)
    parts = {}
    for name in SCHEMES["celebamask-hq"][1:]:
        path = folder / f"{index:05d}_{name}.png"
        if path.exists():
            parts[name] = read_mask(path)
    if not parts:
        raise UserError(f"{folder}/{index:05d}_skin.png: face {index} has no part masks there; unpack {MASKS} again")
    if len({mask.shape for mask in parts.values()}) > 1:
        sizes = ", ".join(f"{name} {mask.shape[1]}x{mask.shape[0]}" for name, mask in parts.items())
        raise UserError(f"{folder}/{index:05d}_*.png: the masks of one face differ in size ({sizes}); unpack again")
    return parts


def prepare_face(task, src: Path, out: Path, size: int, scheme: str) -> None:
    """Write the missing files of one face. task: (Face, whether to write the label map, whether to write the photo)."""
    face, needs_label, needs_photo = task
    if needs_label:
        label = paint(face_parts(src, face.index), scheme)
        if label.shape != (size, size):
            label = np.asarray(Image.fromarray(label).resize((size, size), Image.Resampling.NEAREST))
        write_ids(out / f"{face.phase}_label" / f"{face.index}.png", label)
    if needs_photo:
        source = src / PHOTOS / f"{face.index}.jpg"
        target = out / f"{face.phase}_img" / f"{face.index}.jpg"
        # decoding a JPEG at no less than twice the size is faster, and enough for the resampling filter
        photo = read_image(source, draft_size=(2 * size, 2 * size))
        if photo.width != photo.height:
            raise UserError(f"{source}: is {photo.width}x{photo.height}, but CelebA-HQ's photos are square; fetch it "
                            "again")
        if photo.size == (size, size):
            write_bytes(target, source.read_bytes())  # as published, as encoding it again would lose quality
        else:
            write_photo(target, photo.resize((size, size), Image.Resampling.BICUBIC))


def choose_faces(src: Path, limit: int | None) -> list[Face]:
    """The faces whose photo exists, in the mapping's order. Raises UserError if there are none."""
    faces = read_mapping(src / MAPPING)
    photos = file_names(src / PHOTOS)
    present = [face for face in faces if f"{face.index}.jpg" in photos]
    if not present:
        raise UserError(f"{src / PHOTOS}: holds none of the {len(faces)} photos of {MAPPING} (0.jpg, 1.jpg, ...); "
                        "unpack them there")
    if len(present) < len(faces):
        print(f"{src / PHOTOS}: {len(faces) - len(present)} of {len(faces)} photos are not there and are left out")
    return present[:limit]


def missing(faces: list[Face], out: Path) -> list[tuple[Face, bool, bool]]:
    """The tasks for `prepare_face` whose files do not exist yet."""
    there = {(phase, kind): file_names(out / f"{phase}_{kind}") for phase in PHASES for kind in ("label", "img")}
    tasks = [(face, f"{face.index}.png" not in there[face.phase, "label"],
              f"{face.index}.jpg" not in there[face.phase, "img"]) for face in faces]
    return [task for task in tasks if task[1] or task[2]]


def write_tables(src: Path, out: Path) -> None:
    """Write split.csv, with the origin of each picture in `out`, and attributes.csv, with the 40 attributes as 1 or 0."""
    everyone = read_mapping(src / MAPPING)
    undone = {task[0].index for task in missing(everyone, out)}
    faces = [face for face in everyone if face.index not in undone]
    write_csv(out / "split.csv", ("name", "split", "source", "celeba_index", "celeba_file"),
              [(face.index, face.phase, f"{PHOTOS}/{face.index}.jpg", face.original, face.file) for face in faces])
    path = src / ATTRIBUTES
    if not path.is_file():
        print(f"{path}: is not there, so no attributes.csv")
        return
    names, table = read_table(path)
    rows = []
    for face in faces:
        if f"{face.index}.jpg" not in table:
            raise UserError(f"{path}: has no row for {face.index}.jpg; fetch it again")
        rows.append((face.index, face.phase, *(int(value > 0) for value in table[f"{face.index}.jpg"])))
    write_csv(out / "attributes.csv", ("name", "split", *names), rows)


def check_source(src: Path) -> None:
    """Raise UserError naming a part of the download that is missing."""
    for name in (PHOTOS, MASKS):
        if not (src / name).is_dir():
            raise UserError(f"--src {src}: holds no folder {name}; give the unpacked CelebAMask-HQ folder")
    if not (src / MAPPING).is_file():
        raise UserError(f"--src {src}: holds no {MAPPING}, which says which face is for training and which for testing")


def flags() -> Program:
    parser = Program("prepare_celebamask_hq", "Turn CelebAMask-HQ, as downloaded, into {train,val,test}_{label,img}, "
                     "dataset.json, split.csv and attributes.csv. A second run does only what is missing.",
                     "--src CelebAMask-HQ --out datasets/faceOriginIm",
                     "python train.py --name faces --dataroot datasets/faceOriginIm")
    parser.add_shared("--src", help=f"the unpacked download: {PHOTOS}, {MASKS}, {MAPPING}")
    parser.add_shared("--out", "--size")
    parser.add_argument("--scheme", choices=sorted(SCHEMES), default="celebamask-hq", help="which numbers the 18 parts get")
    parser.add_shared("--limit", "--jobs", "--verbose")
    return parser


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    src = Path(args.src)
    check_source(src)
    faces = choose_faces(src, args.limit)
    out = start_root(args.out, face_spec(args.scheme, {"loadSize": args.size}),
                     {"program": "prepare_celebamask_hq", "size": args.size})
    for phase in {face.phase for face in faces}:
        make_folder(out / f"{phase}_label")
        make_folder(out / f"{phase}_img")
    tasks = missing(faces, out)
    prepare = functools.partial(prepare_face, src=src, out=out, size=args.size, scheme=args.scheme)
    try:
        work_through(prepare, tasks, args.jobs, "faces")
    finally:  # so that the tables of an interrupted run match its files
        write_tables(src, out)
    counts = ", ".join(f"{sum(face.phase == phase for face in faces)} {phase}" for phase in PHASES)
    print(f"{out}: {len(faces)} faces ({counts}), {len(tasks)} of them written now")
    return 0


if __name__ == "__main__":
    command_line(main)()
