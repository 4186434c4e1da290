"""3x3 convolutions in fewer multiplications (Winograd's minimal filtering; Lavin and Gray 2016, arXiv:1509.09308).

F(2x2, 3x3): each 2x2 block of the output is computed from a 4x4 tile of the input with 16 multiplications a channel instead of
36. Over many channels these are matrix products, which CPUs compute efficiently. In float32 the rounding error is about that of
the direct convolution. On GPUs and in bfloat16, direct convolutions are faster.
"""
from __future__ import annotations

import torch

from models.networks.convolution import FastConv2d, channels_first

# The least number of channels: with fewer, transforming the tiles takes longer than products save; and the least pixels of a
# batch for each channel: with fewer, transforming the weights does. Direct convolutions gain more from AVX-512 than transforms.
_WIDE, _PIXELS_A_CHANNEL = (512, 1) if torch.backends.cpu.get_cpu_capability() == "AVX512" else (256, 0.25)
_TILE, _STEP = 4, 2  # side in pixels of an input tile, and of the block of the output that is computed from it
_INPUT = torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_KERNEL = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OUTPUT = torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]])
# in both directions at once, on flattened tiles: (16, 16), (16, 9), (4, 16)
_INPUT_2D, _KERNEL_2D, _OUTPUT_2D = (torch.kron(one, one) for one in (_INPUT, _KERNEL, _OUTPUT))

_onednn_linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


class Conv3x3(FastConv2d):
    """A 3x3 convolution without padding, by Winograd's algorithm where it has many channels."""

    def __init__(self, in_nc: int, out_nc: int):
        super().__init__(in_nc, out_nc, 3)

    def fast(self, x):
        """(N, C, H, W) -> (N, C', H - 2, W - 2)."""
        return _Winograd.apply(x, self.weight, self.bias)

    def pays(self, x) -> bool:
        """In float32, for many channels and enough pixels; the output must consist of whole blocks."""
        height, width = x.shape[-2] - 2, x.shape[-1] - 2
        large = min(self.weight.shape[:2]) >= _WIDE and len(x) * height * width >= _PIXELS_A_CHANNEL * self.in_channels
        plain = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return plain and large and height % _STEP == width % _STEP == 0


def _products(a, b):
    """(16, M, N), (16, L, N) -> a @ b.mT, (16, M, L).

    By oneDNN, as PyTorch computes linear layers in 16 bits: its float32 products are MKL's, which uses AVX-512 on Intel's
    processors only and so is half as fast on AMD's.
    """
    if _onednn_linear is None:
        return torch.bmm(a, b.mT)
    products = a.new_empty(len(a), a.shape[1], b.shape[1])
    for i in range(len(a)):
        products[i].copy_(_onednn_linear(a[i], b[i], None, "none", [], ""))
    return products


def _convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), (K, C, 3, 3), (K,) -> (N, K, H - 2, W - 2)."""
    products = _products(_kernels(weight), _tiles(x).mT)
    return _untiled(_OUTPUT_2D @ products.flatten(1), x).add_(bias[:, None, None])


def _gradients(gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of x and weight. Transformed tiles and weights are recomputed: they are large, and cheap to compute."""
    of_products = (_OUTPUT_2D.T @ _tiled(gradient)).view(_TILE**2, weight.shape[0], -1)
    of_tiles = _products(of_products.mT, _kernels(weight).mT)
    of_x = _gathered(_INPUT_2D.T @ of_tiles.flatten(1), x)
    del of_tiles
    of_kernels = _products(of_products, _tiles(x))
    return of_x, (_KERNEL_2D.T @ of_kernels.flatten(1)).T.reshape(weight.shape).contiguous()


class _Winograd(torch.autograd.Function):
    """The convolution with its own backward pass."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return *_gradients(gradient, *ctx.saved_tensors), gradient.sum((0, 2, 3))


def _kernels(weight):
    """(K, C, 3, 3) -> (16, K, C)."""
    return (_KERNEL_2D @ weight.reshape(-1, 9).T).view(_TILE**2, *weight.shape[:2])


def _places(x):
    """The views of x that hold the pixel (i, j) of every tile: ((i, j), (C, N, rows, columns)) each."""
    rows, columns = ((side - _TILE) // _STEP * _STEP + 1 for side in x.shape[-2:])
    for i in range(_TILE):
        for j in range(_TILE):
            yield (i, j), x[:, :, i:i + rows:_STEP, j:j + columns:_STEP].transpose(0, 1)


def _tiles(x):
    """(N, C, H, W) -> the transformed tiles, (16, C, N * tiles)."""
    n, c, height, width = x.shape
    tiles = x.new_empty(_TILE, _TILE, c, n, (height - 2) // _STEP, (width - 2) // _STEP)
    for place, pixels in _places(x):
        tiles[place].copy_(pixels)
    return (_INPUT_2D @ tiles.view(_TILE**2, -1)).view(_TILE**2, c, -1)


def _gathered(tiles, x):
    """The adjoint of cutting x into tiles: (16, N * tiles * C) -> the shape of x."""
    n, c, height, width = x.shape
    whole = x.new_zeros(n, height, width, c)
    for (i, j), pixels in _places(whole.permute(0, 3, 1, 2)):
        pixels.permute(1, 2, 3, 0).add_(tiles[i * _TILE + j].view(n, *pixels.shape[2:], c))
    return channels_first(whole)


def _untiled(blocks, x):
    """(4, K * N * tiles) -> (N, K, H - 2, W - 2)."""
    n, _, height, width = x.shape
    parts = blocks.view(_STEP, _STEP, -1, n, (height - 2) // _STEP, (width - 2) // _STEP)
    return parts.permute(3, 2, 4, 0, 5, 1).reshape(n, -1, height - 2, width - 2)


def _tiled(y):
    """The inverse of `_untiled`: (N, K, H, W) -> (4, K * N * tiles)."""
    n, k, height, width = y.shape
    parts = y.reshape(n, k, height // _STEP, _STEP, width // _STEP, _STEP)
    return parts.permute(3, 5, 1, 0, 2, 4).reshape(_STEP**2, -1)
