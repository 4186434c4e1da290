"""Persons: the Gaussian over the styles of all classes, what it draws, and how it is asked for."""
import json
import re
import shutil

import numpy as np
import pytest
import torch

from benchmarks.styles import differences
from data.data_loader import CreateDataLoader
from models.predictor import Predictor
from models.styles.book import StyleBook
from models.styles.clusters import FeatureTable
from models.styles.factor_analysis import Factors, Rows, fit
from models.styles.persons import Persons
from models.styles.styles import RANDOM, Choice, Donor, Encoded, Styles
from tests.conftest import CLASSES, LOSSES, NETWORK, SIZES, call, label_map, options, succeed
from util.errors import UserError
from util.util import tensor2im


def truth(classes=5, d=3, rank=2, seed=0) -> Factors:
    """Factors to draw data from: classes of different means and variances."""
    random = np.random.default_rng(seed)
    scale = 0.5 + np.arange(classes)[:, None, None] / 2
    root = random.normal(size=(classes, d, d)) * 0.4
    return Factors(random.normal(size=(classes, d)) * 3, scale * random.normal(size=(classes, d, rank)),
                   scale ** 2 * (root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(d)))


def covariance(factors) -> np.ndarray:
    """(C d, C d) of all numbers of a photo."""
    loadings = factors.loadings.reshape(-1, factors.rank)
    whole = loadings @ loadings.T
    d = factors.mean.shape[1]
    for c, residual in enumerate(factors.residual):
        whole[c * d:(c + 1) * d, c * d:(c + 1) * d] += residual
    return whole


def photos(factors, count, random) -> np.ndarray:
    """(count, C, d)."""
    classes, d = factors.mean.shape
    return random.multivariate_normal(factors.mean.ravel(), covariance(factors), count).reshape(count, classes, d)


def table_of(values, shown=None) -> FeatureTable:
    """(n, C, d) styles of photos as a table of regions; shown: (n, C), which classes each photo has."""
    count, classes, d = values.shape
    shown = np.ones((count, classes), bool) if shown is None else shown
    table = FeatureTable(range(classes), d + 1)
    for i in range(count):
        table.add([f"p{i}"], [{c: np.r_[values[i, c], 1.0][None] for c in range(classes) if shown[i, c]}])
    return table


def persons_of(factors, low=-1e9, high=1e9) -> Persons:
    classes, d = factors.mean.shape
    return Persons(100, tuple(range(classes)), factors, np.full((classes, d), low), np.full((classes, d), high))


def close(found, wanted, error):
    """Whether covariances agree, in units of the deviations."""
    deviation = np.sqrt(np.diag(wanted))
    return np.abs((found - wanted) / deviation / deviation[:, None]).max() < error


# the Gaussian

@pytest.mark.parametrize("rank", [2, None])
def test_mean_and_covariance_are_recovered_with_classes_missing(rank):
    random, count = np.random.default_rng(1), 2000
    wanted = truth()
    values = photos(wanted, count, random)
    shown = random.random((count, 5)) > 0.3
    shown[:, 1] &= (values[:, 0, 0] < wanted.mean[0, 0]) | (random.random(count) < 0.2)  # such as ears, which long hair hides
    shown[:, 0] = True
    rows = Rows([values[shown[:, c], c] for c in range(5)], [np.flatnonzero(shown[:, c]) for c in range(5)], count)
    found = fit(rows, rank=rank)
    deviation = np.sqrt(np.diag(covariance(wanted))).reshape(5, 3)
    assert np.abs((found.mean - wanted.mean) / deviation).max() < 0.1
    assert close(covariance(found), covariance(wanted), 0.12)
    seen = np.abs((np.array([v.mean(0) for v in rows.values]) - wanted.mean) / deviation).max()
    assert seen > 0.2, "so the means of those that are seen would not do"


