"""GANs of faces: GAN (Goodfellow et al. 2014), conditional GAN (Mirza and Osindero 2014), ACGAN (Odena et al. 2017)."""
from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from data.base_dataset import Needs
from models import gan_flags as flags
from models.diffaug import DiffAugment
from models.face_model import FaceModel, turned
from models.losses.adversarial import discriminator_loss, generator_loss, mode_seeking_loss, wasserstein_penalty
from models.losses.gradient_penalty import gradient_penalty
from models.networks.face_gan import FaceDiscriminator, FaceGenerator
from models.sampling_flags import asked
from util.util import tensor2im

_ROWS, _COLUMNS = 3, 8  # of the grid on the training page
_LAMBDA_GP = 10.0  # Gulrajani et al. 2017


class GANModel(FaceModel, flags=flags):
    """Networks G (generator) and D (discriminator); updates G and D."""

    may_start_fresh = ("D",)

    @staticmethod
    def needs(opt):
        """True faces to learn from, on a condition with their attributes; nothing to draw."""
        if opt.role == "test":
            return Needs((), listed_by="number")
        return Needs(("image",) + ("attributes",) * (opt.condition != "none"), listed_by="image")

    @staticmethod
    def aimed(opt):
        """No face aims at a photo."""
        return

    def aims_at_truth(self):
        """As `aimed`."""
        return False

    # networks

    def networks(self):
        """G and D to train, G to draw."""
        opt, count = self.opt, len(self.names)
        makers = {"G": lambda: FaceGenerator(opt.loadSize, opt.z_dim, count, opt.ngf, opt.output_nc)}
        if opt.role == "train":
            makers["D"] = lambda: FaceDiscriminator(opt.loadSize, count, opt.condition, opt.ndf, opt.output_nc)
        return makers

    def inference_networks(self):
        """The generator."""
        return ["G"]

    def networks_to_compile(self):
        """The generator; of the discriminator, see Pix2PixHDModel."""
        return [self.nets["G"]]

    def seen(self):
        """See FaceModel."""
        return self.nets["G"].seen

    def make_optimizers(self):
        """Adam for each."""
        return {name: torch.optim.Adam(self.nets[name].parameters(), lr=self.opt.lr, betas=(self.opt.beta1, 0.9), fused=True)
                for name in "GD"}

    def start_epoch(self, epoch):
        """Constant learning rate, then linear decay."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.opt.lr * self.linear_decay(epoch)

    # losses

    def updates(self):
        """G first: it stores the faces and D's logits, which D's loss uses."""
        return ("G", self.loss_G), ("D", self.loss_D)

    def discriminate(self, image: torch.Tensor, attributes: torch.Tensor | None):
        """(N, C, S, S), (N, A) or None -> float32 logits (N,), and (N, A) of the auxiliary head or None. The pictures are
        augmented, as --diffaug says."""
        if self.opt.diffaug:
            image = DiffAugment.draw(set(self.opt.diffaug.split(",")), image).picture(image)
        with self.autocast():
            logits, found = self.nets["D"](image, attributes)
        return logits.float(), None if found is None else found.float()

    def loss_G(self):  # noqa: N802 - named after the network
        """The adversarial loss and, of an auxiliary head, the attributes that the faces were asked to have; with --lambda_ms
        also how much faces differ that were asked to have the same ones, of another z."""
        opt, count = self.opt, len(self.image)
        z = torch.randn(count, opt.z_dim, device=self.device)
        pairs, self.asked = count // 2 if opt.lambda_ms else 0, self.attributes
        if pairs and self.asked is not None:
            self.asked = torch.cat([self.asked[:count - pairs], self.asked[:pairs]])
        self.drawn = self.draw(z, self.asked)
        self.of_drawn = self.discriminate(self.drawn, self.asked)
        terms = {"G_GAN": generator_loss(self.of_drawn[0], opt.gan_mode)}
        if opt.condition == "auxiliary":
            terms["G_aux"] = self._auxiliary(self.of_drawn[1], self.asked)
        if opt.lambda_ms:  # 0 of a single picture, so that all processes have the same terms
            terms["G_MS"] = opt.lambda_ms * mode_seeking_loss(
                *(x[part] for x in (self.drawn, z) for part in (slice(pairs), slice(count - pairs, None))))
        return terms

    def loss_D(self):  # noqa: N802 - named after the network
        """The adversarial loss, penalties on its gradient, and the attributes of true faces; with --aux_of_drawn, as Odena et
        al., also those that drawn faces were asked to have, which slows learning as long as these do not have them."""
        opt, (fake, fake_attributes) = self.opt, self.of_drawn

        def judged(image):
            return self.discriminate(image, self.attributes)[0]

        real, real_attributes = self.discriminate(self.image, self.attributes)
        terms = discriminator_loss(real, fake, opt.gan_mode)
        if opt.condition == "auxiliary":
            terms["D_aux"] = self._auxiliary(real_attributes, self.attributes)
            if opt.aux_of_drawn:
                terms["D_aux_fake"] = self._auxiliary(fake_attributes, self.asked)
        if opt.gan_mode == "wgangp":
            terms["D_GP"] = wasserstein_penalty(judged, self.image, self.drawn) * _LAMBDA_GP
        if opt.lambda_r1 and self.steps % opt.r1_every == 0:
            penalty = gradient_penalty(lambda image: [judged(image)[:, None, None, None]], self.image)
            terms["D_R1"] = penalty * (opt.lambda_r1 / 2 * opt.r1_every)
        self.of_drawn = None  # so that the backward pass can free activations
        return terms

    def _auxiliary(self, found, attributes):
        return F.binary_cross_entropy_with_logits(found, attributes) * self.opt.lambda_aux

    # results

    def draw(self, z, attributes):
        """See FaceModel."""
        with self.autocast():
            return self.nets["G"](z, attributes).float()

    @torch.no_grad()
    def inference(self, batch):
        """-> synthesized_image: a face for each number, with the attributes of the photo there, if there is one, and of --set.

        z: float32 (N, z_dim) and attributes: (N, A) or None, what they were drawn of.
        """
        self.eval()
        z, attributes = self.noise(batch["number"]), self.conditions(batch, asked(self.opt))
        return {"synthesized_image": self.draw(z, attributes), "z": z, "attributes": attributes}

    def current_visuals(self):
        """Faces of the same z at every time: with a condition a row has one z, and each column an attribute, turned on."""
        with self.as_at_test(), torch.no_grad():
            self.eval()
            return {"real_image": tensor2im(self.image[0]), "synthesized_faces": self._grid()}

    def _grid(self) -> np.ndarray:
        z = self.noise(range(_ROWS * (1 if self.names else _COLUMNS)))
        if self.names:
            plain = self.seen().known().mean(0).round()
            columns = torch.stack([plain, *(turned(plain, self.names, name, 1.0) for name in self.names[:_COLUMNS - 1])])
            drawn = [self.draw(row.expand(len(columns), -1), columns) for row in z]
        else:
            drawn = list(self.draw(z, None).split(_COLUMNS))
        return tensor2im(torch.cat([torch.cat(list(row), 2) for row in drawn], 1))

    def result_visuals(self, batch, outputs, i):
        """The face, and with a condition, unless --set asks for attributes, the same with each turned."""
        visuals = {"synthesized_image": tensor2im(outputs["synthesized_image"][i])}
        if self.names and self.opt.role == "test" and hasattr(self.opt, "set") and not self.opt.set:
            attributes = outputs["attributes"][i]
            visuals |= self.drawn_turned(outputs["z"][i], attributes, self.turns(attributes))
        return visuals
