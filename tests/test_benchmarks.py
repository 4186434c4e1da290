"""The benchmarks run, on networks that are small, and their two sides compute the same."""
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import gpu, metrics, swapping
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


def test_what_a_swap_keeps_is_read_from_shapes_and_not_from_colours():
    random = np.random.default_rng(0)
    expressions = random.uniform(-1, 1, (200, 9)).astype(np.float32)
    pixels = np.full((200, 32, 32, 3), 60, np.uint8)
    for one, picture in zip(expressions, pixels):  # an edge lies where the first parameter says, the rest shows nowhere
        picture[:, int(16 + 10 * one[0]):] = 190
    faces = swapping.Faces([str(i) for i in range(200)], np.arange(200), pixels, expressions)
    reader, targets = swapping.ExpressionReader(faces, ridge=300), np.arange(200)
    found = {name: swapping.kept(reader, faces, drawn, targets, random) for name, drawn in
             (("same", pixels), ("darker", pixels // 2), ("others", pixels[::-1].copy()))}
    assert found["same"]["pose_and_expression"] == 0 and found["darker"]["pose_and_expression"] < 0.1
    assert found["others"]["pose_and_expression"] == pytest.approx(1, abs=0.25)
    explained = found["same"]["reader_explains"]
    assert explained.pop("yaw") > 0.8 and max(explained.values()) < 0.5


def test_a_drawn_head_rests_and_moves(tmp_path):
    moves = swapping.draw_frames(tmp_path, 8, 32, noise=0)
    frames = [np.asarray(Image.open(tmp_path / f"{i:04d}.png")).astype(int) for i in range(8)]
    changes = [np.abs(a - b).max() > 0 for a, b in zip(frames, frames[1:])]
    assert changes == [a or b for a, b in zip(moves, moves[1:])] and moves[4] and not moves[0] and not moves[-1]


def test_what_needs_a_gpu_is_tried_on_the_cpu_part_by_part(tmp_path, monkeypatch):
    """A part that fails is told of, with those figures that it had; the others go on."""
    def broken(setting):
        yield {"figure": 1}
        raise RuntimeError("the device is gone")

    monkeypatch.setitem(gpu.PARTS, "broken", gpu.Part(broken, 10))
    parts = ["machine", "broken", "picture"]
    assert gpu.main(["--out", str(tmp_path), "--parts", ",".join(parts), "--device", "cpu", "--small", "--here"]) == 1
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(found) == parts and found["broken"]["figures"] == [{"figure": 1}]
    assert "the device is gone" in found["broken"]["failed"] and "failed" not in found["picture"]
    ours = [one for one in found["picture"]["figures"] if one.get("who") == "ours"]
    assert {one["precision"] for one in ours} == {"fp32", "bf16"}
    assert all(one["times_as_fast_as_plain_fp32"] > 0 and one["levels_of_255_from_plain"] < 3 for one in ours)
    assert (tmp_path / "picture.png").is_file()


def runs(status) -> bool:
    """Whether a process is there that has not ended, by its file in /proc."""
    try:
        return "zombie" not in status.read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_part_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch):
    started = tmp_path / "started.pid"
    hang = ("import subprocess, sys, time; child = subprocess.Popen(['sleep', '600']); "
            f"open({str(started)!r}, 'w').write(str(child.pid)); "
            "print('{\"benchmark\": \"gpu\", \"what\": \"x\", \"figure\": 1}', flush=True); time.sleep(600)")
    popen = subprocess.Popen
    monkeypatch.setattr(gpu.subprocess, "Popen", lambda argv, **how: popen([sys.executable, "-c", hang], **how))
    monkeypatch.setitem(gpu.PARTS, "machine", gpu.Part(None, 2))
    monkeypatch.setattr(gpu, "_SHORTEST", 0)
    assert gpu.main(["--out", str(tmp_path), "--parts", "machine", "--device", "cpu"]) == 1
    entry = json.loads((tmp_path / "gpu.json").read_text())["parts"]["machine"]
    assert entry["figures"] == [{"figure": 1}] and entry["failed"] == "ran past its 2 s"
    status, deadline = Path(f"/proc/{started.read_text()}/status"), time.monotonic() + 60
    while runs(status):
        assert time.monotonic() < deadline
        time.sleep(0.05)
