"""The examples of docs/extending.md, run as they stand: trained, resumed, drawn, looked at, used from Python."""
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import data
import models
from data import data_loader
from datasets import check
from models import models as registry
from models.predictor import Predictor
from tests.conftest import ROOT, call, same, succeed
from util.checkpoint import read_tensors
from util.errors import UserError

TEXT = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = {re.match(r'"""(\S+\.py):', block)[1]: block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S)}
SMALL = ["--gpu_ids", "-1", "--nThreads", "0", "--loadSize", "32", "--resize_or_crop", "resize"]


@pytest.fixture
def extended(tmp_path, monkeypatch):
    """The two files where their first lines say, and the two lines in the registries."""
    for path, block in BLOCKS.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(block)
    for package in (data, models):
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / package.__name__)])
    for name, registered, kind in (("DATASETS", data_loader.DATASETS, "photos"), ("MODELS", registry.MODELS, "autoencoder")):
        monkeypatch.setitem(registered, kind, re.search(rf'^    {name} = .*"{kind}": "(\S+)"', TEXT, re.M)[1])
    return tmp_path


def test_they_are_short_enough_to_be_read():
    assert BLOCKS.keys() == {"data/photos_dataset.py", "models/autoencoder_model.py"}
    for path, block in BLOCKS.items():
        code = [line for line in block.splitlines() if line.strip()]
        assert len(code) <= 60, (path, len(code))


def test_a_photo_that_cannot_be_used_is_named(extended, root, capsys):
    broken = shutil.copytree(root, extended / "broken")
    (broken / "train_img" / "p01.png").write_bytes((broken / "train_img" / "p00.png").read_bytes()[:100])
    assert check.main([str(broken), "--dataset_mode", "photos"]) == 2
    out = capsys.readouterr().out
    assert "p01.png" in out and "5 items of --dataset_mode photos, 1 cannot be used" in out


def test_they_train_resume_draw_and_serve(extended, root):
    where = ["--name", "ae", "--checkpoints_dir", extended, "--dataroot", root, *SMALL]
    train = ["--model", "autoencoder", *where, "--save_latest_freq", "3", "--display_freq", "1", "--code_nc", "3"]
    succeed(call("train", *train, "--niter", "2", "--niter_decay", "0"))
    whole = read_tensors(extended / "ae" / "latest_net_A.pth")
    assert (extended / "ae" / "web" / "index.html").is_file()
    succeed(call("train", *train, "--niter", "1", "--niter_decay", "0"))
    succeed(call("train", *train, "--niter", "2", "--niter_decay", "0", "--continue_train"))
    assert same(read_tensors(extended / "ae" / "latest_net_A.pth"), whole)

    succeed(call("test", *where, "--results_dir", extended))
    page = (extended / "ae" / "test_latest" / "index.html").read_text()
    assert page.count("_synthesized_image.jpg") >= 3 and page.count("_real_image.jpg") >= 3
    photo = root / "test_img" / "p00.png"
    drawn = Predictor.load(extended / "ae", gpu_ids="-1")(image=photo)
    shown = Image.open(extended / "ae" / "test_latest" / "images" / "p00_synthesized_image.jpg")
    assert drawn.size == shown.size and np.abs(np.asarray(drawn, int) - np.asarray(shown, int)).mean() < 3

    assert check.main([str(root), "--dataset_mode", "photos", "--code_nc", "3", "--output_nc", "1"]) == 0
    with pytest.raises(UserError, match="--cde_nc"):
        check.main([str(root), "--dataset_mode", "photos", "--cde_nc", "3"])

    predictor = Predictor.load(extended / "ae", gpu_ids="-1")
    assert predictor.classes == [] and "classes" not in repr(predictor)
    for wrong in ({"label": photo}, {}):
        with pytest.raises(UserError, match="--dataset_mode photos: .*; it takes image"):
            predictor(**wrong)

    refused = call("test", *where, "--results_dir", extended, "--code_nc", "4")
    assert refused.status == 2 and "--code_nc 4: the experiment was trained with --code_nc 3" in refused.err
    refused = call("train", *where[2:], "--dataset_mode", "photos")
    assert refused.status == 2 and "--model pix2pixHD takes label" in refused.err


@pytest.mark.parametrize("mistake, message", [
    ({"max_norm": {"B": 1.0}}, "max_norm names B, but make_optimizers gives A"),
    ({"updates": lambda self: (("B", self.loss_A),)}, "updates names B, but make_optimizers gives A"),
    ({"loss_A": lambda self: self.nets["A"][0].weight.sum()}, "loss of update A gave tensor"),
    ({"loss_A": lambda self: {"L1": self.nets["A"][0].weight}}, "scalar tensor"),
])
def test_mistakes_of_a_model_are_named(extended, root, monkeypatch, mistake, message):
    kind = registry.model_class("autoencoder")
    for name, value in mistake.items():
        monkeypatch.setattr(kind, name, value)
    with pytest.raises(TypeError, match=message):
        call("train", "--model", "autoencoder", "--name", "ae", "--checkpoints_dir", extended, "--dataroot", root, *SMALL)
