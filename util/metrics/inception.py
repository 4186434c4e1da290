"""FID and KID: how far the drawn pictures, as a set, are from the true ones in the features of Inception-v3.

Heusel et al. 2017 (arXiv:1706.08500), Binkowski et al. 2018 (arXiv:1801.01401). The network, its statistics and both
distances are torch-fidelity's; pictures are scaled as Parmar, Zhang and Zhu 2022 (arXiv:2104.11222) do.
"""
from __future__ import annotations

import io
import os

import numpy as np
import torch
from PIL import Image
from torch import nn

from util import distributed
from util.errors import UserError
from util.metrics.base import Figure, Metric, NotComputed, check_picture
from util.published import Published

SIDE = 299  # of Inception-v3's input, in pixels
FEATURES = 2048
SUBSETS, SUBSET = 100, 1000  # KID's defaults, which published figures follow
_BATCH = 32


def resized(picture) -> np.ndarray:
    """(H, W, 3) uint8 -> (299, 299, 3) float32, 0..255: each colour by Pillow's bicubic filter, antialiased, not rounded."""
    channels = [Image.fromarray(channel).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                for channel in np.asarray(picture, np.float32).transpose(2, 0, 1)]
    return np.stack(channels, axis=2).clip(0, 255)


class Inception(nn.Module):
    """Inception-v3 up to its last pooling: (N, 3, 299, 299) float32, 0..255 -> (N, 2048) float32."""

    def __init__(self, extractor: nn.Module):
        """extractor: torch-fidelity's, which takes whole numbers only; so its layers are run, in the order it has them."""
        super().__init__()
        *layers, _ = extractor.children()  # the last one is the classifier
        self.layers = nn.Sequential(*layers, nn.Flatten())

    def forward(self, pictures):
        return self.layers((pictures - 128) / 128)


