"""Examining the contents of one scene's files: the part of a check that decodes pictures."""
from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from data.blends import find_blend
from data.dataset_spec import DONTCARE, FILE_NAME
from data.image_files import image_size, open_image, orientation, read_image, read_label, same_view
from data.label_maps import LabelMaps
from datasets._check_findings import ERROR, WARNING, Facts, Scene
from util.errors import UserError, first_few
from util.overlay import overlay

LEAST_SIDE = 32
_JPEG = (".jpg", ".jpeg", ".jfif")
_EXTENSIONS = {"PNG": (".png",), "JPEG": _JPEG, "MPO": _JPEG, "BMP": (".bmp",), "DIB": (".bmp",),
               "PPM": (".ppm", ".pgm", ".pbm"), "TIFF": (".tif", ".tiff"), "WEBP": (".webp",)}


def examine(scene: Scene, maps: LabelMaps | None, flip_pairs=(), names=()) -> Facts:
    """Open, decode and compare the files of a scene. maps: None if the number of classes is not known."""
    facts = Facts()
    label = _examine_label(scene.files.get("label"), maps, facts)
    sizes = {}
    for role in ("A", "img", "B"):
        if role in scene.files:
            sizes[role] = _examine_photo(scene.files[role], facts)
    if label is not None:
        # counting an id of billions would exhaust the memory; `label_fault` has reported it
        facts.counts = np.bincount(label[(label >= 0) & (label < 65536)])
        facts.sides = tuple(side(label, left, right) for left, right in flip_pairs)
        sizes["label"] = label.shape[::-1]
    if "inst" in scene.files:
        sizes["inst"] = _examine_instances(scene.files["inst"], label, names, facts)
    _compare_sizes(scene, {role: size for role, size in sizes.items() if size}, facts)
    return facts


def _examine_label(path: Path | None, maps: LabelMaps | None, facts: Facts) -> np.ndarray | None:
    """The ids of a label map, with a class for unlabelled pixels; None if it is missing or cannot be read."""
    if path is None:
        return None
    try:
        ids = read_label(path)
    except UserError as error:
        facts.add(ERROR, "unusable label map", error)
        return None
    fault = label_fault(path, ids, maps)
    if fault:
        facts.add(ERROR, "label out of range", fault)
    elif int(ids.min()) == int(ids.max()) and ids.size > 1:
        facts.add(WARNING, "one class only", f"{path}: holds nothing but label {ids.flat[0]}; look at it")
    _look_for_blend("label", ids, facts)
    _header_remarks(path, facts)
    return maps.merged(ids) if maps else ids


def _look_for_blend(role: str, ids: np.ndarray, facts: Facts) -> None:
    blend = find_blend(ids)
    if blend:
        facts.blends[role] = blend


def label_fault(path, ids: np.ndarray, maps: LabelMaps | None) -> str:
    """The message about ids that are out of range, with a likely reason; '' if there are none or the range is not known."""
    wrong = maps.outside(ids) if maps else []
    if not wrong:
        return ""
    present, label_nc, share = np.unique(ids), maps.classes, float(np.isin(ids, wrong).mean())
    if present.tolist() in ([0, 255], [255]):
        remedy = "this is a black-and-white mask: divide it by 255"
    elif present[0] < 0 or present[-1] >= 65536:
        remedy = "save whole ids from 0 up"
    elif wrong == [DONTCARE]:
        remedy = f'{DONTCARE} often marks pixels to ignore: train with --contain_dontcare_label, or write "dontcare": ' \
            f"{DONTCARE} into {FILE_NAME}"
    elif find_blend(ids):
        remedy = "they lie between those of both sides of a border: make the map again, scaled with nearest neighbour"
    elif len(wrong) > 40:
        remedy = "this looks like a grey photo, or like a map that was saved as JPEG once: make it again as PNG"
    elif wrong == [label_nc]:
        remedy = f"ids count from 0: subtract 1, or use --label_nc {label_nc + 1}"
    else:
        remedy = f"mend it, or use --label_nc {int(present.max()) + 1}"
    return (f"{path}: holds label {first_few(wrong)} in {share:.1%} of it, but label_nc {label_nc} allows {maps.allowed}; "
            f"{remedy}")


def side(label: np.ndarray, left: int, right: int) -> int:
    """-1 if the class `left` lies left of `right` in the picture, +1 if right of it, 0 if one is missing."""
    columns = np.arange(label.shape[1])
    middles = []
    for i in (left, right):
        weights = np.count_nonzero(label == i, axis=0)
        if not weights.any():
            return 0
        middles.append(float(np.average(columns, weights=weights)))
    return int(np.sign(middles[0] - middles[1]))


def _examine_photo(path: Path, facts: Facts):
    """The size of a photo after its EXIF orientation; None if it cannot be read."""
    try:
        size = image_size(path)
        # decoding at the smallest scale reads every byte, and so detects truncated files, at an eighth of the cost
        small = np.asarray(read_image(path, draft_size=(LEAST_SIDE, LEAST_SIDE)))
    except UserError as error:
        facts.add(ERROR, "unreadable photo", error)
        return None
    if (small == small[:1, :1]).all() and small.shape[0] * small.shape[1] > 1:
        facts.add(WARNING, "one colour only", f"{path}: is all of one colour {tuple(small[0, 0].tolist())}; look at it")
    if min(size) < LEAST_SIDE:
        facts.add(WARNING, "very small", f"{path}: is {size[0]}x{size[1]}; the networks halve it several times, so "
                                         f"give them at least {LEAST_SIDE} a side")
    facts.digest = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    facts.photo_mode = _header_remarks(path, facts)
    if facts.photo_mode in ("RGBA", "LA", "PA"):
        facts.add(WARNING, "transparency", f"{path}: has transparency, which is laid over white; save it without")
    elif facts.photo_mode == "CMYK":
        facts.add(WARNING, "print colours", f"{path}: is CMYK, whose colours come out only roughly; save it as RGB")
    return size


