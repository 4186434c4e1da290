"""Write attributes.csv of a folder of photos, by a classifier that was trained with train.py --model attributes.

python -m datasets.label_attributes --images datasets/mine/train_img --checkpoint checkpoints/oracle
"""
from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from data.attribute_table import FILES, AttributeTable
from data.attributes_dataset import AttributesDataset
from data.image_files import list_images
from datasets._folders import write_csv
from datasets._program import Program
from options.flags import whole
from util.command_line import command_line
from util.errors import UserError
from util.progress import Progress

UNSURE = (0.25, 0.75)  # probabilities between which an attribute may as well be there as not


def label(images, out: Path, oracle, batch: int = 32) -> np.ndarray:
    """Write the attributes of all photos of a folder into `out`; gives their probabilities, (photos, A).

    images: <phase>_img of a data root, which makes rows of that split beside those of others, or any folder. Raises UserError
    for photos that cannot be read, and for a table that has other columns, or rows of these photos already.
    """
    photos, phase = list_images(images), _phase(images)
    if not photos:
        raise UserError(f"--images {images}: holds no pictures")
    kept = _kept(out, phase, oracle.names)
    opt, found = oracle.model.opt, []
    files = list(photos.values())
    with Progress(len(files)) as progress:
        for i in range(0, len(files), batch):
            squares = [np.asarray(AttributesDataset.read_square(opt, file).convert("RGB")) for file in files[i:i + batch]]
            found.append(oracle(np.stack(squares)))
            progress.update(len(squares))
    found = np.concatenate(found)
    rows = [[name, *([phase] if phase else []), *(row > 0.5).astype(int)] for name, row in zip(photos, found)]
    write_csv(out, ["name", *(["split"] if phase else []), *oracle.names], [*kept, *rows])
    return found


def _phase(images) -> str:
    name = Path(images).resolve().name
    return name.removesuffix("_img") if name.endswith("_img") else ""


def _kept(out: Path, phase: str, names) -> list[list[str]]:
    """The rows of other splits that a table holds already."""
    if not out.is_file():
        return []
    table = AttributeTable.read(out)
    splits = {split for split, _ in table.rows}
    if list(table.names) != list(names) or not phase or phase in splits or "" in splits:
        what = f"rows of {phase or 'photos'}" if phase in splits or "" in splits else "other columns"
        raise UserError(f"{out}: holds {what} already; move it away, or name another file with --out")
    with open(out, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def flags() -> Program:
    parser = Program("label_attributes", "Write attributes.csv of a folder of photos, by a trained classifier.",
                     "--images datasets/mine/train_img --checkpoint checkpoints/oracle")
    parser.add_argument("--images", required=True, metavar="DIR", help="photos: <phase>_img of a data root, or any folder")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="an experiment of train.py --model attributes")
    parser.add_argument("--out", metavar="FILE", help=f"the table (default: {FILES[0]} of the data root; of another folder, in "
                        "it)")
    parser.add_argument("--gpu_ids", default="0", help="the device; -1 for the CPU")
    parser.add_argument("--batchSize", type=whole(1), default=32, help="photos at a time")
    parser.add_shared("--verbose")
    return parser


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    from models.attributes_model import AttributeOracle  # torch takes seconds to import, and --help need not wait for it
    images = Path(args.images)
    if not images.is_dir():
        raise UserError(f"--images {images}: there is no such folder")
    out = Path(args.out) if args.out else (images.parent if _phase(images) else images) / FILES[0]
    oracle = AttributeOracle.load(args.checkpoint, args.gpu_ids)
    found = label(images, out, oracle, args.batchSize)
    for name, column in zip(oracle.names, found.T):
        unsure = np.mean((column > UNSURE[0]) & (column < UNSURE[1]))
        print(f"{name}: {np.mean(column > 0.5):.1%} of the photos" + f", unsure for {unsure:.1%}" * bool(unsure))
    print(f"{out}: the attributes of {len(found)} photos")
    return 0


if __name__ == "__main__":
    command_line(main)()
