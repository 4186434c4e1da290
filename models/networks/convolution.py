"""Convolutions with a faster algorithm for CPUs, whose result is the same up to rounding."""
from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pad
from torch.nn.grad import conv2d_input, conv2d_weight

_NARROW = 4  # output channels at most, for which the rows of a kernel are computed as channels of their own


class FastConv2d(nn.Conv2d, ABC):
    """A convolution without padding or stride, computed by `fast` where that is faster, on a CPU.

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
        """Whether `fast` is faster for a float32 or bfloat16 batch of this size on a CPU."""

    def _pays(self, x) -> bool:
        plain = not self.direct and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
        return plain and not torch.compiler.is_compiling() and self.pays(x)  # is_compiling is true while exporting, too


class NarrowConv2d(FastConv2d):
    """A convolution to a few output channels, such as RGB, which would leave most lanes of a vector register idle."""

    def fast(self, x):
        """(N, C, H, W) -> (N, C', H - kernel + 1, W - kernel + 1)."""
        return _convolve_rows(x, self.weight) + self.bias[:, None, None]

    def pays(self, x) -> bool:
        """For many input and few output channels, and kernels of more than 3 rows."""
        return self.in_channels >= 16 and self.out_channels <= _NARROW and self.kernel_size[0] > 3


class InputConv2d(FastConv2d):
    """The first convolution of a generator, of whose input only the last feat_nc channels, the features, need a gradient.

    feat_nc: None for a gradient of all channels. In training on a CPU that of the label map's is zero.
    """

    def __init__(self, in_nc: int, out_nc: int, kernel: int, feat_nc: int | None = None):
        super().__init__(in_nc, out_nc, kernel)
        self.feat_nc = feat_nc

    def fast(self, x):
        """(N, C, H, W) -> (N, C', H - kernel + 1, W - kernel + 1)."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        return _InputConvolution.apply(*(each.to(dtype) for each in (x, self.weight, self.bias)), self.feat_nc)

    def pays(self, x) -> bool:
        """Where there is a gradient to save: of more than half of the channels."""
        return torch.is_grad_enabled() and x.requires_grad and self.feat_nc is not None and 2 * self.feat_nc < self.in_channels


class _InputConvolution(torch.autograd.Function):
    """A convolution whose gradient of the input is that of its last channels, and zero elsewhere."""

    @staticmethod
    def forward(ctx, x, weight, bias, feat_nc):
        ctx.save_for_backward(x, weight)
        ctx.feat_nc = feat_nc
        return conv2d(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x, weight), n = ctx.saved_tensors, ctx.feat_nc
        of_features = None
        if ctx.needs_input_grad[0]:
            others = x.shape[1] - n
            of_features = pad(_of_input(gradient, weight[:, others:], (*x.shape[:1], n, *x.shape[2:])), (0, 0, 0, 0, others, 0))
        return of_features, conv2d_weight(x, weight.shape, gradient), gradient.sum((0, 2, 3)), None


def _of_input(gradient, weight, shape):
    """The gradient of a convolution's input of this shape: a convolution with the turned kernels."""
    border = weight.shape[-1] - 1
    if not 0 < shape[1] <= _NARROW or border == 0:
        return conv2d_input(shape, weight, gradient)
    return _convolve_rows(pad(gradient, (border,) * 4), weight.flip(2, 3).transpose(0, 1))


def _convolve_rows(x, weight):
    """(N, C, H, W), (C', C, kernel, kernel) -> (N, C', H - kernel + 1, W - kernel + 1), without bias.

    The rows of the kernel are computed as output channels of their own, which fill a vector register; the results are then
    added, each shifted by its row. For 64 to 3 channels and 7x7: 3.6 times as fast forward, 1.8 times backward.
    """
    rows = weight.shape[2]
    of_rows = weight.permute(2, 0, 1, 3).flatten(0, 1).unsqueeze(2)  # (kernel * C', C, 1, kernel)
    return _ShiftedSum.apply(conv2d(x, of_rows).unflatten(1, (rows, -1)))


class _ShiftedSum(torch.autograd.Function):
    """(N, rows, C, H + rows - 1, W) -> (N, C, H, W): the sum of all rows, the i-th from its i-th line on."""

    @staticmethod
    def forward(ctx, parts):
        ctx.rows = rows = parts.shape[1]
        height = parts.shape[3] - rows + 1
        return sum((parts[:, i, :, i:i + height] for i in range(1, rows)), parts[:, 0, :, :height])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return torch.stack([pad(gradient, (0, 0, i, ctx.rows - 1 - i)) for i in range(ctx.rows)], 1)


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """(N, H, W, C) -> (N, C, H, W), contiguous: as transposed matrices, which PyTorch copies several times as fast."""
    n, height, width, channels = x.shape
    out = x.new_empty(n, channels, height, width)
    for one, other in zip(out, x):
        one.flatten(1).copy_(other.flatten(0, 1).T)
    return out
