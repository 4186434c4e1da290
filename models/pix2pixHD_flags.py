"""The flags of pix2pixHD, conflicts between them, and those that a training takes over from weights."""
from __future__ import annotations

from models.pix2pixHD_weights import flags_of_weights  # noqa: F401 - of what every model's flags have
from models.styles import flags as style_flags
from options.flags import names_of, number, whole
from util.errors import UserError


def modify_commandline_options(parser, is_train: bool) -> None:
    """Add the flags of generator and encoder; for training those of discriminator and losses; else those of styles."""
    _generator_flags(parser)
    _feature_flags(parser)
    _stage_flags(parser, is_train)
    if is_train:
        _discriminator_flags(parser)
        _loss_flags(parser)
    else:
        style_flags.add_flags(parser)


def _generator_flags(parser):
    group = parser.add_argument_group("generator", architecture=True, from_dataset=True)
    group.add_argument("--netG", choices=("global", "local", "region"), default="global", help="one scale, coarse to "
                       "fine, or each region told what it is at every scale")
    group.add_argument("--ngf", type=whole(1), default=64, help="channels of the first layer")
    group.add_argument("--n_downsample_global", type=whole(1, 8), default=4, help="halvings in the global generator")
    group.add_argument("--n_blocks_global", type=whole(0), default=9, help="residual blocks in the global generator")
    group.add_argument("--n_up", type=whole(1, 8), default=5, help="with --netG region: doublings to full size")
    group.add_argument("--ngf_max", type=whole(0), default=0, help="with --netG region: at most so many channels (default: 4 "
                       "times --ngf)")
    group.add_argument("--norm_G", choices=("region", "spade"), default="region", help="with --netG region: scale and shift of "
                       "the norms by a linear map of class and style, or by convolutions over the label map")
    group.add_argument("--n_blocks_local", type=whole(0), default=3, help="residual blocks in a local enhancer")
    group.add_argument("--n_local_enhancers", type=whole(1, 4), default=1, help="local enhancers")
    group.add_argument("--upsample", choices=("transpose", "resize"), default="transpose", help="how sizes are doubled; "
                       "resize leaves no checkerboard and does not fit pix2pixHD's published weights")


def _feature_flags(parser):
    group = parser.add_argument_group("features", architecture=True, replaceable=True, from_dataset=True)
    group.add_argument("--no_instance", action="store_true", help="no instance maps, and no edges of them as input")
    group.add_argument("--instance_feat", action="store_true", help="add encoded features, one vector an instance")
    group.add_argument("--label_feat", action="store_true", help="add encoded features, one vector a label")
    group.add_argument("--feat_num", type=whole(1, 64), default=3, help="length of a feature vector (default with "
                       "--netG region: 16)")
    group.add_argument("--n_downsample_E", type=whole(1, 8), default=4, replaceable=False, help="halvings in the encoder")
    group.add_argument("--nef", type=whole(1), default=16, replaceable=False, help="channels of the encoder's first layer")
    group.add_argument("--use_vae", action="store_true", help="the encoder gives a Gaussian for each region, so that new looks "
                       "can be drawn")
    group.add_argument("--norm_E", choices=("instance", "batch", "none"), default=None, replaceable=False, help="the encoder's "
                       "normalisation (default: --norm)")
    group.add_argument("--feat_skip", action="store_true", help="give features a way past every normalisation: from the "
                       "photo into the encoder's output, and from there into the picture")


def _stage_flags(parser, is_train):
    group = parser.add_argument_group("stages")
    group.add_argument("--niter_fix_global", type=whole(0), default=0, from_dataset=True, without_effect=not is_train,
                       help="with --netG local: epochs in which only the outermost enhancer learns")
    group.add_argument("--load_features", action="store_true", help="read features from <phase>_feat, which "
                       "precompute_feature_maps.py wrote")
    group.add_argument("--n_clusters", type=whole(1), default=10, from_dataset=True, without_effect=not is_train,
                       help="styles a class that encode_features.py finds")
    if is_train:
        group.add_argument("--no_style_sheet", action="store_true", help="encode_features.py draws no page of the styles")


