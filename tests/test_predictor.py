"""Drawing from Python: the same pictures as test.py's, at the label map's own size, from any thread."""
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.aligned_dataset import AlignedDataset
from data.data_loader import collate
from models.predictor import Predictor
from tests.conftest import CLASSES, LOSSES, NETWORK, SIDE, SIZES, call, label_map, picture, same, succeed, tree, write_root
from util.checkpoint import read_tensors
from util.errors import UserError
from util.util import save_image, tensor2im


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor.load(trained / "faces", gpu_ids="-1")


@pytest.fixture(scope="module")
def face(root):
    """(label map, photo) of a test picture, as arrays."""
    return tuple(np.asarray(Image.open(root / f"test_{role}" / "p00.png")) for role in ("label", "img"))


def array(image):
    return np.asarray(image).astype(int)


def before_jpeg(monkeypatch) -> dict:
    """What test.py writes from now on, as it was before it became a JPEG: {file name: (H, W, 3) uint8}."""
    drawn = {}

    def keep(image, path):
        drawn[Path(path).name] = image
        save_image(image, path)
    monkeypatch.setattr("util.result_page.save_image", keep)
    return drawn


@pytest.mark.parametrize("flags", [[], ["--seed", "4"], ["--use_encoded_image"], ["--style", "1=2", "--use_encoded_image"]])
def test_it_draws_what_test_py_draws(predictor, face, trained, root, tmp_path, flags, monkeypatch):
    drawn = before_jpeg(monkeypatch)
    succeed(call("test", "--name", "faces", "--checkpoints_dir", trained, "--dataroot", root, "--gpu_ids", "-1",
                 "--how_many", "1", "--results_dir", tmp_path, *flags))
    got = predictor(face[0], image=face[1] if "--use_encoded_image" in flags else None,
                    style={"1": 2} if "--style" in flags else None, seed=4 if "--seed" in flags else None)
    assert np.array_equal(np.asarray(got), drawn["p00_synthesized_image.jpg"])


def test_label_maps_come_in_any_form_and_size(predictor, face):
    label, photo = face
    wanted = array(predictor(label, image=photo))
    for form in (label.astype(np.int64), Image.fromarray(label), Image.fromarray(label.astype(np.int32))):
        assert np.array_equal(array(predictor(form, image=Image.fromarray(photo))), wanted)
    random = np.random.default_rng(0)
    for size in ((50, 70), (33, 20), (200, 31)):
        drawn = predictor(label_map(random, size))
        assert isinstance(drawn, Image.Image) and drawn.size == size and drawn.mode == "RGB"


def test_files_pictures_and_arrays_are_one(predictor, face, root, tmp_path):
    label, photo = face
    wanted = array(predictor(label, image=photo, inst=label))
    exif = Image.Exif()
    exif[274] = 6
    turned = {"label": tmp_path / "label.png", "image": tmp_path / "image.png", "inst": tmp_path / "label.png"}
    for path, values in ((turned["label"], label), (turned["image"], photo)):
        Image.fromarray(values).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    grey = Image.fromarray(label).convert("RGB")
    for given in ({"label": root / "test_label" / "p00.png", "image": str(root / "test_img" / "p00.png"), "inst": grey},
                  {"label": grey, "image": Image.fromarray(photo), "inst": np.asarray(grey)}, turned,
                  {name: Image.open(path) for name, path in turned.items()}):
        assert np.array_equal(array(predictor(**given)), wanted)
    assert np.array_equal(predictor.encode(turned["image"], grey)["1"], predictor.encode(photo, label)["1"])


def test_a_large_jpeg_is_read_as_test_py_reads_it(predictor, face, trained, tmp_path, monkeypatch):
    label, photo = face
    for folder, values, name in (("test_label", label, "a.png"), ("test_img", photo.repeat(4, 0).repeat(4, 1), "a.jpg")):
        (tmp_path / folder).mkdir()
        Image.fromarray(values).save(tmp_path / folder / name)
    drawn = before_jpeg(monkeypatch)
    succeed(call("test", "--name", "faces", "--checkpoints_dir", trained, "--dataroot", tmp_path, "--gpu_ids", "-1",
                 "--results_dir", tmp_path, "--use_encoded_image"))
    got = predictor(tmp_path / "test_label" / "a.png", image=tmp_path / "test_img" / "a.jpg")
    assert np.array_equal(np.asarray(got), drawn["a_synthesized_image.jpg"])


def test_threads_draw_what_one_draws(predictor):
    random = np.random.default_rng(0)
    labels = [label_map(random, (32 + 4 * i, 32)) for i in range(6)]
    photos = [picture(random, label) if i % 2 else None for i, label in enumerate(labels)]
    wanted = [array(predictor(label, photo, seed=i)) for i, (label, photo) in enumerate(zip(labels, photos))]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            got = list(pool.map(lambda i: array(predictor(labels[i], photos[i], seed=i)), range(6)))
            assert all(np.array_equal(a, b) for a, b in zip(got, wanted))


