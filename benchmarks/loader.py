"""Loading 1024 px JPEGs and 512 px label maps at 512, on one core: python -m benchmarks.loader [--dataroot DIR]

Our loader and a straightforward one with Pillow run alternately in one process; CPU time is measured. Prints JSON lines:
pictures a second, their ratio to the plain loader's, and the time of each stage of an item. Without --dataroot, pictures are
made from enlarged sample faces with noise like a camera's.
"""
from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # as in a loader's worker process
import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image

from benchmarks._timing import ratio, report, summary
from data.data_loader import CreateDataLoader, collate
from data.image_files import list_images, read_image, read_label
from data.transforms import Draw, Preprocess
from options.train_options import TrainOptions
from util.command_line import command_line

FACES = Path(__file__).resolve().parents[1] / "datasets" / "sample_faces"
STILL = Draw()


@command_line
def main():
    """Make the pictures, measure the loaders, then the stages."""
    flags = _flags().parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        root = Path(flags.dataroot or work)
        if not flags.dataroot:
            make_pictures(root, flags.pictures)
        loaders = {"plain": plain_loader(root, flags.size), "ours": our_loader(root, flags)}
        seconds = take_turns(loaders, flags.rounds)
        for name, each in seconds.items():
            speeds = [1 / second for second in each]
            report("loader", name, unit="pictures/s a core", **summary(speeds), ratio=ratio(seconds["plain"], each),
                   pictures=len(loaders["ours"]), size=flags.size, rounds=flags.rounds)
        stages(root, flags)


def _flags():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataroot", default="", help="a data root with train_label and train_img (default: made)")
    parser.add_argument("--pictures", type=int, default=16, help="how many to make")
    parser.add_argument("--size", type=int, default=512, help="side that they are scaled to")
    parser.add_argument("--label_nc", type=int, default=19)
    parser.add_argument("--rounds", type=int, default=9, help="epochs of each loader, after one of warm-up")
    return parser


def make_pictures(root: Path, count: int) -> None:
    """Write 1024 px JPEGs of quality 90 with noise, and 512 px label maps; deterministic."""
    random = np.random.default_rng(0)
    labels, photos = list_images(FACES / "train_label"), list_images(FACES / "train_img")
    for folder in ("train_label", "train_img"):
        (root / folder).mkdir()
    for name in list(labels)[:count]:
        photo = read_image(photos[name]).resize((1024, 1024), Image.Resampling.BICUBIC)
        grain = random.normal(0, 4, (1024, 1024, 1))
        photo = Image.fromarray(np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8))
        photo.save(root / "train_img" / f"{name}.jpg", quality=90)
        label = Image.fromarray(read_label(labels[name]))
        label.resize((512, 512), Image.Resampling.NEAREST).save(root / "train_label" / f"{name}.png")


class PlainPairs(torch.utils.data.Dataset):
    """Photo and label map by the usual transforms of torchvision; the label map as floats."""

    def __init__(self, root: Path, size: int):
        labels, photos = list_images(root / "train_label"), list_images(root / "train_img")
        self.pairs = [(labels[name], photos[name]) for name in labels]
        self.photo = T.Compose([T.Resize((size, size), T.InterpolationMode.BICUBIC), T.ToTensor(),
                                T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
        self.label = T.Compose([T.Resize((size, size), T.InterpolationMode.NEAREST), T.ToTensor()])

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        label, photo = self.pairs[i]
        return {"label": self.label(Image.open(label)) * 255, "image": self.photo(Image.open(photo).convert("RGB")),
                "path": str(photo)}


def plain_loader(root: Path, size: int):
    """The plain loader, in this process."""
    return torch.utils.data.DataLoader(PlainPairs(root, size), batch_size=1, num_workers=0, shuffle=True)


def our_loader(root: Path, flags):
    """The loader of the scripts, in this process."""
    argv = ["--name", "x", "--dataroot", root, "--gpu_ids", "-1", "--nThreads", "0", "--no_instance", "--resize_or_crop",
            "resize", "--loadSize", flags.size, "--label_nc", flags.label_nc]
    with contextlib.redirect_stdout(io.StringIO()):
        return CreateDataLoader(TrainOptions().parse([str(word) for word in argv]))


def take_turns(loaders: dict, rounds: int) -> dict[str, list[float]]:
    """{name: seconds a picture in each round}, after one round of warm-up."""
    seconds = {name: [] for name in loaders}
    for number in range(-1, rounds):
        for name, loader in loaders.items():
            begun = time.process_time()
            count = sum(len(batch["path"]) for batch in loader)
            if number >= 0:
                seconds[name].append((time.process_time() - begun) / count)
    return seconds


def stages(root: Path, flags) -> None:
    """Milliseconds of each stage of loading an item, ours and the plain one's."""
    size, pairs, prep = flags.size, PlainPairs(root, flags.size), Preprocess("resize", flags.size, 0, False)
    label, photo = pairs.pairs[0]
    whole, enough, ids = read_image(photo), read_image(photo, 3, (size, size)), read_label(label)
    item = {"image": prep.image(enough, (size, size), STILL), "path": ""}
    plain = {"decode": lambda: Image.open(photo).convert("RGB"), "resize, to tensor": lambda: pairs.photo(whole),
             "label": lambda: pairs.label(Image.open(label)) * 255,
             "collate": lambda: torch.utils.data.default_collate([item])}
    ours = {"decode": lambda: read_image(photo, 3, (size, size)),
            "resize, to tensor": lambda: prep.image(enough, (size, size), STILL),
            "label": lambda: prep.ids(read_label(label), ids.shape[::-1], STILL), "collate": lambda: collate([item])}
    for stage in plain:
        times = {name: [] for name in ("plain", "ours")}
        for _ in range(15):
            for name, way in (("plain", plain), ("ours", ours)):
                times[name].append(milliseconds(way[stage]))
        report("loader", f"stage: {stage}", unit="ms", plain=statistics.median(times["plain"]), **summary(times["ours"]))


def milliseconds(work) -> float:
    """CPU time of one call."""
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1000


if __name__ == "__main__":
    main()
