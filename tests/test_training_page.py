"""The page of a training: there from the first step to the last, with the same pictures every time and how they came to be."""
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from models.base_model import BaseModel
from tests.conftest import LOSSES, NETWORK, SIZES, call, write_root
from tests.test_pages import Page, options
from tests.test_scripts import interrupted_after, resume_command
from util import loss_log, training_page
from util.training_page import Preview, TrainingPage, kept_steps

PICTURE = np.full((8, 6, 3), 99, np.uint8)


def train(folder, root, *more, status=0):
    argv = ["--name", "x", "--checkpoints_dir", folder, "--dataroot", root, *SIZES, *NETWORK, *LOSSES, "--label_feat",
            "--niter", "2", "--niter_decay", "0", "--display_freq", "4", "--print_freq", "1", *more]
    done = call("train", *argv)
    assert done.status == status, done.err[-2000:]
    return done, Page(folder / "x" / "web" / "index.html")


def previews(page):
    """{picture: steps of its strip}, from the files that the page shows."""
    page.files()
    found = {}
    for image in page.all("img"):
        if match := re.fullmatch(r"images/preview(\d)_at(\d+)\.jpg", image["src"]):
            found.setdefault(int(match[1]), []).append(int(match[2]))
    return found


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("faces"), {"train": 5, "val": 4})


def test_the_same_held_out_pictures_at_every_refresh(faces, tmp_path):
    _, page = train(tmp_path, faces)
    assert "Held-out pictures, of val_" in page.text and "Training has ended" in page.text
    assert previews(page) == {i: [1, 4, 8, 10] for i in range(3)}, "the first step, each fourth, the last"
    assert set(re.findall(r"p\d\d", page.text)) == {"p00", "p01", "p02"}
    columns = {f"images/preview{i}_{what}.jpg" for i in range(3) for what in ("input_label", "synthesized_image", "real_image")}
    assert columns <= {image["src"] for image in page.all("img")}
    assert "epoch 0.2" in page.text and "10 pictures trained on; learning rate 0.0002." in page.text


def test_without_held_out_pictures_those_that_are_trained_on(faces, tmp_path):
    shutil.copytree(faces, tmp_path / "data", ignore=shutil.ignore_patterns("val_*"))
    _, page = train(tmp_path, tmp_path / "data")
    assert "Training pictures, of train_" in page.text and len(previews(page)) == 3
    _, page = train(tmp_path, tmp_path / "data", "--val_freq", "1", "--val_split", "0.4", "--val_metrics", "ssim")
    assert "Held-out pictures, of train_" in page.text and len(previews(page)) == 2


def test_held_out_pictures_that_cannot_be_drawn_stop_no_training(faces, tmp_path):
    shutil.copytree(faces, tmp_path / "data")
    (tmp_path / "data" / "val_img" / "p01.png").write_bytes(b"broken")
    _, page = train(tmp_path, tmp_path / "data")
    assert "Training pictures, of train_" in page.text and "p01.png: " in page.text and len(previews(page)) == 3


def test_the_page_is_there_from_the_first_step_and_complete_after_an_interruption(faces, tmp_path):
    for number in (1, 3):
        with interrupted_after(number):
            done = call("train", "--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", faces, *SIZES, *NETWORK, *LOSSES)
        page = Page(tmp_path / "x" / "web" / "index.html")
        assert not [a for a in page.all("meta") if a.get("http-equiv") == "refresh"]
        assert previews(page)[0] == [1, 3][:(number + 1) // 2] and "images/epoch001_synthesized_image.jpg" in str(page.tags)
        assert f"{number} pictures trained on" in page.text
        assert f"Interrupted. To go on: python train.py {' '.join(resume_command(done.out))}" in page.text


def test_an_error_is_told_on_the_page(faces, tmp_path):
    done, page = train(tmp_path, faces, "--lr", "1e30", status=2)
    assert done.err.strip().splitlines()[-1].replace("train.py: error: ", "Training has stopped: ") in page.text


def show(folder, step, epoch_size=100, name="a"):
    page = TrainingPage(options(folder), folder / "faces", epoch_size)
    page.show({"synthesized_image": PICTURE}, 1 + step // 100, step,
              Preview("Held-out", "text", {name: {"synthesized_image": PICTURE, "real_image": PICTURE}}))
    return Page(folder / "faces" / "web" / "index.html")


def test_the_strip_goes_on_after_a_resume_without_what_was_given_up(tmp_path, monkeypatch):
    for step in (4, 100, 200, 300):
        page = show(tmp_path, step)
    assert previews(page) == {0: [4, 100, 200, 300]}
    assert previews(show(tmp_path, 250)) == {0: [4, 100, 200, 250]}
    monkeypatch.setattr(training_page, "_MOST_THUMBNAILS", 4)
    assert previews(show(tmp_path, 1000)) == {0: [4, 100, 250, 1000]}
    assert len(list((tmp_path / "faces" / "web" / "images").glob("preview0_at*"))) == 4


def test_kept_steps_are_spread_from_the_first_to_the_last():
    steps = []
    for step in range(1, 2000):
        steps = kept_steps([*steps, step], 12)
        assert len(steps) <= 12 and steps[0] == 1 and steps[-1] == step
    gaps = np.diff(np.sqrt(steps))
    assert gaps.max() < 3 * gaps[1:].min() and gaps.argmin() >= 0 and steps[1] < 60
    assert kept_steps([1, 2], 12) == [1, 2]


def test_hostile_names_in_a_preview_stay_text(tmp_path):
    page = show(tmp_path, 4, name="<script>alert(1)</script>")
    assert not page.all("script") and "<script>alert(1)</script>" in page.text


def test_learning_rates_are_logged_and_read_back(tmp_path):
    optimizers = {name: SimpleNamespace(param_groups=[{"lr": lr}]) for name, lr in (("G", 1e-5), ("D", 2e-4))}
    rates = BaseModel.learning_rates(SimpleNamespace(optimizers=optimizers))
    assert rates == {"lr_G": 1e-5, "lr_D": 2e-4}
    optimizers["G"].param_groups[0]["lr"] = 2e-4
    assert BaseModel.learning_rates(SimpleNamespace(optimizers=optimizers)) == {"lr": 2e-4}
    line = loss_log.format_line(1, 4, 0.1, {"G": 1.0}, {"data": "3%", **rates, "skipped": 2})
    assert loss_log.parse_line(line) == {"epoch": 1, "iters": 4, "terms": {"G": 1.0}, "rates": rates}
    assert loss_log.parse_line(loss_log.format_line(1, 4, 0.1, {"G": 1.0}))["rates"] == {}
