"""Face parsing: label maps from photos, with BiSeNet (Yu et al. 2018, arXiv:1808.00897)."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data.base_dataset import Needs
from models import parsing_flags as flags
from models.base_model import BaseModel
from models.losses.ohem import IGNORED, OhemCrossEntropy
from models.networks.bisenet import BiSeNet, imagenet_colors
from models.parsing_augment import Augment
from util import distributed
from util.errors import UserError
from util.experiment import experiment_folder
from util.overlay import overlay
from util.util import palette, tensor2im, tensor2label

_START = 1e-3  # initial factor of the learning rate in the warm-up
_POWER = 0.9


@dataclass
class Context:
    """A batch on the device, and the result of the step.

    image: (N, C, H, W) in [-1, 1]. label: (N, H, W) int64 ground truth, or None. parsed: (N, H, W) int64 prediction.
    """

    image: torch.Tensor
    label: torch.Tensor | None
    parsed: torch.Tensor | None = None


class ParsingModel(BaseModel, flags=flags):
    """Network P (the parser), update P."""

    @staticmethod
    def needs(opt):
        """Photos and their label maps; at test photos alone will do."""
        return Needs(listed_by="image" if opt.role == "test" else "label")

    def __init__(self, opt):
        super().__init__(opt)
        self.epoch, self.spec = 1, opt.spec

    def start_inference(self):
        """Prepare for inference, with the names of the classes."""
        super().start_inference()
        self.spec = self._own_spec()

    def start_training(self):
        """Prepare for training, with loss and augmentation; a new training starts from ImageNet's weights."""
        super().start_training()
        opt = self.opt
        self.loss = OhemCrossEntropy()
        self.augment = Augment(opt.jitter, opt.zoom, opt.turn, opt.seed)
        if not (opt.continue_train or opt.load_pretrain or opt.from_scratch):
            self._start_from_imagenet()
        if not (opt.no_flip or opt.spec.flip_pairs):
            self.notes.append(f"{opt.dataroot} has no dataset.json with flip_pairs: mirrored pictures keep the names of left "
                              "and right. Write it, or train with --no_flip")

    def _own_spec(self):
        """The names of the classes. Raises UserError if the data number them in another way."""
        from models.face_parser import named_spec, trained_spec
        opt, folder = self.opt, experiment_folder(self.opt)
        trained = trained_spec(folder)
        if not opt.saved:  # weights without an options record, such as published ones
            trained = named_spec(trained, opt.label_nc, folder / f"{opt.which_epoch}_net_P.pth")
        if trained.labels and opt.spec.labels and trained.labels != opt.spec.labels:
            raise UserError(f"--dataroot {opt.dataroot}: its classes are numbered '{opt.spec.scheme}', those of the parser "
                            f"'{trained.scheme}', so that no figure would mean anything; renumber a copy of the data with "
                            f"python -m datasets.relabel --to {trained.scheme or 'SCHEME'}")
        return opt.spec if opt.spec.labels else trained.with_unlabelled(opt.spec.unlabelled)

    # network and optimizer

    def networks(self):
        """The parser alone."""
        return {"P": lambda: BiSeNet(self.opt.label_nc)}

    def weights_hint(self, name, state):
        """The number of classes in a state dict."""
        found = flags.flags_of_weights({name: state})
        return f"its shapes say --label_nc {found['label_nc']}" if found else ""

    def _start_from_imagenet(self):
        from models.networks.imagenet import find_resnet18
        state, reason = distributed.broadcast_state_dict(lambda: find_resnet18(self.opt.resnet_weights))
        if state is not None:
            self.nets["P"].cp.resnet.load_state_dict(state)
            return
        self.notes.append(f"No ResNet-18 weights: {reason}. Training starts from random weights, which takes more pictures "
                          "and more epochs. Give the weights with --resnet_weights FILE, or say --from_scratch")

    def make_optimizers(self):
        """SGD without weight decay on norms and biases, and with a higher learning rate for fusion and heads."""
        opt = self.opt
        weights, norms, head_weights, head_norms = self.nets["P"].parameter_groups()
        groups = [{"params": weights, "times": 1.0}, {"params": norms, "times": 1.0, "weight_decay": 0.0},
                  {"params": head_weights, "times": opt.head_lr},
                  {"params": head_norms, "times": opt.head_lr, "weight_decay": 0.0}]
        return {"P": torch.optim.SGD(groups, lr=opt.lr, momentum=opt.momentum, weight_decay=opt.weight_decay, fused=True)}

    def start_epoch(self, epoch):
        """Remember the epoch, from which the learning rate follows."""
        self.epoch = epoch

    def start_step(self, step):
        """Set the learning rate, by the epoch and, during warm-up, the step."""
        lr = self.learning_rate(self.epoch, step)
        for group in self.optimizers["P"].param_groups:
            group["lr"] = lr * group["times"]

    def learning_rate(self, epoch: int, step: int) -> float:
        """Polynomial decay over the epochs, after an exponential warm-up of --warmup steps."""
        opt = self.opt
        left = 1 - (epoch - 1) / max(1, opt.niter + opt.niter_decay)
        warm = _START ** (1 - step / opt.warmup) if step < opt.warmup else 1.0
        return opt.lr * max(0.0, left) ** _POWER * warm

    def extra_state(self):
        """The spec of the training data, by which users of the parser know its classes."""
        return {"data": self.opt.spec.as_dict()}

    # the step

    def prepare(self, batch):
        """Photos and label maps on the device, augmented while training."""
        image, label = batch["image"].to(self.device, non_blocking=True), None
        if torch.is_tensor(batch["label"]):
            label = batch["label"].to(self.device, non_blocking=True)[:, 0].long()
            label = label.masked_fill(label >= self.opt.label_nc, IGNORED)  # unlabelled pixels
        if self.training:
            image, label = self.augment(image, label, self.epoch, batch["index"])
        self.context = Context(image, label)

    def updates(self):
        """The parser's."""
        return (("P", self.loss_P),)

    def scores(self, image: torch.Tensor, auxiliary: bool) -> tuple[torch.Tensor, ...]:
        """(N, C, H, W) in [-1, 1] -> the heads' scores, each float32 (N, label_nc, H, W)."""
        with self.autocast():
            return self.nets["P"](imagenet_colors(image), auxiliary)

    def loss_P(self):  # noqa: N802 - named after the network
        """Cross-entropy of hard pixels for the three heads."""
        ctx = self.context
        heads = self.scores(ctx.image, auxiliary=True)
        ctx.parsed = heads[0].detach().argmax(1)
        return {name: self.loss(scores, ctx.label) for name, scores in zip(("P_main", "P_aux16", "P_aux32"), heads)}

    # results

    @torch.no_grad()
    def inference(self, batch):
        """Parse a batch of photos.

        -> synthesized_image: float32 (N, 3, H, W) in [-1, 1], the map in its colours. label: int64 (N, 1, H, W).
        confidence: float32 (N, 1, H, W), the probability of the class that was chosen.
        """
        self.eval()
        image = batch["image"].to(self.device, non_blocking=True)
        confidence, label = self.scores(image, auxiliary=False)[0].softmax(1).max(1, keepdim=True)
        colors = torch.from_numpy(self._colors()).to(self.device)[label[:, 0]].permute(0, 3, 1, 2)
        return {"synthesized_image": colors.float() / 127.5 - 1, "label": label, "confidence": confidence}

    def _colors(self) -> np.ndarray:
        return palette(self.opt.label_nc, self.spec.class_colors or None)

    def _shown_label(self, ids: torch.Tensor) -> np.ndarray:
        """(H, W) ids -> (H, W, 3) uint8."""
        return tensor2label(ids[None], self.opt.label_channels, colors=self.spec.class_colors or None)

    def current_visuals(self):
        """Photo, parsed and true label map of the first item of the last step."""
        ctx = self.context
        return {"input_image": tensor2im(ctx.image[0]), "synthesized_label": self._shown_label(ctx.parsed[0]),
                "real_label": self._shown_label(ctx.label[0])}

    def result_visuals(self, batch, outputs, i):
        """Photo, parsed label map, both laid over each other, and, where it exists, the true label map."""
        photo, parsed = tensor2im(batch["image"][i]), outputs["label"][i, 0]
        colors = self._shown_label(parsed)
        visuals = {"input_image": photo, "synthesized_label": colors,
                   "overlay": overlay(photo, colors, parsed.cpu().numpy() == 0)}
        if torch.is_tensor(batch["label"][i]):
            visuals["real_label"] = self._shown_label(batch["label"][i][0])
        return {key: self.unpadded(image, batch, i) for key, image in visuals.items()}

    def shown_classes(self, outputs, i):
        """The classes of the parsed map."""
        return outputs["label"][i].unique().tolist()

    def compared(self, batch, outputs, i, visuals=None):
        """The parsed and the true map, as ids."""
        found = {"drawn": self.unpadded(outputs["label"][i, 0].cpu().numpy(), batch, i)}
        if torch.is_tensor(batch["label"][i]):
            found["true"] = self.unpadded(batch["label"][i][0].numpy(), batch, i)
        return found

    def new_metrics(self):
        """IoU of classes and pixel accuracy against the true label maps."""
        from util.metrics.segmentation import SegmentationMetrics
        return SegmentationMetrics(self.opt.label_nc, self.spec.labels or None)

    def evaluation_metrics(self, text, available):
        """Those; figures of pictures say nothing of label maps."""
        if text != "all":
            raise UserError(f"--metrics {text}: a parser's maps are measured by IoU of classes and pixel accuracy alone; leave "
                            "it out")
        return self.validation_metrics(None)

    def validation_metrics(self, names):
        """Those, whatever is asked for: figures of pictures say nothing of label maps."""
        from util.metrics.collection import MetricSet
        return MetricSet({"segmentation": self.new_metrics()})
