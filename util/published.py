"""Weights that others publish: from a file the user gave, else torch's cache, else by a download that fails kindly."""
from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import torch

from util.checkpoint import read_tensors
from util.errors import UserError

_PATIENCE = 10  # seconds that a silent server is given


@dataclass(frozen=True)
class Published:
    """A published network.

    name: the network. form: what its file is. flag: what names a file of it. url: where it is published; a hash in its
    name is checked. shapes: {tensor: shape} that tell it from other networks. also: names of the same file at other places.
    """

    name: str
    form: str
    flag: str
    url: str
    shapes: dict[str, tuple[int, ...]]
    also: tuple[str, ...] = ()

    def find(self, path: str = "") -> tuple[dict | None, str]:
        """Its state dict: from `path`, else torch's cache, else a download: (state dict, "") or (None, why there is none).

        Raises UserError for a file that is missing, broken, or another network's.
        """
        if path and not Path(path).is_file():
            raise UserError(f"{self.flag} {path}: there is no such file; it is {self.form}")
        file, reason = (Path(path), "") if path else self._cached_or_fetched()
        return (self._read(file), "") if file else (None, reason)

    def _read(self, file: Path) -> dict:
        state = read_tensors(file)
        if any(getattr(state.get(key), "shape", None) != shape for key, shape in self.shapes.items()):
            raise UserError(f"{file}: does not hold {self.name}; give {self.form} to {self.flag}")
        return state

    def _cached_or_fetched(self) -> tuple[Path | None, str]:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        for name in (os.path.basename(self.url), *self.also):
            if (folder / name).is_file():
                return folder / name, ""
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_PATIENCE)
        try:
            torch.hub.load_state_dict_from_url(self.url, map_location="cpu", weights_only=True, check_hash=True)
        except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a wrong hash is a RuntimeError
            reason = " ".join(str(getattr(error, "reason", None) or error).split())[:120]
            return None, f"they are not in {folder} and cannot be downloaded ({reason})"
        finally:
            socket.setdefaulttimeout(patience)
        return folder / os.path.basename(self.url), ""
