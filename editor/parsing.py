"""Photos as label maps in the model's numbering, by a face parser, with the face aligned where that is asked."""
from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps

from data import face_detection
from data.face_alignment import align
from editor.uploads import checked_photo
from models.face_parser import FaceParser
from util.errors import UserError, first_few

MISSING = ("photo: there is no face parser to make its label map; start edit.py with --parser CHECKPOINT (an experiment of "
           "train.py --model parsing, or a file of BiSeNet weights), or open the photo together with a label map")


class PhotoParser:
    """parser: a FaceParser. table: the model's id of each of its classes."""

    def __init__(self, parser: FaceParser, table: np.ndarray):
        self.parser, self.table = parser, table

    @classmethod
    def load(cls, checkpoint: str, class_names: list[str], gpu_ids) -> PhotoParser:
        """Load --parser. Raises UserError where it tells classes apart that the model does not have."""
        parser = FaceParser.load(checkpoint, ",".join(map(str, gpu_ids)) or "-1")
        names = list(parser.spec.labels)
        if not names or names == class_names:
            count = parser.spec.label_nc or len(names)
            if count > len(class_names):
                raise UserError(f"--parser {checkpoint}: tells {count} classes apart, the model {len(class_names)}")
            return cls(parser, np.arange(count, dtype=np.uint8))
        unknown = [name for name in names if name not in class_names]
        if unknown:
            raise UserError(f"--parser {checkpoint}: tells {first_few(unknown)} apart, which the model does not; choose a "
                            "parser of its classes")
        return cls(parser, np.array([class_names.index(name) for name in names], np.uint8))

    def parse(self, raw: bytes, size: int, aligned: bool) -> tuple[Image.Image, np.ndarray]:
        """A photo's file -> (the photo (size, size), its label map (size, size) uint8): the middle square, or the aligned face.

        Raises UserError for what is no photo, and if there is no face to align.
        """
        photo = checked_photo(raw)
        if aligned:
            pixels = np.asarray(photo)
            faces = face_detection.find_faces(pixels)
            if not faces:
                raise UserError("photo: no face was found to align; open it without alignment, or turn it upright")
            square = align(pixels, faces[0].points, size)
        else:
            square = np.asarray(ImageOps.fit(photo, (size, size), Image.Resampling.BICUBIC))
        label, _ = self.parser(torch.from_numpy(square.copy()).permute(2, 0, 1)[None], smooth=size / 256)
        return Image.fromarray(square), self.table[label[0].numpy()]
