"""The flags of the face parser."""
from __future__ import annotations

from options.flags import number, whole
from util.errors import UserError

DEFAULTS = {"lr": 0.01, "label_nc": 19, "loadSize": 512, "batchSize": 4}


def modify_commandline_options(parser, is_train: bool) -> None:
    """Set defaults of shared flags; for training, add the flags of the optimizer and of the augmentation."""
    known = parser.flags()
    parser.set_defaults(**{flag: value for flag, value in DEFAULTS.items() if flag in known and
                           (is_train or flag != "batchSize")})
    if is_train:
        _training_flags(parser)


def _training_flags(parser):
    group = parser.add_argument_group("face parser", from_dataset=True)
    group.add_argument("--momentum", type=number(0, 1, below=True), default=0.9, help="SGD's momentum")
    group.add_argument("--weight_decay", type=number(0), default=5e-4, help="of convolutions; norms and biases have none")
    group.add_argument("--head_lr", type=number(0, above=True), default=10.0, help="the learning rate of fusion and heads, "
                       "in multiples of --lr")
    group.add_argument("--warmup", type=whole(0), default=1000, help="steps in which the learning rate rises from a "
                       "thousandth; after that it falls to zero over all epochs, to the power 0.9")
    group.add_argument("--resnet_weights", default="", metavar="FILE", from_dataset=False, help="torchvision's resnet18 state "
                       "dict to start from (default: torch's cache, else a download)")
    group.add_argument("--from_scratch", action="store_true", from_dataset=False, help="start from random weights, not from "
                       "ImageNet's")
    group.add_argument("--jitter", type=number(0, 1, below=True), default=0.4, help="brightness, contrast and saturation "
                       "change by up to this share; 0: not at all")
    group.add_argument("--zoom", type=number(0, 1, below=True), default=0.25, help="pictures grow and shrink by up to this "
                       "share; 0: not at all")
    group.add_argument("--turn", type=number(0, 180), default=10.0, help="pictures turn by up to this many degrees")


def flags_of_weights(states: dict[str, dict]) -> dict:
    """The flags that a parser was made with, as far as shapes tell. states: {network: its state dict}."""
    last = states.get("P", {}).get("conv_out.conv_out.weight")
    return {} if last is None else {"label_nc": last.shape[0]}


def start_from(known: dict, typed: dict, where: str) -> dict:
    """See BaseModel: a parser takes over what it finds."""
    return known


def settle_defaults(values: dict, sources: dict) -> None:
    """See BaseModel: no default of a parser follows from other flags."""


def check_options(opt) -> None:
    """Raise UserError for flags that conflict."""
    if opt.label_nc < 2:
        raise UserError(f"--label_nc {opt.label_nc}: a parser tells two classes apart at least; a face has 19")
    if opt.role == "train" and opt.checkpoint_activations:
        raise UserError("--checkpoint_activations: a parser's norms count each batch they see, so its layers cannot be run "
                        "again; leave it out")
    for flag, own in (("aug_rotate", "turn"), ("aug_scale", "zoom"), ("aug_color", "jitter")):
        if opt.role == "train" and getattr(opt, flag):
            raise UserError(f"--{flag} {getattr(opt, flag):g}: a parser's pictures change by --{own} {getattr(opt, own):g} "
                            f"already; give --{own} instead")
    if opt.role == "train" and opt.from_scratch and opt.resnet_weights:
        raise UserError("--from_scratch and --resnet_weights: start from random weights or from a file; give one of the two")
