"""--dataset_mode attributes: which table is read, how photos are cut, what is told of tables that do not fit."""
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data.attribute_table import AttributeTable
from data.attributes_dataset import AttributesDataset, vector_of
from data.base_dataset import Needs
from data.data_loader import CreateDataLoader
from tests.conftest import ATTRIBUTES, SIDE, SIZES, options, save, write_attributes
from util.errors import UserError

WITH, BARE = Needs(("image", "attributes"), listed_by="image"), Needs(("image",), listed_by="image")
BY_NUMBER = Needs(("attributes",), listed_by="number")


def opened(root, *flags, needs=WITH, role="train"):
    """The data set of a command line. Its model is of label maps, so that what it needs is set here."""
    opt = options(["--name", "x", "--dataroot", root, *SIZES], role)
    known = dict(zip(flags[::2], flags[1::2]))
    opt = opt.replace(dataset_mode="attributes", needs=needs, center_crop=0, attributes="", saved={})
    opt = opt.replace(**{name: type(getattr(opt, name, 0))(value) for name, value in known.items()})
    return CreateDataLoader(AttributesDataset.complete_options(opt)).dataset


@pytest.fixture
def mine(root, tmp_path):
    return shutil.copytree(root, tmp_path / "mine")


def test_items_are_photos_with_their_attributes(root):
    data = opened(root)
    assert data.attributes == list(ATTRIBUTES) and len(data) == 5 and data.has("attributes")
    table = AttributeTable.find(root)
    for i, name in enumerate(data.names):
        item = data[i]
        assert item["image"].shape == (3, SIDE, SIDE) and item["attributes"].dtype == torch.float32
        assert item["attributes"].tolist() == table.of("train", name).astype(float).tolist()
    chosen = opened(root, "attributes", "Bald,Smiling")
    assert chosen[0]["attributes"].tolist() == [table.of("train", "p00")[2], table.of("train", "p00")[0]]


def test_celebas_own_table_is_read_as_the_prepared_one(mine, root):
    rows = (mine / "attributes.csv").read_text().splitlines()[1:]
    (mine / "attributes.csv").unlink()
    cells = [row.split(",") for row in rows if ",train," in row]
    lines = ["202599", " ".join(ATTRIBUTES), *(f"{name}.jpg  {' '.join('1' if v == '1' else '-1' for v in values)}"
                                               for name, _, *values in cells)]
    (mine / "list_attr_celeba.txt").write_text("\n".join(lines))
    for a, b in zip(opened(mine), opened(root)):
        assert torch.equal(a["attributes"], b["attributes"])


def test_photos_are_cut_to_the_middle_square(tmp_path):
    photo = np.zeros((48, 80, 3), np.uint8)
    photo[:, 16:64] = 100
    photo[20:28, 36:44] = 200
    for i in range(3):
        save(tmp_path / "train_img" / f"{i}.png", photo)
    write_attributes(tmp_path, {"train": ["0", "1", "2"]})
    image = opened(tmp_path, "no_flip", True)[0]["image"]
    assert image.shape == (3, SIDE, SIDE) and image[:, 3, 2].add(1).mul(127.5).sub(100).abs().max() < 2
    close = opened(tmp_path, "center_crop", 8, "no_flip", True)[0]["image"]
    assert close.add(1).mul(127.5).sub(200).abs().max() < 2
    with pytest.raises(UserError, match="--center_crop 50: .*0.png is 80x48"):
        opened(tmp_path, "center_crop", 50)


