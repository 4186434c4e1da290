"""Exporting generator and encoder as ONNX, with a manifest of their inputs, for programs without PyTorch; see docs/onnx.md."""
from __future__ import annotations

from importlib import metadata
from itertools import accumulate
from pathlib import Path

from torch import nn

from models.deploy import export_onnx
from models.networks.region_encoder import GUIDES, RegionEncoder
from models.styles.styles import Styles
from util.experiment import versions
from util.files import write_json
from util.util import palette

VERSION = 1  # of the manifest


class EncoderMaps(nn.Module):
    """The encoder before pooling over regions: (N, C, H, W) in [-1, 1] -> features (N, feat_num, H, W), or a VAE's mu and
    log-variance."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, photo):
        """Features, or mu and log-variance. A region encoder's photo is followed by place (x, y) and edges."""
        inputs = photo.split([self.encoder.input_nc, GUIDES], 1) if isinstance(self.encoder, RegionEncoder) else (photo,)
        return tuple(found for found in self.encoder.maps(*inputs) if found is not None)


def export(model, path: str) -> list[Path]:
    """Write FILE.onnx, with an encoder FILE_encoder.onnx, and FILE_manifest.json; gives their paths.

    model: a Pix2PixHDModel with the generator and, if it is to be written, the encoder in its nets.
    Raises UserError naming --export_onnx, or a broken file of styles.
    """
    opt, stem = model.opt, Path(path).with_suffix("")
    encoder, manifest = stem.with_name(f"{stem.name}_encoder.onnx"), stem.with_name(f"{stem.name}_manifest.json")
    styles = model.drawing.styles = Styles.of_experiment(opt)
    export_onnx(model.nets["G"], sum(model.channels()), opt.needs.multiple, path)
    written = [Path(path)]
    if "E" in model.nets:
        outputs = ("mu", "log_variance") if opt.use_vae else ("features",)
        channels = sum(one["count"] for one in _encoder_channels(opt))
        export_onnx(EncoderMaps(model.nets["E"]), channels, opt.needs.multiple, str(encoder), "photo", outputs)
        written.append(encoder)
    write_json(manifest, _manifest(model, styles, [file.name for file in written]))
    return [*written, manifest]


def _manifest(model, styles: Styles, files: list[str]) -> dict:
    opt = model.opt
    encoder = {"file": files[1], "input": "photo", "channels": _encoder_channels(opt),
               "outputs": ["mu", "log_variance"] if opt.use_vae else ["features"]} if len(files) > 1 else None
    return {
        "manifest": VERSION, "experiment": opt.name, "epoch": opt.which_epoch,
        "generator": {"file": files[0], "input": "input", "output": "picture", "channels": _input_channels(model)},
        "encoder": encoder,
        "sizes": {"multiple": opt.needs.multiple, "least": opt.needs.least, "loadSize": opt.loadSize,
                  "resize_or_crop": opt.resize_or_crop},
        "feat_num": model.channels()[1],
        "features_of": "label" if opt.label_feat else "instance" if opt.instance_feat else None,
        "dontcare": opt.label_maps.dontcare,
        "classes": _classes(opt, styles),
        "versions": {**versions(), **{name: metadata.version(name) for name in ("onnx", "onnxscript")}},
    }


def _input_channels(model) -> list[dict]:
    """The meaning of the generator's input channels: [{'what', 'first', 'count'}, ...]."""
    opt, (condition, features) = model.opt, model.channels()
    edge = int(not opt.no_instance)
    kinds = [("one-hot classes" if opt.label_nc else "picture", condition - edge), ("edges", edge), ("features", features)]
    return _listed(kinds)


def _encoder_channels(opt) -> list[dict]:
    """The meaning of the encoder's input channels, likewise."""
    region = opt.netG == "region"
    return _listed([("picture", opt.output_nc), ("place", 2 * region), ("edges", GUIDES // 3 * region)])


def _listed(kinds) -> list[dict]:
    """[(what, how many), ...] in order, with where each starts; those of no channels left out."""
    starts = accumulate([0] + [count for _, count in kinds])
    return [{"what": what, "first": first, "count": count} for (what, count), first in zip(kinds, starts) if count]


def _classes(opt, styles: Styles) -> list[dict]:
    """Name, colour and styles of each class, in the order of the style sheet.

    With --label_nc 0, of the classes that have styles, which are those of instance numbers.
    """
    ids = range(opt.label_channels) if opt.label_nc else sorted(styles.centres)
    known = {label: name for name, label in styles.names.items()}  # in case the data root is missing
    colors = palette(max(ids, default=0) + 1, opt.spec.class_colors).tolist()
    return [{"id": i, "name": known.get(i, str(i)) if opt.spec.name_of(i) == str(i) else opt.spec.name_of(i),
             "color": colors[i], "styles": [list(map(float, vector)) for vector in styles.centres.get(i, ())]} for i in ids]
