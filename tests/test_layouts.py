"""Memory layouts: whatever strides weights, gradients and moments come in, each weight is stepped with its own gradient."""
import copy

import pytest
import torch

from models.models import MODELS, create_model
from models.networks import define_G
from tests.conftest import LOSSES, options, write_root
from tests.test_models import first_batch, flags_of
from tests.test_models import training as with_own_rate
from util import distributed
from util.checkpoint import Checkpoint, Position

RATE = ["--lr", "0.0002"]  # what is compared is rounding, in units of a step
FORMATS = {"plain": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("layouts"), {"train": 4})


def training(*args):
    return with_own_rate(*args, *RATE)


def lay_out(model, layout):
    """Set the memory format of all weights by hand, as --compile with 16 bits does."""
    model.nets.to(memory_format=FORMATS[layout])
    return model


def moments(model):
    """(weight, moment) pairs of all optimizers."""
    return [(p, value) for o in model.optimizers.values() for p, state in o.state.items()
            for value in state.values() if torch.is_tensor(value) and value.ndim]


def assert_same_weights(one, two):
    for (name, a), b in zip(one.nets.named_parameters(), two.nets.parameters(), strict=True):
        if name.endswith("bias") and name.startswith(("G.", "D.")):  # before a norm: without a gradient but for rounding
            continue
        # where a gradient is nearly 0, rounding decides on the sign of one of Adam's first steps
        close = torch.isclose(a, b, rtol=1e-4, atol=1e-6)
        assert close.float().mean() > 0.999, (name, float((a - b).abs().max()))


@pytest.mark.parametrize("before, after", [("plain", "channels_last"), ("channels_last", "plain")])
@pytest.mark.parametrize("name", MODELS)
def test_a_run_goes_on_in_another_layout(name, before, after, root, tmp_path):
    model, loader = training(name, root, tmp_path)
    lay_out(model, before)
    model.start_epoch(1)
    model.train_step(first_batch(loader))
    assert moments(model)
    twin = lay_out(training(name, root, tmp_path)[0], after)
    twin.nets.load_state_dict(model.nets.state_dict())
    twin.load_state(copy.deepcopy(model.state()))
    assert all(value.stride() == p.stride() for p, value in moments(twin))
    for one in (model, twin):
        torch.manual_seed(1)
        one.start_epoch(1)
        one.train_step(first_batch(loader))
    assert_same_weights(model, twin)


def layouts_of(model):
    """Of each parameter whether it is in the plain layout, and whether channels-last; a 1x1 convolution's is both."""
    return [(p.is_contiguous(), p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last))
            for p in model.nets.parameters()]


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_a_checkpoint_come_in_the_layout_of_a_new_network(name, root, tmp_path):
    model, _ = training(name, root, tmp_path)
    layouts = layouts_of(model)
    with Checkpoint(tmp_path / "x") as checkpoint:
        checkpoint.save(lay_out(model, "channels_last"), Position())
    again = create_model(options(flags_of(name, root, tmp_path, *LOSSES, "--continue_train")))
    assert layouts_of(again) == layouts
    assert_same_weights(model, again)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", [{}, {"feat_skip": 3, "upsample": "resize"}, {"norm": "batch"}])
def test_gradients_are_the_same_in_every_layout(kind, count):
    torch.manual_seed(0)
    net, x, found = define_G(6, 3, 4, "global", 2, 1, **kind), torch.randn(count, 6, 32, 32), []
    for weights in FORMATS.values():
        for inputs in FORMATS.values():
            twin = copy.deepcopy(net).to(memory_format=weights)
            y = twin(x.contiguous(memory_format=inputs))
            found.append(torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), list(twin.parameters())))
    for other in found[1:]:
        for p, a, b in zip(net.parameters(), found[0], other, strict=True):
            if p.ndim > 1:  # a bias before a norm has none but rounding
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(a.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_exchanged_gradients_lie_like_their_weights(name, root, tmp_path, group, monkeypatch):
    models = [lay_out(training(name, root, tmp_path)[0], layout) for layout in FORMATS]
    loader = training(name, root, tmp_path)[1]
    monkeypatch.setattr(distributed, "world_size", lambda: 2)  # gradients are wanted whole
    for _ in range(2):
        for model in models:
            torch.manual_seed(1)
            model.start_epoch(1)
            model.train_step(first_batch(loader))
            assert all(p.grad.stride() == p.stride() for p in model.nets.parameters() if p.grad is not None)
    assert_same_weights(*models)
