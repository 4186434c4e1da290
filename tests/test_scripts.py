"""The scripts as users run them: what they write, how they stop, how they go on."""
import contextlib
import json
import os
import re
import shlex
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from models.pix2pixHD_model import Pix2PixHDModel
from tests.conftest import (
    LOSSES,
    NETWORK,
    ROOT,
    SIDE,
    SIZES,
    call,
    options,
    same,
    spawn,
    start,
    succeed,
    tree,
    write_root,
)
from util.checkpoint import read_tensors
from util.visualizer import Visualizer

LINE = re.compile(r"^\(epoch: (\d+), iters: (\d+), time: [\d.]+[^)]*\) (.*)$", re.M)
EXACT = ["--use_dropout", "--pool_size", "2", "--label_feat", "--resize_or_crop", "resize_and_crop", "--fineSize", "16"]


def flags(checkpoints, root, *more, name="x", loop=True):
    """A small training: two epochs unless `more` says otherwise."""
    training = [*LOSSES, "--niter", "2", "--niter_decay", "0", "--no_html"] if loop else []
    return ["--name", name, "--checkpoints_dir", checkpoints, "--dataroot", root, *SIZES, *NETWORK, *training, *more]


def log_of(folder):
    """[(epoch, iters, 'terms'), ...] of loss_log.txt."""
    return LINE.findall((folder / "loss_log.txt").read_text())


def weights_of(folder, epoch="latest"):
    return {path.name: read_tensors(path) for path in sorted(folder.glob(f"{epoch}_net_*.pth"))}


# the documented commands, one after the other

def test_train_encode_precompute_and_draw(tmp_path, root_inst):
    data = shutil.copytree(root_inst, tmp_path / "data")
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", data]
    done = succeed(spawn("train", *flags(tmp_path, data, "--instance_feat", "--niter", "1", "--niter_decay", "1",
                                         "--save_epoch_freq", "1", "--print_freq", "2")))
    folder = tmp_path / "x"
    assert "5 training pictures" in done.out and "Traceback" not in done.err
    assert set(weights_of(folder)) == {f"latest_net_{net}.pth" for net in "GDE"} and len(weights_of(folder, "1")) == 3
    assert (folder / "iter.txt").read_text() == "3\n0\n"
    assert [(int(e), int(i)) for e, i, _ in log_of(folder)] == [(1, 2), (1, 4), (2, 1), (2, 3), (2, 5)]
    assert all(set(re.findall(r"(\w+): ", terms)) == {"G_GAN", "G_GAN_Feat", "D_real", "D_fake"} for _, _,
               terms in log_of(folder))
    assert "ngf: 4" in (folder / "opt.txt").read_text()

    succeed(call("encode_features", *where, "--gpu_ids", "-1"))
    features = np.load(folder / "features.npy", allow_pickle=True).item()
    centres = np.load(folder / "features_clustered_010.npy", allow_pickle=True).item()
    instances = sum(len(np.unique(np.asarray(Image.open(p)))) for p in (data / "train_inst").iterdir())
    assert sum(len(rows) for rows in features.values()) == instances and all(rows.shape[1] == 4 for rows in features.values())
    for label, styles in centres.items():
        assert styles.shape == (min(10, (features[label][:, -1] > 0.5).sum()), 3)
    succeed(call("encode_features", *where, "--gpu_ids", "-1", "--n_clusters", "2"))
    assert (folder / "features_clustered_002.npy").is_file()

    succeed(call("precompute_feature_maps", *where, "--gpu_ids", "-1"))
    assert sorted(p.name for p in (data / "train_feat").iterdir()) == [f"p{i:02d}.png" for i in range(5)]
    assert Image.open(data / "train_feat" / "p00.png").size == (2 * SIDE, 2 * SIDE)
    succeed(call("train", *flags(tmp_path, data, "--instance_feat", "--load_features", "--niter", "1", name="fed")))

    done = succeed(spawn("test", *where, "--gpu_ids", "-1", "--results_dir", tmp_path / "results"))
    page = tmp_path / "results" / "x" / "test_latest"
    assert str(page / "index.html") in done.out
    assert sorted(p.name for p in (page / "images").iterdir()) == sorted(
        f"p{i:02d}_{what}.jpg" for i in range(3) for what in ("input_label", "synthesized_image", "real_image"))
    html = (page / "index.html").read_text()
    assert all(f"images/p{i:02d}_synthesized_image.jpg" in html for i in range(3)) and f'="{tmp_path}' not in html
    first = tree(page / "images")
    succeed(call("test", *where, "--gpu_ids", "-1", "--results_dir", tmp_path / "again"))
    assert tree(tmp_path / "again" / "x" / "test_latest" / "images") == first, "the same command draws the same pictures"


