"""--cache: the same batches sooner; a bounded folder that several processes may share and that nothing in it can upset."""
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import data.aligned_dataset
import data.cache
from data.cache import FOLDER, PreparedCache
from data.data_loader import CreateDataLoader
from options import saved
from tests.conftest import LOSSES, NETWORK, ROOT, SIDE, SIZES, call, label_map, options, picture, same, save
from util.errors import UserError

CROPS = ["--resize_or_crop", "resize_and_crop", "--fineSize", "16", "--batchSize", "2"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Five label maps with JPEG photos of twice their size and 16-bit instance maps; test pictures too. Read only."""
    folder, random = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for phase, count in (("train", 5), ("test", 2)):
        for i in range(count):
            labels = label_map(random, (2 * SIDE, 2 * SIDE))
            photo = picture(random, labels).repeat(2, 0).repeat(2, 1)
            save(folder / f"{phase}_label" / f"p{i}.png", labels)
            save(folder / f"{phase}_img" / f"p{i}.jpg", photo)
            save(folder / f"{phase}_inst" / f"p{i}.png", labels.astype(np.uint16) * 1000 + 1)
    return folder


def loader_of(root, *flags, role="train"):
    return CreateDataLoader(options(["--name", "x", "--dataroot", root, *SIZES, *NETWORK, *flags], role))


def entries(folder):
    """The cache's arrays on disk."""
    return sorted((folder / FOLDER).glob("??/*.raw"))


def used(folder) -> int:
    """The bytes that they take there, in blocks."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in entries(folder))


def no_decoding(monkeypatch):
    """Whoever decodes a picture from here on fails."""
    def refuse(path, *more):
        raise AssertionError(f"{path} was decoded")
    monkeypatch.setattr(data.aligned_dataset, "read_image", refuse)
    monkeypatch.setattr(data.aligned_dataset, "read_label", refuse)


# the same batches

@pytest.mark.parametrize("flags, role", [
    (CROPS, "train"), (["--resize_or_crop", "crop", "--fineSize", "16"], "train"),
    (["--aug_rotate", "20", "--aug_color", "0.3"], "train"), (["--output_nc", "1", "--no_instance"], "train"), ([], "test"),
    (["--label_feat"], "encode")])
def test_batches_are_the_same_with_and_without(faces, tmp_path, flags, role, monkeypatch):
    plain, cached = loader_of(faces, *flags, role=role), loader_of(faces, *flags, "--cache", tmp_path, role=role)
    wanted = [list(plain.epoch(epoch)) for epoch in (1, 2)]
    assert same([list(cached.epoch(epoch)) for epoch in (1, 2)], wanted)
    again = loader_of(faces, *flags, "--cache", tmp_path, role=role)
    no_decoding(monkeypatch)
    assert same([list(again.epoch(epoch)) for epoch in (1, 2)], wanted)


def test_loader_processes_share_it(faces, tmp_path, monkeypatch):
    wanted = [list(loader_of(faces, *CROPS).epoch(epoch)) for epoch in (1, 2)]
    cached = loader_of(faces, *CROPS, "--cache", tmp_path, "--nThreads", "2")
    assert same([list(cached.epoch(epoch)) for epoch in (1, 2)], wanted)
    assert len(entries(tmp_path)) == 15
    again = loader_of(faces, *CROPS, "--cache", tmp_path)
    no_decoding(monkeypatch)
    assert same(list(again.epoch(2)), wanted[1])


def test_pictures_to_pictures_and_deep_greys(tmp_path, monkeypatch):
    deep = (np.arange(4 * SIDE * SIDE, dtype=np.uint16).reshape(2 * SIDE, 2 * SIDE) * 15)
    for role in "AB":
        save(tmp_path / f"train_{role}" / "a.png", deep)
    flags = ["--label_nc", "0", "--no_instance", "--input_nc", "1", "--output_nc", "3", "--cache", tmp_path / "cache"]
    first = loader_of(tmp_path, *flags).dataset[0]
    assert same(first, loader_of(tmp_path, *flags[:-2]).dataset[0]) and len(first["label"].unique()) > 256
    again = loader_of(tmp_path, *flags).dataset
    no_decoding(monkeypatch)
    assert same(first, again[0])


def test_another_size_is_another_entry(faces, tmp_path):
    loaders = [loader_of(faces, "--cache", tmp_path, "--loadSize", size) for size in ("32", "48", "32")]
    assert [loader.dataset[0]["image"].shape[-1] for loader in loaders] == [32, 48, 32]


def test_a_changed_file_is_noticed_and_takes_the_place_of_the_old(faces, tmp_path):
    root, cache = tmp_path / "faces", tmp_path / "cache"
    shutil.copytree(faces, root)
    before = loader_of(root, "--cache", cache).dataset[0]
    count, path = len(entries(cache)), root / "train_img" / "p0.jpg"
    Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path)
    os.utime(path, ns=(0, 1))
    after = loader_of(root, "--cache", cache).dataset[0]
    assert not same(before["image"], after["image"]) and same(after, loader_of(root).dataset[0])
    assert len(entries(cache)) == count


# classes are checked

def test_ids_out_of_range_are_found_behind_the_cache(tmp_path):
    labels = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
    labels[0, 0] = 5  # a pixel that scaling drops
    save(tmp_path / "train_label" / "a.png", labels)
    save(tmp_path / "train_img" / "a.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    dataset = loader_of(tmp_path, "--cache", tmp_path / "cache").dataset
    assert dataset[0]["label"].max() == 0
    dataset.opt = dataset.opt.replace(label_nc=5)
    with pytest.raises(UserError, match=r"a\.png: holds label 5, but --label_nc 5"):
        dataset[0]


def test_ids_that_another_program_put_there_are_checked(faces, tmp_path, monkeypatch):
    loader = loader_of(faces, "--cache", tmp_path)
    monkeypatch.setattr(loader.dataset.cache, "get", lambda *_: np.full((SIDE, SIDE), 6, np.uint8))
    with pytest.raises(UserError, match=r"p0\.png: holds label 6"):
        loader.dataset[0]


# what lies there is not trusted

def spoil(path, how):
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-1], "empty": b"", "header only": whole[:64], "short header": whole[:20],
                      "payload": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
                      "shape": whole[:12] + b"\xff" + whole[13:], "type": whole[:8] + b"O" + whole[9:],
                      "pickle": b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR."}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "header only", "short header", "payload", "shape", "type", "pickle"])
def test_a_damaged_entry_is_made_anew(faces, tmp_path, how):
    dataset = loader_of(faces, "--cache", tmp_path).dataset
    before, good = dataset[0], {path: path.read_bytes() for path in entries(tmp_path)}
    for path in good:
        spoil(path, how)
    assert same(dataset[0], before)
    assert {path: path.read_bytes() for path in entries(tmp_path)} == good


def test_entries_that_vanish_or_are_folders_do_no_harm(faces, tmp_path, capsys):
    dataset = loader_of(faces, "--cache", tmp_path).dataset
    before = dataset[0]
    for path in entries(tmp_path):
        path.unlink()
    assert same(dataset[0], before)
    for path in entries(tmp_path):
        path.unlink()
        path.mkdir()
    assert same(dataset[0], before)
    shutil.rmtree(tmp_path / FOLDER)
    assert same(dataset[0], before) and capsys.readouterr().out.count("cannot be added to") == 1


def test_foreign_files_are_left_alone(faces, tmp_path):
    loader_of(faces, "--cache", tmp_path).dataset[0]
    part = entries(tmp_path)[0].parent
    foreign = [tmp_path / "thesis.txt", tmp_path / FOLDER / "thesis.txt", part / "thesis.txt", part / "thesis.raw",
               part / ".thesis.tmp"]
    for path in foreign:
        path.write_text("years of work")
    (part / ("0" * 40 + ".raw")).symlink_to(foreign[0])
    loader_of(faces, "--cache", tmp_path, "--cache_size", "0.000001")
    assert not [path for path in entries(tmp_path) if not path.is_symlink() and path not in foreign]
    (tmp_path / FOLDER / "used").unlink()
    (tmp_path / FOLDER / "used").symlink_to(foreign[0])
    with pytest.raises(UserError, match="--cache .* cannot be written"):
        PreparedCache(tmp_path, 1e6)
    assert all(path.read_text() == "years of work" for path in foreign)


# bounded

def make(value):
    return lambda: np.full((40, 50, 3), value, np.uint8)  # 6000 bytes and the header: two blocks


def test_it_never_grows_beyond_its_size(tmp_path, capsys):
    source = tmp_path / "a.png"
    source.write_bytes(b"")
    cache = PreparedCache(tmp_path, 5 * 8192 + 100)
    for _ in range(2):
        for i in range(9):
            assert (cache.get(source, (i,), (40, 50, 3), make(i)) == i).all()
            assert used(tmp_path) <= 5 * 8192
    assert len(entries(tmp_path)) == 5 and capsys.readouterr().out.count("is full") == 1
    assert cache.get(source, (2,), (40, 50, 3), None)[0, 0, 0] == 2, "what is there stays there"


def test_what_is_too_much_at_the_start_goes_oldest_first(tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(b"")
    cache = PreparedCache(tmp_path, 1e6)
    for i in range(6):
        known = set(entries(tmp_path))
        cache.get(source, (i,), (40, 50, 3), make(i))
        os.utime((set(entries(tmp_path)) - known).pop(), ns=(i, i))
    cache = PreparedCache(tmp_path, 2 * 8192)
    assert used(tmp_path) == 2 * 8192
    assert [int(cache.get(source, (i,), (40, 50, 3), None)[0, 0, 0]) for i in (4, 5)] == [4, 5]


def test_what_a_killed_process_left_behind_is_cleared(tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(b"")
    PreparedCache(tmp_path, 1e6).get(source, (), (40, 50, 3), make(1))
    path = entries(tmp_path)[0]
    left = path.with_name(f".{path.name}.abc_12de.tmp")
    left.write_bytes(b"half")
    (tmp_path / FOLDER / "used").write_text("nonsense")
    cache = PreparedCache(tmp_path, 2 * 8192)
    assert not left.exists() and path.exists()
    cache.get(source, (2,), (40, 50, 3), make(2))
    cache.get(source, (3,), (40, 50, 3), make(3))
    assert used(tmp_path) == 2 * 8192


PROGRAM = """
import sys
import numpy as np
from data.cache import PreparedCache
folder, first, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
cache = PreparedCache(folder, limit)
for i in [*range(first, first + 40), *range(first, first + 40)]:
    assert (cache.get(folder + "/a.png", (i,), (40, 50, 3), lambda: np.full((40, 50, 3), i, np.uint8)) == i).all()
"""


@pytest.mark.parametrize("limit, kept", [(10**6, 80), (50 * 8192, 50)])
def test_processes_that_add_at_once_keep_to_its_size(tmp_path, limit, kept):
    (tmp_path / "a.png").write_bytes(b"")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    running = [subprocess.Popen([*command, first, str(limit)], cwd=ROOT, stdout=subprocess.DEVNULL)
               for first in ("0", "20", "40")]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(entries(tmp_path)) == kept and int((tmp_path / FOLDER / "used").read_text()) == kept * 8192


# faults of the disk, and flags

def test_a_folder_that_cannot_be_written_is_named(faces, tmp_path):
    (tmp_path / "file").write_text("")
    flags = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", faces, *SIZES, *NETWORK, *LOSSES]
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        done = call("train", *flags, "--cache", folder)
        assert done.status == 2 and len(done.err.splitlines()) == 1, done.err
        assert f"--cache {folder}: cannot be written" in done.err and "choose another folder" in done.err
    for size in ("0", "-1", "nan", "much"):
        done = call("train", *flags, "--cache", tmp_path / "c", "--cache_size", size)
        assert done.status == 2 and "--cache_size" in done.err and len(done.err.splitlines()) == 1


def test_a_disk_that_fills_up_is_said_once_and_changes_nothing(faces, tmp_path, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(data.cache, "atomic_write", full)
    loader = loader_of(faces, *CROPS, "--cache", tmp_path, "--nThreads", "2")
    assert same(list(loader.epoch(1)), list(loader_of(faces, *CROPS).epoch(1))) and not entries(tmp_path)
    assert capfd.readouterr().out.count("No space left") == 1


def test_it_belongs_to_one_call(tmp_path, root):
    shutil.copytree(root, tmp_path / "data")
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", tmp_path / "data", *SIZES, *NETWORK,
             "--label_feat"]
    assert options(where).cache == ""
    (tmp_path / "x").mkdir()
    saved.write(options([*where, "--cache", tmp_path / "c", "--cache_size", "2"]))
    later = [options(where, "test"), options(where, "encode"), options([*where, "--continue_train"])]
    assert [(opt.cache, opt.cache_size) for opt in later] == [("", 20.0)] * 3
    assert options([*where, "--cache", "d"], "test").cache == "d"
