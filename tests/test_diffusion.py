"""Diffusion: the network against its equations, samplers against a Gaussian, ILVR, SDEdit, the scripts."""
import json
import math
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from models.diffusion import guides
from models.diffusion.sampling import PictureNoise, Sampler, with_guidance
from models.diffusion.schedules import CLEAN, Schedule, noised
from models.losses.diffusion import DiffusionLoss
from models.models import create_model
from models.networks import build
from models.networks.unet import Attention, LabelPyramid, ResidualBlock, UNet, halved, timestep_embedding
from models.predictor import Predictor
from tests.conftest import SIDE, SIZES, UNET, call, options, succeed, write_root
from util.errors import UserError

MEAN, DEVIATION = torch.tensor([0.3, -0.2, 0.1]).view(3, 1, 1), 0.25


# the network

def test_the_public_architecture_has_its_tensors_and_parameters():
    with torch.device("meta"):
        net = UNet(out_nc=6)
    state = net.state_dict()
    assert len(state) == 362 and sum(p.numel() for p in net.parameters()) == 93_563_910
    shapes = {"time_embed.0.weight": (512, 128), "input_blocks.0.0.weight": (128, 3, 3, 3),
              "input_blocks.1.0.in_layers.0.weight": (128,), "input_blocks.2.0.emb_layers.1.weight": (256, 512),
              "input_blocks.9.1.qkv.weight": (1536, 512, 1), "middle_block.1.proj_out.bias": (512,),
              "output_blocks.1.1.in_layers.2.weight": (512, 512, 3, 3),
              "output_blocks.3.2.out_layers.3.weight": (512, 512, 3, 3),
              "output_blocks.11.0.skip_connection.weight": (128, 256, 1, 1), "out.2.weight": (6, 128, 3, 3)}
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def unet(**more):
    torch.manual_seed(0)
    net = build(lambda: UNet(out_nc=6, **more)).eval()
    for p in net.parameters():  # the last layers too
        p.data += 0.1 * torch.randn_like(p)
    return net


