"""The generator's adversaries: a discriminator with its losses and what they need, by --netD."""
from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch.nn.utils import parametrize

from models.diffaug import DiffAugment
from models.losses.gan import GANLoss
from models.losses.gradient_penalty import gradient_penalty
from models.losses.segmentation import IGNORED, SegmentationGANLoss, label_mix, label_mix_loss
from models.networks.discriminator import MultiscaleDiscriminator
from models.networks.segmentation import SegmentationDiscriminator


class Adversary(ABC):
    """How a discriminator judges pictures, and what it and the generator minimise.

    Its methods take the batch's condition (N, C, H, W), one-hot classes (or a picture) and edges, and pictures. Between two
    calls of `start` all pictures are augmented alike (--diffaug).
    """

    def __init__(self, opt):
        self.opt, self.kinds = opt, set(filter(None, opt.diffaug.split(",")))
        self.augment: DiffAugment | None = None

    @staticmethod
    @abstractmethod
    def network(opt, condition_nc: int):
        """The discriminator, before its weights are initialised."""

    def start(self, images: torch.Tensor) -> None:
        """Draw the augmentation of a step."""
        self.augment = DiffAugment.draw(self.kinds, images) if self.kinds else None

    @abstractmethod
    def predict(self, net, condition, image):
        """What the discriminator says of pictures."""

    @abstractmethod
    def generator_loss(self, fake, real, condition) -> torch.Tensor:
        """fake, real: predictions -> scalar, unweighted."""

    @abstractmethod
    def discriminator_loss(self, fake, real, of_fake, of_real) -> dict[str, torch.Tensor]:
        """fake, real: predictions; of_fake, of_real: the conditions of these pictures -> {term: scalar}."""

    @abstractmethod
    def critics(self, net, condition, image) -> list[torch.Tensor]:
        """How real pixels or patches look, (N, 1, h, w) at each scale, for the gradient penalty."""

    def penalty_terms(self) -> tuple[str, ...]:
        """R1 of real pictures, and with the relativistic loss R2 of drawn ones."""
        return ("D_R1", "D_R2") if self.opt.gan_mode == "relativistic" else ("D_R1",)

    def penalties(self, net, condition, real, fake) -> dict[str, torch.Tensor]:
        """The gradient penalties, weighted by --lambda_r1."""
        return {term: gradient_penalty(lambda image: self.critics(net, condition, image), images) * self.opt.lambda_r1
                for term, images in zip(self.penalty_terms(), (real, fake))}

    def _seen(self, condition, image):
        if self.augment is None:
            return condition, image
        return self.augment.condition(condition), self.augment.picture(image)


class PatchAdversary(Adversary):
    """The multiscale patch discriminator, which sees condition and picture."""

    def __init__(self, opt):
        super().__init__(opt)
        self.loss = GANLoss(use_lsgan=not opt.no_lsgan, mode=opt.gan_mode)

    @staticmethod
    def network(opt, condition_nc):
        """As of define_D."""
        return MultiscaleDiscriminator(condition_nc + opt.output_nc, opt.ndf, opt.n_layers_D, opt.norm, opt.no_lsgan, opt.num_D,
                                       not opt.no_ganFeat_loss)

    def predict(self, net, condition, image):
        """A list over scales of lists of layers' outputs."""
        return net(torch.cat(self._seen(condition, image), 1))

    def generator_loss(self, fake, real, condition):
        """By --gan_mode."""
        return self.loss.generator(fake, real)

    def discriminator_loss(self, fake, real, of_fake, of_real):
        """By --gan_mode."""
        return self.loss.discriminator(fake, real)

    def critics(self, net, condition, image):
        """The predictions."""
        return [scale[-1] for scale in self.predict(net, condition, image)]


class SegmentationAdversary(Adversary):
    """The segmentation discriminator, which sees the picture and tells its classes."""

    def __init__(self, opt):
        super().__init__(opt)
        self.loss = SegmentationGANLoss()

    @staticmethod
    def network(opt, condition_nc):
        """A U-Net of --n_layers_D halvings."""
        return SegmentationDiscriminator(opt.output_nc, opt.label_channels, opt.ndf, opt.n_layers_D)

    def predict(self, net, condition, image):
        """Scores (N, classes + 1, H, W)."""
        with parametrize.cached():
            return net(image if self.augment is None else self.augment.picture(image))

    def _labels(self, condition):
        labels = self._unmoved_labels(condition)
        return labels if self.augment is None else self.augment.labels(labels, IGNORED)

    def _unmoved_labels(self, condition):
        classes = condition[:, :self.opt.label_channels].float()
        with torch.autocast(classes.device.type, enabled=False):  # a product, as argmax over channels takes ten times as long
            numbers = torch.arange(classes.shape[1], device=classes.device, dtype=torch.float32)
            return (numbers @ classes.flatten(2)).long().view(len(classes), *classes.shape[2:])

    def generator_loss(self, fake, real, condition):
        """Each drawn pixel is to show its class."""
        return self.loss.of_classes(fake, self._labels(condition))

    def discriminator_loss(self, fake, real, of_fake, of_real):
        """Real pixels show their class, drawn ones the class of drawn ones."""
        return {"D_real": self.loss.of_classes(real, self._labels(of_real)),
                "D_fake": self.loss.of_drawn(fake, self._labels(of_fake))}

    def label_mix(self, net, condition, real, fake, pred_real, pred_fake) -> torch.Tensor:
        """Scores of a mixture are to be the mixture of scores (equation 5) -> scalar, unweighted."""
        labels = self._unmoved_labels(condition)
        mixed, mask = label_mix(real, fake.detach(), labels, self.opt.label_channels)
        moved = mask if self.augment is None else self.augment.condition(mask)
        return label_mix_loss(self.predict(net, condition, mixed), pred_real, pred_fake, moved)

    def critics(self, net, condition, image):
        """How far each pixel's class is ahead of the class of drawn pixels."""
        scores, labels = self.predict(net, condition, image), self._labels(condition).clamp_min(0)
        return [scores.gather(1, labels[:, None]) - scores[:, -1:]]


ADVERSARIES = {"multiscale": PatchAdversary, "segmentation": SegmentationAdversary}
