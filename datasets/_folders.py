"""Writing a data root: its dataset.json, and pictures and tables, atomically."""
from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from data.dataset_spec import FILE_NAME, DatasetSpec
from util.errors import UserError
from util.files import atomic_write, escaped, make_folder, read_json, write_bytes, write_json

JPEG_QUALITY = 95


def start_root(out, spec: DatasetSpec, settings: dict, earlier: dict | None = None) -> Path:
    """Create a data root, or continue one that an earlier run of the same command began.

    settings: what must be the same in all runs ({'program': ..., 'size': ...}); kept in dataset.json as 'prepared'.
    earlier: settings that older versions did not record, and the values they used.
    Raises UserError if `out` was made with other settings, or has a dataset.json of other origin.
    """
    out = make_folder(out)
    if (out / FILE_NAME).is_file():
        _refuse_other(out, spec, settings, earlier or {})
    else:
        write_json(out / FILE_NAME, {**spec.as_dict(), "prepared": settings})
    return out


def _refuse_other(out: Path, spec: DatasetSpec, settings: dict, earlier: dict) -> None:
    raw = read_json(out / FILE_NAME)
    before = raw.get("prepared") if isinstance(raw, dict) else None
    if not isinstance(before, dict):
        raise UserError(f"--out {out}: holds a {FILE_NAME} that this program did not write; choose another folder")
    scheme = str(raw.get("scheme", ""))
    if scheme != spec.scheme:
        raise UserError(f"--out {out}: is numbered '{scheme or 'otherwise'}', not '{spec.scheme or 'otherwise'}'; pass "
                        f"--scheme {scheme or 'of that folder'} or choose another folder")
    before = {**earlier, **before}
    for key in {**before, **settings}:
        if before.get(key) != settings.get(key):
            raise UserError(f"--out {out}: was made with {key} {before.get(key)}, not {settings.get(key)}; continue "
                            "with the same, or choose another folder")


def file_names(folder: Path) -> set[str]:
    """The names in a folder, or none if it does not exist. One listing is faster than a lookup for each file."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def write_ids(path, ids: np.ndarray) -> None:
    """Save an (H, W) map of ids as PNG: 8 bits where they fit, else 16. Raises UserError for ids that fit neither."""
    if ids.size and (ids.min() < 0 or ids.max() > 65535):
        raise UserError(f"{path}: ids from {ids.min()} to {ids.max()} do not fit a PNG; they go from 0 to 65535")
    ids = ids.astype(np.uint8 if not ids.size or ids.max() < 256 else np.uint16)
    with atomic_write(path) as stream:
        # level 4: two thirds of the default's time for a file a few percent larger
        Image.fromarray(ids).save(stream, format="PNG", compress_level=4)


def write_photo(path, image: Image.Image) -> None:
    """Save an RGB picture as JPEG of quality 95 without chroma subsampling."""
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    write_bytes(path, data.getbuffer())


def write_csv(path, header, rows) -> None:
    """Save a table as UTF-8 CSV with a header line, atomically; file names that are no UTF-8 as by `util.files.escaped`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(path, escaped(text.getvalue()).encode())
