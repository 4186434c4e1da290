"""The styles of an experiment as the page shows them: numbers, shares, thumbnails, and the range of each feature."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from models.styles.book import FILE_NAME, StyleBook
from util.errors import UserError
from util.experiment import experiment_folder
from util.safe_pickle import load_dict
from util.util import safe_stem

_UNKNOWN_RANGE = {False: 1.0, True: 3.0}  # of features in [-1, 1], and of a VAE's N(0, I), where no data was encoded


class StyleList:
    """model: an EditedModel. Reads what encode_features.py wrote, once."""

    def __init__(self, model):
        self.opt, self.names = model.opt, model.class_names if model.takes_styles else []
        self.folder = experiment_folder(self.opt)
        self.centres = model.predictor.model.drawing.styles.centres if model.takes_styles else {}
        self.book, self.rows = self._read() if model.takes_styles else ({}, {})
        self.thumbnails = dict(self._thumbnails())

    def _read(self):
        book, rows = {}, {}
        if (self.folder / FILE_NAME).is_file():
            book = StyleBook.read(self.folder / FILE_NAME).classes
        if (self.folder / "features.npy").is_file():
            try:
                rows = load_dict(self.folder / "features.npy", columns=self.opt.feat_num + 1)
            except UserError as error:
                print(error)  # sliders then have the range of the styles
        return book, rows

    def _thumbnails(self):
        """((class, number), file) of the style sheet's pictures."""
        for label, centres in self.centres.items():
            stem = safe_stem(f"{label:02d}_{self.opt.spec.name_of(label)}")
            for number in range(len(centres)):
                path = self.folder / "styles" / "images" / f"{stem}_{number:03d}.jpg"
                if path.is_file():
                    yield (int(label), number), path

    def thumbnail(self, label: int, number: int) -> Path | None:
        """The file of a style's picture."""
        return self.thumbnails.get((label, number))

    def describe(self) -> dict:
        """{class name: its styles and the range of each of its features}, ready for JSON."""
        return {name: {"styles": [self._style(label, number) for number in range(len(self.centres.get(label, ())))],
                       "range": self._range(label)} for label, name in enumerate(self.names)}

    def _style(self, label: int, number: int) -> dict:
        found = self.book.get(label)
        known = found is not None and number < len(found.shares)
        has_thumbnail = (label, number) in self.thumbnails
        return {"number": number, "centre": np.asarray(self.centres[label][number], float).tolist(),
                "share": float(found.shares[number]) if known else None,
                "thumbnail": f"/api/styles/{label}/{number}.jpg" if has_thumbnail else None}

    def _range(self, label: int) -> list[list[float]]:
        """[lowest, highest] of each feature in the data, with a twentieth of room."""
        rows = self.rows.get(label)
        values = np.asarray(rows, float)[:, :-1] if rows is not None and len(rows) else \
            np.asarray(self.centres.get(label, ()), float)
        if len(values) < 2:
            bound = _UNKNOWN_RANGE[bool(self.opt.use_vae)]
            return [[-bound, bound]] * self.opt.feat_num
        low, high = values.min(0), values.max(0)
        room = np.maximum(0.05 * (high - low), 1e-3)
        return np.stack([low - room, high + room], 1).tolist()
