"""Layers that the networks are made of."""
from __future__ import annotations

import torch
from torch import nn

from models.networks.convolution import InputConv2d, NarrowConv2d
from models.networks.recompute import Layers
from models.networks.winograd import Conv3x3
from util.errors import UserError


def norm_layer(name: str, width: int) -> nn.Module:
    """'instance' (no affine parameters, no running statistics), 'batch', or 'none'."""
    if name == "instance":
        return InstanceNorm2d(width)
    if name == "batch":
        return nn.BatchNorm2d(width)
    if name == "none":
        return nn.Identity()
    raise UserError(f"--norm {name}: there is no such normalisation; choose instance or batch")


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm without parameters or running statistics, whose gradient is right in every memory layout.

    In PyTorch 2.14 on a CPU, the backward pass for one picture is wrong where the incoming gradient is channels-last, as it is
    from a convolution with channels-last weights.
    """

    def forward(self, x):
        """(N, C, H, W) -> the same shape."""
        y = super().forward(x)
        if y.requires_grad and y.device.type == "cpu" and not torch.compiler.is_compiling():
            y.register_hook(torch.Tensor.contiguous)
        return y


def conv_norm_relu(in_nc: int, out_nc: int, norm: str, stride: int) -> list:
    """3x3 convolution, norm, ReLU."""
    return [nn.Conv2d(in_nc, out_nc, 3, stride, padding=1), norm_layer(norm, out_nc), nn.ReLU(inplace=True)]


def first_layers(in_nc: int, width: int, norm: str, feat_nc: int | None = None) -> list:
    """A 7x7 convolution with reflection padding, norm, ReLU. feat_nc: see InputConv2d."""
    return [nn.ReflectionPad2d(3), InputConv2d(in_nc, width, 7, feat_nc), norm_layer(norm, width), nn.ReLU(inplace=True)]


def last_layers(width: int, out_nc: int) -> list:
    """A 7x7 convolution with reflection padding to the output's channels, and tanh."""
    return [nn.ReflectionPad2d(3), NarrowConv2d(width, out_nc, 7), nn.Tanh()]


def down_layers(width: int, steps: int, norm: str) -> list:
    """Halve the size and double the width, `steps` times from `width`."""
    return [layer for i in range(steps)
            for layer in conv_norm_relu(width * 2 ** i, width * 2 ** (i + 1), norm, stride=2)]


def up_layers(width: int, steps: int, norm: str, upsample: str = "transpose") -> list:
    """Double the size and halve the width, `steps` times down to `width`."""
    layers = []
    for i in reversed(range(steps)):
        layers += [up_conv(width * 2 ** (i + 1), width * 2 ** i, upsample), norm_layer(norm, width * 2 ** i),
                   nn.ReLU(inplace=True)]
    return layers


def up_conv(in_nc: int, out_nc: int, upsample: str) -> nn.Module:
    """Upsampling by 2: 'transpose', pix2pixHD's transposed convolution, or 'resize', which has no checkerboard artifacts."""
    if upsample == "transpose":
        return nn.ConvTranspose2d(in_nc, out_nc, 3, stride=2, padding=1, output_padding=1)
    return ResizeConv2d(in_nc, out_nc, 3, padding=1)


class ResizeConv2d(nn.Conv2d):
    """Nearest-neighbour upsampling by 2, then a convolution (Odena et al. 2016, Deconvolution and Checkerboard Artifacts)."""

    def forward(self, x):
        """(N, C, H, W) -> (N, C', 2H, 2W)."""
        return super().forward(nn.functional.interpolate(x, scale_factor=2, mode="nearest"))


class ResnetBlock(nn.Module):
    """A residual block of two 3x3 convolutions, optionally with dropout between them."""

    is_segment = True  # see models/networks/recompute.py

    def __init__(self, width: int, norm: str, use_dropout: bool = False):
        super().__init__()
        self.conv_block = Layers(
            nn.ReflectionPad2d(1), Conv3x3(width, width), norm_layer(norm, width), nn.ReLU(inplace=True),
            *([nn.Dropout(0.5)] if use_dropout else []),
            nn.ReflectionPad2d(1), Conv3x3(width, width), norm_layer(norm, width))

    def forward(self, x):
        """(N, C, H, W) -> the same shape."""
        return x + self.conv_block(x)


def downsample(x: torch.Tensor) -> torch.Tensor:
    """Half the size, by 3x3 average pooling that does not count the padding."""
    return nn.functional.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
