"""Regions: means, painting, edges, one-hot, each against the loop that says what is meant."""
import pytest
import torch

from models.regions import Regions, edges, one_hot, sums


def random_maps(n=3, h=9, w=11, low=0, high=5, seed=0):
    return torch.randint(low, high, (n, 1, h, w), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_pool_is_the_mean_of_each_region_of_each_picture(dtype):
    maps, features = random_maps().to(dtype), torch.randn(3, 2, 9, 11)
    got = Regions.of(maps).pool(features)
    assert got.shape == features.shape and got.dtype == features.dtype
    for n in range(3):
        for value in maps[n].unique():
            inside = maps[n, 0] == value
            for c in range(2):
                expected = features[n, c][inside].double().mean().float()
                torch.testing.assert_close(got[n, c][inside], expected.expand(int(inside.sum())))


def test_pictures_of_a_batch_do_not_mix_equal_ids():
    maps = torch.ones(2, 1, 4, 4, dtype=torch.int32)
    features = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    assert torch.equal(Regions.of(maps).pool(features), features)


def test_regions_know_their_ids_pictures_sizes_and_without_labels_their_classes():
    maps = torch.tensor([[[[0, 7], [7, 7]]], [[[999, 1000], [26001, 26001]]]], dtype=torch.int32)
    regions = Regions.of(maps)
    classes, _ = regions.classes(None)
    table = sorted(zip(regions.picture.tolist(), regions.ids.tolist(), regions.size.tolist(), classes.tolist()))
    assert table == [(0, 0, 1, 0), (0, 7, 3, 7), (1, 999, 1, 999), (1, 1000, 1, 1), (1, 26001, 2, 26)]


@pytest.mark.parametrize("top", [5, 2000])
def test_a_regions_class_is_that_of_most_of_its_pixels(top):
    maps, labels = random_maps(high=30), random_maps(high=top, seed=1)
    regions = Regions.of(maps)
    for r, (label, share) in enumerate(zip(*regions.classes(labels))):
        under = labels[:, 0][regions.index == r]
        counts = torch.bincount(under)
        assert label == counts.argmax() and share == pytest.approx(float(counts.max()) / len(under))


def test_label_ids_are_classes_however_large():
    labels = torch.tensor([[[[0, 999], [26001, 1000]]]], dtype=torch.int32)
    classes, share = Regions.of(labels).classes(labels)
    assert classes.tolist() == [0, 999, 1000, 26001] and share.tolist() == [1] * 4


def test_gradient_reaches_every_pixel_equally():
    features = torch.zeros(1, 1, 2, 2, requires_grad=True)
    maps = torch.tensor([[[[0, 1], [1, 1]]]])
    (Regions.of(maps).mean(features)[1] * 3).sum().backward()
    assert torch.allclose(features.grad, torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]]))


def test_gradients_of_means_and_of_painting_are_right():
    maps = random_maps(n=2, h=4, w=5, high=3)
    regions = Regions.of(maps)
    features = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(len(regions), 2, dtype=torch.float64, requires_grad=True)
    for function, inputs in ((regions.mean, features), (lambda v: regions.paint(v, torch.float64), vectors)):
        assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("regions", [1, 183, 400])
def test_sums_are_exact_to_float32_where_there_is_no_float64(regions):
    """MPS has none; a region may be a whole picture of two million pixels."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(regions, (1, 1024, 2048), generator=generator)
    for values in (torch.full((1, 1, 1024, 2048), 0.1), torch.rand(1, 1, 1024, 2048, generator=generator)):
        exact = sums(values, index, regions, torch.float64)
        torch.testing.assert_close(sums(values, index, regions, torch.float32).double(), exact, rtol=1e-6, atol=0)
        plain = torch.zeros(regions, dtype=torch.float64).index_add_(0, index.flatten(), values.flatten().double())
        torch.testing.assert_close(exact[:, 0], plain, rtol=1e-12, atol=0)


def test_painting_holds_no_more_than_what_it_paints():
    regions = Regions.of(random_maps())
    vectors = torch.randn(len(regions), 4, dtype=torch.float64, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda x: x):
        regions.paint(vectors)
    assert sum(t.numel() for t in saved) <= regions.index.numel()


def test_large_regions_keep_their_precision():
    features = torch.full((1, 1, 1024, 1024), 0.1)
    assert Regions.of(torch.zeros(1, 1, 1024, 1024, dtype=torch.uint8)).mean(features).item() == \
        pytest.approx(torch.tensor(0.1).double().item(), abs=1e-12)


def test_painting_undoes_nothing_but_place():
    maps = random_maps(high=3)
    regions = Regions.of(maps)
    vectors = torch.arange(len(regions) * 2, dtype=torch.float64).view(-1, 2)
    painted = regions.paint(vectors)
    assert painted.shape == (3, 2, 9, 11) and painted.dtype == torch.float32
    assert torch.equal(regions.mean(painted), vectors)


def test_edges_are_where_a_neighbour_differs():
    maps = random_maps(high=2)
    got = edges(maps)
    assert got.dtype == torch.float32 and got.shape == maps.shape
    for n in range(3):
        m = maps[n, 0]
        for y in range(9):
            for x in range(11):
                around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                differs = any(0 <= j < 9 and 0 <= i < 11 and m[j, i] != m[y, x] for j, i in around)
                assert bool(got[n, 0, y, x]) == differs
    assert edges(torch.full((1, 1, 5, 5), 3)).sum() == 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_one_hot_has_a_one_at_the_id(dtype):
    maps = random_maps().to(dtype)
    got = one_hot(maps, 5)
    assert got.shape == (3, 5, 9, 11) and got.dtype == torch.float32
    assert torch.equal(got.argmax(1, keepdim=True), maps.long()) and torch.equal(got.sum(1), torch.ones(3, 9, 11))
