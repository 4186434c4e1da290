"""The flags of test.py."""
from __future__ import annotations

from options.base_options import BaseOptions
from options.flags import INF, epoch_name, folder_name, number, whole, whole_or_inf


class TestOptions(BaseOptions):
    """Flags of test.py."""

    __test__ = False  # not a test case, whatever pytest makes of the name
    role = "test"

    def initialize(self, parser):
        """Add the results' flags to the shared ones."""
        parser = super().initialize(parser)
        group = parser.add_argument_group("results")
        group.add_argument("--ntest", type=whole_or_inf(1), default=INF, help="take at most this many test pictures")
        group.add_argument("--results_dir", default="./results/", help="where pages and pictures go")
        group.add_argument("--aspect_ratio", type=number(0.05, 20), default=1.0, from_dataset=True, help="width over "
                           "height by which the written pictures are stretched")
        group.add_argument("--phase", type=folder_name, default="test", help="train, val, test, ...: prefix of the folders")
        group.add_argument("--which_epoch", type=epoch_name, default="latest", help="which checkpoint to draw with")
        group.add_argument("--how_many", type=whole(1), default=50, help="draw at most this many pictures")
        group.add_argument("--export_onnx", default=None, metavar="FILE.onnx", help="write generator, encoder "
                           "and what feeds them as FILE.onnx, FILE_encoder.onnx, FILE_manifest.json, and stop (needs the "
                           "packages onnx and onnxscript)")
        group.add_argument("--onnx", default=None, metavar="FILE.onnx", help="draw with an exported generator (needs "
                           "onnxruntime)")
        group.add_argument("--engine", default=None, metavar="FILE", help="draw with a TensorRT engine of the "
                           "generator (needs tensorrt and a CUDA device)")
        return parser

    def finish_values(self, values, sources):
        """Test pictures are read in order, without flipping."""
        for key, value in {"serial_batches": True, "no_flip": True}.items():
            values[key], sources[key] = value, "test" if not values[key] else sources[key]
