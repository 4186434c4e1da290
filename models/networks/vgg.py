"""VGG19's features for the perceptual loss, and where its weights are found."""
from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from util.published import Published

_SLICES = ((0, 2), (2, 7), (7, 12), (12, 21), (21, 30))  # up to relu1_1, relu2_1, relu3_1, relu4_1, relu5_1


class VGG19Features(nn.Module):
    """The outputs of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 (Simonyan & Zisserman 2015), never trained.

    state: torchvision's state dict of vgg19; its classifier may be missing.
    """

    recompute = False  # checkpoint the activations between the five

    def __init__(self, state: dict):
        super().__init__()
        import torchvision
        with torch.device("meta"):
            layers = torchvision.models.vgg19(weights=None, init_weights=False).features[:_SLICES[-1][1]]
        wanted = {name: state["features." + name] for name in layers.state_dict()}
        layers.load_state_dict(wanted, assign=True)
        self.slices = nn.ModuleList(layers[a:b] for a, b in _SLICES)
        self.requires_grad_(False)

    def forward(self, x) -> list[torch.Tensor]:
        """(N, 3 or 1, H, W) in [-1, 1], taken as it is -> five feature maps, finest first."""
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        outputs = []
        for layers in self.slices:
            x = checkpoint(layers, x, use_reentrant=False) if self.recompute and torch.is_grad_enabled() else layers(x)
            outputs.append(x)
        return outputs


def find_weights(path: str = "") -> tuple[dict | None, str]:
    """VGG19's state dict: from `path` (--vgg_weights), else torch's cache, else a download.

    Returns (state dict, "") or (None, why there is none). Raises UserError for a given file that is not VGG19.
    """
    import torchvision
    return Published("VGG19's features", "torchvision's vgg19 state dict", "--vgg_weights",
                     torchvision.models.VGG19_Weights.IMAGENET1K_V1.url,
                     {"features.0.weight": (64, 3, 3, 3), "features.28.weight": (512, 512, 3, 3)}).find(path)
