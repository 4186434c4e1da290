"""A command that a launcher or a scheduler starts once more goes on from what it has saved."""
from __future__ import annotations

import os
from pathlib import Path

from options import saved
from util import distributed
from util.checkpoint import STATE, is_saved


def resuming(argv: list[str]) -> list[str]:
    """The command line that goes on from an interruption: without the flags that said where the run began."""
    words, skip = [], False
    for word in argv:
        flag, _, value = word.partition("=")
        if skip or flag in ("--continue_train", "--load_pretrain", "--which_epoch"):
            skip = not skip and flag != "--continue_train" and not value
            continue
        words.append(word)
    return [*words, "--continue_train"]


def as_meant(argv: list[str], first) -> list[str]:
    """What a training's command line means where a launcher or a scheduler may have started it before.

    `torchrun --max_restarts` starts the same command again after a failure: it then goes on from its own checkpoint. SLURM does
    so with a job of --requeue, in which --continue_train is therefore no error where there is nothing to go on from yet.
    first: the flags of the first phase.
    """
    root = Path(first.checkpoints_dir or "./checkpoints")
    folder = root / (first.name or first.continue_train and saved.trained_last(root) or "label2city")
    if distributed.remembered(begun(folder)) and _holds_checkpoint(folder):
        return resuming(argv)
    may_restart = "SLURM_JOB_ID" in os.environ or os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if first.continue_train and may_restart and not _holds_checkpoint(folder):
        print(f"--continue_train: {folder} holds no checkpoint yet, so this is the start")
        return [word for word in argv if word != "--continue_train"]
    return argv


def begun(folder: Path) -> str:
    """What the launcher remembers of a training that has set aside what an earlier one of its name had left in `folder`."""
    return f"begun/{folder}"


def _holds_checkpoint(folder: Path) -> bool:
    return any(folder.glob("*_net_*.pth")) or is_saved(folder / STATE)
