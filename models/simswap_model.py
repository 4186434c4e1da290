"""Identity swap: the source's identity in the target's pose, expression, light and background (arXiv:2106.06340)."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from data.base_dataset import Needs
from models import simswap_flags as flags
from models import weights
from models.base_model import BaseModel
from models.losses.feature_matching import FeatureMatchingLoss
from models.losses.gan import GANLoss
from models.losses.kl import KLLoss
from models.networks import MultiscaleDiscriminator
from models.networks.identity import describe as describe_identity
from models.networks.identity import face_oval, identity_net
from models.networks.simswap import RANGES, SimSwapGenerator, as_picture, describe
from models.swapping.pasting import paste
from models.swapping.swapper import FaceSwapper
from util.checkpoint import read_tensors
from util.errors import UserError
from util.experiment import experiment_folder
from util.files import read_json
from util.util import tensor2im

MADE = "Made by a program: these faces were exchanged, and no such pictures were taken."
_AROUND = 1.25  # the face with its surroundings, in multiples of the face's oval
_WRONG, _RIGHT = 0.12, 0.5  # mean error from which a picture is looked at, and the share of it that the other range leaves


class SimSwapModel(BaseModel, flags=flags):
    """Networks G (generator), D (patch discriminators) and I (the identity network, which is not trained); updates G and D."""

    dataset_mode = flags.dataset_mode
    abilities = frozenset({"swap"})
    may_start_fresh = ("D", "I")
    marks_pictures = True

    @staticmethod
    def needs(opt):
        """Pairs of faces, of sides that can be halved as often as the generator does."""
        return Needs(("image", "source"), listed_by="image", multiple=2 ** opt.n_downsample_global, least=32)

    # networks

    def networks(self):
        """G and I, and to train D."""
        opt = self.opt
        z_nc = opt.z_nc if opt.latent == "gaussian" else 0
        makers = {"G": lambda: SimSwapGenerator(opt.ngf, opt.n_blocks_global, opt.output_range, z_nc,
                                                 opt.n_downsample_global)}
        if opt.role == "train":
            makers["D"] = lambda: MultiscaleDiscriminator(3, opt.ndf, opt.n_layers_D, num_D=opt.num_D,
                                                          intermediate_features=True)
        form = self._identity_form()
        makers["I"] = lambda: identity_net(**form)
        return makers

    def inference_networks(self):
        """Without the discriminators."""
        return ["G", "I"]

    def _identity_file(self) -> Path | None:
        """The file that the identity network comes from, if it is not of random weights."""
        opt = self.opt
        if opt.role == "train" and opt.identity and not opt.continue_train:
            given = Path(opt.identity)
            return given / "latest_net_I.pth" if given.is_dir() else given
        folder = Path(getattr(opt, "load_pretrain", "") or experiment_folder(opt))
        file = weights.file_of(folder, opt.which_epoch, "I", averaged=False)
        return file if file.is_file() else None

    def _identity_form(self) -> dict:
        file = self._identity_file()
        if file is None:
            return {"kind": "small", "size": self.opt.loadSize, "width": 4}
        found = describe_identity(read_tensors(file))
        if not found:
            raise UserError(f"{file}: holds no identity network; give weights of --model identity, or model_ir_se50.pth")
        return {"kind": found["netI"], "size": found["loadSize"], "width": found.get("nif", 0)}

    def load_networks(self):
        """As the base; a new training takes the identity network from --identity."""
        opt = self.opt
        if opt.role == "train" and not (opt.identity or opt.from_scratch or opt.continue_train or opt.load_pretrain):
            raise UserError("--identity: a swap is trained with a network that knows identities; give an experiment of --model "
                            "identity, or the published model_ir_se50.pth")
        super().load_networks()
        if opt.role == "train" and opt.identity and not opt.continue_train:
            weights.load(self.nets["I"], "I", self._identity_file(), False, self.weights_hint)
        self._know_identity_net()

    def _know_identity_net(self):
        """Note which identity network this is; raise UserError where the generator was trained with another."""
        own = f"identity network {weights.digest(self.nets['I'].state_dict())[:16]}"
        record = experiment_folder(self.opt) / "opt.json"
        notes = read_json(record).get("notes", ()) if record.is_file() else ()
        trained = [note for note in notes if str(note).startswith("identity network ")]
        if trained and trained[0] != own and (self.opt.role != "train" or self.opt.continue_train):
            raise UserError(f"{experiment_folder(self.opt)}: its generator was trained with another identity network than "
                            f"{self.opt.which_epoch}_net_I.pth holds, whose numbers mean something else; put back the one of "
                            "its training")
        if self.opt.role == "train":
            self.notes.append(own)

    def weights_hint(self, name, state):
        """The flags that a state dict was made with."""
        found = describe(state) if name == "G" else describe_identity(state)
        return found and "its shapes say " + " ".join(f"--{flag} {value}" for flag, value in found.items())

    def make_optimizers(self):
        """Adam."""
        opt = self.opt
        return {name: torch.optim.Adam(self.nets[name].parameters(), lr=opt.lr, betas=(opt.beta1, opt.beta2), fused=True)
                for name in ("G", "D")}

    def train(self, mode: bool = True):
        """The identity network stays in evaluation mode."""
        super().train(mode)
        if "I" in self.nets:
            self.nets["I"].eval()
        return self

    def start_training(self):
        """Prepare for training, with the losses."""
        super().start_training()
        opt = self.opt
        self.gan, self.matching = GANLoss(mode="hinge"), FeatureMatchingLoss(opt.n_layers_D, opt.num_D)
        self.kl = KLLoss()
        self.lambda_bg = opt.lambda_bg if opt.lambda_bg is not None else 10.0 * (opt.latent == "gaussian")

    def start_inference(self):
        """Prepare for inference; the range of the first picture is looked at."""
        super().start_inference()
        self.range_is_known = not self._files
        self.notes.append(MADE)

    def start_epoch(self, epoch):
        """Constant learning rate, then linear decay."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.opt.lr * self.linear_decay(epoch)

    # the step

    def prepare(self, batch):
        """Pairs on the device, and the sources' identities."""
        self.target, self.source = (batch[key].to(self.device, non_blocking=True) for key in ("image", "source"))
        self.same = batch["same"].to(self.device, non_blocking=True)
        with torch.no_grad():
            self.identity = self.embed(self.source)

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [-1, 1] -> float32 (N, 512) of length 1, in the precision that the flags ask for."""
        net = self.nets["I"]
        with self.autocast():
            return net(image).float()

    def updates(self):
        """Generator, then discriminators."""
        return (("G", self.loss_G), ("D", self.loss_D))

    def loss_G(self):  # noqa: N802 - named after the network
        """Identity of the source, all else of the target."""
        opt, net, noise = self.opt, self.nets["G"], None
        if opt.latent == "gaussian":
            sides = (side >> opt.n_downsample_global for side in self.target.shape[2:])
            noise = torch.randn(len(self.target), opt.z_nc, *sides, device=self.device)
        with self.autocast():
            self.fake, mu, log_variance = net(self.target.expand(-1, 3, -1, -1), self.identity, noise)
            fake, self.pred_real = self.nets["D"](self.fake), self.nets["D"](self.target.expand(-1, 3, -1, -1))
        last = (opt.n_layers_D + 1) // 2  # weak feature matching leaves the first layers out
        terms = {"G_GAN": self.gan.generator(fake, self.pred_real),
                 "G_id": (1 - (self.embed(self.fake) * self.identity).sum(1)).mean() * opt.lambda_id,
                 "G_feat": self.matching([scale[last:] for scale in fake], [scale[last:] for scale in self.pred_real]) *
                 opt.lambda_feat}
        error = (self.fake - self.target).abs()
        terms["G_rec"] = (error.mean((1, 2, 3)) * self.same).sum() / self.same.sum().clamp_min(1) * opt.lambda_rec
        if self.lambda_bg:
            outside = 1 - face_oval(*error.shape[2:], _AROUND, self.device)
            terms["G_bg"] = (error * outside).mean() / outside.mean() * self.lambda_bg
        if mu is not None:
            terms["G_KL"] = self.kl(mu, log_variance, mu.numel()) * opt.lambda_kl
        return terms

    def loss_D(self):  # noqa: N802 - named after the network
        """The hinge loss of swaps and photos."""
        with self.autocast():
            fake = self.nets["D"](self.fake.detach())
        return self.gan.discriminator(fake, self.pred_real)

    # results

    @torch.no_grad()
    def draw(self, target: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        """(N, 3 or 1, H, W) in [-1, 1], (N, 512) -> float32 (N, 3, H, W) in [-1, 1]. Raises UserError for a wrong range."""
        net, target = self.nets["G"], target.expand(-1, 3, -1, -1)
        with self.autocast():
            raw = net.raw(target, identity)[0]
        drawn = as_picture(raw.float(), self.opt.output_range)
        if not self.training and not getattr(self, "range_is_known", True):
            self._check_range(raw.float(), drawn, target)
            self.range_is_known = True
        return drawn.clamp(-1, 1)

    def _check_range(self, raw, drawn, target):
        """Raise UserError where the other --output_range is far nearer to the target."""
        other = next(name for name in RANGES if name != self.opt.output_range)
        error, others = ((picture.clamp(-1, 1) - target).abs().mean().item() for picture in (drawn, as_picture(raw, other)))
        if error > _WRONG and others < _RIGHT * error:
            raise UserError(f"--output_range {self.opt.output_range}: the picture's colours are those of weights trained with "
                            f"{other}; give --output_range {other}")

    @torch.no_grad()
    def inference(self, batch):
        """-> synthesized_image: float32 (N, 3, S, S) in [-1, 1]. source, target, swap: (N, 512), their identities."""
        self.eval()
        target, source = (batch[key].to(self.device, non_blocking=True) for key in ("image", "source"))
        identity = self.embed(source)
        drawn = self.draw(target, identity)
        return {"synthesized_image": drawn, "source": identity, "target": self.embed(target), "swap": self.embed(drawn)}

    def current_visuals(self):
        """The first pair of the last step."""
        return {"source_image": tensor2im(self.source[0]), "target_image": tensor2im(self.target[0]),
                "synthesized_image": tensor2im(self.fake[0].detach().clamp(-1, 1))}

    def result_visuals(self, batch, outputs, i):
        """Source, target, swap; of --targets whole photos."""
        drawn = tensor2im(outputs["synthesized_image"][i])
        target = tensor2im(batch["image"][i])
        if getattr(self.opt, "targets", ""):
            from data.image_files import read_image
            target = np.asarray(read_image(batch["path"][i]))
            drawn = paste(target, drawn, batch["points"][i])
            for points in batch["others"][i]:
                drawn = FaceSwapper(self).swap_at(drawn, points, outputs["source"][i:i + 1])
        return {"source_image": tensor2im(batch["source"][i]), "target_image": target, "synthesized_image": drawn}

    def compared(self, batch, outputs, i, visuals=None):
        """The swap and the target as pictures, and the identities of all three."""
        vectors = {key: outputs[key][i].cpu().numpy() for key in ("source", "target", "swap")}
        return {"drawn": tensor2im(outputs["synthesized_image"][i]), "true": tensor2im(batch["image"][i]),
                "asked": {**vectors, "name": batch["source_name"][i], "person": batch["source_identity"][i]}}

    def new_metrics(self):
        """How near the swap is to the source, and how far from the target outside the face."""
        from util.metrics.swap import SwapMetrics
        oval = face_oval(self.opt.loadSize, self.opt.loadSize, _AROUND)[0, 0].numpy()
        return SwapMetrics(1 - oval)

    def evaluation_metrics(self, text, available):
        """Those; --metrics asks for others."""
        return super().evaluation_metrics(text, available) if text != "all" else self.validation_metrics(None)

    def validation_metrics(self, names):
        """Those, whatever is asked for."""
        from util.metrics.collection import MetricSet
        return MetricSet({"swap": self.new_metrics()})
