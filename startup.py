"""What must be set before torch is imported; the scripts import this first."""
import contextlib
import os
import sys
from pathlib import Path

# OpenMP's threads spin while they wait for each other. Where another process wants the same cores, each wait then costs a
# time slice; but threads that sleep at once take a third of a small network's step to wake up. A short spin costs 6 % where
# nothing else runs, and is as good as sleep where something does. OMP_WAIT_POLICY=active has them spin, as PyTorch's do.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

# What glibc cuts off to align PyTorch's blocks goes to lists of small free blocks, where it keeps the large gaps beside it from
# joining: a training on a CPU grows by 0.7 GB. Without the lists they join at once. glibc reads this only as a process starts,
# so train.py starts itself once more, where there is no NVIDIA device.
TIDY_HEAP = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"}
_AGAIN = "tidy_heap"  # an option of the interpreter, to know the second start by


def _heap_matters() -> bool:
    main = getattr(sys.modules["__main__"], "__file__", None)
    training = main is not None and Path(main).resolve() == Path(__file__).resolve().with_name("train.py")
    safe = sys.argv[0] in sys.orig_argv and sys.gettrace() is None  # not in a notebook or a debugger, which would be lost
    return training and safe and sys.platform == "linux" and not os.path.exists("/dev/nvidiactl")


if _AGAIN not in sys._xoptions and TIDY_HEAP.keys().isdisjoint(os.environ) and sys.executable and _heap_matters():
    with contextlib.suppress(OSError):  # it is only smaller so
        os.execve(sys.executable, [sys.executable, "-X", _AGAIN, *sys.orig_argv[1:]], {**os.environ, **TIDY_HEAP})
