"""dataset.json: what a data root says about itself, and the two face numberings people use."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from util.errors import UserError, first_few
from util.files import read_json, write_json
from util.util import palette

FILE_NAME = "dataset.json"
DONTCARE = 255  # what COCO-Stuff, SPADE and others mark unlabelled pixels with
UNLABELLED, _UNLABELLED_COLOR = "unlabelled", (224, 224, 192)  # the colour is that of PASCAL VOC's void

CELEBAMASK_HQ = ("background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
                 "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth")
FACE_PARSING = ("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
                "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat")
SCHEMES = {"celebamask-hq": CELEBAMASK_HQ, "face-parsing": FACE_PARSING}
FACE_CLASSES = 19  # of either
# what people look at in a face, and the classes it is made of, by names that both numberings have
FACE_PARTS = {"eyes": ("l_eye", "r_eye"), "mouth": ("mouth", "u_lip", "l_lip"), "hair": ("hair",), "skin": ("skin",),
              "cloth": ("cloth",)}


def flip_pairs_of(labels) -> list[list[int]]:
    """Pairs of ids to swap in a flipped map: of names that differ in a leading l_ / r_ only."""
    ids = {name: i for i, name in enumerate(labels)}
    # 'l_lip' is the lower lip and 'ear_r' an earring: neither has such a partner
    return [[i, ids["r_" + name[2:]]] for name, i in ids.items() if name.startswith("l_") and "r_" + name[2:] in ids]


@dataclass(frozen=True)
class DatasetSpec:
    """The contents of dataset.json; every field may be absent.

    label_nc: number of classes. labels: their names by id. colors: (r, g, b) in 0..255 by id.
    flip_pairs: [left, right] ids that swap when a picture is mirrored. scheme: which numbering the ids follow; one of SCHEMES
        says label_nc, labels, flip_pairs and parts where the file does not.
    dontcare: the id that marks unlabelled pixels in its label maps.
    parts: {part: names of the classes it is made of}, which evaluation gives figures of.
    defaults: flag values that hold for this data unless the command line says otherwise; of the flags that allow it.
    """

    label_nc: int | None = None
    labels: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    scheme: str = ""
    defaults: dict = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dontcare: int | None = None
    unlabelled: int | None = None  # not in the file: the class of unlabelled pixels in a run, see `with_unlabelled`

    @classmethod
    def read(cls, dataroot) -> DatasetSpec:
        """The spec of a data root; an empty one where it has no dataset.json. Raises UserError naming the file."""
        path = Path(dataroot) / FILE_NAME
        if not path.is_file():
            return cls()
        return cls.from_dict(read_json(path), str(path))

    @classmethod
    def from_dict(cls, raw, where: str = FILE_NAME) -> DatasetSpec:
        """Check a parsed dataset.json. Unknown keys are ignored."""
        _require(isinstance(raw, dict), where, f"holds a {type(raw).__name__}", "it must be one JSON object")
        raw = _with_scheme(raw, where)
        nc = raw.get("label_nc")
        _require(nc is None or _is_id(nc) and nc < 65536, where, f"label_nc is {nc!r}", "give a whole number from 0 up")
        dontcare = raw.get("dontcare")
        _require(dontcare is None or _is_id(dontcare) and dontcare < 65536, where, f"dontcare is {dontcare!r}",
                 "give the id that marks unlabelled pixels, such as 255")
        labels = raw.get("labels", [])
        _require(isinstance(labels, list) and all(isinstance(name, str) for name in labels), where,
                 "labels is no list of names", "give class names in the order of their ids")
        _require(not labels or len(set(labels)) == len(labels), where, "labels has a name twice", "names must differ")
        count = nc or len(labels) or None
        _require(not labels or count == len(labels), where,
                 f"labels has {len(labels)} names for label_nc {nc}", "give one name a class")
        return cls(label_nc=nc if nc is not None else count, labels=tuple(labels),
                   colors=_colors(raw.get("colors", []), count, where),
                   flip_pairs=_pairs(raw.get("flip_pairs", []), count, where),
                   scheme=str(raw.get("scheme", "")), defaults=_defaults(raw.get("defaults", {}), where), dontcare=dontcare,
                   parts=_parts(raw.get("parts", {}), labels, where))

    def with_unlabelled(self, label: int | None) -> DatasetSpec:
        """The spec of a run in which unlabelled pixels are the class `label`, after all others, or with None no class."""
        return replace(self, unlabelled=label, dontcare=DONTCARE if self.dontcare is None else self.dontcare) \
            if label is not None else replace(self, unlabelled=None)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of a run's classes by id, that of unlabelled pixels last; () if the classes have no names."""
        if self.unlabelled is None:
            return self.labels
        return tuple(self.name_of(i) for i in range(self.unlabelled + 1))

    @property
    def class_colors(self) -> tuple:
        """The colours of a run's classes, that of unlabelled pixels last; () for those of the default palette."""
        colors = self.colors or self._colors_of_parts()
        if self.unlabelled is None:
            return colors
        return (*map(tuple, palette(self.unlabelled, colors).tolist()), _UNLABELLED_COLOR)

    def _colors_of_parts(self) -> tuple:
        """The colours of a face's parts, the same in both numberings; () for other classes, or where they are the palette's."""
        if self.scheme not in SCHEMES or self.labels != SCHEMES[self.scheme] or self.labels == CELEBAMASK_HQ:
            return ()
        colors = palette(len(CELEBAMASK_HQ)).tolist()
        return tuple(tuple(colors[CELEBAMASK_HQ.index(name)]) for name in self.labels)

    def name_of(self, label: int) -> str:
        """The class's name, or its number where it has none."""
        if label == self.unlabelled and UNLABELLED not in self.labels:
            return UNLABELLED
        return self.labels[label] if 0 <= label < len(self.labels) else str(label)

    def label_of(self, name: str) -> int:
        """The id of a class given by name or number. Raises UserError listing the names."""
        if name in self.labels:
            return self.labels.index(name)
        if self.unlabelled is not None and name in (self.name_of(self.unlabelled), str(self.unlabelled)):
            return self.unlabelled
        if name.isdigit() and (self.label_nc is None or int(name) < self.label_nc):
            return int(name)
        known = first_few(self.class_names, 40) if self.labels else f"0 to {(self.label_nc or 1) - 1}"
        raise UserError(f"'{name}' is no class of this data; there are {known}")

    def part_ids(self) -> dict[str, list[int]]:
        """{part: ids of the classes it is made of}."""
        return {part: [self.labels.index(name) for name in names] for part, names in self.parts.items()}

    def write(self, dataroot) -> None:
        """Write dataset.json into a data root."""
        write_json(Path(dataroot) / FILE_NAME, self.as_dict())

    def as_dict(self) -> dict:
        """The fields that are set, ready for JSON."""
        raw = {"label_nc": self.label_nc, "scheme": self.scheme, "labels": list(self.labels),
               "colors": [list(c) for c in self.colors], "flip_pairs": [list(p) for p in self.flip_pairs],
               "parts": {part: list(names) for part, names in self.parts.items()}, "defaults": dict(self.defaults),
               "dontcare": self.dontcare}
        return {key: value for key, value in raw.items() if value not in (None, "", [], {})}


