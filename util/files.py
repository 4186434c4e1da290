"""Files that are whole or absent: written beside their place, then moved over it in one step."""
from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from util.errors import UserError

UNFINISHED = re.compile(r"\.writing-\d+-\d+-\d+(\.\w+)?")  # the temporary names of `atomic_path`
_counter = itertools.count()


@contextlib.contextmanager
def atomic_path(path) -> Iterator[str]:
    """Give a temporary path in the folder of `path`; what was written there becomes `path` when the block ends.

    Readers see the old file or the new one, never half of one. The temporary name keeps the suffix, by which Pillow and
    matplotlib choose the format. Raises UserError naming `path` where the disk is full or the folder cannot be written; a block
    that fails leaves the old file and nothing else.
    """
    path = os.fspath(path)
    folder, suffix = os.path.dirname(path), os.path.splitext(path)[1]
    # processes on several machines may share a process id, but not a rank
    temporary = os.path.join(folder, f".writing-{os.environ.get('RANK', '0')}-{os.getpid()}-{next(_counter)}{suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); free some space or check the folder's "
                        "permissions") from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)


@contextlib.contextmanager
def atomic_write(path, mode: str = "wb") -> Iterator[IO]:
    """Open a file for writing that appears at `path` once the block ends; see `atomic_path`.

    mode: 'wb', or 'w' for UTF-8 with '\\n' at the end of lines; what UTF-8 lacks is written as by `escaped`.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}
    with atomic_path(path) as temporary, open(temporary, mode, **text) as stream:
        yield stream


def read_lines(path) -> list[str]:
    """The lines of a UTF-8 text file that are not blank. Raises UserError naming the file."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no text file; fetch it again") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path}: is empty; fetch it again")
    return lines


def write_bytes(path, data) -> None:
    """Write a bytes-like object atomically."""
    with atomic_write(path) as stream:
        stream.write(data)


def write_text(path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    with atomic_write(path, "w") as stream:
        stream.write(text)


def make_folder(path) -> Path:
    """Make a folder and those above it, where they are missing. Raises UserError where it cannot be made or is a file."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror or error}); choose a folder you may write to") from error
    return Path(path)


def escaped(text: str) -> str:
    r"""Text with the bytes of file names that are no UTF-8, which Python holds as lone surrogates, written as '\udcc4'."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def unescaped(text: str) -> str:
    """The text that `escaped` was given. JSON needs no such step: it reads the escapes by itself."""
    return re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda found: chr(int(found[1], 16)), text)


def write_json(path, value) -> None:
    """Write `value` as indented UTF-8 JSON, atomically. NaN and infinity are refused: JSON has neither."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path, limit: int = 64 << 20):
    """Read a JSON file of at most `limit` bytes. Raises UserError naming the file if it is no such thing."""
    path = Path(path)
    try:
        if path.stat().st_size > limit:
            raise UserError(f"{path}: {path.stat().st_size >> 20} MiB is too large for a settings file")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({error}); restore the file, or delete it") from error


def fingerprint(paths: Iterable) -> str:
    """A hash of files' paths, sizes and times of change: it tells files that have changed since. Raises UserError."""
    found = hashlib.sha256()
    for path in paths:
        try:
            state = os.stat(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); restore it") from error
        found.update(f"{path}\0{state.st_size} {state.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def file_hash(path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
