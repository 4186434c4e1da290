"""What must be set before torch is imported; the scripts import this first."""
import os

# OpenMP's threads spin while they wait for each other. Where another process wants the same cores, a step then takes five
# to ten times as long as with threads that sleep; on a machine of one's own the two are as fast.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