def test_instances_of_one_photo_share_what_instances_share():
    """Two regions a photo, 0.8 of whose variance is the photo's."""
    random, table = np.random.default_rng(0), FeatureTable([0, 1], 3)
    for i in range(500):
        photo = random.normal(size=2) * 0.8 ** 0.5
        regions = photo + random.normal(size=(2, 2)) * 0.2 ** 0.5
        table.add([f"p{i}"], [{0: np.c_[regions, [1, 1]], 1: np.r_[-photo, 1.0][None]}])
    persons = Persons.find(table, 0)
    drawn = np.array([persons.unclipped([0, 0, 1], (k,)) for k in range(1500)])
    a, b, c = (drawn[:, i, 0] for i in range(3))
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.8, abs=0.08) and np.corrcoef(a, c)[0, 1] == pytest.approx(-0.9, abs=0.06)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_few_photos_of_many_classes_and_numbers_draw_within_what_was_seen(count):
    random = np.random.default_rng(count)
    values, shown = np.tanh(random.normal(size=(count, 40, 16))), random.random((count, 40)) < 0.2
    shown[:, 3] = False
    table = table_of(values, shown)
    persons = Persons.find(table, 0)
    for k in range(20):
        drawn = persons.draw(list(range(42)), (k,), [(5, np.full(16, 0.9)), (3, np.ones(16)), (70, np.ones(16))])
        assert np.isfinite(drawn).all() and not drawn[[3, 40, 41]].any(), "never seen"
        for label in persons.labels:
            rows = table.rows(label)[:, :-1]
            assert (drawn[label] >= rows.min(0) - 1e-6).all() and (drawn[label] <= rows.max(0) + 1e-6).all()


def test_small_regions_count_as_missing_unless_all_are_small():
    table = FeatureTable(range(2), 2)
    for i in range(50):
        table.add([f"p{i}"], [{0: np.array([[100.0, 0.01] if i % 5 == 0 else [i / 50, 1.0]]), 1: np.array([[i, 0.01]])}])
    persons = Persons.find(table, 0)
    assert persons.factors.mean[0, 0] < 1 and persons.high[0, 0] <= 1
    assert persons.factors.mean[1, 0] == pytest.approx(24.5, abs=3)


# drawing

def test_draws_have_the_moments_of_the_gaussian():
    factors = truth()
    drawn = np.array([persons_of(factors).draw(list(range(5)), (k, 1)).ravel() for k in range(4000)])
    assert close(np.cov(drawn.T), covariance(factors), 0.1)
    assert np.abs((drawn.mean(0) - factors.mean.ravel()) / drawn.std(0)).max() < 0.07


def test_conditional_draws_equal_the_closed_form():
    factors = truth(seed=3)
    whole, mean, known = covariance(factors), factors.mean.ravel(), [0, 1, 2, 9, 10, 11]
    rest = [i for i in range(15) if i not in known]
    vectors = factors.mean[[0, 3]] + np.array([[1.0, -1, 0.5], [0.3, 2, 1]])
    gain = whole[np.ix_(rest, known)] @ np.linalg.inv(whole[np.ix_(known, known)])
    wanted = mean[rest] + gain @ (vectors.ravel() - mean[known])
    left = whole[np.ix_(rest, rest)] - gain @ whole[np.ix_(known, rest)]
    fixed = list(zip([0, 3], vectors))
    drawn = np.array([persons_of(factors).draw([1, 2, 4], (k,), fixed).ravel() for k in range(4000)])
    assert np.abs((drawn.mean(0) - wanted) / np.sqrt(np.diag(left))).max() < 0.07 and close(np.cov(drawn.T), left, 0.1)


def test_what_a_person_would_have_anyway_changes_nothing_and_a_little_changes_little():
    persons, classes = persons_of(truth()), [0, 1, 2, 3, 4]
    free = persons.draw(classes, (7,))
    fixed = persons.draw(classes[1:], (7,), [(0, free[0])])
    np.testing.assert_allclose(fixed, free[1:], atol=1e-9)
    near, far = (np.abs(persons.draw(classes[1:], (7,), [(0, free[0] + by)]) - free[1:]).max() for by in (0.01, 1))
    assert 0 < near < 0.1 < far


def test_a_class_is_drawn_alike_whichever_others_there_are():
    persons = persons_of(truth())
    every = persons.draw([0, 1, 2, 3, 4], (7,))
    assert np.array_equal(persons.draw([3, 1], (7,)), every[[3, 1]])
    twice = persons.draw([3, 3, 1], (7,))
    assert np.array_equal(twice[0], every[3]) and not np.array_equal(twice[1], twice[0])


def test_each_seed_picture_look_and_person_is_another_and_a_persons_number_says_all():
    styles, classes = Styles(3, {}, persons=persons_of(truth())), list(range(5))
    drawn = [styles.sample(Choice("person", seed=seed), classes, index, look).tobytes()
             for seed in range(2) for index in range(3) for look in range(3)]
    numbered = [styles.sample(Choice("person", person=n), classes).tobytes() for n in range(4)]
    assert len({*drawn, *numbered}) == len(drawn) + len(numbered)
    assert styles.sample(Choice("person", person=1, seed=9), classes, 5, 2).tobytes() == numbered[3], "looks are the next ones"


