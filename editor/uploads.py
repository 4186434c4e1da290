"""Uploads as checked values: label maps, photos, styles, numbers."""
from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

from data.image_files import image_size, read_image
from util.errors import UserError

MAX_SIDE = 2048  # pixels of a label map, which is drawn as it is
MAX_PHOTO = 48 << 20  # pixels of a photo, which is scaled down
SHOWN_PHOTO = 1024  # longer side in pixels of the photos that the page gets
MAX_STYLES = 1 << 16  # characters


def checked_label(raw: bytes, label_maps) -> np.ndarray:
    """A label map's file -> (H, W) ids 0 to channels - 1. Raises UserError for what the loader refuses, and large maps."""
    width, height = image_size(io.BytesIO(raw), "label")
    if max(width, height) > MAX_SIDE:
        raise UserError(f"label: is {width}x{height}; at most {MAX_SIDE} a side are drawn here, so scale it down (with nearest "
                        "neighbour)")
    return label_maps.read(io.BytesIO(raw), "label")


def checked_photo(raw: bytes, name: str = "photo") -> Image.Image:
    """A photo's file -> RGB, upright, its longer side at most SHOWN_PHOTO pixels. Raises UserError."""
    width, height = image_size(io.BytesIO(raw), name)
    if width * height > MAX_PHOTO:
        raise UserError(f"{name}: {width}x{height} is more than {MAX_PHOTO >> 20} Mpixel; scale it down")
    scale = min(1.0, SHOWN_PHOTO / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = read_image(io.BytesIO(raw), draft_size=size, name=name)
    return photo if scale == 1 else photo.resize(size, Image.Resampling.BICUBIC)


def checked_styles(text: str) -> dict:
    """JSON {class: style} -> what Predictor takes; it checks classes and styles itself. Raises UserError."""
    if not text:
        return {}
    if len(text) > MAX_STYLES:
        raise UserError(f"styles: has {len(text)} characters; at most {MAX_STYLES} are read")
    try:
        styles = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError('styles: is no JSON; write it like {"hair": 3, "cloth": "random"}') from None
    if not isinstance(styles, dict):
        raise UserError(f"styles: is a {type(styles).__name__}; write an object such as {{\"hair\": 3}}")
    for name, style in styles.items():
        numbers = isinstance(style, list) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in style)
        if isinstance(style, bool) or not (isinstance(style, (int, str)) or numbers):
            raise UserError(f"styles: that of {name[:40]!r} is {str(style)[:40]!r}; give a number from the style sheet, "
                            "'random', or a list of numbers")
        if isinstance(style, int) and abs(style) > 1 << 31 or numbers and any(abs(v) > 1e6 for v in style):
            raise UserError(f"styles: that of {name[:40]!r} holds a number beyond all bounds")
    return styles


def png(values) -> bytes:
    """A picture, or ids (H, W) uint8, as PNG: with little compression, which is fast."""
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def jpeg(image: Image.Image) -> bytes:
    """A picture as JPEG, for thumbnails."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=85)
    return stream.getvalue()
