"""The multiscale PatchGAN discriminator."""
from __future__ import annotations

from torch import nn

from models.networks.blocks import downsample, norm_layer

_WIDEST = 512


def patch_layers(input_nc: int, ndf: int, n_layers: int, norm: str, use_sigmoid: bool) -> list[list[nn.Module]]:
    """The groups of layers of one scale; feature matching compares the outputs of groups."""
    def conv(a, b, stride):
        return nn.Conv2d(a, b, 4, stride=stride, padding=2)

    widths = [min(ndf * 2 ** i, _WIDEST) if i else ndf for i in range(n_layers + 1)]
    groups = [[conv(input_nc, ndf, 2), nn.LeakyReLU(0.2, inplace=True)]]
    for i in range(1, n_layers + 1):
        groups.append([conv(widths[i - 1], widths[i], 2 if i < n_layers else 1), norm_layer(norm, widths[i]),
                       nn.LeakyReLU(0.2, inplace=True)])
    groups.append([conv(widths[-1], 1, 1)])
    return [*groups, [nn.Sigmoid()]] if use_sigmoid else groups


class MultiscaleDiscriminator(nn.Module):
    """num_D patch discriminators; scale k sees the input halved k times (Wang et al. 2018, section 3.2).

    Parameters are named scale<i>_layer<j> with intermediate features, else layer<i>; i counts from the coarsest.
    """

    def __init__(self, input_nc: int, ndf: int = 64, n_layers: int = 3, norm: str = "instance", use_sigmoid: bool = False,
                 num_D: int = 3, intermediate_features: bool = False):  # noqa: N803 - the flag's name
        super().__init__()
        self.num_D, self.intermediate_features = num_D, intermediate_features
        for i in range(num_D):
            groups = patch_layers(input_nc, ndf, n_layers, norm, use_sigmoid)
            self.n_groups = len(groups)
            if intermediate_features:
                for j, group in enumerate(groups):
                    setattr(self, f"scale{i}_layer{j}", nn.Sequential(*group))
            else:
                setattr(self, f"layer{i}", nn.Sequential(*(layer for group in groups for layer in group)))

    def _groups(self, i: int) -> list[nn.Module]:
        if self.intermediate_features:
            return [getattr(self, f"scale{i}_layer{j}") for j in range(self.n_groups)]
        return [getattr(self, f"layer{i}")]

    def forward(self, x) -> list[list]:
        """(N, C, H, W) -> a list over scales, finest first, of lists of layer outputs; the last is the prediction."""
        result = []
        for i in reversed(range(self.num_D)):
            outputs = [x]
            for group in self._groups(i):
                outputs.append(group(outputs[-1]))
            result.append(outputs[1:])
            if i:
                x = downsample(x)
        return result
