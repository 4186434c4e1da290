"""The style sheet: each class's styles, drawn on one face, with the number to ask for them by."""
from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from data.data_loader import collate
from models.styles.book import ClassStyles, StyleBook
from models.styles.clusters import FeatureTable
from util import page_facts, page_links
from util.experiment import experiment_folder
from util.html import HTML
from util.lazy import LazyModule
from util.progress import Progress
from util.run_files import RunFiles
from util.util import safe_stem, save_image, tensor2im, tensor2label

torch = LazyModule("torch")
_LARGEST = {"small": 256, "large": 128, "cuda": 512}  # longer side of the drawings, so that 200 take a minute or two
_MANY_PARAMETERS = 20_000_000  # of a generator that is large for a CPU
_AT_ONCE = 20 * 128 * 128  # pixels that are drawn together: the weights of a large generator are then read once for all
_A_ROW = 10
_CLOSEUP = 0.35  # a region smaller than this share of the side is shown close up
_SMALLEST_CLOSEUP = 96  # pixels; smaller ones are enlarged


def draw_sheet(model, dataset, table: FeatureTable, book: StyleBook, files: RunFiles) -> Path:
    """Draw every style of a book on a label map that shows its class, and write the page.

    model: one with a generator whose `drawing` is a StyledDrawing. dataset: its items in the order of the
        table's pictures. files: the record of the folder that the page goes to.
    The reference is the picture that shows most classes; a class that it lacks is drawn on the picture where it is largest.
    Returns the page's path. Raises UserError where files cannot be written.
    """
    sheet = _Sheet(model, dataset, files)
    reference = _reference(table, book)
    sheet.head(reference, table.names[reference], book)
    rows = [(found, reference if reference in table.pictures(found.label) else _shows_best(table, found.label))
            for found in sorted(book.classes.values(), key=lambda one: one.label)]
    drawings = {picture: sheet.drawings(picture, [found for found, on in rows if on == picture]) for _, picture in rows}
    with Progress(sum(len(found.centres) for found, _ in rows)) as progress:
        for found, picture in rows:
            sheet.row(found, picture, islice(drawings[picture], len(found.centres)))
            progress.update(len(found.centres))
    sheet.save()
    return files.folder / "index.html"


def _reference(table: FeatureTable, book: StyleBook) -> int:
    """The picture that shows most classes of the book; the first of several."""
    counts = np.zeros(len(table.names), int)
    for label in book.classes:
        counts[np.unique(table.pictures(label))] += 1
    return int(counts.argmax())


def _shows_best(table: FeatureTable, label: int) -> int:
    """The picture in which a class is largest."""
    return int(table.pictures(label)[table.rows(label)[:, -1].argmax()])


class _Sheet:
    """The page as it grows."""

    def __init__(self, model, dataset, files):
        self.model, self.dataset, self.files = model, dataset, files
        self.page = HTML(files.folder, f"Styles of {model.opt.name}")
        self.batches: dict[int, dict] = {}

    def head(self, picture: int, name: str, book: StyleBook) -> None:
        """What the page is, and the reference as it is."""
        count = sum(len(found.centres) for found in book.classes.values())
        self.page.add_paragraph(f"{count} styles of {len(book.classes)} classes, each drawn on the same face, with the share "
                                "of the encoded regions that are nearest to it. To draw with one: test.py --style CLASS=NUMBER,"
                                f" such as --style {self._example(book)}; the flag may be given several times.")
        batch, opt = self._batch(picture), self.model.opt
        page_facts.introduce(self.page, self.files.folder / "index.html", opt, self.model)
        own = next(self.model.drawing.restyle(batch, [(-1, np.zeros(opt.feat_num))]))
        shown = {"label map": tensor2label(batch["label"][0], opt.label_channels, colors=opt.spec.class_colors or None),
                 "in its own style": tensor2im(own), "photo": tensor2im(batch["image"][0])}
        self._add("reference", shown, f"Reference: {name}", width=256)

    @staticmethod
    def _example(book):
        largest = max(book.classes.values(), key=lambda one: len(one.centres), default=None)
        return f"{largest.name}={len(largest.centres) - 1}" if largest else "hair=3"

    def drawings(self, picture: int, classes: list[ClassStyles]):
        """A picture in each style of each class, in that order: (C, H, W) each."""
        batch = self._batch(picture)
        height, width = batch["image"].shape[-2:]
        changes = [(found.label, centre) for found in classes for centre in found.centres]
        return self.model.drawing.restyle(batch, changes, max(1, _AT_ONCE // (height * width)))

    def row(self, found: ClassStyles, picture: int, drawn) -> None:
        """A class's styles, side by side, close up where the class is small."""
        y, x = _window(self.model.drawing.class_map(self._batch(picture))[0] == found.label)
        shown = {}
        for i, (image, share) in enumerate(zip(drawn, found.shares)):
            shown[f"{found.name}={i} ({share:.0%})"] = _enlarged(np.ascontiguousarray(tensor2im(image)[y, x]))
        remark = f"{found.regions} regions" + (", all small: clustered nonetheless" if found.small else
                                               f", {found.clustered} of them large" * (found.clustered < found.regions))
        for start in range(0, len(shown), _A_ROW):
            part = dict(list(shown.items())[start:start + _A_ROW])
            self._add(f"{found.label:02d}_{found.name}", part, found.name if not start else "", remark if not start else None,
                      first=start)

    def save(self) -> None:
        """Write the page, and the list of its files."""
        with self.files.writing("index.html"):
            self.page.save()
        self.files.finish()
        page_links.refresh(experiment_folder(self.model.opt))

    def _add(self, stem, shown, heading, remark=None, width=192, first=0):
        files = [f"{safe_stem(stem)}_{first + i:03d}.jpg" for i in range(len(shown))]
        for file_name, image in zip(files, shown.values()):
            with self.files.writing(f"images/{file_name}") as path:
                save_image(np.ascontiguousarray(image), path)
        self.page.add_images(files, list(shown), files, width, heading=heading, remark=remark)

    def _batch(self, picture: int) -> dict:
        """A picture of the data set as a batch of one, at the size the sheet is drawn in."""
        if picture not in self.batches:
            self.batches[picture] = self._shrunk(collate([self.dataset[picture]]))
        return self.batches[picture]

    def _shrunk(self, batch):
        height, width = batch["image"].shape[-2:]
        count = sum(p.numel() for p in self.model.nets["G"].parameters())
        kind = "cuda" if self.model.device.type != "cpu" else "large" if count > _MANY_PARAMETERS else "small"
        scale = _LARGEST[kind] / max(height, width)
        if scale >= 1:
            return batch
        step = self.model.opt.needs.multiple
        size = [max(2 * step, round(side * scale / step) * step) for side in (height, width)]
        return {key: _resized(value, size) if torch.is_tensor(value) and value.ndim == 4 else value
                for key, value in batch.items()}


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
