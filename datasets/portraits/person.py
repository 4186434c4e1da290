"""One person on several occasions: what stays the same, and the points by which faces are aligned."""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from datasets.portraits.eyes import EYE_X
from datasets.portraits.look import Look, sample_look

# bones, age, colours of skin and hair, beard; pose, expression, hairstyle and what is worn are the occasion's
OWN = ("feminine", "age", "width", "jaw", "chin", "eye_size", "eye_tilt", "nose_width", "mouth_width", "lip_fullness", "skin",
       "hair", "beard")
EXPRESSIONS = ("yaw", "pitch", "roll", "smile", "mouth_open", "brow_raise", "squint", "gaze_x", "gaze_y")


def on_occasion(person: Look, rng: np.random.Generator) -> Look:
    """A person as on another day: the traits that change come from somebody else of the same sex."""
    other = sample_look(rng)
    while (other.feminine > 0.5) != (person.feminine > 0.5):
        other = sample_look(rng)
    return replace(other, **{name: getattr(person, name) for name in OWN})


def landmarks_of(look: Look) -> np.ndarray:
    """(5, 2) in the image frame: eyes, tip of the nose, corners of the mouth, as of `data.face_alignment.TEMPLATE`."""
    across, down = 0.098 * look.mouth_width * (1 + 0.16 * look.smile), 0.262 - 0.030 * look.smile
    face = look.pose.face([(-EYE_X, 0), (EYE_X, 0), (-across, down), (across, down)])
    return np.concatenate([face[:2], look.pose.face([(0, 0.140)], 0.06), face[2:]])


def expression_of(look: Look) -> dict[str, float]:
    """{name: value} of EXPRESSIONS: the head's angles in radians, and what the face does, as `Look` says."""
    pose = look.pose
    values = (pose.yaw, pose.pitch, pose.roll, look.smile, look.mouth_open, look.brow_raise, look.squint, *look.gaze)
    return dict(zip(EXPRESSIONS, values, strict=True))
