"""Which pictures of two folders belong together: by equal names, or by names that differ in a role such as '_label'."""
from __future__ import annotations

import functools
import re
import unicodedata

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".webp")
# Suffixes by which data sets distinguish the files of one scene; of several that match, the longest is removed.
ROLE_SUFFIXES = ("_gtFine_instanceIds", "_gtFine_labelTrainIds", "_gtFine_labelIds", "_gtFine_color",
                 "_gtCoarse_instanceIds", "_gtCoarse_labelTrainIds", "_gtCoarse_labelIds", "_gtCoarse_color",
                 "_leftImg8bit", "_instances", "_instance", "_labels", "_label", "_images", "_image", "_photo",
                 "_inst", "_mask", "_feat", "_img", "_A", "_B")
_ROLE = re.compile(f"(?<=[^/])(?:{'|'.join(ROLE_SUFFIXES)})$")  # something of the file's name must remain


def composed(name: str) -> str:
    """A name in Unicode's NFC, as names are compared: macOS writes 'é' as an e and an accent (NFD)."""
    return unicodedata.normalize("NFC", name)


def strip_role(stem: str) -> str:
    """A relative path without extension, with its role suffix removed: 'a/x_gtFine_labelIds' -> 'a/x'."""
    return _ROLE.sub("", stem) if stem.endswith(ROLE_SUFFIXES) else stem


def strip_extension(name: str) -> str:
    """A name without its extension, if that is one of a picture."""
    return name[:name.rindex(".")] if name.lower().endswith(IMAGE_EXTENSIONS) else name


class Names:
    """The names of one folder's pictures (relative, NFC, without extension), for looking up their partners."""

    def __init__(self, names):
        self.full = set(names)

    @functools.cached_property
    def _by_form(self) -> dict[str, list[str]]:
        """{form: names}; the forms of a name are itself and the name without role suffix. Computed on the first use."""
        found: dict[str, list[str]] = {}
        for name in self.full:
            for form in {name, strip_role(name)}:
                found.setdefault(form, []).append(name)
        return found

    def alike(self, name: str) -> set[str]:
        """The names that equal `name` up to role suffixes."""
        return {other for form in {name, strip_role(name)} for other in self._by_form.get(form, ())}

    def find(self, name: str) -> str | None:
        """The equal name; else the only one that is equal up to role suffixes; else None."""
        name = composed(name)
        if name in self.full:
            return name
        alike = self.alike(name)
        return alike.pop() if len(alike) == 1 else None


def pair(ours, theirs) -> dict[str, str]:
    """{our name: their name} of the pictures that belong together, in the order of `ours`.

    Equal names are paired. Names that are equal up to role suffixes are paired if that is unambiguous on both sides.
    """
    ours, here, there = list(ours), Names(ours), Names(theirs)
    found = ((name, there.find(name)) for name in ours)
    return {name: other for name, other in found if other == name or other is not None and here.alike(other) == {name}}


def near_misses(lacking, spare) -> dict[str, str]:
    """{name: "'img_1' there and 'IMG_1' differ in upper and lower case"} for names that may lack a partner by a misspelling.

    lacking: names of one folder without a partner in the other; spare: names of the other folder without a partner.
    """
    alike: dict[str, list[str]] = {}
    for other in spare:
        for form in _loose_forms(other):
            group = alike.setdefault(form, [])
            if len(group) < _CANDIDATES:  # bounds the comparisons where thousands of folders each hold a photo.jpg
                group.append(other)
    found = {}
    for name in lacking:
        kinds = [(_difference(name, other), other) for form in _loose_forms(name) for other in alike.get(form, ())]
        if kinds:
            kind, other = min(kinds)
            what = _DIFFERENCES[kind][0] if kind < len(_DIFFERENCES) else "spelling"
            found[name] = f"'{other}' there and '{name}' differ in {what}"
    return found


def _difference(name: str, other: str) -> int:
    """The index in _DIFFERENCES of the only difference between two names; their number if there are several."""
    return next((i for i, (_, shared) in enumerate(_DIFFERENCES) if shared(name) == shared(other)), len(_DIFFERENCES))


def _without_zeros(name: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", name)


_CANDIDATES = 5
# (kind of difference, function that removes it), the likeliest first
_DIFFERENCES = (("a second extension", strip_extension), ("upper and lower case", str.casefold),
                ("leading zeros", _without_zeros), ("their folders", lambda name: name.rpartition("/")[2]),
                ("their endings, as other files there or here do", strip_role))


def _loose_forms(name: str) -> set[str]:
    """Normalised spellings of a name, with and without role suffix, by which candidates are found."""
    bare = strip_extension(name).rpartition("/")[2]
    return {re.sub(r"[\s_-]+", "_", _without_zeros(form.casefold())) for form in (bare, strip_role(bare))}
