"""Flags of the evaluation."""
from __future__ import annotations

import shlex

from options.flags import INF, FlagParser
from options.test_options import TestOptions
from util.errors import UserError

_WITHOUT_MODEL = ("fake", "results", "compare")  # what is measured was drawn already


class EvaluateOptions(TestOptions):
    """Flags of evaluate.py: those of test.py, and what is measured by what. All pictures are, unless flags say fewer."""

    def initialize(self, parser):
        """Add the evaluation's flags to those of the results."""
        parser = super().initialize(parser)
        parser.set_defaults(how_many=INF)
        group = parser.add_argument_group("figures")
        group.add_argument("--metrics", default="all", metavar="NAME,...", help="figures to find, such as ssim,swd,fid "
                           "(docs/metrics.md says what each is); all: whatever can be had")
        group.add_argument("--parser", default="", metavar="CHECKPOINT", help="face parser for miou: an experiment of --model "
                           "parsing, its folder, or a file of BiSeNet weights")
        group.add_argument("--attributes_model", default="", metavar="CHECKPOINT", help="classifier for asked: an experiment "
                           "of --model attributes, or its folder")
        group.add_argument("--inception_weights", default="", metavar="FILE", help="Inception-v3's weights for fid and kid "
                           "(default: torch's cache, else a download)")
        group.add_argument("--lpips_weights", default="", metavar="FILE", help="torchvision's alexnet state dict for lpips "
                           "(default: torch's cache, else a download)")
        group.add_argument("--out", default="", metavar="DIR", help="where evaluation.json and its page go (default: beside "
                           "test.py's page)")
        group = parser.add_argument_group("pictures that are there already")
        group.add_argument("--results", default="", metavar="DIR", help="measure what test.py wrote into this folder, instead "
                           "of drawing")
        group.add_argument("--fake", default="", metavar="DIR", help="measure the pictures of any folder, instead of drawing")
        group.add_argument("--real", default="", metavar="DIR", help="the true ones of --fake, by the same names (default: the "
                           "photos of --dataroot)")
        group.add_argument("--compare", nargs="+", default=None, metavar="NAME", help="put experiments, or folders that hold "
                           "an evaluation.json, side by side")
        return parser

    def _first_phase(self, argv):
        first = super()._first_phase(argv)
        parser = FlagParser(add_help=False)
        for name in _WITHOUT_MODEL:
            parser.add_argument(f"--{name}", nargs="*" if name == "compare" else None, default=None)
        self.without_model = any(value is not None for value in vars(parser.parse_known_args(argv)[0]).values())
        return first

    def _record(self, first):
        """Where no experiment is named and none is needed, there is none."""
        return {} if self.without_model and first.name is None else super()._record(first)

    def _dataroot(self, explicit, known, default):
        """Without a model, only a data root that is named belongs to the pictures."""
        if self.without_model and not {"dataroot"} & {*explicit, *known}:
            return "", "default"
        return super()._dataroot(explicit, known, default)

    def finish_values(self, values, sources):
        """As test.py's; and combinations that cannot be meant are refused."""
        super().finish_values(values, sources)
        given = [f"--{name}" for name in _WITHOUT_MODEL if values[name]]
        names = values["compare"] or ()
        twice = next((name for name in names if names.count(name) > 1), "")
        rules = [
            (len(given) > 1, f"{' and '.join(given)}: are different things to do; give one of them"),
            (values["real"] and not values["fake"], f"--real {values['real']}: holds the true ones of --fake DIR; give that as "
             "well"),
            (values["fake"] and not (values["real"] or values["dataroot"]), f"--fake {values['fake']}: is compared with true "
             "pictures; give them with --real DIR, or with --dataroot DIR"),
            (values["compare"] and len(names) < 2, f"--compare {' '.join(names)}: compares two experiments or more; name them "
             "one after the other"),
            (twice, f"--compare {' '.join(names)}: names {twice} twice; leave one out"),
            (values["export_onnx"], "--export_onnx: is test.py's; evaluate.py only measures"),
        ]
        for wrong, message in rules:
            if wrong:
                raise UserError(message)


def argv_of(opt, name: str) -> list[str]:
    """The command line that evaluates one of the experiments that `opt` compares."""
    words, kept, dropping = shlex.split(opt.command)[1:], [], False
    for word in words:
        if word.startswith("--"):
            dropping = word.partition("=")[0] in ("--compare", "--out", "--name")
        if not dropping:
            kept.append(word)
    return [*kept, "--name", name]
