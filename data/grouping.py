"""Batches of consecutive pictures of one size."""
from __future__ import annotations

from util.lazy import LazyModule

torch = LazyModule("torch")


def grouped(batches, most: int):
    """Concatenate consecutive batches of a loader while their tensors have the same shapes, up to `most` pictures.

    So data sets of mixed sizes are processed in batches, in their order. 'count' and 'weight', which describe a loader's batch
    and not its items, are left out.
    """
    waiting, before = [], None
    for batch in batches:
        shapes = {key: tuple(value.shape[1:]) if torch.is_tensor(value) else None for key, value in batch.items()}
        if waiting and (shapes != before or sum(len(b["name"]) for b in waiting) + len(batch["name"]) > most):
            yield _joined(waiting)
            waiting = []
        waiting.append(batch)
        before = shapes
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[dict]) -> dict:
    if len(batches) == 1:
        return batches[0]
    return {key: torch.cat([b[key] for b in batches]) if torch.is_tensor(value) else [one for b in batches for one in b[key]]
            for key, value in batches[0].items() if key not in ("count", "weight")}
