"""The order of pictures: a function of (seed, epoch), so that a training can be resumed within an epoch."""
from __future__ import annotations

from util.lazy import LazyModule

torch = LazyModule("torch")


class EpochSampler:
    """Batches of (epoch, index) keys for a DataLoader's `batch_sampler`.

    length: pictures in the data set. batch_size: pictures in a global batch. shuffle: a new order each epoch.
    rank, world: this process's rank and the number of processes; each takes a contiguous share of every global batch, so the
    order over all processes is that of a single one.
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
            # a process without a share of a short last batch computes the first picture, with weight 0
            yield [(self.epoch, i) for i in self.share(batch) or batch[:1]]

    def share(self, batch: list[int]) -> list[int]:
        """This process's part of a global batch."""
        size = -(-len(batch) // self.world)
        return batch[self.rank * size:(self.rank + 1) * size]

    def __len__(self) -> int:
        return len(range(self.done, self.length, self.batch_size))


class BlockSampler(EpochSampler):
    """Gives each process a contiguous block of whole batches, for drawing and encoding, which reduce nothing over a batch.

    The results of the processes, concatenated by rank, are in the order of a single process. A block may be empty.
    `done` counts pictures of this process's block, in whole batches.
    """

    def _block(self, batches: list) -> tuple[int, int]:
        """Where this process's batches begin and end."""
        return len(batches) * self.rank // self.world, len(batches) * (self.rank + 1) // self.world

    def _all(self) -> list[list[int]]:
        """The batches of all processes."""
        order = self.order(self.epoch)
        return [order[i:i + self.batch_size] for i in range(0, self.length, self.batch_size)]

    def batches(self) -> list[list[int]]:
        """The remaining batches of this process."""
        batches = self._all()
        first, last = self._block(batches)
        return batches[first:last][-(-self.done // self.batch_size):]

    def of_lower_ranks(self) -> list[int]:
        """The pictures of the processes of lower rank."""
        batches = self._all()
        return [i for batch in batches[:self._block(batches)[0]] for i in batch]

    def share(self, batch: list[int]) -> list[int]:
        """The whole batch."""
        return batch

    def __len__(self) -> int:
        return len(self.batches())