def test_classes_drawn_apart_have_their_variance_and_nothing_in_common():
    factors = truth()
    styles = Styles(3, {}, persons=persons_of(factors))
    drawn = np.array([styles.sample(Choice("class", seed=k), [0, 4, 4]).ravel() for k in range(2000)])
    whole = covariance(factors)
    parts = [slice(0, 3), slice(12, 15), slice(12, 15)]
    wanted = np.zeros((9, 9))
    for i, part in enumerate(parts):
        wanted[3 * i:3 * i + 3, 3 * i:3 * i + 3] = whole[part, part]
    assert close(np.cov(drawn.T), wanted, 0.15)


def test_clusters_are_drawn_as_often_as_they_occur():
    styles = Styles(1, {0: np.array([[0.0], [1.0], [2.0]])}, shares={0: np.array([0.7, 0.3, 0.0])})
    drawn = np.array([styles.sample(Choice(seed=k), [0])[0, 0] for k in range(500)])
    assert np.mean(drawn == 0) == pytest.approx(0.7, abs=0.07) and not (drawn == 2).any()


# which regions are drawn, and what they fit

def test_what_is_drawn_fits_what_is_not():
    styles = Styles(3, {}, persons=persons_of(truth()))
    classes, vector = [0, 1, 2], np.full(3, 9.0)
    own = Encoded(photos(truth(), 1, np.random.default_rng(5))[0, :3])
    donor = Donor("d", [1, 4], Encoded(np.array([[1.0, 2, 3], [4, 5, 6]])))
    draw = styles.persons.draw

    def pick(fixed, **more):
        sources = {name: more.pop(name) for name in ("own", "donor") if name in more}
        if "own" in sources:
            more["own"] = True
        return styles.pick(classes, Choice("person", fixed=fixed, **more), 4, **sources)

    key = (0, 4, 0, 3)
    free, fitted = pick({0: vector}), pick({0: vector}, fit=True)
    assert np.array_equal(free, [vector, *draw([1, 2], key)])
    assert np.array_equal(fitted, [vector, *draw([1, 2], key, [(0, vector)])])
    assert np.array_equal(pick({4: vector}, fit=True), draw(classes, key, [(4, vector)])), "of a class that the map lacks, too"
    assert np.array_equal(pick({1: RANDOM}, own=own, fit=True)[1], draw([1], key, [(0, own.mu[0]), (2, own.mu[2])])[0])
    of_photo = pick({}, donor=donor, fit=True)
    assert np.array_equal(of_photo[[0, 2]], draw([0, 2], key, list(zip(donor.classes, donor.encoded.mu))))
    assert np.array_equal(of_photo[1], donor.encoded.mu[0])
    only = pick({}, donor=donor, taken=frozenset([1]), fit=True)
    assert np.array_equal(only[0], draw([0], key, [(1, donor.encoded.mu[0])])[0])


# styles.json

def book_of_persons():
    return StyleBook.find(table_of(photos(truth(), 30, np.random.default_rng(0)), None), "c.npy", 3, 0, str)


