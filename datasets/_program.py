"""The command line of a preparation program: shared flags, --help with examples, errors of one line."""
from __future__ import annotations

from options.flags import FlagParser, whole

_SHARED = {
    "--src": {"required": True, "metavar": "DIR"},
    "--out": {"required": True, "metavar": "DIR", "help": "the data root to write"},
    "--size": {"type": whole(16, 4096), "default": 512, "help": "side of photos and label maps, in pixels"},
    "--limit": {"type": whole(1), "metavar": "N", "help": "only the first N pictures"},
    "--jobs": {"type": whole(0), "default": 0, "help": "processes to work with; 0: one a processor core"},
    "--verbose": {"action": "store_true", "help": "show the traceback of an error"},
}


class Program(FlagParser):
    """The parser of `python -m datasets.NAME`."""

    def __init__(self, name: str, description: str, *examples: str):
        """examples: arguments of the program, or other commands that start with 'python'."""
        command = f"python -m datasets.{name}"
        lines = [f"    {line if line.startswith('python') else f'{command} {line}'}" for line in examples]
        super().__init__(prog=command, description=description, closing="\n".join(["example:\n", *lines]))

    def add_shared(self, *flags: str, **changes) -> None:
        """Add flags of _SHARED. changes: keywords of `add_argument` that replace theirs."""
        for flag in flags:
            self.add_argument(flag, **{**_SHARED[flag], **changes})

    def format_help(self):
        """As FlagParser's, with the required arguments in the first line."""
        required = [" ".join([*action.option_strings[:1], action.metavar or action.dest.upper()])
                    for action in self._actions if action.required]
        self.usage = " ".join(["%(prog)s", *required, "[flags]"])
        return super().format_help()
