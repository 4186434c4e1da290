"""Drawing with chosen styles, and encoding photos into them: what a model with an encoder and a generator does at test."""
from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from models import weights
from models.regions import Regions
from models.styles import flags as style_flags
from models.styles.book import FILE_NAME
from models.styles.styles import Choice, Donor, Encoded, Styles
from util.checkpoint import read_tensors
from util.errors import UserError, first_few
from util.experiment import experiment_folder


class StyledDrawing:
    """From a batch, and a Choice of styles, to pictures, with a model whose nets are G and E.

    model: has opt, device, nets, notes, autocast, use_features, `context_of(batch)` and `generate(condition, features)`.
    styles: those at hand, or None where the model takes none. choice: what the flags ask for.
    Nothing here changes what the model draws, so several threads may draw with one.
    """

    def __init__(self, model):
        self.model, self.opt, self.notes = model, model.opt, model.notes
        self.styles: Styles | None = None
        self.choice: Choice | None = None
        self.source = None

    def find_styles(self):
        """The styles at hand, which of them the flags ask for, and the photos that lend theirs."""
        self.styles = Styles.of_experiment(self.opt)
        self.choice = Choice.of_options(self.opt, self.styles)
        if self.choice.samples:
            self.styles.require(self.choice.mode)
        clusters = self.choice.takes_clusters or style_flags.swaps(self.opt)  # a class that a style photo lacks may get one
        used = {Path(self.opt.cluster_path).name} if clusters else set()
        self.notes += filter(None, [self.outdated_styles(used | ({FILE_NAME} if self.choice.takes_gaussians else set()))])
        if not self.aims_at_truth():
            self.notes.append(f"Drawn with {self.describe()}: no picture aims at the true one beside it, so there are no "
                              "figures. --use_encoded_image, alone, draws each with the features of its own photo.")
        if style_flags.swaps(self.opt):
            from data.style_source import StyleSource
            self.source = StyleSource(self.opt)

    def aims_at_truth(self) -> bool:
        """Whether all regions take the features of the photo that is drawn, and none a style or those of another photo."""
        return self.choice.own and not self.choice.fixed and not style_flags.swaps(self.opt)

    def describe(self) -> str:
        """Where the flags take features from, for people, such as 'styles of features_clustered_010.npy, hair=3'."""
        opt, choice = self.opt, self.choice
        if not choice:
            return ""  # while encoding
        person = "whole persons" if choice.person is None else f"person {choice.person}"
        drawn = {"prior": "the prior N(0, I)", "class": "the Gaussian of each class", "person": person,
                 "clusters": f"styles of {opt.cluster_path}"}
        parts = ["each photo's own features" if choice.own else drawn[choice.mode] + " that fit what is given" * choice.fit]
        if style_flags.swaps(opt):
            classes = f" for {opt.style_regions}" if opt.style_regions else ""
            parts.insert(0, f"features of {opt.style_image or f'photos in {opt.style_root}'}{classes}")
        parts += ["drawn from their Gaussians"] * choice.posterior + list(opt.style or ())
        return ", ".join(parts + [f"{choice.looks} looks"] * (choice.looks > 1))

    def encoder_digest(self) -> str:
        """`weights.digest` of the encoder that was trained with this generator, loaded or not; '' where it is not there."""
        if "E" in self.model.nets:
            return weights.digest(self.model.nets["E"].state_dict())
        path = weights.file_of(experiment_folder(self.opt), self.opt.which_epoch, "E", averaged=not self.opt.no_ema)
        with contextlib.suppress(UserError):  # none, or a broken one, which drawing with styles can do without
            return weights.digest(read_tensors(path))
        return ""

    def outdated_styles(self, used: set[str] | None = None) -> str:
        """A line that names the files of styles that are of another encoder than this generator's, or ''.

        used: the names of those that matter, by default all.
        """
        encoders = {file: encoder for file, encoder in self.styles.encoders.items() if used is None or Path(file).name in used}
        opt, digest = self.opt, self.encoder_digest() if encoders else ""
        names = [name for name, encoder in encoders.items() if digest and encoder != digest]
        if not names:
            return ""
        return (f"{first_few(names)}: made with another encoder than {opt.which_epoch}_net_E.pth (was it trained further "
                f"since?), so these styles may not fit; make them again with encode_features.py --name {opt.name}" +
                f" --which_epoch {opt.which_epoch}" * (opt.which_epoch != "latest"))

    def posterior(self, image: torch.Tensor, regions: Regions) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(N, C, H, W) photos -> (mu, log-variance) of each region, (R, feat_num) each; None for a plain encoder."""
        with self.model.autocast():
            return self.model.nets["E"].posterior(image, regions)

    @torch.no_grad()
    def inference(self, batch, choice: Choice | None = None):
        """Draw a batch with the features that `choice` (default: the flags) asks for; safe to call from several threads.

        -> {'synthesized_image': ..., 'synthesized_image_2': ... for further looks, 'style_image': the style photos}.
        """
        self.model.eval()
        ctx = self.model.context_of(batch)
        if not self.model.use_features or ctx.features is not None:
            return {"synthesized_image": self.model.generate(ctx.condition, ctx.features)}
        choice = choice or self.choice
        styles = self.styles or Styles(self.opt.feat_num, {})  # in training, where all features are the photos' own
        regions = Regions.of(ctx.pooled_over)
        classes = self._by_picture(regions, ctx.source)
        donors = [self._donor(name, index) for name, index in zip(batch["name"], batch["index"])]
        own = self._own_features(batch["image"], ctx.pooled_over) if choice.own or any(donors) else [None] * len(donors)
        outputs = {}
        for look in range(choice.looks):
            vectors = [styles.pick(classes[i], choice, batch["index"][i], look, own[i], donors[i])
                       for i in range(len(classes))]
            features = regions.paint(torch.from_numpy(np.concatenate(vectors)))
            outputs["synthesized_image" + (f"_{look + 1}" if look else "")] = self.model.generate(ctx.condition, features)
        return {**outputs, **({"style_image": [donor.photo for donor in donors]} if any(donors) else {})}

    def _own_features(self, images, maps: torch.Tensor) -> list[Encoded | None]:
        """The features of each picture's own photo, region by region; None where it has no photo."""
        if torch.is_tensor(images):
            regions = Regions.of(maps)
            found = self._encoded(images, regions)
            pictures = regions.picture.cpu().numpy()
            return [found.at(pictures == i) for i in range(len(maps))]
        return [self._encoded(image[None], Regions.of(maps[i:i + 1])) if torch.is_tensor(image) else None
                for i, image in enumerate(images)]

    def _donor(self, name: str, index: int) -> Donor | None:
        """The style photo of an item, where flags name any, encoded by class."""
        if self.source is None:
            return None
        item = self.source.load(self.source.name(name, index))
        return Donor(item["name"], *self.encode_classes(item["image"], item["label"]), item["image"][0])

    @torch.no_grad()
    def encode_classes(self, image: torch.Tensor, label: torch.Tensor) -> tuple[list[int], Encoded]:
        """(1, C, H, W) photo and (1, 1, H, W) class ids -> (the classes that occur, their features in that order)."""
        label = label.to(self.model.device)
        regions = Regions.of(label)
        return self._classes(regions, label).tolist(), self._encoded(image, regions)

    def _encoded(self, image, regions) -> Encoded:
        mu, log_variance = self.posterior(image.to(self.model.device), regions)
        return Encoded(mu.cpu().numpy(), None if log_variance is None else log_variance.cpu().numpy())

    @torch.no_grad()
    def restyle(self, batch, changes: list[dict[int, np.ndarray]], at_once: int = 1) -> Iterator[torch.Tensor]:
        """One picture drawn with its own features, once for each change: with other vectors (feat_num,) on some classes.

        changes: {class: vector} each. at_once: how many are drawn together. Gives (C, H, W) each.
        """
        self.model.eval()
        ctx = self.model.context_of(batch)
        regions = Regions.of(ctx.pooled_over)
        own = self._own_features(batch["image"], ctx.pooled_over)[0].mu
        classes, vectors = self._classes(regions, ctx.source), []
        for change in changes:
            vectors.append(own.copy())
            for label, vector in change.items():
                vectors[-1][classes == label] = vector
        yield from self._each(ctx, regions, vectors, at_once)

    @torch.no_grad()
    def as_persons(self, batch, styles: Styles, numbers: Iterable[int], at_once: int = 1) -> Iterator[torch.Tensor]:
        """One picture drawn as the persons of some numbers: (C, H, W) each. at_once: how many are drawn together."""
        self.model.eval()
        ctx = self.model.context_of(batch)
        regions = Regions.of(ctx.pooled_over)
        classes = self._classes(regions, ctx.source).tolist()
        yield from self._each(ctx, regions, [styles.sample(Choice("person", person=n), classes) for n in numbers], at_once)

    def _each(self, ctx, regions, vectors, at_once):
        """A single picture with each of several tables of its regions' features, (R, feat_num)."""
        for start in range(0, len(vectors), at_once):
            painted = [regions.paint(torch.from_numpy(features)) for features in vectors[start:start + at_once]]
            yield from self.model.generate(ctx.condition.expand(len(painted), -1, -1, -1), torch.cat(painted))

    @torch.no_grad()
    def encode(self, batch) -> list[dict[int, np.ndarray]]:
        """For each picture {class: (n, feat_num + 1)}: a row an instance, last its size in 1/32 of the picture."""
        self.model.eval()
        device = self.model.device
        label, inst = (value.to(device) if torch.is_tensor(value) else None for value in (batch["label"], batch["inst"]))
        maps = label if inst is None else inst
        regions = Regions.of(maps)
        mu, _ = self.posterior(batch["image"].to(self.model.device), regions)
        size = regions.size / (maps.shape[-2] * maps.shape[-1] // 32)
        rows = torch.cat([mu, size[:, None]], 1).cpu().numpy()
        classes, pictures = self._classes(regions, label), regions.picture.cpu().numpy()
        return [{int(c): rows[(pictures == i) & (classes == c)] for c in np.unique(classes[pictures == i])}
                for i in range(len(maps))]

    @torch.no_grad()
    def feature_map(self, batch) -> torch.Tensor:
        """The painted features of a batch of photos: (N, feat_num, H, W) in [-1, 1], as training would pool them.

        Raises UserError for a VAE, whose features know no such bounds.
        """
        if self.opt.use_vae:
            raise UserError("--use_vae: its features have no bounds, so pictures cannot hold them; train the first stage "
                            "without --use_vae")
        self.model.eval()
        ctx = self.model.context_of(batch)
        regions = Regions.of(ctx.pooled_over)
        return regions.paint(self.posterior(ctx.image, regions)[0])

    def class_map(self, batch) -> np.ndarray:
        """(N, H, W) int64: the class whose style each pixel takes."""
        ctx = self.model.context_of(batch)
        regions = Regions.of(ctx.pooled_over)
        return self._classes(regions, ctx.source)[regions.index.cpu().numpy()]

    def _classes(self, regions: Regions, source: torch.Tensor) -> np.ndarray:
        """(R,) int64: the class whose style each region takes or gives; one of several classes is noted, once.

        source: the label map (N, 1, H, W), or with --label_nc 0 the input picture, which knows no classes.
        """
        classes, share = regions.classes(source if self.opt.label_nc else None)
        note = ("Some instances lie on more than one class: each counts as the class of most of its pixels, and its features "
                f"are a mixture; python -m datasets.check {self.opt.dataroot} names the files")
        if share.min() < 1 and note not in self.notes:
            self.notes.append(note)
        return classes

    def _by_picture(self, regions: Regions, source: torch.Tensor) -> list[list[int]]:
        """The classes of each picture's regions, in the order of the regions."""
        classes, pictures = self._classes(regions, source), regions.picture.cpu().numpy()
        return [classes[pictures == i].tolist() for i in range(len(regions.index))]
