"""The flags of edit.py."""
from __future__ import annotations

from pathlib import Path

from options.flags import whole
from options.test_options import TestOptions
from util.checkpoint import is_saved
from util.errors import UserError

LOCAL = "127.0.0.1"


class EditOptions(TestOptions):
    """Flags of edit.py: those of test.py, where the page is served, and what photos are parsed with."""

    def initialize(self, parser):
        """Add the editor's flags to those of the results."""
        parser = super().initialize(parser)
        group = parser.add_argument_group("editor")
        group.add_argument("--host", default=None, metavar="ADDRESS", help=f"address to serve the page at (default: {LOCAL}, "
                           "for this machine alone); if given, only who has the token in the printed address gets in")
        group.add_argument("--port", type=whole(0, 65535), default=7860, help="port to serve the page at; 0: any free one")
        group.add_argument("--parser", default="", metavar="CHECKPOINT", help="face parser that makes label maps of photos: an "
                           "experiment's folder of --model parsing, or a file of BiSeNet weights")
        return parser

    def finish_values(self, values, sources):
        """As test.py's; photos can be encoded where the experiment has an encoder."""
        super().finish_values(values, sources)
        if values["export_onnx"]:
            raise UserError("--export_onnx: is test.py's; edit.py only draws")
        encoder = Path(values["checkpoints_dir"]) / values["name"] / f"{values['which_epoch']}_net_E.pth"
        if "use_encoded_image" in values and is_saved(encoder):
            values["use_encoded_image"], sources["use_encoded_image"] = True, "edit"
