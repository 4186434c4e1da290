"""Style photos, whose features are transferred to test pictures, and which of them is for which."""
from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from data.aligned_dataset import AlignedDataset
from data.dataset_spec import DatasetSpec
from data.image_files import list_images
from data.pairing import Names, composed, near_misses, strip_extension
from util.errors import UserError, first_few
from util.files import unescaped


class StyleSource:
    """The style photos of --style_root and --style_pairs, or of --style_image and --style_label.

    source.name(name, index) is the name of the style photo for a test picture; source.load(name) reads it as
    {'label': (1, 1, H, W) class ids, 'image': (1, C, H, W) float32 in [-1, 1], 'name': str}.
    Flags and files are checked by the constructor. Raises UserError naming the flag or file.
    """

    def __init__(self, opt):
        self.opt = opt
        self.dataset, self.pairs, self.places = None, {}, {}
        if opt.style_image:
            self.one = _read_pair(opt)
            return
        self.dataset = _style_dataset(opt)
        self.places, self.names = {key: i for i, key in enumerate(self.dataset.names)}, Names(self.dataset.names)
        if opt.style_pairs:
            self.pairs = _read_pairs(opt, self.names)

    def name(self, name: str, index: int) -> str:
        """The style photo of a test picture: as --style_pairs says, else of the same name, else in turn by `index`."""
        if self.dataset is None:
            return self.one["name"]
        if self.pairs:
            return self.pairs[composed(name)]
        return self.names.find(name) or self.dataset.names[index % len(self.dataset.names)]

    def files(self) -> Iterable[Path]:
        """All files that may be read."""
        return self.dataset.item_files() if self.dataset else (Path(self.opt.style_image), Path(self.opt.style_label))

    def load(self, name: str) -> dict:
        """Read a style photo and its label map."""
        if self.dataset is None:
            return self.one
        item = self.dataset[self.places[name]]
        return {"label": item["label"][None], "image": item["image"][None], "name": name}


def _style_dataset(opt) -> AlignedDataset:
    """The data set of --style_root, with all of its pairs."""
    root = Path(opt.style_root)
    if not root.is_dir():
        raise UserError(f"--style_root {opt.style_root}: there is no such folder; give the folder that holds "
                        f"{opt.style_phase}_label and {opt.style_phase}_img")
    spec = DatasetSpec.read(root).with_unlabelled(opt.spec.unlabelled)
    if spec.labels and opt.spec.labels and spec.labels != opt.spec.labels:
        raise UserError(f"--style_root {opt.style_root}: its dataset.json numbers the classes otherwise than that of "
                        f"{opt.dataroot}; make the two the same with python -m datasets.relabel")
    unbounded = {key: float("inf") for key in ("max_dataset_size", "ntest", "how_many")}
    try:
        return AlignedDataset(opt.replace(dataroot=opt.style_root, phase=opt.style_phase, spec=spec,
                                          needs=replace(opt.needs, keys=("image",)), **unbounded))
    except UserError as error:  # it names the flags of the test data
        text = str(error).replace("--dataroot", "--style_root").replace("--phase", "--style_phase")
        raise UserError(text) from error


def _read_pair(opt) -> dict:
    """--style_image and --style_label as a batch of one."""
    try:
        item = AlignedDataset.example(opt, label=opt.style_label, image=opt.style_image)
    except UserError as error:  # it names Python's arguments
        text = str(error)
        raise UserError(f"--style_{text}" if text.startswith(("label", "image")) else text) from error
    return {"label": item["label"][None], "image": item["image"][None], "name": Path(opt.style_image).stem}


def _read_pairs(opt, styles: Names) -> dict[str, str]:
    """--style_pairs as {test picture: style photo}; every test picture must have a row."""
    path, flag = Path(opt.style_pairs), f"--style_pairs {opt.style_pairs}"
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{flag}: cannot be read ({error}); give a text file of two columns parted by a comma") from error
    drawn = list(list_images(Path(opt.dataroot) / f"{opt.phase}_label"))
    tests, pairs = Names(drawn), {}
    for number, row in enumerate(rows, 1):
        if not any(row):
            continue
        if len(row) != 2:
            raise UserError(f"{flag}: line {number} has {len(row)} columns; give two, test picture and style photo")
        test, style = _find(row[0], tests), _find(row[1], styles)
        if number == 1 and test is style is None:
            continue  # a line of titles
        if style is None:
            meant = next(iter(near_misses([row[1]], styles.full).values()), "")
            raise UserError(f"{flag}: line {number} names {row[1]}, which is not in {opt.style_root}; " +
                            (meant or f"use names such as {first_few(sorted(styles.full), 3)}"))
        if test in pairs:
            raise UserError(f"{flag}: line {number} names {row[0]} again; leave one of its lines out")
        if test is not None:  # lists may be longer than what is drawn
            pairs[test] = style
    limit = int(min(len(drawn), opt.how_many, opt.ntest, opt.max_dataset_size))
    lacking = [key for key in drawn[:limit] if key not in pairs]
    if lacking:
        raise UserError(f"{flag}: has no line for {first_few(lacking)}; add a style photo for each test picture")
    return pairs


def _find(text: str, names: Names) -> str | None:
    """The picture that a cell names, with its extension or without."""
    text = unescaped(text).replace("\\", "/")
    return names.find(text) or names.find(strip_extension(text))
