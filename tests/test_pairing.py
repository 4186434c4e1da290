"""Equal names are a pair, whatever else lies in the folders; what is nearly a pair is told."""
import unicodedata

import numpy as np
import pytest

from data.image_files import list_images
from data.pairing import Names, near_misses, pair
from data.style_source import StyleSource
from datasets.check import full_check
from tests.conftest import CLASSES, NETWORK, SIDE, SIZES, call, options, save, succeed, write_root
from tests.test_dataset import loader_of
from util.errors import UserError


def named_root(folder, **names):
    """A data root whose folders hold pictures of these names: train_label=["a", ...]."""
    for place, stems in names.items():
        for i, stem in enumerate(stems):
            ids = np.full((SIDE, SIDE), i % CLASSES, np.uint8)
            save(folder / place / f"{stem}.png", ids if place.endswith(("label", "inst")) else np.dstack([ids] * 3) * 9)
    return folder


@pytest.mark.parametrize("ours, theirs, pairs", [
    (["x/a_gtFine_labelIds", "b_label", "c"], ["x/a_leftImg8bit", "b_img", "c"],
     {"x/a_gtFine_labelIds": "x/a_leftImg8bit", "b_label": "b_img", "c": "c"}),
    (["kim_A", "kim_B"], ["kim_A"], {"kim_A": "kim_A"}),
    (["kim_A"], ["kim_A", "kim_B"], {"kim_A": "kim_A"}),
    (["kim_A"], ["kim_B"], {"kim_A": "kim_B"}),
    (["kim_A", "kim_B"], ["kim"], {}),  # whose of the two it is, nobody says
    (["kim"], ["kim_A", "kim_B"], {}),
    (["kim", "kim_A"], ["kim", "kim_img"], {"kim": "kim"}),
    (["a", "a_mask", "b_mask"], ["a", "a_mask", "b"], {"a": "a", "a_mask": "a_mask", "b_mask": "b"}),
    (["a_img_label"], ["a_img"], {"a_img_label": "a_img"}),
    (["x/a"], ["y/a", "a"], {})])
def test_equal_names_first_then_equal_without_a_role(ours, theirs, pairs):
    assert pair(ours, theirs) == pairs
    assert pair(theirs, ours) == {other: name for name, other in pairs.items()}


def test_another_picture_changes_no_pair_but_those_it_could_be_mistaken_for():
    ours, theirs = ["a_A", "b_A", "c"], ["a_A", "b_B", "c_img"]
    before = pair(ours, theirs)
    for more, gone in (("a_B", set()), ("a", set()), ("c_A", {"c"}), ("d", set()), ("b", {"b_A"})):
        for here, there in ((ours + [more], theirs), (ours, theirs + [more])):
            after = pair(here, there)
            assert {name for name in ours if after.get(name) != before[name]} <= gone, more


