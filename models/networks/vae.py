"""A convolutional autoencoder of faces, variational or not, on a condition or not."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from models.networks.seen_attributes import SeenAttributes

WIDTHS = (32, 64, 128, 256, 512)  # channels of the encoder's layers; further layers keep the last


def sides(side: int) -> list[int]:
    """The picture's side, and what each layer of the encoder halves it to: down to 2, or with six layers or more to 4."""
    found = [side]
    while found[-1] > 4 or found[-1] > 2 and len(found) <= len(WIDTHS):
        found.append(-(-found[-1] // 2))
    return found


class VAE(nn.Module):
    """Encoder and decoder: a face (N, C, S, S) in [-1, 1] through z (N, z_dim) and back.

    Kingma and Welling 2014, arXiv:1312.6114; on a condition, Sohn, Lee and Yan 2015. Attributes (N, A), 1 or 0, enter the
    encoder as a plane that a linear layer draws, and the decoder beside z.
    """

    def __init__(self, side: int, z_dim: int = 128, attributes: int = 0, variational: bool = True, image_nc: int = 3):
        """side: S. attributes: A of the condition, 0 for none. variational: whether the encoder gives a Gaussian."""
        super().__init__()
        self.halved = sides(side)
        widths = [image_nc + bool(attributes), *(WIDTHS[min(i, len(WIDTHS) - 1)] for i in range(len(self.halved) - 1))]
        self.narrow = widths[-1], self.halved[-1], self.halved[-1]
        flat = widths[-1] * self.halved[-1] ** 2
        self.seen = SeenAttributes(attributes) if attributes else None
        self.plane = nn.Linear(attributes, side * side) if attributes else None
        self.encoder = nn.Sequential(*(self._down(a, b) for a, b in zip(widths, widths[1:])))
        self.mu = nn.Linear(flat, z_dim)
        self.log_variance = nn.Linear(flat, z_dim) if variational else None
        self.wide = nn.Linear(z_dim + attributes, flat)
        outputs = [*widths[-2:0:-1], widths[1]]
        self.decoder = nn.ModuleList(self._up(a, b, larger) for a, b, larger in
                                     zip([widths[-1], *outputs], outputs, self.halved[-2::-1]))
        self.last = nn.Conv2d(widths[1], image_nc, 3, 1, 1)

    @staticmethod
    def _down(input_nc, output_nc):
        return nn.Sequential(nn.Conv2d(input_nc, output_nc, 3, 2, 1, bias=False), nn.BatchNorm2d(output_nc), nn.LeakyReLU(0.01))

    @staticmethod
    def _up(input_nc, output_nc, side):
        """Twice the sides, less one where `side`, what it becomes, is odd."""
        return nn.Sequential(nn.ConvTranspose2d(input_nc, output_nc, 3, 2, 1, output_padding=1 - side % 2, bias=False),
                             nn.BatchNorm2d(output_nc), nn.LeakyReLU(0.01))

    def encode(self, image: torch.Tensor, attributes: torch.Tensor | None = None):
        """-> (mu, log_variance), each (N, z_dim); the latter None for a plain autoencoder, whose z is mu."""
        if self.plane is not None:
            image = torch.cat([image, self.plane(attributes).view(-1, 1, *image.shape[2:])], 1)
        found = self.encoder(image).flatten(1)
        return self.mu(found), None if self.log_variance is None else self.log_variance(found)

    def decode(self, z: torch.Tensor, attributes: torch.Tensor | None = None) -> torch.Tensor:
        """(N, z_dim), (N, A) -> (N, C, S, S) in [-1, 1]."""
        x = self.wide(z if self.plane is None else torch.cat([z, attributes], 1)).view(-1, *self.narrow)
        for layer in self.decoder:
            x = layer(x)
        return torch.tanh(self.last(x))

    def forward(self, image, attributes=None, noise=None, exchanged=None):
        """(the face drawn again, mu, log_variance). noise: (N, z_dim) from N(0, I) to sample z with.

        exchanged: bool (N,), which are drawn of another face's z, so that only their attributes tell what to draw.
        """
        mu, log_variance = self.encode(image, attributes)
        z = mu if log_variance is None else mu + (0.5 * log_variance).exp() * noise
        if exchanged is not None:
            z = torch.where(exchanged[:, None], z.detach().roll(1, 0), z)
        return self.decode(z, attributes), mu, log_variance


def reconstruction(drawn: torch.Tensor, true: torch.Tensor, kind: str) -> torch.Tensor:
    """The squared ('mse') or absolute ('l1') error summed over a picture, the mean over pictures: a scalar."""
    error = F.mse_loss if kind == "mse" else F.l1_loss
    return error(drawn.float(), true, reduction="sum") / len(true)
