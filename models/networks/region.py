"""The region generator: told at every scale what each region is and what it is to look like."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

_SLOPE = 0.2  # of the leaky ReLUs
_NOISE = 256  # side in pixels of the noise pattern of inference
_NOISE_RATE = 8  # how many times as fast as others the weights learn that give a style its noise
_PIXEL = 1 / 12  # variance of a coordinate within a pixel, in pixels^2
_EPSILON = 1e-5


@dataclass(frozen=True)
class Guide:
    """What is known of each pixel at one scale.

    maps: (N, K, H, W), channels-last: regions (their share of the pixel), then all else: a picture's channels, edges, place,
    features where they differ within a region, noise. styles: (N, regions, feat_num), or None where the maps hold features.
    """

    maps: torch.Tensor
    styles: torch.Tensor | None


class RegionMap(nn.Module):
    """A linear map of a pixel's guide. Of each region's style and class it is computed once and painted: no convolution.

    regions, others: channels of the guide's maps. feat_num: length of the guide's styles, 0 if it has none.
    """

    def __init__(self, regions: int, others: int, feat_num: int, width: int, bias: float = 0.0):
        """bias: what the map gives at first, but for small random numbers."""
        super().__init__()
        self.regions, self.bias = regions, bias
        self.weight = nn.Parameter(torch.empty(regions + others, width))
        self.style_weight = nn.Parameter(torch.empty(feat_num, width)) if feat_num else None

    def reset_parameters(self):
        """Small random numbers, but 0 for noise; each pixel's shares of regions add up to 1, so these rows hold the bias."""
        nn.init.normal_(self.weight, 0.0, 0.1)
        with torch.no_grad():
            self.weight[:self.regions] += self.bias
            self.weight[-1] = 0
        if self.style_weight is not None:
            nn.init.normal_(self.style_weight, 0.0, 0.3)

    def forward(self, guide: Guide):
        """-> (N, width, H, W), channels-last."""
        n, k, height, width = guide.maps.shape
        pixels = guide.maps.permute(0, 2, 3, 1).reshape(n, height * width, k)
        rows = self.weight.expand(n, -1, -1)
        if self.style_weight is not None:
            rows = torch.cat([rows[:, :self.regions] + guide.styles @ self.style_weight, rows[:, self.regions:]], 1)
        return torch.bmm(pixels, rows.to(pixels.dtype)).view(n, height, width, -1).permute(0, 3, 1, 2)


class _InstanceNorm(torch.autograd.Function):
    """Instance norm that stays channels-last, where PyTorch's changes the layout, and its backward pass takes longer."""

    @staticmethod
    def forward(ctx, x):
        centred = x - x.mean((2, 3), keepdim=True)
        scale = torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + _EPSILON)
        y = centred.mul_(scale)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        y, scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        slope = (gradient * y).mean((2, 3), keepdim=True)
        return torch.addcmul(gradient - gradient.mean((2, 3), keepdim=True), y, slope, value=-1).mul_(scale)


def normalized(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) with mean 0 and variance 1 in each channel of each picture."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if x.device.type != "cpu" or traced or x.dtype == torch.float16:
        return F.instance_norm(x, eps=_EPSILON)
    return _InstanceNorm.apply(x)


class RegionNorm(nn.Module):
    """Instance norm, scaled and shifted by region: class-adaptive normalisation (Tan et al. 2021, arXiv:2012.04644).

    Region styles are those of SEAN (Zhu et al. 2020, arXiv:1911.12861). The shift also brings noise, edges and place.
    """

    def __init__(self, width: int, kinds: tuple[int, int, int]):
        super().__init__()
        self.scale, self.shift = RegionMap(*kinds, width, bias=1.0), RegionMap(*kinds, width)

    def forward(self, x, guide: Guide):
        """(N, width, H, W) -> the same shape."""
        return torch.addcmul(self.shift(guide), normalized(x), self.scale(guide))


class SpatialNorm(nn.Module):
    """Instance norm, scaled and shifted by convolutions over the guide: SPADE (Park et al. 2019, arXiv:1903.07291)."""

    def __init__(self, width: int, kinds: tuple[int, int, int]):
        super().__init__()
        self.shared = nn.Conv2d(sum(kinds), 2 * width, 3, padding=1)
        self.scale, self.shift = (nn.Conv2d(2 * width, width, 3, padding=1) for _ in range(2))

    def forward(self, x, guide: Guide):
        """(N, width, H, W) -> the same shape."""
        hidden = F.relu(self.shared(guide.maps))
        return torch.addcmul(self.shift(hidden), normalized(x), 1 + self.scale(hidden))


