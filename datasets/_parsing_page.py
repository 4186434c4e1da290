"""The page of datasets.parse_faces: each photo with its label map and the map laid over it, the most doubtful first."""
from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageOps

from data.dataset_spec import DatasetSpec
from data.image_files import read_image, read_label
from datasets._parsing_journal import MOST_MIRRORED, Journal, Row
from util.errors import UserError
from util.html import HTML
from util.overlay import overlay
from util.run_files import RunFiles
from util.util import UniqueStems, legend_entries, palette, save_image

SHOWN = 200  # portraits on the page
_SIDE = 256  # of its pictures, in pixels
_ALIGNED = {"eyes": "aligned by both eyes", "box": "aligned by the face's square, as its eyes were not sure",
            "given": "aligned by given landmarks", "middle": "the photo's middle, not aligned",
            "none": "no face found, left out"}


def write_page(out, phase: str, journal: Journal, images, facts=()) -> Path:
    """Write <phase>_parsed/index.html into a data root; returns its path.

    images: the folder of the photos, for those that the data root has no copy of. facts: how the page was made, see
    `util.page_facts`. A row of the journal whose files are gone or cannot be read is left out.
    Raises UserError if files cannot be written.
    """
    folder = Path(out) / f"{phase}_parsed"
    page, files, stems = HTML(folder, f"Label maps of {Path(out).name}, {phase}"), RunFiles(folder), UniqueStems()
    files.clear()
    spec, classes, rows = DatasetSpec.read(out), set(), []
    for row in _chosen(journal):
        if pictures := _pictures(Path(out), phase, row, Path(images), spec, classes):
            rows.append((row, _save(files, stems(row.name), pictures)))
    _head(page, journal, spec, classes, len(rows), facts)
    for row, (names, captions) in rows:
        page.add_images(names, captions, names, _SIDE, heading=row.name, remark=_remark(row))
    with files.writing("index.html"):
        page.save()
    files.finish()
    return folder / "index.html"


def _chosen(journal: Journal) -> list[Row]:
    """The rows to show: portraits by doubt, then photos without a face, which are left out of the data root anyway."""
    faceless = journal.faceless()[:SHOWN // 4]
    return [row for row in journal.by_doubt() if row.face != "none"][:SHOWN - len(faceless)] + faceless


def _head(page: HTML, journal: Journal, spec: DatasetSpec, classes, shown: int, facts) -> None:
    agreements = [float(row.agreement) for row in journal.rows.values() if row.agreement]
    if facts:
        page.add_facts(facts)
    page.add_paragraph("Agreement is that of a map with the map of the photo's mirror image: 1 for equal maps, 0 for chance. "
                       "A low one means a bad map, a high one not always a good one: look whether borders lie on those of the "
                       "photo. Remove the map and the photo of what should not be learnt from.")
    page.add_figures([(len(journal.rows) - len(journal.faceless()), "label maps"),
                      (median(agreements) if agreements else None, "median agreement"),
                      (len(journal.disagreeing()), f"with an agreement below {journal.least:g}"),
                      (len(journal.mirrored()), f"cut so close that over {MOST_MIRRORED:.0%} is mirrored border"),
                      (len(journal.faceless()), "photos without a face that could be found")])
    if shown < len(journal.rows):
        page.add_note(f"{shown:,} of {len(journal.rows):,} are shown, the most doubtful; all are in {journal.path.name}.")
    count = spec.label_nc or len(spec.labels)
    page.add_legend(legend_entries(sorted(classes), count, spec.class_names, spec.class_colors))


def _pictures(out: Path, phase: str, row: Row, images: Path, spec: DatasetSpec, classes: set) -> dict[str, np.ndarray]:
    """{caption: (H, W, 3) uint8} of a portrait; adds the classes that it shows to `classes`. {} if files are missing."""
    photo = out / f"{phase}_img" / f"{row.name}.jpg"
    try:
        shown = read_image(photo if photo.is_file() else images / row.photo)
        if row.face == "none":
            return {"photo": np.asarray(ImageOps.contain(shown, (_SIDE, _SIDE)))}
        ids = read_label(out / f"{phase}_label" / f"{row.name}.png")
    except UserError:
        return {}
    side = min(_SIDE, *ids.shape)
    pixels = np.asarray(ImageOps.fit(shown, (side, side), Image.Resampling.BICUBIC))
    ids = np.asarray(Image.fromarray(ids.astype(np.int32)).resize((side, side), Image.Resampling.NEAREST))
    classes.update(np.unique(ids).tolist())
    colors = palette(max(spec.label_nc or len(spec.labels), int(ids.max()) + 1), spec.class_colors)[ids]
    return {"photo": pixels, "label map": colors, "overlay": overlay(pixels, colors, ids == 0)}


def _save(files: RunFiles, stem: str, pictures: dict[str, np.ndarray]) -> tuple[list[str], list[str]]:
    """Write a portrait's pictures; returns their file names and captions."""
    names = [f"{stem}_{caption.replace(' ', '_')}.jpg" for caption in pictures]
    for name, image in zip(names, pictures.values()):
        with files.writing(f"images/{name}") as path:
            save_image(image, path)
    return names, list(pictures)


def _remark(row: Row) -> str:
    """'agreement 0.93 · aligned by both eyes · 12% mirrored border · 3 faces'."""
    mirrored, faces = float(row.mirrored or 0), int(row.faces or 1)
    return " · ".join([*([f"agreement {float(row.agreement):.2f}"] if row.agreement else []), _ALIGNED.get(row.face, row.face),
                       *([f"{mirrored:.0%} mirrored border"] if mirrored >= 0.005 else []),
                       *([f"{faces} faces"] if faces > 1 else [])])
