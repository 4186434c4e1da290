"""Published weights: from a given file, torch's cache, or a download."""
from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import torch

from util.checkpoint import read_tensors
from util.errors import UserError

_TIMEOUT = 10  # seconds


@dataclass(frozen=True)
class Published:
    """The weights of a published network.

    name: of the network. form: a description of its file. flag: by which a file can be given. url: of the download; a hash in
    its name is checked. shapes: {tensor: shape} by which the network is recognised. also: other names of the file in the cache.
    """

    name: str
    form: str
    flag: str
    url: str
    shapes: dict[str, tuple[int, ...]]
    also: tuple[str, ...] = ()

    def find(self, path: str = "") -> tuple[dict | None, str]:
        """Load the state dict from `path`, torch's cache, or a download: (state dict, "") or (None, the reason).

        Raises UserError if `path` is given and is missing, broken, or of another network.
        """
        if path and not Path(path).is_file():
            raise UserError(f"{self.flag} {path}: there is no such file; it is {self.form}")
        file, reason = (Path(path), "") if path else self._cached_or_downloaded()
        return (self._read(file), "") if file else (None, reason)

    def _read(self, file: Path) -> dict:
        state = read_tensors(file)
        if any(getattr(state.get(key), "shape", None) != shape for key, shape in self.shapes.items()):
            raise UserError(f"{file}: does not hold {self.name}; give {self.form} to {self.flag}")
        return state

    def _cached_or_downloaded(self) -> tuple[Path | None, str]:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        for name in (os.path.basename(self.url), *self.also):
            if (folder / name).is_file():
                return folder / name, ""
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            torch.hub.load_state_dict_from_url(self.url, map_location="cpu", weights_only=True, check_hash=True)
        except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a wrong hash is a RuntimeError
            reason = " ".join(str(getattr(error, "reason", None) or error).split())[:120]
            return None, f"they are not in {folder} and cannot be downloaded ({reason})"
        finally:
            socket.setdefaulttimeout(timeout)
        return folder / os.path.basename(self.url), ""
