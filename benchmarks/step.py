"""A training step, compared with a plain implementation: python -m benchmarks.step [--precision bf16] [--compile]

Both run the documented training alternately, each in its own process. The figures: seconds a step, their ratio, TFLOP/s (of the
operations of the plain step's convolutions) and its share of the rate of a matrix product, peak memory, and the relative
difference of the losses of the first step. --sizes 128 256 512 1024 shows how time and memory grow.
"""
from __future__ import annotations

import sys

if "plain" not in sys.argv:  # the plain side uses PyTorch's defaults
    import startup  # noqa: F401 - before torch
from benchmarks._timing import Side, count_operations, in_turn, matmul_peak, network_flags, ratio, report, serve, summary

PLAIN_ENVIRONMENT = {"OMP_WAIT_POLICY": None}  # what startup.py set here


def main():
    """Measure each size."""
    flags = _flags().parse_args()
    if flags.serve:
        return serve_one(flags)
    for size in flags.sizes:
        measure(flags, size)
    return 0


def _flags():
    parser = network_flags(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--checkpoint_activations", action="store_true")
    parser.add_argument("--alone", action="store_true", help="ours only, where the plain step would not fit into memory")
    return parser


def measure(flags, size: int) -> None:
    """Both sides at one size."""
    again = [sys.executable, "-m", "benchmarks.step", *sys.argv[1:], "--sizes", str(size), "--serve"]
    sides = {} if flags.alone else {"plain": Side([*again, "plain"], PLAIN_ENVIRONMENT)}
    sides["ours"] = Side([*again, "ours"])
    seconds = in_turn(sides, flags.rounds)
    facts = {name: side.close() for name, side in sides.items()}
    ours = facts["ours"]
    figures = {"size": size, "batch": flags.batch, "ngf": flags.ngf, "precision": ours["precision"],
               "compile": flags.compile, "checkpoint_activations": flags.checkpoint_activations}
    for name, side in facts.items():
        report("step", name, **figures, unit="seconds a step", **summary(seconds[name]), peak_mb=side["peak_mb"])
    if flags.alone:
        return
    plain, tflop = facts["plain"], _operations(flags, size)
    speed = tflop / summary(seconds["ours"])["median"]
    report("step", "ratio", **figures, ratio=ratio(seconds["plain"], seconds["ours"]),
           memory=ours["peak_mb"] / plain["peak_mb"], tflop=tflop, tflop_per_second=speed, of_matmul_peak=speed / ours["peak"],
           first_losses_differ_by=max(abs(plain["losses"][k] / ours["losses"][k] - 1) for k in plain["losses"]))


def serve_one(flags) -> int:
    """Run one of the two sides."""
    from benchmarks.plain import PlainTraining, face_batch
    from util.device import device_of, parse_gpu_ids
    batch = face_batch(flags.sizes[0], flags.batch)
    if flags.serve == "plain":
        import torch
        device = torch.device("cpu" if flags.gpu_ids == "-1" else f"cuda:{flags.gpu_ids}")
        model = PlainTraining(device, flags.ngf)
        facts, losses, step = {}, model.step(batch), model.step
    else:
        model = _model(flags)
        device = device_of(parse_gpu_ids(flags.gpu_ids))
        losses = {name: float(value) for name, value in model.train_step(batch).items()}
        facts = {"precision": model.precision, "peak": matmul_peak(model.device, model.precision)}
        step = model.train_step
    serve(lambda: step(batch), {**facts, "losses": losses}, device)
    return 0


def _operations(flags, size: int, side: int = 64) -> float:
    """10^12 floating-point operations of the plain step's convolutions: counted at a small size and scaled by the area."""
    import torch

    from benchmarks.plain import PlainTraining, face_batch
    model, batch = PlainTraining(torch.device("cpu"), flags.ngf), face_batch(side, flags.batch)
    return count_operations(lambda: model.step(batch)) * (size / side) ** 2


def _model(flags):
    return training_model("--gpu_ids", flags.gpu_ids, "--ngf", str(flags.ngf), "--ndf", str(flags.ngf), "--precision",
                          flags.precision, *["--compile"] * flags.compile,
                          *["--checkpoint_activations"] * flags.checkpoint_activations)


def training_model(*argv: str):
    """Our model in the first epoch of the documented training, with further flags, which may be of another model."""
    import contextlib
    import tempfile

    from models.models import create_model
    from options.base_options import SAMPLE_FACES
    from options.train_options import TrainOptions
    documented = [] if "--model" in argv else ["--label_feat"] + ["--no_vgg_loss"] * ("--vgg_weights" not in argv)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        model = create_model(TrainOptions().parse([
            "--name", "step", "--checkpoints_dir", folder, "--dataroot", str(SAMPLE_FACES), "--label_nc", "19", *documented,
            *argv]))
    model.start_epoch(1)
    return model


if __name__ == "__main__":
    sys.exit(main())
