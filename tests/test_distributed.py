"""Two processes train as one does."""
import re
import subprocess
import sys

import pytest
import torch

from data.sampler import EpochSampler
from tests.conftest import LOSSES, NETWORK, ROOT, SIZES, write_root
from util.checkpoint import read_tensors

FLAGS = [*SIZES, *NETWORK, *LOSSES, "--label_feat", "--batchSize", "5", "--niter", "2", "--niter_decay", "0",
         "--print_freq", "1", "--no_html"]


def trained(folder, data, launcher):
    done = subprocess.run([sys.executable, *launcher, "train.py", "--name", "x", "--dataroot", str(data), "--checkpoints_dir",
                           str(folder), *FLAGS], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (folder / "x" / "loss_log.txt").read_text().splitlines()
    losses = [[float(v) for v in re.findall(r": (-?[\d.]+)", line.split(") ")[1])] for line in lines
              if line.startswith("(epoch")]
    return losses, {net: read_tensors(folder / "x" / f"latest_net_{net}.pth") for net in "GDE"}


def test_two_processes_log_and_learn_what_one_does(tmp_path):
    data = write_root(tmp_path / "data", {"train": 11})  # batches of 5, 5 and 1: the last leaves one process without a share
    one, weights = trained(tmp_path / "one", data, [])
    two, others = trained(tmp_path / "two", data, ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"])
    assert len(one) == len(two) == 6
    for a, b in zip(one, two):
        assert a == pytest.approx(b, abs=5e-3)
    for net in "GDE":
        for key in (key for key in weights[net] if key.endswith("weight")):
            # Adam divides by the gradient's size: where that is zero, as a bias's before a norm, rounding decides the step
            close = torch.isclose(weights[net][key], others[net][key], atol=1e-5)
            assert close.float().mean() > 0.95, (net, key, close.float().mean())


@pytest.mark.parametrize("length, batch, world", [(11, 5, 2), (7, 4, 3), (4, 4, 4)])
def test_shares_make_up_the_batch_in_order(length, batch, world):
    samplers = [EpochSampler(length, batch, True, 0, rank, world) for rank in range(world)]
    for whole in samplers[0].batches():
        assert [i for sampler in samplers for i in sampler.share(whole)] == whole
