"""The flags of the GAN of faces, on attributes or not."""
from __future__ import annotations

from models import sampling_flags
from models.attributes_flags import set_defaults, settle_defaults, start_from  # noqa: F401 - theirs, too
from options.flags import names_of, number, whole
from util.errors import UserError

dataset_mode = "attributes"
MODES, KINDS = ("lsgan", "vanilla", "hinge", "wgangp"), ("color", "translation", "cutout")
DEFAULTS = {"lr": 0.0002, "beta1": 0.0, "loadSize": 64, "batchSize": 64, "niter": 100, "niter_decay": 0, "ema": 0.999,
            "print_freq": 640, "display_freq": 6400, "save_latest_freq": 64000}


def modify_commandline_options(parser, is_train: bool) -> None:
    """Set defaults of shared flags, and add those of the networks, of their losses or of what is drawn."""
    set_defaults(parser, DEFAULTS, is_train)
    group = parser.add_argument_group("GAN", architecture=True, from_dataset=True)
    group.add_argument("--condition", choices=("none", "concat", "projection", "auxiliary"), default="none", help="how the "
                       "discriminator takes attributes: as planes, by projection, or by telling them (ACGAN)")
    group.add_argument("--z_dim", type=whole(1), default=100, help="numbers from N(0, 1) that a face is drawn of")
    group.add_argument("--ngf", type=whole(1), default=32, help="channels of the generator's last layer")
    group.add_argument("--ndf", type=whole(1), default=32, replaceable=True, help="channels of the discriminator's first layer")
    if not is_train:
        sampling_flags.add_flags(parser, of_photos=False)
        return
    group = parser.add_argument_group("GAN, training", from_dataset=True)
    group.add_argument("--gan_mode", choices=MODES, default="hinge", help="the adversarial loss")
    group.add_argument("--lambda_aux", type=number(0), default=1.0, help="weight of the attributes' cross-entropy, with "
                       "--condition auxiliary")
    group.add_argument("--aux_of_drawn", action="store_true", help="have the discriminator learn attributes from drawn faces, "
                       "too, as Odena et al. do; without, from true ones alone")
    group.add_argument("--lambda_ms", type=number(0), default=0.0, help="weight of the mode seeking loss, where faces with "
                       "the same attributes are too much alike; 0: none")
    group.add_argument("--lambda_r1", type=number(0), default=0.0, help="weight of the gradient penalty on true faces (R1); "
                       "0: none")
    group.add_argument("--r1_every", type=whole(1), default=1, help="steps from one of these penalties to the next, each so "
                       "many times as heavy")
    group.add_argument("--diffaug", type=names_of(*KINDS), default="", metavar="KIND,...", help="augment what the "
                       "discriminator sees, for a few thousand photos or fewer")


def flags_of_weights(states: dict[str, dict]) -> dict:
    """The flags that the networks were made with, as far as shapes tell; which attributes they know, they do not."""
    found, generator, discriminator = {}, states.get("G", {}), states.get("D", {})
    if "first.weight" in generator:
        last = generator["last.2.weight"]
        conditional = "embedding.weight" in generator
        found = {"ngf": last.shape[1], "output_nc": last.shape[0],
                 "z_dim": generator["first.weight"].shape[1] // (1 + conditional)}
    if "blocks.0.convs.1.bias" in discriminator:
        image_nc = discriminator["blocks.0.convs.0.parametrizations.weight.original"].shape[1]
        kinds = {"projection": "embedding.parametrizations.weight.original" in discriminator,
                 "auxiliary": "auxiliary.weight" in discriminator, "concat": image_nc > found.get("output_nc", 3)}
        found |= {"ndf": discriminator["blocks.0.convs.1.bias"].shape[0],
                  "condition": next((kind for kind, there in kinds.items() if there), "none")}
    return found


def check_options(opt) -> None:
    """Raise UserError for sizes that the networks do not take, and for flags that conflict."""
    if opt.loadSize not in (32, 64, 128, 256):
        raise UserError(f"--loadSize {opt.loadSize}: this GAN draws faces of 32, 64, 128 or 256 pixels a side")
    if getattr(opt, "set", "") and opt.condition == "none":
        raise UserError(f"--set {opt.set}: these weights were trained with --condition none, so no attribute can be asked for")
    sampling_flags.check(opt, opt.condition != "none")