def _header_remarks(path: Path, facts: Facts) -> str:
    """Report a file whose extension does not match its format. Returns its mode."""
    with open_image(path) as image:
        if path.suffix.lower() not in _EXTENSIONS.get(image.format, ()):
            facts.add(WARNING, "misnamed", f"{path}: is a {image.format} file by its content; rename it")
        return image.mode


def _examine_instances(path: Path, label, names, facts: Facts):
    """The size of an instance map; None if it cannot be read."""
    try:
        ids = read_label(path)
    except UserError as error:
        facts.add(ERROR, "unusable instance map", error)
        return None
    if int(ids.min()) < 0:
        facts.add(ERROR, "negative instance", f"{path}: holds negative ids, down to {ids.min()}; number from 0")
    _look_for_blend("inst", ids, facts)
    if ids.min() >= 0 and label is not None and label.shape == ids.shape and label.min() >= 0:
        _find_mixed_instances(path, ids.astype(np.int64), label.astype(np.int64), names, facts)
    return ids.shape[::-1]


def _find_mixed_instances(path: Path, ids, label, names, facts: Facts) -> None:
    """Report instances that lie on several classes of the label map, as their features would be a mixture."""
    if np.array_equal(np.where(ids < 1000, ids, ids // 1000), label):
        return
    pairs, count = np.unique(ids * (label.max() + 1) + label, return_counts=True)
    instance, on = np.divmod(pairs, label.max() + 1)
    several = instance[1:][instance[1:] == instance[:-1]]
    if not len(several):
        return
    share = count[np.isin(instance, several)].sum() / ids.size
    shown = [names[i] if i < len(names) else i for i in on[instance == several[0]]]
    facts.add(WARNING, "instance on several classes",
              f"{path}: in {share:.1%} of it the instances lie on more than one class (id {several[0]} on "
              f"{first_few(shown, 3)}); give each instance one class, as class * 1000 + number does, or features mix classes")


def _compare_sizes(scene: Scene, sizes: dict, facts: Facts) -> None:
    """Report files whose aspect ratio differs from the label map's (or the input picture's), and note other sizes.

    A difference in EXIF orientation shows as a difference in aspect ratio, unless the pictures are square or upside down.
    """
    main = "label" if "label" in sizes else "A"
    if main not in sizes:
        return
    (width, height), turn = sizes[main], _turn(scene.files[main])
    for role, (w, h) in sizes.items():
        path, its_turn = scene.files[role], _turn(scene.files[role])
        other = f"{scene.files[main].name} in {scene.phase}_{main}"
        if not same_view((width, height), (w, h)):
            turned, straight = (path, scene.files[main]) if its_turn != 1 else (scene.files[main], path)
            apart = its_turn != turn and 1 in (its_turn, turn)
            why = f" ({turned.name} is turned by its EXIF orientation, {straight.name} is not)" if apart else ""
            facts.add(ERROR, "shapes differ", f"{path}: is {w}x{h}, {other} {width}x{height}{why}; the two must show the "
                                              "same view")
            continue
        if (w, h) != (width, height):
            facts.scaled[role] = (w, h), (width, height)
        if its_turn != 1 and turn == 1 and (w == h or its_turn < 5):  # else the aspect ratios show that both are upright
            facts.add(WARNING, "turned by EXIF", f"{path}: is turned by its EXIF orientation ({its_turn}), {other} is not; "
                      "look whether the two lie alike, and if not make the label map from the photo as it is seen")


def _turn(path: Path) -> int:
    with open_image(path) as image:
        return orientation(image)


def thumbnails(scene: Scene, maps: LabelMaps | None, colours: np.ndarray, side_px: int) -> list[Image.Image]:
    """Photo, label map in colour, and their overlay, at most `side_px` pixels a side; those of them whose files are there."""
    photo = label = None
    for role in ("img", "B"):
        if role in scene.files:
            photo = read_image(scene.files[role], draft_size=(2 * side_px, 2 * side_px))
            photo.thumbnail((side_px, side_px))
    if "label" in scene.files:
        ids = read_label(scene.files["label"])
        ids = maps.merged(ids) if maps else ids
        known = np.vstack([colours, [[255, 0, 255]]]).astype(np.uint8)  # ids out of range are magenta
        label = Image.fromarray(known[np.where((ids >= 0) & (ids < len(colours)), ids, len(colours))])
        size = photo.size if photo else _fit(label.size, side_px)
        label = label.resize(size, Image.Resampling.NEAREST)
    if photo and label:
        return [photo, label, Image.fromarray(overlay(np.asarray(photo), np.asarray(label)))]
    return [image for image in (photo, label) if image]


def _fit(size, side_px: int) -> tuple[int, int]:
    scale = min(1.0, side_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
