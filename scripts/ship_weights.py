"""Copy an experiment's weights as they are shipped: averaged, in half precision, with the flags that describe the networks.

    python scripts/ship_weights.py checkpoints/sample_faces_training checkpoints/sample_faces
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch  # noqa: E402

from models import weights  # noqa: E402
from options.saved import PERSONAL  # noqa: E402
from util.checkpoint import read_tensors, trained  # noqa: E402
from util.files import make_folder, write_json  # noqa: E402

# what belongs to the machine or the data trained on, and what drawing does better without
_LEFT_OUT = PERSONAL | {"dataroot", "max_dataset_size", "precision", "nThreads"}


def ship(source: Path, target: Path) -> None:
    """Write <target>/latest_net_{G,E,D}.pth and opt.json from the experiment in `source`."""
    make_folder(target)
    for name in "GED":
        path = weights.file_of(source, "latest", name, averaged=True)
        state = read_tensors(path)
        torch.save({key: value.half().contiguous() for key, value in state.items()}, target / f"latest_net_{name}.pth")
        print(f"{target / f'latest_net_{name}.pth'}: {path.name}, trained {trained(path)}")
    record = json.loads((source / "opt.json").read_text())
    options = {key: value for key, value in record["options"].items() if key not in _LEFT_OUT}
    write_json(target / "opt.json", {"options": options, "seed": record["seed"], "versions": record["versions"], "notes": []})


if __name__ == "__main__":
    ship(*map(Path, sys.argv[1:3]))
