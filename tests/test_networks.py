"""The networks: names and shapes that published weights rely on, and what they compute."""
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from models.networks import build, define_D, define_G
from models.networks.bisenet import BiSeNet
from models.networks.region import RegionMap, normalized, place_in_regions
from models.networks.segmentation import SegmentationDiscriminator
from models.regions import Regions, edges, one_hot
from tests.conftest import GOLDEN
from util.errors import UserError


def leaves(value):
    return [value] if torch.is_tensor(value) else [leaf for item in value for leaf in leaves(item)]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference's numbers are not here")
@pytest.mark.parametrize("name", ["G_global", "G_local", "E_instance", "D_interm", "D_plain"])
def test_reference_weights_give_the_reference_output(name):
    case = torch.load(GOLDEN / f"{name}.pt", weights_only=True)
    net = (define_D if name.startswith("D_") else define_G)(**case["args"])
    net.load_state_dict(case["state_dict"], strict=True)
    with torch.no_grad():
        got = net(case["input"], case["inst"]) if name.startswith("E_") else net(case["input"])
    for a, b in zip(leaves(got), leaves(case["output"]), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)


def test_global_generator_has_the_published_names():
    shapes = {k: tuple(v.shape) for k, v in define_G(7, 3, 4, "global", 2, 2).state_dict().items()}
    assert shapes == {
        **conv(1, 4, 7, 7), **conv(4, 8, 4, 3), **conv(7, 16, 8, 3),
        **{f"model.{n}.conv_block.{m}.{k}": s for n in (10, 11) for m in (1, 5)
           for k, s in (("weight", (16, 16, 3, 3)), ("bias", (16,)))},
        "model.12.weight": (16, 8, 3, 3), "model.12.bias": (8,), "model.15.weight": (8, 4, 3, 3), "model.15.bias": (4,),
        **conv(19, 3, 4, 7)}


def conv(place, out_nc, in_nc, kernel):
    return {f"model.{place}.weight": (out_nc, in_nc, kernel, kernel), f"model.{place}.bias": (out_nc,)}


def test_local_enhancer_has_the_published_names():
    names = {k.split(".")[0] for k in define_G(7, 3, 4, "local", 1, 1, 2, 1).state_dict()}
    assert names == {"model", "model1_1", "model1_2", "model2_1", "model2_2"}


@pytest.mark.parametrize("intermediate", [True, False])
def test_discriminator_names_and_order_of_scales(intermediate):
    net = define_D(5, 4, 2, num_D=3, getIntermFeat=intermediate)
    names = {k.split(".")[0] for k in net.state_dict()}
    expected = {f"scale{i}_layer{j}" for i in range(3) for j in range(4)} if intermediate else {f"layer{i}" for i in range(3)}
    assert names == expected
    result = net(torch.randn(2, 5, 32, 32))
    assert len(result) == 3 and [len(scale) for scale in result] == [4 if intermediate else 1] * 3
    assert all(scale[-1].shape[:2] == (2, 1) for scale in result)
    sides = [scale[-1].shape[-1] for scale in result]
    assert sides == sorted(sides, reverse=True) and len(set(sides)) == 3, "finest first"


def test_discriminator_widens_to_512_at_most_and_sigmoid_bounds_it():
    net = define_D(3, 64, 5, use_sigmoid=True)
    assert max(p.shape[0] for p in net.parameters()) == 512
    answer = net(torch.randn(1, 3, 64, 64) * 50)[0][-1]
    assert answer.min() >= 0 and answer.max() <= 1


@pytest.mark.parametrize("netG, more", [("global", {}), ("local", {"n_local_enhancers": 1}),
                                        ("local", {"n_local_enhancers": 2}),
                                        ("global", {"upsample": "resize"}), ("global", {"feat_skip": 3}),
                                        ("local", {"feat_skip": 3, "norm": "batch"}), ("global", {"use_dropout": True}),
                                        ("region", {"n_up": 2, "feat_nc": 2}), ("region", {"n_up": 1, "norm_G": "spade"}),
                                        ("region", {"n_up": 2, "feat_nc": 2, "of_classes": False})])
