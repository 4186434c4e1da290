"""Hats: a beanie, a cap, or a hat with a brim."""
from __future__ import annotations

import numpy as np

from datasets.portraits import classes, palette
from datasets.portraits.canvas import Patch
from datasets.portraits.curves import ribbon, smooth, superellipse, symmetric
from datasets.portraits.scene import Scene


def _felt(scene: Scene, patch: Patch, colour: np.ndarray) -> np.ndarray:
    """A matt round shape over a patch, (h, w, 3), lit from the light's side."""
    h, w = patch.alpha.shape
    x = np.linspace(-1, 1, max(w, 1), dtype=np.float32)[None]
    y = np.linspace(-1, 1, max(h, 1), dtype=np.float32)[:, None]
    lx, ly = scene.light.direction[:2]
    shade = 0.95 + 0.30 * (lx * x + ly * y) - 0.22 * x**4
    return np.clip(shade[..., None] * np.asarray(colour, np.float32), 0, 1).astype(np.float32)


def _shadow(scene: Scene, outline: np.ndarray, strength: float = 0.6) -> None:
    head = scene.head
    drop = np.array([-0.02 * scene.light.direction[0], 0.028])
    scene.canvas.darken(head, scene.canvas.soft(outline + drop, blur=0.014), strength)


def _solid(scene: Scene, outline: np.ndarray, colour, within=None) -> Patch:
    patch = scene.canvas.cover(outline, within=within)
    scene.canvas.paint(patch, _felt(scene, patch, colour), classes.HAT)
    return patch


def _dome(scene: Scene, foot: float, height: float, wide: float, flat: float = 0.0) -> np.ndarray:
    """The crown of a hat that sits at y `foot`, `height` above it, as an outline in the image frame."""
    half = [(0, foot - height), (wide * (0.50 + 0.22 * flat), foot - height * (0.93 + 0.05 * flat)),
            (wide * (0.86 + 0.06 * flat), foot - height * (0.62 + 0.1 * flat)), (wide, foot - height * 0.22),
            (wide * 0.99, foot), (wide * 0.6, foot - 0.012), (0, foot - 0.018)]
    return scene.pose.head(symmetric(half), 0.02, keep_width=True)


def _beanie(scene: Scene, colour, second) -> None:
    rng, canvas, pose = scene.rng, scene.canvas, scene.pose
    foot, wide = rng.uniform(-0.185, -0.135), 0.272
    dome = _dome(scene, foot, rng.uniform(0.30, 0.36), wide)
    cuff = pose.head(symmetric([(0, foot - 0.105), (wide * 0.62, foot - 0.092), (wide * 1.0, foot - 0.062),
                                (wide * 1.035, foot + 0.018), (wide * 0.62, foot + 0.004), (0, foot - 0.006)]),
                     0.05, keep_width=True)
    _shadow(scene, cuff)
    if rng.random() < 0.4:
        top = pose.head([(0, foot - 0.36)], 0.0, keep_width=True)[0]
        _solid(scene, superellipse(top, 0.055 * pose.scale, 0.055 * pose.scale), second)
    ribs = []
    for x in np.linspace(-0.9, 0.9, 13):
        rib = smooth([(x * wide, foot), (x * wide * 0.95, foot - 0.15), (x * wide * 0.35, foot - 0.36)])
        ribs.append(ribbon(pose.head(rib, 0.03, keep_width=True), 0.006 * pose.scale))
    patch = _solid(scene, dome, colour)
    dark = (0.3, 0.3, 0.34)
    canvas.darken(patch, canvas.soft(*ribs, blur=0.004), 0.35, tint=dark)
    canvas.darken(patch, canvas.soft(cuff - (0, 0.012), blur=0.008), 0.5, tint=dark)
    patch = _solid(scene, cuff, palette.mix(colour, second, 0.25) * 1.04)
    canvas.darken(patch, canvas.soft(*ribs, blur=0.003), 0.30, tint=dark)