@pytest.fixture(scope="module")
def drawn(trained, root, tmp_path_factory):
    """Draw with the trained experiment: drawn(*flags) -> (folder of the page, what was printed)."""
    def draw(*more, status=0):
        results = tmp_path_factory.mktemp("results")
        done = call("test", "--name", "faces", "--checkpoints_dir", trained, "--gpu_ids", "-1", "--nThreads", "0",
                    "--results_dir", results, *more)
        assert done.status == status, done.err
        return next(iter((results / "faces").iterdir())), done.out
    return draw


def pictures(page, what="synthesized_image"):
    return {p.name: np.asarray(Image.open(p)) for p in sorted((page / "images").glob(f"*_{what}.jpg"))}


def test_features_of_the_picture_itself_differ_from_sampled_styles(drawn):
    own, styles, other = (pictures(drawn(*more)[0]) for more in (["--use_encoded_image"], [], ["--seed", "5"]))
    assert len(own) == 3
    assert any(not np.array_equal(own[k], styles[k]) for k in own) and any(not np.array_equal(other[k], styles[k]) for k in own)


@pytest.mark.parametrize("flags, said", [
    ("--use_encoded_image", "each photo's own features"), ("--sample clusters", "styles of features_clustered_010.npy"),
    ("--use_encoded_image --style 1=0", "each photo's own features, 1=0"), ("--style 2=random", "whole persons, 2=random"),
    ("--style_root ROOT --n_samples 2", "features of photos in ROOT, each photo's own features, 2 looks")])
def test_figures_are_told_only_where_the_drawing_aims_at_the_truth(drawn, root, flags, said):
    page, out = drawn(*flags.replace("ROOT", str(root)).split())
    html = (page / "index.html").read_text()
    aims = flags == "--use_encoded_image"
    assert (page / "metrics.json").exists() == ("SSIM" in html) == ("ssim " in out) == aims
    assert ("no picture aims at the true one" in html) == ("no picture aims at the true one" in out) != aims
    assert re.search(rf"<dt>drawn with</dt><dd>{said.replace('ROOT', str(root))}</dd>", html)
    assert "<dd>1 epoch (5 pictures, 5 steps)</dd>" in html and "real_image" in html


@pytest.mark.parametrize("flag", ["--how_many", "--ntest", "--max_dataset_size"])
def test_stopping_early_is_said(drawn, flag):
    page, out = drawn(flag, "2")
    assert len(pictures(page)) == 2
    note = f"Drew 2 of 3 pictures, as {flag} 2 asks"
    assert note in out and note in (page / "index.html").read_text()
    page, out = drawn(flag, "3")
    assert "Drew" not in out and len(pictures(page)) == 3


@pytest.mark.parametrize("ratio, shape", [("2", (SIDE, 2 * SIDE)), ("0.5", (2 * SIDE, SIDE))])
def test_aspect_ratio_stretches_what_is_written(drawn, ratio, shape):
    page, _ = drawn("--aspect_ratio", ratio)
    assert all(image.shape[:2] == shape for image in pictures(page).values())


