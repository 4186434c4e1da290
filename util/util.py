"""Converting tensors and label maps to pictures (uint8 RGB arrays), palettes, saving pictures, and safe file names.

Only NumPy and Pillow are imported, not torch.
"""
from __future__ import annotations

import hashlib
import os
import re

import numpy as np
from PIL import Image

from util.files import atomic_path

_PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
_LONGEST_STEM = 180  # bytes; file systems allow 255, with suffixes such as `_synthesized_image.jpg`
# Ids 0-33 of Cityscapes and last its licence plate (-1): https://www.cityscapes-dataset.com
_CITYSCAPES = (
    *[(0, 0, 0)] * 5, (111, 74, 0), (81, 0, 81), (128, 64, 128), (244, 35, 232), (250, 170, 160), (230, 150, 140),
    (70, 70, 70), (102, 102, 156), (190, 153, 153), (180, 165, 180), (150, 100, 100), (150, 120, 90), (153, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
    (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 0, 90), (0, 0, 110), (0, 80, 100), (0, 0, 230),
    (119, 11, 32), (0, 0, 142))


def tensor2im(image_tensor, imtype=np.uint8, normalize=True):
    """Convert a picture tensor to an array.

    Args:
        image_tensor: (C, H, W), any floating type, on any device, or a list of such. Values in [-1, 1], or in
            [0, 1] with `normalize=False`; others are clipped, NaN is black. If C is not 3, the first channel is shown in grey.
        imtype: dtype of the result. Values are truncated, not rounded.

    Returns:
        (H, W, 3) array with values 0..255; a list of them for a list.
    """
    if isinstance(image_tensor, (list, tuple)):
        return [tensor2im(one, imtype, normalize) for one in image_tensor]
    image = image_tensor.detach().cpu().float().numpy().transpose(1, 2, 0)
    image = (image + 1) / 2.0 * 255.0 if normalize else image * 255.0
    image = np.nan_to_num(np.clip(image, 0, 255)).astype(imtype)
    return image if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)


def tensor2label(label_tensor, n_label, imtype=np.uint8, colors=None):
    """Colour a label map.

    Args:
        label_tensor: (1, H, W) class ids, or (C, H, W) one-hot or scores, C > 1. Ids outside 0..n_label-1 are black.
        n_label: number of classes; 0 means that the tensor is a picture, for `tensor2im`.
        colors: RGB (0..255) of the first classes, instead of the palette's.

    Returns:
        (H, W, 3) array of `imtype`.
    """
    if n_label == 0:
        return tensor2im(label_tensor, imtype)
    label = label_tensor.detach().cpu()
    ids = (label.float().argmax(0) if label.shape[0] > 1 else label[0].long()).numpy()
    colours = np.concatenate([palette(n_label, colors), np.zeros((1, 3), np.uint8)])  # the last one: out of range
    ids = np.where((ids >= 0) & (ids < n_label), ids, n_label)
    return colours[ids].astype(imtype)


def labelcolormap(N):
    """The palette of N classes: (N, 3) uint8 RGB. Cityscapes' own colours for 35, else PASCAL VOC's bit pattern.

    The pattern: bits 0, 1, 2 of the id are the highest bits of red, green, blue, bits 3, 4, 5 the next, and so on.
    """
    if len(_CITYSCAPES) == N:
        return np.array(_CITYSCAPES, dtype=np.uint8)
    ids = np.arange(N)[:, None]
    channel = np.arange(3)
    colours = np.zeros((N, 3), dtype=np.int64)
    for place in range(7):
        colours |= ((ids >> (3 * place + channel)) & 1) << (7 - place)
    return colours.astype(np.uint8)


def palette(n_label, colors=None):
    """(n_label, 3) uint8: `labelcolormap`, with its first rows replaced by the dataset's own `colors`, if any."""
    colours = labelcolormap(n_label)
    if colors is not None and len(colors):
        own = np.asarray(colors, dtype=np.uint8).reshape(-1, 3)[:n_label]
        colours[:len(own)] = own
    return colours


def legend_entries(ids, n_label, names=None, colors=None):
    """The legend of the classes in `ids`: [(name, (r, g, b)), ...], sorted by id.

    Args:
        ids: ids in any order, with repetitions, such as a label map; those outside 0..n_label-1 are left out.
        names: class names by id; the default is the id.
    """
    colours = palette(n_label, colors)
    names = list(names or [])
    return [(str(names[i]) if i < len(names) else str(i), tuple(int(c) for c in colours[i]))
            for i in (int(i) for i in np.unique(np.asarray(ids))) if 0 <= i < n_label]


def save_image(image_numpy, image_path):
    """Save an (H, W, 3) or (H, W) uint8 array atomically, in the format of the suffix, with Pillow's defaults.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_path(image_path) as temporary:
        Image.fromarray(image_numpy).save(temporary)


def stretch(image_numpy, aspect_ratio):
    """(H, W, 3) uint8 with its width multiplied by `aspect_ratio` if that is over 1, else its height divided by it."""
    if aspect_ratio <= 0:
        raise ValueError(f"aspect_ratio is a positive number, not {aspect_ratio}")
    height, width = image_numpy.shape[:2]
    if aspect_ratio > 1:
        width = int(width * aspect_ratio)
    else:
        height = int(height / aspect_ratio)
    if (height, width) == image_numpy.shape[:2]:
        return image_numpy
    return np.asarray(Image.fromarray(image_numpy).resize((width, height), Image.Resampling.BICUBIC))


def safe_stem(name) -> str:
    """A picture's name as the start of a file name in a flat folder: 'a/b.png' -> 'a_b'.

    Spaces, quotes and other letters are kept, so that users recognise their names; folders, '..' and control characters are
    removed, so that no name leads out of the folder. A byte that is no UTF-8 becomes '%C4'. A name that is too long is
    truncated and made unique by a hash.
    """
    name = os.fspath(name)
    root, suffix = os.path.splitext(name)
    if suffix.lower() in _PICTURE_SUFFIXES:  # only these: 'Mr. Smith' has no extension
        name = root
    parts = [part for part in re.split(r"[/\\]+", name) if part.strip() not in {"", ".", ".."}]
    # bytes that are no UTF-8 are surrogates in Python, which addresses on a page cannot contain
    flat = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xdc00:02X}", "_".join(parts))
    flat = flat.encode("utf-8", "replace").decode("utf-8")
    stem = re.sub(r"[\x00-\x1f\x7f]", "_", flat).lstrip(".") or "picture"
    raw = stem.encode("utf-8")
    if len(raw) > _LONGEST_STEM:
        stem = f"{raw[:_LONGEST_STEM - 9].decode('utf-8', 'ignore')}-{hashlib.sha1(raw).hexdigest()[:8]}"
    return stem


class UniqueStems:
    """Makes the stems of one folder unique, in the order of calls: 'a/b', 'a_b' -> 'a_b', 'a_b-2'."""

    def __init__(self):
        self._taken: set[str] = set()

    def __call__(self, name) -> str:
        base = stem = safe_stem(name)
        number = 2
        while stem in self._taken:
            stem, number = f"{base}-{number}", number + 1
        self._taken.add(stem)
        return stem
