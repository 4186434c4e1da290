"""SimSwap's generator (Chen et al. 2020, arXiv:2106.06340), under the names of its published parameters."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from models.networks.bisenet import _DEVIATION, _MEAN, imagenet_colors
from models.networks.identity import EMBEDDING

RANGES = ("imagenet", "tanh")


class InstanceNorm(nn.Module):
    """Instance norm without parameters, of the published epsilon."""

    def forward(self, x):
        """(N, C, H, W) -> the same shape."""
        x = x - x.mean((2, 3), keepdim=True)
        return x * torch.rsqrt(x.square().mean((2, 3), keepdim=True) + 1e-8)


class ApplyStyle(nn.Module):
    """Scale and shift of channels by a linear map of a vector (AdaIN, Huang and Belongie 2017)."""

    def __init__(self, latent: int, width: int):
        super().__init__()
        self.linear = nn.Linear(latent, 2 * width)

    def forward(self, x, latent):
        """(N, C, H, W), (N, latent) -> (N, C, H, W)."""
        scale, shift = self.linear(latent)[:, :, None, None].chunk(2, 1)
        return x * (1 + scale) + shift


class AdaINBlock(nn.Module):
    """A residual block whose norms take the identity."""

    def __init__(self, width: int, latent: int):
        super().__init__()
        self.conv1 = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), InstanceNorm())
        self.style1 = ApplyStyle(latent, width)
        self.conv2 = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), InstanceNorm())
        self.style2 = ApplyStyle(latent, width)

    def forward(self, x, latent):
        """(N, C, H, W), (N, latent) -> (N, C, H, W)."""
        y = F.relu(self.style1(self.conv1(x), latent))
        return x + self.style2(self.conv2(y), latent)


class SimSwapGenerator(nn.Module):
    """A target's face and a source's identity to the target with that identity."""

    def __init__(self, ngf: int = 64, n_blocks: int = 9, output_range: str = "imagenet", z_nc: int = 0,
                 n_downsample: int = 3):
        """
        Args:
            n_downsample: halvings before the residual blocks; 3 in the published network, which is for 224 pixels.
            output_range: 'imagenet', a linear last layer for colours normalised by ImageNet's mean and deviation, in and out;
                or 'tanh', colours in [0, 1] in, and a tanh last.
            z_nc: channels of a Gaussian bottleneck; 0 is the published network.
        """
        super().__init__()
        self.output_range, self.z_nc, self.n_downsample = output_range, z_nc, n_downsample
        self.first_layer = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, ngf, 7), nn.BatchNorm2d(ngf), nn.ReLU())
        widths = [ngf * 2 ** i for i in range(n_downsample + 1)]
        for i in range(1, n_downsample + 1):
            setattr(self, f"down{i}", nn.Sequential(nn.Conv2d(widths[i - 1], widths[i], 3, 2, 1), nn.BatchNorm2d(widths[i]),
                                                    nn.ReLU()))
        self.BottleNeck = nn.ModuleList(AdaINBlock(widths[-1], EMBEDDING) for _ in range(n_blocks))
        for i in range(n_downsample, 0, -1):
            setattr(self, f"up{i}", nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                                                  nn.Conv2d(widths[i], widths[i - 1], 3, 1, 1), nn.BatchNorm2d(widths[i - 1]),
                                                  nn.ReLU()))
        self.last_layer = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(ngf, 3, 7))
        if z_nc:
            self.to_gaussian, self.from_z = nn.Conv2d(widths[-1], 2 * z_nc, 1), nn.Conv2d(z_nc, widths[-1], 1)

    def raw(self, target, identity, noise=None):
        """(N, 3, H, W) in [-1, 1], (N, 512) -> the last convolution's output, and the bottleneck's mean and log-variance.

        noise: (N, z_nc, h, w) of the bottleneck's size from N(0, 1), for a sample of a Gaussian bottleneck; None: its mean.
        """
        x = imagenet_colors(target) if self.output_range == "imagenet" else target / 2 + 0.5
        x = self.first_layer(x)
        for i in range(1, self.n_downsample + 1):
            x = self.get_submodule(f"down{i}")(x)
        mu = log_variance = None
        if self.z_nc:
            mu, log_variance = self.to_gaussian(x).float().chunk(2, 1)
            log_variance = log_variance.clamp(-20, 10)
            z = mu if noise is None else mu + (0.5 * log_variance).exp() * noise
            x = self.from_z(z.to(x.dtype))
        for block in self.BottleNeck:
            x = block(x, identity)
        for i in range(self.n_downsample, 0, -1):
            x = self.get_submodule(f"up{i}")(x)
        return self.last_layer(x), mu, log_variance

    def forward(self, target, identity, noise=None):
        """As `raw`, the first of the three as a float32 picture (N, 3, H, W), about in [-1, 1]."""
        raw, mu, log_variance = self.raw(target, identity, noise)
        return as_picture(raw.float(), self.output_range), mu, log_variance


def as_picture(raw: torch.Tensor, output_range: str) -> torch.Tensor:
    """The last convolution's output as colours in [-1, 1], beyond which 'imagenet' may go."""
    if output_range == "tanh":
        return raw.tanh()
    mean, deviation = (raw.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
    return (raw * deviation + mean) * 2 - 1


def describe(state: dict) -> dict:
    """{flag: value} of a generator's state dict."""
    first = state.get("first_layer.1.weight")
    if first is None:
        return {}
    blocks = {key.split(".")[1] for key in state if key.startswith("BottleNeck.")}
    halvings = {key.split(".")[0] for key in state if key.startswith("down")}
    z = state.get("from_z.weight")
    latent = {"latent": "none"} if z is None else {"latent": "gaussian", "z_nc": z.shape[1]}
    return {"ngf": len(first), "n_downsample_global": len(halvings), "n_blocks_global": len(blocks), **latent}
