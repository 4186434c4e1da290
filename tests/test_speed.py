"""What is done for speed or memory changes no result: convolutions, checkpointing, steps while going back, compiling."""
import copy
import shutil

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.networks import define_G, winograd
from models.networks.convolution import InputConv2d, NarrowConv2d
from models.networks.recompute import checkpoint_activations
from models.networks.winograd import Conv3x3
from options.base_options import check_shared
from tests.conftest import write_root
from tests.test_models import first_batch, training
from util import device
from util.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("speed"), {"train": 4})


@pytest.fixture
def wide(monkeypatch):
    """A convolution that counts as wide on any processor."""
    monkeypatch.setattr(winograd, "_WIDE", 256)
    monkeypatch.setattr(winograd, "_PIXELS_A_CHANNEL", 0.25)
    torch.manual_seed(0)
    return Conv3x3(256, 288).requires_grad_(True)


def gradients(convolve, x, weight, bias):
    inputs = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    y = convolve(*inputs)
    return [y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), inputs)]


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("count, height, width", [(1, 10, 10), (2, 8, 14), (3, 4, 30)])
def test_fast_convolution_and_its_gradients_are_those_of_the_direct_one(wide, count, height, width, onednn, monkeypatch):
    if not onednn:
        monkeypatch.setattr(winograd, "_onednn_linear", None)
    x = torch.randn(count, 256, height + 2, width + 2)
    assert wide._pays(x)
    got = gradients(winograd._Winograd.apply, x, wide.weight, wide.bias)
    wanted = gradients(lambda *t: F.conv2d(*(v.double() for v in t)), x, wide.weight, wide.bias)
    for a, b in zip(got, wanted, strict=True):
        assert a.is_contiguous() and a.dtype == torch.float32
        assert (a - b).abs().max() < 1e-5 * b.abs().max()


@pytest.mark.parametrize("count, height, width", [(1, 9, 30), (2, 20, 7)])
@pytest.mark.parametrize("channels", [2, 3])
def test_narrow_convolution_and_its_gradients_are_those_of_the_direct_one(count, height, width, channels):
    torch.manual_seed(0)
    net, x = NarrowConv2d(16, channels, 7), torch.randn(count, 16, height, width)
    assert net._pays(x) and not NarrowConv2d(16, channels, 3)._pays(x) and not NarrowConv2d(16, 8, 7)._pays(x)
    assert not net.double()._pays(x.double())
    net.float()

    def fast(x, weight, bias):
        return torch.func.functional_call(net, {"weight": weight, "bias": bias}, (x,))

    got = gradients(fast, x, net.weight, net.bias)
    wanted = gradients(lambda *t: F.conv2d(*(v.double() for v in t)), x, net.weight, net.bias)
    for a, b in zip(got, wanted, strict=True):
        assert (a - b).abs().max() < 1e-5 * b.abs().max()


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("features", [0, 2, 3, 5])
def test_a_generators_first_convolution_has_the_gradients_of_a_plain_one_but_of_the_label_map(features, bf16):
    torch.manual_seed(0)
    net, x = InputConv2d(12, 8, 7, features), torch.randn(2, 12, 15, 11, requires_grad=True)
    assert net._pays(x) and not net._pays(x.detach()) and not InputConv2d(12, 8, 7)._pays(x)

    def gradients_of(direct):
        net.direct = direct
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            y = net(x).float()
        return [y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), [x, *net.parameters()])]

    (y, of_x, *of_parameters), (wanted, of_whole, *others) = gradients_of(False), gradients_of(True)
    assert not of_x[:, :12 - features].any()
    for a, b in zip([y, of_x[:, 12 - features:], *of_parameters], [wanted, of_whole[:, 12 - features:], *others], strict=True):
        assert a.shape == b.shape and a.dtype == torch.float32
        assert torch.linalg.vector_norm(a - b) <= (0.02 if bf16 else 1e-6) * torch.linalg.vector_norm(b)


def test_narrow_convolution_in_16_bits_is_that_in_float_but_for_rounding():
    torch.manual_seed(0)
    net, x = NarrowConv2d(16, 3, 7), torch.randn(1, 16, 20, 20)
    with torch.autocast("cpu", torch.bfloat16):
        assert net._pays(x)
        found = net(x)
    wanted = net(x)
    assert (found - wanted).abs().max() < 0.02 * wanted.abs().max()


@pytest.mark.parametrize("change", ["odd", "narrow", "small", "autocast", "double"])
def test_what_the_fast_convolution_is_not_for_is_computed_directly(wide, change):
    x = torch.randn(1, 256, 17 if change == "odd" else 18, 18)
    net = Conv3x3(16, 16) if change == "narrow" else wide.double() if change == "double" else wide
    x = x[:, :16] if change == "narrow" else x[..., :6, :6] if change == "small" else x.double() if change == "double" else x
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        assert not net._pays(x)
        assert net(x).shape == (1, len(net.weight), x.shape[2] - 2, x.shape[3] - 2)


@pytest.mark.parametrize("flags", [["--use_dropout"], ["--feat_skip", "--use_vae"], ["--netG", "local"]])
def test_checkpointed_layers_give_the_same_losses_and_weights(root, tmp_path, flags):
    (plain, loader), (checkpointed, _) = (training("pix2pixHD", root, tmp_path, "--label_feat", *flags, *more)
                                       for more in ([], ["--checkpoint_activations"]))
    trained_steps(plain, checkpointed, loader)


