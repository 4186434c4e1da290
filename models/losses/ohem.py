"""Cross-entropy of the pixels that are hard."""
from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

IGNORED = -1  # the class of pixels that nothing is known about


class OhemCrossEntropy(nn.Module):
    """Online hard example mining (Shrivastava et al. 2016): the mean over pixels that the network finds hard.

    Hard is a true class given less than the probability `sure`; but at least 1/`least` of all pixels count, the
    hardest ones.
    """

    def __init__(self, sure: float = 0.7, least: int = 16):
        super().__init__()
        self.threshold, self.least = -math.log(sure), least

    def forward(self, scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """(N, classes, H, W) scores and (N, H, W) int64 ids, IGNORED where unknown -> scalar; 0 if all is unknown."""
        losses = F.cross_entropy(scores.float(), label, ignore_index=IGNORED, reduction="none").flatten()
        known = label.flatten() != IGNORED
        count = min(label.numel() // self.least, int(known.sum()))
        hard = losses > self.threshold
        if int(hard.sum()) > count:
            return losses[hard].mean()
        if count == 0:  # also what a tiny picture of only easy pixels comes to
            return losses.sum() / known.sum().clamp(min=1)
        return losses.topk(count).values.mean()
