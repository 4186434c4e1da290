"""ResNet-18's ImageNet weights, and where they are found."""
from __future__ import annotations

from util.published import Published


def find_resnet18(path: str = "") -> tuple[dict | None, str]:
    """ResNet-18's state dict without its classifier: from `path` (--resnet_weights), torch's cache, or a download.

    Returns (state dict, "") or (None, why there is none). Raises UserError for a given file that is not ResNet-18.
    """
    import torchvision
    state, reason = Published("ResNet-18", "torchvision's resnet18 state dict", "--resnet_weights",
                              torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url,
                              {"conv1.weight": (64, 3, 7, 7), "layer4.1.conv2.weight": (512, 512, 3, 3)}).find(path)
    return state and {name: value for name, value in state.items() if not name.startswith("fc.")}, reason
