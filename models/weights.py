"""Loading weights into networks, all of them or those that fit, and messages about those that do not."""
from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from util.checkpoint import is_saved, not_finite, read_tensors
from util.errors import UserError, first_few

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of norm layers


def digest(state: dict) -> str:
    """SHA-256 of a network's parameters and their names, in hexadecimal.

    state: a state dict, of a file or of the network that loaded it, which give the same digest on every machine and in every
    memory layout: it is computed in float32, without statistics of norms (which `load` may drop) and DataParallel's prefix.
    """
    found = hashlib.sha256()
    named = {str(k).removeprefix("module."): v for k, v in state.items() if torch.is_tensor(v)}
    for name in sorted(k for k in named if k.rsplit(".", 1)[-1] not in _STATISTICS):
        values = named[name].detach().to("cpu", torch.float32).contiguous().numpy()
        found.update(f"{name} {values.shape} ".encode())
        found.update(values.astype("<f4", copy=False))
    return found.hexdigest()


def load(net: nn.Module, name: str, path: Path, partial: bool, hint, state: dict | None = None) -> None:
    """Load the state dict of `path` into network `name`.

    partial: load the layers that fit and print which do not, to start from another network; else all must fit.
    hint: function (name, state dict) -> the flags that would make it fit. state: the file's content, if it has been read.
    Raises UserError naming the file, what does not fit, and the flags that would.
    """
    if state is None:
        if not is_saved(path):
            raise UserError(missing(name, path))
        state = read_tensors(path)
    state = {str(k).removeprefix("module."): v for k, v in state.items() if torch.is_tensor(v)}
    state = _without_dead_buffers(net, state)
    own = net.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    if partial:
        _load_fitting(net, name, path, state, own, fitting)
    elif fitting.keys() == own.keys() == state.keys():
        _check_finite(state, path)
        net.load_state_dict({k: v.to(own[k].dtype).contiguous() for k, v in state.items()}, assign=True)  # files keep strides
        for p in net.parameters():
            p.requires_grad_(True)
    else:
        raise UserError(f"{path}: does not fit the network that the flags describe ({_difference(own, state)}); "
                        f"{hint(name, state) or 'give the flags it was trained with'}")


def file_of(folder, epoch: str, name: str, averaged: bool) -> Path:
    """The file of a network's weights in an experiment's folder. averaged: that of the averages of --ema, if it exists."""
    average = Path(folder) / f"{epoch}_net_{name}_ema.pth"
    return average if averaged and is_saved(average) else Path(folder) / f"{epoch}_net_{name}.pth"


def missing(name: str, path: Path) -> str:
    """The message about a missing file of weights of network `name`."""
    found = sorted({p.name.split("_net_")[0] for p in path.parent.glob(f"*_net_{name}.pth")})
    if found:
        remedy = f"there are {first_few(found)}: choose one with --which_epoch"
    elif not path.parent.is_dir():
        remedy = "there is no such folder: check --name, --checkpoints_dir and --load_pretrain, or run train.py first"
    elif name == "E" and any(path.parent.glob("*_net_G.pth")):
        remedy = "this experiment has no feature encoder: train with --label_feat or --instance_feat"
    else:
        remedy = "run train.py first, copy the weights there, or name another folder with --name or --load_pretrain"
    return f"{path}: there is no such checkpoint; {remedy}"


def _without_dead_buffers(net, state):
    """Remove the statistics of instance norm that old versions of PyTorch saved, which have no effect."""
    own = net.state_dict()
    return {k: v for k, v in state.items() if k in own or k.rsplit(".", 1)[-1] not in _STATISTICS}


def _load_fitting(net, name, path, state, own, fitting):
    if not fitting:
        raise UserError(f"--load_pretrain: no layer of {path} fits network {name} ({_difference(own, state)}); choose other "
                        "weights or other flags")
    _check_finite(fitting, path)
    net.load_state_dict(fitting, strict=False)
    left, fresh = _layers(state.keys() - fitting.keys()), _layers(own.keys() - fitting.keys())
    if left:
        print(f"{path}: left out, since network {name} has no such layer or another shape: {first_few(left, 12)}")
    if fresh:
        print(f"{path}: not in it, so network {name} starts fresh in: {first_few(fresh, 12)}")


def _check_finite(state, path):
    if bad := not_finite(state):
        raise UserError(f"{path}: holds numbers that are not finite in {first_few(bad)}; its training diverged, so take an "
                        "earlier checkpoint with --which_epoch")


def _layers(keys) -> list[str]:
    """Parameter names as layer names, in order."""
    return sorted({k.rsplit(".", 1)[0] for k in keys})


def _difference(own, state) -> str:
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if shapes:
        k = min(shapes)
        return f"{k} is {tuple(state[k].shape)} there and {tuple(own[k].shape)} here"
    extra, lacking = sorted(state.keys() - own.keys()), sorted(own.keys() - state.keys())
    parts = [f"it lacks {first_few(lacking, 3)}"] if lacking else []
    return " and ".join(parts + ([f"it has {first_few(extra, 3)} beside"] if extra else []))
