"""Where the tensors live, and in which precision the networks compute."""
from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
from pathlib import Path

from util.errors import UserError

PRECISIONS = ("fp32", "bf16", "fp16")


def parse_gpu_ids(text: str) -> list[int | str]:
    """'0,2' -> [0, 2]; 'mps' -> ['mps'], Apple's GPU; '-1' -> [] (the CPU). Raises UserError naming --gpu_ids."""
    words = [word.strip() for word in str(text).split(",")]
    if words == ["mps"]:
        return words
    try:
        ids = [int(word) for word in words]
    except ValueError:
        raise UserError(f"--gpu_ids {text}: give device numbers such as 0 or 0,1, or mps alone, or -1 for the CPU") from None
    if any(i < 0 for i in ids):
        if ids != [-1]:
            raise UserError(f"--gpu_ids {text}: -1 (the CPU) stands alone")
        return []
    if len(set(ids)) != len(ids):
        raise UserError(f"--gpu_ids {text}: names a device twice")
    return ids


def available_gpu_ids(ids: list[int | str]) -> tuple[list[int | str], str]:
    """The ids that can be used, and a line to print where they are not those asked for.

    No CUDA (or MPS) at all falls back to the CPU; a device number this machine lacks raises UserError naming --gpu_ids.
    """
    if not ids:
        return [], ""
    import torch
    asked, kind = ",".join(map(str, ids)), device_type(ids)
    if not (torch.backends.mps if kind == "mps" else torch.cuda).is_available():
        return [], f"--gpu_ids {asked}: no {kind.upper()} device here, running on the CPU"
    count = torch.cuda.device_count() if kind == "cuda" else 1
    missing = [i for i in ids if kind == "cuda" and i >= count]
    if missing:
        raise UserError(f"--gpu_ids {asked}: this machine has {count} CUDA device(s), numbered from 0")
    return ids, ""


def device_type(gpu_ids: list[int | str]) -> str:
    """'cuda', 'mps' or 'cpu'."""
    return "mps" if gpu_ids == ["mps"] else "cuda" if gpu_ids else "cpu"


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step instead of giving it back to the system.

    A training step allocates and frees the same gigabytes each time; by default each large block is mapped and unmapped
    anew, and the page faults cost as much as the arithmetic. Does nothing where there is no glibc.
    """
    m_trim_threshold, m_top_pad, m_mmap_threshold, m_mmap_max = -1, -2, -3, -4
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        if not libc.mallopt(m_mmap_threshold, 1 << 30):  # some versions take 32 MiB at most
            libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)
        libc.mallopt(m_top_pad, 64 << 20)


def computes_bf16() -> bool:
    """Whether this CPU has bfloat16 arithmetic, or AVX-512 to stand in for it; without, a step takes 25 times as long."""
    import torch
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def usable_precision(precision: str, device_type: str) -> str:
    """What a device of that type computes in where `precision` is asked for: CPUs have no fp16, and some no bf16.

    On MPS float32 is used, as which versions of it compute what in 16 bits cannot be asked.
    """
    if device_type == "cuda" or precision == "fp32":
        return precision
    return "bf16" if device_type == "cpu" and computes_bf16() else "fp32"


def expect_sizes(device, resize_or_crop: str) -> None:
    """Have cuDNN choose convolutions by trying them, which pays where all batches have one size."""
    import torch
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = "resize" in resize_or_crop or "crop" in resize_or_crop


def compile_network(net, precision: str):
    """Have torch.compile fuse what lies between a network's convolutions, from the first call on. In place.

    With 16 bits the weights go channels-last, the layout of the convolutions for them, which fused layers keep. Raises
    UserError naming --compile where there is no compiler.
    """
    import torch
    compilers = os.environ.get("CXX", "g++"), "clang++", "cl"
    if next(net.parameters()).device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise UserError("--compile: needs a C++ compiler, and there is none (g++, or what the variable CXX names); install "
                        "one, or leave --compile out")
    if precision != "fp32":
        net.to(memory_format=torch.channels_last)
    net.compile()


def processor_name() -> str:
    """The CPU's model, and which of PyTorch's kernels it runs, which a virtual machine may limit."""
    import torch
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} {torch.backends.cpu.get_cpu_capability()}"
    return f"{platform.processor() or platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def laid_out_as(reference, value):
    """`value` with the strides of `reference`, a tensor of its shape without gaps; copied only where they differ."""
    import torch
    if value.stride() == reference.stride():
        return value
    return torch.empty_like(reference, dtype=value.dtype, requires_grad=False).copy_(value)


def device_of(gpu_ids: list[int | str]):
    """The torch device of this process: the first id, or this process's own under torchrun; else the CPU."""
    import torch
    if not gpu_ids:
        keep_freed_memory()
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", 0))
    if local >= len(gpu_ids):
        raise UserError(f"--gpu_ids {','.join(map(str, gpu_ids))}: process {local} of this machine has no device; name one for "
                        "each process, or -1 for the CPU")
    if device_type(gpu_ids) == "mps":
        return torch.device("mps")
    device = torch.device("cuda", gpu_ids[local])
    torch.cuda.set_device(device)
    return device


def autocast(device, precision: str):
    """Mixed precision for a block: nothing for fp32, torch.autocast for the rest."""
    import torch
    if precision == "fp32":
        return contextlib.nullcontext()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device_type=device.type, dtype=dtype)
