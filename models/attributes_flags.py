"""The flags of the attribute classifier."""
from __future__ import annotations

from options.flags import number, whole

dataset_mode = "attributes"
DEFAULTS = {"lr": 0.001, "beta1": 0.9, "loadSize": 64, "batchSize": 64, "niter": 10, "niter_decay": 10, "print_freq": 640,
            "display_freq": 6400, "save_latest_freq": 64000}


def modify_commandline_options(parser, is_train: bool) -> None:
    """Set defaults of shared flags, and add those of the network and of its training."""
    set_defaults(parser, DEFAULTS, is_train)
    group = parser.add_argument_group("attribute classifier", architecture=True, from_dataset=True)
    group.add_argument("--nf", type=whole(1), default=24, help="channels of the first layer")
    if is_train:
        group = parser.add_argument_group("attribute classifier, training", from_dataset=True)
        group.add_argument("--weight_decay", type=number(0), default=0.01, help="AdamW's, of all but norms and biases")
        group.add_argument("--blur", type=number(0), default=1.5, help="half of the photos are blurred, by a Gaussian of up to "
                           "so many pixels, as drawn faces may be; 0: none")


def set_defaults(parser, defaults: dict, is_train: bool) -> None:
    """Set the defaults of those shared flags that the command has."""
    known = parser.flags()
    parser.set_defaults(**{flag: value for flag, value in defaults.items() if flag in known and
                           (is_train or flag != "batchSize")})


def flags_of_weights(states: dict[str, dict]) -> dict:
    """The flags that a classifier was made with, as far as shapes tell; which attributes it knows, they do not."""
    first = states.get("A", {}).get("first.0.0.weight")
    return {} if first is None else {"nf": first.shape[0], "output_nc": first.shape[1]}


def start_from(known: dict, typed: dict, where: str) -> dict:
    """See BaseModel: models of faces take over what they find."""
    return known


def settle_defaults(values: dict, sources: dict[str, str]) -> None:
    """See BaseModel: no value follows from others."""


def check_options(opt) -> None:
    """See BaseModel: nothing conflicts."""
