"""Colours: RGB float arrays (3,) in 0..1, drawn so that every region varies on its own."""
from __future__ import annotations

import colorsys

import numpy as np

SKIN = np.array([(243, 208, 186), (238, 193, 162), (228, 176, 138), (205, 146, 104), (172, 114, 76),
                 (130, 84, 57), (92, 58, 42)]) / 255
HAIR = np.array([(30, 24, 24), (58, 38, 30), (96, 62, 42), (124, 58, 36), (140, 100, 62), (206, 166, 102),
                 (230, 211, 170), (192, 92, 44), (150, 150, 154), (220, 218, 214)]) / 255
HAIR_ODDS = np.array([0.16, 0.16, 0.14, 0.09, 0.10, 0.12, 0.06, 0.08, 0.05, 0.04])
IRIS = np.array([(88, 56, 32), (120, 82, 44), (128, 118, 60), (78, 130, 84), (74, 126, 172), (120, 150, 172),
                 (52, 34, 24)]) / 255
METAL = np.array([(226, 186, 92), (205, 208, 214), (214, 152, 122)]) / 255
LIPSTICK = np.array([(178, 32, 50), (206, 70, 92), (150, 40, 74), (222, 110, 96), (120, 44, 52)]) / 255


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour from hue, saturation and value, each 0..1; the hue wraps."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def any_colour(rng: np.random.Generator, saturation=(0.1, 0.8), value=(0.15, 0.95)) -> np.ndarray:
    """Any hue, with saturation and value within the ranges given."""
    return hsv(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def pick(rng: np.random.Generator, colours: np.ndarray, odds=None, spread: float = 0.03) -> np.ndarray:
    """One of `colours` (N, 3), a little off."""
    colour = colours[rng.choice(len(colours), p=odds)]
    return np.clip(colour * rng.uniform(1 - 2 * spread, 1 + 2 * spread) + rng.normal(0, spread / 2, 3), 0.02, 1)


def skin_tone(rng: np.random.Generator) -> np.ndarray:
    """A skin tone anywhere between very fair and very dark."""
    at = rng.beta(1.0, 1.5) * (len(SKIN) - 1)
    tone = np.array([np.interp(at, np.arange(len(SKIN)), SKIN[:, k]) for k in range(3)])
    return np.clip(tone * (1 + rng.normal(0, 0.015, 3)), 0.05, 1)


def hair_colour(rng: np.random.Generator) -> np.ndarray:
    """A natural hair colour, or for about one in five a dyed one."""
    if rng.random() < 0.2:
        return any_colour(rng, (0.4, 0.75), (0.4, 0.9))
    return pick(rng, HAIR, HAIR_ODDS)


def mix(a, b, share: float) -> np.ndarray:
    """`a` with `share` of it replaced by `b`."""
    return np.asarray(a) * (1 - share) + np.asarray(b) * share
