"""Distances between sets of pictures, and those that need a network, against their definitions; no weights are needed."""
import itertools
import urllib.error

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from tests.conftest import ROOT
from util.errors import UserError
from util.metrics import inception, lpips, swd
from util.metrics.base import NotComputed
from util.metrics.diversity import Diversity
from util.metrics.inception import InceptionMetrics, frechet_distance, kernel_distance
from util.metrics.lpips import LpipsMetric
from util.metrics.swd import SlicedWasserstein

RNG = np.random.default_rng(0)


def pictures(count, side=16, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


# sliced Wasserstein distance

def plain_swd(a, b, seed):
    """Karras et al. 2018, patch by patch and direction by direction."""
    sets = []
    for patches in (a, b):
        colours = np.array(patches, np.float64).reshape(len(patches), 49, 3)
        for c in range(3):
            colours[:, :, c] = (colours[:, :, c] - colours[:, :, c].mean()) / colours[:, :, c].std()
        sets.append(colours.reshape(len(patches), 147))
    random, distances = np.random.default_rng(seed), []
    for direction in np.concatenate([random.standard_normal((128, 147)) for _ in range(4)]):
        direction = direction / np.sqrt((direction ** 2).sum())
        distances.append(stats.wasserstein_distance(sets[0] @ direction, sets[1] @ direction))
    return np.mean(distances)


def test_swd_of_16_px_pictures_by_hand():
    drawn, true = pictures(3), [cv2.GaussianBlur(one, (0, 0), 1) for one in pictures(3, seed=1)]
    metric = SlicedWasserstein(seed=5)
    for i in range(3):
        metric.add(f"p{i}", drawn[i], true[i])
    patches = {}
    for which, source in (("drawn", drawn), ("true", true), ("again", true)):
        patches[which] = [source[i][y:y + 7, x:x + 7] for i in range(3)
                          for y, x, _ in zip(*swd.patch_corners(5, f"p{i}", which, 0, (16, 16)))]
    summary = metric.summary()
    assert summary["by_level"].keys() == {"16"} and summary["by_level"]["16"]["patches"] == 3 * 128
    assert summary["swd"] == pytest.approx(1000 * plain_swd(patches["drawn"], patches["true"], (5, 0)), rel=1e-4)
    assert summary["floor"] == pytest.approx(1000 * plain_swd(patches["true"], patches["again"], (5, 0)), rel=1e-4)
    rows, columns, _ = swd.patch_corners(5, "p0", "drawn", 0, (16, 16))
    assert rows.min() == columns.min() == 0 and rows.max() == columns.max() == 9, "every place of a patch"


@pytest.mark.parametrize("size", [(64, 64), (36, 72)])
def test_pyramid_is_that_of_burt_and_adelson(size):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[:, :, None] / 256
    levels, x = [], image.astype(float)
    while (min(x.shape[:2]) + 1) // 2 >= 16:
        half = ndimage.convolve(x, kernel, mode="mirror")[::2, ::2]
        double = np.zeros_like(x)
        double[::2, ::2] = half
        levels.append(x - ndimage.convolve(double, 4 * kernel, mode="mirror"))
        x = half
    found = swd.laplacian_pyramid(image)
    assert [level.shape for level in found] == [level.shape for level in (*levels, x)]
    for level, wanted in zip(found, (*levels, x)):
        np.testing.assert_allclose(level, wanted, atol=1e-3)


@pytest.fixture(scope="module")
def faces():
    paths = sorted((ROOT / "datasets/sample_faces/test_img").iterdir())[:12]
    return [np.asarray(Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BOX)) for path in paths]


def noisy(face, deviation):
    return np.clip(face + np.random.default_rng(1).normal(0, deviation, face.shape), 0, 255).astype(np.uint8)