def _discriminator_flags(parser):
    group = parser.add_argument_group("discriminator", inherited=True, replaceable=True, from_dataset=True)
    group.add_argument("--netD", choices=("multiscale", "segmentation"), default="multiscale", help="judges patches at several "
                       "scales, or tells the class of each pixel (default with --netG region and label maps: segmentation)")
    group.add_argument("--num_D", type=whole(1, 8), default=2, help="scales of the discriminator")
    group.add_argument("--n_layers_D", type=whole(1, 8), default=3, help="layers of the discriminator at each scale; "
                       "halvings of a segmentation discriminator")
    group.add_argument("--ndf", type=whole(1), default=64, help="channels of the discriminator's first layer (default "
                       "with --netD segmentation: 32)")
    group.add_argument("--no_ganFeat_loss", action="store_true", help="no feature matching term")
    group.add_argument("--no_lsgan", action="store_true", help="binary cross-entropy instead of least squares")
    group.add_argument("--gan_mode", choices=("lsgan", "hinge", "relativistic"), default=None, inherited=False,
                       help="adversarial loss of the multiscale discriminator (default: lsgan)")
    group.add_argument("--lambda_r1", type=number(0), default=0.0, inherited=False, help="weight of the gradient penalty R1, "
                       "and with --gan_mode relativistic of R2")
    group.add_argument("--r1_every", type=whole(1), default=16, inherited=False, help="steps between gradient penalties, which "
                       "then weigh as many times as much")
    group.add_argument("--lambda_labelmix", type=number(0), default=10.0, inherited=False, help="with --netD segmentation: "
                       "weight of LabelMix")
    group.add_argument("--diffaug", type=names_of("color", "translation", "cutout"), default="", inherited=False,
                       from_dataset=False, metavar="NAME,...", help="augment what the discriminator sees: color, "
                       "translation, cutout")
    group.add_argument("--gan_start", type=whole(1), default=1, inherited=False, help="the first epoch with a discriminator")
    group.add_argument("--lr_D", type=number(0, above=True), default=None, inherited=False, from_dataset=False,
                       help="the discriminator's learning rate (default: --lr)")


def _loss_flags(parser):
    group = parser.add_argument_group("losses", from_dataset=True)
    group.add_argument("--lambda_feat", type=number(0), default=10.0, help="weight of the feature matching and VGG terms")
    group.add_argument("--no_vgg_loss", action="store_true", help="no VGG term, and no pyramid term in its place")
    group.add_argument("--vgg_weights", default="", metavar="FILE", from_dataset=False, help="torchvision's vgg19 state dict "
                       "(default: torch's cache, else a download)")
    group.add_argument("--lambda_l1", type=number(0), default=0.0, help="weight of a plain L1 term, G_L1")
    group.add_argument("--lambda_pyr", type=number(0), default=0.0, help="weight of a pyramid L1 term, G_Pyr, beside VGG or "
                       "without it")
    group.add_argument("--lambda_parts", type=number(0), default=0.0, help="weight of an L1 term, G_Parts, in which rare "
                       "classes such as eyes count more, up to 8 times")
    group.add_argument("--lambda_texture", type=number(0), default=0.0, help="weight of a term, G_Texture, that asks for as "
                       "much contrast between neighbouring pixels of a class as in the photo")
    group.add_argument("--lambda_gan", type=number(0), default=1.0, help="weight of the generator's adversarial term")
    group.add_argument("--lambda_kld", type=number(0), default=0.05, help="with --use_vae: weight of the KL term, G_KLD")
    group.add_argument("--kld_free_bits", type=number(0), default=0.05, help="with --use_vae: nats of a feature's dimension "
                       "that cost nothing")
    group.add_argument("--kld_warmup", type=whole(0), default=0, help="with --use_vae: epochs in which --lambda_kld grows from "
                       "zero to its value")
    group.add_argument("--pool_size", type=whole(0), default=0, help="earlier pictures shown to the discriminator again")


