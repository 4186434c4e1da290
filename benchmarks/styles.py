"""The effect of region styles: python -m benchmarks.styles swap | resample | prior | together | encode. Prints JSON lines."""
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks._timing import PROJECT, report, watched
from data.image_files import list_images, read_image, read_label
from models.predictor import Predictor
from util.command_line import command_line

CLASSES = ("hair", "cloth", "background", "skin")
BELONG_TOGETHER = {"nose": [("skin", "nose")], "ears": [("skin", "l_ear"), ("skin", "r_ear")], "neck": [("skin", "neck")],
                   "eyes": [("l_eye", "r_eye")]}
_SMALLEST = 1 / 1024  # share of the pixels of a region whose colour is compared


@command_line
def main():
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("swap", "take one region's style from another face"), ("resample", "draw one region's style anew"),
                       ("prior", "draw whole faces from the prior (or --sample)"),
                       ("together", "draw whole faces, and compare the colours of skin, nose, ears and neck, and of the eyes")):
        one = commands.add_parser(name, help=what)
        one.add_argument("--experiment", required=True, help="folder of the experiment, such as checkpoints/demo")
        one.add_argument("--dataroot", default=str(PROJECT / "datasets" / "sample_faces"))
        one.add_argument("--phase", default="test")
        one.add_argument("--pairs", type=int, default=64, help="pairs of faces, or draws, for each class")
        one.add_argument("--sample", default=None, help="person, class, clusters or prior")
    one = commands.add_parser("encode", help="speed and memory of encode_features.py")
    one.add_argument("--experiment", required=True)
    one.add_argument("--pictures", type=int, nargs="+", default=[200, 2000])
    one.add_argument("--dataroot", default="", help="pictures to encode (default: sample faces are drawn)")
    args = parser.parse_args()
    if args.command == "encode":
        encode(args)
        return
    flags = {"gpu_ids": "-1", **({"sample": args.sample} if args.sample else {})}
    faces = Faces(Predictor.load(args.experiment, **flags), Path(args.dataroot), args.phase)
    {"swap": swap, "resample": resample, "prior": prior, "together": together}[args.command](faces, args)


class Faces:
    """Held-out faces: label maps, photos, their features, and the pictures drawn with these."""

    def __init__(self, predictor, root, phase):
        self.predictor = predictor
        labels, photos = list_images(root / f"{phase}_label"), list_images(root / f"{phase}_img")
        self.labels = [read_label(path) for path in labels.values()]
        self.photos = [read_image(photos[name]) for name in labels]
        self.features = [predictor.encode(photo, label) for photo, label in zip(self.photos, self.labels)]
        self.drawn = [self.draw(i) for i in range(len(self.labels))]
        self.ids = {name: predictor.model.drawing.styles.label_of(name, "class") for name in CLASSES}

    def draw(self, i, **style) -> np.ndarray:
        """Face i in its own style except for `style`, (H, W, 3) float."""
        return np.asarray(self.predictor(self.labels[i], image=self.photos[i], style=style), float)

    def showing(self, name, share=0.02) -> list[int]:
        """The faces in which a class covers more than `share` of the pixels."""
        return [i for i, label in enumerate(self.labels) if (label == self.ids[name]).mean() > share]

    def region(self, i, name) -> np.ndarray:
        """Where face i shows a class: (H, W) bool."""
        return self.labels[i] == self.ids[name]

    def change(self, i, name, after) -> tuple[float, float]:
        """Mean absolute change of the pixels inside the region, and of the rest, 0..255."""
        change, inside = np.abs(after - self.drawn[i]).mean(2), self.region(i, name)
        return change[inside].mean(), change[~inside].mean()


def swap(faces, args):
    """The region's mean colour after transferring B's style, compared with B's; and the change of the other regions."""
    for name in CLASSES:
        random, able = np.random.default_rng(0), faces.showing(name)
        pairs = [(a, b) for a in able for b in able if a != b]
        chosen = [pairs[k] for k in random.permutation(len(pairs))[:args.pairs]]
        got, wanted, changes = [], [], []
        for a, b in chosen:
            after = faces.draw(a, **{name: faces.features[b][name]})
            got.append(after[faces.region(a, name)].mean(0))
            wanted.append(np.asarray(faces.photos[b], float)[faces.region(b, name)].mean(0))
            changes.append(faces.change(a, name, after))
        inside, rest = np.mean(changes, 0)
        report("styles", "swap", region=name, pairs=len(chosen), correlation=correlation(got, wanted), inside=inside, rest=rest,
               colour_error=float(np.abs(np.subtract(got, wanted)).mean()), rest_to_inside=rest / inside)


