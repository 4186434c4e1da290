"""Pictures by denoising: the network, what it is conditioned on, and drawing with it from scripts and from Python."""
from __future__ import annotations

from dataclasses import dataclass

import torch

from data.attributes_dataset import chosen, vector_of
from models import diffusion_flags as flags
from models.base_model import BaseModel
from models.diffusion.guides import classes_mask, ilvr, kept
from models.diffusion.sampling import PictureNoise, Sampler, with_guidance
from models.diffusion.schedules import Schedule, noised
from models.diffusion.shapes import NETWORK, describe
from models.face_model import turned
from models.networks.unet import UNet
from models.regions import edges, one_hot
from models.sampling_flags import asked
from util.errors import UserError, first_few


@dataclass(frozen=True)
class Condition:
    """What a batch is drawn from, None where that is nothing.

    attributes: (N, A), 1 or -1, 0 where unknown. label: (N, C, H, W) planes.
    """

    attributes: torch.Tensor | None = None
    label: torch.Tensor | None = None

    def known(self, there: torch.Tensor) -> Condition:
        """The condition of those that are there, (N,) 0 or 1, and nothing of the others; repeated where N is larger."""
        def masked(value):
            if value is None:
                return None
            rest = [1] * (value.ndim - 1)
            return value.repeat(len(there) // len(value), *rest) * there.view(-1, *rest)
        return Condition(masked(self.attributes), masked(self.label))


class DenoisingModel(BaseModel):
    """A UNet with the schedule and the sampler that the flags ask for."""

    def __init__(self, opt):
        super().__init__(opt)
        self.schedule = Schedule(opt.timesteps, opt.beta_schedule, opt.objective, opt.learn_sigma)
        self.sampler = Sampler(self.schedule, opt.sampler, flags.steps_of(opt), opt.eta)

    # the network and its condition

    def networks(self):
        """The UNet alone."""
        return {NETWORK: self._make_unet}

    def _make_unet(self):
        opt = self.opt
        return UNet(opt.output_nc, opt.output_nc * (1 + opt.learn_sigma), opt.unet_channels, flags.mult_of(opt),
                    opt.unet_blocks, flags.attention_of(opt), opt.unet_heads, getattr(opt, "dropout", 0.0),
                    self._attribute_count(), self._label_channels())

    def _attribute_count(self) -> int:
        return len(chosen(self.opt)) if self.opt.condition == "attributes" else 0

    def _label_channels(self) -> int:
        opt = self.opt
        if opt.condition != "label":
            return 0
        return opt.label_channels + 1 if opt.label_nc else opt.input_nc

    def weights_hint(self, name, state):
        """The flags that a UNet's state dict was made with."""
        return describe({name: state})

    def _to_device(self, value):
        return value.to(self.device, non_blocking=True) if torch.is_tensor(value) else None

    def rows_of(self, batch) -> torch.Tensor:
        """(N, A): the attributes of a batch, 1, 0, or 0.5 where they are open, with those of --set."""
        names = chosen(self.opt)
        rows = [row.float() if torch.is_tensor(row) else torch.full((len(names),), 0.5) for row in batch["attributes"]]
        for name, value in asked(self.opt).items():
            rows = [turned(row, names, name, value) for row in rows]
        return torch.stack(rows)

    def _condition_of(self, batch) -> Condition:
        opt = self.opt
        if opt.condition == "attributes":
            return Condition(attributes=self.rows_of(batch).to(self.device) * 2 - 1)
        if opt.condition == "label":
            label = self._to_device(batch["label"])
            planes = torch.cat([one_hot(label, opt.label_channels), edges(self._to_device(batch["inst"]))], 1) if opt.label_nc \
                else label
            return Condition(label=planes)
        return Condition()

    def _network(self, x, t, condition: Condition) -> torch.Tensor:
        """The UNet's output, float32, in the precision that the flags ask for. t: (N,)."""
        with self.autocast():
            return self.nets[NETWORK](x, t, condition.attributes, condition.label).float()

    # drawing

    def _predictor(self, condition: Condition, guidance: float):
        def predict(x, t, known):
            return self._network(x, torch.full((len(x),), t, device=x.device), condition.known(known))
        return with_guidance(predict, guidance if self.opt.condition != "none" else 1.0)

    def denoise(self, batch, numbers, seed: int, look: int = 0, reference=None, factor: int = 8, photo=None, strength=None,
               mask=None, on_step=None) -> torch.Tensor:
        """Draw pictures, of which each follows from the seed and its number.

        Args:
            batch: what they are drawn from: label maps or attributes, with --condition.
            numbers: (N,) the pictures' numbers. look: which of several drawings of each.
            reference, factor: (N, C, H, W) in [-1, 1] whose low frequencies they take (ILVR).
            photo, strength: (N, C, H, W) in [-1, 1] to begin with, noised a share of the way (SDEdit).
            mask: (N, 1, H, W), 1 where that photo stays.
            on_step: on_step(done, steps, x) after each step.

        Returns:
            float32 (N, C, H, W) in [-1, 1].
        """
        opt, sampler = self.opt, self.sampler
        noise = PictureNoise(seed, numbers, look, self.device)
        condition, first, after = self._condition_of(batch), 0, None
        x = noise.draw((opt.output_nc, *self._size(condition, photo if photo is not None else reference)))
        if photo is not None:
            first = sampler.first_of(strength)
            x = noised(photo, sampler.timesteps[first], x, sampler.alphas_bar)
            after = kept(photo, mask, sampler.alphas_bar) if mask is not None else None
        if reference is not None:
            self._refuse_factor(factor, reference)
            least, kind = getattr(opt, "ilvr_range", 0), getattr(opt, "ilvr_filter", "bicubic")
            after = ilvr(reference, factor, sampler.alphas_bar, kind, least)
        x = sampler.run(self._predictor(condition, opt.guidance), x, noise, first, after, on_step)
        return x.clamp(-1, 1)

    def _size(self, condition, photo) -> tuple[int, int]:
        if condition.label is not None:
            return tuple(condition.label.shape[2:])
        side = flags.side_of(self.opt)
        return (side, side) if photo is None else tuple(photo.shape[2:])

    @staticmethod
    def _refuse_factor(factor, reference):
        height, width = reference.shape[2:]
        if height % factor or width % factor:
            raise UserError(f"--ilvr_factor {factor}: does not divide the sides of the pictures, {width}x{height}; choose a "
                            "divisor of both")

    # from Python

    def sample(self, count: int, settings: dict, seed: int, progress, item: dict, **how) -> torch.Tensor:
        """`count` pictures that no photo shows: float32 (count, C, H, W) in [-1, 1].

        settings: {attribute: 1 or 0}; the others are open. item: what all are drawn from, as a label map. how: arguments of
        `denoise` for all of them, with a first side of 1. Raises UserError where the condition is missing.
        """
        self.eval()
        size, drawn = self.opt.batchSize, []
        for numbers in (range(i, min(i + size, count)) for i in range(0, count, size)):
            several = {key: value.expand(len(numbers), *value.shape[1:]) if torch.is_tensor(value) else value
                       for key, value in {**self._of_item(item, settings), **how}.items()}
            how_many = {key: several.pop(key) for key in how}
            drawn.append(self.denoise(several, numbers, seed, on_step=lambda done, steps, _: progress(done, steps),
                                      **how_many))
        return torch.cat(drawn)

    def _of_item(self, item: dict, settings: dict) -> dict:
        """What a batch of one holds for `_condition_of`."""
        condition = self.opt.condition
        if settings and condition != "attributes":
            raise UserError(f"attributes: this model knows none; it was trained with --condition {condition}")
        if condition == "none":
            return {}
        if condition == "label":
            if not torch.is_tensor(item.get("label")):
                raise UserError("label: this model draws from label maps; give one")
            return {key: item[key][None] for key in ("label", "inst") if torch.is_tensor(item[key])}
        values = vector_of(settings, chosen(self.opt))
        return {"attributes": torch.tensor([[0.5 if value is None else value for value in values]])}

    def ilvr(self, image: torch.Tensor, factor: int, **how) -> torch.Tensor:
        """As `sample`, with the low frequencies of a photo (C, H, W)."""
        return self.sample(settings={}, reference=image[None].to(self.device), factor=factor, **how)

    def edit(self, item: dict, settings: dict) -> torch.Tensor:
        """A photo's item -> (C, H, W): the photo drawn again from where it is partly noise.

        settings: strength, the share of noise, in (0, 1]; keep, classes of its label map that stay; seed; progress.
        """
        known = {"strength": 0.5, "keep": (), "seed": self.opt.seed, "progress": lambda *_: None}
        if strangers := settings.keys() - known.keys():
            raise UserError(f"{first_few(sorted(strangers))}: this model takes {first_few(known)}; choose among these")
        strength, keep, seed, progress = {**known, **settings}.values()
        if not 0 < strength <= 1:
            raise UserError(f"strength: must be above 0 and at most 1, not {strength}")
        if len(keep) and not torch.is_tensor(item["label"]):
            raise UserError("keep: names classes of a label map; give that of the photo as label")
        how = {"photo": item["image"][None].to(self.device), "strength": strength}
        if len(keep):
            how["mask"] = self.mask_of({"label": item["label"][None]}, keep)
        return self.sample(1, {}, seed, progress, item, **how)[0]

    def mask_of(self, batch, classes) -> torch.Tensor:
        """(N, 1, H, W): 1 on the classes of a batch's label maps, given by name or id. Raises UserError for unknown ones."""
        return classes_mask(self._to_device(batch["label"]), [self.opt.spec.label_of(str(name)) for name in classes])
