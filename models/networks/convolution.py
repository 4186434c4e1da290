"""Convolutions with a faster algorithm for CPUs, whose result is the same up to float32 rounding."""
from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn.functional import conv2d


class FastConv2d(nn.Conv2d, ABC):
    """A convolution without padding or stride, computed by `fast` where that is faster: on a CPU in float32.

    direct: set it to use PyTorch's convolution everywhere.
    """

    direct = False

    def forward(self, x):
        """(N, C, H, W) -> (N, C', H - kernel + 1, W - kernel + 1)."""
        return self.fast(x) if self._pays(x) else super().forward(x)

    @abstractmethod
    def fast(self, x):
        """The convolution by the faster algorithm."""

    @abstractmethod
    def pays(self, x) -> bool:
        """Whether `fast` is faster for a float32 batch of this size on a CPU."""

    def _pays(self, x) -> bool:
        plain = not self.direct and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return plain and not torch.compiler.is_compiling() and self.pays(x)  # is_compiling is true while exporting, too


class NarrowConv2d(FastConv2d):
    """A convolution to a few output channels, such as RGB, which would leave most lanes of a vector register idle.

    The rows of the kernel are computed as separate output channels, which fill the register; the results are then added, each
    shifted by its row. For 64 to 3 channels and 7x7: 3.6 times as fast forward, 1.8 times backward.
    """

    def fast(self, x):
        """(N, C, H, W) -> (N, C', H - kernel + 1, W - kernel + 1)."""
        rows = self.kernel_size[0]
        of_rows = self.weight.permute(2, 0, 1, 3).flatten(0, 1).unsqueeze(2)  # (kernel * C', C, 1, kernel)
        parts = conv2d(x, of_rows).unflatten(1, (rows, -1))
        height = x.shape[2] - rows + 1
        return sum((parts[:, i, :, i:i + height] for i in range(1, rows)), parts[:, 0, :, :height] + self.bias[:, None, None])

    def pays(self, x) -> bool:
        """For many input and few output channels, and kernels of more than 3 rows."""
        return self.in_channels >= 16 and self.out_channels <= 4 and self.kernel_size[0] > 3
