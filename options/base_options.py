"""Flags that every script shares, and how they become one read-only `opt`."""
from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

from data.base_dataset import refuse_unsuitable
from data.data_loader import DATASETS, dataset_class
from data.dataset_spec import FACE_CLASSES, DatasetSpec
from data.face_numbering import with_names
from data.label_maps import LabelMaps
from models.models import MODELS, model_class, model_flags
from options import pretrained, restarts, saved
from options.dataset_defaults import flag_values
from options.flags import INF, FlagParser, folder_name, number, resize_or_crop, whole, whole_or_inf
from util import distributed
from util.device import PRECISIONS, available_gpu_ids, device_type, parse_gpu_ids, usable_precision
from util.errors import UserError

PROJECT = Path(__file__).resolve().parents[1]
SAMPLE_FACES = PROJECT / "datasets" / "sample_faces"
_UNSET = object()


class Options(SimpleNamespace):
    """The parsed flags, read-only. `opt.replace(batchSize=1)` gives a changed copy.

    Beside the flags: isTrain, role ('train' | 'test' | 'encode'), spec (the DatasetSpec), sources (where each value
    came from), saved (the experiment's options record, or {}), notes (lines that belong into opt.txt), needs (what the
    model takes of the data set, a data.base_dataset.Needs).
    """

    def __setattr__(self, name, value):
        raise AttributeError(f"options are read-only after parsing; use opt.replace({name}=...)")

    def replace(self, **changes) -> Options:
        """A copy with some values changed."""
        return Options(**{**vars(self), **changes})

    @property
    def label_maps(self) -> LabelMaps:
        """How label maps are read."""
        return LabelMaps(self.label_nc, None if self.spec.unlabelled is None else self.spec.dontcare)

    @property
    def label_channels(self) -> int:
        """Classes of the label maps once read, and channels of their one-hot form; 0 where the input is a picture."""
        return self.label_maps.channels

    def flags(self) -> dict:
        """The flags alone, by name: what opt.json holds."""
        return {name: getattr(self, name) for name in self.sources}


