"""A small residual network (He et al. 2016) that tells which attributes a face has."""
from __future__ import annotations

import torch
from torch import nn


def _conv_norm(input_nc: int, output_nc: int, stride: int, size: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(input_nc, output_nc, size, stride, size // 2, bias=False), nn.BatchNorm2d(output_nc))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and a projection beside them; it halves the sides."""

    def __init__(self, input_nc: int, output_nc: int):
        super().__init__()
        self.main = nn.Sequential(_conv_norm(input_nc, output_nc, 2), nn.ReLU(), _conv_norm(output_nc, output_nc, 1))
        self.skip = _conv_norm(input_nc, output_nc, 2, size=1)

    def forward(self, x):
        """(N, input_nc, H, W) -> (N, output_nc, ceil(H / 2), ceil(W / 2))."""
        return torch.relu(self.main(x) + self.skip(x))


class AttributeClassifier(nn.Module):
    """(N, input_nc, H, W) in [-1, 1] -> (N, attributes) logits. The first layer keeps the size: earrings are a few pixels."""

    def __init__(self, attributes: int, input_nc: int = 3, nf: int = 24, stages: int = 4):
        """nf: channels of the first layer, doubled by each of the stages but the first."""
        super().__init__()
        widths = [nf, *(nf * 2 ** i for i in range(stages))]
        self.first = nn.Sequential(_conv_norm(input_nc, nf, 1), nn.ReLU())
        self.stages = nn.Sequential(*(ResidualBlock(a, b) for a, b in zip(widths, widths[1:])))
        self.head = nn.Linear(widths[-1], attributes)

    def forward(self, x):
        """See the class."""
        return self.head(self.stages(self.first(x)).mean((2, 3)))
