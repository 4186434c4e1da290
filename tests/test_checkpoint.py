"""Checkpoints: whole or absent, exact, and unable to run anything."""
import contextlib
import errno
import itertools
import os
import pickle
import resource
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from models import weights
from models.styles.clusters import FeatureTable, cluster, k_means
from tests.conftest import ROOT, same, tree
from util import checkpoint as checkpoint_module
from util.checkpoint import (
    Checkpoint,
    Position,
    finish_commit,
    is_saved,
    not_finite,
    read_consistently,
    read_tensors,
    trained,
)
from util.errors import Diverged, UserError
from util.safe_pickle import load_dict, save_dict


class Small:
    """The part of a model that a checkpoint needs."""

    def __init__(self, value=0.0, size=4):
        self.value = torch.full((size,), float(value))

    def weights(self):
        return {"G": {"w": self.value}, "D": {"w": -self.value}}

    def state(self):
        return {"moment": self.value * 2}

    def load_state(self, state):
        self.moment = state["moment"]


@pytest.fixture
def folder(tmp_path):
    """An experiment saved once, at epoch 1, with the value 1."""
    with Checkpoint(tmp_path / "x") as checkpoint:
        checkpoint.save(Small(1), Position(1, 3, 3))
    return tmp_path / "x"


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != ".lock")


SAVED = ["iter.txt", "latest_net_D.pth", "latest_net_G.pth", "latest_state.pth"]


# what a save is

def test_a_save_is_plain_state_dicts_and_a_state(folder):
    assert names(folder) == SAVED
    assert same(torch.load(folder / "latest_net_G.pth", weights_only=True), {"w": torch.ones(4)})
    assert (folder / "iter.txt").read_text() == "1\n3\n"
    with Checkpoint(folder) as checkpoint:
        model = Small()
        assert checkpoint.resume(model, "latest", 5) == Position(1, 3, 3)
    assert torch.equal(model.moment, torch.full((4,), 2.0))


def test_weights_say_how_far_they_were_trained_wherever_they_are_copied(folder, tmp_path):
    with Checkpoint(folder) as checkpoint:
        checkpoint.save(Small(2), Position(2, 0, 5), epoch=1)
    shutil.copy(folder / "1_net_G.pth", tmp_path / "latest_net_G.pth")
    assert trained(tmp_path / "latest_net_G.pth") == {"experiment": "x", "epoch": 2, "done": 0, "total": 5, "steps": 0}
    assert same(torch.load(tmp_path / "latest_net_G.pth", weights_only=True, mmap=True), {"w": torch.full((4,), 2.0)})
    torch.save({"w": torch.ones(1)}, tmp_path / "b.pth")
    torch.save({"w": torch.ones(1)}, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(tmp_path / "d.pth", "w") as archive:
        archive.writestr("archive/extra/trained.json", '{"experiment": ["x"], "epoch": "<b>"}')
    assert [trained(tmp_path / f"{name}.pth") for name in "abcd"] == [{}] * 4


def test_kept_epochs_do_not_change_with_latest(folder):
    with Checkpoint(folder) as checkpoint:
        checkpoint.save(Small(2), Position(2, 0, 5), epoch=1)
        checkpoint.save(Small(3), Position(3, 0, 10))
    assert read_tensors(folder / "1_net_G.pth")["w"][0] == 2 and read_tensors(folder / "latest_net_G.pth")["w"][0] == 3


def test_forget_keeps_the_newest(folder):
    with Checkpoint(folder) as checkpoint:
        for epoch in (2, 10, 9):
            checkpoint.save(Small(epoch), Position(epoch, 0, 5), epoch=epoch)
        checkpoint.prune(2)
    assert names(folder) == sorted([*SAVED, *(f"{n}_net_{x}.pth" for n in (9, 10) for x in "DG")])


def test_a_position_of_its_own_is_not_shared(folder):
    with Checkpoint(folder) as checkpoint:
        position = Position(1, 1, 1)
        checkpoint.save(Small(1), position)
        position.done = 4
        assert checkpoint.state()["position"]["done"] == 1


# a save that fails

def fail_at(call, error):
    """A function that fails when it is called for the `call`-th time."""
    def stand_in(real):
        count = iter(range(1000))

        def function(*args, **kwargs):
            if next(count) == call:
                raise error
            return real(*args, **kwargs)
        return function
    return stand_in


@pytest.mark.parametrize("where, call, error", [
    ("fsync", 0, OSError(errno.ENOSPC, "No space left on device")),
    ("fsync", 2, OSError(errno.ENOSPC, "No space left on device")),
    ("save", 1, RuntimeError("PytorchStreamWriter failed writing file data/3")),
    ("rename", 0, OSError(errno.EIO, "I/O error"))])
def test_a_failing_save_keeps_the_old_one_and_leaves_no_litter(folder, monkeypatch, where, call, error):
    before = tree(folder)
    place = torch if where == "save" else os
    with Checkpoint(folder) as checkpoint:
        monkeypatch.setattr(place, where, fail_at(call, error)(getattr(place, where)))
        with pytest.raises(UserError, match="could not be saved.*untouched.*--continue_train"):
            checkpoint.save(Small(2), Position(2, 0, 5), epoch=1)
        monkeypatch.undo()
        assert tree(folder) == before and names(folder) == SAVED
        checkpoint.save(Small(3), Position(2, 0, 5))
    assert read_tensors(folder / "latest_net_G.pth")["w"][0] == 3


def test_a_disk_that_fills_up_is_harmless(folder):
    """RLIMIT_FSIZE stands for the full disk: a write beyond it fails as one there does."""
    before = tree(folder)
    code = ("import sys; from util.checkpoint import Checkpoint, Position; from util.errors import UserError\n"
            "from tests.test_checkpoint import Small\n"
            "try: Checkpoint(sys.argv[1]).save(Small(2, 100_000), Position(2, 0, 5))\n"
            "except UserError as error: print(error); sys.exit(2)")
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)))
    assert done.returncode == 2 and "could not be saved" in done.stdout, done.stderr
    assert tree(folder) == before and names(folder) == SAVED


