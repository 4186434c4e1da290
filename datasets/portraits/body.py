"""Neck, shoulders and clothes."""
from __future__ import annotations

import numpy as np

from datasets.portraits import classes, palette
from datasets.portraits.canvas import Patch, noise
from datasets.portraits.curves import ribbon, smooth, superellipse
from datasets.portraits.look import Look
from datasets.portraits.scene import Scene

BELOW = 1.3  # further down than any picture shows, in the head frame


def _neck_width(look: Look) -> float:
    return 0.165 - 0.040 * look.feminine


def _shoulder_line(look: Look) -> np.ndarray:
    """The right edge of neck and shoulder, from behind the ear down to the arm, (N, 2) in the head frame."""
    w, broad = _neck_width(look), 1.0 - 0.14 * look.feminine
    return smooth([(w + 0.005, 0.10), (w, 0.28), (w + 0.004, 0.42), (w + 0.05, 0.515), (0.34 * broad, 0.575),
                   (0.52 * broad, 0.64), (0.62 * broad, 0.80), (0.66 * broad, BELOW)])


def _both_sides(look: Look, right: np.ndarray) -> np.ndarray:
    """A closed outline from its right edge: its top follows the head, its foot stays with the body."""
    loop = np.concatenate([right, right[::-1] * (-1, 1)])
    follow = np.clip((0.50 - loop[:, 1]) / 0.35, 0, 1)[:, None]
    return look.pose.head(loop, -0.06, keep_width=True) * follow + look.pose.body(loop) * (1 - follow)


def draw_neck(scene: Scene) -> None:
    """Neck and bare shoulders, with the shadow of the head and the collar bones."""
    look, canvas = scene.look, scene.canvas
    patch = canvas.cover(_both_sides(look, _shoulder_line(look)))
    side = np.clip(scene.diffuse[patch.rows, patch.cols], 0.8, 1.1)
    colour = look.skin * (0.93, 0.88, 0.87)
    canvas.paint(patch, np.clip(side[..., None] * colour.astype(np.float32), 0, 1), classes.NECK)
    shift = np.array([-0.03 * scene.light.direction[0], 0.045]) * look.pose.scale
    canvas.darken(patch, canvas.soft(scene.head_outline + shift, blur=0.022), 0.62)
    lines = []
    for s in (-1, 1):
        sinew = smooth([(s * 0.115, 0.36), (s * 0.075, 0.46), (s * 0.028, 0.555)])
        bone = smooth([(s * 0.035, 0.575), (s * 0.13, 0.570), (s * 0.26, 0.600)])
        lines += [look.pose.body(ribbon(sinew, 0.010)), look.pose.body(ribbon(bone, 0.012))]
    canvas.darken(patch, canvas.soft(*lines, blur=0.009), 0.40)


def _neckline(look: Look, kind: str) -> np.ndarray:
    """The lower edge of what the clothes leave bare, right half from the neck inward, in the head frame."""
    w = _neck_width(look)
    return {"crew": smooth([(w + 0.040, 0.505), (w * 0.75, 0.565), (0, 0.592)]),
            "shirt": smooth([(w + 0.012, 0.46), (w * 0.62, 0.535), (0, 0.64)]),
            "vee": smooth([(w + 0.055, 0.52), (w * 0.60, 0.61), (0, 0.72)]),
            "scoop": smooth([(w + 0.13, 0.555), (w * 0.95, 0.655), (0, 0.70)]),
            "roll": smooth([(w + 0.014, 0.40), (w * 0.6, 0.445), (0, 0.46)])}[kind]


