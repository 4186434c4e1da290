"""The benchmarks run, on networks that are small, and their two sides compute the same."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
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


def test_what_a_swap_keeps_is_none_of_a_random_pairs_distance_where_nothing_changes_and_all_where_faces_are_others():
    random = np.random.default_rng(0)
    expressions = random.normal(size=(60, 9)).astype(np.float32)
    pixels = np.clip(128 + 40 * expressions, 0, 255).astype(np.uint8)[..., None].repeat(3, 2).reshape(60, 9, 1, 3)
    faces = swapping.Faces([str(i) for i in range(60)], np.arange(60), pixels, expressions)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 9, bias=False))
    net.mean, net.deviation = torch.zeros(9), torch.ones(9)
    with torch.no_grad():  # reads a pixel a parameter
        net[1].weight.copy_(127.5 / 40 * torch.eye(9, 27))
    targets = np.arange(60)
    same = swapping.kept(net, faces, pixels, targets, random)
    other = swapping.kept(net, faces, pixels[::-1].copy(), targets, random)
    assert same["pose_and_expression"] < 1e-6 and other["pose_and_expression"] == pytest.approx(1, abs=0.3)
    assert min(same["regressor_explains"].values()) > 0.9 and same["from_the_drawing"] < 0.1


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
    status = Path(f"/proc/{started.read_text()}/status")
    assert not status.exists() or "zombie" in status.read_text()
