"""The figures agree with their definitions, and their file is JSON."""
import json
import math

import numpy as np
import pytest

from util.metrics.pictures import PictureMetrics, psnr, region_color_error, region_color_errors, ssim

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
