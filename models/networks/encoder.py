"""The instance feature encoder: photo to a few numbers for each region."""
from __future__ import annotations

from torch import nn

from models.networks.blocks import down_layers, first_layers, last_layers, up_layers
from models.networks.generator import FeatureSkip, finish
from models.regions import Regions


class Encoder(nn.Module):
    """Down and up again to feat_num channels in [-1, 1], then averaged over each region (Wang et al. 2018, 3.4).

    image_skip: add a 1x1 path from the photo before the tanh, which no normalisation touches; it starts as identity.
    """

    def __init__(self, input_nc: int, output_nc: int, nef: int = 16, n_downsample: int = 4, norm: str = "instance",
                 upsample: str = "transpose", image_skip: bool = False):
        super().__init__()
        self.model = nn.Sequential(*first_layers(input_nc, nef, norm), *down_layers(nef, n_downsample, norm),
                                   *up_layers(nef, n_downsample, norm, upsample), *last_layers(nef, output_nc))
        self.skip = FeatureSkip(input_nc, output_nc) if image_skip else None

    def features(self, image):
        """(N, input_nc, H, W) in [-1, 1] -> (N, output_nc, H, W) in [-1, 1], before averaging."""
        return finish(self.model, image, self.skip, image)

    def forward(self, image, inst):
        """image and an integer map (N, 1, H, W), or its Regions -> features averaged over each region of each picture."""
        regions = inst if isinstance(inst, Regions) else Regions.of(inst)
        return regions.pool(self.features(image))
