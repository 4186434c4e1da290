"""Styles: encoding many photos, the record of what was found, the style sheet, and choosing by name."""
import json
import re
import runpy
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data.dataset_spec import CELEBAMASK_HQ
from data.grouping import grouped
from models.predictor import Predictor
from models.styles import sheet
from models.styles.book import StyleBook
from models.styles.clusters import FeatureTable
from models.styles.drawing import StyledDrawing
from models.styles.styles import RANDOM, Choice, Encoded, Styles
from tests.conftest import CLASSES, LOSSES, NETWORK, ROOT, SIDE, SIZES, call, picture, save, succeed, tree
from util.checkpoint import read_tensors
from util.errors import UserError

OUTPUTS = ("features.npy", "features_clustered_010.npy", "styles.json")


def encode(trained, root, folder, *more):
    """Encode with the weights of `trained` into folder/x."""
    done = succeed(call("encode_features", "--name", "x", "--checkpoints_dir", folder, "--load_pretrain", trained / "faces",
                        "--dataroot", root, *SIZES, *NETWORK, "--label_feat", *more))
    return folder / "x", done.out


def read(folder):
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def draw(trained, root, results, *more, status=0):
    done = call("test", "--name", "faces", "--checkpoints_dir", trained, "--dataroot", root, "--results_dir", results,
                "--gpu_ids", "-1", "--nThreads", "0", *more)
    assert done.status == status, done.err
    images = results / "faces" / "test_latest" / "images"
    return done.err if status else {p.stem: np.asarray(Image.open(p)) for p in sorted(images.iterdir())}


# encoding

def test_encoding_again_gives_the_same_bytes_and_another_seed_its_own(trained, root, tmp_path):
    first, _ = encode(trained, root, tmp_path / "a", "--n_clusters", "10", "--no_style_sheet")
    again, _ = encode(trained, root, tmp_path / "b", "--n_clusters", "10", "--no_style_sheet")
    assert read(first) == read(again) and not (first / "styles").exists()


@pytest.mark.parametrize("size", ["1", "2", "5"])
def test_batches_give_the_rows_of_single_pictures(trained, root, tmp_path, size):
    folder, _ = encode(trained, root, tmp_path, "--batchSize", size, "--no_style_sheet")
    alone = np.load(trained / "faces" / "features.npy", allow_pickle=True).item()
    for label, rows in np.load(folder / "features.npy", allow_pickle=True).item().items():
        np.testing.assert_allclose(rows, alone[label], atol=1e-5)


def test_pictures_of_several_sizes_are_encoded_in_their_order(trained, tmp_path):
    for i, (width, height) in enumerate([(32, 32), (32, 32), (32, 48), (32, 32)]):
        save(tmp_path / "data" / "train_label" / f"{i}.png", np.zeros((height, width), np.uint8))
        save(tmp_path / "data" / "train_img" / f"{i}.png", np.full((height, width, 3), 60 * i, np.uint8))
    folder, out = encode(trained, tmp_path / "data", tmp_path)
    rows = np.load(folder / "features.npy", allow_pickle=True).item()[0]
    assert len(rows) == 4 and "4 pictures encoded" in out and (folder / "styles" / "index.html").is_file()


def test_grouping_keeps_order_and_never_mixes_shapes():
    batches = [{"image": torch.full((1, 1, 2, w), i), "name": [str(i)], "index": [i], "feat": [0]}
               for i, w in enumerate([2, 2, 2, 3, 2])]
    got = list(grouped(iter(batches), 2))
    assert [b["name"] for b in got] == [["0", "1"], ["2"], ["3"], ["4"]] and got[0]["image"].shape == (2, 1, 2, 2)
    assert got[0]["feat"] == [0, 0] and torch.equal(got[0]["image"][1], batches[1]["image"][0])


