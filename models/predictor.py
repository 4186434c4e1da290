"""Drawing from Python, one picture at a time, with the object that test.py draws with.

    from models.predictor import Predictor
    predictor = Predictor.load("checkpoints/faceIm")
    predictor(label, image=photo, style={"hair": 3, "cloth": "random"}, seed=1).save("face.png")
"""
from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.image_files import image_size, read_image, read_label, refuse_other_view
from data.transforms import Draw, Preprocess
from models.models import create_model
from models.styles.styles import RANDOM
from options.test_options import TestOptions
from util.checkpoint import is_there
from util.errors import UserError, first_few
from util.util import tensor2im

_NOT_FLAGS = {"name", "checkpoints_dir"}


class Predictor:
    """A model ready to draw. Safe to use from several threads at once; on the device that gpu_ids named."""

    def __init__(self, opt):
        """opt: the parsed options of test.py. Raises UserError for weights that are missing or do not fit."""
        self.opt, self.model = opt, create_model(opt)

    @classmethod
    def load(cls, folder, **flags) -> Predictor:
        """The experiment in `folder`, such as checkpoints/faceIm.

        flags: those of test.py, by name, where the experiment's opt.json does not know better: gpu_ids="-1",
        which_epoch=20, label_nc=19 (for a folder of copied weights). Raises UserError as test.py would. Warns of styles
        that are of another encoder.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder; give that of a trained experiment, such as checkpoints/faceIm")
        wrong = _NOT_FLAGS & flags.keys()
        if wrong:
            raise UserError(f"{first_few(wrong)}: the folder says that already; leave it out")
        encoder = folder / f"{flags.get('which_epoch', 'latest')}_net_E.pth"
        argv = ["--name", folder.resolve().name, "--checkpoints_dir", str(folder.resolve().parent)]
        if is_there(encoder):  # then photos can be encoded; whether one is, each call says
            flags = {"use_encoded_image": True, **flags}
        for name, value in flags.items():
            argv += [f"--{'no-' * (value is False)}{name}"] + [str(value)] * (not isinstance(value, bool))
        with contextlib.redirect_stdout(io.StringIO()):  # the options' table is for people at a console
            predictor = cls(TestOptions().parse(argv))
        if predictor._takes_styles() and (line := predictor.model.outdated_styles()):
            warnings.warn(line, stacklevel=2)
        return predictor

    def draw(self, batch) -> dict[str, torch.Tensor]:
        """Draw a loader's batch as the flags say: see the model's `inference`."""
        return self.model.inference(batch)

    def __call__(self, label, image=None, style=None, seed: int | None = None, inst=None) -> Image.Image:
        """Draw one picture, of the label map's own size.

        Args:
            label: the class ids, as a path, a PIL picture or an integer array (H, W). With label_nc 0 a picture like `image`.
            image: the photo of that map, as a path, a PIL picture or uint8 (H, W, 3): regions take its features. Without one
                they are drawn, as test.py draws them. All are read as test.py reads files: the right way up and so on.
            style: {class name or id: style}, where a style is a number from the style sheet, "random", or a vector of
                feat_num numbers; so what `encode` gives is a style, and {**encode(a), "hair": encode(b)["hair"]} mixes two.
            seed: what is drawn follows from it; None is --seed.
            inst: instance ids, given like the label map; without them it serves, as for faces.

        Raises:
            UserError: ids outside the classes, files that cannot be read, shapes that do not fit, styles or features that
                there are not.
        """
        batch, size = self._batch(label, image, inst)
        if not self._takes_styles():
            self._refuse_features(style, image)
            outputs = self.model.inference(batch)
        else:
            outputs = self.model.inference(batch, self._choice(image is not None, style, seed))
        drawn = Image.fromarray(tensor2im(outputs["synthesized_image"][0]))
        return drawn if drawn.size == size else drawn.resize(size, Image.Resampling.BICUBIC)

    def encode(self, image, label) -> dict[str, np.ndarray]:
        """A photo's features by class name, pooled under its own label map: {'hair': (feat_num,) float64, ...}.

        Raises UserError where the experiment has no encoder.
        """
        if "E" not in self.model.nets:
            raise UserError(f"{self.opt.name}: has no encoder beside its generator, so photos cannot be encoded; it needs "
                            "weights trained with --label_feat or --instance_feat")
        batch, _ = self._batch(label, image)
        classes, encoded = self.model.encode_classes(batch["image"], batch["label"])
        return {self.opt.spec.name_of(c): vector for c, vector in zip(classes, encoded.mu)}

    def _refuse_features(self, style, image):
        if getattr(self.opt, "load_features", False):
            raise UserError("--load_features: these weights take features that are only read from files; use test.py")
        if style or image is not None:
            raise UserError(f"{'style' if style else 'image'}: this model takes no encoded features; it needs weights trained "
                            "with --label_feat or --instance_feat")

    def _takes_styles(self) -> bool:
        return getattr(self.model, "styles", None) is not None

    def _choice(self, has_photo: bool, style, seed):
        model = self.model
        if has_photo and "E" not in model.nets:
            raise UserError(f"image: {self.opt.name} has no encoder to take features from it; leave it out")
        fixed = {}
        for name, wanted in (style or {}).items():
            label = model.styles.label_of(name, f"style {name!r}")
            fixed[label] = self._style(label, wanted, f"style {name!r}")
        return model.choice.but(own=has_photo, fixed={**model.choice.fixed, **fixed}, looks=1,
                                seed=self.opt.seed if seed is None else int(seed))

    def _style(self, label, wanted, where):
        if isinstance(wanted, str) and wanted == RANDOM:
            return RANDOM
        if isinstance(wanted, (int, np.integer)):
            return self.model.styles.numbered(label, int(wanted), where)
        vector = np.asarray(wanted, np.float64) if not isinstance(wanted, str) else np.empty(0)
        if vector.shape != (self.opt.feat_num,) or not np.isfinite(vector).all():
            raise UserError(f"{where}: is {wanted!r}; give a style's number, 'random', or {self.opt.feat_num} finite numbers")
        return vector

    # files, pictures and arrays in

    def _batch(self, label, image, inst=None):
        """(a batch of one, the label map's (width, height))."""
        opt, still, prepare = self.opt, Draw(), _Fitted(self.opt, self.model)
        if opt.label_nc:
            ids = self._ids(label)
            size = ids.shape[::-1]
            given = instances = prepare.ids(ids, size, still)
        else:
            size, instances = image_size(label, _named(label, "label")), 0
            given = self._picture(label, "label", opt.input_nc, prepare, size)
        if inst is not None:
            instances = prepare.ids(_of_size(read_label(inst, _named(inst, "inst")), size), size, still)
        elif not opt.label_nc and not getattr(opt, "no_instance", True):
            raise UserError("inst: these weights need instance ids beside the picture; give them as an array (height, width)")
        photo = 0 if image is None else self._picture(image, "image", opt.output_nc, prepare, size)
        batch = {"label": given, "inst": instances, "image": photo, "feat": 0, "index": 0, "name": "", "path": ""}
        return {key: value[None] if torch.is_tensor(value) else [value] for key, value in batch.items()}, size

    def _ids(self, label) -> np.ndarray:
        """A label map as (H, W) uint8 or int32, its classes checked."""
        where, maps = _named(label, "label"), self.opt.label_maps
        ids = read_label(label, where)
        wrong = maps.outside(ids)
        if wrong:
            raise UserError(f"{where}: holds ids {first_few(wrong)}, but these weights know {maps.allowed}; mend the label map")
        return maps.merged(ids)

    @staticmethod
    def _picture(source, what: str, channels: int, prepare: Preprocess, size) -> torch.Tensor:
        """A picture of what the label map of `size` shows, as the networks see it."""
        where = _named(source, what)
        refuse_other_view(where, image_size(source, where), "label map", size)
        image = read_image(source, 1 if channels == 1 else 3, prepare.scaled(size), where)
        return prepare.image(image, size, Draw())


class _Fitted(Preprocess):
    """The test preprocessing, but to sides that the networks take: the result is scaled back to the map's own size."""

    def __init__(self, opt, model):
        super().__init__(opt.resize_or_crop.replace("crop", "") or "none", opt.loadSize, opt.fineSize, False,
                         model.size_multiple(opt))
        self.least = model.least_side(opt)

    def scaled(self, size):
        """(width, height): the nearest multiples that are large enough."""
        return tuple(max(self.least, round(side / self.multiple) * self.multiple) for side in super().scaled(size))


def _named(source, what: str) -> str:
    """What messages call an argument: with its path, where it is one."""
    return f"{what} {source}" if isinstance(source, (str, Path)) else what


def _of_size(inst: np.ndarray, size) -> np.ndarray:
    if inst.shape[::-1] != size:
        raise UserError(f"inst: is {inst.shape[1]}x{inst.shape[0]}, the label map {size[0]}x{size[1]}; they must be of one "
                        "size")
    return inst
