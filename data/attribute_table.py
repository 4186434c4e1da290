"""attributes.csv of a data root, or CelebA's own list_attr_celeba: which of some named attributes each photo has."""
from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.pairing import composed, strip_extension
from util.errors import UserError, first_few

FILES = ("attributes.csv", "list_attr_celeba.txt", "list_attr_celeba.csv")  # the first that is there is read


@dataclass(frozen=True)
class AttributeTable:
    """names: of the attributes. rows: {(split, photo's name without extension): (A,) bool}; split is '' where it names none."""

    path: Path
    names: tuple[str, ...]
    rows: dict[tuple[str, str], np.ndarray]

    @classmethod
    def find(cls, root) -> AttributeTable | None:
        """The table of a data root; None where it has none. Raises UserError naming the file and line."""
        path = next((path for path in (Path(root) / name for name in FILES) if path.is_file()), None)
        return path and cls.read(path)

    @classmethod
    def read(cls, path) -> AttributeTable:
        """Read a table of either form.

        CSV: a line of column names, the first 'name' (or 'image_id'), perhaps a second 'split', then the attributes; text: the
        number of rows, the attributes' names, and rows, all parted by spaces. Of an attribute 1 says yes, 0 and -1 no.
        """
        lines = list(_lines(path))
        if Path(path).suffix == ".txt" and lines and len(lines[0][1]) == 1 and lines[0][1][0].isdigit():
            del lines[0]  # the number of rows, which mirrors of a subset keep from the original
        if not lines:
            raise UserError(f"{path}: is empty; write it anew")
        (_, header), *lines = lines
        header = header if Path(path).suffix == ".csv" else ["name", *header]
        split = header[1:2] == ["split"]
        names = tuple(header[1 + split:])
        if header[0].isdigit() or not names or len(set(names)) != len(names) or not all(names):
            raise UserError(f"{path}: its first line names no columns, such as name,split,Smiling,Eyeglasses; write it anew")
        rows = {}
        for number, row in lines:
            if len(row) != len(header) or not set(row[1 + split:]) <= {"1", "0", "-1"}:
                raise UserError(f"{path}: line {number} is '{','.join(row)[:60]}', not a name{' and a split' * split} and "
                                f"{len(names)} of 1 and 0 (or -1); mend it")
            key = row[1] if split else "", strip_extension(composed(row[0]))
            if key in rows:
                raise UserError(f"{path}: line {number} names {row[0]} twice; remove one of the two")
            rows[key] = np.array([value == "1" for value in row[1 + split:]])
        return cls(Path(path), names, rows)

    def of(self, phase: str, name: str) -> np.ndarray | None:
        """(A,) bool of a photo, or None."""
        found = self.rows.get((phase, name))
        return self.rows.get(("", name)) if found is None else found

    def columns(self, names) -> list[int]:
        """The columns of attributes. Raises UserError for a name that it lacks."""
        if unknown := [name for name in names if name not in self.names]:
            raise UserError(f"--attributes {','.join(names)}: {self.path} has no column {first_few(unknown)}; it has "
                            f"{first_few(self.names, 40)}")
        return [self.names.index(name) for name in names]

    def varying(self, phase: str) -> list[str]:
        """The attributes that some photos of a phase have and others lack."""
        rows = [row for (split, _), row in self.rows.items() if split in ("", phase)]
        share = np.mean(rows, 0) if rows else np.zeros(len(self.names))
        return [name for name, one in zip(self.names, share) if 0 < one < 1]


def _lines(path):
    """(number, cells) of each line that is not blank."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if Path(path).suffix == ".csv":
                yield from ((reader.line_num, row) for reader in [csv.reader(file)] for row in reader if row)
            else:
                yield from ((i, line.split()) for i, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); restore it") from error
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path}: is no table of text; write it anew") from None
