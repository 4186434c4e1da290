"""Eyeglasses and sunglasses: frame and lenses are one class, eyes and brows seen through clear lenses keep theirs."""
from __future__ import annotations

import numpy as np

from datasets.portraits import classes, palette
from datasets.portraits.curves import ribbon, smooth, superellipse
from datasets.portraits.scene import Scene

LIFT = 0.045  # of the lenses in front of the face
SHAPES = {"round": (0.082, 0.078, 2.0), "oval": (0.093, 0.066, 2.2), "square": (0.094, 0.066, 4.5),
          "panto": (0.086, 0.074, 2.7)}


def _frame_colour(rng: np.random.Generator) -> np.ndarray:
    kind = rng.random()
    if kind < 0.35:
        return np.array([0.08, 0.08, 0.09])
    return palette.pick(rng, palette.METAL) if kind < 0.55 else palette.any_colour(rng, (0.3, 0.85), (0.2, 0.75))


def _arms(scene: Scene, reach: float) -> list[np.ndarray]:
    """The visible start of both arms, which run back above the ears."""
    arms = []
    for side in (-1, 1):
        hinge = scene.pose.face([(side * reach, -0.012)], LIFT)
        ear = scene.pose.head([(side * 0.252 * scene.look.width, -0.030)], -0.05, keep_width=True)
        arms.append(ribbon(np.concatenate([hinge, ear]), 0.014 * scene.pose.scale))
    return arms


def draw_glasses(scene: Scene) -> None:
    """Glasses over the eyes, with tint, gleam and a shadow on the face."""
    look, canvas, pose, rng = scene.look, scene.canvas, scene.pose, scene.rng
    if not look.glasses:
        return
    rx, ry, power = SHAPES[str(rng.choice(list(SHAPES)))]
    rim, colour = rng.uniform(0.010, 0.020), _frame_colour(rng)

    def lens(side, grow):
        return pose.face(superellipse((side * 0.118, 0.008), rx + grow, ry + grow, power), LIFT)

    gap = 0.118 - rx - rim * 0.5
    bridge = ribbon(pose.face(smooth([(-gap, 0.0), (0, -0.012), (gap, 0.0)]), LIFT), 0.014 * pose.scale)
    face = canvas.cover(pose.face(superellipse((0, 0.02), 0.245, 0.16)))
    frame = [*(lens(side, rim) for side in (-1, 1)), bridge, *_arms(scene, 0.118 + rx)]
    canvas.darken(face, canvas.soft(*[outline + (0, 0.012) for outline in frame], blur=0.008), 0.16)
    for side in (-1, 1):
        outline = lens(side, 0.0)
        glass = canvas.cover(outline)
        dark = look.glasses == "sun"
        tint = colour * 0.25 if dark else np.array([0.86, 0.92, 0.97])
        over = None if dark else (classes.SKIN, classes.NOSE, classes.BACKGROUND, classes.HAIR)
        canvas.paint(glass, tint, classes.GLASSES, opacity=0.88 if dark else 0.06, over=over)
        low, high = outline.min(0), outline.max(0)
        width, height = high - low
        streak = low + np.array([(0.10, 1.0), (0.55, 0.0), (0.80, 0.0), (0.35, 1.0)]) * (width, height)
        canvas.paint(canvas.cover(streak, within=outline), (1, 1, 1), opacity=0.16 if dark else 0.10)
    for side in (-1, 1):
        ring = canvas.cover(lens(side, rim), hole=lens(side, 0.0))
        canvas.paint(ring, scene.lit(ring, colour, 0.5), classes.GLASSES)
    rest = canvas.cover(bridge, *_arms(scene, 0.118 + rx + rim * 0.5))
    canvas.paint(rest, scene.lit(rest, colour * 0.92, 0.5), classes.GLASSES)
