"""Head, ears, nose and beard."""
from __future__ import annotations

import numpy as np

from datasets.portraits import classes, palette
from datasets.portraits.canvas import cut
from datasets.portraits.curves import ribbon, smooth, superellipse, symmetric
from datasets.portraits.head import ear_outline
from datasets.portraits.look import Look
from datasets.portraits.scene import Scene
from datasets.portraits.strands import draw_strands


def draw_ears(scene: Scene) -> None:
    """Both ears; the head, drawn after them, hides what it should."""
    if scene.look.hides_ears:
        return
    for side in (-1, 1):
        patch = scene.canvas.cover(ear_outline(scene.look, side))
        colour = scene.look.skin * (0.95, 0.86, 0.84)
        scene.canvas.paint(patch, scene.skin(patch, colour, shine=0.3), classes.ear(side))
        hollow = scene.canvas.soft(ear_outline(scene.look, side, 0.5), blur=0.006)
        scene.canvas.darken(patch, hollow, 0.5)


def _tapered(points, width: float = 0.008) -> np.ndarray:
    """A crease in the skin: a line that thins out at both ends."""
    line = smooth(points)
    return ribbon(line, width * np.sin(np.linspace(0.1, 3.04, len(line))))


def draw_head(scene: Scene) -> None:
    """Skin of the head, with blush, and lines that come with a smile and with age."""
    look, canvas, pose = scene.look, scene.canvas, scene.pose
    patch = scene.head
    canvas.paint(patch, scene.skin(patch), classes.SKIN)
    blush = palette.mix(look.skin, (0.86, 0.22, 0.20), 0.55)
    cheeks = [pose.face(superellipse((side * 0.150, 0.135 - 0.01 * look.smile), 0.048, 0.036)) for side in (-1, 1)]
    canvas.glaze(patch, canvas.soft(*cheeks, blur=0.028), blush, 0.30 + 0.25 * look.makeup)
    sockets = [pose.face(superellipse((side * 0.118, -0.012), 0.066, 0.034)) for side in (-1, 1)]
    canvas.darken(patch, canvas.soft(*sockets, blur=0.014), 0.22)
    below_lip = pose.face(superellipse((0, 0.318 + 0.03 * look.mouth_open), 0.05, 0.008))
    canvas.darken(patch, canvas.soft(below_lip, blur=0.009), 0.30)
    folds = []
    for side in (-1, 1):
        folds.append(pose.face(_tapered([(side * 0.062, 0.155), (side * 0.105, 0.195),
                                         (side * (0.122 + 0.01 * look.smile), 0.245)], 0.010)))
    canvas.darken(patch, canvas.soft(*folds, blur=0.0045),
                  np.clip(0.06 + 0.20 * max(look.smile, 0) + 0.6 * look.age**2, 0, 0.6))
    if look.age > 0.5:
        lines = [pose.face(_tapered([(-wide, y + 0.005), (-0.3 * wide, y - 0.006), (0.2 * wide, y - 0.002),
                                     (wide, y + 0.003)])) for y, wide in ((-0.160, 0.10), (-0.193, 0.125))]
        bags = [pose.face(_tapered([(s * 0.07, 0.035), (s * 0.12, 0.052), (s * 0.165, 0.035)])) for s in (-1, 1)]
        canvas.darken(patch, canvas.soft(*lines, *bags, blur=0.0045), 0.6 * look.age)


def _nose_outline(look: Look) -> np.ndarray:
    w = look.nose_width
    half = [(0, -0.030), (0.019, -0.026), (0.021, 0.020), (0.027 * w, 0.075), (0.046 * w, 0.115), (0.062 * w, 0.147),
            (0.056 * w, 0.172), (0.034 * w, 0.177), (0.016, 0.186), (0, 0.189)]
    outline = symmetric(half)
    lift = 0.05 * np.exp(-(outline[:, 0] / 0.04) ** 2) * np.clip((outline[:, 1] + 0.05) / 0.18, 0, 1)
    return look.pose.face(outline, lift)


