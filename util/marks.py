"""Marks in picture files that say that a picture was made by a program: a text chunk in PNG, a comment in JPEG."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from util.files import atomic_path

MADE = "Made by a program: no such picture was taken."


def save_made(picture, path) -> None:
    """Save a picture, PIL's or (H, W, 3) uint8, atomically with the mark, in the format of the suffix. Raises UserError."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if Path(path).suffix.lower() == ".png":
        info = PngInfo()
        info.add_text("Comment", MADE)
        how = {"pnginfo": info}
    else:
        how = {"comment": MADE.encode()} if Path(path).suffix.lower() in (".jpg", ".jpeg") else {}
    with atomic_path(path) as temporary:
        picture.save(temporary, **how)


def mark_of(path) -> str:
    """The mark of a file, or ''."""
    with Image.open(path) as picture:
        found = picture.info.get("Comment") or picture.info.get("comment") or b""
    found = found.decode(errors="replace") if isinstance(found, bytes) else found
    return found if found == MADE else ""


def marked(picture: np.ndarray) -> Image.Image:
    """(H, W, 3) uint8 as a PIL picture whose JPEG files get the mark by themselves."""
    made = Image.fromarray(picture)
    made.info["comment"] = MADE.encode()
    return made
