"""Environment variables that OpenMP reads as torch is imported; the scripts import this first."""
import os

# OpenMP's threads busy-wait for each other by default. Where another process wants the same cores, each wait then costs a time
# slice; threads that sleep at once take a third of a small network's step to wake up. A short spin, then sleep, costs 6 % where
# nothing else runs, and is as good as sleep where something does. OMP_WAIT_POLICY=active in the environment keeps the default.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