def test_encoded_photos_are_styles_and_mix(predictor, face):
    label, photo = face
    own = predictor.encode(photo, label)
    assert set(own) == {str(c) for c in np.unique(label)} and all(v.shape == (3,) for v in own.values())
    assert np.array_equal(array(predictor(label, style=own)), array(predictor(label, image=photo)))
    other = {name: -vector for name, vector in own.items()}
    name = next(iter(own))
    mixed = predictor(label, style={**own, name: other[name]})
    assert np.array_equal(array(mixed), array(predictor(label, image=photo, style={name: other[name]})))
    assert not np.array_equal(array(mixed), array(predictor(label, style=own)))


def test_seed_and_random_choose(predictor, face):
    label, photo = face
    assert np.array_equal(array(predictor(label, seed=1)), array(predictor(label, seed=1)))
    looks = {array(predictor(label, image=photo, style={"1": "random"}, seed=seed)).tobytes() for seed in range(8)}
    assert len(looks) > 1


@pytest.mark.parametrize("arguments, said", [
    ({"label": np.full((8, 8), CLASSES)}, "label: holds label"), ({"label": np.full((8, 8), -1)}, "label: holds label"),
    ({"label": np.zeros((8, 8))}, "label: is float64"), ({"label": np.zeros((8, 8, 3), int)}, "label: is int"),
    ({"label": "gone.png"}, "label gone.png: there is no such file"), ({"image": "gone.png"}, "image gone.png: there is no"),
    ({"label": Image.new("RGB", (8, 8), "red")}, "label: is colour-coded"), ({"image": np.zeros((8, 3, 3), np.uint8)},
                                                                             "image: is 3x8, its label map 8x8"),
    ({"label": Image.fromarray(np.full((8, 8), 2, np.uint8)).quantize(1)}, "label: has a palette of greys"),
    ({"image": np.zeros((8, 8, 3))}, "image: is float64"), ({"style": {"nosuch": 1}}, "nosuch"),
    ({"style": {"1": 99}}, "style '1': there is no such style"), ({"style": {"1": "red"}}, "style '1': is 'red'"),
    ({"style": {"1": [1.0, 2.0]}}, "style '1'"), ({"style": {"1": [1.0, 2.0, np.nan]}}, "style '1'"),
    ({"inst": np.zeros((4, 4), int)}, "inst: is 4x4")])
def test_what_cannot_be_meant_is_said(predictor, arguments, said):
    with pytest.raises(UserError, match=said):
        predictor(**{"label": np.zeros((8, 8), int), **arguments})


def test_folders_without_weights_are_named(tmp_path, trained):
    with pytest.raises(UserError, match="there is no such folder"):
        Predictor.load(tmp_path / "gone")
    with pytest.raises(UserError, match="latest_net_G.pth"):
        Predictor.load(tmp_path, gpu_ids="-1")
    with pytest.raises(UserError, match="name"):
        Predictor.load(trained / "faces", name="x")


@pytest.mark.parametrize("cut", [False, True])
def test_weights_overwritten_in_place_do_not_change_what_is_loaded(trained, tmp_path, face, cut):
    """`cp` writes into the file that is there; a web server's Predictor may have been started from it."""
    folder = shutil.copytree(trained / "faces", tmp_path / "faces")
    predictor = Predictor.load(folder, gpu_ids="-1")
    wanted = array(predictor(face[0], image=face[1]))
    for path in folder.glob("latest_net_*.pth"):
        with open(path, "r+b") as stream:
            stream.write(b"\1" * path.stat().st_size)
            stream.truncate(10 if cut else None)
    assert np.array_equal(array(predictor(face[0], image=face[1])), wanted)


@pytest.mark.filterwarnings("ignore:.*made with another encoder")
@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_commit_that_waits_is_drawn_with_and_the_folder_stays_as_it_is(trained, tmp_path, face, moved):
    """As on a folder that may only be read, of a training that was killed while it moved its files into place."""
    folder = shutil.copytree(trained / "faces", tmp_path / "faces")
    (folder / ".commit").mkdir()
    for i, net in enumerate("EG"):
        weights = {key: value * 1.5 for key, value in read_tensors(folder / f"latest_net_{net}.pth").items()}
        torch.save(weights, (folder if i < moved else folder / ".commit") / f"latest_net_{net}.pth")
    before = tree(folder)
    drawn = Predictor.load(folder, gpu_ids="-1")
    for net in "EG":
        torch.testing.assert_close(dict(drawn.model.nets[net].state_dict()), {
            key: value * 1.5 for key, value in read_tensors(trained / "faces" / f"latest_net_{net}.pth").items()})
    assert drawn(face[0], image=face[1]).size == (SIDE, SIDE) and tree(folder) == before


