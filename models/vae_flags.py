"""The flags of the autoencoder, variational or not, on attributes or not."""
from __future__ import annotations

from models import sampling_flags
from models.attributes_flags import set_defaults, settle_defaults, start_from  # noqa: F401 - theirs, too
from options.flags import number, whole
from util.errors import UserError

dataset_mode = "attributes"
SIDES = (32, 256)
DEFAULTS = {"lr": 0.005, "beta1": 0.9, "loadSize": 64, "batchSize": 64, "niter": 50, "niter_decay": 0, "print_freq": 640,
            "display_freq": 6400, "save_latest_freq": 64000}


def modify_commandline_options(parser, is_train: bool) -> None:
    """Set defaults of shared flags, and add those of the network, of its loss or of what is drawn."""
    set_defaults(parser, DEFAULTS, is_train)
    group = parser.add_argument_group("autoencoder", architecture=True, from_dataset=True)
    group.add_argument("--latent", choices=("gaussian", "deterministic"), default="gaussian", help="gaussian: a VAE, from "
                       "whose prior faces can be drawn; deterministic: a plain autoencoder")
    group.add_argument("--condition", choices=("none", "attributes"), default="none", help="attributes: encoder and decoder "
                       "are told the attributes, so that faces with other ones can be drawn")
    group.add_argument("--z_dim", type=whole(1), default=128, help="numbers that a face is encoded into")
    if not is_train:
        sampling_flags.add_flags(parser, of_photos=True)
        return
    group = parser.add_argument_group("autoencoder, training", from_dataset=True)
    group.add_argument("--rec", choices=("mse", "l1"), default="mse", help="error of a picture, summed over its pixels")
    group.add_argument("--beta", type=number(0), default=1.5, help="weight of the KL divergence of a picture, beside that sum")
    group.add_argument("--kld_warmup", type=whole(0), default=0, help="epochs in which that weight rises from 0")
    group.add_argument("--condition_warmup", type=whole(0), default=4, help="epochs in which some faces, fewer and fewer, "
                       "are drawn of another's z, so that the decoder learns what the attributes say before z says it")
    group.add_argument("--lambda_xcov", type=number(0), default=0.0, help="weight of the squared correlations of z and the "
                       "attributes of --condition, where z tells them as well, so that asking for others has little effect")
    group.add_argument("--lr_decay", type=number(0, 1, above=True), default=0.95, help="factor of the learning rate from one "
                       "epoch to the next")


def flags_of_weights(states: dict[str, dict]) -> dict:
    """The flags that a network was made with, as far as shapes tell; which attributes it knows, they do not."""
    state = states.get("V", {})
    if "mu.weight" not in state:
        return {}
    return {"z_dim": state["mu.weight"].shape[0], "latent": "gaussian" if "log_variance.weight" in state else "deterministic",
            "condition": "attributes" if "plane.weight" in state else "none", "output_nc": state["last.weight"].shape[0]}


def check_options(opt) -> None:
    """Raise UserError for sizes that it does not take, and for flags that conflict."""
    if not SIDES[0] <= opt.loadSize <= SIDES[1]:
        raise UserError(f"--loadSize {opt.loadSize}: an autoencoder takes faces of {SIDES[0]} to {SIDES[1]} pixels a side")
    sampling_flags.check(opt, opt.condition != "none")
    if getattr(opt, "sample", "") == "prior" and opt.latent == "deterministic":
        raise UserError("--sample prior: a deterministic autoencoder has no prior to draw from; train with --latent gaussian")
