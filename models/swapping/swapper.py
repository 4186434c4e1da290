"""Swapping faces in photos of any size: find, align, draw, paste back."""
from __future__ import annotations

import cv2
import numpy as np
import torch
from PIL import Image

from data.face_alignment import ARCFACE, TEMPLATE, align, similarity
from data.face_detection import find_faces
from data.identities_dataset import chosen_faces
from data.image_files import read_image
from models.swapping.pasting import paste
from util.errors import UserError
from util.util import tensor2im

FACE_CLASSES = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip", "eye_g")


class FaceSwapper:
    """Swaps by a model of --model simswap. parser: a models.face_parser.FaceParser, within whose face swaps are pasted."""

    def __init__(self, model, parser=None):
        self.model, self.parser, self.side = model.eval(), parser, model.opt.loadSize

    def identity(self, source) -> torch.Tensor:
        """(1, 512): that of the largest face of a photo, as a path, a PIL picture or an array. Raises UserError without one."""
        photo = np.asarray(read_image(source))
        faces = find_faces(photo)
        if not faces:
            raise UserError(f"source{_where(source)}: no face is found in it; choose a photo in which one looks at the "
                            "camera")
        with torch.no_grad():
            return self.model.embed(self._tensor(align(photo, faces[0].points, self.side, ARCFACE)))

    def swap(self, target, identity: torch.Tensor, faces="largest") -> np.ndarray:
        """A photo with the identity in its faces: (H, W, 3) uint8 of its size.

        faces: 'largest', 'all', or a face's number, from 0, the largest. Raises UserError where there is no such face.
        """
        photo = np.asarray(read_image(target))
        found = find_faces(photo)
        if not found:
            raise UserError(f"target{_where(target)}: no face is found in it; choose a photo in which one looks at the "
                            "camera")
        is_number = isinstance(faces, int) and not isinstance(faces, bool) and faces >= 0
        chosen = chosen_faces(found, faces) if faces in ("largest", "all") or is_number else []
        if not chosen:
            raise UserError(f"faces {faces!r}: target{_where(target)} shows {len(found)}; say 'largest', 'all', or a number "
                            f"from 0 to {len(found) - 1}")
        for face in chosen:
            photo = self.swap_at(photo, face.points, identity)
        return photo

    def swap_at(self, photo: np.ndarray, points, identity: torch.Tensor) -> np.ndarray:
        """The face at these landmarks (5, 2) with the identity, pasted back into a copy of the photo (H, W, 3) uint8."""
        crop = align(photo, points, self.side, ARCFACE)
        with torch.no_grad():
            drawn = self.model.draw(self._tensor(crop), identity)
        return paste(photo, tensor2im(drawn[0]), points, self._mask(photo, points))

    def _mask(self, photo: np.ndarray, points) -> np.ndarray | None:
        """(S, S) bool: where the parser finds the face, in the aligned crop. It parses portraits, as it was trained on."""
        if self.parser is None:
            return None
        size, side, points = self.parser.size, self.side, np.asarray(points, float)
        portrait = align(photo, points, size, TEMPLATE)
        label = self.parser(torch.from_numpy(portrait.transpose(2, 0, 1).copy())[None])[0][0].numpy()
        spec = self.parser.spec
        face = np.isin(label, [i for i in range(label.max() + 1) if spec.name_of(i) in FACE_CLASSES])
        to_portrait = np.vstack([similarity(points, TEMPLATE * size - 0.5), (0, 0, 1)])
        to_photo = np.linalg.inv(np.vstack([similarity(points, ARCFACE * side - 0.5), (0, 0, 1)]))
        return cv2.warpAffine(face.astype(np.uint8), (to_portrait @ to_photo)[:2], (side, side),
                              flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0

    def _tensor(self, crop: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(crop.transpose(2, 0, 1).astype(np.float32))[None].div(127.5).sub(1).to(self.model.device)


def _where(source) -> str:
    return "" if isinstance(source, (Image.Image, np.ndarray)) else f" {source}"
