"""Weights that torchvision publishes: from torch's cache, else by a download that fails kindly."""
from __future__ import annotations

import os
import socket
from pathlib import Path

import torch

_PATIENCE = 10  # seconds that a silent server is given


def published_file(url: str) -> tuple[Path | None, str]:
    """The file of `url` in torch's cache, fetched where it is missing: (path, "") or (None, why there is none)."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)
    if cached.is_file():
        return cached, ""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a wrong hash is a RuntimeError
        reason = " ".join(str(getattr(error, "reason", None) or error).split())[:120]
        return None, f"they are not in {cached.parent} and cannot be downloaded ({reason})"
    finally:
        socket.setdefaulttimeout(patience)
    return cached, ""