def test_persons_are_read_as_they_were_written(tmp_path):
    book = book_of_persons()
    book.write(tmp_path / "styles.json")
    again = StyleBook.read(tmp_path / "styles.json")
    assert np.array_equal(again.persons.draw([0, 1, 2], (1,)), book.persons.draw([0, 1, 2], (1,)))
    again.write(tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == (tmp_path / "styles.json").read_bytes()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("book") / "styles.json"
    book_of_persons().write(path)
    return json.loads(path.read_text())


@pytest.mark.parametrize("spoil", [
    lambda raw: raw.update(persons=7), lambda raw: raw["persons"].pop("factors"), lambda raw: raw["persons"].update(factors=99),
    lambda raw: raw["persons"].update(factors=-1), lambda raw: raw["persons"].update(photos="many"),
    lambda raw: raw["classes"]["1"].update(person=[]), lambda raw: raw["classes"]["1"]["person"].pop("mean"),
    lambda raw: raw["classes"]["1"]["person"].update(low=[1, 2]),
    lambda raw: raw["classes"]["1"]["person"].update(low=[9e9] * 3),
    lambda raw: raw["classes"]["1"]["person"]["mean"].__setitem__(0, None),
    lambda raw: raw["classes"]["1"]["person"]["residual"][0].__setitem__(0, -1.0),
    lambda raw: raw["classes"]["1"]["person"]["residual"][0].__setitem__(1, 5.0),
    lambda raw: raw["classes"]["1"].update(id=2)])
def test_spoilt_persons_are_told_in_one_line(written, tmp_path, spoil):
    raw = json.loads(json.dumps(written))
    spoil(raw)
    (tmp_path / "styles.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match="styles.json: .*make it again with encode_features.py") as told:
        StyleBook.read(tmp_path / "styles.json")
    assert "\n" not in str(told.value)


def test_a_class_can_be_taken_out_by_hand(written, tmp_path):
    raw = json.loads(json.dumps(written))
    del raw["classes"]["1"]["person"]
    (tmp_path / "styles.json").write_text(json.dumps(raw))
    persons = StyleBook.read(tmp_path / "styles.json").persons
    assert persons.labels == (0, 2, 3, 4) and not persons.draw([1], (0,)).any()


# with a model

def drawer(checkpoints, root, *more):
    """(model, {picture: as drawn}) of test.py's flags, one or several at a time."""
    opt = options(["--name", "faces", "--checkpoints_dir", checkpoints, "--dataroot", root, "--gpu_ids", "-1", "--nThreads",
                   "0", *more], "test")
    predictor, shown = Predictor(opt), {}
    for batch in CreateDataLoader(opt).load_data():
        for key, images in predictor.draw(batch).items():
            shown.update({(name, key): image.numpy() for name, image in zip(batch["name"], images)})
    return predictor.model, shown


def equal(a, b, tolerance=0.0):
    return a.keys() == b.keys() and all(np.abs(a[key] - b[key]).max() <= tolerance for key in a)


def test_persons_are_the_default_where_nothing_else_was_asked(trained, root):
    model, bare = drawer(trained, root)
    assert model.drawing.choice.mode == "person" and any("whole persons" in note for note in model.notes)
    assert equal(bare, drawer(trained, root, "--sample", "person")[1])
    assert equal(bare, drawer(trained, root, "--batchSize", "3")[1], 1e-5), "whatever the batch"
    others = [drawer(trained, root, *flags) for flags in (["--sample", "clusters"], ["--sample", "class"], ["--seed", "1"],
                                                          ["--cluster_path", "features_clustered_010.npy"])]
    assert not any(equal(bare, shown) for _, shown in others) and others[-1][0].drawing.choice.mode == "clusters"


def test_a_person_is_one_on_every_map_and_in_python(trained, root):
    model, shown = drawer(trained, root, "--person", "3")
    predictor = Predictor.load(trained / "faces", gpu_ids="-1")
    label = label_map(np.random.default_rng(0))
    assert np.array_equal(np.asarray(predictor(label, person=3, seed=1)), np.asarray(predictor(label, person=3, seed=2)))
    assert not np.array_equal(np.asarray(predictor(label, person=3)), np.asarray(predictor(label, person=4)))
    batch = next(iter(CreateDataLoader(model.opt).load_data()))
    for drawn in (predictor.draw(batch, person=3), predictor.draw(batch, sample="person", person=np.int64(3), seed=8)):
        assert np.array_equal(drawn["synthesized_image"][0].numpy(), shown[batch["name"][0], "synthesized_image"])
    looks = drawer(trained, root, "--person", "2", "--n_samples", "2", "--how_many", "1")[1]
    assert np.array_equal(looks["p00", "synthesized_image_2"], shown["p00", "synthesized_image"])


def test_flags_and_arguments_fit_persons_alike(trained, root):
    _, shown = drawer(trained, root, "--style", "1=0", "--style_fit", "--how_many", "1")
    assert not equal(shown, drawer(trained, root, "--style", "1=0", "--how_many", "1")[1])
    predictor = Predictor.load(trained / "faces", gpu_ids="-1")
    batch = next(iter(CreateDataLoader(predictor.opt).load_data()))
    drawn = predictor.draw(batch, style={"1": 0}, style_fit=True)["synthesized_image"][0]
    assert torch.equal(drawn, torch.from_numpy(shown["p00", "synthesized_image"]))
    label, photo = (root / f"test_{role}" / "p00.png" for role in ("label", "img"))
    taken = {"1": predictor.encode(photo, label)["1"]}
    from_photo, plain = (np.asarray(predictor(label, style=taken, style_fit=fit)) for fit in (True, False))
    assert not np.array_equal(from_photo, plain)
    flags = ["--style_image", photo, "--style_label", label, "--style_regions", "1", "--how_many", "1", "--style_fit"]
    drawn = drawer(trained, root, *flags)[1]["p00", "synthesized_image"]
    assert np.abs(tensor2im(torch.from_numpy(drawn)).astype(int) - from_photo).max() <= 1


@pytest.mark.parametrize("flags, said", [
    (["--person", "-1"], "--person"), (["--person", "2", "--sample", "clusters"], "--person 2 and --sample clusters"),
    (["--person", "2", "--use_encoded_image"], "--person 2 and --use_encoded_image: .*=random"),
    (["--style_fit"], "--style_fit: there is nothing to fit; give --style"),
    (["--style_fit", "--style", "1=random"], "--style_fit: there is nothing to fit"),
    (["--style_fit", "--style", "1=0", "--sample", "class"], "--style_fit and --sample class"),
    (["--style_fit", "--style", "1=0", "--use_encoded_image"], "--style_fit and --use_encoded_image")])
def test_what_cannot_be_meant_is_refused(trained, root, tmp_path, flags, said):
    done = call("test", "--name", "faces", "--checkpoints_dir", trained, "--dataroot", root, "--gpu_ids", "-1", "--results_dir",
                tmp_path, *flags)
    line, = done.err.strip().splitlines()[-1:]
    assert done.status == 2 and re.search(said, line), done.err


@pytest.mark.parametrize("arguments, said", [
    ({"sample": "nosuch"}, "sample: is 'nosuch'"), ({"sample": "prior"}, "--use_vae"), ({"person": -1}, "--person -1"),
    ({"person": "2"}, "--person 2: give a whole"), ({"style_fit": True}, "nothing to fit"),
    ({"person": 2, "sample": "class"}, "--sample class")])
def test_what_cannot_be_meant_is_refused_in_python(trained, arguments, said):
    predictor = Predictor.load(trained / "faces", gpu_ids="-1")
    with pytest.raises(UserError, match=said):
        predictor(label_map(np.random.default_rng(0)), **arguments)
    with pytest.raises(UserError, match="each call"):
        Predictor.load(trained / "faces", gpu_ids="-1", person=2)


def test_files_without_persons_work_as_before(trained, root, tmp_path):
    folder = shutil.copytree(trained / "faces", tmp_path / "faces")
    raw = json.loads((folder / "styles.json").read_text())
    del raw["persons"]
    for entry in raw["classes"].values():
        del entry["person"]
    (folder / "styles.json").write_text(json.dumps(raw))
    assert drawer(tmp_path, root)[0].drawing.choice.mode == "clusters"
    for flags in (["--sample", "person"], ["--person", "0"], ["--sample", "class"], ["--style", "1=0", "--style_fit"],
                  ["--use_encoded_image", "--style", "1=random", "--sample", "person"]):
        done = call("test", "--name", "faces", "--checkpoints_dir", tmp_path, "--dataroot", root, "--gpu_ids", "-1",
                    "--results_dir", tmp_path / "r", *flags)
        assert done.status == 2 and re.search("--sample (person|class): .*run encode_features.py", done.err), done.err
    with pytest.raises(UserError, match="--sample person: "):
        Predictor.load(folder, gpu_ids="-1")(label_map(np.random.default_rng(0)), person=1)


def test_instances_numbers_and_a_vae_have_persons(root_inst, tmp_path):
    where = ["--name", "faces", "--checkpoints_dir", tmp_path, "--dataroot", root_inst, "--gpu_ids", "-1", "--nThreads", "0"]
    succeed(call("train", *where, *SIZES, *NETWORK, *LOSSES, "--instance_feat", "--use_vae", "--feat_num", "16", "--niter", "1",
                 "--niter_decay", "0", "--no_html", "--max_dataset_size", "2"))
    succeed(call("encode_features", *where))
    book = StyleBook.read(tmp_path / "faces" / "styles.json")
    assert book.persons.factors.mean.shape == (CLASSES, 16) and book.persons.photos == 5
    model, shown = drawer(tmp_path, root_inst)
    assert model.drawing.choice.mode == "person" and all(np.isfinite(image).all() for image in shown.values())
    html = (tmp_path / "faces" / "styles" / "index.html").read_text()
    assert all(f"person {n}<" in html for n in range(20)) and "--person 19" in html


# the benchmark

def test_the_difference_of_classes_is_that_of_their_mean_colours():
    label = np.repeat(np.arange(4), 4).reshape(4, 4)
    picture = np.repeat([10.0, 14, 30, 31], 4).reshape(4, 4, 1) * np.ones(3)
    found = differences([label, label[:2]], [picture, picture[:2]], ["skin", "nose", "l_eye", "r_eye"])
    assert found == {"nose": 4.0, "eyes": 1.0}
