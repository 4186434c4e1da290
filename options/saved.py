"""opt.json, the record of an experiment's options, and which of them later commands inherit."""
from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

from data.transforms import without_crop
from util.device import PRECISIONS
from util.errors import UserError
from util.experiment import experiment_folder, versions
from util.files import atomic_write, read_json

# flags of a single command, which are never inherited
PERSONAL = {"name", "checkpoints_dir", "gpu_ids", "local_rank", "verbose", "continue_train", "load_pretrain",
            "which_epoch", "phase", "results_dir", "debug"}


SHIPPED = "sample_faces"  # the experiment whose weights come with this project


def find(options, first) -> dict:
    """The record from which a command inherits options: {'options', 'path', 'name'}; {} if there is none.

    options: the BaseOptions, whose role decides. first: the flags of the first phase.
    """
    root = Path(first.checkpoints_dir or "./checkpoints")
    if options.role == "train" and not first.continue_train:
        return {}
    if first.name is not None:
        return read(root / first.name)
    name = trained_last(root)
    if name is None and options.role == "test" and (root / SHIPPED / "opt.json").is_file():
        print(f"No --name given, and no experiment of your own in {root}: using the weights that come with this project, "
              f"'{SHIPPED}'")
        return {**read(root / SHIPPED), "name": SHIPPED, "origin": "shipped"}
    if name is None:
        raise UserError(f"--name is not given and {root} holds no trained experiment; run train.py first, "
                        "or name one with --name")
    if name != "label2city":
        print(f"No --name given: using '{name}', the experiment trained last in {root}")
    return {**read(root / name), "name": name}


def pretrained(path: str) -> tuple[str, str | None]:
    """(the folder, the epoch) that --load_pretrain names: a folder, or the file of an epoch in it. The epoch may be None.

    Raises UserError for another file.
    """
    if Path(path).is_dir() or not (Path(path).is_file() or path.endswith(".pth")):
        return path, None
    epoch = re.fullmatch(r"(latest|best|[0-9]{1,9})_net_\w+\.pth", Path(path).name)
    if epoch is None:
        raise UserError(f"--load_pretrain {path}: is no folder of weights; give the folder that holds the files named "
                        "<epoch>_net_<network>.pth, such as latest_net_G.pth, or one of these files")
    return str(Path(path).parent), epoch[1]


def trained_last(root: Path) -> str | None:
    """'label2city' if it has been trained, else the experiment whose training wrote last."""
    if any((root / "label2city").glob("*_net_*.pth")):
        return "label2city"
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name == SHIPPED and not (folder / "iter.txt").is_file():
            continue
        marks = [folder / "latest_state.pth", folder / "iter.txt", *folder.glob("*_net_*.pth")]
        # experiments that were trained here take precedence over copied weights
        trained = any(mark.is_file() for mark in marks[:2])
        times = [mark.stat().st_mtime for mark in (marks[:2] if trained else marks) if mark.is_file()]
        if times:
            found.append((trained, max(times), folder.name))
    return max(found)[2] if found else None


def read(folder: Path) -> dict:
    """The record of an experiment: {'options', 'path', 'precision_used'}; {} if it has none. Raises UserError for a broken one.

    precision_used: what its training computes in, which `--precision auto` alone does not tell; None if that is unknown.
    """
    path = folder / "opt.json"
    if not os.path.isfile(path):  # False, too, for a name too long to exist
        return {}
    raw = read_json(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("options"), dict):
        raise UserError(f"{path}: holds no options; restore the file, or delete it and give the flags by hand")
    used = raw.get("precision_used", raw["options"].get("precision"))
    return {"options": raw["options"], "path": str(path), "precision_used": used if used in PRECISIONS else None}


def inherited_values(options, parser, record) -> dict:
    """The values that a command inherits, validated like those of the command line. A resumed training inherits all, other
    commands those of architecture and data."""
    wanted = set(parser.flags()) if options.role == "train" else parser.architecture | parser.inherited
    values = converted(parser, record, wanted)
    if "resize_or_crop" in values and options.role != "train":
        values["resize_or_crop"] = without_crop(values["resize_or_crop"])
    return values


def converted(parser, record, wanted: set[str]) -> dict:
    """The values of a record for the flags `wanted` that the parser has, validated like those of the command line."""
    known, actions = record.get("options", {}), parser.flags()
    return {dest: parser.convert(actions[dest], known[dest], record["path"])
            for dest in sorted((wanted - PERSONAL) & set(known) & set(actions))}


def write(opt, precision_used: str | None = None) -> None:
    """Write opt.json (for programs) and opt.txt (for people) into the experiment's folder.

    precision_used: what a training computes in. It stands beside the flag --precision, which may say auto: a resume keeps it,
    while drawing, perhaps on another machine, chooses anew.
    """
    folder = experiment_folder(opt)
    forced = {k for k, source in opt.sources.items() if source == "encoding"}  # set for encoding only
    flags = {k: _plain(v) for k, v in opt.flags().items() if k not in forced}
    record = {"options": flags, "sources": dict(opt.sources), "command": opt.command, "seed": opt.seed,
              "versions": versions(), "notes": list(opt.notes)}
    if precision_used:
        record["precision_used"] = precision_used
    with atomic_write(folder / "opt.json", "w") as stream:
        stream.write(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    lines = ["------------ Options -------------", *(f"{k}: {v}" for k, v in sorted(flags.items())),
             *[f"# precision used: {precision_used}"] * bool(precision_used), *(f"# {note}" for note in opt.notes),
             "-------------- End ----------------"]
    with atomic_write(folder / "opt.txt", "w") as stream:
        stream.write("\n".join(lines) + "\n")


def _plain(value):
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    if isinstance(value, list) and all(isinstance(i, int) for i in value):
        return ",".join(map(str, value)) or "-1"
    return value


def known_kind(name, lookup, path: str) -> str:
    """The name of a model or data set in a record. Raises UserError naming the record if it is unknown."""
    try:
        lookup(str(name))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return name
