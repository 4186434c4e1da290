"""Features from other photos: which photo a face gets, which regions it gives, and what happens where it has none."""
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from models.styles.styles import Choice, Donor, Encoded, Styles
from tests.conftest import call, label_map, picture, save, write_root


def draw(trained, root, results, *more, status=0):
    done = call("test", "--name", "faces", "--checkpoints_dir", trained, "--dataroot", root, "--results_dir", results,
                "--gpu_ids", "-1", "--nThreads", "0", *more)
    assert done.status == status, done.err
    if status:
        assert len(done.err.strip().splitlines()) == 1
        return done.err
    images = results / "faces" / "test_latest" / "images"
    return {p.stem: np.asarray(Image.open(p)).astype(int) for p in sorted(images.iterdir())}


def results_of(shown):
    return {k: v for k, v in shown.items() if k.endswith("_synthesized_image")}


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another data root, whose pictures have names of their own but for p01."""
    root = write_root(tmp_path_factory.mktemp("other"), {"train": 3}, seed=5)
    for old, new in (("p00", "x"), ("p02", "y")):
        for role in ("label", "img"):
            (root / f"train_{role}" / f"{old}.png").rename(root / f"train_{role}" / f"{new}.png")
    return root


def from_other(other, *more):
    return ["--style_root", other, "--style_phase", "train", *more]


@pytest.mark.parametrize("kind", ["", "_region"])
def test_swapping_with_oneself_is_drawing_the_own_photo(kind, root, tmp_path, request):
    trained = request.getfixturevalue("trained" + kind)
    own = draw(trained, root, tmp_path / "a", "--use_encoded_image")
    swapped = draw(trained, root, tmp_path / "b", "--style_root", root)
    assert equal(results_of(own), results_of(swapped))
    assert np.abs(swapped["p00_style_image"] - own["p00_real_image"]).max() == 0


def test_a_crop_higher_than_the_pictures_draws_squares(trained, tmp_path):
    wide = write_root(tmp_path / "data", {"test": 1}, size=(64, 32))
    photo, label = wide / "test_img" / "p00.png", wide / "test_label" / "p00.png"
    crop = ["--resize_or_crop", "scale_width_and_crop", "--loadSize", "40", "--fineSize", "32"]
    for how in (["--style_image", photo, "--style_label", label], ["--style_root", wide]):
        shown = draw(trained, wide, tmp_path / how[0][2:], *crop, *how)
        assert {image.shape for name, image in shown.items() if name != "p00_style_image"} == {(32, 32, 3)}
        assert shown["p00_real_image"][22:].max() < 40


def test_the_same_name_first_else_in_turn(trained, root, other, tmp_path):
    shown = draw(trained, root, tmp_path, *from_other(other))
    for test, style in (("p00", "p01"), ("p01", "p01"), ("p02", "y")):  # sorted: p01, x, y
        photo = np.asarray(Image.open(other / "train_img" / f"{style}.png")).astype(int)
        assert np.abs(shown[f"{test}_style_image"] - photo).mean() < 12, (test, style)  # JPEG of a small picture
    html = (tmp_path / "faces" / "test_latest" / "index.html").read_text()
    columns = [html.index(f"p00_{what}.jpg") for what in ("input_label", "style_image", "synthesized_image", "real_image")]
    assert columns == sorted(columns) and "SSIM" not in html, "another's style has no truth to be compared with"


def test_pairs_say_who_gets_whose(trained, root, other, tmp_path):
    (tmp_path / "pairs.csv").write_text("face,style\np00.png,y\np01,x.png\n\np02,x\n")
    shown = draw(trained, root, tmp_path / "a", *from_other(other, "--style_pairs", tmp_path / "pairs.csv"))
    for test, style in (("p00", "y"), ("p01", "x"), ("p02", "x")):
        photo = np.asarray(Image.open(other / "train_img" / f"{style}.png")).astype(int)
        assert np.abs(shown[f"{test}_style_image"] - photo).mean() < 12


def test_one_photo_for_all_is_its_pair_for_all(trained, root, other, tmp_path):
    (tmp_path / "pairs.csv").write_text("p00,x\np01,x\np02,x\n")
    paired = draw(trained, root, tmp_path / "a", *from_other(other, "--style_pairs", tmp_path / "pairs.csv"))
    one = draw(trained, root, tmp_path / "b", "--style_image", other / "train_img" / "x.png", "--style_label",
               other / "train_label" / "x.png")
    assert equal(paired, one)


def test_named_regions_only(trained, root, other, tmp_path):
    own = results_of(draw(trained, root, tmp_path / "a", "--use_encoded_image"))
    all_of_it = results_of(draw(trained, root, tmp_path / "b", *from_other(other)))
    some = results_of(draw(trained, root, tmp_path / "c", *from_other(other, "--style_regions", "1, 3")))
    assert not equal(own, some) and not equal(all_of_it, some)
    every = results_of(draw(trained, root, tmp_path / "d", *from_other(other, "--style_regions", "0,1,2,3,4,5")))
    assert equal(all_of_it, every)


def test_a_label_map_without_a_photo_takes_the_style_too(trained, root, other, tmp_path):
    bare = tmp_path / "data"
    shutil.copytree(root / "test_label", bare / "test_label")
    shown = draw(trained, bare, tmp_path, *from_other(other))
    assert "p00_style_image" in shown and "p00_real_image" not in shown


def vectors(*rows):
    return np.array(rows, float)


def test_what_the_style_photo_lacks_is_the_own_photos_else_the_largest_cluster():
    styles = Styles(1, {0: vectors([10], [11]), 1: vectors([20]), 2: vectors([30])})
    donor = Donor("d", [1], Encoded(vectors([5])))
    choice, own = Choice(own=True), Encoded(vectors([1], [2], [3]))
    assert styles.pick([0, 1, 2], choice, 0, own=own, donor=donor).ravel().tolist() == [1, 5, 3]
    assert styles.pick([0, 1, 2], choice, 0, donor=donor).ravel().tolist() == [10, 5, 30]
    some = choice.replace(taken=frozenset([2]))
    assert styles.pick([0, 1, 2], some, 0, own=own, donor=donor).ravel().tolist() == [1, 2, 3]
    fixed = choice.replace(fixed={1: np.array([7.0])})
    assert styles.pick([0, 1, 2], fixed, 0, own=own, donor=donor).ravel().tolist() == [1, 7, 3], "--style goes before all"


def test_posterior_draws_lie_around_the_style_photos_mu():
    styles = Styles(1, {0: vectors([0])})
    donor = Donor("d", [0], Encoded(vectors([5]), vectors([np.log(0.25)])))
    choice = Choice(mode="prior", own=True, posterior=True)
    drawn = np.array([styles.pick([0], choice, index, donor=donor)[0, 0] for index in range(2000)])
    assert abs(drawn.mean() - 5) < 0.05 and abs(drawn.std() - 0.5) < 0.05


CSV = {"three columns": "p00,x,y\n", "an unknown style": "p00,x\np01,nosuch\n", "a face twice": "p00,x\np00,y\n",
       "not every face": "p00,x\n"}


@pytest.mark.parametrize("what", CSV)
def test_pairs_that_cannot_be_meant(trained, root, other, tmp_path, what):
    (tmp_path / "pairs.csv").write_text(CSV[what])
    said = {"three columns": "line 1 has 3", "an unknown style": "line 2 names nosuch",
            "a face twice": "line 2 names p00 again", "not every face": "no line for p01, p02"}[what]
    error = draw(trained, root, tmp_path, *from_other(other, "--style_pairs", tmp_path / "pairs.csv"), status=2)
    assert "--style_pairs" in error and said in error


@pytest.mark.parametrize("flags, said", [
    (["--style_root", "nowhere"], "--style_root nowhere: there is no such folder"),
    (["--style_image", "a.jpg"], "--style_image a.jpg.*--style_label"), (["--style_label", "a.png"], "--style_label a.png"),
    (["--style_pairs", "a.csv"], "--style_pairs a.csv: .*--style_root"),
    (["--style_regions", "1"], "--style_regions 1: .*--style_root"),
    (["--style_regions", "1,,2", "--style_root", "."], "--style_regions"),
    (["--style_image", "gone.jpg", "--style_label", "gone.png"], "gone.png: there is no such file"),
    (["--style_root", ".", "--style_image", "a", "--style_label", "b"], "give one of the two")])
def test_flags_that_cannot_be_meant(trained, root, tmp_path, flags, said):
    assert re.search(said, draw(trained, root, tmp_path, *flags, status=2))


def test_faults_of_the_style_photos_are_named(trained, root, other, tmp_path):
    data = shutil.copytree(other, tmp_path / "data")
    (data / "train_img" / "x.png").unlink()
    assert re.search("train_img.*x", draw(trained, root, tmp_path, "--style_root", data, "--style_phase", "train", status=2))
    assert "--style_phase" in draw(trained, root, tmp_path, "--style_root", data, status=2), "it has no test folders"
    random = np.random.default_rng(0)
    labels = label_map(random)
    save(tmp_path / "a.png", labels + 40)
    save(tmp_path / "photo.png", picture(random, labels))
    label = ["--style_label", tmp_path / "a.png"]
    error = draw(trained, root, tmp_path, "--style_image", tmp_path / "photo.png", *label, status=2)
    assert "--style_label" in error and "holds label 4" in error
    save(tmp_path / "wide.png", np.zeros((32, 64, 3), np.uint8))
    save(tmp_path / "a.png", labels)
    error = draw(trained, root, tmp_path, "--style_image", tmp_path / "wide.png", *label, status=2)
    assert "the two must show the same view" in error


def test_other_numberings_are_refused(trained, root, other, tmp_path):
    ours, theirs = shutil.copytree(root, tmp_path / "a"), shutil.copytree(other, tmp_path / "b")
    for folder, names in ((ours, "abcdef"), (theirs, "bacdef")):
        (folder / "dataset.json").write_text(json.dumps({"labels": list(names)}))
    error = draw(trained, ours, tmp_path, "--style_root", theirs, "--style_phase", "train", status=2)
    assert "numbers the classes otherwise" in error
