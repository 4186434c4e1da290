"""Hair: sheets filled with the hair's colour, and strands that follow their curves."""
from __future__ import annotations

import numpy as np

from datasets.portraits import classes, palette
from datasets.portraits.canvas import Patch
from datasets.portraits.curves import smooth, superellipse, tufts
from datasets.portraits.hairstyles import (
    back_sheet,
    crown_sheet,
    fringe_sheet,
    length_of,
    side_sheet,
)
from datasets.portraits.scene import Scene
from datasets.portraits.strands import between, curls, draw_strands

CURLY = ("curly", "afro")
LONG = ("bob", "long", "wavy")
POINTS = 40  # around a bun
STRANDS = 100  # in a sheet of hair at 256 pixels, for each half
CURL = 0.024  # radius of the tufts at the edge of curly hair


def _project(scene: Scene, sheet: np.ndarray) -> np.ndarray:
    """A sheet (K, P, 3) of the head frame as curves (K, P, 2) of the image frame."""
    flat = sheet.reshape(-1, 3)
    return scene.pose.head(flat[:, :2], flat[:, 2], keep_width=True).reshape(*sheet.shape[:2], 2)


def _outline(curves: np.ndarray, rng: np.random.Generator, ragged: float) -> np.ndarray:
    """The closed edge of curves (K, P, 2); the tips end `ragged` further or nearer."""
    per = 10
    tips, roots = smooth(curves[:, -1], per), smooth(curves[:, 0], per)
    way = smooth(curves[:, -1] - curves[:, -4], per)
    way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
    jag = rng.uniform(-1, 1, len(tips)) * ragged
    jag[[0, -1]] = 0
    return np.concatenate([curves[0], tips + way * jag[:, None], curves[-1][::-1], roots[::-1]])


def _shine(scene: Scene, patch: Patch) -> np.ndarray:
    """A band of light around the crown, (h, w) float32 0..1."""
    size, pose = scene.canvas.size, scene.pose
    y, x = np.mgrid[patch.rows, patch.cols].astype(np.float32)
    inverse = np.linalg.inv(np.vstack([pose.placing(), [0, 0, 1]]))[:2].astype(np.float32)
    x, y = (x + 0.5) / size, (y + 0.5) / size
    hx, hy = (row[0] * x + row[1] * y + row[2] for row in inverse)
    lx = float(scene.light.direction[0])
    ring = np.hypot((hx - 0.04 * lx) / 0.27, (hy + 0.05) / 0.40)
    return np.exp(-(((ring - 0.86) / 0.085) ** 2)) * np.clip(0.65 - 0.35 * hy / 0.4 + 2.4 * lx * hx, 0, 1.2)


def _fill(scene: Scene, outlines: list[np.ndarray], strands: np.ndarray, depth: float, contrast: float = 0.26) -> None:
    """Paint the union of outlines as hair; `depth` 0..1 is the light that reaches it."""
    canvas, colour = scene.canvas, scene.look.hair
    patch = canvas.cover(*outlines)
    tones = np.clip(_texture(scene).normal(0, 0.5, len(strands)), -1, 1)
    tone = draw_strands(canvas.size, patch, strands, tones, width=0.0048 / canvas.fineness**0.7)
    light = 1 + 0.75 * (np.clip(scene.diffuse[patch.rows, patch.cols], 0.55, 1.15) - 1)
    shine = _shine(scene, patch) * depth * (0.12 if scene.look.style in CURLY else 0.40)
    value = light * depth * (1 + contrast * tone) + shine * (0.7 + 0.6 * tone)
    painted = value[..., None] * np.asarray(colour, np.float32) + (shine * (0.7 + 0.6 * tone) * 0.16)[..., None]
    canvas.paint(patch, np.clip(painted, 0, 1), classes.HAIR)


def _texture(scene: Scene) -> np.random.Generator:
    """A separate generator for strands: their number depends on the picture's size, on which nothing else may depend."""
    return scene.rng.spawn(1)[0]


def _draw_sheet(scene: Scene, sheet: np.ndarray, depth: float = 1.0, ragged: float = 0.012,
                shadow: float = 0.0) -> None:
    """Outline, fill and strands of one sheet; `shadow` is how much it darkens the face below it."""
    look, rng = scene.look, scene.rng
    curves = _project(scene, sheet)
    outline = _outline(curves, rng, ragged * scene.pose.scale)
    if shadow:
        drop = np.array([-0.014 * scene.light.direction[0], 0.016])
        scene.canvas.darken(scene.head, scene.canvas.soft(outline + drop, blur=0.012), shadow)
    if look.style in CURLY:
        _fill_curly(scene, outline, depth)
        return
    wave = {"wavy": 0.020, "bob": 0.004, "long": 0.006}.get(look.style, 0.002)
    each, texture = int(2 * STRANDS * scene.canvas.fineness / (len(curves) - 1)), _texture(scene)
    strands = np.concatenate([between(a, b, each, texture, wave) for a, b in zip(curves, curves[1:])])
    _fill(scene, [outline], strands, depth)


