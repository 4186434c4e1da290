"""What encode_features.py finds: the features of photos by class, the styles that they cluster into, and a page of them."""
from __future__ import annotations

from pathlib import Path

from models.styles.book import FILE_NAME, StyleBook
from models.styles.clusters import FeatureTable
from models.styles.sheet import draw_sheet
from util.errors import UserError
from util.run_files import RunFiles
from util.safe_pickle import save_dict


class StyleEncoding:
    """Takes in batches of photos, and at last writes features.npy, the clusters' file, styles.json and the style sheet.

    model: one that can encode. Of several processes each takes in its own photos; the first `extend`s its encoding by the
    others' `share`s and writes.
    """

    def __init__(self, model):
        self.model, self.opt = model, model.opt
        self.table = FeatureTable(range(model.opt.label_channels), model.opt.feat_num + 1)

    def add(self, batch) -> None:
        """Encode a batch."""
        self.table.add(batch["name"], self.model.drawing.encode(batch))

    def share(self):
        """What another process needs of this one: its features and its notes."""
        return self.table, self.model.notes

    def extend(self, share) -> None:
        """Take in another process's share."""
        table, notes = share
        self.table.extend(table)
        self.model.notes += [note for note in notes if note not in self.model.notes]

    def write(self, folder: Path, dataset) -> None:
        """Cluster the features and write what was found into an experiment's folder, the page last. dataset: of the photos."""
        sheet = RunFiles(folder / "styles")
        sheet.clear()  # that of earlier styles
        book = self._write_styles(folder)
        for note in self.model.notes:
            print(note)
        if not self.opt.no_style_sheet:
            self._draw_sheet(dataset, book, sheet)
        if strangers := sheet.strangers():
            print(strangers)

    def _write_styles(self, folder) -> StyleBook:
        opt, table = self.opt, self.table
        save_dict(folder / "features.npy", table.as_dict())
        path = folder / f"features_clustered_{opt.n_clusters:03d}.npy"
        book = StyleBook.find(table, path.name, opt.n_clusters, opt.seed, opt.spec.name_of,
                              self.model.drawing.encoder_digest())
        centres = book.centres()
        save_dict(path, centres)
        book = book.with_files(folder)
        book.write(folder / FILE_NAME)
        count = sum(map(len, centres.values()))
        print(f"{len(table.names)} pictures encoded: {count} styles of {len(centres)} classes in {path}")
        return book

    def _draw_sheet(self, dataset, book, files) -> None:
        """Draw the style sheet, where the generator is at hand; encoding itself does not need one."""
        try:
            if not self.model.load_generator():
                print("No style sheet: there is no generator beside the encoder")
                return
        except UserError as error:
            print(f"No style sheet: {error}")
            return
        draw_sheet(self.model, dataset, self.table, book, files)
