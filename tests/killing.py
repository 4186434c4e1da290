"""Kill a training at random moments, resume it each time, and compare it with one that was left alone.

    python -m tests.killing FOLDER --dataroot DATA --kills 100 --niter 100

Each life of the training is a process of its own, forked before torch has started a thread, and ended by SIGKILL while it
steps, logs or saves. Prints one JSON line with what was seen.
"""
from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

FLAGS = ["--gpu_ids", "-1", "--label_nc", "19", "--label_feat", "--loadSize", "36", "--fineSize", "32",
         "--resize_or_crop", "resize_and_crop",
         "--batchSize", "2", "--ngf", "4", "--ndf", "4", "--nef", "4", "--n_downsample_global", "2", "--n_blocks_global", "1",
         "--n_downsample_E", "2", "--netG", "local", "--n_blocks_local", "1", "--niter_fix_global", "10", "--use_dropout",
         "--pool_size", "4", "--ema", "0.9", "--val_freq", "3",
         "--val_best", "ssim", "--val_metrics", "ssim", "--no_vgg_loss", "--no_html", "--print_freq", "1",
         "--save_latest_freq", "4", "--save_epoch_freq", "15", "--nThreads", "0"]


def live(argv: list[str]) -> int:
    """Start one life of the training; gives its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(os.open(os.environ["KILL_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.argv = ["train.py", *argv]
    status = 70
    try:
        import torch

        import train
        torch.set_num_threads(1)
        train.main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        os._exit(status)


def train_undisturbed(argv) -> None:
    """One life, to its end."""
    status = os.waitstatus_to_exitcode(os.waitpid(live(argv), 0)[1])
    if status:
        raise SystemExit(f"the training ended with status {status}: {Path(os.environ['KILL_LOG']).read_text()[-2000:]}")


def train_with_kills(argv, folder: Path, kills: int, chance: random.Random) -> dict:
    """Kill and resume until `kills` lives have ended early, then let it finish."""
    seen = {"kills": 0, "while_saving": 0, "commits_to_finish": 0, "before_first_save": 0}
    while seen["kills"] < kills:
        started = (folder / "latest_state.pth").is_file()
        pid = live([*argv, *(["--continue_train"] if started else [])])
        if wait_for_the_moment(pid, folder, chance):
            break  # it came to its end first
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        seen["kills"] += 1
        seen["while_saving"] += (folder / ".saving").is_dir()
        seen["commits_to_finish"] += (folder / ".commit").is_dir()
        seen["before_first_save"] += not ((folder / "latest_state.pth").is_file() or (folder / ".commit").is_dir())
    train_undisturbed([*argv, *(["--continue_train"] if (folder / "latest_state.pth").is_file() else [])])
    return seen


def wait_for_the_moment(pid: int, folder: Path, chance: random.Random) -> bool:
    """Sleep until the life is to be ended: while it saves, while it steps, or while it starts. True if it ended itself."""
    state = folder / "latest_state.pth"
    before = state.stat().st_mtime_ns if state.is_file() else 0

    def saved() -> bool:
        return state.is_file() and state.stat().st_mtime_ns != before

    moment = chance.choices(("saving", "stepping", "starting"), (5, 4, 1))[0]
    came = {"saving": lambda: saved() and (folder / ".saving").is_dir(), "stepping": saved, "starting": lambda: True}[moment]
    while not came():
        time.sleep(0.001)
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
    time.sleep(chance.uniform(0, 0.02 if moment == "saving" else 0.3))
    return bool(os.waitpid(pid, os.WNOHANG)[0])


def losses(folder: Path) -> dict:
    """{(epoch, pictures): its losses, as often as they were logged}."""
    found: dict = {}
    for line in (folder / "loss_log.txt").read_text().splitlines():
        if match := re.match(r"^\(epoch: (\d+), iters: (\d+), time: [\d.]+[^)]*\) (.*)$", line):
            found.setdefault((int(match[1]), int(match[2])), set()).add(match[3])
    return found


def differences(a: Path, b: Path) -> list[str]:
    """Files of the two experiments that are not equal, and log lines that say different things."""
    import torch
    found = []
    for path in sorted(a.glob("*_net_*.pth")):
        one, other = (torch.load(p, weights_only=True) for p in (path, b / path.name))
        found += [f"{path.name}: {key}" for key in one if not torch.equal(one[key], other[key])]
    one, other = losses(a), losses(b)
    found += [f"losses at {key}: {one.get(key)} {other.get(key)}" for key in sorted(one.keys() | other.keys())
              if one.get(key) != other.get(key)]
    return found


def main():
    """Parse, train both, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--niter", type=int, default=20, help="half of the epochs; more kills want a longer training")
    args = parser.parse_args()
    os.environ["KILL_LOG"] = str(args.folder / "stderr.txt")
    # imported once, before the first fork; nothing in them starts a thread
    import options.train_options  # noqa: F401
    import train  # noqa: F401
    epochs = ["--niter", str(args.niter), "--niter_decay", str(args.niter)]
    common = ["--dataroot", args.dataroot, "--checkpoints_dir", str(args.folder), *FLAGS, *epochs]
    train_undisturbed(["--name", "whole", *common])
    seen = train_with_kills(["--name", "killed", *common], args.folder / "killed", args.kills, random.Random(args.seed))
    litter = [p.name for p in (args.folder / "killed").iterdir() if p.name in (".saving", ".commit") or p.suffix == ".tmp"]
    found = differences(args.folder / "whole", args.folder / "killed")
    print(json.dumps({**seen, "litter": litter, "differences": found[:10]}))


if __name__ == "__main__":
    main()
