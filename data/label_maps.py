"""How label maps are read: which ids are classes, and which id marks unlabelled pixels."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.blends import find_blend
from data.dataset_spec import DONTCARE
from data.image_files import read_label
from util.errors import UserError, first_few


@dataclass(frozen=True)
class LabelMaps:
    """classes: number of classes, whose ids in files are 0 to classes - 1. dontcare: the id of unlabelled pixels, or None.

    Unlabelled pixels become an additional class with the id `classes`, as in SPADE.
    """

    classes: int
    dontcare: int | None = None

    @property
    def channels(self) -> int:
        """The number of classes after reading, with that of unlabelled pixels."""
        return self.classes + (self.dontcare is not None)

    @property
    def allowed(self) -> str:
        """The ids that files may hold, in words."""
        also = "" if self.dontcare is None else f", and {self.dontcare} for unlabelled pixels"
        return f"0 to {self.classes - 1}{also}"

    def read(self, source, name=None) -> np.ndarray:
        """Read a label map with `read_label`: (H, W) ids 0 to channels - 1. Raises UserError as it does, and for other ids."""
        return self.checked(read_label(source, name), source if name is None else name)

    def checked(self, ids: np.ndarray, name) -> np.ndarray:
        """Ids as stored in files -> ids 0 to channels - 1. Raises UserError naming `name` and the ids that are out of range."""
        wrong = self.outside(ids)
        if wrong:
            raise UserError(f"{name}: holds label {first_few(wrong)}, but --label_nc {self.classes} allows {self.allowed}; "
                            f"{self._remedy(ids, wrong)}")
        return self.merged(ids)

    def outside(self, ids: np.ndarray) -> list[int]:
        """The ids in the map that are neither a class nor `dontcare`."""
        if ids.min() >= 0 and ids.max() < self.classes:
            return []
        return [i for i in np.unique(ids[(ids < 0) | (ids >= self.classes)]).tolist() if i != self.dontcare]

    def merged(self, ids: np.ndarray) -> np.ndarray:
        """Ids with `dontcare` replaced by the class of unlabelled pixels."""
        if self.dontcare is None or not (ids == self.dontcare).any():
            return ids
        merged = ids.astype(ids.dtype if self.classes < 256 else np.int32)
        merged[ids == self.dontcare] = self.classes
        return merged

    def _remedy(self, ids, wrong) -> str:
        if find_blend(ids):
            return "it looks scaled with interpolation, which blends ids: make it again with nearest neighbour"
        unlabelled = f"; where {DONTCARE} marks unlabelled pixels, train with --contain_dontcare_label"
        return "raise --label_nc or mend the label map" + unlabelled * (DONTCARE in wrong and self.dontcare is None)
