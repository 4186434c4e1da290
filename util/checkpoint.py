"""Saving all files of a checkpoint atomically, and loading them safely.

A save writes to `.saving/`, flushes it to the disk, renames it to `.commit/`, and then moves its files over the old ones. If
the process is killed before the rename, the old checkpoint remains; if after it, the next training completes the commit. Only
the process that holds the lock writes. Readers prefer the files in `.commit/` to those in the folder, so all files change at
the moment of the rename; they detect a commit between the opening of two files, and retry.
"""
from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import pickle
import re
import shutil
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

from util.errors import Diverged, UserError, first_few
from util.lazy import LazyModule

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None

torch = LazyModule("torch")
STATE = "latest_state.pth"
_SAVING, _COMMIT, _LOCK = ".saving", ".commit", ".lock"
_TRAINED = "archive/extra/trained.json"  # within a file of weights
_TRIES = 100  # how often to retry after a commit between the opening of two files, or a write into one that is being read


@dataclass
class Position:
    """The progress of a training: the current epoch (from 1), `done` pictures of it, and `total` pictures of all epochs."""

    epoch: int = 1
    done: int = 0
    total: int = 0


def is_saved(path) -> bool:
    """Whether a file of a checkpoint exists, in its folder or in a pending commit."""
    return _place(Path(path)) is not None


def read_tensors(path) -> dict:
    """Read a dict of tensors and plain values, without executing code in the file. Raises UserError naming the file."""
    path = Path(path)
    found = read_consistently(path.parent, [path.name])
    if path.name not in found:
        raise UserError(f"{path}: there is no such file")
    return found[path.name]


def read_consistently(folder, names) -> dict[str, dict]:
    """Read several files of the same save, even while a training saves: {name: dict} of those that exist.

    The files are read, not memory-mapped, which would be faster: overwriting a mapped file in place, as `cp` does, would change
    the weights in use, or crash the process if it gets shorter. Raises UserError naming the file.
    """
    paths, growing = [Path(folder) / name for name in names], None
    for _ in range(_TRIES):
        with contextlib.ExitStack() as stack:
            files = {path: stack.enter_context(file) for path in paths if (file := _open(path))}
            if any(_identity(_place(path)) != _identity(files.get(path)) for path in paths):
                continue  # there was a commit in between, so some files are of the save before
            stamps, found, fault = [_stamp(file) for file in files.values()], {}, None
            try:
                for path, file in files.items():
                    found[path.name] = _parse(file, path)
            except UserError as error:
                fault = error
            growing = next((path for path, stamp in zip(files, stamps) if _stamp(files[path]) != stamp), None)
            if growing is None:
                if fault is not None:
                    raise fault
                return found
    raise UserError(f"{growing or folder}: is being written at this moment; wait until it is complete")


def _place(path: Path) -> Path | None:
    """The current file: in a pending commit, or `path` itself; None if it exists in neither."""
    return next((place for place in (path.parent / _COMMIT / path.name, path) if os.path.isfile(place)), None)


def _open(path: Path):
    """Open the current file for reading; None if it does not exist."""
    place = _place(path)
    try:
        return place and open(place, "rb")
    except FileNotFoundError:
        return None  # it was moved at this moment, which the comparison of identities detects
    except OSError as error:
        raise UserError(f"{path}: may not be read ({error.strerror}); change its permissions") from error


def _identity(file) -> tuple[int, int] | None:
    """(device, inode) of a path or open file, which differs for a file that replaces it; None for no file."""
    try:
        found = file and os.stat(file if isinstance(file, Path) else file.fileno())
    except FileNotFoundError:
        return None
    return found and (found.st_dev, found.st_ino)


def _stamp(file) -> tuple[int, int]:
    """(size, modification time) of an open file, by which a write into it is detected."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _parse(file, path: Path) -> dict:
    """Load the dict in an open file. Raises UserError naming `path`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's warnings about files that are refused below
            value = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL:? (\S+)", str(error))
        if asked is None:
            raise UserError(f"{path}: is broken or cut short, or no file of tensors; copy or save it again") from error
        raise UserError(f"{path}: holds more than tensors and was not read, since it could run code (it asks for "
                        f"{asked[1]}); save a plain state dict") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise UserError(f"{path}: is broken or cut short ({_reason(error)}); copy or save it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, not a state dict; save net.state_dict()")
    return value


def trained(path) -> dict:
    """How long the weights in a file were trained: {'experiment': str, 'epoch', 'done', 'total', 'steps': int}.

    epoch, done, total: see Position. {} if it is not recorded, as in files of other programs.
    """
    try:
        with zipfile.ZipFile(_place(Path(path)) or path) as archive:
            found = json.loads(archive.read(_TRAINED)) if archive.getinfo(_TRAINED).file_size < 10_000 else None
        return {"experiment": str(found["experiment"]), **{key: int(found[key]) for key in (*vars(Position()), "steps")}}
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return {}


