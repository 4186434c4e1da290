"""One portrait, drawn back to front."""
from __future__ import annotations

import cv2
import numpy as np

from datasets.portraits.background import draw_background
from datasets.portraits.body import draw_clothes, draw_neck
from datasets.portraits.canvas import Canvas
from datasets.portraits.eyes import draw_brows, draw_eyes
from datasets.portraits.face import draw_beard, draw_ears, draw_head, draw_nose
from datasets.portraits.glasses import draw_glasses
from datasets.portraits.hair import draw_back_hair, draw_front_hair
from datasets.portraits.hats import draw_hat
from datasets.portraits.jewellery import draw_earrings, draw_necklace
from datasets.portraits.light import light_head, sample_light
from datasets.portraits.look import Look, sample_look
from datasets.portraits.mouth import draw_mouth
from datasets.portraits.scene import Scene

LEAST = 128  # smaller portraits are drawn at an odd multiple of their size and reduced

# What is drawn later hides what was drawn before, in the picture and in the labels alike.
PARTS = (draw_back_hair, draw_neck, draw_clothes, draw_necklace, draw_ears, draw_earrings, draw_head, draw_beard,
         draw_nose, draw_mouth, draw_eyes, draw_brows, draw_glasses, draw_front_hair, draw_hat)
OF_THE_PERSON = (draw_beard, draw_eyes, draw_brows)  # what chance adds to these is the same on every occasion


def draw_portrait(rng: np.random.Generator, size: int, look: Look | None = None,
                  person: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A random portrait: its picture (size, size, 3) uint8 RGB and its labels (size, size) uint8, 0..18.

    look: its traits; default: random. person: the generator for the parts OF_THE_PERSON, alike for all portraits of one person.
    A pixel's label is the class of what was last drawn over the pixel's centre.
    """
    times = 1
    while size * times < LEAST:
        times += 2
    canvas = Canvas(size * times)
    look, light = look or sample_look(rng), sample_light(rng)
    diffuse, gloss = light_head(look.pose, light, canvas.size)
    draw_background(canvas, rng)
    scene = Scene(canvas, look, light, diffuse, gloss, rng)
    chance = dict(zip(PARTS, rng.spawn(len(PARTS))))
    if person is not None:
        chance.update(zip(OF_THE_PERSON, person.spawn(len(OF_THE_PERSON))))
    for draw, scene.rng in chance.items():
        draw(scene)
    picture = canvas.picture
    if times > 1:
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    picture = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return picture, np.ascontiguousarray(canvas.labels[times // 2::times, times // 2::times])
