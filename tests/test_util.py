"""Pictures and palettes, file names, files written whole."""
import os

import numpy as np
import pytest
import torch

from util.errors import UserError
from util.files import make_folder, write_text
from util.util import (
    UniqueStems,
    labelcolormap,
    legend_entries,
    safe_stem,
    save_image,
    stretch,
    tensor2im,
    tensor2label,
)


def test_picture_spans_the_range_in_every_precision():
    image = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 5).repeat(3, 1, 1)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        out = tensor2im(image.to(dtype))
        assert out.shape == (1, 5, 3) and out.dtype == np.uint8
        assert out[0, :, 0].tolist() == [0, 0, 127, 255, 255]  # fractions are cut off: 127.5 is 127


def test_one_channel_becomes_grey_and_lists_stay_lists():
    grey = torch.linspace(-1, 1, 12).view(1, 3, 4)
    out = tensor2im([grey, grey.requires_grad_()])
    assert len(out) == 2 and out[0].shape == (3, 4, 3)
    assert (out[1][..., 0] == out[1][..., 2]).all()
    assert tensor2im(torch.ones(3, 2, 2), normalize=False).min() == 255


def test_ids_and_one_hot_give_the_same_colours():
    ids = torch.tensor([[0, 1], [2, 18]])
    one_hot = torch.nn.functional.one_hot(ids, 19).permute(2, 0, 1)
    expected = labelcolormap(19)[ids.numpy()]
    for tensor in (ids[None], ids[None].to(torch.bfloat16), one_hot, one_hot.half()):
        assert np.array_equal(tensor2label(tensor, 19), expected)


def test_labels_out_of_range_are_black_and_own_colours_win():
    ids = torch.tensor([[[-1, 0, 1, 7]]])
    out = tensor2label(ids, 2, colors=[(9, 8, 7), (1, 2, 3)])
    assert out[0].tolist() == [[0, 0, 0], [9, 8, 7], [1, 2, 3], [0, 0, 0]]


def test_no_labels_means_a_picture():
    assert np.array_equal(tensor2label(torch.ones(3, 2, 2), 0), np.full((2, 2, 3), 255))


@pytest.mark.parametrize("count", [1, 19, 35, 182])
def test_palette_tells_classes_apart(count):
    colours = labelcolormap(count)
    assert colours.shape == (count, 3) and colours.dtype == np.uint8
    if count != 35:  # Cityscapes paints several classes black
        assert len(np.unique(colours, axis=0)) == count


def test_legend_has_what_occurs():
    entries = legend_entries(np.array([[13, 1], [1, 99]]), 19, names=["background", "skin"])
    assert [name for name, _ in entries] == ["skin", "13"]
    assert entries[0][1] == tuple(labelcolormap(19)[1].tolist())


@pytest.mark.parametrize("name, stem", [
    ("0001.png", "0001"), ("a/b.jpg", "a_b"), ("../../x", "x"), ("/etc/passwd", "etc_passwd"),
    ("Mr. Smith", "Mr. Smith"), ("a.b.png", "a.b"), ('a b#c%20".png', 'a b#c%20"'), ("..", "picture"),
    (".hidden.png", "hidden"),
    ("c:\\dir\\x.png", "c:_dir_x"), ("tab\tnul\0.png", "tab_nul_")])
def test_names_stay_in_the_folder(name, stem):
    assert safe_stem(name) == stem


def test_long_names_fit_and_stay_different():
    one, two = (safe_stem("ü" * 200 + end + ".png") for end in "ab")
    assert one != two and all(len(s.encode()) <= 180 for s in (one, two))


def test_equal_stems_do_not_overwrite():
    stem = UniqueStems()
    stems = [stem(name) for name in ("a/b.png", "a_b.png", "a_b-2.png", "a/b.jpg")]
    assert stems[0] == "a_b" and len(set(stems)) == 4


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.png"
    save_image(np.zeros((2, 2, 3), np.uint8), path)
    before = path.read_bytes()
    with pytest.raises(Exception):  # noqa: B017  no picture has these channels
        save_image(np.zeros((2, 2, 7), np.uint8), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.png"]


def test_what_cannot_be_written_or_made_is_named(tmp_path):
    with pytest.raises(UserError, match="no/x.png: cannot be written"):
        save_image(np.zeros((2, 2, 3), np.uint8), tmp_path / "no" / "x.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/sub: cannot be made"):
        make_folder(tmp_path / "file" / "sub")


def test_text_is_utf_8_whatever_a_file_name_holds(tmp_path):
    write_text(tmp_path / "a.txt", "é \udcc4\n")
    assert (tmp_path / "a.txt").read_bytes() == "é \\udcc4\n".encode()


def test_aspect_ratio_stretches_one_side():
    image = np.zeros((10, 20, 3), np.uint8)
    assert stretch(image, 1.0) is image
    assert stretch(image, 1.5).shape == (10, 30, 3)
    assert stretch(image, 0.5).shape == (20, 20, 3)
