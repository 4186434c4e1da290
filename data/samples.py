"""Samples by number, for models that draw pictures from noise, over any data set."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data.base_dataset import BaseDataset
from util.errors import UserError

INF = float("inf")


class NumberedSamples(BaseDataset):
    """--how_many items by number, each with the photo of the data set that has the same number, where there is one.

    source: the data set of --dataset_mode, listed by its photos; None where it cannot be read and the model needs none of it.
    """

    def __init__(self, opt, kind: type[BaseDataset]):
        """Raises UserError where the data set lacks what the model needs of it."""
        try:
            self.source = kind(opt.replace(needs=replace(opt.needs, listed_by="image")))
        except UserError:
            if opt.needs.keys:
                raise
            self.source = None
        self.batch_keys = {**(self.source.batch_keys if self.source else {}), "number": "int, of the sample"}
        super().__init__(opt)

    def list_items(self):
        """'0000', '0001', ...: as many as --how_many, or where that is no limit, as the data set has photos."""
        count = self.opt.how_many
        if count == INF and self.source:
            count = len(self.source)
        if count == INF:
            raise UserError(f"--dataroot {self.opt.dataroot}: holds no photos for --phase {self.opt.phase} to compare samples "
                            "with; put them there, or say with --how_many how many to draw")
        return {name: Path(name) for name in (f"{i:04d}" for i in range(int(count)))}

    def read(self, index, random):
        """What item `index` of the data set holds; past its end, that of its first items again, without their photos."""
        if self.source is None:
            return {"number": index}
        item = {**self.source.read(index % len(self.source), random), "number": index}
        return item if index < len(self.source) else {**item, "image": 0}

    def has(self, key):
        """Whether the data set has."""
        return self.source is not None and self.source.has(key)

    def item_files(self):
        """The files of the data set."""
        return self.source.item_files() if self.source else []

    def legend(self, batch, i):
        """That of the data set's item."""
        return self.source.legend(batch, i) if self.source else []
