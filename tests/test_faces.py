"""Faces from attributes: autoencoders, GANs, the classifier; what is theirs beside what every model does."""
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_loader import CreateDataLoader
from datasets import label_attributes
from models.attributes_model import AttributeOracle, bars, blurred
from models.face_model import rivals, turned
from models.latents import directions
from models.losses.adversarial import MODES, discriminator_loss, generator_loss, mode_seeking_loss
from models.losses.covariance import cross_correlation
from models.models import create_model
from models.networks import build
from models.networks.face_gan import FaceDiscriminator
from models.networks.seen_attributes import COUNT, SeenAttributes
from models.networks.vae import VAE, sides
from models.predictor import Predictor
from models.sampling_flags import settings
from tests.conftest import ATTRIBUTES, SIDE, call, options, save, succeed, write_attributes
from util.checkpoint import read_tensors
from util.errors import UserError
from util.metrics.attributes import AskedAttributes, AttributeMetrics

SHORT = ["--gpu_ids", "-1", "--nThreads", "0", "--batchSize", "6", "--niter", "2", "--niter_decay", "0", "--z_dim", "4"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Twelve training and four test photos, each dark or bright in three places, as its three attributes say."""
    root, random = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    rows = {}
    for phase, count in (("train", 12), ("test", 4)):
        write_attributes(root / phase, {phase: [f"p{i:02d}" for i in range(count)]})
        rows[phase] = (root / phase / "attributes.csv").read_text().splitlines()
        for i, row in enumerate(rows[phase][1:]):
            photo = random.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
            for k, value in enumerate(row.split(",")[2:]):
                photo[:, k * 10:k * 10 + 10] += np.uint8(100 * int(value))
            save(root / f"{phase}_img" / f"p{i:02d}.png", photo)
    (root / "attributes.csv").write_text("\n".join(rows["train"] + rows["test"][1:]))
    return root


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory):
    """checkpoints_dir of a conditional VAE, a plain one, an AE, a conditional GAN, a plain one, and a classifier."""
    folder = tmp_path_factory.mktemp("trained")
    gan = ["--model", "gan", "--ngf", "2", "--ndf", "2"]
    for name, flags in {"cvae": ["--model", "vae", "--condition", "attributes"], "vae": ["--model", "vae"],
                        "ae": ["--model", "vae", "--latent", "deterministic"], "gan": gan,
                        "cgan": [*gan, "--condition", "projection"],
                        "oracle": ["--model", "attributes", "--nf", "4", "--niter", "20", "--lr", "0.01", "--no_flip"]}.items():
        more = [flag for flag in SHORT if name != "oracle" or flag not in ("--z_dim", "4")]
        page = [] if name == "cgan" else ["--no_html"]
        succeed(call("train", "--name", name, "--checkpoints_dir", folder, "--dataroot", faces, "--loadSize", SIDE, *more,
                     *flags, *page))
    return folder


def run(script, trained, name, *flags, status=0):
    done = call(script, "--name", name, "--checkpoints_dir", trained, "--gpu_ids", "-1", *flags)
    assert done.status == status, done.err[-2000:]
    return done


def columns(folder):
    page = (folder / "index.html").read_text()
    return {re.sub(r"^.*?_", "", file) for file in re.findall(r'images/([^"]+)\.jpg', page)}, page


# networks and losses

def test_the_autoencoder_has_the_published_size_and_takes_any_side():
    count = sum(p.numel() for p in build(lambda: VAE(64, 128, 40)).parameters())
    assert round(count / 1e6, 2) == 4.19
    for side in (32, 45, 64, 100, 256):
        assert sides(side)[-1] in (2, 3, 4)
        net = build(lambda side=side: VAE(side, 4, 2))
        drawn, mu, log_variance = net(torch.zeros(2, 3, side, side), torch.ones(2, 2), torch.zeros(2, 4))
        assert drawn.shape == (2, 3, side, side) and mu.shape == log_variance.shape == (2, 4)


@pytest.mark.parametrize("latent, terms", [("gaussian", {"Rec", "KLD"}), ("deterministic", {"Rec"})])
def test_losses_are_sums_of_a_picture_and_the_mean_of_pictures(latent, terms, faces, tmp_path):
    opt = options(["--model", "vae", "--name", "x", "--dataroot", faces, "--loadSize", SIDE, *SHORT, "--latent", latent,
                   "--beta", "2", "--kld_warmup", "2"])
    model, batch = create_model(opt), next(iter(CreateDataLoader(opt)))
    model.start_epoch(2)
    model.train_step(batch)  # after which mu and log-variance are no small numbers
    found = model.train_step(batch)
    assert found.keys() == terms
    error = (model.drawn.detach() - batch["image"]).square().sum() / len(batch["image"])
    assert found["Rec"] == pytest.approx(float(error), rel=1e-5)
    assert model.beta == 1.0, "half of --beta, in the second of epochs 1 to 3"


def test_faces_drawn_of_anothers_z_teach_what_the_attributes_say(faces):
    torch.manual_seed(0)
    net, image, attributes = build(lambda: VAE(SIDE, 4, 2)).eval(), torch.rand(3, 3, SIDE, SIDE), torch.eye(3)[:, :2]
    exchanged = torch.tensor([True, True, False])
    z = net.encode(image, attributes)[0]
    drawn, *_ = net(image, attributes, torch.zeros_like(z), exchanged)
    torch.testing.assert_close(drawn, net.decode(torch.stack([z[2], z[0], z[2]]), attributes))
    shares = []
    for more in (["--condition", "attributes", "--condition_warmup", "2"], []):
        model = create_model(options(["--model", "vae", "--name", "x", "--dataroot", faces, "--loadSize", SIDE, *SHORT, *more]))
        for epoch in (1, 2, 3):
            model.start_epoch(epoch)
            shares.append(model.exchange)
    assert shares == [0.75, 0.25, 0, 0, 0, 0]


@pytest.mark.parametrize("condition", ["none", "projection", "auxiliary"])
def test_what_differs_between_faces_reaches_the_heads_of_a_fresh_discriminator(condition):
    torch.manual_seed(0)
    net = build(lambda: FaceDiscriminator(64, 2, condition, 8))
    faces = torch.nn.functional.interpolate(torch.rand(16, 3, 4, 4) * 2 - 1, 64, mode="bilinear")
    logits, found = net(faces, torch.ones(16, 2))
    assert logits.std() > 0.15 and (found is None or (found.std(0) > 0.1).all())


def test_attributes_are_learned_from_true_faces_alone(faces):
    opt = options(["--model", "gan", "--name", "x", "--dataroot", faces, "--loadSize", SIDE, *SHORT, "--ngf", "2", "--ndf", "2",
                   "--condition", "auxiliary"])
    found = create_model(opt).train_step(next(iter(CreateDataLoader(opt))))
    assert found.keys() == {"G_GAN", "G_aux", "D_real", "D_fake", "D_aux"}


def test_correlation_tells_what_z_says_of_attributes_whatever_its_size():
    torch.manual_seed(0)
    attributes = (torch.rand(4096, 3) < 0.3).float()
    z = torch.randn(4096, 8)
    assert float(cross_correlation(z, attributes)) < 0.05 and cross_correlation(z[:1], attributes[:1]) == 0
    z[:, 0] = attributes[:, 1] * 7 + 3
    found = cross_correlation(z, attributes)
    assert float(found) == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(cross_correlation(z * 5, attributes), found)


def test_blurring_leaves_half_and_softens_half():
    torch.manual_seed(1)
    image = torch.rand(64, 3, 16, 16)
    soft = blurred(image, 1.5)
    kept = [torch.equal(a, b) for a, b in zip(soft, image)]
    assert 16 < sum(kept) < 48 and all(b.std() < a.std() for a, b, same in zip(image, soft, kept) if not same)
    torch.testing.assert_close(blurred(torch.full((4, 1, 16, 16), 0.3), 1.5), torch.full((4, 1, 16, 16), 0.3))


@pytest.mark.parametrize("mode", MODES)
def test_adversarial_losses_pull_the_right_way(mode):
    real, fake = (torch.tensor([value], requires_grad=True) for value in (0.3, 0.6))
    sum(discriminator_loss(real, fake, mode).values()).backward()
    assert real.grad < 0 < fake.grad, "real up, fake down"
    fake.grad = None
    generator_loss(fake, mode).backward()
    assert fake.grad < 0


def test_mode_seeking_rewards_faces_that_differ_as_their_z_do():
    torch.manual_seed(0)
    first, second = (torch.rand(4, 3, 8, 8, requires_grad=True) for _ in range(2))
    z = torch.randn(2, 4, 5)
    loss = mode_seeking_loss(first, second, *z)
    loss.backward()
    torch.testing.assert_close(first.grad.sign(), (second - first).detach().sign(), msg="apart")
    assert loss > mode_seeking_loss(first, first + 2 * (second - first), *z)
    assert loss < mode_seeking_loss(first, second, 2 * z[0], 2 * z[1])


@pytest.mark.parametrize("condition, batch", [("auxiliary", 4), ("auxiliary", 3), ("none", 4), ("projection", 1)])
def test_mode_seeking_asks_for_each_vector_of_attributes_twice(condition, batch, faces):
    opt = options(["--model", "gan", "--name", "x", "--dataroot", faces, "--loadSize", SIDE, *SHORT, "--ngf", "2", "--ndf", "2",
                   "--batchSize", str(batch), "--condition", condition, "--lambda_ms", "0.1"])
    model = create_model(opt)
    found = model.train_step(next(iter(CreateDataLoader(opt))))
    pairs = batch // 2
    assert "G_MS" in found and (found["G_MS"] > 0) == (pairs > 0), "of one picture, too, as other processes may have pairs"
    if condition != "none":
        assert torch.equal(model.asked[batch - pairs:], model.asked[:pairs]) and len(model.asked) == batch
        assert torch.equal(model.asked[:batch - pairs], model.attributes[:batch - pairs])


def test_turning_an_attribute_on_turns_those_off_that_it_excludes():
    names = ["Black_Hair", "Smiling", "Bald"]
    assert turned(torch.tensor([1.0, 0, 0]), names, "Bald", 1).tolist() == [0, 0, 1]
    assert turned(torch.tensor([1.0, 0, 0]), names, "Bald", 0).tolist() == [1, 0, 0]
    assert rivals("Smiling") == () and "Bald" in rivals("Gray_Hair")


def test_conditions_are_drawn_from_the_last_rows_seen():
    seen = build(lambda: SeenAttributes(2))
    assert seen.draw(np.random.default_rng(0)).tolist() == [0, 0]
    for _ in range(COUNT // 10 + 5):
        seen.add(torch.tensor([[0.0, 1.0]] * 10))
    assert len(seen.known()) == COUNT and seen.draw(np.random.default_rng(0)).tolist() == [0, 1]


# the scripts

def test_a_vae_shows_photo_reconstruction_and_each_attribute_turned(trained, tmp_path):
    run("test", trained, "cvae", "--results_dir", tmp_path)
    names, _ = columns(tmp_path / "cvae" / "test_latest")
    assert {"real_image", "synthesized_image"} < names and sum("Smiling" in name for name in names) == 2, names
    run("test", trained, "cvae", "--results_dir", tmp_path, "--set", "Smiling=1,Bald=0")
    names, page = columns(tmp_path / "cvae" / "test_latest")
    assert len(names) == 4 and "SSIM" in page


def test_faces_of_nothing_are_as_many_as_asked_and_those_of_one_seed_are_the_same(trained, tmp_path):
    for name in ("cvae", "cgan"):
        flags = ["--sample", "prior"] * (name == "cvae")
        for i, more in enumerate(([], [], ["--seed", "5"])):
            run("test", trained, name, *flags, "--how_many", "6", "--results_dir", tmp_path / str(i), *more)
        folders = [tmp_path / str(i) / name / "test_latest" / "images" for i in range(3)]
        first, again, other = ([(at / f"000{k}_synthesized_image.jpg").read_bytes() for k in range(6)] for at in folders)
        assert first == again and first != other and len(set(first)) == 6
    names, _ = columns(tmp_path / "0" / "cgan" / "test_latest")
    assert "real_image" not in names and len(names) > 3
    assert (trained / "cgan" / "web" / "images" / "epoch001_synthesized_faces.jpg").is_file()


def test_what_lies_between_two_photos_begins_with_the_one_and_ends_with_the_other(trained, tmp_path):
    run("test", trained, "cvae", "--results_dir", tmp_path, "--interpolate", "p00", "p01")
    folder = tmp_path / "cvae" / "test_latest" / "images"
    strip = np.asarray(Image.open(folder / "0000_synthesized_image.jpg"), int)
    assert strip.shape == (SIDE, 9 * SIDE, 3)
    run("test", trained, "cvae", "--results_dir", tmp_path / "whole")
    for name, part in (("p00", strip[:, :SIDE]), ("p01", strip[:, -SIDE:])):
        alone = Image.open(tmp_path / "whole" / "cvae" / "test_latest" / "images" / f"{name}_synthesized_image.jpg")
        assert np.abs(np.asarray(alone, int) - part).mean() < 3


def test_encoding_writes_latents_directions_and_what_a_linear_classifier_finds(trained, faces, tmp_path):
    done = run("encode_features", trained, "vae", "--dataroot", faces)
    latents = np.load(trained / "vae" / "latents.npy")
    assert latents.shape == (12, 4) and latents.dtype == np.float32
    assert json.loads((trained / "vae" / "latents.json").read_text())[0] == "p00"
    found = json.loads((trained / "vae" / "attribute_directions.json").read_text())
    assert "Smiling" in found and len(found["Smiling"]["direction"]) == 4 and "Smiling: a linear classifier" in done.out
    run("test", trained, "vae", "--dataroot", faces, "--results_dir", tmp_path, "--set", "Smiling=1")
    assert len(columns(tmp_path / "vae" / "test_latest")[0]) == 3
    smiling = Predictor.load(trained / "vae", gpu_ids="-1").edit(faces / "test_img" / "p00.png", Smiling=1)
    shown = np.asarray(Image.open(next((tmp_path / "vae" / "test_latest" / "images").glob("p00_Smiling*"))), int)
    assert np.abs(np.asarray(smiling, int) - shown).mean() < 3


def test_directions_point_to_those_who_have_it():
    random = np.random.default_rng(0)
    have = random.random(200) < 0.3
    latents = random.standard_normal((200, 3)).astype(np.float32)
    latents[have, 1] += 6
    found = directions(latents, np.stack([have, random.random(200) < 0.5, np.zeros(200)], 1).astype(float), ["A", "B", "C"])
    assert found["A"]["accuracy"] > 0.97 and abs(found["A"]["direction"][1] - 6) < 0.5 and found["B"]["balanced"] < 0.65
    assert found.keys() == {"A", "B"}, "of what none has, nothing can be said"


def test_a_classifier_learns_and_the_figures_are_shown(trained, tmp_path):
    done = run("test", trained, "oracle", "--results_dir", tmp_path)
    metrics = json.loads((tmp_path / "oracle" / "test_latest" / "metrics.json").read_text())
    assert metrics["attribute_accuracy"] > 0.9 and metrics["by_attribute"].keys() == set(ATTRIBUTES), metrics
    page = (tmp_path / "oracle" / "test_latest" / "index.html").read_text()
    assert "attribute_accuracy" in done.out and "Accuracy by attribute" in page


@pytest.mark.parametrize("name, flags", [("cvae", ["--sample", "prior"]), ("cgan", []), ("cvae", [])])
def test_an_evaluation_tells_whether_asked_attributes_are_found(name, flags, trained, tmp_path):
    run("evaluate", trained, name, *flags, "--attributes_model", "oracle", "--metrics", "asked,swd", "--out", tmp_path)
    values = json.loads((tmp_path / "evaluation.json").read_text())["values"]
    assert all(0 <= values[key] <= 1 for key in ("attribute_agreement", "turned_right", "others_changed")) and values["swd"] > 0


WRONG = [
    ("test", "cvae", ["--set", "Hat=1"], "--set Hat: these weights know no such attribute; they know Smiling, Eyegl"),
    ("test", "cvae", ["--set", "Smiling"], "must be NAME=1 or NAME=0"),
    ("test", "gan", ["--set", "Bald=1"], "--condition none, so no attribute can be asked for"),
    ("test", "ae", ["--sample", "prior"], "a deterministic autoencoder has no prior"),
    ("test", "cvae", ["--interpolate", "p00", "nobody"], "nobody: is neither a photo in"),
    ("test", "cvae", ["--interpolate", "p00", "p01", "--set", "Bald=1"], "--interpolate and --set Bald=1"),
    ("test", "cvae", ["--attributes", "Bald"], "trained with --attributes Smiling,Eyeglasses,Bald"),
    ("test", "cvae", ["--loadSize", "64"], "does not fit"),
    ("encode_features", "cgan", [], "cannot encode photos into styles"),
    ("evaluate", "cgan", ["--attributes_model", "cvae"], "is an experiment of --model vae; give one of --model attributes"),
]


@pytest.mark.parametrize("script, name, flags, said", WRONG, ids=[" ".join([w[1], *w[2]]) for w in WRONG])
def test_what_cannot_be_meant_is_told_in_a_line(script, name, flags, said, trained, faces, tmp_path):
    where = ["--results_dir", tmp_path] if script != "encode_features" else ["--dataroot", faces]
    done = call(script, "--name", name, "--checkpoints_dir", trained, "--gpu_ids", "-1", *where, *flags)
    assert done.status == 2 and said in done.err and done.err.count("\n") == 1, done.err[-500:]


def test_other_columns_at_test_are_told(trained, faces, tmp_path):
    root = tmp_path / "other"
    for i in range(2):
        save(root / "test_img" / f"p{i}.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    write_attributes(root, {"test": ["p0", "p1"]}, ("Smiling", "Hat"))
    done = call("test", "--name", "cvae", "--checkpoints_dir", trained, "--gpu_ids", "-1", "--dataroot", root)
    assert done.status == 2 and "has no column Eyeglasses, Bald" in done.err


def test_from_python(trained, faces):
    predictor = Predictor.load(trained / "cvae", gpu_ids="-1")
    one, again, other = (np.asarray(predictor.sample(attributes={"Smiling": 1}, seed=seed)) for seed in (3, 3, 4))
    assert one.shape == (SIDE, SIDE, 3) and np.array_equal(one, again) and not np.array_equal(one, other)
    assert len(predictor.sample(count=2)) == 2
    photo = faces / "test_img" / "p00.png"
    known = {"Smiling": 1, "Eyeglasses": 0, "Bald": 0}
    plain, smiling = predictor(image=photo, attributes=known), predictor.edit(photo, known, Smiling=0)
    assert plain.size == smiling.size == (SIDE, SIDE) and not np.array_equal(plain, smiling)
    assert np.array_equal(plain, predictor.edit(photo, known)), "nothing turned, nothing changed"
    assert predictor.edit(photo, Smiling=1).size == (SIDE, SIDE), "what is not known is guessed"
    for wrong, said in ((lambda: predictor.sample(attributes={"Hat": 1}), "attributes Hat"),
                        (lambda: Predictor.load(trained / "oracle", gpu_ids="-1").sample(), "draws no faces of nothing"),
                        (lambda: Predictor.load(trained / "cgan", gpu_ids="-1").edit(photo), "turns no attributes of photos")):
        with pytest.raises(UserError, match=said):
            wrong()


def test_r1_and_augmentation_train(faces, tmp_path):
    succeed(call("train", "--model", "gan", "--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", faces, *SHORT,
                 "--loadSize", SIDE, "--ngf", "2", "--ndf", "2", "--condition", "auxiliary", "--lambda_r1", "1",
                 "--r1_every", "2", "--diffaug", "cutout,color", "--aux_of_drawn", "--no_html", "--print_freq", "6"))
    log = (tmp_path / "x" / "loss_log.txt").read_text()
    assert all(f"{term}: " in log for term in ("G_GAN", "G_aux", "D_real", "D_fake", "D_aux", "D_aux_fake", "D_R1"))
    assert "latest_net_G_ema.pth" in {path.name for path in (tmp_path / "x").iterdir()}
    assert "seen.rows" in read_tensors(tmp_path / "x" / "latest_net_G.pth")


# the figures

def test_figures_of_a_classifier():
    metrics = AttributeMetrics(["A", "B"])
    for found, true in (((0.9, 0.1), (1, 0)), ((0.8, 0.7), (0, 1)), ((0.2, 0.4), (1, 1))):
        metrics.add("x", np.array(found), np.array(true))
    other = AttributeMetrics(["A", "B"])
    other.extend(metrics.state())
    found = other.summary()
    a, b = found["by_attribute"]["A"], found["by_attribute"]["B"]
    assert a == {"accuracy": 1 / 3, "precision": 0.5, "recall": 0.5, "frequency": 2 / 3, "pictures": 3}
    assert b["precision"] == 1 and found["attribute_accuracy"] == pytest.approx(0.5)


class Bright:
    """Finds A in pictures that are bright on the left, B in those that are bright on the right."""

    names = ["A", "B"]

    def __call__(self, pictures):
        return np.stack([pictures[:, :, :2].mean((1, 2, 3)), pictures[:, :, 2:].mean((1, 2, 3))], 1) / 255


def face(a, b):
    return np.repeat(np.array([a, a, b, b], np.uint8)[None, :, None] * 255, 4, 0).repeat(3, 2)


def test_figures_of_asked_and_turned_attributes():
    metrics = AskedAttributes(Bright())
    asked = [{"values": {"A": 1.0, "B": 0.0, "C": 1.0}, "turned": {"A": (face(0, 1), 0, ()), "B": (face(1, 1), 1, ())}},
             {"values": {"A": 1.0, "B": 1.0}, "turned": {"A": (face(0, 0), 0, ("B",))}}]
    rows = metrics.add_batch(["x", "y"], [face(1, 0), face(0, 1)], asked=asked)
    assert [row["attribute_agreement"] for row in rows] == [1, 0.5]
    summary = metrics.summary()
    assert summary["attribute_agreement"] == 0.75 and summary["turned_right"] == 1
    assert summary["by_attribute"]["A"]["others_changed"] == 1, "of one face, as the other's B may change"
    assert summary["others_changed"] == 0.5


def test_bars_show_what_is_right():
    shown = bars(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 1.0]]), (3, 8, 8))[0]
    assert shown[1, 0, 7] > shown[0, 0, 7] and shown[0, 7, 0] > shown[1, 7, 0] and (shown[:, 7, 7] == 1).all()


def test_an_oracle_takes_pictures_of_any_size(trained):
    oracle = AttributeOracle.load(trained / "oracle")
    assert oracle(np.zeros((2, 50, 50, 3), np.uint8)).shape == (2, 3) and oracle.names == list(ATTRIBUTES)


def test_photos_are_labelled_by_a_classifier(trained, faces, tmp_path, capsys):
    root = shutil.copytree(faces, tmp_path / "root")
    true = (root / "attributes.csv").read_text().splitlines()
    (root / "attributes.csv").unlink()
    where = ["--checkpoint", str(trained / "oracle"), "--gpu_ids", "-1"]
    for phase in ("train", "test"):
        assert label_attributes.main(["--images", str(root / f"{phase}_img"), *where]) == 0
    written = (root / "attributes.csv").read_text().splitlines()
    assert written[0] == true[0] and sum(a == b for a, b in zip(written, true)) >= 14
    with pytest.raises(UserError, match="attributes.csv: holds rows of test already; move it away"):
        label_attributes.main(["--images", str(root / "test_img"), *where])
    assert label_attributes.main(["--images", str(root / "test_img"), *where, "--out", str(tmp_path / "other.csv")]) == 0
    with pytest.raises(UserError, match="is an experiment of --model vae"):
        label_attributes.main(["--images", str(root / "test_img"), "--checkpoint", str(trained / "cvae"), "--gpu_ids", "-1"])
    with pytest.raises(UserError, match="there is no such folder"):
        label_attributes.main(["--images", str(root / "none"), *where])


def test_settings_are_parsed():
    assert settings("Smiling=1, Bald=0") == "Smiling=1,Bald=0"
