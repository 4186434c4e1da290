"""Activation checkpointing: activations are recomputed in the backward pass (Chen et al. 2016, arXiv:1604.06174)."""
from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Layers(nn.Sequential):
    """A sequence of layers; with `checkpointed`, training stores only the inputs of its segments.

    A segment is a layer with `is_segment` (a residual block), or all layers between two of those. The gradients are the same.
    Not for layers with running statistics, which would be updated twice a batch.
    """

    checkpointed = False

    def forward(self, x):
        """The input of the first layer -> the output of the last one."""
        return run_layers(list(self), x, self.checkpointed)


def checkpoint_activations(nets: nn.Module) -> None:
    """Checkpoint all `Layers` of networks (and modules that can checkpoint themselves, which have the attribute
    `checkpointed`), except those inside a segment, whose activations are not stored anyway."""
    inside = {layers for segment in nets.modules() if _is_segment(segment) for layers in segment.modules()}
    for module in nets.modules():
        if hasattr(module, "checkpointed"):
            module.checkpointed = module not in inside


def run_layers(layers: list[nn.Module], x: torch.Tensor, checkpointed: bool = False) -> torch.Tensor:
    """Apply layers one after the other, as `Layers` does."""
    if checkpointed and torch.is_grad_enabled():
        for segment in _segments(layers):
            x = checkpoint(run_layers, segment, x, use_reentrant=False)
        return x
    for layer in layers:
        x = layer(x)
    return x


def _segments(layers: list) -> list[list]:
    segments = [layers[:1]]
    for before, layer in zip(layers, layers[1:]):
        if _is_segment(layer) or _is_segment(before):
            segments.append([])
        segments[-1].append(layer)
    return segments


def _is_segment(layer) -> bool:
    return getattr(layer, "is_segment", False)
