"""What the scripts import first: a check of the packages, and environment variables that OpenMP reads as torch is imported."""
import os

from util import packages  # noqa: F401 - before all that needs them

# By default OpenMP's threads busy-wait at barriers. If other processes compete for the cores, each barrier then costs a time
# slice. Threads that sleep at once instead take a third of a small network's step to wake up. Spinning briefly before sleeping
# costs 6 % on an idle machine, and on a busy one is as fast as sleeping. OMP_WAIT_POLICY=active keeps the default.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
