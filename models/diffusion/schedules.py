"""Noise schedules, and the samplers of `diffusers` over them."""
from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch

from util.errors import UserError

CLEAN = -1  # the level of a picture without noise
_KINDS = {"ddpm": ("scheduling_ddpm", "DDPMScheduler"), "ddim": ("scheduling_ddim", "DDIMScheduler"),
          "dpm": ("scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler")}
_SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
_LEAST_LAMBDA = -5.1  # half the log of the signal-to-noise ratio where sampling begins: the cosine schedule has no bound


@dataclass(frozen=True)
class Schedule:
    """How much noise there is at each timestep, and what the network predicts.

    timesteps: how many there are; 0 has the least noise. kind: linear (Ho et al. 2020, arXiv:2006.11239) or cosine (Nichol and
    Dhariwal 2021, arXiv:2102.09672). objective: 'eps', the noise, or 'v' (Salimans and Ho 2022, arXiv:2202.00512). learn_sigma:
    whether a second half of the network's channels tells the variance.
    """

    timesteps: int = 1000
    kind: str = "linear"
    objective: str = "eps"
    learn_sigma: bool = False

    def betas(self) -> torch.Tensor:
        """(timesteps,) float64: the variance of the noise that each step adds."""
        return self._made("ddpm", num_train_timesteps=self.timesteps, beta_schedule=_SCHEDULES[self.kind]).betas.double()

    def alphas_bar(self) -> torch.Tensor:
        """(timesteps,) float64: the picture's share of the variance at each timestep."""
        return (1 - self.betas()).cumprod(0)

    def spaced(self, steps: int) -> np.ndarray:
        """(steps,) timesteps, rising, at equal distances of the log of the signal-to-noise ratio.

        A step of a solver loses the same share of every scale of a picture then; equal distances in time lose what is fine.
        """
        bar = self.alphas_bar().numpy()
        log_snr = np.maximum(np.log(bar / (1 - bar)) / 2, _LEAST_LAMBDA)
        wanted, count = np.linspace(log_snr[0], log_snr[-1], steps), np.arange(steps)
        found = np.abs(log_snr - wanted[:, None]).argmin(1)
        found = np.maximum.accumulate(found - count) + count  # none twice
        return np.minimum(found, len(bar) - steps + count)

    def scheduler(self, sampler: str, timesteps: np.ndarray):
        """A scheduler of `diffusers` of these timesteps alone, rising, which it numbers 0 to n - 1.

        sampler: 'ddpm', 'ddim' or 'dpm' (DPM-Solver++). Raises UserError where the package is missing.
        """
        bar = self.alphas_bar().numpy()[timesteps]
        found = self._made(sampler, num_train_timesteps=len(timesteps), trained_betas=1 - bar / np.append(1, bar[:-1]))
        found.set_timesteps(len(timesteps))
        return found

    def _made(self, sampler: str, **settings):
        module, name = _KINDS[sampler]
        try:
            kind = getattr(import_module(f"diffusers.schedulers.{module}"), name)
        except ImportError as error:
            raise UserError(f"--model diffusion: needs the package diffusers, whose import says '{error}'; run pip install -r "
                            "requirements-diffusion.txt") from error
        # all clip the picture that a prediction stands for to [-1, 1]: what a short training gets wrong would add up
        more = {"ddpm": {"variance_type": "learned_range" if self.learn_sigma else "fixed_small"}, "ddim": {},
                "dpm": {"thresholding": True, "sample_max_value": 1.0}}[sampler]
        return kind(timestep_spacing="trailing", prediction_type={"eps": "epsilon", "v": "v_prediction"}[self.objective],
                    **settings, **more)


def noised(picture: torch.Tensor, level: int, noise: torch.Tensor, alphas_bar: torch.Tensor) -> torch.Tensor:
    """A picture with the noise of a timestep; itself at CLEAN."""
    if level == CLEAN:
        return picture
    share = float(alphas_bar[level])
    return share ** 0.5 * picture + (1 - share) ** 0.5 * noise
