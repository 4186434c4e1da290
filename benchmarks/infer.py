"""Inference, compared with a plain implementation: python -m benchmarks.infer [--precision bf16] [--data_type 8] [--batch 4]

From a label map and a photo to a picture with that photo's features (--use_encoded_image), with pix2pixHD's default networks.
Both sides run alternately in processes of their own; the figures are seconds a picture, their ratio, TFLOP/s and its share
of the rate of a matrix product. The plain side draws one picture at a time.
"""
from __future__ import annotations

import sys

if "plain" not in sys.argv:  # the plain side uses PyTorch's defaults
    import startup  # noqa: F401 - before torch
from benchmarks._timing import Side, count_operations, in_turn, matmul_peak, network_flags, ratio, report, serve, summary
from benchmarks.step import PLAIN_ENVIRONMENT


def main():
    """Measure each size."""
    parser = network_flags(__doc__.splitlines()[0], rounds=7)
    parser.add_argument("--data_type", default="32", choices=("8", "16", "32"), help="bits, on a CPU run by OpenVINO")
    flags = parser.parse_args()
    if flags.serve:
        return serve_one(flags)
    for size in flags.sizes:
        measure(flags, size)
    return 0


def measure(flags, size: int) -> None:
    """Both sides at one size."""
    again = [sys.executable, "-m", "benchmarks.infer", *sys.argv[1:], "--sizes", str(size), "--serve"]
    sides = {"plain": Side([*again, "plain"], PLAIN_ENVIRONMENT), "ours": Side([*again, "ours"])}
    seconds = in_turn(sides, flags.rounds, warmup=2)
    seconds["ours"] = [value / flags.batch for value in seconds["ours"]]
    facts = {name: side.close() for name, side in sides.items()}
    ours, plain = facts["ours"], facts["plain"]
    figures = {"size": size, "batch": flags.batch, "ngf": flags.ngf, "precision": ours["precision"],
               "data_type": flags.data_type, "compile": flags.compile}
    for name in facts:
        report("infer", name, **figures, unit="seconds a picture", **summary(seconds[name]))
    tflop = _operations(flags, size)
    speed = tflop / summary(seconds["ours"])["median"]
    report("infer", "ratio", **figures, ratio=ratio(seconds["plain"], seconds["ours"]),
           tflop=tflop, tflop_per_second=speed, of_matmul_peak=speed / ours["peak"],
           levels_of_255_they_differ_by=max(abs(a - b) for a, b in zip(plain["drawn"], ours["drawn"])) * 127.5)


def _operations(flags, size: int, side: int = 64) -> float:
    """10^12 floating-point operations of the plain inference: counted at a small size and scaled by the area."""
    import torch

    from benchmarks.plain import PlainDrawing, face_batch
    drawing, batch = PlainDrawing(torch.device("cpu"), flags.ngf), face_batch(side)
    return count_operations(lambda: drawing.draw(batch)) * (size / side) ** 2


def serve_one(flags) -> int:
    """Run one of the two sides."""
    import torch

    from benchmarks.plain import PlainDrawing, face_batch
    from util.device import device_of, parse_gpu_ids
    size = flags.sizes[0]
    if flags.serve == "plain":
        device = torch.device("cpu" if flags.gpu_ids == "-1" else f"cuda:{flags.gpu_ids}")
        plain, batch, facts = PlainDrawing(device, flags.ngf), face_batch(size), {}

        def draw():
            return plain.draw(batch).cpu()
    else:
        model, device, batch = _model(flags), device_of(parse_gpu_ids(flags.gpu_ids)), face_batch(size, flags.batch)
        facts = {"precision": model.precision, "peak": matmul_peak(device, model.precision)}

        def draw():
            return model.inference(batch)["synthesized_image"].cpu()
    sample = draw()[0].flatten()[:: size * size // 64].tolist()
    serve(draw, {**facts, "drawn": sample}, device)
    return 0


def _model(flags):
    return drawing_model(flags.ngf, "--gpu_ids", flags.gpu_ids, "--precision", flags.precision, "--data_type", flags.data_type,
                         *["--compile"] * flags.compile)


def drawing_model(ngf: int, *argv: str):
    """Our model with the weights of `PlainDrawing`, for pictures in the features of their photos, with further flags."""
    import contextlib
    import tempfile
    from pathlib import Path

    import torch

    from benchmarks.plain import PlainDrawing
    from models.models import create_model
    from options.base_options import SAMPLE_FACES
    from options.test_options import TestOptions
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        weights = PlainDrawing(torch.device("cpu"), ngf)
        (Path(folder) / "infer").mkdir()
        for name in "GE":
            torch.save(getattr(weights, name).state_dict(), Path(folder) / "infer" / f"latest_net_{name}.pth")
        del weights
        return create_model(TestOptions().parse([
            "--name", "infer", "--checkpoints_dir", folder, "--dataroot", str(SAMPLE_FACES), "--label_nc", "19", "--label_feat",
            "--use_encoded_image", "--ngf", str(ngf), *argv]))


if __name__ == "__main__":
    sys.exit(main())
