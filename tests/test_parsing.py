"""The face parser: names that published weights rely on, its loss, its schedule, its figures and its page."""
import json
import math
import shutil
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.nn import functional as F

from data.data_loader import CreateDataLoader
from data.dataset_spec import face_spec
from models.face_parser import FaceParser
from models.losses.ohem import IGNORED, OhemCrossEntropy
from models.models import create_model
from models.networks import build
from models.networks.bisenet import BatchNorm, BiSeNet, imagenet_colors
from models.parsing_augment import Augment
from tests.conftest import ROOT, call, options, picture, same, save, succeed, tree
from util.errors import UserError
from util.metrics.segmentation import SegmentationMetrics
from util.overlay import overlay

SMALL = ["--model", "parsing", "--gpu_ids", "-1", "--nThreads", "0", "--loadSize", "64"]
FRESH = ["--from_scratch", "--warmup", "0", "--batchSize", "2"]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build(BiSeNet)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Toy faces with eyes that have a left and a right, in the numbering of CelebAMask-HQ: a colour a class."""
    folder, spec = tmp_path_factory.mktemp("faces"), face_spec()
    for phase, count in (("train", 4), ("test", 3)):
        for i in range(count):
            labels = np.zeros((64, 64), np.uint8)
            labels[8:60, 10 + i:50 + i], labels[4:16, 8:56] = 1, 13
            labels[20:30, 14:28], labels[20:30, 34:48] = 5, 4
            save(folder / f"{phase}_label" / f"f{i}.png", labels)
            save(folder / f"{phase}_img" / f"f{i}.png", picture(np.random.default_rng(5), labels))
    spec.write(folder)
    return folder


@pytest.fixture(scope="module")
def parser(tmp_path_factory, faces):
    """checkpoints_dir of the experiment 'p', trained for a moment. Read only."""
    folder = tmp_path_factory.mktemp("parser")
    succeed(call("train", *SMALL, *FRESH, "--dataroot", faces, "--name", "p", "--checkpoints_dir", folder, "--niter", "1",
                 "--niter_decay", "0"))
    return folder


def norm(name, width):
    return {f"{name}.{k}": (width,) for k in ("weight", "bias", "running_mean", "running_var")} | \
        {f"{name}.num_batches_tracked": ()}


def unit(name, out_nc, in_nc, kernel):
    return {f"{name}.conv.weight": (out_nc, in_nc, kernel, kernel), **norm(f"{name}.bn", out_nc)}


def published_shapes():
    """{name: shape} of 79999_iter.pth."""
    resnet = torchvision.models.resnet18().state_dict()
    shapes = {f"cp.resnet.{k}": tuple(v.shape) for k, v in resnet.items() if not k.startswith("fc.")}
    for name, width in (("arm16", 256), ("arm32", 512)):
        shapes |= unit(f"cp.{name}.conv", 128, width, 3) | norm(f"cp.{name}.bn_atten", 128)
        shapes[f"cp.{name}.conv_atten.weight"] = (128, 128, 1, 1)
    shapes |= unit("cp.conv_head32", 128, 128, 3) | unit("cp.conv_head16", 128, 128, 3) | unit("cp.conv_avg", 128, 512, 1)
    shapes |= unit("ffm.convblk", 256, 256, 1) | {"ffm.conv1.weight": (64, 256, 1, 1), "ffm.conv2.weight": (256, 64, 1, 1)}
    for name, in_nc, mid in (("conv_out", 256, 256), ("conv_out16", 128, 64), ("conv_out32", 128, 64)):
        shapes |= unit(f"{name}.conv", mid, in_nc, 3) | {f"{name}.conv_out.weight": (19, mid, 1, 1)}
    return shapes


# the network

def test_names_and_shapes_are_the_published_ones(net):
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == published_shapes()
    assert len(net.state_dict()) == 191 and sum(p.numel() for p in net.parameters()) == 13_300_416


def test_a_published_file_loads_and_is_read_in_its_numbering(net, tmp_path, capsys):
    state = {k: torch.randn(shape) if shape else torch.tensor(80000) for k, shape in published_shapes().items()}
    torch.save(state, tmp_path / "79999_iter.pth")
    loaded = FaceParser.load(tmp_path / "79999_iter.pth")
    assert all(torch.equal(v, state[k]) for k, v in loaded.net.state_dict().items())
    assert loaded.spec.scheme == "face-parsing" and loaded.spec.labels[17] == "hair" and loaded.size == 512
    assert "face-parsing" in capsys.readouterr().out, "a guess is said"


def test_a_commit_that_waits_is_parsed_with(parser, tmp_path):
    folder = shutil.copytree(parser / "p", tmp_path / "p")
    (folder / ".commit").mkdir()
    for name in ("latest_net_P.pth", "latest_state.pth"):
        (folder / name).rename(folder / ".commit" / name)
    before = tree(folder)
    one, other = FaceParser.load(parser / "p"), FaceParser.load(folder)
    assert same(dict(one.net.state_dict()), dict(other.net.state_dict())) and one.spec == other.spec and tree(folder) == before


@pytest.mark.parametrize("size", [(512, 512), (97, 131), (33, 64), (1, 1)])
def test_every_head_answers_in_the_size_of_the_photo(net, size):
    net.eval()
    with torch.no_grad():
        outputs = net(torch.randn(1, 3, *size))
        main = net(torch.zeros(1, 3, *size), auxiliary=False)
    assert [o.shape for o in outputs] == [(1, 19, *size)] * 3 and len(main) == 1


def test_the_context_path_is_torchvisions_resnet(net):
    resnet = torchvision.models.resnet18().eval()
    state = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    own = build(BiSeNet).cp.resnet.eval()
    own.load_state_dict(state, strict=True)
    image = torch.rand(1, 3, 65, 97) * 2 - 1
    x = torchvision.transforms.functional.normalize(image / 2 + 0.5, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        wanted = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x))))
        for layer, got in zip((resnet.layer2, resnet.layer3, resnet.layer4), own(imagenet_colors(image))):
            wanted = layer(resnet.layer1(wanted) if layer is resnet.layer2 else wanted)
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


def test_one_value_a_channel_leaves_the_running_statistics_alone():
    norm = BatchNorm(3).train()
    x = torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(norm(x), x, atol=1e-4, rtol=1e-4)
    assert torch.equal(norm.running_mean, torch.zeros(3))
    norm(torch.randn(1, 3, 2, 1))
    assert not torch.equal(norm.running_mean, torch.zeros(3))


# the loss

def test_hard_pixels_are_averaged():
    label = torch.zeros(1, 2, 4, dtype=torch.long)
    scores = torch.zeros(1, 2, 2, 4)
    scores[:, 0] = torch.tensor([[9, 9, 9, -2], [9, 9, 0.0, -1]])
    each = F.cross_entropy(scores, label, reduction="none").flatten()
    hard = each[each > -math.log(0.7)]
    assert len(hard) == 3
    assert OhemCrossEntropy()(scores, label) == pytest.approx(hard.mean().item())


def test_where_little_is_hard_the_hardest_sixteenth_counts():
    scores = torch.zeros(1, 2, 8, 8)
    scores[:, 0] = torch.linspace(3, 9, 64).reshape(8, 8)
    label = torch.zeros(1, 8, 8, dtype=torch.long)
    wanted = F.cross_entropy(scores, label, reduction="none").flatten().sort(descending=True).values[:4].mean()
    assert OhemCrossEntropy()(scores, label) == pytest.approx(wanted.item())
    assert OhemCrossEntropy()(scores[..., :2, :2], label[..., :2, :2]) > 0, "a picture of few pixels has a loss too"


def test_unknown_pixels_do_not_count():
    scores, label = torch.randn(1, 3, 8, 8, requires_grad=True), torch.randint(0, 3, (1, 8, 8))
    label[:, :4] = IGNORED
    loss = OhemCrossEntropy()(scores, label)
    assert loss.item() == pytest.approx(OhemCrossEntropy()(scores[:, :, 4:], label[:, 4:]).item())
    gradient, = torch.autograd.grad(loss, scores)
    assert gradient[:, :, :4].abs().max() == 0
    assert OhemCrossEntropy()(scores, torch.full_like(label, IGNORED)) == 0


# training

def model_of(faces, folder, *more):
    return create_model(options([*SMALL, *FRESH, "--dataroot", faces, "--name", "m", "--checkpoints_dir", folder, *more]))


def test_the_rate_warms_up_and_falls_and_heads_learn_ten_times_faster(faces, tmp_path):
    model = model_of(faces, tmp_path, "--warmup", "100", "--niter", "8", "--niter_decay", "2", "--lr", "0.01")
    assert model.learning_rate(1, 0) == pytest.approx(1e-5) and model.learning_rate(1, 50) == pytest.approx(1e-5 * 1000 ** 0.5)
    assert model.learning_rate(1, 100) == pytest.approx(0.01)
    assert model.learning_rate(6, 1000) == pytest.approx(0.01 * 0.5 ** 0.9) and model.learning_rate(10, 1000) > 0
    model.start_epoch(6)
    model.start_step(1000)
    groups = model.optimizers["P"].param_groups
    assert [g["lr"] / groups[0]["lr"] for g in groups] == pytest.approx([1, 1, 10, 10])
    assert [g["weight_decay"] for g in groups] == [5e-4, 0, 5e-4, 0]
    assert all((p.ndim == 1) == (g["weight_decay"] == 0) for g in groups for p in g["params"])
    fast = {id(p) for p in groups[2]["params"]}
    assert {n.split(".")[0] for n, p in model.nets["P"].named_parameters() if id(p) in fast} == \
        {"ffm", "conv_out", "conv_out16", "conv_out32"}


def test_one_picture_a_step_is_enough_to_learn_it(faces, tmp_path):
    model = model_of(faces, tmp_path, "--batchSize", "1", "--jitter", "0", "--zoom", "0", "--turn", "0", "--no_flip")
    batch = next(iter(CreateDataLoader(model.opt)))
    for _ in range(25):
        model.train_step(batch)
    true = batch["label"][:, 0]
    assert (model.context.parsed == true).float().mean() > 0.9
    model.eval()
    assert (model.inference(batch)["label"][:, 0] == true).float().mean() > 0.5, "the running statistics follow"


def test_imagenet_weights_are_taken_from_a_file_or_their_lack_is_said(faces, tmp_path, monkeypatch):
    argv = [*SMALL, "--dataroot", faces, "--name", "m", "--checkpoints_dir", tmp_path]
    resnet = torchvision.models.resnet18()
    torch.save(resnet.state_dict(), tmp_path / "resnet.pth")
    model = create_model(options([*argv, "--resnet_weights", tmp_path / "resnet.pth"]))
    assert torch.equal(model.nets["P"].cp.resnet.layer3[0].conv1.weight, resnet.layer3[0].conv1.weight) and not model.notes
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other.pth: does not hold ResNet-18"):
        create_model(options([*argv, "--resnet_weights", tmp_path / "other.pth"]))

    def refuse(*args, **more):
        raise urllib.error.URLError("no network")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert any("no network" in note and "--resnet_weights" in note for note in create_model(options(argv)).notes)


def test_photo_and_map_are_changed_alike_and_by_the_draw_alone():
    random = np.random.default_rng(0)
    label = torch.from_numpy(np.kron(random.integers(0, 5, (6, 8)), np.ones((16, 16), int)))[None].long()
    image = (label[:, None].float() / 2 - 1).expand(-1, 3, -1, -1)
    augment = Augment(0.0, 0.3, 20.0, seed=1)
    moved, ids = augment(image, label, epoch=2, indices=[7])
    assert not torch.equal(ids, label) and moved.shape == image.shape
    inside = ids != IGNORED
    assert inside.float().mean() > 0.5
    shown = (moved[:, 0] + 1) * 2
    assert ((shown - ids).abs() < 0.5)[inside].float().mean() > 0.93, "they agree but for the pixels on borders"
    again = augment(torch.cat([image, image]), torch.cat([label, label]), 2, [3, 7])
    assert torch.equal(again[0][1], moved[0]) and torch.equal(again[1][1], ids[0]), "whatever else is in the batch"
    light, same = Augment(0.5, 0, 0, seed=1)(image * 0.5, label, 1, [0])
    assert torch.equal(same, label) and not torch.equal(light, image * 0.5) and light.abs().max() <= 1
    assert Augment(0, 0, 0, 1)(image, label, 1, [0])[0] is image


@pytest.mark.parametrize("flag, own", [("aug_rotate", "--turn 10"), ("aug_scale", "--zoom 0.25"),
                                       ("aug_color", "--jitter 0.4")])
def test_a_picture_is_augmented_once(faces, flag, own):
    argv = [*SMALL, *FRESH, "--dataroot", faces, "--name", "m"]
    with pytest.raises(UserError, match=f"--{flag} 0.5: .*{own}"):
        options([*argv, f"--{flag}", "0.5"])
    assert options([*argv, f"--{flag}", "0"]).turn == 10


# figures and pages

def test_figures_by_hand():
    metrics = SegmentationMetrics(4, ["bg", "a", "b", "c"], min_share=0.2)
    true = np.array([[0, 0, 0, 0, 1, 1, 2, 9]])
    figures = metrics.add("x", np.array([[0, 0, 0, 1, 1, 1, 1, 0]]), true)
    assert figures["pixel_accuracy"] == pytest.approx(5 / 7) and figures["miou"] == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)
    metrics.add("y", np.array([[0, 3]]), np.array([[0, 0]]))
    summary = metrics.summary()
    assert summary["by_class"]["bg"] == {"iou": pytest.approx(4 / 6), "share": pytest.approx(6 / 9), "pictures": 2}
    assert summary["by_class"]["b"]["iou"] == 0 and "c" not in summary["by_class"]
    assert summary["miou_large"] == pytest.approx((4 / 6 + 2 / 4) / 2), "b has a ninth of the pixels"
    assert summary["pictures"] == 2 and json.dumps(summary)
    assert SegmentationMetrics(3).summary()["miou"] is None


def test_an_overlay_shows_photo_and_map():
    photo = np.full((6, 6, 3), 100, np.uint8)
    colors = np.zeros((6, 6, 3), np.uint8)
    colors[:, 3:] = (200, 0, 0)
    shown = overlay(photo, colors, clear=colors[:, :, 0] == 0)
    assert (shown[:, :3] == 100).all() and (shown[:, 3] == (200, 0, 0)).all() and (shown[:, 4:] == (150, 50, 50)).all()


def test_the_page_shows_photo_map_overlay_and_truth_with_figures(parser, faces, tmp_path):
    done = succeed(call("test", *SMALL, "--name", "p", "--checkpoints_dir", parser, "--results_dir", tmp_path))
    folder = tmp_path / "p" / "test_latest"
    assert {p.name[3:] for p in (folder / "images").iterdir()} == \
        {f"{what}.jpg" for what in ("input_image", "synthesized_label", "overlay", "real_label")}
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["pictures"] == 3 and 0 <= figures["miou"] <= 1 and set(figures["by_class"]) <= set(face_spec().labels)
    page = (folder / "index.html").read_text()
    assert "mean IoU" in page and "l_eye" in page and "mIoU" in page
    assert f"pixel_accuracy {figures['pixel_accuracy']:.3f}" in done.out


def test_photos_alone_are_parsed(parser, faces, tmp_path):
    for path in (faces / "test_img").iterdir():
        save(tmp_path / "test_img" / path.name, np.zeros((40, 52, 3), np.uint8))
    save(tmp_path / "test_label" / "f1.png", np.zeros((40, 52), np.uint8))
    argv = [*SMALL, "--name", "p", "--checkpoints_dir", parser, "--dataroot", tmp_path, "--results_dir", tmp_path / "r"]
    succeed(call("test", *argv, "--batchSize", "1"))
    folder = tmp_path / "r" / "p" / "test_latest"
    names = {p.name for p in (folder / "images").iterdir()}
    assert len(names) == 10 and "f1_real_label.jpg" in names, "truth is shown where there is one"
    assert json.loads((folder / "metrics.json").read_text())["pictures"] == 1
    assert any(name in (folder / "index.html").read_text() for name in face_spec().labels), "the training's names serve"
    shutil.rmtree(tmp_path / "test_label")
    succeed(call("test", *argv, "--how_many", "2"))
    assert len(list((folder / "images").iterdir())) == 6 and not (folder / "metrics.json").exists(), "nothing of the run before"


def test_data_of_another_numbering_is_refused(parser, faces, tmp_path):
    face_spec("face-parsing").write(tmp_path)
    save(tmp_path / "test_img" / "a.png", np.zeros((64, 64, 3), np.uint8))
    done = call("test", *SMALL, "--name", "p", "--checkpoints_dir", parser, "--dataroot", tmp_path, "--results_dir", tmp_path)
    assert done.status == 2 and "datasets.relabel --to celebamask-hq" in done.err


def test_copied_weights_are_taken_as_the_published_ones(parser, faces, tmp_path):
    folder = tmp_path / "copied"
    folder.mkdir()
    shutil.copy(parser / "p" / "latest_net_P.pth", folder)
    argv = [*SMALL, "--name", "copied", "--checkpoints_dir", tmp_path, "--dataroot", faces, "--results_dir", tmp_path]
    done = call("test", *argv)
    assert done.status == 2 and "face-parsing" in done.err, "not compared with a truth of another numbering"
    face_spec().write(folder)
    succeed(call("test", *argv))


def test_mirroring_without_known_pairs_is_said(faces, tmp_path):
    for path in faces.glob("train_*/*"):
        save(tmp_path / path.parent.name / path.name, np.asarray(Image.open(path)))
    assert any("flip_pairs" in note for note in model_of(tmp_path, tmp_path).notes)
    assert not model_of(tmp_path, tmp_path, "--no_flip").notes and not model_of(faces, tmp_path).notes


@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_the_scripts_know_nothing_of_models(script):
    text = (ROOT / script).read_text().lower()
    assert not any(word in text for word in ("parsing", "miou", "bisenet", "pix2pix", "opt.model "))


def test_encoding_with_a_parser_is_refused(parser, faces):
    done = call("encode_features", *SMALL, "--name", "p", "--checkpoints_dir", parser, "--dataroot", faces)
    assert done.status == 2 and "--model parsing" in done.err
