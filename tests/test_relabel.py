"""There and back is the identity, pixel for pixel; broken off at any moment, no root is left with both numberings."""
import json
import os

import numpy as np
import pytest
from PIL import Image

from data.dataset_spec import CELEBAMASK_HQ, FACE_PARSING, SCHEMES, face_spec
from data.image_files import read_label
from datasets import check, relabel
from tests.test_prepare_shared import files_of
from util.errors import UserError


@pytest.fixture
def root(tmp_path):
    """Label maps with every class, one of them palette, one in a subfolder, one BMP; an instance folder; photos."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "faces"
    for name in ("train_label/a.png", "train_label/sub/b.png", "train_label/c.bmp", "test_label/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ids = rng.permutation(np.arange(19).repeat(4)[:64]).astype(np.uint8).reshape(8, 8)
        image = Image.fromarray(ids)
        if name.endswith("b.png"):
            image = Image.new("P", (8, 8))
            image.putdata(ids.ravel().tolist())
            image.putpalette(list(range(256)) * 3)
        image.save(folder / name)
    (folder / "train_inst").mkdir()
    ids = np.arange(19).repeat(2)[:36].reshape(6, 6)
    Image.fromarray(np.where(ids % 3, ids, ids * 1000 + 7).astype(np.uint16)).save(folder / "train_inst/a.png")
    (folder / "train_img").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "train_img/a.png")
    (folder / "train_label" / "notes.txt").write_text("mine")
    face_spec("celebamask-hq", {"loadSize": 64}).write(folder)
    return folder


def run(root, *more):
    return relabel.main(["--data", str(root), "--jobs", "1", *more])


def maps(root):
    return {path.relative_to(root).with_suffix("").as_posix(): read_label(path)
            for folder in ("train_label", "test_label", "train_inst") for path in (root / folder).rglob("*")
            if path.suffix in (".png", ".bmp")}


def test_each_part_keeps_its_name(root):
    before = maps(root)
    assert run(root, "--to", "face-parsing") == 0
    after = maps(root)
    assert after.keys() == before.keys()
    for key in before:
        for old, new in zip(before[key].ravel(), after[key].ravel()):
            old_class, new_class = (int(i) // 1000 if i >= 1000 else int(i) for i in (old, new))
            assert FACE_PARSING[new_class] == CELEBAMASK_HQ[old_class]
            assert (old < 1000) == (new < 1000) and (old < 1000 or old % 1000 == new % 1000)
    spec = json.loads((root / "dataset.json").read_text())
    assert spec["scheme"] == "face-parsing" and spec["labels"] == list(FACE_PARSING)
    assert spec["flip_pairs"] == [[2, 3], [4, 5], [7, 8]] and spec["defaults"] == {"loadSize": 64}


def test_there_and_back_is_the_identity(root):
    before, spec = maps(root), (root / "dataset.json").read_text()
    photo = (root / "train_img/a.png").read_bytes()
    run(root, "--to", "face-parsing")
    run(root, "--to", "celebamask-hq")
    after = maps(root)
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert (root / "dataset.json").read_text() == spec
    assert (root / "train_img/a.png").read_bytes() == photo and (root / "train_label/notes.txt").read_text() == "mine"
    assert files_of(root, hidden=True) == {"dataset.json", "train_img/a.png", "train_inst/a.png", "train_label/a.png",
                                           "train_label/sub/b.png", "train_label/c.png", "train_label/notes.txt",
                                           "test_label/d.png"}


def test_translations_are_permutations():
    there = relabel.translation("celebamask-hq", "face-parsing")
    back = relabel.translation("face-parsing", "celebamask-hq")
    assert sorted(there) == list(range(19)) and np.array_equal(back[there], np.arange(19))


def test_colours_and_notes_stay_with_their_parts(root):
    raw = json.loads((root / "dataset.json").read_text())
    raw |= {"colors": [[i, i, i] for i in range(19)], "prepared": {"size": 8}, "parts": {"head": ["skin", "hair"]}}
    (root / "dataset.json").write_text(json.dumps(raw))
    run(root, "--to", "face-parsing")
    after = json.loads((root / "dataset.json").read_text())
    assert {name: color[0] for name, color in zip(after["labels"], after["colors"])} == {
        name: i for i, name in enumerate(CELEBAMASK_HQ)}
    assert after["prepared"] == {"size": 8} and after["parts"] == {"head": ["skin", "hair"]}


def test_a_second_run_changes_nothing(root, capsys):
    run(root, "--to", "face-parsing")
    once = maps(root)
    assert run(root, "--to", "face-parsing") == 0
    assert "is numbered face-parsing already" in capsys.readouterr().out
    assert all(np.array_equal(once[key], value) for key, value in maps(root).items())


@pytest.mark.parametrize("moment", range(6))
def test_broken_off_while_replacing_the_same_command_finishes(root, monkeypatch, moment):
    """The process is stopped at its nth replacement of a file, then started again."""
    before, calls, replace = maps(root), [], os.replace

    def stop(source, target):
        if relabel.STAGE in str(source) and relabel.STAGE not in str(target):
            calls.append(target)
            if len(calls) == moment + 1:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", stop)
        if moment < 5:  # five maps in all
            with pytest.raises(KeyboardInterrupt):
                run(root, "--to", "face-parsing")
            assert relabel.is_interrupted(root)
            assert any(problem.kind == "unfinished" for problem in check.full_check(root).problems)
            with pytest.raises(UserError, match="finish it with --to face-parsing first"):
                run(root, "--to", "celebamask-hq")
    run(root, "--to", "face-parsing")
    table = relabel.translation("celebamask-hq", "face-parsing")
    assert all(np.array_equal(relabel.relabel(before[key], table), value) for key, value in maps(root).items())
    assert not (root / relabel.STAGE).exists()


def test_nothing_changes_where_one_map_cannot_be_converted(root):
    Image.fromarray(np.full((8, 8), 19, np.uint8)).save(root / "test_label/d.png")
    before = {name: (root / name).read_bytes() for name in files_of(root)}
    with pytest.raises(UserError, match="test_label/d.png: holds label 19, but this numbering has 0 to 18"):
        run(root, "--to", "face-parsing")
    assert {name: (root / name).read_bytes() for name in before} == before
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "test_label/d.png")
    assert run(root, "--to", "face-parsing") == 0


def test_the_numbering_must_be_known(root, tmp_path):
    with pytest.raises(UserError, match="dataset.json says the numbering is celebamask-hq; leave --from out"):
        run(root, "--to", "face-parsing", "--from", "face-parsing")
    (root / "dataset.json").unlink()
    with pytest.raises(UserError, match=f"says nothing about the numbering; give it with --from {' or '.join(SCHEMES)}"):
        run(root, "--to", "face-parsing")
    assert run(root, "--to", "face-parsing", "--from", "celebamask-hq") == 0
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no <phase>_label folder"):
        run(tmp_path / "empty", "--to", "face-parsing")