def settle_defaults(values: dict, sources: dict) -> None:
    """--netG region takes features of 16 numbers, and a segmentation discriminator where there are label maps.

    That is a U-Net at full size, which is as slow as the generator if it is as wide, so it is half as wide.
    """
    def settle(flag, value, source):
        if sources.get(flag) == "default" and values[flag] != value:
            values[flag], sources[flag] = value, source

    if values["netG"] == "region":
        if not values["load_features"]:
            settle("feat_num", 16, "--netG region")
        settle("netD", "segmentation" if values["label_nc"] else "multiscale", "--netG region")
    if values.get("netD") == "segmentation":
        settle("ndf", 32, "--netD segmentation")


def check_options(opt) -> None:
    """Raise UserError for flags that conflict."""
    features = opt.instance_feat or opt.label_feat
    rules = [
        (opt.instance_feat and opt.label_feat, "--instance_feat and --label_feat: features belong to instances or to labels; "
         "give one of the two"),
        (opt.label_feat and opt.label_nc == 0, "--label_feat: with --label_nc 0 there are no labels; use --instance_feat"),
        (opt.instance_feat and opt.no_instance, "--instance_feat: --no_instance leaves no instances to encode; give one of "
         "the two, or --label_feat"),
        (opt.load_features and not features, "--load_features: needs --instance_feat or --label_feat, which say what the "
         "features belong to"),
        (opt.feat_skip and not features, "--feat_skip: needs --instance_feat or --label_feat"),
        (opt.load_features and opt.feat_num not in (1, 3), f"--feat_num {opt.feat_num}: feature maps are pictures, so "
         "--load_features takes 1 or 3"),
        (opt.niter_fix_global and opt.netG != "local", f"--niter_fix_global {opt.niter_fix_global}: only --netG local has "
         "enhancers to train alone"),
        (getattr(opt, "use_encoded_image", False) and not features, "--use_encoded_image: this model takes no features; it "
         "needs weights trained with --label_feat or --instance_feat"),
        (getattr(opt, "use_encoded_image", False) and opt.load_features, "--use_encoded_image and --load_features: features "
         "come from the picture or from <phase>_feat; give one of the two"),
        (opt.role == "test" and opt.export_onnx and opt.onnx, "--export_onnx and --onnx: write that form or draw with it; give "
         "one of the two"),
        (opt.role == "test" and opt.export_onnx and opt.engine, "--export_onnx and --engine: write another form or draw with "
         "one; give one of the two"),
        (opt.role == "train" and opt.checkpoint_activations and opt.norm == "batch", "--checkpoint_activations: layers of "
         "--norm batch count each batch they see, so they cannot be run again; use --norm instance, or leave it out"),
        (opt.role == "encode" and not features, "this model has no feature encoder; it needs weights trained with "
         "--label_feat or --instance_feat"),
        (opt.role == "encode" and opt.load_features, "--load_features: features that are read from files are not encoded; "
         "leave it out"),
    ]
    style_flags.refuse(rules + _vae_rules(opt, features) + _region_rules(opt) +
                       (_adversary_rules(opt) if opt.role == "train" else []))
    if opt.role == "test":
        style_flags.check(opt, features)


def _vae_rules(opt, features):
    return [
        (opt.use_vae and not features, "--use_vae: needs --instance_feat or --label_feat, the features that become Gaussians"),
        (opt.use_vae and opt.load_features, "--use_vae: --load_features reads features from files and has no encoder; give one "
         "of the two"),
    ]


def _region_rules(opt):
    region = opt.netG == "region"
    return [
        (region and opt.feat_skip, "--feat_skip: --netG region has a path from features to colours of its own; leave it out"),
        (region and opt.use_dropout, "--use_dropout: --netG region has no dropout layers, but noise; leave it out"),
        (region and opt.norm == "batch" and opt.netD == "segmentation", "--norm batch: neither --netG region nor --netD "
         "segmentation has batch norm; leave it out"),
        (not region and opt.norm_G != "region", f"--norm_G {opt.norm_G}: only --netG region has such norms"),
        (not region and getattr(opt, "texture", 0), "--texture: only --netG region draws with noise; leave it out"),
        (getattr(opt, "texture", 0) and (opt.onnx or opt.engine), "--texture: an exported generator has the noise that it was "
         "written with; leave it out"),
    ]