def test_padding_is_cut_off_what_is_written_and_scored(drawn, tmp_path):
    odd = write_root(tmp_path / "odd", {"test": 2}, size=(37, 30))
    page, _ = drawn("--dataroot", odd, "--resize_or_crop", "pad", "--use_encoded_image")
    assert {image.shape for image in pictures(page).values()} == {(30, 37, 3)}
    assert json.loads((page / "metrics.json").read_text())["pictures"] == 2


def test_phase_and_results_dir_name_the_folder(drawn):
    page, _ = drawn("--phase", "train", "--how_many", "1")
    assert page.name == "train_latest" and list(pictures(page)) == ["p00_synthesized_image.jpg"]


FIGURES = {"metrics.json", *(f"{end}_{key}.html" for end in ("worst", "best")
                             for key in ("ssim", "psnr", "region_color_error"))}


def entries(page):
    """What lies in a page's folder: (beside it, its pictures by 'name_what')."""
    shown, there = re.findall(r'src="images/([^"]+)"', (page / "index.html").read_text()), list((page / "images").iterdir())
    assert sorted(shown) == sorted(p.name for p in there)
    beside = {p.name for p in page.iterdir()} - {"index.html", "images", "page_files.json"}
    return beside, {p.stem for p in there}


def test_a_page_its_figures_and_its_pictures_are_one_runs(trained, root, tmp_path, monkeypatch):
    data = shutil.copytree(root, tmp_path / "data")
    page = tmp_path / "results" / "faces" / "test_latest"
    names = {f"p{i:02d}_{what}" for i in range(3) for what in ("input_label", "synthesized_image", "real_image")}

    def draw(*more):
        return call("test", "--name", "faces", "--checkpoints_dir", trained, "--dataroot", data, "--gpu_ids", "-1",
                    "--nThreads", "0", "--results_dir", tmp_path / "results", *more)
    succeed(draw("--use_encoded_image"))
    assert entries(page) == (FIGURES, names)
    succeed(draw("--style_root", data))  # which has nothing to be compared with
    assert entries(page) == (set(), names | {f"p{i:02d}_style_image" for i in range(3)})
    succeed(draw("--use_encoded_image"))

    def one_then_stop(*args, save_images=Visualizer.save_images, figures=None):
        if any((page / "images").iterdir()):
            raise KeyboardInterrupt
        save_images(*args)
        args[1].finished_rows()
    with monkeypatch.context() as patch:
        patch.setattr(Visualizer, "save_images", one_then_stop)
        assert draw().status == 130
    assert entries(page) == (set(), {name for name in names if name.startswith("p00")}), "of the interrupted run alone"
    assert "Interrupted" in (page / "index.html").read_text()

    shutil.rmtree(data / "test_img")
    (data / "test_label" / "p02.png").unlink()
    (page / "images" / "mine.jpg").write_bytes(b"x")
    assert "images/mine.jpg" in succeed(draw()).out.splitlines()[-2]
    (page / "images" / "mine.jpg").unlink()
    assert entries(page) == (set(), {f"p{i:02d}_{what}" for i in range(2) for what in ("input_label", "synthesized_image")})


def test_a_new_style_sheet_takes_the_place_of_the_old_one_and_of_nothing_else(trained, root, tmp_path):
    shutil.copytree(trained / "faces", tmp_path / "faces")
    sheet = tmp_path / "faces" / "styles"
    before = {p.name for p in (sheet / "images").iterdir()}
    (sheet / "images" / "mine.jpg").write_bytes(b"x")
    where = ["--name", "faces", "--checkpoints_dir", tmp_path, "--dataroot", root, "--gpu_ids", "-1", "--nThreads", "0"]
    assert "images/mine.jpg" in succeed(call("encode_features", *where, "--n_clusters", "2")).out
    after = {p.name for p in (sheet / "images").iterdir()}
    assert "mine.jpg" in after and len(after) < len(before) and after - {"mine.jpg"} < before
    succeed(call("encode_features", *where, "--no_style_sheet"))
    assert [p.name for p in sheet.rglob("*") if p.is_file()] == ["mine.jpg"], "that of other styles is gone"


