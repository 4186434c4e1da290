"""What an identity swap does to drawn faces: python -m benchmarks.swapping swap | video. Prints JSON lines.

swap measures on the test people of a data root of make_sample_faces --identities; video on frames that it draws.
"""
from __future__ import annotations

import argparse
import csv
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks._timing import peak_megabytes, report
from data.face_alignment import ARCFACE, read_landmarks, similarity
from data.identities_dataset import aligned_face, identities_of
from data.image_files import list_images, read_image
from datasets.portraits.look import sample_look
from datasets.portraits.person import EXPRESSIONS, landmarks_of
from datasets.portraits.portrait import draw_portrait
from datasets.portraits.pose import Pose
from models.networks.identity import describe, face_oval, identity_net
from models.predictor import Predictor
from models.swapping.pasting import paste_mask
from util.checkpoint import read_tensors
from util.command_line import command_line
from util.marks import save_made
from util.util import tensor2im

_AROUND = 1.25  # as of --model simswap's `background`
_READABLE = 0.5  # share of a parameter's variance that must be read from faces that are not swapped, for it to count
_BATCH = 50


@command_line
def main():
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("swap", help="identity, pose and expression, background, swaps with oneself")
    one.add_argument("--dataroot", required=True)
    one.add_argument("--people", type=int, default=100, help="sources, a photo each")
    one.add_argument("--targets", type=int, default=3, help="swaps of each source")
    one.add_argument("--judge", default="", metavar="FILE", help="latest_net_I.pth of an identity network that the training "
                     "did not use, to measure with, too")
    two = commands.add_parser("video", help="flicker and memory on frames of a moving head")
    two.add_argument("--frames", type=int, default=100)
    two.add_argument("--size", type=int, default=256)
    two.add_argument("--source", default="", help="photo (default: one is drawn)")
    for command in (one, two):
        command.add_argument("--experiment", required=True, help="folder of the experiment, such as checkpoints/swap")
    args = parser.parse_args()
    predictor = Predictor.load(args.experiment, gpu_ids="-1")
    (measure_swaps if args.command == "swap" else measure_video)(predictor, args)


# swaps of aligned faces

@dataclass
class Faces:
    """names: n of them. people: (n,) ints. pixels: (n, S, S, 3) uint8, aligned. expressions: (n, 9) of EXPRESSIONS."""

    names: list[str]
    people: np.ndarray
    pixels: np.ndarray
    expressions: np.ndarray

    def tensor(self, at) -> torch.Tensor:
        """(len(at), 3, S, S) float32 in [-1, 1]."""
        return torch.from_numpy(self.pixels[at]).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def read_faces(root, phase: str, side: int) -> Faces:
    """The faces of a data root of make_sample_faces --identities."""
    root = Path(root)
    photos, landmarks = list_images(root / f"{phase}_img"), read_landmarks(root / "landmarks.csv")
    table = identities_of(root, phase, list(photos))
    with open(root / "expressions.csv", encoding="utf-8") as file:
        rows = {row["name"]: [float(row[name]) for name in EXPRESSIONS] for row in csv.DictReader(file)}
    pixels = np.stack([aligned_face(np.asarray(read_image(path)), landmarks.of(name), side) for name, path in photos.items()])
    return Faces(list(photos), np.unique([table[name] for name in photos], return_inverse=True)[1], pixels,
                 np.array([rows[name] for name in photos], np.float32))


class ExpressionReader:
    """Ridge regression from oriented gradients (Dalal and Triggs 2005), which colours hardly change, to EXPRESSIONS."""

    def __init__(self, faces: Faces, ridge: float = 3.0):
        features = gradients(faces.pixels)
        self.mean, self.deviation, self.middle = faces.expressions.mean(0), faces.expressions.std(0), features.mean(0)
        features = features - self.middle
        self.weight = np.linalg.solve(features.T @ features + ridge * np.eye(features.shape[1], dtype=np.float32),
                                      features.T @ self.scaled(faces.expressions))

    def scaled(self, expressions) -> np.ndarray:
        """(n, 9) less the mean of the faces that it was made of, in their deviations."""
        return (expressions - self.mean) / self.deviation

    def __call__(self, pixels) -> np.ndarray:
        """(n, S, S, 3) uint8 -> (n, 9), scaled."""
        return (gradients(pixels) - self.middle) @ self.weight


