"""A straightforward implementation of pix2pixHD's training step and inference, with which ours is compared.

Float32 and eager; three forward passes of the discriminator; gradients for all parameters in the graph, used or not; features
pooled in a loop over instances and channels; Adam not fused; the allocator's defaults.
"""
from __future__ import annotations

import torch

from models.losses.feature_matching import FeatureMatchingLoss
from models.losses.gan import GANLoss
from models.losses.perceptual import VGGLoss
from models.networks import define_D, define_G
from models.networks.convolution import FastConv2d
from models.regions import edges
from util.device import autocast

LABELS, FEATURES = 19, 3


def plain_generator(device, ngf: int) -> torch.nn.Module:
    """pix2pixHD's default global generator."""
    return _direct(define_G(LABELS + 1 + FEATURES, 3, ngf, "global", 4, 9)).to(device)


def plain_encoder(device) -> torch.nn.Module:
    """pix2pixHD's default encoder."""
    return _direct(define_G(3, FEATURES, 16, "encoder", 4)).to(device)


def _direct(net: torch.nn.Module) -> torch.nn.Module:
    """Have all convolutions computed directly."""
    for module in net.modules():
        if isinstance(module, FastConv2d):
            module.direct = True
    return net


def pool_by_loop(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), (N, 1, H, W) ids -> features averaged over each region of each picture."""
    pooled = features.clone()
    for number in range(len(maps)):
        for label in maps[number].unique():
            rows, columns = (maps[number, 0] == label).nonzero(as_tuple=True)
            for channel in range(features.shape[1]):
                pooled[number, channel, rows, columns] = features[number, channel, rows, columns].mean()
    return pooled


def condition_of(label: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) ids -> (N, LABELS + 1, H, W): one-hot, and edges."""
    n, _, height, width = label.shape
    hot = torch.zeros(n, LABELS, height, width, device=label.device).scatter_(1, label.long(), 1.0)
    return torch.cat([hot, edges(label)], 1)


class PlainTraining:
    """The documented training (19 labels, --label_feat, --no_vgg_loss) with pix2pixHD's default networks."""

    def __init__(self, device, ngf: int = 64, precision: str = "fp32", vgg: torch.nn.Module | None = None):
        """precision: that of autocast, 'fp32' for none. vgg: a VGG19Features for the perceptual loss."""
        torch.manual_seed(0)
        self.precision, self.vgg_loss = precision, None if vgg is None else VGGLoss(vgg.to(device))
        self.G = plain_generator(device, ngf)
        self.D = define_D(LABELS + 1 + 3, ngf, 3, "instance", False, 2, True).to(device)
        self.E = plain_encoder(device)
        self.optimizer_G = torch.optim.Adam([*self.G.parameters(), *self.E.parameters()], 2e-4, (0.5, 0.999))
        self.optimizer_D = torch.optim.Adam(self.D.parameters(), 2e-4, (0.5, 0.999))
        self.gan_loss, self.matching_loss = GANLoss(), FeatureMatchingLoss(3, 2)
        self.device = device

    def step(self, batch) -> dict[str, float]:
        """A step of both optimizers: {term: value}."""
        label, image = batch["label"].to(self.device), batch["image"].to(self.device)
        condition = condition_of(label)
        with autocast(self.device, self.precision):
            features = pool_by_loop(self.E.features(image), label)
            fake = self.G(torch.cat([condition, features], 1))
            pred_detached = self.D(torch.cat([condition, fake.detach()], 1))
            pred_real = self.D(torch.cat([condition, image], 1))
            pred_fake = self.D(torch.cat([condition, fake], 1))
            perceptual = 0.0 if self.vgg_loss is None else self.vgg_loss(fake, image) * 10
        terms = {"G_GAN": self.gan_loss(pred_fake, True), "G_GAN_Feat": self.matching_loss(pred_fake, pred_real) * 10,
                 "D_real": self.gan_loss(pred_real, True), "D_fake": self.gan_loss(pred_detached, False)}
        self.optimizer_G.zero_grad()
        (terms["G_GAN"] + terms["G_GAN_Feat"] + perceptual).backward()
        self.optimizer_G.step()
        self.optimizer_D.zero_grad()
        ((terms["D_real"] + terms["D_fake"]) / 2).backward()
        self.optimizer_D.step()
        return {name: float(value.detach()) for name, value in terms.items()}


class PlainDrawing:
    """Inference from a label map and a photo's features, one picture at a time."""

    def __init__(self, device, ngf: int = 64, precision: str = "fp32"):
        torch.manual_seed(0)
        self.precision = precision
        self.G = plain_generator(device, ngf)
        self.E = plain_encoder(device)
        self.device = device

    @torch.no_grad()
    def draw(self, batch) -> torch.Tensor:
        """(N, 3, H, W) in [-1, 1]."""
        label, image = batch["label"].to(self.device), batch["image"].to(self.device)
        with autocast(self.device, self.precision):
            features = pool_by_loop(self.E.features(image), label)
            return self.G(torch.cat([condition_of(label), features], 1)).float()


def face_batch(size: int, count: int = 1) -> dict:
    """A batch like the loader's, of shipped faces scaled to `size`."""
    import numpy as np
    from PIL import Image

    from data.image_files import read_image, read_label
    from options.base_options import SAMPLE_FACES
    known = sorted(path.stem for path in (SAMPLE_FACES / "train_label").glob("*.png"))
    names = [known[i % len(known)] for i in range(count)]
    labels, images = [], []
    for name in names:
        ids = Image.fromarray(read_label(SAMPLE_FACES / "train_label" / f"{name}.png"))
        photo = next((SAMPLE_FACES / "train_img").glob(f"{name}.*"))
        labels.append(torch.from_numpy(np.array(ids.resize((size, size), Image.Resampling.NEAREST)))[None])
        values = np.array(read_image(photo).resize((size, size), Image.Resampling.BICUBIC))
        images.append(torch.from_numpy(values).permute(2, 0, 1).float() / 127.5 - 1)
    label = torch.stack(labels)
    return {"label": label, "inst": label, "image": torch.stack(images), "feat": [0] * count, "index": list(range(count)),
            "name": names, "path": names, "count": count, "weight": 1.0}


__all__ = ["FEATURES", "LABELS", "PlainDrawing", "PlainTraining", "face_batch", "pool_by_loop"]
