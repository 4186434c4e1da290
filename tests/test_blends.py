"""Label maps that were scaled with interpolation are told from those that were drawn, however thin the parts of these."""
import cv2
import numpy as np
import pytest
from PIL import Image

from data.blends import find_blend
from data.data_loader import CreateDataLoader
from data.image_files import read_label
from datasets import check
from tests.conftest import NETWORK, ROOT, SIZES, label_map, options, save

FACES = [*sorted((ROOT.parent / "shared" / "data").rglob("*_label/*.png")),
         *sorted((ROOT / "datasets" / "sample_faces").rglob("*_label/*.png"))[::8]]
NEAREST = Image.Resampling.NEAREST
SMOOTH = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


def scaled(ids, size, how):
    return np.asarray(Image.fromarray(ids).resize(size, how))


def discs(ids, size=(160, 120), count=12, seed=0):
    """A map of discs of these ids, one over the other: (H, W) uint8."""
    random, drawn = np.random.default_rng(seed), np.zeros(size[::-1], np.uint8)
    for i in range(count):
        middle, radius = random.integers(0, size).tolist(), int(random.integers(12, 40))
        cv2.circle(drawn, middle, radius, int(ids[i % len(ids)]), -1)
    return drawn


def street():
    """Layers from sky to road at a distance, where some are a pixel high, and poles a pixel wide."""
    drawn = np.full((64, 128), 23, np.uint8)
    for top, i in ((20, 11), (30, 21), (44, 22), (45, 8), (46, 7)):
        drawn[top:] = i
    drawn[20:44, 60:] = 11
    drawn[5:46, 4::9] = 17
    drawn[12:15, 4::9] = 19
    return drawn


def instances():
    """Many small things of 1000 * class + number, some a pixel wide: (H, W) int32."""
    random, drawn = np.random.default_rng(0), np.zeros((128, 128), np.int32)
    for i in range(300):
        x, y = (int(v) for v in random.integers(0, 128, 2))
        cv2.ellipse(drawn, (x, y), (int(random.integers(0, 4)), int(random.integers(1, 9))), 0, 0, 360, 24000 + i, -1)
    return drawn


def outlined():
    """Things with an outline that is a class of its own, between background and inside."""
    drawn = discs((2,))
    edge = cv2.dilate(drawn, np.ones((3, 3))) != drawn
    return np.where(edge, 1, drawn).astype(np.uint8)


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.name)
def test_faces_are_sound_at_any_size_until_something_blends_their_ids(path):
    ids = read_label(path)
    for size in (ids.shape[1], 512, 200, 128, 64, 32, 16):
        assert find_blend(scaled(ids, (size, size), NEAREST)) is None
    for size in (384, 200, 64):
        assert all(find_blend(scaled(ids, (size, size), how)) for how in SMOOTH.values())
    assert find_blend(cv2.resize(ids, (200, 200), interpolation=cv2.INTER_LINEAR))


NOISE = np.random.default_rng(0)
SOUND = {
    "street": street(), "street further away": street()[::2, ::2], "instances": instances(), "smaller": instances()[::2, ::2],
    "outlines": outlined(), "discs": discs((0, 6, 12, 17)), "blocks": label_map(NOISE, (64, 64)),
    "noise": NOISE.integers(0, 6, (99, 99), dtype=np.uint8), "noise of many classes": NOISE.integers(0, 35, (99, 99)),
    "ramp": np.tile(np.arange(64, dtype=np.uint8), (64, 1)), "pixel": np.zeros((1, 1), np.uint8),
    "two lines": np.zeros((2, 40), np.uint8), "column": np.arange(40, dtype=np.uint8).reshape(40, 1)}


@pytest.mark.parametrize("name", SOUND)
def test_sound_maps_are_not_suspected(name):
    assert find_blend(SOUND[name]) is None


@pytest.mark.parametrize("size", [(80, 60), (100, 75), (320, 240), (640, 480)])
@pytest.mark.parametrize("how", SMOOTH)
@pytest.mark.parametrize("classes", [(0, 6, 12, 17), (0, 1, 2, 3, 4, 5), (7, 255)])
def test_classes_that_blended_are_found(classes, how, size):
    """Ids of their own in the borders, or, where each id is a class already, borders that go through other classes."""
    sound = discs(classes)
    blend = find_blend(scaled(sound, size, SMOOTH[how]))
    assert find_blend(scaled(sound, size, NEAREST)) is None
    value, low, high = blend.between
    assert low < value < high and 0 < blend.share < 0.3
    if classes[1] == 6:
        assert value not in classes


def test_training_and_check_tell_of_it_in_one_line_each(tmp_path, capsys):
    for i in range(3):
        sound = discs((0, 6, 12, 17), seed=i)
        ids = scaled(sound, (64, 48), NEAREST if i == 1 else SMOOTH["bilinear"])
        save(tmp_path / "train_label" / f"{i}.png", ids)
        save(tmp_path / "train_img" / f"{i}.png", np.repeat(sound[..., None] * 9 + i, 3, 2))
    CreateDataLoader(options(["--dataroot", tmp_path, *NETWORK, *SIZES, "--label_nc", "18", "--loadSize", "64"]))
    said = [line for line in capsys.readouterr().out.splitlines() if "interpolation" in line]
    assert len(said) == 1 and "% of it lies in thin borders" in said[0] and "as 1 more of 3 label maps do" in said[0]
    found = [p for p in check.full_check(tmp_path, 18).problems if p.kind == "blended ids"]
    assert [p.message for p in found] == said and found[0].severity == "warning"
    paths = sorted((tmp_path / "train_label").iterdir())
    assert [p.message for p in check.check_labels(paths, None)] == said
    refused = check.check_labels(paths[:1], 13)[0].message  # 17 is out of range, and so are ids that nobody drew
    assert "scaled with nearest neighbour" in refused


def test_instance_maps_that_blended_are_found(tmp_path):
    for folder, ids in (("train_label", discs((1, 3))), ("train_inst", discs((1, 3)).astype(np.int32) * 1000 + 7)):
        save(tmp_path / folder / "a.png", ids.astype(np.uint8 if folder == "train_label" else np.uint16))
    wrong = cv2.resize(discs((1, 3)).astype(np.uint16) * 1000, (80, 60), interpolation=cv2.INTER_LINEAR)
    kinds = []
    for ids in (None, wrong):
        if ids is not None:
            save(tmp_path / "train_inst" / "a.png", ids)
        kinds.append([p.message for p in check.full_check(tmp_path, 4).problems if p.kind == "blended ids"])
    assert kinds[0] == [] and len(kinds[1]) == 1 and "train_inst/a.png: looks scaled" in kinds[1][0]
