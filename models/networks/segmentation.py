"""The segmentation discriminator: which class each pixel shows, or that it is drawn (OASIS, Sushko et al. 2021)."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

_WIDEST, _SLOPE = 5, 0.2


class _Down(nn.Module):
    """Two 3x3 convolutions and a shortcut, at half the size of the input."""

    def __init__(self, in_nc: int, out_nc: int):
        super().__init__()
        self.conv1, self.conv2 = _conv(in_nc, out_nc, 3), _conv(out_nc, out_nc, 3)
        self.shortcut = _conv(in_nc, out_nc, 1)

    def forward(self, x):
        """(N, in_nc, H, W) -> (N, out_nc, H / 2, W / 2), rounded up."""
        x = F.avg_pool2d(x, 2, ceil_mode=True)
        return F.leaky_relu(self.shortcut(x) + self.conv2(F.leaky_relu(self.conv1(x), _SLOPE)), _SLOPE)


class _Up(nn.Module):
    """A 3x3 convolution, doubling, the features of that size from the way down added, and another convolution.

    Added rather than joined: so the convolution at the larger size has half as many channels.
    """

    def __init__(self, in_nc: int, out_nc: int):
        super().__init__()
        self.conv1, self.conv2 = _conv(in_nc, out_nc, 3), _conv(out_nc, out_nc, 3)

    def forward(self, x, beside):
        """(N, in_nc, H, W) and (N, out_nc, 2H, 2W), or one less -> the shape of the latter."""
        x = F.interpolate(self.conv1(x), beside.shape[2:], mode="nearest") + beside
        return F.leaky_relu(self.conv2(F.leaky_relu(x, _SLOPE)), _SLOPE)


class SegmentationDiscriminator(nn.Module):
    """A U-Net with spectral norm (arXiv:2012.04781): label_nc + 1 scores a pixel, the last one for drawn pixels.

    It sees the picture alone. ndf: channels at full size; they double with each of the n_layers halvings, up to 5 times ndf.
    """

    def __init__(self, input_nc: int, classes: int, ndf: int = 64, n_layers: int = 3):
        super().__init__()
        widths = [ndf * min(2 ** i, _WIDEST) for i in range(n_layers + 1)]
        self.first = _conv(input_nc, ndf, 3)
        self.down = nn.ModuleList(_Down(a, b) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(_Up(b, a) for a, b in zip(widths, widths[1:]))
        self.last = _conv(ndf, classes + 1, 1)

    def forward(self, x):
        """(N, input_nc, H, W) in [-1, 1] -> (N, classes + 1, H, W)."""
        outputs = [F.leaky_relu(self.first(x.contiguous(memory_format=torch.channels_last)), _SLOPE)]
        for down in self.down:
            outputs.append(down(outputs[-1]))
        hidden = outputs.pop()
        for up in reversed(self.up):
            hidden = up(hidden, outputs.pop())
        return self.last(hidden)


def _conv(in_nc: int, out_nc: int, kernel: int):
    return spectral_norm(nn.Conv2d(in_nc, out_nc, kernel, padding=kernel // 2))
