"""The generator as ONNX and with fewer bits draws what it drew before; what is missing is said by flag."""
import pytest
import torch

from models.deploy import EngineGenerator, OnnxGenerator, export_onnx, round_weights
from models.networks import define_G
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
