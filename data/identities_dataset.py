"""Photos of known people, aligned by five points: alone, or in pairs of a target and the source of its new identity."""
from __future__ import annotations

import contextlib
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from data.base_dataset import BaseDataset, refuse_faults, spread
from data.face_alignment import ARCFACE, align, read_landmarks
from data.face_detection import find_faces
from data.identity_table import FILE, read_identities
from data.image_files import image_size, list_images, read_image
from data.transforms import Augmentation, Draw, Preprocess
from options.flags import whole
from util.errors import UserError, first_few

LANDMARKS = "landmarks.csv"
CHECKED = 2000  # photos whose headers are read before the start


class IdentitiesDataset(BaseDataset):
    """--dataset_mode identities: <phase>_img with identities.csv, or with a folder for each person.

    With landmarks.csv in the data root, photos are aligned to ArcFace's five points; else they are aligned already, and their
    middle squares are taken. With --targets, the items are other photos, in which faces are detected.
    """

    batch_keys: ClassVar = {"image": "(output_nc, S, S) float32 in [-1, 1], S = --loadSize: an aligned face",
                            "identity": "int: the person's number, in the order of the names; -1 where it is not known",
                            "source": "as image: another photo; in training of the same person in half of the items",
                            "same": "float32, 1 where both show one person, else 0",
                            "source_name": "str", "source_identity": "int: the source's person, as identity",
                            "points": "(5, 2) the landmarks in the photo, or None",
                            "others": "[(5, 2)]: those of the photo's other faces that --faces chooses",
                            "size": "(S, S)"}

    @staticmethod
    def modify_commandline_options(parser, is_train):
        """How many people there are, and at test photos to take instead of the data root's."""
        group = parser.add_argument_group("identities")
        group.add_argument("--people", type=whole(0), default=0, architecture=True, replaceable=True, help="people among the "
                           "training photos (0: as many as are found)")
        if not is_train:
            group.add_argument("--source", default="", metavar="PHOTO", help="the face of this photo is every pair's source")
            group.add_argument("--targets", default="", metavar="FOLDER", help="the photos of this folder (or this photo, or "
                               "the frames of this video) are the targets, whatever their size; faces are detected")
            group.add_argument("--faces", type=faces_asked, default="largest", help="which faces of --targets: largest, all, "
                               "or a number, from 0, the largest")
            group.add_argument("--frames", action="store_true", help="the photos of --targets are the frames of a video, in "
                               "the order of their names: one face is followed, and frames without it are kept")
        parser.without("resize_or_crop", "fineSize")

    @staticmethod
    def complete_options(opt):
        """In training, the number of people."""
        if opt.people or opt.role != "train":
            return opt
        count = 0
        with contextlib.suppress(UserError):  # which the data set raises when it is made
            count = len(set(identities_of(opt.dataroot, opt.phase, list(list_photos(opt))).values()))
        return opt.replace(people=count, sources={**opt.sources, "people": FILE})

    def __init__(self, opt):
        training = opt.role == "train"
        side = opt.loadSize
        self.preprocess = Preprocess("none", side, side, training and not opt.no_flip, augmentation=Augmentation(
            opt.aug_rotate, opt.aug_scale, opt.aug_color) if training else Augmentation())
        self.paired = "source" in opt.needs.keys
        self.landmarks = None
        self.given_source = self.given_targets = None
        super().__init__(opt)

    # listing

    def list_items(self):
        """{name: photo}."""
        opt = self.opt
        if getattr(opt, "source", ""):
            self.given_source = self._of_face(Path(opt.source), "--source")
        if getattr(opt, "targets", ""):
            return self._list_targets(Path(opt.targets))
        photos = list_photos(opt)
        self.identities = identities_of(opt.dataroot, opt.phase, list(photos))
        numbers = {person: i for i, person in enumerate(sorted(set(self.identities.values())))}
        self.numbers = {name: numbers[person] for name, person in self.identities.items()}
        path = Path(opt.dataroot) / LANDMARKS
        if path.is_file():
            self.landmarks = read_landmarks(path)
            if lacking := [name for name in photos if self.landmarks.of(name) is None]:
                raise UserError(f"{path}: has no row for {len(lacking)} of {len(photos)} photos of {opt.phase}_img: "
                                f"{first_few(lacking)}; add them, or remove those photos")
        self.photos = photos
        return photos

    def _list_targets(self, folder: Path) -> dict[str, Path]:
        """The photos of --targets in which there is a face; the others are named."""
        photos = {folder.stem: folder} if folder.is_file() else list_images(folder)
        found = {name: chosen_faces(find_faces(np.asarray(read_image(path))), self.opt.faces)
                 for name, path in list(photos.items())[:self._most()]}
        which = f"no face {self.opt.faces}" if isinstance(self.opt.faces, int) and self.opt.faces else "no face"
        if without := [name for name, faces in found.items() if not faces]:
            print(f"--targets {folder}: {which} is found in {len(without)} of {len(found)} photos, which are left out: "
                  f"{first_few(without)}")
        self.given_targets = {name: [face.points for face in faces] for name, faces in found.items() if faces}
        if found and not self.given_targets:
            raise UserError(f"--targets {folder}: {which} is found there; choose photos in which faces look at the camera")
        return {name: photos[name] for name in self.given_targets}

    def _most(self) -> int | None:
        bounds = [bound for bound in (self.opt.how_many, self.opt.ntest, self.opt.max_dataset_size) if bound < float("inf")]
        return int(min(bounds)) if bounds else None

    def check(self):
        """Sides that the networks take, people to pair, and photos that are pictures."""
        side, step, least = self.opt.loadSize, self.needs.multiple, self.needs.least
        if side % step or side < least:
            raise UserError(f"--loadSize {side}: these networks take sides that are multiples of {step}, from {least} up; "
                            "choose another size")
        if self.given_targets is not None:
            return
        self.by_person = defaultdict(list)
        for name, number in self.numbers.items():
            self.by_person[number].append(name)
        if (self.paired or self.opt.role == "train") and len(self.by_person) < 2:
            raise UserError(f"--dataroot {self.opt.dataroot}: {self.opt.phase}_img shows one person alone; pairs and "
                            "identities need two at least")
        refuse_faults(_fault, spread(self.paths[:self.limit], CHECKED))

    # reading

    def read(self, index, random):
        """An aligned face, mirrored and augmented as the flags say, and where the model takes pairs the source of another."""
        name, path, others = self.names[index], self.paths[index], []
        if self.given_targets is not None:
            points, *others = self.given_targets[name]
            item = {"image": self._picture(np.asarray(read_image(path)), points, Draw()), "identity": -1}
        else:
            points = None if self.landmarks is None else self.landmarks.of(name)
            item = {"image": self._photo(name, random), "identity": self.numbers[name]}
        item |= {"source": 0, "same": 0.0, "source_name": "", "source_identity": -1, "points": points, "others": others,
                 "size": (self.opt.loadSize,) * 2}
        if self.paired:
            item |= self._partner(name, random)
        return {**item, "same": torch_float(item["same"])}

    def _partner(self, name: str, random) -> dict:
        """A source: in training half of the time another photo of the same person, or the same one where there is no other."""
        if self.given_source is not None:
            return {"source": self.given_source, "source_name": Path(self.opt.source).stem}
        if self.given_targets is not None:
            raise UserError(f"--targets {self.opt.targets}: says whose faces are exchanged; give the new one with --source "
                            "PHOTO")
        number, same = self.numbers[name], self.opt.role == "train" and bool(random.random() < 0.5)
        if same:
            others = [other for other in self.by_person[number] if other != name] or [name]
        else:
            other = int(random.integers(0, len(self.by_person) - 1))
            others = self.by_person[other + (other >= number)]
        chosen = others[int(random.integers(0, len(others)))]
        return {"source": self._photo(chosen, random), "same": float(same), "source_name": chosen,
                "source_identity": self.numbers[chosen]}

    def _photo(self, name: str, random):
        photo = read_image(self.photos[name], self.opt.output_nc)
        points = None if self.landmarks is None else self.landmarks.of(name)
        return self._picture(np.asarray(photo), points, self.preprocess.draw((self.opt.loadSize,) * 2, random))

    def _picture(self, photo: np.ndarray, points, draw: Draw):
        face = aligned_face(photo, points, self.opt.loadSize)
        return self.preprocess.image(Image.fromarray(face), face.shape[1::-1], draw, jitter=True)

    def _of_face(self, path: Path, flag: str):
        """The largest face of a photo. Raises UserError naming the flag where there is none."""
        if not path.is_file():
            raise UserError(f"{flag} {path}: there is no such file")
        photo = np.asarray(read_image(path))
        faces = find_faces(photo)
        if not faces:
            raise UserError(f"{flag} {path}: no face is found in it; choose a photo in which one looks at the camera")
        return self._picture(photo, faces[0].points, Draw())

    @classmethod
    def example(cls, opt, image, source=None):
        """Aligned faces, as paths, PIL pictures or arrays, scaled to --loadSize."""
        side = (opt.loadSize,) * 2

        def picture(given):
            photo = np.asarray(read_image(given, opt.output_nc))
            square = Image.fromarray(aligned_face(photo, None, opt.loadSize))
            return Preprocess("none", *side, False).image(square, side, Draw())
        return {"image": picture(image), "identity": -1, "source": 0 if source is None else picture(source),
                "same": torch_float(0), "source_name": "", "source_identity": -1, "points": None, "others": [],
                "size": image_size(image)}