class BaseOptions:
    """Parses in two phases: --model and --dataset_mode first, then everything, with the flags those two add.

    A value comes from the command line; else, for test, encode and resume, the experiment's opt.json; else the data
    root's dataset.json; else the model's default; else the default here.
    """

    role = ""

    def __init__(self, role: str | None = None):
        self.role = role or self.role
        self.is_train = self.is_script = False

    def initialize(self, parser: FlagParser) -> FlagParser:
        """Add the flags that every script has."""
        _experiment_flags(parser, self.is_train)
        _size_flags(parser)
        _input_flags(parser, self.is_train)
        return parser

    def parse(self, argv: list[str] | None = None, save: bool = True) -> Options:
        """Parse `argv` (default: the command line) into an Options; prints what is not a default.

        With the command line, several --gpu_ids start it anew in a process a device; a program that brings its own `argv`
        stays one process, on the first of them.
        save is accepted for old callers; the record is written by the script once the run is sound.
        Raises UserError naming the flag, what was found and what is allowed.
        """
        distributed.silence_other_ranks()
        self.is_script = argv is None
        argv = list(sys.argv[1:] if argv is None else argv)
        helping = "-h" in argv or "--help" in argv
        first = self._first_phase(argv)
        if self.is_script and self.role == "train" and not helping:
            argv = restarts.adapted(argv, first)
            first = self._first_phase(argv)
        record, fault = {}, None
        try:
            record = {} if helping else self._record(first)
        except UserError as error:  # a mistyped flag is the better answer, so it comes first
            fault = error
        parser = self._full_parser(first, record)
        unset = SimpleNamespace(**dict.fromkeys(parser.flags(), _UNSET))
        explicit = {k: v for k, v in vars(parser.parse_args(argv, unset)).items() if v is not _UNSET}
        if fault:
            raise fault
        values, sources = self._merge(parser, explicit, first, record)
        spec = values.pop("spec")
        return self._finish(parser, values, sources, spec, record, argv)

    # phases

    def _first_phase(self, argv) -> SimpleNamespace:
        """What must be known before the full parser can be built."""
        parser = FlagParser(add_help=False)
        for name in ("--model", "--dataset_mode", "--name", "--checkpoints_dir", "--dataroot", "--load_pretrain",
                     "--which_epoch"):
            parser.add_argument(name, default=None)
        parser.add_argument("--continue_train", action="store_true")
        return parser.parse_known_args(argv)[0]

    def _record(self, first) -> dict:
        """What is on record of the weights that the command works with."""
        if first.load_pretrain and self.role != "test" and not (self.role == "train" and first.continue_train):
            return pretrained.find(first)
        return saved.find(self, first) or pretrained.unrecorded(self, first)

    def _full_parser(self, first, record) -> FlagParser:
        description = (sys.modules["__main__"].__doc__ or "").strip() or None
        parser = self.initialize(FlagParser(description=description, closing="A switch that the experiment's opt.json or the "
                                            "data's dataset.json turned on is turned off by --no- and its name: "
                                            "--no-label_feat."))
        known = record.get("options", {})
        for kind, lookup in (("model", model_flags), ("dataset_mode", dataset_class)):
            name = getattr(first, kind)
            if name is None and kind in known and not (kind == "dataset_mode" and pretrained.are_a_start(self, record)):
                name = saved.known_kind(known[kind], lookup, record["path"])
            name = name or parser.get_default(kind)
            flags = lookup(name)
            flags.modify_commandline_options(parser, self.is_train)
            parser.set_defaults(**{kind: name})
            if kind == "model":
                parser.set_defaults(dataset_mode=getattr(flags, "dataset_mode", parser.get_default("dataset_mode")))
        return parser

    def _merge(self, parser, explicit, first, record):
        """Layer the sources of values over each other."""
        actions = parser.flags()
        values = {dest: parser._get_value(a, a.default) if isinstance(a.default, str) and a.default and a.type else a.default
                  for dest, a in actions.items()}
        sources = dict.fromkeys(actions, "default")
        start = pretrained.are_a_start(self, record)
        known, where = pretrained.values(parser, record, explicit) if start else \
            (saved.inherited_values(self, parser, record), record.get("path"))
        self._refuse_contradictions(parser, explicit, known, where, start)
        dataroot, source = self._dataroot(explicit, known, values["dataroot"])
        spec = DatasetSpec.read(dataroot) if dataroot else DatasetSpec()
        said = flag_values(parser, spec, str(Path(dataroot) / "dataset.json"), training=self.role == "train")
        if start:
            known = pretrained.without_data_facts(known, said)
        for origin, found in (("dataset.json", said), ("--load_pretrain" if start else "opt.json", known),
                              ("command line", explicit)):
            values.update(found)
            sources.update(dict.fromkeys(found, origin))
        values["dataroot"], sources["dataroot"] = str(dataroot), source
        if first.name is None and record.get("name"):
            values["name"], sources["name"] = record["name"], record.get("origin", "trained last")
        values["spec"] = spec
        return values, sources

    def _refuse_contradictions(self, parser, explicit, known, where, start):
        fixed = parser.architecture - (parser.replaceable if start and self.role == "train" else set())
        what, other = ("experiment was", "name another experiment")
        if start:
            what = "weights of --load_pretrain were" if self.role != "test" else "weights were"
            other = "start from other weights" if self.role != "test" else other
        for dest in sorted(fixed & explicit.keys() & known.keys()):
            if explicit[dest] != known[dest]:
                flag = f"--{dest}"
                typed = f"--no-{dest}" if explicit[dest] is False else f"{flag} {explicit[dest]}"
                raise UserError(f"{typed}: the {what} trained with {flag} {known[dest]} ({where}); leave the flag out, or "
                                f"{other}")

    def _dataroot(self, explicit, known, default):
        """The data root and where its name came from; the shipped faces where none is given and none is there."""
        if "dataroot" in explicit:
            return explicit["dataroot"], "command line"
        if "dataroot" in known:
            return known["dataroot"], "opt.json"
        if not Path(default).is_dir() and SAMPLE_FACES.is_dir():
            print(f"No --dataroot given and {default} is not there: using the sample faces in {_short(SAMPLE_FACES)}")
            return _short(SAMPLE_FACES), "sample faces"
        return default, "default"

    def _finish(self, parser, values, sources, spec, record, argv) -> Options:
        if values["fp16"] and sources["precision"] != "command line":
            values["precision"], sources["precision"] = "fp16", "--fp16"
        elif sources["fp16"] == "command line" and values["precision"] == "fp16" and sources["precision"] == "opt.json":
            values["precision"], sources["precision"] = parser.get_default("precision"), "--no-fp16"
        values["gpu_ids"] = parse_gpu_ids(values["gpu_ids"])
        self.finish_values(values, sources)
        model_flags(values["model"]).settle_defaults(values, sources)
        if values["label_nc"] == FACE_CLASSES and not (spec.labels or spec.scheme):
            spec = with_names(spec, values["dataroot"])
        if values["contain_dontcare_label"]:
            spec = spec.with_unlabelled(values["label_nc"])
        opt = Options(**values, isTrain=self.is_train, role=self.role, spec=spec, sources=sources, saved=record,
                      notes=(), command=shlex.join([Path(sys.argv[0]).name, *argv]))
        opt = dataset_class(opt.dataset_mode).complete_options(opt)
        model_flags(opt.model).check_options(opt)
        opt = opt.replace(gpu_ids=self._devices(opt))
        opt = opt.replace(needs=model_class(opt.model).needs(opt))  # not before, as models import torch
        refuse_unsuitable(opt.model, opt.dataset_mode, opt.needs, dataset_class(opt.dataset_mode).batch_keys)
        check_shared(opt)
        print(self.table(parser, opt))
        return opt

    def _devices(self, opt) -> list[int]:
        """The numbers of --gpu_ids that this process and its like use; where they are several, a script starts anew in each."""
        ids, line = available_gpu_ids(opt.gpu_ids)
        if line:
            print(line)
        if len(ids) < 2 or distributed.launched():
            return ids
        if self.is_script:
            if self.role == "train":
                _tell_idle(ids, opt.batchSize)
            distributed.launch(len(ids))
        print(f"--gpu_ids {','.join(map(str, ids))}: only the scripts start a process a device, using {ids[0]}")
        return ids[:1]

    def finish_values(self, values, sources):
        """A subclass's last word: values that follow from others."""

    @staticmethod
    def table(parser, opt) -> str:
        """The values worth reading: those that are not defaults, or all of them with --verbose."""
        rows = [(k, v, opt.sources[k]) for k, v in sorted(opt.flags().items())
                if opt.verbose or opt.sources[k] != "default"]
        head = "------------ Options (all) -------------" if opt.verbose else "------------ Options -------------"
        return "\n".join([head, *(f"{k}: {v}  [{source}]" for k, v, source in rows), "-------------- End ----------------"])


