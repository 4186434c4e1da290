"""Label maps and photos (or any two kinds of picture) that belong together by name."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from data.base_dataset import BaseDataset, refuse_faults, spread
from data.blends import blends_line, find_blend
from data.image_files import image_size, list_images, read_image, read_label, refuse_other_view
from data.pairing import near_misses, pair
from data.transforms import Augmentation, Draw, Fitted, Preprocess
from util.errors import UserError, first_few
from util.lazy import LazyModule

torch = LazyModule("torch")
CHECKED_HEADERS, CHECKED_LABELS = 2000, 200  # files that are checked before the start; others are checked when they are read


class AlignedDataset(BaseDataset):
    """<phase>_label, <phase>_img, <phase>_inst and <phase>_feat of a data root (<phase>_A and _B with --label_nc 0).

    The items are the files of the main role: label maps, or photos for a model whose `needs.listed_by` is 'image'. Keys that an
    item lacks are 0. The random crop and flip follow from (seed, epoch, index). Raises UserError naming the file at fault.
    """

    batch_keys = {"label": "(1, H, W) uint8 or int32 ids; with --label_nc 0 (input_nc, H, W) float32 in [-1, 1]",
                  "inst": "(1, H, W) integer instance ids",
                  "image": "(output_nc, H, W) float32 in [-1, 1]",
                  "feat": "(feat_num, H, W) float32 in [-1, 1], with --load_features",
                  "size": "(width, height) of the part that --resize_or_crop pad did not add"}

    def __init__(self, opt):
        training = opt.role == "train"
        self.preprocess = Preprocess(opt.resize_or_crop, opt.loadSize, opt.fineSize, training and not opt.no_flip,
                                     opt.needs.multiple, opt.spec.flip_pairs,
                                     Augmentation(opt.aug_rotate, opt.aug_scale, opt.aug_color) if training else Augmentation())
        self.main = opt.needs.listed_by  # the role whose files are the items
        self.no_instance = "inst" not in opt.needs.keys
        super().__init__(opt)

    # listing the files

    def folder(self, role: str) -> Path:
        """The folder of a role: label, image, inst or feat."""
        return _folder(self.opt, self.phase, role)

    @classmethod
    def has_phase(cls, opt, phase):
        """Whether there are label maps and photos, and each item has both."""
        main, other = (_folder(opt, phase, role) for role in sorted(("label", "image"), key=opt.needs.listed_by.__ne__))
        if not (main.is_dir() and other.is_dir()):
            return False
        items = list_images(main)
        return bool(items) and len(pair(items, list_images(other))) == len(items)

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

    def list_items(self):
        """{name: file of the main role}. Sets files: {role: {name: file}}, and unpaired: {role: names without an item}."""
        self.phase = self._choose_phase()
        self.titles = {"label": "label maps" if self.opt.label_nc else "input pictures", "image": "photos"}
        self.files, self.unpaired = {}, {}
        self._list_main()
        for role in ("label", "image", "inst", "feat"):
            if role != self.main and self._is_read(role):
                self._list_partners(role)
        for role in self.needs.keys:
            if role not in ("inst", self.main):
                self._require(role)
        if "image" in self.needs.keys and self.opt.role == "train":
            self._refuse_unpaired_photos()
        if self.opt.role == "test":
            self._report_missing("image" if self.main == "label" else "label")
        self._find_instances()
        return self.files[self.main]

    def _list_main(self):
        """List the files of the main role."""
        folder, what = self.folder(self.main), self.titles[self.main]
        if not folder.is_dir():
            raise UserError(f"--dataroot {self.opt.dataroot}: there is no folder {folder.name} in it; put the {what} there, or "
                            "choose other folders with --phase")
        self.files[self.main] = list_images(folder)
        self.names = list(self.files[self.main])
        if not self.names:
            raise UserError(f"{folder}: holds no pictures; put the {what} there" +
                            (", as PNG files" if what == "label maps" else ""))

    def _list_partners(self, role: str):
        """Pair the files of another role with the items."""
        listed = list_images(self.folder(role))
        pairs = pair(self.names, listed)
        self.files[role] = {key: listed[name] for key, name in pairs.items()}
        self.unpaired[role] = sorted(listed.keys() - set(pairs.values()))

    def _is_read(self, role: str) -> bool:
        if role == "inst" and self.no_instance or role == "feat" and "feat" not in self.needs.keys:
            return False
        return self.folder(role).is_dir()

    def _require(self, role: str):
        """Raise UserError if an item has no file of this role."""
        folder = self.folder(role)
        if role not in self.files:
            raise UserError(f"--dataroot {self.opt.dataroot}: there is no folder {folder.name} in it" +
                            ("; run precompute_feature_maps.py first" if role == "feat" else
                             "; put the pictures there, or choose other folders with --phase"))
        missing = [key for key in self.names if key not in self.files[role]]
        if missing:
            what = self.titles[self.main]
            raise UserError(f"{folder}: {len(missing)} of {len(self.names)} {what} have no partner of the same name there: "
                            f"{first_few(missing)}{self._suggestion(missing, role)}; add or rename the files, or remove those "
                            f"{what}")

    def _refuse_unpaired_photos(self):
        """Raise UserError if a photo has no label map, unless photos are the items."""
        extra = self.unpaired.get("image")
        if extra:
            raise UserError(f"{self.folder('label')}: {len(extra)} of {len(extra) + len(self.files['image'])} photos have no "
                            f"{self.titles['label'][:-1]} of the same name there: {first_few(extra)}; add or rename the "
                            "files, or remove those photos")

    def _report_missing(self, role: str):
        """Print which items lack their ground truth, if its folder exists."""
        if role not in self.files:
            return
        keys = self.names[:self.limit]
        missing = [key for key in keys if key not in self.files[role]]
        if missing:
            print(f"{self.folder(role)}: {len(missing)} of {len(keys)} {self.titles[self.main]} have no "
                  f"{self.titles[role][:-1]} of the same name there: {first_few(missing)}{self._suggestion(missing, role)}")

    def _suggestion(self, missing, role: str) -> str:
        """' (...)' on a missing partner that exists in another spelling, else ''."""
        remarks = near_misses(missing[:100], self.unpaired[role])
        return f" ({next(iter(remarks.values()))})" if remarks else ""

    def _find_instances(self):
        """Decide where instance maps come from; without a folder of them, label maps are the instance maps, as for faces."""
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

    def has(self, key):
        """Whether any label map (or photo, where they are listed) has such a file."""
        return any(name in self.files.get(key, {}) for name in self.names[:self.limit])

    def item_files(self):
        """The files of all roles."""
        return [files[name] for name in self.names[:self.limit] for files in self.files.values() if name in files]

    # checks before the start

    def check(self):
        """Check headers and label maps. Raises one UserError that lists every file at fault; prints maps of blended ids."""
        keys = self.names[:self.limit]
        self.blends, looked_at = {}, spread(keys, CHECKED_LABELS)
        refuse_faults(self._header_fault, spread(keys, CHECKED_HEADERS))
        if self.opt.label_nc:
            refuse_faults(self._label_fault, looked_at)
        if self.opt.batchSize > 1:
            self._refuse_mixed_sizes(keys)
        if self.blends:
            print(blends_line(self.blends, len(looked_at)))

    def _refuse_mixed_sizes(self, keys):
        """Pictures of one batch must have one size."""
        sizes = {}
        for key in spread(keys, CHECKED_HEADERS):
            path = self.files[self.main][key]
            sizes.setdefault(self.preprocess.final(image_size(path)), path)
        if len(sizes) > 1:
            raise UserError(f"--batchSize {self.opt.batchSize}: pictures of one batch must have one size, but here are "
                            f"{first_few(sorted('{}x{}'.format(*size) for size in sizes))} ({first_few(sizes.values())}); use "
                            "--batchSize 1 or --resize_or_crop resize_and_crop")

    def _header_fault(self, key: str) -> tuple[Path, str] | None:
        """The file at fault and the message, or None."""
        path = self.files[self.main][key]
        try:
            size = image_size(path)
            for role in ("label", "image", "inst"):
                if role != self.main and key in self.files.get(role, {}):
                    path = self.files[role][key]
                    self._check_shape(key, role, size)
            path = self.files[self.main][key]
            self.refuse_size(path, self.preprocess.final(size))
        except UserError as error:
            return path, str(error)
        return None

    def _check_shape(self, key: str, role: str, size):
        """Raise UserError if a partner has another aspect ratio than the item."""
        path, what = self.files[role][key], "label map" if self.main == "label" else "photo"
        refuse_other_view(path, image_size(path), f"{what} {self.files[self.main][key]}", size)

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
        """Read a map of ids; those of a label map are checked, and unlabelled pixels get their class."""
        ids, path = read_label(self.files[role][key]), self.files[role][key]
        return self.opt.label_maps.checked(ids, path) if role == "label" else ids

    # items

    def read(self, index, random):
        """Label map, instance map, photo and feature map of one item, with the same random transform."""
        name, prep = self.names[index], self.preprocess
        size = image_size(self.files[self.main][name])
        draw = prep.draw(size, random)
        label = self._label(name, size, draw)
        return {"label": label, "inst": self._instance(name, label, size, draw),
                "image": self._picture("image", name, size, draw), "feat": self._picture("feat", name, size, draw),
                "size": prep.shown(size)}

    def _label(self, name, size, draw):
        if name not in self.files.get("label", {}):
            return 0
        if self.opt.label_nc == 0:
            return self._picture("label", name, size, draw)
        return self.preprocess.ids(self._read_ids("label", name), size, draw, swap=True)

    def _instance(self, name, label, size, draw):
        if self.no_instance:
            return 0
        if self.label_is_instance:
            return label
        return self.preprocess.ids(self._read_ids("inst", name), size, draw)

    def _picture(self, role, name, size, draw):
        path = self.files.get(role, {}).get(name)
        if path is None or (role == "image" and "image" not in self.needs.keys and self.opt.role != "test"):
            return 0
        channels = {"label": self.opt.input_nc, "image": self.opt.output_nc}.get(role) or self.opt.feat_num
        smooth = role != "feat"  # features are constant over a region, so interpolation would make up new ones at borders
        image = read_image(path, 1 if channels == 1 else 3, self.preprocess.scaled(size) if smooth else None)
        return self.preprocess.image(image, size, draw, jitter=role == "image", smooth=smooth)

    # from Python

    @classmethod
    def example(cls, opt, label=None, image=None, inst=None):
        """An item of a label map, with its photo and instance map where given, scaled to sides that the networks accept.

        label: a source of `read_label`, or with --label_nc 0 of `read_image`. image: a source of `read_image`. inst: like
        label (default: the label map). 'size' is that of the label map, or of the photo for a model whose items are photos.
        """
        main = label if opt.needs.listed_by == "label" else image
        if main is None:
            raise UserError(f"{opt.needs.listed_by}: --model {opt.model} works from it; give one")
        fitted, ids = Fitted(opt), None
        if label is not None and opt.label_nc:
            ids = opt.label_maps.read(label, _argument(label, "label"))
        size = ids.shape[::-1] if main is label and ids is not None else image_size(main, _argument(main, opt.needs.listed_by))
        item = {"label": 0, "inst": 0, "image": 0, "feat": 0, "size": size}
        if ids is not None:
            item["label"] = item["inst"] = fitted.ids(ids, size, Draw())
        elif label is not None:
            item["label"] = _picture(label, "label", opt.input_nc, fitted, size)
        if image is not None:
            item["image"] = _picture(image, "image", opt.output_nc, fitted, size)
        if inst is not None:
            item["inst"] = fitted.ids(_checked_size(read_label(inst, _argument(inst, "inst")), size), size, Draw())
        elif not opt.label_nc and "inst" in opt.needs.keys:
            raise UserError("inst: these weights need instance ids beside the picture; give them as an array (height, width)")
        return item

    def legend(self, batch, i):
        """The classes of item i's label map."""
        label = batch["label"][i]
        return label.unique().tolist() if self.opt.label_nc and torch.is_tensor(label) else []


def _folder(opt, phase: str, role: str) -> Path:
    names = {"label": "A", "image": "B"} if opt.label_nc == 0 else {"label": "label", "image": "img"}
    return Path(opt.dataroot) / f"{phase}_{names.get(role, role)}"


def _picture(source, what: str, channels: int, prepare: Preprocess, size) -> torch.Tensor:
    """Read and preprocess a picture. size: of the label map, whose aspect ratio it must have."""
    where = _argument(source, what)
    refuse_other_view(where, image_size(source, where), "label map", size)
    return prepare.image(read_image(source, 1 if channels == 1 else 3, prepare.scaled(size), where), size, Draw())


def _argument(source, what: str) -> str:
    """The name of an argument in messages, followed by its path if it is one."""
    return f"{what} {source}" if isinstance(source, (str, Path)) else what


def _checked_size(inst: np.ndarray, size) -> np.ndarray:
    if inst.shape[::-1] != size:
        raise UserError(f"inst: is {inst.shape[1]}x{inst.shape[0]}, the label map {size[0]}x{size[1]}; they must be of one "
                        "size")
    return inst