def gradients(pixels) -> np.ndarray:
    """(n, S, S, 3) uint8 -> (n, 1764) float32, of faces of 64 x 64 pixels in cells of 8."""
    histograms = cv2.HOGDescriptor((64, 64), (16, 16), (8, 8), (8, 8), 9)
    return np.stack([histograms.compute(cv2.resize(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), (64, 64),
                                                   interpolation=cv2.INTER_AREA)).ravel() for one in pixels])


def measure_swaps(predictor, args):
    """Every source, a photo of each of --people, into --targets photos of the others."""
    model = predictor.model
    side = predictor.opt.loadSize
    test = read_faces(args.dataroot, "test", side)
    reader = ExpressionReader(read_faces(args.dataroot, "train", side))
    people = np.unique(test.people)[:args.people]
    sources = np.array([np.flatnonzero(test.people == person)[0] for person in people])
    random = np.random.default_rng(0)
    pairs = [(k, random.choice(np.flatnonzero(test.people != people[k]))) for k in range(len(people)) for _ in
             range(args.targets)]
    of, targets = np.array(pairs).T
    drawn = swaps(model, test, targets, test, sources[of])
    outside = (1 - face_oval(side, side, _AROUND))[0, 0].numpy()
    change = np.abs(drawn.astype(np.float32) - test.pixels[targets]).mean(3)
    own = swaps(model, test, sources, test, sources)
    found = {"people": len(people), "pairs": len(of), **identities(model.embed, test, drawn, sources, of, targets),
             "background": float((change * outside).sum() / outside.sum() / len(change)),
             "with_oneself_l1": float(np.abs(own.astype(np.float32) - test.pixels[sources]).mean() / 255)}
    if args.judge:
        found["judge"] = identities(judge_of(args.judge), test, drawn, sources, of, targets)
    report("swapping", "swap", **found, **kept(reader, test, drawn, targets, random))


@torch.no_grad()
def swaps(model, faces: Faces, targets, others: Faces, sources) -> np.ndarray:
    """(n, S, S, 3) uint8: faces `targets` with the identities of others' `sources`."""
    drawn = [model.draw(faces.tensor(targets[i:i + _BATCH]), model.embed(others.tensor(sources[i:i + _BATCH])))
             for i in range(0, len(targets), _BATCH)]
    return np.stack([tensor2im(one) for one in torch.cat(drawn)])


def judge_of(file):
    """`embed` of another identity network."""
    state = read_tensors(Path(file))
    form = describe(state)
    net = identity_net(form["netI"], form["loadSize"], form.get("nif", 0))
    net.load_state_dict(state)
    return net.eval()


@torch.no_grad()
def identities(embed, faces: Faces, drawn, sources, of, targets) -> dict:
    """Cosines of the swaps; how often the source is nearer than the target, and how often it is the nearest of all sources."""
    def vectors(given):
        return torch.cat([embed(given.tensor(np.arange(i, min(i + _BATCH, len(given.pixels))))) for i in
                          range(0, len(given.pixels), _BATCH)]).numpy()
    known, made = vectors(faces), vectors(replace(faces, pixels=drawn))
    to_source, to_target = ((made * known[at]).sum(1) for at in (sources[of], targets))
    return {"to_source": float(to_source.mean()), "to_target": float(to_target.mean()),
            "nearer": float((to_source > to_target).mean()),
            "rank1": float(((made @ known[sources].T).argmax(1) == of).mean())}


