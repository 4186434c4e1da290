"""The flags of diffusion models, and conflicts between them."""
from __future__ import annotations

import argparse
from pathlib import Path

from models import sampling_flags
from models.diffusion.shapes import flags_of_weights  # noqa: F401 - of what every model's flags have
from options.flags import names, number, whole
from util.errors import UserError

DEFAULTS = {"lr": 3e-4, "beta1": 0.9, "ema": 0.9999, "loadSize": 64, "batchSize": 16, "display_freq": 20000, "print_freq": 1000,
            "save_latest_freq": 20000}
shapes_suffice = True  # weights without an opt.json, such as public ones, need no flags
_OF_ADM = {"objective": "eps", "beta_schedule": "linear"}  # of its public weights, whose shapes do not tell
STEPS = {"ddpm": 250, "ddim": 50, "dpm": 25}


def modify_commandline_options(parser, is_train: bool) -> None:
    """Set defaults of shared flags; add the flags of the network, of sampling, and those of training or of the results."""
    known = parser.flags()
    parser.set_defaults(**{flag: value for flag, value in DEFAULTS.items() if flag in known})
    _network_flags(parser)
    _sampling_flags(parser)
    if is_train:
        _training_flags(parser)
    else:
        _result_flags(parser)


def _network_flags(parser):
    group = parser.add_argument_group("diffusion", architecture=True, from_dataset=True)
    group.add_argument("--condition", choices=("none", "attributes", "label"), default="none", help="what pictures are drawn "
                       "from, beside noise")
    group.add_argument("--unet_channels", type=whole(2), default=64, help="channels of the UNet's first level")
    group.add_argument("--unet_mult", type=_wholes, default="1,2,3", help="channels of each level, in multiples of these")
    group.add_argument("--unet_blocks", type=whole(1, 8), default=1, help="residual blocks in each level")
    group.add_argument("--unet_attention", type=_wholes_or_none, default="4", help="attention where the side is this "
                       "fraction of the picture's, such as 4,8 for a quarter and an eighth; or none")
    group.add_argument("--unet_heads", type=whole(1), default=64, help="channels of a head of attention")
    group.add_argument("--timesteps", type=whole(2, 10000), default=1000, help="steps from a picture to noise")
    group.add_argument("--beta_schedule", choices=("linear", "cosine"), default="cosine", help="how noise grows: linear from "
                       "1e-4 to 0.02 a step, or cosine (default of weights without opt.json: linear)")
    group.add_argument("--objective", choices=("eps", "v"), default="v", help="what the network predicts: the noise, or the "
                       "velocity, by which colours are right after minutes (default of weights without opt.json: eps)")
    group.add_argument("--learn_sigma", action="store_true", help="the network predicts the variance of each step, too")


def _sampling_flags(parser):
    group = parser.add_argument_group("sampling", inherited=True, from_dataset=True)
    group.add_argument("--sampler", choices=tuple(STEPS), default="dpm", help="DDPM, DDIM or DPM-Solver++")
    group.add_argument("--steps", type=whole(1), default=None, help="steps from noise to a picture, at most --timesteps "
                       f"(default: {', '.join(f'{count} of {name}' for name, count in STEPS.items())})")
    group.add_argument("--eta", type=number(0, 1), default=0.0, help="of DDIM: the share of DDPM's noise in each step")
    group.add_argument("--guidance", type=number(0), default=1.0, help="with a condition: how far to go towards it "
                       "(classifier-free guidance); 1: as it was learnt")


def _training_flags(parser):
    group = parser.add_argument_group("diffusion training", from_dataset=True)
    group.add_argument("--snr_gamma", type=number(0), default=0.0, help="min-SNR weighting of timesteps, such as 5; 0: none")
    group.add_argument("--warmup", type=whole(0), default=500, help="steps in which the learning rate rises to --lr")
    group.add_argument("--dropout", type=number(0, 1, below=True), default=0.0, help="dropout in residual blocks")
    group.add_argument("--condition_dropout", type=number(0, 1), default=0.1, help="how often the condition is left out, for "
                       "--guidance")


def _result_flags(parser):
    group = parser.add_argument_group("samples")
    group.add_argument("--n_samples", type=whole(1, 100), default=1, help="samples a row")
    group.add_argument("--strips", type=whole(0), default=3, help="rows that show steps of their denoising")
    group.add_argument("--nearest", type=whole(0), default=1000, help="without a label map: training photos among which the "
                       "nearest one of each sample is found; 0: none")
    sampling_flags.add_flags(parser, of_photos=False)
    group = parser.add_argument_group("samples like a photo (ILVR)")
    group.add_argument("--ilvr_reference", default="", metavar="DIR", help="folder of photos whose low frequencies the samples "
                       "take, in turn")
    group.add_argument("--ilvr_factor", type=whole(2, 256), default=8, help="low frequencies are what is left where the side "
                       "is divided by this: more leaves less of the photo")
    group.add_argument("--ilvr_range", type=whole(0), default=0, help="timesteps below this are left alone")
    group.add_argument("--ilvr_filter", choices=("bicubic", "area"), default="bicubic", help="how it is divided: as published, "
                       "or by means, which is exact")
    group = parser.add_argument_group("photos drawn anew (SDEdit)")
    group.add_argument("--edit_strength", type=number(0, 1, above=True), default=None, help="noise the photos this share of "
                       "the way, and draw them from there")
    group.add_argument("--edit_keep", type=names, default=None, metavar="CLASS,...", help="of their label maps: what stays")
    group.add_argument("--edit_only", type=names, default=None, metavar="CLASS,...", help="of their label maps: what alone "
                       "is drawn anew, such as hair")


