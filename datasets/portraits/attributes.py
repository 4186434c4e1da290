"""The attributes of a portrait by CelebA's names: what its picture shows, not only what its traits say."""
from __future__ import annotations

import colorsys

import numpy as np

from datasets.portraits import classes
from datasets.portraits.look import Look

ATTRIBUTES = ("Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Eyeglasses", "Gray_Hair", "Mouth_Slightly_Open",
              "No_Beard", "Pale_Skin", "Smiling", "Wearing_Earrings", "Wearing_Hat", "Wearing_Necklace")
_LEAST_HAIR, _LEAST_JEWEL = 0.01, 0.0005  # shares of the picture from which on hair has a colour, and jewellery is seen
_SMILE = 0.35
_PALE = 0.79  # luma of the skin's colour


def attributes_of(look: Look, labels: np.ndarray) -> dict[str, int]:
    """{name of ATTRIBUTES: 1 or 0}. labels: (H, W) ids of the portrait, by which what is hidden counts as absent."""
    share = np.bincount(labels.ravel(), minlength=classes.CLOTH + 1) / labels.size
    shown = hair_colour_name(look.hair) if share[classes.HAIR] >= _LEAST_HAIR else ""
    found = {"Bald": look.style == "bald" and not look.hat, "Bangs": look.fringe != "none", "Eyeglasses": look.glasses != "",
             "Mouth_Slightly_Open": look.mouth_open > 0, "No_Beard": look.beard == "",
             "Pale_Skin": float(look.skin @ (0.299, 0.587, 0.114)) > _PALE, "Smiling": look.smile > _SMILE,
             "Wearing_Earrings": share[classes.EARRING] >= _LEAST_JEWEL, "Wearing_Hat": look.hat != "",
             "Wearing_Necklace": share[classes.NECKLACE] >= _LEAST_JEWEL}
    colours = {f"{name}_Hair": name == shown for name in ("Black", "Blond", "Brown", "Gray")}
    return {name: int({**found, **colours}[name]) for name in ATTRIBUTES}


def hair_colour_name(colour: np.ndarray) -> str:
    """'Black', 'Blond', 'Brown' or 'Gray' of an RGB colour in 0..1; '' for red and dyed hair, which CelebA has no name for."""
    hue, saturation, value = colorsys.rgb_to_hsv(*map(float, colour))
    if value < 0.17:
        return "Black"
    if saturation < 0.15:
        return "Gray" if value > 0.33 else "Black"
    if not 8 <= hue * 360 <= 60:
        return ""
    if value >= 0.7:
        return "Blond" if saturation < 0.65 else ""
    return "Brown"
