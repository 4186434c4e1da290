"""The flags of the identity swap."""
from __future__ import annotations

from models.identity_flags import set_defaults, settle_defaults, start_from  # noqa: F401 - theirs, too
from options.flags import number, whole
from util.errors import UserError

DEFAULTS = {"lr": 4e-4, "beta1": 0.0, "beta2": 0.99, "loadSize": 224, "batchSize": 8, "niter": 50, "niter_decay": 50}
RANGES = ("imagenet", "tanh")
dataset_mode = "identities"


def modify_commandline_options(parser, is_train: bool) -> None:
    """Set defaults of shared flags; add those of the networks and, for training, of the losses."""
    set_defaults(parser, DEFAULTS, is_train)
    group = parser.add_argument_group("generator", architecture=True, from_dataset=True)
    group.add_argument("--ngf", type=whole(1), default=64, help="channels of the first layer; 64 as published")
    group.add_argument("--n_downsample_global", type=whole(1, 5), default=3, help="halvings before the residual blocks; 3 as "
                       "published, for 224 pixels, 2 for 64")
    group.add_argument("--n_blocks_global", type=whole(1), default=9, help="residual blocks; 9 as published")
    group.add_argument("--output_range", choices=RANGES, default="imagenet", help="colours by ImageNet's mean and deviation, "
                       "and a linear last layer; or in [0, 1], and a tanh last: published weights are of either kind")
    group.add_argument("--latent", choices=("none", "gaussian"), default="none", help="gaussian: a VAE's "
                       "bottleneck")
    group.add_argument("--z_nc", type=whole(1), default=32, help="with --latent gaussian: its channels")
    group.add_argument("--ndf", type=whole(1), default=64, replaceable=True, help="channels of the discriminators' first layer")
    group.add_argument("--n_layers_D", type=whole(1, 8), default=3, replaceable=True, help="layers of a discriminator")
    group.add_argument("--num_D", type=whole(1, 5), default=2, replaceable=True, help="discriminators, each at half the size")
    if not is_train:
        return
    group = parser.add_argument_group("identity swap, training", from_dataset=True)
    group.add_argument("--identity", default="", metavar="FILE", from_dataset=False, help="weights of the identity network: an "
                       "experiment of --model identity, its latest_net_I.pth, or the published model_ir_se50.pth")
    group.add_argument("--from_scratch", action="store_true", from_dataset=False, help="an identity network of random weights, "
                       "which knows nobody, to try the program out")
    for name, value, what in (("id", 30.0, "the identity of swap and source, 1 - cos"),
                              ("feat", 10.0, "feature matching in the discriminators' last layers"),
                              ("rec", 10.0, "L1 to the target, where source and target are one person"),
                              ("bg", None, "L1 to the target outside the face (default: 10 with --latent gaussian, else 0)"),
                              ("kl", 1e-3, "with --latent gaussian: the KL divergence of a number of the bottleneck")):
        group.add_argument(f"--lambda_{name}", type=number(0), default=value, help=f"weight: {what}")


def flags_of_weights(states: dict[str, dict]) -> dict:
    """The flags that generator and discriminators were made with, as far as their shapes tell."""
    from models.networks.simswap import describe
    found, of_d = describe(states.get("G", {})), states.get("D", {})
    if "scale0_layer0.0.bias" in of_d:
        scales = {name.split("_")[0] for name in of_d}
        layers = {name.split(".")[0] for name in of_d if name.startswith("scale0_")}
        found |= {"ndf": len(of_d["scale0_layer0.0.bias"]), "num_D": len(scales), "n_layers_D": len(layers) - 2}
    return found


def check_options(opt) -> None:
    """Raise UserError for flags that conflict, such as two identity networks."""
    if opt.role != "train":
        return
    if opt.from_scratch and opt.identity:
        raise UserError("--from_scratch and --identity: take random weights or those of a file; give one of the two")
    if opt.checkpoint_activations:
        raise UserError("--checkpoint_activations: these networks' norms count each batch they see, so their layers cannot be "
                        "run again; leave it out")
