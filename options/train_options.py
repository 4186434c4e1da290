"""The flags of training."""
from __future__ import annotations

from options import saved
from options.base_options import BaseOptions
from options.flags import INF, epoch_name, folder_name, names, number, whole, whole_or_inf
from options.test_options import TestOptions
from util.errors import UserError

_ENCODING = {"debug", "load_pretrain", "n_clusters", "no_style_sheet"}  # what encoding takes beside what test.py does


class TrainOptions(BaseOptions):
    """Flags of train.py; encode_features.py and precompute_feature_maps.py take the same with role 'encode'."""

    role = "train"

    def __init__(self, role: str | None = None):
        super().__init__(role)
        self.is_train = True

    def initialize(self, parser):
        """Add the loop's flags to the shared ones."""
        parser = super().initialize(parser)
        _display_flags(parser)
        _loop_flags(parser)
        _augmentation_flags(parser)
        _validation_flags(parser)
        return parser

    def _full_parser(self, first, record):
        """For encoding, only those flags of a training that have an effect there are in --help."""
        parser = super()._full_parser(first, record)
        if self.role == "encode":
            drawing = TestOptions()._full_parser(first, record)
            parser.without(*(parser.flags().keys() - (drawing.flags().keys() - drawing.without_effect) - _ENCODING))
        return parser

    def finish_values(self, values, sources):
        """Set the values that --debug implies; encoding reads each picture once, in order, without flipping."""
        _check_start(self.role, values, sources)
        if values["debug"]:
            forced = {"display_freq": 1, "print_freq": 1, "niter": 1, "niter_decay": 0, "max_dataset_size": 10}
            for key, value in forced.items():
                values[key], sources[key] = value, "--debug"
        if self.role == "encode":
            for key, value in {"serial_batches": True, "no_flip": True}.items():
                values[key], sources[key] = value, "encoding"


def _check_start(role, values, sources):
    """Check that --continue_train, --load_pretrain and --which_epoch agree. A file given to --load_pretrain names both its
    folder and its epoch."""
    folder, epoch = saved.pretrained(values["load_pretrain"])
    if epoch is not None:
        if sources["which_epoch"] == "command line" and values["which_epoch"] != epoch:
            raise UserError(f"--load_pretrain {values['load_pretrain']}: is of epoch {epoch}, but --which_epoch "
                            f"{values['which_epoch']} asks for another; give one of the two")
        values["load_pretrain"], values["which_epoch"], sources["which_epoch"] = folder, epoch, "--load_pretrain"
    if role != "train":
        return
    if values["continue_train"] and values["load_pretrain"]:
        raise UserError("--load_pretrain: --continue_train goes on from the experiment's own weights; give one of "
                        "the two")
    if values["which_epoch"] != "latest" and not (values["continue_train"] or values["load_pretrain"]):
        raise UserError(f"--which_epoch {values['which_epoch']}: nothing starts from it; add --continue_train to go on from "
                        "the experiment's own weights, or --load_pretrain FOLDER to start from another's")


def _display_flags(parser):
    group = parser.add_argument_group("display and saving (in pictures, unless said)")
    group.add_argument("--display_freq", type=whole(1), default=100, from_dataset=True, help="pictures between updates of the "
                       "page")
    group.add_argument("--print_freq", type=whole(1), default=100, from_dataset=True, help="pictures between lines of the log")
    group.add_argument("--save_latest_freq", type=whole(1), default=1000, help="pictures between saves of 'latest'")
    group.add_argument("--save_epoch_freq", type=whole(1), default=10, help="epochs between saves that are kept")
    group.add_argument("--save_time", type=number(0, above=True, infinite=True), default=INF, help="minutes between saves of "
                       "'latest', beside --save_latest_freq")
    group.add_argument("--keep_checkpoints", type=whole_or_inf(1), default=INF, help="how many of the numbered checkpoints to "
                       "keep, the newest")
    group.add_argument("--no_html", action="store_true", help="write no page while training")
    group.add_argument("--debug", action="store_true", help="one epoch of ten pictures, shown and logged at each step")


def _loop_flags(parser):
    group = parser.add_argument_group("training")
    group.add_argument("--continue_train", action="store_true", help="go on from the experiment's last checkpoint")
    group.add_argument("--load_pretrain", default="", help="start from the weights in this folder, or from its "
                       "<epoch>_net_G.pth, with the flags that those networks have; layers that do not fit are listed")
    group.add_argument("--which_epoch", type=epoch_name, default="latest", help="which checkpoint to start from")
    group.add_argument("--phase", type=folder_name, default="train", help="train, val, test, ...: prefix of the folders")
    group.add_argument("--niter", type=whole(0), default=100, from_dataset=True, help="epochs at the starting "
                       "learning rate")
    group.add_argument("--niter_decay", type=whole(0), default=100, from_dataset=True, help="epochs in which it "
                       "falls to zero")
    group.add_argument("--checkpoint_activations", action="store_true", help="compute activations again in the "
                       "backward pass instead of holding them: less memory, for 1024 pixels and more, and a slower step")
    group.add_argument("--ema", type=number(0, 1, below=True), default=0.0, from_dataset=True, help="keep averages of the "
                       "weights, each step this share of the average and the rest of the new weight, such as 0.999; they draw "
                       "at test")
    group.add_argument("--beta1", type=number(0, 1, below=True), default=0.5, from_dataset=True, help="Adam's momentum")
    group.add_argument("--beta2", type=number(0, 1, below=True), default=0.999, from_dataset=True, help="Adam's decay of "
                       "squared gradients")
    group.add_argument("--lr", type=number(0, above=True), default=0.0002, from_dataset=True, help="Adam's starting "
                       "learning rate")


def _augmentation_flags(parser):
    group = parser.add_argument_group("augmentation of training pictures, beside mirroring", from_dataset=True)
    group.add_argument("--aug_rotate", type=number(0, 180), default=0.0, help="turn by up to this many degrees")
    group.add_argument("--aug_scale", type=number(0, 0.9), default=0.0, help="enlarge or shrink by up to this share")
    group.add_argument("--aug_color", type=number(0, 0.9), default=0.0, help="change brightness, contrast and saturation "
                       "of the photo by up to this share")


def _validation_flags(parser):
    group = parser.add_argument_group("validation while training")
    group.add_argument("--val_freq", type=whole(0), default=0, from_dataset=True, help="epochs between validations on held-out "
                       "pictures; 0: none")
    group.add_argument("--val_phase", type=lambda text: text and folder_name(text), default="", help="the folders of held-out "
                       "pictures (default: val, else test, else --val_split)")
    group.add_argument("--val_split", type=number(0, 0.9, above=True), default=0.05, from_dataset=True, help="where there are "
                       "no such folders: this share of the training pictures is held out, by --seed")
    group.add_argument("--val_max", type=whole(1), default=64, from_dataset=True, help="pictures to validate on, at most")
    group.add_argument("--val_metrics", type=names, default=None, metavar="NAME,...", help="figures to find, of those that "
                       "evaluate.py knows (default: all that apply and need no weights)")
    group.add_argument("--val_best", type=names, default=None, metavar="NAME", help="keep best_net_*.pth, the checkpoint that "
                       "is best by this figure, such as ssim")