@pytest.mark.parametrize("output_nc", [1, 3])
def test_generator_keeps_the_size_and_the_range_and_every_parameter_counts(netG, more, output_nc):
    net = define_G(6, output_nc, 4, netG, 2, 1, n_blocks_local=1, **more)
    x = torch.randn(2, 6, 32, 48)
    if netG == "region":
        x[:, :3] = torch.eye(3)[torch.randint(0, 3, (2, 32, 48))].movedim(-1, 1)
    kept = x.clone()
    out = net(x)
    assert out.shape == (2, output_nc, 32, 48) and out.abs().max() <= 1 and out.std() > 0
    assert torch.equal(x, kept), "inputs are never changed"
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(p.grad.abs().max() > 0 for name, p in net.named_parameters() if name.endswith("weight"))


def test_local_enhancer_is_coarse_part_plus_detail():
    net = define_G(4, 3, 4, "local", 1, 1, n_local_enhancers=1, n_blocks_local=1)
    x = torch.randn(1, 4, 32, 32)
    half = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    assert torch.equal(net(x), net.model1_2(net.model1_1(x) + net.model(half)))


def test_feature_path_past_the_norms_starts_as_the_identity():
    net = define_G(6, 3, 4, "global", 1, 1, feat_skip=3)
    with torch.no_grad():
        for p in net.model.parameters():
            p.zero_()
        x = torch.rand(1, 6, 16, 16)
        assert torch.allclose(net(x), torch.tanh(x[:, -3:]))


def region_input(labels, features, classes=5):
    """One-hot classes, edges and features painted by class: what the region generator takes."""
    return torch.cat([one_hot(labels, classes), edges(labels), features[:, labels[0, 0]][None]], 1)


