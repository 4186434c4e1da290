"""The metrics by name: what each gives and needs, and those asked for as one object."""
from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import NamedTuple

import torch

from util.errors import UserError
from util.metrics.base import Metric, NotComputed
from util.metrics.collection import MetricSet

ALL = "all"
# What a metric can need, and what is said where it is not there.
PAIRS, TRUE, LABEL, PARTS, PARSER, LOOKS, WEIGHTS = "pairs", "true", "label", "parts", "parser", "looks", "weights"
ASKED, ORACLE = "asked", "oracle"
LACKING = {PAIRS: "compares each drawn picture with the true one, but here the drawing does not aim at one",
           TRUE: "needs true pictures", LABEL: "needs the label maps that the pictures were drawn from",
           PARTS: 'needs "parts" in dataset.json, such as {"eyes": ["l_eye", "r_eye"]}',
           PARSER: "needs a face parser; give one with --parser CHECKPOINT",
           LOOKS: "compares several drawings of one label map; ask for 2 or more with --n_samples",
           ASKED: "is of models that draw faces with attributes that are asked for",
           ORACLE: "needs a classifier; give an experiment of --model attributes with --attributes_model"}


class Entry(NamedTuple):
    """A metric: module:class that measures it; the key of its main figure, by which checkpoints and pictures are sorted."""

    where: str
    figure: str | None
    needs: tuple[str, ...]
    about: str


METRICS = {
    "colour": Entry("pictures:PictureMetrics", "region_color_error", (PAIRS, LABEL), "difference of the regions' mean colours"),
    "ssim": Entry("pictures:PictureMetrics", "ssim", (PAIRS,), "structural similarity"),
    "psnr": Entry("pictures:PictureMetrics", "psnr", (PAIRS,), "peak signal-to-noise ratio"),
    "parts": Entry("parts:PartMetrics", None, (PAIRS, LABEL, PARTS), "SSIM and sharpness in eyes, mouth, hair, ..."),
    "swd": Entry("swd:SlicedWasserstein", "swd", (TRUE,), "sliced Wasserstein distance of patches"),
    "fid": Entry("inception:InceptionMetrics", "fid", (TRUE, WEIGHTS), "Frechet Inception distance"),
    "kid": Entry("inception:InceptionMetrics", "kid", (TRUE, WEIGHTS), "kernel Inception distance"),
    "lpips": Entry("lpips:LpipsMetric", "lpips", (PAIRS, WEIGHTS), "learned perceptual distance"),
    "miou": Entry("parsed:ParsedMetrics", "miou", (LABEL, PARSER), "IoU and accuracy of the pictures, parsed"),
    "asked": Entry("attributes:AskedAttributes", "attribute_agreement", (ASKED, ORACLE), "whether asked attributes are found"),
    "diversity": Entry("diversity:Diversity", "diversity", (LOOKS,), "distance between looks of one label map"),
}
WITHOUT_WEIGHTS = tuple(name for name, entry in METRICS.items() if not {WEIGHTS, PARSER, LOOKS, ORACLE} & {*entry.needs})


@dataclass(frozen=True)
class Available:
    """What there is to measure with.

    pairs: the drawing aims at the true picture of the same name. true: there are true pictures, be they of other names.
    label: there are label maps. spec: the `DatasetSpec`, None where nothing is known. parser: a loaded `FaceParser`.
    asked: the drawings have attributes that were asked for. oracle: a loaded `models.attributes_model.AttributeOracle`.
    looks: drawings of each label map. The weights are files that the user gave.
    """

    pairs: bool = True
    true: bool = True
    label: bool = True
    spec: object = None
    parser: object = None
    asked: bool = False
    oracle: object = None
    looks: int = 1
    inception_weights: str = ""
    lpips_weights: str = ""
    seed: int = 0
    device: torch.device | str = "cpu"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, as far as they are known."""
        return self.spec.class_names if self.spec else ()

    @property
    def parts(self) -> dict[str, list[int]]:
        """{part: ids of its classes}."""
        return self.spec.part_ids() if self.spec else {}


def choose(text: str, flag: str = "--metrics") -> list[str]:
    """The names in 'ssim,swd' or 'all'. Raises UserError listing them for one that is not there."""
    if text == ALL:
        return list(METRICS)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names or [text]:
        if name not in METRICS:
            raise UserError(f"{flag} {text}: there is no metric '{name}'; choose from {', '.join(METRICS)}, or {ALL}")
    return list(dict.fromkeys(names))


def lacking(name: str, available: Available) -> str:
    """Why a metric does not apply to what there is, in one line; '' where it does. Of weights it takes `create` to know."""
    there = {PAIRS: available.pairs and available.true, TRUE: available.true, LABEL: available.label, PARTS: available.parts,
             PARSER: available.parser, ASKED: available.asked, ORACLE: available.oracle, LOOKS: available.looks > 1,
             WEIGHTS: True}
    return next((LACKING[need] for need in METRICS[name].needs if not there[need]), "")


def create(wanted, available: Available, flag: str = "--metrics") -> MetricSet:
    """The metrics asked for as one.

    wanted: the flag's value, 'ssim,swd' or 'all'; or a list of names that the user did not ask for, such as WITHOUT_WEIGHTS.
    Those whose weights or package cannot be had are listed in its `not_computed` with what to fetch; of 'all' and of a list
    those that do not apply, too. Of several processes all must call it, as the first one's weights are taken. Raises UserError
    for a name that is no metric's, and for one asked for that does not apply.
    """
    reasons, groups, asked = {}, {}, isinstance(wanted, str) and wanted != ALL
    for name in choose(wanted, flag) if isinstance(wanted, str) else wanted:
        reason = lacking(name, available)
        if reason and asked:
            raise UserError(f"{flag} {name}: {reason}")
        if reason:
            reasons[name] = reason
        else:
            groups.setdefault(METRICS[name].where, []).append(name)
    metrics = {}
    for where, names in groups.items():
        module, kind = where.split(":")
        metric: type[Metric] = getattr(importlib.import_module(f"util.metrics.{module}"), kind)
        try:
            metrics[module] = metric.create([METRICS[name].figure for name in names], available)
        except NotComputed as error:
            reasons |= dict.fromkeys(names, str(error))
    return MetricSet(metrics, {name: reasons[name] for name in METRICS if name in reasons})