def resample(faces, args):
    """One region resampled: the spread of its colour, compared with the data's, and the change of the other regions."""
    for name in CLASSES:
        able, colours, changes = faces.showing(name), [], []
        for k in range(args.pairs):
            i = able[k % len(able)]
            after = np.asarray(faces.predictor(faces.labels[i], image=faces.photos[i], style={name: "random"}, seed=k), float)
            colours.append(after[faces.region(i, name)].mean(0))
            changes.append(faces.change(i, name, after))
        data = np.std([np.asarray(faces.photos[i], float)[faces.region(i, name)].mean(0) for i in able], 0).mean()
        inside, rest = np.mean(changes, 0)
        report("styles", "resample", region=name, draws=len(colours), sample=faces.predictor.model.drawing.choice.mode,
               inside=inside, rest=rest, rest_to_inside=rest / inside, spread=np.std(colours, 0).mean(), spread_of_data=data)


def prior(faces, args):
    """Whole faces sampled without a photo: the spread of each region's mean colour over samples for one label map."""
    draws = max(2, args.pairs // 8)
    pictures = [[np.asarray(faces.predictor(label, seed=i * draws + k), float) for k in range(draws)]
                for i, label in enumerate(faces.labels)]
    for name in CLASSES:
        able = faces.showing(name)
        spread = np.mean([np.std([one[faces.region(i, name)].mean(0) for one in pictures[i]], 0) for i in able])
        data = np.std([np.asarray(faces.photos[i], float)[faces.region(i, name)].mean(0) for i in able], 0).mean()
        report("styles", "whole faces", sample=faces.predictor.model.drawing.choice.mode, region=name, maps=len(able),
               draws=draws, spread=spread, spread_of_data=data, ratio=spread / data)


def together(faces, args):
    """Whole faces sampled without a photo: the colour differences of classes that belong together, of those in the photos."""
    draws, truth = max(2, args.pairs // 8), differences(faces.labels, faces.photos, faces.predictor.classes)
    own = differences(faces.labels, faces.drawn, faces.predictor.classes)
    for sample in [args.sample] if args.sample else ["person", "class", "clusters"]:
        labels = [label for label in faces.labels for _ in range(draws)]
        pictures = [faces.predictor(label, sample=sample, seed=seed) for seed, label in enumerate(labels)]
        found = differences(labels, pictures, faces.predictor.classes)
        for what, difference in found.items():
            report("styles", "together", sample=sample, classes=what, maps=len(faces.labels), draws=draws,
                   difference=difference, of_photos=truth[what], in_own_styles=own[what], ratio=difference / truth[what])


def differences(labels, pictures, names) -> dict[str, float]:
    """The mean absolute difference of the mean colours of each pair of `BELONG_TOGETHER`: {'nose': 0..255, ...}.

    labels: (H, W) each. pictures: (H, W, 3) each; those count that show both classes. names: of the classes by id.
    """
    found = {what: [] for what in BELONG_TOGETHER}
    for label, picture in zip(labels, pictures):
        colours = {}
        for i, name in enumerate(names):
            inside = label == i
            if inside.mean() > _SMALLEST:
                colours[name] = np.asarray(picture, float)[inside].mean(0)
        for what, pairs in BELONG_TOGETHER.items():
            found[what] += [np.abs(colours[a] - colours[b]).mean() for a, b in pairs if a in colours and b in colours]
    return {what: float(np.mean(values)) for what, values in found.items() if values}


def encode(args):
    """Run encode_features.py over `args.pictures` pictures, as a process of its own."""
    folder = Path(args.experiment)
    with tempfile.TemporaryDirectory() as work:
        root = args.dataroot or f"{work}/faces"
        if not args.dataroot:
            subprocess.run([sys.executable, "-m", "datasets.make_sample_faces", "--out", root, "--size", "128",
                            "--train", str(max(args.pictures)), "--test", "1"], cwd=PROJECT, check=True,
                           stdout=subprocess.DEVNULL)
        for count in args.pictures:
            command = ["encode_features.py", "--name", "encoded", "--checkpoints_dir", work, "--load_pretrain",
                       str(folder.resolve()), "--dataroot", root, "--gpu_ids", "-1", "--no_style_sheet",
                       "--max_dataset_size", str(count), "--nThreads", "0"]
            seconds, peak = watched(command)
            report("styles", "encode", pictures=count, seconds=seconds, pictures_per_second=count / seconds, peak_mb=peak)


def correlation(a, b) -> float:
    """Pearson's correlation over all pairs and the three channels, each centred by itself."""
    a, b = (np.asarray(x) - np.mean(x, 0) for x in (a, b))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))



if __name__ == "__main__":
    main()
