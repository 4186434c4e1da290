"""The order of pictures: a function of (seed, epoch), so that a run can stop and go on anywhere."""
from __future__ import annotations

from util.lazy import LazyModule

torch = LazyModule("torch")


class EpochSampler:
    """Batches of (epoch, index) keys for a DataLoader's `batch_sampler`.

    length: pictures in the data set. batch_size: pictures in a global batch. shuffle: a new order each epoch.
    rank, world: this process's place among `world`; each takes its contiguous share of every global batch, so the
    global order is that of one process.
    """

    def __init__(self, length: int, batch_size: int, shuffle: bool, seed: int, rank: int = 0, world: int = 1):
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.rank, self.world = rank, world
        self.epoch, self.done = 1, 0

    def start(self, epoch: int, done: int = 0) -> EpochSampler:
        """Choose the epoch (from 1) and how many of its pictures are already done."""
        self.epoch, self.done = epoch, done
        return self

    def order(self, epoch: int) -> list[int]:
        """All indices in the order of an epoch."""
        if not self.shuffle:
            return list(range(self.length))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.length, generator=generator).tolist()

    def batches(self) -> list[list[int]]:
        """The remaining global batches of the chosen epoch."""
        order = self.order(self.epoch)
        return [order[i:i + self.batch_size] for i in range(self.done, self.length, self.batch_size)]

    def __iter__(self):
        for batch in self.batches():
            # a process without a share of a short last batch computes its first picture, which then weighs nothing
            yield [(self.epoch, i) for i in self.share(batch) or batch[:1]]

    def share(self, batch: list[int]) -> list[int]:
        """This process's part of a global batch."""
        size = -(-len(batch) // self.world)
        return batch[self.rank * size:(self.rank + 1) * size]

    def __len__(self) -> int:
        return len(range(self.done, self.length, self.batch_size))


class RunSampler(EpochSampler):
    """Whole batches for each process, which takes a run of the list: where nothing is summed over a batch.

    What the processes make, one after the other, is in the order of one process; a process may have nothing to do.
    """

    def _run(self, batches: list) -> tuple[int, int]:
        """Where this process's batches begin and end."""
        return len(batches) * self.rank // self.world, len(batches) * (self.rank + 1) // self.world

    def batches(self) -> list[list[int]]:
        """This process's batches."""
        batches = super().batches()
        first, last = self._run(batches)
        return batches[first:last]

    def before(self) -> list[int]:
        """The pictures of the processes before this one."""
        batches = super().batches()
        return [i for batch in batches[:self._run(batches)[0]] for i in batch]

    def share(self, batch: list[int]) -> list[int]:
        """All of it."""
        return batch

    def __len__(self) -> int:
        return len(self.batches())
