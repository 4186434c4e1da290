"""The registry of data sets, and the data loader."""
from __future__ import annotations

import atexit
import importlib
import multiprocessing.connection
import os
import signal
import threading
import weakref

from data.sampler import BlockSampler, EpochSampler
from data.samples import NumberedSamples
from util import distributed
from util.device import device_type, keep_freed_memory
from util.errors import UserError, first_few
from util.lazy import LazyModule

torch = LazyModule("torch")
DATASETS = {"aligned": "data.aligned_dataset:AlignedDataset",
            "attributes": "data.attributes_dataset:AttributesDataset",
            "identities": "data.identities_dataset:IdentitiesDataset"}


def dataset_class(name: str):
    """The data set registered as --dataset_mode `name`. Raises UserError listing the known ones."""
    if name not in DATASETS:
        raise UserError(f"--dataset_mode {name}: there is no such data set; choose from {', '.join(sorted(DATASETS))}")
    module, attribute = DATASETS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def CreateDataLoader(opt):  # noqa: N802 - the name that users' code imports
    """The data loader of the options, with this process's share of the pictures."""
    return DataLoader(opt, distributed.rank(), distributed.world_size())


class DataLoader:
    """Batches of one data set, in an order that follows from (seed, epoch).

    len(loader) is the number of pictures in an epoch, over all processes. `for batch in loader.load_data()` iterates over the
    current epoch; `loader.epoch(epoch, done)` over the given one from its picture `done` on.
    A batch is the data set's dict with tensors stacked and other values in lists; 'count' is the number of pictures in the
    global batch, 'weight' this process's share of them. For training, each process gets a part of every batch; for drawing and
    encoding, which reduce nothing over a batch, a block of consecutive batches.
    """

    def __init__(self, opt, rank: int = 0, world: int = 1):
        self.opt = opt
        kind = dataset_class(opt.dataset_mode)
        by_number = opt.needs.listed_by == "number" and "number" not in kind.batch_keys
        self.dataset = NumberedSamples(opt, kind) if by_number else kind(opt)
        self.length = self.dataset.limit
        sampler = EpochSampler if opt.role == "train" else BlockSampler
        self.sampler = sampler(self.length, opt.batchSize, not opt.serial_batches, opt.seed, rank, world)
        self.workers = []  # processes, once they are started
        # Kill them when the loader is deleted. At exit this runs before the handler of multiprocessing, which was imported
        # earlier: that would send them SIGTERM, which they ignore, and wait for them
        atexit.register(weakref.finalize(self, _kill, self.workers))
        workers = min(opt.nThreads, -(-self.length // opt.batchSize))
        self.loader = torch.utils.data.DataLoader(
            _Guarded(self.dataset), batch_sampler=self.sampler, num_workers=workers, collate_fn=collate,
            pin_memory=device_type(opt.gpu_ids) == "cuda", persistent_workers=workers > 0, worker_init_fn=_start_worker,
            generator=torch.Generator())  # else each epoch would draw from torch's global generator, which the model uses

    def __len__(self) -> int:
        return self.length

    def load_data(self) -> DataLoader:
        """The loader itself, as in pix2pixHD."""
        return self

    @property
    def share(self) -> int:
        """The number of pictures of an epoch in this process."""
        return sum(map(len, self.sampler.batches()))

    def names_of_lower_ranks(self) -> list[str]:
        """The names of the pictures of lower ranks."""
        return [self.dataset.names[i] for i in self.sampler.of_lower_ranks()]

    def __iter__(self):
        return self.epoch(self.sampler.epoch)

    def epoch(self, epoch: int, done: int = 0):
        """Iterate over the batches of an epoch (from 1), without its first `done` pictures.

        Raises UserError naming a picture that cannot be used, or the current files if a worker process died; in distributed
        training it is raised by rank 0, and the others exit.
        """
        waiting = self.sampler.start(epoch, done).batches()
        batches = self._batches()
        for indices in waiting:
            fault = None
            try:
                batch = self._next(batches, indices)
            except UserError as error:
                fault = error
            if self.opt.role == "train" and (fault := distributed.any_fault(fault)):
                raise distributed.error_on_rank_zero(fault)
            if fault:
                raise fault
            count = len(indices)
            yield {**batch, "count": count, "weight": len(self.sampler.share(indices)) / count}

    def _batches(self):
        """The batches of the sampler's current epoch.

        PyTorch's handler of SIGCHLD would raise an exception at any place, even in a step or a save, when a worker process
        dies. Without it, the death is detected within five seconds of waiting for the next batch.
        """
        watches = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
        handler, before = watches and signal.getsignal(signal.SIGCHLD), multiprocessing.active_children()
        batches = iter(self.loader)
        if watches:
            signal.signal(signal.SIGCHLD, handler)
        self.workers += [process for process in multiprocessing.active_children() if process not in before]
        yield from batches

    def _next(self, batches, indices):
        """The next batch. Raises UserError if it cannot be loaded."""
        try:
            batch = next(batches)
        except (RuntimeError, EOFError, ConnectionError) as error:  # the latter two: it died while transferring a batch
            if isinstance(error, RuntimeError) and "worker" not in str(error):
                raise
            files = [self.dataset.paths[i] for i in indices]
            raise UserError(f"a data-loading process died at or after {first_few(files)}: {self._cause(error)}; look at that "
                            "file, and try --nThreads 0") from error
        if isinstance(batch, UserError):
            raise batch
        return batch

    def _cause(self, error) -> str:
        """Why a worker process ended: its signal or status, else the error that was raised here."""
        ready = multiprocessing.connection.wait([process.sentinel for process in self.workers], timeout=5)
        for process in self.workers:
            if process.sentinel in ready:
                process.join(timeout=5)
                end = process.exitcode or 0
                return f"ended by {signal.Signals(-end).name}" if end < 0 else f"ended with status {end}"
        return str(error).partition("\n")[0] or type(error).__name__


class _Guarded:
    """Returns UserErrors as items, as PyTorch would pass on one raised in a worker process as the text of a traceback."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, key):
        try:
            return self.dataset[key]
        except UserError as error:
            return error


def _start_worker(_):
    """Set up a worker process. It ignores signals that stop the training, whose current step may still need a batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is sent to all processes of the terminal's group,
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # and a scheduler's SIGTERM to all processes of the job
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    keep_freed_memory()  # makes batches of several pictures a sixth faster


def _exit_with_parent():
    """Exit once the parent process has ended: a killed parent does not shut down its workers."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _kill(processes):
    """Kill worker processes, which only read files."""
    for process in processes:
        process.kill()


def collate(items: list):
    """Collate a list of items to a batch. If one of them is a UserError (see _Guarded), it is returned as the batch."""
    faults = [item for item in items if isinstance(item, UserError)]
    if faults:
        return faults[0]
    batch = {}
    for key in items[0]:
        values = [item[key] for item in items]
        if not all(torch.is_tensor(v) for v in values):
            batch[key] = values
            continue
        shapes = {tuple(v.shape) for v in values}
        if len(shapes) > 1:
            sizes = ", ".join(sorted(f"{s[-1]}x{s[-2]}" for s in shapes))
            return UserError(f"--batchSize {len(items)}: pictures of one batch must have one size, but here are {sizes} "
                             f"({first_few([item['path'] for item in items])}); use --batchSize 1 or --resize_or_crop "
                             "resize_and_crop")
        batch[key] = _stacked(values)
    return batch


def _stacked(values: list[torch.Tensor]) -> torch.Tensor:
    """Stack tensors of one shape, with as few copies as possible."""
    if len(values) == 1:
        return values[0][None]
    if len({value.dtype for value in values}) > 1:  # label maps of 8 and of 16 bits
        return torch.stack(values)
    return torch.utils.data.default_collate(values)  # in a worker process, directly into shared memory
