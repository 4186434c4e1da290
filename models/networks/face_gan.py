"""Generator and discriminator of faces, of residual blocks, as in SNGAN (Miyato et al. 2018, arXiv:1802.05957)."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from models.networks.seen_attributes import SeenAttributes

FIRST = 4  # pixels a side, where the generator begins and the discriminator ends


def widths(side: int, nf: int) -> list[int]:
    """Channels at each size from the picture's down to FIRST pixels: nf, 2 nf, 4 nf, and from there 8 nf."""
    return [nf * min(8, 2 ** i) for i in range((side // FIRST).bit_length())]


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and shift are linear in a vector (de Vries et al. 2017; of z too, Chen et al. 2019)."""

    def __init__(self, channels: int, vector: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = nn.Linear(vector, channels, bias=False), nn.Linear(vector, channels, bias=False)

    def forward(self, x, vector):
        """(N, channels, H, W), (N, vector) -> (N, channels, H, W)."""
        return self.norm(x) * (1 + self.scale(vector)[:, :, None, None]) + self.shift(vector)[:, :, None, None]


class UpBlock(nn.Module):
    """A residual block that doubles the sides."""

    def __init__(self, input_nc: int, output_nc: int, vector: int):
        super().__init__()
        self.norms = nn.ModuleList([ConditionalBatchNorm(input_nc, vector), ConditionalBatchNorm(output_nc, vector)])
        self.convs = nn.ModuleList([nn.Conv2d(input_nc, output_nc, 3, 1, 1, bias=False),
                                    nn.Conv2d(output_nc, output_nc, 3, 1, 1)])
        self.skip = nn.Conv2d(input_nc, output_nc, 1)

    def forward(self, x, vector):
        """(N, input_nc, H, W), (N, vector) -> (N, output_nc, 2 H, 2 W)."""
        y = F.interpolate(F.relu(self.norms[0](x, vector)), scale_factor=2)
        y = self.convs[1](F.relu(self.norms[1](self.convs[0](y), vector)))
        return y + F.interpolate(self.skip(x), scale_factor=2)  # a 1x1 convolution costs a quarter before the sides double

    def init_weights(self):
        """He et al. 2015, so that the signal keeps its size through many blocks; other modules as they say themselves."""
        for norm in self.norms:
            norm.norm.reset_parameters()
            for layer in (norm.scale, norm.shift):
                nn.init.normal_(layer.weight, 0, 0.1)
        _init_convolutions(self)


class DownBlock(nn.Module):
    """A residual block that halves the sides, or with down=False keeps them, with spectral norm. first: of a picture."""

    def __init__(self, input_nc: int, output_nc: int, down: bool = True, first: bool = False):
        super().__init__()
        self.down, self.first = down, first
        self.convs = nn.ModuleList([spectral_norm(nn.Conv2d(input_nc, output_nc, 3, 1, 1)),
                                    spectral_norm(nn.Conv2d(output_nc, output_nc, 3, 1, 1))])
        self.skip = spectral_norm(nn.Conv2d(input_nc, output_nc, 1)) if down or input_nc != output_nc else None

    def forward(self, x):
        """(N, input_nc, H, W) -> (N, output_nc, H / 2, W / 2)."""
        halved = (lambda x: F.avg_pool2d(x, 2)) if self.down else (lambda x: x)
        y = self.convs[1](F.relu(self.convs[0](x if self.first else F.relu(x))))
        return halved(y) + (x if self.skip is None else self.skip(halved(x)))

    def init_weights(self):
        """Orthogonal (as Brock et al. 2019): spectral norm leaves all directions their size then. It would shrink most of those
        of a Gaussian matrix, so that what a face changes in the last features is about a tenth of this."""
        for layer in self.convs if self.skip is None else [*self.convs, self.skip]:
            nn.init.orthogonal_(layer.parametrizations.weight.original)
            nn.init.zeros_(layer.bias)


class FaceGenerator(nn.Module):
    """z (N, z_dim) and attributes (N, A), 1 or 0, -> faces (N, C, S, S) in [-1, 1]."""

    def __init__(self, side: int, z_dim: int, attributes: int = 0, ngf: int = 32, image_nc: int = 3):
        """side: S, a power of 2 from 8 up. attributes: A of the condition, 0 for none."""
        super().__init__()
        channels = widths(side, ngf)[::-1]
        self.seen = SeenAttributes(attributes) if attributes else None
        self.embedding = nn.Linear(attributes, z_dim) if attributes else None
        vector = z_dim * (1 + bool(attributes))
        self.first = nn.Linear(vector, channels[0] * FIRST ** 2)
        self.blocks = nn.ModuleList(UpBlock(a, b, vector) for a, b in zip(channels, channels[1:]))
        self.last = nn.Sequential(nn.BatchNorm2d(channels[-1]), nn.ReLU(), nn.Conv2d(channels[-1], image_nc, 3, 1, 1),
                                  nn.Tanh())

    def forward(self, z, attributes=None):
        """See the class."""
        vector = z if self.embedding is None else torch.cat([z, self.embedding(attributes * 2 - 1)], 1)
        x = self.first(vector).view(len(z), -1, FIRST, FIRST)
        for block in self.blocks:
            x = block(x, vector)
        return self.last(x)


class FaceDiscriminator(nn.Module):
    """Faces (N, C, S, S) and attributes (N, A) -> logits (N,), of how real they look, and (N, A) of an auxiliary head or None.

    condition: how it takes the attributes. concat: as planes beside the picture (Mirza and Osindero 2014). projection: the
    product of their embedding with the last features (Miyato and Koyama 2018). auxiliary: not at all, but it tells them
    (Odena et al. 2017), each by a logit of its own.
    """

    def __init__(self, side: int, attributes: int = 0, condition: str = "none", ndf: int = 32, image_nc: int = 3):
        """side: S, a power of 2 from 8 up. attributes: A of the condition, 0 for none."""
        super().__init__()
        channels = widths(side, ndf)
        self.condition = condition
        planes = attributes if condition == "concat" else 0
        self.blocks = nn.Sequential(DownBlock(image_nc + planes, channels[0], first=True),
                                    *(DownBlock(a, b) for a, b in zip(channels[:-2], channels[1:-1])),
                                    DownBlock(channels[-2], channels[-1], down=False))
        self.real = spectral_norm(nn.Linear(channels[-1], 1))
        self.embedding = spectral_norm(nn.Linear(attributes, channels[-1], bias=False)) if condition == "projection" else None
        self.auxiliary = nn.Linear(channels[-1], attributes) if condition == "auxiliary" else None

    def forward(self, image, attributes=None):
        """See the class."""
        if self.condition == "concat":
            planes = (attributes * 2 - 1)[:, :, None, None].expand(-1, -1, *image.shape[2:])
            image = torch.cat([image, planes], 1)
        found = F.relu(self.blocks(image)).sum((2, 3))
        logits = self.real(found)[:, 0]
        if self.embedding is not None:
            logits = logits + (self.embedding(attributes * 2 - 1) * found).sum(1)
        return logits, None if self.auxiliary is None else self.auxiliary(found)


def _init_convolutions(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
