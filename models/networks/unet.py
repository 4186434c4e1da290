"""The UNet of ADM (Dhariwal and Nichol 2021, arXiv:2105.05233), with the parameter names of its public weights."""
from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

_SMALL = 0.01  # initial scale of the last layer of each branch: almost the identity, and yet every layer learns from the start


class UNet(nn.Module):
    """What is to be predicted of a noised picture at a timestep, given attributes or label planes, or nothing.

    Levels of halved size; in each, residual blocks, and attention where asked for. Sizes are halved and doubled inside residual
    blocks. Without a condition, the layers are those of ADM with `resblock_updown` and `use_scale_shift_norm`.
    """

    def __init__(
        self,
        picture_nc: int = 3,  # channels of the picture
        out_nc: int = 3,  # channels of the output
        channels: int = 128,  # of the first level
        mult: tuple[int, ...] = (1, 1, 2, 2, 4, 4),  # channels of each level, in multiples of these
        blocks: int = 1,  # residual blocks in each level
        attention: tuple[int, ...] = (16,),  # attention where the size is a 16th
        head: int = 64,  # channels of a head
        dropout: float = 0.0,
        attributes: int = 0,  # length of the attributes' vector
        label_nc: int = 0,  # channels of the label planes
    ):
        super().__init__()
        self.channels, embedding = channels, 4 * channels
        self.checkpointed = False  # see models/networks/recompute.py
        self.time_embed = nn.Sequential(nn.Linear(channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.attribute_embed = nn.Linear(attributes, embedding) if attributes else None

        def block(in_nc, width, resize=None):
            return ResidualBlock(in_nc, width, embedding, dropout, label_nc, resize)

        def level(in_nc, width, factor):
            return [block(in_nc, width), *([Attention(width, head)] if factor in attention else [])]

        width, skips = channels * mult[0], [channels * mult[0]]
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(picture_nc, width, 3, padding=1))])
        for i, times in enumerate(mult):
            for _ in range(blocks):
                self.input_blocks.append(Stage(*level(width, channels * times, 2 ** i)))
                width = channels * times
                skips.append(width)
            if i + 1 < len(mult):
                self.input_blocks.append(Stage(block(width, width, halved)))
                skips.append(width)
        self.middle_block = Stage(block(width, width), Attention(width, head), block(width, width))
        self.output_blocks = nn.ModuleList()
        for i, times in reversed(list(enumerate(mult))):
            for j in range(blocks + 1):
                layers = level(width + skips.pop(), channels * times, 2 ** i)
                width = channels * times
                if i and j == blocks:
                    layers.append(block(width, width, doubled))
                self.output_blocks.append(Stage(*layers))
        self.out = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, out_nc, 3, padding=1))

    @torch.no_grad()
    def init_weights(self):
        """PyTorch's own initial weights, but for the last layer of each branch, which is nearly zero."""
        for module in self.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        last = [self.out[-1]]
        last += [module.out_layers[-1] for module in self.modules() if isinstance(module, ResidualBlock)]
        last += [module.proj_out for module in self.modules() if isinstance(module, Attention)]
        for layer in last:
            layer.weight.mul_(_SMALL)
            layer.bias.zero_()

    def forward(self, x, t, attributes=None, label=None):
        """
        Args:
            x: (N, picture_nc, H, W), sides multiples of 2 to the power of levels less one.
            t: (N,) timesteps.
            attributes: (N, A), 0 where nothing is known.
            label: (N, label_nc, H, W), 0 where nothing is known.

        Returns:
            (N, out_nc, H, W).
        """
        embedding = self.time_embed(timestep_embedding(t, self.channels))
        if attributes is not None:
            embedding = embedding + self.attribute_embed(attributes)
        label, skips = LabelPyramid(label), []
        for stage in self.input_blocks:
            x = self._run(stage, x, embedding, label)
            skips.append(x)
        x = self._run(self.middle_block, x, embedding, label)
        for stage in self.output_blocks:
            x = self._run(stage, torch.cat([x, skips.pop()], 1), embedding, label)
        return self.out(x)

    def _run(self, stage, x, embedding, label):
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(stage, x, embedding, label, use_reentrant=False)
        return stage(x, embedding, label)


