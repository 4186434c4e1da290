"""The feature encoder of the region generator: sees photo, place and edges, and gives styles of any length."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from models.networks.encoder import INITIAL_LOG_VARIANCE, LOG_VARIANCE_BOUND
from models.regions import Regions, edges

GUIDES = 3  # channels: place (x, y) and edges
_WIDEST, _SLOPE = 4, 0.2


class Heads(nn.Module):
    """A linear map of the photo and of the features at all scales; its mean over a region is that map of their means."""

    def __init__(self, widths: list[int], output_nc: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, output_nc, 1, bias=i == 0) for i, width in enumerate(widths))

    def forward(self, features: list[torch.Tensor]):
        """[(N, widths[i], H, W) or smaller] -> (N, output_nc, H, W)."""
        total = self.convs[0](features[0])
        for conv, one in zip(self.convs[1:], features[1:]):
            found = conv(one)
            total = total + (found if found.shape == total.shape else F.interpolate(found, total.shape[2:], mode="nearest"))
        return total


class RegionEncoder(nn.Module):
    """Two convolutions at full size and after each halving, then a linear map of the photo and of all of them.

    variational: a second linear map gives the log-variance, and neither is bounded; else features are in [-1, 1].
    """

    def __init__(self, input_nc: int, output_nc: int, nef: int = 16, n_downsample: int = 1, variational: bool = False):
        super().__init__()
        self.input_nc = input_nc
        widths = [nef * min(2 ** i, _WIDEST) for i in range(n_downsample + 1)]
        self.scales = nn.ModuleList(nn.Sequential(
            nn.Conv2d(before, width, 3, 1 + (i > 0), 1), nn.LeakyReLU(_SLOPE, inplace=True),
            nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(_SLOPE, inplace=True),
        ) for i, (before, width) in enumerate(zip([input_nc + GUIDES, *widths], widths)))
        self.mu = Heads([input_nc, *widths], output_nc)
        self.logvar = Heads([input_nc, *widths], output_nc) if variational else None

    def init_weights(self):
        """As PyTorch starts convolutions; the first features start as the photo's colours; the log-variance is constant."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        nn.init.dirac_(self.mu.convs[0].weight)
        nn.init.zeros_(self.mu.convs[0].bias)
        if self.logvar is not None:
            for conv in self.logvar.convs:
                nn.init.zeros_(conv.weight)
            nn.init.constant_(self.logvar.convs[0].bias, INITIAL_LOG_VARIANCE)

    def maps(self, image: torch.Tensor, guides: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Features before averaging, (N, output_nc, H, W), or mu and log-variance.

        image: (N, input_nc, H, W) in [-1, 1]. guides: (N, 3, H, W), place (x, y) and edges.
        """
        image, hidden = (x.contiguous(memory_format=torch.channels_last) for x in (image, torch.cat([image, guides], 1)))
        features = [image]
        for scale in self.scales:
            hidden = scale(hidden)
            features.append(hidden)
        if self.logvar is None:
            return torch.tanh(self.mu(features)), None
        return self.mu(features), self.logvar(features)

    def posterior(self, image: torch.Tensor, regions: Regions) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `Encoder.posterior`: (mu, log-variance or None) of each region, (R, output_nc) each."""
        guides = torch.cat([regions.place(), edges(regions.index[:, None])], 1)
        mu, log_variance = self.maps(image, guides)
        if log_variance is None:
            return regions.mean(mu.float()), None
        return regions.mean(mu.float()), regions.mean(log_variance.float()).clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def forward(self, image, inst):
        """As `Encoder.forward`: features (N, output_nc, H, W), averaged over each region of each picture."""
        regions = inst if isinstance(inst, Regions) else Regions.of(inst)
        return regions.paint(self.posterior(image, regions)[0])