def test_half_precision_draws_nearly_the_same(drawn):
    full, half = pictures(drawn()[0]), pictures(drawn("--data_type", "16")[0])
    assert all(np.abs(full[k].astype(int) - half[k]).mean() < 8 for k in full)


def test_training_page_and_board_and_nothing_with_no_html(tmp_path, root):
    argv = [f for f in flags(tmp_path, root, "--niter", "1", "--display_freq", "1", "--tf_log") if f != "--no_html"]
    succeed(call("train", *argv))
    web = tmp_path / "x" / "web"
    assert sorted(p.name for p in (web / "images").glob("epoch*")) == [
        f"epoch001_{what}.jpg" for what in ("input_label", "real_image", "synthesized_image")]
    assert "epoch001_synthesized_image.jpg" in (web / "index.html").read_text()
    assert any(p.stat().st_size > 100 for p in (tmp_path / "x" / "logs").rglob("*tfevents*"))
    succeed(call("train", *flags(tmp_path, root, "--niter", "1", name="bare")))
    assert not (tmp_path / "bare" / "web").exists() and not (tmp_path / "bare" / "logs").exists()


def test_debug_is_one_epoch_of_ten_pictures_logged_each(tmp_path):
    root = write_root(tmp_path / "data", {"train": 12})
    succeed(call("train", *flags(tmp_path, root, "--debug")))
    assert [(int(e), int(i)) for e, i, _ in log_of(tmp_path / "x")] == [(1, i) for i in range(1, 11)]


def test_frequencies_count_pictures_not_batches(tmp_path, root):
    succeed(call("train", *flags(tmp_path, root, "--batchSize", "2", "--print_freq", "3")))
    # two, four, five, seven, nine and ten pictures are done after the steps: 3, 6 and 9 are crossed at 4, 7 and 9
    assert [(int(e), int(i)) for e, i, _ in log_of(tmp_path / "x")] == [(1, 4), (2, 2), (2, 4)]


def test_grey_pictures_to_grey_pictures(tmp_path):
    root = write_root(tmp_path / "data", {"train": 2, "test": 1}, pictures=("A", "B"))
    more = ["--label_nc", "0", "--no_instance", "--input_nc", "1", "--output_nc", "1"]
    succeed(call("train", *flags(tmp_path, root, *more, "--niter", "1")))
    succeed(call("test", "--name", "x", "--checkpoints_dir", tmp_path, "--gpu_ids", "-1", "--results_dir",
                 tmp_path / "results"))
    image = pictures(tmp_path / "results" / "x" / "test_latest")["p00_synthesized_image.jpg"].astype(int)
    assert (tmp_path / "results" / "x" / "test_latest" / "metrics.json").exists(), "without features it aims at the truth"
    assert np.abs(image - image.mean(2, keepdims=True)).max() < 3, "grey"


def test_no_vgg_weights_is_said_everywhere(tmp_path, root, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to the server")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    argv = [f for f in flags(tmp_path, root, "--niter", "1", "--display_freq", "1", "--print_freq", "1")
            if f not in ("--no_vgg_loss", "--no_html")]
    done = succeed(call("train", *argv))
    folder = tmp_path / "x"
    texts = [done.out, (folder / "loss_log.txt").read_text(), (folder / "opt.txt").read_text(),
             (folder / "web" / "index.html").read_text()]
    assert all("No VGG19 weights" in text and "no route to the server" in text for text in texts)
    assert all("G_Pyr: " in terms and "G_VGG" not in terms for _, _, terms in log_of(folder))


def test_one_seed_one_run(tmp_path, root):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        succeed(call("train", *flags(tmp_path, root, *EXACT, "--niter", "1", "--seed", seed, name=name)))
    a, b, c = (weights_of(tmp_path / name) for name in "abc")
    assert same(a, b) and not same(a, c)


# stopping and going on

def interrupting(script, number):
    """Make a script's training get a SIGINT after the step that makes `number` pictures in all."""
    inner = script.Training.show

    def show(self, terms, count):
        inner(self, terms, count)
        if self.position.total == number:
            signal.raise_signal(signal.SIGINT)
    script.Training.show = show
    return lambda: setattr(script.Training, "show", inner)


