"""Label maps and photos (or any two kinds of picture) that belong together by name."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from data.blends import blends_line, find_blend
from data.cache import PreparedCache
from data.image_files import image_size, list_images, read_image, read_label, refuse_other_view
from data.pairing import near_misses, pair
from data.transforms import Augmentation, Preprocess
from util.errors import UserError, first_few

CHECKED_HEADERS, CHECKED_LABELS = 2000, 200  # what is looked at before the start; the rest when it is its turn


class AlignedDataset(torch.utils.data.Dataset):
    """<phase>_label, <phase>_img, <phase>_inst and <phase>_feat of a data root (<phase>_A and _B with --label_nc 0).

    dataset[i] or dataset[(epoch, i)] gives a dict:
        label: (1, H, W) uint8 or int32 class ids; with --label_nc 0 a float32 picture (input_nc, H, W) in [-1, 1];
            0 where there is none, which only a model that is listed by photos allows
        inst: (1, H, W) integer instance ids; 0 with --no_instance, or where the model takes none
        image: float32 (output_nc, H, W) in [-1, 1]; 0 where there is no photo
        feat: float32 (C, H, W) with --load_features; else 0
        index: int. size: (width, height) of the part that --resize_or_crop pad did not add.
        path: the label map's file (or the photo's). name: its path in the folder without extension, with '/'.
    The draw of crop and mirroring follows from (seed, epoch, index). Raises UserError naming the file at fault.
    """

    @staticmethod
    def modify_commandline_options(parser, is_train: bool):
        """This data set has no flags beyond the shared ones."""

    def __init__(self, opt):
        from models.models import model_class
        model = model_class(opt.model)
        self.opt, self.multiple, self.least = opt, model.size_multiple(opt), model.least_side(opt)
        training = opt.role == "train"
        self.preprocess = Preprocess(opt.resize_or_crop, opt.loadSize, opt.fineSize, training and not opt.no_flip,
                                     model.size_multiple(opt), opt.spec.flip_pairs,
                                     Augmentation(opt.aug_rotate, opt.aug_scale, opt.aug_color) if training else Augmentation())
        self.lead = model.listed_by(opt)  # the role, label or image, whose files are the items
        self.no_instance = getattr(opt, "no_instance", True)  # a model without that flag takes no instance maps
        self.phase = self._choose_phase()
        self.needs = model.inputs(opt)  # which of label, image, inst, feat this command cannot do without
        self._list_files()
        self._check_files()
        self.cache = PreparedCache(opt.cache, opt.cache_size * 1e9) if opt.cache else None

    # what is there

    def folder(self, role: str) -> Path:
        """The folder of a role: label, image, inst or feat."""
        names = {"label": "A", "image": "B"} if self.opt.label_nc == 0 else {"label": "label", "image": "img"}
        return Path(self.opt.dataroot) / f"{self.phase}_{names.get(role, role)}"

    def _choose_phase(self) -> str:
        """--phase; encoding takes the test folders where it was not given and only those exist."""
        opt, root = self.opt, Path(self.opt.dataroot)
        if not root.is_dir():
            raise UserError(f"--dataroot {opt.dataroot}: there is no such folder; give the folder that holds "
                            f"{opt.phase}_{'A' if opt.label_nc == 0 else 'label'}")
        self.phase = opt.phase
        if opt.role == "encode" and opt.sources["phase"] == "default" and not self.folder("image").is_dir():
            self.phase = "test"
            if self.folder("image").is_dir():
                print(f"{opt.dataroot} has no {opt.phase}_ folders: encoding its test_ folders")
            else:
                self.phase = opt.phase
        return self.phase

    def _list_files(self):
        """The items, and by role the files of those that have one, and the names there that are nobody's."""
        self.called = {"label": "label maps" if self.opt.label_nc else "input pictures", "image": "photos"}
        self.files, self.spare = {}, {}
        self._list_lead()
        for role in ("label", "image", "inst", "feat"):
            if role != self.lead and self._is_read(role):
                self._list_partners(role)
        for role in self.needs:
            self._require(role)
        if "image" in self.needs and self.opt.role == "train":
            self._refuse_unpaired()
        if self.opt.role == "test":
            self._tell_of_missing("image" if self.lead == "label" else "label")
        self._instances()

    def _list_lead(self):
        """The files that are the items."""
        folder, what = self.folder(self.lead), self.called[self.lead]
        if not folder.is_dir():
            raise UserError(f"--dataroot {self.opt.dataroot}: there is no folder {folder.name} in it; put the {what} there, or "
                            "choose other folders with --phase")
        self.files[self.lead] = list_images(folder)
        self.keys = list(self.files[self.lead])
        if not self.keys:
            raise UserError(f"{folder}: holds no pictures; put the {what} there" +
                            (", as PNG files" if what == "label maps" else ""))

    def _list_partners(self, role: str):
        """{item: path} of a role, for the items that have a partner there."""
        listed = list_images(self.folder(role))
        pairs = pair(self.keys, listed)
        self.files[role] = {key: listed[name] for key, name in pairs.items()}
        self.spare[role] = sorted(listed.keys() - set(pairs.values()))

    def _is_read(self, role: str) -> bool:
        if role == "inst" and self.no_instance or role == "feat" and "feat" not in self.needs:
            return False
        return self.folder(role).is_dir()

    def _require(self, role: str):
        """Every label map has a partner in this role."""
        folder = self.folder(role)
        if role not in self.files:
            raise UserError(f"--dataroot {self.opt.dataroot}: there is no folder {folder.name} in it" +
                            ("; run precompute_feature_maps.py first" if role == "feat" else
                             "; put the pictures there, or choose other folders with --phase"))
        missing = [key for key in self.keys if key not in self.files[role]]
        if missing:
            what = self.called[self.lead]
            raise UserError(f"{folder}: {len(missing)} of {len(self.keys)} {what} have no partner of the same name there: "
                            f"{first_few(missing)}{self._meant(missing, role)}; add or rename the files, or remove those "
                            f"{what}")

    def _refuse_unpaired(self):
        """No photo is without a label map, unless the photos are what is listed."""
        extra = self.spare.get("image")
        if extra:
            raise UserError(f"{self.folder('label')}: {len(extra)} of {len(extra) + len(self.files['image'])} photos have no "
                            f"{self.called['label'][:-1]} of the same name there: {first_few(extra)}; add or rename the "
                            "files, or remove those photos")

    def _tell_of_missing(self, role: str):
        """What is drawn may lack its truth, but not silently where the folder of the truth is there."""
        if role not in self.files:
            return
        keys = self.keys[:self.limit]
        missing = [key for key in keys if key not in self.files[role]]
        if missing:
            print(f"{self.folder(role)}: {len(missing)} of {len(keys)} {self.called[self.lead]} have no "
                  f"{self.called[role][:-1]} of the same name there: {first_few(missing)}{self._meant(missing, role)}")

    def _meant(self, missing, role: str) -> str:
        """A remark in parentheses on a name without a partner that is there in another spelling."""
        remarks = near_misses(missing[:100], self.spare[role])
        return f" ({next(iter(remarks.values()))})" if remarks else ""

    def _instances(self):
        """Where the instance maps come from; for faces the label map serves."""
        self.label_is_instance = False
        if self.no_instance:
            return
        if "inst" in self.files:
            self._require("inst")
        elif self.opt.label_nc == 0:
            raise UserError(f"--dataroot {self.opt.dataroot}: there is no folder {self.folder('inst').name} in it; add the "
                            "instance maps, or pass --no_instance")
        else:
            self.label_is_instance = True
            print(f"{self.opt.dataroot} has no {self.folder('inst').name}: the label maps serve as instance maps")

    # checks before the start

    def _check_files(self):
        """Look at headers and label maps, listing every file at fault in one message; tell of ids that blended."""
        keys, count = self.keys, min(len(self.keys), self.limit)
        self.blends, looked_at = {}, _spread(keys[:count], CHECKED_LABELS)
        with ThreadPoolExecutor(8) as pool:
            faults = [f for f in pool.map(self._header_fault, _spread(keys[:count], CHECKED_HEADERS)) if f]
            if not faults and self.opt.label_nc:
                faults = [f for f in pool.map(self._label_fault, looked_at) if f]
        if not faults and self.opt.batchSize > 1:
            self._refuse_mixed_sizes(keys[:count])
        if faults:
            (_, first), *others = faults
            raise UserError(first + (f" -- and {len(others)} more: {first_few(path for path, _ in others)}" if others else ""))

        if self.blends:
            print(blends_line(self.blends, len(looked_at)))

    def _refuse_mixed_sizes(self, keys):
        """Pictures of one batch must have one size."""
        sizes = {}
        for key in _spread(keys, CHECKED_HEADERS):
            path = self.files[self.lead][key]
            sizes.setdefault(self.preprocess.final(image_size(path)), path)
        if len(sizes) > 1:
            raise UserError(f"--batchSize {self.opt.batchSize}: pictures of one batch must have one size, but here are "
                            f"{first_few(sorted('{}x{}'.format(*size) for size in sizes))} ({first_few(sizes.values())}); use "
                            "--batchSize 1 or --resize_or_crop resize_and_crop")

    @property
    def limit(self) -> int:
        """How many pictures the flags allow."""
        opt = self.opt
        bounds = [opt.max_dataset_size, getattr(opt, "ntest", float("inf")), getattr(opt, "how_many", float("inf"))]
        return int(min(*bounds, len(self.keys)))

    def _header_fault(self, key: str) -> tuple[Path, str] | None:
        """The file at fault, and its line."""
        path = self.files[self.lead][key]
        try:
            size = image_size(path)
            for role in ("label", "image", "inst"):
                if role != self.lead and key in self.files.get(role, {}):
                    path = self.files[role][key]
                    self._check_shape(key, role, size)
            path = self.files[self.lead][key]
            self._check_size(key, size)
        except UserError as error:
            return path, str(error)
        return None

    def _check_shape(self, key: str, role: str, size):
        """A partner may be larger or smaller than the label map, but not of another shape."""
        path, what = self.files[role][key], "label map" if self.lead == "label" else "photo"
        refuse_other_view(path, image_size(path), f"{what} {self.files[self.lead][key]}", size)

    def _check_size(self, key: str, size):
        (width, height), step = self.preprocess.final(size), self.multiple
        least = self.least
        if width % step or height % step or min(width, height) < least:
            flag = f"--fineSize {self.opt.fineSize}" if "crop" in self.opt.resize_or_crop else f"--loadSize {self.opt.loadSize}"
            raise UserError(f"{flag}: {self.files[self.lead][key]} becomes {width}x{height}, but these networks take sides "
                            f"that are multiples of {step}, from {least} up; choose another size, or --resize_or_crop none "
                            "or resize_and_crop")

    def _label_fault(self, key: str) -> tuple[Path, str] | None:
        try:
            if key in self.files.get("label", {}):
                blend = find_blend(self._read_ids("label", key))
                if blend:
                    self.blends[self.files["label"][key]] = blend
        except UserError as error:
            return self.files["label"][key], str(error)
        return None

    def _read_ids(self, role: str, key: str) -> np.ndarray:
        """A map of ids; the classes of a label map are checked, and unlabelled pixels are one of them."""
        ids, path = read_label(self.files[role][key]), self.files[role][key]
        return self.opt.label_maps.checked(ids, path) if role == "label" else ids

    # items

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, key):
        epoch, index = key if isinstance(key, tuple) else (1, int(key))
        name = self.keys[index]
        opt, prep = self.opt, self.preprocess
        size = image_size(self.files[self.lead][name])
        draw = prep.draw(size, np.random.default_rng((opt.seed, epoch, index)))
        label = self._label(name, size, draw)
        path = self.files[self.lead][name]
        return {"label": label, "inst": self._instance(name, label, size, draw),
                "image": self._picture("image", name, size, draw), "feat": self._picture("feat", name, size, draw),
                "index": index, "size": prep.shown(size), "path": str(path),
                "name": str(path.relative_to(self.folder(self.lead)).with_suffix("")).replace("\\", "/")}

    def _label(self, name, size, draw):
        if name not in self.files.get("label", {}):
            return 0
        if self.opt.label_nc == 0:
            return self._picture("label", name, size, draw)
        return self.preprocess.placed_ids(self._scaled_ids("label", name, size), size, draw, swap=True)

    def _instance(self, name, label, size, draw):
        if self.no_instance:
            return 0
        if self.label_is_instance:
            return label
        return self.preprocess.placed_ids(self._scaled_ids("inst", name, size), size, draw)

    def _picture(self, role, name, size, draw):
        path = self.files.get(role, {}).get(name)
        if path is None or (role == "image" and "image" not in self.needs and self.opt.role != "test"):
            return 0
        channels = {"label": self.opt.input_nc, "image": self.opt.output_nc}.get(role) or self.opt.feat_num
        smooth = role != "feat"  # a feature is constant over its region; no third one lies between two regions
        values = self._scaled_picture(path, 1 if channels == 1 else 3, size, smooth)
        return self.preprocess.placed_image(values, size, draw, lit=role == "image", smooth=smooth)

    # what is the same each time an item is asked for, from the cache where there is one

    def _scaled_ids(self, role, name, size) -> np.ndarray:
        """A map of ids of the scaled size; the classes of the whole file have been checked, not only those left."""
        maps, path = self.opt.label_maps, self.files[role][name]
        recipe = ("ids", None)
        if role == "label":  # a larger --label_nc allowed other ids
            recipe = ("ids", maps.classes, *([] if maps.dontcare is None else [maps.dontcare]))
        ids = self._prepared(path, recipe, self.preprocess.scaled(size)[::-1],
                             lambda: self.preprocess.scaled_ids(self._read_ids(role, name), size))
        return ids if self.cache is None or role != "label" else maps.once_read.checked(ids, path)

    def _scaled_picture(self, path, channels, size, smooth) -> np.ndarray:
        """A picture of the scaled size; a JPEG is decoded no larger than that takes, where it is scaled smoothly."""
        width, height = self.preprocess.scaled(size)
        least = (width, height) if smooth else None
        return self._prepared(path, ("picture" if smooth else "features", channels),
                              (height, width, 3) if channels == 3 else (height, width),
                              lambda: self.preprocess.scaled_image(read_image(path, channels, least), size, smooth))

    def _prepared(self, path, recipe, shape, make) -> np.ndarray:
        return make() if self.cache is None else self.cache.get(path, recipe, shape, make)


def _spread(items: list, count: int) -> list:
    """At most `count` items, evenly spread."""
    return items if len(items) <= count else [items[i * len(items) // count] for i in range(count)]
