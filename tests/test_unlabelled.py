"""--contain_dontcare_label: pixels that nobody labelled are a class of their own from the file to the page."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_loader import CreateDataLoader
from data.dataset_spec import DatasetSpec
from data.label_maps import LabelMaps
from datasets import check, relabel
from datasets._check_report import write_report
from models.losses.ohem import IGNORED
from models.models import create_model
from models.predictor import Predictor
from tests.conftest import CLASSES, LOSSES, NETWORK, SIZES, call, options, save, succeed, write_root
from tests.test_predictor import before_jpeg
from util.errors import UserError
from util.util import palette

FLAG = "--contain_dontcare_label"
VOID = (224, 224, 192)


def with_unlabelled(folder, marked: int, **spec):
    """A data root whose label maps hold `marked` in two corners, and a dataset.json."""
    write_root(folder, {"train": 3, "test": 2})
    for path in folder.glob("*_label/*.png"):
        ids = np.array(Image.open(path))
        ids[:6, :16] = ids[-4:, -4:] = marked
        save(path, ids)
    if spec:
        (folder / "dataset.json").write_text(json.dumps(spec))
    return folder


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """The same pictures, their unlabelled pixels marked as COCO-Stuff does, as dataset.json says, and as a seventh class."""
    folder = tmp_path_factory.mktemp("roots")
    return {"255": with_unlabelled(folder / "255", 255), "json": with_unlabelled(folder / "json", 200, dontcare=200),
            "class": with_unlabelled(folder / "class", CLASSES)}


def where(experiment, checkpoints, root):
    return ["--name", experiment, "--checkpoints_dir", checkpoints, "--dataroot", root, "--gpu_ids", "-1", "--nThreads", "0"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, roots):
    """An experiment trained and encoded on each root."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, flags in (("255", [FLAG]), ("json", []), ("class", ["--label_nc", CLASSES + 1])):
        start = [*where(name, folder, roots[name]), *SIZES, *NETWORK, "--label_feat"]
        succeed(call("train", *start, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html", *flags))
        succeed(call("encode_features", *where(name, folder, roots[name])))
    return folder


def drawn(checkpoints, roots, name, results, monkeypatch, *more):
    """What test.py writes, before it is compressed, and the page."""
    pictures = before_jpeg(monkeypatch)
    succeed(call("test", *where(name, checkpoints, roots[name]), "--results_dir", results, *more))
    return pictures, (results / name / "test_latest" / "index.html").read_text()


@pytest.mark.parametrize("name", ["255", "json"])
def test_they_are_trained_encoded_and_drawn_as_one_more_class(checkpoints, roots, name, tmp_path, monkeypatch):
    for file in ("latest_net_G.pth", "latest_net_D.pth", "latest_net_E.pth"):
        ours, theirs = (torch.load(checkpoints / one / file, weights_only=True) for one in (name, "class"))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    ours, theirs = (np.load(checkpoints / one / "features.npy", allow_pickle=True).item() for one in (name, "class"))
    assert ours.keys() == theirs.keys() == set(range(CLASSES + 1)) and len(ours[CLASSES]) == 3
    assert all(np.array_equal(ours[k], theirs[k]) for k in ours)
    for flags in (["--seed", "3"], ["--use_encoded_image"]):
        ours, page = drawn(checkpoints, roots, name, tmp_path / "a", monkeypatch, *flags)
        theirs, _ = drawn(checkpoints, roots, "class", tmp_path / "b", monkeypatch, *flags)
        for i in range(2):
            assert np.array_equal(ours[f"p0{i}_synthesized_image.jpg"], theirs[f"p0{i}_synthesized_image.jpg"])
            label = ours[f"p0{i}_input_label.jpg"]
            assert (label[:6, :16] == VOID).all() and (label[6:28] != VOID).any(-1).all()
    assert "unlabelled" in page
    assert "unlabelled" in json.loads((tmp_path / "a" / name / "test_latest" / "metrics.json").read_text())["by_class"]


def test_they_have_styles_by_name(checkpoints, roots, tmp_path, monkeypatch):
    assert "unlabelled" in json.loads((checkpoints / "255" / "styles.json").read_text())["classes"]
    assert "unlabelled" in (checkpoints / "255" / "styles" / "index.html").read_text()
    predictor = Predictor.load(checkpoints / "255", gpu_ids="-1")
    path = roots["255"] / "test_label" / "p00.png"
    label, photo = np.array(Image.open(path)), roots["255"] / "test_img" / "p00.png"
    own = predictor.encode(photo, label)
    assert set(own) == {"unlabelled", *map(str, np.unique(label[label < CLASSES]))}
    plain = np.asarray(predictor(label, image=photo)).astype(int)
    assert np.array_equal(plain, np.asarray(predictor(path, style=own)))
    other = np.asarray(predictor(label, image=photo, style={"unlabelled": -own["unlabelled"]})).astype(int)
    assert np.abs(plain - other)[:6, :16].mean() > np.abs(plain - other)[14:24].mean()
    with pytest.raises(UserError, match=f"label: holds label {CLASSES}, .*0 to {CLASSES - 1}, and 255 for unlabelled pixels"):
        predictor(np.full((32, 32), CLASSES))
    shown = [drawn(checkpoints, roots, "255", tmp_path, monkeypatch, *how, "--style_regions", "unlabelled")[0]
             for how in (["--style_root", roots["json"]], ["--style_image", photo, "--style_label", path])]
    assert np.array_equal(*(pictures["p00_synthesized_image.jpg"] for pictures in shown))


@pytest.mark.parametrize("flags, said", [
    ([], rf"p00\.png: holds label 255, but --label_nc {CLASSES} .*255 marks unlabelled pixels, .*{FLAG}"),
    ([FLAG, "--label_nc", "4"], r"holds label 4, 5, but --label_nc 4 allows 0 to 3, and 255 for unlabelled pixels; raise"),
    ([FLAG, "--label_nc", "0"], f"{FLAG}: with --label_nc 0")])
def test_what_does_not_fit_is_refused(roots, tmp_path, flags, said):
    with pytest.raises(UserError, match=said):
        CreateDataLoader(options(["--name", "x", "--dataroot", roots["255"], *SIZES, *NETWORK, *flags]))


def test_it_shapes_the_networks(checkpoints, roots, tmp_path):
    for name, flag in (("255", f"--no-{FLAG[2:]}"), ("class", FLAG)):
        done = call("test", *where(name, checkpoints, roots[name]), "--results_dir", tmp_path, flag)
        assert done.status == 2 and flag in done.err and "opt.json" in done.err
    done = call("test", *where("class", checkpoints, roots["json"]), "--results_dir", tmp_path)  # trained without the flag
    assert done.status == 2 and "holds label 200" in done.err


def test_their_class_follows_all_others(roots):
    def label(root, *flags):
        argv = ["--name", "x", "--dataroot", root, *SIZES, *NETWORK, "--no_flip", *flags]
        return CreateDataLoader(options(argv)).dataset[0]["label"]
    wide, marked = label(roots["255"], "--label_nc", "256"), label(roots["255"], FLAG)
    assert wide.max() == 255 and marked.max() == CLASSES and torch.equal(marked, label(roots["json"]))
    deep = label(roots["255"], FLAG, "--label_nc", "256")
    assert torch.equal(deep == 256, wide == 255) and torch.equal(deep[deep < 256], wide[wide < 255].int())


# the parser

def test_a_parser_learns_nothing_from_them(roots, tmp_path):
    small = ["--model", "parsing", "--gpu_ids", "-1", "--nThreads", "0", "--loadSize", "64", "--label_nc", CLASSES]
    start = ["--name", "p", "--checkpoints_dir", tmp_path]
    train = [*small, *start, "--dataroot", roots["255"], FLAG, "--from_scratch"]
    opt = options([*train, "--jitter", "0", "--zoom", "0", "--turn", "0"])
    model = create_model(opt)
    model.train()
    batch = next(iter(CreateDataLoader(opt)))
    model.prepare(batch)
    unlabelled = batch["label"][:, 0] == CLASSES
    assert torch.equal(model.context.label == IGNORED, unlabelled) and unlabelled.any()
    succeed(call("train", *train, "--niter", "1", "--niter_decay", "0", "--batchSize", "2"))
    succeed(call("test", *small[:-4], *start, "--dataroot", roots["255"], "--results_dir", tmp_path))
    figures = json.loads((tmp_path / "p" / "test_latest" / "metrics.json").read_text())
    assert set(figures["by_class"]) <= set(map(str, range(CLASSES)))
    assert sum(entry["share"] for entry in figures["by_class"].values()) == pytest.approx(1)
    assert "unlabelled" in (tmp_path / "p" / "test_latest" / "index.html").read_text()
    shown = np.asarray(Image.open(tmp_path / "p" / "test_latest" / "images" / "p00_real_label.jpg")).astype(int)
    assert np.abs(shown[2:8, 4:24] - VOID).max() < 12


# the tools

def kinds(result):
    return {problem.kind for problem in result.problems if problem.severity == "error"}


def test_the_check_counts_them_apart(roots, tmp_path):
    assert "label out of range" in kinds(check.full_check(roots["255"], CLASSES))
    for root, flags, marked in ((roots["255"], {"contain_dontcare_label": True}, 255), (roots["json"], {}, 200)):
        result = check.full_check(root, CLASSES, **flags)
        assert not kinds(result) and result.pixels["train"][CLASSES] == 3 * (6 * 16 + 4 * 4)
        assert not check.check_labels(sorted((root / "train_label").iterdir()), CLASSES, marked)
        write_report(tmp_path / "report.html", result)
        page = (tmp_path / "report.html").read_text()
        assert "unlabelled" in page and "out of range)" not in page and "rgb(224, 224, 192)" in page
    assert check.main([str(roots["255"]), "--label_nc", str(CLASSES), FLAG, "--jobs", "1"]) < 2
    said = [p.message for p in check.full_check(roots["255"], CLASSES).problems if p.kind == "label out of range"]
    assert all(FLAG in line and '"dontcare": 255' in line for line in said) and said


def test_renumbering_leaves_them_alone(tmp_path):
    ids = np.array([[0, 2, 255, 13]], np.uint8)
    table = relabel.translation("celebamask-hq", "face-parsing")
    assert relabel.relabel(ids, table, dontcare=255).tolist() == [[0, 10, 255, 17]]
    with pytest.raises(UserError, match="holds label 255"):
        relabel.relabel(ids, table)


def test_a_spec_names_and_colours_them():
    spec = DatasetSpec.from_dict({"labels": ["sky", "sea"], "dontcare": 9})
    assert spec.as_dict()["dontcare"] == 9 and spec.class_names == ("sky", "sea") and spec.class_colors == ()
    used = spec.with_unlabelled(2)
    assert used.class_names == ("sky", "sea", "unlabelled") and used.dontcare == 9 and used.label_of("unlabelled") == 2
    assert used.as_dict() == spec.as_dict() and used.class_colors[2] == VOID
    assert DatasetSpec().with_unlabelled(35).dontcare == 255
    assert np.array_equal(DatasetSpec().with_unlabelled(35).class_colors, [*palette(35), VOID]), "Cityscapes' own colours"
    assert DatasetSpec(labels=("unlabelled", "sky")).with_unlabelled(2).class_names == ("unlabelled", "sky", "2")
    for wrong in (-1, "255", True, 65536):
        with pytest.raises(UserError, match="dontcare is"):
            DatasetSpec.from_dict({"dontcare": wrong})


@pytest.mark.parametrize("classes, dontcare, ids, read", [
    (3, 255, [0, 255, 2], [0, 3, 2]), (3, 0, [0, 1, 2], [3, 1, 2]), (255, 255, [254, 255], [254, 255]),
    (256, 255, [0, 255], [0, 256]), (3, None, [0, 2], [0, 2]), (3, 3, [3, 0], [3, 0])])
def test_ids_as_read(classes, dontcare, ids, read):
    maps = LabelMaps(classes, dontcare)
    got = maps.read(np.array([ids], np.uint8))
    assert got.tolist() == [read] and got.max() < maps.channels
