"""Two processes train, encode and draw as one does, and one goes on where two stopped."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data.sampler import BlockSampler, EpochSampler
from models.predictor import Predictor
from tests import together
from tests.conftest import LOSSES, NETWORK, ROOT, SIZES, UNET, call, same, succeed, tree, write_root
from util import distributed, gradient_exchange
from util.checkpoint import read_tensors
from util.errors import UserError

LOOP = ["--batchSize", "5", "--niter", "2", "--niter_decay", "0", "--print_freq", "1", "--no_html"]
BITS = ["--precision", "bf16", "--ema", "0.9", "--val_freq", "1", "--val_metrics", "ssim,colour", "--val_best", "ssim"]
FIGURES = ["--metrics", "ssim,psnr,colour,swd", "--label_nc", "6", "--batchSize", "2"]
LAUNCHING = [sys.executable, "-c", "import sys, startup; from util import command_line, distributed; sys.argv[0] = 'train.py'; "
             "command_line.command_line(lambda: distributed.launch(2))()"]
NOISY = ["--use_vae", "--no_instance", "--use_dropout"]


def flags(folder, name, data, *more):
    """A training of two epochs: batches of 5, 5 and 1 pictures, of which the last leaves one process without a share."""
    return list(map(str, ["--name", name, "--checkpoints_dir", folder, "--dataroot", data, *SIZES, *NETWORK, *LOSSES,
                          "--label_feat", *LOOP, *more]))


def where(folder, name, data, *more):
    """The flags of encoding and drawing."""
    return list(map(str, ["--name", name, "--checkpoints_dir", folder, "--dataroot", data, "--gpu_ids", "-1", "--nThreads", "0",
                          *more]))


def fakes(data):
    """The flags of measuring a folder."""
    return ["--fake", str(data / "train_img"), "--dataroot", str(data), "--phase", "train", "--gpu_ids", "-1", *FIGURES]


def diffusion(folder, data):
    """The flags that a diffusion model is trained and drawn with."""
    return where(folder, "diffusion", data, "--loadSize", "32", "--label_nc", "6")


def losses(folder):
    """{(epoch, pictures): losses} of loss_log.txt."""
    lines = re.findall(r"^\(epoch: (\d+), iters: (\d+)[^)]*\) (.*)$", (folder / "loss_log.txt").read_text(), re.M)
    return {(int(epoch), int(done)): [float(v) for v in re.findall(r": (-?[\d.]+)", terms)] for epoch, done, terms in lines}


def assert_alike(one, two):
    """Two experiments logged the same losses and learnt the same weights, but for rounding."""
    assert losses(one).keys() == losses(two).keys() and len(losses(one)) == 6
    for step, terms in losses(one).items():
        assert terms == pytest.approx(losses(two)[step], abs=5e-3), step
    for net in "GDE":
        mine, theirs = (read_tensors(folder / f"latest_net_{net}.pth") for folder in (one, two))
        for key in (key for key in mine if key.endswith("weight")):
            # Adam divides by the gradient's size: where that is zero, as a bias's before a norm, rounding decides the step
            close = torch.isclose(mine[key], theirs[key], atol=1e-5)
            assert close.float().mean() > 0.95, (net, key, close.float().mean())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(a data root, the same with a photo that is cut short: the training's fifth, so that an epoch stops half-way)."""
    folder = tmp_path_factory.mktemp("data")
    good = write_root(folder / "good", {"train": 11, "test": 5})
    for role in ("label", "img"):  # two names that make one file name
        (good / f"test_{role}" / "a").mkdir()
        (good / f"test_{role}" / "p03.png").rename(good / f"test_{role}" / "a" / "b.png")
        (good / f"test_{role}" / "p04.png").rename(good / f"test_{role}" / "a_b.png")
    bad = shutil.copytree(good, folder / "bad")
    photo = bad / "train_img" / f"p{EpochSampler(11, 5, True, 0).order(1)[9]:02d}.png"  # in the second process's share
    photo.write_bytes(photo.read_bytes()[:-60])
    return good, bad


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data):
    """What one process did ('one', 'half') and what two did after it; .two is the folder of their experiments."""
    folder, (good, bad) = tmp_path_factory.mktemp("runs"), data
    one, two = folder / "one", folder / "two"
    succeed(call("train", *flags(one, "whole", good)))
    assert call("train", *flags(one, "half", bad)).status == 2  # saved after five pictures
    shutil.copytree(one / "half", two / "half")
    shutil.copytree(one / "whole", one / "drawn")
    for name in ("drawn", "measured"):
        shutil.copytree(one / "whole", two / name)
    results = ["--results_dir", str(folder / "results"), "--which_epoch", "latest"]
    commands = [["gradients", str(two / "gradients.pth"), *flags(two, "gradients", good)],
                ["train", *flags(two, "whole", good)],
                ["train", *flags(two, "half", good), "--continue_train"],
                ["train", *flags(two, "noisy", good, *NOISY)],
                ["train", *flags(two, "parted", bad, *NOISY)],
                ["train", *flags(two, "parted", good, *NOISY), "--continue_train"],
                ["train", *flags(two, "pool", good, "--pool_size", "2", "--niter", "1")],
                ["train", *flags(two, "spoilt", good, "--lr", "3e38", "--save_time", "1e-9")],
                ["encode_features", *where(two, "drawn", good)],
                ["test", *where(two, "drawn", good), *results, "--use_encoded_image"],
                ["test", *where(two, "drawn", good), *results, "--phase", "train", "--how_many", "4"],  # both draw two
                ["test", *where(two, "drawn", good), *results, "--phase", "train", "--how_many", "1"],
                ["alike", str(folder / "alike.pth"), *(word for word in flags(two, "alike", good) if word != "--no_vgg_loss")],
                ["apart", *flags(two, "apart", good, "--save_latest_freq", "10")],
                ["precompute_feature_maps", *where(two, "drawn", shutil.copytree(good, folder / "maps"))],
                ["train", *flags(two, "bits", good, *BITS)],
                ["evaluate", *where(two, "measured", good), *results, *FIGURES],
                ["evaluate", *fakes(good), "--out", str(folder / "fakes")],
                ["train", *diffusion(two, good), "--model", "diffusion", *UNET, *LOOP, "--niter", "1"],
                ["test", *diffusion(two, good), *results, "--how_many", "5", "--nearest", "0", "--batchSize", "2"]]
    (folder / "commands.json").write_text(json.dumps(commands))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "tests.together"]
    done = subprocess.run([*launcher, folder / "commands.json"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads((folder / f"told{rank}.json").read_text()) for rank in range(2)]
    return SimpleNamespace(folder=folder, one=one, two=two, told=told, out=done.stdout, err=done.stderr)


def test_gradients_are_those_of_one_process(runs, data):
    together.gradients(runs.one / "gradients.pth", flags(runs.one, "gradients", data[0]))
    mine, theirs = (torch.load(folder / "gradients.pth") for folder in (runs.one, runs.two))
    terms, others = mine.pop("terms"), theirs.pop("terms")
    assert {k: float(v) for k, v in terms.items()} == pytest.approx({k: float(v) for k, v in others.items()}, rel=1e-4)
    assert mine.keys() == theirs.keys() and {name.split(".")[1] for name in mine} == set("GDE")
    norms = {net: torch.stack([g.norm() for name, g in mine.items() if f".{net}." in name]).norm() for net in "GDE"}
    for name, gradient in mine.items():
        # that of a bias before a norm is zero, and what is left of it rounding
        least = 1e-4 * gradient.norm() + 1e-6 * norms[name.split(".")[1]]
        assert (gradient - theirs[name]).norm() < least, (name, gradient.norm(), (gradient - theirs[name]).norm())


def test_two_processes_log_and_learn_what_one_does(runs):
    assert_alike(runs.one / "whole", runs.two / "whole")


def test_two_processes_go_on_where_one_stopped_within_an_epoch(runs):
    assert (runs.one / "half" / "iter.txt").read_text() == "1\n5\n"
    assert_alike(runs.one / "whole", runs.two / "half")


def test_two_processes_validate_and_learn_in_16_bits_as_one_does(runs, data):
    succeed(call("train", *flags(runs.one, "bits", data[0], *BITS)))
    one, two = (folder / "bits" for folder in (runs.one, runs.two))
    assert losses(one).keys() == losses(two).keys()
    for step, terms in losses(one).items():
        assert terms == pytest.approx(losses(two)[step], rel=0.05, abs=0.05), step
    logs = [[json.loads(line) for line in (side / "val_log.jsonl").read_text().splitlines()] for side in (one, two)]
    assert [entry["pictures"] for entry in logs[1]] == [5, 5]
    for mine, theirs in zip(*logs, strict=True):
        assert mine["values"] == pytest.approx(theirs["values"], rel=0.05), mine["epoch"]
    assert {p.name for p in one.glob("*.pth")} == {p.name for p in two.glob("*.pth")} >= {"best_net_G_ema.pth"}


def test_a_fault_in_one_share_stops_both_and_what_was_learnt_is_saved(runs):
    fault = [told[4] for told in runs.told]
    assert "is broken or cut short" in fault[0] and fault[1] == "told by the first process"
    assert all({i for i, error in enumerate(told) if error} == {4, 7, 13} for told in runs.told), "and nothing else failed"


def test_a_save_that_the_first_process_refuses_stops_both(runs):
    """The first step's losses are finite, its weights are not; --save_time has them saved after it."""
    fault = [told[7] for told in runs.told]
    assert re.match("epoch 1: training diverged: .*network G", fault[0]) and fault[1] == "told by the first process"
    assert not list((runs.two / "spoilt").glob("*.pth"))


def test_two_processes_go_on_with_the_noise_they_would_have_had(runs):
    assert losses(runs.two / "noisy") == losses(runs.two / "parted")
    for net in "GDE":
        assert same(*(read_tensors(runs.two / name / f"latest_net_{net}.pth") for name in ("noisy", "parted")))


def test_all_processes_train_the_first_ones_networks(runs):
    """VGG19 is found by the first process alone, and the other one starts from other weights; all are channels-last."""
    one, two = (torch.load(runs.folder / f"alike.pth.{rank}") for rank in range(2))
    assert "G_VGG" in one["terms"] and "G_Pyr" not in one["terms"] and one["strides"] and two["strides"]
    assert any(key.startswith("vgg_loss.") for key in one) and same(one, two)


def test_processes_whose_weights_differ_end_before_they_save(runs):
    said, other = (told[13] for told in runs.told)
    assert re.match("process 1 differs from process 0 in the weights of D; nothing was saved; .*--continue_train$", said)
    assert other == "told by the first process"
    assert (runs.two / "apart" / "iter.txt").read_text() == "1\n10\n"


def test_two_processes_measure_what_one_does_to_the_bit(runs, data):
    results = ["--results_dir", runs.folder / "by one", "--which_epoch", "latest"]
    succeed(call("evaluate", *where(runs.one, "whole", data[0]), *results, *FIGURES))
    succeed(call("evaluate", *fakes(data[0]), "--out", runs.folder / "fakes by one"))
    for mine, theirs in (("by one/whole/test_latest", "results/measured/test_latest"), ("fakes by one", "fakes")):
        one, two = (json.loads((runs.folder / place / "evaluation.json").read_text()) for place in (mine, theirs))
        assert one["pictures"] == len(one["each"]) and one["values"]["ssim"] is not None
        assert {key: one[key] for key in ("values", "metrics", "each", "shown")} == \
            {key: two[key] for key in ("values", "metrics", "each", "shown")}
    assert not list(runs.folder.rglob(".measured*"))


def test_processes_that_go_on_from_different_files_are_told_so(group, monkeypatch):
    def gather(everybodys, own, group):
        everybodys[:] = [own, {**own, "the moments of G": "other"}]
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "all_gather_object", gather)
    with pytest.raises(UserError, match="process 1 differs from process 0 in the moments of G;"):
        distributed.require_same(lambda: {"the weights of G": "same", "the moments of G": "one"})


