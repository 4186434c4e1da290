"""Whether bf16 trains as well as float32: python -m benchmarks.precision [--gpu_ids 0]

Trains the demo (scripts/demo.sh) in both, draws its held-out faces in float32, and prints the metrics of test.py side by side.
Where the device lacks bf16, it is emulated: inputs and outputs of the layers are rounded to bf16 between float32 operations,
forward and backward. That is about what autocast rounds; it tells nothing about speed.
"""
from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import startup  # noqa: F401 - before torch
from benchmarks._timing import PROJECT, report

_ROUNDED = re.compile(r"aten\.(add\.|convolution|.*batch_norm|relu|threshold|leaky_relu|reflection_pad|tanh|upsample)")


def main():
    """Train and draw in both precisions, and compare."""
    if "--emulate" in sys.argv:
        return emulate()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu_ids", default="-1", help="-1 for the CPU, 0 for the first GPU")
    parser.add_argument("--more", default="", help="further flags of train.py, such as --more='--niter 1 --niter_decay 0'")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {precision: _figures(precision, flags, Path(folder)) for precision in ("fp32", "bf16")}
    for precision, figures in found.items():
        report("precision", precision, emulated=precision == "bf16" and _is_emulated(flags), **figures)
    report("precision", "ratio", **{key: found["bf16"][key] / value for key, value in found["fp32"].items()})
    return 0


def _is_emulated(flags) -> bool:
    from util.device import available_gpu_ids, device_type, parse_gpu_ids, usable_precision
    return usable_precision("bf16", device_type(available_gpu_ids(parse_gpu_ids(flags.gpu_ids))[0])) != "bf16"


def _figures(precision: str, flags, folder: Path) -> dict:
    """Train and draw: {metric: value}."""
    demo = (PROJECT / "scripts" / "demo.sh").read_text().replace("\\\n", " ")
    training = re.sub(r'"\$\{\w+:-([^}]*)\}"', r"\1", re.search(r"train\.py (.*)", demo).group(1))
    where = ["--name", precision, "--checkpoints_dir", str(folder), "--gpu_ids", flags.gpu_ids]
    program = ["-m", "benchmarks.precision", "--emulate"] if precision == "bf16" and _is_emulated(flags) else ["train.py"]
    used = [] if "--emulate" in program else ["--precision", precision]
    for argv in ([*program, *shlex.split(training), *where, *used, *flags.more.split()],
                 ["test.py", *where, "--precision", "fp32", "--use_encoded_image", "--results_dir", str(folder / "results")]):
        subprocess.run([sys.executable, *argv], cwd=PROJECT, check=True, stdout=sys.stderr)
    written = json.loads((folder / "results" / precision / "test_latest" / "metrics.json").read_text())
    return {key: value for key, value in written.items() if isinstance(value, float)}


def emulate() -> int:
    """train.py in emulated bf16."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    import train
    from models.networks.convolution import FastConv2d

    def to_bf16(value):
        if torch.is_tensor(value) and value.dtype == torch.float32:
            return value.bfloat16().float()
        return value

    class Emulation(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if not _ROUNDED.match(str(func)):
                return func(*args, **kwargs)
            if str(func).split(".")[1].endswith("_"):  # in place
                return args[0].copy_(to_bf16(func(*args, **kwargs)))
            return tree_map(to_bf16, func(*tree_map(to_bf16, args), **kwargs))

    sys.argv = ["train.py", *(word for word in sys.argv[1:] if word != "--emulate")]
    FastConv2d.direct = True
    with Emulation():
        return train.main()


if __name__ == "__main__":
    sys.exit(main())
