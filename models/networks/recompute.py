"""Activation checkpointing: recompute in the backward pass instead of holding (Chen et al. 2016, arXiv:1604.06174)."""
from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Layers(nn.Sequential):
    """Layers one after the other; with `checkpointed`, training holds only what their stages take in.

    A stage is a layer that says so (`is_stage`, a residual block) or a run of other layers between two of them. The gradients
    are the same. Not for layers with running statistics, which would count a batch twice.
    """

    checkpointed = False

    def forward(self, x):
        """Whatever the first layer takes -> whatever the last one gives."""
        return run_layers(list(self), x, self.checkpointed)


def checkpoint_activations(nets: nn.Module) -> None:
    """Checkpoint all `Layers` of networks, but those inside of a stage, whose activations are not held anyway."""
    inside = {layers for stage in nets.modules() if _is_stage(stage) for layers in stage.modules()}
    for module in nets.modules():
        if isinstance(module, Layers):
            module.checkpointed = module not in inside


def run_layers(layers: list[nn.Module], x: torch.Tensor, checkpointed: bool = False) -> torch.Tensor:
    """Apply layers one after the other, as `Layers` does."""
    if checkpointed and torch.is_grad_enabled():
        for stage in _stages(layers):
            x = checkpoint(run_layers, stage, x, use_reentrant=False)
        return x
    for layer in layers:
        x = layer(x)
    return x


def _stages(layers: list) -> list[list]:
    stages = [layers[:1]]
    for before, layer in zip(layers, layers[1:]):
        if _is_stage(layer) or _is_stage(before):
            stages.append([])
        stages[-1].append(layer)
    return stages


def _is_stage(layer) -> bool:
    return getattr(layer, "is_stage", False)
