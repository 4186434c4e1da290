"""Resuming trainings that a launcher or scheduler restarts with the same command line."""
from __future__ import annotations

import os
from pathlib import Path

from options import saved
from util import distributed
from util.checkpoint import STATE, is_saved


def resuming(argv: list[str]) -> list[str]:
    """The command line that resumes a training: with --continue_train instead of the flags of its start."""
    words, skip = [], False
    for word in argv:
        flag, _, value = word.partition("=")
        if skip or flag in ("--continue_train", "--load_pretrain", "--which_epoch"):
            skip = not skip and flag != "--continue_train" and not value
            continue
        words.append(word)
    return [*words, "--continue_train"]


def adapted(argv: list[str], first) -> list[str]:
    """The command line of a training, adapted if a launcher or scheduler may have restarted it.

    `torchrun --max_restarts` runs the same command again after a failure, which then resumes from its checkpoint. SLURM does so
    with --requeue; its jobs pass --continue_train, which is therefore ignored while there is no checkpoint.
    first: the flags of the first phase.
    """
    root = Path(first.checkpoints_dir or "./checkpoints")
    folder = root / (first.name or first.continue_train and saved.trained_last(root) or "label2city")
    if distributed.has_restart_mark(restart_mark(folder)) and _holds_checkpoint(folder):
        return resuming(argv)
    may_restart = "SLURM_JOB_ID" in os.environ or os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if first.continue_train and may_restart and not _holds_checkpoint(folder):
        print(f"--continue_train: {folder} holds no checkpoint yet, so this is the start")
        return [word for word in argv if word != "--continue_train"]
    return argv


def restart_mark(folder: Path) -> str:
    """The restart mark of a training in `folder`, set once the checkpoints there are its own, not those of an earlier one."""
    return f"restart_mark/{folder}"


def _holds_checkpoint(folder: Path) -> bool:
    return any(folder.glob("*_net_*.pth")) or is_saved(folder / STATE)
