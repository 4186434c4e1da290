"""Measuring two implementations alternately, each in a process of its own, so that neither affects the other's set-up."""
from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


class Side:
    """A process that runs its measured work once for each call of `turn`.

    argv: a command whose program calls `serve`. environment: variables to set, or with None to unset. facts: what the program
    passed to `serve`.
    """

    def __init__(self, argv: list[str], environment: dict | None = None):
        changed = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(argv, cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={k: v for k, v in changed.items() if v is not None})
        self.facts = self._answer()

    def turn(self) -> float:
        """Run the work once; gives the seconds."""
        self._ask("turn")
        return self._answer()["seconds"]

    def close(self) -> dict:
        """End the process; gives its facts and 'peak_mb'."""
        self._ask("end")
        last = self._answer()
        self.process.wait()
        return {**self.facts, **last}

    def _ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def _answer(self) -> dict:
        for line in self.process.stdout:
            if line.startswith('{"answer"'):
                return json.loads(line)["answer"]
        raise SystemExit(f"the measured process ended with status {self.process.wait()}")


def serve(work, facts: dict | None = None, device=None) -> None:
    """The other end of a `Side`: call `work()` for each request of the parent. facts: sent to the parent at the start."""
    _reply(facts or {})
    for line in sys.stdin:
        if line.strip() != "turn":
            break
        synchronize(device)
        begun = time.perf_counter()
        work()
        synchronize(device)
        _reply({"seconds": time.perf_counter() - begun})
    _reply({"peak_mb": round(peak_megabytes(device))})


def _reply(answer):
    print(json.dumps({"answer": answer}), flush=True)


def synchronize(device) -> None:
    """Wait for what runs on a CUDA device."""
    if device is not None and device.type == "cuda":
        import torch
        torch.cuda.synchronize(device)


def peak_megabytes(device=None) -> float:
    """The peak memory of this process: allocated on the CUDA device, if it uses one, else resident."""
    if device is not None and device.type == "cuda":
        import torch
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_turn(sides: dict[str, Side], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """{name: seconds of each round}; the sides alternate, so that changes of the machine's load affect all alike."""
    for _ in range(warmup):
        for side in sides.values():
            side.turn()
    seconds = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side.turn())
    return seconds


def in_commands(commands: dict[str, list[str]], rounds: int, warmup: int = 1, environment: dict | None = None) -> dict:
    """{name: seconds of each round} of whole processes, alternately. Raises SystemExit with the output of one that fails."""
    seconds = {name: [] for name in commands}
    for number in range(-warmup, rounds):
        for name, argv in commands.items():
            begun = time.perf_counter()
            done = subprocess.run(argv, cwd=PROJECT, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stderr}")
            if number >= 0:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def watched(command: list[str]) -> tuple[float, float]:
    """(seconds, peak resident MB) of a Python program. Raises SystemExit if it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"{' '.join(command)}: failed; run it by itself to see why")
    return time.perf_counter() - begun, used.ru_maxrss / 1024


def summary(seconds: list[float]) -> dict:
    """Median and range of seconds, rounded."""
    return {"median": rounded(statistics.median(seconds)), "spread": [rounded(min(seconds)), rounded(max(seconds))]}


def ratio(reference: list[float], ours: list[float]) -> float:
    """The speed-up: the median over rounds of reference / ours."""
    return rounded(statistics.median(a / b for a, b in zip(reference, ours)))


def report(benchmark: str, what: str, **figures) -> None:
    """Print a line of JSON; floats are rounded."""
    figures = {key: rounded(value) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"benchmark": benchmark, "what": what, **figures}), flush=True)


def rounded(value: float) -> float:
    """A number with three significant digits."""
    return float(f"{value:.3g}")


def network_flags(description: str, rounds: int) -> argparse.ArgumentParser:
    """The flags of benchmarks of full networks at several sizes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512], help="sides of the pictures")
    parser.add_argument("--batch", type=int, default=1, help="pictures at once")
    parser.add_argument("--ngf", type=int, default=64, help="width of the generator (and the discriminator)")
    parser.add_argument("--rounds", type=int, default=rounds, help="measured rounds, after warm-up")
    parser.add_argument("--gpu_ids", default="-1", help="-1 for the CPU, 0 for the first GPU")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--serve", choices=("plain", "ours"), help=argparse.SUPPRESS)
    return parser


def count_operations(work) -> float:
    """10^12 floating-point operations of `work()`."""
    from torch.utils.flop_counter import FlopCounterMode
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e12


def matmul_peak(device, precision: str, side: int = 2048) -> float:
    """TFLOP/s of a product of two square matrices, as an upper bound for networks."""
    import torch
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        synchronize(device)
        begun = time.perf_counter()
        a @ b
        synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / statistics.median(seconds[1:]) / 1e12