def test_one_process_goes_on_with_the_first_ones_image_pool(runs, data):
    done = succeed(call("train", *flags(runs.two, "pool", data[0], "--pool_size", "2"), "--continue_train"))
    assert "Going on after 0 pictures of epoch 2" in done.out and len(losses(runs.two / "pool")) == 6


def test_features_and_styles_are_those_of_one_process(runs, data):
    succeed(call("encode_features", *where(runs.one, "drawn", data[0])))
    one, two = (np.load(folder / "drawn" / "features.npy", allow_pickle=True).item() for folder in (runs.one, runs.two))
    assert one.keys() == two.keys()
    for label, rows in one.items():
        np.testing.assert_allclose(two[label], rows, atol=1e-6)
    books = [json.loads((folder / "drawn" / "styles.json").read_text()) for folder in (runs.one, runs.two)]
    assert [[(s["style"], s["nearest"]) for c in book["classes"].values() for s in c["styles"]] for book in books[:1]] == \
        [[(s["style"], s["nearest"]) for c in book["classes"].values() for s in c["styles"]] for book in books[1:]]
    assert tree(runs.two / "drawn").keys() - tree(runs.one / "drawn").keys() == {"pages.json"}, "the style sheet is there, too"
    assert "11 pictures encoded" in runs.out