@contextlib.contextmanager
def interrupted_after(number):
    """While open, calls of train.py here are interrupted after so many pictures."""
    from tests import conftest
    call("train", "--help")
    undo = interrupting(conftest._scripts["train"], number)
    try:
        yield
    finally:
        undo()


def resume_command(out):
    """The words after `python train.py` of the command that an interrupted training printed."""
    line = next(line.strip() for line in out.splitlines() if line.strip().startswith("python") and "--continue_train" in line)
    words = shlex.split(line)
    assert words[1].endswith("train.py")
    return words[2:]


@pytest.mark.parametrize("number", [3, 5, 8])
def test_interrupted_training_goes_on_as_if_nothing_had_happened(tmp_path, root, number):
    argv = flags(tmp_path, root, *EXACT, "--print_freq", "1", "--save_epoch_freq", "1")
    succeed(call("train", *argv, "--name", "whole"))
    with interrupted_after(number):
        done = call("train", *argv)
    assert done.status == 130 and "SIGINT" in done.err and "Traceback" not in done.err
    done = succeed(call("train", *resume_command(done.out)))
    assert same(weights_of(tmp_path / "x"), weights_of(tmp_path / "whole"))
    for epoch in ("1", "2"):
        assert same(weights_of(tmp_path / "x", epoch), weights_of(tmp_path / "whole", epoch))
    assert log_of(tmp_path / "x") == log_of(tmp_path / "whole") and len(log_of(tmp_path / "x")) == 10


def test_a_real_ctrl_c_saves_says_how_to_go_on_and_exits_130(tmp_path, root):
    argv = flags(tmp_path, root, "--niter", "100000", "--print_freq", "1", "--nThreads", "2")
    process = start("train", *argv, start_new_session=True)
    for line in process.stdout:
        if LINE.match(line):
            break
    second = call("train", *argv)
    assert second.status == 2 and "--name x: another process" in second.err, "one name, one trainer"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the loader's processes get it too
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in err
    epoch, done = map(int, (tmp_path / "x" / "iter.txt").read_text().split())
    assert (epoch, done) > (1, 0) and len(weights_of(tmp_path / "x")) == 2
    words = resume_command(out)
    done = succeed(call("train", *words, "--niter", str(epoch)))
    assert "Going on after" in done.out
    assert (tmp_path / "x" / "iter.txt").read_text() == f"{epoch + 1}\n0\n"


@pytest.mark.parametrize("more", [["--load_pretrain", "PRE"], ["--continue_train", "--which_epoch", "1"],
                                  ["--which_epoch=latest"]])
def test_the_printed_command_goes_on_from_the_interruption(tmp_path, root, more):
    """--load_pretrain and --which_epoch say where the run began: repeated, they would refuse it or lead back."""
    succeed(call("train", *flags(tmp_path, root, "--niter", "1", "--save_epoch_freq", "1", name="pre")))
    if "--continue_train" in more:
        shutil.copytree(tmp_path / "pre", tmp_path / "x")
    more = [str(tmp_path / "pre") if word == "PRE" else word for word in more]
    before = 5 if "--continue_train" in more else 0
    with interrupted_after(before + 3):
        done = call("train", *flags(tmp_path, root, *more))
    assert done.status == 130, done.err
    position = (tmp_path / "x" / "iter.txt").read_text()
    done = succeed(call("train", *resume_command(done.out)))
    epoch, pictures_done = position.split()
    assert f"Going on after {pictures_done} pictures of epoch {epoch}" in done.out


def test_a_long_training_is_told_before_its_first_line_and_after_a_resume(tmp_path, root, monkeypatch):
    monkeypatch.setattr("util.progress.LONG", 0.0)
    monkeypatch.setattr("util.progress._MEASURED", 0.0)
    for more in ([], ["--continue_train", "--niter", "4"]):
        out = succeed(call("train", *flags(tmp_path, root, "--print_freq", "5", *more))).out.splitlines()
        told, = (i for i, line in enumerate(out) if line.startswith("This training will take about"))
        assert "make demo" in out[told] and "docs/recipes.md" in out[told]
        assert told < next(i for i, line in enumerate(out) if line.startswith("(epoch"))


