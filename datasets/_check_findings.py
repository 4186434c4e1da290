"""What a check finds: a fault in a file, and the facts of one picture."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.blends import Blend

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Problem:
    """One fault. severity: 'error' (training stops or learns rubbish), 'warning' (look at it) or 'note' (it is no fault).

    kind: what faults of the same sort share, for grouping. message: one line 'file: what was found; what to do'.
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
    """What `examine` saw in a scene.

    counts: pixels by class id, (largest id + 1,) int64; None without a readable label map.
    sides: for each flip pair, -1 or +1 for the left one lying left or right of its partner, 0 where one is missing.
    blends: {role: Blend} of maps whose ids were scaled with interpolation.
    scaled: {role: (its size, the label map's)} of what shows the same view at another size.
    photo_mode: the photo file's mode; digest: of the photo file's bytes. Both '' without one.
    """

    problems: list[Problem] = field(default_factory=list)
    counts: np.ndarray | None = None
    sides: tuple[int, ...] = ()
    blends: dict[str, Blend] = field(default_factory=dict)
    scaled: dict[str, tuple] = field(default_factory=dict)
    photo_mode: str = ""
    digest: str = ""

    def add(self, severity: str, kind: str, message) -> None:
        """Note a problem."""
        self.problems.append(Problem(severity, kind, str(message)))
