"""Autoencoders of faces: AE, VAE (Kingma and Welling 2014) and conditional VAE (Sohn et al. 2015)."""
from __future__ import annotations

import numpy as np
import torch

from data.attributes_dataset import AttributesDataset
from data.base_dataset import Needs
from models import vae_flags as flags
from models.face_model import FaceModel, turned
from models.latents import DIRECTIONS, LatentEncoding, read_directions
from models.losses.covariance import cross_correlation
from models.losses.kl import KLLoss
from models.networks.vae import VAE, reconstruction
from models.sampling_flags import asked
from util.errors import UserError
from util.experiment import experiment_folder
from util.util import tensor2im

_STEPS = 9  # of an interpolation, both photos included
_PASSES = 2  # over the attributes, where those of a photo are guessed


class VAEModel(FaceModel, flags=flags):
    """Network V (encoder and decoder), update V."""

    abilities = frozenset({"attributes", "encode"})

    @staticmethod
    def needs(opt):
        """Photos, on a condition with their attributes; nothing to draw from the prior, or between two photos."""
        if opt.role == "test" and (opt.sample == "prior" or opt.interpolate):
            return Needs((), listed_by="number", count=1 if opt.interpolate else None)
        return Needs(("image",) + ("attributes",) * (opt.condition != "none"), listed_by="image")

    @staticmethod
    def aimed(opt):
        """Photos that are drawn again aim at themselves."""
        return None if opt.sample == "prior" else opt

    def aims_at_truth(self):
        """As `aimed`."""
        return getattr(self.opt, "sample", "photos") == "photos" and not getattr(self.opt, "interpolate", None)

    def start_inference(self):
        """Prepare for inference, with the directions of attributes where there is no condition to turn them by."""
        super().start_inference()
        self.directions = {} if self.names else read_directions(experiment_folder(self.opt) / DIRECTIONS, self.opt.z_dim)
        lacking = [] if self.names else sorted(asked(self.opt).keys() - self.directions.keys())
        if lacking:
            raise UserError(f"--set {self.opt.set}: these weights were trained without --condition attributes, and there is no "
                            f"direction of {lacking[0]} in {experiment_folder(self.opt) / DIRECTIONS}; run encode_features.py, "
                            "on photos with attributes")

    # network and losses

    def networks(self):
        """One."""
        opt = self.opt
        return {"V": lambda: VAE(opt.loadSize, opt.z_dim, len(self.names), opt.latent == "gaussian", opt.output_nc)}

    def seen(self):
        """See FaceModel."""
        return self.nets["V"].seen

    def make_optimizers(self):
        """Adam."""
        return {"V": torch.optim.Adam(self.nets["V"].parameters(), lr=self.opt.lr, betas=(self.opt.beta1, 0.999), fused=True)}

    def start_training(self):
        """Prepare for training, with the losses."""
        super().start_training()
        self.kl_loss, self.beta, self.exchange = KLLoss(), self.opt.beta, 0.0

    def start_epoch(self, epoch):
        """The learning rate falls by a factor an epoch; the weight of the KL divergence rises during its warm-up, and the share
        of faces that are drawn of another's z falls during that of the condition."""
        opt = self.opt
        for group in self.optimizers["V"].param_groups:
            group["lr"] = opt.lr * opt.lr_decay ** (epoch - 1)
        self.beta = opt.beta * (min(1.0, (epoch - 1) / opt.kld_warmup) if opt.kld_warmup else 1.0)
        self.exchange = max(0.0, 1 - (epoch - 0.5) / opt.condition_warmup) if self.names and opt.condition_warmup else 0.0

    def updates(self):
        """The network's."""
        return (("V", self.loss_V),)

    def loss_V(self):  # noqa: N802 - named after the network
        """The error of a picture and, of a Gaussian, its divergence from N(0, I), both sums of a picture; on a condition also
        the correlation of z with it."""
        gaussian = self.opt.latent == "gaussian"
        noise = torch.randn(len(self.image), self.opt.z_dim, device=self.device) if gaussian else None
        exchanged = torch.rand(len(self.image), device=self.device) < self.exchange if self.exchange else None
        if exchanged is not None:
            exchanged[0] = False  # so that the encoder always learns
        with self.autocast():
            drawn, mu, log_variance = self.nets["V"](self.image, self.attributes, noise, exchanged)
        self.drawn = drawn.float()
        terms = {"Rec": reconstruction(self.drawn, self.image, self.opt.rec)}
        if gaussian:
            terms["KLD"] = self.kl_loss(mu.float(), log_variance.float(), len(self.image)) * self.beta
        if self.names and self.opt.lambda_xcov:
            terms["XCov"] = cross_correlation(mu.float(), self.attributes) * self.opt.lambda_xcov
        return terms

    # inference

    def draw(self, z, attributes):
        """See FaceModel."""
        with self.autocast():
            return self.nets["V"].decode(z, attributes).float()

    def encode(self, image: torch.Tensor, attributes: torch.Tensor | None) -> torch.Tensor:
        """(N, C, S, S), (N, A) or None -> float32 (N, z_dim), the mean."""
        with self.autocast():
            return self.nets["V"].encode(image, attributes)[0].float()

    @torch.no_grad()
    def inference(self, batch):
        """-> synthesized_image: photos drawn again, or faces of the prior, or what lies between two photos, side by side.

        z: float32 (N, z_dim) and attributes: (N, A) or None, what they were drawn of.
        """
        self.eval()
        if getattr(self.opt, "interpolate", None):
            return self._between(*(AttributesDataset.named(self.opt, name) for name in self.opt.interpolate))
        if not self.aims_at_truth():
            z, attributes = self.noise(batch["number"]), self.conditions(batch, asked(self.opt))
        else:
            image = batch["image"].to(self.device, non_blocking=True)
            z, attributes = self._of_photos(image, batch["attributes"])
        return {"synthesized_image": self.draw(z, attributes), "z": z, "attributes": attributes}

    def _of_photos(self, image, rows):
        """(z, attributes) of photos; attributes that are not known are guessed."""
        if not self.names:
            return self.encode(image, None), None
        attributes = torch.stack([row.to(self.device) if torch.is_tensor(row) else self.guessed(image[i])
                                  for i, row in enumerate(rows)])
        return self.encode(image, attributes), attributes

    def guessed(self, image: torch.Tensor) -> torch.Tensor:
        """(C, S, S) -> (A,): the attributes with which the photo is drawn best, turned one by one from the commonest ones."""
        best = (self.nets["V"].seen.known().mean(0) > 0.5).float()
        for _ in range(_PASSES):
            tried = torch.stack([best, *(turned(best, self.names, name, 1 - int(value)) for name, value in
                                         zip(self.names, best))])
            photos = image.expand(len(tried), -1, -1, -1)
            errors = (self.draw(self.encode(photos, tried), tried) - photos).square().mean((1, 2, 3))
            if int(errors.argmin()) == 0:
                break
            best = tried[int(errors.argmin())]
        return best

    def _between(self, first, second):
        """A strip from one item's photo to the other's, z and attributes on a line."""
        images = torch.stack([item["image"] for item in (first, second)]).to(self.device)
        z, attributes = self._of_photos(images, [item["attributes"] for item in (first, second)])
        share = torch.linspace(0, 1, _STEPS, device=self.device)[:, None]
        of_rows = [None if rows is None else rows[:1] * (1 - share) + rows[1:] * share for rows in (z, attributes)]
        strip = torch.cat(list(self.draw(*of_rows)), 2)[None]
        return {"synthesized_image": strip, "ends": images}

    @torch.no_grad()
    def edit(self, item: dict, settings: dict) -> torch.Tensor:
        """A photo's item, {attribute: 1 or 0} -> (C, S, S): the photo drawn again with these attributes."""
        self.eval()
        image = item["image"][None].to(self.device)
        z, rows = self._of_photos(image, [item["attributes"]])
        if self.names:
            return self.draw(z, self.with_settings(rows, settings))[0]
        return self.draw(z + self._shift(settings), None)[0]

    def _shift(self, settings: dict) -> torch.Tensor:
        """(z_dim,): along the directions of attributes. Raises UserError for one without direction."""
        shift = torch.zeros(self.opt.z_dim)
        for name, value in settings.items():
            if name not in self.directions:
                raise UserError(f"attributes {name}: has no direction among the latents; run encode_features.py, on photos "
                                "with attributes, or train with --condition attributes")
            shift += torch.from_numpy(self.directions[name]) * (1 if value else -1)
        return shift.to(self.device)

    def new_encoding(self):
        """What encode_features.py fills and writes."""
        return LatentEncoding(self)

    # results

    def current_visuals(self):
        """The first photo of the last step, and how it was drawn again."""
        return {"real_image": tensor2im(self.image[0]), "synthesized_image": tensor2im(self.drawn[0].detach())}

    def result_visuals(self, batch, outputs, i):
        """The photo, that drawn again, and that with attributes turned; or a face of the prior; or what lies between two."""
        drawn = {"synthesized_image": tensor2im(outputs["synthesized_image"][i])}
        if "ends" in outputs:
            first, second = tensor2im(list(outputs["ends"]))
            return {"first_photo": first, **drawn, "second_photo": second}
        if not self.aims_at_truth():
            return {**drawn, **self._shown_turned(outputs, i, asked(self.opt))}
        return {"real_image": tensor2im(batch["image"][i]), **drawn, **self._shown_turned(outputs, i)}

    def _shown_turned(self, outputs, i, but=()) -> dict[str, np.ndarray]:
        """{'Smiling=1': picture}, at test. but: attributes that are as asked already."""
        if self.opt.role != "test" or but or not hasattr(self.opt, "set"):
            return {}
        z = outputs["z"][i]
        if self.names:
            return self.drawn_turned(z, outputs["attributes"][i], self.turns(outputs["attributes"][i]))
        settings = asked(self.opt) or dict.fromkeys(self.directions, 1)
        with torch.no_grad():
            return {f"{name}={value}": tensor2im(self.draw((z + self._shift({name: value}))[None], None)[0])
                    for name, value in settings.items()}

    def new_metrics(self):
        """SSIM and PSNR against the photos."""
        from util.metrics.pictures import PictureMetrics
        return PictureMetrics()