def test_a_job_that_slurm_may_requeue_gives_the_same_command_each_time(tmp_path, root, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    argv = flags(tmp_path, root, "--niter", "1", "--continue_train")
    done = succeed(call("train", *argv))
    assert "holds no checkpoint yet, so this is the start" in done.out
    assert "Nothing left to do" in succeed(call("train", *argv)).out
    assert call("train", *argv, "--which_epoch", "7", "--name", "y").status == 2, "an epoch that is asked for must be there"


def test_nothing_left_to_do_is_said_and_more_epochs_go_on(tmp_path, root):
    argv = flags(tmp_path, root, "--niter", "1")
    succeed(call("train", *argv))
    before = weights_of(tmp_path / "x")
    done = succeed(call("train", *argv, "--continue_train"))
    assert "Nothing left to do" in done.out and "--niter" in done.out and same(before, weights_of(tmp_path / "x"))
    succeed(call("train", "--name", "x", "--checkpoints_dir", tmp_path, "--gpu_ids", "-1", "--continue_train", "--niter", "2"))
    succeed(call("train", *flags(tmp_path, root, "--niter", "2", name="whole")))
    assert same(weights_of(tmp_path / "x"), weights_of(tmp_path / "whole"))


def test_a_run_of_the_reference_goes_on_from_its_weights(tmp_path, root):
    argv = flags(tmp_path, root, "--niter", "3")
    succeed(call("train", *flags(tmp_path, root, "--niter", "1")))
    for path in (tmp_path / "x").iterdir():
        if path.is_file() and not re.search(r"latest_net_|iter.txt", path.name):
            path.unlink()
    (tmp_path / "x" / "iter.txt").write_text("2\n3\n")
    done = succeed(call("train", *argv, "--continue_train", "--print_freq", "1"))
    assert "weights alone" in done.out and "Adam" in done.out
    assert [(int(e), int(i)) for e, i, _ in log_of(tmp_path / "x")] == [(2, 4), (2, 5), *((3, i) for i in range(1, 6))]


def test_encoding_copied_weights_leaves_no_trap_for_a_later_training(tmp_path, root, trained):
    """The record that encode_features.py leaves must not switch off shuffling and mirroring for good."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in (trained / "faces").glob("latest_net_*.pth"):
        shutil.copy(path, folder)
    where = ["--name", "copied", "--checkpoints_dir", tmp_path, "--dataroot", root]
    succeed(call("encode_features", *where, *SIZES, *NETWORK, "--label_feat"))
    succeed(call("test", "--name", "copied", "--checkpoints_dir", tmp_path, "--gpu_ids", "-1", "--results_dir", tmp_path))
    opt = options([*where, "--continue_train", "--gpu_ids", "-1"])
    assert opt.ngf == 4 and not opt.no_flip and not opt.serial_batches


def test_a_new_run_of_an_old_name_sets_the_old_one_aside(tmp_path, root):
    argv = flags(tmp_path, root, "--niter", "1")
    succeed(call("train", *argv))
    before = tree(tmp_path / "x")
    done = succeed(call("train", *argv, "--seed", "4"))
    kept = tree(tmp_path / "x" / "previous")
    assert kept == before and "previous" in done.out and not same(weights_of(tmp_path / "x"),
                                                                  weights_of(tmp_path / "x" / "previous"))


def test_as_many_checkpoints_are_kept_as_asked(tmp_path, root):
    succeed(call("train", *flags(tmp_path, root, "--niter", "3", "--save_epoch_freq", "1", "--keep_checkpoints", "2")))
    assert sorted(p.name for p in (tmp_path / "x").glob("*_net_G.pth")) == ["2_net_G.pth", "3_net_G.pth", "latest_net_G.pth"]


def test_name_left_out_means_the_experiment_trained_last(tmp_path, root):
    argv = flags(tmp_path, root, "--niter", "1", "--label_feat", name="only")
    succeed(call("train", *argv))
    where = ["--checkpoints_dir", tmp_path, "--gpu_ids", "-1", "--nThreads", "0"]
    assert "only" in succeed(call("encode_features", *where)).out
    assert (tmp_path / "only" / "features_clustered_010.npy").is_file()
    assert "only" in succeed(call("test", *where, "--results_dir", tmp_path / "results")).out
    assert len(pictures(tmp_path / "results" / "only" / "test_latest")) == 3


def test_a_broken_picture_in_training_keeps_what_was_learnt(tmp_path, root):
    data = shutil.copytree(root, tmp_path / "data")
    path = data / "train_img" / "p03.png"
    path.write_bytes(path.read_bytes()[:120])  # its header is whole, so only reading it shows the fault
    done = call("train", *flags(tmp_path, data, "--serial_batches", "--print_freq", "1"))
    assert done.status == 2 and "p03.png" in done.err.splitlines()[-1] and "Traceback" not in done.err
    assert (tmp_path / "x" / "iter.txt").read_text() == "1\n3\n"
    shutil.copy(root / "train_img" / "p03.png", path)
    succeed(call("train", *flags(tmp_path, data, "--serial_batches", "--continue_train")))


def test_divergence_leaves_the_last_checkpoint(tmp_path, root):
    argv = flags(tmp_path, root, "--niter", "1")
    succeed(call("train", *argv))
    before = weights_of(tmp_path / "x")
    done = call("train", *argv, "--continue_train", "--niter", "500", "--lr", "1e30")
    assert done.status == 2 and "diverged" in done.err.splitlines()[-1] and "Traceback" not in done.err
    assert same(before, weights_of(tmp_path / "x"))


@pytest.mark.parametrize("resumed", [False, True])
def test_a_step_that_spoils_the_weights_is_never_saved(tmp_path, root, monkeypatch, resumed):
    """Losses finite, gradients not: the square root of nothing. The very step is followed by a save."""
    if resumed:
        succeed(call("train", *flags(tmp_path, root, "--niter", "1")))
    before, loss = tree(tmp_path / "x"), Pix2PixHDModel.loss_G

    def with_infinite_slope(model):
        return {**loss(model), "G_more": (next(model.nets["G"].parameters()) * 0).sum().sqrt()}

    monkeypatch.setattr(Pix2PixHDModel, "loss_G", with_infinite_slope)
    done = call("train", *flags(tmp_path, root, "--save_latest_freq", "1", *["--continue_train"] * resumed))
    line = done.err.splitlines()[-1]
    assert done.status == 2 and "Traceback" not in done.err and "diverged" in line and "network G" in line
    assert ("the last checkpoint" in line) == resumed and ("start again" in line) != resumed
    kept = {name: data for name, data in tree(tmp_path / "x").items() if name.endswith(".pth")}
    assert kept == {name: data for name, data in before.items() if name.endswith(".pth")}


def test_an_epoch_without_the_flag_that_starts_from_it_moves_nothing(tmp_path, root, trained):
    """As with weights that were copied there: they would end in previous/, and the training start from nothing."""
    folder = shutil.copytree(trained / "faces", tmp_path / "x")
    for path in folder.glob("latest_net_*"):
        path.rename(folder / path.name.replace("latest", "30"))
    before = tree(folder)
    done = call("train", *flags(tmp_path, root, "--which_epoch", "30"))
    assert done.status == 2 and tree(folder) == before
    assert re.search("--which_epoch 30: .*--continue_train.*--load_pretrain", done.err.splitlines()[-1])


def test_scripts_stay_short_and_free_of_model_names():
    for name in ("train", "test", "encode_features", "precompute_feature_maps"):
        text = (ROOT / f"{name}.py").read_text()
        assert "opt.model" not in text and "pix2pix" not in text.lower(), name