def faces_asked(text: str) -> str | int:
    """--faces: 'largest', 'all', or a number."""
    return text if text in ("largest", "all") else whole(0)(text)


def chosen_faces(found: list, faces: str | int) -> list:
    """Of the faces of a photo, the largest first, those that --faces asks for; none where there are not so many."""
    if faces == "all":
        return found
    number = 0 if faces == "largest" else faces
    return found[number:number + 1]


def torch_float(value):
    """A float32 scalar tensor."""
    import torch
    return torch.tensor(value, dtype=torch.float32)


def aligned_face(photo: np.ndarray, points, side: int) -> np.ndarray:
    """(H, W[, 3]) uint8 -> (side, side[, 3]): aligned to ARCFACE by landmarks, or without them the middle square, scaled."""
    if points is not None:
        return align(photo, points, side, ARCFACE)
    height, width = photo.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = Image.fromarray(photo[top:top + least, left:left + least])
    return np.asarray(square if least == side else square.resize((side, side), Image.Resampling.BICUBIC))


def list_photos(opt) -> dict[str, Path]:
    """{name: file} of <phase>_img."""
    folder = Path(opt.dataroot) / f"{opt.phase}_img"
    if not folder.is_dir():
        raise UserError(f"--dataroot {opt.dataroot}: there is no folder {folder.name} in it; put the photos there, or choose "
                        "other folders with --phase")
    return list_images(folder)


def identities_of(root, phase: str, names: list[str]) -> dict[str, str]:
    """{photo: who it shows}: by identities.csv, or by the folder that it lies in. Raises UserError for photos of nobody."""
    table = read_identities(root, phase)
    if table is None:
        found = {name: name.split("/")[0] for name in names if "/" in name}
        where = f"--dataroot {root}: holds no {FILE}, and {phase}_img no folder for each person with"
    else:
        found = {name: table[name] for name in names if name in table}
        where = f"{Path(root) / FILE}: has no row of split {phase} for"
    if lacking := [name for name in names if name not in found]:
        raise UserError(f"{where} {len(lacking)} of {len(names)} photos: {first_few(lacking)}; add them, or remove those "
                        "photos")
    return found


def _fault(path):
    try:
        image_size(path)
    except UserError as error:
        return path, str(error)
    return None
