"""ResNet-18's ImageNet weights, and where they are found."""
from __future__ import annotations

from pathlib import Path

from models.networks.pretrained import published_file
from util.checkpoint import read_tensors
from util.errors import UserError


def find_resnet18(path: str = "") -> tuple[dict | None, str]:
    """ResNet-18's state dict without its classifier: from `path` (--resnet_weights), torch's cache, or a download.

    Returns (state dict, "") or (None, why there is none). Raises UserError for a given file that is not ResNet-18.
    """
    if path:
        return _read(Path(path)), ""
    import torchvision
    cached, reason = published_file(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url)
    return (_read(cached), "") if cached else (None, reason)


def _read(path: Path) -> dict:
    state = read_tensors(path)
    shapes = {"conv1.weight": (64, 3, 7, 7), "layer4.1.conv2.weight": (512, 512, 3, 3)}
    if any(getattr(state.get(name), "shape", None) != shape for name, shape in shapes.items()):
        raise UserError(f"--resnet_weights {path}: does not hold ResNet-18; give torchvision's resnet18 state dict")
    return {name: value for name, value in state.items() if not name.startswith("fc.")}
