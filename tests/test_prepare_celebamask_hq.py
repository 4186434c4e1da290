"""CelebAMask-HQ in miniature, as published: every label pixel, name, split and row."""
import json
import os

import numpy as np
import pytest
from PIL import Image

from datasets import _work, prepare_celebamask_hq
from tests.test_prepare_shared import files_of, random_masks, rows_of
from util.errors import UserError

# the order of painting, as published: later over earlier
ORDERS = {
    "celebamask-hq": ["skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip",
                      "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"],
    "face-parsing": ["skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r", "nose", "mouth",
                     "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat"]}
# index in CelebA-HQ -> index in CelebA, on both sides of both borders
ORIGINALS = {0: 5, 1: 162770, 2: 162771, 3: 182637, 4: 182638, 2001: 202598}
SPLITS = {0: "train", 1: "train", 2: "val", 3: "val", 4: "test", 2001: "test"}
SIDE = 32


@pytest.fixture
def source(tmp_path):
    """A download with six faces; masks in every mode people have them in, overlapping, some parts absent."""
    src, rng = tmp_path / "CelebAMask-HQ", np.random.default_rng(1)
    (src / "CelebA-HQ-img").mkdir(parents=True)
    rows, attributes = ["idx       orig_idx  orig_file"], [str(len(ORIGINALS)), "5_o_Clock_Shadow Bald Smiling"]
    masks = {}
    for index, original in ORIGINALS.items():
        photo = rng.integers(0, 256, (2 * SIDE, 2 * SIDE, 3), dtype=np.uint8)
        Image.fromarray(photo).save(src / "CelebA-HQ-img" / f"{index}.jpg")
        folder = src / "CelebAMask-HQ-mask-anno" / str(index // 2000)
        folder.mkdir(parents=True, exist_ok=True)
        masks[index] = random_masks(rng, ORDERS["face-parsing"], SIDE)
        for i, (part, mask) in enumerate(masks[index].items()):
            picture = Image.fromarray(mask * np.uint8([255, 1, 128][i % 3])).convert(["L", "RGB", "P"][i % 3])
            picture.save(folder / f"{index:05d}_{part}.png")
        rows.append(f"{index:<10d}{original:<10d}{original + 1:06d}.jpg")
        attributes.append(f"{index}.jpg  1 -1 {'1' if index % 2 else '-1'}")
    (src / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(rows) + "\n")
    (src / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(attributes) + "\n")
    return src, masks


def prepare(src, out, *more, jobs=1):
    return prepare_celebamask_hq.main(["--src", str(src), "--out", str(out), "--size", str(SIDE), "--jobs", str(jobs),
                                       *more])


def painted(masks, scheme):
    """One pixel at a time, from the list above: the slow way that cannot be wrong."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    for row in range(SIDE):
        for column in range(SIDE):
            for i, part in enumerate(ORDERS[scheme], 1):
                if part in masks and masks[part][row, column]:
                    label[row, column] = i
    return label


@pytest.mark.parametrize("scheme", ORDERS)
def test_every_label_pixel_and_name(source, tmp_path, scheme):
    src, masks = source
    assert prepare(src, tmp_path / "out", "--scheme", scheme) == 0
    wanted = {f"{SPLITS[i]}_{kind}/{i}.{ending}" for i in masks for kind, ending in (("label", "png"), ("img", "jpg"))}
    assert files_of(tmp_path / "out") == wanted | {"dataset.json", "split.csv", "attributes.csv"}
    for i, parts in masks.items():
        got = Image.open(tmp_path / "out" / f"{SPLITS[i]}_label" / f"{i}.png")
        assert got.mode == "L" and np.array_equal(np.asarray(got), painted(parts, scheme))
        assert Image.open(tmp_path / "out" / f"{SPLITS[i]}_img" / f"{i}.jpg").size == (SIDE, SIDE)


@pytest.mark.parametrize("scheme", ORDERS)
def test_dataset_json_names_the_painted_ids(source, tmp_path, scheme):
    prepare(source[0], tmp_path / "out", "--scheme", scheme, "--limit", "1")
    spec = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert spec["scheme"] == scheme and spec["label_nc"] == 19
    assert spec["labels"] == ["background", *ORDERS[scheme]]
    pairs = {frozenset(spec["labels"][i] for i in pair) for pair in spec["flip_pairs"]}
    assert pairs == {frozenset(pair) for pair in (("l_eye", "r_eye"), ("l_brow", "r_brow"), ("l_ear", "r_ear"))}


def test_tables(source, tmp_path):
    prepare(source[0], tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "split.csv")
    assert [(row["name"], row["split"], row["celeba_index"], row["celeba_file"], row["source"]) for row in rows] == [
        (str(i), SPLITS[i], str(o), f"{o + 1:06d}.jpg", f"CelebA-HQ-img/{i}.jpg") for i, o in ORIGINALS.items()]
    rows = rows_of(tmp_path / "out" / "attributes.csv")
    assert [(row["name"], row["Bald"], row["5_o_Clock_Shadow"], row["Smiling"]) for row in rows] == [
        (str(i), "0", "1", str(i % 2)) for i in ORIGINALS]


def test_the_mapping_is_read_without_its_first_line_too(source, tmp_path):
    """The data set's own README has people take it off."""
    src, _ = source
    prepare(src, tmp_path / "whole")
    mapping = src / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text("".join(mapping.read_text().splitlines(keepends=True)[1:]))
    prepare(src, tmp_path / "headless")
    for name in files_of(tmp_path / "whole"):
        assert (tmp_path / "headless" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_photo_that_has_the_size_is_copied_untouched(source, tmp_path):
    src, masks = source
    prepare_celebamask_hq.main(["--src", str(src), "--out", str(tmp_path / "out"), "--size", "64", "--jobs", "1"])
    assert (tmp_path / "out/train_img/0.jpg").read_bytes() == (src / "CelebA-HQ-img/0.jpg").read_bytes()
    label = np.asarray(Image.open(tmp_path / "out/train_label/0.png"))
    assert np.array_equal(label, painted(masks[0], "celebamask-hq").repeat(2, 0).repeat(2, 1))


def test_a_second_run_does_only_what_is_missing(source, tmp_path):
    src, _ = source
    prepare(src, tmp_path / "out", "--limit", "2")
    assert len(rows_of(tmp_path / "out" / "split.csv")) == 2
    prepare(src, tmp_path / "out")
    before = {name: os.stat(tmp_path / "out" / name).st_mtime_ns for name in files_of(tmp_path / "out")}
    (tmp_path / "out/val_label/2.png").unlink()
    prepare(src, tmp_path / "out")
    after = {name: os.stat(tmp_path / "out" / name).st_mtime_ns for name in files_of(tmp_path / "out")}
    assert {name for name in after if after[name] != before[name]} == {"val_label/2.png", "split.csv", "attributes.csv"}


def test_processes_write_the_same_bytes(source, tmp_path, monkeypatch):
    src, _ = source
    monkeypatch.setattr(_work, "LEAST_SHARE", 1)
    prepare(src, tmp_path / "one")
    prepare(src, tmp_path / "two", jobs=2)
    for name in files_of(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_broken_photo_does_not_stop_the_others(source, tmp_path):
    src, _ = source
    photo = src / "CelebA-HQ-img" / "0.jpg"
    whole = photo.read_bytes()
    photo.write_bytes(whole[:200])
    with pytest.raises(UserError, match=r"0\.jpg: is broken or cut short .*all else is done"):
        prepare(src, tmp_path / "out")
    assert not (tmp_path / "out/train_img/0.jpg").exists() and (tmp_path / "out/test_img/4.jpg").exists()
    assert len(rows_of(tmp_path / "out" / "split.csv")) == len(ORIGINALS) - 1
    photo.write_bytes(whole)
    assert prepare(src, tmp_path / "out") == 0
    assert (tmp_path / "out/train_img/0.jpg").exists()


def test_no_half_file_is_left_when_the_disk_is_full(source, tmp_path, monkeypatch):
    src, _ = source

    def full(self, stream, **options):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        prepare(src, tmp_path / "out")
    assert files_of(tmp_path / "out", hidden=True) == {"dataset.json", "split.csv", "attributes.csv"}


def _no_masks(src):
    for path in (src / "CelebAMask-HQ-mask-anno" / "1").iterdir():
        path.unlink()


FAULTS = {
    "no photos": (lambda src: (src / "CelebA-HQ-img").rename(src / "other"), "holds no folder CelebA-HQ-img"),
    "no mapping": (lambda src: (src / "CelebA-HQ-to-CelebA-mapping.txt").unlink(), "holds no CelebA-HQ-to-CelebA-mapping"),
    "empty mapping": (lambda src: (src / "CelebA-HQ-to-CelebA-mapping.txt").write_text(""), "mapping.txt: is empty"),
    "another table": (lambda src: (src / "CelebA-HQ-to-CelebA-mapping.txt").write_text("000001.jpg 0\n000002.jpg 0\n"),
                      "row 1 is '000001.jpg 0'"),
    "a row cut short": (lambda src: (src / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 1\n"),
                        "row 2 is '0 1'"),
    "no masks": (_no_masks, "face 2001 has no part masks"),
    "masks of two sizes": (lambda src: Image.new("L", (8, 8), 255).save(
        src / "CelebAMask-HQ-mask-anno/0/00000_skin.png"), "differ in size .*skin 8x8"),
    "attributes cut short": (lambda src: (src / "CelebAMask-HQ-attribute-anno.txt").write_text("1\nBald\n0.jpg 1\n"),
                             "has no row for 1.jpg"),
    "attributes of words": (lambda src: (src / "CelebAMask-HQ-attribute-anno.txt").write_text("1\nBald\n0.jpg yes\n"),
                            "row 3 is '0.jpg yes'"),
    "other photos": (lambda src: [path.rename(path.with_name("x" + path.name))
                                  for path in list((src / "CelebA-HQ-img").iterdir())], "holds none of the 6 photos"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_user_can_mend_is_said_in_a_line(source, tmp_path, fault):
    src, _ = source
    spoil, line = FAULTS[fault]
    spoil(src)
    with pytest.raises(UserError, match=line) as caught:
        prepare(src, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_another_size_or_numbering_needs_another_folder(source, tmp_path):
    src, _ = source
    prepare(src, tmp_path / "out")
    with pytest.raises(UserError, match="was made with size 32, not 64"):
        prepare_celebamask_hq.main(["--src", str(src), "--out", str(tmp_path / "out"), "--size", "64"])
    with pytest.raises(UserError, match="is numbered 'celebamask-hq', not 'face-parsing'"):
        prepare(src, tmp_path / "out", "--scheme", "face-parsing")
