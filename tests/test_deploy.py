"""Networks as ONNX and with fewer bits give what they gave before, with PyTorch or without; what is missing is said by flag."""
import contextlib
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from models import export
from models.deploy import EngineGenerator, OnnxGenerator, export_onnx, round_weights
from models.networks import define_G
from models.predictor import Predictor
from tests.conftest import ROOT, SIDE, call, succeed
from util import result_page
from util.checkpoint import read_tensors
from util.errors import UserError
from util.run_files import RunFiles
from util.util import palette


def small():
    torch.manual_seed(0)
    return define_G(5, 3, 4, "global", 2, 1).eval()


@pytest.fixture
def not_written(monkeypatch):
    """The networks that would be exported, as (network, path): writing takes seconds each."""
    found = []
    monkeypatch.setattr(export, "export_onnx", lambda net, channels, multiple, path, *names: found.append((net, path)))
    return found


def test_exporting_needs_the_experiment_alone(trained, tmp_path, monkeypatch, not_written):
    """Neither the data root, nor styles, nor the encoder; where the weights were copied to, they may all be missing."""
    shutil.copytree(trained / "faces", tmp_path / "x", ignore=shutil.ignore_patterns("*.npy", "styles*", "*_net_E.pth"))
    monkeypatch.chdir(tmp_path)
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", "gone", "--gpu_ids", "-1"]
    done = succeed(call("test", *where, "--export_onnx", "g.onnx"))
    assert "g.onnx" in done.out
    succeed(call("test", *where, "--export_onnx", "g.onnx", "--use_encoded_image"))
    for net, path in not_written:
        assert path == "g.onnx" and net(torch.zeros(1, 6 + 1 + 3, 16, 16)).shape == (1, 3, 16, 16)
    assert len(not_written) == 2 and not (tmp_path / "results").exists()
    manifest = json.loads((tmp_path / "g_manifest.json").read_text())
    assert manifest["encoder"] is None and [one["styles"] for one in manifest["classes"]] == [[]] * 6
    done = call("test", *where, "--export_onnx", "g.onnx", "--onnx", "h.onnx")
    assert done.status == 2 and "--export_onnx and --onnx" in done.err


def test_averaged_weights_are_exported_where_there_are_some(trained, tmp_path, not_written):
    folder = shutil.copytree(trained / "faces", tmp_path / "x")
    for name in "GE":
        state = read_tensors(folder / f"latest_net_{name}.pth")
        torch.save({key: value + 1 for key, value in state.items()}, folder / f"latest_net_{name}_ema.pth")
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", "gone", "--export_onnx", tmp_path / "g.onnx"]
    succeed(call("test", *where))
    succeed(call("test", *where, "--no_ema"))
    of_average, of_last = not_written[:2], not_written[2:]
    assert [path[len(str(tmp_path)):] for _, path in of_average] == ["/g.onnx", "/g_encoder.onnx"]
    for (average, _), (last, _) in zip(of_average, of_last, strict=True):
        assert all(torch.equal(a, b + 1) for a, b in zip(average.parameters(), last.parameters(), strict=True))


NAMES = ["background", "skin", "hair", "nose", "cloth", "hat"]


