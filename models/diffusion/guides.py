"""What corrects a picture after each step of sampling: a reference's low frequencies, or the parts of a photo that stay."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import avg_pool2d, interpolate

from models.diffusion.schedules import CLEAN, noised


def low_pass(x: torch.Tensor, factor: int, kind: str) -> torch.Tensor:
    """(N, C, H, W), down by a factor that divides its sides and up again; 'area', an exact projection, or 'bicubic'."""
    if kind == "area":
        return interpolate(avg_pool2d(x, factor), scale_factor=factor, mode="nearest")
    size = x.shape[2:]
    small = interpolate(x, (size[0] // factor, size[1] // factor), mode="bicubic", antialias=True)
    return interpolate(small, size, mode="bicubic", antialias=True)


def ilvr(reference: torch.Tensor, factor: int, alphas_bar: torch.Tensor, kind: str = "bicubic", least: int = 0) -> Callable:
    """ILVR (Choi et al. 2021, arXiv:2108.02938): the low frequencies of each step are those of a reference.

    reference: (N, C, H, W) in [-1, 1]. It is noised to the level of the picture that is corrected. least: steps from
    timesteps below it are left alone.
    """
    def after(x, t, level, noise):
        fresh = noise.draw(x.shape[1:]) if level != CLEAN else x
        if t < least:
            return x
        return x + low_pass(noised(reference, level, fresh, alphas_bar) - x, factor, kind)
    return after


def kept(photo: torch.Tensor, mask: torch.Tensor, alphas_bar: torch.Tensor) -> Callable:
    """Where a mask is 1, each step ends in the photo, noised to the same level (as in RePaint, Lugmayr et al. 2022).

    photo: (N, C, H, W) in [-1, 1]. mask: (N, 1, H, W), 0 or 1.
    """
    def after(x, t, level, noise):
        fresh = noise.draw(x.shape[1:]) if level != CLEAN else x
        return torch.where(mask > 0, noised(photo, level, fresh, alphas_bar), x)
    return after


def classes_mask(label: torch.Tensor, classes) -> torch.Tensor:
    """(N, 1, H, W) ids -> the same, 1 where the id is one of `classes`, else 0."""
    wanted = torch.as_tensor(sorted(classes), device=label.device)
    return torch.isin(label.long(), wanted).float()
