"""Prepared pictures on disk: decoded and scaled once, read back in every later epoch and run (--cache DIR)."""
from __future__ import annotations

import contextlib
import hashlib
import os
import re
import struct
import zlib
from multiprocessing.sharedctypes import RawValue
from pathlib import Path

import numpy as np
import PIL

from util.errors import UserError
from util.files import atomic_write

try:
    import fcntl
except ImportError:  # Windows: several processes may there count a few pictures too few
    fcntl = None

FOLDER = "prepared-v1"  # another layout of the files, or another way of preparing, takes another name
BLOCK = 4096  # what a file takes on a disk is a multiple of this
_HEADER = struct.Struct("<8s 1s 3x 3I 16s 20x I")  # magic, dtype, shape, state of the source, checksum: 64 bytes
_MAGIC = b"PREPARED"
_TYPES = {b"B": np.dtype("u1"), b"i": np.dtype("<i4"), b"f": np.dtype("<f4")}
_PART = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(r"[0-9a-f]{40}\.raw")
_UNFINISHED = re.compile(r"\.[0-9a-f]{40}\.raw\.\w+\.tmp")


class PreparedCache:
    """Arrays made from picture files, kept in DIR/prepared-v1 up to a number of bytes.

    folder: DIR, made if missing. limit: bytes that the arrays may take on the disk, whoever adds them. When it is reached,
    nothing more is added: every picture is wanted once an epoch, so that one that makes room for another is missed later.
    What more than `limit` bytes is there at the start goes, oldest first.

    Any number of processes may share a DIR. They add one at a time, under a lock that the system takes from a dead one;
    an array appears whole or not at all, and one that is damaged, cut short or of a source file that has changed since
    is made anew. Files are numbers only, so reading them can run nothing; files of other names are left alone.
    Raises UserError naming --cache where the folder cannot be made or written.
    """

    def __init__(self, folder, limit: float):
        self.shown, self.limit = str(folder), int(limit)
        self.folder = Path(os.path.abspath(folder)) / FOLDER
        self.closed = RawValue("b", 0)  # nothing is added any more; known to the loader processes that start from here
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked() as counter:
                used = self._count()
                _write_counter(counter, used)
        except OSError as error:
            raise UserError(f"--cache {folder}: cannot be written ({error.strerror or error}); choose another folder, or "
                            "free some space") from error
        print(f"--cache {folder}: holds {used / 1e9:.2f} of {self.limit / 1e9:g} GB")

    def get(self, source, recipe: tuple, shape: tuple[int, ...], make) -> np.ndarray:
        """The array that `make()` gives for a picture file, from the disk where it is there.

        source: the file. recipe: whatever else the array depends on, as plain values. shape: the array's, of two or three
        dimensions. Its dtype is uint8, int32 or float32. Raises what `make` raises.
        """
        try:
            state = os.stat(source)
        except OSError:
            return make()  # which says what is wrong with it
        name = hashlib.sha256(repr((os.path.abspath(source), recipe, shape)).encode()).hexdigest()[:40] + ".raw"
        path = self.folder / name[:2] / name
        mark = hashlib.sha256(repr((state.st_mtime_ns, state.st_size, PIL.__version__)).encode()).digest()[:16]
        values = _read(path, mark, shape)
        if values is None:
            values = make()
            if not self.closed.value:
                self._add(path, mark, values)
        return values

    def _add(self, path: Path, mark: bytes, values: np.ndarray) -> None:
        """Keep an array if there is room. Whatever goes wrong here costs time later, never the run."""
        try:
            path.parent.mkdir(exist_ok=True)
            with self._locked() as counter:
                used = _read_counter(counter) + _on_disk(_HEADER.size + values.nbytes)
                with contextlib.suppress(FileNotFoundError):
                    before = _on_disk(path.lstat().st_size)
                    path.unlink()  # damaged, or of the source as it was before: the two together might be too much
                    used -= before
                if used > self.limit:
                    return self._close(f"is full ({self.limit / 1e9:g} GB, --cache_size)")
                _write_counter(counter, used)  # first: if this process dies in between, rather too much is counted
                _write(path, mark, values)
        except (OSError, ValueError, UserError) as error:
            self._close(f"cannot be added to ({' '.join(str(error).split())})")

    def _close(self, reason: str) -> None:
        """Add nothing more, and say so once."""
        if not self.closed.value:
            self.closed.value = 1
            print(f"--cache {self.shown}: {reason}; pictures that are not in it are decoded each time", flush=True)

    @contextlib.contextmanager
    def _locked(self):
        """The file that counts the bytes, while no other process adds anything."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # a link would have another file written to
        with os.fdopen(os.open(self.folder / "used", flags, 0o666), "r+b", buffering=0) as counter:
            if fcntl is not None:
                fcntl.flock(counter, fcntl.LOCK_EX)  # until it is closed, as it is when its process ends
            yield counter

    def _count(self) -> int:
        """The bytes that are there, after clearing what was left unfinished (nobody else writes now) or is too much."""
        entries = []
        for folder in (f for f in os.scandir(self.folder) if f.is_dir(follow_symlinks=False) and _PART.fullmatch(f.name)):
            for file in os.scandir(folder):
                if _UNFINISHED.fullmatch(file.name):
                    os.unlink(file)
                elif _ENTRY.fullmatch(file.name) and file.is_file(follow_symlinks=False):
                    state = file.stat(follow_symlinks=False)
                    entries.append((state.st_mtime_ns, _on_disk(state.st_size), file.path))
        used = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if used <= self.limit:
                break
            os.unlink(path)
            used -= size
        return used


def _on_disk(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _read_counter(counter) -> int:
    counter.seek(0)
    return int(counter.read(32))


def _write_counter(counter, used: int) -> None:
    counter.seek(0)
    counter.write(b"%020d\n" % used)


def _header(mark: bytes, code: bytes, shape: tuple[int, ...], payload) -> bytes:
    """64 bytes, of which the last four are the checksum of the others and of the payload."""
    start = _HEADER.pack(_MAGIC, code, *shape, *[0] * (3 - len(shape)), mark, 0)[:-4]
    return start + struct.pack("<I", zlib.crc32(payload, zlib.crc32(start)))


def _write(path: Path, mark: bytes, values: np.ndarray) -> None:
    code = {dtype: code for code, dtype in _TYPES.items()}[values.dtype]
    payload = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    with atomic_write(path) as stream:
        stream.write(_header(mark, code, values.shape, payload))
        stream.write(payload)


def _read(path: Path, mark: bytes, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in a file; None where there is none, or it is another one, damaged or cut short."""
    try:
        with open(path, "rb", buffering=0) as stream:
            header = stream.read(_HEADER.size)
            dtype = _TYPES.get(header[8:9])
            if len(header) < _HEADER.size or dtype is None:
                return None
            values = np.fromfile(stream, dtype, int(np.prod(shape)))
    except OSError:
        return None
    if values.size != np.prod(shape) or header != _header(mark, header[8:9], shape, values.view(np.uint8)):
        return None
    return values.reshape(shape)