def check_shared(opt) -> None:
    """Combinations of shared flags that cannot be meant. Raises UserError naming both."""
    if opt.contain_dontcare_label and not opt.label_nc:
        raise UserError("--contain_dontcare_label: with --label_nc 0 the input is a picture, which has no unlabelled pixels; "
                        "leave it out, and dontcare out of dataset.json")
    beyond = [i for pair in opt.spec.flip_pairs for i in pair if i >= opt.label_nc]
    if opt.label_nc and beyond:
        raise UserError(f"{Path(opt.dataroot) / 'dataset.json'}: flip_pairs names id {beyond[0]}, but --label_nc "
                        f"{opt.label_nc} allows 0 to {opt.label_nc - 1}; raise --label_nc or remove the pair")
    used = opt.precision if opt.precision == "auto" else usable_precision(opt.precision, device_type(opt.gpu_ids))
    if (opt.precision, used) == ("fp16", "bf16"):
        print("--fp16 on a CPU: bfloat16 is used, which CPUs compute and which needs no loss scaling")
    elif opt.precision != used and opt.gpu_ids:
        print(f"--precision {opt.precision}: on MPS, float32 is used")
    elif opt.precision != used:
        print(f"--precision {opt.precision}: this CPU computes no 16-bit numbers (it has neither AVX-512 nor AMX), and "
              "imitating them is many times slower; float32 is used")


