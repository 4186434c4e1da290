"""Recognising which numbering a data root's label maps follow, comparing it with dataset.json, and writing it there."""
from __future__ import annotations

from pathlib import Path

from data.base_dataset import spread
from data.dataset_spec import DONTCARE, FACE_CLASSES, FILE_NAME, SCHEMES, DatasetSpec, face_spec
from data.face_numbering import named, numbering_in
from data.image_files import image_size, list_images
from datasets._check_findings import NOTE, WARNING, Problem
from util.errors import UserError, first_few
from util.files import read_json, write_json

_HEADERS, _STEP = 500, 32  # number of label maps whose size is read; loadSize is a multiple of this, as networks halve sides


def recognise(root: Path, spec: DatasetSpec, label_nc: int | None) -> tuple[DatasetSpec, list[Problem]]:
    """The spec, with class names if it has none and the maps follow a face numbering, and a problem if its scheme looks wrong.

    label_nc: the number of classes, or None if it is not known.
    """
    if label_nc not in (None, FACE_CLASSES):
        return spec, []
    if not (spec.labels or spec.scheme):
        scheme = numbering_in(root)
        line = f"{root}: its label maps are numbered as {scheme}, by where their parts lie; --write puts that into {FILE_NAME}"
        return (named(spec, scheme), [Problem(NOTE, "numbering", line)]) if scheme else (spec, [])
    if spec.scheme not in SCHEMES or spec.labels != SCHEMES[spec.scheme]:
        return spec, []
    scheme = numbering_in(root)
    if scheme in ("", spec.scheme):
        return spec, []
    return spec, [Problem(WARNING, "numbering", f"{root / FILE_NAME}: says {spec.scheme}, but the label maps look numbered as "
                          f"{scheme}, by where their parts lie; mend scheme, labels and flip_pairs there")]


def write_names(root: Path, asked: str | None, label_nc: int | None, dontcare: bool = False) -> None:
    """Add to dataset.json what flags and a sample of the files tell about the classes; existing entries are kept.

    asked: --scheme. label_nc: --label_nc. dontcare: --contain_dontcare_label. Raises UserError if the file contradicts them.
    """
    path = root / FILE_NAME
    raw = read_json(path) if path.is_file() else {}
    spec = DatasetSpec.from_dict(raw, str(path))
    _refuse_others(path, spec, asked, label_nc)
    scheme = asked or spec.scheme
    seen = not (scheme or spec.labels) and label_nc in (None, FACE_CLASSES) and numbering_in(root)
    more = {}
    if seen or scheme in SCHEMES and not raw.get("labels"):
        more = face_spec(seen or scheme).as_dict()
    elif label_nc is not None:
        more = {"label_nc": label_nc}
    if dontcare:
        more["dontcare"] = DONTCARE
    if side := _common_side(root):
        more["defaults"] = {"loadSize": side, **spec.defaults}
    new = {**more, **raw, **({"defaults": more["defaults"]} if side else {})}
    if new != raw:
        write_json(path, new)
        how = f"; that ids are numbered as {seen} is told by where parts lie, so look at --report" if seen else ""
        print(f"{path}: {first_few(sorted(key for key in new if new[key] != raw.get(key)), 8)} written{how}")


def write_count(root: Path, ids: set[int]) -> None:
    """Write label_nc into dataset.json, by the highest id in the label maps. ids: those in the label maps."""
    raw = read_json(root / FILE_NAME) if (root / FILE_NAME).is_file() else {}
    unlabelled = raw.get("dontcare", DONTCARE if DONTCARE - 1 not in ids else None)  # as COCO-Stuff has it
    highest = max(ids - {unlabelled}, default=0)
    left_out = f", but for {unlabelled}, which is taken to mark unlabelled pixels" if unlabelled in ids else ""
    write_json(root / FILE_NAME, {"label_nc": highest + 1, **({"dontcare": unlabelled} if left_out else {}), **raw})
    print(f"{root / FILE_NAME}: label_nc {highest + 1} written, as ids go up to {highest}{left_out}; name the classes in its "
          "labels")


def _refuse_others(path: Path, spec: DatasetSpec, asked: str | None, label_nc: int | None) -> None:
    """Raise UserError for flags that contradict dataset.json or each other."""
    for flag, value, known in (("--scheme", asked, spec.scheme or None), ("--label_nc", label_nc, spec.label_nc)):
        if None not in (value, known) and value != known:
            raise UserError(f"{flag} {value}: {path} says {known}; leave the flag out, or mend the file")
    if asked and label_nc not in (None, FACE_CLASSES):
        raise UserError(f"--label_nc {label_nc}: --scheme {asked} has {FACE_CLASSES} classes; give one of the two")


def _common_side(root: Path) -> int | None:
    """The side of the label maps, rounded down to a multiple of 32, if all are square and of one size; else None."""
    paths = [path for folder in sorted(root.glob("*_label")) for path in list_images(folder).values()]
    try:
        sizes = {image_size(path) for path in spread(paths, _HEADERS)}
    except UserError:
        return None  # the check reports it
    width, height = sizes.pop() if len(sizes) == 1 else (0, -1)
    return max(_STEP, width - width % _STEP) if width == height else None
