"""The flags of drawing faces that no photo shows, and of asking for attributes; models that do so share them."""
from __future__ import annotations

import argparse

from data.attributes_dataset import chosen, vector_of
from options.flags import names
from util.errors import UserError


def settings(text: str) -> str:
    """'Smiling=1, Eyeglasses=0' -> 'Smiling=1,Eyeglasses=0'."""
    for part in (parts := names(text).split(",")):
        name, sign, value = part.rpartition("=")
        if not (name and sign) or value not in ("0", "1"):
            raise argparse.ArgumentTypeError("must be NAME=1 or NAME=0, parted by commas, such as Smiling=1, not "
                                             f"{part[:80]!r}")
    if len({part.rpartition("=")[0] for part in parts}) < len(parts):
        raise argparse.ArgumentTypeError(f"names an attribute twice: {text[:80]!r}")
    return ",".join(parts)


def asked(opt) -> dict[str, int]:
    """{attribute: 1 or 0} of --set."""
    parts = (part.rpartition("=") for part in getattr(opt, "set", "").split(",") if part)
    return {name: int(value) for name, _, value in parts}


def add_flags(parser, of_photos: bool) -> None:
    """Add --set and, for models that draw photos again, --sample and --interpolate. For tests only."""
    group = parser.add_argument_group("what is drawn")
    group.add_argument("--set", type=lambda text: text and settings(text), default="", metavar="NAME=1,...", help="turn these "
                       "attributes; without it, of what is drawn from photos each in turn, of other faces none")
    if of_photos:
        group.add_argument("--sample", choices=("photos", "prior"), default="photos", help="photos: draw these again; prior: "
                           "draw --how_many faces that nobody has, with the attributes of the photos in turn, if there are any")
        group.add_argument("--interpolate", nargs=2, default=None, metavar=("A", "B"), help="draw what lies between two "
                           "photos, given by their names in <phase>_img or as files")


def check(opt, conditional: bool) -> None:
    """Raise UserError for --set of attributes that the weights do not know, and for flags that exclude each other."""
    if asked(opt) and conditional:
        vector_of(asked(opt), chosen(opt), "--set")
    if getattr(opt, "interpolate", None) and (opt.sample != "photos" or asked(opt)):
        other = f"--sample {opt.sample}" if opt.sample != "photos" else f"--set {opt.set}"
        raise UserError(f"--interpolate and {other}: are different things to draw; give one of the two")
