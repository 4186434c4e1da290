"""Renumber the label maps of a face data root from one scheme to the other; the change can be undone exactly.

python -m datasets.relabel --data datasets/faceOriginIm --to face-parsing
"""
from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from pathlib import Path

import numpy as np

from data.dataset_spec import FILE_NAME, SCHEMES, DatasetSpec, face_spec
from data.image_files import list_images, read_label
from datasets._folders import file_names, write_ids
from datasets._program import Program
from datasets._work import work_through
from util.command_line import command_line
from util.errors import UserError
from util.files import make_folder, read_json, write_json

# Maps are first converted into this folder, and replace the old ones once all are done. The journal records the progress, so
# that an interrupted run, which may leave maps of both numberings, can be completed.
STAGE, JOURNAL = ".relabel", "journal.json"
KINDS = ("label", "inst")


def translation(before: str, after: str) -> np.ndarray:
    """(classes,) integer table: table[id in `before`] is the id of the same part in `after`."""
    return np.array([SCHEMES[after].index(name) for name in SCHEMES[before]], dtype=np.int32)


def relabel(ids: np.ndarray, table: np.ndarray, name="label map", dontcare: int | None = None) -> np.ndarray:
    """Renumber a label or instance map: (H, W) integers -> (H, W) int32.

    Ids from 1000 up are instances, class * 1000 + number, and keep their number; `dontcare`, the id of unlabelled pixels, is
    unchanged. Raises UserError naming `name` for an id that is not in the scheme.
    """
    ids = ids.astype(np.int32)
    unlabelled = np.zeros(ids.shape, bool) if dontcare is None else ids == dontcare
    classes = np.where(unlabelled, 0, np.where(ids < 1000, ids, ids // 1000))
    wrong = classes[(classes < 0) | (classes >= len(table))]
    if wrong.size:
        raise UserError(f"{name}: holds label {wrong[0]}, but this numbering has 0 to {len(table) - 1}; mend it, or "
                        "give the numbering it follows with --from")
    renumbered = np.where(ids < 1000, table[classes], table[classes] * 1000 + ids % 1000)
    return np.where(unlabelled, ids, renumbered)


def folders_of(root: Path) -> list[str]:
    """The names of the label and instance folders of a data root. Raises UserError if there are none."""
    found = sorted(path.name for path in root.iterdir()
                   if path.is_dir() and path.name.endswith(tuple(f"_{kind}" for kind in KINDS)))
    if not any(name.endswith("_label") for name in found):
        raise UserError(f"--data {root}: holds no <phase>_label folder; give the folder that holds train_label")
    return found


def convert(task, table: np.ndarray, dontcare: int | None = None) -> None:
    """Renumber one map. task: (source, target)."""
    source, target = task
    write_ids(target, relabel(read_label(source), table, source, dontcare))


def stage_maps(root: Path, table: np.ndarray, dontcare: int | None, jobs: int) -> None:
    """Renumber all maps into the staging folder, see `relabel`, except those that are there already."""
    tasks = []
    for folder in folders_of(root):
        for path in list_images(root / folder).values():
            target = (root / STAGE / folder / path.relative_to(root / folder)).with_suffix(".png")
            make_folder(target.parent)
            tasks.append((path, target))
    there = {folder: file_names(folder) for folder in {target.parent for _, target in tasks}}
    tasks = [(source, target) for source, target in tasks if target.name not in there[target.parent]]
    work_through(functools.partial(convert, table=table, dontcare=dontcare), tasks, jobs, "label maps")


def replace_maps(root: Path, spec: DatasetSpec) -> int:
    """Replace the maps by the staged ones and update dataset.json. Can be repeated after an interruption. Returns the count."""
    count = 0
    for folder in folders_of(root):
        old = {path.relative_to(root / folder).with_suffix(""): path for path in list_images(root / folder).values()}
        for staged in sorted((root / STAGE / folder).rglob("*.png")):
            name = staged.relative_to(root / STAGE / folder)
            before = old.get(name.with_suffix(""))
            if before is not None and before.name != name.name:
                before.unlink()  # a.bmp becomes a.png; first, as two files of one name but for the extension are refused
            os.replace(staged, root / folder / name)
            count += 1
    path = root / FILE_NAME
    raw = read_json(path) if path.is_file() else {}
    write_json(path, {**raw, **spec.as_dict()})
    shutil.rmtree(root / STAGE)
    return count


def new_spec(old: DatasetSpec, table: np.ndarray, after: str) -> DatasetSpec:
    """The spec in the new numbering; colours and defaults stay, and what the parts of a face are made of."""
    spec = face_spec(after, old.defaults)
    colors = [old.colors[int(np.flatnonzero(table == i)[0])] for i in range(len(table))] if old.colors else []
    return dataclasses.replace(spec, colors=tuple(colors), parts=old.parts or spec.parts)


def is_interrupted(root: Path) -> bool:
    """Whether an earlier run was interrupted while replacing maps, so that some are of either numbering."""
    path = Path(root) / STAGE / JOURNAL
    return path.is_file() and read_json(path).get("state") == "replacing"


def begin(root: Path, before: str, after: str) -> dict:
    """The journal of this change: a new one, or that of an interrupted run. Raises UserError if that made another change."""
    path = root / STAGE / JOURNAL
    journal = read_json(path) if path.is_file() else None
    if journal and journal["state"] == "replacing" and journal["to"] != after:
        raise UserError(f"--to {after}: a change to {journal['to']} was broken off half-way; finish it with "
                        f"--to {journal['to']} first")
    if journal and (journal["state"] == "replacing" or (journal["from"], journal["to"]) == (before, after)):
        return journal
    shutil.rmtree(root / STAGE, ignore_errors=True)
    make_folder(root / STAGE)
    journal = {"from": before, "to": after, "state": "converting"}
    write_json(path, journal)
    return journal


def flags() -> Program:
    parser = Program("relabel", "Renumber the label maps of a face data root, in place. Nothing is changed before every map is "
                     "converted; broken off, the same command goes on where it was. Networks trained on the old numbering do "
                     "not fit the new one.",
                     "--data datasets/faceOriginIm --to face-parsing", "--data datasets/faceOriginIm --to celebamask-hq")
    parser.add_argument("--data", required=True, help="the data root, with its <phase>_label folders")
    parser.add_argument("--to", required=True, choices=sorted(SCHEMES), help="the numbering to change to")
    parser.add_argument("--from", dest="before", choices=sorted(SCHEMES),
                        help=f"the numbering it has (default: what its {FILE_NAME} says)")
    parser.add_shared("--jobs", "--verbose")
    return parser


def current_scheme(spec: DatasetSpec, asked: str | None, root: Path) -> str:
    """The numbering of a data root. Raises UserError if it is not known, or --from contradicts dataset.json."""
    if asked and spec.scheme and asked != spec.scheme:
        raise UserError(f"--from {asked}: {root / FILE_NAME} says the numbering is {spec.scheme}; leave --from out")
    scheme = asked or spec.scheme
    if scheme not in SCHEMES:
        found = f"says '{scheme}'" if scheme else "says nothing about the numbering"
        raise UserError(f"{root / FILE_NAME}: {found}; give it with --from {' or '.join(SCHEMES)}")
    return scheme


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    args = flags().parse_args(arguments)
    root = Path(args.data)
    if not root.is_dir():
        raise UserError(f"--data {root}: there is no such folder")
    folders_of(root)
    spec = DatasetSpec.read(root)
    before = current_scheme(spec, args.before, root)
    if before == args.to and not is_interrupted(root):
        shutil.rmtree(root / STAGE, ignore_errors=True)
        print(f"{root}: is numbered {args.to} already")
        return 0
    journal = begin(root, before, args.to)
    table = translation(journal["from"], journal["to"])
    if journal["state"] == "converting":
        stage_maps(root, table, spec.dontcare, args.jobs)
        journal["state"] = "replacing"
        write_json(root / STAGE / JOURNAL, journal)
    count = replace_maps(root, new_spec(spec, table, args.to) if spec.scheme != args.to else spec)
    print(f"{root}: {count} maps renumbered from {journal['from']} to {journal['to']}")
    return 0


if __name__ == "__main__":
    command_line(main)()