class Stage(nn.Sequential):
    """Layers of one size; residual blocks get timestep and condition."""

    def forward(self, x, embedding, label):
        """(N, C, H, W), (N, E) and a LabelPyramid -> (N, C', H', W')."""
        for layer in self:
            x = layer(x, embedding, label) if isinstance(layer, ResidualBlock) else layer(x)
        return x


class ResidualBlock(nn.Module):
    """Norm, convolution, norm with scale and shift from timestep and condition, convolution; added to the input."""

    def __init__(self, in_nc: int, out_nc: int, embedding: int, dropout: float, label_nc: int, resize=None):
        """resize: `halved`, `doubled` or None."""
        super().__init__()
        self.resize = resize or (lambda x: x)
        self.in_layers = nn.Sequential(norm(in_nc), nn.SiLU(), nn.Conv2d(in_nc, out_nc, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * out_nc))
        self.out_layers = nn.Sequential(norm(out_nc), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(out_nc, out_nc, 3, padding=1))
        self.skip_connection = nn.Conv2d(in_nc, out_nc, 1) if in_nc != out_nc else nn.Identity()
        self.label_layers = None
        if label_nc:  # SPADE's (Park et al. 2019), as in semantic diffusion (Wang et al. 2022)
            hidden = max(16, out_nc // 2)
            self.label_layers = nn.Sequential(nn.Conv2d(label_nc, hidden, 3, padding=1), nn.SiLU(),
                                              nn.Conv2d(hidden, 2 * out_nc, 3, padding=1))

    def forward(self, x, embedding, label):
        """(N, in_nc, H, W), (N, E) and a LabelPyramid -> (N, out_nc, H', W')."""
        h = self.in_layers[2](self.resize(self.in_layers[1](self.in_layers[0](x))))
        scale, shift = self.emb_layers(embedding)[..., None, None].chunk(2, 1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        if self.label_layers is not None:
            scale, shift = self.label_layers(label.at(h)).chunk(2, 1)
            h = h * (1 + scale) + shift
        return self.skip_connection(self.resize(x)) + self.out_layers[1:](h)


class Attention(nn.Module):
    """Self-attention over all places, added to its input."""

    def __init__(self, width: int, head: int):
        super().__init__()
        self.heads = heads_of(width, head)
        self.norm, self.qkv, self.proj_out = norm(width), nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x):
        """(N, C, H, W) -> the same shape."""
        n, c, height, width = x.shape
        flat = x.reshape(n, c, height * width)
        # each head has its query, key and value next to each other
        q, k, v = self.qkv(self.norm(flat)).view(n, self.heads, 3, c // self.heads, -1).transpose(-1, -2).unbind(2)
        found = scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(n, c, -1)
        return x + self.proj_out(found).view(n, c, height, width)


class LabelPyramid:
    """Label planes at every size that is asked for: of a smaller one, the share of each class."""

    def __init__(self, label: torch.Tensor | None):
        """label: (N, C, H, W), or None."""
        self._sizes = {} if label is None else {label.shape[2:]: label}
        self._label = label

    def at(self, x: torch.Tensor) -> torch.Tensor:
        """The planes at the size of x."""
        size = x.shape[2:]
        if size not in self._sizes:
            self._sizes[size] = adaptive_avg_pool2d(self._label, size)
        return self._sizes[size]


def heads_of(width: int, head: int) -> int:
    """How many heads of `head` channels attention over `width` channels has; one where they are fewer."""
    return max(1, width // head)


def norm(width: int) -> nn.GroupNorm:
    """Group norm of 32 groups, or as many as there can be."""
    return nn.GroupNorm(math.gcd(32, width), width)


def halved(x: torch.Tensor) -> torch.Tensor:
    """Half the size, by the mean of four."""
    return avg_pool2d(x, 2)


def doubled(x: torch.Tensor) -> torch.Tensor:
    """Twice the size, by the nearest."""
    return interpolate(x, scale_factor=2, mode="nearest")


def timestep_embedding(t: torch.Tensor, width: int) -> torch.Tensor:
    """(N,) timesteps -> (N, width): cosines, then sines, of frequencies from 1 down to 1/10,000."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, dtype=torch.float32, device=t.device))
    angles = t.float()[:, None] * frequencies
    return nn.functional.pad(torch.cat([angles.cos(), angles.sin()], 1), (0, width % 2))
