"""What encode_features.py finds of an autoencoder: photos' latents, and what they tell of attributes."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from data.attributes_dataset import chosen
from util.errors import UserError
from util.files import atomic_write, read_json, write_json

LATENTS, NAMES, DIRECTIONS = "latents.npy", "latents.json", "attribute_directions.json"
_FOLDS = 5
_RIDGE = 1e-2  # weight of the squared coefficients, in units of the latents' variance


class LatentEncoding:
    """Takes in batches of photos, and at last writes LATENTS, NAMES and, where attributes are known, DIRECTIONS.

    model: one with `encode`. Of several processes each takes in its own photos; the first `extend`s its encoding by the
    others' `share`s and writes.
    """

    def __init__(self, model):
        self.model, self.attributes = model, chosen(model.opt)
        self.names: list[str] = []
        self.latents: list[np.ndarray] = []
        self.rows: list[np.ndarray | None] = []

    @torch.no_grad()
    def add(self, batch) -> None:
        """Encode a batch."""
        model = self.model
        attributes = batch["attributes"].to(model.device) if model.names else None
        self.latents += list(model.encode(batch["image"].to(model.device), attributes).cpu().numpy())
        self.rows += [row.numpy() if torch.is_tensor(row) else None for row in batch["attributes"]]
        self.names += batch["name"]

    def share(self):
        """What another process needs of this one."""
        return self.names, self.latents, self.rows

    def extend(self, share) -> None:
        """Take in another process's share."""
        for own, theirs in zip((self.names, self.latents, self.rows), share):
            own += theirs

    def write(self, folder: Path, dataset) -> None:
        """Write what was found into an experiment's folder."""
        latents = np.stack(self.latents)
        with atomic_write(folder / LATENTS) as stream:
            np.save(stream, latents)
        write_json(folder / NAMES, self.names)
        print(f"{len(latents)} photos encoded: {folder / LATENTS}, (photos, {latents.shape[1]}) float32, names in {NAMES}")
        known = [i for i, row in enumerate(self.rows) if row is not None]
        if not known:
            print("No attributes are known of these photos, so no directions")
            return
        found = directions(latents[known], np.stack([self.rows[i] for i in known]), self.attributes)
        write_json(folder / DIRECTIONS, found)
        for name, one in found.items():
            print(f"{name}: a linear classifier on the latents is right for {one['accuracy']:.1%} "
                  f"(saying the commoner of the two: {one['chance']:.1%})")
        print(f"Directions: {folder / DIRECTIONS}")


def directions(latents: np.ndarray, rows: np.ndarray, names: list[str]) -> dict:
    """{attribute: {'direction', 'accuracy', 'balanced', 'chance'}} of latents (n, z_dim) and rows (n, A) of 1 and 0.

    direction: the mean latent of those that have it less that of the others. accuracy: of a linear classifier, by five-fold
    cross-validation; balanced: the mean of its accuracies on either side; chance: the share of the commoner side. Attributes
    that fewer than _FOLDS photos have, or lack, are left out.
    """
    found = {}
    for name, have in zip(names, rows.T > 0.5):
        if min(have.sum(), (~have).sum()) < _FOLDS:
            continue
        guesses = _cross_validated(latents, have)
        found[name] = {"direction": (latents[have].mean(0) - latents[~have].mean(0)).tolist(),
                       "accuracy": float((guesses == have).mean()),
                       "balanced": float(np.mean([(guesses[side] == have[side]).mean() for side in (have, ~have)])),
                       "chance": float(max(have.mean(), 1 - have.mean()))}
    return found


def _cross_validated(latents, have) -> np.ndarray:
    """(n,) bool: what ridge regression on the other four fifths says of each."""
    fold, guesses = np.random.default_rng(0).permutation(len(latents)) % _FOLDS, np.zeros(len(latents), bool)
    x = np.c_[(latents - latents.mean(0)) / (latents.std(0) + 1e-6), np.ones(len(latents))].astype(np.float64)
    y = have * 2.0 - 1
    for k in range(_FOLDS):
        train = fold != k
        gram = x[train].T @ x[train] + _RIDGE * train.sum() * np.diag([*np.ones(latents.shape[1]), 0])
        guesses[~train] = x[~train] @ np.linalg.solve(gram, x[train].T @ y[train]) > 0
    return guesses


def read_directions(path: Path, z_dim: int) -> dict[str, np.ndarray]:
    """{attribute: (z_dim,) float32}; {} where encode_features.py has written none. Raises UserError for a broken file."""
    if not path.is_file():
        return {}
    raw = read_json(path)
    try:
        found = {str(name): np.array(one["direction"], np.float32) for name, one in raw.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        found = {"": np.zeros(0)}
    if any(direction.shape != (z_dim,) for direction in found.values()):
        raise UserError(f"{path}: does not hold directions of {z_dim} numbers; run encode_features.py again")
    return found
