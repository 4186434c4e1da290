"""--data_type 8 and 16 on a CPU: pictures near the float ones, a file that is kept and renewed, and lines that say why not."""
import ctypes
import importlib.util
import json
import shutil
import sys
import threading

import pytest
import torch

from data.data_loader import CreateDataLoader
from models import cpu_inference, precision
from models.deploy import round_weights
from models.networks import build
from models.networks.region import RegionGenerator
from models.predictor import Predictor
from tests.conftest import call, succeed
from util.checkpoint import read_tensors

pytest.importorskip("openvino")
pytest.importorskip("nncf")


@pytest.fixture
def experiment(trained, tmp_path):
    return shutil.copytree(trained / "faces", tmp_path / "faces")


def seconds(of_eight_bits: float, of_float: float):
    """The time of a picture, without a clock."""
    return lambda net, x: of_eight_bits if isinstance(net, cpu_inference.OpenVinoGenerator) else of_float


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(cpu_inference, "_seconds", seconds(1.0, 2.0))


@pytest.fixture(scope="module")
def kept_by_another(trained, root, tmp_path_factory):
    """The experiment with its generator in eight bits beside it."""
    folder = shutil.copytree(trained / "faces", tmp_path_factory.mktemp("kept") / "faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_inference, "_seconds", seconds(1.0, 2.0))
        load(folder, root, data_type=8)
    return folder


@pytest.fixture
def quantised(kept_by_another, tmp_path):
    return shutil.copytree(kept_by_another, tmp_path / "quantised")


def load(experiment, root, **flags):
    return Predictor.load(experiment, gpu_ids="-1", nThreads=0, dataroot=root, phase="train", **flags)


def drawn(predictor):
    return predictor.draw(next(iter(CreateDataLoader(predictor.opt).load_data())))["synthesized_image"]


def kept(experiment):
    return sorted(path.name for path in experiment.glob("*_int8_*"))


def test_eight_bits_are_near_and_made_once_for_the_weights(experiment, root, fast, monkeypatch, capsys):
    plain, quantised = load(experiment, root), load(experiment, root, data_type=8)
    assert isinstance(quantised.model.nets["G"], cpu_inference.OpenVinoGenerator)
    one, other = drawn(plain), drawn(quantised)
    assert other.shape == one.shape and other.dtype == torch.float32
    assert not torch.equal(one, other) and cpu_inference._psnr(one, other) > 25
    assert plain.model.weights_used() == quantised.model.weights_used(), "the weights are those of the file, in both forms"
    assert plain.model.sources() == quantised.model.sources()
    files = kept(experiment)
    assert [name.rsplit(".", 1)[1] for name in files] == ["bin", "json", "xml"]

    with monkeypatch.context() as patch:
        patch.setattr(cpu_inference, "_make", None)  # not called
        assert torch.equal(drawn(load(experiment, root, data_type=8)), other)
    state = read_tensors(experiment / "latest_net_G.pth")
    torch.save({key: value * 1.01 for key, value in state.items()}, experiment / "latest_net_G.pth")
    load(experiment, root, data_type=8)
    assert len(kept(experiment)) == 3 and set(kept(experiment)).isdisjoint(files), "of other weights, in the old one's place"


def test_test_py_tells_what_eight_bits_cost(experiment, root, fast):
    where = ["--name", "faces", "--checkpoints_dir", experiment.parent, "--dataroot", root, "--gpu_ids", "-1"]
    results = ["--phase", "train", "--results_dir", experiment.parent / "r", "--use_encoded_image", "--nThreads", "0"]
    done = succeed(call("test", *where, *results, "--data_type", "8", "--how_many", "1"))
    page = experiment.parent / "r" / "faces" / "train_latest"
    figures = json.loads((page / "metrics.json").read_text())["int8"]
    assert figures["pictures"] == 1 and figures["psnr"] > 25 and figures["seconds"] < figures["seconds_in_float"]
    assert abs(figures["ssim"] - figures["ssim_in_float"]) < 0.1 and figures["layers_in_float"] == []
    line = f"Drawn in 8 bits, {figures['psnr']:.1f} dB"
    assert line in done.out and line in (page / "index.html").read_text()


def test_sensitive_layers_stay_in_float(experiment, root, fast, monkeypatch):
    monkeypatch.setattr(cpu_inference, "_LEAST_PSNR", 60.0)
    monkeypatch.setattr(cpu_inference, "MOST", 4)
    model = load(experiment, root, data_type=8).model
    assert model.more_figures["int8"]["psnr"] > 50 and model.more_figures["int8"]["layers_in_float"]
    assert "layers in float" in model.notes[-1]


def signal_stack():
    """Address and flags of this thread's alternate signal stack."""
    found = cpu_inference._SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.base, found.flags


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere OpenVINO sets no signal stack")
def test_signals_find_no_stack_that_goes_with_the_model(experiment, root, fast):
    before = signal_stack()
    for bits in (8, 16):
        drawn(load(experiment, root, data_type=bits))
        assert signal_stack() == before


def test_several_threads_draw_at_once(quantised, root):
    net = load(quantised, root, data_type=8).model.nets["G"]
    inputs = [torch.rand(1, 10, 32, 32) for _ in range(4)]
    alone, found = [net(x) for x in inputs], [None] * 4
    threads = [threading.Thread(target=lambda i=i: found.__setitem__(i, net(inputs[i]))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, found))


def test_where_eight_bits_are_slower_the_picture_is_that_in_float(experiment, root, monkeypatch):
    monkeypatch.setattr(cpu_inference, "_seconds", seconds(2.0, 1.0))
    predictor = load(experiment, root, data_type=8)
    assert torch.equal(drawn(predictor), drawn(load(experiment, root)))
    assert "not faster" in predictor.model.notes[-1]


@pytest.mark.parametrize("change, taken", [({}, True), ({"psnr": 34.0}, False), ({"ssim": 0.3, "ssim_in_float": 0.4}, False),
                                           ({"seconds": 1.5, "seconds_in_float": 2.0}, False), (None, False)])
def test_precision_auto_takes_eight_bits_that_are_there_if_near_and_fastest(quantised, root, timed, monkeypatch, change, taken):
    monkeypatch.setattr(precision, "computes_bf16", lambda: True)
    timed.update(fp32=2.0, bf16=1.0)  # so the generator in bf16 takes half of what is recorded for float
    record = next(quantised.glob("*_int8_*.json"))
    if change is None:
        record.unlink()
    else:
        known = {"psnr": 40.0, "ssim": 0.4, "ssim_in_float": 0.4, "seconds": 0.9, "seconds_in_float": 2.0}
        record.write_text(json.dumps({**json.loads(record.read_text()), **known, **change}))
    for flags, wanted in (({"precision": "auto"}, taken), ({"precision": "auto", "data_type": 32}, False), ({}, False)):
        net = load(quantised, root, **flags).model.nets["G"]
        assert isinstance(net, cpu_inference.OpenVinoGenerator) == wanted, flags


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_a_missing_package_is_said_and_the_weights_are_rounded(experiment, root, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == package else find(name, *more))
    model = load(experiment, root, data_type=8).model
    assert package in model.notes[-1] and "requirements-int8.txt" in model.notes[-1] and not kept(experiment)
    plain = load(experiment, root).model.nets["G"]
    round_weights(plain)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.nets["G"].parameters(), strict=True))


