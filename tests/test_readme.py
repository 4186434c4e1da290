"""README's commands, word for word and in order, in a copy of the tree; only data roots make them small."""
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.networks import build
from models.networks.bisenet import BiSeNet
from tests.conftest import ROOT, copy_tracked

SETTING_UP = "Three commands"  # the section whose commands make an environment; make demo is scripts/demo.sh
SMALL = {"loadSize": 64, "fineSize": 32, "max_dataset_size": 2, "batchSize": 1, "ngf": 2, "nef": 2, "ndf": 2, "num_D": 1,
         "n_layers_D": 1, "n_downsample_global": 2, "n_blocks_global": 1, "n_downsample_E": 2, "n_clusters": 2, "niter": 1,
         "niter_decay": 0, "no_vgg_loss": True}


def commands() -> list[tuple[str, str]]:
    """(section, line) of every line of README's blocks of commands."""
    found, section = [], ""
    for line in (ROOT / "README.md").read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        if line.startswith("    "):
            found.append((section, line.strip()))
    return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The tracked files alone, with photos and a parser's weights where README has them."""
    folder = tmp_path_factory.mktemp("clone")
    copy_tracked(folder, leave_out=("tests/", "docs/"))
    (folder / "my_photos").mkdir()
    for photo in sorted((ROOT / "datasets/sample_faces/test_img").iterdir())[:3]:
        shutil.copy(photo, folder / "my_photos")
    torch.save(build(lambda: BiSeNet(19)).state_dict(), folder / "79999_iter.pth")
    return folder


def make_small(folder):
    """Let every data root ask for small pictures, small networks and a short training."""
    for path in (folder / "datasets").glob("*/dataset.json"):
        raw = json.loads(path.read_text())
        path.write_text(json.dumps({**raw, "defaults": {**raw.get("defaults", {}), **SMALL}}))


def run(line, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    warned = done.returncode == 1 and "datasets.check" in line  # of classes that the random parser never finds
    assert done.returncode == 0 or warned, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_every_command_of_readme_runs_in_order(clone):
    said = {}
    for section, line in commands():
        if section != SETTING_UP:
            make_small(clone)
            said[line] = run(line, clone)
    assert len(said) >= 14, "README's blocks were found"
    for made in ("faceIm/previous", "faceIm_feat", "mine"):  # of faceIm the bare commands' training has been set aside
        assert (clone / "checkpoints" / made / "features.npy").is_file(), made
    for page in ("faceIm/test_latest", "faceIm_feat/test_latest", "mine/train_latest"):
        assert (clone / "results" / page / "index.html").is_file(), page
    assert (clone / "checkpoints/label2city_512p/latest_net_G.pth").is_file() and (clone / "report.html").is_file()
    start, = (out for line, out in said.items() if "train.py --name mine" in line)
    assert "ngf: 16  [--load_pretrain]" in start and "left out" not in start, "the networks fit their start"


def test_preparation_commands_of_the_documents_name_real_flags():
    """Those of tables, lists and other documents, which cannot run as what they need is not there."""
    documents = (ROOT / "README.md", ROOT / "datasets/README.md", *(ROOT / "docs").glob("*.md"))
    texts = "\n".join(path.read_text() for path in documents)
    found = set(re.findall(r"python -m datasets\.(\w+)((?: [^`\n ]+)+)", texts))
    assert len(found) > 10
    for name, line in sorted(found):
        known = importlib.import_module(f"datasets.{name}").flags()._option_string_actions
        assert set(re.findall(r"--\w+", line)) <= known.keys(), (name, line)
