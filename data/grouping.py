"""Batches of whatever pictures come one after the other in one size."""
from __future__ import annotations

from util.lazy import LazyModule

torch = LazyModule("torch")


def grouped(batches, most: int):
    """Join consecutive batches of a loader while their tensors have one shape, up to `most` pictures.

    Networks draw pictures of one size together, while a data set may mix sizes: this keeps the order and copes with both.
    'count' and 'weight', which are of a loader's batch and not of its items, are left out.
    """
    waiting, shape = [], None
    for batch in batches:
        its = {key: tuple(value.shape[1:]) if torch.is_tensor(value) else None for key, value in batch.items()}
        if waiting and (its != shape or sum(len(b["name"]) for b in waiting) + len(batch["name"]) > most):
            yield _joined(waiting)
            waiting = []
        waiting.append(batch)
        shape = its
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[dict]) -> dict:
    if len(batches) == 1:
        return batches[0]
    return {key: torch.cat([b[key] for b in batches]) if torch.is_tensor(value) else [one for b in batches for one in b[key]]
            for key, value in batches[0].items() if key not in ("count", "weight")}
