"""Eyes and brows."""
from __future__ import annotations

import numpy as np

from datasets.portraits import classes, palette
from datasets.portraits.curves import ribbon, smooth, superellipse
from datasets.portraits.look import Look
from datasets.portraits.scene import Scene
from datasets.portraits.strands import draw_strands

EYE_X = 0.120  # of the middle of an eye


def _lids(look: Look, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower lid from the inner to the outer corner, each (N, 2) in the head frame."""
    x = np.linspace(-1, 1, 25)
    opening = look.eye_size * (1 - 0.42 * look.squint - 0.15 * max(look.smile, 0) + 0.12 * max(look.brow_raise, 0))
    slant = -look.eye_tilt * x + 0.004 * (x < -0.8) * (-x - 0.8) / 0.2
    upper = slant - 0.032 * opening * (1 - np.abs(x) ** 2.3) ** 0.9 * (1 - 0.12 * x)
    lower = slant + 0.021 * opening * (1 - np.abs(x) ** 2.2) * (1 + 0.15 * x)
    across = side * (EYE_X + 0.060 * look.eye_size ** 0.5 * x)
    return np.stack([across, upper], 1), np.stack([across, lower], 1)


def _iris(scene: Scene, side: int, almond: np.ndarray, colour: np.ndarray) -> None:
    look, canvas, pose = scene.look, scene.canvas, scene.pose
    middle = np.array([side * EYE_X + 0.012 * look.gaze[0], -0.006 + 0.006 * look.gaze[1]])
    radius = 0.0265 * look.eye_size ** 0.5

    def disc(size, dx=0.0, dy=0.0):
        return canvas.cover(pose.face(superellipse(middle + (dx, dy), size, size, count=28)), within=almond)

    canvas.paint(disc(radius), colour * 0.42)
    canvas.paint(disc(radius * 0.86), colour)
    canvas.paint(disc(radius * 0.62, dy=radius * 0.22), np.clip(colour * 1.45 + 0.03, 0, 1), opacity=0.6)
    canvas.paint(disc(radius * 0.45), (0.03, 0.025, 0.03))
    glint = radius * 0.45 * np.sign(scene.light.direction[0])
    canvas.paint(disc(radius * 0.26, glint, -radius * 0.40), (1, 1, 1), opacity=0.95)
    canvas.paint(disc(radius * 0.12, -glint, radius * 0.40), (1, 1, 1), opacity=0.6)


def _draw_eye(scene: Scene, side: int, iris_colour: np.ndarray, shadow_colour) -> None:
    look, canvas, pose = scene.look, scene.canvas, scene.pose
    upper, lower = _lids(look, side)
    above = upper * (1, 0.9) - (0, 0.016)
    if shadow_colour is not None:
        lid = pose.face(np.concatenate([upper, (above - (0, 0.012))[::-1]]))
        canvas.glaze(scene.head, canvas.soft(lid, blur=0.006), shadow_colour, 0.55)
    head = canvas.cover(pose.face(superellipse((side * EYE_X, -0.01), 0.10, 0.08)), within=scene.head_outline)
    crease = pose.face(ribbon(above[2:], 0.006 * np.sin(np.linspace(0.2, 2.9, len(above) - 2))))
    canvas.darken(head, canvas.soft(crease, blur=0.0025), 0.75)
    bag = pose.face(ribbon(lower[3:-2] + (0, 0.014), 0.004))
    canvas.darken(head, canvas.soft(bag, blur=0.004), 0.10 + 0.25 * look.squint + 0.3 * look.age)
    almond = pose.face(np.concatenate([upper, lower[::-1]]))
    patch = canvas.cover(almond)
    canvas.paint(patch, scene.lit(patch, (0.95, 0.93, 0.92), 0.5), classes.eye(side))
    corner = canvas.cover(pose.face(superellipse(upper[0] + (side * 0.006, 0.003), 0.009, 0.009)), within=almond)
    canvas.paint(corner, (0.86, 0.55, 0.52), opacity=0.6)
    _iris(scene, side, almond, iris_colour)
    cast = pose.face(ribbon(upper + (0, 0.004), 0.016))
    canvas.darken(patch, canvas.soft(cast, blur=0.004), 0.65, tint=(0.25, 0.2, 0.22))
    # The lashes belong to the eye: what they cover is labelled so.
    lash = 0.0065 + 0.006 * look.feminine * (1 + look.makeup) / 2
    wing = upper[-1] + (side * 0.014 * look.feminine, -0.010 * look.feminine)
    line = np.concatenate([upper[1:], wing[None]])
    pen = lash * np.concatenate([np.linspace(0.5, 1.1, len(upper) - 3), [1.0, 0.8, 0.2]])
    ink = palette.mix((0.07, 0.045, 0.04), look.skin, 0.05)
    canvas.paint(canvas.cover(pose.face(ribbon(line, pen))), ink, classes.eye(side), opacity=0.95)
    canvas.paint(canvas.cover(pose.face(ribbon(lower[2:], 0.0045))), palette.mix(look.skin * 0.4, ink, 0.4),
                 classes.eye(side), opacity=0.6)


def draw_eyes(scene: Scene) -> None:
    """Both eyes, alike in colour."""
    iris = palette.pick(scene.rng, palette.IRIS)
    shadow = None
    if scene.look.makeup:
        shadow = palette.mix(scene.look.skin * 0.7, palette.any_colour(scene.rng, (0.3, 0.7), (0.3, 0.7)), 0.5)
    for side in (-1, 1):
        _draw_eye(scene, side, iris, shadow)


def draw_brows(scene: Scene) -> None:
    """Both brows, in a darker shade of the hair, with short hairs drawn in."""
    look, canvas, pose, rng = scene.look, scene.canvas, scene.pose, scene.rng
    colour = np.clip(palette.mix(look.hair * 0.6, look.skin * 0.38, 0.45), 0.03, 1)
    thick = (0.027 - 0.012 * look.feminine) * rng.uniform(0.85, 1.25)
    arch, lift = 0.003 + 0.009 * look.feminine, -0.022 * look.brow_raise
    frown = 0.014 * max(-look.smile, 0) * (look.brow_raise < 0.2)
    for side in (-1, 1):
        raised = lift * (1 + 0.2 * side * rng.normal())
        path = smooth([(0.046, -0.073 + frown + raised), (0.085, -0.083 + 0.3 * frown + raised - 0.3 * arch),
                       (0.140, -0.086 + raised - arch), (0.198, -0.062 + raised)]) * (side, 1)
        width = thick * np.interp(np.linspace(0, 1, len(path)), [0, 0.12, 0.5, 1], [0.6, 1.0, 0.95, 0.25])
        patch = canvas.cover(pose.face(ribbon(path, width), 0.01))
        canvas.paint(patch, scene.lit(patch, colour, 0.4), classes.brow(side), opacity=0.9)
        hair_rng, count = rng.spawn(1)[0], int(46 * canvas.fineness**1.5)
        at = hair_rng.integers(1, len(path) - 2, count)
        root = path[at] + (0, 1) * (hair_rng.uniform(-0.5, 0.5, (count, 1)) * width[at][:, None])
        tip = root + np.stack([side * hair_rng.uniform(0.008, 0.018, count), hair_rng.uniform(-0.012, 0.0, count)], 1)
        hairs = np.stack([pose.face(root, 0.01), pose.face(tip, 0.01)], 1)
        tone = draw_strands(canvas.size, patch, hairs, hair_rng.uniform(-0.8, 0.8, count), 0.003 / canvas.fineness)
        canvas.paint(patch, np.clip(canvas.picture[patch.rows, patch.cols] * (1 + 0.4 * tone[..., None]), 0, 1))
