"""The flags of the identity network."""
from __future__ import annotations

from options.flags import number, whole
from util.errors import UserError

DEFAULTS = {"lr": 0.1, "loadSize": 112, "batchSize": 64, "niter": 24, "niter_decay": 0}
# Of the small network, whose data sets are small: the smaller the factor, the more a step learns from a few hundred people
SMALL = {"lr": 0.02, "scale": 16.0, "margin": 0.3}
_WARMUP = 0.4  # share of its epochs
dataset_mode = "identities"


def set_defaults(parser, defaults: dict, is_train: bool) -> None:
    """Set the defaults of those shared flags that the command has."""
    known = parser.flags()
    parser.set_defaults(**{flag: value for flag, value in defaults.items() if flag in known and
                           (is_train or flag != "batchSize")})


def network_flags(parser) -> None:
    """Add the flags of the network's form."""
    group = parser.add_argument_group("identity network", architecture=True)
    group.add_argument("--netI", choices=("ir_se50", "small"), default="ir_se50", help="ir_se50: InsightFace_Pytorch's, 44 "
                       "million parameters; small: for laptops, and it sees the face's oval alone")
    group.add_argument("--nif", type=whole(1, 512), default=32, help="channels of the small one's first stage")


def modify_commandline_options(parser, is_train: bool) -> None:
    """Set defaults of shared flags; add those of the network and, for training, of loss and optimizer."""
    set_defaults(parser, DEFAULTS, is_train)
    network_flags(parser)
    if not is_train:
        return
    group = parser.add_argument_group("identity network, training", from_dataset=True)
    group.add_argument("--margin", type=number(0, 1.5), default=0.5, help="added to the angle between a photo and its person, "
                       "in radians (--netI small: 0.3)")
    group.add_argument("--margin_warmup", type=whole(0), default=0, help="epochs in which the margin rises from 0 "
                       "(--netI small: two fifths of them)")
    group.add_argument("--scale", type=number(0, above=True), default=64.0, help="factor of the cosines (--netI small: "
                       "16)")
    group.add_argument("--momentum", type=number(0, 1, below=True), default=0.9, help="SGD's momentum")
    group.add_argument("--weight_decay", type=number(0), default=5e-4, help="of weights; norms and biases have none")
    group.add_argument("--lr_policy", choices=("poly", "steps"), default="poly", help="poly: the learning rate falls to "
                       "zero, to the power 0.9; steps: to a tenth after 1/2, 3/4 and 9/10 of the epochs")


def flags_of_weights(states: dict[str, dict]) -> dict:
    """The flags that a network was made with, as far as its shapes tell."""
    from models.networks.identity import describe
    return {flag: value for flag, value in describe(states.get("I", {})).items() if flag != "loadSize"}


def start_from(known: dict, typed: dict, where: str) -> dict:
    """See BaseModel: it takes over what it finds."""
    return known


def settle_defaults(values: dict, sources: dict) -> None:
    """See BaseModel: the small network is trained otherwise."""
    if values.get("netI") != "small" or "margin" not in values:
        return
    small = {**SMALL, "margin_warmup": round(_WARMUP * (values["niter"] + values["niter_decay"]))}
    for flag, value in small.items():
        if sources[flag] == "default":
            values[flag], sources[flag] = value, "--netI small"


def check_options(opt) -> None:
    """Raise UserError for flags that conflict."""
    if opt.role == "train" and opt.checkpoint_activations:
        raise UserError("--checkpoint_activations: this network's norms count each batch they see, so its layers cannot be run "
                        "again; leave it out")
