"""Whole commands, compared with plain ones: python -m benchmarks.startup [--experiment checkpoints/NAME]

test.py and encode_features.py on four photos, with pix2pixHD's default networks at 512 pixels. The plain commands initialise
the networks before they load weights, and draw or encode one photo after the other. Without --experiment and --dataroot, random
weights and four shipped faces are used. The commands run alternately.
"""
from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from benchmarks._timing import in_commands, ratio, report, summary

LOAD_SIZE = 512


def main():
    """Make weights and data if they are not given, and measure each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", type=Path, help="folder of full-size weights (G, E); random ones without it")
    parser.add_argument("--dataroot", type=Path, help="folder with four pairs in train_img and train_label")
    commands = ["test", "encode", "encode_only"]
    parser.add_argument("--commands", nargs="+", default=commands, choices=commands)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gpu_ids", default="-1")
    parser.add_argument("--more", default="", help="further flags for ours, such as --more='--precision bf16'")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        experiment = flags.experiment or _random_weights(Path(folder) / "checkpoints" / "startup")
        data = flags.dataroot or _four_faces(Path(folder) / "data")
        for command in flags.commands:
            measure(command, experiment, data, Path(folder), flags)
    return 0


def measure(command: str, experiment: Path, data: Path, folder: Path, flags) -> None:
    """Measure both sides of a command. encode_only: without the style sheet, which the plain command does not make."""
    script = "test.py" if command == "test" else "encode_features.py"
    ours = [sys.executable, script, "--name", experiment.name, "--checkpoints_dir", str(experiment.parent), "--dataroot",
            str(data), "--label_nc", "19", "--loadSize", str(LOAD_SIZE), "--label_feat", "--phase", "train",
            "--gpu_ids", flags.gpu_ids,
            *(["--use_encoded_image", "--results_dir", str(folder / "results")] if command == "test" else []),
            *["--no_style_sheet"] * (command == "encode_only"), *flags.more.split()]
    plain = [sys.executable, "-m", "benchmarks.startup_plain", command.split("_")[0], str(experiment), str(data),
             str(folder / "plain"), flags.gpu_ids]
    seconds = in_commands({"plain": plain, "ours": ours}, flags.rounds)
    for name, found in seconds.items():
        report("startup", name, command=command, unit="seconds a command", **summary(found))
    report("startup", "ratio", command=command, more=flags.more, ratio=ratio(seconds["plain"], seconds["ours"]))


def _random_weights(folder: Path) -> Path:
    import torch

    from benchmarks.plain import PlainTraining
    folder.mkdir(parents=True)
    networks = PlainTraining(torch.device("cpu"))
    for name in "GDE":
        torch.save(getattr(networks, name).state_dict(), folder / f"latest_net_{name}.pth")
    return folder


def _four_faces(folder: Path) -> Path:
    """The first shipped pairs, at the size and in the formats of CelebAMask-HQ."""
    from PIL import Image

    from options.base_options import SAMPLE_FACES
    kinds = ("img", 1024, ".jpg", Image.Resampling.BICUBIC), ("label", 512, ".png", Image.Resampling.NEAREST)
    for kind, size, suffix, how in kinds:
        (folder / f"train_{kind}").mkdir(parents=True)
        for path in sorted((SAMPLE_FACES / f"train_{kind}").iterdir())[:4]:
            with contextlib.closing(Image.open(path)) as image:
                image.resize((size, size), how).save(folder / f"train_{kind}" / (path.stem + suffix), quality=92)
    return folder


if __name__ == "__main__":
    sys.exit(main())
