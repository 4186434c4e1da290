"""The sample faces: repeatable, complete, and pictures that show what their label maps say."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.dataset_spec import CELEBAMASK_HQ, face_spec
from datasets._work import LEAST_SHARE
from datasets.make_sample_faces import main, make_sample_faces
from datasets.portraits import classes
from datasets.portraits.attributes import ATTRIBUTES, attributes_of, hair_colour_name
from datasets.portraits.look import sample_look
from datasets.portraits.portrait import draw_portrait
from tests.conftest import call, load_script, options, succeed, tree
from util.checkpoint import read_tensors
from util.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "datasets" / "sample_faces"


def _make(out: Path, train=3, test=1, size=64, seed=5, jobs=1) -> dict[str, bytes]:
    make_sample_faces(out, train, test, size, seed, jobs)
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def without_tables(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.endswith(".csv")}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, bytes]:
    return _make(tmp_path_factory.mktemp("faces") / "one")


@pytest.fixture(scope="module")
def portraits() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_portrait(np.random.default_rng([1, number]), 128) for number in range(24)]


@pytest.fixture(scope="module")
def shipped_labels() -> np.ndarray:
    return np.stack([np.array(Image.open(file)) for file in sorted((SHIPPED / "train_label").glob("*.png"))])


def test_same_seed_gives_the_same_bytes_with_two_jobs(made, tmp_path):
    two = _make(tmp_path / "two", train=2 * LEAST_SHARE, jobs=2)
    assert {name: two[name] for name in made if not name.endswith(".csv")} == without_tables(made)
    assert len(made) == 2 * (3 + 1) + 3, "pictures, labels, dataset.json and two tables, and no unfinished files"


def test_a_portrait_depends_only_on_seed_and_number(made, tmp_path):
    longer = _make(tmp_path / "longer", train=4)
    assert all(longer[name] == content for name, content in without_tables(made).items())
    for table in ("attributes.csv", "identities.csv"):
        assert set(made[table].splitlines()) < set(longer[table].splitlines())
    assert len({content for name, content in longer.items() if name.endswith(".jpg")}) == 5, "all differ"


def test_other_seed_gives_other_people(made, tmp_path):
    other = _make(tmp_path / "other", seed=6)
    assert not {content for name, content in other.items() if "_img" in name} & set(made.values())


@pytest.mark.parametrize("size", [32, 64, 200, 257])
def test_size_asked_for_is_given(size, tmp_path):
    _make(tmp_path, train=1, test=0, size=size)
    picture, labels = (Image.open(tmp_path / name) for name in ("train_img/0000.jpg", "train_label/0000.png"))
    assert picture.size == labels.size == (size, size)
    assert (picture.mode, labels.mode) == ("RGB", "L")
    assert json.loads((tmp_path / "dataset.json").read_text())["defaults"] == {"loadSize": size}


def test_same_person_at_any_size():
    small, large = (draw_portrait(np.random.default_rng(3), size)[1] for size in (128, 384))
    assert (small == large[1::3, 1::3]).mean() > 0.985


def test_the_flow_has_two_roots_of_different_people_that_train_small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["--flow", "--train", "2", "--test", "1", "--size", "32", "--jobs", "1"]
    assert main(argv) == 0
    roots = [tmp_path / name for name in ("datasets/faceOriginIm", "datasets/faceOriginT")]
    for root in roots:
        assert len(list((root / "train_img").iterdir())) == 2 and len(list((root / "test_label").iterdir())) == 1
        opt = options(["--name", "x", "--dataroot", root, "--label_feat", "--loadSize", "512"])
        assert (opt.loadSize, opt.label_nc, opt.ngf, opt.niter, opt.no_vgg_loss) == (512, 19, 16, 7, True)
    assert (roots[0] / "train_img/0000.jpg").read_bytes() != (roots[1] / "train_img/0000.jpg").read_bytes()
    before = tree(tmp_path)
    (roots[1] / "train_img/0001.jpg").unlink()
    assert main(argv) == 0 and tree(tmp_path) == before, "broken off, the same command goes on"


@pytest.mark.parametrize("description", [None, '{"label_nc": 19}'])
def test_the_flow_leaves_other_data_alone(tmp_path, monkeypatch, description):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "datasets/faceOriginT/train_img/0000.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    if description:
        (own.parents[1] / "dataset.json").write_text(description)
    with pytest.raises(UserError, match="datasets/faceOriginT"):
        main(["--flow", "--train", "1", "--test", "0", "--size", "32"])
    assert own.read_bytes() == b"mine" and not (tmp_path / "datasets/faceOriginIm/train_img").exists()


def test_shipped_set_is_whole_and_small():
    for split, count in (("train", 96), ("test", 24)):
        names = [{file.stem for file in (SHIPPED / f"{split}_{kind}").iterdir()} for kind in ("img", "label")]
        assert names[0] == names[1]
        assert len(names[0]) == count
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) < 4e6


def test_shipped_description_names_the_labels():
    description = json.loads((SHIPPED / "dataset.json").read_text())
    assert description == face_spec("celebamask-hq", {"loadSize": 256}).as_dict()
    assert tuple(description["labels"]) == CELEBAMASK_HQ and description["parts"]["eyes"] == ["l_eye", "r_eye"]
    assert description["label_nc"] == len(description["labels"]) == 19
    assert description["labels"][3] == "eye_g"
    assert description["labels"][15:18] == ["ear_r", "neck_l", "neck"]
    for left, right in description["flip_pairs"]:
        assert description["labels"][left] == description["labels"][right].replace("r_", "l_")


def test_shipped_train_set_shows_every_class_several_times(shipped_labels):
    assert shipped_labels.max() < len(CELEBAMASK_HQ)
    seen = {name: int((shipped_labels == k).any((1, 2)).sum()) for k, name in enumerate(CELEBAMASK_HQ)}
    assert min(seen.values()) >= 8, seen


def test_own_left_is_on_the_viewers_right(shipped_labels):
    # As in the files of CelebAMask-HQ, where l_eye lies at the larger x: it is the person's own left.
    across = np.arange(shipped_labels.shape[2])
    for left, right in face_spec().flip_pairs:
        for labels in shipped_labels:
            if (labels == left).any() and (labels == right).any():
                at = [(labels == k).sum(0) @ across / (labels == k).sum() for k in (left, right)]
                assert at[0] > at[1]


def test_eyes_lie_above_the_nose_above_the_lips_above_the_neck(portraits):
    for _, labels in portraits:
        height = [np.nonzero(np.isin(labels, ids))[0] for ids in
                  ((classes.L_BROW, classes.R_BROW), (classes.NOSE,), (classes.UPPER_LIP,), (classes.LOWER_LIP,),
                   (classes.NECK,))]
        middles = [rows.mean() for rows in height if rows.size]
        assert middles == sorted(middles)


def test_regions_explain_the_colours(portraits):
    shares = []
    for picture, labels in portraits:
        pixels, flat = picture.reshape(-1, 3).astype(float), labels.reshape(-1)
        left = sum(((pixels[flat == k] - pixels[flat == k].mean(0)) ** 2).sum() for k in np.unique(flat))
        shares.append(1 - left / ((pixels - pixels.mean(0)) ** 2).sum())
    assert np.median(shares) > 0.6
    # Moved by some pixels, the same labels must explain less: picture and labels lie over each other.
    picture, labels = portraits[0]
    edges = np.abs(np.diff(picture.astype(float), axis=1)).sum(-1)
    steps = np.diff(labels.astype(int), axis=1) != 0
    assert edges[steps].mean() > 2 * np.roll(edges, 4, axis=1)[steps].mean()


def test_looks_vary_independently(portraits):
    means = {}
    for k in (classes.BACKGROUND, classes.HAIR, classes.CLOTH):
        means[k] = np.array([p[la == k].mean(0) if (la == k).any() else np.full(3, np.nan) for p, la in portraits])
        assert (np.nanstd(means[k], 0) > 25).all(), CELEBAMASK_HQ[k]


@pytest.mark.parametrize("flags, about", [
    (["--size", "8"], "--size"),
    (["--train", "many"], "--train"),
    (["--train", "0", "--test", "0"], "nothing to draw"),
    (["--seed", "-1"], "--seed"),
    (["--flow"], "--out and --flow"),
])
def test_bad_arguments_end_in_one_line(flags, about, tmp_path):
    command = [sys.executable, "-m", "datasets.make_sample_faces", "--out", str(tmp_path / "new"), *flags]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert about in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_another_set_is_not_mixed_in(tmp_path):
    _make(tmp_path, train=2, test=0, size=32)
    with pytest.raises(UserError, match="files of another set"):
        _make(tmp_path, train=1, test=0, size=32)


def test_attributes_say_what_the_pictures_show():
    """Those that a class of the label map shows as well; under a hat nobody is bald, and hair has one colour at most."""
    shown = {"Eyeglasses": classes.GLASSES, "Wearing_Hat": classes.HAT, "Wearing_Necklace": classes.NECKLACE}
    counts = dict.fromkeys(ATTRIBUTES, 0)
    for number in range(40):
        look = sample_look(np.random.default_rng([1, number]))
        labels = draw_portrait(np.random.default_rng([1, number]), 128)[1]
        found = attributes_of(look, labels)
        assert tuple(found) == ATTRIBUTES
        for name, label in shown.items():
            assert found[name] == ((labels == label).sum() >= 8), (number, name)
        assert sum(found[name] for name in found if name.endswith("_Hair")) <= 1 and not found["Bald"] & found["Wearing_Hat"]
        counts = {name: counts[name] + found[name] for name in ATTRIBUTES}
    assert all(0 < count < 40 for count in counts.values()), counts


@pytest.mark.parametrize("colour, name", [((30, 24, 24), "Black"), ((96, 62, 42), "Brown"), ((230, 211, 170), "Blond"),
                                          ((150, 150, 154), "Gray"), ((192, 92, 44), ""), ((60, 90, 200), "")])
def test_hair_colours_have_celebas_names(colour, name):
    assert hair_colour_name(np.array(colour) / 255) == name


def test_the_shipped_faces_have_their_tables():
    photos = {(split, file.stem) for split in ("train", "test") for file in (SHIPPED / f"{split}_img").iterdir()}
    for table in ("attributes.csv", "identities.csv"):
        header, *rows = [line.split(",") for line in (SHIPPED / table).read_text().splitlines()]
        assert {(row[1], row[0]) for row in rows} == photos and all(len(row) == len(header) for row in rows)


def test_a_fresh_clone_draws_the_held_out_faces_with_the_shipped_weights(tmp_path):
    """As docs/sample_faces.md says: bare test.py, before any training."""
    shutil.copytree(ROOT / "checkpoints" / "sample_faces", tmp_path / "checkpoints" / "sample_faces")
    where = ["--checkpoints_dir", tmp_path / "checkpoints", "--dataroot", SHIPPED, "--gpu_ids", "-1", "--how_many", "6"]
    done = succeed(call("test", *where, "--results_dir", tmp_path / "own", "--use_encoded_image"))
    assert done.out.count("the weights that come with this project") == 1
    found = json.loads((tmp_path / "own" / "sample_faces" / "test_latest" / "metrics.json").read_text())
    assert found["ssim"] > 0.85 and found["region_color_error"] < 3
    done = succeed(call("test", *where, "--results_dir", tmp_path / "sampled", "--how_many", "2"))
    assert "another encoder" not in done.out, "styles and weights belong together"
    assert sum(path.stat().st_size for path in (ROOT / "checkpoints" / "sample_faces").iterdir()) < 20e6


def test_the_script_ships_the_noise_that_the_shipped_weights_have():
    script = (ROOT / "scripts" / "train_sample_faces.sh").read_text()
    wanted = load_script("scripts/ship_weights").strengths(re.search(r"--noise (\S+)", script)[1])
    found = read_tensors(ROOT / "checkpoints" / "sample_faces" / "latest_net_G.pth")["noise_strength"].float()
    assert found.tolist() == pytest.approx([wanted.get(name, 0) for name in CELEBAMASK_HQ], abs=1e-3)
