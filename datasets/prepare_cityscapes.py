"""Make a data root from Cityscapes as it is unpacked: <phase>_label, <phase>_inst and <phase>_img.

python -m datasets.prepare_cityscapes --src cityscapes --out datasets/cityscapes
"""
from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from pathlib import Path

from data.dataset_spec import DatasetSpec
from data.image_files import open_image
from datasets._folders import file_names, start_root, write_csv
from datasets._program import Program
from datasets._work import work_through
from util.command_line import command_line
from util.errors import UserError, first_few
from util.files import make_folder, write_bytes
from util.util import labelcolormap

# ids 0..33 of the label maps, and last the licence plate, which Cityscapes numbers -1
CLASSES = ("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road",
           "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole",
           "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car",
           "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle", "license plate")
# the published files of each picture: {role: (folder, end of the file name, modes of the picture)}
PARTS = {"img": ("leftImg8bit", "_leftImg8bit.png", ("RGB",)),
         "label": ("gtFine", "_gtFine_labelIds.png", ("L", "P")),
         "inst": ("gtFine", "_gtFine_instanceIds.png", ("I;16", "I", "L"))}
PHASES = {"train": "train", "val": "test"}


@dataclass(frozen=True)
class Scene:
    """One picture: its name (city_sequence_frame), its city, and its published split."""

    name: str
    city: str
    split: str

    def source(self, src: Path, kind: str) -> Path:
        """The published file of a kind: 'img', 'label' or 'inst'."""
        folder, ending, _ = PARTS[kind]
        return src / folder / self.split / self.city / (self.name + ending)

    def target(self, out: Path, kind: str) -> Path:
        """The file of a kind in the data root."""
        return out / f"{PHASES[self.split]}_{kind}" / f"{self.name}.png"


def cityscapes_spec() -> DatasetSpec:
    """Names and colours of the 35 classes. There are no flip pairs, as no class of a street is left or right."""
    colors = tuple(tuple(int(v) for v in row) for row in labelcolormap(len(CLASSES)))
    return DatasetSpec(label_nc=len(CLASSES), labels=CLASSES, colors=colors, scheme="cityscapes")


def find_scenes(src: Path) -> list[Scene]:
    """The scenes of train and val, with three files each. Raises UserError if one has only some of them."""
    scenes, missing_files = [], []
    for split in PHASES:
        found = {kind: _names(src, split, kind) for kind in PARTS}
        everything = set().union(*found.values())
        for name, city in sorted(everything):
            absent = [kind for kind in PARTS if (name, city) not in found[kind]]
            if absent:
                missing_files.append(Scene(name, city, split).source(src, absent[0]))
            else:
                scenes.append(Scene(name, city, split))
    if missing_files:
        raise UserError(f"--src {src}: {len(missing_files)} files are missing beside their partners: "
                        f"{first_few(missing_files, 3)}; unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip into "
                        "one folder again")
    if not scenes:
        raise UserError(f"--src {src}: holds no leftImg8bit/train/<city>/*_leftImg8bit.png with its gtFine files; give "
                        "the folder both archives were unpacked into")
    return scenes


def _names(src: Path, split: str, kind: str) -> set[tuple[str, str]]:
    folder, ending, _ = PARTS[kind]
    return {(path.name[:-len(ending)], path.parent.name) for path in (src / folder / split).glob(f"*/*{ending}")
            if not path.name.startswith(".")}


def prepare_scene(task, src: Path, out: Path, link: bool) -> None:
    """Copy or link the missing files of a scene. task: (Scene, kinds). Raises UserError for files of a wrong mode or size."""
    scene, kinds = task
    sizes = {kind: _checked_size(scene.source(src, kind), PARTS[kind][2]) for kind in PARTS}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{kind} {w}x{h}" for kind, (w, h) in sizes.items())
        raise UserError(f"{scene.source(src, 'img')}: its files differ in size ({found}); unpack them again")
    for kind in kinds:
        _place(scene.source(src, kind), scene.target(out, kind), link)


def _checked_size(path: Path, modes) -> tuple[int, int]:
    with open_image(path) as image:
        if image.mode not in modes:
            raise UserError(f"{path}: is a {image.mode} picture where {' or '.join(modes)} is published; unpack again")
        return image.size


def _place(source: Path, target: Path, link: bool) -> None:
    if link:
        with contextlib.suppress(OSError):  # another disk, or a file system without links: copy
            os.link(source.resolve(), target)
            return
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror})") from error
    write_bytes(target, data)


def missing(scenes: list[Scene], out: Path) -> list[tuple[Scene, list[str]]]:
    """The tasks for `prepare_scene` whose files do not exist yet."""
    there = {(split, kind): file_names(out / f"{PHASES[split]}_{kind}") for split in PHASES for kind in PARTS}
    tasks = [(scene, [kind for kind in PARTS if f"{scene.name}.png" not in there[scene.split, kind]])
             for scene in scenes]
    return [task for task in tasks if task[1]]


def flags() -> Program:
    parser = Program("prepare_cityscapes", "Put Cityscapes' leftImg8bit and gtFine files where train.py and test.py look for "
                     "them. The published val split becomes test: the test split's own labels are withheld. Files are copied "
                     "as they are; a second run does only what is missing.",
                     "--src cityscapes --out datasets/cityscapes --link")
    parser.add_shared("--src", help="the folder that holds leftImg8bit and gtFine")
    parser.add_shared("--out")
    parser.add_argument("--link", action="store_true", help="hard links instead of copies, where the disk allows it")
    parser.add_shared("--limit", "--jobs", "--verbose")
    return parser


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    src = Path(args.src)
    for folder in ("leftImg8bit", "gtFine"):
        if not (src / folder).is_dir():
            raise UserError(f"--src {src}: holds no folder {folder}; give the folder both archives were unpacked into")
    everything = find_scenes(src)
    scenes = everything[:args.limit]
    out = start_root(args.out, cityscapes_spec(), {"program": "prepare_cityscapes"})
    for folder in {scene.target(out, kind).parent for scene in scenes for kind in PARTS}:
        make_folder(folder)
    tasks = missing(scenes, out)
    try:
        work_through(functools.partial(prepare_scene, src=src, out=out, link=args.link), tasks, args.jobs, "pictures")
    finally:  # so that the table of an interrupted run matches its files
        undone = {task[0] for task in missing(everything, out)}
        write_csv(out / "split.csv", ("name", "split", "source", "city"),
                  [(scene.name, PHASES[scene.split], scene.source(src, "img").relative_to(src), scene.city)
                   for scene in everything if scene not in undone])
    counts = ", ".join(f"{sum(s.split == split for s in scenes)} {phase}" for split, phase in PHASES.items())
    print(f"{out}: {len(scenes)} pictures ({counts}), {len(tasks)} of them written now")
    return 0


if __name__ == "__main__":
    command_line(main)()
