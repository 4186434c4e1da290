"""The figures agree with their definitions, whatever process measured them, and their file is JSON."""
import json
import math
import random

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data.dataset_spec import DatasetSpec, face_spec
from tests.conftest import ROOT
from util.errors import UserError
from util.metrics.base import NotComputed, average
from util.metrics.parsed import ParsedMetrics
from util.metrics.parts import PartMetrics, part_figures, squared_gradient
from util.metrics.pictures import PictureMetrics, psnr, region_color_error, region_color_errors, ssim, ssim_map
from util.metrics.registry import METRICS, WITHOUT_WEIGHTS, Available, choose, create

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)
NOISY = np.clip(PICTURE + RNG.normal(0, 20, PICTURE.shape), 0, 255).astype(np.uint8)


def plain_ssim(a, b):
    """Wang et al. 2004, window by window."""
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5 ** 2))
    window /= window.sum()
    x, y = (image @ np.array([0.299, 0.587, 0.114]) for image in (a.astype(float), b.astype(float)))
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            p, q = x[i:i + 11, j:j + 11], y[i:i + 11, j:j + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + 6.5025) * (2 * cov + 58.5225)
                          / ((mp ** 2 + mq ** 2 + 6.5025) * (vp + vq + 58.5225)))
    return np.mean(values)


def test_ssim_follows_its_definition():
    assert ssim(PICTURE, NOISY) == pytest.approx(plain_ssim(PICTURE, NOISY), abs=1e-9)
    assert ssim(PICTURE, PICTURE) == pytest.approx(1)
    assert ssim(PICTURE, 255 - PICTURE) < 0
    assert ssim(PICTURE[:5, :5], PICTURE[:5, :5]) == pytest.approx(1)


def test_psnr_of_a_known_error():
    assert psnr(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)) == 0
    assert psnr(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 1, np.uint8)) == pytest.approx(48.1308, abs=1e-4)
    assert math.isinf(psnr(PICTURE, PICTURE))


def test_region_colours():
    label = np.zeros((20, 20), int)
    label[:10], label[0, 0] = 300, 7  # a single pixel: 0.25 % of the picture, too small to count
    true = np.full((20, 20, 3), 100, np.uint8)
    drawn = true.copy()
    drawn[label == 300] = (130, 100, 100)  # 30 off in one of three channels
    drawn[label == 7] = 255
    drawn[10:, ::2], drawn[10:, 1::2] = 90, 110  # wrong everywhere, right on average
    assert region_color_errors(drawn, true, label) == pytest.approx({0: 0, 300: 10})
    assert region_color_error(drawn, true, label) == pytest.approx(5)
    assert region_color_error(drawn, true, label, min_share=0.9) is None


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="shape"):
        ssim(PICTURE, PICTURE[1:])
    with pytest.raises(ValueError, match="label"):
        region_color_error(PICTURE, PICTURE, np.zeros((3, 3), int))


def test_summary_is_json_even_of_equal_pictures(tmp_path):
    label = np.zeros(PICTURE.shape[:2], int)
    metrics = PictureMetrics(["skin"])
    metrics.add("same", PICTURE, PICTURE, label)
    metrics.write(tmp_path / "metrics.json")
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["psnr"] is None and written["ssim"] == pytest.approx(1) and written["region_color_error"] == 0
    figures = metrics.add("noisy", NOISY, PICTURE)
    summary = metrics.summary()
    assert summary["pictures"] == 2 and summary["psnr"] == figures["psnr"]
    assert summary["by_class"] == {"skin": {"region_color_error": 0, "pictures": 1}}


def test_no_pictures_no_figures():
    assert PictureMetrics().summary() == {"pictures": 0, "region_color_error": None, "ssim": None, "psnr": None,
                                          "by_class": {}}


# parts

