"""Recognising which of the two face numberings label maps follow, by the positions and sizes of the parts."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.base_dataset import spread
from data.dataset_spec import FILE_NAME, SCHEMES, DatasetSpec, face_spec
from data.image_files import list_images, read_label
from util.errors import UserError

# relations of parts that hold in most upright faces
_ABOVE = (("background", "skin"), ("l_brow", "l_eye"), ("r_brow", "r_eye"), ("l_eye", "nose"), ("r_eye", "nose"),
          ("nose", "u_lip"), ("nose", "mouth"), ("u_lip", "mouth"), ("mouth", "l_lip"), ("u_lip", "l_lip"), ("l_lip", "neck"),
          ("nose", "neck"), ("l_ear", "neck"), ("r_ear", "neck"), ("hair", "neck"), ("hair", "nose"), ("neck", "cloth"),
          ("skin", "cloth"), ("hat", "nose"), ("eye_g", "u_lip"), ("ear_r", "cloth"), ("nose", "neck_l"))
_LARGER = (*(("skin", part) for part in ("nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "mouth", "l_ear",
                                         "r_ear", "neck", "eye_g", "ear_r", "neck_l")),
           *(("hair", part) for part in ("l_eye", "r_eye", "l_brow", "r_brow", "nose", "ear_r")),
           ("nose", "l_eye"), ("nose", "r_eye"), ("cloth", "ear_r"))
_FURTHER_OUT = (("l_ear", "l_eye"), ("r_ear", "r_eye"), ("l_ear", "l_brow"), ("r_ear", "r_brow"), ("l_eye", "nose"),
                ("r_eye", "nose"), ("l_brow", "nose"), ("r_brow", "nose"))
_SAME_SIDE = (("brow", "eye"), ("ear", "eye"), ("ear", "brow"))
_COMMON = {"skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "hair", "neck"}  # in half of all maps
_LEAST_RELATIONS, _LEAST_MAPS, _LEAST_PIXELS = 15, 8, 3
_OFTEN = 5  # maps in which both parts of a relation must occur for it to count
_EXCEPTIONS = 0.3  # share of the maps that may violate a relation: heads are tilted, bald, seen from the side
_MAPS, _SIDE = 24, 256  # number of maps that are sampled, and about how many of their pixels each way


def numbering_of(maps) -> str:
    """Which of SCHEMES the label maps of faces follow, or '' if that is not clear. maps: (H, W) integer arrays.

    There must be at least eight maps and fifteen relations that can be tested, all of which hold in most maps under one of the
    numberings only. The ids of parts that few faces have (glasses, hats, earrings) follow from the numbering.
    """
    maps = list(maps)
    fitting = [scheme for scheme, names in SCHEMES.items() if _fit(maps, names)]
    return fitting[0] if len(fitting) == 1 else ""


def numbering_in(dataroot) -> str:
    """`numbering_of` a sample of the label maps of all phases of a data root; '' if one of them cannot be read."""
    try:
        paths = [path for folder in sorted(Path(dataroot).glob("*_label")) for path in list_images(folder).values()]
        return numbering_of(read_label(path) for path in spread(paths, _MAPS))
    except UserError:
        return ""  # reported where the data are read


def named(spec: DatasetSpec, scheme: str) -> DatasetSpec:
    """A spec without class names, completed by the names, flip pairs and so on of a face numbering."""
    known = face_spec(scheme)
    return replace(known, colors=spec.colors, flip_pairs=spec.flip_pairs or known.flip_pairs, defaults=spec.defaults,
                   dontcare=spec.dontcare)


def with_names(spec: DatasetSpec, dataroot) -> DatasetSpec:
    """`named` by the numbering that the label maps follow, with a line printed; unchanged if that is not clear."""
    scheme = numbering_in(dataroot)
    if not scheme:
        return spec
    print(f"{dataroot}: its label maps are numbered as {scheme}, by where their parts lie, so classes have names and sides "
          f"(python -m datasets.check {dataroot} --write puts that into {FILE_NAME})")
    return named(spec, scheme)


def _fit(maps, names) -> bool:
    """Whether the relations hold if the ids have these names."""
    if len(maps) < _LEAST_MAPS or any(ids.min() < 0 or ids.max() >= len(names) for ids in maps):
        return False
    shown, outcomes = Counter(), {}
    for ids in maps:
        places = _places(ids, names)
        shown.update(places.keys())
        for relation, holds in _relations(places).items():
            outcomes.setdefault(relation, []).append(holds)
    tested = [held for held in outcomes.values() if len(held) >= _OFTEN]
    return all(shown[part] >= len(maps) / 2 for part in _COMMON) and len(tested) >= _LEAST_RELATIONS and \
        all(held.count(False) <= _EXCEPTIONS * len(held) for held in tested)


def _places(ids: np.ndarray, names) -> dict[str, tuple[float, float, float]]:
    """{part: (pixels, mean row, mean column)} of the parts in a map."""
    step = max(1, min(ids.shape) // _SIDE)
    ids = ids[::step, ::step].astype(np.int64)
    rows, columns = np.indices(ids.shape)
    pixels, down, along = (np.bincount(ids.ravel(), weights, len(names)) for weights in (None, rows.ravel(), columns.ravel()))
    return {name: (pixels[i], down[i] / pixels[i], along[i] / pixels[i]) for i, name in enumerate(names)
            if pixels[i] >= _LEAST_PIXELS}


def _relations(places: dict) -> dict[tuple, bool]:
    """{relation: whether it holds} of the relations above whose parts are in the map."""
    area, row, column = ({part: place[i] for part, place in places.items()} for i in range(3))
    out = {part: abs(x - column["skin"]) for part, x in column.items()} if "skin" in places else {}
    found = {("above", a, b): bool(row[a] < row[b]) for a, b in _ABOVE if {a, b} <= row.keys()}
    found |= {("larger", a, b): bool(area[a] > area[b]) for a, b in _LARGER if {a, b} <= area.keys()}
    found |= {("further out", a, b): bool(out[a] > out[b]) for a, b in _FURTHER_OUT if {a, b} <= out.keys()}
    for a, b in _SAME_SIDE:
        if {f"l_{a}", f"r_{a}", f"l_{b}", f"r_{b}"} <= column.keys():
            found["same side", a, b] = bool((column[f"l_{a}"] < column[f"r_{a}"]) == (column[f"l_{b}"] < column[f"r_{b}"]))
    return found
