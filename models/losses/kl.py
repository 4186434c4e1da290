"""KL divergence of the encoder's Gaussians from N(0, I)."""
from __future__ import annotations

import torch
from torch import nn


def kl_divergence(mu: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL(N(mu, e^l) || N(0, 1)) of each dimension: (mu^2 + e^l - 1 - l) / 2, of the inputs' shape, in nats.

    Kingma and Welling 2014, appendix B. It is 0 at mu = l = 0 and positive elsewhere.
    """
    return 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance)


def reparameterize(mu: torch.Tensor, log_variance: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """z = mu + e^(l/2) * noise: a differentiable sample (Kingma and Welling 2014, section 2.4). All of one shape."""
    return mu + (0.5 * log_variance).exp() * noise


class KLLoss(nn.Module):
    """The KL divergence summed over regions and dimensions, averaged over pictures, unweighted.

    free_bits: the least loss of a dimension of a region, in nats; below it there is no gradient, which prevents posterior
        collapse (Kingma et al. 2016, section 4).
    """

    def __init__(self, free_bits: float = 0.0):
        super().__init__()
        self.free_bits = free_bits

    def forward(self, mu: torch.Tensor, log_variance: torch.Tensor, pictures: int) -> torch.Tensor:
        """mu, log_variance: (R, d) of the regions of `pictures` pictures -> scalar, sum_rk max(KL_rk, free_bits) / pictures."""
        return kl_divergence(mu, log_variance).clamp_min(self.free_bits).sum() / pictures
