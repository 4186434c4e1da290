"""Files that are whole or absent: written beside their place, then moved over it in one step."""
from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from pathlib import Path

from util.errors import UserError


@contextlib.contextmanager
def atomic_write(path, mode: str = "wb", sync: bool = False):
    """Open a file for writing that appears at `path` only once it is complete.

    mode: 'wb' or 'w' (UTF-8; what that lacks goes in as `escaped` has it). sync: also wait until the bytes are on the disk,
        as a checkpoint needs.
    Raises UserError naming `path` when the disk is full or the folder cannot be written; leaves nothing behind.
    """
    path = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent)
        text = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace"}
        with os.fdopen(handle, mode, **text) as stream:
            yield stream
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); free some space or check the folder's "
                        "permissions") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _umask() -> int:
    """The process's umask (reading it means setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def escaped(text: str) -> str:
    r"""Text with the bytes of file names that are no UTF-8, which Python holds as lone surrogates, written as '\udcc4'."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def unescaped(text: str) -> str:
    """The text that `escaped` was given. JSON needs no such step: it reads the escapes by itself."""
    return re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda found: chr(int(found[1], 16)), text)


def write_json(path, value) -> None:
    """Write `value` as indented UTF-8 JSON, atomically. NaN and infinity are refused: JSON has neither."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path, "w") as stream:
        stream.write(text)


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
