"""A trained face parser, for use by other programs."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from data.dataset_spec import FILE_NAME, DatasetSpec, face_spec
from models import weights
from models.networks import build
from models.networks.bisenet import BiSeNet, imagenet_colors
from util.checkpoint import STATE, is_saved, read_tensors
from util.device import autocast, available_gpu_ids, device_of, device_type, parse_gpu_ids, usable_precision
from util.errors import UserError
from util.files import read_json
from util.metrics.segmentation import confusion, kappa

PUBLISHED = ("published are 79999_iter.pth of https://github.com/zllrunning/face-parsing.PyTorch (its README links the "
             "file and its terms hold; CelebAMask-HQ, on which they were trained, is for non-commercial research); your own "
             "come from: python train.py --model parsing --dataroot DATAROOT --name NAME")
PUBLISHED_SCHEME, PUBLISHED_SIZE = "face-parsing", 512


class FaceParser:
    """Parses batches of photos. spec: names and numbering of its classes. size: the side it was trained at, in pixels."""

    def __init__(self, net: torch.nn.Module, spec: DatasetSpec, size: int, device: torch.device, precision: str = "fp32"):
        self.net = net.to(device).eval().requires_grad_(False)
        if precision != "fp32":  # in 16 bits channels-last is several times as fast
            self.net = self.net.to(memory_format=torch.channels_last)
        self.spec, self.size, self.device, self.precision = spec, size, device, precision

    @classmethod
    def load(cls, checkpoint, gpu_ids: str = "-1", precision: str = "fp32") -> FaceParser:
        """Load a parser from an experiment's folder (its latest_net_P.pth) or from a .pth file of BiSeNet's weights.

        Raises UserError naming what is missing or does not fit, and where to get weights.
        """
        path = Path(checkpoint)
        folder = path if path.is_dir() else path.parent
        if path.is_dir():
            path = weights.file_of(path, "latest", "P", averaged=True)
        if not is_saved(path):
            raise UserError(f"{path}: there are no weights of a face parser; {PUBLISHED}")
        ids, line = available_gpu_ids(parse_gpu_ids(gpu_ids))
        if line:
            print(line)
        net, classes = _network(path)
        trained_here = path.name.endswith(("_net_P.pth", "_net_P_ema.pth"))
        spec = trained_spec(folder) if trained_here else DatasetSpec()
        return cls(net, named_spec(spec, classes, path), _size(folder) if trained_here else PUBLISHED_SIZE, device_of(ids),
                   usable_precision(precision, device_type(ids)))

    @torch.no_grad()
    def __call__(self, photos: torch.Tensor, smooth: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) uint8 -> label maps (N, H, W) uint8 (int32 from 256 classes up), and their agreement (N,) float32 with
        the maps of the flipped photos, see `_agreement`.

        The photos are resized to the side of the training. smooth: standard deviation in pixels of a Gaussian filter of the
        probabilities, which removes specks and ragged borders; 0: none.
        """
        photos = photos.to(self.device).float() / 127.5 - 1
        label = self._parse(photos, smooth)
        return label, self._agreement(photos, label, smooth)

    def _parse(self, photos: torch.Tensor, smooth: float) -> torch.Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, H, W) ids, on the CPU."""
        size = photos.shape[2:]
        scaled = _resized(photos, tuple(max(1, round(side * self.size / min(size))) for side in size))
        with autocast(self.device, self.precision):
            scores = self.net(imagenet_colors(scaled), auxiliary=False)[0]
        if scores.shape[2:] != size:
            scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
        if smooth > 0:
            scores = _blurred(scores.softmax(1), smooth)
        return scores.argmax(1).to(torch.uint8 if scores.shape[1] <= 256 else torch.int32).cpu()

    def _agreement(self, photos: torch.Tensor, label: torch.Tensor, smooth: float) -> torch.Tensor:
        """Cohen's kappa between the label maps and those of the photos shifted by 1/20 and flipped.

        The network's probabilities are a poor measure of confidence: after an epoch of training they may be 0.9 for wrong
        classes. Consistency under shift and flip is a better one. Without flip pairs the photos are only shifted.
        """
        pairs, (height, width) = self.spec.flip_pairs, label.shape[1:]
        shift = round(min(height, width) / 20) | 1  # odd, as networks with strides of 2 are equivariant to some even shifts
        moved = F.pad(photos, (shift, 0, shift, 0), mode="reflect")[:, :, :height, :width]
        again = self._parse(moved.flip(3), smooth).flip(2) if pairs else self._parse(moved, smooth)
        classes = 1 + max(int(label.max()), int(again.max()), *(i for pair in pairs for i in pair))
        partner = np.arange(classes)
        for left, right in pairs:
            partner[[left, right]] = right, left
        again, first = partner[again[:, shift:, shift:].numpy()], label[:, :height - shift, :width - shift].numpy()
        return torch.tensor([kappa(confusion(*maps, classes)) for maps in zip(again, first)])


def trained_spec(folder) -> DatasetSpec:
    """The spec of the classes of the parser in an experiment's folder; an empty one if it is not known.

    It is looked for in dataset.json in the folder, in the training state, and in the training data.
    """
    folder = Path(folder)
    if (folder / FILE_NAME).is_file():
        return DatasetSpec.read(folder)
    state = folder / STATE
    if is_saved(state):
        extra = read_tensors(state).get("model", {}).get("extra", {})
        if isinstance(extra, dict) and extra.get("data"):
            return DatasetSpec.from_dict(extra["data"], str(state))
    dataroot = _options(folder).get("dataroot")
    return DatasetSpec.read(dataroot) if dataroot else DatasetSpec()


def _network(path: Path):
    """The network in a file, and its number of classes."""
    state = read_tensors(path)
    last = state.get("conv_out.conv_out.weight", state.get("module.conv_out.conv_out.weight"))
    if not torch.is_tensor(last):
        raise UserError(f"{path}: holds no face parser (a BiSeNet with a layer conv_out); {PUBLISHED}")
    net = build(lambda: BiSeNet(len(last)), fresh=False)
    weights.load(net, "P", path, partial=False, hint=lambda *_: "it must be a BiSeNet as face-parsing.PyTorch has it",
                 state=state)
    return net, len(last)


def named_spec(spec: DatasetSpec, classes: int, path: Path) -> DatasetSpec:
    """The spec of a parser's classes; if it is not known, that of the published weights, with a line printed.

    spec: of `trained_spec`. path: of the weights. Raises UserError if it names another number of classes.
    """
    if spec.labels and len(spec.labels) != classes:
        raise UserError(f"{path}: tells {classes} classes apart, but its {FILE_NAME} names {len(spec.labels)}; put the "
                        f"right {FILE_NAME} beside it")
    if spec.labels:
        return spec
    if spec.label_nc or classes != len(face_spec(PUBLISHED_SCHEME).labels):
        return dataclasses.replace(spec, label_nc=classes)
    print(f"{path}: nothing says how its classes are numbered: taken as '{PUBLISHED_SCHEME}', which the published weights "
          f"follow (a {FILE_NAME} beside it would say otherwise)")
    return face_spec(PUBLISHED_SCHEME)


def _options(folder: Path) -> dict:
    raw = read_json(folder / "opt.json") if (folder / "opt.json").is_file() else {}
    options = raw.get("options", {}) if isinstance(raw, dict) else {}
    return options if isinstance(options, dict) else {}


def _size(folder: Path) -> int:
    """The side of the training pictures."""
    size = _options(folder).get("loadSize")
    return size if isinstance(size, int) and size > 0 else PUBLISHED_SIZE


def _resized(photos: torch.Tensor, size) -> torch.Tensor:
    """Bicubic resizing, as in training."""
    if tuple(photos.shape[2:]) == tuple(size):
        return photos
    return F.interpolate(photos, size, mode="bicubic", align_corners=False, antialias=True).clamp_(-1, 1)


def _blurred(chances: torch.Tensor, deviation: float) -> torch.Tensor:
    """A Gaussian filter of (N, C, H, W), with replicated borders."""
    reach = max(1, round(3 * deviation))
    x = torch.arange(-reach, reach + 1, device=chances.device, dtype=chances.dtype)
    kernel = torch.exp(-x ** 2 / (2 * deviation ** 2))
    kernel = (kernel / kernel.sum()).expand(chances.shape[1], 1, 1, -1)
    for pad, weight in (((reach, reach, 0, 0), kernel), ((0, 0, reach, reach), kernel.transpose(2, 3))):
        chances = F.conv2d(F.pad(chances, pad, mode="replicate"), weight, groups=chances.shape[1])
    return chances