def mosaic(face, side):
    return np.asarray(Image.fromarray(face).resize((64 // side,) * 2, Image.Resampling.BOX).resize((64, 64), 0))


@pytest.mark.parametrize("spoil, amounts", [(lambda face, s: cv2.GaussianBlur(face, (0, 0), s), (0.7, 1.5, 3)),
                                            (noisy, (5, 15, 40)), (mosaic, (2, 4, 8))])
def test_swd_grows_with_blur_noise_and_mosaic(faces, spoil, amounts):
    found = []
    for amount in (None, *amounts):
        metric = SlicedWasserstein()
        for i, face in enumerate(faces):
            metric.add(i, face if amount is None else spoil(face, amount), face)
        found.append(metric.summary())
    assert [one["swd"] for one in found] == sorted(one["swd"] for one in found)
    assert found[0]["swd"] == pytest.approx(found[0]["floor"], rel=0.15), "a perfect drawing gets no more than the floor"
    assert list(found[0]["by_level"]) == ["64", "32", "16"]


def test_swd_keeps_a_bounded_choice_of_patches_that_no_order_changes():
    sets = {name: SlicedWasserstein(most=300) for name in ("forth", "back", "all")}
    images = dict(enumerate(pictures(200)))
    for name, order in (("forth", images), ("back", reversed(images))):
        for i in order:
            sets[name].add(i, images[i], images[i])
            assert sets[name]._samples["drawn"][0]._count <= 300 + swd._SLACK
    sets["all"] = SlicedWasserstein(most=200 * 128)
    for i in images:
        sets["all"].add(i, images[i], images[i])
    assert sets["forth"].summary() == sets["back"].summary()
    few, many = (sets[name]._samples["drawn"][0].kept(300) for name in ("forth", "all"))
    np.testing.assert_array_equal(few[1], many[1])
    assert sets["forth"].summary()["by_level"]["16"]["patches"] == 300


def test_sets_of_other_numbers_and_sizes():
    metric = SlicedWasserstein()
    for i, image in enumerate(pictures(4, 40)):
        metric.add(i, image)
    assert metric.summary()["swd"] is None, "nothing to compare with"
    for i, image in enumerate(pictures(2, 40, seed=3)):
        metric.add(f"other {i}", None, image[:36 + 4 * i])
    summary = metric.summary()
    assert (summary["pictures"], summary["true_pictures"]) == (4, 2) and summary["by_level"]["18-20"]["patches"] == 256
    other = SlicedWasserstein()
    other.add("a", pictures(1, 16)[0])
    other.add("b", None, pictures(1, 32)[0])
    with pytest.raises(UserError, match="16 pixels a side and the true ones 32"):
        other.summary()
    with pytest.raises(UserError, match="x.png: is 15x15"):
        metric.add("x.png", pictures(1, 15)[0])


# FID and KID

@pytest.fixture
def fidelity():
    pytest.importorskip("torch_fidelity")


def with_moments(count, mean, covariance):
    """(count, D) float32 whose sample mean and covariance are these, exactly."""
    x = np.random.default_rng(0).standard_normal((count, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return torch.from_numpy(x @ np.linalg.cholesky(covariance).T + mean).float()


def test_fid_of_two_gaussians(fidelity):
    turn = stats.ortho_group.rvs(5, random_state=0)
    a, b = np.array([1, 2, 3, 4, 5.0]), np.array([2, 2, 1, 7, 0.5])  # deviations along the same axes
    drawn = with_moments(300, np.zeros(5), turn @ np.diag(a ** 2) @ turn.T)
    true = with_moments(200, np.arange(5.0), turn @ np.diag(b ** 2) @ turn.T)
    assert frechet_distance(drawn, true) == pytest.approx((np.arange(5) ** 2).sum() + ((a - b) ** 2).sum(), abs=1e-3)
    assert frechet_distance(true, true) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(true + 3, true) == pytest.approx(5 * 9, abs=1e-4)


def test_kid_by_its_definition(fidelity):
    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3
    drawn, true = RNG.normal(0, 1, (40, 6)).astype(np.float32), RNG.normal(0.3, 1, (50, 6)).astype(np.float32)
    found = kernel_distance(torch.from_numpy(drawn), torch.from_numpy(true), seed=4)
    random, values = np.random.RandomState(4), []
    for _ in range(100):
        x, y = drawn[random.choice(40, 20, replace=False)], true[random.choice(50, 20, replace=False)]
        xx, yy = ((kernel(z, z).sum() - np.trace(kernel(z, z))) / (20 * 19) for z in (x, y))
        values.append(xx + yy - 2 * kernel(x, y).mean())
    assert found["kid"] == pytest.approx(np.mean(values), abs=1e-5) and found["subset"] == 20
    assert found["kid_std"] == pytest.approx(np.std(values), abs=1e-5)
    reach = 1.96 * np.std(values)  # of half of the pictures, whose deviation is that of the mean of all
    assert found["kid_interval"] == pytest.approx([np.mean(values) - reach, np.mean(values) + reach], abs=1e-4)
    same = torch.ones(10, 6)
    assert kernel_distance(same, same)["kid"] == pytest.approx(0) == kernel_distance(same, same)["kid_std"]
    assert kernel_distance(2 * same, same)["kid"] == pytest.approx(5 ** 3 + 2 ** 3 - 2 * 3 ** 3)


def test_kid_of_many_pictures_is_the_librarys_own(fidelity, monkeypatch):
    from torch_fidelity.metric_kid import kid_features_to_metric
    monkeypatch.setattr(inception, "SUBSETS", 4)
    drawn, true = torch.randn(2000, 4), torch.randn(2100, 4) + 0.5
    wanted = kid_features_to_metric(drawn, true, verbose=False, rng_seed=0, kid_subsets=4)
    assert kernel_distance(drawn, true)["kid"] == pytest.approx(wanted["kernel_inception_distance_mean"], abs=1e-6)


def test_the_interval_of_kid_holds_the_truth_as_often_as_it_says(fidelity):
    random = torch.Generator().manual_seed(0)
    far = [torch.randn(4000, 2, generator=random) + shift for shift in (0, 1)]
    x, y, z = ((a @ b.T / 2 + 1).pow(3).mean().item() for a, b in ((far[0], far[0]), (far[1], far[1]), far))
    hits = 0
    for _ in range(60):
        drawn, true = torch.randn(2, 60, 2, generator=random)
        low, high = kernel_distance(drawn, true + 1)["kid_interval"]
        hits += low <= x + y - 2 * z <= high
    assert hits >= 51, "95 % of 60 are 57"


def colour(batch):
    """A stand-in for Inception: the mean colour, which scaling leaves alone."""
    assert batch.shape[1:] == (3, 299, 299) and batch.dtype == torch.float32
    return batch.mean((2, 3))


def test_fid_of_pictures_goes_by_their_features(fidelity):
    colours = RNG.integers(0, 200, (9, 3))
    metric = InceptionMetrics(colour)
    for i, one in enumerate(colours):
        true = np.full((20 + i, 30, 3), one, np.uint8)
        metric.add(i, true + np.uint8([10, 20, 40]), true)
    summary = metric.summary()
    assert summary["fid"] == pytest.approx(100 + 400 + 1600, abs=0.1)
    assert "FID from 9 pictures" in summary["notes"][0] and "too high" in summary["notes"][0]
    np.testing.assert_allclose(metric.features("true"), colours, atol=1e-3)
    one = InceptionMetrics(colour, only=["kid"])
    one.add_batch(["a", "b"], list(np.zeros((2, 8, 8, 3), np.uint8)))
    one.add("c", None, np.zeros((8, 8, 3), np.uint8))
    assert one.summary() == {"pictures": 2, "true_pictures": 1, "kid": None, "weights": "", "notes": []}


def test_pictures_are_scaled_as_pillow_scales_each_colour():
    image = pictures(1, 64)[0]
    wanted = np.stack([np.asarray(Image.fromarray(image[:, :, c].astype(np.float32), "F").resize((299, 299), Image.BICUBIC))
                       for c in range(3)], axis=2)
    np.testing.assert_array_equal(inception.resized(image), np.clip(wanted, 0, 255))
    step = np.zeros((600, 598, 3), np.uint8)
    step[:, 299:] = 255
    small = inception.resized(step)
    assert 0 < small[150, 149, 0] < 255 or 0 < small[150, 148, 0] < 128, "halved with antialiasing"
    assert small.min() >= 0 and small.max() <= 255


@pytest.fixture(scope="module")
def random_inception():
    """torch-fidelity's network with random weights."""
    library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.setattr(library, "load_state_dict_from_url", lambda *args, **more: {})
        patch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        return library.FeatureExtractorInceptionV3("x", ["2048"])


def test_inception_is_the_librarys_to_its_last_digits(random_inception, tmp_path):
    torch.save(random_inception.state_dict(), tmp_path / "inception.pth")
    before = torch.get_rng_state()
    network, name = inception.load_inception(str(tmp_path / "inception.pth"))
    assert torch.equal(before, torch.get_rng_state()), "a training that validates goes on as without"
    batch = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8)
    with torch.no_grad():
        wanted, = random_inception(batch)
        found = network(batch.float())
    assert name == "inception.pth" and found.shape == (2, 2048) and not network.training
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_weights_that_are_none_are_refused(fidelity, tmp_path):
    (tmp_path / "text.pth").write_text("not found")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    part = {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 3), "fc.weight": torch.zeros(1008, 2048)}
    torch.save(part, tmp_path / "part.pth")
    for load in (inception.load_inception, lpips.load_lpips):
        for file, said in (("text.pth", "text.pth: is broken"), ("gone.pth", "weights .*gone.pth: there is no such file"),
                           ("other.pth", "other.pth: does not hold .*--(inception|lpips)_weights")):
            with pytest.raises(UserError, match=said):
                load(str(tmp_path / file))
    with pytest.raises(UserError, match="part.pth: does not fit"):
        inception.load_inception(str(tmp_path / "part.pth"))


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    def refuse(*args, **more):
        raise urllib.error.URLError("no route")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    lpips._load.cache_clear()
    yield tmp_path
    lpips._load.cache_clear()


@pytest.mark.parametrize("load, package, flag, file", [
    (inception.load_inception, "torch_fidelity", "--inception_weights", "weights-inception-2015-12-05-6726825d.pth"),
    (lpips.load_lpips, "lpips", "--lpips_weights", "alexnet-owt-7be5be79.pth")])
def test_what_cannot_be_had_is_said_with_what_to_fetch(load, package, flag, file, no_network, monkeypatch):
    pytest.importorskip(package)
    with pytest.raises(NotComputed, match=f"no route.*fetch https://.*{file} and give it with {flag} FILE"):
        load()
    lpips._load.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.delitem(__import__("sys").modules, f"{package}.feature_extractor_inceptionv3", raising=False)
    with pytest.raises(NotComputed, match=f"{package.replace('_', '-')} is missing.*requirements-eval.txt"):
        load()


# LPIPS

@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("lpips")


@pytest.fixture
def random_lpips(library, tmp_path, no_network):
    """LPIPS with random weights in AlexNet, from a file."""
    import torchvision
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = torchvision.models.alexnet().features.state_dict()
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save({f"features.{key}": value for key, value in state.items()}, folder / "alexnet-owt-7be5be79.pth")
    before = torch.get_rng_state()
    network, name = lpips.load_lpips()
    assert torch.equal(before, torch.get_rng_state()) and name == "alexnet-owt-7be5be79.pth"
    assert torch.equal(network.net.state_dict()["slice2.3.weight"], state["3.weight"])
    return network


def test_lpips_by_its_definition(random_lpips):
    a, b = pictures(2, 48)
    scale = np.array([[-.030, -.088, -.188], [.458, .448, .450]], np.float32)
    features = [random_lpips.net(torch.from_numpy(((p / 127.5 - 1 - scale[0]) / scale[1]).transpose(2, 0, 1)[None]).float())
                for p in (a, b)]
    wanted = 0
    for layer, linear in zip(zip(*features), random_lpips.lins):
        x, y = (one / one.pow(2).sum(1, keepdim=True).sqrt() for one in layer)
        wanted += (linear.model[-1].weight * (x - y) ** 2).sum(1).mean().item()
    metric = LpipsMetric(random_lpips)
    assert metric.add("p", a, b)["lpips"] == pytest.approx(wanted, rel=1e-4)
    assert metric.add("same", a, a)["lpips"] == 0
    assert metric.summary()["lpips"] == pytest.approx(wanted / 2, rel=1e-4) and metric.summary()["pictures"] == 2
    with pytest.raises(UserError, match="small: is 31x48"):
        metric.add("small", a[:, :31], b[:, :31])


def test_lpips_of_known_features(random_lpips, monkeypatch):
    def one_hot(batch):
        """In each layer the first feature for dark pictures, the second for bright ones."""
        bright = (batch.mean((1, 2, 3)) > 0).long()
        return [torch.nn.functional.one_hot(bright, n)[:, :, None, None] * 3.0 for n in (64, 192, 384, 256, 256)]
    monkeypatch.setattr(random_lpips.net, "forward", one_hot)
    dark, bright = np.zeros((2, 32, 32, 3), np.uint8) + np.uint8([[[[10]]], [[[240]]]])
    weights = [layer.model[-1].weight[0, :2].sum().item() for layer in random_lpips.lins]
    assert LpipsMetric(random_lpips).add("p", dark, bright)["lpips"] == pytest.approx(sum(weights), rel=1e-5)


def test_diversity_says_what_it_measures(random_lpips):
    looks = pictures(3, 48)
    metric = Diversity(random_lpips, "alexnet")
    pairs = [LpipsMetric(random_lpips).add("", a, b)["lpips"] for a, b in itertools.combinations(looks, 2)]
    assert metric.add("p", None, looks=looks)["diversity"] == pytest.approx(np.mean(pairs), rel=1e-4)
    assert metric.summary()["measure"] == "LPIPS" and metric.summary()["notes"] == []
    plain = Diversity(reason="no weights")
    assert plain.add("p", None, looks=[looks[0]] * 3)["diversity"] == pytest.approx(0)
    assert plain.summary() == {"pictures": 1, "diversity": pytest.approx(0), "measure": "1 - SSIM", "weights": "",
                               "notes": ["no weights"]}
    with pytest.raises(UserError, match="measure"):
        plain.extend(metric)
