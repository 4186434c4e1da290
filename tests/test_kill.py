"""A training that is killed and resumed ends as if nothing had happened."""
import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT, write_root


@pytest.mark.skipif(sys.platform == "win32", reason="lives are forked")
def test_killed_twenty_times_equals_never_killed(tmp_path):
    data = write_root(tmp_path / "data", {"train": 12}, size=(36, 36))
    done = subprocess.run([sys.executable, "-m", "tests.killing", str(tmp_path), "--dataroot", str(data), "--kills", "20"],
                          cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["kills"] >= 10, seen  # the training must be long enough to be killed in
    assert seen["litter"] == [] and seen["differences"] == [], seen
