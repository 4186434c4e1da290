"""The page of a comparison: its tables, and the same label maps in rows, experiments in columns."""
from __future__ import annotations

import shutil
from pathlib import Path

from util import page_facts
from util.comparison import tables
from util.evaluation import FOLDER, spread_names
from util.files import write_json
from util.html import HTML
from util.run_files import RunFiles
from util.util import UniqueStems

RECORD = "comparison.json"
_DRAWN = "synthesized_image"


def write_page(folder, comparison: dict, records: list[dict], folders: list[Path], command: str) -> Path:
    """Write index.html, comparison.json and copies of the pictures into a folder; gives the page. Raises UserError.

    records, folders: the evaluations, and where each has its evaluation.json.
    """
    names = comparison["names"]
    page, files = HTML(folder, f"Comparison of {', '.join(names)}"), RunFiles(folder)
    files.clear()
    with files.writing(RECORD) as path:
        write_json(path, comparison)
    page.add_facts(page_facts.of_command(f"python {command}", [("seed", str(comparison["seed"]))]))
    for title, headings, rows in tables(comparison):
        page.add_header(title)
        page.add_table(headings, rows)
    page.add_paragraph(f"Intervals: {comparison['resamples']:,} times, as many pictures were drawn from all of them, with "
                       "replacement; the same for all experiments and figures.")
    page.add_header("The same label maps, drawn by each")
    _add_rows(page, files, records, folders, names)
    with files.writing("index.html"):
        page.save()
    files.finish()
    return Path(folder) / "index.html"


def _add_rows(page, files, records, folders, names):
    """What the label maps' row begins and ends with is the first evaluation's."""
    stem = UniqueStems()
    for name in spread_names(records[0]):
        first, *others = (record["shown"].get(name, {}) for record in records)
        columns = [(0, what, what.replace("_", " ")) for what in first if what not in (_DRAWN, "real_image")]
        columns += [(i, _DRAWN, names[i]) for i, one in enumerate((first, *others)) if _DRAWN in one]
        columns += [(0, "real_image", "real image")] * ("real_image" in first)
        row, texts, base = [], [], stem(name)
        for i, what, text in columns:
            source = folders[i] / FOLDER / "images" / records[i]["shown"][name][what]
            if source.is_file():
                row.append(f"{base}_{i}_{what}.jpg")
                texts.append(text)
                with files.writing(f"images/{row[-1]}") as path:
                    shutil.copyfile(source, path)
        page.add_images(row, texts, row, 256, heading=name)