def test_without_pictures_there_is_nothing_to_quantise_with(experiment, tmp_path, capsys):
    done = call("test", "--name", "faces", "--checkpoints_dir", experiment.parent, "--dataroot", tmp_path / "gone",
                "--gpu_ids", "-1", "--data_type", "8")
    assert done.status == 2 and "gone" in done.err


def test_a_broken_file_is_named(quantised, root):
    next(quantised.glob("*_int8_*.xml")).write_text("<net>")
    done = call("test", "--name", quantised.name, "--checkpoints_dir", quantised.parent, "--dataroot", root, "--gpu_ids", "-1",
                "--phase", "train", "--data_type", "8")
    assert done.status == 2 and "_int8_" in done.err and "remove it" in done.err


def test_sixteen_bits_are_nearer_still(experiment, root):
    import openvino
    plain, half = load(experiment, root), load(experiment, root, data_type=16)
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert isinstance(half.model.nets["G"], cpu_inference.OpenVinoGenerator) == able
    assert ("bfloat16" if able else "no arithmetic in 16 bits") in half.model.notes[-1]
    one, other = drawn(plain), drawn(half)
    assert not torch.equal(one, other) and cpu_inference._psnr(one, other) > 35


def test_the_region_generator_is_converted_for_all_sizes():
    net = build(lambda: RegionGenerator(10, 3, 4, n_up=2, feat_nc=3)).eval()
    converted = cpu_inference.OpenVinoGenerator(cpu_inference._converted(net, torch.rand(1, 10, 16, 16)))
    for size in ((32, 24), (16, 48)):
        x = torch.rand(2, 10, *size)
        x[:, :6] = torch.nn.functional.one_hot(x[:, :6].argmax(1), 6).movedim(3, 1)
        with torch.no_grad():
            torch.testing.assert_close(converted(x), net(x), atol=1e-4, rtol=1e-3)
