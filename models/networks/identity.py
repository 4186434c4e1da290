"""Networks that know identities: a face to a unit vector, near that of other photos of the same person.

IR-SE-50 has the names of InsightFace_Pytorch's parameters, so that its published weights (model_ir_se50.pth) load as they are.
"""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from models.networks.bisenet import BatchNorm

EMBEDDING = 512
_OVAL = (0.5, 0.62, 0.40, 0.44)  # x, y, half width and half height of the face in a picture aligned to ARCFACE
_SOFT = 0.15  # width of the oval's edge, as a share of its radius


def face_oval(height: int, width: int, grow: float = 1.0, device=None) -> torch.Tensor:
    """(1, 1, H, W) in [0, 1]: 1 within the oval that a face aligned to ARCFACE fills, falling to 0 outside.

    grow: its size, in multiples of the face's.
    """
    x, y, wide, high = _OVAL
    down = (torch.arange(height, device=device) + 0.5) / height - y
    across = (torch.arange(width, device=device) + 0.5) / width - x
    out = torch.hypot(across[None] / (wide * grow), down[:, None] / (high * grow))
    return ((1 - out) / _SOFT + 0.5).clamp(0, 1)[None, None]


class BatchNorm1d(nn.BatchNorm1d):
    """Batch norm that uses its running statistics for a batch of one, whose variance is undefined."""

    def forward(self, x):
        """(N, C) -> the same shape."""
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class SqueezeExcitation(nn.Module):
    """Channel attention from globally pooled features (Hu et al. 2018)."""

    def __init__(self, width: int, reduction: int = 16):
        super().__init__()
        self.fc1 = nn.Conv2d(width, max(1, width // reduction), 1, bias=False)
        self.fc2 = nn.Conv2d(max(1, width // reduction), width, 1, bias=False)

    def forward(self, x):
        """(N, C, H, W) -> the same shape."""
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class ResidualUnit(nn.Module):
    """The 'improved residual' unit (Deng et al. 2019): norms before and after the convolutions, squeeze and excitation."""

    def __init__(self, in_nc: int, out_nc: int, stride: int):
        super().__init__()
        self.shortcut_layer = nn.MaxPool2d(1, stride) if in_nc == out_nc else nn.Sequential(
            nn.Conv2d(in_nc, out_nc, 1, stride, bias=False), BatchNorm(out_nc))
        self.res_layer = nn.Sequential(
            BatchNorm(in_nc), nn.Conv2d(in_nc, out_nc, 3, 1, 1, bias=False), nn.PReLU(out_nc),
            nn.Conv2d(out_nc, out_nc, 3, stride, 1, bias=False), BatchNorm(out_nc), SqueezeExcitation(out_nc))

    def forward(self, x):
        """(N, C, H, W) -> (N, C', H / stride, W / stride), rounded up."""
        return self.shortcut_layer(x) + self.res_layer(x)


class IdentityNet(nn.Module):
    """A residual network of four stages, each of which halves the picture first."""

    def __init__(self, size: int = 112, widths=(64, 128, 256, 512), units=(3, 4, 14, 3), dropout: float = 0.6,
                 stem_stride: int = 1, oval: bool = False):
        """
        Args:
            size: side of the picture in pixels, on which the last layer's shape depends. The defaults are IR-SE-50's.
            oval: see nothing of a picture but the face's oval, so that hair and background do not count.
        """
        super().__init__()
        self.size, self.oval = size, oval
        self.input_layer = nn.Sequential(nn.Conv2d(3, widths[0], 3, stem_stride, 1, bias=False), BatchNorm(widths[0]),
                                         nn.PReLU(widths[0]))
        layers, before = [], widths[0]
        for width, count in zip(widths, units):
            layers += [ResidualUnit(before, width, 2), *(ResidualUnit(width, width, 1) for _ in range(count - 1))]
            before = width
        self.body = nn.Sequential(*layers)
        side = -(-size // (16 * stem_stride))
        self.output_layer = nn.Sequential(BatchNorm(before), nn.Dropout(dropout), nn.Flatten(),
                                          nn.Linear(before * side * side, EMBEDDING), BatchNorm1d(EMBEDDING))

    def forward(self, image):
        """(N, 3 or 1, H, W) in [-1, 1], aligned to ARCFACE, of any size -> (N, 512) of length 1."""
        if image.shape[2:] != (self.size, self.size):
            image = F.interpolate(image, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True)
        image = image.expand(-1, 3, -1, -1)
        if self.oval:
            image = image * face_oval(self.size, self.size, device=image.device).to(image.dtype)
        return F.normalize(self.output_layer(self.body(self.input_layer(image))).float(), dim=1)


def identity_net(kind: str, size: int, width: int = 32) -> IdentityNet:
    """--netI 'ir_se50' or 'small'. width: channels of the small one's first stage."""
    if kind == "ir_se50":
        return IdentityNet(size)
    return IdentityNet(size, tuple(width * 2 ** i for i in range(4)), (2, 2, 2, 2), 0.0, 2, oval=True)


def describe(state: dict) -> dict:
    """{flag: value} of a state dict of an identity network: netI, nif, and the side of its pictures as loadSize."""
    first, last = state.get("input_layer.0.weight"), state.get("output_layer.3.weight")
    if first is None or last is None:
        return {}
    kind = "ir_se50" if "body.23.res_layer.0.weight" in state else "small"
    widest = len(state["output_layer.0.weight"])
    side = round((last.shape[1] / widest) ** 0.5) * (16 if kind == "ir_se50" else 32)
    return {"netI": kind, "loadSize": side, **({"nif": len(first)} if kind == "small" else {})}
