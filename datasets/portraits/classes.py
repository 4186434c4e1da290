"""The 19 classes of CelebAMask-HQ, in the order of their ids."""
from __future__ import annotations

NAMES = ("background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
         "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth")

(BACKGROUND, SKIN, NOSE, GLASSES, L_EYE, R_EYE, L_BROW, R_BROW, L_EAR, R_EAR,
 MOUTH, UPPER_LIP, LOWER_LIP, HAIR, HAT, EARRING, NECKLACE, NECK, CLOTH) = range(len(NAMES))

# Ids that trade places when a picture is mirrored.
FLIP_PAIRS = ((L_EYE, R_EYE), (L_BROW, R_BROW), (L_EAR, R_EAR))


def eye(side: int) -> int:
    """Id of the eye on a side of the picture: +1 is the viewer's right, which is the person's own left."""
    return L_EYE if side > 0 else R_EYE


def brow(side: int) -> int:
    """Id of the brow on a side of the picture: +1 is the viewer's right, the person's own left."""
    return L_BROW if side > 0 else R_BROW


def ear(side: int) -> int:
    """Id of the ear on a side of the picture: +1 is the viewer's right, the person's own left."""
    return L_EAR if side > 0 else R_EAR
