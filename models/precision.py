"""Which precision a model computes in: what --precision says, or for `auto` the one that is fastest on this machine.

The processor's flags prove little: whether bfloat16 pays depends on the layers as well. So a small network of the model's kind
is timed, for about a second, and the result kept for a day.
"""
from __future__ import annotations

import sys
import time

import torch

from util import distributed, kept
from util.device import autocast, computes_bf16, processor_name, usable_precision

AUTO = "auto"
_GAIN = 0.9  # of float32's time, which 16 bits must stay below to be worth their rounding
_ROUNDS, _MOST = 3, 1.0  # measured rounds, after one to warm up, and seconds after which none is begun
_AT_ONCE = 16  # pictures on a GPU, which one would leave idle


def of_model(model) -> str:
    """The precision in which a model computes. Prints what was chosen, or that the choice is a slow one.

    A training that is resumed with `auto` keeps the precision that it began with; of several processes rank 0 decides.
    """
    opt, device = model.opt, model.device
    if opt.precision != AUTO:
        used = usable_precision(opt.precision, device.type)
        if used == "bf16" and device.type == "cpu" and distributed.is_main():
            _tell_if_slow(model)
        return used
    begun_with = opt.saved.get("precision_used") if opt.role == "train" and opt.continue_train else None
    if begun_with:
        return usable_precision(begun_with, device.type)
    if getattr(opt, "export_onnx", None):
        return "fp32"
    seconds = distributed.broadcast_result(lambda: measured(model))
    chosen = _fastest(seconds)
    if len(seconds) > 1:
        print(f"--precision auto: {chosen}, as layers like this network's take {_listed(seconds)} here")
    return chosen


def fastest(model) -> str:
    """The precision that is fastest for a model on this machine."""
    return _fastest(measured(model))


def _fastest(seconds: dict[str, float]) -> str:
    best = min(seconds, key=seconds.get)
    return best if seconds[best] < _GAIN * seconds["fp32"] else "fp32"


def _tell_if_slow(model) -> None:
    seconds = measured(model)
    if seconds.get("bf16", 0) > seconds["fp32"]:
        print(f"--precision bf16: is slower here than float32: layers like this network's take {_listed(seconds)}; "
              "--precision auto takes the faster one", file=sys.stderr)


def _listed(seconds: dict[str, float]) -> str:
    return " and ".join(f"{1000 * value:.3g} ms in {precision}" for precision, value in seconds.items())


def candidates(device) -> list[str]:
    """The precisions that `auto` chooses from on a device, float32 first. fp16, which may overflow, only in bf16's place."""
    if device.type == "cuda":
        return ["fp32", "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"]
    return ["fp32", "bf16"] if device.type == "cpu" and computes_bf16() else ["fp32"]


def measured(model) -> dict[str, float]:
    """{precision: seconds} that layers like the model's take, of a step in training, else of drawing; float32 first.

    Measured on this device if it was not within a day.
    """
    precisions, device, training = candidates(model.device), model.device, model.opt.role == "train"
    if len(precisions) == 1:
        return dict.fromkeys(precisions, 0.0)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        net, x = model.example_layers()
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
        key = {"layers": repr(net), "input": list(x.shape), "training": training, "device": name, "torch": torch.__version__,
               "threads": torch.get_num_threads(), "precisions": precisions}
        found = kept.for_a_day(key, lambda: _seconds(net, x, device, training, precisions))
    return {precision: float(found[precision]) for precision in precisions}


def _seconds(net, x, device, training: bool, precisions) -> dict[str, float]:
    """{precision: the least seconds of some rounds}; the precisions take turns.

    On a CPU, which may be busy with other things, it is the processor time of a thread.
    """
    clock, threads = (time.process_time, torch.get_num_threads()) if device.type == "cpu" else (time.perf_counter, 1)
    net, x = net.to(device).train(training).requires_grad_(training), x.to(device)
    x = (x.expand(_AT_ONCE, *x.shape[1:]) if device.type == "cuda" else x).contiguous().requires_grad_(training)
    found = {precision: [] for precision in precisions}
    begun = time.monotonic()
    for number in range(1 + _ROUNDS):
        for precision, times in found.items():
            start = clock()
            _run(net, x, device, training, precision)
            times.append((clock() - start) / threads)
        if number and time.monotonic() - begun > _MOST:
            break
    return {precision: min(times[1:]) for precision, times in found.items()}


def _run(net, x, device, training: bool, precision: str) -> None:
    with torch.set_grad_enabled(training), autocast(device, precision):
        y = net(x)
    if training:
        y.float().square().mean().backward()
        net.zero_grad()
        x.grad = None
    if device.type == "cuda":
        torch.cuda.synchronize(device)
