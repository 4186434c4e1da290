"""The identity swap: published names, losses, ranges; photos of any size; videos; marks; what is told of bad input."""
import shutil

import cv2
import numpy as np
import pytest
import torch

from data.data_loader import CreateDataLoader
from data.dataset_spec import face_spec
from data.face_alignment import ARCFACE, align
from data.face_detection import Face
from models.models import create_model
from models.networks import build
from models.networks.simswap import SimSwapGenerator, as_picture, describe
from models.predictor import Predictor
from models.swapping import swapper as swapping
from models.swapping import video as videos
from models.swapping.pasting import paste, paste_mask
from models.swapping.swapper import FaceSwapper
from models.weights import load
from tests.conftest import IDENTITY, LOSSES, NETWORK, SIDE, SIZES, call, known, options, save, succeed
from util.checkpoint import Checkpoint, Position
from util.errors import UserError
from util.marks import mark_of, marked, save_made
from util.metrics.swap import SwapMetrics


def flags(root, checkpoints, *more, role="train"):
    argv = ["--model", "simswap", "--name", "swap", "--checkpoints_dir", checkpoints, "--dataroot", root]
    return known("simswap", [*argv, *SIZES, *NETWORK, *LOSSES, *more], role)


def training(root, checkpoints, *more):
    opt = options(flags(root, checkpoints, *more))
    return create_model(opt), CreateDataLoader(opt)


@pytest.fixture(scope="module")
def predictor(root, tmp_path_factory):
    """A swap of a training's beginning."""
    folder = tmp_path_factory.mktemp("swap")
    model, _ = training(root, folder, "--from_scratch")
    with Checkpoint(folder / "swap") as checkpoint:
        checkpoint.save(model, Position())
    return Predictor(options(flags(root, folder, role="test"), "test"))


# the network

def test_the_generator_has_the_published_names_shapes_and_count(tmp_path):
    with torch.device("meta"):
        net = SimSwapGenerator()
    state = net.state_dict()
    assert sum(p.numel() for p in net.parameters()) == 55_051_779
    shapes = {"first_layer.1.weight": (64, 3, 7, 7), "first_layer.2.running_mean": (64,), "down1.0.weight": (128, 64, 3, 3),
              "down3.1.weight": (512,), "BottleNeck.0.conv1.1.weight": (512, 512, 3, 3),
              "BottleNeck.8.style1.linear.weight": (1024, 512), "BottleNeck.8.style2.linear.bias": (1024,),
              "BottleNeck.4.conv2.1.bias": (512,), "up3.1.weight": (256, 512, 3, 3), "up1.2.running_var": (64,),
              "last_layer.1.weight": (3, 64, 7, 7), "last_layer.1.bias": (3,)}
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert {name.split(".")[0] for name in state} == {"first_layer", "down1", "down2", "down3", "BottleNeck", "up3", "up2",
                                                      "up1", "last_layer"}
    assert describe(state) == {"ngf": 64, "n_downsample_global": 3, "n_blocks_global": 9, "latent": "none"}
    small = build(lambda: SimSwapGenerator(4, 2, n_downsample=2))
    assert describe(small.state_dict())["n_downsample_global"] == 2
    torch.save(small.state_dict(), tmp_path / "latest_net_G.pth")
    again = build(lambda: SimSwapGenerator(4, 2, n_downsample=2), fresh=False)
    load(again, "G", tmp_path / "latest_net_G.pth", False, lambda *_: "")
    pair = torch.rand(1, 3, 32, 32), torch.rand(1, 512)
    assert torch.equal(small.eval()(*pair)[0], again.eval()(*pair)[0])


def test_ranges_are_those_of_their_formulas():
    raw = torch.zeros(1, 3, 2, 2)
    assert torch.equal(as_picture(raw, "tanh"), raw)
    assert as_picture(raw, "imagenet")[0, :, 0, 0].tolist() == pytest.approx([2 * m - 1 for m in (0.485, 0.456, 0.406)])


