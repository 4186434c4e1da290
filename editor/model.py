"""The model that the editor draws with: a Predictor, what the page must know of it, and the encodings it made lately."""
from __future__ import annotations

import time

import numpy as np

from data.data_loader import dataset_class
from data.transforms import Fitted
from editor.recent import Recent
from editor.uploads import MAX_SIDE, checked_label, checked_photo, png
from util.errors import UserError
from util.util import palette

MAX_CLASSES = 256  # ids of the page's canvas are bytes
SMALLEST_CANVAS = 256  # side in pixels of an empty map, at least


class EditedModel:
    """predictor: of an experiment that draws from label maps. Raises UserError for other models.

    On the page and in files a class is its id there: `file_ids[i]` of class i, which differs for unlabelled pixels.
    """

    def __init__(self, predictor):
        self.predictor, self.opt = predictor, predictor.opt
        self.label_maps, self.class_names = self.opt.label_maps, predictor.classes
        self._refuse_unpaintable()
        self.file_ids = np.arange(len(self.class_names))
        if self.label_maps.dontcare is not None:
            self.file_ids[-1] = self.label_maps.dontcare
        self._encodings, self._fitted = Recent(32), Fitted(self.opt)

    def _refuse_unpaintable(self):
        opt = self.opt
        if not self.class_names or "image" in opt.needs.keys and opt.needs.listed_by == "image":
            raise UserError(f"--name {opt.name}: its {opt.model} does not draw from label maps, so there is nothing to paint; "
                            "choose an experiment that does, such as one of train.py --label_feat")
        if len(self.class_names) > MAX_CLASSES or (self.label_maps.dontcare or 0) >= MAX_CLASSES:
            raise UserError(f"--name {opt.name}: has {len(self.class_names)} classes; the editor paints up to {MAX_CLASSES}")
        if "label" not in dataset_class(opt.dataset_mode).batch_keys or getattr(opt, "load_features", False):
            raise UserError(f"--name {opt.name}: takes features that are only read from files (--load_features), so it cannot "
                            "be painted with; choose another experiment")

    @property
    def takes_styles(self) -> bool:
        """Whether regions have styles."""
        drawing = getattr(self.predictor.model, "drawing", None)
        return drawing is not None and drawing.styles is not None

    @property
    def has_encoder(self) -> bool:
        """Whether photos can be encoded into styles."""
        return self.takes_styles and "E" in self.predictor.model.nets

    def describe(self) -> dict:
        """What the page must know, ready for JSON."""
        opt, spec = self.opt, self.opt.spec
        colors = palette(len(self.class_names), spec.class_colors or None).tolist()
        names = {name.lower(): i for i, name in enumerate(self.class_names)}
        features = {"count": opt.feat_num, "encoder": self.has_encoder, "vae": bool(opt.use_vae)} if self.takes_styles else None
        return {"name": opt.name, "model": opt.model, "epoch": str(opt.which_epoch),
                "size": max(SMALLEST_CANVAS, min(1024, opt.loadSize)),
                "classes": [{"id": int(i), "name": name, "color": color}
                            for i, name, color in zip(self.file_ids, self.class_names, colors)],
                "background": names.get("background", 0), "flip_pairs": [list(pair) for pair in spec.flip_pairs],
                "face": [names[name] for name in FACE if name in names], "features": features}

    def warm_up(self) -> None:
        """Draw once, as a first drawing is slow."""
        side = min(self.opt.loadSize, 256)
        style = {name: [0.0] * self.opt.feat_num for name in self.class_names[:1]} if self.takes_styles else None
        self.predictor(np.zeros((side, side), np.uint8), style=style)

    def draw(self, label: bytes, photo: bytes | None, styles: dict, seed: int | None, looks: int) -> tuple[list[bytes], dict]:
        """Draw `looks` pictures, with seeds from `seed` on. -> (PNG each, {step: seconds}). Raises UserError."""
        begun = time.perf_counter()
        ids = self._drawable(label)
        image = None if photo is None else checked_photo(photo)
        read = time.perf_counter()
        seed = self.opt.seed if seed is None else seed
        drawn = [self.predictor(ids, image=image, style=styles or None, seed=seed + look) for look in range(looks)]
        done = time.perf_counter()
        pictures = [png(picture) for picture in drawn]
        return pictures, {"read": read - begun, "draw": done - read, "png": time.perf_counter() - done}

    def encode(self, photo: bytes, label: bytes) -> dict[str, list[float]]:
        """A photo's features by class. Raises UserError without an encoder, and for pictures that do not go together."""
        def work():
            if not self.takes_styles:
                raise UserError("photo: this model takes no encoded features; it needs weights trained with --label_feat")
            ids = self._drawable(label)
            found = self.predictor.encode(checked_photo(photo), ids)
            return {name: vector.tolist() for name, vector in found.items()}
        return self._encodings.get(work, photo, label)

    def read_label(self, raw: bytes) -> bytes:
        """A label map in any format that is read -> PNG of ids. Raises UserError."""
        return png(self._as_in_files(checked_label(raw, self.label_maps)))

    def _drawable(self, raw: bytes) -> np.ndarray:
        """A label map's file -> ids as in files. Raises UserError for shapes that scaling makes larger than MAX_SIDE squared.

        A narrow map that --resize_or_crop scale_width scales to the width of the training could otherwise fill the memory.
        """
        ids = checked_label(raw, self.label_maps)
        width, height = self._fitted.scaled(ids.shape[::-1])
        if width * height > MAX_SIDE ** 2:
            raise UserError(f"label: is {ids.shape[1]}x{ids.shape[0]}, which this model draws at {width}x{height}; that is too "
                            "large, so give a map of about the shape it was trained with")
        return self._as_in_files(ids)

    def _as_in_files(self, ids: np.ndarray) -> np.ndarray:
        return self.file_ids.astype(np.uint8)[ids]


# the classes that a face's tone and traits lie in, by name; in both numberings
FACE = ("skin", "nose", "neck", "l_ear", "r_ear", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")
