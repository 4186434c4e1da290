"""The instance feature encoder: photo to a feature vector for each region, or to a Gaussian over such vectors."""
from __future__ import annotations

import torch
from torch import nn

from models.networks.blocks import down_layers, first_layers, last_layers, up_layers
from models.networks.convolution import NarrowConv2d
from models.networks.generator import FeatureSkip, run_with_skip
from models.networks.recompute import Layers, run_layers
from models.regions import Regions

INITIAL_LOG_VARIANCE = -4.0  # a standard deviation of e^-2 = 0.14, small beside features in [-1, 1]
LOG_VARIANCE_BOUND = 10.0


class LogVariance(nn.Module):
    """The linear head of the log-variance, initialised to W = 0 and b = -4: small noise, the same everywhere."""

    def __init__(self, width: int, output_nc: int, kernel: int):
        super().__init__()
        self.conv = NarrowConv2d(width, output_nc, kernel)

    def init_weights(self):
        """Zero weights, constant bias."""
        nn.init.zeros_(self.conv.weight)
        nn.init.constant_(self.conv.bias, INITIAL_LOG_VARIANCE)

    def forward(self, hidden):
        """(N, width, H + 6, W + 6), padded -> (N, output_nc, H, W)."""
        return self.conv(hidden)


class Encoder(nn.Module):
    """Down and up again to feat_num channels in [-1, 1], then averaged over each region (Wang et al. 2018, 3.4).

    image_skip: add a 1x1 convolution of the photo before the tanh, which bypasses normalisation; it is initialised to identity.
    variational: two linear heads on the last features h instead of the tanh (Kingma and Welling 2014, appendix B). The
        head of mu is the plain encoder's last convolution (and its image_skip: h and the photo together are that head's
        input), under the same parameter names, so that a plain encoder's weights fit; the head of the log-variance sees
        h alone and is called `logvar`.
    """

    def __init__(self, input_nc: int, output_nc: int, nef: int = 16, n_downsample: int = 4, norm: str = "instance",
                 upsample: str = "transpose", image_skip: bool = False, variational: bool = False):
        super().__init__()
        pad, convolution, tanh = last_layers(nef, output_nc)
        self.model = Layers(*first_layers(input_nc, nef, norm), *down_layers(nef, n_downsample, norm),
                                   *up_layers(nef, n_downsample, norm, upsample), pad, convolution,
                                   nn.Identity() if variational else tanh)
        self.skip = FeatureSkip(input_nc, output_nc) if image_skip else None
        self.logvar = LogVariance(nef, output_nc, convolution.kernel_size[0]) if variational else None

    def features(self, image):
        """(N, input_nc, H, W) in [-1, 1] -> (N, output_nc, H, W) before averaging: in [-1, 1], or mu, which has no bounds."""
        return run_with_skip(self.model, image, self.skip, image)

    def maps(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(N, input_nc, H, W) -> mu and log-variance before averaging, (N, output_nc, H, W) each; see `posterior`."""
        if self.logvar is None:
            return self.features(image), None
        padded = run_layers(list(self.model)[:-2], image, self.model.checkpointed)
        mu = self.model[-2](padded)
        return mu if self.skip is None else mu + self.skip(image), self.logvar(padded)

    def posterior(self, image: torch.Tensor, regions: Regions) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The Gaussian of each region, as (mu, log-variance): (R, output_nc) each, as precise as `Regions.mean`.

        mu = mean_P(W_mu h + b_mu) and l = clamp(mean_P(W_l h + b_l), -10, 10) over a region's pixels P. A plain encoder
        gives its pooled feature and None.
        """
        mu, log_variance = self.maps(image)
        if log_variance is None:
            return regions.mean(mu.float()), None
        return regions.mean(mu.float()), regions.mean(log_variance.float()).clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def forward(self, image, inst):
        """image and an integer map (N, 1, H, W), or its Regions -> features averaged over each region of each picture."""
        regions = inst if isinstance(inst, Regions) else Regions.of(inst)
        return regions.pool(self.features(image))