def test_a_wrong_range_is_told_by_the_first_picture(predictor, monkeypatch):
    model = predictor.model
    target = torch.rand(1, 3, SIDE, SIDE) * 0.6 + 0.4
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    normalised = (target / 2 + 0.5 - mean) / deviation  # what weights of the linear range give, were they perfect
    monkeypatch.setattr(model.nets["G"], "raw", lambda *_: (normalised, None, None))
    model.range_is_known = False
    assert torch.allclose(model.draw(target, torch.zeros(1, 512)), target, atol=1e-5)
    monkeypatch.setattr(model, "opt", model.opt.replace(output_range="tanh"))
    model.range_is_known = False
    with pytest.raises(UserError, match="--output_range tanh: .*give --output_range imagenet"):
        model.draw(target, torch.zeros(1, 512))


# losses

def test_losses_have_their_names_and_weights(root, tmp_path):
    model, loader = training(root, tmp_path, "--from_scratch", "--batchSize", "4", "--latent", "gaussian",
                             "--n_downsample_global", "2")
    model.start_epoch(1)
    model.train()
    model.prepare(next(loader.epoch(1)))
    torch.manual_seed(0)
    terms = model.loss_G()
    assert set(terms) == {"G_GAN", "G_id", "G_feat", "G_rec", "G_bg", "G_KL"} and set(model.loss_D()) == {"D_real", "D_fake"}
    cosine = (model.embed(model.fake) * model.embed(model.source)).sum(1)
    assert terms["G_id"].item() == pytest.approx(30 * (1 - cosine).mean().item(), rel=1e-4)
    error = (model.fake - model.target).abs().mean((1, 2, 3))
    same = model.same.bool()
    assert terms["G_rec"].item() == pytest.approx(10 * error[same].mean().item() if same.any() else 0.0, rel=1e-4)
    group = model.optimizers["G"].param_groups[0]
    assert group["betas"] == (0.0, 0.99) and group["lr"] == 4e-4
    assert not model.nets["I"].training and not any(p.requires_grad for p in model.nets["I"].parameters())


def test_pairs_are_half_of_one_person_by_the_seed(root, tmp_path):
    _, loader = training(root, tmp_path, "--from_scratch")
    data = loader.dataset
    drawn = [data[(epoch, i)] for epoch in range(1, 21) for i in range(len(data))]
    assert 0.35 < np.mean([float(item["same"]) for item in drawn]) < 0.65
    for item in drawn:
        person = data.numbers[item["source_name"]]
        assert (person == item["identity"]) == bool(item["same"])
        others = [name for name, number in data.numbers.items() if number == person]
        assert not item["same"] or item["source_name"] != item["name"] or len(others) == 1
    assert [data[(3, 2)][key] for key in ("source_name", "name")] == [data[(3, 2)][key] for key in ("source_name", "name")]


def test_figures_of_swaps_by_hand():
    metrics, eye = SwapMetrics(np.eye(2)), np.eye(3, dtype=np.float32)
    black, other = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 6, np.uint8)
    for i in range(3):
        swap = eye[i] if i < 2 else eye[0]
        metrics.add(f"p{i}", other, black, asked={"source": eye[i], "target": eye[(i + 1) % 3], "swap": swap, "name": f"s{i}"})
    found = metrics.summary()
    assert found["rank1"] == pytest.approx(2 / 3) == found["to_source"] == found["nearer"] and found["background"] == 6
    joined = SwapMetrics(np.eye(2))
    joined.extend(metrics.state())
    assert joined.summary() == found
    known = SwapMetrics(np.eye(2))
    for i in range(3):  # the third swap is nearest to another photo of its source's person
        asked = {"source": eye[i], "target": eye[i], "swap": eye[i if i < 2 else 0], "name": f"s{i}", "person": i % 2}
        known.add(f"p{i}", other, black, asked=asked)
    assert known.summary()["rank1"] == 1 and known.summary()["people"] == 2


# identity networks

def test_a_training_takes_a_trained_identity_network_and_refuses_another_at_test(root, tmp_path):
    argv = ["--model", "identity", "--name", "who", "--checkpoints_dir", tmp_path, "--dataroot", root, *SIZES, *IDENTITY]
    who = create_model(options(argv))
    with Checkpoint(tmp_path / "who") as checkpoint:
        checkpoint.save(who, Position())
    short = ["--niter", "1", "--niter_decay", "0", "--no_html"]
    succeed(call("train", *flags(root, tmp_path, "--identity", tmp_path / "who", *short)))
    test = flags(root, tmp_path, role="test")
    saved = create_model(options(test, "test")).nets["I"].state_dict()
    assert all(torch.equal(saved[key], value) for key, value in who.nets["I"].state_dict().items())
    done = succeed(call("test", *test, "--results_dir", tmp_path / "results"))
    assert "to_source" in done.out and "Made by a program" in done.out
    other = {key: value + 0.01 if value.is_floating_point() else value for key, value in saved.items()}
    torch.save(other, tmp_path / "swap" / "latest_net_I.pth")
    with pytest.raises(UserError, match="trained with another identity network"):
        create_model(options(test, "test"))


