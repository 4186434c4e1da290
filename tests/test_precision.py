"""--precision auto: the fastest of what a device computes, measured once a day, and kept by a training that is resumed."""
import json
import threading

import pytest
import torch

from models import precision
from models.models import create_model
from tests.conftest import LOSSES, NETWORK, SIZES, call, options, succeed, write_root
from tests.test_models import flags_of, training
from util import device, distributed, kept

measure = precision.measured  # before conftest puts figures in its place


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("precision"), {"train": 2, "test": 1})


@pytest.fixture
def able(monkeypatch):
    """A CPU that computes bfloat16, fast or not."""
    monkeypatch.setattr(device, "computes_bf16", lambda: True)
    monkeypatch.setattr(precision, "computes_bf16", lambda: True)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "label2face"


@pytest.mark.parametrize("bf16, chosen", [(1.0, "bf16"), (1.9, "fp32"), (3.0, "fp32")])
def test_the_fastest_is_chosen_unless_it_gains_little(bf16, chosen, able, timed, root, tmp_path, capsys):
    timed["bf16"] = bf16
    model, _ = training("pix2pixHD", root, tmp_path, "--precision", "auto")
    assert model.precision == chosen
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("--precision auto")]
    assert len(lines) == 1 and "2e+03 ms in fp32" in lines[0]


def test_a_slow_bf16_is_said_with_both_figures(able, timed, root, tmp_path, capsys):
    training("pix2pixHD", root, tmp_path, "--precision", "bf16")
    assert not capsys.readouterr().err
    timed["bf16"] = 3.0
    model, _ = training("pix2pixHD", root, tmp_path, "--precision", "bf16")
    lines = capsys.readouterr().err.splitlines()
    assert model.precision == "bf16" and len(lines) == 1 and "2e+03 ms in fp32 and 3e+03 ms in bf16" in lines[0]


def test_processes_compute_in_what_the_first_one_chose(able, timed, root, tmp_path, monkeypatch):
    timed["bf16"] = 3.0  # here, but not on the machine of rank 0
    monkeypatch.setattr(distributed, "broadcast_result", lambda function: {"fp32": 2.0, "bf16": 1.0})
    model = create_model(options(flags_of("pix2pixHD", root, tmp_path, *LOSSES, "--precision", "auto")))
    assert model.precision == "bf16"


def test_a_resume_keeps_what_the_training_began_with_and_drawing_chooses_anew(able, timed, root, tmp_path):
    where = ["--name", "x", "--checkpoints_dir", tmp_path, *SIZES, "--precision", "auto"]
    start = ["--dataroot", root, *NETWORK, *LOSSES, "--no_html", "--niter", "1", "--niter_decay", "0"]
    succeed(call("train", *where, *start))
    record = json.loads((tmp_path / "x" / "opt.json").read_text())
    assert record["options"]["precision"] == "auto" and record["precision_used"] == "bf16"
    assert "# precision used: bf16" in (tmp_path / "x" / "opt.txt").read_text()
    timed["bf16"] = 3.0
    again = [*where, "--continue_train", "--niter", "2"]
    for flags in (again, [word for word in again if word not in ("--precision", "auto")]):
        opt = options(flags)
        assert opt.precision == "auto" and create_model(opt).precision == "bf16"
    succeed(call("train", *again))
    assert json.loads((tmp_path / "x" / "opt.json").read_text())["precision_used"] == "bf16"
    drawer = create_model(options(["--name", "x", "--checkpoints_dir", tmp_path, "--gpu_ids", "-1"], "test"))
    assert drawer.opt.precision == "auto" and drawer.precision == "fp32"


@pytest.mark.parametrize("name, flags", [("pix2pixHD", []), ("pix2pixHD", ["--netG", "region"]), ("vae", [])])
def test_layers_like_each_models_are_timed(name, flags, able, root, tmp_path, cache):
    for role in ("train", "test"):
        model = create_model(options(flags_of(name, root, tmp_path, *LOSSES, "--from_scratch", *flags)))
        model.opt = model.opt.replace(role=role)
        state = torch.get_rng_state()
        found = measure(model)
        assert list(found) == ["fp32", "bf16"] and all(0 < seconds < 60 for seconds in found.values())
        assert torch.equal(torch.get_rng_state(), state)
    assert len(list(cache.iterdir())) == 2, "of training and of drawing"


def test_a_measurement_is_kept_for_a_day_and_for_its_key(cache, monkeypatch):
    calls = []

    def figure():
        calls.append(1)
        return {"fp32": len(calls)}

    now = kept.time.time()
    assert kept.for_a_day({"a": 1}, figure) == kept.for_a_day({"a": 1}, figure) == {"fp32": 1}
    assert kept.for_a_day({"a": 2}, figure) == {"fp32": 2}
    for seconds, wanted in ((now + 23 * 3600, 1), (now + 25 * 3600, 3), (now - 3600, 4)):
        monkeypatch.setattr(kept.time, "time", lambda seconds=seconds: seconds)
        assert kept.for_a_day({"a": 1}, figure) == {"fp32": wanted}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": {"a": 1}}', '{"key": {"a": 1}, "when": "x", "value": 3}'])
def test_a_broken_file_is_measured_anew(content, cache):
    kept.for_a_day({"a": 1}, lambda: 1)
    next(cache.iterdir()).write_text(content)
    assert kept.for_a_day({"a": 1}, lambda: 2) == kept.for_a_day({"a": 1}, lambda: 3) == 2


def test_a_folder_that_cannot_be_made_is_no_obstacle(cache):
    cache.parent.write_text("a file")
    assert kept.for_a_day({"a": 1}, lambda: 1) == 1 and kept.for_a_day({"a": 1}, lambda: 2) == 2


def test_many_may_ask_at_once(cache):
    found = []
    threads = [threading.Thread(target=lambda i=i: found.append(kept.for_a_day({"a": 1}, lambda: i))) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and kept.for_a_day({"a": 1}, lambda: -1) in range(16)
    assert len(list(cache.iterdir())) == 1