NORMS = {"region": RegionNorm, "spade": SpatialNorm}


class RegionBlock(nn.Module):
    """Doubles the size, if asked; then two 3x3 convolutions with their norms, and a shortcut."""

    checkpointed = False  # see models/networks/recompute.py

    def __init__(self, in_nc: int, out_nc: int, kinds: tuple[int, int, int], norm: type, up: bool):
        super().__init__()
        self.up = up
        self.shortcut = nn.Conv2d(in_nc, out_nc, 1) if in_nc != out_nc else nn.Identity()
        self.conv1, self.conv2 = nn.Conv2d(in_nc, out_nc, 3, padding=1), nn.Conv2d(out_nc, out_nc, 3, padding=1)
        self.norm1, self.norm2 = norm(out_nc, kinds), norm(out_nc, kinds)

    def forward(self, x, guide: Guide):
        """(N, in_nc, H, W) and the guide of the output's scale -> (N, out_nc, H, W), or twice that size."""
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(self._forward, x, guide.maps, guide.styles, use_reentrant=False)
        return self._forward(x, guide.maps, guide.styles)

    def _forward(self, x, maps, styles):
        guide, short = Guide(maps, styles), self.shortcut(x)
        if self.up:
            x, short = _doubled(x), _doubled(short)
        x = F.leaky_relu(self.norm1(self.conv1(x), guide), _SLOPE)
        return F.leaky_relu(self.norm2(self.conv2(x), guide) + short, _SLOPE)


