"""Records of the files that a run writes into a page's folder, so that the next run removes those and no others.

During a run, each process appends to a journal, so that the files of a killed run are known, too. When the page is complete,
the journals are replaced by one list, page_files.json: {"files": {name: size in bytes}}.
"""
from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from util.errors import UserError, first_few
from util.files import UNFINISHED, write_text

LIST = "page_files.json"
_JOURNAL = ".written-{}.jsonl"  # one for each rank; a line is [name, size], where size is null until the file is written
# files, beside pictures, that could be mistaken for this run's if another one wrote them
_SHARED_NAMES = ("index.html", "worst_*.html", "best_*.html", "metrics.json")


class RunFiles:
    """The files that a run writes into `folder` and its `images/`. Names are relative to it, with '/'. Thread-safe."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self._names: set[str] = set()

    def clear(self) -> None:
        """Remove the files that earlier runs recorded here, and their temporary files.

        A file of another size than recorded is kept, as it has been replaced. To be called by one process only, before any
        process writes. Raises UserError naming a file that cannot be removed.
        """
        for name, sizes in self._recorded().items():
            path = self.folder / name
            if path.is_file() and not path.is_symlink() and (None in sizes or path.stat().st_size in sizes):
                _remove(path)
        for path in [*self.folder.glob(".writing-*"), *self.folder.glob("images/.writing-*")]:
            if UNFINISHED.fullmatch(path.name):
                _remove(path)
        self._forget_journals()
        if self._read_list():
            _remove(self.folder / LIST)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A context for writing a file: gives its path, and records it before and after."""
        path = self.folder / name
        self._names.add(name)
        self._note(name, None)
        yield path
        self._note(name, path.stat().st_size)

    def finish(self, others=()) -> None:
        """Replace the journals by the list. others: names of files that other processes of this run wrote."""
        self._names.update(others)
        sizes = {name: (self.folder / name).stat().st_size for name in sorted(self._names)}
        write_text(self.folder / LIST, json.dumps({"files": sizes}, indent=1) + "\n")
        self._forget_journals()

    def strangers(self) -> str:
        """A message that names other files here that could be mistaken for this run's, or ''."""
        found = [path.name for pattern in _SHARED_NAMES for path in sorted(self.folder.glob(pattern))]
        found += sorted(f"images/{path.name}" for path in self.folder.glob("images/*") if not path.name.startswith("."))
        found = [name for name in found if name not in self._names]
        return f"{self.folder}: left as they are, since no run recorded them as its own: {first_few(found)}" if found else ""

    def _note(self, name, size):
        try:
            with open(self.folder / _JOURNAL.format(os.environ.get("RANK", "0")), "ab", buffering=0) as stream:
                stream.write(json.dumps([name, size]).encode() + b"\n")  # one write call, so that lines of threads do not mix
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror or error}); free some space or check the "
                            "folder's permissions") from error

    def _recorded(self) -> dict[str, set]:
        """{name: possible sizes}, where None stands for any size."""
        found = {name: {size} for name, size in self._read_list().items()}
        for path in self.folder.glob(_JOURNAL.format("*")):
            last = {}
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(ValueError, TypeError):  # an incomplete line
                    name, size = json.loads(line)
                    last[str(name)] = size
            for name, size in last.items():
                found.setdefault(name, set()).add(size)
        return {name: sizes for name, sizes in found.items() if _is_inside(name)}

    def _read_list(self) -> dict[str, int]:
        """The content of the list; {} if it is missing or is no such list."""
        try:
            files = json.loads((self.folder / LIST).read_bytes())["files"]
            return {str(name): int(size) for name, size in files.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _forget_journals(self):
        for path in self.folder.glob(_JOURNAL.format("*")):
            _remove(path)


def _is_inside(name: str) -> bool:
    """Whether a recorded name is in the folder or its images/, as a list of other origin must not name files elsewhere."""
    parts = PurePosixPath(name).parts
    plain = all(part not in ("..", "/") and "\\" not in part for part in parts)
    return plain and (len(parts) == 1 or len(parts) == 2 and parts[0] == "images")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: is an earlier run's and cannot be removed ({error.strerror or error}); check the folder's "
                        "permissions, or choose another folder with --results_dir") from error
