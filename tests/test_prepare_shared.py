"""What the preparation programs share: tables, --help, one line for a fault; and helpers of their tests."""
import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import prepare_celeba
from datasets._tables import read_table
from datasets._work import job_count, work, work_through
from util.errors import UserError

PROGRAMS = ("prepare_celebamask_hq", "prepare_celeba", "prepare_cityscapes", "parse_faces", "make_sample_faces", "relabel",
            "check")
ROOT = Path(__file__).resolve().parents[1]


def files_of(folder, hidden=False):
    """The relative names of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*")
            if path.is_file() and (hidden or not path.name.startswith("."))}


def rows_of(path):
    """The rows of a CSV file as dicts."""
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def random_masks(rng, parts, side):
    """{part: (side, side) uint8 of 0 and 1}: rectangles that overlap; about a quarter of the parts are absent."""
    masks = {}
    for part in parts:
        if part != "skin" and rng.random() < 0.25:
            continue
        top, left = rng.integers(0, side - 6, 2)
        high, wide = rng.integers(3, side // 2, 2)
        masks[part] = np.zeros((side, side), np.uint8)
        masks[part][top:top + high, left:left + wide] = 1
    return masks


def run(*arguments):
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120, env={**os.environ, "COLUMNS": "100"})


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_has_an_example_of_itself(program):
    shown = importlib.import_module(f"datasets.{program}").flags().format_help()
    assert f"python -m datasets.{program} " in shown.split("example:")[1]
    assert all(f"--{flag} " in shown for flag in ("jobs", "verbose"))


def test_a_fault_is_one_line_and_exit_status_2(tmp_path):
    done = run("datasets.prepare_celebamask_hq", "--src", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"--src {tmp_path}: holds no folder CelebA-HQ-img" in done.stderr


def test_published_and_comma_separated_tables_are_the_same(tmp_path):
    (tmp_path / "a.txt").write_text("2\nBald Smiling \n000001.jpg  1 -1\n000002.jpg -1  1\n")
    (tmp_path / "a.csv").write_text("image_id,Bald,Smiling\n000001.jpg,1,-1\n000002.jpg,-1,1\n")
    assert read_table(tmp_path / "a.txt") == read_table(tmp_path / "a.csv") == (
        ["Bald", "Smiling"], {"000001.jpg": [1, -1], "000002.jpg": [-1, 1]})


@pytest.mark.parametrize("text, line", [
    ("", "is empty"), ("3\n", "holds a count and no rows"), ("1\n000001.jpg 1 1\n", "line 2 holds no column names"),
    ("1\nBald\n000001.jpg 1 1\n", "row 3 is '000001.jpg 1 1', not a name and 1 whole numbers"),
    ("2\nBald Old\na.jpg 1 1\na.jpg 1 1\n", "names a.jpg twice")])
def test_a_broken_table_is_named_with_its_row(tmp_path, text, line):
    (tmp_path / "table.txt").write_text(text)
    with pytest.raises(UserError, match="table.txt.*" + line):
        read_table(tmp_path / "table.txt")


def double(item):
    if item % 10 == 7:
        raise UserError(f"{item}: is no good")
    return 2 * item


def die(item):
    os._exit(9)


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_keeps_order_and_goes_on_after_a_fault(jobs):
    got = list(work(double, range(100), jobs, "numbers"))
    assert got == [(i, None, f"{i}: is no good") if i % 10 == 7 else (i, 2 * i, "") for i in range(100)]


def test_work_says_what_failed_and_gives_up_where_all_does():
    with pytest.raises(UserError, match="^7: is no good .all else is done"):
        work_through(double, range(10), 1, "numbers")
    with pytest.raises(UserError, match="^3 of 30 failed: 7: is no good, 17: is no good, 27: is no good; mend"):
        work_through(double, range(30), 1, "numbers")
    with pytest.raises(UserError, match="gave up after 20 failures in a row"):
        work_through(double, [7] * 1000, 1, "numbers")


def test_a_worker_that_dies_ends_the_work_with_a_line():
    with pytest.raises(UserError, match="a worker process died, .*; lower --jobs"):
        list(work(die, range(20), 2, "numbers"))


SLEEPER = """
import sys, time
from datasets._work import work
def rest(item):
    print(item, flush=True)
    time.sleep(0.05)
if __name__ == "__main__":
    list(work(rest, range(10000), 2, "naps"))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process as Linux and macOS do")
def test_workers_leave_when_their_parent_is_killed(tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    parent = subprocess.Popen([sys.executable, tmp_path / "sleeper.py"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
    parent.stdout.readline()
    parent.kill()
    parent.stdout.read()  # ends when the last worker has let go of the pipe; a worker that stays hangs the test
    parent.wait(10)


def test_jobs():
    assert job_count(3) == 3 and job_count(0) >= 1


@pytest.mark.parametrize("flag, value", [("--size", "8"), ("--size", "x"), ("--limit", "0"), ("--jobs", "-1"), ("--limt", "3")])
def test_a_flag_that_cannot_be_meant_is_named_with_what_is_allowed(flag, value):
    with pytest.raises(UserError, match=f"{flag}.*must be a whole number|unrecognized arguments: {flag}"):
        prepare_celeba.main(["--src", "a", "--out", "b", flag, value])
