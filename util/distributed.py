"""Distributed training and inference: launching processes, collectives, and errors in one of them.

Processes are launched by torchrun, or by a script itself if --gpu_ids names several devices. In a single process, all functions
here are no-ops.
"""
from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import uuid
from datetime import timedelta

from util.errors import UserError, first_few
from util.lazy import LazyModule

torch, dist = LazyModule("torch"), LazyModule("torch.distributed")

_TIMEOUT = timedelta(days=7)  # as ranks wait for others to process their pictures; a process that dies is noticed at once
_store = None  # the key-value store of the process group
_objects = None  # the gloo group for flags and Python objects, also if tensors are on GPUs


def launched() -> bool:
    """Whether a launcher such as torchrun started this process as one of several."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(processes: int) -> None:
    """Run this command line in `processes` processes under torchrun, and exit with their status. Does not return.

    Raises UserError if a signal ended one of them, which then could not report an error itself.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import api
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    def stop_once(number, frame):  # torchrun forwards a signal and waits for the processes, unless it gets a second one
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise api.SignalException("stopped", signal.Signals(number))

    api._terminate_process_handler = stop_once
    print(f"Starting {processes} processes, one a device")
    sys.stdout.flush()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")  # seconds to finish the step and save after a signal
    logging.disable(logging.CRITICAL)  # torchrun's reports of a failure; the process that failed has printed its error
    try:
        run.main(["--standalone", "--nproc_per_node", str(processes), *sys.argv])
    except ChildFailedError as error:
        ends = {failure.exitcode: number for number, failure in error.failures.items() if failure.exitcode != -signal.SIGTERM}
        first = min(ends, default=128 + signal.SIGTERM)  # signals, which are negative, first; torchrun ends others by SIGTERM
        if first < 0:
            raise UserError(f"process {ends[first]} of {processes} was ended by {signal.Signals(-first).name}; if the machine "
                            "ran out of memory, lower --nThreads or name fewer --gpu_ids") from error
        sys.exit(first)
    except api.SignalException as error:
        sys.exit(128 + error.sigval)
    sys.exit(0)


def start(device) -> None:
    """Initialise the process group: nccl between CUDA devices, gloo between CPUs and for objects."""
    global _objects, _store
    if launched() and not dist.is_initialized():
        _store = _store_of_this_start()
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=_store, rank=rank(), world_size=world_size())
        _objects = dist.new_group(backend="gloo", timeout=_TIMEOUT)


def _store_of_this_start():
    """The launcher's store, with a key prefix that only the processes of this start have in common.

    torchrun keeps its store when it restarts the processes, with the addresses of dead ones, and counts restarts on each
    machine separately. So rank 0 chooses the prefix and sends it to each other rank under the number of that rank's start,
    repeatedly until it is acknowledged, as a number that is read too early is that of the previous start.
    """
    store, number, count = next(dist.rendezvous("env://"))
    if number:
        name = store.get(f"name/{number}/{store.add(f'starts/{number}', 1)}").decode()
        store.set(f"joined/{name}/{number}", "")
        return dist.PrefixStore(name, store)
    name = uuid.uuid4().hex
    for other in range(1, count):
        while not store.check([f"joined/{name}/{other}"]):
            store.set(f"name/{other}/{store.add(f'starts/{other}', 0)}", name)
            time.sleep(0.01)
    return dist.PrefixStore(name, store)


def stop(orderly: bool = True) -> None:
    """Destroy the process group, and wait for gloo's threads.

    The threads release tensors, for which they need the interpreter; while it is finalised, that would abort the process.
    orderly: False if other ranks may not call this now; nccl's group, which would wait for them, is then not destroyed.
    """
    global _objects, _store
    if not dist.is_initialized():
        return
    if orderly or dist.get_backend() == "gloo":
        dist.destroy_process_group()
    elif _objects is not None:
        dist.destroy_process_group(_objects)
    _objects = _store = None  # the last references; then the threads end


def rank() -> int:
    """The rank of this process, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def world_size() -> int:
    """The number of processes."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def is_main() -> bool:
    """Whether this is rank 0, the process that prints and saves."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier(group=_objects)


def seed_step(seed: int, done: int) -> None:
    """Seed dropout and noise by (seed, pictures done, rank), so that they differ between ranks and are the same after a resume.

    A single process keeps its random state instead, which checkpoints save.
    """
    if launched():
        torch.manual_seed((seed * 1_000_003 + done) * 4096 + rank())


def all_reduce_max(value: int) -> int:
    """All-reduce an integer with max: a flag that any process sets is set in all, after the same step."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(int(value))
    dist.all_reduce(shared, op=dist.ReduceOp.MAX, group=_objects)
    return int(shared)


