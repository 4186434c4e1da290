"""Several processes that train as one: each takes its share of every batch, and the first one writes.

Started by torchrun, or by the script itself where --gpu_ids names several devices. Everything here is a no-op in a single
process.
"""
from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist


def launched() -> bool:
    """Whether a launcher such as torchrun started this process as one of several."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(processes: int) -> None:
    """Replace this process by torchrun with the same command line in `processes` processes. Does not return."""
    print(f"Starting {processes} processes, one a device")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node",
                              str(processes), *sys.argv])


def start(device) -> None:
    """Join the other processes: nccl between CUDA devices, gloo between CPUs."""
    if launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def world() -> int:
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def is_main() -> bool:
    """Whether this process is the one that shows and saves."""
    return rank() == 0


def barrier() -> None:
    """Wait for the other processes."""
    if dist.is_initialized():
        dist.barrier()


def seed_share(seed: int) -> None:
    """Let dropout and noise differ between the shares of a batch."""
    torch.manual_seed(seed + rank())


def any_of(value: int, device) -> int:
    """The largest `value` over all processes: an interruption of one stops all, after the same step."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(value, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared)


def weighted_sum(tensors: list[torch.Tensor], weight: float) -> list[torch.Tensor]:
    """Sum over the processes of weight * tensor, in one exchange a data type.

    With weight = a process's share of the batch, the mean-reduced gradients of the shares become those of the batch.
    """
    if not dist.is_initialized():
        return tensors
    result: dict[int, torch.Tensor] = {}
    for dtype in {t.dtype for t in tensors}:
        places = [i for i, t in enumerate(tensors) if t.dtype == dtype]
        flat = torch.cat([tensors[i].reshape(-1) for i in places]).mul_(weight)
        dist.all_reduce(flat)
        parts = flat.split([tensors[i].numel() for i in places])
        result.update({i: part.view_as(tensors[i]) for i, part in zip(places, parts)})
    return [result[i] for i in range(len(tensors))]


def quiet_unless_main() -> None:
    """Let only the first process print."""
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process


class Quiet:
    """Stands in for what only the first process has: every method does nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None
