"""Links between the pages of an experiment: its training, its styles, its results, and its options.

Pages outside an experiment's folder are recorded there in pages.json: {"pages": {path relative to the folder: title}}. Every
page links those that exist when it is written; the training's page is updated when a later page is recorded.
"""
from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from urllib.parse import quote

from util.errors import UserError
from util.files import read_json, write_json, write_text
from util.html import links_line

LIST = "pages.json"
TRAINING = "web/index.html"
_OWN = {TRAINING: "Training", "styles/index.html": "Styles", "opt.txt": "Options", "loss_log.txt": "Losses"}
OTHERS = "Other pages of this experiment"
_MOST = 12  # recorded pages to link, the newest


def links_of(folder, page) -> list[tuple[str, str]]:
    """[(title, address relative to the page), ...] of an experiment's pages that exist, except the page itself.

    folder: checkpoints/<name>. page: the path of the page that links them.
    """
    folder, page = Path(folder), Path(page)
    found = {folder / name: title for name, title in _OWN.items()}
    found |= {folder / name: title for name, title in list(_recorded(folder).items())[-_MOST:]}
    here = os.path.abspath(page)
    paths = {os.path.abspath(path): title for path, title in found.items() if os.path.isfile(path)}
    return [(title, _address(path, page.parent)) for path, title in paths.items() if path != here]


def record(folder, page, title: str) -> None:
    """Record a page outside an experiment's folder, and update the links of the training's page.

    Does nothing if the folder may not be written to.
    """
    folder = Path(folder)
    name = _relative(page, folder)
    others = {path: known for path, known in _recorded(folder).items() if path != name and os.path.isfile(folder / path)}
    with contextlib.suppress(UserError):
        write_json(folder / LIST, {"pages": {**others, name: title}})
    refresh(folder)


def refresh(folder) -> None:
    """Update the links in the training's page, unless a training rewrites it at this moment, with current links."""
    page = Path(folder) / TRAINING
    with contextlib.suppress(UserError, OSError):
        before, text = page.stat().st_mtime_ns, page.read_text(encoding="utf-8", errors="replace")
        line = links_line(links_of(folder, page), OTHERS)
        text, places = re.subn(r'<nav [^>]*>.*?</nav>', lambda _: line, text, count=1, flags=re.S)
        if places and page.stat().st_mtime_ns == before:
            write_text(page, text)


def _recorded(folder: Path) -> dict[str, str]:
    """The content of pages.json; {} if it is missing or is no such file."""
    try:
        return {str(path): str(title) for path, title in read_json(folder / LIST)["pages"].items()}
    except (UserError, TypeError, KeyError, AttributeError):
        return {}


def _address(path: str, folder: Path) -> str:
    return quote(os.fsencode(_relative(path, folder)))


def _relative(path, folder) -> str:
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # on another drive of Windows
        return os.path.abspath(path)
