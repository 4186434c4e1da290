"""Generators: label map (and features) to picture, at one scale or coarse to fine."""
from __future__ import annotations

import torch
from torch import nn

from models.networks.blocks import (
    ResnetBlock,
    conv_norm_relu,
    down_layers,
    downsample,
    first_layers,
    last_layers,
    norm_layer,
    up_conv,
    up_layers,
)
from models.networks.recompute import Layers, run_layers


def global_layers(input_nc, output_nc, ngf, n_downsample, n_blocks, norm, use_dropout=False, upsample="transpose",
                  feat_nc=None):
    """The layers of the global generator in order, ending in padding, convolution and tanh."""
    return [*first_layers(input_nc, ngf, norm, feat_nc), *down_layers(ngf, n_downsample, norm),
            *(ResnetBlock(ngf * 2 ** n_downsample, norm, use_dropout) for _ in range(n_blocks)),
            *up_layers(ngf, n_downsample, norm, upsample), *last_layers(ngf, output_nc)]


class FeatureSkip(nn.Module):
    """A linear skip connection from the painted features to the picture, which bypasses normalisation.

    Instance norm removes a region's absolute colour; this restores it. It is initialised to the identity, so a three-channel
    feature acts as a colour from the first step on.
    """

    def __init__(self, feat_nc: int, output_nc: int):
        super().__init__()
        self.feat_nc = feat_nc
        self.conv = nn.Conv2d(feat_nc, output_nc, 1)

    def init_weights(self):
        """Identity weights, zero bias."""
        nn.init.zeros_(self.conv.bias)
        nn.init.dirac_(self.conv.weight)

    def forward(self, x):
        """(N, C, H, W) whose last feat_nc channels are features -> (N, output_nc, H, W)."""
        return self.conv(x[:, -self.feat_nc:])


def run_with_skip(layers: Layers, x: torch.Tensor, skip: FeatureSkip | None, inputs: torch.Tensor) -> torch.Tensor:
    """layers(x), with skip(inputs) added before the last layer where there is a skip connection."""
    if skip is None:
        return layers(x)
    return layers[-1](run_layers(list(layers)[:-1], x, layers.checkpointed) + skip(inputs))


class GlobalGenerator(nn.Module):
    """Downsampling, residual blocks, upsampling (Wang et al. 2018, section 3.2; Johnson et al. 2016).

    feat_skip: how many of the last input channels have a skip connection to the output (0: none, as in pix2pixHD).
    feat_nc: how many of the last input channels need a gradient in training; None: all.
    """

    def __init__(self, input_nc: int, output_nc: int, ngf: int = 64, n_downsample: int = 3, n_blocks: int = 9,
                 norm: str = "instance", use_dropout: bool = False, upsample: str = "transpose", feat_skip: int = 0,
                 feat_nc: int | None = None):
        super().__init__()
        self.model = Layers(*global_layers(input_nc, output_nc, ngf, n_downsample, n_blocks, norm, use_dropout, upsample,
                                           feat_nc))
        self.skip = FeatureSkip(feat_skip, output_nc) if feat_skip else None

    def forward(self, x):
        """(N, input_nc, H, W) -> (N, output_nc, H, W) in [-1, 1]; H and W multiples of 2^n_downsample."""
        return run_with_skip(self.model, x, self.skip, x)


class LocalEnhancer(nn.Module):
    """A global generator at half size (or less), and enhancers that add detail at each doubling.

    `model` is the coarse part; enhancer n is `model<n>_1` (down) and `model<n>_2` (blocks and up).
    """

    def __init__(self, input_nc: int, output_nc: int, ngf: int = 32, n_downsample_global: int = 3,
                 n_blocks_global: int = 9, n_local_enhancers: int = 1, n_blocks_local: int = 3, norm: str = "instance",
                 use_dropout: bool = False, upsample: str = "transpose", feat_skip: int = 0, feat_nc: int | None = None):
        super().__init__()
        self.n_local_enhancers = n_local_enhancers
        self.model = Layers(*global_layers(input_nc, output_nc, ngf * 2 ** n_local_enhancers, n_downsample_global,
                                            n_blocks_global, norm, use_dropout, upsample, feat_nc)[:-3])
        for n in range(1, n_local_enhancers + 1):
            width = ngf * 2 ** (n_local_enhancers - n)
            down = [*first_layers(input_nc, width, norm, feat_nc), *conv_norm_relu(width, width * 2, norm, stride=2)]
            up = [*(ResnetBlock(width * 2, norm, use_dropout) for _ in range(n_blocks_local)),
                  up_conv(width * 2, width, upsample), norm_layer(norm, width), nn.ReLU(inplace=True)]
            if n == n_local_enhancers:
                up += last_layers(ngf, output_nc)
            setattr(self, f"model{n}_1", Layers(*down))
            setattr(self, f"model{n}_2", Layers(*up))
        self.skip = FeatureSkip(feat_skip, output_nc) if feat_skip else None

    def forward(self, x):
        """(N, input_nc, H, W) -> (N, output_nc, H, W) in [-1, 1]."""
        pyramid = [x]
        for _ in range(self.n_local_enhancers):
            pyramid.append(downsample(pyramid[-1]))
        out = self.model(pyramid[-1])
        for n in range(1, self.n_local_enhancers + 1):
            scale = pyramid[self.n_local_enhancers - n]
            out = getattr(self, f"model{n}_1")(scale) + out
            last = n == self.n_local_enhancers
            out = run_with_skip(getattr(self, f"model{n}_2"), out, self.skip if last else None, scale)
        return out
