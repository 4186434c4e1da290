"""The argument parser of the option classes: types with descriptive errors, properties of flags, errors of one line."""
from __future__ import annotations

import argparse
import math
import os
import re

from util.errors import UserError

INF = float("inf")
_KINDS = ("architecture", "inherited", "replaceable", "from_dataset", "without_effect")


class FlagParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are a UserError of one line, and whose flags have properties.

    Properties are given when a flag is added, or for all flags of a group:

        group = parser.add_argument_group("generator", architecture=True, from_dataset=True)
        group.add_argument("--ngf", type=whole(1), default=64, help="channels of the first layer")

    architecture: its value is fixed by the weights; a later command may not contradict it.
    replaceable: it shapes only the first or last layers, adds some, or belongs to a network that inference does not use. A
        training from --load_pretrain uses the experiment's value by default, like architecture, but may set another; those
        layers are then initialised anew.
    inherited: test and encode use the experiment's value by default. A resumed training uses all values of the experiment.
    from_dataset: dataset.json may set it; so never a flag for a path, a file, a device or an experiment.
    without_effect: accepted for compatibility with pix2pixHD's commands; only the last line of --help lists it.
    All default to False. The parser has the sets of destinations as attributes of the same names.

    Every switch NAME is turned off by --no-NAME, whatever turned it on; the last of several applies.
    """

    def __init__(self, closing: str = "", **kwargs):
        """closing: the end of --help, before the flags without effect."""
        self._closing = closing
        self.architecture: set[str] = set()
        self.inherited: set[str] = set()
        self.replaceable: set[str] = set()
        self.from_dataset: set[str] = set()
        self.without_effect: set[str] = set()
        super().__init__(allow_abbrev=False, formatter_class=_Help, usage="%(prog)s [flags]", **kwargs)

    def add_argument_group(self, *args, **kwargs):
        """As argparse's, with properties that are the defaults of its flags."""
        group = _Group(self, *args, **kwargs)
        self._action_groups.append(group)
        return group

    def add_argument(self, *args, **kwargs):
        """As argparse's, with architecture, inherited, replaceable, from_dataset and without_effect."""
        return self._declared(super().add_argument, args, kwargs)

    def _declared(self, add, args, kwargs) -> argparse.Action:
        kinds = [kind for kind in _KINDS if kwargs.pop(kind, False)]
        if "without_effect" in kinds:
            kwargs["help"] = argparse.SUPPRESS
        action = add(*args, **kwargs)
        for kind in kinds:
            getattr(self, kind).add(action.dest)
        return action

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, with --no-NAME for every switch; --help does not list them."""
        for dest, action in self.flags().items():
            if isinstance(action, argparse._StoreTrueAction):
                self._option_string_actions.setdefault(f"--no-{dest}", argparse._StoreFalseAction([f"--no-{dest}"], dest))
        return super().parse_known_args(args, namespace)

    def without(self, *dests: str) -> None:
        """Accept flags that others have added without effect."""
        self.without_effect.update(dests)
        for dest in dests:
            self.flags()[dest].help = argparse.SUPPRESS

    def format_help(self):
        """As argparse's; last, the flags without effect."""
        self.epilog = self._closing
        if self.without_effect:
            self.epilog += f"\n\nAccepted without effect: {', '.join(f'--{dest}' for dest in sorted(self.without_effect))}"
        return super().format_help()

    def error(self, message):
        raise UserError(f"{message} (--help lists every flag)")

    def flags(self) -> dict[str, argparse.Action]:
        """Every flag by its destination, --help left out."""
        return {action.dest: action for action in self._actions if action.dest != "help"}

    def convert(self, action: argparse.Action, value, where: str):
        """Validate and convert a value of other origin like one of the command line. Raises UserError naming `where`."""
        try:
            if action.nargs == 0:
                if not isinstance(value, bool):
                    raise argparse.ArgumentTypeError(f"must be true or false, not {value!r}")
                return value
            if isinstance(action, argparse._AppendAction):
                return [self._get_value(action, str(item)) for item in value]
            if value is None and action.default in (None, argparse.SUPPRESS):
                return None
            value = self._get_value(action, str(value))
            self._check_value(action, value)
            return value
        except (argparse.ArgumentError, argparse.ArgumentTypeError) as error:
            reason = getattr(error, "message", None) or str(error)
            raise UserError(f"{where}: {action.option_strings[0]} {reason}") from None