@pytest.fixture(scope="module")
def exported(trained, root, tmp_path_factory):
    """A folder with face.onnx, face_encoder.onnx and face_manifest.json of 'faces', and a data root that names its classes."""
    return export_faces(trained, root, tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def exported_region(trained_region, root, tmp_path_factory):
    """The same of --netG region."""
    return export_faces(trained_region, root, tmp_path_factory.mktemp("exported_region"))


def export_faces(trained, root, folder):
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    shutil.copytree(root, folder / "data")
    (folder / "data" / "dataset.json").write_text(json.dumps({"labels": NAMES}))
    succeed(call("test", "--name", "faces", "--checkpoints_dir", trained, "--dataroot", folder / "data", "--gpu_ids", "-1",
                 "--export_onnx", folder / "face.onnx"))
    return folder


def test_exported_networks_give_the_same_at_other_sizes(exported, trained):
    nets = Predictor.load(trained / "faces", gpu_ids="-1").model.nets
    path = str(exported / "face.onnx")
    encoder = OnnxGenerator(str(exported / "face_encoder.onnx"))
    for size in ((32, 32), (24, 40)):
        x, photo = torch.randn(2, 10, *size), torch.rand(1, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(OnnxGenerator(path)(x), nets["G"](x), atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(encoder(photo), nets["E"].maps(photo)[0], atol=1e-4, rtol=1e-3)
    with pytest.raises(UserError, match="--onnx .*10 channels.*4"):
        OnnxGenerator(path)(torch.zeros(1, 4, 32, 32))


def test_the_manifest_says_what_feeds_the_networks(exported, trained):
    manifest = json.loads((exported / "face_manifest.json").read_text())
    assert manifest["generator"]["channels"] == [{"what": "one-hot classes", "first": 0, "count": 6},
                                                 {"what": "edges", "first": 6, "count": 1},
                                                 {"what": "features", "first": 7, "count": 3}]
    assert manifest["sizes"]["multiple"] == 4 and manifest["sizes"]["loadSize"] == SIDE and manifest["feat_num"] == 3
    assert [one["name"] for one in manifest["classes"]] == NAMES and manifest["features_of"] == "label"
    assert [one["color"] for one in manifest["classes"]] == palette(6).tolist()
    book = json.loads((trained / "faces" / "styles.json").read_text())["classes"]
    for one in manifest["classes"]:
        assert one["styles"] == [style["centre"] for style in book[str(one["id"])]["styles"]]
    for net in (manifest["generator"], manifest["encoder"]):
        session = OnnxGenerator(str(exported / net["file"])).session
        assert [i.name for i in session.get_inputs()] == [net["input"]]
        assert [o.name for o in session.get_outputs()] == net.get("outputs", [net.get("output")])


@pytest.mark.parametrize("kind", ["", "_region"])
def test_the_documented_script_draws_what_test_py_draws(kind, tmp_path, monkeypatch, request):
    """docs/onnx.md's two blocks, run as they stand in a process that knows neither PyTorch nor this project."""
    exported, trained = (request.getfixturevalue(name + kind) for name in ("exported", "trained"))
    drawn = {}
    monkeypatch.setattr(result_page, "save_image", lambda image, path: drawn.update({path.name: image}))
    where = ["--name", "faces", "--checkpoints_dir", trained, "--dataroot", exported / "data", "--gpu_ids", "-1", "--how_many",
             "1", "--results_dir", tmp_path / "r"]
    monkeypatch.setattr(RunFiles, "writing", lambda files, name: contextlib.nullcontext(files.folder / name))
    monkeypatch.setattr(RunFiles, "finish", lambda *_: None)
    chosen = [f"{name}={3 * (name == 'hair')}" for name in NAMES]
    succeed(call("test", *where, *[word for style in chosen for word in ("--style", style)]))
    wanted = [drawn["p00_synthesized_image.jpg"]]
    succeed(call("test", *where, "--use_encoded_image"))
    wanted.append(drawn["p00_synthesized_image.jpg"])

    shutil.copy(exported / "data" / "test_label" / "p00.png", exported / "label.png")
    shutil.copy(exported / "data" / "test_img" / "p00.png", exported / "photo.jpg")  # opened as what it is: without loss
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "onnx.md").read_text(), re.S)
    script = "\n".join([*blocks, "import sys", "assert not {'torch', 'models', 'util'} & set(sys.modules)"])
    subprocess.run([sys.executable, "-c", script], cwd=exported, check=True, timeout=120)
    for name, picture in zip(("face", "own"), wanted, strict=True):
        found = np.asarray(Image.open(exported / f"{name}.png")).astype(int)
        assert found.shape == picture.shape and np.abs(found - picture).max() <= 1, name
    assert len(blocks[0].splitlines()) < 25 and np.abs(wanted[0].astype(int) - wanted[1]).max() > 2


@pytest.mark.parametrize("make, flag", [
    (lambda d: export_onnx(small(), 5, 4, str(d / "g.txt")), "--export_onnx"),
    (lambda d: OnnxGenerator(str(d / "none.onnx")), "--onnx"),
    (lambda d: EngineGenerator(str(d / "none.engine"), torch.device("cpu")), "--engine")])
def test_what_cannot_be_done_names_its_flag(tmp_path, make, flag):
    with pytest.raises(UserError, match=flag):
        make(tmp_path)


def test_eight_bits_leave_at_most_255_values_a_channel_and_nearly_the_picture():
    net, x = small(), torch.randn(1, 5, 32, 32)
    with torch.no_grad():
        before = net(x)
        round_weights(net)
        after = net(x)
    channels = net.model[1].weight.flatten(1)
    assert all(len(channel.unique()) <= 255 for channel in channels)
    assert 0 < (before - after).abs().mean() < 0.05
