"""Adversarial losses of a discriminator with one logit a picture."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

MODES = ("lsgan", "vanilla", "hinge", "wgangp")


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor, mode: str) -> dict[str, torch.Tensor]:
    """Logits of real and drawn pictures -> {'D_real': scalar, 'D_fake': scalar}.

    lsgan: Mao et al. 2017, towards 1 and 0. vanilla: Goodfellow et al. 2014, cross-entropy. hinge: Lim and Ye 2017. wgangp: the
    Wasserstein distance (Arjovsky et al. 2017), to which `wasserstein_penalty` belongs.
    """
    terms = {"lsgan": lambda: ((real - 1).square(), fake.square()), "vanilla": lambda: (F.softplus(-real), F.softplus(fake)),
             "hinge": lambda: (F.relu(1 - real), F.relu(1 + fake)), "wgangp": lambda: (-real, fake)}[mode]()
    return dict(zip(("D_real", "D_fake"), (term.mean() for term in terms)))


def generator_loss(fake: torch.Tensor, mode: str) -> torch.Tensor:
    """Logits of drawn pictures -> scalar; vanilla is the one that does not saturate."""
    return {"lsgan": lambda: (fake - 1).square(), "vanilla": lambda: F.softplus(-fake)}.get(mode, lambda: -fake)().mean()


def mode_seeking_loss(first: torch.Tensor, second: torch.Tensor, z_first: torch.Tensor, z_second: torch.Tensor) -> torch.Tensor:
    """Pairs of faces (N, C, H, W) on the same condition, of z (N, z_dim) each -> scalar: how far apart the z of a pair are, in
    multiples of how far apart its faces are (Mao et al. 2019, arXiv:1903.05628); 0 without a pair."""
    if not len(first):
        return first.new_zeros(())
    faces, codes = ((a - b).abs().flatten(1).mean(1) for a, b in ((first, second), (z_first, z_second)))
    return 1 / ((faces / codes).mean() + 1e-5)


def wasserstein_penalty(critic: Callable[[torch.Tensor], torch.Tensor], real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """E[(||grad D|| - 1)^2] between real and drawn pictures (Gulrajani et al. 2017, arXiv:1704.00028) -> scalar."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (real * share + fake.detach() * (1 - share)).requires_grad_()
    gradient, = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
