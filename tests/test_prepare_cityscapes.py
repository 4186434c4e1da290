"""Cityscapes in miniature, as published."""
import json

import numpy as np
import pytest
from PIL import Image

from data.dataset_spec import DatasetSpec
from data.image_files import read_label
from datasets import prepare_cityscapes
from tests.test_prepare_shared import files_of, rows_of
from util.errors import UserError

SCENES = {("train", "aachen"): ("aachen_000000_000019", "aachen_000001_000019"),
          ("train", "ulm"): ("ulm_000000_000019",), ("val", "frankfurt"): ("frankfurt_000000_000294",)}


@pytest.fixture
def source(tmp_path):
    src, rng = tmp_path / "cityscapes", np.random.default_rng(2)
    for (split, city), names in SCENES.items():
        for folder in ("leftImg8bit", "gtFine"):
            (src / folder / split / city).mkdir(parents=True)
        for name in names:
            label = rng.integers(0, 34, (8, 16)).astype(np.uint8)
            inst = np.where(label >= 24, label.astype(np.uint16) * 1000 + 3, label).astype(np.uint16)
            photo = rng.integers(0, 256, (8, 16, 3), dtype=np.uint8)
            Image.fromarray(photo).save(src / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
            for what, picture in (("labelIds", label), ("instanceIds", inst), ("color", photo)):
                Image.fromarray(picture).save(src / "gtFine" / split / city / f"{name}_gtFine_{what}.png")
            (src / "gtFine" / split / city / f"{name}_gtFine_polygons.json").write_text("{}")
    # the test split's maps say nothing; it must not become our test data
    (src / "leftImg8bit/test/berlin").mkdir(parents=True)
    Image.new("RGB", (16, 8)).save(src / "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png")
    return src


def prepare(src, out, *more):
    return prepare_cityscapes.main(["--src", str(src), "--out", str(out), "--jobs", "1", *more])


@pytest.mark.parametrize("more", [(), ("--link",)])
def test_every_file_arrives_under_one_name(source, tmp_path, more):
    out = tmp_path / "out"
    assert prepare(source, out, *more) == 0
    wanted = set()
    for (split, city), names in SCENES.items():
        phase = {"train": "train", "val": "test"}[split]
        for name in names:
            for kind, original in (("label", f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png"),
                                   ("inst", f"gtFine/{split}/{city}/{name}_gtFine_instanceIds.png"),
                                   ("img", f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png")):
                wanted.add(f"{phase}_{kind}/{name}.png")
                assert (out / f"{phase}_{kind}/{name}.png").read_bytes() == (source / original).read_bytes()
    assert files_of(out) == wanted | {"dataset.json", "split.csv"}
    rows = {row["name"]: row for row in rows_of(out / "split.csv")}
    assert rows["ulm_000000_000019"]["split"] == "train" and rows["ulm_000000_000019"]["city"] == "ulm"
    assert rows["frankfurt_000000_000294"]["split"] == "test"
    assert rows["frankfurt_000000_000294"]["source"] == \
        "leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png"


def test_dataset_json_names_and_colours_35_classes(source, tmp_path):
    prepare(source, tmp_path / "out")
    spec = DatasetSpec.read(tmp_path / "out")
    assert spec.label_nc == len(spec.labels) == len(spec.colors) == 35 and spec.flip_pairs == ()
    named = dict(zip(spec.labels, spec.colors))
    assert [spec.labels.index(name) for name in ("road", "person", "car", "bicycle")] == [7, 24, 26, 33]
    assert named["road"] == (128, 64, 128) and named["car"] == (0, 0, 142) and named["sky"] == (70, 130, 180)
    assert json.loads((tmp_path / "out/dataset.json").read_text())["scheme"] == "cityscapes"


def test_instances_keep_16_bits(source, tmp_path):
    prepare(source, tmp_path / "out")
    inst = read_label(tmp_path / "out/train_inst/ulm_000000_000019.png")
    label = read_label(tmp_path / "out/train_label/ulm_000000_000019.png")
    assert inst.max() >= 24003 and np.array_equal(np.where(inst < 1000, inst, inst // 1000), label)


def test_a_second_run_does_only_what_is_missing(source, tmp_path, capsys):
    out = tmp_path / "out"
    prepare(source, out, "--limit", "1")
    prepare(source, out)
    before = (out / "train_img/ulm_000000_000019.png").stat().st_mtime_ns
    (out / "train_inst/ulm_000000_000019.png").unlink()
    prepare(source, out)
    assert "1 of them written now" in capsys.readouterr().out
    assert (out / "train_img/ulm_000000_000019.png").stat().st_mtime_ns == before
    assert (out / "train_inst/ulm_000000_000019.png").exists()


FAULTS = {
    "no gtFine": (lambda src: (src / "gtFine").rename(src / "gtCoarse"), "holds no folder gtFine"),
    "a file is missing": (lambda src: (src / "gtFine/train/ulm/ulm_000000_000019_gtFine_instanceIds.png").unlink(),
                          "1 files are missing .*ulm_000000_000019_gtFine_instanceIds.png"),
    "nothing unpacked": (lambda src: [path.rename(src / "x") for path in (src / "leftImg8bit/train", src / "gtFine/train")
                                      if not (src / "x").exists()], "missing beside their partners"),
    "colours for ids": (lambda src: Image.new("RGB", (16, 8)).save(
        src / "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png"), "is a RGB picture where L or P is published"),
    "another size": (lambda src: Image.new("RGB", (8, 8)).save(
        src / "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png"), "differ in size .img 8x8, label 16x8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_user_can_mend_is_said_in_a_line(source, tmp_path, fault):
    spoil, line = FAULTS[fault]
    spoil(source)
    with pytest.raises(UserError, match=line):
        prepare(source, tmp_path / "out")