def kept(reader, faces: Faces, drawn, targets, random) -> dict:
    """Pose and expression: the swap's mean distance from its target, as a share of that of two random faces.

    As an ExpressionReader reads them, in the deviations of what is drawn, of those EXPRESSIONS that it reads from faces that
    are not swapped; and from what was drawn, with the reader's own errors in it.
    """
    of_faces, of_swaps, wanted = reader(faces.pixels), reader(drawn), reader.scaled(faces.expressions)
    explained = 1 - ((of_faces - wanted) ** 2).mean(0) / wanted.var(0)
    counted = explained > _READABLE
    far = np.abs(of_faces[targets] - of_faces[random.permutation(targets)]).mean(0)
    near, truth = np.abs(of_swaps - of_faces[targets]).mean(0), np.abs(of_swaps - wanted[targets]).mean(0)
    far_truth = np.abs(wanted[targets] - wanted[random.permutation(targets)]).mean(0)
    return {"pose_and_expression": float((near / far)[counted].mean()),
            "of_a_random_pair": {name: round(float(share), 3) for name, share in zip(EXPRESSIONS, near / far)},
            "from_the_drawing": float((truth / far_truth)[counted].mean()),
            "reader_explains": {name: round(float(share), 3) for name, share in zip(EXPRESSIONS, explained)}}


# videos

def draw_frames(folder, count: int, size: int, noise: float = 2.0, seed: int = 0) -> list[bool]:
    """A head that rests, turns, nods and comes back, as PNG files; whether it moves, of each frame.

    noise: standard deviation of the sensor's, in levels of 255.
    """
    look, random, moves = sample_look(np.random.default_rng(seed)), np.random.default_rng(seed), []
    look = replace(look, glasses="", hat="", fringe="none")
    for i in range(count):
        at = np.clip((i / count - 0.25) / 0.5, 0, 1) * 2 * np.pi  # it moves in the middle half
        moves.append(0 < at < 2 * np.pi)
        pose = Pose(0.25 * np.sin(at), 0.08 * np.sin(2 * at), 0.06 * np.sin(at), 0.9, (0.5 + 0.04 * np.sin(at), 0.445))
        picture, _ = draw_portrait(np.random.default_rng(seed), size, replace(look, pose=pose), np.random.default_rng(seed))
        noisy = picture + random.normal(0, noise, picture.shape)
        save_made(np.clip(np.round(noisy), 0, 255).astype(np.uint8), Path(folder) / f"{i:04d}.png")
    return moves


def measure_video(predictor, args):
    """Swap drawn frames; flicker where the head rests and where it moves, as a share of the input's, and memory."""
    with tempfile.TemporaryDirectory() as folder:
        frames, out = Path(folder) / "frames", Path(folder) / "out"
        frames.mkdir()
        moves = np.array(draw_frames(frames, args.frames, args.size))
        source = args.source or draw_portrait(np.random.default_rng(5), args.size)[0]
        memory, times = [], []

        def progress(number):
            memory.append(peak_megabytes())
            times.append(time.monotonic())
        predictor.swap_video(source, frames, out, progress=progress)
        before, after = ([np.asarray(read_image(path), np.float32) for path in list_images(one).values()]
                         for one in (frames, out))
        changed = [float((a != b).any()) for a, b in zip(before, after)]
        face = oval_in_photo(args.size)
        differ = [np.array([np.abs(b - a).mean(2)[face].mean() for a, b in zip(one, one[1:])]) for one in (before, after)]
        still = ~(moves[1:] | moves[:-1])
        report("swapping", "video", frames=len(after), swapped=float(np.mean(changed)),
               flicker_at_rest=float(differ[1][still].mean() / differ[0][still].mean()),
               flicker_in_motion=float(differ[1][~still].mean() / differ[0][~still].mean()),
               frames_per_second=(len(times) - 1) / (times[-1] - times[0]), peak_mb_after_a_fifth=memory[len(memory) // 5],
               peak_mb=memory[-1])


def oval_in_photo(size: int) -> np.ndarray:
    """(size, size) bool: the face of `draw_frames` at rest, where swaps are pasted."""
    look = replace(sample_look(np.random.default_rng(0)), pose=Pose(0, 0, 0, 0.9, (0.5, 0.445)))
    matrix = similarity(landmarks_of(look) * size - 0.5, ARCFACE * 64 - 0.5)
    return cv2.warpAffine(paste_mask(64), matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) > 0.9


if __name__ == "__main__":
    main()
