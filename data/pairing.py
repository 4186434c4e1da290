"""Which pictures of two folders belong together: by equal names, or by names that differ in a role such as '_label'."""
from __future__ import annotations

import functools
import re
import unicodedata

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".webp")
# What tells the pictures of one scene apart in people's file names; longest first, one is taken off.
ROLE_SUFFIXES = ("_gtFine_instanceIds", "_gtFine_labelTrainIds", "_gtFine_labelIds", "_gtFine_color",
                 "_gtCoarse_instanceIds", "_gtCoarse_labelTrainIds", "_gtCoarse_labelIds", "_gtCoarse_color",
                 "_leftImg8bit", "_instances", "_instance", "_labels", "_label", "_images", "_image", "_photo",
                 "_inst", "_mask", "_feat", "_img", "_A", "_B")
_ROLE = re.compile(f"(?<=[^/])(?:{'|'.join(ROLE_SUFFIXES)})$")  # where a name is left before it


def composed(name: str) -> str:
    """A name in Unicode's NFC, as names are compared: macOS writes 'é' as an e and an accent (NFD)."""
    return unicodedata.normalize("NFC", name)


def strip_role(stem: str) -> str:
    """A relative path without extension, less the one role suffix at its end: 'a/x_gtFine_labelIds' -> 'a/x'."""
    return _ROLE.sub("", stem) if stem.endswith(ROLE_SUFFIXES) else stem


def strip_extension(name: str) -> str:
    """A picture's name less the extension of a picture, where it has one."""
    return name[:name.rindex(".")] if name.lower().endswith(IMAGE_EXTENSIONS) else name


class Names:
    """The names of one folder's pictures (relative, NFC, without extension), to look others up in."""

    def __init__(self, names):
        self.full = set(names)

    @functools.cached_property
    def _by_form(self) -> dict[str, list[str]]:
        """Names by what they are with their role and without; seldom needed, as most names are equal."""
        found: dict[str, list[str]] = {}
        for name in self.full:
            for form in {name, strip_role(name)}:
                found.setdefault(form, []).append(name)
        return found

    def alike(self, name: str) -> set[str]:
        """The names here that are equal if the role suffix of either, or of both, is left out."""
        return {other for form in {name, strip_role(name)} for other in self._by_form.get(form, ())}

    def find(self, name: str) -> str | None:
        """The equal name; else the only one that is alike; None where there is none."""
        name = composed(name)
        if name in self.full:
            return name
        alike = self.alike(name)
        return alike.pop() if len(alike) == 1 else None


def pair(ours, theirs) -> dict[str, str]:
    """{our name: their name} of the pictures that belong together, in the order of `ours`.

    Equal names always do. Two that are equal but for role suffixes do where neither could be mistaken for another: what
    else lies in the folders matters to no other picture.
    """
    ours, here, there = list(ours), Names(ours), Names(theirs)
    found = ((name, there.find(name)) for name in ours)
    return {name: other for name, other in found if other == name or other is not None and here.alike(other) == {name}}


def near_misses(lacking, spare) -> dict[str, str]:
    """{name: "'img_1' there and 'IMG_1' differ in upper and lower case"} for names that perhaps lack a partner by mistake.

    lacking: names of one folder without a partner in the other; spare: names of the other that have none either.
    """
    alike: dict[str, list[str]] = {}
    for other in spare:
        for form in _loose_forms(other):
            group = alike.setdefault(form, [])
            if len(group) < _CANDIDATES:  # of thousands of folders that each hold a photo.jpg, none is the likeliest
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
    """Which of _DIFFERENCES is all that tells two names apart; their number where more than one does."""
    return next((i for i, (_, shared) in enumerate(_DIFFERENCES) if shared(name) == shared(other)), len(_DIFFERENCES))


def _without_zeros(name: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", name)


_CANDIDATES = 5
# what may tell two spellings apart, and what they share where nothing else does; the likeliest first
_DIFFERENCES = (("a second extension", strip_extension), ("upper and lower case", str.casefold),
                ("leading zeros", _without_zeros), ("their folders", lambda name: name.rpartition("/")[2]),
                ("their endings, as other files there or here do", strip_role))


def _loose_forms(name: str) -> set[str]:
    """What spellings of a name share, with its role and without."""
    bare = strip_extension(name).rpartition("/")[2]
    return {re.sub(r"[\s_-]+", "_", _without_zeros(form.casefold())) for form in (bare, strip_role(bare))}
