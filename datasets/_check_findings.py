"""The findings of a check: problems, and statistics of one scene."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.blends import Blend

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Problem:
    """A finding. severity: 'error' (training fails or learns wrong things), 'warning' (to be looked at) or 'note' (no fault).

    kind: the heading under which it is grouped. message: one line 'file: what was found; what to do'.
    """

    severity: str
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}"


@dataclass(frozen=True)
class Scene:
    """The files of one picture by role ('label', 'img', 'inst'; 'A', 'B' where the input is a picture too)."""

    phase: str
    key: str
    files: dict[str, Path]


@dataclass
class Facts:
    """What `examine` found in a scene.

    counts: pixels by class id, (largest id + 1,) int64; None without a readable label map.
    sides: for each flip pair, -1 or +1 if the left one lies left or right of its partner, 0 if one is missing.
    blends: {role: Blend} of maps that were resized with interpolation.
    scaled: {role: (its size, the label map's)} of files with the same aspect ratio but another size.
    photo_mode: Pillow's mode of the photo; digest: a hash of the photo file's bytes. Both '' without a photo.
    """

    problems: list[Problem] = field(default_factory=list)
    counts: np.ndarray | None = None
    sides: tuple[int, ...] = ()
    blends: dict[str, Blend] = field(default_factory=dict)
    scaled: dict[str, tuple] = field(default_factory=dict)
    photo_mode: str = ""
    digest: str = ""

    def add(self, severity: str, kind: str, message) -> None:
        """Add a problem."""
        self.problems.append(Problem(severity, kind, str(message)))
