"""Cross-entropy with online hard example mining."""
from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

IGNORED = -1  # the class id of unlabelled pixels


class OhemCrossEntropy(nn.Module):
    """The mean cross-entropy of hard pixels (Shrivastava et al. 2016).

    sure: pixels whose true class has a lower probability are hard. least: at least the hardest 1/least of all pixels count.
    """

    def __init__(self, sure: float = 0.7, least: int = 16):
        super().__init__()
        self.threshold, self.least = -math.log(sure), least

    def forward(self, scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """(N, classes, H, W) scores and (N, H, W) int64 ids, IGNORED where unlabelled -> scalar; 0 if all pixels are."""
        losses = F.cross_entropy(scores.float(), label, ignore_index=IGNORED, reduction="none").flatten()
        known = label.flatten() != IGNORED
        count = min(label.numel() // self.least, int(known.sum()))
        hard = losses > self.threshold
        if int(hard.sum()) > count:
            return losses[hard].mean()
        if count == 0:  # no pixel is labelled, or the picture is tiny and all of its pixels are easy
            return losses.sum() / known.sum().clamp(min=1)
        return losses.topk(count).values.mean()
