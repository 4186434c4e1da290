"""What `pip install -e .` makes: the packages, from any folder."""
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT

build_meta = pytest.importorskip("setuptools.build_meta")
PACKAGES = ("data", "datasets", "models", "options", "util")
SOURCES = {"ignore": shutil.ignore_patterns("*.jpg", "*.png", "__pycache__")}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The project's files, linked to from a folder that the build may write into."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.filterwarnings("ignore")
def test_an_editable_install_imports_from_anywhere(project, tmp_path):
    """By the hook that pip calls, which needs no network."""
    wheel = build_meta.build_editable(str(tmp_path))
    zipfile.ZipFile(tmp_path / wheel).extractall(tmp_path / "site")
    program = ("import site, sys; site.addsitedir(sys.argv[1])\nfrom importlib import metadata\n"
               "import data.dataset_spec, datasets.portraits, models.models, options.train_options, util.errors\n"
               "print(models.__file__, len(metadata.requires('label2face')))")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "site")], cwd=tmp_path, text=True,
                          capture_output=True, check=True)
    requirements = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()]
    assert done.stdout.split() == [str(ROOT / "models" / "__init__.py"), str(len(requirements))]


@pytest.mark.filterwarnings("ignore")
def test_every_module_is_in_a_package_that_is_installed(project, tmp_path):
    names = set(zipfile.ZipFile(tmp_path / build_meta.build_wheel(str(tmp_path))).namelist())
    sources = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert sources <= names and "datasets/sample_faces/dataset.json" in names
    assert not {name for name in names if name.startswith(("test", "benchmarks"))}


@pytest.mark.parametrize("environment", [True, False])
def test_an_interpreter_without_the_packages_is_told_which_has_them(environment, tmp_path):
    for path in (*ROOT.glob("*.py"), *(ROOT / name for name in PACKAGES)):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name, **SOURCES if path.is_dir() else {})
    if environment:
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "activate").touch()
    remedy = r"\. \.venv/bin/activate$" if environment else "make setup"
    scripts = ("train", "encode_features", "precompute_feature_maps", "test", "evaluate", "edit")
    for command in (*([f"{name}.py", "--name", "x"] for name in scripts), ["-m", "datasets.make_sample_faces", "--flow"]):
        # -S: the standard library alone
        done = subprocess.run([sys.executable, "-S", *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and re.search(f"^error: .* has no torch, numpy, PIL; .*{remedy}", done.stderr), done.stderr