def not_finite(value, name: str = "") -> list[str]:
    """The names ('a.b.0') of the tensors in nested dicts and lists that have non-finite elements."""
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [bad for key, item in items for bad in not_finite(item, f"{name}.{key}" if name else str(key))]
    # a finite sum rules it out in one pass
    wrong = torch.is_tensor(value) and value.is_floating_point() and not (value.sum().isfinite() or value.isfinite().all())
    return [name] if wrong else []


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


class Checkpoint:
    """The files of an experiment, locked by one training process at a time.

    Raises UserError if another process trains the same experiment.
    """

    def __init__(self, folder, writes: bool = True):
        """writes: whether this process saves; False for all ranks but 0."""
        self.folder, self.writes = Path(folder), writes
        self.best: dict | None = None  # the record of best_net_*.pth, see `save`
        if not writes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / _LOCK, "a+")  # noqa: SIM115 - held until the process ends
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror}); check --checkpoints_dir") from error
        self._take_lock()
        shutil.rmtree(self.folder / _SAVING, ignore_errors=True)  # of a save that was killed
        finish_commit(self.folder)

    def _take_lock(self):
        if fcntl is None:
            return
        try:  # a POSIX record lock: not inherited by worker processes, and released when its owner ends in any way
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"--name {self.folder.name}: another process is training in {self.folder}; wait for it, or "
                            "choose another --name") from None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """Release the lock; delete a folder that a failed start left empty."""
        if not self.writes:
            return
        if self.folder.is_dir() and [path.name for path in self.folder.iterdir()] == [_LOCK]:  # it may be gone
            (self.folder / _LOCK).unlink()
            self.folder.rmdir()
        self._lock.close()

    def resume(self, model, which_epoch: str, epoch_size: int) -> Position:
        """Restore the training state of `model`, whose weights are loaded, and return the position.

        which_epoch: 'latest' gives an exact resume where latest_state.pth is there; a number, or a folder with only
        pix2pixHD's own files, goes on from the weights, and says what could not be restored.
        """
        state = self.state() if which_epoch in ("latest", "best") else None
        self.best = state.get("best") if state else None
        if state is not None and which_epoch == "latest":
            model.load_state(state["model"])
            position = Position(**state["position"])
            print(f"Going on after {position.done} pictures of epoch {position.epoch}")
            return position
        position = (self.counted_position() if which_epoch == "latest" else Position(self._after(which_epoch))) or Position()
        position.done = min(position.done, epoch_size)
        position.total = (position.epoch - 1) * epoch_size + position.done
        print(f"Going on from weights alone at epoch {position.epoch}, picture {position.done}: {self.folder} has no "
              f"{STATE} for them, so Adam's moments, the image pool and the random state start anew")
        return position

    def _after(self, which_epoch: str) -> int:
        """The epoch after that of a kept checkpoint; 1 where nothing tells when the best one was."""
        if which_epoch == "best":
            return self.best["epoch"] + 1 if self.best else 1
        return int(which_epoch) + 1

    def exists(self) -> bool:
        """Whether a training has saved here."""
        return any(self.folder.glob("*_net_*.pth"))

    def set_aside(self) -> Path:
        """Move an earlier run's files to previous/ (previous_2/, ...), so that a new training does not overwrite them."""
        target, numbers = self.folder / "previous", itertools.count(2)
        while target.exists():
            target = self.folder / f"previous_{next(numbers)}"
        if not self.writes:
            return target
        target.mkdir()
        for path in self.folder.iterdir():
            if path.name != _LOCK and not re.fullmatch(r"previous(_\d+)?", path.name):
                os.rename(path, target / path.name)
        return target

    def save(self, model, position: Position, epoch: int | None = None, best: dict | None = None) -> None:
        """Write latest_net_*.pth, latest_state.pth and iter.txt atomically; with `epoch`, <epoch>_net_*.pth as well.

        best: what is known of these weights where they are the best so far, {'epoch': ..., ...} of plain values: then
        best_net_*.pth as well. Raises Diverged where a weight or an optimizer's moment is not finite, and UserError where the
        disk refuses; then the last good checkpoint stays and nothing is left behind.
        """
        if not self.writes:
            return
        weights, state, best = model.weights(), model.state(), best or self.best
        names = [str(epoch)] * (epoch is not None) + ["best"] * (best is not self.best)
        self._refuse_diverged(weights, state, position)
        finish_commit(self.folder)  # if an earlier one failed, as a folder cannot be renamed onto it
        staging = self.folder / _SAVING
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir()
            record = {"experiment": self.folder.name, **vars(position), "steps": state.get("steps", 0)}
            for name, tensors in weights.items():
                _write(staging / f"latest_net_{name}.pth", tensors, record)
                for kept in names:
                    _link(staging / f"latest_net_{name}.pth", staging / f"{kept}_net_{name}.pth")
            _write(staging / STATE, {"version": 1, "position": vars(position).copy(), "model": state, "best": best})
            (staging / "iter.txt").write_text(f"{position.epoch}\n{position.done}\n")
            _sync(staging)
            os.rename(staging, self.folder / _COMMIT)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise UserError(f"{self.folder}: the checkpoint could not be saved ({error.strerror or error}); the last good "
                            "one is untouched; free some space, then go on with --continue_train") from error
        finish_commit(self.folder)
        self.best = best

    def _refuse_diverged(self, weights, state, position):
        """Raise Diverged for weights or moments that are not finite, which may happen although the losses are finite."""
        wrong = [f"network {name} ({first_few(bad, 3)})" for name, tensors in weights.items() if (bad := not_finite(tensors))]
        wrong += [f"the moments of optimizer {name}" for name, o in state.get("optimizers", {}).items() if not_finite(o)]
        if wrong:
            remedy = (f"the last checkpoint in {self.folder} is untouched; go on from it with --continue_train and"
                      if self.exists() else "start again with")
            epoch = position.epoch - (position.done == 0)  # after the last picture, position is at the next epoch
            raise Diverged(f"epoch {epoch}: training diverged: numbers are not finite in {first_few(wrong)}, so they "
                           f"were not saved; {remedy} a lower --lr")

    def prune(self, keep: float) -> None:
        """Delete all numbered checkpoints except the newest `keep`; inf keeps all."""
        if not self.writes:
            return
        numbers = sorted({int(p.name.split("_")[0]) for p in self.folder.glob("*_net_*.pth")
                          if p.name.split("_")[0].isdigit()})
        for number in numbers[:max(0, len(numbers) - int(min(keep, len(numbers))))]:
            for path in self.folder.glob(f"{number}_net_*.pth"):
                path.unlink()

    def state(self) -> dict | None:
        """The saved training state, or None if there are only weights."""
        path = self.folder / STATE
        if not path.is_file():
            return None
        state = read_tensors(path)
        position = state.get("position")
        sound = isinstance(position, dict) and position.keys() == vars(Position()).keys() and all(
            isinstance(n, int) and n >= low for n, low in zip(map(position.get, ("epoch", "done", "total")), (1, 0, 0)))
        if not sound or not isinstance(state.get("model"), dict):
            raise UserError(f"{path}: is not the state of a training; delete it to resume from the weights alone")
        if not_finite(state["model"].get("optimizers", {})):
            raise UserError(f"{path}: the optimizers' moments are not finite, as the training diverged; delete it to resume "
                            "from the weights alone, or take an earlier checkpoint with --which_epoch")
        return state

    def counted_position(self) -> Position | None:
        """The position in iter.txt, or None without that file."""
        path = self.folder / "iter.txt"
        if not path.is_file():
            return None
        words = path.read_text(errors="replace").replace(",", " ").split()
        try:
            epoch, done = (int(float(word)) for word in words)
            if epoch < 1 or done < 0:
                raise ValueError
        except (ValueError, OverflowError):
            raise UserError(f"{path}: should hold two numbers, epoch and pictures done, not {first_few(words)!r}; mend or "
                            "delete it") from None
        return Position(epoch, done)


