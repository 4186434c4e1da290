"""Averaged weights (Polyak and Juditsky 1992), for --ema."""
from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverages(nn.Module):
    """Exponential moving averages of networks' parameters; buffers, such as running statistics, are those of the last step.

    nets: copies of the networks, with averaged parameters. decay: d in average <- d * average + (1 - d) * weight, after a
    warm-up in which it is (1 + step) / (10 + step).
    """

    def __init__(self, nets: dict[str, nn.Module], decay: float):
        super().__init__()
        self.decay = decay
        self.nets = nn.ModuleDict({name: copy.deepcopy(net) for name, net in nets.items()}).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, nets: nn.ModuleDict, step: int) -> None:
        """Update the averages after a step. step: from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, averaged in self.nets.items():
            torch._foreach_lerp_(list(averaged.parameters()), list(nets[name].parameters()), 1 - decay)
            for own, newest in zip(averaged.buffers(), nets[name].buffers()):
                own.copy_(newest)
