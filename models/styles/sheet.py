"""The style sheet: each class's styles, drawn on one face, with the number to ask for them by."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from data.data_loader import collate
from models import precision
from models.styles.book import ClassStyles, StyleBook
from models.styles.clusters import FeatureTable
from models.styles.styles import Styles
from util import page_facts, page_links
from util.experiment import experiment_folder
from util.html import HTML
from util.lazy import LazyModule
from util.progress import Progress
from util.run_files import RunFiles
from util.util import safe_stem, save_image, tensor2im, tensor2label

torch = LazyModule("torch")
_LARGEST = {"cpu": 256, "cuda": 512}  # longer side of the drawings, at most
_MOST_WORK = 4.6e9  # multiplications of a drawing on a CPU, counted as parameters times pixels of the bottleneck
_AT_ONCE = 20 * 128 * 128  # pixels that are drawn together: the weights of a large generator are then read once for all
_GROUPS, _FEW_GROUPS = 7, 4  # of classes that are restyled together, instead of each class by itself; few if work is short
_BESIDE = 4  # pixels on each side of a border that the styles of both sides have a say in
_A_ROW, _PERSONS, _FEW_PERSONS = 10, 20, 10  # pictures in a row, and whole persons at the top; few if work is short
_CLOSEUP = 0.35  # a region smaller than this share of the side is shown close up
_SMALLEST_CLOSEUP = 96  # pixels; smaller ones are enlarged
_REFRESH, _SAVED_EVERY = 2, 1.0  # seconds after which browsers load the page anew while it is drawn, and it is saved


def draw_sheet(model, dataset, table: FeatureTable, book: StyleBook, files: RunFiles) -> Path:
    """Draw every style of a book on a label map that shows its class, and write the page.

    model: one with a generator whose `drawing` is a StyledDrawing. dataset: its items in the order of the
        table's pictures. files: the record of the folder that the page goes to.
    The page is there before the first drawing, fills, and says so. Returns its path. Raises UserError where files cannot
    be written.
    """
    sheet = _Sheet(model, table, book, files)
    sheet.save("The styles are being drawn: this page loads itself anew and fills. Should it stop filling, the drawing was "
               "broken off; run encode_features.py again.")
    print(f"Style sheet, filling as it is drawn: {files.folder / 'index.html'}", flush=True)
    count = sheet.persons() + sum(len(found.centres) for found in book.classes.values())
    try:
        with _in_fastest_precision(model), Progress(count) as progress:
            for number, image in enumerate(sheet.person_drawings(dataset)):
                sheet.add_person(number, image)
                progress.update()
            for picture, classes in sheet.places.items():
                for found, number, image in sheet.drawings(dataset, picture, classes):
                    sheet.add(found, number, image)
                    progress.update()
    except BaseException:
        sheet.save("The drawing was broken off: run encode_features.py again for the styles that are missing.", finished=True)
        raise
    sheet.save(finished=True)
    return files.folder / "index.html"


@contextlib.contextmanager
def _in_fastest_precision(model):
    """Within it the model computes in what is fastest here, as the drawings are small ones; unless the flag said what in."""
    before = model.precision
    if model.opt.sources.get("precision") != "command line":
        model.precision = precision.fastest(model)
    try:
        yield
    finally:
        model.precision = before


def _places(table: FeatureTable, book: StyleBook) -> dict[int, list[ClassStyles]]:
    """{picture: the classes whose styles are drawn on it}, few pictures, the reference first.

    Each is the one that shows most of the classes that are left; of several, the one that shows them largest.
    """
    places, left = {}, dict(sorted(book.classes.items()))
    while left or not places:
        scores = np.zeros(len(table.names))
        for label in left:
            size = np.zeros(len(table.names))
            np.maximum.at(size, table.pictures(label), table.rows(label)[:, -1])
            scores += (size > 0) + size / max(size.max(), 1e-9) / (len(left) + 1)
        best = int(scores.argmax())
        places[best] = [left.pop(label) for label in list(left) if best in table.pictures(label)]
    return places


class _Sheet:
    """The page as it fills. places: see `_places`."""

    def __init__(self, model, table, book, files):
        self.model, self.book, self.files, self.names = model, book, files, table.names
        self.places = _places(table, book)
        self.pictures: dict[str, list[tuple]] = {}  # of each row: (file, caption, size)
        self.saved = 0.0
        self.facts = page_facts.of_options(model.opt, model)
        self.largest, self.groups, self.most_persons = self._affordable()

    # drawing

    def persons(self) -> int:
        """How many whole persons are drawn."""
        return self.most_persons if self.book.persons else 0

    def person_drawings(self, dataset) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 for each of them, on the reference."""
        if not self.persons():
            return
        batch = self._shrunk(collate([dataset[next(iter(self.places))]]))
        styles, at_once = Styles(self.book.feat_num, {}, persons=self.book.persons), self._at_once(batch)
        yield from map(tensor2im, self.model.drawing.as_persons(batch, styles, range(self.persons()), at_once))

    @staticmethod
    def _at_once(batch):
        return max(1, _AT_ONCE // (batch["label"].shape[-2] * batch["label"].shape[-1]))

    def drawings(self, dataset, picture: int, classes: list[ClassStyles]) -> Iterator[tuple[ClassStyles, int, np.ndarray]]:
        """(class, number, (H, W, 3) uint8) for each style of some classes, on one picture.

        Classes that hardly touch are restyled together, and what is drawn of each is laid over the picture in its own style.
        """
        batch = self._shrunk(collate([dataset[picture]]))
        ids = self.model.drawing.class_map(batch)[0]
        steps = [[(found, number) for found in group if number < len(found.centres)]
                 for group in _apart(ids, classes, self.groups)
                 for number in range(max((len(one.centres) for one in group), default=0))]
        changes = [{found.label: found.centres[number] for found, number in step} for step in steps]
        drawn = map(tensor2im, self.model.drawing.restyle(batch, [{}, *changes], self._at_once(batch)))
        own = next(drawn)
        if picture == next(iter(self.places)):
            self._add_reference(batch, own)
        masks = {found.label: _soft(ids == found.label) for found in classes}
        windows = {found.label: _window(ids == found.label) for found in classes}
        for step, image in zip(steps, drawn):
            for found, number in step:
                y, x = windows[found.label]
                mask = masks[found.label][y, x]
                yield found, number, np.rint(own[y, x] * (1 - mask) + image[y, x] * mask).astype(np.uint8)

    def _affordable(self) -> tuple[float, int, int]:
        """The longer side of the drawings in pixels, the groups of classes that share them, and how many persons there are."""
        if self.model.device.type != "cpu":
            return _LARGEST["cuda"], _GROUPS, _PERSONS
        parameters = sum(p.numel() for p in self.model.nets["G"].parameters())
        side = self.model.opt.needs.multiple * (_MOST_WORK / parameters) ** 0.5
        return (_LARGEST["cpu"], _GROUPS, _PERSONS) if side > _LARGEST["cpu"] else (side, _FEW_GROUPS, _FEW_PERSONS)

    def _shrunk(self, batch):
        """A batch at the size that the sheet is drawn in."""
        height, width = batch["image"].shape[-2:]
        step, scale = self.model.opt.needs.multiple, self.largest / max(height, width)
        if scale >= 1:
            return batch
        size = [max(2 * step, round(side * scale / step) * step) for side in (height, width)]
        return {key: _resized(value, size) if torch.is_tensor(value) and value.ndim == 4 else value
                for key, value in batch.items()}

    def _add_reference(self, batch, own):
        opt = self.model.opt
        shown = {"label map": tensor2label(batch["label"][0], opt.label_channels, colors=opt.spec.class_colors or None),
                 "in its own style": own, "photo": tensor2im(batch["image"][0])}
        for number, (caption, image) in enumerate(shown.items()):
            self._write("reference", number, caption, image)

    def add_person(self, number: int, image: np.ndarray) -> None:
        """A person's drawing, as `add`."""
        self._add("persons", number, f"person {number}", image)

    def add(self, found: ClassStyles, number: int, image: np.ndarray) -> None:
        """A style's drawing, on the page at the next save, which is due every few seconds."""
        self._add(_row(found), number, f"{found.name}={number} ({found.shares[number]:.0%})", image)

    def _add(self, row, number, caption, image):
        self._write(row, number, caption, _enlarged(image))
        if time.monotonic() >= self.saved + _SAVED_EVERY:
            self.save(self.note)

    def _write(self, row, number, caption, image):
        name = f"{safe_stem(row)}_{number:03d}.jpg"
        with self.files.writing(f"images/{name}") as path:
            save_image(image, path)
        self.pictures.setdefault(row, []).append((name, caption, image.shape[1::-1]))

    # the page

    def save(self, note: str = "", finished: bool = False) -> None:
        """Write the page as far as it is drawn, and at the end the list of its files. note: shown in a box."""
        self.note, self.saved = note, time.monotonic()
        opt, path = self.model.opt, self.files.folder / "index.html"
        page = HTML(self.files.folder, f"Styles of {opt.name}", 0 if finished else _REFRESH)
        count = sum(len(found.centres) for found in self.book.classes.values())
        page.add_paragraph(f"{count} styles of {len(self.book.classes)} classes, each drawn on the same face, with the share "
                           "of the encoded regions that are nearest to it. To draw with one: test.py --style CLASS=NUMBER,"
                           f" such as --style {self._example()}; the flag may be given several times. The drawings are "
                           "small, and several regions are drawn at once: test.py's may differ a little.")
        if note:
            page.add_note(note)
        page.add_links(page_links.links_of(experiment_folder(opt), path), page_links.OTHERS)
        page.add_facts(self.facts)
        self._add_row(page, "reference", f"Reference: {self.names[next(iter(self.places))]}", width=256)
        if self.persons():
            self._add_row(page, "persons", "Persons", "all classes drawn together, so that they fit; any number is a person: "
                          f"test.py --person {self.persons() - 1} draws the last of these on each label map")
        for _, found in sorted(self.book.classes.items()):
            self._add_row(page, _row(found), found.name, _remark(found))
        with self.files.writing("index.html"):
            page.save()
        if finished:
            self.files.finish()
            page_links.refresh(experiment_folder(opt))

    def _example(self):
        largest = max(self.book.classes.values(), key=lambda one: len(one.centres), default=None)
        return f"{largest.name}={len(largest.centres) - 1}" if largest else "hair=3"

    def _add_row(self, page, row, heading, remark=None, width=192):
        pictures = self.pictures.get(row, [])
        for start in range(0, max(1, len(pictures)), _A_ROW):
            files, captions, sizes = zip(*pictures[start:start + _A_ROW]) if pictures else ((), (), ())
            page.add_images(files, captions, files, width, sizes, "" if start else heading, None if start else remark)


def _row(found: ClassStyles) -> str:
    return f"{found.label:02d}_{found.name}"


def _remark(found: ClassStyles) -> str:
    return f"{found.regions} regions" + (", all small: clustered nonetheless" if found.small else
                                         f", {found.clustered} of them large" * (found.clustered < found.regions))


def _apart(ids: np.ndarray, classes: list[ClassStyles], count: int) -> list[list[ClassStyles]]:
    """The classes in `count` groups that can be restyled together. ids: the class map (H, W) of the picture.

    A style changes its surroundings, and through the norms, by its area, the whole picture. So each class, the largest first,
    goes to the group of the least area and border to it.
    """
    labels, index, area = np.unique(ids, return_inverse=True, return_counts=True)
    index = index.reshape(ids.shape)
    border = np.zeros((len(labels), len(labels)), int)
    for one, other in ((index[1:], index[:-1]), (index[:, 1:], index[:, :-1])):
        np.add.at(border, (one, other), 1)
    border += border.T
    place = {label: i for i, label in enumerate(labels.tolist())}  # a class may be lost where the picture was shrunk
    groups: list[list[int]] = [[] for _ in range(count)]
    for i in sorted((place[found.label] for found in classes if found.label in place), key=lambda i: -area[i]):
        costs = [sum(area[j] + _BESIDE * border[i, j] for j in group) for group in groups]
        groups[int(np.argmin(costs))].append(i)
    members = [[found for found in classes if place.get(found.label) in group] for group in groups]
    members[0] += [found for found in classes if found.label not in place]
    return members


def _soft(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool -> (H, W, 1) float32 in [0, 1]: a region with the pixels around it, in which it fades out."""
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(0.7))
    return np.asarray(grown, np.float32)[:, :, None] / 255


def _resized(tensor, size):
    if tensor.dtype == torch.float32:
        return torch.nn.functional.interpolate(tensor, size, mode="area")
    return torch.nn.functional.interpolate(tensor.double(), size, mode="nearest").to(tensor.dtype)  # ids must not blend


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns to show of a picture: all, or for a small region a square around it."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return slice(None), slice(None)
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    if side > _CLOSEUP * min(height, width):
        return slice(None), slice(None)
    side = int(min(height, width, max(2 * side, _CLOSEUP * min(height, width))))
    top = int(np.clip((rows[0] + rows[-1] - side) // 2, 0, height - side))
    left = int(np.clip((columns[0] + columns[-1] - side) // 2, 0, width - side))
    return slice(top, top + side), slice(left, left + side)


def _enlarged(image: np.ndarray) -> np.ndarray:
    """A close-up large enough to look at."""
    height, width = image.shape[:2]
    times = -(-_SMALLEST_CLOSEUP // min(height, width))
    if times <= 1:
        return image
    return np.asarray(Image.fromarray(image).resize((times * width, times * height), Image.Resampling.BICUBIC))