def test_the_region_generator_maps_a_style_once_a_class_as_it_would_pixel_by_pixel():
    torch.manual_seed(0)
    of_classes, of_pixels = (define_G(9, 3, 4, "region", n_up=2, feat_nc=3, of_classes=flag).eval() for flag in (True, False))
    state = of_classes.state_dict()
    joined = {key: value for key, value in state.items() if not key.endswith(("style_weight", "noise_of_style"))}
    for key in [key for key in state if key.endswith("style_weight")]:  # painted features stand before the noise
        name = key.replace("style_weight", "weight")
        joined[name] = torch.cat([joined[name][:-1], state[key], joined[name][-1:]])
    of_pixels.load_state_dict(joined)
    labels = torch.randint(0, 5, (1, 1, 4, 6)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    x = region_input(labels, torch.randn(3, 5))
    with torch.no_grad():
        torch.testing.assert_close(of_classes(x), of_pixels(x), atol=1e-5, rtol=1e-5)


def test_noise_varies_texture_while_training_and_is_the_same_at_each_inference():
    torch.manual_seed(0)
    net = define_G(9, 3, 8, "region", n_up=2, feat_nc=3)
    with torch.no_grad():
        for module in filter(lambda module: isinstance(module, RegionMap), net.modules()):
            assert not module.weight[-1].any(), "noise starts without effect"
            module.weight[-1].normal_(0, 0.1)
    labels = torch.randint(0, 5, (1, 1, 4, 4)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    x = region_input(labels, torch.randn(3, 5))
    with torch.no_grad():
        noisy = torch.cat([net(x) for _ in range(8)])
        net.eval()
        first, again = net(x), net(x)
        net.texture = 1
        other = net(x)
        net.noise_strength[labels.unique()] = 0
        net.texture, silent = 0, net(x)
        spread, layout = noisy.std(0).mean(), noisy.mean(0).std()
        assert torch.equal(first, again) and not torch.equal(first, other) and torch.equal(net(x), silent)
    assert 0 < spread < layout, "noise changes less than what is drawn"


def test_the_style_of_a_region_says_how_much_noise_it_gets():
    net = define_G(9, 3, 8, "region", n_up=2, feat_nc=3).eval()
    labels = torch.randint(0, 5, (1, 1, 4, 4)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    x = region_input(labels, torch.ones(3, 5))
    with torch.no_grad():
        for module in filter(lambda module: isinstance(module, RegionMap), net.modules()):
            module.weight[-1].normal_(0, 0.1)
        drawn = {}
        for of_style, strength in ((0, 1), (-50, 1), (0, 0), (50, 1), (0, 2)):
            net.noise_of_style[..., 1:] = of_style
            net.noise_strength.fill_(strength)
            drawn[of_style, strength] = net(x)
    torch.testing.assert_close(drawn[-50, 1], drawn[0, 0])
    torch.testing.assert_close(drawn[50, 1], drawn[0, 2])
    assert not torch.allclose(drawn[0, 1], drawn[0, 2])


@pytest.mark.parametrize("size", [(64, 64), (1024, 32), (96, 160)])
def test_the_region_generator_draws_any_size_and_place_follows_the_regions(size):
    labels = torch.zeros(1, 1, *size, dtype=torch.long)
    labels[..., size[0] // 4:size[0] // 2, size[1] // 4:size[1] // 2] = 1
    labels[..., -1, -1] = 2
    place = place_in_regions(one_hot(labels, 4))
    torch.testing.assert_close(place, Regions.of(labels).place(), atol=2e-3, rtol=1e-3)
    for region in (0, 1):
        inside = place[0, :, labels[0, 0] == region]
        torch.testing.assert_close(inside.mean(1), torch.zeros(2), atol=1e-3, rtol=0)
        torch.testing.assert_close(inside.std(1), torch.ones(2), atol=0.02, rtol=0)
    with torch.no_grad():
        assert define_G(7, 3, 2, "region", n_up=5, feat_nc=2)(region_input(labels, torch.randn(2, 4), 4)).shape == (1, 3, *size)


def test_of_many_classes_no_weight_grows_with_their_square():
    few, many = ({key: value.numel() for key, value in net.state_dict().items()}
                 for net in (define_G(classes + 4, 3, 4, "region", n_up=2, feat_nc=3) for classes in (19, 190)))
    assert all(many[key] <= few[key] * 190 / 19 for key in few)


def test_instance_norm_of_regions_is_pytorchs_with_its_gradient():
    x = (torch.randn(2, 3, 9, 7, dtype=torch.double) * 5 + 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.testing.assert_close(normalized(x), F.instance_norm(x))
    assert torch.autograd.gradcheck(normalized, (x,))


def test_the_segmentation_discriminator_scores_each_pixel_of_any_size():
    net = build(lambda: SegmentationDiscriminator(3, 5, 4, 3))
    for size in ((37, 22), (64, 64)):
        assert net(torch.rand(2, 3, *size)).shape == (2, 6, *size)


def test_encoder_averages_over_instances_of_each_picture():
    net = define_G(3, 2, 4, "encoder", 2)
    image, inst = torch.randn(2, 3, 32, 32), torch.randint(0, 4, (2, 1, 32, 32)) * 1000
    with torch.no_grad():
        plain, pooled = net.model(image), net(image, inst)
    for n in range(2):
        for value in inst[n].unique():
            inside = inst[n, 0] == value
            torch.testing.assert_close(pooled[n][:, inside],
                                       plain[n][:, inside].mean(1, keepdim=True).expand(2, int(inside.sum())))


def test_dropout_drops_while_training_only():
    net, x = define_G(4, 3, 4, "global", 1, 1, use_dropout=True), torch.randn(1, 4, 16, 16)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_weights_start_as_the_reference_says():
    torch.manual_seed(0)
    net = define_G(8, 3, 16, "global", 2, 2, norm="batch")
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.15) and abs(module.weight.mean()) < 0.003
        elif isinstance(module, nn.BatchNorm2d):
            assert abs(module.weight.mean() - 1) < 0.02 and module.bias.abs().max() == 0
            assert module.running_mean.abs().max() == 0 and (module.running_var == 1).all()


def test_instance_norm_has_nothing_to_learn_or_to_remember():
    net = define_G(4, 3, 4, "global", 1, 0)
    assert not any("running" in k for k in net.state_dict())
    assert not any(list(m.parameters()) for m in net.modules() if isinstance(m, nn.InstanceNorm2d))


def test_networks_to_be_loaded_cost_no_memory():
    net = build(lambda: nn.Conv2d(3, 3, 3), fresh=False)
    assert net.weight.is_meta


@pytest.mark.parametrize("make, flag", [(lambda: define_G(3, 3, 4, "globel"), "--netG"),
                                        (lambda: define_G(3, 3, 4, "global", norm="grup"), "--norm")])
def test_unknown_kinds_are_refused_by_flag(make, flag):
    with pytest.raises(UserError, match=flag):
        make()


class Gain(nn.Module):
    """A parameter of its own and a layer that it starts otherwise than the project does."""

    def __init__(self, also_inside=False):
        super().__init__()
        self.gain, self.inside = nn.Parameter(torch.ones(2)), nn.Conv2d(2, 2, 1) if also_inside else None
        self.register_buffer("steps", torch.arange(3), persistent=False)

    def reset_parameters(self):
        nn.init.constant_(self.gain, 0.5)
        self.steps.copy_(torch.arange(3))
        if self.inside is not None:
            nn.init.zeros_(self.inside.weight)


class Silent(nn.Module):
    """A parameter and a buffer, one of which nothing sets."""

    def __init__(self, sets):
        super().__init__()
        self.scale, self.sets = nn.Parameter(torch.ones(3)), sets
        self.register_buffer("mask", torch.ones(3, dtype=torch.bool))

    def init_weights(self):
        nn.init.ones_(getattr(self, self.sets))


PLAIN = [lambda: nn.Linear(5, 3), lambda: nn.Embedding(4, 3, padding_idx=1), lambda: nn.GroupNorm(2, 4),
         lambda: nn.LayerNorm(4), lambda: nn.BatchNorm1d(4), lambda: nn.Conv1d(2, 3, 3), lambda: nn.PReLU(),
         lambda: nn.MultiheadAttention(4, 2), lambda: nn.LSTM(3, 2), lambda: nn.InstanceNorm2d(3, affine=True)]


@pytest.mark.parametrize("make", PLAIN, ids=lambda make: type(make()).__name__)
def test_layers_without_a_rule_of_ours_are_initialised_as_by_pytorch(make):
    torch.manual_seed(1)
    wanted = make().state_dict()
    torch.manual_seed(1)
    got = build(make).state_dict()
    assert got.keys() == wanted.keys()
    assert make is PLAIN[7] or all(torch.equal(got[key], value) for key, value in wanted.items())
    assert all(torch.isfinite(value).all() for value in got.values())


def test_modules_may_initialise_their_own_parameters():
    net = build(lambda: nn.Sequential(Gain(), Gain(also_inside=True)))
    assert torch.equal(net[0].gain, torch.full((2,), 0.5)) and net[0].steps.tolist() == [0, 1, 2]
    assert not net[1].inside.weight.any(), "the outer one has the last word"


def test_buffers_that_no_checkpoint_holds_are_there_in_a_network_to_be_loaded():
    net = build(lambda: nn.Sequential(Gain(also_inside=True), spectral_norm(nn.Linear(2, 2))), fresh=False)
    assert net[0].steps.tolist() == [0, 1, 2] and all(value.is_meta for value in net.state_dict().values())


@pytest.mark.parametrize("sets, left", [("mask", "0.scale"), ("scale", "0.mask")])
def test_what_nothing_initialises_is_named(sets, left):
    with pytest.raises(RuntimeError, match=rf"Sequential: nothing initialises {left};"):
        build(lambda: nn.Sequential(Silent(sets), nn.Linear(2, 2)))


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(3, 8, 3), lambda: nn.Linear(6, 5), lambda: nn.Embedding(5, 4)])
def test_spectral_norm_has_converged_for_the_initial_weights_of_the_plain_layer(make):
    torch.manual_seed(1)
    wanted = build(make).weight
    torch.manual_seed(1)
    net = build(lambda: nn.Sequential(spectral_norm(make())))
    assert torch.equal(net[0].parametrizations.weight.original, wanted)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    first, again = net[0].weight, net[0].weight
    torch.testing.assert_close(first, again, atol=0.05, rtol=0.05)
    assert torch.linalg.matrix_norm(first.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    loaded = build(lambda: nn.Sequential(spectral_norm(make())), fresh=False)
    loaded.load_state_dict(before, assign=True)
    assert torch.equal(loaded.eval()[0].weight, before_weight(before))


def before_weight(state):
    """The normalised weight that a state dict of spectral_norm stands for."""
    original, u, v = (state[f"0.parametrizations.weight.{key}"] for key in ("original", "0._u", "0._v"))
    return original / torch.vdot(u, original.flatten(1) @ v)


def test_weight_norm_is_initialised_too():
    torch.manual_seed(1)
    wanted = build(lambda: nn.Conv2d(3, 4, 3)).weight
    torch.manual_seed(1)
    torch.testing.assert_close(build(lambda: weight_norm(nn.Conv2d(3, 4, 3))).weight, wanted)


@pytest.mark.parametrize("make, expected", [
    (lambda: define_G(7, 3, 8, "global", 2, 2), 11.958024),
    (lambda: define_G(3, 3, 8, "encoder", 3, variational=True), -1.107186),
    (lambda: define_D(7, 8, 3, "batch", num_D=2), 453.234166), (lambda: build(lambda: BiSeNet(19)), 12728.140995)],
    ids=["generator", "encoder", "discriminator", "parser"])
def test_a_seed_gives_the_weights_it_always_gave(make, expected):
    torch.manual_seed(3)
    state = make().state_dict()
    assert sum(value.double().sum().item() for value in state.values()) == pytest.approx(expected, abs=1e-3)
