"""The journal of datasets.parse_faces, a row a portrait: what a second run skips, and which results should be looked at."""
from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import NamedTuple

from data.image_files import list_images
from data.pairing import composed
from datasets._folders import write_csv
from util.errors import UserError
from util.files import escaped, unescaped

MOST_MIRRORED = 0.25  # share of a portrait that may be mirrored border before it is listed as unsure


class Row(NamedTuple):
    """A row of the table: a portrait, or a photo without a face. All fields are text, '' if unknown.

    name: of its map and photo in the data root. photo: its file, relative to --images. face: how it was found, see
    `face_detection.read_portraits`, or 'none'. faces: the number of faces in the photo. mirrored: the share of the portrait
    that is mirrored border. agreement: see `FaceParser`.
    """

    name: str
    photo: str = ""
    face: str = ""
    faces: str = ""
    mirrored: str = ""
    agreement: str = ""

    @property
    def doubt(self) -> float:
        """The sort key of unsure rows, lowest first: no face, then the least agreement."""
        return float(self.agreement or 1) if self.face != "none" else -2.0


class Journal:
    """<phase>_parsing.csv, and <phase>_unsure.csv with those of its rows that should be looked at.

    Rows are appended as portraits are done, so that none is lost if the run is killed; `write_tables` sorts them.
    """

    def __init__(self, out: Path, phase: str, least: float):
        """least: the agreement below which a map is listed as unsure."""
        self.path, self.unsure_path, self.least = out / f"{phase}_parsing.csv", out / f"{phase}_unsure.csv", least
        self.rows = self._read()
        labels = out / f"{phase}_label"
        self.labels = set(list_images(labels)) if labels.is_dir() else set()
        self.written = 0

    def _read(self) -> dict[str, Row]:
        if not self.path.is_file():
            return {}
        with open(self.path, encoding="utf-8", newline="") as stream:
            header, *rows = [[unescaped(cell) for cell in row] for row in csv.reader(stream)] or [[]]
        rows = [dict(zip(header, row)) for row in rows if len(row) == len(header)]  # a killed run's last one may be incomplete
        return {row["name"]: Row(**{key: row.get(key, "") for key in Row._fields}) for row in rows if "name" in row}

    def names_of(self, photos, every: bool) -> dict[str, str]:
        """{photo: the name of its portrait, or with `every` the prefix of the names of its portraits}.

        It is the photo's path without extension, or with it ('a_png') if another photo has that name, from an earlier run or
        as an earlier one of `photos`.
        """
        there = set(photos)
        names = {row.photo: row.name.rpartition("_")[0] if every and row.face != "none" else row.name
                 for row in self.rows.values() if row.photo in there}
        taken = set(names.values())
        for photo in photos:
            if photo not in names:
                stem, extension = os.path.splitext(composed(photo))
                names[photo] = stem if stem not in taken else f"{stem}_{extension[1:]}"
                while names[photo] in taken:
                    names[photo] += "_"
                taken.add(names[photo])
        return {photo: names[photo] for photo in photos}

    def undone(self, names: dict[str, str], every: bool) -> list[str]:
        """The photos that still lack a map, or with `every` one of their maps; those without a face are done."""
        of_photo: dict[str, list[Row]] = {}
        for row in self.rows.values():
            of_photo.setdefault(row.photo, []).append(row)
        return [photo for photo, name in names.items() if not self._is_done(of_photo.get(photo, []), name, every)]

    def _is_done(self, rows: list[Row], name: str, every: bool) -> bool:
        if any(row.face == "none" for row in rows):
            return True
        if not every:
            return name in self.labels
        return bool(rows) and len(rows) >= int(rows[0].faces or 1) and all(row.name in self.labels for row in rows)

    def add(self, row: Row) -> None:
        """Append a row to the file."""
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerow([escaped(cell) for cell in row])
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); free some space") from error
        self.rows[row.name] = row

    def faceless(self) -> list[Row]:
        """Photos in which no face was found."""
        return [row for row in self.rows.values() if row.face == "none"]

    def disagreeing(self) -> list[Row]:
        """Portraits whose map agrees less than `least` with that of their mirror image."""
        return [row for row in self.rows.values() if row.agreement and float(row.agreement) < self.least]

    def mirrored(self) -> list[Row]:
        """Portraits of which more than MOST_MIRRORED is mirrored border."""
        return [row for row in self.rows.values() if row.mirrored and float(row.mirrored) > MOST_MIRRORED]

    def unsure(self) -> dict[str, Row]:
        """{name: row} of the portraits that should be looked at."""
        return {row.name: row for row in (*self.faceless(), *self.disagreeing(), *self.mirrored())}

    def by_doubt(self) -> list[Row]:
        """All rows: the unsure ones first, and the most doubtful of them first."""
        unsure = self.unsure()
        return sorted(self.rows.values(), key=lambda row: (row.name not in unsure, row.doubt, row.name))

    def groups(self) -> dict[str, int]:
        """{photo: number of faces} of the photos with several."""
        return {row.photo: int(row.faces) for row in self.rows.values() if row.faces and int(row.faces) > 1}

    def write_tables(self, photos) -> None:
        """Rewrite both tables: the first in the order of the photos, the other with the most doubtful rows first."""
        place = {photo: i for i, photo in enumerate(photos)}
        rows = sorted(self.rows.values(), key=lambda row: (place.get(row.photo, len(place)), len(row.name), row.name))
        write_csv(self.path, Row._fields, rows)
        write_csv(self.unsure_path, Row._fields, self.by_doubt()[:len(self.unsure())])
