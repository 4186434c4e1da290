"""Several processes that work as one: they share every batch of a training, and the pictures of a test.

Started by torchrun, or by the script itself where --gpu_ids names several devices. Everything here is a no-op in a single
process.
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

_PATIENCE = timedelta(days=7)  # for what waits on another's share of the pictures; one that dies is noticed at once
_store = None  # what the processes of this start share, by the launcher
_messages = None  # the group that exchanges flags and Python objects, on the CPU whatever the device


def launched() -> bool:
    """Whether a launcher such as torchrun started this process as one of several."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(processes: int) -> None:
    """Run this command line in `processes` processes under torchrun, and end as they end. Does not return.

    Raises UserError where a signal ended one of them, which then could not say so itself.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import api
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    def stop_once(number, frame):  # torchrun passes a signal on and waits for the processes, but a second one ends its waiting
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise api.SignalException("stopped", signal.Signals(number))

    api._terminate_process_handler = stop_once
    print(f"Starting {processes} processes, one a device")
    sys.stdout.flush()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")  # seconds to finish the step and save, once interrupted
    logging.disable(logging.CRITICAL)  # torchrun's accounts of a failure; the process that failed has told the user
    try:
        run.main(["--standalone", "--nproc_per_node", str(processes), *sys.argv])
    except ChildFailedError as error:
        ends = {failure.exitcode: number for number, failure in error.failures.items() if failure.exitcode != -signal.SIGTERM}
        first = min(ends, default=128 + signal.SIGTERM)  # a signal before a status; torchrun ends the rest by SIGTERM
        if first < 0:
            raise UserError(f"process {ends[first]} of {processes} was ended by {signal.Signals(-first).name}; if the machine "
                            "ran out of memory, lower --nThreads or name fewer --gpu_ids") from error
        sys.exit(first)
    except api.SignalException as error:
        sys.exit(128 + error.sigval)
    sys.exit(0)


def start(device) -> None:
    """Join the other processes: nccl between CUDA devices, gloo between CPUs and for messages."""
    global _messages, _store
    if launched() and not dist.is_initialized():
        _store = _store_of_this_start()
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=_store, rank=rank(), world_size=world())
        _messages = dist.new_group(backend="gloo", timeout=_PATIENCE)


def _store_of_this_start():
    """The launcher's store, under a name that all processes of this start know and those of no other.

    torchrun keeps the store when it starts them again, with the addresses of those that died. It counts its restarts, but on
    each machine for itself. So the first process chooses the name, and gives it to each other one under the number of its
    start; it does so until that one has it, as a number read too early is that of a start before.
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
    """Leave the group, and wait for gloo's threads.

    They let go of what was exchanged, for which they need Python; one that came to it while the interpreter ends would abort
    the process. orderly: False where the others may not be at the same place; nccl's group, which would wait for them, is then
    left to the end of the process.
    """
    global _messages, _store
    if not dist.is_initialized():
        return
    if orderly or dist.get_backend() == "gloo":
        dist.destroy_process_group()
    elif _messages is not None:
        dist.destroy_process_group(_messages)
    _messages = _store = None  # the last references: the threads end with them


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
        dist.barrier(group=_messages)


def seed_step(seed: int, done: int) -> None:
    """Let dropout and noise differ between the shares of a batch, and follow from (seed, pictures done, process).

    So a run of several processes goes on with the noise it would have had. One process alone keeps its random state.
    """
    if launched():
        torch.manual_seed((seed * 1_000_003 + done) * 4096 + rank())