def test_names_are_compared_composed(tmp_path):
    folded = unicodedata.normalize("NFD", "Zoë")
    save(tmp_path / "mac" / f"{folded}.png", np.zeros((2, 2), np.uint8))
    assert list(list_images(tmp_path / "mac")) == ["Zoë"] and Names(["Zoë"]).find(folded) == "Zoë"
    save(tmp_path / "mac" / "Zoë.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(UserError, match="are both 'Zoë'"):
        list_images(tmp_path / "mac")


@pytest.mark.parametrize("name, other, said", [
    ("a", "a.jpg", "a second extension"), ("IMG_1", "img_1", "upper and lower case"), ("1", "00001", "leading zeros"),
    ("face10_label", "face0010", "spelling"), ("x/a", "a", "folders"), ("a b", "a_b", "spelling"),
    ("kim_A", "kim", "endings, as other files there or here do")])
def test_near_misses_are_told(name, other, said):
    assert near_misses([name, "q"], ["z", other]) == {name: near_misses([name], [other])[name]}
    text = near_misses([name], [other])[name]
    assert f"'{other}' there and '{name}' differ in " in text and said in text


def test_different_names_are_no_near_misses():
    assert near_misses(["1", "10", "img_1", "a"], ["2", "100", "img_2", "b", "aa"]) == {}


def test_training_names_only_what_lacks_a_partner_and_hints_at_it(tmp_path):
    named_root(tmp_path, train_label=["kim_A", "kim_B", "c"], train_img=["kim_A", "c"])
    with pytest.raises(UserError, match=r"train_img: 1 of 3 label maps have no partner of the same name there: kim_B; "):
        loader_of(tmp_path)
    (tmp_path / "train_label" / "kim_B.png").rename(tmp_path / "train_label" / "7.png")
    named_root(tmp_path, train_img=["0007"])
    with pytest.raises(UserError, match=r"there: 7 \('0007' there and '7' differ in leading zeros\); add or rename"):
        loader_of(tmp_path)
    (tmp_path / "train_label" / "7.png").unlink()
    with pytest.raises(UserError, match="train_label: 1 of 3 photos have no label map of the same name there: 0007; add"):
        loader_of(tmp_path)


def test_a_test_tells_which_photos_are_missing(tmp_path, capsys):
    named_root(tmp_path, test_label=["IMG_1", "kim_A", "kim_B"], test_img=["img_1", "kim_A"])
    data = loader_of(tmp_path, role="test").dataset
    assert set(data.files["image"]) == {"kim_A"}
    said = [line for line in capsys.readouterr().out.splitlines() if "test_img" in line]
    assert said == [f"{tmp_path / 'test_img'}: 2 of 3 label maps have no photo of the same name there: IMG_1, kim_B "
                    "('img_1' there and 'IMG_1' differ in upper and lower case)"]


def test_results_keep_the_label_maps_names(tmp_path, trained, root):
    named_root(tmp_path, test_label=["kim_A", "kim_B", "lee_label"], test_img=["kim_A", "lee_img"])
    succeed(call("test", "--name", "faces", "--checkpoints_dir", trained, "--dataroot", tmp_path, *SIZES, *NETWORK,
                 "--label_feat", "--results_dir", tmp_path / "r"))
    files = sorted(path.name for path in (tmp_path / "r/faces/test_latest/images").glob("*"))
    assert [name for name in files if "real" in name] == ["kim_A_real_image.jpg", "lee_label_real_image.jpg"]
    assert [name for name in files if "synth" in name] == [f"{stem}_synthesized_image.jpg" for stem in
                                                           ("kim_A", "kim_B", "lee_label")]


def test_thumbnails_of_a_network_drive_are_no_pictures(tmp_path):
    named_root(tmp_path, photos=["a", "@eaDir/a/SYNOPHOTO_THUMB_M", "#recycle/b", "sub/@eaDir/c"])
    assert list(list_images(tmp_path / "photos")) == ["a"]


def test_style_photos_pair_like_all_others(tmp_path):
    named_root(tmp_path, test_label=["kim_A", "kim_B", "lee_label"])
    other = named_root(tmp_path / "other", train_label=["kim_A", "kim_B", "lee.jpg"], train_img=["kim_A", "kim_B", "lee.jpg"])
    (tmp_path / "pairs.csv").write_text("test,style\nkim_A.png,lee.jpg.png\nkim_B,kim_B.png\nlee,lee.jpg\n")
    flags = ["--dataroot", tmp_path, *SIZES, *NETWORK, "--label_feat", "--style_root", other, "--style_phase", "train",
             "--checkpoints_dir", tmp_path, "--name", "x"]
    source = StyleSource(options(flags, "test"))
    assert [source.name(name, 0) for name in ("kim_A", "kim_B")] == ["kim_A", "kim_B"]
    source = StyleSource(options([*flags, "--style_pairs", tmp_path / "pairs.csv"], "test"))
    assert [source.name(name, 0) for name in ("kim_A", "kim_B", "lee_label")] == ["lee.jpg", "kim_B", "lee.jpg"]
    (tmp_path / "pairs.csv").write_text("kim_A,KIM_a\n")
    with pytest.raises(UserError, match="line 1 names KIM_a, .* and 'KIM_a' differ in upper and lower case"):
        StyleSource(options([*flags, "--style_pairs", tmp_path / "pairs.csv"], "test"))


def test_check_pairs_as_training_does_and_hints(tmp_path):
    root = write_root(tmp_path, {"train": 2})
    for place in ("train_label", "train_img"):
        (root / place / "p00.png").rename(root / place / "kim_A.png")
    save(root / "train_label" / "kim_B.png", np.full((SIDE, SIDE), 1, np.uint8))
    save(root / "train_label" / "IMG_1.png", np.full((SIDE, SIDE), 1, np.uint8))
    save(root / "train_img" / "img_1.png", np.full((SIDE, SIDE, 3), 1, np.uint8))
    found = [str(problem) for problem in full_check(root, CLASSES).problems if problem.kind == "unpaired"]
    assert found == [f"error: {root}/train_label/{name}.png: has no partner '{name}' in train_img{rest}" for name, rest in (
        ("IMG_1", " ('img_1' there and 'IMG_1' differ in upper and lower case); rename one"),
        ("kim_B", "; add it or remove this one"))] + [
        f"error: {root}/train_img/img_1.png: has no partner 'img_1' in train_label ('IMG_1' there and 'img_1' differ in upper "
        "and lower case); rename one"]
