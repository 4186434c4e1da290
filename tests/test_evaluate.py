"""evaluate.py: figures of what a model draws and of folders, streamed, interrupted, and side by side."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from models import evaluation as measured
from models import weights
from tests.conftest import CLASSES, LOSSES, NETWORK, ROOT, SIZES, call, picture, save, succeed, write_root
from util import comparison, evaluation
from util.checkpoint import read_tensors
from util.metrics.pictures import ssim
from util.metrics.registry import METRICS, PAIRS

HERE = ["--gpu_ids", "-1", "--nThreads", "0"]
LABELS = [f"c{i}" for i in range(CLASSES)]


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch, tmp_path):
    """No weights are cached, none can be fetched."""
    def refuse(*args, **more):
        raise OSError("there is no network")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five training and five test pictures, whose classes have names and make parts."""
    root = write_root(tmp_path_factory.mktemp("data"), {"train": 5, "test": 5})
    spec = {"label_nc": CLASSES, "labels": LABELS, "parts": {"face": ["c1", "c2"], "rest": ["c3", "c4", "c5"]}}
    (root / "dataset.json").write_text(json.dumps(spec))
    return root


@pytest.fixture(scope="module")
def experiments(tmp_path_factory, data):
    """checkpoints_dir of 'a', one epoch with --label_feat, encoded, and of 'b', the same with other weights. Read only."""
    folder = tmp_path_factory.mktemp("checkpoints")
    where = ["--name", "a", "--checkpoints_dir", folder, "--dataroot", data, *SIZES, *NETWORK, "--label_feat"]
    succeed(call("train", *where, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html"))
    succeed(call("encode_features", *where))
    shutil.copytree(folder / "a", folder / "b")
    change(folder / "b" / "latest_net_G.pth")
    return folder


def change(path, factor=1.1):
    torch.save({key: value * factor for key, value in read_tensors(path).items()}, path)


def evaluate(folder, experiments, *more, name="a"):
    """Evaluate an experiment with results in `folder`: the finished call, and what is in evaluation.json."""
    done = call("evaluate", "--name", name, "--checkpoints_dir", experiments, "--results_dir", folder, *HERE, *more)
    path = folder / name / "test_latest" / "evaluation.json"
    return SimpleNamespace(**vars(done), record=json.loads(path.read_text()) if path.is_file() else None,
                           folder=path.parent / "evaluation", page=path.parent / "evaluation" / "index.html")


def figures(record) -> dict:
    """What must be equal of two evaluations of the same."""
    return {key: record[key] for key in ("values", "of_truth", "figures", "metrics", "each", "not_computed", "pictures")}


class Page(HTMLParser):
    """headings, links and pictures of a page, and the cells of its tables' rows."""

    def __init__(self, path):
        super().__init__()
        self.path, self.images, self.links, self.rows, self.text = path, [], [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.images.append(attrs["src"])
        if tag == "a":
            self.links.append(attrs["href"])
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, text):
        self.text.append(text)
        if self.rows and self.lasttag in ("td", "th"):
            self.rows[-1].append(text)


# figures of a model

def test_a_model_is_measured_as_test_measures_it(experiments, data, tmp_path):
    drawn = ["--name", "a", "--checkpoints_dir", experiments, "--results_dir", tmp_path, *HERE]
    succeed(call("test", *drawn, "--use_encoded_image", "--how_many", "50"))
    done = succeed(evaluate(tmp_path, experiments))
    test = json.loads((tmp_path / "a" / "test_latest" / "metrics.json").read_text())
    record = done.record
    assert set(test) == {"pictures", "region_color_error", "ssim", "psnr", "by_class", "each"}
    assert {key: record["values"][key] for key in ("region_color_error", "ssim", "psnr")} == \
        {key: test[key] for key in ("region_color_error", "ssim", "psnr")}
    assert record["metrics"]["pictures"]["by_class"] == test["by_class"] and record["pictures"] == 5
    assert {"ssim_face", "sharpness_rest", "swd"} <= record["values"].keys()
    assert record["weights"]["latest_net_G.pth"] == weights.digest(read_tensors(experiments / "a" / "latest_net_G.pth"))
    assert record["seed"] == 0 and record["versions"]["torch"] == torch.__version__ and "evaluate.py" in record["command"]
    assert record["not_computed"].keys() == {"fid", "kid", "lpips", "miou", "asked", "diversity"}
    assert "--inception_weights FILE" in record["not_computed"]["fid"] and "--parser" in record["not_computed"]["miou"]
    page = Page(done.page)
    assert all((done.page.parent / image).is_file() for image in page.images) and page.images
    assert any(link.endswith("test_latest/index.html") or link == "../index.html" for link in page.links)
    assert ["fid", record["not_computed"]["fid"]] in page.rows and "c3" in {row[0] for row in page.rows if row}


def test_all_pictures_are_measured_unless_flags_say_fewer(experiments, tmp_path):
    from options.evaluate_options import EvaluateOptions
    where = ["--name", "a", "--checkpoints_dir", str(experiments), *HERE]
    assert EvaluateOptions().parse(where).how_many == float("inf")
    assert succeed(evaluate(tmp_path, experiments, "--metrics", "ssim", "--how_many", "3")).record["pictures"] == 3


def test_drawings_that_do_not_aim_at_the_truth_have_no_figures_against_it(experiments, tmp_path):
    done = succeed(evaluate(tmp_path, experiments, "--sample", "clusters"))
    assert done.record["values"].keys() == {"swd"} and done.record["aimed"] is False
    assert {name for name in METRICS if PAIRS in METRICS[name].needs} <= done.record["not_computed"].keys()
    refused = evaluate(tmp_path, experiments, "--style", "c1=0", "--metrics", "ssim")
    assert refused.status == 2 and "does not aim" in refused.err


def test_looks_are_drawn_beside_the_pictures_that_aim_at_the_truth(experiments, tmp_path):
    plain = succeed(evaluate(tmp_path, experiments, "--metrics", "ssim")).record
    record = succeed(evaluate(tmp_path, experiments, "--metrics", "ssim,diversity", "--n_samples", "3")).record
    assert record["values"]["ssim"] == plain["values"]["ssim"] and record["values"]["diversity"] > 0
    assert "features_clustered_010.npy" in record["weights"] and "features_clustered_010.npy" not in plain["weights"]


def test_a_parser_reads_the_pictures(experiments, data, tmp_path):
    argv = ["--model", "parsing", "--name", "p", "--checkpoints_dir", tmp_path / "c", "--dataroot", data, *SIZES, "--batchSize",
            "2", "--niter", "1", "--niter_decay", "0", "--from_scratch", "--no_html", "--no_flip"]
    succeed(call("train", *argv))
    record = succeed(evaluate(tmp_path, experiments, "--metrics", "miou", "--parser", tmp_path / "c" / "p")).record
    assert 0 <= record["values"]["miou"] <= 1 and record["of_truth"]["miou"] == record["metrics"]["parsed"]["true"]["miou"]
    assert f"--parser {tmp_path / 'c' / 'p'}" in record["weights"]
    own = succeed(evaluate(tmp_path, tmp_path / "c", name="p"))
    tested = ["--name", "p", "--checkpoints_dir", tmp_path / "c", "--results_dir", tmp_path / "r", *HERE]
    succeed(call("test", *tested))
    test = json.loads((tmp_path / "r" / "p" / "test_latest" / "metrics.json").read_text())
    assert own.record["values"] == {key: test[key] for key in ("miou", "miou_large", "pixel_accuracy")}


def test_best_and_worst_pictures_are_shown_by_each_figure(monkeypatch):
    monkeypatch.setattr(evaluation, "EXTREMES", 2)
    each = [{"name": f"p{i}", "near": float(i), "high": None if i == 3 else float(i)} for i in range(6)]
    record = {"figures": {"near": {"best": 2}, "high": {"best": None}, "none": {"best": 0}}, "each": each}
    assert evaluation.extremes(record) == {"near": (["p5", "p4"], ["p2", "p1"]), "high": (["p0", "p1"], ["p5", "p4"])}
    record["each"] = each[:3]
    assert evaluation.extremes(record)["high"] == (["p0", "p1"], ["p2"])


def test_an_evaluation_replaces_its_own_pictures_and_leaves_the_test_page(experiments, tmp_path):
    succeed(call("test", "--name", "a", "--checkpoints_dir", experiments, "--results_dir", tmp_path, *HERE))
    before = {p: p.read_bytes() for p in (tmp_path / "a" / "test_latest").rglob("*") if p.is_file()}
    first = succeed(evaluate(tmp_path, experiments, "--metrics", "ssim"))
    succeed(evaluate(tmp_path, experiments, "--metrics", "ssim", "--how_many", "2"))
    assert {p: p.read_bytes() for p in before} == before
    names = {p.name for p in (first.folder / "images").iterdir()}
    assert names == {f"p0{i}_{what}.jpg" for i in range(2) for what in ("input_label", "synthesized_image", "real_image")}


# folders

@pytest.fixture
def folders(data, tmp_path):
    """fake and real: the test photos, the former blurred a little."""
    for path in (data / "test_img").iterdir():
        photo = np.asarray(Image.open(path))
        save(tmp_path / "real" / path.name, photo)
        save(tmp_path / "fake" / f"{path.stem}_img.png", (photo * 0.9).astype(np.uint8))
    return tmp_path


def of_folders(folder, *more, fake="fake", real="real"):
    truth = ["--real", folder / real] if real else []
    done = call("evaluate", "--fake", folder / fake, *truth, "--out", folder / "out", *HERE, *more)
    path = folder / "out" / "evaluation.json"
    return SimpleNamespace(**vars(done), record=json.loads(path.read_text()) if path.is_file() else None)


def test_any_two_folders_are_compared_without_a_model(folders, data):
    record = succeed(of_folders(folders)).record
    pairs = [(folders / "fake" / f"p0{i}_img.png", folders / "real" / f"p0{i}.png") for i in range(5)]
    mine = np.mean([ssim(*(np.asarray(Image.open(path)) for path in pair)) for pair in pairs])
    assert record["values"]["ssim"] == mine and record["values"].keys() == {"ssim", "psnr", "swd"}
    assert "label maps" in record["not_computed"]["colour"] and record["weights"] == {}
    with_maps = succeed(of_folders(folders, "--dataroot", data)).record["values"]
    assert with_maps["ssim"] == mine and {"region_color_error", "ssim_face"} <= with_maps.keys()
    assert succeed(of_folders(folders, "--dataroot", data, real=None)).record["values"]["ssim"] == mine
    same = succeed(of_folders(folders, fake="real")).record["values"]
    assert same["ssim"] == 1 and same["psnr"] is None


def test_folders_whose_names_do_not_pair_are_compared_as_sets(folders):
    (folders / "real" / "p00.png").rename(folders / "real" / "someone else.png")
    refused = of_folders(folders)
    assert refused.status == 2 and "p00" in refused.err and "--metrics swd,fid,kid" in refused.err
    record = succeed(of_folders(folders, "--metrics", "swd")).record
    assert record["pictures"] == 5 and record["metrics"]["swd"]["true_pictures"] == 5 and record["values"]["swd"] > 0


def test_what_test_drew_is_measured_from_its_page(experiments, data, tmp_path):
    drawn = ["--name", "a", "--checkpoints_dir", experiments, *HERE]
    succeed(call("test", *drawn, "--use_encoded_image", "--results_dir", tmp_path / "own"))
    succeed(call("test", *drawn, "--n_samples", "2", "--results_dir", tmp_path / "sampled"))
    own, sampled = (tmp_path / which / "a" / "test_latest" for which in ("own", "sampled"))
    succeed(call("evaluate", "--results", own, "--dataroot", data, *HERE))
    record = json.loads((own / "evaluation.json").read_text())
    exact = succeed(evaluate(tmp_path, experiments)).record
    assert record["values"].keys() == exact["values"].keys()
    assert record["values"]["ssim"] == pytest.approx(exact["values"]["ssim"], abs=0.1)  # JPEG on both sides
    succeed(call("evaluate", "--results", sampled, "--dataroot", data, *HERE))
    record = json.loads((sampled / "evaluation.json").read_text())
    assert record["values"].keys() == {"swd", "diversity"} and "aim" in record["not_computed"]["ssim"]


# streams

def test_memory_does_not_grow_with_the_pictures(tmp_path, monkeypatch):
    from options.evaluate_options import EvaluateOptions
    monkeypatch.setattr("sys.stderr", open(os.devnull, "w"))  # noqa: SIM115

    def peak(count):
        folder = tmp_path / str(count)
        write_root(folder, {"test": count}, size=(128, 128))
        opt = EvaluateOptions().parse(["--fake", str(folder / "test_img"), "--real", str(folder / "test_img"), "--metrics",
                                       "ssim,psnr", *HERE])
        pictures = measured.open_pictures(opt)
        metrics, _ = measured.open_metrics(opt, pictures)
        tracemalloc.start()
        journal = evaluation.Journal(folder, {})
        evaluation.measure(pictures, metrics, journal)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        journal.forget()
        return found

    peak(4)  # what is imported on first use
    assert peak(44) - peak(4) < 40 * 4096  # of 96 KiB that a picture and its truth take


def interrupted(monkeypatch, at, how):
    """Have the evaluation end in `how()` when it measures its picture number `at`, from 0."""
    add, seen = measured.ComparedData.add, []

    def stop(self, *args, **more):
        seen.append(args)
        if len(seen) == at + 1:
            how()
        return add(self, *args, **more)

    monkeypatch.setattr(measured.ComparedData, "add", stop)
    return seen


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, "crash"])
def test_an_interrupted_evaluation_goes_on_and_finds_the_same(experiments, tmp_path, monkeypatch, end):
    monkeypatch.setattr(evaluation.Journal, "due", lambda journal: True)
    whole = succeed(evaluate(tmp_path / "whole", experiments)).record

    def crash():
        raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        interrupted(patch, 2, crash if end == "crash" else lambda: signal.raise_signal(end))
        if end == "crash":
            with pytest.raises(RuntimeError):
                evaluate(tmp_path / "parts", experiments)
        else:
            done = evaluate(tmp_path / "parts", experiments)
            assert done.status == 128 + end and "Stopped after 3 of 5 pictures" in done.out
    assert not list((tmp_path / "parts").rglob("evaluation.json"))
    again = interrupted(monkeypatch, 99, None)
    done = succeed(evaluate(tmp_path / "parts", experiments))
    assert len(again) == (3 if end == "crash" else 2) and "where this evaluation was interrupted" in done.out
    assert figures(done.record) == figures(whole)
    assert not list((tmp_path / "parts").rglob(".measured*"))