def finish_commit(folder) -> None:
    """Complete a commit that was interrupted, if there is one.

    Only for the holder of the lock. Raises UserError if a file cannot be moved; the commit then remains, and readers use it.
    """
    folder = Path(folder)
    commit = folder / _COMMIT
    if not commit.is_dir():
        return
    try:
        for path in sorted(commit.iterdir()):
            if path.is_dir():  # file servers create such folders
                shutil.rmtree(path)
                continue
            with contextlib.suppress(FileNotFoundError):  # another program moved it
                os.replace(path, folder / path.name)
        with contextlib.suppress(FileNotFoundError):
            commit.rmdir()
    except OSError as error:
        raise UserError(f"{commit}: holds the last save, whose files could not be moved to {folder} ({error.strerror}); free "
                        "some space or change the permissions, then go on with --continue_train") from error
    _sync(folder)


def _write(path: Path, value, record: dict | None = None) -> None:
    """Save a dict and flush it to the disk. record: what `trained` returns."""
    try:
        with open(path, "w+b") as stream:
            torch.save(value, stream)
            if record is not None:
                with zipfile.ZipFile(stream, "a") as archive:
                    archive.writestr(zipfile.ZipInfo(_TRAINED), json.dumps(record))  # dated 1980: reproducible
            stream.flush()
            os.fsync(stream.fileno())
    except RuntimeError as error:  # raised by PyTorch's writer when the disk is full
        raise OSError(errno.ENOSPC, _reason(error)) from error


def _link(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with open(target, "rb+") as stream:
            os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
