"""Running networks outside PyTorch (ONNX, TensorRT), and quantising their weights."""
from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from util.errors import UserError


def export_onnx(net: nn.Module, channels: int, multiple: int, path: str, source: str = "input",
                outputs: tuple[str, ...] = ("picture",)) -> None:
    """Export a network to ONNX, by default a generator: input `source`, float32 (1, channels, H, W), outputs (1, C, H, W).

    H and W are dynamic, multiples of `multiple`. Raises UserError naming --export_onnx.
    """
    if not path.endswith(".onnx") or not Path(path).resolve().parent.is_dir():
        raise UserError(f"--export_onnx {path}: give a file name that ends in .onnx, in a folder that exists")
    try:
        import onnx  # noqa: F401 - the exporter's own message names neither the flag nor the package
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"--export_onnx: needs the packages onnx and onnxscript (pip install onnx onnxscript): {error}") \
            from error
    side = 4 * multiple
    shapes = {axis: multiple * torch.export.Dim(name, min=2, max=2048) for axis, name in ((2, "height"), (3, "width"))}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(net.float().cpu(), (torch.zeros(1, channels, side, 2 * side),), path, dynamo=True,
                          external_data=False, input_names=[source], output_names=list(outputs), dynamic_shapes=(shapes,),
                          verbose=False)


class OnnxGenerator(nn.Module):
    """An exported generator, run by onnxruntime, on CUDA if available."""

    def __init__(self, path: str):
        super().__init__()
        if not Path(path).is_file():
            raise UserError(f"--onnx {path}: there is no such file; write one with --export_onnx")
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("--onnx: needs the package onnxruntime (pip install onnxruntime)") from error
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [p for p in wanted if p in onnxruntime.get_available_providers()]
        try:
            self.session = onnxruntime.InferenceSession(path, providers=providers)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise UserError(f"--onnx {path}: is no ONNX model that onnxruntime can read ({error})") from error
        self.path, self.input = path, self.session.get_inputs()[0]

    def forward(self, x):
        """(N, C, H, W) float32 -> (N, C', H, W) on the same device."""
        if self.input.shape[1] != x.shape[1]:
            raise UserError(f"--onnx {self.path}: takes {self.input.shape[1]} channels, these flags give {x.shape[1]}; "
                            "export it again with --export_onnx")
        outputs = [self.session.run(None, {self.input.name: one.float().cpu().numpy()})[0] for one in x.split(1)]
        return torch.from_numpy(np.concatenate(outputs)).to(x.device)


class EngineGenerator(nn.Module):
    """A TensorRT engine of an exported generator, on its CUDA device. Engines fit one GPU and TensorRT version."""

    def __init__(self, path: str, device):
        super().__init__()
        if device.type != "cuda":
            raise UserError(f"--engine {path}: TensorRT engines run on CUDA devices only; use --onnx on a CPU")
        if not Path(path).is_file():
            raise UserError(f"--engine {path}: there is no such file; build one from an --export_onnx file with trtexec")
        try:
            import tensorrt
        except ImportError as error:
            raise UserError("--engine: needs the package tensorrt (pip install tensorrt)") from error
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self.engine = runtime.deserialize_cuda_engine(Path(path).read_bytes())
        if self.engine is None:
            raise UserError(f"--engine {path}: cannot be read by this TensorRT on this GPU; build it again with trtexec")
        self.context = self.engine.create_execution_context()

    def forward(self, x):
        """(N, C, H, W) float32 -> (N, C', H, W)."""
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        x = x.float().contiguous()
        self.context.set_input_shape(names[0], tuple(x.shape))
        picture = torch.empty(tuple(self.context.get_tensor_shape(names[1])), device=x.device)
        for name, tensor in zip(names, (x, picture)):
            self.context.set_tensor_address(name, tensor.data_ptr())
        self.context.execute_async_v3(torch.cuda.current_stream(x.device).cuda_stream)
        return picture


@torch.no_grad()
def round_weights(net: nn.Module, bits: int = 8) -> None:
    """Round each convolution's weights to `bits` bits a channel, symmetric about zero; they stay floats."""
    top = 2 ** (bits - 1) - 1
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            others = [d for d in range(4) if d != axis]
            step = module.weight.abs().amax(others, keepdim=True).clamp_min(1e-12) / top
            module.weight.copy_((module.weight / step).round_().clamp_(-top, top) * step)
