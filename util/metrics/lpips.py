"""LPIPS: how different a drawn picture looks from the true one (Zhang et al. 2018, arXiv:1801.03924), by the package lpips."""
from __future__ import annotations

import functools
import os
import warnings

import numpy as np
import torch

from util import distributed
from util.errors import UserError
from util.metrics.base import Figure, Metric, NotComputed, check_sizes
from util.published import Published

LEAST_SIDE = 32  # pixels: AlexNet's layers leave nothing of a smaller picture


def load_lpips(path: str = "", device="cpu") -> tuple[torch.nn.Module, str]:
    """LPIPS 0.1 on AlexNet, and what its weights are called: (N, 3, H, W) twice in [-1, 1] -> (N, 1, 1, 1).

    path: --lpips_weights, torchvision's alexnet; else torch's cache, else a download. (The weights of the distance itself are
    in the package.) Raises NotComputed where package or weights cannot be had, UserError for a file of something else.
    """
    network, name, reason = _load(path)
    if network is None:
        raise NotComputed(reason)
    distributed.broadcast_weights(network.to(device))
    return network, name


@functools.cache  # for LPIPS and diversity alike
def _load(path: str):
    """(network, name of the weights, "") or (None, "", why there is none)."""
    import torchvision
    try:
        import lpips
    except ImportError as error:
        return None, "", f"the package lpips is missing ({error}); pip install -r requirements-eval.txt"
    url = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url
    published = Published("AlexNet's features", "torchvision's alexnet state dict", "--lpips_weights", url,
                          {"features.0.weight": (64, 3, 11, 11), "features.10.weight": (256, 256, 3, 3)})
    state, reason = distributed.broadcast_state_dict(lambda: published.find(path))
    if state is None:
        return None, "", f"there are no AlexNet weights: {reason}; fetch {url} and give it with --lpips_weights FILE"
    network = untrained_lpips(lpips)
    layers = {name: state[f"features.{name.split('.', 1)[1]}"] for name in network.net.state_dict()}  # slice2.3.bias
    network.net.load_state_dict(layers)
    return network, os.path.basename(path or url), ""


def untrained_lpips(library):
    """The package's LPIPS with random weights in AlexNet and its own in the distance."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's way to ask torchvision for a network without weights
        return library.LPIPS(net="alex", pnet_rand=True, verbose=False).eval().requires_grad_(False)


@torch.no_grad()
def distances(network, a, b, device="cpu") -> list[float]:
    """LPIPS of pairs of pictures: (n, H, W, 3) uint8 twice."""
    tensors = [torch.from_numpy(np.asarray(pictures)).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1 for pictures in (a, b)]
    return [float(value) for value in network(*tensors).flatten()]


class LpipsMetric(Metric):
    """LPIPS (AlexNet, version 0.1) of drawn and true pictures; 0 is the same."""

    figures = {"lpips": Figure("LPIPS", 0)}

    def __init__(self, network, weights: str = "", device="cpu"):
        """network: as `load_lpips` gives it, on `device`. weights: what they are called."""
        super().__init__(settings={"weights": weights})
        self._network, self._device = network, device

    @classmethod
    def create(cls, only, available):
        return cls(*load_lpips(available.lpips_weights, available.device), available.device)

    def measure(self, name, drawn, true, label=None) -> dict:
        """The picture's LPIPS."""
        check_sizes(name, drawn, true)
        check_least(name, drawn)
        return {"lpips": distances(self._network, drawn[None], true[None], self._device)[0]}

    def summary(self) -> dict:
        """{'pictures', 'lpips', 'weights'}."""
        return {"pictures": len(self.each), **self._means(), "weights": self.settings["weights"]}


def check_least(name, picture) -> None:
    """Raise UserError naming a picture that is too small for LPIPS."""
    if min(picture.shape[:2]) < LEAST_SIDE:
        raise UserError(f"{name}: is {picture.shape[1]}x{picture.shape[0]}, but LPIPS compares pictures from {LEAST_SIDE} "
                        "pixels a side up; leave it out of the metrics")
