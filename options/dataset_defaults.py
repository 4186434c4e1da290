"""The defaults in dataset.json: which flags a data root may set, and to which values."""
from __future__ import annotations

from models.models import MODELS
from options.flags import FlagParser
from util.errors import UserError


def flag_values(parser: FlagParser, spec, where: str, training: bool) -> dict:
    """{flag: value} that dataset.json sets, of the flags of a command.

    spec: the DatasetSpec. where: the file. Raises UserError naming the file and a flag that it may not set.
    """
    check_defaults(spec.defaults, where, parser)
    wanted = {**spec.defaults, **({"label_nc": spec.label_nc} if spec.label_nc is not None else {}),
              **({"contain_dontcare_label": True} if spec.dontcare is not None else {})}
    if not training:
        wanted.pop("batchSize", None)  # it is that of training; pictures to draw may differ in size
    actions = parser.flags()
    return {dest: parser.convert(actions[dest], value, where) for dest, value in wanted.items() if dest in actions}


def check_defaults(defaults: dict, where: str, parser: FlagParser | None = None) -> None:
    """Raise UserError naming the file, `where`, and a key that no command allows in dataset.json.

    parser: of the current command, if there is one; the keys that it allows are not checked here.
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
    """{flag: a parser that has it} over all commands and models, as commands have different flags."""
    from options.test_options import TestOptions
    from options.train_options import TrainOptions
    found: dict[str, FlagParser] = {}
    for options in (TrainOptions(), TestOptions()):
        for model in MODELS:
            parser = options._full_parser(options._first_phase(["--model", model]), {})
            found.update(dict.fromkeys(parser.flags(), parser))
    return found