def load_inception(path: str = "", device="cpu") -> tuple[nn.Module, str]:
    """Inception-v3 with the weights of FID's authors, and what they are called.

    path: --inception_weights; else torch's cache, else a download. Raises NotComputed where the package or the weights cannot
    be had, UserError for a file that does not hold them.
    """
    library = _library("feature_extractor_inceptionv3")
    url, name = library.URL_INCEPTION_V3, os.path.basename(library.URL_INCEPTION_V3)
    published = Published("FID's Inception-v3", f"{name} of torch-fidelity", "--inception_weights", url,
                          {"Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3), "fc.weight": (1008, FEATURES)},
                          also=(name.replace("weights-", "pt_"),))  # pytorch-fid's name of the same file
    state, reason = distributed.broadcast_state_dict(lambda: published.find(path))
    if state is None:
        raise NotComputed(f"there are no Inception-v3 weights: {reason}; fetch {url} and give it with --inception_weights FILE")
    checked = io.BytesIO()  # the library unpickles whatever is in a file
    torch.save(state, checked)
    checked.seek(0)
    try:
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, and replaced
            extractor = library.FeatureExtractorInceptionV3("inception-v3-compat", [str(FEATURES)],
                                                            feature_extractor_weights_path=checked)
    except RuntimeError as error:
        raise UserError(f"{path or name}: does not fit FID's Inception-v3 ({str(error)[:200]}); fetch {url} again") from error
    network = Inception(extractor).eval().requires_grad_(False).to(device)
    distributed.broadcast_weights(network)
    return network, os.path.basename(path) or name


def _library(module: str):
    """A module of torch-fidelity. Raises NotComputed where that is not installed."""
    import importlib
    try:
        return importlib.import_module(f"torch_fidelity.{module}")
    except ImportError as error:
        raise NotComputed(f"torch-fidelity is missing ({error}); pip install -r requirements-eval.txt") from error


def frechet_distance(drawn: torch.Tensor, true: torch.Tensor) -> float:
    """Distance of the Gaussians that fit two sets of features, (n, D) and (m, D) float32, by torch-fidelity."""
    library = _library("metric_fid")
    statistics = [library.fid_features_to_statistics(features) for features in (drawn, true)]
    return library.fid_statistics_to_metric(*statistics, verbose=False)[library.KEY_METRIC_FID]


def kernel_distance(drawn: torch.Tensor, true: torch.Tensor, seed: int = 0) -> dict:
    """Squared maximum mean discrepancy with a cubic kernel between two sets of features, (n, D) and (m, D), by torch-fidelity.

    The mean over 100 random subsets of s pictures of each set: {'kid', 'kid_std' over the subsets, 'kid_interval', 'subset':
    s}. s is 1,000 as published, or half of the smaller set. Subsets that share pictures differ less than independent ones: the
    variance of the mean over all n pictures is about that over the subsets times s / (n - s) (the delete-d jackknife, Shao
    and Wu 1989); kid_interval is the 95 % interval by it.
    """
    library, least = _library("metric_kid"), min(len(drawn), len(true))
    size = min(SUBSET, least // 2)
    found = library.kid_features_to_metric(drawn, true, kid_subsets=SUBSETS, kid_subset_size=size, rng_seed=seed, verbose=False)
    mean, deviation = found[library.KEY_METRIC_KID_MEAN], found[library.KEY_METRIC_KID_STD]
    reach = 1.96 * deviation * (size / (least - size)) ** 0.5
    return {"kid": mean, "kid_std": deviation, "kid_interval": [mean - reach, mean + reach], "subset": size}


class InceptionMetrics(Metric):
    """FID and KID, or one of them, from the same features; drawn and true pictures may be of any names and numbers.

    FID has no interval: with pictures left out or drawn twice it is biased by more than it varies. What it says of fewer
    than 2,048 pictures is noted. In memory: the features, 8 kB a picture.
    """

    figures = {"fid": Figure("FID", 0, 2), "kid": Figure("KID", 0, 4)}
    requires = ()

    def __init__(self, network, only=None, seed: int = 0, weights: str = "", device="cpu"):
        """network: (N, 3, 299, 299) float32, 0..255, on `device` -> (N, D). weights: what they are called."""
        super().__init__(settings={"seed": seed, "weights": weights})
        self.figures = {key: figure for key, figure in self.figures.items() if only is None or key in only}
        self._network, self._device = network, device
        self._features: dict[str, list[torch.Tensor]] = {"drawn": [], "true": []}

    @classmethod
    def create(cls, only, available):
        network, weights = load_inception(available.inception_weights, available.device)
        return cls(network, only, available.seed, weights, available.device)

    def add(self, name, drawn, true=None, label=None, looks=None) -> dict:
        """Keep the features of a picture of either set, or of both."""
        return self.add_batch([name], [drawn], [true])[0]

    def add_batch(self, names, drawn, true=None, label=None, looks=None):
        for which, pictures in (("drawn", drawn), ("true", true)):
            checked = [check_picture(name, picture, f"{which} picture")
                       for name, picture in zip(names, pictures if pictures is not None else ()) if picture is not None]
            self._features[which] += [self._extract(checked[i:i + _BATCH]) for i in range(0, len(checked), _BATCH)]
        return [{} for _ in names]

    @torch.no_grad()
    def _extract(self, pictures) -> torch.Tensor:
        batch = torch.from_numpy(np.stack([resized(picture) for picture in pictures])).permute(0, 3, 1, 2).contiguous()
        return self._network(batch.to(self._device)).float().cpu()

    def features(self, which: str) -> torch.Tensor:
        """(n, D) float32 of the 'drawn' or the 'true' pictures, in their order."""
        if len(self._features[which]) > 1:
            self._features[which] = [torch.cat(self._features[which])]
        return self._features[which][0] if self._features[which] else torch.empty(0, FEATURES)

    def _sums(self):
        return {"features": {which: self.features(which) for which in self._features}}

    def _add_sums(self, state):
        for which, features in state["features"].items():
            if len(features):
                self._features[which].append(features)

    def of_truth(self, summary):
        """Nothing: of a set and itself they say nothing."""
        return dict.fromkeys(self.figures)

    def summary(self) -> dict:
        """{'pictures', 'true_pictures', 'fid', 'kid', 'kid_std', 'kid_interval', 'subset', 'weights', 'notes': [line, ...]}.

        FID needs 2 pictures of each set, KID 4: else None.
        """
        drawn, true = self.features("drawn"), self.features("true")
        least, notes = min(len(drawn), len(true)), []
        summary = {"pictures": len(drawn), "true_pictures": len(true)}
        if "fid" in self.figures:
            summary["fid"] = frechet_distance(drawn, true) if least >= 2 else None
            if least < FEATURES:
                notes.append(f"FID from {least} pictures: with fewer than {FEATURES:,} it comes out too high, the more the "
                             "fewer they are; compare it with FID from as many pictures only")
        if "kid" in self.figures:
            summary |= kernel_distance(drawn, true, self.settings["seed"]) if least >= 4 else {"kid": None}
        return {**summary, "weights": self.settings["weights"], "notes": notes}
