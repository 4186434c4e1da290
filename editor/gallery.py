"""The label maps and photos of the experiment's data set, to begin with; sample faces where those are not there."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from data.dataset_spec import CELEBAMASK_HQ
from data.image_files import list_images
from data.pairing import pair
from editor.uploads import checked_label, checked_photo, jpeg, png
from options.base_options import SAMPLE_FACES
from util.errors import UserError
from util.util import palette

MOST = 240  # pictures
_THUMBNAIL = 112  # pixels


class Gallery:
    """Pictures by number. model: an EditedModel. The first test pictures, else the training's."""

    def __init__(self, model):
        self.model, opt = model, model.opt
        roots = [Path(opt.dataroot)]
        if not opt.spec.labels and opt.label_nc == len(CELEBAMASK_HQ) or opt.spec.labels == CELEBAMASK_HQ:
            roots.append(SAMPLE_FACES)
        folders = [(root, phase) for root in roots for phase in (opt.phase, "test", "val", "train")]
        self.items = next((found for root, phase in folders if (found := _listed(root, phase))), [])

    def describe(self) -> list[dict]:
        """Number, name and whether there is a photo, of each picture."""
        return [{"number": i, "name": name, "photo": photo is not None} for i, (name, _, photo) in enumerate(self.items)]

    def label(self, number: int) -> bytes | None:
        """The label map as PNG of ids, or None where there is no such picture. Raises UserError for one that is refused."""
        found = self._item(number)
        return found and self.model.read_label(found[1].read_bytes())

    def photo(self, number: int) -> bytes | None:
        """The photo as PNG, or None."""
        found = self._item(number)
        return png(checked_photo(found[2].read_bytes(), found[0])) if found and found[2] else None

    def thumbnail(self, number: int) -> bytes | None:
        """A small picture of the photo, or of the label map in its colours."""
        found = self._item(number)
        if not found:
            return None
        if found[2]:
            image = checked_photo(found[2].read_bytes(), found[0])
        else:
            ids = checked_label(found[1].read_bytes(), self.model.label_maps)
            image = Image.fromarray(palette(len(self.model.class_names), self.model.opt.spec.class_colors or None)[
                ids.astype(np.int64)])
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return jpeg(image)

    def _item(self, number: int):
        return self.items[number] if 0 <= number < len(self.items) else None


def _listed(root: Path, phase: str) -> list[tuple[str, Path, Path | None]]:
    """(name, label map, photo or None) of a phase's pictures; [] where there are none."""
    folders = root / f"{phase}_label", root / f"{phase}_img"
    try:
        labels = list_images(folders[0]) if folders[0].is_dir() else {}
        photos = list_images(folders[1]) if labels and folders[1].is_dir() else {}
    except UserError as error:
        print(error)
        return []
    names = list(labels)[:MOST]
    pairs = pair(names, photos)
    return [(name, labels[name], photos[pairs[name]] if name in pairs else None) for name in names]