def draw_nose(scene: Scene) -> None:
    """Nose: shape by light, a shadow below it, nostrils, a gleam on the tip."""
    look, canvas, pose = scene.look, scene.canvas, scene.pose
    head, outline = scene.head, _nose_outline(look)
    shift = -scene.light.direction[:2] * 0.02
    shadow = canvas.soft(pose.face(superellipse((0, 0.175), 0.052 * look.nose_width, 0.022), 0.02) + shift, blur=0.012)
    canvas.darken(head, shadow, 0.42)
    patch = canvas.cover(outline)
    canvas.paint(patch, scene.skin(patch, palette.mix(look.skin, (0.80, 0.30, 0.24), 0.07), shine=1.4), classes.NOSE,
                 opacity=0.85)
    away = -1 if scene.light.direction[0] > 0 else 1
    flank = smooth([(away * 0.022, -0.02), (away * 0.024, 0.05), (away * 0.040, 0.12)])
    canvas.darken(head, canvas.soft(pose.face(ribbon(flank, 0.016), 0.02), blur=0.009), 0.30)
    for side in (-1, 1):
        nostril = pose.face(superellipse((side * 0.028 * look.nose_width, 0.172), 0.0135, 0.0075), 0.03)
        canvas.darken(patch, canvas.soft(nostril, blur=0.0028), 0.9)
        wing = smooth([(side * 0.050, 0.125), (side * 0.064, 0.150), (side * 0.050, 0.174)]) * (look.nose_width, 1)
        canvas.darken(head, canvas.soft(pose.face(ribbon(wing, 0.007)), blur=0.003), 0.32)
    tip = pose.face(superellipse((0.012 * np.sign(scene.light.direction[0]), 0.128), 0.010, 0.009), 0.06)
    canvas.glaze(patch, canvas.soft(tip, blur=0.006), (1, 0.97, 0.92), 0.35)


def _beard_area(look: Look) -> list[np.ndarray]:
    """Outlines in the head frame; the lips and the nose are drawn over them."""
    drop = look.chin + 0.02 * look.mouth_open
    moustache = symmetric([(0, 0.193), (0.050, 0.196), (0.095, 0.225), (0.122, 0.275), (0.100, 0.282), (0.06, 0.252),
                           (0, 0.246)])
    goatee = symmetric([(0, 0.30), (0.05, 0.305), (0.095, 0.275), (0.125, 0.275), (0.128, 0.33), (0.095, 0.39 + drop),
                        (0.04, 0.43 + drop), (0, 0.435 + drop)])
    full = symmetric([(0, 0.215), (0.09, 0.215), (0.15, 0.225), (0.205, 0.12), (0.228, 0.00), (0.30, 0.00),
                      (0.30, 0.20), (0.22, 0.36), (0.12, 0.45), (0, 0.47)])
    return {"moustache": [moustache], "goatee": [moustache, goatee], "full": [moustache, full],
            "stubble": [moustache, full]}[look.beard]


def draw_beard(scene: Scene) -> None:
    """A beard, which is part of the class skin: colour that thins out at its edge, and hairs."""
    look, canvas, rng = scene.look, scene.canvas, scene.rng
    if not look.beard:
        return
    area = canvas.soft(*[look.pose.face(outline) for outline in _beard_area(look)], blur=0.007)
    patch = cut(scene.head, area)
    colour = palette.mix(look.hair * 0.8, look.skin, 0.1)
    canvas.paint(patch, scene.lit(patch, colour, 0.5),
                 opacity=0.35 if look.beard == "stubble" else 0.82)
    count = int(420 * canvas.fineness**1.5)
    root = np.stack([rng.uniform(-0.24, 0.24, count), rng.uniform(0.02, 0.44, count)], 1)
    way = np.stack([0.25 * root[:, 0], np.full(count, 0.022)], 1)
    way[:, 0] += rng.normal(0, 0.006, count)
    hairs = np.stack([look.pose.face(root + way * t) for t in (0.0, 0.5, 1.0)], 1)
    tone = draw_strands(canvas.size, patch, hairs, rng.uniform(-0.5, 0.5, count), 0.0035 / canvas.fineness)
    strength = 0.12 if look.beard == "stubble" else 0.28
    ratio = 1 + strength * tone[..., None]
    canvas.paint(patch, np.clip(canvas.picture[patch.rows, patch.cols] * ratio, 0, 1))
