"""File names that UTF-8 or the console lacks: the work is done, and they are shown escaped."""
import csv
import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from datasets import check, parse_faces
from datasets._folders import write_csv
from tests.conftest import CLASSES, LOSSES, NETWORK, ROOT, SIDE, SIZES, load_script, options, save, write_root
from tests.test_pages import Page
from util.files import escaped, read_json, unescaped, write_json
from util.util import safe_stem

GBK = os.fsdecode("\u4f60\u597d".encode("gbk"))  # as unzipped from a Windows zip; no UTF-8
CHINESE = "\u738b\u82b3"  # nothing that cp1252 has
NAMES = (GBK, CHINESE, "anna")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A data root in a folder, and of pictures, with such names; and what was made of it."""
    folder = tmp_path_factory.mktemp("names") / f"{CHINESE} {GBK}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    root = write_root(folder, {"train": 3, "test": 3})
    for place in filter(os.path.isdir, root.iterdir()):
        for path, name in zip(sorted(place.iterdir()), NAMES):
            path.rename(path.with_name(f"{name}.png"))
    return root


def said_by(main, *argv, encoding="cp1252", monkeypatch):
    """What a command prints into a file of that encoding, after it has ended well."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "argv", ["x.py", *map(str, argv)])
    monkeypatch.setattr(sys, "stdout", out)
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        monkeypatch.undo()
    assert not end.value.code
    out.flush()
    return out.buffer.getvalue().decode(encoding)


def test_the_whole_flow_with_names_that_nothing_can_show(people, tmp_path, monkeypatch):
    where = ["--name", GBK, "--checkpoints_dir", tmp_path, "--dataroot", people, *SIZES, *NETWORK, "--label_feat"]
    run = {name: load_script(name).main for name in ("train", "encode_features", "test")}
    said = said_by(run["train"], *where, *LOSSES, "--niter", "1", "--niter_decay", "0", monkeypatch=monkeypatch)
    assert "Trained for 1 epochs" in said and "\\u738b\\u82b3 \\udcc4" in said
    assert read_json(tmp_path / GBK / "opt.json")["options"]["dataroot"] == str(people)
    assert options(["--name", GBK, "--checkpoints_dir", tmp_path], "test").dataroot == str(people)

    assert "3 pictures encoded" in said_by(run["encode_features"], *where, monkeypatch=monkeypatch)
    styles = read_json(tmp_path / GBK / "styles.json")["classes"].values()
    assert {style["nearest"] for one in styles for style in one["styles"]} == set(NAMES)

    own = "--use_encoded_image"
    said = said_by(run["test"], *where, own, "--results_dir", tmp_path / "r", monkeypatch=monkeypatch)
    assert f"{escaped(GBK)}.png" in said and "\\u738b\\u82b3.png" in said
    page = tmp_path / "r" / GBK / "test_latest"
    assert {one["name"] for one in read_json(page / "metrics.json")["each"]} == set(NAMES)
    read = Page(page / "index.html")
    assert CHINESE in read.text and escaped(GBK) in read.text and "real image: anna" in {one["alt"] for one in read.all("img")}
    read.files()  # each link leads to a file


def test_a_process_writes_to_a_console_of_other_letters(people, tmp_path):
    done = subprocess.run([sys.executable, "-m", "datasets.check", str(people), "--jobs", "1", "--label_nc", str(CLASSES),
                           "--report", tmp_path / "report.html"], cwd=ROOT, capture_output=True, timeout=60,
                          env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0, done.stderr
    assert b"\\u738b\\u82b3 \\udcc4" in done.stdout and b"3 train, 3 test pictures" in done.stdout
    assert escaped(str(people)) in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_fault_names_its_file(people, tmp_path):
    shutil.copytree(people, tmp_path / "data")
    save(tmp_path / "data" / "train_label" / f"{GBK}.png", np.full((SIDE, SIDE), CLASSES, np.uint8))
    found = check.full_check(tmp_path / "data", CLASSES).problems
    assert [GBK in problem.message for problem in found if problem.severity == "error"] == [True]


def test_names_come_back_from_json_and_tables(tmp_path):
    names = [GBK, CHINESE, "a\\b", 'say "x"', f"\\{GBK}"]
    write_json(tmp_path / "a.json", {name: name for name in names})
    assert read_json(tmp_path / "a.json") == {name: name for name in names}
    write_csv(tmp_path / "a.csv", ["name"], [[name] for name in names])
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as stream:
        assert [unescaped(row[0]) for row in csv.reader(stream)][1:] == names


def test_the_parsers_journal_knows_its_photos_again(tmp_path):
    first = parse_faces.Journal(tmp_path, "train", 0.8)
    first.write_tables([])  # as every run begins
    first.add(parse_faces.Row(GBK, f"{GBK}.jpg", "none"))
    assert parse_faces.Journal(tmp_path, "train", 0.8).rows == first.rows, "after a run that was killed"
    first.write_tables([f"{GBK}.jpg"])
    assert parse_faces.Journal(tmp_path, "train", 0.8).rows == first.rows


def test_results_of_such_names_stay_apart():
    assert safe_stem(f"a/{GBK}.png") == "a_%C4%E3%BA%C3" and safe_stem(f"{CHINESE}.png") == CHINESE
