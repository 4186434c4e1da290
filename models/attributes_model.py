"""Which attributes a face has: a residual network with a logit for each, by which drawn faces are judged too."""
from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from data.attributes_dataset import chosen
from data.base_dataset import Needs
from models import attributes_flags as flags
from models.base_model import BaseModel
from models.networks.attribute_classifier import AttributeClassifier
from util.errors import UserError
from util.util import tensor2im

_RIGHT, _WRONG, _GREY = (0.1, 0.6, 0.2), (0.85, 0.2, 0.1), (0.35, 0.45, 0.6)


class AttributesModel(BaseModel, flags=flags):
    """Network A (the classifier), update A."""

    dataset_mode = flags.dataset_mode

    @staticmethod
    def needs(opt):
        """Photos and their attributes; at test photos alone will do."""
        return Needs(("image",) + ("attributes",) * (opt.role == "train"), listed_by="image", least=16)

    def __init__(self, opt):
        super().__init__(opt)
        self.names = chosen(opt)

    def networks(self):
        """The classifier alone."""
        return {"A": lambda: AttributeClassifier(len(self.names), self.opt.output_nc, self.opt.nf)}

    def weights_hint(self, name, state):
        """How many attributes a state dict tells apart."""
        head = state.get("head.weight")
        return "" if head is None else f"its shapes say --nf {flags.flags_of_weights({name: state}).get('nf')} and " \
                                       f"{len(head)} names in --attributes"

    def make_optimizers(self):
        """AdamW, without weight decay on norms and biases."""
        plain = [p for p in self.nets["A"].parameters() if p.ndim < 2]
        decayed = [p for p in self.nets["A"].parameters() if p.ndim >= 2]
        groups = [{"params": decayed, "weight_decay": self.opt.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        return {"A": torch.optim.AdamW(groups, lr=self.opt.lr, betas=(self.opt.beta1, 0.999), fused=True)}

    def start_epoch(self, epoch):
        """Constant learning rate, then linear decay."""
        for group in self.optimizers["A"].param_groups:
            group["lr"] = self.opt.lr * self.linear_decay(epoch)

    def prepare(self, batch):
        """Photos and attributes on the device."""
        self.image = batch["image"].to(self.device, non_blocking=True)
        self.true = batch["attributes"].to(self.device, non_blocking=True)
        if self.training and self.opt.blur:
            self.image = blurred(self.image, self.opt.blur)

    def updates(self):
        """The classifier's."""
        return (("A", self.loss_A),)

    def scores(self, image: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [-1, 1] -> float32 (N, A) logits."""
        with self.autocast():
            return self.nets["A"](image).float()

    def loss_A(self):  # noqa: N802 - named after the network
        """Binary cross-entropy, the mean over attributes."""
        scores = self.scores(self.image)
        self.found = scores.detach().sigmoid()
        return {"A_BCE": F.binary_cross_entropy_with_logits(scores, self.true)}

    @torch.no_grad()
    def inference(self, batch):
        """-> attributes: float32 (N, A), probabilities. synthesized_image: (N, C, H, W) in [-1, 1], these as bars."""
        self.eval()
        image = batch["image"].to(self.device, non_blocking=True)
        found = self.scores(image).sigmoid()
        true = batch["attributes"].to(self.device) if torch.is_tensor(batch["attributes"]) else None
        return {"attributes": found, "synthesized_image": bars(found, true, image.shape[1:])}

    # results

    def current_visuals(self):
        """The first photo of the last step, and its attributes as bars."""
        return {"input_image": tensor2im(self.image[0]),
                "synthesized_attributes": tensor2im(bars(self.found[:1], self.true[:1], self.image.shape[1:])[0])}

    def result_visuals(self, batch, outputs, i):
        """The photo, and a bar for each attribute, in the order of --attributes: green where it is right, red where wrong."""
        return {"input_image": tensor2im(batch["image"][i]),
                "synthesized_attributes": tensor2im(outputs["synthesized_image"][i])}

    def compared(self, batch, outputs, i, visuals=None):
        """The probabilities and, where they are known, the attributes."""
        found = {"drawn": outputs["attributes"][i].cpu().numpy()}
        if torch.is_tensor(batch["attributes"][i]):
            found["true"] = batch["attributes"][i].numpy()
        return found

    def new_metrics(self):
        """Accuracy, precision and recall by attribute."""
        from util.metrics.attributes import AttributeMetrics
        return AttributeMetrics(self.names)

    def evaluation_metrics(self, text, available):
        """Those; figures of pictures say nothing of attributes."""
        if text != "all":
            raise UserError(f"--metrics {text}: what a classifier finds is measured by accuracy, precision and recall alone; "
                            "leave it out")
        return self.validation_metrics(None)

    def validation_metrics(self, names):
        """Those, whatever is asked for."""
        from util.metrics.collection import MetricSet
        return MetricSet({"attributes": self.new_metrics()})


def blurred(image: torch.Tensor, most: float) -> torch.Tensor:
    """Pictures (N, C, H, W), about half of them blurred by one Gaussian, whose deviation is drawn from 0 to `most` pixels."""
    deviation = max(1e-3, most * float(torch.rand(())))
    at = torch.arange(-round(3 * most), round(3 * most) + 1, device=image.device)
    kernel = torch.exp(-0.5 * (at / deviation) ** 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)
    padded = F.pad(image, [len(at) // 2] * 4, mode="replicate")
    soft = F.conv2d(F.conv2d(padded, kernel, groups=image.shape[1]), kernel.transpose(2, 3), groups=image.shape[1])
    return torch.where(torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5, soft, image)


def bars(found: torch.Tensor, true: torch.Tensor | None, size) -> torch.Tensor:
    """Probabilities as horizontal bars, the first on top.

    found: (N, A) in [0, 1]. true: (N, A), by which a bar is right or wrong, or None. size: (C, H, W).
    -> float32 (N, C, H, W) in [-1, 1].
    """
    channels, height, width = size
    row = torch.arange(height, device=found.device) * found.shape[1] // height  # (H,) which attribute a line of pixels shows
    filled = (torch.arange(width, device=found.device) + 0.5) / width < found[:, row, None].clamp(0.5 / width, 1)  # (N, H, W)
    colours = torch.tensor([_RIGHT, _WRONG, _GREY], device=found.device)
    which = torch.full_like(found, 2).long() if true is None else ((found > 0.5) != (true > 0.5)).long()
    picture = torch.where(filled[..., None], colours[which[:, row]][:, :, None], torch.ones(3, device=found.device))
    picture = picture.permute(0, 3, 1, 2) * 2 - 1
    return picture if channels == 3 else picture.mean(1, keepdim=True)


class AttributeOracle:
    """A trained classifier for pictures of any size. names: of the attributes it knows."""

    def __init__(self, model: AttributesModel):
        self.model, self.names = model, model.names

    @classmethod
    def load(cls, folder, gpu_ids: str = "-1") -> AttributeOracle:
        """The experiment of --model attributes in `folder`. Raises UserError naming it for anything else."""
        from models.predictor import Predictor
        predictor = Predictor.load(folder, gpu_ids=gpu_ids)
        if not isinstance(predictor.model, AttributesModel):
            raise UserError(f"{folder}: is an experiment of --model {predictor.opt.model}; give one of --model attributes")
        return cls(predictor.model)

    @torch.no_grad()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 of one size -> (N, A) float32 probabilities. Pictures are scaled to the side of the training."""
        model, side = self.model, self.model.opt.loadSize
        image = torch.from_numpy(np.ascontiguousarray(pictures)).to(model.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        if image.shape[2:] != (side, side):
            image = F.interpolate(image, (side, side), mode="bilinear", antialias=True, align_corners=False)
        if model.opt.output_nc == 1:
            image = image.mean(1, keepdim=True)
        return model.scores(image).sigmoid().cpu().numpy()
