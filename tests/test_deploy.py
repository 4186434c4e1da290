"""The generator as ONNX and with fewer bits draws what it drew before; what is missing is said by flag."""
import shutil

import pytest
import torch

from models import deploy
from models.deploy import EngineGenerator, OnnxGenerator, export_onnx, round_weights
from models.networks import define_G
from tests.conftest import call, succeed
from util.errors import UserError


def small():
    torch.manual_seed(0)
    return define_G(5, 3, 4, "global", 2, 1).eval()


def test_exported_generator_draws_the_same_at_other_sizes(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    net, path = small(), str(tmp_path / "g.onnx")
    export_onnx(net, 5, 4, path)
    for size in ((32, 32), (24, 40)):
        x = torch.randn(2, 5, *size)
        with torch.no_grad():
            torch.testing.assert_close(OnnxGenerator(path)(x), net(x), atol=1e-4, rtol=1e-3)
    with pytest.raises(UserError, match="--onnx .*5 channels.*4"):
        OnnxGenerator(path)(torch.zeros(1, 4, 32, 32))


def test_exporting_needs_the_experiment_alone(trained, tmp_path, monkeypatch):
    """Neither the data root, nor styles, nor the encoder; where the weights were copied to, they may all be missing."""
    exported = []
    monkeypatch.setattr(deploy, "export_onnx", lambda net, channels, multiple, path: exported.append((net, channels, path)))
    shutil.copytree(trained / "faces", tmp_path / "x", ignore=shutil.ignore_patterns("*.npy", "styles*", "*_net_E.pth"))
    monkeypatch.chdir(tmp_path)
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", "gone", "--gpu_ids", "-1"]
    done = succeed(call("test", *where, "--export_onnx", "g.onnx"))
    assert "g.onnx" in done.out
    succeed(call("test", *where, "--export_onnx", "g.onnx", "--use_encoded_image"))
    for net, channels, path in exported:
        assert (channels, path) == (6 + 1 + 3, "g.onnx") and net(torch.zeros(1, channels, 16, 16)).shape == (1, 3, 16, 16)
    assert len(exported) == 2 and not (tmp_path / "results").exists()
    done = call("test", *where, "--export_onnx", "g.onnx", "--onnx", "h.onnx")
    assert done.status == 2 and "--export_onnx and --onnx" in done.err


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
