"""The interface of data sets, and of what models need of them."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from util.errors import UserError, first_few


@dataclass(frozen=True)
class Needs:
    """What a model needs of a data set, for the current command.

    keys: batch keys that every item must have. listed_by: the key whose files are the items; 'number': the items are --how_many
    samples by number (see `data.samples`). multiple: sides of pictures must be multiples of it, in pixels. least: the minimum
    side, in pixels.
    """

    keys: tuple[str, ...] = ("image",)
    listed_by: str = "label"
    multiple: int = 1
    least: int = 1
    count: int | None = None


class BaseDataset(ABC):
    """A data set: dataset[i], or dataset[(epoch, i)], gives a dict with the keys of `batch_keys`, and

        index: int. name: str, unique, with '/' for folders and without extension. path: str, the item's file.

    A subclass declares the keys of its items (`batch_keys`), lists them (`list_items`) and reads one (`read`). It may check
    files before the start (`check`) and make an item of Python objects (`example`). DATASETS lists the subclasses.
    """

    batch_keys: ClassVar[dict[str, str]] = {}  # {key: its shape, dtype and range}

    @staticmethod  # noqa: B027 - may be left out
    def modify_commandline_options(parser, is_train: bool) -> None:
        """Add the data set's own flags, in a group of their own."""

    @staticmethod
    def complete_options(opt):
        """The parsed options, with values that the data root gives where no flag says otherwise; `opt.replace` makes them."""
        return opt

    @classmethod
    def has_phase(cls, opt, phase: str) -> bool:
        """Whether the data root has pictures of a phase, and what they are to be compared with; --phase stays aside."""
        return any(Path(opt.dataroot).glob(f"{phase}_*"))

    def __init__(self, opt):
        """opt: the parsed options, with opt.needs of the model. Raises UserError naming the flag or file at fault."""
        self.opt, self.needs = opt, opt.needs
        items = _part(self.list_items(), opt)
        self.names, self.paths = list(items), list(items.values())
        if not items:
            raise UserError(f"--dataroot {opt.dataroot}: holds no pictures for --phase {opt.phase}; put them there, or choose "
                            "another --phase")
        self.check()

    @abstractmethod
    def list_items(self) -> dict[str, Path]:
        """{name: file} of all items, in their order. Raises UserError if something is missing."""

    @abstractmethod
    def read(self, index: int, random: np.random.Generator) -> dict:
        """Item `index` as {batch key: value}; tensors of one shape are stacked to a batch, other values become lists.

        random: the generator for augmentation, seeded by (seed, epoch, index); no other source of randomness may be used.
        """

    def check(self) -> None:  # noqa: B027 - may be left out
        """Check files before the start. Raises UserError listing those at fault (see `refuse_faults`)."""

    @classmethod
    def example(cls, opt, **inputs) -> dict:
        """An item from files, pictures and arrays, by batch key, for drawing from Python.

        'size', where there is one, is the result's (width, height). Raises UserError for what the data set does not know or the
        networks do not take.
        """
        if inputs:
            raise UserError(f"{first_few(inputs)}: --dataset_mode {opt.dataset_mode} takes no such input; leave it out")
        return {}

    def refuse_size(self, path, size: tuple[int, int]) -> None:
        """Raise UserError if the networks do not accept the (width, height) that a picture is resized to."""
        (width, height), step, least = size, self.needs.multiple, self.needs.least
        if width % step or height % step or min(width, height) < least:
            flag = f"--fineSize {self.opt.fineSize}" if "crop" in self.opt.resize_or_crop else f"--loadSize {self.opt.loadSize}"
            raise UserError(f"{flag}: {path} becomes {width}x{height}, but these networks take sides that are multiples of "
                            f"{step}, from {least} up; choose another size, or --resize_or_crop none or resize_and_crop")

    def legend(self, batch: dict, i: int) -> list[int]:
        """The classes in item i of a batch, for the legend of a page."""
        return []

    # what an evaluation asks

    def has(self, key: str) -> bool:
        """Whether any item holds `key`, one of those that `batch_keys` names."""
        return key in self.batch_keys

    def item_files(self) -> Iterable[Path]:
        """The files of the items that the flags allow."""
        return self.paths[:self.limit]

    # for the loader

    @property
    def limit(self) -> int:
        """The number of items to use, by the flags."""
        bounds = (getattr(self.opt, flag, float("inf")) for flag in ("max_dataset_size", "ntest", "how_many"))
        return int(min(*bounds, len(self)))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key) -> dict:
        epoch, index = key if isinstance(key, tuple) else (1, int(key))
        try:
            item = self.read(index, np.random.default_rng((self.opt.seed, epoch, index)))
        except OSError as error:
            raise UserError(f"{self.paths[index]}: cannot be read ({error.strerror or error}); replace or remove it") from error
        if undeclared := item.keys() - self.batch_keys.keys():
            raise TypeError(f"{type(self).__name__}.read gives {first_few(sorted(undeclared))}, which batch_keys lacks")
        return {**item, "index": index, "name": self.names[index], "path": str(self.paths[index])}


def _part(items: dict, opt) -> dict:
    """The items that opt.part names: 'held out', a seeded share --val_split of all, or the 'rest' of them; else all."""
    part = getattr(opt, "part", None)
    if part is None:
        return items
    count = max(1, round(opt.val_split * len(items)))
    order = np.random.default_rng(opt.seed).permutation(len(items))
    wanted = set(order[-count:] if part == "held out" else order[:-count])
    return {name: path for i, (name, path) in enumerate(items.items()) if i in wanted}


def refuse_faults(fault_of: Callable, items: Iterable) -> None:
    """Raise one UserError for all items at fault. fault_of(item): (the file at fault, its line), or None where it is sound."""
    with ThreadPoolExecutor(8) as pool:
        faults = [fault for fault in pool.map(fault_of, items) if fault]
    if faults:
        (_, first), *others = faults
        raise UserError(first + (f" -- and {len(others)} more: {first_few(path for path, _ in others)}" if others else ""))


def spread(items: list, count: int) -> list:
    """At most `count` items, evenly spread."""
    return items if len(items) <= count else [items[i * len(items) // count] for i in range(count)]


def refuse_unsuitable(model: str, mode: str, needs: Needs, keys: Iterable[str]) -> None:
    """Raise UserError if a data set lacks keys that a model needs. keys: those that the data set declares."""
    lacking = [key for key in dict.fromkeys((needs.listed_by, *needs.keys)) if key not in (*keys, "number")]
    if lacking:
        raise UserError(f"--dataset_mode {mode}: its items hold {first_few(keys) or 'nothing'}, but --model {model} takes "
                        f"{first_few(lacking)}; choose another --dataset_mode or another --model")
