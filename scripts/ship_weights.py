"""Copy an experiment's weights as they are shipped: averaged, in half precision, with the flags that describe the networks.

    python scripts/ship_weights.py checkpoints/sample_faces_training checkpoints/sample_faces --noise cloth=0.95,hat=0.3

--noise: how strong the generator's noise is in a class, 0 in those that are not named; without it, as it was trained.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch  # noqa: E402

from data.dataset_spec import CELEBAMASK_HQ  # noqa: E402
from models import weights  # noqa: E402
from options.saved import PERSONAL  # noqa: E402
from util.checkpoint import read_tensors, trained  # noqa: E402
from util.files import make_folder, write_json  # noqa: E402

# what belongs to the machine or the data trained on, and what drawing does better without
_LEFT_OUT = PERSONAL | {"dataroot", "max_dataset_size", "precision", "nThreads"}


def ship(source: Path, target: Path, noise: dict[str, float] | None = None) -> None:
    """Write <target>/latest_net_{G,E,D}.pth and opt.json from the experiment in `source`.

    noise: {class: strength}, 0 for all others; None leaves the strengths of the experiment.
    """
    make_folder(target)
    for name in "GED":
        path = weights.file_of(source, "latest", name, averaged=True)
        state = read_tensors(path)
        if name == "G" and noise is not None:
            state["noise_strength"] = torch.tensor([noise.get(one, 0.0) for one in CELEBAMASK_HQ])
        torch.save({key: value.half().contiguous() for key, value in state.items()}, target / f"latest_net_{name}.pth")
        print(f"{target / f'latest_net_{name}.pth'}: {path.name}, trained {trained(path)}")
    record = json.loads((source / "opt.json").read_text())
    options = {key: value for key, value in record["options"].items() if key not in _LEFT_OUT}
    write_json(target / "opt.json", {"options": options, "seed": record["seed"], "versions": record["versions"], "notes": []})


def strengths(text: str) -> dict[str, float]:
    """{class: strength} of "cloth=0.95,hat=0.3". Raises ValueError for a class that faces do not have."""
    found = {name: float(value) for name, value in (part.split("=") for part in text.split(","))}
    if unknown := found.keys() - set(CELEBAMASK_HQ):
        raise ValueError(f"no class of faces: {', '.join(sorted(unknown))}")
    return found


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--noise", type=strengths, metavar="CLASS=S,...")
    ship(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