def test_a_killed_evaluation_goes_on(experiments, tmp_path):
    code = """if True:
        import os, signal, sys
        from models import evaluation as measured
        from util import evaluation
        evaluation.Journal.due = lambda journal: True
        add, seen = measured.ComparedData.add, []
        def kill(self, *args, **more):
            seen.append(args)
            if len(seen) == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return add(self, *args, **more)
        measured.ComparedData.add = kill
        import evaluate
        evaluate.main()"""
    flags = ["--metrics", "ssim,colour,parts,swd"]
    argv = ["--name", "a", "--checkpoints_dir", experiments, "--results_dir", tmp_path / "killed", *HERE, *flags]
    done = subprocess.run([sys.executable, "-c", code, *map(str, argv)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    again = succeed(evaluate(tmp_path / "killed", experiments, *flags))
    assert "Going on after 3 pictures" in again.out
    assert figures(again.record) == figures(succeed(evaluate(tmp_path / "whole", experiments, *flags)).record)


@pytest.mark.parametrize("what", ["weights", "data", "flags", "file"])
def test_what_was_measured_of_something_else_is_not_taken_up(experiments, data, tmp_path, monkeypatch, what):
    shutil.copytree(experiments, tmp_path / "c")
    root = shutil.copytree(data, tmp_path / "data")
    flags = ["--dataroot", root, "--metrics", "ssim"]
    with monkeypatch.context() as patch:
        interrupted(patch, 2, lambda: signal.raise_signal(signal.SIGTERM))
        assert evaluate(tmp_path, tmp_path / "c", *flags).status == 128 + signal.SIGTERM
    journal = next(tmp_path.rglob(".measured-0.pth"))
    if what == "weights":
        change(tmp_path / "c" / "a" / "latest_net_E.pth")
    elif what == "data":
        save(root / "test_img" / "p04.png", np.zeros((32, 32, 3), np.uint8))
    elif what == "flags":
        flags += ["--seed", "1"]
    else:
        journal.write_bytes(journal.read_bytes()[:-100])
    done = succeed(evaluate(tmp_path, tmp_path / "c", *flags))
    told = {"weights": "latest_net_E.pth", "data": "the data", "flags": "--seed", "file": "broken"}[what]
    assert "starting anew" in done.out and told in done.out
    assert figures(done.record) == figures(succeed(evaluate(tmp_path / "whole", tmp_path / "c", *flags)).record)


# side by side

def compare(folder, experiments, *more, names=("a", "b")):
    done = call("evaluate", "--compare", *names, "--checkpoints_dir", experiments, "--results_dir", folder, *HERE, *more)
    path = folder / "comparisons" / "_vs_".join(names) / "comparison.json"
    return SimpleNamespace(**vars(done), found=json.loads(path.read_text()) if path.is_file() else None, folder=path.parent)


def test_experiments_side_by_side(experiments, tmp_path):
    one = succeed(evaluate(tmp_path, experiments)).record
    done = succeed(compare(tmp_path, experiments))
    other = json.loads((tmp_path / "b" / "test_latest" / "evaluation.json").read_text())
    assert json.loads((tmp_path / "a" / "test_latest" / "evaluation.json").read_text()) == one, "it was there already"
    ssim = done.found["differences"][0]["ssim"]
    assert ssim["difference"] == other["values"]["ssim"] - one["values"]["ssim"]
    low, high = ssim["interval"]
    assert low <= ssim["difference"] <= high and low < high
    assert done.found["differences"][0]["swd"]["interval"] is None and "sharpness_face" in done.found["differences"][0]
    assert done.found["of_truth"]["ssim"] == 1 and done.found["of_truth"]["swd"] == one["metrics"]["swd"]["floor"]
    page = Page(done.folder / "index.html")
    assert ["figure", "a", "b", "true pictures"] in page.rows
    assert sum("synthesized_image" in image for image in page.images) == 2 * 5
    assert all((done.folder / image).is_file() for image in page.images)
    assert f"| SSIM | {one['values']['ssim']:.3f} | {other['values']['ssim']:.3f} | 1.000 |" in done.out
    assert succeed(compare(tmp_path, experiments)).found == done.found
    by_folder = [str(tmp_path / name / "test_latest") for name in "ab"]
    succeed(call("evaluate", "--compare", *by_folder, "--out", tmp_path / "by_folder", *HERE))
    found = json.loads((tmp_path / "by_folder" / "comparison.json").read_text())
    assert {**found, "names": ["a", "b"]} == done.found


def test_what_has_changed_since_is_evaluated_again(experiments, tmp_path):
    checkpoints = shutil.copytree(experiments, tmp_path / "c")
    before = succeed(compare(tmp_path, checkpoints, "--metrics", "ssim"))
    change(checkpoints / "b" / "latest_net_G.pth", 0.8)
    after = succeed(compare(tmp_path, checkpoints, "--metrics", "ssim"))
    assert "differs in latest_net_G.pth" in after.out and after.found["values"]["ssim"][0] == before.found["values"]["ssim"][0]
    assert after.found["values"]["ssim"][1] != before.found["values"]["ssim"][1]


def record_of(name, values, **more):
    """An evaluation of one figure, the mean of what the pictures have."""
    each = [{"name": f"p{i}", "size": "8x8", "truth": "0", "x": value} for i, value in enumerate(values)]
    known = [value for value in values if value is not None]
    return {"name": name, "pictures": len(values), "each": each, "values": {"x": float(np.mean(known))}, "of_truth": {"x": 0},
            "figures": {"x": {"title": "x", "best": 0, "digits": 2}}, **more}


def test_intervals_of_differences_are_those_of_theory():
    random = np.random.default_rng(0)
    one = random.normal(3, 1, 400)
    other = one + random.normal(0.1, 0.5, 400)  # of which the difference is surer than either
    found = comparison.compared([record_of("a", one), record_of("b", other)])["differences"][0]["x"]
    reach = 1.96 * np.std(other - one) / 20
    assert found["interval"] == pytest.approx([found["difference"] - reach, found["difference"] + reach], abs=0.1 * reach)
    assert found["nearer"] == "first"
    covered = 0
    for seed in range(200):
        records = map(record_of, "ab", np.random.default_rng(seed).normal(0, 1, (2, 30)))
        low, high = comparison.compared(list(records))["differences"][0]["x"]["interval"]
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_pictures_without_a_figure_do_not_count():
    values = [1.0, None, 3.0, 2.0]
    found = comparison.compared([record_of("a", values), record_of("b", [None, 5.0, 4.0, 2.5])])["differences"][0]["x"]
    assert found["interval"] is not None and np.isfinite(found["interval"]).all()


def test_nearer_is_told_by_the_distance_to_the_best_value():
    spread = np.linspace(-0.1, 0.1, 40)
    records = [record_of("a", 0.7 + spread), record_of("b", 1.3 + spread[::-1])]
    for record in records:
        record["figures"]["x"]["best"] = 1
    found = comparison.compared(records)["differences"][0]["x"]
    assert found["interval"][0] > 0 and found["nearer"] == "", "one is as far below the best as the other is above"


@pytest.mark.parametrize("other, told", [
    (record_of("b", [1.0, 2.0]), "pictures: 3 and 2, p2 in one of them only"),
    (record_of("b", [1.0, 2.0, 3.0], size="16x16"), "sizes: p0 is 8x8 in one and 16x16 in the other"),
    (record_of("b", [1.0, 2.0, 3.0], truth="1"), "data: p0 has another true picture or label map in each")])
def test_other_data_is_not_compared(other, told):
    for row in other["each"]:
        row |= {key: other[key] for key in ("size", "truth") if key in other}
    with pytest.raises(comparison.UserError, match=told):
        comparison.compared([record_of("a", [1.0, 2.0, 3.0]), other])


# bad input

BAD = {
    "no such metric": (["--name", "a", "--metrics", "ssim,beauty"], "--metrics ssim,beauty: there is no metric 'beauty'"),
    "no experiment": (["--name", "nobody"], "nobody"),
    "empty folder": (["--fake", "{}/empty", "--real", "{}/real"], "--fake {}/empty: holds no pictures"),
    "no folder": (["--fake", "{}/fake", "--real", "{}/nowhere"], "--real {}/nowhere: there is no such folder"),
    "one picture": (["--fake", "{}/single", "--real", "{}/single"], "--fake {}/single: holds one picture"),
    "no truth": (["--fake", "{}/fake"], "--fake {}/fake: is compared with true pictures; give them with --real DIR"),
    "unpaired": (["--fake", "{}/fake", "--real", "{}/single"], "have no partner of the same name there"),
    "spare": (["--fake", "{}/single", "--real", "{}/real"], "have no partner of the same name in --fake"),
    "other sizes": (["--fake", "{}/large", "--real", "{}/real"], "p00.png: is 64x64, the true picture"),
    "broken picture": (["--fake", "{}/broken", "--real", "{}/real"], "p01.png: is broken or cut short"),
    "real alone": (["--real", "{}/real"], "--real {}/real: holds the true ones of --fake DIR"),
    "both": (["--fake", "{}/fake", "--results", "{}/fake"], "--fake and --results: are different things to do"),
    "no results": (["--results", "{}/fake"], "--results {}/fake: holds no pictures that test.py drew"),
    "one to compare": (["--compare", "a"], "--compare a: compares two experiments or more"),
    "twice": (["--compare", "a", "b", "a"], "names a twice"),
    "no evaluation": (["--compare", "a", "{}/fake"], "--compare {}/fake: holds no evaluation.json"),
    "other parser": (["--name", "a", "--metrics", "miou", "--parser", "{}/other"], "--parser: tells 3 classes apart"),
    "broken parser": (["--name", "a", "--parser", "{}/broken.pth"], "is broken or cut short"),
    "no parser": (["--name", "a", "--parser", "{}/none.pth"], "there are no weights of a face parser"),
    "no parser given": (["--name", "a", "--metrics", "miou"], "--metrics miou: needs a face parser"),
    "broken weights": (["--name", "broken", "--metrics", "ssim"], "latest_net_G.pth: is broken or cut short"),
    "broken inception": (["--name", "a", "--metrics", "fid", "--inception_weights", "{}/broken.pth"], "broken.pth"),
    "onnx": (["--name", "a", "--export_onnx", "x.onnx"], "--export_onnx: is test.py's"),
    "label of no class": (["--fake", "{}/fake", "--dataroot", "{}/data"], "holds label 9"),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory, data, experiments):
    """Folders and checkpoints that cannot be measured."""
    folder = tmp_path_factory.mktemp("bad")
    for name in ("fake", "real", "broken"):
        shutil.copytree(data / "test_img", folder / name)
    (folder / "broken" / "p01.png").write_bytes((folder / "real" / "p01.png").read_bytes()[:-60])
    (folder / "empty").mkdir()
    photo = picture(np.random.default_rng(0), np.zeros((64, 64), np.uint8))
    for i in range(5):
        save(folder / "large" / f"p0{i}.png", photo)
    save(folder / "single" / "p00.png", photo[:32, :32])
    shutil.copytree(data, folder / "data")
    save(folder / "data" / "test_label" / "p03.png", np.full((32, 32), 9, np.uint8))
    shutil.copytree(experiments, folder / "checkpoints")
    shutil.copytree(experiments / "a", folder / "checkpoints" / "broken")
    weight = folder / "checkpoints" / "broken" / "latest_net_G.pth"
    weight.write_bytes(weight.read_bytes()[:-200])
    (folder / "broken.pth").write_bytes(weight.read_bytes())
    three = write_root(folder / "three", {"train": 2}, classes=3)
    argv = ["--model", "parsing", "--name", "other", "--checkpoints_dir", folder, "--dataroot", three, *SIZES, "--label_nc",
            "3", "--batchSize", "2", "--niter", "1", "--niter_decay", "0", "--from_scratch", "--no_html", "--no_flip"]
    succeed(call("train", *argv))
    (folder / "other" / "dataset.json").write_text(json.dumps({"labels": ["x", "y", "z"]}))
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, bad, tmp_path):
    argv, told = ([word.replace("{}", str(bad)) for word in BAD[case][0]], BAD[case][1].replace("{}", str(bad)))
    where = ["--checkpoints_dir", bad / "checkpoints", "--results_dir", tmp_path, "--out", tmp_path / "out"]
    done = call("evaluate", *argv, *where, *HERE)
    lines = [line for line in done.err.splitlines() if "pictures/s" not in line]
    assert done.status == 2 and len(lines) == 1 and told in lines[0], done.err
    assert not list(tmp_path.rglob("evaluation.json"))