def _cap(scene: Scene, colour, second) -> None:
    rng, canvas, pose = scene.rng, scene.canvas, scene.pose
    foot, wide = rng.uniform(-0.180, -0.150), 0.264
    dome = _dome(scene, foot, rng.uniform(0.265, 0.300), wide)
    lift = 0.05 * np.sin(np.linspace(0, np.pi, 25))
    x = np.linspace(-1, 1, 25)
    upper = np.stack([0.222 * x, foot - 0.010 - 0.055 * (1 - x**2)], 1)
    lower = np.stack([0.262 * x, foot + 0.004 + 0.058 * (1 - np.abs(x) ** 2.5)], 1)
    visor = np.concatenate([pose.head(upper, 0.14, keep_width=True),
                            pose.head(lower[::-1], 0.20 + lift, keep_width=True)])
    _shadow(scene, visor, 0.75)
    patch = _solid(scene, dome, colour)
    seams = [ribbon(pose.head(smooth([(k * 0.10, foot - 0.03), (k * 0.085, foot - 0.18), (0, foot - 0.30)]), 0.10,
                              keep_width=True), 0.004) for k in (-1, 1)]
    canvas.darken(patch, canvas.soft(*seams, blur=0.002), 0.5, tint=(0.3, 0.3, 0.34))
    if rng.random() < 0.6:
        badge = superellipse(pose.head([(0, foot - 0.150)], 0.16, keep_width=True)[0], 0.042 * pose.scale,
                             0.036 * pose.scale, rng.choice([2.0, 4.0]))
        canvas.paint(canvas.cover(badge), second)
    canvas.darken(patch, canvas.soft(ribbon(visor[:25], 0.03 * pose.scale), blur=0.008), 0.6, tint=(0.3, 0.3, 0.34))
    patch = _solid(scene, visor, palette.mix(colour, second, rng.choice([0.0, 0.85])) * 0.78)
    edge = ribbon(pose.head(lower, 0.20 + lift, keep_width=True), 0.012)
    canvas.glaze(patch, canvas.soft(edge, blur=0.003), (1, 1, 1), 0.28)


def _brim(scene: Scene, colour, second) -> None:
    rng, canvas, pose = scene.rng, scene.canvas, scene.pose
    foot, wide = rng.uniform(-0.185, -0.150), 0.262
    reach = rng.uniform(0.38, 0.45)
    brim = pose.head(superellipse((0, foot + 0.008), reach, rng.uniform(0.060, 0.085), 2.1, count=64), 0.07,
                     keep_width=True)
    dome = _dome(scene, foot - 0.01, rng.uniform(0.29, 0.33), wide, flat=1.0)
    band_line = pose.head(smooth([(-wide * 1.1, foot - 0.040), (0, foot - 0.024), (wide * 1.1, foot - 0.040)]), 0.05,
                          keep_width=True)
    _shadow(scene, brim, 0.8)
    patch = _solid(scene, brim, colour * 0.90)
    canvas.darken(patch, canvas.soft(dome, blur=0.012), 0.45, tint=(0.3, 0.3, 0.34))
    patch = _solid(scene, dome, colour)
    dent = pose.head(superellipse((0, foot - 0.29), 0.10, 0.03), 0.03, keep_width=True)
    canvas.darken(patch, canvas.soft(dent, blur=0.014), 0.4, tint=(0.3, 0.3, 0.34))
    _solid(scene, ribbon(band_line, 0.052 * pose.scale), second, within=dome)


def draw_hat(scene: Scene) -> None:
    """The hat, over everything else on the head."""
    if not scene.look.hat:
        return
    colour = palette.any_colour(scene.rng, (0.05, 0.8), (0.18, 0.92))
    second = palette.mix(colour * 0.5, palette.any_colour(scene.rng), 0.6)
    {"beanie": _beanie, "cap": _cap, "brim": _brim}[scene.look.hat](scene, colour, second)
