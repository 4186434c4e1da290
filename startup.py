"""What must be set before torch is imported; the scripts import this first."""
import os

# OpenMP's threads spin while they wait for each other. Where another process wants the same cores, each wait then costs a
# time slice: the demo's training fell from 3.5 to 0.6 pictures a second. Threads that sleep cost a machine of one's own
# about a tenth of a step of the full-size networks, and a third of one of the demo's; OMP_WAIT_POLICY=active has them spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
