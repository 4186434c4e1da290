"""Earrings and necklaces."""
from __future__ import annotations

import numpy as np

from datasets.portraits import classes, palette
from datasets.portraits.curves import ribbon, smooth, superellipse
from datasets.portraits.scene import Scene


def _gem_or_metal(rng: np.random.Generator) -> np.ndarray:
    return palette.any_colour(rng, (0.3, 0.85), (0.4, 0.95)) if rng.random() < 0.45 \
        else palette.pick(rng, palette.METAL)


def _gleam(scene: Scene, outlines, within, strength: float = 0.75) -> None:
    scene.canvas.paint(scene.canvas.cover(*outlines, within=within), (1, 1, 0.97), opacity=strength)


def draw_earrings(scene: Scene) -> None:
    """A pair of studs, hoops or drops at the lobes of the ears."""
    look, canvas, pose, rng = scene.look, scene.canvas, scene.pose, scene.rng
    if not look.earrings:
        return
    kind, colour, size = str(rng.choice(["stud", "hoop", "drop"])), _gem_or_metal(rng), rng.uniform(0.85, 1.3)
    for side in (-1, 1):
        lobe = pose.head([(side * 0.254 * look.width, 0.142)], -0.10, keep_width=True)[0]

        def at(dx, dy, rx, ry, lobe=lobe):
            return superellipse(lobe + np.array([dx, dy]) * pose.scale * size, rx * pose.scale * size,
                                ry * pose.scale * size, count=28)

        hole = None
        if kind == "stud":
            outline, gleam = [at(0, 0, 0.019, 0.019)], at(-0.005, -0.006, 0.006, 0.006)
        elif kind == "hoop":
            outline, hole = [at(0, 0.052, 0.040, 0.054)], at(0, 0.052, 0.026, 0.040)
            gleam = at(-0.034, 0.045, 0.006, 0.018)
        else:
            outline = [at(0, 0.0, 0.012, 0.012), at(0, 0.030, 0.007, 0.030), at(0, 0.080, 0.023, 0.032)]
            gleam = at(-0.007, 0.072, 0.006, 0.009)
        patch = canvas.cover(*outline, hole=hole)
        canvas.paint(patch, scene.lit(patch, colour, 0.4), classes.EARRING)
        _gleam(scene, [gleam], outline[-1])


def draw_necklace(scene: Scene) -> None:
    """A string of beads, or a chain that may carry a pendant, over neck and clothes."""
    look, canvas, pose, rng = scene.look, scene.canvas, scene.pose, scene.rng
    if not look.necklace:
        return
    colour, low = _gem_or_metal(rng), rng.uniform(0.585, 0.665)
    wide = 0.185 - 0.04 * look.feminine
    path = pose.body(smooth([(-wide - 0.01, 0.455), (-wide * 0.80, 0.53), (-wide * 0.45, low - 0.022), (0, low),
                             (wide * 0.45, low - 0.022), (wide * 0.80, 0.53), (wide + 0.01, 0.455)], per=12))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    if rng.random() < 0.5:
        radius = rng.uniform(0.012, 0.019) * pose.scale
        count = int(length[-1] / (2 * radius))
        spots = np.stack([np.interp(np.linspace(0, length[-1], count), length, path[:, k]) for k in (0, 1)], 1)
        outlines = [superellipse(spot, radius, radius, count=20) for spot in spots]
        gleams = [superellipse(spot - radius * 0.3, radius * 0.35, radius * 0.35, count=12) for spot in spots]
    else:
        outlines, gleams = [ribbon(path, rng.uniform(0.010, 0.015) * pose.scale)], []
        if rng.random() < 0.7:
            middle, size = path[len(path) // 2], rng.uniform(0.020, 0.032) * pose.scale
            pendant = superellipse(middle + (0, size), size, size * 1.2, rng.choice([1.2, 2.0]), count=32)
            outlines.append(pendant)
            gleams = [superellipse(middle + (-0.3 * size, 0.7 * size), size * 0.3, size * 0.3, count=16)]
    patch = canvas.cover(*outlines)
    body = canvas.cover(pose.body([(-0.5, 0.4), (0.5, 0.4), (0.5, 0.8), (-0.5, 0.8)]))
    canvas.darken(body, canvas.soft(*[outline + (0, 0.008) for outline in outlines], blur=0.005), 0.45)
    canvas.paint(patch, scene.lit(patch, colour, 0.4), classes.NECKLACE)
    if gleams:
        _gleam(scene, gleams, within=None, strength=0.6)
