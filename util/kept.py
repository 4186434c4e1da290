"""What was measured on this machine, kept in the user's cache folder for a day."""
from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from pathlib import Path

from util.errors import UserError
from util.files import make_folder, read_json, write_json

DAY = 24 * 3600.0  # seconds


def cache_folder() -> Path:
    """The project's folder among the user's caches, made or not."""
    home = Path("~").expanduser()
    usual = {"darwin": home / "Library" / "Caches", "win32": Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")}
    return Path(os.environ.get("XDG_CACHE_HOME") or usual.get(sys.platform, home / ".cache")) / "label2face"


def for_a_day(key: dict, measure):
    """What `measure()` gives, a plain value of JSON, or gave less than a day ago for the same key.

    key: plain values on which it depends. Each key has a file of its own, written atomically, so that several processes may ask
    at once; where the folder cannot be read or written, it is measured each time.
    """
    path = cache_folder() / f"{hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:16]}.json"
    with contextlib.suppress(UserError, OSError, TypeError, KeyError, ValueError):
        known = read_json(path)
        if known["key"] == key and 0 <= time.time() - known["when"] < DAY:
            return known["value"]
    value = measure()
    with contextlib.suppress(UserError, OSError):
        make_folder(path.parent)
        write_json(path, {"key": key, "when": time.time(), "value": value})
    return value
