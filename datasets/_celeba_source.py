"""Finding CelebA's files, in the published layout or that of mirrors; the zip archive is read without unpacking."""
from __future__ import annotations

import functools
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from util.errors import UserError

PHOTOS = "img_align_celeba"
TABLES = {"split": "list_eval_partition", "attributes": "list_attr_celeba",
          "landmarks": "list_landmarks_align_celeba", "identities": "identity_CelebA"}
_PLACES = ("", "celeba", "Anno", "Eval", "Img", "CelebA", "CelebA/Anno", "CelebA/Eval", "CelebA/Img")


@dataclass(frozen=True)
class Photos:
    """The aligned photos, in a folder or a zip archive; of members, the part after the last '/' is the file name."""

    place: Path

    def names(self) -> set[str]:
        """The names of all files. Raises UserError for a broken zip archive."""
        return set(_members(self.place)) if self.place.is_file() else {path.name for path in self.place.iterdir()}

    def open(self, name: str):
        """(path or stream, name in messages) of a photo. Raises UserError for a broken zip member."""
        if self.place.is_dir():
            return self.place / name, None
        shown = f"{self.place}:{name}"
        try:
            # read into memory: names in the archive, which may point anywhere, never become paths
            return io.BytesIO(_archive(self.place).read(_members(self.place)[name])), shown
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{shown}: cannot be read ({error}); fetch the archive again") from None


@functools.lru_cache(maxsize=1)  # reading the list of 200,000 members takes a second
def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise UserError(f"{path}: is no whole zip archive ({error}); fetch it again") from None


@functools.lru_cache(maxsize=1)
def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """{file name: member}, without members that are too large for an aligned photo."""
    return {info.filename.rsplit("/", 1)[-1]: info for info in _archive(path).infolist()
            if not info.is_dir() and info.file_size < 1 << 24}


def find_photos(src: Path) -> Photos:
    """Find the folder or zip archive of aligned photos below --src. Raises UserError if there is none."""
    for place in _PLACES:
        for folder in (src / place / PHOTOS / PHOTOS, src / place / PHOTOS):
            if folder.is_dir() and any(folder.glob("*.jpg")):
                return Photos(folder)
        if (src / place / f"{PHOTOS}.zip").is_file():
            return Photos(src / place / f"{PHOTOS}.zip")
    raise UserError(f"--src {src}: holds neither a folder {PHOTOS} with photos nor {PHOTOS}.zip; put one there, or try "
                    "--download")


def find_table(src: Path, which: str) -> Path | None:
    """Find the table 'split', 'attributes', 'landmarks' or 'identities', as text or CSV; None if it is missing."""
    for place in _PLACES:
        for ending in (".txt", ".csv"):
            path = src / place / (TABLES[which] + ending)
            if path.is_file():
                return path
    return None


def download(src: Path) -> None:
    """Download CelebA with torchvision into src/celeba. Raises UserError that says what to download by hand if that fails."""
    by_hand = (f"fetch {PHOTOS}.zip, {', '.join(f'{name}.txt' for name in TABLES.values())} from the data set's own "
               f"page and put them into {src}")
    try:
        from torchvision.datasets import CelebA
    except ImportError:
        raise UserError(f"--download: needs torchvision; install it, or {by_hand}") from None
    try:
        src.mkdir(parents=True, exist_ok=True)
        CelebA(str(src), split="all", target_type=[], download=True)
    except Exception as error:  # a failed download raises any of a dozen classes, all alike for the user
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"--download: did not work ({reason}); {by_hand}") from error
