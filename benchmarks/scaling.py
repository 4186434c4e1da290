"""Training with two processes on two cores compared with one on one: python -m benchmarks.scaling [--precision bf16]

Both sides train the same network on the same global batches of the shipped faces, alternately; each process has one thread on a
core of its own, or with --gpu_ids 0,1 a GPU. --pictures 1000 10000 measures instead how time and memory of loading an epoch, of
encode_features.py and of test.py grow with the number of pictures.
"""
from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import startup  # noqa: F401 - before torch
from benchmarks._timing import Side, in_turn, ratio, report, serve, summary, watched

# torch is imported in the measured processes only, as the peak memory of a process includes that of its parent at the fork


def main():
    """Run the measurement that the flags select."""
    flags = _flags().parse_args()
    if flags.serve is not None:
        return serve_training(flags)
    if flags.load:
        return load(flags.load)
    if flags.pictures:
        return growth(sorted(flags.pictures))
    return speed_up(flags)


def _flags():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2, help="processes of the larger side")
    parser.add_argument("--batch", type=int, default=8, help="pictures in a step, over all processes")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures")
    parser.add_argument("--ngf", type=int, default=32, help="width of the generator; the discriminator's is the same")
    parser.add_argument("--rounds", type=int, default=5, help="measured steps of each, after two of warm-up")
    parser.add_argument("--gpu_ids", default="-1", help="-1 for cores of the CPU, or one GPU a process")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--pictures", type=int, nargs="+", help="numbers of pictures to show the growth over")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)  # the number of one of the processes
    parser.add_argument("--load", help=argparse.SUPPRESS)
    return parser


# training speed


def speed_up(flags) -> int:
    """Pictures a second of both sides, and their ratio."""
    sides = {"one process": Group(1), f"{flags.processes} processes": Group(flags.processes)}
    seconds = in_turn(sides, flags.rounds, warmup=2)
    for side in sides.values():
        side.close()
    shared = {"size": flags.size, "batch": flags.batch, "ngf": flags.ngf, "precision": flags.precision}
    for name, taken in seconds.items():
        report("scaling", name, **shared, unit="pictures/s", **summary([flags.batch / one for one in taken]))
    # CPU time is not affected by other programs on the machine; it leaves out waiting for communication
    computed = ratio(*(side.busy[-flags.rounds:] for side in sides.values()))
    report("scaling", "ratio", **shared, ratio=ratio(*seconds.values()), ratio_of_processor_time=computed,
           load=os.getloadavg()[0])
    return 0


class Group:
    """Several processes that run each turn together, used like a `Side`."""

    def __init__(self, processes: int):
        with socket.socket() as probe:  # a free port for the rendezvous
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:], "--serve"]
        self.threads, self.busy = ThreadPoolExecutor(processes), []
        self.sides = list(self.threads.map(
            lambda rank: Side([*command, str(rank)], {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}), range(processes)))

    def turn(self) -> float:
        """A step of all processes; gives the seconds of the slowest."""
        before = self._processor_seconds()
        seconds = max(self.threads.map(Side.turn, self.sides))
        self.busy.append(max(after - start for after, start in zip(self._processor_seconds(), before)))
        return seconds

    def _processor_seconds(self) -> list[float]:
        """The CPU time of each process so far."""
        fields = [Path(f"/proc/{side.process.pid}/stat").read_text().rpartition(")")[2].split() for side in self.sides]
        return [(int(own[11]) + int(own[12])) / os.sysconf("SC_CLK_TCK") for own in fields]

    def close(self) -> list[dict]:
        """End the processes."""
        return list(self.threads.map(Side.close, self.sides))


