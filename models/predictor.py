"""Inference from Python, by the class that test.py uses.

    from models.predictor import Predictor
    predictor = Predictor.load("checkpoints/faceIm")
    predictor(label, image=photo, style={"hair": 3, "cloth": "random"}, seed=1).save("face.png")
"""
from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from data.data_loader import collate, dataset_class
from data.grouping import grouped
from models.models import create_model, require
from models.styles import flags as style_flags
from models.styles.styles import RANDOM
from options.test_options import TestOptions
from util.checkpoint import is_saved
from util.errors import UserError, first_few
from util.lazy import LazyModule
from util.util import tensor2im

torch = LazyModule("torch")
_NOT_FLAGS, _OF_A_CALL = {"name", "checkpoints_dir"}, {"person", "style_fit"}


class Predictor:
    """A model for inference, on the device of --gpu_ids. Thread-safe."""

    def __init__(self, opt):
        """opt: the parsed options of test.py. Raises UserError for weights that are missing or do not fit."""
        self.opt, self.model = opt, create_model(opt)

    @classmethod
    def load(cls, folder, **flags) -> Predictor:
        """The experiment in `folder`, such as checkpoints/faceIm.

        flags: of test.py, by name, in addition to those in the experiment's opt.json: gpu_ids="-1", which_epoch=20,
        label_nc=19 (for a folder of copied weights). Raises UserError as test.py does. Warns of styles that were made with
        another encoder.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder; give that of a trained experiment, such as checkpoints/faceIm")
        if wrong := _NOT_FLAGS & flags.keys():
            raise UserError(f"{first_few(wrong)}: the folder says that already; leave it out")
        if wrong := _OF_A_CALL & flags.keys():
            raise UserError(f"{first_few(wrong)}: is said with each call, predictor(label, person=4); leave it out here")
        encoder = folder / f"{flags.get('which_epoch', 'latest')}_net_E.pth"
        argv = ["--name", folder.resolve().name, "--checkpoints_dir", str(folder.resolve().parent)]
        if is_saved(encoder):  # then photos can be encoded, if a call is given one
            flags = {"use_encoded_image": True, **flags}
        for name, value in flags.items():
            argv += [f"--{'no-' * (value is False)}{name}"] + [str(value)] * (not isinstance(value, bool))
        with contextlib.redirect_stdout(io.StringIO()):  # the table of options is for scripts
            predictor = cls(TestOptions().parse(argv))
        if predictor._takes_styles() and (line := predictor.model.drawing.outdated_styles()):
            warnings.warn(line, stacklevel=2)
        return predictor

    def draw(self, batch, style=None, seed: int | None = None, use_encoded_image: bool | None = None,
             **sampling) -> dict[str, torch.Tensor]:
        """Draw a batch of a loader, see the model's `inference`, with the flags' styles and looks, or others.

        style, seed, sampling: as of a call. use_encoded_image: whether regions take the features of the batch's photos; by
        default they do where the flags say so and neither a sample, person nor fit is asked for.
        """
        if style is None and seed is None and use_encoded_image is None and not sampling:
            return self.model.inference(batch)
        self._refuse_features(style or sampling, None)
        if not self._takes_styles():
            return self.model.inference(batch)
        own = self.model.drawing.choice.own and not any(sampling.values()) if use_encoded_image is None else use_encoded_image
        return self.model.inference(batch, self._choice(own, style, seed, looks=self.model.drawing.choice.looks, **sampling))

    @property
    def classes(self) -> list[str]:
        """The names of the classes by id, or their numbers if they have none; [] without label maps."""
        count = self.opt.label_channels if "label" in dataset_class(self.opt.dataset_mode).batch_keys else 0
        return [self.opt.spec.name_of(i) for i in range(count)]

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"Predictor({self.opt.name}: {self.opt.model}, {self.opt.which_epoch}{classes}, on {self.model.device})"

    def __call__(self, label=None, image=None, style=None, seed: int | None = None, inst=None, sample: str | None = None,
                 person: int | None = None, style_fit: bool = False, **inputs):
        """Draw a picture (PIL) of the size of its input; for lists, a list of pictures, in one batch.

        Args:
            label: the class ids, as a path, a PIL picture or an integer array (H, W). With label_nc 0 a picture like `image`.
            image: the photo of that map, as a path, a PIL picture or uint8 (H, W, 3), whose features are used; without it they
                are sampled, as by test.py. Files are read as by test.py, with EXIF orientation and so on. For a model whose
                input is a photo, that photo.
            style: {class name or id: style}, where a style is a number from the style sheet, "random", or a vector of
                feat_num numbers, such as the values of `encode`: {**encode(a), "hair": encode(b)["hair"]} mixes two photos.
            seed: of the sampling; default: --seed.
            inst: instance ids, like the label map, which is the default, as for faces.
            sample, person, style_fit: as the flags --sample, --person and --style_fit of test.py.
            inputs: other inputs of the experiment's data set.

        label, image and inst may be lists of one length, or single values that all pictures share.

        Raises:
            UserError: ids outside the classes, files that cannot be read, shapes that do not fit, styles or features that do
                not exist.
        """
        given = {"label": label, "image": image, "inst": inst, **inputs}
        given = {key: value for key, value in given.items() if value is not None}
        sampling = {"sample": sample, "person": person, "style_fit": style_fit}
        self._refuse_features(style or sample or style_fit or person is not None, image)
        more = (self._choice(image is not None, style, seed, **sampling),) if self._takes_styles() else ()
        items = [self._item(**one) for one in _each(given)]
        pictures = [picture for batch in grouped(map(_batch, items), len(items))
                    for picture in tensor2im(list(self.model.inference(batch, *more)["synthesized_image"]))]
        drawn = [_scaled(Image.fromarray(picture), item.get("size")) for picture, item in zip(pictures, items)]
        return drawn if any(isinstance(value, list) for value in given.values()) else drawn[0]

    def swap(self, source, target, faces="largest", parser=None):
        """A target's photo (PIL, of its size) with the identity of a source's face; saved as JPEG it says that it was made.

        Args:
            source, target: as a path, a PIL picture or uint8 (H, W, 3); of the source the largest face is taken.
            faces: which of the target's: 'largest', 'all', or a number, 0 the largest.
            parser: a `models.face_parser.FaceParser`; with it the swap is pasted within the face that it finds.

        Raises UserError for photos without a face, and for models that swap none.
        """
        from util.marks import marked
        swapper = self._swapper(parser)
        return marked(swapper.swap(target, swapper.identity(source), faces))

    def swap_video(self, source, video, out, parser=None, progress=None) -> int:
        """The same of a video file or a folder of frames, into `out`; gives the number of frames.

        progress(number): called after each frame. A run that was broken off goes on where it stopped; see
        `models.swapping.video`.
        """
        from models.swapping.video import swap_video
        swapper = self._swapper(parser)
        return swap_video(swapper, swapper.identity(source), video, out, progress)

    def _swapper(self, parser):
        from models.swapping.swapper import FaceSwapper
        require(self.opt, "swap")
        return FaceSwapper(self.model, parser)

    def encode(self, image, label) -> dict[str, np.ndarray]:
        """A photo's features by class name, pooled over the regions of its label map: {'hair': (feat_num,) float64, ...}.

        Raises UserError if the experiment has no encoder.
        """
        if "E" not in self.model.nets:
            raise UserError(f"{self.opt.name}: has no encoder beside its generator, so photos cannot be encoded; it needs "
                            "weights trained with --label_feat or --instance_feat")
        batch = _batch(self._item(label=label, image=image))
        classes, encoded = self.model.drawing.encode_classes(batch["image"], batch["label"])
        return {self.opt.spec.name_of(c): vector for c, vector in zip(classes, encoded.mu)}

    def sample(self, count: int | None = None, attributes: dict | None = None, seed: int | None = None, progress=None,
               **inputs):
        """A face that no photo shows (PIL), of a model that draws such faces; with `count` a list of so many.

        Args:
            count: how many.
            attributes: {name: 1 or 0}, such as {"Smiling": 1}; the others are those of faces like the ones trained on, by
                chance, or open.
            seed: of that and of the face; default: --seed.
            progress: progress(done, steps), called after each step of drawing some of them.
            inputs: what all of them are drawn from, as in a call: the label map of a diffusion model with --condition label.

        Raises UserError for attributes that the weights do not know, and as a call does.
        """
        return self._drawn(self._faces("sample", "draws no faces of nothing").sample, count, seed, progress, inputs,
                           settings=attributes or {})

    def ilvr(self, image, factor: int = 8, seed: int | None = None, count: int | None = None, progress=None, **inputs):
        """As `sample`, with the low frequencies of a photo, as by --ilvr_reference.

        factor: low frequencies are what is left where the sides are divided by it, which it must divide.
        """
        model = self._faces("ilvr", "draws no faces like a photo")
        photo = self._item(image=image)["image"]
        return self._drawn(model.ilvr, count, seed, progress, inputs, image=photo, factor=int(factor))

    def edit(self, image, attributes: dict | None = None, label=None, **settings):
        """A photo drawn again (PIL).

        With some attributes turned, `edit("a.jpg", Smiling=1)`; or by a diffusion model from where it is partly noise,
        `edit("a.jpg", strength=0.6)`.

        Args:
            image: as of a call. label: its label map.
            attributes: all that the photo has, {name: 1 or 0}; where they are not known, the model guesses them.
            settings: {attribute: 1 or 0}. Or strength: the share of noise, in (0, 1]; keep: classes of the label map that stay;
                seed; progress, as of `sample`.

        Raises UserError for attributes and classes that the weights do not know.
        """
        model = self._faces("edit", "turns no attributes of photos")
        given = {"image": image, "attributes": attributes, "label": label}
        item = self._item(**{key: value for key, value in given.items() if value is not None})
        return _scaled(Image.fromarray(tensor2im(model.edit(item, settings))), item.get("size"))

    def _drawn(self, draw, count, seed, progress, inputs, **how):
        """What draw(count, seed, progress, item, **how) gives, as PIL pictures, or one of them where count is None."""
        if count is not None and (not isinstance(count, int) or count < 1):
            raise UserError(f"count: is {count!r}; say how many pictures, 1 or more, and attributes as attributes={{...}}")
        seed = self.opt.seed if seed is None else int(seed)
        drawn = draw(count=count or 1, seed=seed, progress=progress or (lambda *_: None),
                     item=self._item(**inputs) if inputs else {}, **how)
        pictures = [Image.fromarray(picture) for picture in tensor2im(list(drawn))]
        return pictures[0] if count is None else pictures

    def _faces(self, method: str, lack: str):
        if not hasattr(self.model, method):
            raise UserError(f"{self.opt.name}: --model {self.opt.model} {lack}")
        return self.model

    def _item(self, **given) -> dict:
        """The data set's item of the inputs."""
        kind = dataset_class(self.opt.dataset_mode)
        try:
            inspect.signature(kind.example).bind(self.opt, **given)
        except TypeError as error:
            takes = [name for name in inspect.signature(kind.example).parameters if name != "opt"]
            raise UserError(f"--dataset_mode {self.opt.dataset_mode}: {error}; it takes {first_few(takes)}") from None
        item = kind.example(self.opt, **given)
        return {**item, "index": 0, "name": "", "path": ""}

    def _refuse_features(self, style, image):
        if self._takes_styles():
            return
        if getattr(self.opt, "load_features", False):
            raise UserError("--load_features: these weights take features that are only read from files; use test.py")
        if style or image is not None and self.opt.needs.listed_by == "label":
            raise UserError(f"{'style' if style else 'image'}: this model takes no encoded features; it needs weights trained "
                            "with --label_feat or --instance_feat")

    def _takes_styles(self) -> bool:
        drawing = getattr(self.model, "drawing", None)
        return drawing is not None and drawing.styles is not None

    def _choice(self, has_photo: bool, style, seed, sample=None, person=None, style_fit=False, looks=1):
        model, choice = self.model, self.model.drawing.choice
        if has_photo and "E" not in model.nets:
            raise UserError(f"image: {self.opt.name} has no encoder to take features from it; leave it out")
        fixed = {}
        for name, wanted in (style or {}).items():
            label = model.drawing.styles.label_of(name, f"style {name!r}")
            fixed[label] = self._style(label, wanted, f"style {name!r}")
        fixed = {**choice.fixed, **fixed}
        if mode := self._mode(sample, person, style_fit, has_photo, fixed):
            choice = choice.replace(mode=mode, person=None if person is None else int(person), fit=style_fit)
        if sample == "posterior":
            choice = choice.replace(posterior=True)
        return choice.replace(own=has_photo, fixed=fixed, looks=looks, seed=self.opt.seed if seed is None else int(seed))

    def _mode(self, sample, person, style_fit, has_photo, fixed) -> str:
        """How to sample regions, '' where it is not said. Raises UserError for what cannot be meant, or is not there."""
        if sample not in (None, *style_flags.SAMPLES):
            raise UserError(f"sample: is {sample!r}; choose one of {first_few(style_flags.SAMPLES)}")
        if sample in ("prior", "posterior") and not self.opt.use_vae:
            raise UserError(f"sample: {sample!r} needs weights trained with --use_vae")
        random = [isinstance(style, str) for style in fixed.values()]
        person = int(person) if isinstance(person, np.integer) else person
        style_flags.refuse(style_flags.person_rules(sample, style_fit, person, has_photo, not all(random), any(random),
                                                    style_flags.swaps(self.opt)))
        mode = style_flags.mode(sample, style_fit, person)
        if mode:
            self.model.drawing.styles.require(mode)
        return mode

    def _style(self, label, wanted, where):
        if isinstance(wanted, str) and wanted == RANDOM:
            return RANDOM
        if isinstance(wanted, (int, np.integer)):
            return self.model.drawing.styles.numbered(label, int(wanted), where)
        vector = np.asarray(wanted, np.float64) if not isinstance(wanted, str) else np.empty(0)
        if vector.shape != (self.opt.feat_num,) or not np.isfinite(vector).all():
            raise UserError(f"{where}: is {wanted!r}; give a style's number, 'random', or {self.opt.feat_num} finite numbers")
        return vector


def _each(given: dict) -> list[dict]:
    """{name: value, or a list of values} -> the inputs of each picture."""
    counts = {name: len(value) for name, value in given.items() if isinstance(value, list)}
    if len(set(counts.values())) > 1:
        raise UserError(f"{first_few(f'{count} of {name}' for name, count in counts.items())}: lists must be of one length")
    return [{name: value[i] if name in counts else value for name, value in given.items()}
            for i in range(next(iter(counts.values()), 1))]


def _batch(item: dict) -> dict:
    return collate([item])


def _scaled(picture: Image.Image, size) -> Image.Image:
    return picture if size is None or picture.size == tuple(size) else picture.resize(size, Image.Resampling.BICUBIC)