def _fill_curly(scene: Scene, outline: np.ndarray, depth: float) -> None:
    """Paint an outline as a mass of curls."""
    outlines = [outline, *tufts(outline, scene.rng, CURL * scene.pose.scale)]
    count = int(6 * STRANDS * scene.canvas.fineness)
    _fill(scene, outlines, curls(outline, count, CURL * 0.6, _texture(scene)), depth)


def hair_end(scene: Scene) -> float:
    """Where this person's hair ends below, y in the head frame; the same for its front and its back."""
    return length_of(scene.look, np.random.default_rng(int(abs(scene.look.part) * 1e6)))


def draw_back_hair(scene: Scene) -> None:
    """Hair behind head and neck: long hair, a bun, the outline of an afro."""
    look, rng = scene.look, scene.rng
    if look.style in LONG:
        _draw_sheet(scene, back_sheet(look, hair_end(scene)), depth=0.62, ragged=0.03)
    elif look.style in CURLY and look.hat:  # all of it below the hat
        ball = scene.pose.head(superellipse((0, 0.015), 0.305, 0.195, count=90), -0.06, keep_width=True)
        _fill_curly(scene, ball, 0.85)
    elif look.style == "afro":
        volume = rng.uniform(0.08, 0.14)
        ball = scene.pose.head(superellipse((0, -0.09), 0.25 + volume, 0.30 + volume, count=90), -0.06, keep_width=True)
        _fill_curly(scene, ball, 0.92)
    elif look.style == "curly":
        ball = scene.pose.head(superellipse((0, -0.06), 0.285, 0.27, count=90), -0.06, keep_width=True)
        _fill_curly(scene, ball, 0.82)
    elif look.style == "bun" and not look.hat:
        radius = rng.uniform(0.085, 0.125)
        middle = np.array([rng.uniform(-0.05, 0.05), -0.40 - 0.55 * radius])
        rings = [superellipse(middle, radius * r, radius * r * 0.92, count=POINTS) for r in np.linspace(0.12, 0.98, 40)]
        rings = np.stack([scene.pose.head(np.roll(ring, rng.integers(POINTS), 0)[:-8], -0.10, keep_width=True)
                          for ring in rings])
        ball = scene.pose.head(superellipse(middle, radius, radius * 0.92), -0.10, keep_width=True)
        _fill(scene, [ball], rings, 0.88)


def draw_front_hair(scene: Scene) -> None:
    """Hair over forehead, temples and shoulders."""
    look, rng = scene.look, scene.rng
    if look.style == "bald":
        return
    if look.style == "buzz":
        _draw_buzz(scene)
        return
    end = hair_end(scene)
    for side in (1, -1) if look.part > 0 else (-1, 1):
        _draw_sheet(scene, side_sheet(look, side, end, rng), shadow=0.45,
                    ragged=0.03 if look.style in LONG else 0.008)
    if look.style == "quiff" and not look.hat:
        _draw_sheet(scene, crown_sheet(look, rng), shadow=0.35, ragged=0.016)
    fringe = fringe_sheet(look, rng)
    if fringe is not None:
        _draw_sheet(scene, fringe, shadow=0.5, ragged=0.02)


def _draw_buzz(scene: Scene) -> None:
    """Very short hair: a shade of the skin with stubble for strands."""
    look, rng = scene.look, scene.rng
    sheets = [_project(scene, side_sheet(look, side, 0.0, rng)) for side in (-1, 1)]
    count, texture = int(900 * scene.canvas.fineness**2), _texture(scene)
    spots = texture.uniform((-0.27, -0.42), (0.27, 0.06), (count, 2))
    dots = np.stack([scene.pose.head(spots + (0, 0.004 * k), 0.05, keep_width=True) for k in (0, 1)], 1)
    shorn = palette.mix(look.hair, look.skin * 0.7, 0.25)
    for sheet in sheets:
        patch = scene.canvas.cover(_outline(sheet, rng, 0.004))
        tones, width = texture.uniform(-1, 1, count), 0.0035 / scene.canvas.fineness
        tone = draw_strands(scene.canvas.size, patch, dots, tones, width)
        scene.canvas.paint(patch, scene.lit(patch, shorn, 0.9) * (1 + 0.18 * tone[..., None]), classes.HAIR)
