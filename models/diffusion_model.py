"""Denoising diffusion (Ho et al. 2020, arXiv:2006.11239): pictures from noise, from attributes, or from label maps."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool2d, interpolate

from data.attributes_dataset import chosen, vector_of
from data.base_dataset import Needs
from data.image_files import image_size, list_images, read_image
from data.transforms import Draw, Preprocess
from models import diffusion_flags as flags
from models.base_model import BaseModel
from models.diffusion.guides import classes_mask, ilvr, kept
from models.diffusion.nearest import NearestPhotos
from models.diffusion.sampling import PictureNoise, Sampler, with_guidance
from models.diffusion.schedules import Schedule, noised
from models.diffusion.shapes import NETWORK, describe
from models.face_model import turned
from models.losses.diffusion import DiffusionLoss
from models.networks.unet import UNet
from models.regions import edges, one_hot
from models.sampling_flags import asked
from util.errors import UserError, first_few
from util.util import tensor2im, tensor2label

_SHOWN_STEPS = 6
_AMPLIFIED = 4  # how much larger the difference of low frequencies is shown


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


class DiffusionModel(BaseModel):
    """Network U (the UNet), update U."""

    max_norm = {NETWORK: 1.0}

    modify_commandline_options = staticmethod(flags.modify_commandline_options)
    settle_defaults = staticmethod(flags.settle_defaults)
    check_options = staticmethod(flags.check_options)
    flags_of_weights = staticmethod(flags.flags_of_weights)
    start_from = staticmethod(flags.start_from)

    @staticmethod
    def needs(opt):
        """Photos and the condition to train on; at test the condition, and photos where they are drawn anew."""
        draws = opt.role == "test"
        edits = draws and opt.edit_strength
        keys = ("image",) * bool(not draws or edits)
        keys += {"attributes": ("attributes",), "label": ("inst",) * bool(opt.label_nc), "none": ()}[opt.condition]
        if edits and (opt.edit_keep or opt.edit_only) and opt.condition != "label":
            keys += ("label",)
        multiple = 2 ** (len(flags.mult_of(opt)) - 1)
        listed_by = "label" if opt.condition == "label" else "number" if draws and not edits else "image"
        return Needs(keys, listed_by, multiple, multiple)

    def __init__(self, opt):
        super().__init__(opt)
        self.schedule = Schedule(opt.timesteps, opt.beta_schedule, opt.objective, opt.learn_sigma)
        self.references: list = []
        self.nearest: NearestPhotos | None = None

    def start_training(self):
        """Prepare for training, with the loss."""
        super().start_training()
        opt = self.opt
        self.loss = DiffusionLoss(self.schedule.betas(), opt.objective, opt.learn_sigma, opt.snr_gamma)
        self.sampler = Sampler(self.schedule, opt.sampler, flags.steps_of(opt), opt.eta)
        self.decay = 1.0

    def start_inference(self):
        """Prepare for sampling, with the references of --ilvr_reference."""
        super().start_inference()
        opt = self.opt
        self.sampler = Sampler(self.schedule, opt.sampler, flags.steps_of(opt), opt.eta)
        if opt.ilvr_reference:
            self.references = list(list_images(opt.ilvr_reference).values())
            if not self.references:
                raise UserError(f"--ilvr_reference {opt.ilvr_reference}: holds no photos; put some there")

    # network and optimizer

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

    def make_optimizers(self):
        """Adam."""
        return {NETWORK: torch.optim.Adam(self.nets[NETWORK].parameters(), lr=self.opt.lr, betas=(self.opt.beta1, 0.999),
                                          fused=True)}

    def start_epoch(self, epoch):
        """The learning rate is constant, then decays linearly."""
        self.decay = self.linear_decay(epoch)
        self._set_rate(self.steps)

    def start_step(self, step):
        """At first it rises, too."""
        self._set_rate(step)

    def _set_rate(self, step):
        rate = self.opt.lr * self.decay * min(1.0, (step + 1) / max(1, self.opt.warmup))
        for group in self.optimizers[NETWORK].param_groups:
            group["lr"] = rate

    # training

    def prepare(self, batch):
        """Photos and condition on the device."""
        self.image = self._to_device(batch["image"])
        self.condition, self.source = self._condition_of(batch), batch.get("label")

    def _to_device(self, value):
        return value.to(self.device, non_blocking=True) if torch.is_tensor(value) else None

    def _condition_of(self, batch) -> Condition:
        opt = self.opt
        if opt.condition == "attributes":
            unknown = torch.full((self._attribute_count(),), 0.5)
            rows = [row.float() if torch.is_tensor(row) else unknown for row in batch["attributes"]]
            for name, value in asked(opt).items():
                rows = [turned(row, chosen(opt), name, value) for row in rows]
            return Condition(attributes=torch.stack(rows).to(self.device) * 2 - 1)
        if opt.condition == "label":
            label = self._to_device(batch["label"])
            planes = torch.cat([one_hot(label, opt.label_channels), edges(self._to_device(batch["inst"]))], 1) if opt.label_nc \
                else label
            return Condition(label=planes)
        return Condition()

    def updates(self):
        """The UNet's."""
        return ((NETWORK, self.loss_U),)

    def loss_U(self):  # noqa: N802 - named after the network
        """MSE of noise or velocity, and with --learn_sigma the variational bound."""
        image, count = self.image, len(self.image)
        t = torch.randint(self.schedule.timesteps, (count,), device=self.device)
        noise, known = torch.randn(image.shape, device=self.device), torch.ones(count, device=self.device)
        if self.opt.condition != "none":
            known = (torch.rand(count, device=self.device) >= self.opt.condition_dropout).float()
        condition = self.condition.known(known)
        terms, self.seen = self.loss(lambda x, t: self._network(x, t, condition), image, t, noise)
        return terms

    def _network(self, x, t, condition: Condition) -> torch.Tensor:
        """The UNet's output, float32, in the precision that the flags ask for. t: (N,)."""
        with self.autocast():
            return self.nets[NETWORK](x, t, condition.attributes, condition.label).float()

    # sampling

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

    # for scripts

    def inference(self, batch):
        """Samples, one for each item and look.

        -> {'synthesized_image': ..., 'synthesized_image_2': ... for further looks, 'reference_image': of ILVR, 'step_<t>': the
        picture at some timesteps, for the first looks}.
        """
        self.eval()
        opt, numbers, how, outputs = self.opt, batch["index"], self._how(batch), {}
        numbers = numbers.tolist() if torch.is_tensor(numbers) else list(numbers)
        for look in range(getattr(opt, "n_samples", 1)):
            steps = self._watcher(outputs if look == 0 and min(numbers) < getattr(opt, "strips", 0) else None, len(numbers))
            drawn = self.denoise(batch, numbers, opt.seed, look, on_step=steps, **how)
            outputs["synthesized_image" + (f"_{look + 1}" if look else "")] = drawn
        if "reference" in how:
            outputs["reference_image"] = how["reference"]
        return outputs

    def _watcher(self, outputs, count):
        """Counts steps, and collects some of the pictures on the way where `outputs` is given."""
        def on_step(done, steps, x):
            if outputs is not None and done < steps and (done - 1) % max(1, steps // _SHOWN_STEPS) == 0:
                outputs[f"after_step_{done}"] = x.clamp(-1, 1)
            if self.on_step is not None:
                self.on_step(done, steps, count)
        return on_step

    def _how(self, batch) -> dict:
        """The arguments of `denoise` that the flags ask for."""
        opt = self.opt
        if self.references:
            return {"reference": torch.stack([self._reference(i) for i in batch["index"]]), "factor": opt.ilvr_factor}
        if getattr(opt, "edit_strength", None):
            return {"photo": self._to_device(batch["image"]), "strength": opt.edit_strength, "mask": self._mask(batch)}
        if opt.role == "train" and self._condition_of(batch).label is None:  # a preview of the size that is trained on
            return {"photo": self._to_device(batch["image"]), "strength": 1.0}
        return {}

    def _mask(self, batch):
        """What stays of the photos, or None where nothing is told."""
        opt = self.opt
        classes = opt.edit_keep or opt.edit_only
        if not classes:
            return None
        mask = self.mask_of(batch, classes.split(","))
        return mask if opt.edit_keep else 1 - mask

    def mask_of(self, batch, classes) -> torch.Tensor:
        """(N, 1, H, W): 1 on the classes of a batch's label maps, given by name or id. Raises UserError for unknown ones."""
        return classes_mask(self._to_device(batch["label"]), [self.opt.spec.label_of(str(name)) for name in classes])

    def _reference(self, number) -> torch.Tensor:
        """The reference of a picture, (C, H, W) in [-1, 1], cut to a square in its middle."""
        path, side = self.references[int(number) % len(self.references)], flags.side_of(self.opt)
        width, height = image_size(path)
        photo = read_image(path, self.opt.output_nc)
        least = min(width, height)
        x, y = (width - least) // 2, (height - least) // 2
        prepare = Preprocess("resize", side, side, False)
        return prepare.image(photo.crop((x, y, x + least, y + least)), (least, least), Draw()).to(self.device)

    # results

    @staticmethod
    def aimed(opt):
        """Drawn from label maps, and from nothing else of the photos."""
        edits = getattr(opt, "edit_strength", None) or getattr(opt, "ilvr_reference", "")
        return opt if opt.condition == "label" and not edits else None

    def aims_at_truth(self):
        """The same."""
        return self.aimed(self.opt) is not None

    def drawn_with(self):
        """The sampler, and what guides it."""
        opt = self.opt
        words = [f"{opt.sampler}, {len(self.sampler.timesteps)} steps", f"eta {opt.eta:g}" * bool(opt.eta),
                 f"guidance {opt.guidance:g}" * (opt.guidance != 1),
                 f"ILVR by {opt.ilvr_factor} ({opt.ilvr_filter}), down to timestep {opt.ilvr_range}" * bool(opt.ilvr_reference)]
        if opt.edit_strength:
            words.append(f"SDEdit of strength {opt.edit_strength:g}")
        return ", ".join(filter(None, words))

    def current_visuals(self):
        """The first item of the last step: label map, what the network takes its noised photo for, photo."""
        visuals = {"input_label": self._shown_label(self.source[0])} if self.opt.condition == "label" else {}
        seen = tensor2im(self.seen[0].detach().clamp(-1, 1))
        return {**visuals, "denoised_image": seen, "real_image": tensor2im(self.image[0])}

    def _shown_label(self, label):
        return tensor2label(label, self.opt.label_channels, colors=self.opt.spec.class_colors or None)

    def result_visuals(self, batch, outputs, i):
        """What a sample was drawn from, samples, steps on the way, and the nearest training photo or the true one."""
        opt, training = self.opt, self.opt.role == "train"
        visuals = {"input_label": self._shown_label(batch["label"][i])} if opt.condition == "label" else {}
        if getattr(opt, "edit_strength", None):
            visuals["input_image"] = tensor2im(batch["image"][i])
        if "reference_image" in outputs:
            visuals["reference_image"] = tensor2im(outputs["reference_image"][i])
        drawn = sorted((key for key in outputs if key.startswith("synthesized_image")), key=lambda key: (len(key), key))
        visuals.update((key, tensor2im(outputs[key][i])) for key in drawn)
        if "reference_image" in outputs:
            visuals[f"low_frequencies_off_x{_AMPLIFIED}"] = self._difference(outputs, i)
        if self.aims_at_truth() and torch.is_tensor(batch["image"][i]):
            visuals["real_image"] = tensor2im(batch["image"][i])
        elif opt.condition != "label" and not training and (near := self._nearest(outputs["synthesized_image"][i])) is not None:
            visuals["nearest_training_image"] = tensor2im(near)
        if int(batch["index"][i]) < getattr(opt, "strips", 0):
            visuals.update((key, tensor2im(value[i])) for key, value in outputs.items() if key.startswith("after_step"))
        return {key: self.unpadded(image, batch, i) if opt.condition == "label" else image for key, image in visuals.items()}

    def _difference(self, outputs, i):
        """How far the sample's low frequencies are from the reference's, amplified, at the size of the picture."""
        factor, pair = self.opt.ilvr_factor, (outputs["synthesized_image"][i], outputs["reference_image"][i])
        sample, reference = (avg_pool2d(image[None], factor) for image in pair)
        off = interpolate((sample - reference).abs(), scale_factor=factor, mode="nearest")[0]
        return tensor2im((off * _AMPLIFIED - 1).clamp(-1, 1))

    def _nearest(self, sample):
        if not self.opt.nearest:
            return None
        if self.nearest is None:
            self.nearest = NearestPhotos(self.opt, self.opt.nearest)
            if self.nearest.fault:
                self.notes.append(self.nearest.fault)
        return self.nearest.of(sample)

    def compared(self, batch, outputs, i, visuals=None):
        """The first sample, and the photo of the same item, whether or not it aims at it."""
        drawn = visuals["synthesized_image"] if visuals else self.unpadded(tensor2im(outputs["synthesized_image"][i]), batch, i)
        found = {"drawn": drawn}
        if torch.is_tensor(image := batch.get("image", [0] * (i + 1))[i]):
            found["true"] = self.unpadded(tensor2im(image), batch, i)
        if self.opt.condition == "label" and self.opt.label_nc:
            found["label"] = self.unpadded(batch["label"][i][0].numpy(), batch, i)
        return found

    def new_metrics(self):
        """Of samples from label maps: colour error of regions, SSIM and PSNR against the true pictures."""
        from util.metrics.pictures import PictureMetrics
        return PictureMetrics(self.opt.spec.class_names or None)

    def validation_metrics(self, names):
        """Without a label map, samples and held-out photos are compared as sets."""
        if self.opt.condition == "label":
            return super().validation_metrics(names)
        from util.metrics import registry
        available = registry.Available(pairs=False, label=False, seed=self.opt.seed, device=self.device)
        return registry.create(names or "swd", available, "--val_metrics")