def test_drawings_by_number_need_neither_photo_nor_table(root, tmp_path):
    numbered = opened(root, "how_many", 7, "phase", "test", needs=BY_NUMBER, role="test")
    assert len(numbered) == 7 and numbered.names[6] == "0006" and [numbered[i]["number"] for i in range(7)] == list(range(7))
    assert torch.equal(numbered[0]["image"], numbered[3]["image"]), "three photos, in turn"
    nothing = opened(tmp_path, "how_many", 2, needs=BY_NUMBER, role="test")
    assert len(nothing) == 2 and nothing[1]["image"] == 0 == nothing[1]["attributes"] and not nothing.has("image")
    bare = opened(shutil.copytree(root / "train_img", tmp_path / "bare" / "train_img").parent, needs=BARE)
    assert bare[0]["attributes"] == 0 and len(bare) == 5


BROKEN = [
    (lambda root: (root / "attributes.csv").unlink(), (), "holds no attributes.csv"),
    (lambda root: (root / "attributes.csv").write_text(""), (), r"attributes.csv: is empty"),
    (lambda root: (root / "attributes.csv").write_bytes(b"\xff\xfe\x00"), (), r"attributes.csv: is no table of text"),
    (lambda root: (root / "attributes.csv").write_text("name,split\np00,train"), (), "names no columns"),
    (lambda root: (root / "attributes.csv").write_text("name,Bald\np00,yes"), (), "line 2 is 'p00,yes'"),
    (lambda root: (root / "attributes.csv").write_text("name,Bald\np00,1\np00.png,0"), (), "line 3 names p00.png twice"),
    (lambda root: save(root / "train_img" / "new.png", np.zeros((8, 8, 3), np.uint8)), (), "no row for 1 of 6 photos of "
     "train_img: new"),
    (lambda root: None, ("attributes", "Bald,Hat"), "has no column Hat; it has Smiling, Eyeglasses, Bald"),
    (lambda root: write_attributes(root, {"train": ["p00"]}, ("Bald",)), (), "no attribute varies"),
    (lambda root: (root / "attributes.csv").write_text("\n".join(["name,A,B", *(f"p0{i},1,{i % 2}" for i in range(5))])),
     ("attributes", "A,B"), "A is 1 for every photo of train_img"),
    (lambda root: shutil.rmtree(root / "train_img"), (), "no folder train_img"),
    (lambda root: None, ("loadSize", 8), "--loadSize 8: .* multiples of 3, from 9 up"),
]


@pytest.mark.parametrize("harm, flags, said", BROKEN, ids=[said[:24] for _, _, said in BROKEN])
def test_what_does_not_fit_is_told_in_a_line(mine, harm, flags, said):
    harm(mine)
    needs = Needs(("image", "attributes"), listed_by="image", multiple=3, least=9) if "loadSize" in flags else WITH
    with pytest.raises(UserError, match=said) as caught:
        opened(mine, *flags, needs=needs)
    assert "\n" not in str(caught.value)


def test_a_model_without_attributes_takes_photos_without_rows(mine, capsys):
    save(mine / "train_img" / "new.png", np.zeros((8, 8, 3), np.uint8))
    assert opened(mine, needs=BARE)[0]["attributes"] == 0
    assert "no row for 1 of 6 photos" in capsys.readouterr().out


def test_attributes_of_a_call_are_checked(root):
    assert vector_of({"Bald": 1}, ["Smiling", "Bald"]) == [None, 1.0]
    for wrong, said in (({"Hat": 1}, "attributes Hat: .*they know Smiling, Bald"), ({"Bald": 2}, "Bald: is 2; say 1 or 0")):
        with pytest.raises(UserError, match=said):
            vector_of(wrong, ["Smiling", "Bald"])
    opt = opened(root).opt
    photo = Image.new("RGB", (40, 30), "red")
    given = AttributesDataset.example(opt, photo, {"Smiling": 1, "Eyeglasses": 0, "Bald": 0})
    assert given["attributes"].tolist() == [1, 0, 0] and given["image"].shape == (3, SIDE, SIDE)
    assert AttributesDataset.example(opt, photo)["attributes"] == 0
    with pytest.raises(UserError, match="say nothing of Eyeglasses, Bald"):
        AttributesDataset.example(opt, photo, {"Smiling": 1})
