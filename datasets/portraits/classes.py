"""The 19 classes of CelebAMask-HQ, in the order of their ids."""
from __future__ import annotations

from data.dataset_spec import CELEBAMASK_HQ

(BACKGROUND, SKIN, NOSE, GLASSES, L_EYE, R_EYE, L_BROW, R_BROW, L_EAR, R_EAR,
 MOUTH, UPPER_LIP, LOWER_LIP, HAIR, HAT, EARRING, NECKLACE, NECK, CLOTH) = range(len(CELEBAMASK_HQ))


def eye(side: int) -> int:
    """Id of the eye on a side of the picture: +1 is the viewer's right, which is the person's own left."""
    return L_EYE if side > 0 else R_EYE


def brow(side: int) -> int:
    """Id of the brow on a side of the picture: +1 is the viewer's right, the person's own left."""
    return L_BROW if side > 0 else R_BROW


def ear(side: int) -> int:
    """Id of the ear on a side of the picture: +1 is the viewer's right, the person's own left."""
    return L_EAR if side > 0 else R_EAR
