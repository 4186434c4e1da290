"""The benchmarks run, on networks that are small, and their two sides compute the same."""
import json
import subprocess
import sys

import pytest

from benchmarks import metrics
from benchmarks._timing import PROJECT


@pytest.mark.parametrize("name, agreement", [("step", "first_losses_differ_by"), ("infer", "levels_of_255_they_differ_by")])
def test_both_sides_are_measured_and_agree(name, agreement):
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--sizes", "64", "--ngf", "8", "--rounds", "1"],
                          cwd=PROJECT, capture_output=True, text=True, check=True)
    lines = {line["what"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert lines.keys() == {"plain", "ours", "ratio"}
    assert lines["plain"]["median"] > 0 and lines["ours"]["median"] > 0 and lines["ratio"]["tflop"] > 0
    assert lines["ratio"][agreement] < 0.01


def test_what_measuring_costs_is_told_a_metric_and_size(capsys):
    metrics.measure("swd", 32, 2)
    line = json.loads(capsys.readouterr().out)
    assert line["what"] == "swd" and line["size"] == 32 and line["ms"] > 0 and line["state_mb"] > 0