def weighted_sum(values: torch.Tensor, weight: float) -> torch.Tensor:
    """All-reduce weight * values with sum. With weight = the rank's share of the batch, means over shares become means over the
    batch."""
    if not dist.is_initialized():
        return values
    total = values * weight
    dist.all_reduce(total)
    return total


def broadcast_result(function):
    """Call function() on rank 0 and broadcast its result, plain values. A UserError ends all processes."""
    if not dist.is_initialized():
        return function()
    found = [None]
    if is_main():
        try:
            found = [function()]
        except UserError as error:
            found = [error]
    dist.broadcast_object_list(found, src=0, group=_objects)
    if isinstance(found[0], UserError):
        raise error_on_rank_zero(found[0])
    return found[0]


def broadcast_state_dict(function):
    """Call function() -> (state dict or None, reason) on rank 0, and give all ranks the same result.

    On other ranks the state dict has the same shapes, but zeros, until `broadcast_weights`.
    """
    if not dist.is_initialized():
        return function()
    found = []

    def shapes():
        found.append(function())
        state, reason = found[0]
        return state and {key: (tuple(value.shape), value.dtype) for key, value in state.items()}, reason

    state, reason = broadcast_result(shapes)
    if is_main():
        return found[0]
    return state and {key: torch.zeros(shape, dtype=dtype) for key, (shape, dtype) in state.items()}, reason


def broadcast_weights(module: torch.nn.Module) -> None:
    """Broadcast rank 0's parameters and buffers. Raises UserError if shapes differ between the processes."""
    if not dist.is_initialized():
        return
    tensors = {name: value.detach() for found in (module.named_parameters(), module.named_buffers()) for name, value in found}
    require_same(lambda: {f"the shape of {name}": (tuple(value.shape), value.dtype) for name, value in tensors.items()})
    for value in tensors.values():
        plain = value.contiguous()
        dist.broadcast(plain, src=0)
        if plain is not value:
            value.copy_(plain)


def require_same(describe) -> None:
    """Compare describe(), {description: plain value}, between all processes. Raises UserError if they differ."""
    if not dist.is_initialized():
        return
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, describe(), group=_objects)
    for number, own in enumerate(values):
        differing = [key for key in {**values[0], **own} if own.get(key) != values[0].get(key)]
        if differing:
            raise error_on_rank_zero(UserError(
                f"process {number} differs from process 0 in {first_few(differing)}; nothing was saved; see that all machines "
                "have the same data, checkpoints and versions, then go on from the last checkpoint with --continue_train"))


def gather(value) -> list | None:
    """The values of all ranks, in their order, on rank 0; None on the others."""
    if not dist.is_initialized():
        return [value]
    values = [None] * world_size() if is_main() else None
    dist.gather_object(value, values, group=_objects)
    return values


def any_fault(fault: UserError | None) -> UserError | None:
    """The first rank's fault, if any rank has one, on all ranks, so that they stop at the same step."""
    if not dist.is_initialized() or not all_reduce_max(fault is not None):
        return fault
    texts = [None] * world_size()
    dist.all_gather_object(texts, None if fault is None else str(fault), group=_objects)
    return UserError(next(text for text in texts if text is not None))


def error_on_rank_zero(error: Exception) -> Exception:
    """An exception to raise in all processes at once: the error on rank 0, and a plain exit on the others.

    Those exit with status 0, as launchers end all processes at the first failure, and rank 0 may still have to save.
    """
    return error if is_main() else SystemExit(0)


def is_first_failure(message: str) -> bool:
    """Whether no other process has failed before this one, so that only one prints its error. It is passed to torchrun, too."""
    if not launched():
        return True
    try:
        if _store is not None:
            first = _store.add("failed", 1) == 1
        else:
            first = _launcher_store().add(f"failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1
    except (KeyError, ValueError, RuntimeError):
        return True  # without the launcher's store, print it: twice is better than not at all
    if first and "TORCHELASTIC_ERROR_FILE" in os.environ:
        report = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
        with open(os.environ["TORCHELASTIC_ERROR_FILE"], "w") as stream:
            json.dump(report, stream)
    return first


def set_restart_mark(key: str) -> None:
    """Set a mark that later starts of the processes by the same torchrun can read."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        _launcher_store().set(key, "")


def has_restart_mark(key: str) -> bool:
    """Whether an earlier start of the processes by the same torchrun has set a mark."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and _launcher_store().check([key])


def _launcher_store():
    """A connection to the launcher's store, which survives restarts. Raises KeyError, ValueError or RuntimeError."""
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=5))


def silence_other_ranks() -> None:
    """Silence stdout on all ranks but 0."""
    if not is_main():
        sys.stdout = open(os.devnull, "w", errors="replace")  # noqa: SIM115 - for the rest of the process


class NoOp:
    """A stand-in, on other ranks, for an object that only rank 0 has: all methods do nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None