def _tell_idle(ids: list[int], batch_size: int) -> None:
    """Say which devices have no share of a batch, if any."""
    share = -(-batch_size // len(ids))
    idle = ids[-(-batch_size // share):]
    if idle:
        named = f"device {idle[0]} has" if len(idle) == 1 else f"devices {','.join(map(str, idle))} have"
        print(f"--gpu_ids {','.join(map(str, ids))}: with --batchSize {batch_size} {named} nothing to do; raise --batchSize to "
              f"{share * len(ids)}, or name fewer devices")


def _short(path: Path) -> str:
    """A path as the user would type it from here."""
    try:
        return "./" + str(path.relative_to(Path.cwd())) + "/"
    except ValueError:
        return str(path)


def _experiment_flags(parser, is_train):
    group = parser.add_argument_group("experiment")
    group.add_argument("--name", type=folder_name, default="label2city", help="the experiment: results and weights go "
                       "to its folder in --checkpoints_dir")
    group.add_argument("--gpu_ids", default="0", help="devices, such as 0 or 0,1,2; mps for Apple's GPU; -1 for the CPU")
    group.add_argument("--checkpoints_dir", default="./checkpoints", help="where experiments are kept")
    group.add_argument("--model", default="pix2pixHD", architecture=True, help=f"which model: {', '.join(MODELS)}")
    group.add_argument("--norm", choices=("instance", "batch"), default="instance", architecture=True, from_dataset=True,
                       help="normalisation layers")
    group.add_argument("--use_dropout", action="store_true", architecture=True, from_dataset=True, help="dropout in the "
                       "generator's residual blocks")
    group.add_argument("--data_type", type=whole(), choices=(8, 16, 32), default=32, without_effect=is_train, help="bits that "
                       "the generator computes in at test: 8 or 16 (see docs/performance.md)")
    group.add_argument("--verbose", action="store_true", help="show every option, the networks, and tracebacks")
    group.add_argument("--fp16", action="store_true", inherited=True, help="mixed precision: short for --precision fp16")
    group.add_argument("--precision", choices=("auto", *PRECISIONS), default="fp32", inherited=True, help="what the networks "
                       "compute in; auto: the fastest of fp32 and bf16, measured here once a day")
    group.add_argument("--no_ema", action="store_true", help="draw and encode with the weights of the last step, where a "
                       "training with --ema left averaged ones too")
    group.add_argument("--compile", action="store_true", help="compile the networks at their first step or picture: a minute "
                       "of waiting, then faster (not a training in float32 on a CPU)")
    group.add_argument("--local_rank", type=whole(), default=0, without_effect=True)  # launchers set it in the environment
    group.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="order, augmentation, initial weights and "
                       "sampled styles follow from it")


def _size_flags(parser):
    group, ends = parser.add_argument_group("sizes", from_dataset=True), {"architecture": True, "replaceable": True}
    group.add_argument("--batchSize", type=whole(1), default=1, help="pictures in a step, over all devices")
    group.add_argument("--loadSize", type=whole(1, 30000), default=1024, inherited=True, help="pictures are scaled to this")
    group.add_argument("--fineSize", type=whole(1, 30000), default=512, inherited=True, help="then cropped to this, if a crop "
                       "is asked")
    group.add_argument("--label_nc", type=whole(0, 65535), default=35, **ends, help="classes of the label maps; 0: "
                       "the input is a picture, in <phase>_A, and the output is in <phase>_B")
    group.add_argument("--contain_dontcare_label", action="store_true", **ends, help="label maps mark unlabelled "
                       "pixels with 255 (or with what dataset.json calls dontcare): they become one more class")
    group.add_argument("--input_nc", type=whole(1, 3), choices=(1, 3), default=3, **ends, help="channels of the "
                       "input picture (--label_nc 0)")
    group.add_argument("--output_nc", type=whole(1, 3), choices=(1, 3), default=3, **ends, help="channels of the "
                       "output")
    group.add_argument("--max_dataset_size", type=whole_or_inf(1), default=INF, help="use at most this many pictures")
    group.add_argument("--display_winsize", type=whole(16, 10000), default=512, help="width of pictures on the pages")


def _input_flags(parser, is_train):
    group = parser.add_argument_group("data")
    group.add_argument("--dataroot", default="./datasets/cityscapes/", inherited=True, help="folder with <phase>_label, "
                       "<phase>_img and, where there are any, <phase>_inst")
    group.add_argument("--dataset_mode", default="aligned", inherited=True, help="which data set: "
                       f"{', '.join(DATASETS)}")
    group.add_argument("--resize_or_crop", type=resize_or_crop, default="scale_width", inherited=True, from_dataset=True,
                       help="preprocessing: resize_and_crop, resize, crop, scale_width, scale_width_and_crop, pad or none")
    group.add_argument("--serial_batches", action="store_true", from_dataset=True, without_effect=not is_train,
                       help="take pictures in order, not shuffled")
    group.add_argument("--no_flip", action="store_true", from_dataset=True, without_effect=not is_train, help="do not mirror "
                       "half of the training pictures")
    group.add_argument("--nThreads", type=whole(0, 512), default=2, help="processes that load data; 0: this one")
    group.add_argument("--tf_log", action="store_true", without_effect=not is_train, help="write TensorBoard logs (needs "
                       "tensorboard)")
    group.add_argument("--wandb", action="store_true", without_effect=not is_train, help="follow the training on Weights & "
                       "Biases (needs wandb; WANDB_MODE=offline keeps it here)")


__all__ = ["BaseOptions", "Options", "number", "whole"]