class RegionGenerator(nn.Module):
    """From a small constant-free start to full size in n_up doublings, with no encoder for the label map.

    Its input is that of the other generators: one-hot classes (or a picture), an edge channel, painted features; also its
    guide at all scales. Noise with a learned strength for each channel varies texture, not layout. A region's style says how
    much of it there is at each scale, up to twice as much; the buffer `noise_strength`, 1 at first, scales it in each class.

    Args:
        input_nc: channels of the input. edge_nc: 1 if edges are among them, else 0. feat_nc: how many features, the last ones.
        one_hot: whether the first channels are one-hot classes; else they are a picture, which is a single region.
        of_classes: features are the same all over a class, so that they can be mapped once a class.
        ngf: channels at full size; they double with each halving, up to ngf_max, which is 4 times ngf if it is 0.
        norm_G: one of NORMS.
        texture: the number of the noise that inference draws with.
    """

    def __init__(self, input_nc: int, output_nc: int, ngf: int = 64, n_up: int = 5, edge_nc: int = 1, feat_nc: int = 0,
                 one_hot: bool = True, of_classes: bool = True, norm_G: str = "region",  # noqa: N803 - the flag's name
                 texture: int = 0, ngf_max: int = 0):
        super().__init__()
        self.n_up, self.edge_nc, self.feat_nc, self.one_hot = n_up, edge_nc, feat_nc, one_hot
        self.condition_nc = input_nc - edge_nc - feat_nc
        self.of_classes = of_classes and one_hot and feat_nc > 0 and norm_G == "region"
        painted = 0 if self.of_classes else feat_nc
        regions, others = (self.condition_nc, 0) if one_hot else (1, self.condition_nc)
        kinds = regions, others + edge_nc + 2 + painted + 1, feat_nc - painted
        widths = [min(ngf * 2 ** i, ngf_max or 4 * ngf) for i in range(n_up + 1)]
        self.start = RegionMap(*kinds, widths[-1])
        self.first = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.blocks = nn.ModuleList(RegionBlock(widths[min(i + 1, n_up)], widths[i], kinds, NORMS[norm_G], i < n_up)
                                    for i in reversed(range(n_up + 1)))
        self.last = nn.Conv2d(ngf, output_nc, 3, padding=1)
        self.colour = RegionMap(*kinds, output_nc)
        self.register_buffer("noise_strength", torch.empty(regions))
        self.noise_of_style = nn.Parameter(torch.empty(n_up + 1, regions, 1 + feat_nc)) if self.of_classes else None
        self.register_buffer("pattern", torch.empty(_NOISE, _NOISE), persistent=False)
        self.texture = texture

    def init_weights(self):
        """Convolutions as PyTorch starts them; the first features start as a region's colour; a fixed noise pattern."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, RegionMap)):
                module.reset_parameters()
        with torch.no_grad():
            self.colour.weight.zero_()
            of_style = self.colour.style_weight
            nn.init.eye_(self.colour.weight[-1 - self.feat_nc:-1] if of_style is None else of_style)
        self.noise_strength.fill_(1)
        if self.noise_of_style is not None:
            nn.init.zeros_(self.noise_of_style)
        self.pattern.copy_(torch.randn(self.pattern.shape, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        """(N, input_nc, H, W) -> float32 (N, output_nc, H, W) in [-1, 1]; H and W multiples of 2^n_up."""
        guides = self.guides(x)
        hidden = self.first(self.start(guides[-1]))
        for block, guide in zip(self.blocks, reversed(guides)):
            hidden = block(hidden, guide)
        colour = F.avg_pool2d(self.colour(guides[0]).float(), 3, 1, 1, count_include_pad=False)  # no jagged outlines
        return torch.tanh(self.last(hidden).float() + colour)

    def guides(self, x) -> list[Guide]:
        """The guide at each scale, finest first."""
        condition, edges, features = x.split([self.condition_nc, self.edge_nc, self.feat_nc], 1)
        regions = condition if self.one_hot else torch.ones_like(x[:, :1])
        with torch.autocast(x.device.type, enabled=False):
            place = place_in_regions(regions.float()).to(x.dtype)
            styles = _styles(regions.float(), features.float()) if self.of_classes else None
            strengths = self._noise_strengths(styles)
        parts = [regions, *([] if self.one_hot else [condition]), edges, place, *([] if self.of_classes else [features])]
        in_16_bits = torch.is_autocast_enabled(x.device.type)
        dtype = torch.get_autocast_dtype(x.device.type) if in_16_bits else x.dtype
        maps = torch.cat(parts, 1).to(dtype, memory_format=torch.channels_last)
        styles = None if styles is None else styles.to(x.dtype)
        found = []
        for level, strength in enumerate(strengths):
            maps = F.avg_pool2d(maps, 2) if level else maps
            n, _, height, width = maps.shape
            shares = maps[:, :regions.shape[1]].permute(0, 2, 3, 1).reshape(n, height * width, -1)
            strength = (shares @ strength.to(maps.dtype)).view(n, 1, height, width)
            found.append(Guide(torch.cat([maps, self._noise(maps, level) * strength], 1), styles))
        return found

    def _noise_strengths(self, styles) -> list[torch.Tensor]:
        """That of each region at each scale, finest first: (N or 1, regions, 1) each. styles: (N, regions, feat_num)."""
        strength = self.noise_strength[None, :, None]
        if styles is None:
            return [strength] * (self.n_up + 1)
        return [strength * 2 * torch.sigmoid(_NOISE_RATE * (of[:, 0] + (styles * of[:, 1:]).sum(2)))[:, :, None]
                for of in self.noise_of_style]

    def _noise(self, like, level: int):
        """(N or 1, 1, H, W): standard normal numbers, new ones while training, else those of a pattern."""
        n, _, height, width = like.shape
        if self.training:
            return torch.randn(n, 1, height, width, device=like.device, dtype=like.dtype)
        rows, columns = ((torch.arange(side, device=like.device) + shift) % _NOISE
                         for side, shift in ((height, 61 * level), (width, 97 * self.texture)))
        return self.pattern[rows][:, columns].to(like.dtype)[None, None]


def place_in_regions(regions: torch.Tensor) -> torch.Tensor:
    """Where in its region a pixel is: x and y less the region's mean, over its standard deviation.

    (N, R, H, W) float32, one-hot -> (N, 2, H, W).
    """
    n, count, height, width = regions.shape
    flat = regions.flatten(2)
    size = flat.sum(2, keepdim=True).clamp_min(1)
    x, y = (torch.arange(side, device=regions.device, dtype=regions.dtype) for side in (width, height))
    pixels = torch.stack([x.expand(height, width), y[:, None].expand(height, width)]).flatten(1).expand(n, -1, -1)
    centred = pixels - _mean(flat, pixels, size).transpose(1, 2) @ flat
    variance = _mean(flat, centred.square(), size).clamp_min(0)
    return (centred * (torch.rsqrt(variance + _PIXEL).transpose(1, 2) @ flat)).view(n, 2, height, width)


def _mean(regions, values, size):
    """(N, R, P) one-hot, (N, C, P) -> (N, R, C): each region's mean. size: (N, R, 1), its pixels."""
    return regions @ values.transpose(1, 2) / size


def _styles(regions, features):
    """(N, R, H, W) one-hot, (N, C, H, W) features that are the same all over a region -> (N, R, C)."""
    flat = regions.flatten(2)
    return _mean(flat, features.flatten(2), flat.sum(2, keepdim=True).clamp_min(1))


def _doubled(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
