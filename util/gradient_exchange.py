"""Gradients summed over the processes while the backward pass goes on, in buckets, as DistributedDataParallel does (Li et al.
2020, arXiv:2006.15704); but for a step of several backward passes, each for the parameters of one update."""
from __future__ import annotations

import contextlib

import torch
import torch.distributed as dist

from util import distributed
from util.device import laid_out_as

BUCKET = 25 * 2**20  # bytes that are sent at once: many for the network's sake, few to begin early


class GradientExchange:
    """The gradients of one update: in each process those of the global batch, in the memory layout of their parameters.

    All processes send the same buckets in the same order, each as soon as it and those before it are complete. The first pass
    sends the last parameters first; from then on the order is that in which gradients came to the first process.
    """

    def __init__(self):
        self._parameters: list[torch.Tensor] = []
        self._order: list[int] | None = None  # numbers of parameters as their gradients come, once that is known
        self._buckets: list[_Bucket] = []
        self._sent = 0

    @contextlib.contextmanager
    def during_backward(self, parameters: list[torch.Tensor], weight: float):
        """From within a backward pass on, sum weight * gradient of `parameters` over the processes; `finish` waits for that.

        With weight = a process's share of the batch, mean-reduced gradients of the shares become those of the batch.
        """
        if [id(p) for p in parameters] != [id(p) for p in self._parameters]:
            self._parameters, self._order = parameters, None
        if not dist.is_initialized():
            yield
            return
        order = self._order or range(len(parameters))[::-1]
        self._buckets, self._sent = _buckets([parameters[i] for i in order]), 0
        bucket_of = {p: bucket for bucket in self._buckets for p in bucket.parameters}
        number_of, came = {p: i for i, p in enumerate(parameters)}, []

        def note(p):
            came.append(number_of[p])
            bucket_of[p].missing -= 1
            self._send(weight, complete=True)

        hooks = [p.register_post_accumulate_grad_hook(note) for p in parameters]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self._send(weight, complete=False)
        if self._order is None:
            first = distributed.broadcast_result(lambda: came)
            self._order = [*first, *(i for i in order if i not in first)]

    def _send(self, weight: float, complete: bool) -> None:
        """Send the buckets whose turn it is; with `complete` only such as lack no gradient."""
        while self._sent < len(self._buckets) and not (complete and self._buckets[self._sent].missing):
            self._buckets[self._sent].send(weight)
            self._sent += 1

    def finish(self) -> None:
        """Wait until each parameter's `grad` is the sum; it is None where no process had a gradient."""
        for bucket in self._buckets:
            bucket.receive()
        self._buckets = []
        for p in self._parameters:
            if p.grad is not None:
                p.grad = laid_out_as(p, p.grad)


class _Bucket:
    """Parameters of one type whose gradients are exchanged together. missing: how many gradients are still to come."""

    def __init__(self, parameters: list[torch.Tensor]):
        self.parameters, self.missing = parameters, len(parameters)

    @torch.no_grad()
    def send(self, weight: float) -> None:
        """Start summing: the gradients become views of one buffer, at whose end is for each whether there is one."""
        present = [p.grad is not None for p in self.parameters]
        buffer = self.parameters[0].new_zeros(sum(p.numel() for p in self.parameters) + len(present))
        *parts, self.counts = buffer.split([*(p.numel() for p in self.parameters), len(present)])
        for p, part in zip(self.parameters, parts):
            part = part.as_strided(p.shape, p.stride(), part.storage_offset())
            p.grad = part if p.grad is None else torch.mul(p.grad, weight, out=part)
        self.counts.fill_(1) if all(present) else self.counts.copy_(torch.tensor(present))
        self.without = [i for i, is_there in enumerate(present) if not is_there]
        self.work = dist.all_reduce(buffer, async_op=True)

    def receive(self) -> None:
        """Wait for the sums."""
        self.work.wait()
        for i in self.without:
            if not self.counts[i]:
                self.parameters[i].grad = None


def _buckets(parameters: list[torch.Tensor]) -> list[_Bucket]:
    """Neighbours of one type together, up to BUCKET bytes."""
    groups: list[list] = []
    size = 0
    for p in parameters:
        size += p.nbytes
        if not groups or groups[-1][0].dtype != p.dtype or size > BUCKET:
            groups.append([])
            size = p.nbytes
        groups[-1].append(p)
    return [_Bucket(group) for group in groups]