def any_of(value: int) -> int:
    """The largest `value` over all processes: an interruption of one stops all, after the same step."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(int(value))
    dist.all_reduce(shared, op=dist.ReduceOp.MAX, group=_messages)
    return int(shared)


def weighted_sum(values: torch.Tensor, weight: float) -> torch.Tensor:
    """Sum over the processes of weight * values. With weight = a process's share of the batch, means of the shares become
    those of the batch."""
    if not dist.is_initialized():
        return values
    total = values * weight
    dist.all_reduce(total)
    return total


def from_main(find):
    """What find() gives in the first process, in all of them; it must be plain values. A UserError is raised in all."""
    if not dist.is_initialized():
        return find()
    found = [None]
    if is_main():
        try:
            found = [find()]
        except UserError as error:
            found = [error]
    dist.broadcast_object_list(found, src=0, group=_messages)
    if isinstance(found[0], UserError):
        raise told_by_main(found[0])
    return found[0]


def found_by_main(find):
    """What find() finds in the first process, a state dict or None and why, in all of them: all train with the same weights.

    Only in the first one does the state dict hold them; in the others it holds zeros, until `take_weights_of_main`.
    """
    if not dist.is_initialized():
        return find()
    found = []

    def shapes():
        found.append(find())
        state, reason = found[0]
        return state and {key: (tuple(value.shape), value.dtype) for key, value in state.items()}, reason

    state, reason = from_main(shapes)
    if is_main():
        return found[0]
    return state and {key: torch.zeros(shape, dtype=dtype) for key, (shape, dtype) in state.items()}, reason


def take_weights_of_main(module: torch.nn.Module) -> None:
    """Give all processes the first one's parameters and buffers. Raises UserError where their networks differ."""
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
    """Compare describe(), {what: plain value}, of all processes. Raises UserError, in one line for all, where they differ."""
    if not dist.is_initialized():
        return
    everybodys = [None] * dist.get_world_size()
    dist.all_gather_object(everybodys, describe(), group=_messages)
    for number, own in enumerate(everybodys):
        differing = [key for key in {**everybodys[0], **own} if own.get(key) != everybodys[0].get(key)]
        if differing:
            raise told_by_main(UserError(
                f"process {number} differs from process 0 in {first_few(differing)}; nothing was saved; see that all machines "
                "have the same data, checkpoints and versions, then go on from the last checkpoint with --continue_train"))


def gather(value) -> list | None:
    """Every process's value, in their order, in the first process; None in the others. Waits for the slowest."""
    if not dist.is_initialized():
        return [value]
    values = [None] * world() if is_main() else None
    dist.gather_object(value, values, group=_messages)
    return values


def common_fault(fault: UserError | None) -> UserError | None:
    """A fault that any of the processes has, in all of them: they stop at the same step."""
    if not dist.is_initialized() or not any_of(fault is not None):
        return fault
    texts = [None] * world()
    dist.all_gather_object(texts, None if fault is None else str(fault), group=_messages)
    return UserError(next(text for text in texts if text is not None))


def told_by_main(error: Exception) -> Exception:
    """An error that all processes have at once, for `raise`: the first one tells it, the others just end.

    They end with status 0, as launchers stop the rest at the first failure, and the first process may still have to save.
    """
    return error if is_main() else SystemExit(0)


def is_first_failure(message: str) -> bool:
    """Whether no other process has failed before this one, which then tells the user: one fault, one line.

    The message is left for torchrun's own account, too.
    """
    if not launched():
        return True
    try:
        if _store is not None:
            first = _store.add("failed", 1) == 1
        else:
            first = _launcher_store().add(f"failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1
    except (KeyError, ValueError, RuntimeError):
        return True  # the launcher keeps no such record: better told twice than not at all
    if first and "TORCHELASTIC_ERROR_FILE" in os.environ:
        account = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
        with open(os.environ["TORCHELASTIC_ERROR_FILE"], "w") as stream:
            json.dump(account, stream)
    return first


def remember(what: str) -> None:
    """Leave word for later starts of the processes under the same torchrun."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        _launcher_store().set(what, "")


def remembered(what: str) -> bool:
    """Whether an earlier start of the processes under the same torchrun has left word."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and _launcher_store().check([what])


def _launcher_store():
    """A connection to the store that the launcher keeps as long as it lives. Raises KeyError, ValueError or RuntimeError."""
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=5))


def quiet_unless_main() -> None:
    """Let only the first process print."""
    if not is_main():
        sys.stdout = open(os.devnull, "w", errors="replace")  # noqa: SIM115 - for the rest of the process


class Quiet:
    """Stands in for what only the first process has: every method does nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None
