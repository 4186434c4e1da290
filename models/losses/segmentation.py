"""The loss of the segmentation discriminator and of its generator, with LabelMix (Sushko et al. 2021, arXiv:2012.04781)."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

IGNORED = -1  # the label of pixels that count for nothing
_MOST = 8.0  # the largest weight of a class: without a bound, small parts such as lips and eyes are drawn as blotches


class SegmentationGANLoss(nn.Module):
    """Cross-entropy of classes, each weighted by its rarity, and of one more class for drawn pixels.

    scores: (N, classes + 1, H, W), the last one of drawn pixels. labels: (N, H, W) int64, IGNORED where nothing counts.
    """

    def of_classes(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of real pictures, and the generator's of its own: pixels show their class -> scalar."""
        weights = class_weights(labels, scores.shape[1])
        losses = _cross_entropy(scores, labels)
        return (losses * weights.gather(1, labels.clamp_min(0).flatten(1)).view_as(losses)).mean()

    def of_drawn(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The discriminator's loss of drawn pictures -> scalar."""
        drawn = torch.where(labels == IGNORED, IGNORED, scores.shape[1] - 1)
        return _cross_entropy(scores, drawn).mean()


def _cross_entropy(scores, labels):
    """(N, C, H, W), (N, H, W) -> (N, H, W) in float32. Of rows of scores, which channels-last outputs are, it is faster."""
    rows = scores.permute(0, 2, 3, 1).reshape(-1, scores.shape[1]).float()
    return F.cross_entropy(rows, labels.flatten(), ignore_index=IGNORED, reduction="none").view(labels.shape)


def class_weights(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(N, H, W) labels -> (N, classes) float32: pixels / (pixels of the class * classes that occur), at most 8.

    Of each picture and not of the batch, so that a batch's loss is the mean of its pictures', however it is shared out.
    """
    flat = labels.flatten(1)
    count = torch.zeros(len(flat), classes, device=flat.device).scatter_add_(1, flat.clamp_min(0), (flat != IGNORED).float())
    occur = (count > 0).sum(1, keepdim=True).clamp_min(1)
    return (flat.shape[1] / (count * occur).clamp_min(1)).clamp_max(_MOST)


def parts_l1(fake: torch.Tensor, real: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """L1 of pictures (N, C, H, W), each pixel weighted by the rarity of its class -> scalar. labels: (N, H, W) int64."""
    weights = class_weights(labels, classes).gather(1, labels.flatten(1)).view_as(labels)
    return ((fake - real).abs().mean(1) * weights).mean()


def label_mix(real: torch.Tensor, fake: torch.Tensor, labels: torch.Tensor, classes: int):
    """A picture whose classes are, by chance, the real or the drawn picture's -> (the picture, the mask of the real one).

    real, fake: (N, C, H, W). labels: (N, H, W). The mask is bool (N, 1, H, W).
    """
    chosen = torch.rand(len(labels), classes, device=labels.device) < 0.5
    mask = chosen.gather(1, labels.clamp_min(0).flatten(1)).view_as(labels)[:, None]
    return torch.where(mask, real, fake), mask


def label_mix_loss(mixed: torch.Tensor, real: torch.Tensor, fake: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the scores of a mixed picture from the mixed scores -> scalar."""
    return F.mse_loss(mixed.float(), torch.where(mask, real, fake).float())
