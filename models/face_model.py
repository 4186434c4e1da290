"""What models that draw faces with attributes share: which are asked for, what chance gives, and the faces with one turned."""
from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch

from data.attributes_dataset import chosen, vector_of
from models.base_model import BaseModel
from models.sampling_flags import asked
from util.util import tensor2im

# attributes of which a face has one at most: whoever gets one loses the others
EXCLUSIVE = (("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald"),)


def rivals(name: str) -> tuple[str, ...]:
    """The attributes that exclude `name`."""
    return tuple(other for family in EXCLUSIVE if name in family for other in family if other != name)


def turned(vector: torch.Tensor, names: list[str], name: str, value: float) -> torch.Tensor:
    """A vector (A,) with attribute `name` at 1 or 0; where it is 1, those that it excludes are 0."""
    vector = vector.clone()
    vector[names.index(name)] = value
    for other in rivals(name) if value else ():
        if other in names:
            vector[names.index(other)] = 0
    return vector


class FaceModel(BaseModel):
    """A model of --dataset_mode attributes whose `draw` makes faces of z and attributes. names: of those it is conditioned on.

    A subclass has `seen`, the SeenAttributes of the network that draws, or None.
    """

    abilities = frozenset({"attributes"})
    dataset_mode = "attributes"
    seen = None

    def __init__(self, opt):
        super().__init__(opt)
        self.names = chosen(opt) if opt.condition != "none" else []

    def start_training(self):
        """Prepare for training. Weights lie channels last, which makes a step of small networks faster."""
        self.nets.to(memory_format=torch.channels_last)
        super().start_training()

    def prepare(self, batch):
        """Photos and, on a condition, their attributes on the device; drawn faces are asked to have these as well."""
        self.image = batch["image"].to(self.device, non_blocking=True)
        self.attributes = batch["attributes"].to(self.device, non_blocking=True) if self.names else None
        if self.names and self.training:
            self.seen().add(self.attributes)

    def weights_hint(self, name, state):
        """The flags that a network's state dict was made with."""
        found = self.flags_of_weights({name: state})
        return found and "its shapes say " + " ".join(f"--{key} {value}" for key, value in found.items()) + \
            "; --loadSize and --attributes must be those of its training, too"

    @abstractmethod
    def draw(self, z: torch.Tensor, attributes: torch.Tensor | None) -> torch.Tensor:
        """(N, z_dim), (N, A) or None -> float32 (N, C, S, S) in [-1, 1], in the precision that the flags ask for."""

    # what is drawn of

    def noise(self, numbers, seed: int | None = None) -> torch.Tensor:
        """(N, z_dim) from N(0, I), each row by --seed and its number alone."""
        seed = self.opt.seed if seed is None else seed
        rows = [np.random.default_rng((seed, int(number))).standard_normal(self.opt.z_dim) for number in numbers]
        return torch.from_numpy(np.stack(rows).astype(np.float32)).to(self.device)

    def conditions(self, batch, settings: dict | None = None, seed: int | None = None) -> torch.Tensor | None:
        """(N, A): the attributes of the batch or, where it has none, of faces like those trained on; None without condition.

        settings: {attribute: 1 or 0} of all faces, whatever theirs are.
        """
        if not self.names:
            return None
        seed = self.opt.seed if seed is None else seed
        rows = [row if torch.is_tensor(row) else self.seen().draw(np.random.default_rng((seed, 1, int(number))))
                for row, number in zip(batch["attributes"], batch["number"])]
        return self.with_settings(torch.stack([row.to(self.device) for row in rows]), settings or {})

    def with_settings(self, rows: torch.Tensor, settings: dict) -> torch.Tensor:
        """Rows (N, A) with these attributes turned. Raises UserError for those that it does not know."""
        vector_of(settings, self.names)
        for name, value in settings.items():
            rows = torch.stack([turned(row, self.names, name, value) for row in rows])
        return rows

    @torch.no_grad()
    def sample(self, count: int, settings: dict, seed: int, progress=None, item=None) -> torch.Tensor:
        """`count` faces that no photo shows: float32 (count, C, S, S) in [-1, 1]. settings: attributes; others by chance."""
        self.eval()
        batch = {"attributes": [0] * count, "number": range(count)}
        return self.draw(self.noise(range(count), seed), self.conditions(batch, settings, seed))

    # each attribute turned

    def turns(self, attributes: torch.Tensor) -> dict[str, torch.Tensor]:
        """{'Smiling=1': the vector (A,) of a face with that turned}: as --set says, else each attribute in turn."""
        settings = asked(self.opt) or {name: 1 - int(value > 0.5) for name, value in zip(self.names, attributes)}
        return {f"{name}={value}": turned(attributes, self.names, name, value) for name, value in settings.items()}

    @torch.no_grad()
    def drawn_turned(self, z: torch.Tensor, attributes: torch.Tensor, turns: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """{'Smiling=1': (S, S, 3) uint8}: one face, of z (z_dim,), with each of the `turns` of its attributes."""
        if not turns:
            return {}
        self.eval()
        drawn = self.draw(z.expand(len(turns), -1), torch.stack(list(turns.values())))
        return dict(zip(turns, tensor2im(list(drawn))))

    # results

    def compared(self, batch, outputs, i, visuals=None):
        """As every model's, the photo as the true one; and for a classifier the attributes asked for, and each turned."""
        found = {"drawn": tensor2im(outputs["synthesized_image"][i])}
        if torch.is_tensor(batch["image"][i]):
            found["true"] = tensor2im(batch["image"][i])
        if self.names and getattr(self.opt, "attributes_model", ""):
            found["asked"] = self._asked(outputs["z"][i], outputs["attributes"][i])
        return found

    def _asked(self, z, attributes):
        each = {name: turned(attributes, self.names, name, 1 - int(value > 0.5)) for name, value in zip(self.names, attributes)}
        drawn = self.drawn_turned(z, attributes, each)
        return {"values": dict(zip(self.names, attributes.tolist())),
                "turned": {name: (picture, 1 - int(attributes[self.names.index(name)] > 0.5), rivals(name))
                           for name, picture in drawn.items()}}

    def validation_metrics(self, names):
        """Where faces do not aim at the photos, those that compare sets of pictures."""
        from util.metrics import registry
        if self.aims_at_truth():
            return super().validation_metrics(names)
        available = registry.Available(pairs=False, label=False, spec=self.opt.spec, seed=self.opt.seed, device=self.device)
        return registry.create(names or "swd", available, "--val_metrics")
