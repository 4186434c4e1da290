"""Denoising diffusion (Ho et al. 2020, arXiv:2006.11239): pictures from noise, from attributes, or from label maps."""
from __future__ import annotations

import torch
from torch.nn.functional import avg_pool2d, interpolate

from data.attributes_dataset import chosen
from data.base_dataset import Needs
from data.image_files import image_size, list_images, read_image
from data.transforms import Draw, Preprocess
from models import diffusion_flags as flags
from models.diffusion.denoising import DenoisingModel
from models.diffusion.nearest import NearestPhotos
from models.diffusion.shapes import NETWORK
from models.face_model import rivals, turned
from models.losses.diffusion import DiffusionLoss
from util.errors import UserError
from util.util import tensor2im, tensor2label

_SHOWN_STEPS = 6
_AMPLIFIED = 4  # how much larger the difference of low frequencies is shown


class DiffusionModel(DenoisingModel, flags=flags):
    """Network U (the UNet), update U."""

    max_norm = {NETWORK: 1.0}

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
        self.abilities = frozenset({"attributes"} if opt.condition == "attributes" else ())
        self.references: list = []
        self.nearest: NearestPhotos | None = None

    def start_training(self):
        """Prepare for training, with the loss."""
        super().start_training()
        opt = self.opt
        self.loss = DiffusionLoss(self.schedule.betas(), opt.objective, opt.learn_sigma, opt.snr_gamma)
        self.decay = 1.0

    def start_inference(self):
        """Prepare for sampling, with the references of --ilvr_reference."""
        super().start_inference()
        opt = self.opt
        if opt.ilvr_reference:
            self.references = list(list_images(opt.ilvr_reference).values())
            if not self.references:
                raise UserError(f"--ilvr_reference {opt.ilvr_reference}: holds no photos; put some there")

    # training

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

    def prepare(self, batch):
        """Photos and condition on the device."""
        self.image = self._to_device(batch["image"])
        self.condition, self.source = self._condition_of(batch), batch.get("label")

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

    # for scripts

    def inference(self, batch):
        """Samples, one for each item and look.

        -> {'synthesized_image': ..., 'synthesized_image_2': ... for further looks, 'reference_image': of ILVR,
        'after_step_<n>': the picture on the way, for the first looks, 'asked' and 'turned': see `_judged`}.
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
        if self.opt.condition == "attributes" and getattr(opt, "attributes_model", ""):
            outputs |= self._judged(batch, numbers, how)
        return outputs

    def _judged(self, batch, numbers, how) -> dict:
        """For a classifier: 'asked', the rows of attributes; 'turned', for each picture (attribute, value, it drawn once more).

        Of picture i attribute i is turned, modulo their number, as each turn takes all the steps.
        """
        rows, names = self.rows_of(batch), chosen(self.opt)
        turns = [(name, int(row[names.index(name)] <= 0.5)) for row, name in
                 zip(rows, (names[number % len(names)] for number in numbers))]
        others = torch.stack([turned(row, names, *turn) for row, turn in zip(rows, turns)])
        watcher = self._watcher(None, len(rows))
        drawn = self.denoise({**batch, "attributes": others}, numbers, self.opt.seed, on_step=watcher, **how)
        return {"asked": rows, "turned": [(*turn, picture) for turn, picture in zip(turns, drawn)]}

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
        """The first sample, the photo of the same item, whether or not it aims at it, and what a classifier is to find."""
        drawn = visuals["synthesized_image"] if visuals else self.unpadded(tensor2im(outputs["synthesized_image"][i]), batch, i)
        found = {"drawn": drawn}
        if torch.is_tensor(image := batch.get("image", [0] * (i + 1))[i]):
            found["true"] = self.unpadded(tensor2im(image), batch, i)
        if "asked" in outputs:
            name, value, picture = outputs["turned"][i]
            known = {key: float(one) for key, one in zip(chosen(self.opt), outputs["asked"][i]) if one != 0.5}
            found["asked"] = {"values": known, "turned": {name: (tensor2im(picture), value, rivals(name))}}
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