def serve_training(flags) -> int:
    """Run one of the processes: a turn is a training step, including the loading of its batch."""
    if flags.gpu_ids == "-1":
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[flags.serve]})
    import torch

    from data.data_loader import CreateDataLoader
    from models.models import create_model
    from options.train_options import TrainOptions
    from util import distributed
    from util.device import device_of
    torch.set_num_threads(1)
    words = ["--dataroot", "datasets/sample_faces", "--gpu_ids", flags.gpu_ids, "--batchSize", flags.batch, "--loadSize",
             flags.size, "--ngf", flags.ngf, "--ndf", flags.ngf, "--precision", flags.precision, "--resize_or_crop", "resize",
             "--label_feat", "--no_vgg_loss", "--nThreads", 0, "--niter", 10**6, "--niter_decay", 0]
    opt = TrainOptions().parse(list(map(str, words)))
    distributed.start(device_of(opt.gpu_ids))
    sys.stdout = sys.__stdout__  # for the replies to the parent; parsing the options silenced all but rank 0
    loader, model = CreateDataLoader(opt), create_model(opt)
    model.start_epoch(1)
    batches = (batch for epoch in range(1, opt.niter) for batch in loader.epoch(epoch) if batch["count"] == flags.batch)

    def step():
        model.train_step(next(batches))
        distributed.all_reduce_max(0)

    serve(step, device=model.device)
    return 0


# growth


def growth(counts: list[int]) -> int:
    """Seconds and peak memory of whole processes over `counts` pictures of 32 pixels, and of each additional picture."""
    with tempfile.TemporaryDirectory() as work:
        roots = {count: Path(work) / f"{count}" for count in counts}
        for count, root in roots.items():
            write_pictures(root, count)
        where = ["--checkpoints_dir", work, "--gpu_ids", "-1", "--nThreads", "0", "--loadSize", "32", "--label_nc", "6"]
        networks = ["--ngf", "4", "--nef", "4", "--n_downsample_global", "2", "--n_blocks_global", "1", "--n_downsample_E", "2"]
        watched(["train.py", *where, *networks, "--label_feat", "--name", "x", "--dataroot", str(roots[counts[0]]),
                 "--ndf", "4", "--no_vgg_loss", "--no_html", "--max_dataset_size", "2", "--niter", "1", "--niter_decay", "0"])
        found = {}
        for count, root in roots.items():
            for what, command in {
                    "loading an epoch": ["-m", "benchmarks.scaling", "--load", str(root)],
                    "encode_features.py": ["encode_features.py", *where, "--name", "x", "--dataroot", str(root)],
                    "test.py": ["test.py", *where, "--name", "x", "--dataroot", str(root), "--phase", "train", "--results_dir",
                                f"{work}/results{count}", "--how_many", str(count)]}.items():
                found[what, count] = seconds, megabytes = watched(command)
                report("scaling", what, pictures=count, seconds=seconds, peak_mb=round(megabytes))
        for what in dict.fromkeys(what for what, _ in found):
            (less, small), (more, large) = found[what, counts[0]], found[what, counts[-1]]
            further = max(1, counts[-1] - counts[0])
            report("scaling", f"{what}, each additional picture", milliseconds=1000 * (more - less) / further,
                   kilobytes=1024 * (large - small) / further)
    return 0


def write_pictures(root: Path, count: int) -> None:
    """Write random maps of blocks, and matching photos."""
    import numpy as np
    from PIL import Image
    random = np.random.default_rng(0)
    for role in ("label", "img"):
        (root / f"train_{role}").mkdir(parents=True)
    for i in range(count):
        ids = random.integers(0, 6, (4, 4), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(ids).save(root / "train_label" / f"p{i:06d}.png")
        Image.fromarray(random.integers(0, 200, (6, 3), dtype=np.uint8)[ids]).save(root / "train_img" / f"p{i:06d}.png")



def load(root: str) -> int:
    """Start a training's loader and read one epoch."""
    from data.data_loader import CreateDataLoader
    from options.train_options import TrainOptions
    words = ["--dataroot", root, "--label_nc", "6", "--loadSize", "32", "--gpu_ids", "-1", "--nThreads", "0",
             "--n_downsample_global", "2"]
    for _ in CreateDataLoader(TrainOptions().parse(words)).epoch(1):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
