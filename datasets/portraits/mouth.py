"""Lips, teeth, and the inside of an open mouth."""
from __future__ import annotations

import numpy as np

from datasets.portraits import classes, palette
from datasets.portraits.curves import ribbon, superellipse
from datasets.portraits.look import Look
from datasets.portraits.scene import Scene


def _lip_curves(look: Look) -> tuple[np.ndarray, ...]:
    """Four lines (N, 2) in the head frame, from the top of the upper lip to the bottom of the lower."""
    x = np.linspace(-1, 1, 41)
    smile, gap = look.smile, look.mouth_open
    corner, middle = 0.262 - 0.030 * smile, 0.262 + 0.010 * smile - 0.004 * gap
    dome = 1 - x**2
    line = corner + (middle - corner) * dome
    bow = (1 - np.abs(x) ** 1.7) ** 0.85 * (1 - 0.20 * np.exp(-((x / 0.13) ** 2)))
    full = look.lip_fullness * (1 - 0.2 * max(smile, 0))
    inner_top = line + 0.003 * np.exp(-((x / 0.2) ** 2))
    inner_low = line + (0.062 * gap) * dome**0.75 + 0.003 * np.exp(-((x / 0.2) ** 2))
    top = inner_top - 0.027 * full * bow
    bottom = inner_low + 0.036 * full * (1 - np.abs(x) ** 2.2) ** 0.8
    across = 0.098 * look.mouth_width * (1 + 0.16 * smile) * x
    return tuple(np.stack([across, y], 1) for y in (top, inner_top, inner_low, bottom))


def _inside(scene: Scene, inner_top: np.ndarray, inner_low: np.ndarray) -> None:
    look, canvas, pose = scene.look, scene.canvas, scene.pose
    hollow = pose.face(np.concatenate([inner_top, inner_low[::-1]]))
    patch = canvas.cover(hollow)
    canvas.paint(patch, (0.22, 0.05, 0.06), classes.MOUTH)
    deep = 0.062 * look.mouth_open
    if deep > 0.03:
        tongue = superellipse((0, inner_low[20, 1] + 0.004), 0.055, deep * 0.38)
        canvas.paint(canvas.cover(pose.face(tongue), within=hollow), (0.72, 0.32, 0.33), opacity=0.9)
    height = min(0.026, deep * 0.72)
    edge = inner_top + np.stack([np.zeros(41), height * (1 - np.linspace(-1, 1, 41) ** 4)], 1)
    teeth = canvas.cover(pose.face(np.concatenate([inner_top * (0.93, 1), edge[::-1] * (0.93, 1)])), within=hollow)
    canvas.paint(teeth, scene.lit(teeth, (0.95, 0.93, 0.89), 0.4))
    gaps = []
    for x in (-0.055, -0.036, -0.018, 0, 0.018, 0.036, 0.055):
        top = np.interp(x, inner_top[:, 0], inner_top[:, 1])
        gaps.append(pose.face(ribbon(np.array([(x, top), (x, top + height * 0.9)]), 0.003)))
    canvas.darken(teeth, canvas.soft(*gaps, blur=0.001), 0.25, tint=(0.45, 0.35, 0.3))
    canvas.darken(patch, canvas.soft(pose.face(ribbon(inner_top, 0.012)), blur=0.004), 0.5)


def _colour(scene: Scene) -> np.ndarray:
    look = scene.look
    natural = palette.mix(look.skin * (0.92, 0.68, 0.66), (0.72, 0.30, 0.32), 0.35)
    if look.makeup:
        return palette.mix(natural, palette.pick(scene.rng, palette.LIPSTICK), scene.rng.uniform(0.5, 0.95))
    return palette.mix(natural, look.skin, 0.25 * (1 - look.feminine))


def draw_mouth(scene: Scene) -> None:
    """The mouth: its inside where it is open, then the upper and the lower lip."""
    look, canvas, pose = scene.look, scene.canvas, scene.pose
    top, inner_top, inner_low, bottom = _lip_curves(look)
    head, colour = scene.head, _colour(scene)
    corners = [pose.face(superellipse(top[end] + (0.004 * (1 if end else -1), 0), 0.010, 0.008)) for end in (0, -1)]
    canvas.darken(head, canvas.soft(*corners, blur=0.006), 0.55)
    groove = pose.face(superellipse((0, 0.213), 0.010, 0.016))
    canvas.darken(head, canvas.soft(groove, blur=0.006), 0.18)
    if look.mouth_open:
        _inside(scene, inner_top, inner_low)
    upper = canvas.cover(pose.face(np.concatenate([top, inner_top[::-1]]), 0.02))
    canvas.paint(upper, scene.skin(upper, colour * 0.86, shine=0.5), classes.UPPER_LIP)
    lower_outline = pose.face(np.concatenate([inner_low, bottom[::-1]]), 0.02)
    lower = canvas.cover(lower_outline)
    canvas.paint(lower, scene.skin(lower, np.clip(colour * 1.06, 0, 1), shine=1.0), classes.LOWER_LIP)
    rim = pose.face(ribbon(bottom[4:-4], 0.012), 0.02)
    canvas.darken(lower, canvas.soft(rim, blur=0.005), 0.35)
    middle = (inner_low[20] + bottom[20]) / 2
    gleam = superellipse(middle + (0.012 * np.sign(scene.light.direction[0]), -0.003), 0.028, 0.0045)
    canvas.glaze(lower, canvas.soft(pose.face(gleam, 0.02), blur=0.005), (1, 0.93, 0.92), 0.45 + 0.3 * look.makeup)
    if not look.mouth_open:
        seam = canvas.soft(pose.face(ribbon(inner_top, 0.006), 0.02), blur=0.0016)
        canvas.darken(upper, seam, 0.85)
        canvas.darken(lower, seam, 0.85)
