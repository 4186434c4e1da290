"""The sampling loop, with the noise of each picture by its own number, and what may correct a picture after each step."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from models.diffusion.schedules import CLEAN, Schedule


class PictureNoise:
    """Normal noise for a batch, in which each picture's follows from the seed and its own number alone.

    generators: one for each picture, on the CPU, so that every device draws the same.
    """

    def __init__(self, seed: int, numbers, look: int, device):
        """numbers: (N,) the pictures' numbers. look: which of several drawings of each."""
        self.device = device
        self.generators = [torch.Generator().manual_seed(_mixed(seed, int(number), look)) for number in numbers]

    def draw(self, shape) -> torch.Tensor:
        """(N, *shape) on the device."""
        return torch.stack([torch.randn(tuple(shape), generator=one) for one in self.generators]).to(self.device)


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Sampler:
    """A way from noise to a picture.

    kind: 'ddpm' (Ho et al. 2020), 'ddim' (Song et al. 2021, arXiv:2010.02502) or 'dpm' (DPM-Solver++, Lu et al. 2022,
    arXiv:2211.01095). steps: of these, at most the schedule's timesteps. eta: of DDIM, the share of DDPM's noise.
    timesteps: where the steps begin, from the most noise on. levels: where they end, CLEAN after the last.
    """

    def __init__(self, schedule: Schedule, kind: str, steps: int, eta: float = 0.0):
        self.schedule, self.kind, self.eta = schedule, kind, eta
        self.alphas_bar = schedule.alphas_bar()
        self._spaced = schedule.spaced(steps)
        self.timesteps = self._spaced[::-1].tolist()
        self.levels = [*self.timesteps[1:], CLEAN]
        schedule.scheduler(kind, self._spaced)  # whether the package is there

    def first_of(self, strength: float) -> int:
        """The step to begin with for a picture that is noised to a share of the timesteps, in (0, 1]; 0 is the first one."""
        beyond = sum(t >= strength * self.schedule.timesteps for t in self.timesteps)
        return min(beyond, len(self.timesteps) - 1)

    @torch.no_grad()
    def run(self, predict: Callable, x: torch.Tensor, noise: PictureNoise, first: int = 0,
            after: Callable | None = None, on_step: Callable | None = None) -> torch.Tensor:
        """Denoise.

        Args:
            predict: predict(x, t) -> the network's output for pictures (N, C, H, W) at timestep t.
            x: (N, C, H, W), noised to the timestep of step `first`.
            after: after(x, t, level, noise) -> x corrected after the step from timestep t; level: the timestep whose noise it
                has now, or CLEAN.
            on_step: on_step(done, steps, x) after each step.

        Returns:
            (N, C, H, W) float32, not clipped.
        """
        scheduler, count = self.schedule.scheduler(self.kind, self._spaced), len(self.timesteps) - first
        if self.kind == "dpm":
            scheduler.set_begin_index(first)
        more = {"eta": self.eta, "use_clipped_model_output": True} if self.kind == "ddim" else {}
        for i in range(first, len(self.timesteps)):
            t = self.timesteps[i]
            output = predict(x, t)
            if self.kind != "ddpm":
                output = output[:, :x.shape[1]]  # these have no use for a variance
            x = scheduler.step(output, len(self.timesteps) - 1 - i, x, generator=noise.generators, return_dict=False, **more)[0]
            if after is not None:
                x = after(x, t, self.levels[i], noise)
            if on_step is not None:
                on_step(i + 1 - first, count, x)
        return x


def with_guidance(predict: Callable, guidance: float) -> Callable:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598).

    predict(x, t, known) -> the network's output with the condition where `known` (N,) is 1, and without where it is 0.
    guidance: 1 is the condition as it is; more goes beyond it, away from the prediction without it.
    """
    def guided(x, t):
        there = x.new_ones(len(x))
        if guidance == 1:
            return predict(x, t, there)
        with_it, without = predict(torch.cat([x, x]), t, torch.cat([there, 0 * there])).chunk(2)
        channels = x.shape[1]
        towards = without[:, :channels] + guidance * (with_it[:, :channels] - without[:, :channels])
        return torch.cat([towards, with_it[:, channels:]], 1)
    return guided
