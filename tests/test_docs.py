"""The documents say what is there, and what they say works."""

import re
import shlex
import subprocess

import pytest

from options.edit_options import EditOptions
from options.evaluate_options import EvaluateOptions
from options.test_options import TestOptions
from options.train_options import TrainOptions
from tests.conftest import ROOT

OVERVIEW, README = ((ROOT / name).read_text() for name in ("docs/overview.md", "README.md"))
# less extending.md, whose commands are of a model of its own
TEXTS = "\n".join(p.read_text() for p in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) if p.name != "extending.md")
SOURCES = sorted(
    p.relative_to(ROOT).as_posix()
    for folder in ("options", "data", "models", "util", "datasets", "scripts", "benchmarks", "editor")
    for p in (ROOT / folder).rglob("*.*")
    if p.suffix in (".py", ".sh", ".js", ".html", ".css") and p.name != "__init__.py"
)
OPTIONS = {"train.py": TrainOptions(), "encode_features.py": TrainOptions("encode"), "test.py": TestOptions(),
           "evaluate.py": EvaluateOptions(), "edit.py": EditOptions()}


@pytest.mark.parametrize("path", [*SOURCES, *(p.name for p in ROOT.glob("*.py"))])
def test_overview_tells_every_files_job(path):
    folder = path.rsplit("/", 1)[0] + "/"
    assert f"`{path}`" in OVERVIEW or f"`{folder}`" in OVERVIEW and folder == "datasets/portraits/"


def test_overview_tells_of_no_file_that_is_gone():
    for path in re.findall(r"`([\w./]+\.(?:py|sh))`", OVERVIEW):
        assert (ROOT / path).is_file() or (ROOT / "datasets/portraits" / path).is_file(), path


@pytest.mark.parametrize(
    "line",
    sorted(set(re.findall(r"^ {4,}(?:CUDA_VISIBLE_DEVICES=0 )?python ((?:train|encode_features|test|evaluate|edit)\.py .*)$",
                          TEXTS, re.M))),
)
def test_documented_commands_name_real_flags(line):
    script, *argv = shlex.split(line, comments=True)
    parser = OPTIONS[script]._full_parser(OPTIONS[script]._first_phase(argv), {})
    parser.parse_args(argv)


def test_readme_flag_table_names_real_flags():
    known = {
        flag
        for options in OPTIONS.values()
        for action in options._full_parser(options._first_phase([]), {}).flags().values()
        for flag in action.option_strings
    }
    section = README.partition("## Flags that matter")[2].partition("## ")[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`(--\w+)", table))
    assert len(named) > 15 and named <= known, named - known


def test_links_lead_somewhere():
    for text, base in ((README, ROOT), *((p.read_text(), p.parent) for p in (ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (base / target).exists(), target


def test_nothing_that_is_output_is_tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert not [p for p in tracked if re.search(r"(^|/)(__pycache__|results|\.venv)/|\.(pyc|pth)$|^checkpoints/.+/", p)
                and not p.startswith("checkpoints/sample_faces/")]
