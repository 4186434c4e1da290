"""--data_type 8 and 16 on a CPU: the generator run by OpenVINO, in bfloat16, or in eight bits after NNCF has quantised it.

Weights are quantised by output channel, activations by tensor, with ranges from pictures of the data set. The file lies beside
the weights under their hash, with a record of what the quantisation costs and brings, and is made once.
"""
from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib.util
import io
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data.data_loader import DataLoader
from models import precision, weights
from models.networks.convolution import FastConv2d
from util import distributed
from util.device import processor_name
from util.errors import UserError
from util.files import make_folder, read_json, write_json

MOST = 64  # pictures that ranges of activations are taken from
_EVERY = 5  # one picture in so many is left out of them, to measure with
_PICTURES = MOST * _EVERY // (_EVERY - 1)
_LEAST_PSNR = 35.0  # dB, against the float pictures; below it, the most sensitive layers stay in float
_MOST_SSIM_LOSS = 0.005  # that --precision auto takes for speed
_MOST_IN_FLOAT, _RANKED_BY = 12, 4  # layers put back to float at most, and pictures that tell which: minutes, not hours
_TOP_PSNR = 100.0  # of equal pictures
_RECORD = 1  # its version


class _SignalStack(ctypes.Structure):
    """C's stack_t."""

    _fields_ = [("base", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


@contextlib.contextmanager
def _own_signal_stack():
    """Give this thread back the alternate signal stack that it had, on Linux.

    OpenVINO sets one of its own and unmaps it with the model; the next signal, such as Ctrl-C, would then end the process in a
    segmentation fault.
    """
    if sys.platform != "linux":
        yield
        return
    before, libc = _SignalStack(), ctypes.CDLL(None)
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


class OpenVinoGenerator(nn.Module):
    """A generator run by OpenVINO on the CPU, with as many threads as PyTorch has."""

    def __init__(self, network, precision: str = "f32"):
        """network: an OpenVINO model, or the path of one. precision: 'f32' or 'bf16', of what is not quantised."""
        super().__init__()
        import openvino
        with _own_signal_stack():
            self._compiled = openvino.Core().compile_model(network, "CPU", {
                "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', H, W) float32."""
        with _own_signal_stack():
            request = self._compiled.create_infer_request()  # each thread needs one of its own
            return torch.from_numpy(request.infer(x.float().contiguous().numpy())[0].copy())


def eight_bit(model, file: Path) -> tuple[nn.Module | None, str, dict]:
    """The model's generator in eight bits, made now or read from where it was kept; a line about it; and what was measured.

    None for the generator where a package is missing, or where eight bits are slower than float on this processor.
    model: a Pix2PixHDModel with its styles. file: that of the generator's weights. Raises UserError where the data set
    lacks pictures to quantise with.
    """
    if model.device.type != "cpu":
        return None, ("--data_type 8: computes in 8 bits on a CPU only; here the weights are rounded to 8 bits, and computed "
                      "with in float (an --engine that trtexec made with --int8 computes in 8 bits)"), {}
    if missing := _missing("openvino", "nncf"):
        return None, (f"--data_type 8: needs the package {missing} (pip install -r requirements-int8.txt); the weights are "
                      "rounded to 8 bits, and computed with in float"), {}
    path = _path(model, file)
    record = distributed.broadcast_result(lambda: _record(model, path, file))
    line = _described(record)
    if record["seconds"] >= record["seconds_in_float"]:
        return None, f"--data_type 8: draws in float, as this processor is not faster in eight bits. {line}", record
    return _read(path), line, record


def kept_eight_bit(model, file: Path) -> tuple[nn.Module | None, str, dict]:
    """As `eight_bit`, for --precision auto: only where --data_type 8 has made the file earlier, which takes its time.

    None where there is no such file, where pictures came out too far from the float ones, or where 8 bits are not the fastest.
    """
    if _missing("openvino") or not any(file.parent.glob(f"{glob.escape(file.stem)}_int8_*.json")):
        return None, "", {}
    path = _path(model, file)
    record = distributed.broadcast_result(lambda: _worth_it(model, path))
    return (_read(path), _described(record), record) if record else (None, "", {})


def _worth_it(model, path: Path) -> dict | None:
    """The record of a file in 8 bits, if it is near enough to float, and faster than what else the model computes in."""
    record = _kept(path)
    if record is None or record["psnr"] < _LEAST_PSNR or \
            record.get("ssim_in_float", 0.0) - record.get("ssim", 0.0) > _MOST_SSIM_LOSS:
        return None
    seconds = precision.measured(model)
    otherwise = record["seconds_in_float"] * (seconds[model.precision] / seconds["fp32"] if seconds["fp32"] else 1)
    return record if record["seconds"] < otherwise else None


def _path(model, file: Path) -> Path:
    """Where the generator in 8 bits is kept."""
    digest = model.digests["G"] = weights.digest(model.nets["G"].state_dict())
    return file.with_name(f"{file.stem}_int8_{digest[:16]}.xml")


def _read(path: Path) -> nn.Module:
    try:
        return OpenVinoGenerator(path)
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be read by OpenVINO ({str(error).splitlines()[-1][:160]}); remove it, and "
                        "--data_type 8 makes it anew") from error


def sixteen_bit(model) -> tuple[nn.Module | None, str]:
    """The model's generator in bfloat16, and a line about it; None where a package or the processor's instructions lack."""
    if missing := _missing("openvino"):
        return None, (f"--data_type 16: needs the package {missing} to compute in 16 bits on a CPU (pip install -r "
                      "requirements-int8.txt); the weights are rounded to 16 bits, and computed with in float")
    import openvino
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None, ("--data_type 16: this processor has no arithmetic in 16 bits; the weights are rounded to 16 bits, and "
                      "computed with in float")
    side = model.opt.needs.least
    example = torch.zeros(1, sum(model.channels()), side, side)
    return OpenVinoGenerator(_converted(model.nets["G"], example), "bf16"), "Drawn in 16 bits (bfloat16), by OpenVINO."


def _missing(*packages: str) -> str:
    return next((name for name in packages if importlib.util.find_spec(name) is None), "")


def _record(model, path: Path, file: Path) -> dict:
    """What was measured of a quantised generator, which is made if it is missing."""
    if record := _kept(path):
        return record
    print("Quantising the generator to 8 bits, once for these weights and this processor...", flush=True)
    return _make(model, path, file)


def _kept(path: Path) -> dict | None:
    """What was measured of a quantised generator on this processor; None if it is missing."""
    known = path.with_suffix(".json")
    if not (known.is_file() and path.is_file() and path.with_suffix(".bin").is_file()):
        return None
    record = read_json(known)
    return record if isinstance(record, dict) and record.get("record") == _RECORD and \
        record["processor"] == processor_name() else None


@_own_signal_stack()
def _make(model, path: Path, file: Path) -> dict:
    pictures = _Pictures(model)
    net = model.nets["G"]
    with tempfile.TemporaryDirectory(dir=make_folder(path.parent), prefix=".int8-") as folder:
        made, in_float = _quantise(net, pictures, Path(folder) / path.name)
        record = {"record": _RECORD, "processor": processor_name(), "layers_in_float": in_float, **pictures.compare(made)}
        for old in path.parent.glob(f"{glob.escape(file.stem)}_int8_*.*"):
            old.unlink(missing_ok=True)
        for suffix in (".bin", ".xml"):
            (Path(folder) / path.with_suffix(suffix).name).replace(path.with_suffix(suffix))
    write_json(path.with_suffix(".json"), record)  # last: it says that the others are whole
    return record


def _quantise(net: nn.Module, pictures: _Pictures, path: Path) -> tuple[OpenVinoGenerator, list[str]]:
    """Quantise all layers, or, where pictures then differ by too much, all but the most sensitive ones."""
    import nncf
    import openvino
    logging.getLogger("nncf").setLevel(logging.ERROR)
    plain = _converted(net, pictures.example)
    calibration = nncf.Dataset(pictures.inputs())

    def save(quantised) -> OpenVinoGenerator:
        openvino.save_model(quantised, path, compress_to_fp16=False)
        return OpenVinoGenerator(path)

    settings = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": MOST}
    made = save(nncf.quantize(plain, calibration, **settings))
    if pictures.psnr(made) >= _LEAST_PSNR:
        return made, []
    held_out = list(pictures.held_out())

    def validate(compiled, examples) -> tuple[float, list[float]]:
        found = [_psnr(torch.from_numpy(compiled(x)[0]), drawn) for x, drawn in examples]
        return float(np.mean(found)), found

    quantised = nncf.quantize_with_accuracy_control(
        plain, calibration, nncf.Dataset(held_out), validate, max_drop=_TOP_PSNR - _LEAST_PSNR,
        drop_type=nncf.DropType.ABSOLUTE, advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            max_num_iterations=_MOST_IN_FLOAT, ranking_subset_size=min(_RANKED_BY, len(held_out))), **settings)
    return save(quantised), _layers_in_float(quantised)


def _converted(net: nn.Module, example: torch.Tensor):
    """The network as an OpenVINO model of any batch, height and width."""
    import openvino
    fast = [module for module in net.modules() if isinstance(module, FastConv2d) and not module.direct]
    for module in fast:
        module.direct = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing
            traced = torch.jit.trace(net, example, check_trace=False)  # the check takes longer than all else, by its imports
            return openvino.convert_model(traced, example_input=example,
                                          input=[openvino.PartialShape([-1, example.shape[1], -1, -1])])
    finally:
        for module in fast:
            del module.direct


def _layers_in_float(quantised) -> list[str]:
    """The names of the convolutions that no quantiser feeds."""
    found = []
    for layer in quantised.get_ordered_ops():
        if "Convolution" in layer.get_type_name():
            source = layer.input_value(0).get_node().get_type_name()
            if source != "FakeQuantize":
                found.append(layer.get_friendly_name())
    return found


class _Recorder(nn.Module):
    """Takes a generator's place, and keeps what it was to draw."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        """(N, C, H, W) -> zeros."""
        self.inputs = x.float()
        return x.new_zeros(len(x), self.channels, *x.shape[2:])


class _Pictures:
    """Pictures of the data set as the model draws them: most to quantise with, every fifth to measure with.

    example: the input of the first one. Inputs are drawn up anew each time, so that they need not all be kept.
    """

    def __init__(self, model):
        self.model, opt = model, model.opt
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the script's own loader says the same
                self.loader = DataLoader(opt.replace(how_many=_PICTURES, ntest=_PICTURES, batchSize=1, nThreads=0))
        except UserError as error:
            raise UserError(f"--data_type 8 needs pictures of the data set, once, to find the ranges of activations: {error}") \
                from error
        self.example = next(iter(self._inputs_of(self._batches(False))))
        self._drawn = [(x.numpy(), model.nets["G"](x)) for x in self._inputs_of(self._batches(True))]

    def _batches(self, held_out: bool):
        several = len(self.loader) > 1
        for i, batch in enumerate(self.loader.load_data()):
            if not several or (i % _EVERY == 1) == held_out:
                yield batch

    def _inputs_of(self, batches):
        recorder = _Recorder(self.model.opt.output_nc)
        for batch in batches:
            self._inference(recorder, batch)
            yield recorder.inputs

    def _inference(self, generator, batch) -> dict:
        own = self.model.nets["G"]
        self.model.nets["G"] = generator
        try:
            return self.model.inference(batch)
        finally:
            self.model.nets["G"] = own

    def inputs(self) -> _Again:
        """The generator's inputs, float32 arrays (1, C, H, W), of the pictures to quantise with."""
        return _Again(lambda: (x.numpy() for x in self._inputs_of(self._batches(False))))

    def held_out(self):
        """(input, float picture), float32 (1, C, H, W) array and tensor, of the pictures to measure with."""
        return self._drawn

    def psnr(self, generator: nn.Module) -> float:
        """The mean PSNR in dB of the held-out pictures against the float ones."""
        return float(np.mean([_psnr(generator(torch.from_numpy(x)), drawn) for x, drawn in self._drawn]))

    def compare(self, generator: nn.Module) -> dict:
        """PSNR, seconds a picture, and the figures against the truth, of both generators."""
        model, own = self.model, self.model.nets["G"]
        found = {"pictures": len(self._drawn), "psnr": self.psnr(generator)}
        x = self._drawn[0][0]
        found["seconds"], found["seconds_in_float"] = (_seconds(net, torch.from_numpy(x)) for net in (generator, own))
        figures = {"": model.new_metrics(), "_in_float": model.new_metrics()} if model.aims_at_truth() else {}
        for batch in self._batches(True) if any(figures.values()) else ():
            for (_, metrics), net in zip(figures.items(), (generator, own)):
                pair = model.compared(batch, self._inference(net, batch), 0)
                if "true" in pair:
                    metrics.add(batch["name"][0], **pair)
        for suffix, metrics in figures.items():
            if metrics is not None and metrics.each:
                found |= {f"{key}{suffix}": value for key, value in metrics.values().items() if key != "psnr"}
        return found


class _Again:
    """An iterable that starts anew each time."""

    def __init__(self, start):
        self.start = start

    def __iter__(self):
        return iter(self.start())


def _psnr(drawn: torch.Tensor, other: torch.Tensor) -> float:
    """PSNR in dB of pictures in [-1, 1]."""
    error = float((drawn - other).square().mean()) / 4
    return min(_TOP_PSNR, -10 * float(np.log10(error))) if error > 0 else _TOP_PSNR


def _seconds(net: nn.Module, x: torch.Tensor, times: int = 3) -> float:
    """The least of some times that a picture takes, the first aside."""
    found = []
    for _ in range(times + 1):
        start = time.perf_counter()
        net(x)
        found.append(time.perf_counter() - start)
    return min(found[1:])


def _described(record: dict) -> str:
    """What was measured, in a line."""
    more = "".join(f", {name} {record[key + '_in_float']:.3g} to {record[key]:.3g}"
                   for key, name in (("ssim", "SSIM"), ("region_color_error", "colour error"))
                   if record.get(key) is not None and record.get(key + "_in_float") is not None)
    layers = f", {len(record['layers_in_float'])} layers in float" if record["layers_in_float"] else ""
    times = f"{1000 * record['seconds']:.3g} ms a picture instead of {1000 * record['seconds_in_float']:.3g}"
    return (f"Drawn in 8 bits{layers}, {record['psnr']:.1f} dB from the pictures in float{more} ({record['pictures']} "
            f"pictures); {times}.")
