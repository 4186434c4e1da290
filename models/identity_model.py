"""Who it is: a face to a unit vector, trained with the additive angular margin (Deng et al. 2019, arXiv:1801.07698)."""
from __future__ import annotations

import numpy as np
import torch

from data.base_dataset import Needs
from models import identity_flags as flags
from models.base_model import BaseModel
from models.losses.angular_margin import AngularMargin
from models.networks.identity import EMBEDDING, describe, face_oval, identity_net
from util.util import tensor2im

_POWER = 0.9
_STEPS = (0.5, 0.75, 0.9)  # shares of the epochs


class IdentityModel(BaseModel, flags=flags):
    """Networks I (the identity network) and M (a direction for each person of the training); update I, of both."""

    dataset_mode = flags.dataset_mode
    may_start_fresh = ("M",)

    @staticmethod
    def needs(opt):
        """Photos of people who are known."""
        return Needs(("image", "identity"), listed_by="image", least=16)

    # networks and optimizer

    def networks(self):
        """I, and M to train."""
        opt = self.opt
        makers = {"I": lambda: identity_net(opt.netI, opt.loadSize, opt.nif)}
        if opt.role == "train":
            makers["M"] = lambda: AngularMargin(opt.people, EMBEDDING, opt.scale)
        return makers

    def inference_networks(self):
        """The network without the people of the training."""
        return ["I"]

    def weights_hint(self, name, state):
        """The flags that a state dict was made with."""
        found = describe(state)
        return found and "its shapes say " + " ".join(f"--{flag} {value}" for flag, value in found.items())

    def make_optimizers(self):
        """SGD, without weight decay on norms and biases."""
        opt, parameters = self.opt, [p for name in ("I", "M") for p in self.nets[name].parameters()]
        groups = [{"params": [p for p in parameters if p.ndim > 1]},
                  {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]
        return {"I": torch.optim.SGD(groups, lr=opt.lr, momentum=opt.momentum, weight_decay=opt.weight_decay, fused=True)}

    def start_epoch(self, epoch):
        """Learning rate and margin."""
        opt, done = self.opt, (epoch - 1) / max(1, self.opt.niter + self.opt.niter_decay)
        factor = max(0.0, 1 - done) ** _POWER if opt.lr_policy == "poly" else 0.1 ** sum(done >= step for step in _STEPS)
        for group in self.optimizers["I"].param_groups:
            group["lr"] = opt.lr * factor
        self.margin = opt.margin * (min(1.0, (epoch - 1) / opt.margin_warmup) if opt.margin_warmup else 1.0)

    # the step

    def prepare(self, batch):
        """Faces and people on the device."""
        self.image = batch["image"].to(self.device, non_blocking=True)
        self.label = torch.as_tensor(batch["identity"]).to(self.device, non_blocking=True)

    def updates(self):
        """Both networks', together."""
        return (("I", self.loss_I),)

    def loss_I(self):  # noqa: N802 - named after the network
        """Cross-entropy of the people, with the margin."""
        loss, _ = self.nets["M"](self.embed(self.image), self.label, self.margin)
        return {"I_margin": loss}

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [-1, 1] -> float32 (N, 512) of length 1, in the precision that the flags ask for."""
        net = self.nets["I"]
        with self.autocast():
            return net(image).float()

    # results

    @torch.no_grad()
    def inference(self, batch):
        """-> embedding: float32 (N, 512) of length 1. synthesized_image: float32 (N, C, S, S), what the network sees."""
        self.eval()
        image = batch["image"].to(self.device, non_blocking=True)
        seen = image * face_oval(*image.shape[2:], device=image.device) if self.nets["I"].oval else image
        return {"synthesized_image": seen, "embedding": self.embed(image)}

    def current_visuals(self):
        """The first photo of the last step."""
        return {"input_image": tensor2im(self.image[0])}

    def result_visuals(self, batch, outputs, i):
        """The aligned photo, and what the network sees of it."""
        return {"input_image": tensor2im(batch["image"][i]), "synthesized_image": tensor2im(outputs["synthesized_image"][i])}

    def compared(self, batch, outputs, i, visuals=None):
        """The unit vector, and whose it is."""
        found = {"drawn": outputs["embedding"][i].cpu().numpy()}
        person = int(batch["identity"][i])
        return found if person < 0 else {**found, "true": np.array(person)}

    def new_metrics(self):
        """Verification and retrieval."""
        from util.metrics.verification import VerificationMetrics
        return VerificationMetrics(self.opt.seed)

    def evaluation_metrics(self, text, available):
        """Those; figures of pictures say nothing of vectors."""
        return self.validation_metrics(None)

    def validation_metrics(self, names):
        """Those, whatever is asked for."""
        from util.metrics.collection import MetricSet
        return MetricSet({"verification": self.new_metrics()})

    def more_pages(self, page, metrics):
        """The receiver operating characteristic, and the pairs that are told apart worst."""
        for title, pairs in metrics.confused().items():
            page.add_pairs(title, pairs)
        points = metrics.roc()
        if len(points):
            page.add_curve("roc.png", points, "share of different people accepted", "share of same people accepted")
