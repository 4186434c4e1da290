"""The losses of a diffusion model: what the network predicts of a noised picture, and its variance."""
from __future__ import annotations

import math
from collections.abc import Callable

import torch

_HYBRID = 0.001  # weight of the variational bound, summed over the timesteps


class DiffusionLoss:
    """MSE of noise or velocity; with learn_sigma also the variational bound (Nichol and Dhariwal 2021, arXiv:2102.09672).

    betas: (T,) of the schedule. objective: 'eps' or 'v'. snr_gamma: of min-SNR weighting (Hang et al. 2023, arXiv:2303.09556);
    0: each timestep weighs the same.
    """

    def __init__(self, betas: torch.Tensor, objective: str = "eps", learn_sigma: bool = False, snr_gamma: float = 0.0):
        bar = (1 - betas).cumprod(0)
        before = torch.cat([torch.ones_like(bar[:1]), bar[:-1]])
        posterior = betas * (1 - before) / (1 - bar)
        self.objective, self.learn_sigma, self.snr_gamma = objective, learn_sigma, snr_gamma
        self._bar, self._log_beta = bar, betas.log()
        self._log_posterior = torch.cat([posterior[1:2], posterior[1:]]).log()  # the first is 0
        self._of_picture = betas * before.sqrt() / (1 - bar)  # the posterior's mean, in terms of the picture
        self._of_noised = (1 - before) * (1 - betas).sqrt() / (1 - bar)  # and of the noised picture

    def __call__(self, predict: Callable, picture: torch.Tensor, t: torch.Tensor,
                 noise: torch.Tensor) -> tuple[dict, torch.Tensor]:
        """
        Args:
            predict: predict(noised, t) -> (N, C or with learn_sigma 2 C, H, W).
            picture, noise: (N, C, H, W). t: (N,) timesteps.

        Returns:
            {'MSE': scalar, 'VLB': scalar, already weighted}, and the picture that the prediction stands for, detached.
        """
        a, s = self._at(self._bar.sqrt(), t), self._at((1 - self._bar).sqrt(), t)
        x = a * picture + s * noise
        output = predict(x, t)
        predicted, fraction = output.chunk(2, 1) if self.learn_sigma else (output, None)
        target = noise if self.objective == "eps" else a * noise - s * picture
        terms = {"MSE": ((predicted - target).square().mean((1, 2, 3)) * self._weight(t)).mean()}
        fixed = predicted.detach()
        seen = (x - s * fixed) / a if self.objective == "eps" else a * x - s * fixed
        if fraction is not None:
            terms["VLB"] = self._bound(fraction, seen, picture, x, t).mean() * (_HYBRID * len(self._bar))
        return terms, seen

    def _at(self, values: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """(T,) values at (N,) timesteps: (N, 1, 1, 1) float32 on their device."""
        return values.float().to(t.device)[t][:, None, None, None]

    def _weight(self, t) -> torch.Tensor:
        if not self.snr_gamma:
            return torch.ones((), device=t.device)
        snr = self._at(self._bar / (1 - self._bar), t).flatten()
        return snr.clamp(max=self.snr_gamma) / (snr if self.objective == "eps" else snr + 1)

    def _bound(self, fraction, seen, picture, x, t) -> torch.Tensor:
        """(N,) bits a dimension that step t adds to the bound. The mean is given, so that it teaches the variance alone."""
        share = (fraction + 1) / 2
        log_variance = share * self._at(self._log_beta, t) + (1 - share) * self._at(self._log_posterior, t)
        true_log_variance = self._at(self._log_posterior, t)
        of_picture, of_noised = self._at(self._of_picture, t), self._at(self._of_noised, t)
        mean, true_mean = of_picture * seen + of_noised * x, of_picture * picture + of_noised * x
        kl = 0.5 * (log_variance - true_log_variance - 1 + (true_log_variance - log_variance).exp()
                    + (true_mean - mean).square() * (-log_variance).exp())
        nats = torch.where(t[:, None, None, None] == 0, -_discrete_log_likelihood(picture, mean, log_variance / 2), kl)
        return nats.mean((1, 2, 3)) / math.log(2)


def _discrete_log_likelihood(picture, mean, log_deviation) -> torch.Tensor:
    """The log of a Gaussian's mass on the 256 values of a pixel, those at the ends with all beyond them."""
    def below(edge):
        return torch.special.ndtr((edge - mean) * (-log_deviation).exp())
    half = 1 / 255
    upper = torch.where(picture > 0.999, torch.ones_like(mean), below(picture + half))
    lower = torch.where(picture < -0.999, torch.zeros_like(mean), below(picture - half))
    return (upper - lower).clamp(min=1e-12).log()