def test_a_save_while_weights_are_read_is_not_seen_by_halves(trained, tmp_path, monkeypatch):
    folder, real = shutil.copytree(trained / "faces", tmp_path / "faces"), torch.load
    before = {net: real(folder / f"latest_net_{net}.pth") for net in "EG"}

    def load(*args, **kwargs):
        value = real(*args, **kwargs)
        for net in "EG":
            torch.save({key: value * 1.5 for key, value in before[net].items()}, tmp_path / "new.pth")
            (tmp_path / "new.pth").rename(folder / f"latest_net_{net}.pth")
        return value

    monkeypatch.setattr(torch, "load", load)
    loaded = Predictor.load(folder, gpu_ids="-1").model.nets
    assert sorted(loaded) == ["E", "G"] and all(same(dict(loaded[net].state_dict()), before[net]) for net in "EG")


def test_a_model_without_features_draws_too(root, tmp_path):
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", root, *SIZES, *NETWORK]
    succeed(call("train", *where, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html", "--max_dataset_size", "1"))
    plain = Predictor.load(tmp_path / "x", gpu_ids="-1")
    assert plain(np.zeros((20, 30), np.uint8)).size == (30, 20)
    for arguments in ({"style": {"1": 0}}, {"image": np.zeros((20, 30, 3), np.uint8)}):
        with pytest.raises(UserError, match="takes no encoded features"):
            plain(np.zeros((20, 30), np.uint8), **arguments)


def test_pictures_as_input(tmp_path):
    write_root(tmp_path, {"train": 1}, pictures=("A", "B"))
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", tmp_path, "--label_nc", "0", "--no_instance"]
    succeed(call("train", *SIZES, *where, *NETWORK, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html"))
    model = Predictor.load(tmp_path / "x", gpu_ids="-1")
    assert model(Image.new("RGB", (SIDE, SIDE // 2))).size == (SIDE, SIDE // 2)


def test_it_draws_batches_as_the_model_does(predictor, root, trained):
    from data.data_loader import CreateDataLoader
    batch = next(iter(CreateDataLoader(predictor.opt.replace(dataroot=str(root), use_encoded_image=True))))
    image = tensor2im(predictor.draw(batch)["synthesized_image"][0])
    assert np.array_equal(image, tensor2im(predictor.model.inference(batch)["synthesized_image"][0]))


def test_styles_drawn_together_are_those_drawn_alone(predictor, face):
    label, photo = face
    batch = collate([AlignedDataset.example(predictor.opt, label=label, image=photo)])
    first, last = int(label.min()), int(label.max())
    rng = np.random.default_rng(0)
    changes = [(one, rng.uniform(-1, 1, predictor.opt.feat_num)) for one in (first, last, first)]
    together = [tensor2im(drawn).astype(int) for drawn in predictor.model.drawing.restyle(
        batch, [dict([change]) for change in changes], at_once=2)]
    alone = [array(predictor(label, image=photo, style={one: vector})) for one, vector in changes]
    assert len(together) == len(alone)
    for a, b in zip(together, alone):
        assert abs(a - b).max() <= 1
    assert abs(alone[0] - alone[2]).max() > 1


def test_lists_are_drawn_as_each_alone(predictor, face):
    label, photo = face
    narrow = label[:, :SIDE // 2]
    several = predictor([label, narrow, label], image=[photo, photo[:, :SIDE // 2], photo], seed=1)
    alone = [predictor(one, image=its, seed=1) for one, its in ((label, photo), (narrow, photo[:, :SIDE // 2]))]
    assert [one.size for one in several] == [(SIDE, SIDE), (SIDE // 2, SIDE), (SIDE, SIDE)]
    for a, b in zip(several, [*alone, alone[0]], strict=True):
        assert np.abs(array(a).astype(int) - array(b)).max() <= 1
    with pytest.raises(UserError, match="3 of label, 2 of image: lists must be of one length"):
        predictor([label] * 3, image=[photo] * 2)


def test_it_says_what_it_is(predictor):
    assert repr(predictor) == f"Predictor(faces: pix2pixHD, latest, {CLASSES} classes, on cpu)"
    assert predictor.classes == [str(i) for i in range(CLASSES)]


def test_photos_in_where_the_model_takes_them(tmp_path, root, face):
    where = ["--model", "parsing", "--name", "p", "--checkpoints_dir", tmp_path, "--dataroot", root, *SIZES]
    train = ["--from_scratch", "--niter", "1", "--niter_decay", "0", "--no_html", "--max_dataset_size", "1"]
    succeed(call("train", *where, *train))
    parser = Predictor.load(tmp_path / "p", gpu_ids="-1")
    assert parser(image=face[1]).size == (SIDE, SIDE)
    with pytest.raises(UserError, match="image: --model parsing works from it"):
        parser(face[0])