def undated(folder):
    """The files of a page's folder; of pages without what tells of the command itself."""
    files = tree(folder)
    sizes = json.loads(files.pop("page_files.json"))["files"].keys()
    return {name: re.sub(rb'<nav.*?</nav>|<details class="facts">.*?</details>', b"", content, flags=re.S)
            for name, content in files.items()}, sizes


@pytest.mark.parametrize("more", [["--use_encoded_image"], ["--phase", "train", "--how_many", "1"]])
def test_pages_are_those_of_one_process(runs, data, more):
    """Two with one picture to draw leave one of them without any."""
    shutil.copytree(runs.two / "drawn", runs.folder / "copy" / "drawn", dirs_exist_ok=True)
    succeed(call("test", *where(runs.folder / "copy", "drawn", data[0]), *more, "--results_dir", runs.folder / "again"))
    page = f"{'train' if '--phase' in more else 'test'}_latest"
    (one, names), (two, others) = (undated(runs.folder / results / "drawn" / page) for results in ("again", "results"))
    assert one == two and one.keys() == names == others
    assert len(one) == (3 * 1 + 1 if "--phase" in more else 3 * 5 + 2 + 6)
    assert "--phase" in more or "images/a_b-2_synthesized_image.jpg" in one


def test_samples_are_those_of_one_process(runs, data):
    folder = runs.folder / "results" / "diffusion" / "test_latest"
    two = {path.name: np.asarray(Image.open(path), int) for path in (folder / "images").glob("*_synthesized_image.jpg")}
    page = (folder / "index.html").read_text()
    assert len(two) == 5 and all(page.count(f'"images/{name}"') for name in two)
    succeed(call("test", *diffusion(runs.two, data[0]), "--results_dir", runs.folder / "results", "--how_many", "5",
                 "--nearest", "0", "--batchSize", "5"))
    for name, picture in two.items():
        assert np.abs(np.asarray(Image.open(folder / "images" / name), int) - picture).max() <= 3


