"""The attributes of the faces that a network was last trained on, from which conditions for new faces are drawn."""
from __future__ import annotations

import numpy as np
import torch
from torch import nn

COUNT = 512


class SeenAttributes(nn.Module):
    """The last COUNT rows, as a buffer that is saved with the weights: which attributes go together no mean of each tells."""

    def __init__(self, attributes: int):
        super().__init__()
        self.register_buffer("rows", torch.empty(COUNT, attributes))
        self.register_buffer("total", torch.empty((), dtype=torch.int64))

    def reset_parameters(self):
        """None seen."""
        self.rows.zero_()
        self.total.zero_()

    @torch.no_grad()
    def add(self, rows: torch.Tensor) -> None:
        """Take in a batch's rows (N, A)."""
        at = (self.total + torch.arange(len(rows), device=rows.device)) % COUNT
        self.rows[at] = rows
        self.total += len(rows)

    def known(self) -> torch.Tensor:
        """(n, A): the rows; one of zeros where none has been seen."""
        return self.rows[:max(1, min(COUNT, int(self.total)))]

    def draw(self, random: np.random.Generator) -> torch.Tensor:
        """(A,): one of them."""
        rows = self.known()
        return rows[int(random.integers(len(rows)))]
