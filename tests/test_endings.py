"""However a script ends, with the loader processes it has by default: its status is right, and nothing is left running."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch.distributed as dist

from tests.conftest import LOSSES, NETWORK, ROOT, SIZES, call, succeed, write_root
from util import distributed
from util.command_line import command_line
from util.errors import UserError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="runs are forked")
DEFAULT = [word for word in SIZES if word not in ("--nThreads", "0")]
ENDS = {"a broken photo": 2, "a bug": 1, "Ctrl-C": 130}
ALONE = {"train": {"": 0, **ENDS, "a NaN": 2, "KeyError in the data set": 1, "a loader process dies": 2, "SIGTERM twice": 143,
                   "SIGKILL": -9},
         "test": {"": 0, **ENDS, "SIGTERM": -15}, "encode_features": ENDS, "precompute_feature_maps": ENDS,
         "evaluate": {**ENDS, "SIGTERM": 143}}
TOGETHER = {"a broken photo": [2, 0], "a bug in one": [2, 1], "SIGTERM twice": [143, 143], "SIGTERM to one": [143, 143],
            "SIGTERM at the end": [0, 0]}


def training(folder, name, data, *more):
    """The flags of a training."""
    return ["--name", name, "--checkpoints_dir", folder, "--dataroot", data, *DEFAULT, *NETWORK, *LOSSES, "--label_feat",
            "--print_freq", "1", "--niter", "2", "--niter_decay", "0", "--no_html", *more]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, trained):
    """(the folder of the experiments, {(script, how it ended, processes): what `tests.endings` saw of it})."""
    folder = tmp_path_factory.mktemp("endings")
    good = write_root(folder / "good", {"train": 5, "test": 3})
    bad = shutil.copytree(good, folder / "bad")
    for phase in ("train", "test"):
        photo = bad / f"{phase}_img" / "p02.png"
        photo.write_bytes(photo.read_bytes()[:-60])
    commands = {}
    for script, end in [(script, end) for script, ends in ALONE.items() for end in ends]:
        name, data = f"{script}, {end}", bad if end == "a broken photo" else good
        if script == "train":
            more = {"a NaN": ["--lr", "1e15", "--niter", "60"], "a bug": ["--nThreads", "5"]}.get(end, [])
            commands[script, end, 1] = training(folder, name, data, *more)
        else:
            shutil.copytree(trained / "faces", folder / name)
            more = {"test": ["--results_dir", folder / "results"], "evaluate": ["--out", folder / name, "--metrics", "ssim"]}
            commands[script, end, 1] = ["--name", name, "--checkpoints_dir", folder, "--dataroot", data, "--gpu_ids", "-1",
                                        *more.get(script, [])]
    for end in TOGETHER:
        commands["train", end, 2] = training(folder, f"two, {end}", bad if end == "a broken photo" else good, "--batchSize", 2)
    orders = [{"script": script, "end": end, "world": world, "argv": list(map(str, argv))}
              for (script, end, world), argv in commands.items()]
    (folder / "runs.json").write_text(json.dumps(orders))
    done = subprocess.run([sys.executable, "-m", "tests.endings", str(folder / "runs.json")], cwd=ROOT, capture_output=True,
                          text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, dict(zip(commands, json.loads(done.stdout.splitlines()[-1])))


@pytest.mark.parametrize("script, end", [(script, end) for script, ends in ALONE.items() for end in ends])
def test_a_script_ends_with_its_loader_processes(runs, script, end):
    run, expected = runs[1][script, end, 1], ALONE[script][end]
    assert run["statuses"] == [expected], run
    assert run["seconds"] < 30, run  # 1 where nothing else wants the processor
    assert ("Traceback" in run["said"]) == (expected == 1), run["said"]


@pytest.mark.parametrize("end", TOGETHER)
def test_two_processes_end_together(runs, end):
    run = runs[1]["train", end, 2]
    assert run["statuses"] == TOGETHER[end], run
    assert run["said"].count("Traceback") == (end == "a bug in one") and run["seconds"] < 30, run


@pytest.mark.parametrize("processes, end", [(1, "SIGTERM twice"), (2, "SIGTERM twice"), (2, "SIGTERM to one")])
def test_a_stopped_training_saves_and_says_how_to_go_on(runs, processes, end):
    """A batch after the signal, which no further one changes, not even one that comes while the checkpoint is written."""
    folder, seen = runs
    said = seen["train", end, processes]["said"]
    assert said.count("--continue_train") == 1 and said.count("SIGTERM: finishing this step and saving") == 1
    experiment = folder / f"{('train', 'two')[processes - 1]}, {end}"
    assert (experiment / "iter.txt").read_text() == f"1\n{2 * processes}\n"
    assert not any(path.name in (".saving", ".commit") for path in experiment.iterdir())
    again = training(folder, experiment.name, folder / "good", "--continue_train", "--nThreads", "0")
    assert f"Going on after {2 * processes} pictures of epoch 1" in succeed(call("train", *again)).out


def test_a_loader_process_that_dies_is_told_at_a_batch_and_what_was_learnt_is_saved(runs):
    said = runs[1]["train", "a loader process dies", 1]["said"]
    assert "a data-loading process died at or after" in said and "ended by SIGKILL" in said
    assert (runs[0] / "train, a loader process dies" / "latest_state.pth").is_file()


def test_a_signal_at_the_end_does_not_keep_a_training_from_its_end(runs):
    folder, seen = runs
    assert "Trained for 2 epochs" in seen["train", "SIGTERM at the end", 2]["said"]
    assert (folder / "two, SIGTERM at the end" / "iter.txt").read_text() == "3\n0\n"


def threads() -> set[str]:
    """This process's threads."""
    return set(os.listdir("/proc/self/task"))


@pytest.mark.skipif(sys.platform != "linux", reason="threads are looked up in /proc")
@pytest.mark.parametrize("error", [None, UserError("a fault"), SystemExit(0), KeyboardInterrupt(), ZeroDivisionError("a bug")])
def test_whatever_ends_a_process_it_first_waits_for_the_threads_of_its_group(tmp_path, monkeypatch, error):
    """One that let go of a tensor while the interpreter ended would abort the process."""
    for name, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    handler, others, started = signal.getsignal(signal.SIGTERM), threads(), set()

    @command_line
    def main():
        dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
        monkeypatch.setattr(distributed, "_objects", dist.new_group(backend="gloo"))
        started.update(threads() - others)
        if error:
            raise error
        return 0

    try:
        with pytest.raises((SystemExit, ZeroDivisionError)):
            main()
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert len(started) > 2
    patience = time.monotonic() + 20  # the system may still list one that has just ended
    while started & threads() and time.monotonic() < patience:
        time.sleep(0.01)
    assert not started & threads()
