"""How the weights of a network start that was constructed without any."""
from __future__ import annotations

import math
from itertools import chain

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from util.errors import first_few

_SETTLED = 15  # steps of the power iteration, as many as PyTorch's spectral_norm takes at its start


@torch.no_grad()
def initialize(net: nn.Module) -> nn.Module:
    """Fresh weights: convolutions N(0, 0.02) with PyTorch's own biases, 2d batch norm N(1, 0.02) with bias 0.

    A module with a method `start` sets itself and all inside it. Of the others, each one's `reset_parameters` is called where
    there is no rule above: PyTorch's layers have it, and a module with parameters or buffers of its own brings it. Inner
    modules come first, so that outer ones have the last word. Parametrized weights (`torch.nn.utils.parametrizations`) start
    as those of the plain layer. Raises RuntimeError naming what has then not been set. What lies on the meta device stays.
    """
    unset = {name: (value, value._version) for name, value in _unset(net)}
    inner_first: list[nn.Module] = []
    net.apply(inner_first.append)
    of_others = {inside for module in inner_first if hasattr(module, "start") for inside in module.modules()}
    for module in dict.fromkeys(inner_first):
        if hasattr(module, "start"):
            module.start()
        elif module not in of_others:
            _start_parametrized(module) if parametrize.is_parametrized(module) else _start_layer(module)
    _settle_spectral_norms(net)
    left = [name for name, value in _tensors(net) if _still_unset(value, *unset.get(name, (None, 0)))]
    if left:
        raise RuntimeError(f"{type(net).__name__}: nothing initialises {first_few(left)}; give the module that has it a method "
                           "reset_parameters that does (or start, for a module and all inside it)")
    return net


def _tensors(net):
    return chain(net.named_parameters(), net.named_buffers())


def _unset(net):
    """The tensors of a network by name, filled so that what is left unset is seen: NaN, or zeros where there is no NaN."""
    for name, value in _tensors(net):
        yield name, value.fill_(math.nan if value.is_floating_point() or value.is_complex() else 0)


def _still_unset(value, before, version) -> bool:
    if value.is_meta:
        return False
    if value.is_floating_point() or value.is_complex():
        return bool(value.sum().isnan() and value.isnan().any())  # the sum alone says no in half the time
    return value is before and value._version == version


def _start_layer(module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        module.weight.normal_(0.0, 0.02)
        if module.bias is not None:
            fan_in = nn.init._calculate_fan_in_and_fan_out(module.weight)[0]
            module.bias.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
    elif isinstance(module, nn.BatchNorm2d):
        module.reset_parameters()
        if module.affine:
            module.weight.normal_(1.0, 0.02)
    else:
        getattr(module, "reset_parameters", getattr(module, "_reset_parameters", lambda: None))()


def _start_parametrized(module) -> None:
    """Start a layer as the plain one: within `cached`, what it computes of its parametrized weights stays one tensor."""
    with parametrize.cached():
        _start_layer(module)
        plain = {name: getattr(module, name) for name in module.parametrizations}
    for name, value in plain.items():
        setattr(module, name, value)  # through the parametrization's right_inverse


def _settle_spectral_norms(net: nn.Module) -> None:
    """Singular vectors that fit the weights, which spectral_norm could not compute where there were none yet."""
    for module in filter(parametrize.is_parametrized, net.modules()):
        for name, parts in module.parametrizations.items():
            norms = [part for part in parts if isinstance(part, _SpectralNorm) and hasattr(part, "_u")]
            for part in norms:
                part._u.normal_()
                part._v.normal_()
            for _ in range(_SETTLED if norms else 0):
                getattr(module, name)  # a step of the power iteration, as in every training forward pass