@pytest.mark.parametrize("more, said", [((), "--identity: a swap is trained with"),
                                        (("--identity", "x", "--from_scratch"), "--from_scratch and --identity"),
                                        (("--identity", "nowhere.pth"), "nowhere.pth")])
def test_a_training_says_which_identity_network_it_lacks(root, tmp_path, more, said):
    with pytest.raises(UserError, match=said):
        training(root, tmp_path, *more)


# photos

POINTS = ARCFACE * 40 + (30, 20)


def photo_of(seed=0, size=(90, 110)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def test_pasted_back_nothing_outside_the_mask_changes_by_a_bit():
    photo, face = photo_of(), np.full((64, 64, 3), 200, np.uint8)
    pasted = paste(photo, face, POINTS)
    changed = (pasted != photo).any(2)
    assert changed.any() and not changed[:20].any() and not changed[:, :30].any() and not changed[61:].any()
    middle = np.round(POINTS.mean(0)).astype(int)
    assert (pasted[middle[1], middle[0]] == 200).all()
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    within = paste(photo, face, POINTS, mask)
    reach = cv2.warpAffine(mask.astype(np.uint8), np.array([[0.625, 0, 30], [0, 0.625, 20]]), (110, 90))
    assert not (within != photo).any(2)[cv2.dilate(reach, np.ones((5, 5))) == 0].any() and (within != photo).any()
    assert (paste_mask(64)[[0, -1]] == 0).all() and paste_mask(64).max() == 1
    outside = paste(photo, face, POINTS + 500)
    assert np.array_equal(outside, photo)


def test_an_aligned_face_that_is_pasted_back_is_the_photo():
    smooth = cv2.GaussianBlur(photo_of(), (0, 0), 4)
    points = ARCFACE * 64 + (20, 10)
    back = paste(smooth, align(smooth, points, 64, ARCFACE), points)
    assert np.abs(back.astype(int) - smooth).max() <= 3


def faces(*points):
    return lambda photo: [Face(np.asarray(one), "eyes") for one in points]


def test_the_largest_all_or_one_face_is_swapped(predictor, monkeypatch):
    photo, apart = photo_of(size=(90, 160)), POINTS + (55, 0)
    monkeypatch.setattr(swapping, "find_faces", faces(POINTS, apart))
    changed = {}
    for which in ("largest", "all", 0, 1):
        made = predictor.swap(photo_of(1), photo, which)
        assert made.size == (160, 90)
        where = (np.asarray(made) != photo).any(2)
        changed[which] = where[:, :78].any(), where[:, 78:].any()
    assert changed == {"largest": (True, False), "all": (True, True), 0: (True, False), 1: (False, True)}
    for wrong in (2, -1, "both"):
        with pytest.raises(UserError, match="shows 2; say 'largest', 'all', or a number from 0 to 1"):
            predictor.swap(photo_of(1), photo, wrong)


def test_a_parser_says_where_the_swap_is_pasted(predictor, monkeypatch):
    """It sees a portrait of whole numbers; what it takes for hair stays as it was."""
    photo, spec, seen = photo_of(), face_spec(), []

    class Parser:
        size = 64

        def __call__(self, portraits):
            seen.append(portraits)
            label = torch.full((1, 64, 64), spec.labels.index("skin"), dtype=torch.uint8)
            label[:, :, 32:] = spec.labels.index("hair")
            return label, None

    parser = Parser()
    parser.spec = spec
    monkeypatch.setattr(swapping, "find_faces", faces(POINTS))
    changed = (np.asarray(predictor.swap(photo_of(1), photo, parser=parser)) != photo).any(2)
    assert seen[0].dtype == torch.uint8 and seen[0].shape == (1, 3, 64, 64)
    middle = POINTS[2, 0]
    assert changed[:, :int(middle)].any() and not changed[:, int(middle) + 2:].any()


def test_photos_without_a_face_are_told(predictor):
    with pytest.raises(UserError, match="source: no face is found"):
        predictor.swap(photo_of(), photo_of())
    with pytest.raises(UserError, match="target: no face is found"):
        FaceSwapper(predictor.model).swap(photo_of(), None)


def test_of_a_model_that_swaps_nothing_it_is_said(trained, root):
    other = Predictor.load(trained / "faces", gpu_ids="-1", dataroot=root)
    with pytest.raises(UserError, match="cannot swap identities; choose an experiment of --model simswap"):
        other.swap(photo_of(), photo_of())


def test_sources_and_targets_of_test(root, tmp_path, monkeypatch, predictor):
    from data import identities_dataset
    photo = photo_of()
    save(tmp_path / "in" / "a.png", photo)
    save(tmp_path / "in" / "none.png", photo_of(2, (8, 8)))
    save(tmp_path / "me.png", photo_of(1))
    monkeypatch.setattr(identities_dataset, "find_faces", lambda one: faces(POINTS)(one) if len(one) > 8 else [])
    where = [*flags(root, predictor.opt.checkpoints_dir, role="test"), "--results_dir", tmp_path / "out"]
    done = succeed(call("test", *where, "--source", tmp_path / "me.png", "--targets", tmp_path / "in"))
    assert "no face is found in 1 of 2 photos, which are left out: none" in done.out
    page = tmp_path / "out" / "swap" / "test_latest"
    shown = cv2.imread(str(page / "images" / "a_synthesized_image.jpg"))
    assert shown.shape == photo.shape and mark_of(page / "images" / "a_synthesized_image.jpg")
    assert not mark_of(page / "images" / "a_target_image.jpg")
    for more, said in ((["--targets", tmp_path / "in"], "give the new one with --source"),
                       (["--source", tmp_path / "no.png"], "there is no such file")):
        bad = call("test", *where, *more)
        assert bad.status == 2 and said in bad.err and len(bad.err.strip().splitlines()) == 1
    shutil.rmtree(tmp_path / "in")
    save(tmp_path / "in" / "none.png", photo_of(2, (8, 8)))
    bad = call("test", *where, "--source", tmp_path / "me.png", "--targets", tmp_path / "in")
    assert bad.status == 2 and "no face is found there" in bad.err


def test_of_targets_the_largest_all_or_one_face_is_swapped(root, tmp_path, monkeypatch, predictor):
    from data import identities_dataset
    save(tmp_path / "wide.png", np.full((90, 160, 3), 90, np.uint8))
    monkeypatch.setattr(identities_dataset, "find_faces", faces(POINTS, POINTS + (55, 0)))
    where = [*flags(root, predictor.opt.checkpoints_dir, role="test"), "--results_dir", tmp_path / "out", "--source",
             tmp_path / "wide.png", "--targets", tmp_path / "wide.png"]
    for which, there in (("largest", (True, False)), ("all", (True, True)), ("1", (False, True))):
        succeed(call("test", *where, "--faces", which))
        shown = cv2.imread(str(tmp_path / "out" / "swap" / "test_latest" / "images" / "wide_synthesized_image.jpg"))
        changed = np.abs(shown.astype(int) - 90).max(2) > 8
        assert (changed[:, :70].any(), changed[:, 86:].any()) == there, which
    for which, said in (("2", "no face 2 is found there"), ("-1", "must be a whole number of at least 0"), ("both", "both")):
        bad = call("test", *where, f"--faces={which}")
        assert bad.status == 2 and said in bad.err


# videos

@pytest.fixture
def frames(tmp_path):
    for i in range(6):
        save(tmp_path / "frames" / f"{i:03d}.png", photo_of(3))
    return tmp_path / "frames"


def test_a_video_that_was_broken_off_goes_on_and_is_the_same(predictor, frames, tmp_path, monkeypatch):
    seen = []

    def find(frame):
        seen.append(len(seen))
        return faces(POINTS + (len(seen) * 0.3, 0))(frame)

    monkeypatch.setattr(videos, "find_faces", find)
    swapper, identity = FaceSwapper(predictor.model), torch.nn.functional.normalize(torch.ones(1, 512))
    assert videos.swap_video(swapper, identity, frames, tmp_path / "whole") == 6
    seen.clear()

    def stop(number):
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        videos.swap_video(swapper, identity, frames, tmp_path / "parts", stop)
    assert videos.swap_video(swapper, identity, frames, tmp_path / "parts") == 6 and len(seen) == 6
    for path in sorted((tmp_path / "whole").glob("*.png")):
        assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes() and mark_of(path)
    with pytest.raises(UserError, match="was begun with another source"):
        videos.swap_video(swapper, -identity, frames, tmp_path / "parts")
    with torch.no_grad():  # as if it had been trained on
        bias = predictor.model.nets["G"].last_layer[1].bias
        bias += 1
        with pytest.raises(UserError, match="another source, video or generator"):
            videos.swap_video(swapper, identity, frames, tmp_path / "parts")
        bias -= 1
    with pytest.raises(UserError, match="the folder of the frames themselves"):
        videos.swap_video(swapper, identity, frames, frames)


def test_the_targets_of_test_may_be_a_video_or_its_frames(root, predictor, frames, tmp_path, monkeypatch):
    for where in (videos, swapping):
        monkeypatch.setattr(where, "find_faces", faces(POINTS))
    save(tmp_path / "me.png", photo_of(1))
    clip = tmp_path / "clip.avi"
    write_clip(clip, 3)
    shutil.copy(clip, clip.with_suffix(".mkv"))
    argv = [*flags(root, predictor.opt.checkpoints_dir, role="test"), "--results_dir", tmp_path / "out"]
    me = ["--source", tmp_path / "me.png"]
    for target, more, name in ((frames, ["--frames"], "frames"), (clip, [], clip.name), (clip.with_suffix(".mkv"), [],
                                                                                        "clip.mp4")):
        done = succeed(call("test", *argv, *me, "--targets", target, *more))
        out = tmp_path / "out" / "swap" / "video_latest" / name
        assert out.exists() and f"Video: {out}, {6 if more else 3} frames" in done.out and "no such pictures" in done.out
    (tmp_path / "notes.txt").write_text("no video")
    for more, said in (([*me, "--targets", tmp_path / "notes.txt"], "notes.txt: OpenCV cannot read it as a video"),
                       (["--targets", clip], "give the new one with --source"),
                       ([*me, "--targets", tmp_path / "no", "--frames"], "no such video, nor a folder of frames")):
        bad = call("test", *argv, *more)
        assert bad.status == 2 and said in bad.err and len(bad.err.strip().splitlines()) == 1


def test_a_face_is_followed_smoothed_and_given_up():
    tracker, random = videos.Tracker(), np.random.default_rng(0)
    still = [tracker.step(faces(POINTS + 60, POINTS + random.normal(0, 0.3, (5, 2)))(None)[::-1]).copy() for _ in range(40)]
    assert np.abs(np.diff(still, axis=0)).mean() < 0.5 * 0.3 and np.abs(still[-1] - POINTS).max() < 1
    moved = tracker.step(faces(POINTS + (8, 0))(None))
    assert np.abs(moved - POINTS - (8, 0)).max() < 1e-6, "no lag where it moves"
    assert [tracker.step([]) is not None for _ in range(6)] == [True] * 5 + [False]
    assert tracker.step([]) is None


def write_clip(path, count):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (110, 90))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no videos")
    for _ in range(count):
        writer.write(photo_of())
    writer.release()


def test_video_files_keep_their_length_and_size(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "find_faces", faces(POINTS))
    monkeypatch.setattr(swapping, "find_faces", faces(POINTS))
    clip = tmp_path / "clip.avi"
    write_clip(clip, 3)
    assert predictor.swap_video(photo_of(1), clip, tmp_path / "out.avi") == 3
    capture = cv2.VideoCapture(str(tmp_path / "out.avi"))
    assert (int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.read()[1].shape) == (3, (90, 110, 3))
    assert not (tmp_path / "out.avi.frames").exists()
    (tmp_path / "text.avi").write_text("no video")
    with pytest.raises(UserError, match="text.avi"):
        predictor.swap_video(photo_of(1), tmp_path / "text.avi", tmp_path / "b.avi")


def test_made_pictures_say_so(tmp_path):
    for name in ("a.png", "a.jpg"):
        save_made(photo_of(), tmp_path / name)
        assert mark_of(tmp_path / name)
    marked(photo_of()).save(tmp_path / "b.jpg")
    assert mark_of(tmp_path / "b.jpg")
    save(tmp_path / "c.png", photo_of())
    assert not mark_of(tmp_path / "c.png")
