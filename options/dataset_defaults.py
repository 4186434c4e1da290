"""dataset.json's defaults: which flags a data root may set, and to what."""
from __future__ import annotations

from models.models import MODELS
from options.flags import FlagParser
from util.errors import UserError


def flag_values(parser: FlagParser, spec, where: str, training: bool) -> dict:
    """{flag: value} of what dataset.json sets of a command's own flags.

    spec: the DatasetSpec. where: the file. Raises UserError naming the file and what it may not set.
    """
    check_defaults(spec.defaults, where, parser)
    wanted = {**spec.defaults, **({"label_nc": spec.label_nc} if spec.label_nc is not None else {}),
              **({"contain_dontcare_label": True} if spec.dontcare is not None else {})}
    if not training:
        wanted.pop("batchSize", None)  # of a step; what is drawn and encoded may be of several sizes
    actions = parser.flags()
    return {dest: parser.convert(actions[dest], value, where) for dest, value in wanted.items() if dest in actions}


def check_defaults(defaults: dict, where: str, parser: FlagParser | None = None) -> None:
    """Refuse what no command lets dataset.json set: UserError naming the file, `where`, and the key.

    parser: the command at hand, if there is one; what it knows and allows is left to it.
    """
    others = sorted(defaults.keys() - (parser.from_dataset if parser else set()))
    parsers = {**_parsers(), **dict.fromkeys(parser.flags() if parser else (), parser)} if others else {}
    for dest in others:
        if dest not in parsers:
            raise UserError(f"{where}: defaults holds '{dest}', but there is no such flag; remove it or mend its name")
        if dest not in parsers[dest].from_dataset:
            raise UserError(f"{where}: defaults holds '{dest}', which is for the command line alone; remove it there and give "
                            f"--{dest}")
        parsers[dest].convert(parsers[dest].flags()[dest], defaults[dest], where)


def _parsers() -> dict[str, FlagParser]:
    """{flag: a parser that knows it} over all commands and models: what trains may be unknown to a test."""
    from options.test_options import TestOptions
    from options.train_options import TrainOptions
    found: dict[str, FlagParser] = {}
    for options in (TrainOptions(), TestOptions()):
        for model in MODELS:
            parser = options._full_parser(options._first_phase(["--model", model]), {})
            found.update(dict.fromkeys(parser.flags(), parser))
    return found