# a save that is cut off

def test_cut_off_before_the_commit_the_old_one_stands(folder):
    before = tree(folder)
    (folder / ".saving").mkdir()
    (folder / ".saving" / "latest_net_G.pth").write_bytes(b"half of a fi")
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.state()["position"]["done"] == 3
    assert tree(folder) == before and names(folder) == SAVED


@pytest.mark.parametrize("moved", range(5))
def test_cut_off_within_the_commit_the_next_trainer_carries_it_out(folder, moved):
    commit_waiting(folder, 2, moved)
    finish_commit(folder)
    assert names(folder) == SAVED
    assert same(read_tensors(folder / "latest_net_G.pth")["w"], torch.full((4,), 2.0))
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.resume(Small(), "latest", 5) == Position(2, 4, 9)


def test_killed_in_the_middle_of_saving_loads(folder):
    """A process that saves again and again is killed at places that chance picks; every time one whole save is there."""
    code = ("import sys; from util.checkpoint import Checkpoint, Position; from tests.test_checkpoint import Small\n"
            "checkpoint, n = Checkpoint(sys.argv[1]), 10\n"
            "while True:\n"
            "    checkpoint.save(Small(n, 20_000), Position(n, 0, n), epoch=1); n += 1\n"
            "    if n % 5 == 0: print(n, flush=True)")
    process = subprocess.Popen([sys.executable, "-c", code, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        assert process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    with Checkpoint(folder) as checkpoint:
        model = Small()
        position = checkpoint.resume(model, "latest", 100)
    values = [read_tensors(folder / f"{which}_net_{net}.pth")["w"].abs().unique().tolist() for which in ("latest",
                                                                                                         "1") for net in "GD"]
    assert values == [[float(position.epoch)]] * 4 and model.moment[0] == 2 * position.epoch
    assert not (folder / ".saving").exists() and not (folder / ".commit").exists()


# readers beside a trainer

def commit_waiting(folder, value, moved=0):
    """Leave the save of `value` as a process leaves it that is killed when `moved` of its files have been moved."""
    with Checkpoint(folder.parent / "other") as other:
        other.save(Small(value), Position(value, 4, 9))
    (folder.parent / "other" / ".lock").unlink()
    (folder.parent / "other").rename(folder / ".commit")
    for path in sorted((folder / ".commit").iterdir())[:moved]:
        os.replace(path, folder / path.name)


def first_value(found):
    """{file: what its tensors hold}, of the files of a `Small`."""
    return {name: abs(float(next(iter(value.values()))[0])) for name, value in found.items() if name != "latest_state.pth"}


BOTH = ["latest_net_D.pth", "latest_net_G.pth"]


@pytest.mark.parametrize("moved", range(5))
def test_a_commit_that_waits_is_read_and_nothing_is_written(folder, moved):
    """Readers may have no permission to write, and a trainer may be moving the files at this moment."""
    commit_waiting(folder, 2, moved)
    before = tree(folder)
    assert first_value(read_consistently(folder, BOTH)) == dict.fromkeys(BOTH, 2)
    assert same(read_tensors(folder / "latest_net_G.pth"), {"w": torch.full((4,), 2.0)})
    assert is_saved(folder / "latest_state.pth") and not is_saved(folder / "latest_net_E.pth")
    assert tree(folder) == before and (folder / ".commit").is_dir()


class Killed(Exception):
    """What ends a save in its middle."""


@pytest.mark.parametrize("opened", range(2))
@pytest.mark.parametrize("moved", [0, 1, 2, 99])
def test_a_save_between_two_files_of_a_reader_is_seen_whole(folder, monkeypatch, opened, moved):
    """A trainer saves after the reader has opened `opened` of its files, and is stopped after `moved` of its own."""
    real, opens, moves = checkpoint_module._open, iter(range(99)), iter(range(99))

    def replace(*paths):
        if next(moves) == moved:
            raise Killed
        return os.rename(*paths)

    def open_late(path):
        if next(opens) == opened:
            monkeypatch.setattr(os, "replace", replace)
            with Checkpoint(folder) as trainer, contextlib.suppress(Killed):
                trainer.save(Small(2), Position(2, 0, 5))
        return real(path)

    monkeypatch.setattr(checkpoint_module, "_open", open_late)
    found = first_value(read_consistently(folder, BOTH))
    assert found == dict.fromkeys(BOTH, 2)
    monkeypatch.undo()
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.state()["position"] == {"epoch": 2, "done": 0, "total": 5}
    assert names(folder) == SAVED


def test_readers_beside_a_trainer_that_saves_on_and_on_see_whole_saves(folder):
    def train():
        with Checkpoint(folder) as checkpoint:
            for value in range(2, 42):
                checkpoint.save(Small(value), Position(value, 0, 5))

    def read():
        seen = []
        while not training.done():
            seen.append(first_value(read_consistently(folder, BOTH)))
        return seen

    with ThreadPoolExecutor(3) as pool:
        training = pool.submit(train)
        seen = [found for reader in [pool.submit(read), pool.submit(read)] for found in reader.result()]
    training.result()
    assert all(found.keys() == set(BOTH) and len(set(found.values())) == 1 for found in seen)
    assert first_value(read_consistently(folder, BOTH)) == dict.fromkeys(BOTH, 41)


def test_a_file_that_is_overwritten_while_it_is_read_is_read_again(folder, monkeypatch):
    real, times = torch.load, iter(range(99))
    other = folder / "other.pth"
    torch.save({"w": torch.full((4,), 7.0)}, other)

    def load(*args, **kwargs):
        value = real(*args, **kwargs)
        if next(times) == 0:
            shutil.copyfile(other, folder / "latest_net_G.pth")
        return value

    monkeypatch.setattr(torch, "load", load)
    assert read_tensors(folder / "latest_net_G.pth")["w"][0] == 7
    assert next(times) == 2


def test_a_file_that_is_being_copied_is_said_to_be(folder, monkeypatch):
    path, sizes = folder / "latest_net_G.pth", itertools.count(1)

    def load(*args, **kwargs):
        path.write_bytes(b"x" * next(sizes))
        raise RuntimeError("half of a file")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(UserError, match="latest_net_G.pth: .*being written"):
        read_tensors(path)


# what killed processes leave

@pytest.mark.parametrize("moved", range(5))
@pytest.mark.parametrize("staging", [False, True])
@pytest.mark.parametrize("strange", [False, True])
@pytest.mark.parametrize("running", [False, True])
def test_a_trainer_recovers_from_any_leftover(folder, moved, staging, strange, running):
    """Also from one that comes while it runs; strange: what file servers put into every folder."""
    trainer = Checkpoint(folder) if running else None
    commit_waiting(folder, 2, moved)
    if staging:
        (folder / ".saving").mkdir()
        (folder / ".saving" / "latest_net_G.pth").write_bytes(b"half of a fi")
    if strange:
        (folder / ".commit" / "@eaDir" / "x").mkdir(parents=True)
        (folder / "@eaDir" / "y").mkdir(parents=True)
    with trainer or Checkpoint(folder) as checkpoint:
        if not running:
            assert checkpoint.resume(Small(), "latest", 5) == Position(2, 4, 9)
            assert set(names(folder)) - {"@eaDir"} == set(SAVED)
        checkpoint.save(Small(3), Position(3, 0, 10))
    assert set(names(folder)) - {"@eaDir"} == set(SAVED)
    assert first_value(read_consistently(folder, BOTH)) == dict.fromkeys(BOTH, 3)


def test_files_that_cannot_be_moved_are_told_and_moved_later(folder, monkeypatch):
    with Checkpoint(folder) as checkpoint:
        monkeypatch.setattr(os, "replace", fail_at(1, OSError(errno.ENOSPC, "No space left on device"))(os.replace))
        with pytest.raises(UserError, match=r"\.commit.*No space.*--continue_train"):
            checkpoint.save(Small(2), Position(2, 0, 5))
        monkeypatch.undo()
        assert first_value(read_consistently(folder, BOTH)) == dict.fromkeys(BOTH, 2)
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.resume(Small(), "latest", 5) == Position(2, 0, 5) and names(folder) == SAVED


def test_where_there_are_no_hard_links_kept_epochs_are_written(folder, monkeypatch):
    monkeypatch.setattr(os, "link", fail_at(0, OSError(errno.EPERM, "Operation not permitted"))(os.link))
    with Checkpoint(folder) as checkpoint:
        checkpoint.save(Small(2), Position(2, 0, 5), epoch=1)
    assert same(read_tensors(folder / "1_net_D.pth"), read_tensors(folder / "latest_net_D.pth"))
    assert same(read_tensors(folder / "1_net_G.pth"), {"w": torch.full((4,), 2.0)})


# a save never replaces finite numbers

class Spoilt(Small):
    """With a number that is not finite in its weights or its optimizer's moments."""

    def __init__(self, where, what):
        super().__init__(2)
        self.where, self.what = where, what

    def weights(self):
        found = super().weights()
        return {**found, "D": {"w": self.value * self.what, "count": torch.tensor(3)}} if self.where == "weights" else found

    def state(self):
        moments = {"step": torch.tensor(1.0), "exp_avg": self.value * (self.what if self.where == "moments" else 1)}
        return {"optimizers": {"G": {"state": {0: moments}, "param_groups": [{"lr": 1.0, "params": [0]}]}}}


@pytest.mark.parametrize("what", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where, said", [("weights", r"network D \(w\)"), ("moments", "optimizer G")])
def test_numbers_that_are_not_finite_are_never_saved(folder, where, said, what):
    before = tree(folder)
    with Checkpoint(folder) as checkpoint:
        with pytest.raises(Diverged, match=f"epoch 2.*{said}.*untouched.*--continue_train.*--lr"):
            checkpoint.save(Spoilt(where, what), Position(2, 3, 5), epoch=2)
        assert tree(folder) == before and names(folder) == SAVED
        checkpoint.save(Spoilt("", 0), Position(2, 3, 5))
    assert read_tensors(folder / "latest_net_G.pth")["w"][0] == 2


def test_a_first_save_that_is_refused_does_not_speak_of_an_earlier_one(tmp_path):
    with Checkpoint(tmp_path / "x") as checkpoint, pytest.raises(Diverged, match="diverged.*start again.*--lr") as error:
        checkpoint.save(Spoilt("weights", float("nan")), Position(1, 3, 3))
    assert "--continue_train" not in str(error.value)


def test_numbers_too_large_to_add_up_are_finite():
    assert not not_finite({"a": torch.full((10,), 3e38), "b": torch.full((9,), 60000.0).half(), "c": [torch.ones(1).bool(), 1]})
    assert not_finite({"a": {"b": [torch.tensor([1, float("inf")])]}, "c": torch.ones(1)}) == ["a.b.0"]


def test_moments_that_are_not_finite_are_not_resumed_from(folder):
    state = read_tensors(folder / "latest_state.pth")
    torch.save({**state, "model": Spoilt("moments", float("nan")).state()}, folder / "latest_state.pth")
    with Checkpoint(folder) as checkpoint, pytest.raises(UserError, match="latest_state.pth.*not finite.*delete it"):
        checkpoint.resume(Small(), "latest", 5)


# the lock

HOLD = ("import sys; from util.checkpoint import Checkpoint\n"
        "with Checkpoint(sys.argv[1]): print('held', flush=True); sys.stdin.read()")


def test_a_second_trainer_is_refused_until_the_first_is_dead(folder):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match="--name x: another process"):
        Checkpoint(folder)
    holder.kill()
    holder.communicate()
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.exists()


def test_a_start_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="anything"), Checkpoint(tmp_path / "new"):
        raise ValueError("anything")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/x.*--checkpoints_dir"):
        Checkpoint(tmp_path / "file" / "x")


# an earlier run of the same name

def test_set_aside_keeps_every_earlier_run(folder):
    """Two starts without --continue_train in a row must not delete the long run that was there first."""
    before = tree(folder)
    with Checkpoint(folder) as checkpoint:
        first = checkpoint.set_aside()
        assert tree(first) == before and not checkpoint.exists()
        checkpoint.save(Small(2), Position(1, 1, 1))
        second = checkpoint.set_aside()
    assert tree(first) == before, "the first run is gone"
    assert read_tensors(second / "latest_net_G.pth")["w"][0] == 2


# positions without a state

@pytest.mark.parametrize("text, position", [("3\n7\n", Position(3, 5, 15)), ("3,2", Position(3, 2, 12)),
                                            ("2.0 1e0", Position(2, 1, 6))])
def test_reference_runs_go_on_from_iter_txt(folder, text, position, capsys):
    (folder / "latest_state.pth").unlink()
    (folder / "iter.txt").write_text(text)
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.resume(Small(), "latest", 5) == position
    assert "weights alone" in capsys.readouterr().out


def test_a_numbered_checkpoint_goes_on_after_its_epoch(folder):
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.resume(Small(), "7", 5) == Position(8, 0, 35)
        (folder / "latest_state.pth").unlink()
        (folder / "iter.txt").unlink()
        assert checkpoint.resume(Small(), "latest", 5) == Position(1, 0, 0)


@pytest.mark.parametrize("text", ["", "1", "a\nb", "0\n1", "1\n-1", "nan 1", "inf 2", "1 2 3"])
def test_a_spoilt_iter_txt_is_named(folder, text):
    (folder / "latest_state.pth").unlink()
    (folder / "iter.txt").write_text(text)
    with Checkpoint(folder) as checkpoint, pytest.raises(UserError, match="iter.txt"):
        checkpoint.resume(Small(), "latest", 5)


@pytest.mark.parametrize("state", [{}, {"position": 3, "model": {}}, {"position": {}, "model": 1},
                                   {"position": {"epoch": "x", "done": 0, "total": 0}, "model": {"moment": 0}},
                                   {"position": {"epoch": 1, "done": 0, "total": 0, "more": 1}, "model": {"moment": 0}},
                                   {"position": {"epoch": -4, "done": -1, "total": 0}, "model": {"moment": 0}}])
def test_a_foreign_state_is_refused(folder, state):
    torch.save(state, folder / "latest_state.pth")
    with Checkpoint(folder) as checkpoint, pytest.raises(UserError, match="latest_state.pth"):
        checkpoint.resume(Small(), "latest", 5)


# strangers' files

class Hostile:
    """Unpickled without care, makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def zip_checkpoint(path, value):
    torch.save(value, path)


def old_checkpoint(path, value):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def bare_pickle(path, value):
    path.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize("write", [zip_checkpoint, old_checkpoint, bare_pickle])
def test_hostile_checkpoints_run_nothing(tmp_path, write):
    write(tmp_path / "evil.pth", {"w": torch.ones(2), "x": Hostile(tmp_path / "ran")})
    with pytest.raises(UserError, match="evil.pth"):
        read_tensors(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
    bare_pickle(tmp_path / "proof", Hostile(tmp_path / "ran"))
    pickle.loads((tmp_path / "proof").read_bytes())
    assert (tmp_path / "ran").exists(), "the trap itself works"


def test_old_and_new_formats_are_read(tmp_path):
    for write in (zip_checkpoint, old_checkpoint):
        write(tmp_path / "a.pth", {"w": torch.arange(3)})
        assert same(read_tensors(tmp_path / "a.pth"), {"w": torch.arange(3)})


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + b"\0" * 60])
def test_broken_checkpoints_are_called_broken(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_tensors(tmp_path / "a.pth")
    assert "a.pth" in str(error.value) and "could run code" not in str(error.value)


def test_truncated_checkpoints_are_called_broken(folder):
    path = folder / "latest_net_G.pth"
    for size in (1, path.stat().st_size // 2, path.stat().st_size - 5):
        (folder / "cut.pth").write_bytes(path.read_bytes()[:size])
        with pytest.raises(UserError, match="cut.pth: is broken or cut short"):
            read_tensors(folder / "cut.pth")


def test_feature_files_come_back_equal_and_have_the_references_form(tmp_path):
    values = {2: np.random.default_rng(0).random((3, 4)), 0: np.zeros((0, 4))}
    save_dict(tmp_path / "f.npy", values)
    assert load_dict(tmp_path / "f.npy", 4).keys() == {0, 2}
    assert np.array_equal(load_dict(tmp_path / "f.npy")[2], values[2])
    again = np.load(tmp_path / "f.npy", allow_pickle=True).item()
    assert list(again) == [0, 2] and np.array_equal(again[2], values[2])


@pytest.mark.parametrize("protocol", range(6))
def test_feature_files_of_other_pythons_are_read(tmp_path, protocol):
    array = np.empty((), object)
    array[()] = {np.int64(3): np.arange(6.0).reshape(2, 3)}
    with open(tmp_path / "f.npy", "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(array, stream, protocol=protocol)
    assert np.array_equal(load_dict(tmp_path / "f.npy", 3)[3], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("value", ["evil", {"a": "evil"}, {1: ["evil"]}])
def test_hostile_feature_files_run_nothing(tmp_path, value):
    def plant(x):
        if isinstance(x, dict):
            return {k: plant(v) for k, v in x.items()}
        return Hostile(tmp_path / "ran") if x == "evil" else [plant(v) for v in x]
    array = np.empty((), object)
    array[()] = plant(value)
    np.save(tmp_path / "f.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match="f.npy.*encode_features.py"):
        load_dict(tmp_path / "f.npy")
    assert not (tmp_path / "ran").exists()
    np.load(tmp_path / "f.npy", allow_pickle=True)
    assert (tmp_path / "ran").exists(), "the trap itself works"


@pytest.mark.parametrize("value", [[1], {"a": np.zeros((1, 3))}, {1: np.zeros(3)}, {1: np.full((1, 3), np.nan)},
                                   {1: np.zeros((2, 2))},
                                   {1: "text"}, {1: None}])
def test_feature_files_of_another_form_are_refused(tmp_path, value):
    array = np.empty((), object)
    array[()] = value
    np.save(tmp_path / "f.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match="f.npy"):
        load_dict(tmp_path / "f.npy", columns=3)
    np.save(tmp_path / "f.npy", np.zeros(3))
    with pytest.raises(UserError, match="f.npy"):
        load_dict(tmp_path / "f.npy")


# weights into networks

def net(width=4):
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3), torch.nn.Conv2d(width, 3, 3))


def test_weights_load_exactly_also_from_data_parallel_and_old_statistics(tmp_path):
    source, target = net(), net()
    state = {f"module.{k}": v for k, v in source.state_dict().items()}
    torch.save({**state, "module.0.running_mean": torch.zeros(4)}, tmp_path / "latest_net_G.pth")
    weights.load(target, "G", tmp_path / "latest_net_G.pth", False, lambda *_: "")
    assert same(dict(target.state_dict()), dict(source.state_dict())) and all(p.requires_grad for p in target.parameters())


def test_weights_that_do_not_fit_are_refused_with_the_hint(tmp_path):
    torch.save(net(8).state_dict(), tmp_path / "latest_net_G.pth")
    with pytest.raises(UserError, match=r"latest_net_G.pth: does not fit.*\(8,\) there and \(4,\) here.*--width 8"):
        weights.load(net(), "G", tmp_path / "latest_net_G.pth", False, lambda name, state: "--width 8")


def test_what_fits_is_taken_and_the_rest_is_listed(tmp_path, capsys):
    source, target = net(), torch.nn.Sequential(*net(), torch.nn.Conv2d(3, 1, 1))
    torch.save({**source.state_dict(), "7.weight": torch.zeros(1)}, tmp_path / "latest_net_G.pth")
    weights.load(target, "G", tmp_path / "latest_net_G.pth", True, lambda *_: "")
    assert torch.equal(target[0].weight, source[0].weight)
    out = capsys.readouterr().out
    assert "left out" in out and "7" in out and "starts fresh in: 2" in out


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = net().state_dict()
    state["0.weight"][0] = float("nan")
    torch.save(state, tmp_path / "latest_net_G.pth")
    for partial in (True, False):
        with pytest.raises(UserError, match="not finite in 0.weight"):
            weights.load(net(), "G", tmp_path / "latest_net_G.pth", partial, lambda *_: "")


def test_keys_that_are_no_names_are_refused(tmp_path):
    torch.save({0: torch.zeros(1)}, tmp_path / "latest_net_G.pth")
    with pytest.raises(UserError, match="latest_net_G.pth"):
        weights.load(net(), "G", tmp_path / "latest_net_G.pth", False, lambda *_: "")


def test_a_missing_checkpoint_says_which_there_are(tmp_path):
    (tmp_path / "10_net_G.pth").write_bytes(b"")
    for path, said in ((tmp_path / "latest_net_G.pth", "10.*--which_epoch"),
                       (tmp_path / "none" / "latest_net_G.pth", "no such folder"),
                       (tmp_path / "latest_net_E.pth", "no feature encoder")):
        with pytest.raises(UserError, match=said):
            weights.load(net(), path.stem[-1], path, False, lambda *_: "")


# clusters

def test_clusters_leave_out_small_regions_and_are_no_more_than_the_rows():
    rows = np.array([[1.0, 2, 0.6], [3, 4, 0.5], [5, 6, 9]])
    got = cluster({4: rows, 5: rows[1:2]}, 10, seed=0)
    assert got.keys() == {4} and sorted(got[4].tolist()) == [[1, 2], [5, 6]]


def test_k_means_finds_separate_groups_largest_first():
    random = np.random.default_rng(0)
    groups = [center + random.normal(0, 0.01, (n, 2)) for center, n in (((0, 0), 5), ((3, 3), 20), ((-3, 3), 10))]
    got = k_means(np.concatenate(groups), 3, np.random.default_rng(1))
    np.testing.assert_allclose(got, [g.mean(0) for g in (groups[1], groups[2], groups[0])], atol=1e-9)
    assert np.array_equal(got, k_means(np.concatenate(groups), 3, np.random.default_rng(1)))


def test_equal_points_still_give_centres():
    got = k_means(np.ones((20, 3)), 4, np.random.default_rng(0))
    assert got.shape == (4, 3) and np.isfinite(got).all()


def test_rows_are_collected_by_class_with_empty_classes_kept():
    table = FeatureTable(range(3), 3)
    table.add(["a", "b"], [{1: np.ones((2, 3))}, {1: np.zeros((1, 3)), 7: np.ones((1, 3))}])
    assert {k: v.shape for k, v in table.as_dict().items()} == {0: (0, 3), 1: (3, 3), 2: (0, 3), 7: (1, 3)}
    assert table.pictures(1).tolist() == [0, 0, 1] and table.rows(1).tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]


def test_copies_stay_readable(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    with Checkpoint(tmp_path / "copy") as checkpoint:
        assert checkpoint.resume(Small(), "latest", 5) == Position(1, 3, 3)


def test_a_folder_that_was_deleted_meanwhile_is_no_fault_of_its_own(tmp_path):
    with pytest.raises(UserError, match="could not be saved"), Checkpoint(tmp_path / "x") as checkpoint:
        shutil.rmtree(checkpoint.folder)
        raise UserError("could not be saved")
