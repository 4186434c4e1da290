"""Reading the text tables of face data sets: names in the first column, numbers in the others."""
from __future__ import annotations

from util.errors import UserError
from util.files import read_lines


def read_table(path, columns: int | None = None, header: bool = True) -> tuple[list[str], dict[str, list[int]]]:
    """Read 'name number number ...' rows: (names of the columns, {name: numbers}).

    Reads the published form (a line with the number of rows, a line with the column names, then rows separated by spaces) and
    the comma-separated form of mirrors, with or without those first lines.
    columns: how many numbers a row must have (default: one for each column name). header: whether column names are required.
    Raises UserError naming the file and line.
    """
    rows = [line.replace(",", " ").split() for line in read_lines(path)]
    at, names = 0, []
    if len(rows[0]) == 1 and rows[0][0].isdigit():
        at = 1  # the number of rows, which is not checked, as mirrors of a subset keep the original one
    if at >= len(rows):
        raise UserError(f"{path}: holds a count and no rows; fetch the file again")
    if header or not _is_number(rows[at][-1]):
        if _is_number(rows[at][-1]):
            raise UserError(f"{path}: line {at + 1} holds no column names; fetch the file again")
        names = rows[at]
        at += 1
    if names and at < len(rows) and len(names) == len(rows[at]):
        names = names[1:]  # comma-separated tables name the first column too
    width = columns if columns is not None else len(names)
    table: dict[str, list[int]] = {}
    for number, row in enumerate(rows[at:], at + 1):
        if len(row) != width + 1 or not all(_is_number(word) for word in row[1:]):
            raise UserError(f"{path}: row {number} is '{' '.join(row)[:60]}', not a name and {width} whole numbers; "
                            "fetch the file again")
        if row[0] in table:
            raise UserError(f"{path}: names {row[0]} twice; fetch the file again")
        table[row[0]] = [int(word) for word in row[1:]]
    return names, table


def _is_number(word: str) -> bool:
    return word.lstrip("+-").isdigit()