def _fabric(scene: Scene, patch: Patch, colour: np.ndarray) -> np.ndarray:
    """Cloth over a patch, (h, w, 3): plain, striped, checked or dotted, with folds."""
    rng, canvas, pose = scene.rng, scene.canvas, scene.pose
    kind = rng.choice(["plain", "stripes", "pinstripes", "check", "dots"], p=[0.55, 0.15, 0.12, 0.1, 0.08])
    second = palette.mix(colour, palette.any_colour(rng), rng.uniform(0.35, 0.7))
    ys = ((np.arange(patch.rows.start, patch.rows.stop) + 0.5) / canvas.size - pose.centre[1]) / pose.scale
    xs = ((np.arange(patch.cols.start, patch.cols.stop) + 0.5) / canvas.size - pose.centre[0]) / pose.scale
    y = ys[:, None] - 0.25 * np.abs(xs[None])
    x = np.broadcast_to(xs[None], y.shape)
    period = rng.uniform(0.045, 0.085)
    share = {"plain": np.zeros(y.shape), "stripes": 0.5 + 3.0 * np.sin(2 * np.pi * y / period),
             "pinstripes": 4 * np.cos(4 * np.pi * x / period) - 2.8,
             "check": 0.4 * (np.sin(2 * np.pi * y / period) > 0) + 0.4 * (np.sin(2 * np.pi * x / period) > 0),
             "dots": 9 * (np.cos(2 * np.pi * y / period) * np.cos(2 * np.pi * x / period) - 0.55)}[kind]
    share = np.clip(share, 0, 1).astype(np.float32)[..., None]
    cloth = colour.astype(np.float32) * (1 - share) + second.astype(np.float32) * share
    folds = noise(rng, 7, canvas.size)[patch.rows, patch.cols]
    lean = scene.light.direction[0] * np.clip(x, -0.5, 0.5) * 0.5
    shade = 0.96 + 0.10 * folds + lean - 0.35 * np.clip(y - 0.55, 0, 0.5)
    return np.clip(cloth * shade[..., None].astype(np.float32), 0, 1)


def draw_clothes(scene: Scene) -> None:
    """A garment with one of five necklines, over the shoulders."""
    look, canvas, rng, pose = scene.look, scene.canvas, scene.rng, scene.pose
    odds = [0.30, 0.22, 0.18, 0.08, 0.22] if look.feminine < 0.5 else [0.26, 0.10, 0.22, 0.30, 0.12]
    kind = str(rng.choice(["crew", "shirt", "vee", "scoop", "roll"], p=odds))
    colour = palette.any_colour(rng, (0.05, 0.8), (0.15, 0.95))
    line, shoulder = _neckline(look, kind), _shoulder_line(look)
    outer = shoulder[shoulder[:, 1] > line[0, 1]] * (1.03, 1) - (0, 0.012)
    outline = np.concatenate([line[::-1], outer, outer[::-1] * (-1, 1), line * (-1, 1)])
    outline = pose.body(outline)
    edge = pose.body(np.concatenate([line, line[::-1] * (-1, 1)]))
    skin = canvas.cover(_both_sides(look, shoulder))
    canvas.darken(skin, canvas.soft(ribbon(edge, 0.02 * pose.scale), blur=0.008), 0.45)
    patch = canvas.cover(outline)
    fabric = _fabric(scene, patch, colour)
    canvas.paint(patch, fabric, classes.CLOTH)
    if kind == "shirt":
        _draw_collar(scene, line, np.clip(colour * 1.12 + 0.04, 0, 1))
    else:
        band = canvas.cover(ribbon(edge, (0.05 if kind == "roll" else 0.022) * pose.scale), within=outline)
        canvas.paint(band, np.clip(canvas.picture[band.rows, band.cols] * 0.84, 0, 1))
    canvas.darken(patch, canvas.soft(scene.head_outline + (0, 0.035), blur=0.02), 0.5, tint=(0.3, 0.28, 0.32))


def _draw_collar(scene: Scene, line: np.ndarray, colour: np.ndarray) -> None:
    canvas, pose = scene.canvas, scene.pose
    for side in (-1, 1):
        leaf = np.concatenate([line, [(0.055, 0.735), (0.155, 0.645), (line[0, 0] + 0.045, 0.47)]]) * (side, 1)
        patch = canvas.cover(pose.body(leaf))
        canvas.paint(patch, scene.lit(patch, colour, 0.3), classes.CLOTH)
        fold = canvas.soft(pose.body(ribbon(leaf[len(line) - 1:], 0.008)), blur=0.003)
        canvas.darken(patch, fold, 0.5, tint=(0.3, 0.28, 0.32))
    for y in (0.70, 0.80):
        button = canvas.cover(pose.body(superellipse((0, y), 0.011, 0.011)))
        canvas.paint(button, colour * 0.55, classes.CLOTH)
