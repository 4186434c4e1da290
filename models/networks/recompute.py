"""Results that the backward pass needs, computed again instead of held (Chen et al. 2016, arXiv:1604.06174).

Instance norm, ReLU and mirrored borders cost a hundredth of the convolutions around them, but hold half of what a generator
holds for the backward pass. `Layers` forgets their results before a convolution, and with --checkpoint_activations those of
all layers. The numbers are the same, to the bit. torch.compile decides for itself what to hold.
"""
from __future__ import annotations

import contextlib
from enum import Enum

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint


class Forget(Enum):
    """Which results are computed again."""

    NOTHING = "nothing"
    CHEAP = "cheap"
    STAGES = "stages"  # all but what residual blocks, and the runs of other layers between them, take in


class Layers(nn.Sequential):
    """Layers one after the other, which forget in training what `forget` says.

    Not STAGES for layers with running statistics, which would count a batch twice.
    """

    forget = Forget.CHEAP

    def forward(self, x):
        """Whatever the first layer takes -> whatever the last one gives."""
        return run_layers(list(self), x, self.forget)


def forget_in(nets: nn.Module, forget: Forget) -> None:
    """Set what all `Layers` of networks forget; with STAGES, those inside of a stage have nothing left to forget."""
    inside = [layers for stage in nets.modules() if _is_stage(stage) for layers in stage.modules()]
    for module in nets.modules():
        if isinstance(module, Layers):
            module.forget = Forget.NOTHING if forget is Forget.STAGES and module in inside else forget


def run_layers(layers: list[nn.Module], x: torch.Tensor, forget: Forget = Forget.CHEAP) -> torch.Tensor:
    """Apply layers one after the other, as `Layers` does."""
    if not torch.is_grad_enabled() or forget is Forget.CHEAP and (torch.compiler.is_compiling() or torch.jit.is_tracing()):
        forget = Forget.NOTHING
    if forget is Forget.NOTHING:
        for layer in layers:
            x = layer(x)
    elif forget is Forget.STAGES:
        for stage in _stages(layers):
            x = checkpoint(run_layers, stage, x, Forget.NOTHING, use_reentrant=False)
    else:
        for cheap, layer in _chains(layers):
            x = _Chain(cheap, x).then(layer) if cheap else layer(x)
    return x


def _stages(layers: list) -> list[list]:
    """Each layer that says it is one, such as a residual block, and the runs of other layers between them."""
    stages = [layers[:1]]
    for before, layer in zip(layers, layers[1:]):
        if _is_stage(layer) or _is_stage(before):
            stages.append([])
        stages[-1].append(layer)
    return stages


def _is_stage(layer) -> bool:
    return getattr(layer, "is_stage", False)


def _chains(layers: list):
    """Each layer with the cheap ones before it: (cheap, layer). Cheap ones with nothing after them are not worth forgetting."""
    cheap = []
    for layer in layers:
        if _costs_little(layer) and (cheap or not getattr(layer, "inplace", False)):  # what the first takes in must stay
            cheap.append(layer)
            continue
        if not isinstance(layer, nn.modules.conv._ConvNd):
            yield from (([], one) for one in cheap)
            cheap = []
        yield cheap, layer
        cheap = []
    yield from (([], one) for one in cheap)


def _costs_little(layer) -> bool:
    plain_norm = isinstance(layer, nn.InstanceNorm2d) and not layer.track_running_stats
    return plain_norm or isinstance(layer, (nn.ReLU, nn.ReflectionPad2d))


class _Chain:
    """Cheap layers and what they take in, which is held anyway; their results are not, but made anew when asked for.

    Raises RuntimeError going back where something that is needed has been changed in place since, as PyTorch would.
    """

    def __init__(self, cheap: list[nn.Module], x: torch.Tensor):
        device = x.device.type
        self.autocast = _autocast_as_now(device)
        self.steps = _with_casts(cheap, device) if self.autocast is not None else cheap
        self.x, self.source = x, _Unchanged(x.detach())
        self.places: dict[tuple, int] = {}  # of each result, by where it lay and its shape: how many steps made it
        self.held = self.asked = 0
        self.again: dict[int, torch.Tensor] = {}

    def then(self, layer: nn.Module) -> torch.Tensor:
        """The layer's answer to the chain's result."""
        x, made = self.x, []  # all results are kept until the end, or another's could come to lie in the same place
        del self.x
        with saved_tensors_hooks(self._pack, self._unpack):
            for number, step in enumerate(self.steps, 1):
                x = step(x)
                made.append(x)
                self.places[x.data_ptr(), x.shape, x.dtype] = number  # what changes in place is known by its last change
            return layer(x)

    def _pack(self, tensor):
        place = tensor.data_ptr(), tensor.shape, tensor.dtype
        if place not in self.places:
            return _Unchanged(tensor)
        self.held += 1
        return place

    def _unpack(self, held):
        if isinstance(held, _Unchanged):
            return held.tensor()
        if not self.again:
            self._compute_again()
        found = self.again[self.places[held]]
        self.asked += 1
        if self.asked == self.held:  # until another backward pass
            self.asked, self.again = 0, {}
        return found

    @torch.no_grad()
    def _compute_again(self):
        x = self.source.tensor()
        with self.autocast or contextlib.nullcontext():
            for number, step in enumerate(self.steps, 1):
                x = self.again[number] = step(x)


class _Unchanged:
    """A tensor that must not change in place before it is asked for: PyTorch itself does not look at what hooks hold."""

    def __init__(self, tensor: torch.Tensor):
        self._tensor, self._version = tensor, tensor._version

    def tensor(self) -> torch.Tensor:
        """The tensor. Raises RuntimeError where it was changed."""
        if self._tensor._version != self._version:
            raise RuntimeError(f"a tensor {tuple(self._tensor.shape)} that the backward pass needs has been changed by an "
                               "operation in place")
        return self._tensor


def _autocast_as_now(device: str):
    """What brings back the mixed precision of this moment; None where there is none."""
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.autocast(device, torch.get_autocast_dtype(device))


def _with_casts(cheap: list, device: str) -> list:
    """The layers with autocast's own casts as steps, whose results are forgotten, too."""
    dtype, steps = torch.get_autocast_dtype(device), []
    for layer in cheap:
        if device == "cpu" and isinstance(layer, nn.ReflectionPad2d):  # which autocast computes in float32 there
            steps.append(torch.Tensor.float)
        steps.append(layer)
    return [*steps, lambda x: x.to(dtype)]
