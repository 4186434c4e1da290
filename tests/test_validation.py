"""Validation while training: it changes nothing of what is learnt, and keeps the checkpoint that is best."""
import json
import re
import shutil

import pytest

from models.models import MODELS
from tests.conftest import LOSSES, NETWORK, SIZES, UNET, call, known, same, succeed, write_root
from util.checkpoint import read_tensors


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Six training and three validation pictures."""
    return write_root(tmp_path_factory.mktemp("faces"), {"train": 6, "val": 3})


def train(folder, root, *more, model="pix2pixHD", status=0, name="x"):
    argv = ["--model", model, "--name", name, "--checkpoints_dir", folder, "--dataroot", root, *SIZES, *NETWORK, *UNET, *LOSSES,
            "--niter", "2", "--niter_decay", "1", "--from_scratch", "--label_feat", *more]
    done = call("train", *known(model, argv))
    assert done.status == status, done.err[-2000:]
    return done


def weights(folder, epoch="latest", name="x"):
    return {path.name.split("_net_")[1]: read_tensors(path) for path in (folder / name).glob(f"{epoch}_net_*.pth")}


@pytest.mark.parametrize("more", [["--use_dropout", "--pool_size", "2"], ["--ema", "0.9", "--use_vae"]])
@pytest.mark.parametrize("model", MODELS)
def test_it_changes_nothing_of_what_is_learnt(model, more, faces, tmp_path):
    train(tmp_path / "without", faces, *more, "--no_html", model=model)
    train(tmp_path / "with", faces, *more, "--val_freq", "1", "--display_freq", "1", model=model)
    assert same(weights(tmp_path / "with"), weights(tmp_path / "without"))
    assert same(*(read_tensors(tmp_path / one / "x" / "latest_state.pth")["model"] for one in ("with", "without")))
    log = [json.loads(line) for line in (tmp_path / "with" / "x" / "val_log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2, 3] and all(entry["pictures"] == 3 and entry["values"] for entry in log)


def test_the_best_checkpoint_is_kept_resumed_and_drawn_with(faces, tmp_path):
    flags = ["--val_freq", "1", "--val_best", "ssim", "--save_epoch_freq", "1"]
    done = train(tmp_path, faces, *flags)
    log = [json.loads(line) for line in (tmp_path / "x" / "val_log.jsonl").read_text().splitlines()]
    best = max(log, key=lambda entry: entry["values"]["ssim"])["epoch"]
    assert same(weights(tmp_path, "best"), weights(tmp_path, str(best)))
    assert re.findall(r"validation after epoch (\d), 3 pictures: .*\(the best so far\)", done.out)[-1] == str(best)
    page = (tmp_path / "x" / "web" / "index.html").read_text()
    assert "images/validation.png" in page and f"after epoch {best}" in page

    (tmp_path / "parts").mkdir()
    part = tmp_path / "parts"
    train(part, faces, *flags, "--niter", "1", "--niter_decay", "0")
    train(part, faces, *flags, "--continue_train")
    assert same(weights(part), weights(tmp_path)) and same(weights(part, "best"), weights(tmp_path, "best"))

    drawn = call("test", "--name", "x", "--checkpoints_dir", tmp_path, "--which_epoch", "best", "--phase", "val",
                 "--results_dir", tmp_path / "r", "--gpu_ids", "-1", "--nThreads", "0", "--use_encoded_image")
    succeed(drawn)
    again = train(tmp_path, faces, "--continue_train", "--which_epoch", "best", "--niter", "4")
    assert f"Going on from weights alone at epoch {best + 1}" in again.out


def test_without_folders_a_share_of_the_training_pictures_is_held_out(tmp_path):
    root = write_root(tmp_path / "data", {"train": 10})
    done = train(tmp_path, root, "--val_freq", "3", "--val_split", "0.3", "--no_html")
    assert "7 training pictures" in done.out and "after epoch 3, 3 pictures" in done.out
    other = train(tmp_path, root, "--no_html", name="y")
    assert "10 training pictures" in other.out


@pytest.mark.parametrize("lacking", ["test_img", "test_img/p00.png"])
def test_folders_without_their_photos_do_not_validate(lacking, tmp_path):
    root = write_root(tmp_path / "data", {"train": 10, "test": 2})
    gone = root / lacking
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    done = train(tmp_path, root, "--val_freq", "3", "--val_split", "0.3", "--display_freq", "1")
    assert "not every picture of test_ has a true one" in done.out
    assert "7 training pictures" in done.out and "after epoch 3, 3 pictures" in done.out
    named = train(tmp_path, root, "--val_freq", "1", "--val_phase", "test", status=2, name="y")
    assert "test_img" in named.err


def test_whole_pictures_are_drawn_beside_a_training_on_crops(tmp_path):
    """SPADE's 286 and 256: the whole picture is no size that the networks take."""
    root = write_root(tmp_path / "data", {"train": 3, "val": 2}, size=(36, 30))
    crops = ["--resize_or_crop", "scale_width_and_crop", "--loadSize", "36", "--fineSize", "32"]
    done = train(tmp_path, root, "--val_freq", "3", *crops, "--no_html")
    assert "after epoch 3, 2 pictures" in done.out


@pytest.mark.parametrize("flags, said", [
    (["--val_phase", "gone"], "--val_freq 1: .*gone_label"),
    (["--val_best", "beauty"], "--val_best beauty: there is no metric"),
    (["--val_metrics", "ssim,beauty"], "--val_metrics ssim,beauty: there is no metric"),
    (["--val_best", "swd", "--val_metrics", "ssim"], "--val_best swd: .*--val_metrics"),
    (["--val_split", "0"], "--val_split")])
def test_what_cannot_be_meant_is_said_before_the_start(flags, said, faces, tmp_path):
    done = train(tmp_path, faces, "--val_freq", "1", *flags, status=2)
    assert re.search(said, done.err), done.err
    assert not list(tmp_path.glob("x/*.pth"))


def test_curves_and_figures_reach_weights_and_biases_offline(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(tmp_path, faces, "--wandb", "--val_freq", "1", "--val_metrics", "ssim", "--print_freq", "1", "--no_html")
    pytest.importorskip("wandb").teardown()  # its process writes the file after the training's end
    (run,) = (tmp_path / "x" / "wandb").glob("offline-run-*/run-*.wandb")
    written = run.read_bytes()
    assert all(name in written for name in (b"validation/ssim", b"G_GAN_Feat", b"D_real"))
    assert (tmp_path / "x" / "wandb_run.txt").read_text().strip() in run.name
