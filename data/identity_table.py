"""identities.csv of a data root: who each photo shows."""
from __future__ import annotations

import csv
from pathlib import Path

from data.pairing import composed, strip_extension
from util.errors import UserError

FILE = "identities.csv"


def read_identities(root, phase: str) -> dict[str, str] | None:
    """{photo's name without extension: identity} of one phase; None where the root has no table.

    The table's columns are name, split and identity, or name and identity. Raises UserError naming the file and line.
    """
    path = Path(root) / FILE
    if not path.is_file():
        return None
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); restore it") from error
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path}: is no table of text; write it anew") from None
    split = len(header) == 3
    if header not in (["name", "split", "identity"], ["name", "identity"]):
        raise UserError(f"{path}: its first line is '{','.join(header)[:60]}', not name,split,identity; write it anew")
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        if len(row) != len(header) or not row[-1].strip():
            raise UserError(f"{path}: row {number} is '{','.join(row)[:60]}', not {','.join(header)}; mend it")
        if split and row[1] != phase:
            continue
        name = strip_extension(composed(row[0]))
        if name in found:
            raise UserError(f"{path}: row {number} names {row[0]} twice; remove one of the two")
        found[name] = row[-1].strip()
    return found