def trained_steps(plain, other, loader, steps=2):
    """Both take some steps and stay equal, bit for bit."""
    for _ in range(steps):
        found = []
        for model in (plain, other):
            torch.manual_seed(1)
            model.start_epoch(1)
            found.append(model.train_step(first_batch(loader)))
        assert {k: float(v) for k, v in found[0].items()} == {k: float(v) for k, v in found[1].items()}
    for (key, a), b in zip(plain.state_dict().items(), other.state_dict().values()):
        assert torch.equal(a, b), key


class Alive(TorchDispatchMode):
    """Counts the numbers of all tensors made inside that are still held."""

    def __init__(self):
        super().__init__()
        self.made = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if torch.is_tensor(tensor):
                storage = tensor.untyped_storage()
                self.made[storage.data_ptr()] = StorageWeakRef(storage), storage.nbytes() / 4
        return made

    def numbers(self):
        return sum(count for ref, count in self.made.values() if not ref.expired())


def held(net, x):
    """How many numbers a forward pass leaves behind for the backward pass, and the gradients of that."""
    torch.manual_seed(1)
    with Alive() as alive:
        y = net(x)
    count = alive.numbers()
    return count, torch.autograd.grad(y.float().square().sum(), list(net.parameters()))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("layers", [
    pytest.param(lambda: define_G(4, 3, 8, "global", 2, 3), id="global"),
    pytest.param(lambda: define_G(4, 3, 8, "local", 2, 3, 1, 2), id="local"),
    pytest.param(lambda: define_G(4, 3, 8, "global", 2, 3, use_dropout=True), id="dropout")])
def test_checkpointed_layers_hold_less_and_have_the_same_gradients(layers, autocast):
    torch.manual_seed(0)
    net, x = layers(), torch.randn(2, 4, 32, 32)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        whole, wanted = held(net, x)
        checkpoint_activations(net)
        part, found = held(net, x)
    assert part < (0.5 if autocast else 0.3) * whole
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["pix2pixHD", "parsing"])
def test_steps_on_the_way_back_are_those_of_whole_gradients(name, root, tmp_path):
    model, loader = training(name, root, tmp_path)
    twin = copy.deepcopy(model)
    twin._stores_all_gradients = lambda: True
    trained_steps(model, twin, loader)
    assert any(p.grad is not None for p in twin.nets.parameters())
    first = next(iter(model.optimizers.values()))
    assert all(p.grad is None for group in first.param_groups for p in group["params"])


@pytest.mark.parametrize("able, flags, used, said", [(False, ["--precision", "bf16"], "fp32", "--precision bf16: this CPU"),
                                                     (False, ["--fp16"], "fp32", "--precision fp16: this CPU"),
                                                     (True, ["--fp16"], "bf16", "--fp16 on a CPU"),
                                                     (True, ["--precision", "bf16"], "bf16", None)])
def test_what_a_cpu_cannot_compute_is_said(able, flags, used, said, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(device, "computes_bf16", lambda: able)
    model, _ = training("pix2pixHD", root, tmp_path, *flags)
    capsys.readouterr()
    check_shared(model.opt)
    line = capsys.readouterr().out
    assert model.precision == used and (said in line if said else not line)


def test_compiling_needs_a_compiler(root, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="--compile: needs a C"):
        training("pix2pixHD", root, tmp_path, "--compile")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no compiler here")
def test_compiled_networks_train_and_draw_alike(root, tmp_path):
    (plain, loader), (compiled, _) = (training("pix2pixHD", root, tmp_path, "--label_feat", *more) for more in
                                     ([], ["--compile"]))
    for model in (plain, compiled):
        model.start_epoch(1)
    a, b = plain.train_step(first_batch(loader)), compiled.train_step(first_batch(loader))
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.nets["G"].model[1].weight, compiled.nets["G"].model[1].weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name, flags", [("pix2pixHD", ["--norm", "batch"]), ("parsing", [])])
def test_layers_that_count_batches_are_not_checkpointed(name, flags, root, tmp_path):
    with pytest.raises(UserError, match="--checkpoint_activations"):
        training(name, root, tmp_path, "--checkpoint_activations", *flags)


def test_single_parameters_are_stepped_on_the_way_back_on_a_cpu_only(root, tmp_path):
    model, _ = training("pix2pixHD", root, tmp_path)
    assert not model._stores_all_gradients()
    model.device = torch.device("cuda")  # where each small step costs a kernel's start
    assert model._stores_all_gradients()


@pytest.mark.parametrize("kind, mode, wanted", [
    ("cuda", "resize_and_crop", True), ("cuda", "scale_width_and_crop", True), ("cuda", "resize", True),
    ("cuda", "scale_width", False), ("cuda", "none", False), ("cuda", "pad", False), ("cpu", "resize_and_crop", False)])
def test_cudnn_tries_its_convolutions_where_every_batch_has_one_size(kind, mode, wanted, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    device.expect_sizes(torch.device(kind), mode)
    assert torch.backends.cudnn.benchmark == wanted
