"""A training that is killed and resumed ends as if nothing had happened."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(sys.platform == "win32", reason="lives are forked")
def test_killed_twenty_times_equals_never_killed(tmp_path, small_data):
    done = subprocess.run([sys.executable, "-m", "tests.killing", str(tmp_path), "--dataroot", str(small_data), "--kills", "20"],
                          cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["kills"] >= 10, seen  # the training must be long enough to be killed in
    assert seen["litter"] == [] and seen["differences"] == [], seen