def _adversary_rules(opt):
    segmentation = opt.netD == "segmentation"
    others = opt.lambda_l1 or opt.lambda_pyr or opt.lambda_parts or opt.lambda_feat and not opt.no_vgg_loss
    return [
        (segmentation and not opt.label_nc, "--netD segmentation: with --label_nc 0 there are no classes to tell; use --netD "
         "multiscale"),
        (segmentation and opt.gan_mode, f"--gan_mode {opt.gan_mode}: --netD segmentation has a loss of its own, the "
         "cross-entropy of classes; leave it out, or use --netD multiscale"),
        (segmentation and opt.no_lsgan, "--no_lsgan: --netD segmentation has a loss of its own, the cross-entropy of classes; "
         "leave it out, or use --netD multiscale"),
        (opt.no_lsgan and opt.gan_mode, f"--no_lsgan and --gan_mode {opt.gan_mode}: two adversarial losses; give one of "
         "them"),
        (opt.gan_mode == "relativistic" and opt.pool_size, f"--pool_size {opt.pool_size}: --gan_mode relativistic compares a "
         "drawn picture with the real one of the same label map, not with earlier ones; leave it out"),
        (opt.lambda_parts and not opt.label_nc, f"--lambda_parts {opt.lambda_parts:g}: with --label_nc 0 there are no "
         "classes; use --lambda_l1"),
        (opt.lambda_texture and not opt.label_nc, f"--lambda_texture {opt.lambda_texture:g}: with --label_nc 0 there are no "
         "classes; leave it out"),
        ((opt.gan_start > 1 or segmentation and not opt.lambda_gan) and not others,
         f"{'--gan_start' if opt.gan_start > 1 else '--lambda_gan'}: leaves epochs without any loss to learn from; give "
         "--lambda_l1 or --lambda_pyr as well"),
        (opt.gan_start > opt.niter + opt.niter_decay and not opt.debug, f"--gan_start {opt.gan_start}: the training ends after "
         f"{opt.niter + opt.niter_decay} epochs (--niter and --niter_decay); start earlier, or use --lambda_gan 0"),
    ]


def start_from(known: dict, typed: dict, where: str) -> dict:
    """The flags that a training takes over from weights it starts from, if the flags `typed` are given.

    A local generator can start from a global one, and a region generator from one of fewer doublings, which become its coarse
    part. Raises UserError naming `where` for widths that do not fit.
    """
    known = dict(known)
    if typed.get("label_feat") or typed.get("instance_feat"):
        known = {dest: value for dest, value in known.items() if dest not in ("label_feat", "instance_feat")}
    if known.get("netG") == "global":
        for dest in ("n_local_enhancers", "n_blocks_local"):  # of a global generator they are unused defaults
            known.pop(dest, None)
        if typed.get("netG") == "local":
            known |= {"netG": "local", "ngf": _width_around(known, typed, where, typed.get("n_local_enhancers", 1))}
    added = typed.get("n_up", 0) - known.get("n_up", 5)
    if known.get("netG") == "region" and added > 0:
        widest = known.get("ngf_max") or 4 * known.get("ngf", 64)
        known |= {"n_up": typed["n_up"], "ngf": _width_around(known, typed, where, added), "ngf_max": widest}
    return known


def _width_around(known, typed, where, added: int) -> int:
    """--ngf of the generator with `added` more doublings whose coarse part is as wide as the known one."""
    width, times = known.get("ngf", 64), 2 ** added
    asked = typed.get("ngf", width // times)
    if asked * times != width:
        grown, fewer = ("--n_up", "a smaller --n_up") if known["netG"] == "region" else \
            ("--netG local", "fewer --n_local_enhancers")
        remedy = f"leave --ngf out or give {width // times}" if width % times == 0 else f"give {fewer}"
        raise UserError(f"{grown}: the coarse part has --ngf {asked} times {times} channels, but the weights of "
                        f"--load_pretrain were trained with --ngf {width} ({where}); {remedy}, or start from other weights")
    return asked
