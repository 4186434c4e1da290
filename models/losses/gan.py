"""The adversarial loss over all scales."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

MODES = ("lsgan", "bce", "hinge", "relativistic")


class GANLoss(nn.Module):
    """Least squares (Mao et al. 2017), binary cross-entropy of predictions after a sigmoid, the hinge loss (Lim and Ye 2017,
    arXiv:1705.02894), or the relativistic pairing loss (Huang et al. 2025, arXiv:2501.05441, equation 2).

    Outputs are the discriminator's, whose last layer at each scale is the prediction. Losses are summed over scales.
    """

    def __init__(self, use_lsgan: bool = True, mode: str | None = None):
        """mode: one of MODES; default: as use_lsgan says."""
        super().__init__()
        self.mode = mode or ("lsgan" if use_lsgan else "bce")
        self.criterion = F.binary_cross_entropy if self.mode == "bce" else F.mse_loss

    def forward(self, outputs: list[list[torch.Tensor]], target_is_real: bool) -> torch.Tensor:
        """The loss of the discriminator's outputs for real or fake pictures -> scalar. Not for the relativistic loss."""
        total = 0.0
        for scale in outputs:
            prediction = scale[-1].float()
            if self.mode == "hinge":
                total = total + F.relu(1 - prediction if target_is_real else 1 + prediction).mean()
            else:
                total = total + self.criterion(prediction, torch.full_like(prediction, float(target_is_real)))
        return total

    def generator(self, fake: list[list[torch.Tensor]], real: list[list[torch.Tensor]]) -> torch.Tensor:
        """What the generator minimises -> scalar."""
        if self.mode == "relativistic":
            return _relativistic(fake, real)
        if self.mode == "hinge":
            return sum(-scale[-1].float().mean() for scale in fake)
        return self(fake, True)

    def discriminator(self, fake: list[list[torch.Tensor]], real: list[list[torch.Tensor]]) -> dict[str, torch.Tensor]:
        """What the discriminator minimises -> {term: scalar}."""
        if self.mode == "relativistic":
            return {"D_rel": _relativistic(real, fake)}
        return {"D_real": self(real, True), "D_fake": self(fake, False)}


def _relativistic(better, worse) -> torch.Tensor:
    """-log sigmoid(D(better) - D(worse)), patch by patch."""
    return sum(F.softplus(b[-1].float() - a[-1].float()).mean() for a, b in zip(better, worse))