def test_table_grows_without_losing_rows():
    table, random = FeatureTable([0], 2), np.random.default_rng(0)
    added = [random.normal(size=(random.integers(0, 4), 2)) for _ in range(200)]
    for i, rows in enumerate(added):
        table.add([f"p{i}"], [{5: rows}])
    assert np.array_equal(table.rows(5), np.concatenate(added)) and table.labels == [0, 5]
    assert table.pictures(5).tolist() == [i for i, rows in enumerate(added) for _ in rows]


# whose style it is

@pytest.fixture
def numbered(tmp_path, trained):
    """numbered(flag, inst) -> (run, data): encodes and draws two pictures, left half class 4 and right half class 2, whose
    instance maps are `inst` (H, W)."""
    def make(flag, inst):
        label = np.full((SIDE, SIDE), 4, np.uint8)
        label[:, SIDE // 2:] = 2
        for phase in ("train", "test"):
            for i in range(2):
                save(tmp_path / "data" / f"{phase}_label" / f"{i}.png", label)
                save(tmp_path / "data" / f"{phase}_inst" / f"{i}.png", inst.astype(np.uint16))
                save(tmp_path / "data" / f"{phase}_img" / f"{i}.png", picture(np.random.default_rng(i), label))
        (tmp_path / "x").mkdir()
        for net in "GE":
            shutil.copy(trained / "faces" / f"latest_net_{net}.pth", tmp_path / "x")
        where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", tmp_path / "data", *SIZES, *NETWORK, flag]
        return lambda script, *more: succeed(call(script, *where, *more))
    return make


def numbers_within_classes() -> np.ndarray:
    """(H, W): four instances a class, numbered 1 to 8 with no regard to it."""
    rows, columns = np.indices((SIDE, SIDE))
    return 1 + 2 * (rows * 4 // SIDE) + (columns >= SIDE // 2)


@pytest.mark.parametrize("flag", ["--instance_feat", "--label_feat"])
def test_an_instances_style_is_of_the_class_under_it_whatever_its_number(numbered, tmp_path, flag):
    run = numbered(flag, numbers_within_classes())
    assert "more than one class" not in run("encode_features").out
    rows = np.load(tmp_path / "x" / "features.npy", allow_pickle=True).item()
    assert {label: len(found) for label, found in rows.items() if len(found)} == {2: 8, 4: 8}
    assert set(json.loads((tmp_path / "x" / "styles.json").read_text())["classes"]) == {"2", "4"}
    styles, drawn = ["--style", "2=0", "--style", "4=7"], []
    for inst in (numbers_within_classes(), numbers_within_classes() + 1000 * np.repeat([4, 2], SIDE // 2)):
        save(tmp_path / "data" / "test_inst" / "0.png", inst.astype(np.uint16))
        assert "more than one class" not in run("test", *styles, "--how_many", "1", "--results_dir", tmp_path / "r").out
        drawn.append(tree(tmp_path / "r" / "x" / "test_latest" / "images"))
    assert drawn[0] == drawn[1]


def test_an_instance_on_several_classes_counts_as_most_of_it_and_is_told_once(numbered, tmp_path):
    inst = numbers_within_classes()
    inst[:8] = inst[:, :4] = 1  # now mostly on class 4
    run = numbered("--instance_feat", inst)
    out = run("encode_features").out
    assert out.count("more than one class") == 1 and "datasets.check" in out
    rows = np.load(tmp_path / "x" / "features.npy", allow_pickle=True).item()
    assert {label: len(found) for label, found in rows.items() if len(found)} == {2: 6, 4: 8}
    assert run("test", "--results_dir", tmp_path / "a").out.count("more than one class") == 1
    assert (tmp_path / "a" / "x" / "test_latest" / "index.html").read_text().count("more than one class") == 1


def test_without_a_label_map_the_number_says_the_class(trained, tmp_path):
    for role, array in (("A", np.zeros((SIDE, SIDE, 3), np.uint8)), ("B", np.full((SIDE, SIDE, 3), 99, np.uint8))):
        save(tmp_path / "data" / f"train_{role}" / "0.png", array)
    save(tmp_path / "data" / "train_inst" / "0.png", (np.indices((SIDE, SIDE))[0] // 8 % 2 * 25990 + 11).astype(np.uint16))
    (tmp_path / "x").mkdir()
    shutil.copy(trained / "faces" / "latest_net_E.pth", tmp_path / "x")
    succeed(call("encode_features", "--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", tmp_path / "data", *SIZES,
                 *NETWORK, "--label_nc", "0", "--instance_feat"))
    assert sorted(np.load(tmp_path / "x" / "features.npy", allow_pickle=True).item()) == [11, 26]


# the book

def table_of_two_looks():
    """Class 2: two tight groups, of 6 and 3 rows; class 4: small regions only."""
    table, random = FeatureTable(range(5), 4), np.random.default_rng(0)
    for i in range(9):
        center = np.array([1.0, 0, 0]) if i < 6 else np.array([-1.0, 0, 0])
        table.add([f"p{i}"], [{2: np.r_[center + random.normal(0, 0.01, 3), 2.0][None], 4: np.array([[0.5, 0, i, 0.1]])}])
    return table


def test_book_tells_shares_spreads_and_the_nearest_picture():
    table = table_of_two_looks()
    found = StyleBook.find(table, "c.npy", 2, 0, lambda label: f"class{label}").classes[2]
    np.testing.assert_allclose(found.shares, [6 / 9, 3 / 9])
    np.testing.assert_allclose(found.centres[:, 0], [1, -1], atol=0.02)
    rows = table.rows(2)[:, :3]
    for i, members in enumerate((rows[:6], rows[6:])):
        distance = np.linalg.norm(members - members.mean(0), axis=1)
        assert found.spreads[i] == pytest.approx(np.sqrt((distance ** 2).mean()))
        assert found.nearest[i] == f"p{distance.argmin() + 6 * i}"


def test_small_classes_have_styles_of_their_own_outside_the_clusters_file(tmp_path):
    book = StyleBook.find(table_of_two_looks(), "c.npy", 3, 0, str)
    assert set(book.centres()) == {2} and set(book.centres(small=True)) == {4} and book.classes[4].small
    book.write(tmp_path / "styles.json")
    again = StyleBook.read(tmp_path / "styles.json")
    assert np.array_equal(again.classes[4].centres, book.classes[4].centres)
    assert again.classes[2].nearest == book.classes[2].nearest
    again.write(tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == (tmp_path / "styles.json").read_bytes()


SHORT = '{"share": 1, "spread": 0, "nearest": "p", "centre": [1]}'


@pytest.mark.parametrize("text", [
    "[]", "{}", '{"feat_num": 3, "clusters": "c", "classes": {"a": {}}}',
    '{"feat_num": 2, "clusters": "c", "classes": {"a": {"id": 1, "regions": 1, "clustered": 1, "small": false, '
    f'"styles": [{SHORT}]}}}}}}'])
def test_a_spoilt_book_is_named(tmp_path, text):
    (tmp_path / "styles.json").write_text(text)
    with pytest.raises(UserError, match="styles.json.*encode_features.py"):
        StyleBook.read(tmp_path / "styles.json")


def test_sheet_shows_every_style_and_how_to_ask_for_it(trained):
    folder = trained / "faces"
    book, html = json.loads((folder / "styles.json").read_text()), (folder / "styles" / "index.html").read_text()
    for name, entry in book["classes"].items():
        shares = [style["share"] for style in entry["styles"]]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-3)
        assert all(f"{name}={i} (" in html for i in range(len(shares)))
    sources = re.findall(r'src="([^"]+)"', html)
    assert len(sources) == 3 + 20 + sum(len(e["styles"]) for e in book["classes"].values()), "with the reference and persons"
    assert all((folder / "styles" / source).is_file() for source in sources)


@pytest.fixture
def drawings(monkeypatch):
    """{(class, number): what the sheet shows of it, whole} once a sheet is drawn."""
    shown, add = {}, sheet._Sheet.add
    monkeypatch.setattr(sheet, "_window", lambda mask: (slice(None), slice(None)))

    def note(page, found, number, image):
        assert (found.label, number) not in shown
        shown[found.label, number] = image
        add(page, found, number, image)

    monkeypatch.setattr(sheet._Sheet, "add", note)
    return shown


def test_a_drawing_shows_its_style_on_a_face_that_is_otherwise_its_own(trained, root, tmp_path, monkeypatch, drawings):
    monkeypatch.setattr(sheet, "_GROUPS", CLASSES)  # none together
    folder, _ = encode(trained, root, tmp_path, "--precision", "fp32")
    name = re.search(r"Reference: (p\d+)", (folder / "styles" / "index.html").read_text())[1]
    label, photo = (np.asarray(Image.open(root / f"train_{kind}" / f"{name}.png")) for kind in ("label", "img"))
    predictor = Predictor.load(trained / "faces", gpu_ids="-1")
    own = np.asarray(predictor(label, image=photo)).astype(int)
    assert {c for c, _ in drawings} == set(range(CLASSES))
    for (c, number), image in drawings.items():
        if c not in label:
            continue
        alone = np.asarray(predictor(label, image=photo, style={str(c): number})).astype(int)
        assert np.abs(image - alone)[_inner(label == c)].max() <= 1
        far = sheet._soft(label == c)[:, :, 0] == 0
        assert np.abs(image - own)[far].max() <= 1


@pytest.mark.parametrize("source, used", [("default", "bf16"), ("opt.json", "bf16"), ("command line", "fp32")])
def test_the_sheet_is_drawn_in_what_is_fastest_unless_the_flag_says_otherwise(source, used, monkeypatch):
    monkeypatch.setattr(sheet.precision, "fastest", lambda model: "bf16")
    model = SimpleNamespace(precision="fp32", opt=SimpleNamespace(sources={"precision": source}))
    with pytest.raises(ZeroDivisionError), sheet._in_fastest_precision(model):
        assert model.precision == used
        raise ZeroDivisionError
    assert model.precision == "fp32"


def _inner(mask):
    """Where a region and all pixels around it are of one class."""
    return sheet._soft(mask)[:, :, 0] > 0.999


def test_classes_share_drawings(trained, root, tmp_path, monkeypatch, drawings):
    """Drawing is what encode_features.py spends its time on."""
    counts, restyle = [], StyledDrawing.restyle
    monkeypatch.setattr(StyledDrawing, "restyle", lambda self, batch, changes, at_once: (
        counts.append(len(changes)), restyle(self, batch, changes, at_once))[1])
    monkeypatch.setattr(sheet, "_GROUPS", 2)
    folder, _ = encode(trained, root, tmp_path)
    book = json.loads((folder / "styles.json").read_text())["classes"]
    assert len(drawings) == sum(len(entry["styles"]) for entry in book.values())
    assert counts[0] <= 1 + 2 * 5 and sum(counts) < len(drawings) / 2


def test_classes_of_one_drawing_touch_little_and_are_not_large_together():
    ids = np.zeros((32, 32), int)  # a face of 1, in it an eye of 2 and a mouth of 3, hair of 4 above, on a ground of 0
    ids[4:28, 8:24], ids[12:14, 12:14], ids[20:22, 12:20], ids[:8, 6:26] = 1, 2, 3, 4
    classes = [SimpleNamespace(label=label) for label in (*range(5), 9)]
    groups = [{found.label for found in group} for group in sheet._apart(ids, classes, 4)]
    assert groups == [{0, 9}, {1}, {4}, {2, 3}], "9 is one that the shrunken picture has lost"


def test_the_sheet_is_there_at_once_fills_and_comes_to_rest(trained, root, tmp_path, monkeypatch, drawings):
    pages, restyle = [], StyledDrawing.restyle

    def watched(self, *args):
        for image in restyle(self, *args):
            pages.append((tmp_path / "x" / "styles" / "index.html").read_text())
            yield image

    monkeypatch.setattr(StyledDrawing, "restyle", watched)
    monkeypatch.setattr(sheet, "_SAVED_EVERY", 0)
    _, out = encode(trained, root, tmp_path)
    last = (tmp_path / "x" / "styles" / "index.html").read_text()
    assert all('http-equiv="refresh"' in page and "being drawn" in page for page in pages)
    shown = [page.count("<img") for page in [*pages, last]]
    assert shown[0] == 20 and shown == sorted(shown) and len(set(shown)) > 5 and shown[-1] == 20 + 3 + len(drawings)
    assert "refresh" not in last and "being drawn" not in last
    assert all(name in pages[0] for name in [">0</h3>", ">5</h3>"]), "headings wait for their drawings"
    assert f"{tmp_path / 'x' / 'styles' / 'index.html'}" in out


def test_a_sheet_that_is_broken_off_says_so(trained, root, tmp_path, monkeypatch):
    restyle = StyledDrawing.restyle

    def broken(self, *args):
        yield from list(restyle(self, *args))[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(StyledDrawing, "restyle", broken)
    done = call("encode_features", "--name", "x", "--checkpoints_dir", tmp_path, "--load_pretrain", trained / "faces",
                "--dataroot", root, *SIZES, *NETWORK, "--label_feat")
    page = (tmp_path / "x" / "styles" / "index.html").read_text()
    assert done.status == 130 and "broken off" in page and "refresh" not in page and page.count("<img") >= 3


def test_an_encoder_alone_is_enough_to_encode(trained, root, tmp_path):
    (tmp_path / "alone").mkdir()
    shutil.copy(trained / "faces" / "latest_net_E.pth", tmp_path / "alone")
    done = succeed(call("encode_features", "--name", "alone", "--checkpoints_dir", tmp_path, "--dataroot", root, "--label_feat",
                        *SIZES, *NETWORK))
    assert "No style sheet" in done.out and not (tmp_path / "alone" / "styles").exists()


def test_a_generator_saved_after_the_photos_were_encoded_draws_no_sheet(trained, root, tmp_path, monkeypatch):
    """A training goes on meanwhile: its new generator does not know the old encoder's features."""
    folder = shutil.copytree(trained / "faces", tmp_path / "x")
    shutil.rmtree(folder / "styles")
    find = StyleBook.find

    def save_meanwhile(*args, **kwargs):
        weights = {key: value * 1.5 for key, value in read_tensors(folder / "latest_net_E.pth").items()}
        torch.save(weights, folder / "latest_net_E.pth")
        return find(*args, **kwargs)

    monkeypatch.setattr(StyleBook, "find", save_meanwhile)
    done = succeed(call("encode_features", "--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", root, "--gpu_ids", "-1",
                        "--nThreads", "0"))
    assert "No style sheet: " in done.out and "latest_net_E.pth: has been saved anew" in done.out
    assert not (folder / "styles").exists()


# of which encoder

@pytest.fixture
def retrained(trained, root, tmp_path):
    """A copy of the experiment, with styles of two runs of encode_features.py, whose training has then gone on."""
    shutil.copytree(trained / "faces", tmp_path / "x")
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", root, "--gpu_ids", "-1", "--nThreads", "0"]
    succeed(call("encode_features", *where, "--n_clusters", "5", "--no_style_sheet"))
    succeed(call("train", *where, "--continue_train", "--niter", "2"))
    return tmp_path / "x"


def told(folder, root, *more):
    """The lines of test.py about styles of another encoder; the page has the same."""
    results = folder.parent / "results"
    done = succeed(call("test", "--name", folder.name, "--checkpoints_dir", folder.parent, "--dataroot", root, "--gpu_ids",
                        "-1", "--nThreads", "0", "--results_dir", results, *more))
    lines = [line for line in done.out.splitlines() if "another encoder" in line]
    page = (results / folder.name / "test_latest" / "index.html").read_text()
    assert page.count("another encoder") == len(lines) and "another encoder" not in done.err
    return lines


def test_styles_of_an_encoder_that_was_trained_on_are_told(retrained, root):
    clusters = "features_clustered_010.npy"
    for file, more in (("styles.json", []), ("styles.json", ["--person", "0"]), (clusters, ["--sample", "clusters"]),
                       (clusters, ["--style", "1=0", "--use_encoded_image"]), (clusters, ["--style_root", root])):
        line, = told(retrained, root, *more)
        assert f"x/{file}: " in line and line.count(",") == 1 and f"encode_features.py --name {retrained.name}" in line
    assert not told(retrained, root, "--use_encoded_image"), "which uses none"
    with pytest.warns(UserWarning, match="another encoder"):
        Predictor.load(retrained, gpu_ids="-1")
    where = ["--name", "x", "--checkpoints_dir", retrained.parent, "--dataroot", root, "--gpu_ids", "-1", "--nThreads", "0"]
    assert told(retrained, root, "--cluster_path", "features_clustered_005.npy")
    succeed(call("encode_features", *where, "--no_style_sheet"))
    assert not told(retrained, root)
    assert told(retrained, root, "--cluster_path", "features_clustered_005.npy"), "still the earlier run's"


def test_nothing_is_said_of_styles_whose_encoder_nobody_knows(retrained, root):
    clusters, book = retrained / "features_clustered_010.npy", json.loads((retrained / "styles.json").read_text())
    values = np.load(clusters, allow_pickle=True).item()
    np.save(clusters, {label: rows[::-1] for label, rows in values.items()})  # put there by somebody
    assert not told(retrained, root, "--sample", "clusters")
    for key in ("encoder", "files"):  # as written before these were
        del book[key]
    (retrained / "styles.json").write_text(json.dumps(book))
    assert not told(retrained, root)
    (retrained / "styles.json").unlink()
    assert not told(retrained, root)
    (retrained / "latest_net_E.pth").write_bytes(b"broken")
    assert not told(retrained, root)


def test_the_same_encoder_in_another_folder_or_form_is_the_same(trained, root, tmp_path):
    folder, _ = encode(trained, root, tmp_path, "--no_style_sheet")
    for path in (trained / "faces").glob("latest_net_?.pth"):
        shutil.copy(path, folder)
    assert not told(folder, root)
    state = {f"module.{key}": value.double() for key, value in torch.load(folder / "latest_net_E.pth").items()}
    state["module.model.2.running_mean"] = torch.ones(4)  # as old PyTorch wrote for norms without statistics
    torch.save(state, folder / "latest_net_E.pth")
    assert not told(folder, root)
    assert not told(folder, root, "--style", "1=0", "--use_encoded_image"), "now the encoder is loaded"
    state["module.model.1.bias"] = state["module.model.1.bias"] + 1
    torch.save(state, folder / "latest_net_E.pth")
    assert told(folder, root) and told(folder, root, "--style", "1=0", "--use_encoded_image")


# choosing

def test_the_same_style_draws_the_same_picture_and_only_its_region_is_told_otherwise(trained, root, tmp_path):
    one, two = (draw(trained, root, tmp_path / n, "--style", "1=0", "--style", "3=random") for n in "ab")
    assert one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)
    bare = draw(trained, root, tmp_path / "c")
    assert any(not np.array_equal(bare[k], one[k]) for k in bare)


def test_a_style_goes_to_its_class_and_the_rest_stays():
    styles = Styles(2, {0: np.eye(2), 1: np.eye(2) * 3, 2: np.ones((5, 2))})
    classes = [0, 1, 1, 2]
    bare, fixed = (styles.pick(classes, Choice(fixed=f), 7) for f in ({}, {1: np.array([8.0, 9.0])}))
    assert np.array_equal(fixed[1:3], [[8, 9]] * 2) and np.array_equal(fixed[[0, 3]], bare[[0, 3]])
    own = Encoded(np.arange(8.0).reshape(4, 2))
    mixed = styles.pick(classes, Choice(own=True, fixed={0: RANDOM}), 7, own=own)
    assert np.array_equal(mixed[0], bare[0]) and np.array_equal(mixed[1:], own.mu[1:])


def test_looks_differ_and_the_first_is_the_only_one_of_a_plain_run(trained, root, tmp_path):
    bare, looks = draw(trained, root, tmp_path / "a"), draw(trained, root, tmp_path / "b", "--n_samples", "3")
    assert all(np.array_equal(bare[k], looks[k]) for k in bare)
    assert sorted(set(looks) - set(bare)) == sorted(f"p{i:02d}_synthesized_image_{k}" for i in range(3) for k in (2, 3))
    second, third = ([looks[f"p{i:02d}_synthesized_image_{k}"] for i in range(3)] for k in (2, 3))
    assert not np.array_equal(second, third)
    html = (tmp_path / "b" / "faces" / "test_latest" / "index.html").read_text()
    columns = [html.index(f"images/p00_{what}.jpg") for what in ("input_label", "synthesized_image", "synthesized_image_2",
                                                                "synthesized_image_3", "real_image")]
    assert columns == sorted(columns), "side by side, in this order"


@pytest.mark.parametrize("flags, said", [
    (["--style", "hair"], "CLASS=NUMBER"), (["--style", "1=x"], "CLASS=NUMBER"), (["--n_samples", "0"], "--n_samples"),
    (["--style", f"{CLASSES}=0"], f"--style {CLASSES}=0: "), (["--style", "1=0", "--style", "1=1"], "given twice"),
    (["--style", "nosuch=0"], "--style nosuch=0: .nosuch. is no class"),
    (["--style", "1=77"], "--style 1=77: there is no such"),
    (["--sample", "prior"], "--sample prior: .*--use_vae"),
    (["--texture", "1"], "--texture: only --netG region"),
    (["--cluster_path", "other.npy"], "choose features_clustered_010.npy")])
def test_styles_that_there_are_not(trained, root, tmp_path, flags, said):
    error = draw(trained, root, tmp_path, *flags, status=2)
    assert len(error.strip().splitlines()) == 1 and re.search(said, error), error


def test_a_model_without_features_has_no_styles(root, tmp_path):
    where = ["--name", "faces", "--checkpoints_dir", tmp_path, "--dataroot", root, *SIZES, *NETWORK]
    succeed(call("train", *where, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html", "--max_dataset_size", "1"))
    for flags in (["--style", "1=0"], ["--n_samples", "2"], ["--sample", "clusters"], ["--style_root", str(root)]):
        assert "takes no features" in draw(tmp_path, root, tmp_path, *flags, status=2)
    assert draw(tmp_path, root, tmp_path)


def test_draws_are_a_matter_of_seed_picture_and_look_alone():
    styles = Styles(2, {c: np.random.default_rng(c).normal(size=(10, 2)) for c in range(6)})
    picks = {(seed, index, look): styles.pick(list(range(6)), Choice(seed=seed), index, look).tobytes()
             for seed in range(2) for index in range(3) for look in range(3)}
    assert len(set(picks.values())) == len(picks)


def test_names_come_from_the_book_where_the_data_is_gone(trained, root):
    predictor = Predictor.load(trained / "faces", gpu_ids="-1")
    assert predictor.model.drawing.styles.label_of("1", "--style") == 1
    styles = Styles(3, {}, spec=predictor.opt.spec, names={"hair": 4})
    assert styles.label_of("hair", "--style") == 4


def test_texture_chooses_the_noise_of_the_region_generator(trained_region):
    generators = [Predictor.load(trained_region / "faces", gpu_ids="-1", texture=number).model.nets["G"] for number in (0, 3)]
    assert [net.texture for net in generators] == [0, 3]


def test_shipped_weights_have_noise_in_the_named_classes_alone(trained_region, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = runpy.run_path(str(ROOT / "scripts" / "ship_weights.py"))
    script["ship"](trained_region / "faces", tmp_path / "shipped", script["strengths"]("cloth=0.5,hair=0.25"))
    noise = read_tensors(tmp_path / "shipped" / "latest_net_G.pth")["noise_strength"]
    assert {name: value for name, value in zip(CELEBAMASK_HQ, noise.tolist()) if value} == {"hair": 0.25, "cloth": 0.5}
    with pytest.raises(ValueError, match="hats"):
        script["strengths"]("hats=1")
