"""The flags that choose styles at test: how regions are drawn, styles by number, features of other photos."""
from __future__ import annotations

from options.flags import Repeated, folder_name, names, style_choice, whole
from util.errors import UserError

SAMPLES = ("person", "class", "clusters", "prior", "posterior")
_NO_FEATURES = "this model takes no features; it needs weights trained with --label_feat or --instance_feat"


def add_flags(parser) -> None:
    """Add the groups of styles and of other photos."""
    _style_flags(parser)
    _swap_flags(parser)


def _style_flags(parser):
    group = parser.add_argument_group("styles")
    group.add_argument("--use_encoded_image", action="store_true", help="take the features of the test picture itself")
    group.add_argument("--cluster_path", default="features_clustered_010.npy", help="the experiment's file of styles "
                       "that encode_features.py wrote")
    group.add_argument("--sample", choices=SAMPLES, default=None, help="how regions without a photo are drawn: person (all "
                       "classes from one Gaussian, so that they belong together), class (each region from its class's), "
                       "clusters; with --use_vae also prior N(0, I), or posterior, around the photo's own features (default: "
                       "person where encode_features.py has found it, else prior with --use_vae, else clusters)")
    group.add_argument("--person", type=whole(0, 10 ** 9), default=None, metavar="N", help="draw the person of that number on "
                       "the style sheet, on every label map")
    group.add_argument("--style_fit", action="store_true", help="draw a person that fits the regions whose style is given, by "
                       "--style, by other photos, or by the test picture")
    group.add_argument("--style", type=style_choice, action=Repeated, default=None, metavar="CLASS=N", help="the class's style "
                       "of that number on the style sheet, or CLASS=random; name or id, may be given several times")
    group.add_argument("--n_samples", type=whole(1, 100), default=1, help="looks to draw for each label map")
    group.add_argument("--texture", type=whole(0, 255), default=0, metavar="N", help="with --netG region: which noise hair, "
                       "cloth and the like are drawn with")


def _swap_flags(parser):
    group = parser.add_argument_group("styles from other photos")
    group.add_argument("--style_root", default="", metavar="DIR", help="data root whose photos give their features")
    group.add_argument("--style_phase", type=folder_name, default="test", help="its folders")
    group.add_argument("--style_regions", type=names, default=None, metavar="CLASS,...", help="take only these classes from "
                       "there (default: all)")
    group.add_argument("--style_pairs", default="", metavar="FILE.csv", help="two columns, test picture and style photo "
                       "(default: the same name, else in turn)")
    group.add_argument("--style_image", default="", metavar="PHOTO", help="one photo for all, instead of --style_root")
    group.add_argument("--style_label", default="", metavar="FILE.png", help="its label map")


def refuse(rules) -> None:
    """Raise UserError for the first of [(condition, message), ...] whose condition holds."""
    for wrong, message in rules:
        if wrong:
            raise UserError(message)


def check(opt, features: bool) -> None:
    """Refuse flags that conflict and classes that do not exist. features: whether the model takes encoded features."""
    refuse(_style_rules(opt, features))
    refuse(_swap_rules(opt, features))
    _check_class_names(opt)


def swaps(opt) -> bool:
    """Whether styles are transferred from other photos."""
    return bool(getattr(opt, "style_root", "") or getattr(opt, "style_image", ""))


def chosen(opt) -> bool:
    """Whether flags ask for other styles than each photo's own."""
    return bool(opt.sample or opt.style or opt.style_fit or opt.person is not None or swaps(opt))


def mode(sample: str | None, style_fit: bool, person: int | None) -> str:
    """How these flags ask to sample regions; '' where they do not say."""
    return "person" if style_fit or person is not None else sample if sample not in (None, "posterior") else ""


def person_rules(sample, style_fit, person, own: bool, fixed: bool, random: bool, others: bool):
    """[(condition, message), ...] of persons, for `refuse`. The first three are the flags' values.

    own: regions take the features of the picture's own photo. fixed, random: --style gives some a style, has some drawn.
    others: other photos give features.
    """
    flag = f"--person {person}" if person is not None else "--style_fit"
    asked = style_fit or person is not None
    return [
        (person is not None and not (isinstance(person, int) and person >= 0), f"{flag}: give a whole number of at least 0"),
        (asked and sample not in (None, "person", "posterior"), f"{flag} and --sample {sample}: {flag} draws from the Gaussian "
         "of persons; leave --sample out"),
        (asked and own and not random, f"{flag} and --use_encoded_image: nothing is drawn, as all regions take the photo's "
         "features; leave one of the two out, or add --style CLASS=random"),
        (style_fit and not (own or fixed or others), "--style_fit: there is nothing to fit; give --style CLASS=NUMBER, or a "
         "photo with --style_image or --style_root"),
    ]


def _style_rules(opt, features):
    wanted = [f"--style {text}" for text in opt.style or ()] + [f"--sample {opt.sample}"] * bool(opt.sample) + \
        [f"--person {opt.person}"] * (opt.person is not None) + ["--style_fit"] * opt.style_fit + \
        [f"--n_samples {opt.n_samples}"] * (opt.n_samples > 1)
    flag = wanted[0] if wanted else ""
    random = [text.endswith("=random") for text in opt.style or ()]
    return [
        (flag and not features, f"{flag}: {_NO_FEATURES}"),
        (flag and opt.load_features, f"{flag} and --load_features: features come from styles or from <phase>_feat; give one "
         "of the two"),
        (opt.sample in ("prior", "posterior") and not opt.use_vae, f"--sample {opt.sample}: needs weights trained with "
         "--use_vae; use --sample person"),
        (opt.sample == "posterior" and not (opt.use_encoded_image or swaps(opt)), "--sample posterior: draws around a photo's "
         "features; give --use_encoded_image, --style_root or --style_image as well"),
        *person_rules(opt.sample, opt.style_fit, opt.person, opt.use_encoded_image, not all(random), any(random), swaps(opt)),
    ]


def _swap_rules(opt, features):
    given = next((name for name in ("style_root", "style_image", "style_label", "style_pairs", "style_regions")
                  if getattr(opt, name)), "")
    flag = f"--{given} {getattr(opt, given, '')}"
    return [
        (given and not features, f"{flag}: {_NO_FEATURES}"),
        (given and opt.load_features, f"{flag} and --load_features: features come from photos or from <phase>_feat; give one "
         "of the two"),
        (given and not opt.label_nc, f"{flag}: with --label_nc 0 there are no classes whose features could be swapped; leave "
         "it out"),
        (opt.style_root and opt.style_image, "--style_root and --style_image: a folder of photos, or one photo; give one of "
         "the two"),
        (bool(opt.style_image) != bool(opt.style_label), f"{flag}: a photo and its label map belong together; give both "
         "--style_image and --style_label"),
        (opt.style_pairs and not opt.style_root, f"{flag}: names photos of --style_root DIR; give that as well"),
        (opt.style_regions and not swaps(opt), f"{flag}: names what to take from other photos; give --style_root or "
         "--style_image as well"),
    ]


def _check_class_names(opt) -> None:
    """Refuse class names in --style and --style_regions that the data does not have, where it names its classes."""
    if not opt.spec.labels:
        return
    named = [(f"--style {text}", text.rpartition("=")[0]) for text in opt.style or ()]
    named += [(f"--style_regions {opt.style_regions}", name) for name in filter(None, (opt.style_regions or "").split(","))]
    for flag, name in named:
        try:
            opt.spec.label_of(name.strip())
        except UserError as error:
            raise UserError(f"{flag}: {error}") from None
