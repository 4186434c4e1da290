"""The covariance of latents with what they are not meant to tell."""
from __future__ import annotations

import torch

_LEAST = 0.05  # standard deviation of an attribute, so that one that is rare in a batch does not outweigh the others


def cross_covariance(z: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """The sum of squared covariances of z (N, d) with standardised attributes (N, A) -> scalar; 0 for fewer than four rows.

    XCov, Cheung et al. 2014, arXiv:1412.6583. The square is estimated without bias, as the product of two halves of the batch:
    of independent z and attributes its mean is 0 at any batch size, so that it does not push z towards 0.
    """
    if len(z) < 4:
        return z.sum() * 0
    deviation = attributes.std(0, correction=0).clamp_min(_LEAST)
    halves = [(one - one.mean(0)).T @ (other - other.mean(0)) / deviation / (len(one) - 1)
              for one, other in zip(z.tensor_split(2), attributes.tensor_split(2))]
    return (halves[0] * halves[1]).sum()
