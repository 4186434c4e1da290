"""The page of an evaluation: its figures, tables by class and part, the worst and the best pictures by each figure."""
from __future__ import annotations

from pathlib import Path

from util.evaluation import RECORD, extremes, shown, spread_names
from util.html import HTML
from util.progress import Progress
from util.run_files import RunFiles
from util.util import UniqueStems, safe_stem, save_image

_TABLES = {"by_class": "class", "by_part": "part", "by_level": "pixels a side", "by_attribute": "attribute"}
_COLUMNS = {"region_color_error": "colour error", "iou": "IoU", "ssim": "SSIM", "swd": "SWD x 1000", "share": "share of pixels",
            "frequency": "share asked for or true", "turned_right": "found when turned", "others_changed": "others changed"}


def save_pictures(folder, record: dict, visuals) -> dict[str, dict[str, str]]:
    """Write the pictures that a page shows: {name: {what: file in images/}}; what an earlier evaluation wrote goes.

    visuals: function of a name, {what: (H, W, 3) uint8}. Raises UserError.
    """
    files, stem, saved = RunFiles(folder), UniqueStems(), {}
    HTML(folder, "")  # makes the folders
    files.clear()
    wanted = {name for pair in extremes(record).values() for names in pair for name in names} | {*spread_names(record)}
    print(f"Writing the page, with {len(wanted)} pictures")
    with Progress(len(wanted)) as bar:
        for row in record["each"]:  # whose order decides which of two alike names gets the plain file name
            if row["name"] in wanted:
                name, saved[row["name"]] = stem(row["name"]), {}
                for what, image in visuals(row["name"]).items():
                    file = f"{name}_{safe_stem(what)}.jpg"
                    with files.writing(f"images/{file}") as path:
                        save_image(image, path)
                    saved[row["name"]][what] = file
                bar.update()
    files.finish()
    return saved


def write_page(folder, record: dict, introduce) -> Path:
    """Write the page of a finished evaluation into the folder of its pictures; gives the page. Raises UserError.

    introduce: function of a page, its path and further facts; it adds what the page says about itself.
    """
    page, path = HTML(folder, f"Evaluation of {record['title']}"), Path(folder) / "index.html"
    introduce(page, path, [("figures", f"../{RECORD}"), *((what, digest[:8]) for what, digest in record["weights"].items())])
    for note in record["notes"]:
        page.add_note(note)
    _add_figures(page, record)
    _add_missing(page, record)
    _add_tables(page, record)
    _add_extremes(page, record)
    page.save()
    return path


def _add_figures(page, record):
    """Large numbers of the main figures, and a table of all with what the true pictures would get."""
    figures, values = record["figures"], record["values"]
    page.add_figures([(shown(values[key], figures[key]), figures[key]["title"]) for key in figures
                      if values[key] is not None and not key.startswith(("ssim_", "sharpness_"))]
                     + [(record["pictures"], "pictures")])
    rows = [(figures[key]["title"], shown(values[key], figures[key]), shown(record["of_truth"].get(key), figures[key]),
             _interval(record, key)) for key in figures]
    sure = any(interval for *_, interval in rows)
    page.add_table(["figure", record["name"], "true pictures", "95 % interval"][:3 + sure], [row[:3 + sure] for row in rows])


def _interval(record, key) -> str:
    """KID's own interval; other figures have one only where two experiments are compared."""
    found = next((one[f"{key}_interval"] for one in record["metrics"].values() if one.get(f"{key}_interval")), None)
    return f"{shown(found[0], record['figures'][key])} to {shown(found[1], record['figures'][key])}" if found else ""


def _add_missing(page, record):
    if record["not_computed"]:
        page.add_header("Not computed")
        page.add_table(["figure", "why"], list(record["not_computed"].items()))


def _add_tables(page, record):
    """By class, part and level: whatever the metrics tell apart, with the same of the true pictures where it is known."""
    for summary in record["metrics"].values():
        for key, what in _TABLES.items():
            if not summary.get(key):
                continue
            truth = (summary.get("true") or {}).get(key, {})
            columns = list(next(iter(summary[key].values())))
            names = [_COLUMNS.get(column, column) for column in columns]
            more = [f"{names[0]} of the true pictures"] if truth else []
            rows = [[name, *entry.values(), *([truth.get(name, {}).get(columns[0])] if truth else [])]
                    for name, entry in summary[key].items()]
            page.add_table([what, *names, *more], rows, summary=f"{names[0][0].upper()}{names[0][1:]} by {what}")


def _add_extremes(page, record):
    """The worst and the best pictures by each figure, folded away but for the first."""
    for number, (key, (worst, best)) in enumerate(extremes(record).items()):
        figure, values = record["figures"][key], {row["name"]: row.get(key) for row in record["each"]}
        if not number:
            page.add_header("The worst and the best pictures")
        summary = f"{figure['title']}: from {shown(values[worst[0]], figure)} to {shown(values[best[0]], figure)}"
        with page.folded(summary, is_open=not number):
            for what, names in (("The worst first", worst), ("The best first", best)):
                page.add_paragraph(what)
                page.add_gallery([(name, shown(values[name], figure),
                                   [(file, label.replace("_", " ")) for label, file in record["shown"].get(name, {}).items()])
                                  for name in names])
