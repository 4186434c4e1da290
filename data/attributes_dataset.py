"""Photos and their attributes, such as CelebA's forty."""
from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from data.attribute_table import FILES, AttributeTable
from data.base_dataset import BaseDataset, refuse_faults, spread
from data.image_files import image_size, list_images, read_image
from data.transforms import Augmentation, Draw, Preprocess
from options.flags import INF, names, whole
from util.errors import UserError, first_few
from util.lazy import LazyModule

torch = LazyModule("torch")
CHECKED = 2000  # photos whose headers are read before the start; those of others when it is their turn


def chosen(opt) -> list[str]:
    """The names in --attributes."""
    return opt.attributes.split(",") if opt.attributes else []


class AttributesDataset(BaseDataset):
    """--dataset_mode attributes: <phase>_img and attributes.csv of a data root.

    The items are the photos, or for a model whose `needs.listed_by` is 'number' as many numbers as --how_many and its like ask
    for, each with the photo and the attributes of one of them, as far as there are any. Keys that an item lacks are 0.
    """

    batch_keys: ClassVar = {"image": "(output_nc, S, S) float32 in [-1, 1], S = --loadSize",
                            "attributes": "(A,) float32, 1 or 0 of each of --attributes, in their order",
                            "number": "int, of a drawing, for which a photo may be there or not"}

    @staticmethod
    def modify_commandline_options(parser, is_train):
        """The choice of attributes, which the networks' shapes follow from, and the crop."""
        group = parser.add_argument_group("attributes", from_dataset=True)
        group.add_argument("--attributes", type=lambda text: text and names(text), default="", metavar="NAME,...",
                           architecture=True, help="which of the columns of attributes.csv (default: all that vary)")
        group.add_argument("--center_crop", type=whole(0, 30000), default=0, inherited=True, help="cut photos to a square of "
                           "so many pixels in their middle before they are scaled, such as 148 for CelebA; 0: the largest")
        parser.without("resize_or_crop", "fineSize")

    @staticmethod
    def complete_options(opt):
        """Where no attributes are chosen, those that vary among the training photos."""
        if opt.attributes or opt.saved and opt.role == "test":
            return opt
        table = AttributeTable.find(opt.dataroot)
        found = table.varying(opt.phase) if table else []
        if not found:
            return opt
        return opt.replace(attributes=",".join(found), sources={**opt.sources, "attributes": table.path.name})

    def __init__(self, opt):
        training = opt.role == "train"
        side = opt.loadSize
        self.preprocess = Preprocess("none", side, side, training and not opt.no_flip, augmentation=Augmentation(
            opt.aug_rotate, opt.aug_scale, opt.aug_color) if training else Augmentation())
        self.attributes = chosen(opt)
        self.required = "attributes" in opt.needs.keys
        super().__init__(opt)

    # listing

    @classmethod
    def has_phase(cls, opt, phase):
        """Whether there is a folder of photos."""
        return (Path(opt.dataroot) / f"{phase}_img").is_dir()

    def list_items(self):
        """{name: photo}; of drawings by number, each with its photo, or with the data root where there is none."""
        opt, by_number = self.opt, self.needs.listed_by == "number"
        folder = Path(opt.dataroot) / f"{opt.phase}_img"
        if not folder.is_dir() and not by_number:
            raise UserError(f"--dataroot {opt.dataroot}: there is no folder {folder.name} in it; put the photos there, or "
                            "choose other folders with --phase")
        photos = list_images(folder) if folder.is_dir() else {}
        self.rows = self._find_rows(photos)
        self.photos = list(photos.items())
        if not by_number:
            return photos
        count = min(getattr(opt, flag, INF) for flag in ("how_many", "ntest", "max_dataset_size"))
        count = int(min(len(photos) if count == INF else count, INF if self.needs.count is None else self.needs.count))
        return {f"{i:04d}": self.photos[i % len(photos)][1] if photos else Path(opt.dataroot) for i in range(count)}

    def _find_rows(self, photos) -> dict[str, np.ndarray]:
        """{photo's name: (A,) bool}. Raises UserError where the model needs them and a photo has none."""
        opt, table = self.opt, AttributeTable.find(self.opt.dataroot)
        if table is None or not self.attributes:
            missing = f"holds no {FILES[0]}" if table is None else f"in {table.path.name} no attribute varies"
            if self.required and photos:
                raise UserError(f"--dataroot {opt.dataroot}: {missing}, which this model needs; docs/attributes.md says how "
                                "to write it, or choose a model without attributes")
            return {}
        if not self.required and not set(self.attributes) <= set(table.names):
            print(f"{table.path}: is left aside, as it has not all of --attributes {opt.attributes}")
            return {}
        columns = table.columns(self.attributes)
        found = {name: table.of(opt.phase, name) for name in photos}
        self._tell_missing(table, [name for name, row in found.items() if row is None], len(photos))
        rows = {name: row[columns] for name, row in found.items() if row is not None}
        if self.required and opt.role == "train" and rows:
            self._refuse_constant(np.mean(list(rows.values()), 0))
        return rows

    def _tell_missing(self, table, missing, count):
        if not missing:
            return
        line = f"{table.path}: has no row for {len(missing)} of {count} photos of {self.opt.phase}_img: {first_few(missing)}"
        if self.required:
            raise UserError(f"{line}; add them, or remove those photos")
        print(line)

    def _refuse_constant(self, share):
        for name, one in zip(self.attributes, share):
            if one in (0, 1):
                raise UserError(f"--attributes {self.opt.attributes}: {name} is {one:.0f} for every photo of "
                                f"{self.opt.phase}_img, so that nothing can be learnt of it; leave it out")

    def check(self):
        """Sides that the networks take, and photos that are large enough for --center_crop."""
        side, step, least = self.opt.loadSize, self.needs.multiple, self.needs.least
        if side % step or side < least:
            raise UserError(f"--loadSize {side}: these networks take sides that are multiples of {step}, from {least} up; "
                            "choose another size")
        if self.photos:
            refuse_faults(self._fault, spread([path for _, path in self.photos[:self.limit]], CHECKED))

    def _fault(self, path):
        try:
            self.square(image_size(path), self.opt.center_crop, path)
        except UserError as error:
            return path, str(error)
        return None

    # reading

    @staticmethod
    def square(size, crop: int, name) -> tuple[int, int, int, int]:
        """(left, top, right, lower) of the middle square of a (width, height). Raises UserError for a crop larger than it."""
        side = crop or min(size)
        if side > min(size):
            raise UserError(f"--center_crop {crop}: {name} is {size[0]}x{size[1]}; choose a smaller one")
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        return left, top, left + side, top + side

    @classmethod
    def read_square(cls, opt, source) -> Image.Image:
        """The middle square of a photo, scaled to --loadSize."""
        side, size = opt.loadSize, image_size(source)
        box = cls.square(size, opt.center_crop, source if isinstance(source, (str, Path)) else "the photo")
        scale = side / min(size)
        draft = None if opt.center_crop else tuple(max(side, round(length * scale)) for length in size)
        photo = read_image(source, opt.output_nc, draft)
        if photo.size != size:  # decoded at a fraction
            box = cls.square(photo.size, 0, source)
        return photo.crop(box).resize((side, side), Image.Resampling.BICUBIC)

    def read(self, index, random):
        """The photo, mirrored and augmented as the flags say, its attributes, and the number of the item."""
        item = {"image": 0, "attributes": 0, "number": index}
        if self.photos:
            by_number = self.needs.listed_by == "number"
            name, path = self.photos[index % len(self.photos)] if by_number else (self.names[index], self.paths[index])
            size = (self.opt.loadSize,) * 2
            draw = self.preprocess.draw(size, random)
            item["image"] = self.preprocess.image(self.read_square(self.opt, path), size, draw, jitter=True)
            if name in self.rows:
                item["attributes"] = torch.from_numpy(self.rows[name].astype(np.float32))
        return item

    @classmethod
    def example(cls, opt, image, attributes=None):
        """A photo, as a path, a PIL picture or an array, and where they are known its attributes, {name: 1 or 0} of all."""
        size, known = (opt.loadSize,) * 2, 0
        if attributes is not None:
            values = vector_of(attributes, chosen(opt))
            if lacking := [name for name, value in zip(chosen(opt), values) if value is None]:
                raise UserError(f"attributes: say nothing of {first_few(lacking)}; give 1 or 0 for each")
            known = torch.tensor(values, dtype=torch.float32)
        photo = Preprocess("none", *size, False).image(cls.read_square(opt, image), size, Draw())
        return {"image": photo, "attributes": known, "number": 0}

    @classmethod
    def named(cls, opt, text: str) -> dict:
        """The item of a photo, given by its name in <phase>_img or as a file, with its attributes where they are known."""
        folder, attributes = Path(opt.dataroot) / f"{opt.phase}_img", None
        photos = list_images(folder) if folder.is_dir() else {}
        if text in photos:
            table = AttributeTable.find(opt.dataroot)
            row = table and table.of(opt.phase, text)
            if row is not None and chosen(opt) and set(chosen(opt)) <= set(table.names):
                attributes = dict(zip(chosen(opt), row[table.columns(chosen(opt))].astype(int).tolist()))
        elif not Path(text).is_file():
            raise UserError(f"{text}: is neither a photo in {folder} nor a file")
        return cls.example(opt, photos.get(text, text), attributes)

    def has(self, key):
        """Of photos and attributes, whether there are any."""
        return {"image": bool(self.photos), "attributes": bool(self.rows)}.get(key, super().has(key))


def vector_of(asked: dict, attributes: list[str], flag: str = "attributes") -> list[float | None]:
    """[1.0, 0.0 or None for each of `attributes`], from {name: 1 or 0}. Raises UserError for other names and values."""
    for name, value in asked.items():
        if name not in attributes:
            raise UserError(f"{flag} {name}: these weights know no such attribute; they know {first_few(attributes, 40)}")
        if value not in (0, 1):
            raise UserError(f"{flag} {name}: is {value!r}; say 1 or 0")
    return [float(asked[name]) if name in asked else None for name in attributes]