def face_spec(scheme: str = "celebamask-hq", defaults: dict | None = None) -> DatasetSpec:
    """The spec of a face data root in one of the known numberings. Raises UserError for an unknown one."""
    if scheme not in SCHEMES:
        raise UserError(f"'{scheme}' is no known numbering; there are {', '.join(SCHEMES)}")
    labels = SCHEMES[scheme]
    return DatasetSpec(label_nc=len(labels), labels=labels, scheme=scheme, defaults=dict(defaults or {}),
                       flip_pairs=tuple((a, b) for a, b in flip_pairs_of(labels)), parts=dict(FACE_PARTS))


def _with_scheme(raw: dict, where: str) -> dict:
    """A parsed dataset.json with what its scheme says, unless it names its classes itself."""
    scheme = str(raw.get("scheme", ""))
    if scheme not in SCHEMES or raw.get("labels", list(SCHEMES[scheme])) != list(SCHEMES[scheme]):
        return raw
    known = face_spec(scheme).as_dict()
    nc = raw.get("label_nc", FACE_CLASSES)
    _require(nc == FACE_CLASSES, where, f"label_nc is {nc!r}, but scheme {scheme} has {FACE_CLASSES} classes",
             "mend one of them")
    return {**known, **raw}


def _require(true: bool, where: str, found: str, remedy: str) -> None:
    if not true:
        raise UserError(f"{where}: {found}; {remedy}")


def _is_id(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _colors(raw, count, where):
    good = isinstance(raw, list) and all(
        isinstance(c, list) and len(c) == 3 and all(_is_id(v) and v < 256 for v in c) for c in raw)
    _require(good, where, "colors is no list of [r, g, b]", "give three numbers from 0 to 255 a class")
    _require(not raw or count is None or len(raw) == count, where,
             f"colors has {len(raw)} entries for {count} classes", "give one colour a class")
    return tuple(tuple(c) for c in raw)


def _pairs(raw, count, where):
    good = isinstance(raw, list) and all(isinstance(p, list) and len(p) == 2 and all(map(_is_id, p)) for p in raw)
    _require(good, where, "flip_pairs is no list of [left, right] ids", "give pairs such as [[4, 5], [6, 7]]")
    ids = [i for pair in raw for i in pair]
    _require(len(ids) == len(set(ids)), where, "flip_pairs names an id twice", "an id has one partner")
    _require(count is None or all(i < count for i in ids), where,
             f"flip_pairs names id {max(ids, default=0)} of {count} classes", "ids count from 0")
    return tuple(tuple(p) for p in raw)


def _parts(raw, labels, where):
    good = isinstance(raw, dict) and all(
        part and isinstance(names, list) and names and all(isinstance(name, str) for name in names)
        for part, names in raw.items())
    _require(good, where, "parts is no object of lists of class names", 'write it like {"eyes": ["l_eye", "r_eye"]}')
    for part, names in raw.items():
        unknown = [name for name in names if name not in labels]
        _require(not unknown, where, f"parts makes '{part}' of {first_few(unknown)}", "labels names no such class")
        _require(len(set(names)) == len(names), where, f"parts names a class of '{part}' twice", "name each once")
    return {part: tuple(names) for part, names in raw.items()}


def _defaults(raw, where):
    good = isinstance(raw, dict) and all(isinstance(v, (str, int, float, bool)) for v in raw.values())
    _require(good, where, "defaults is no object of flag values", 'write it like {"loadSize": 256}')
    return dict(raw)