def steps_of(opt) -> int:
    """--steps, or as many as the sampler takes by default."""
    return opt.steps or min(STEPS[opt.sampler], opt.timesteps)


def mult_of(opt) -> tuple[int, ...]:
    """--unet_mult as numbers."""
    return tuple(map(int, opt.unet_mult.split(",")))


def attention_of(opt) -> tuple[int, ...]:
    """--unet_attention as numbers."""
    return () if opt.unet_attention == "none" else tuple(map(int, opt.unet_attention.split(",")))


def side_of(opt) -> int:
    """The side of samples: that of the pictures that were trained on, which may have been crops."""
    trained = opt.saved.get("options", {}) if opt.saved else {}
    cropped = "crop" in str(trained.get("resize_or_crop", getattr(opt, "resize_or_crop", "")))
    return min(opt.loadSize, opt.fineSize) if cropped else opt.loadSize


def start_from(known: dict, typed: dict, where: str) -> dict:
    """See BaseModel: a diffusion model takes over what it finds."""
    return known


def settle_defaults(values: dict, sources: dict) -> None:
    """See BaseModel: weights of which only the shapes are known are taken for ADM's."""
    if sources["unet_channels"] == "--load_pretrain":
        for flag, value in _OF_ADM.items():
            if sources[flag] == "default":  # an opt.json would have said it
                values[flag], sources[flag] = value, "weights without opt.json"


def check_options(opt) -> None:
    """Raise UserError for flags that conflict."""
    _check_network(opt)
    _check_sampling(opt)
    if opt.role == "test":
        _check_results(opt)


def _check_network(opt):
    mult, multiple = mult_of(opt), 2 ** (len(mult_of(opt)) - 1)
    beyond = [factor for factor in attention_of(opt) if factor > multiple or factor & (factor - 1)]
    odd = [width for width in {opt.unet_channels * mult[factor.bit_length() - 1] for factor in
                               {*attention_of(opt), multiple} - {*beyond}} if width % max(1, width // opt.unet_heads)]
    _refuse([
        (beyond, f"--unet_attention {opt.unet_attention}: with --unet_mult {opt.unet_mult} sides are 1 to {multiple} times "
         "smaller, by powers of two; choose among these"),
        (odd, f"--unet_heads {opt.unet_heads}: does not divide the {', '.join(map(str, odd))} channels where there is "
         "attention; choose a divisor"),
        (opt.condition == "attributes" and opt.dataset_mode == "aligned", "--condition attributes: the items of "
         "--dataset_mode aligned have none; give --dataset_mode attributes, too"),
    ])


def _check_sampling(opt):
    _refuse([
        (opt.steps and opt.steps > opt.timesteps, f"--steps {opt.steps}: are more than --timesteps {opt.timesteps}; give as "
         "many at most"),
        (opt.eta and opt.sampler != "ddim", f"--eta {opt.eta:g}: is of --sampler ddim; {opt.sampler} has none; leave it out"),
        (opt.guidance != 1 and opt.condition == "none", f"--guidance {opt.guidance:g}: needs a condition to go towards; "
         "choose an experiment with --condition attributes or label, or leave it out"),
    ])


def _check_results(opt):
    if opt.set and opt.condition != "attributes":
        raise UserError(f"--set {opt.set}: this model knows no attributes; choose an experiment with --condition attributes")
    sampling_flags.check(opt, opt.condition == "attributes")
    side, multiple = side_of(opt), 2 ** (len(mult_of(opt)) - 1)
    edits = opt.edit_keep or opt.edit_only
    folder, flag = Path(opt.ilvr_reference), f"--ilvr_reference {opt.ilvr_reference}"
    _refuse([
        (opt.ilvr_reference and opt.edit_strength, "--ilvr_reference and --edit_strength: draw like photos, or draw photos "
         "anew; give one of the two"),
        (opt.ilvr_reference and not folder.is_dir(), f"{flag}: there is no such folder; give one that holds photos"),
        (opt.ilvr_reference and side % opt.ilvr_factor, f"--ilvr_factor {opt.ilvr_factor}: does not divide the side of "
         f"samples, {side}; choose a divisor, such as 4 or 8"),
        (opt.ilvr_range >= opt.timesteps, f"--ilvr_range {opt.ilvr_range}: leaves none of --timesteps {opt.timesteps}; choose "
         "a smaller one"),
        (edits and not opt.edit_strength, f"--edit_{'keep' if opt.edit_keep else 'only'} {edits}: says where photos are drawn "
         "anew; say how much with --edit_strength"),
        (opt.edit_keep and opt.edit_only, "--edit_keep and --edit_only: say the same from two sides; give one of the two"),
        (opt.condition != "label" and not opt.edit_strength and side % multiple, f"--loadSize {opt.loadSize}: samples have "
         f"this side, and these networks take multiples of {multiple}; choose another"),
        (opt.onnx or opt.engine, "--onnx and --engine: a diffusion model is drawn with as it was trained; leave them out"),
    ])
    for name in edits.split(",") if edits else ():
        try:
            opt.spec.label_of(name)
        except UserError as error:
            raise UserError(f"--edit_{'keep' if opt.edit_keep else 'only'} {edits}: {error}") from None


def _refuse(rules):
    for wrong, message in rules:
        if wrong:
            raise UserError(message)


def _wholes(text) -> str:
    """Whole numbers from 1 up, parted by commas."""
    parts = [part.strip() for part in str(text).split(",")]
    if not all(part.isdigit() and 1 <= int(part) <= 1024 for part in parts):
        raise argparse.ArgumentTypeError(f"must be whole numbers parted by commas, such as 1,2,2, not {str(text)[:80]!r}")
    return ",".join(str(int(part)) for part in parts)


def _wholes_or_none(text) -> str:
    return "none" if text == "none" else _wholes(text)
