"""The traits of the person: all random choices on which more than one part of the picture depends."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.portraits import palette
from datasets.portraits.pose import Pose

HATS = ("beanie", "cap", "brim")
STYLES = ("short", "quiff", "buzz", "curly", "bob", "long", "wavy", "bun", "afro", "receding", "bald")
FEMININE_ODDS = np.array([0.07, 0.02, 0.02, 0.11, 0.20, 0.20, 0.18, 0.12, 0.06, 0.01, 0.01])
MASCULINE_ODDS = np.array([0.27, 0.17, 0.10, 0.10, 0.03, 0.05, 0.05, 0.02, 0.05, 0.09, 0.07])
FRINGES = ("none", "swept", "blunt")


@dataclass(frozen=True)
class Look:
    """Traits of one person; lengths are in the head frame, shares and amounts in 0..1 unless said."""

    pose: Pose
    feminine: float
    age: float
    width: float  # of the face, about 1
    jaw: float  # 0 narrow .. 1 square
    chin: float  # added length of the chin
    eye_size: float  # about 1
    eye_tilt: float
    nose_width: float  # about 1
    mouth_width: float  # about 1
    lip_fullness: float  # about 1
    smile: float  # -0.6 frown .. 1
    mouth_open: float  # 0 closed .. 1
    brow_raise: float  # -1 .. 1
    squint: float
    gaze: tuple[float, float]  # -1 .. 1 each way
    skin: np.ndarray
    hair: np.ndarray
    style: str
    fringe: str
    part: float  # where the hair parts, in head frame x
    tucked: bool  # long hair behind the ears, not over them
    beard: str  # "", "stubble", "moustache", "goatee" or "full"
    makeup: bool
    glasses: str  # "", "clear" or "sun"
    hat: str  # "" or one of HATS
    earrings: bool
    necklace: bool

    @property
    def hides_ears(self) -> bool:
        """Whether hair falls over the ears."""
        return self.style in ("bob", "long", "wavy") and not self.tucked


def _sample_pose(rng: np.random.Generator) -> Pose:
    yaw = np.clip(rng.normal(0, 0.20), -0.42, 0.42)
    centre = (0.5 + rng.normal(0, 0.02) - 0.05 * yaw, 0.445 + rng.normal(0, 0.014))
    return Pose(yaw, np.clip(rng.normal(0, 0.08), -0.17, 0.17), np.clip(rng.normal(0, 0.07), -0.17, 0.17),
                rng.uniform(0.84, 1.0), centre)


def _sample_beard(rng: np.random.Generator, feminine: float) -> str:
    if feminine > 0.5 or rng.random() < 0.45:
        return ""
    return str(rng.choice(["stubble", "moustache", "goatee", "full"], p=[0.35, 0.15, 0.2, 0.3]))


def sample_look(rng: np.random.Generator) -> Look:
    """Draw the traits of a person."""
    female = rng.random() < 0.52
    feminine = np.clip(rng.normal(0.82 if female else 0.18, 0.12), 0, 1)
    age = rng.beta(1.3, 2.4)
    hair = palette.hair_colour(rng)
    mouth_open = rng.uniform(0.25, 1.0) if rng.random() < 0.36 else 0.0
    earrings = bool(rng.random() < (0.48 if female else 0.10))
    if age > 0.62:
        hair = palette.mix(hair, (0.72, 0.72, 0.73), rng.uniform(0.4, 0.9))
    style = str(rng.choice(STYLES, p=FEMININE_ODDS if female else MASCULINE_ODDS))
    hat = str(rng.choice(HATS)) if rng.random() < (0.05 if style in ("bun", "quiff", "afro") else 0.19) else ""
    can_fringe = style in ("short", "bob", "long", "wavy", "bun") and not hat
    return Look(
        pose=_sample_pose(rng), feminine=feminine, age=age,
        width=rng.normal(1.0 - 0.02 * feminine, 0.03), jaw=np.clip(rng.normal(0.75 - 0.55 * feminine, 0.2), 0, 1),
        chin=rng.normal(0.006 - 0.016 * feminine, 0.01),
        eye_size=np.clip(rng.normal(1.06 + 0.13 * feminine, 0.07), 0.9, 1.3), eye_tilt=rng.normal(0.004, 0.005),
        nose_width=np.clip(rng.normal(1.06 - 0.16 * feminine, 0.1), 0.75, 1.3),
        mouth_width=np.clip(rng.normal(1.0, 0.07), 0.85, 1.15),
        lip_fullness=np.clip(rng.normal(0.85 + 0.3 * feminine, 0.15), 0.6, 1.4),
        smile=np.clip(rng.normal(0.35, 0.45), -0.1 if mouth_open else -0.6, 1.0), mouth_open=mouth_open,
        brow_raise=np.clip(rng.normal(0, 0.45), -1, 1), squint=rng.beta(1.2, 4),
        gaze=(float(np.clip(rng.normal(0, 0.4), -1, 1)), float(np.clip(rng.normal(0, 0.25), -0.6, 0.6))),
        skin=palette.skin_tone(rng), hair=hair, style=style,
        fringe=str(rng.choice(FRINGES, p=[0.4, 0.35, 0.25])) if can_fringe else "none",
        part=rng.uniform(-0.11, 0.11), tucked=bool(earrings or rng.random() < 0.3),
        beard=_sample_beard(rng, feminine), makeup=bool(female and rng.random() < 0.6),
        glasses=str(rng.choice(["clear", "sun"], p=[0.8, 0.2])) if rng.random() < 0.25 else "", hat=hat,
        earrings=earrings,
        necklace=bool(rng.random() < (0.42 if female else 0.12)))
