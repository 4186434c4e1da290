"""The VAE head: its Gaussians, its loss, how it starts from a plain encoder, and what is drawn from it."""
import re
import shutil

import numpy as np
import pytest
import torch

from data.data_loader import CreateDataLoader
from models.losses.kl import KLLoss, kl_divergence, reparameterize
from models.models import create_model
from models.networks import define_G
from models.regions import Regions
from tests.conftest import CLASSES, LOSSES, NETWORK, SIZES, call, options, same, succeed
from util.checkpoint import Checkpoint, Position


def maps_sharing_ids(n=3, side=16):
    return torch.randint(0, 4, (n, 1, side, side), generator=torch.Generator().manual_seed(1))


def training(root, checkpoints, *more):
    opt = options(["--name", "x", "--checkpoints_dir", checkpoints, "--dataroot", root, "--batchSize", "2", "--label_feat",
                   *SIZES, *NETWORK, *LOSSES, *more])
    return create_model(opt), CreateDataLoader(opt)


def first_batch(loader):
    return next(iter(loader.epoch(1)))


@pytest.fixture(scope="module")
def trained_vae(tmp_path_factory, root):
    """checkpoints_dir of the experiment 'faces' with --use_vae, one epoch, encoded."""
    checkpoints = tmp_path_factory.mktemp("vae")
    where = ["--name", "faces", "--checkpoints_dir", checkpoints, "--dataroot", root, "--label_feat", "--use_vae", *SIZES,
             *NETWORK]
    succeed(call("train", *where, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html"))
    succeed(call("encode_features", *where))
    return checkpoints


def drawer(checkpoints, root, *more):
    opt = options(["--name", "faces", "--checkpoints_dir", checkpoints, "--dataroot", root, "--gpu_ids", "-1", "--nThreads",
                   "0", *more], "test")
    return create_model(opt), next(iter(CreateDataLoader(opt)))


# the primitives

def test_pooling_and_its_gradient_equal_a_loop_over_regions():
    maps = maps_sharing_ids()
    weight = torch.randn(3, 2, 16, 16)
    pooled = torch.randn(3, 2, 16, 16, requires_grad=True)
    looped = pooled.detach().clone().requires_grad_()
    got = Regions.of(maps).pool(pooled)
    expected = torch.zeros(3, 2, 16, 16)
    for n in range(3):
        for value in maps[n].unique():
            inside = (maps[n, 0] == value).float()
            mean = (looped[n] * inside).sum((1, 2)) / inside.sum()
            expected = expected + torch.stack([mean[:, None, None] * inside if k == n else torch.zeros_like(looped[k])
                                               for k in range(3)])
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(pooled.grad, looped.grad, atol=1e-6, rtol=0)


def test_kl_is_nothing_at_the_prior_and_the_formula_elsewhere():
    zero = torch.zeros(4, 3)
    assert torch.equal(kl_divergence(zero, zero), zero)
    mu, l = torch.randn(4, 3), torch.randn(4, 3)
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(mu, (l / 2).exp()), prior)
    torch.testing.assert_close(kl_divergence(mu, l), expected)
    assert KLLoss()(mu, l, 2).item() == pytest.approx(expected.sum().item() / 2, rel=1e-5)


def test_free_bits_cost_nothing_and_pull_nowhere():
    mu = torch.tensor([[0.1, 2.0]], requires_grad=True)
    loss = KLLoss(0.05)(mu, torch.zeros(1, 2), 1)
    assert loss.item() == pytest.approx(0.05 + 2.0)
    loss.backward()
    assert mu.grad[0, 0] == 0 and mu.grad[0, 1] == 2


def test_a_draw_is_mu_plus_noise_of_the_stated_size():
    mu, l = torch.ones(1, 2), torch.full((1, 2), 2.0)
    assert torch.equal(reparameterize(mu, l, torch.zeros(1, 2)), mu)
    torch.testing.assert_close(reparameterize(mu, l, torch.ones(1, 2)), mu + np.e)


# the head

@pytest.mark.parametrize("skip", [False, True])
def test_without_noise_it_is_the_plain_encoder_without_tanh(skip):
    arguments = {"norm": "none", "image_skip": skip}
    plain = define_G(3, 3, 4, "encoder", 2, **arguments)
    vae = define_G(3, 3, 4, "encoder", 2, variational=True, **arguments)
    missing, unknown = vae.load_state_dict(plain.state_dict(), strict=False)
    assert set(missing) == {"logvar.conv.weight", "logvar.conv.bias"} and not unknown
    plain.model[-1] = torch.nn.Identity()
    image, maps = torch.randn(3, 3, 16, 16), maps_sharing_ids()
    mu, log_variance = vae.posterior(image, Regions.of(maps))
    torch.testing.assert_close(Regions.of(maps).paint(mu), plain(image, maps))
    torch.testing.assert_close(vae(image, maps), plain(image, maps))
    assert (log_variance == -4).all(), "W_l = 0 and b_l = -4"


def test_log_variance_stays_in_bounds():
    vae = define_G(3, 3, 4, "encoder", 2, variational=True)
    for value in (50.0, -50.0):
        torch.nn.init.constant_(vae.logvar.conv.bias, value)
        _, log_variance = vae.posterior(torch.randn(1, 3, 16, 16), Regions.of(maps_sharing_ids(1)))
        assert (log_variance == np.sign(value) * 10).all()


# in training

def test_each_region_has_one_draw_and_pictures_have_their_own(root, tmp_path):
    model, loader = training(root, tmp_path, "--use_vae")
    batch = first_batch(loader)
    batch["label"][1], batch["image"][1] = batch["label"][0], batch["image"][0]
    model.prepare(batch)
    features, _ = model._training_features(model.context)
    for n in range(2):
        for value in batch["label"][n].unique():
            inside = features[n][:, batch["label"][n, 0] == value]
            assert torch.equal(inside, inside[:, :1].expand_as(inside)), "z is constant in a region"
    assert not torch.equal(features[0], features[1]), "the same picture twice draws twice"


def test_loss_is_weighted_by_lambda_and_batch(root, tmp_path):
    model, loader = training(root, tmp_path, "--use_vae", "--lambda_kld", "0.5", "--kld_free_bits", "0.1")
    model.start_epoch(1)
    batch = first_batch(loader)
    regions = Regions.of(batch["label"])
    mu, log_variance = model.drawing.posterior(batch["image"], regions)
    expected = 0.5 / 2 * torch.clamp(0.5 * (mu ** 2 + log_variance.exp() - 1 - log_variance), min=0.1).sum()
    assert model.train_step(batch)["G_KLD"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_without_noise_and_lambda_it_trains_as_the_plain_model_without_tanh(root, tmp_path, monkeypatch):
    plain, loader = training(root, tmp_path)
    plain.nets["E"].model[-1] = torch.nn.Identity()
    vae, _ = training(root, tmp_path, "--use_vae", "--lambda_kld", "0")
    for name in "GDE":
        vae.nets[name].load_state_dict(plain.nets[name].state_dict(), strict=False)
    monkeypatch.setattr(torch, "randn", lambda *size, **kwargs: torch.zeros(*size, **kwargs))
    batch, terms = first_batch(loader), []
    for model in (plain, vae):
        model.start_epoch(1)
        terms.append(model.train_step(batch))
    assert terms[1].pop("G_KLD") == 0
    assert same(*terms)


def test_warmup_raises_the_weight_by_epoch(root, tmp_path):
    model, _ = training(root, tmp_path, "--use_vae", "--lambda_kld", "0.2", "--kld_warmup", "4")
    weights = []
    for epoch in (1, 2, 3, 5, 9):
        model.start_epoch(epoch)
        weights.append(model.kld_weight)
    assert weights == pytest.approx([0, 0.05, 0.1, 0.2, 0.2])


def test_a_plain_encoder_starts_a_vae(root, tmp_path, capsys):
    plain, _ = training(root, tmp_path / "a")
    with Checkpoint(tmp_path / "a" / "x") as checkpoint:
        checkpoint.save(plain, Position())
    vae, _ = training(root, tmp_path / "b", "--use_vae", "--load_pretrain", tmp_path / "a" / "x")
    old, new = plain.weights(), vae.weights()
    assert same(old["G"], new["G"]) and all(torch.equal(new["E"][k], v) for k, v in old["E"].items())
    assert not new["E"]["logvar.conv.weight"].any() and (new["E"]["logvar.conv.bias"] == -4).all()
    assert "starts fresh in: logvar" in capsys.readouterr().out


# at test

def pictures(model, batch):
    return model.inference(batch)["synthesized_image"]


def test_drawing_without_a_photo_and_encoded_ones_is_from_the_prior(trained_vae, root, tmp_path):
    (tmp_path / "faces").mkdir()
    for name in ("latest_net_G.pth", "latest_net_E.pth", "opt.json"):
        shutil.copy(trained_vae / "faces" / name, tmp_path / "faces")
    model, batch = drawer(tmp_path, root)
    assert model.drawing.choice.mode == "prior" and torch.equal(pictures(model, batch), pictures(model, batch))
    other, _ = drawer(tmp_path, root, "--seed", "3")
    assert not torch.equal(pictures(model, batch), pictures(other, batch))
    drawn = model.drawing.styles.sample(model.drawing.choice, list(range(CLASSES)) * 500)
    assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05


@pytest.mark.parametrize("sample", ["class", "clusters", "prior", "posterior"])
def test_every_way_of_drawing_draws_its_own(trained_vae, root, sample):
    photo = ["--use_encoded_image"] if sample == "posterior" else []
    model, batch = drawer(trained_vae, root, "--sample", sample, *photo)
    plain, _ = drawer(trained_vae, root, *photo)
    assert torch.equal(pictures(model, batch), pictures(model, batch))
    assert not torch.equal(pictures(model, batch), pictures(plain, batch))


def test_rows_are_mu(trained_vae, root):
    model, batch = drawer(trained_vae, root, "--use_encoded_image", "--phase", "train")
    rows = np.load(trained_vae / "faces" / "features.npy", allow_pickle=True).item()
    mu = model.drawing._own_features(batch["image"], batch["label"])[0].mu
    for label, vector in zip(batch["label"].unique().tolist(), mu):
        np.testing.assert_allclose(rows[label][0, :-1] if len(rows[label]) else vector, vector, atol=1e-5)


@pytest.mark.parametrize("flags, said", [
    (["--sample", "posterior"], "--sample posterior.*--use_encoded_image"), (["--sample", "nosuch"], "--sample.*prior"),
    (["--style", "1=99"], "--style 1=99.*numbered 0 to")])
def test_what_cannot_be_meant_is_refused(trained_vae, root, flags, said, tmp_path):
    done = call("test", "--name", "faces", "--checkpoints_dir", trained_vae, "--dataroot", root, "--gpu_ids", "-1",
                "--results_dir", tmp_path, *flags)
    assert done.status == 2 and re.search(said, done.err.splitlines()[-1]), done.err


def test_pictures_cannot_hold_unbounded_features(trained_vae, root, tmp_path):
    data = shutil.copytree(root, tmp_path / "data")
    done = call("precompute_feature_maps", "--name", "faces", "--checkpoints_dir", trained_vae, "--dataroot", data, "--gpu_ids",
                "-1")
    assert done.status == 2 and "--use_vae" in done.err and not (data / "train_feat").exists()


def test_weights_of_a_vae_say_so(trained_vae, root, tmp_path):
    bare = tmp_path / "copied"
    bare.mkdir()
    for path in (trained_vae / "faces").glob("latest_net_*.pth"):
        shutil.copy(path, bare)
    done = call("test", "--name", "copied", "--checkpoints_dir", tmp_path, "--dataroot", root, "--label_feat",
                "--use_encoded_image", *SIZES, *NETWORK)
    assert done.status == 2 and "latest_net_E.pth" in done.err and "--use_vae" in done.err


def test_half_precision_trains(root, tmp_path):
    model, loader = training(root, tmp_path, "--use_vae", "--precision", "bf16")
    model.start_epoch(1)
    terms = model.train_step(first_batch(loader))
    assert all(torch.isfinite(value) for value in terms.values()) and terms["G_KLD"] > 0


def test_instances_of_one_class_have_gaussians_of_their_own(root_inst, tmp_path):
    opt = options(["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", root_inst, "--instance_feat", "--use_vae",
                   *SIZES, *NETWORK, *LOSSES])
    model = create_model(opt)
    batch = first_batch(CreateDataLoader(opt))
    regions = Regions.of(batch["inst"])
    mu, _ = model.drawing.posterior(batch["image"], regions)
    assert len(mu) == len(batch["inst"].unique()) and regions.classes(batch["label"])[0].max() < CLASSES
