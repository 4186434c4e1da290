"""An experiment's folder, and the versions in use."""
from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path


def experiment_folder(opt) -> Path:
    """checkpoints/<name> of parsed options."""
    return Path(opt.checkpoints_dir) / opt.name


@cache
def versions() -> dict:
    """The versions of Python, torch and NumPy, without importing them, and the project's commit, if git knows it."""
    packages = {name: getattr(sys.modules.get(name), "__version__", None) or metadata.version(name)
                for name in ("torch", "numpy")}
    root = Path(__file__).resolve().parents[1]
    try:
        commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=root,
                                capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        commit = None
    return {"python": platform.python_version(), **{name: str(version) for name, version in packages.items()}, "commit": commit}
