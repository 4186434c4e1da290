"""Where an experiment's files are, and which versions made them."""
from __future__ import annotations

import platform
import subprocess
from pathlib import Path


def experiment_folder(opt) -> Path:
    """checkpoints/<name> of parsed options."""
    return Path(opt.checkpoints_dir) / opt.name


def versions() -> dict:
    """The versions at work: Python, torch, NumPy, and the project's commit where git knows it."""
    import numpy
    import torch
    root = Path(__file__).resolve().parents[1]
    try:
        commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=root,
                                capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        commit = None
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
            "commit": commit}
