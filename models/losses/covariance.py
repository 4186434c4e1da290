"""The correlation of latents with what they are not meant to tell."""
from __future__ import annotations

import torch

_LEAST = 0.1  # standard deviation, so that what hardly varies in a batch does not outweigh all else


def cross_correlation(z: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """The sum over z (N, d) and attributes (N, A) of their squared correlations in a batch -> scalar; 0 for one row.

    XCov (Cheung et al. 2014, arXiv:1412.6583) of standardised variables: what chance adds, about d A / N, does not depend on
    the size of z, so that it pushes z neither towards 0 nor away from it.
    """
    z, attributes = (one - one.mean(0) for one in (z, attributes))
    z, attributes = (one / one.square().mean(0).add(1e-12).sqrt().clamp_min(_LEAST) for one in (z, attributes))
    return (z.T @ attributes / len(z)).square().sum()