def embedding_of(t, width):
    """Ho et al. 2020, after Vaswani et al. 2017."""
    return torch.tensor([[f(step * 10000 ** (-i / (width // 2))) for f in (math.cos, math.sin) for i in range(width // 2)]
                         for step in t.tolist()])


def test_timesteps_are_embedded_by_the_formula():
    t = torch.tensor([0, 7, 999])
    torch.testing.assert_close(timestep_embedding(t, 12), embedding_of(t, 12), atol=1e-4, rtol=0)


def layer(state, name):
    """The parameters of a layer by their names in it."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def normed(p, name, x):
    return F.group_norm(x, math.gcd(32, x.shape[1]), p[f"{name}.weight"], p[f"{name}.bias"])


def convolved(p, name, x):
    weight = p[f"{name}.weight"]
    return F.conv2d(x, weight, p[f"{name}.bias"], padding=weight.shape[-1] // 2)


def residual(p, x, emb, resize=lambda x: x):
    h = convolved(p, "in_layers.2", resize(F.silu(normed(p, "in_layers.0", x))))
    scale, shift = F.linear(F.silu(emb), p["emb_layers.1.weight"], p["emb_layers.1.bias"])[:, :, None, None].chunk(2, 1)
    h = convolved(p, "out_layers.3", F.silu(normed(p, "out_layers.0", h) * (1 + scale) + shift))
    return h + (convolved(p, "skip_connection", resize(x)) if "skip_connection.weight" in p else resize(x))


def attended(p, x, size):
    """size: channels of a head."""
    n, c, height, width = x.shape
    flat = x.reshape(n, c, -1)
    qkv = F.conv1d(normed(p, "norm", flat), p["qkv.weight"], p["qkv.bias"])
    found = []
    for one in qkv.view(n, c // size, 3 * size, -1).unbind(1):
        q, k, v = one.split(size, 1)
        found.append(torch.einsum("nts,ncs->nct", (torch.einsum("nct,ncs->nts", q, k) / math.sqrt(size)).softmax(-1), v))
    found = torch.cat(found, 1)
    return x + F.conv1d(found, p["proj_out.weight"], p["proj_out.bias"]).view_as(x)


def test_scale_shift_norm_and_attention_follow_their_formulas():
    torch.manual_seed(0)
    block, look = ResidualBlock(8, 16, 32, 0.0, 0, halved), Attention(16, 8)
    x, emb = torch.randn(2, 8, 8, 8), torch.randn(2, 32)
    torch.testing.assert_close(block(x, emb, None), residual(block.state_dict(), x, emb, lambda x: F.avg_pool2d(x, 2)))
    x = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(look(x), attended(look.state_dict(), x, 8))


def adm(state, x, t, mult, attention, head, blocks=1):
    """ADM block by block, from a state dict of its names (Dhariwal and Nichol 2021, appendix H)."""
    emb = embedding_of(t, state["time_embed.0.weight"].shape[1])
    emb = F.linear(emb, state["time_embed.0.weight"], state["time_embed.0.bias"])
    emb = F.linear(F.silu(emb), state["time_embed.2.weight"], state["time_embed.2.bias"])
    sizes = {"same": lambda x: x, "half": lambda x: F.avg_pool2d(x, 2),
             "twice": lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)}

    def stage(name, x, *kinds):
        for i, kind in enumerate(kinds):
            p = layer(state, f"{name}.{i}")
            x = attended(p, x, head) if kind == "attention" else residual(p, x, emb, sizes[kind])
        return x

    looks, last = [["attention"] * (2 ** i in attention) for i in range(len(mult))], len(mult) - 1
    way = [kinds for i in range(len(mult)) for kinds in [["same", *looks[i]]] * blocks + [["half"]] * (i < last)]
    skips = [convolved(state, "input_blocks.0.0", x)]
    for i, kinds in enumerate(way, 1):
        skips.append(stage(f"input_blocks.{i}", skips[-1], *kinds))
    back = [["same", *looks[i], *["twice"] * (i > 0 and j == blocks)] for i in range(last, -1, -1) for j in range(blocks + 1)]
    x = stage("middle_block", skips[-1], "same", "attention", "same")
    for i, kinds in enumerate(back):
        x = stage(f"output_blocks.{i}", torch.cat([x, skips.pop()], 1), *kinds)
    return convolved(state, "out.2", F.silu(normed(state, "out.0", x)))


@pytest.mark.parametrize("side, channels, mult, attention, head, blocks", [
    (8, 8, (1, 2), (2,), 8, 2), (256, 16, (1, 1, 2, 2, 4, 4), (16,), 8, 1)])  # last the published one, an eighth as wide
def test_a_forward_pass_is_that_of_its_blocks(side, channels, mult, attention, head, blocks):
    net = unet(channels=channels, mult=mult, attention=attention, head=head, blocks=blocks)
    x, t = torch.randn(1, 3, side, side), torch.tensor([500])
    with torch.no_grad():
        found, wanted = net(x, t), adm(net.state_dict(), x, t, mult, attention, head, blocks)
    assert (found - wanted).abs().max() < 1e-4 * wanted.std() and wanted.shape == (1, 6, side, side)


def test_conditions_reach_the_picture_and_checkpointing_changes_nothing():
    net = unet(channels=8, mult=(1, 2), attention=(2,), head=8, attributes=3, label_nc=4)
    x, t = torch.randn(1, 3, 8, 8), torch.tensor([5])
    def run(a, c): return net(x, t, torch.full((1, 3), float(a)), torch.full((1, 4, 8, 8), float(c)))  # noqa: E704
    plain = run(0, 0)
    assert not torch.allclose(plain, run(1, 0), atol=1e-3) and not torch.allclose(plain, run(0, 1), atol=1e-3)
    gradients = []
    for net.checkpointed in (False, True):
        gradients.append(torch.autograd.grad(run(1, 1).square().mean(), list(net.parameters())))
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other)


def test_a_smaller_label_map_holds_the_share_of_each_class():
    planes = torch.zeros(1, 2, 4, 4)
    planes[:, 0, :, :1] = 1
    small = LabelPyramid(planes).at(torch.zeros(1, 9, 2, 2))
    assert small[0, 0].tolist() == [[0.5, 0.0], [0.5, 0.0]]


# the loss

@pytest.mark.parametrize("objective", ["eps", "v"])
def test_a_perfect_prediction_has_no_loss_and_min_snr_weighs_by_its_formula(objective):
    schedule = Schedule(objective=objective)
    bar, t = schedule.alphas_bar(), torch.tensor([10, 400])
    picture, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    a, s = (part.float().view(2, 1, 1, 1) for part in (bar[t].sqrt(), (1 - bar[t]).sqrt()))
    target = noise if objective == "eps" else a * noise - s * picture
    plain = DiffusionLoss(schedule.betas(), objective)
    terms, seen = plain(lambda x, t: target, picture, t, noise)
    assert terms["MSE"] < 1e-10
    torch.testing.assert_close(seen, picture, atol=1e-4, rtol=1e-4)
    snr = bar[t] / (1 - bar[t])
    weights = snr.clamp(max=5) / (snr if objective == "eps" else snr + 1)
    weighted = DiffusionLoss(schedule.betas(), objective, snr_gamma=5)(lambda x, t: target + 1, picture, t, noise)[0]["MSE"]
    assert weighted.item() == pytest.approx(weights.mean().item(), rel=1e-5)


def test_the_bound_is_least_at_the_true_variance_and_teaches_the_variance_alone():
    schedule = Schedule(learn_sigma=True)
    loss, t = DiffusionLoss(schedule.betas(), learn_sigma=True), torch.tensor([100] * 4)
    picture, noise = torch.rand(4, 3, 8, 8) * 2 - 1, torch.randn(4, 3, 8, 8)
    found = []
    for fraction in (-1.0, 0.0, 1.0):  # -1 is the posterior's own variance
        output = torch.cat([noise, torch.full_like(noise, fraction)], 1).requires_grad_()
        found.append(loss(lambda x, t, output=output: output, picture, t, noise)[0]["VLB"])
    assert abs(found[0]) < 1e-5 < found[1] < found[2]
    of_mean, of_variance = torch.autograd.grad(found[2], output)[0].chunk(2, 1)
    assert not of_mean.any() and of_variance.abs().min() > 0


# samplers

def of_a_gaussian(bar, objective="eps", deviation=DEVIATION):
    """What a perfect network predicts of N(MEAN, deviation^2): the noise, or the velocity."""
    def predict(x, t):
        a, s = float(bar[t]) ** 0.5, float(1 - bar[t]) ** 0.5
        noise = s * (x - a * MEAN) / (a * a * deviation ** 2 + s * s)
        return noise if objective == "eps" else (noise - s * x) / a  # x0 = (x - s noise) / a, and v = a noise - s x0
    return predict


EPS, COSINE, V = {"kind": "linear"}, {"kind": "cosine"}, {"kind": "cosine", "objective": "v"}


@pytest.mark.parametrize("kind, steps, eta, left, more", [
    ("ddpm", 1000, 0, 1, EPS), ("ddim", 1000, 0, 1, EPS), ("dpm", 1000, 0, 1, EPS), ("dpm", 50, 0, 1, EPS),
    ("ddim", 1000, 1, 1, EPS), ("ddpm", 1000, 0, 1, COSINE), ("dpm", 50, 0, 1, COSINE), ("dpm", 25, 0, 1, V),
    ("ddim", 1000, 0, 1, V), ("ddim", 50, 0, 0.95, EPS), ("ddpm", 50, 0, 0.92, EPS)])  # docs/diffusion.md: why not all of it
def test_a_perfect_network_gives_the_distribution_back(kind, steps, eta, left, more, deviation=DEVIATION):
    sampler = Sampler(Schedule(**more), kind, steps, eta)
    assert len(sampler.timesteps) == len(set(sampler.timesteps)) == len(sampler.levels) == steps
    assert sampler.timesteps[0] >= 995 and sampler.levels == [*sampler.timesteps[1:], CLEAN]
    noise, objective = PictureNoise(0, range(2), 0, "cpu"), more.get("objective", "eps")
    drawn = sampler.run(of_a_gaussian(sampler.alphas_bar, objective, deviation), noise.draw((3, 64, 64)), noise)
    assert (drawn.mean((0, 2, 3)) - MEAN.flatten()).abs().max() < 0.03 * deviation
    assert abs(drawn.std((0, 2, 3)).mean() / deviation - left) < 0.03


def test_where_a_prediction_is_clipped_ddim_draws_what_dpm_does():
    """A network that sees too little noise stands for pictures beyond [-1, 1] at first."""
    spread = []
    for kind in ("ddim", "dpm"):
        sampler, noise = Sampler(Schedule(**EPS), kind, 25), PictureNoise(0, range(2), 0, "cpu")
        perfect = of_a_gaussian(sampler.alphas_bar)
        spread.append(sampler.run(lambda x, t, f=perfect: 0.9 * f(x, t), noise.draw((3, 32, 32)), noise).std().item())
    assert spread[0] == pytest.approx(spread[1], rel=0.05)


@pytest.mark.parametrize("more", [EPS, V])
def test_few_steps_keep_what_is_fine(more):
    """Steps at equal distances in time would leave a third of a deviation of 0.05."""
    test_a_perfect_network_gives_the_distribution_back("dpm", 25, 0, 1, more, deviation=0.05)


def test_a_picture_follows_from_the_seed_and_its_number_whatever_the_batch():
    sampler = Sampler(Schedule(20), "ddpm", 20)
    def draw(numbers, seed=3, look=0):  # noqa: E306
        noise = PictureNoise(seed, numbers, look, "cpu")
        return sampler.run(lambda x, t: 0.5 * x, noise.draw((3, 8, 8)), noise)
    all_four = draw(range(4))
    torch.testing.assert_close(draw([2]), all_four[2:3])
    torch.testing.assert_close(draw([3, 1]), all_four[[3, 1]])
    assert not torch.allclose(draw([2], seed=4), all_four[2:3], atol=0.1)
    assert not torch.allclose(draw([2], look=1), all_four[2:3], atol=0.1)


def test_guidance_goes_beyond_the_condition():
    def predict(x, t, known): return torch.cat([known.view(-1, 1, 1, 1) * x, x * 0 + 7], 1)  # noqa: E704
    x = torch.ones(2, 3, 2, 2)
    for guidance, wanted in ((0, 0.0), (1, 1.0), (3, 3.0)):
        output = with_guidance(predict, guidance)(x, 5)
        assert output.shape == (2, 6, 2, 2) and (output[:, :3] == wanted).all() and (output[:, 3:] == 7).all()


# ILVR and SDEdit

def test_low_frequencies_by_area_are_a_projection():
    x = torch.randn(1, 3, 16, 16)
    once = guides.low_pass(x, 4, "area")
    torch.testing.assert_close(guides.low_pass(once, 4, "area"), once)
    smooth = guides.low_pass(torch.ones(1, 3, 16, 16), 4, "bicubic")
    torch.testing.assert_close(smooth, torch.ones_like(smooth))


def sampled_like(reference, factor, seed=0, kind="area", least=0, steps=50):
    sampler, noise = Sampler(Schedule(), "ddpm", steps), PictureNoise(seed, range(len(reference)), 0, "cpu")
    after = guides.ilvr(reference, factor, sampler.alphas_bar, kind, least)
    return sampler.run(of_a_gaussian(sampler.alphas_bar), noise.draw(reference.shape[1:]), noise, after=after)


def test_samples_take_the_low_frequencies_of_the_reference_and_differ_above_them():
    reference = torch.rand(1, 3, 16, 16) * 2 - 1
    spread = {}
    for factor in (2, 4, 8):
        drawn = torch.cat([sampled_like(reference, factor, seed) for seed in range(6)])
        off = F.avg_pool2d(drawn, factor) - F.avg_pool2d(reference, factor)
        assert off.abs().max() <= 1e-5
        spread[factor] = (drawn - guides.low_pass(drawn, factor, "area")).std(0).mean().item()
    assert spread[2] < spread[4] < spread[8]
    free = sampled_like(reference, 4, least=500)
    assert (F.avg_pool2d(free, 4) - F.avg_pool2d(reference, 4)).abs().max() > 0.1, "steps below the range are left alone"


@pytest.mark.parametrize("kind, steps", [("ddpm", 1000), ("ddpm", 50), ("ddim", 50), ("dpm", 50)])
def test_what_corrects_a_picture_is_noised_to_the_level_of_that_picture(kind, steps):
    """The variance that a reference gets is that of the picture at the end of the step, not of the one at its beginning."""
    sampler, noise, zero = Sampler(Schedule(), kind, steps), PictureNoise(0, [0], 0, "cpu"), torch.zeros(1, 3, 64, 64)
    after = guides.kept(zero, torch.ones(1, 1, 64, 64), sampler.alphas_bar)
    seen = []
    def watch(x, t, level, noise):  # noqa: E306
        seen.append((level, after(x, t, level, noise).var().item()))
        return x
    sampler.run(lambda x, t: x, noise.draw((3, 64, 64)), noise, after=watch)
    assert len(seen) == steps and seen[-1] == (CLEAN, 0.0)
    for (level, variance), t in zip(seen[:-1], sampler.timesteps[1:]):
        assert level == t and variance == pytest.approx(1 - sampler.alphas_bar[level].item(), rel=0.06)


def test_the_weaker_the_edit_the_nearer_the_photo_and_what_is_kept_stays():
    sampler, photo = Sampler(Schedule(), "ddim", 20), torch.rand(1, 3, 16, 16) - 0.5
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    off = []
    for strength in (0.1, 0.5, 1.0):
        noise, first = PictureNoise(0, [0], 0, "cpu"), sampler.first_of(strength)
        x = noised(photo, sampler.timesteps[first], noise.draw((3, 16, 16)), sampler.alphas_bar)
        drawn = sampler.run(of_a_gaussian(sampler.alphas_bar), x, noise, first, guides.kept(photo, mask, sampler.alphas_bar))
        assert torch.equal(drawn[..., :8], photo[..., :8])
        off.append((drawn - photo)[..., 8:].abs().mean().item())
    assert off[0] < off[1] < off[2] and sampler.first_of(1.0) == 0 and sampler.first_of(0.001) == 19


# the scripts

def test_attributes_are_learnt_and_asked_for(trained):
    folder, root = trained
    where = ["--model", "diffusion", "--name", "asked", "--checkpoints_dir", folder, "--dataroot", root, "--condition",
             "attributes", "--dataset_mode", "attributes"]
    succeed(call("train", *where, *SIZES, *UNET, "--niter", "1", "--niter_decay", "0", "--no_html", "--lr", "0.01"))
    drawn = []
    for value in (0, 1):
        succeed(draw(trained, "asked", "--how_many", "5", "--guidance", "300", "--nearest", "0", "--set", f"Smiling={value}"))
        drawn.append(picture(trained, "asked", "0004_synthesized_image.jpg"))
    assert not np.array_equal(*drawn)
    succeed(call("train", "--model", "attributes", "--name", "oracle", "--checkpoints_dir", folder, "--dataroot", root, "--nf",
                 "4", "--niter", "1", "--niter_decay", "0", "--no_html", *(SIZES[:6])))
    succeed(call("evaluate", "--name", "asked", "--checkpoints_dir", folder, "--dataroot", root, "--gpu_ids", "-1",
                 "--nThreads", "0", "--out", folder / "found", "--attributes_model", "oracle", "--metrics", "asked"))
    found = json.loads((folder / "found" / "evaluation.json").read_text())
    assert all(0 <= found["values"][key] <= 1 for key in ("attribute_agreement", "turned_right", "others_changed"))
    predictor = Predictor.load(folder / "asked", gpu_ids="-1", guidance=3)
    one, same, other = (predictor.sample(attributes={"Smiling": value}, seed=3).tobytes() for value in (1, 1, 0))
    assert one == same != other
    with pytest.raises(UserError, match="Beard.*Smiling"):
        predictor.sample(attributes={"Beard": 1})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, data root) with experiments 'free' and 'drawn', from label maps."""
    folder = tmp_path_factory.mktemp("diffusion")
    root = write_root(folder / "data", {"train": 5, "test": 3})
    for name, more in (("free", ["--learn_sigma"]), ("drawn", ["--condition", "label"])):
        succeed(call("train", "--model", "diffusion", "--name", name, "--checkpoints_dir", folder, "--dataroot", root, *SIZES,
                     *UNET, "--niter", "1", "--niter_decay", "0", "--no_html", *more))
    return folder, root


def draw(trained, name, *more):
    folder, root = trained
    return call("test", "--name", name, "--checkpoints_dir", folder, "--dataroot", root, "--gpu_ids", "-1", "--nThreads", "0",
                "--results_dir", folder / "results", *more)


def picture(trained, name, file):
    return np.asarray(Image.open(trained[0] / "results" / name / "test_latest" / "images" / file), int)


def test_samples_are_as_many_as_asked_for_and_the_same_in_every_batch(trained):
    done = succeed(draw(trained, "free", "--how_many", "4", "--batchSize", "3", "--strips", "1"))
    page = (trained[0] / "results" / "free" / "test_latest" / "index.html").read_text()
    assert page.count("_synthesized_image.jpg\"") and "steps" in done.err
    for part, count in (("synthesized_image", 4), ("nearest_training_image", 4), ("after_step_1", 1)):
        assert len(list((trained[0] / "results" / "free" / "test_latest" / "images").glob(f"*_{part}.jpg"))) == count, part
    last = picture(trained, "free", "0003_synthesized_image.jpg")
    succeed(draw(trained, "free", "--how_many", "4", "--batchSize", "1", "--nearest", "0"))
    assert np.abs(picture(trained, "free", "0003_synthesized_image.jpg") - last).max() <= 3
    assert not list((trained[0] / "results" / "free" / "test_latest" / "images").glob("*nearest*"))


def test_samples_need_no_data(trained, tmp_path):
    done = succeed(call("test", "--name", "free", "--checkpoints_dir", trained[0], "--dataroot", tmp_path / "gone", "--gpu_ids",
                        "-1", "--how_many", "2", "--results_dir", tmp_path, "--batchSize", "2"))
    assert "process image... 0001" in done.out


def test_label_maps_are_drawn_with_the_page_and_figures_of_pix2pixHD(trained):
    done = succeed(draw(trained, "drawn", "--batchSize", "1", "--guidance", "2", "--n_samples", "2"))
    assert "ssim" in done.out and "region_color_error" in done.out
    images = trained[0] / "results" / "drawn" / "test_latest" / "images"
    assert {path.name[4:-4] for path in images.glob("p00_*")} >= {"input_label", "synthesized_image", "synthesized_image_2",
                                                                  "real_image"}


def test_ilvr_and_edits_draw_from_photos(trained):
    references = trained[1] / "test_img"
    succeed(draw(trained, "free", "--how_many", "4", "--ilvr_reference", references, "--ilvr_factor", "4", "--nearest", "0"))
    images = trained[0] / "results" / "free" / "test_latest" / "images"
    assert np.abs(picture(trained, "free", "0003_reference_image.jpg") - picture(
        trained, "free", "0000_reference_image.jpg")).max() == 0, "three references, in turn"
    assert (images / "0003_low_frequencies_off_x4.jpg").is_file()
    succeed(draw(trained, "free", "--edit_strength", "0.5", "--edit_only", "3", "--nearest", "0"))
    photo, drawn = (picture(trained, "free", f"p00_{what}_image.jpg") for what in ("input", "synthesized"))
    label = np.asarray(Image.open(trained[1] / "test_label" / "p00.png"))
    assert np.abs(photo - drawn)[label == 3].mean() > 3 * np.abs(photo - drawn)[label != 3].mean()


def test_ctrl_c_leaves_a_page_of_what_is_done(trained, monkeypatch):
    run, seen = Sampler.run, []

    def interrupted(self, *args, **more):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return run(self, *args, **more)

    monkeypatch.setattr(Sampler, "run", interrupted)
    done = draw(trained, "free", "--how_many", "4", "--batchSize", "2", "--nearest", "0")
    page = (trained[0] / "results" / "free" / "test_latest" / "index.html").read_text()
    assert done.status == 130 and "Interrupted" in page and "0001" in page and "0002" not in page


def test_samples_are_measured_against_the_photos_as_sets(trained):
    folder, root = trained
    done = succeed(call("evaluate", "--name", "free", "--checkpoints_dir", folder, "--dataroot", root, "--gpu_ids", "-1",
                        "--nThreads", "0", "--results_dir", folder / "results", "--metrics", "swd"))
    assert "SWD" in done.out


def test_a_predictor_samples_edits_and_takes_low_frequencies(trained):
    folder, root = trained
    free, steps = Predictor.load(folder / "free", gpu_ids="-1"), []
    one, two = free.sample(2, seed=3, progress=lambda done, all: steps.append((done, all)))
    assert one.size == (SIDE, SIDE) and steps == [(1, 2), (2, 2)] and one.tobytes() != two.tobytes()
    assert free.sample(seed=3).tobytes() == one.tobytes()
    photo, label = root / "test_img" / "p00.png", root / "test_label" / "p00.png"
    assert len(free.ilvr(photo, 4, count=2)) == 2
    edited = np.asarray(free.edit(photo, strength=1.0, keep=["3", 1], label=label), int)
    ids, source = np.asarray(Image.open(label)), np.asarray(Image.open(photo), int)
    stays = np.isin(ids, [1, 3])
    assert not stays.any() or np.abs(edited - source)[stays].max() <= 1
    drawn = Predictor.load(folder / "drawn", gpu_ids="-1")
    assert drawn.sample(label=label).size == (SIDE, SIDE) == drawn(label).size
    for wrong, said in ((lambda: free.ilvr(photo, 5), "ilvr_factor 5"), (lambda: free.edit(photo, keep=[1]), "label map"),
                        (lambda: free.edit(photo, strength=2), "strength"), (lambda: drawn.sample(), "label"),
                        (lambda: free.edit(photo, Smiling=1), "Smiling"),
                        (lambda: free.sample(attributes={"Smiling": 1}), "knows none"),
                        (lambda: free.sample({"Smiling": 1}), "count: is .*attributes="),
                        (lambda: free.sample(0), "count: is 0")):
        with pytest.raises(UserError, match=said):
            wrong()


def test_public_weights_start_a_training_with_the_flags_that_their_shapes_say(trained, tmp_path):
    (tmp_path / "public").mkdir()
    shutil.copy(trained[0] / "free" / "latest_net_U.pth", tmp_path / "public")
    opt = options(["--model", "diffusion", "--name", "x", "--dataroot", trained[1], "--load_pretrain", tmp_path / "public",
                   "--checkpoints_dir", tmp_path, *SIZES])
    assert (opt.unet_channels, opt.unet_mult, opt.unet_attention, opt.learn_sigma) == (8, "1,2", "2", True)
    create_model(opt)


def test_weights_alone_are_drawn_with(trained, tmp_path):
    (tmp_path / "public").mkdir()
    shutil.copy(trained[0] / "free" / "latest_net_U.pth", tmp_path / "public")
    where = ["--model", "diffusion", "--name", "public", "--checkpoints_dir", tmp_path, "--dataroot", trained[1], "--gpu_ids",
             "-1", "--loadSize", SIDE, "--how_many", "1", "--nearest", "0", "--results_dir", tmp_path, "--steps", "2"]
    done = succeed(call("test", *where))
    assert "objective: eps  [weights without opt.json]" in done.out and "beta_schedule: linear  [weights" in done.out
    assert "objective: v  [command line]" in succeed(call("test", *where, "--objective", "v")).out
    refused = call("test", *where, "--unet_channels", "9")
    assert refused.status == 2 and "--unet_channels 9: the weights were trained with --unet_channels 8" in refused.err


@pytest.mark.parametrize("flags, said", [
    (["--ilvr_reference", "gone"], "--ilvr_reference gone: there is no such folder"),
    (["--ilvr_reference", ".", "--ilvr_factor", "5"], "--ilvr_factor 5: does not divide the side of samples, 32"),
    (["--ilvr_reference", "EMPTY"], "EMPTY.* holds no p"), (["--steps", "21"], "--steps 21: are more than --timesteps 20"),
    (["--beta_schedule", "linear"], "trained with --beta_schedule cosine"), (["--timesteps", "10"], "--timesteps 20"),

    (["--set", "Smiling=1"], "--set Smiling=1: this model knows no"),
    (["--guidance", "2"], "--guidance 2: needs a condition"), (["--eta", "1", "--sampler", "ddpm"], "--eta 1: is of"),
    (["--edit_keep", "1"], "--edit_keep 1: .*--edit_strength"), (["--edit_strength", "0"], "--edit_strength: must be"),
    (["--edit_strength", "1", "--edit_only", "hat"], "--edit_only hat: 'hat' is no class"),
    (["--unet_mult", "1,x"], "--unet_mult: must be whole numbers"),
    (["--ilvr_range", "20", "--ilvr_reference", "."], "--ilvr_range 20"),
    (["--export_onnx", "a.onnx"], "cannot be written as ONNX")])
def test_what_cannot_be_meant_is_told_in_one_line(flags, said, trained, tmp_path):
    done = draw(trained, "free", *(str(tmp_path) if word == "EMPTY" else word for word in flags))
    assert done.status == 2 and re.search(said.replace("EMPTY", str(tmp_path)), done.err), done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_missing_package_is_named(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers.schedulers.scheduling_ddpm", None)
    done = draw(trained, "free")
    assert done.status == 2 and "needs the package diffusers" in done.err and "requirements-diffusion.txt" in done.err
