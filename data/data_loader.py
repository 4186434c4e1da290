"""Data sets by name, and the loader that feeds the loop."""
from __future__ import annotations

import atexit
import importlib
import multiprocessing.connection
import os
import signal
import threading
import weakref

from data.sampler import EpochSampler, RunSampler
from util import distributed
from util.device import device_type, keep_freed_memory
from util.errors import UserError, first_few
from util.lazy import LazyModule

torch = LazyModule("torch")
DATASETS = {"aligned": "data.aligned_dataset:AlignedDataset"}


def dataset_class(name: str):
    """The data set registered as --dataset_mode `name`. Raises UserError listing the known ones."""
    if name not in DATASETS:
        raise UserError(f"--dataset_mode {name}: there is no such data set; choose from {', '.join(sorted(DATASETS))}")
    module, attribute = DATASETS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def CreateDataLoader(opt):  # noqa: N802 - the name that users' code imports
    """The data loader that the options describe; of several processes, this one's share."""
    return DataLoader(opt, distributed.rank(), distributed.world())


class DataLoader:
    """Batches of one data set, in an order that follows from (seed, epoch).

    len(loader) is the number of pictures in an epoch, over all processes. `for batch in loader.load_data()` walks the
    current epoch; `loader.epoch(epoch, done)` walks the given one from its picture `done` on.
    A batch is the data set's dict with tensors stacked and everything else in lists; 'count' is the pictures of the global
    batch, 'weight' the share of them that this process has. Of several processes that train each has a part of every batch;
    where nothing is summed over a batch, as when drawing and encoding, each has a run of the pictures.
    """

    def __init__(self, opt, rank: int = 0, world: int = 1):
        self.opt = opt
        self.dataset = dataset_class(opt.dataset_mode)(opt)
        self.length = self.dataset.limit
        sampler = EpochSampler if opt.role == "train" else RunSampler
        self.sampler = sampler(self.length, opt.batchSize, not opt.serial_batches, opt.seed, rank, world)
        self.workers = []  # processes, once they are started
        # they end with the loader. At the end of the program this comes before multiprocessing, which was imported first: it
        # would send them SIGTERM, which they ignore, and wait for them for ever
        atexit.register(weakref.finalize(self, _kill, self.workers))
        workers = min(opt.nThreads, -(-self.length // opt.batchSize))
        self.loader = torch.utils.data.DataLoader(
            _Guarded(self.dataset), batch_sampler=self.sampler, num_workers=workers, collate_fn=collate,
            pin_memory=device_type(opt.gpu_ids) == "cuda", persistent_workers=workers > 0, worker_init_fn=_start_worker,
            generator=torch.Generator())  # else each epoch's start would draw from the model's random numbers

    def __len__(self) -> int:
        return self.length

    def load_data(self) -> DataLoader:
        """Itself, as old callers expect."""
        return self

    @property
    def share(self) -> int:
        """How many pictures of an epoch this process draws or encodes."""
        return sum(map(len, self.sampler.batches()))

    def names_before(self) -> list[str]:
        """The names of the pictures that the processes before this one draw or encode, unread."""
        return [self.dataset.names[i] for i in self.sampler.before()]

    def __iter__(self):
        return self.epoch(self.sampler.epoch)

    def epoch(self, epoch: int, done: int = 0):
        """Iterate over the batches of an epoch (from 1), leaving out its first `done` pictures.

        Raises UserError naming the file for a picture that cannot be used, and the files at hand for a worker that
        died; of processes that train together, the first one raises it for all.
        """
        waiting = self.sampler.start(epoch, done).batches()
        batches = self._batches()
        for indices in waiting:
            fault = None
            try:
                batch = self._next(batches, indices)
            except UserError as error:
                fault = error
            if self.opt.role == "train" and (fault := distributed.common_fault(fault)):
                raise distributed.told_by_main(fault)
            if fault:
                raise fault
            count = len(indices)
            yield {**batch, "count": count, "weight": len(self.sampler.share(indices)) / count}

    def _batches(self):
        """The batches of the epoch that the sampler is at, as the loader's processes give them.

        PyTorch's handler of SIGCHLD would raise for a process that died wherever this one is, as in the middle of a step or of
        saving. Without it the loop learns of the death where it waits for the next batch, after five seconds.
        """
        watches = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
        handler, before = watches and signal.getsignal(signal.SIGCHLD), multiprocessing.active_children()
        batches = iter(self.loader)
        if watches:
            signal.signal(signal.SIGCHLD, handler)
        self.workers += [process for process in multiprocessing.active_children() if process not in before]
        yield from batches

    def _next(self, batches, indices):
        """The next batch. Raises the UserError that keeps it from coming."""
        try:
            batch = next(batches)
        except (RuntimeError, EOFError, ConnectionError) as error:  # the latter two: dead while handing over a batch
            if isinstance(error, RuntimeError) and "worker" not in str(error):
                raise
            files = [self.dataset.paths[i] for i in indices]
            raise UserError(f"a data-loading process died at or after {first_few(files)}: {self._cause(error)}; look at that "
                            "file, and try --nThreads 0") from error
        if isinstance(batch, UserError):
            raise batch
        return batch

    def _cause(self, error) -> str:
        """What ended one of the loader's processes: its signal, else the error that it left here."""
        ready = multiprocessing.connection.wait([process.sentinel for process in self.workers], timeout=5)
        for process in self.workers:
            if process.sentinel in ready:
                process.join(timeout=5)
                end = process.exitcode or 0
                return f"ended by {signal.Signals(-end).name}" if end < 0 else f"ended with status {end}"
        return str(error).partition("\n")[0] or type(error).__name__


class _Guarded:
    """Gives a UserError as the item: raised in a worker process it would come back as a traceback's text."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, key):
        try:
            return self.dataset[key]
        except UserError as error:
            return error


def _start_worker(_):
    """A loader process lives as long as its parent: what stops a training must not take away the batch it still waits for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal's group,
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # and a scheduler's SIGTERM every process of the job
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()  # batches of several pictures come a sixth sooner


def _end_with_parent():
    """A parent that is killed tells its loader processes nothing."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _kill(processes):
    """End a loader's processes. They only read, so there is nothing to finish."""
    for process in processes:
        process.kill()


def collate(items: list):
    """Stack a list of items; a fault in one of them is handed on as the batch, since workers cannot raise it whole."""
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
    """Tensors of one shape as one, copied as seldom as can be."""
    if len(values) == 1:
        return values[0][None]
    if len({value.dtype for value in values}) > 1:  # label maps of 8 and of 16 bits
        return torch.stack(values)
    return torch.utils.data.default_collate(values)  # in a loader process straight into the memory that it shares
