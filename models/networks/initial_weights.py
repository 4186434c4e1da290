"""Initial weights for a network that was constructed without any."""
from __future__ import annotations

import math
from itertools import chain

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from util.errors import first_few

_POWER_ITERATIONS = 15  # as many as PyTorch's spectral_norm makes when it is applied to a layer


@torch.no_grad()
def initialize(net: nn.Module) -> nn.Module:
    """Initialise a network: convolutions N(0, 0.02) with PyTorch's own biases, 2d batch norm N(1, 0.02) with bias 0.

    A module with a method `init_weights` initialises itself and its submodules. All other modules have their `reset_parameters`
    called, as PyTorch's layers have one, and modules with parameters or buffers of their own must. Submodules come first, so
    that a module may override what its submodules did. Parametrized weights (`torch.nn.utils.parametrizations`) are initialised
    as those of the plain layer. Raises RuntimeError naming tensors that were left unset. Tensors on the meta device stay there.
    """
    unset = {name: (value, value._version) for name, value in _unset(net)}
    modules: list[nn.Module] = []
    net.apply(modules.append)  # submodules first
    covered = {inside for module in modules if hasattr(module, "init_weights") for inside in module.modules()}
    for module in dict.fromkeys(modules):
        if hasattr(module, "init_weights"):
            module.init_weights()
        elif module not in covered:
            _init_parametrized(module) if parametrize.is_parametrized(module) else _init_layer(module)
    _converge_spectral_norms(net)
    left = [name for name, value in _tensors(net) if _still_unset(value, *unset.get(name, (None, 0)))]
    if left:
        raise RuntimeError(f"{type(net).__name__}: nothing initialises {first_few(left)}; give the module that has it a method "
                           "reset_parameters that does (or init_weights, for a module and all inside it)")
    return net


def _tensors(net):
    return chain(net.named_parameters(), net.named_buffers())


def _unset(net):
    """The tensors of a network by name, filled with a mark by which unset ones are recognised: NaN, or zeros for integers."""
    for name, value in _tensors(net):
        yield name, value.fill_(math.nan if value.is_floating_point() or value.is_complex() else 0)


def _still_unset(value, before, version) -> bool:
    if value.is_meta:
        return False
    if value.is_floating_point() or value.is_complex():
        return bool(value.sum().isnan() and value.isnan().any())  # the sum alone rules it out in half the time
    return value is before and value._version == version


def _init_layer(module) -> None:
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


def _init_parametrized(module) -> None:
    """Initialise a parametrized layer as a plain one: within `cached`, each parametrized weight is one tensor to write into."""
    with parametrize.cached():
        _init_layer(module)
        plain = {name: getattr(module, name) for name in module.parametrizations}
    for name, value in plain.items():
        setattr(module, name, value)  # through the parametrization's right_inverse


def _converge_spectral_norms(net: nn.Module) -> None:
    """Compute the singular vectors of spectral_norm, which it estimated when the weights had no values yet."""
    for module in filter(parametrize.is_parametrized, net.modules()):
        for name, parts in module.parametrizations.items():
            norms = [part for part in parts if isinstance(part, _SpectralNorm) and hasattr(part, "_u")]
            for part in norms:
                part._u.normal_()
                part._v.normal_()
            for _ in range(_POWER_ITERATIONS if norms else 0):
                getattr(module, name)  # reading the weight makes one power iteration, as in a training forward pass