def halves(side=32):
    """A label map: class 1 on the left, 2 on the right, 3 in eight pixels of the first row."""
    label = np.ones((side, side), int)
    label[:, side // 2:] = 2
    label[0, :8] = 3
    return label


def test_parts_have_the_mean_of_the_ssim_map_and_gradients_of_their_inner_quarter():
    true = np.random.default_rng(1).integers(0, 128, (32, 32, 3), dtype=np.uint8) * 2
    label, drawn = halves(), true.copy()
    drawn[:, 16:] = 220 - drawn[:, 16:] // 2  # half of the contrast on the right, and an edge at the border of the parts
    found = part_figures(drawn, true, label, {"left": [1], "right": [2], "both": [1, 2, 3], "row": [3], "none": [9]})
    assert found.keys() == {"left", "right", "both"}, "a part of 8 pixels has no figures"
    similar = ssim_map(drawn, true)
    for part, ids in (("left", [1]), ("right", [2]), ("both", [1, 2, 3])):
        assert found[part][0] == pytest.approx(similar[np.isin(label, ids)].mean())
    assert found["left"][1] == found["left"][2] and found["right"][1] == pytest.approx(found["right"][2] / 2, rel=0.02)
    inner = squared_gradient(true)[:, 28:]  # the right part's border is on its left
    assert found["right"][2] == pytest.approx(inner.mean() ** 0.5)


def test_the_gradient_is_sobels():
    ramp = np.arange(0, 250, 10, np.uint8)[None, :, None] + np.zeros((9, 1, 3), np.uint8)
    assert squared_gradient(ramp)[:, 1:-1] == pytest.approx(100), "ten levels a pixel"
    padded = np.pad(PICTURE.astype(float) @ [0.299, 0.587, 0.114], 1, mode="reflect")
    across, down = padded[:, 2:] - padded[:, :-2], padded[2:] - padded[:-2]
    slope = ((across[:-2] + 2 * across[1:-1] + across[2:]) / 8) ** 2 + \
        ((down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 8) ** 2
    np.testing.assert_allclose(squared_gradient(PICTURE), slope, rtol=1e-6, atol=1e-6)


def test_sharpness_of_several_pictures_goes_by_what_there_is_to_see():
    texture = np.random.default_rng(2).integers(60, 190, (32, 32, 3), dtype=np.uint8)
    faint = (128 + texture // 10).astype(np.uint8)
    metric = PartMetrics({"all": [1, 2, 3]})
    assert metric.add("plain", texture, np.full_like(texture, 90), halves())["sharpness_all"] is None
    metric = PartMetrics({"all": [1, 2, 3], "none": [7]})
    assert metric.add("faint", texture, faint, halves())["sharpness_all"] > 5
    assert metric.add("same", texture, texture, halves())["sharpness_all"] == 1
    blurred = metric.add("blurred", cv2.GaussianBlur(texture, (0, 0), 1.5), texture, halves())
    assert blurred["sharpness_all"] < 0.5
    summary = metric.summary()
    assert summary["sharpness_all"] == average(metric.each, "sharpness_all") == pytest.approx(1, abs=0.1)
    assert summary["by_part"]["all"]["pictures"] == 3 and summary["sharpness_none"] is None
    assert summary["ssim_all"] == pytest.approx(np.mean([one["ssim_all"] for one in metric.each])) and json.dumps(summary)
    with pytest.raises(UserError, match="x: the drawn picture is 24x20, the label map 5x4"):
        metric.add("x", PICTURE, PICTURE, np.ones((4, 5), int))


@pytest.mark.parametrize("size, blurs", [(64, (0.5,)), (128, (0.7, 1, 2))])
def test_a_blurred_face_is_less_sharp_in_every_part_the_more_it_is_blurred(size, blurs):
    root, sharpness = ROOT / "datasets/sample_faces", []
    for blur in (None, *blurs):
        metric = PartMetrics(DatasetSpec.read(root).part_ids())
        for i in range(12):
            face = Image.open(root / f"test_img/{i:04d}.jpg").resize((size, size), Image.Resampling.BOX)
            label = np.asarray(Image.open(root / f"test_label/{i:04d}.png").resize((size, size), Image.Resampling.NEAREST))
            face = np.asarray(face)
            metric.add(i, face if blur is None else cv2.GaussianBlur(face, (0, 0), blur), face, label)
        sharpness.append([one["sharpness"] for one in metric.summary()["by_part"].values()])
    assert len(sharpness[0]) == 5 and (np.diff(sharpness, axis=0) < 0).all() and sharpness[0] == [1] * 5


# parsed pictures

class ColourParser:
    """A parser that finds the class in the red of a pixel."""

    def __init__(self, spec):
        self.spec = spec

    def __call__(self, photos):
        return photos[:, 0], None


def painted(label):
    return np.repeat(label[:, :, None], 3, 2).astype(np.uint8)


def test_a_parsers_numbering_is_turned_into_the_datas_by_name():
    data, parser = face_spec("celebamask-hq"), face_spec("face-parsing")
    label = np.arange(19).repeat(4)[:76].reshape(19, 4)
    as_parsed = np.array([parser.labels.index(name) for name in data.labels])[label]
    metric = ParsedMetrics(ColourParser(parser), data)
    wrong = as_parsed.copy()
    wrong[label == 13] = parser.labels.index("hat")
    assert metric.add("right", painted(as_parsed), painted(as_parsed), label)["miou"] == 1
    figures = metric.add("bald", painted(wrong), painted(as_parsed), label)
    assert figures["pixel_accuracy"] == pytest.approx(18 / 19) and figures["true_pixel_accuracy"] == 1
    summary = metric.summary()
    assert summary["by_class"]["hair"]["iou"] == 0.5 and summary["by_class"]["hat"]["iou"] == pytest.approx(2 / 3)
    assert summary["miou"] == pytest.approx((17 + 1 / 2 + 2 / 3) / 19) == summary["of_true"] and summary["true"]["miou"] == 1
    alone = ParsedMetrics(ColourParser(parser), data)
    alone.add("right", painted(as_parsed), None, label)
    assert alone.summary()["true"] is None and alone.summary()["miou"] == 1 and json.dumps(alone.summary())


@pytest.mark.parametrize("parser, data, said", [
    (DatasetSpec(label_nc=2, labels=("a", "b")), DatasetSpec(label_nc=2, labels=("a", "c")), "does not know c; .*know b"),
    (DatasetSpec(label_nc=19), face_spec(), "the parser says nothing about the numbering"),
    (face_spec(), DatasetSpec(label_nc=19), "the data says nothing about the numbering"),
    (DatasetSpec(label_nc=3), DatasetSpec(label_nc=2), "tells 3 classes apart, the data has 2")])
def test_a_parser_of_other_classes_is_refused(parser, data, said):
    with pytest.raises(UserError, match=f"--parser: .*{said}"):
        ParsedMetrics(ColourParser(parser), data)


# all of them, by name

def stand_in(x, y):
    return (x - y).abs().mean((1, 2, 3))


@pytest.fixture
def everything(monkeypatch):
    """What there is, with networks that need no weights."""
    pytest.importorskip("torch_fidelity")
    mean = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    distance = torch.nn.Module()
    distance.forward = stand_in
    monkeypatch.setattr("util.metrics.inception.load_inception", lambda path, device: (mean, "stand-in"))
    for module in ("lpips", "diversity"):
        monkeypatch.setattr(f"util.metrics.{module}.load_lpips", lambda path, device: (distance, "stand-in"))
    monkeypatch.setattr("util.metrics.inception.SUBSETS", 3)
    spec = DatasetSpec(label_nc=3, labels=("a", "b", "c"), parts={"eyes": ("b", "c")})
    return Available(spec=spec, parser=ColourParser(spec), looks=2, asked=True, oracle=RedOracle())


class RedOracle:
    """Finds 'odd' in pictures of which many pixels have an odd red, 'even' in the others."""

    names = ["odd", "even"]

    def __call__(self, pictures):
        share = (pictures[..., 0] % 2).mean((1, 2))[:, None]
        return np.concatenate([share, 1 - share], 1)


def sample(i):
    """Arguments of `add` for picture i."""
    random = np.random.default_rng(i)
    label = random.integers(0, 3, (4, 4)).repeat(8, 0).repeat(8, 1)
    true = (painted(label) + random.integers(0, 99, (32, 32, 3)).astype(np.uint8) * np.uint8([0, 1, 1])).astype(np.uint8)
    looks = np.clip(true + random.integers(0, 40, (2, 32, 32, 3)), 0, 255).astype(np.uint8)
    looks[..., 0] = (true[..., 0] + random.integers(0, 2, (2, 32, 32)) * (i > 3)) % 3  # a class, for ColourParser
    return {"name": f"p\udcc4{i}", "drawn": looks[0], "true": true, "label": label, "looks": looks,
            "asked": {"values": {"odd": i % 2, "even": 1 - i % 2},
                      "turned": {"odd": (true, 1 - i % 2, ()), "even": (true, i % 2, ())}}}


def measured(available, name, numbers):
    metrics = create(name, available)
    for i in numbers:
        metrics.add(**sample(i))
    return metrics


def nearly(value):
    """The same but for the last digits, which sums in another order may change."""
    if isinstance(value, dict):
        return {key: nearly(one) for key, one in value.items()}
    if isinstance(value, list):
        return [nearly(one) for one in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


@pytest.mark.parametrize("name", [*METRICS, "all"])
def test_several_processes_and_an_interrupted_run_give_what_one_gives(name, everything, tmp_path):
    whole = measured(everything, name, range(8))
    assert whole.names == [f"p\udcc4{i}" for i in range(8)] and not whole.not_computed
    assert all(value is not None for value in whole.values().values()) and whole.values()
    first, second = (measured(everything, name, part) for part in (range(3), range(3, 8)))
    first.extend(second.state())
    measured(everything, name, range(5)).save(tmp_path / "state")
    resumed = create(name, everything)
    resumed.load(tmp_path / "state")
    assert len(resumed.names) == 5
    for i in range(5, 8):
        resumed.add(**sample(i))
    for other in (first, resumed):
        assert nearly(other.summary()) == nearly(whole.summary()) and nearly(other.each) == nearly(whole.each)
    figures = json.loads(json.dumps({**whole.summary(), "each": whole.each, "values": whole.values()}, allow_nan=False))
    assert figures["pictures"] == 8 and set(figures["values"]) == set(whole.figures)
    assert all(summary["pictures"] == 8 for summary in figures["metrics"].values())


@pytest.mark.parametrize("name", METRICS)
def test_batches_give_what_single_pictures_give(name, everything):
    columns = {key: [sample(i)[key] for i in range(5)] for key in sample(0)}
    batched = create(name, everything)
    found = batched.add_batch(columns.pop("name"), **columns)
    single = measured(everything, name, range(5))
    assert nearly(batched.summary()) == nearly(single.summary()) and nearly(batched.each) == nearly(single.each)
    assert nearly([{"name": key, **one} for key, one in zip(batched.names, found)]) == nearly(batched.each)


@pytest.mark.parametrize("name", METRICS)
def test_no_picture_and_one_picture_are_no_error(name, everything):
    assert all(value is None for value in measured(everything, name, []).values().values())
    one = measured(everything, name, [0])
    assert json.dumps(one.summary(), allow_nan=False) and one.summary()["pictures"] == 1
    if name in ("fid", "kid"):
        assert one.values() == {name: None}


@pytest.mark.parametrize("name", METRICS)
def test_the_random_state_of_a_training_stays(name, everything):
    def state():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    before = state()
    measured(everything, name, range(4)).summary()
    assert state() == before


def test_a_picture_goes_to_those_that_can_measure_it(everything):
    metrics = create("all", everything)
    picture = sample(0)
    assert metrics.add("drawn alone", picture["drawn"]) == {}
    assert metrics.add("no map", picture["drawn"], picture["true"]).keys() == {"ssim", "psnr", "lpips"}
    assert metrics.add("true alone", None, picture["true"]) == {}
    summary = metrics.summary()["metrics"]
    assert summary["inception"]["pictures"] == summary["swd"]["pictures"] == 2 == summary["swd"]["true_pictures"]
    assert summary["pictures"]["pictures"] == 1 and summary["parsed"]["pictures"] == 0
    assert [one["name"] for one in metrics.each] == ["drawn alone", "no map", "true alone"]


@pytest.mark.parametrize("name", [name for name, entry in METRICS.items() if {"pairs", "true"} & {*entry.needs}])
def test_pictures_of_other_sizes_are_refused_by_name(name, everything):
    metrics, picture = create(name, everything), sample(0)
    if name in ("fid", "kid"):
        metrics.add("p", picture["drawn"], picture["true"][:20])  # scaled to one size anyway
        return
    with pytest.raises(UserError, match="p: the drawn picture is 32x32, the true picture 32x20"):
        metrics.add("p", picture["drawn"], picture["true"][:20], picture["label"])
    with pytest.raises(UserError, match="p: the drawn picture is float64 of shape"):
        metrics.add("p", picture["drawn"] / 255, picture["true"], picture["label"])


def test_names_are_checked_and_listed():
    assert choose("ssim, swd,ssim") == ["ssim", "swd"] and choose("all") == list(METRICS)
    assert WITHOUT_WEIGHTS == ("colour", "ssim", "psnr", "parts", "swd")
    for wrong in ("fidd", "ssim,fidd", "", ","):
        with pytest.raises(UserError, match="--val_metrics .*no metric.*choose from colour, ssim, .*or all"):
            choose(wrong, "--val_metrics")


def test_what_does_not_apply_is_an_error_by_name_and_a_line_in_all(everything, monkeypatch):
    def none(path, device):
        raise NotComputed("no weights; fetch them")
    monkeypatch.setattr("util.metrics.inception.load_inception", none)
    little = Available(pairs=False, label=False)
    assert create("all", little).not_computed.keys() == METRICS.keys() - {"swd"}
    assert list(create(WITHOUT_WEIGHTS, little).metrics) == ["swd"] and len(create(WITHOUT_WEIGHTS, little).not_computed) == 4
    for name, said in (("ssim", "does not aim"), ("parts", "does not aim"), ("miou", "label maps"), ("diversity", "n_samples")):
        with pytest.raises(UserError, match=f"--metrics {name}: .*{said}"):
            create(f"swd,{name}", little)
    with pytest.raises(UserError, match='parts: needs "parts" in dataset.json'):
        create("parts", Available(spec=DatasetSpec()))
    with pytest.raises(UserError, match="--parser CHECKPOINT"):
        create("miou", Available())
    asked = create("ssim,fid,kid", everything)
    assert asked.not_computed == dict.fromkeys(("fid", "kid"), "no weights; fetch them") and list(asked.metrics) == ["pictures"]
    assert asked.summary()["not_computed"]["fid"] == "no weights; fetch them"


def test_figures_of_other_settings_are_not_joined(everything, tmp_path):
    for name, other in (("parts", Available(spec=face_spec())), ("swd", Available(seed=1))):
        with pytest.raises(UserError, match="(parts|seed) .* cannot be joined"):
            create(name, everything).extend(create(name, other).state())
    create("ssim", everything).save(tmp_path / "state")
    with pytest.raises(UserError, match="state: figures of pictures cannot be joined with figures of swd"):
        create("swd", everything).load(tmp_path / "state")
    torch.save({"names": [], "metrics": {"swd": {"settings": {"seed": 0, "most": 1 << 16}}}}, tmp_path / "state")
    with pytest.raises(UserError, match="state: .*delete it"):
        create("swd", everything).load(tmp_path / "state")
    (tmp_path / "state").write_bytes(b"PK")
    with pytest.raises(UserError, match="state: is broken"):
        create("swd", everything).load(tmp_path / "state")


def test_every_figure_says_which_value_is_best(everything):
    metrics = create("all", everything)
    assert {METRICS[name].figure for name in METRICS} - {None} <= metrics.figures.keys()
    assert {"ssim_eyes", "sharpness_eyes"} <= metrics.figures.keys()
    best = {key: min((0.0, 0.5, 1.0, 2.0), key=figure.error) for key, figure in metrics.figures.items()}
    assert best["region_color_error"] == best["swd"] == best["fid"] == best["lpips"] == 0
    assert best["ssim"] == best["sharpness_eyes"] == best["miou"] == 1 and best["psnr"] == best["diversity"] == 2
