"""ResNet-18's ImageNet weights, and where they are found."""
from __future__ import annotations

import os
import socket
import urllib.error
from pathlib import Path

import torch

from util.checkpoint import read_tensors
from util.errors import UserError

_PATIENCE = 10  # seconds that a silent server is given


def find_resnet18(path: str = "") -> tuple[dict | None, str]:
    """ResNet-18's state dict without its classifier: from `path` (--resnet_weights), torch's cache, or a download.

    Returns (state dict, "") or (None, why there is none). Raises UserError for a given file that is not ResNet-18.
    """
    if path:
        return _read(Path(path)), ""
    import torchvision
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)
    if cached.is_file():
        return _read(cached), ""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=True)
    except (OSError, urllib.error.URLError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())[:120]
        return None, f"they are not in {cached.parent} and cannot be downloaded ({reason})"
    finally:
        socket.setdefaulttimeout(patience)
    return _read(cached), ""


def _read(path: Path) -> dict:
    state = read_tensors(path)
    shapes = {"conv1.weight": (64, 3, 7, 7), "layer4.1.conv2.weight": (512, 512, 3, 3)}
    if any(getattr(state.get(name), "shape", None) != shape for name, shape in shapes.items()):
        raise UserError(f"--resnet_weights {path}: does not hold ResNet-18; give torchvision's resnet18 state dict")
    return {name: value for name, value in state.items() if not name.startswith("fc.")}
