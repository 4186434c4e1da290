"""Which of the two face numberings label maps follow, told by where their parts lie."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.base_dataset import spread
from data.dataset_spec import FILE_NAME, SCHEMES, DatasetSpec, face_spec
from data.image_files import list_images, read_label
from util.errors import UserError

# what holds for most upright faces; what both numberings call alike (skin, eyes) tells nothing by itself
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
_COMMON = {"skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "hair", "neck"}  # shown by half of all faces
_LEAST_RELATIONS, _LEAST_MAPS, _LEAST_PIXELS = 15, 8, 3
_OFTEN = 5  # maps that a relation must show in, to say anything
_EXCEPTIONS = 0.3  # of the maps, to each relation: heads are tilted, bald, seen from the side
_MAPS, _SIDE = 24, 256  # how many maps are looked at, and about how many of their pixels each way


def numbering_of(maps) -> str:
    """Which of SCHEMES the label maps of faces follow; '' where they do not tell. maps: (H, W) integer arrays.

    At least eight maps must tell at least fifteen relations of parts, each of which holds in most of them, and for one
    numbering only. Parts that few faces have (glasses, hats, earrings) are called as the others say.
    """
    maps = list(maps)
    fitting = [scheme for scheme, names in SCHEMES.items() if _fit(maps, names)]
    return fitting[0] if len(fitting) == 1 else ""


def numbering_in(dataroot) -> str:
    """The same of the label maps of all phases of a data root, of which some are looked at; '' where one holds no ids."""
    try:
        paths = [path for folder in sorted(Path(dataroot).glob("*_label")) for path in list_images(folder).values()]
        return numbering_of(read_label(path) for path in spread(paths, _MAPS))
    except UserError:
        return ""  # whoever reads the data says so


def named(spec: DatasetSpec, scheme: str) -> DatasetSpec:
    """The spec of a data root whose label maps nobody names, with the names, flip pairs and so on of a face numbering."""
    known = face_spec(scheme)
    return replace(known, colors=spec.colors, flip_pairs=spec.flip_pairs or known.flip_pairs, defaults=spec.defaults,
                   dontcare=spec.dontcare)


def with_names(spec: DatasetSpec, dataroot) -> DatasetSpec:
    """The same by the numbering that the label maps show, which a line says; as it is where they show none."""
    scheme = numbering_in(dataroot)
    if not scheme:
        return spec
    print(f"{dataroot}: its label maps are numbered as {scheme}, by where their parts lie, so classes have names and sides "
          f"(python -m datasets.check {dataroot} --write puts that into {FILE_NAME})")
    return named(spec, scheme)


def _fit(maps, names) -> bool:
    """Whether the parts of faces lie as they should if ids are called so."""
    if len(maps) < _LEAST_MAPS or any(ids.min() < 0 or ids.max() >= len(names) for ids in maps):
        return False
    shown, answers = Counter(), {}
    for ids in maps:
        places = _places(ids, names)
        shown.update(places.keys())
        for relation, holds in _relations(places).items():
            answers.setdefault(relation, []).append(holds)
    told = [held for held in answers.values() if len(held) >= _OFTEN]
    return all(shown[part] >= len(maps) / 2 for part in _COMMON) and len(told) >= _LEAST_RELATIONS and \
        all(held.count(False) <= _EXCEPTIONS * len(held) for held in told)


def _places(ids: np.ndarray, names) -> dict[str, tuple[float, float, float]]:
    """{part: (pixels, mean row, mean column)} of the parts that a map shows."""
    step = max(1, min(ids.shape) // _SIDE)
    ids = ids[::step, ::step].astype(np.int64)
    rows, columns = np.indices(ids.shape)
    pixels, down, along = (np.bincount(ids.ravel(), weights, len(names)) for weights in (None, rows.ravel(), columns.ravel()))
    return {name: (pixels[i], down[i] / pixels[i], along[i] / pixels[i]) for i, name in enumerate(names)
            if pixels[i] >= _LEAST_PIXELS}


def _relations(places: dict) -> dict[tuple, bool]:
    """The relations above whose parts are there, and whether they hold."""
    area, row, column = ({part: place[i] for part, place in places.items()} for i in range(3))
    out = {part: abs(x - column["skin"]) for part, x in column.items()} if "skin" in places else {}
    found = {("above", a, b): bool(row[a] < row[b]) for a, b in _ABOVE if {a, b} <= row.keys()}
    found |= {("larger", a, b): bool(area[a] > area[b]) for a, b in _LARGER if {a, b} <= area.keys()}
    found |= {("further out", a, b): bool(out[a] > out[b]) for a, b in _FURTHER_OUT if {a, b} <= out.keys()}
    for a, b in _SAME_SIDE:
        if {f"l_{a}", f"r_{a}", f"l_{b}", f"r_{b}"} <= column.keys():
            found["same side", a, b] = bool((column[f"l_{a}"] < column[f"r_{a}"]) == (column[f"l_{b}"] < column[f"r_{b}"]))
    return found
