"""Pictures that lie in folders, to be measured without a model: any folder and one of true pictures, or a page of test.py."""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.base_dataset import refuse_faults, spread
from data.image_files import image_size, list_images, read_image, refuse_other_view
from data.pairing import near_misses, pair
from data.sampler import BlockSampler
from util import distributed, page_facts
from util.errors import UserError, first_few
from util.files import fingerprint
from util.metrics import registry
from util.util import UniqueStems, palette

_CHECKED = 2000  # pictures whose sizes are compared before the start; the others when it is their turn
_RESULT = re.compile(r"(?P<stem>.+)_(?P<what>synthesized_image|real_image)(?:_(?P<look>[0-9]+))?\.jpg")


@dataclass
class _Item:
    """A picture's files; looks: all drawings of its label map."""

    drawn: Path | None = None
    true: Path | None = None
    label: Path | None = None
    looks: tuple[Path, ...] = ()


class FolderPictures:
    """The pictures of --fake or --results, each with its true one and its label map where there are such.

    aimed: whether each picture may be compared with the true one of its name. names: of all pictures, in their order; where
    two folders are compared as sets, first those of the one, then those of the other. count: of the drawn ones. share: how
    many of all this process reads. looks: drawings of each label map.
    """

    device = "cpu"

    def __init__(self, opt):
        """Raises UserError naming the flag or file at fault."""
        self.opt, self.aimed, self.asked, self.notes = opt, True, False, []
        self.fits = not opt.real  # a data root's photos are scaled to what was drawn from it, as training scales them
        self.items = self._results(Path(opt.results)) if opt.results else self._folders()
        drawn = {name: item for name, item in self.items.items() if item.drawn}
        self._add_labels(drawn)
        refuse_faults(self._fault, spread(list(drawn), _CHECKED))
        self.names, self.count = list(self.items), len(drawn)
        self.has_true = any(item.true for item in self.items.values())
        self.has_label = any(item.label for item in drawn.values())
        self.looks = min(len(item.looks) for item in drawn.values())
        self._sampler = BlockSampler(len(self.names), opt.batchSize, False, opt.seed, distributed.rank(),
                                     distributed.world_size())
        self.share = sum(map(len, self._sampler.batches()))

    # what is there

    def _results(self, folder: Path) -> dict[str, _Item]:
        """What test.py drew, and the true pictures of its page, else of the data root."""
        flag, items = f"--results {folder}", {}
        for path in sorted((folder / "images").glob("*.jpg")) if folder.is_dir() else ():
            if found := _RESULT.fullmatch(path.name):
                item = items.setdefault(found["stem"], _Item())
                if found["what"] == "real_image":
                    item.true, self.fits = path, False
                else:
                    item.looks += (path,)
        items = {name: item for name, item in items.items() if item.looks}
        if not items:
            raise UserError(f"{flag}: holds no pictures that test.py drew (images/*_synthesized_image.jpg); give the folder of "
                            "a result page, such as results/NAME/test_latest, or any folder of pictures with --fake")
        for item in items.values():
            item.drawn = item.looks[0]
        if not any(item.true for item in items.values()) and (photos := self._of_root("img")):
            self._match(items, "true", photos, f"{flag} and --dataroot {self.opt.dataroot}")
        self.notes.append("These pictures were read from JPEG files, whose compression is part of every difference.")
        if not (folder / "metrics.json").is_file():
            self.aimed = False
            print(f"{flag}: has no metrics.json, as these pictures do not aim at the true ones: they are compared as sets")
        return items

    def _folders(self) -> dict[str, _Item]:
        """The pictures of --fake, paired with those of --real or of the data root."""
        opt, drawn = self.opt, _listed("--fake", self.opt.fake)
        flag = f"--real {opt.real}" if opt.real else f"--dataroot {opt.dataroot}"
        true = _listed("--real", opt.real) if opt.real else self._of_root("img")
        if not true:
            raise UserError(f"{flag}: has no folder {opt.phase}_img with true pictures; give one with --real DIR")
        items = {name: _Item(path, looks=(path,)) for name, path in drawn.items()}
        pairs = pair(drawn, true)
        spare = sorted(true.keys() - set(pairs.values()))
        if len(pairs) == len(drawn) and not (spare and opt.real):
            for name, other in pairs.items():
                items[name].true = true[other]
            return items
        if any(registry.PAIRS in registry.METRICS[name].needs for name in registry.choose(opt.metrics)):
            raise UserError(_unpaired(flag, [name for name in drawn if name not in pairs], spare, len(drawn), len(true)))
        return {**items, **{f"{flag}: {name}": _Item(true=path) for name, path in true.items()}}

    def _of_root(self, role: str) -> dict[str, Path]:
        """{name: file} of the data root's photos or label maps, if one is named and has such."""
        folder = Path(self.opt.dataroot) / f"{self.opt.phase}_{role}"
        return list_images(folder) if self.opt.dataroot and folder.is_dir() else {}

    def _add_labels(self, drawn: dict[str, _Item]):
        if self.opt.label_nc and (labels := self._of_root("label")):
            self._match(drawn, "label", labels, f"--dataroot {self.opt.dataroot}")

    def _match(self, items, role: str, files: dict[str, Path], where: str):
        """Give each item its file of a role. Raises UserError where one has none."""
        if self.opt.results:  # whose names are those of files on a page
            stem = UniqueStems()
            files = {stem(name): path for name, path in files.items()}
        pairs = pair(items, files)
        if missing := [name for name in items if name not in pairs]:
            what = "label map" if role == "label" else "photo"
            raise UserError(f"{where}: {len(missing)} of {len(items)} pictures have no {what} of the same name there: "
                            f"{first_few(missing)}; add or rename the files, or name the data they were drawn from")
        for name, other in pairs.items():
            setattr(items[name], role, files[other])

    def _fault(self, name: str):
        """The file at fault, and its line, where a picture's files are not of one size."""
        item = self.items[name]
        try:
            size = image_size(item.drawn)
            for path in filter(None, (item.true, item.label)):
                self._refuse_other_size(path, image_size(path), item.drawn, size, exact=path == item.true and not self.fits)
        except UserError as error:
            return item.drawn, str(error)
        return None

    @staticmethod
    def _refuse_other_size(path, size, drawn, drawn_size, exact: bool):
        if exact and size != drawn_size:
            sizes = ["{}x{}".format(*one) for one in (drawn_size, size)]
            raise UserError(f"{drawn}: is {sizes[0]}, the true picture {path} {sizes[1]}; they are compared pixel by pixel: "
                            "scale the pictures of one folder")
        refuse_other_view(path, size, f"drawn picture {drawn}", drawn_size)

    # what is measured

    def rows(self, done: int = 0):
        """This process's pictures but the first `done`, some at a time: (names, what is measured of each, as MetricSet.add)."""
        for batch in self._sampler.start(1, done).batches():
            names = [self.names[i] for i in batch]
            yield names, [self._read(self.items[name]) for name in names]

    def _read(self, item: _Item) -> dict:
        row = {"drawn": _pixels(item.drawn)} if item.drawn else {}
        size = row["drawn"].shape[1::-1] if row else None
        if item.true:
            row["true"] = self._true(item, size)
        if item.label:
            ids = self.opt.label_maps.read(item.label)
            refuse_other_view(item.label, ids.shape[::-1], f"drawn picture {item.drawn}", size)
            row["label"] = np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
        if self.looks > 1 and item.looks:
            row["looks"] = np.stack([row["drawn"], *map(_pixels, item.looks[1:self.looks])])
        return row

    def _true(self, item: _Item, size) -> np.ndarray:
        """The true picture, in the size of the drawn one."""
        true = read_image(item.true)
        if size is None or true.size == size:
            return np.asarray(true)
        self._refuse_other_size(item.true, true.size, item.drawn, size, exact=not self.fits)
        return np.asarray(true.resize(size, Image.Resampling.BICUBIC))

    def visuals(self, name: str) -> dict:
        """One picture for a page: {what: (H, W, 3) uint8}."""
        row = self._read(self.items[name])
        if "label" in row:
            row["label"] = palette(self.opt.label_channels, self.opt.spec.class_colors or None)[row["label"]]
        names = {"label": "input_label", "drawn": "synthesized_image", "true": "real_image"}
        return {what: row[key] for key, what in names.items() if key in row}

    def metrics(self, available: registry.Available):
        """The metrics that --metrics asks for, as far as they can be had; see `registry.create`."""
        return registry.create(self.opt.metrics, available)

    def introduce(self, page, path, more=()) -> None:
        """Add to a page what it says of itself; see `util.page_facts`."""
        opt = self.opt
        true = opt.real or opt.dataroot and f"{opt.dataroot}, {opt.phase}"
        page.add_facts(page_facts.of_command(f"python {opt.command}", [("pictures", opt.results or opt.fake), *more, (
            "true pictures", true), ("seed", str(opt.seed))]))

    def sources(self) -> dict[str, str]:
        """Whatever drew the pictures is not known."""
        return {}

    def data(self) -> str:
        """A hash that tells files that have changed since."""
        return fingerprint(path for item in self.items.values() for path in (*item.looks, item.true, item.label) if path)


def _listed(flag: str, folder: str) -> dict[str, Path]:
    try:
        found = list_images(folder)
    except UserError as error:
        raise UserError(f"{flag} {error}") from error
    if not found:
        raise UserError(f"{flag} {folder}: holds no pictures")
    return found


def _unpaired(flag: str, missing, spare, drawn: int, true: int) -> str:
    """What to say where pictures that are to be compared one to one lack a partner."""
    lacking, of, where = (missing, drawn, "there") if missing else (spare, true, "in --fake")
    remarks = near_misses(missing[:100], spare)
    meant = f" ({next(iter(remarks.values()))})" if remarks else ""
    return (f"{flag}: {len(lacking)} of {of} pictures{'' if missing else ' of it'} have no partner of the same name {where}: "
            f"{first_few(lacking)}{meant}; add or rename the files, or compare the folders as sets with --metrics "
            f"{','.join(name for name, entry in registry.METRICS.items() if registry.TRUE in entry.needs)}")


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(read_image(path))
