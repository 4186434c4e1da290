"""The training photo that is nearest to a sample: a model that has learnt photos by heart shows there."""
from __future__ import annotations

import contextlib
import io

import torch
from torch.nn.functional import adaptive_avg_pool2d

from data.base_dataset import Needs, spread
from data.data_loader import CreateDataLoader
from util.errors import UserError

_SIDE = 32  # photos are compared at this size


class NearestPhotos:
    """Training photos, each as a small vector. fault: why there are none, else ''."""

    def __init__(self, opt, most: int):
        """opt: of a test, whose experiment's own data root and phase are looked through. most: photos, evenly spread."""
        trained = opt.saved.get("options", {}) if opt.saved else {}
        self.fault, self.vectors = "", None
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # what there is to say of these data was said while training
                self.dataset = CreateDataLoader(opt.replace(
                    phase=trained.get("phase", "train"), dataroot=trained.get("dataroot", opt.dataroot), how_many=float("inf"),
                    nThreads=0, needs=Needs(("image",), "image", opt.needs.multiple, opt.needs.least))).dataset
            self.places = spread(list(range(len(self.dataset))), most)
            self.vectors = torch.stack([_vector(self.dataset[i]["image"]) for i in self.places])
        except UserError as error:
            self.fault = f"No training photos are shown beside the samples: {error}"

    def of(self, sample: torch.Tensor) -> torch.Tensor | None:
        """(C, H, W) in [-1, 1] -> the nearest photo, of its own size, in squared distance; None without photos."""
        if self.vectors is None:
            return None
        distances = (self.vectors - _vector(sample.cpu())).square().sum(1)
        return self.dataset[self.places[int(distances.argmin())]]["image"]


def _vector(image: torch.Tensor) -> torch.Tensor:
    return adaptive_avg_pool2d(image, _SIDE).flatten()