class _Group(argparse._ArgumentGroup):
    """Flags under one heading of --help, with common properties."""

    def __init__(self, parser: FlagParser, *args, **kwargs):
        self.parser, self.kinds = parser, {kind: kwargs.pop(kind, False) for kind in _KINDS}
        super().__init__(parser, *args, **kwargs)

    def add_argument(self, *args, **kwargs):
        """As FlagParser's."""
        return self.parser._declared(super().add_argument, args, {**self.kinds, **kwargs})


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help as wide as the terminal. Indented paragraphs of descriptions, which are examples, are not wrapped."""

    def __init__(self, prog, **kwargs):
        super().__init__(prog, max_help_position=30, **kwargs)

    def _get_help_string(self, action):
        if action.default in (None, "", argparse.SUPPRESS) or action.nargs == 0:
            return action.help
        return super()._get_help_string(action)

    def _get_default_metavar_for_optional(self, action):
        return "N" if isinstance(action.default, (int, float)) else super()._get_default_metavar_for_optional(action)

    def _fill_text(self, text, width, indent):
        return "\n\n".join(part if part.startswith("    ") else super(_Help, self)._fill_text(part, width, indent)
                           for part in text.split("\n\n"))


def whole(low: int = 0, high: int | None = None):
    """A whole number of at least `low` and at most `high`."""
    allowed = f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"

    def parse(text):
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {allowed}, not '{text}'") from None
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"must be {allowed}, not {value}")
        return value
    return parse


def whole_or_inf(low: int = 0):
    """A whole number of at least `low`, or inf for no limit."""
    def parse(text):
        return INF if str(text).strip().lower() == "inf" else whole(low)(text)
    return parse


def number(low: float = -INF, high: float = INF, above: bool = False, below: bool = False, infinite: bool = False):
    """A finite number from `low` to `high`; above and below leave out the ends; infinite also allows inf, no limit."""
    ends = [f"{'above' if above else 'at least'} {low:g}" if low > -INF else "",
            f"{'below' if below else 'at most'} {high:g}" if high < INF else ""]
    allowed = " ".join(["a finite number", " and ".join(filter(None, ends))]).strip()

    def parse(text):
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {allowed}, not '{text}'") from None
        if infinite and value == INF:
            return value
        out = not math.isfinite(value) or value < low or value > high
        if out or (above and value == low) or (below and value == high):
            raise argparse.ArgumentTypeError(f"must be {allowed}, not {text}")
        return value
    return parse


def folder_name(text):
    """A name that stays in its folder: no separators, no leading dot, no control characters."""
    bad = not text.strip() or text.startswith(".") or len(os.fsencode(text)) > 200 or re.search(r"[/\\\x00-\x1f\x7f]", text)
    if bad:
        raise argparse.ArgumentTypeError(f"must be a plain folder name (no / or \\, no leading dot), not {text[:80]!r}")
    return text


def epoch_name(text):
    """'latest', 'best' or the number of an epoch."""
    if not re.fullmatch(r"latest|best|[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"must be 'latest', 'best' or the number of a saved epoch, not {text[:80]!r}")
    return text


def style_choice(text):
    """CLASS=NUMBER or CLASS=random, as --style takes it."""
    name, _, style = text.rpartition("=")
    if not name.strip() or not (style == "random" or re.fullmatch(r"[0-9]{1,9}", style)):
        raise argparse.ArgumentTypeError(f"must be CLASS=NUMBER or CLASS=random, such as hair=3, not {text[:80]!r}")
    return text


def names(text):
    """Names parted by commas: 'hair, skin' -> 'hair,skin'."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts) or len(set(parts)) != len(parts):
        raise argparse.ArgumentTypeError(f"must be different names parted by commas, such as hair,skin, not {text[:80]!r}")
    return ",".join(parts)


def names_of(*known: str):
    """Names of `known` parted by commas, such as color,cutout; none for ''."""
    def parse(text):
        found = names(text) if text else ""
        if unknown := [name for name in found.split(",") if name and name not in known]:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(known)}, parted by commas, not {unknown[0][:80]!r}")
        return found
    return parse


class Repeated(argparse._AppendAction):
    """A flag that may be given several times: its values as a list, in their order."""

    def __call__(self, parser, namespace, values, option_string=None):
        if not isinstance(getattr(namespace, self.dest, None), list):  # the parser's marker of flags that are not given
            setattr(namespace, self.dest, [])
        super().__call__(parser, namespace, values, option_string)


def resize_or_crop(text):
    """One of the preprocessings; substrings act, as in pix2pixHD."""
    if text == "none" or any(word in text for word in ("resize", "scale_width", "crop", "pad")):
        return text
    raise argparse.ArgumentTypeError(
        f"must be resize_and_crop, resize, crop, scale_width, scale_width_and_crop, pad or none, not {text[:80]!r}")
