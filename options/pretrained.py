"""The flags that a command takes over from the weights of --load_pretrain: from their opt.json, else from their shapes."""
from __future__ import annotations

import re
from pathlib import Path

from models.models import model_flags
from options import saved
from util.checkpoint import read_consistently

# facts about pictures and label maps, for which dataset.json goes before the weights
_DATA_FACTS = {"label_nc", "contain_dontcare_label", "input_nc", "output_nc"}


def find(first) -> dict:
    """The record of the weights to start from: {'options', 'path'} where there is an opt.json, and 'weights', (folder, epoch).

    first: the flags of the first phase.
    """
    folder, epoch = saved.pretrained(first.load_pretrain)
    return {**saved.read(Path(folder)), "weights": (folder, epoch or first.which_epoch or "latest")}


def unrecorded(options, first) -> dict:
    """The record of weights to draw with that have no opt.json: {'weights': (folder, epoch)}; {} where there are none.

    Of models alone whose `flags_of_weights` finds all that the networks are.
    """
    if options.role != "test" or first.name is None or first.model is None or \
            not getattr(model_flags(first.model), "shapes_suffice", False):
        return {}
    folder, epoch = Path(first.checkpoints_dir or "./checkpoints") / first.name, first.which_epoch or "latest"
    return {"weights": (folder, epoch)} if any(folder.glob(f"{epoch}_net_*.pth")) else {}


def are_a_start(options, record) -> bool:
    """Whether the values come from weights to start from (or, without opt.json, to encode with), not from an experiment."""
    return "weights" in record and (options.role == "train" or "options" not in record)


def values(parser, record, typed: dict) -> tuple[dict, str]:
    """(the values that a training from other weights takes over, checked like typed ones, and where they were found).

    Only flags that shape networks are taken over. typed: the flags of the command line. Raises UserError as `start_from` of the
    model does.
    """
    flags = model_flags(parser.get_default("model"))
    if "options" in record:
        known = saved.converted(parser, record, parser.architecture | parser.replaceable)
        where = record["path"]
    else:
        folder, epoch = record["weights"]
        known = flags.flags_of_weights(_states(Path(folder), epoch))
        where = f"the shapes in {folder}"
    return flags.start_from(known, typed, where), where


def _states(folder: Path, epoch: str) -> dict[str, dict]:
    """{network: its state dict} of an epoch; {} where there is none."""
    names = {path.name: match[1] for path in folder.glob("*.pth")
             if (match := re.fullmatch(rf"{re.escape(epoch)}_net_([^_]+)\.pth", path.name))}
    return {names[file]: {str(k).removeprefix("module."): v for k, v in state.items() if hasattr(v, "shape")}
            for file, state in read_consistently(folder, names).items()}


def without_data_facts(known: dict, said: dict) -> dict:
    """`known` without the numbers of classes and channels that dataset.json sets. said: {flag: value} of dataset.json."""
    return {dest: value for dest, value in known.items() if not (dest in said and dest in _DATA_FACTS)}