def test_feature_maps_are_those_of_one_process(runs, data):
    root = shutil.copytree(data[0], runs.folder / "maps1")
    succeed(call("precompute_feature_maps", *where(runs.one, "drawn", root)))
    assert tree(root / "train_feat") == tree(runs.folder / "maps" / "train_feat") and len(tree(root / "train_feat")) == 11


def test_only_the_first_process_says_anything(runs):
    assert runs.out.count("Trained for") == 7 and runs.out.count("11 pictures encoded") == 1
    assert "Traceback" not in runs.err and "100%" in runs.err


def test_a_script_that_starts_two_fails_in_one_line_and_one_process_goes_on(tmp_path, data, runs):
    good, bad = data
    done = subprocess.run([*LAUNCHING, *flags(tmp_path, "x", bad, "--nThreads", "2")], cwd=ROOT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 2, done.stderr
    told = [line for line in done.stderr.splitlines() if "pictures/s" not in line]  # less the progress
    assert len(told) == 1 and re.fullmatch(r"train\.py: error: .*/train_img/p\d\d\.png: is broken or cut short.*", told[0])
    assert (tmp_path / "x" / "iter.txt").read_text() == "1\n5\n"
    succeed(call("train", *flags(tmp_path, "x", good), "--continue_train"))
    assert_alike(runs.one / "whole", tmp_path / "x")


def with_descendants(pid: int) -> list[int]:
    """A process and all that it started, and they."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_every_process_may_be_signalled_and_the_launcher_passes_it_on(tmp_path, data):
    """As SLURM and systemd do, and torchrun after them, and then again."""
    words = flags(tmp_path, "x", data[0], "--niter", "100000", "--nThreads", "2")
    process = subprocess.Popen([*LAUNCHING, *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stdout:
        if line.startswith("(epoch: 1"):
            break
    everybody = with_descendants(process.pid)
    for pid in everybody * 2:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)  # to the last one's end, as all of them hold these pipes
    assert process.returncode == 143 and len(everybody) == 7, (everybody, err)
    assert out.count("To go on:") == 1 and err.count("SIGTERM") == 1 and "error" not in err
    done = (tmp_path / "x" / "iter.txt").read_text().split()
    again = succeed(call("train", *flags(tmp_path, "x", data[0], "--niter", done[0]), "--continue_train"))
    assert f"Going on after {done[1]} pictures of epoch {done[0]}" in again.out


@pytest.mark.slow
def test_two_machines_go_on_by_themselves_after_one_has_lost_its_process_and_learn_what_one_process_does(tmp_path, data, runs):
    (tmp_path / "commands.json").write_text(json.dumps([["killed", *flags(tmp_path, "x", data[0], "--save_latest_freq", "5")]]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}",
             "--max_restarts", "3", "-m", "tests.together", str(tmp_path / "commands.json")]
    machines = [subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *words], cwd=ROOT, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    out, err = ("".join(texts) for texts in zip(*(machine.communicate(timeout=300) for machine in machines)))
    assert [machine.returncode for machine in machines] == [0, 0], err[-3000:]
    assert out.count("Going on after 10 pictures of epoch 1") == 1, out
    assert_alike(runs.one / "whole", tmp_path / "x")


@pytest.fixture
def sent(group, monkeypatch):
    """How many gradients had come when each bucket was sent, three parameters to a bucket. Sets .net, .x and .exchange."""
    monkeypatch.setattr(gradient_exchange, "BUCKET", 3 * 16 * 4)
    net = torch.nn.ModuleList(torch.nn.Linear(4, 4, bias=False) for _ in range(8))
    spot = SimpleNamespace(net=net, x=torch.randn(2, 4), exchange=gradient_exchange.GradientExchange(), counts=[])
    all_reduce = torch.distributed.all_reduce

    def spy(*args, **more):
        spot.counts.append(sum(p.grad is not None for p in net.parameters()))
        return all_reduce(*args, **more)

    monkeypatch.setattr(torch.distributed, "all_reduce", spy)
    return spot


def go_back(spot, layers, weight=1.0):
    """One pass through some of the layers, in that order; gives the gradients that it leaves in all."""
    spot.net.zero_grad()
    spot.counts.clear()
    x = spot.x
    for i in layers:
        x = spot.net[i](x).tanh()
    with spot.exchange.during_backward(list(spot.net.parameters()), weight):
        x.sum().backward()
    spot.exchange.finish()
    return [p.grad for p in spot.net.parameters()]


def test_gradients_are_sent_while_the_backward_pass_goes_on(sent):
    order = [4, 5, 6, 7, 0, 1, 2, 3]  # as an encoder, whose parameters come last, runs before a generator
    first, (sent_first, *_) = go_back(sent, order), sent.counts
    again = go_back(sent, order)
    assert sent_first == 7, "the last parameters go first, as which gradients come first is not known yet"
    assert sent.counts == [3, 6, 8], "from then on it is"
    assert all(torch.equal(a, b) for a, b in zip(first, again))


def test_gradients_are_weighted_and_a_parameter_without_one_has_none(sent):
    whole, part = go_back(sent, range(8)), go_back(sent, range(8), weight=0.25)
    assert all(torch.equal(a * 0.25, b) for a, b in zip(whole, part))
    assert [g is None for g in go_back(sent, [0, 1, 3, 4, 5, 6, 7])] == [i == 2 for i in range(8)]


def test_a_program_that_draws_stays_one_process(monkeypatch, trained):
    started = []
    monkeypatch.setattr(distributed, "launch", started.append)
    monkeypatch.setattr("options.base_options.available_gpu_ids", lambda ids: (ids, ""))
    monkeypatch.setattr("models.predictor.create_model", lambda opt: opt.gpu_ids)
    assert Predictor.load(trained / "faces", gpu_ids="0,1").model == [0]
    assert not started


@pytest.mark.parametrize("length, batch, world", [(11, 5, 2), (7, 4, 3), (4, 4, 4)])
def test_shares_make_up_the_batch_in_order(length, batch, world):
    samplers = [EpochSampler(length, batch, True, 0, rank, world) for rank in range(world)]
    for whole in samplers[0].batches():
        assert [i for sampler in samplers for i in sampler.share(whole)] == whole


@pytest.mark.parametrize("length, batch, world", [(11, 5, 2), (7, 1, 3), (2, 1, 4)])
def test_runs_make_up_the_list_in_order(length, batch, world):
    samplers = [BlockSampler(length, batch, False, 0, rank, world) for rank in range(world)]
    runs = [[i for keys in sampler for _, i in keys] for sampler in samplers]
    assert [i for run in runs for i in run] == list(range(length))
    assert [sampler.of_lower_ranks() for sampler in samplers] == \
        [[i for run in runs[:rank] for i in run] for rank in range(world)]
    assert max(map(len, runs)) - min(map(len, runs)) <= batch
