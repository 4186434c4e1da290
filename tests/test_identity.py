"""People: the data set of identities, the network that knows them, and the figures that say how well."""
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_loader import CreateDataLoader
from data.face_alignment import ARCFACE, read_landmarks
from data.identity_table import read_identities
from datasets.make_sample_faces import main, make_people
from models.losses.angular_margin import AngularMargin, with_margin
from models.networks import build
from models.networks.identity import IdentityNet, describe, face_oval, identity_net
from models.weights import load
from tests.conftest import SIDE, SIZES, call, options, succeed
from util.errors import UserError
from util.metrics.verification import VerificationMetrics, best_threshold, roc, tar_at_far, verification_accuracy


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Five people, two portraits of each; the last person is of the test split."""
    folder = tmp_path_factory.mktemp("people")
    make_people(folder, identities=5, each=2, size=64, jobs=1)
    return folder


def opened(root, *flags, role="train", model="identity"):
    return CreateDataLoader(options(["--model", model, "--name", "x", "--dataroot", root, *SIZES, "--label_nc", "19", "--netI",
                                     "small", *flags], role)).dataset


# people who are drawn

def test_people_keep_bones_skin_and_hair_and_change_the_rest(people):
    tables = [(people / name).read_text().splitlines() for name in ("identities.csv", "landmarks.csv", "attributes.csv")]
    assert all(len(lines) == 11 for lines in tables) and tables[0][1:3] == ["00000_0,train,0", "00000_1,train,0"]
    assert {line.split(",")[2] for line in tables[0][1:] if ",test," in line} == {"4"}
    columns = [tables[2][0].split(",").index(f"{colour}_Hair") for colour in ("Black", "Blond", "Brown", "Gray")]
    for i in range(1, 11, 2):
        one, other = (tables[2][k].split(",") for k in (i, i + 1))
        shown = [[row[c] for c in columns] for row in (one, other)]
        assert shown[0] == shown[1] or "1" not in shown[0] or "1" not in shown[1], "where hair is seen, it has one colour"
    photos = [np.asarray(Image.open(people / "train_img" / f"00000_{i}.jpg")).astype(int) for i in range(2)]
    assert np.abs(photos[0] - photos[1]).mean() > 10


def test_what_the_faces_do_is_on_record(people):
    heads, *rows = (line.split(",") for line in (people / "expressions.csv").read_text().splitlines())
    assert len(rows) == 10 and heads[2:5] == ["yaw", "pitch", "roll"]
    landmarks, roll = read_landmarks(people / "landmarks.csv"), heads.index("roll")
    for row in rows:
        across = np.subtract(*landmarks.of(row[0])[[1, 0]])
        assert math.atan2(across[1], across[0]) == pytest.approx(float(row[roll]), abs=0.06)


def test_landmarks_lie_in_the_eyes_and_mouth_that_are_drawn(people):
    landmarks = read_landmarks(people / "landmarks.csv")
    for name in landmarks.rows:
        split = "test" if name.startswith("00004") else "train"
        labels = np.asarray(Image.open(people / f"{split}_label" / f"{name}.png"))
        shown = [labels[tuple(np.round(point[::-1]).astype(int))] for point in landmarks.of(name)]
        assert shown[0] in (5, 3, 13, 14) and shown[1] in (4, 3, 13, 14), "in the picture left is the person's right eye"
        assert shown[2] == 2 and set(shown[3:]) <= {1, 11, 12, 10}, (name, shown)


@pytest.mark.parametrize("flags, said", [(["--each", "2"], "--each 2: .*give --identities"),
                                         (["--identities", "3", "--train", "2"], "--identities and --train")])
def test_people_and_portraits_are_not_asked_for_together(flags, said, tmp_path):
    with pytest.raises(UserError, match=said):
        main(["--out", str(tmp_path / "x"), *flags])


# the data set

def test_faces_are_aligned_where_there_are_landmarks(people):
    data = opened(people, "--no_flip", "--loadSize", "64")
    assert data.opt.people == 4 and [data[i]["identity"] for i in range(len(data))] == [0, 0, 1, 1, 2, 2, 3, 3]
    from data.face_alignment import align
    photo = np.asarray(Image.open(people / "train_img" / "00000_0.jpg"))
    wanted = align(photo, data.landmarks.of("00000_0"), 64, ARCFACE)
    found = data[0]["image"].permute(1, 2, 0).add(1).mul(127.5).round().numpy()
    assert np.array_equal(found, wanted.astype(np.float32))


def test_a_folder_for_each_person_will_do(root, tmp_path):
    for i, path in enumerate(sorted((root / "train_img").iterdir())):
        (tmp_path / "train_img" / f"n{i % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "train_img" / f"n{i % 2}" / path.name)
    data = opened(tmp_path)
    assert data.opt.people == 2 and data[0]["image"].shape == (3, SIDE, SIDE)
    assert {name: data[i]["identity"] for i, name in enumerate(data.names)}["n1/p01"] == 1


BROKEN = [
    (lambda root: (root / "identities.csv").unlink(), "holds no identities.csv, and train_img no folder .*5 of 5 photos: p00"),
    (lambda root: (root / "identities.csv").write_text("a,b\n1,2"), "first line is 'a,b', not name,split,identity"),
    (lambda root: (root / "identities.csv").write_text("name,identity\np00,1\np00.png,1"), "row 3 names p00.png twice"),
    (lambda root: (root / "identities.csv").write_text("name,identity\np00"), "row 2 is 'p00'"),
    (lambda root: (root / "identities.csv").write_bytes(b"\xff\xfe"), "is no table of text"),
    (lambda root: (root / "identities.csv").write_text("name,identity\np00,1"), "no row of split train for 4 of 5 photos: p01"),
    (lambda root: (root / "identities.csv").write_text("name,identity" + "".join(f"\np0{i},7" for i in range(5))),
     "shows one person alone"),
    (lambda root: (root / "landmarks.csv").write_text("p00 " + "1 " * 10), "landmarks.csv: has no row for 4 of 5 photos"),
    (lambda root: shutil.rmtree(root / "train_img"), "no folder train_img"),
]


@pytest.mark.parametrize("harm, said", BROKEN, ids=[said[:20] for _, said in BROKEN])
def test_what_does_not_fit_is_told_in_a_line(root, tmp_path, harm, said):
    mine = shutil.copytree(root, tmp_path / "mine")
    harm(mine)
    with pytest.raises(UserError, match=said) as caught:
        opened(mine)
    assert "\n" not in str(caught.value)


def test_the_table_of_another_split_does_not_count(tmp_path):
    (tmp_path / "identities.csv").write_text("name,split,identity\na,train,1\na,test,2")
    assert read_identities(tmp_path, "test") == {"a": "2"} and read_identities(tmp_path / "none", "test") is None


# networks and loss

def test_ir_se_50_has_the_published_names_shapes_and_count():
    with torch.device("meta"):
        net = IdentityNet()
    state = net.state_dict()
    assert sum(p.numel() for p in net.parameters()) == 43_797_696
    shapes = {"input_layer.0.weight": (64, 3, 3, 3), "input_layer.2.weight": (64,),
              "body.0.res_layer.0.running_mean": (64,), "body.0.res_layer.5.fc1.weight": (4, 64, 1, 1),
              "body.3.shortcut_layer.0.weight": (128, 64, 1, 1), "body.3.shortcut_layer.1.num_batches_tracked": (),
              "body.23.res_layer.3.weight": (512, 512, 3, 3), "body.23.res_layer.5.fc2.weight": (512, 32, 1, 1),
              "output_layer.0.weight": (512,), "output_layer.3.weight": (512, 25088), "output_layer.4.running_var": (512,)}
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert "body.1.shortcut_layer.0.weight" not in state and "body.24.res_layer.0.weight" not in state
    assert describe(state) == {"netI": "ir_se50", "loadSize": 112}


def test_weights_load_strictly_and_say_what_they_are_of(tmp_path):
    net, file = build(lambda: identity_net("small", SIDE, 4)), tmp_path / "latest_net_I.pth"
    torch.save(net.state_dict(), file)
    other = build(lambda: identity_net("small", SIDE, 4), fresh=False)
    load(other, "I", file, False, lambda *_: "")
    image = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    assert torch.equal(net.eval()(image), other.eval()(image))
    with pytest.raises(UserError, match="--nif 4"):
        load(build(lambda: identity_net("small", SIDE, 8)), "I", file, False,
             lambda _, state: " ".join(f"--{k} {v}" for k, v in describe(state).items()))


def test_embeddings_are_unit_vectors_of_faces_of_any_size_and_at_test_of_each_alone():
    net = build(lambda: identity_net("small", SIDE, 4)).eval()
    image = torch.rand(3, 3, 2 * SIDE, 2 * SIDE) * 2 - 1
    found = net(image)
    assert found.shape == (3, 512) and torch.allclose(found.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(net(image[:1]), found[:1])
    outside = image * face_oval(2 * SIDE, 2 * SIDE, 1.3)
    torch.testing.assert_close(net(outside), found, atol=1e-5, rtol=1e-4)


def test_the_margin_is_added_to_the_angle():
    angles = torch.tensor([[0.3, 1.0], [1.2, 2.0], [2.9, 0.1]])
    label, margin = torch.tensor([0, 1, 0]), 0.5
    found = with_margin(angles.cos(), label, margin)
    wanted = angles.cos().clone()
    wanted[0, 0], wanted[1, 1] = math.cos(0.8), math.cos(2.5)
    wanted[2, 0] = math.cos(2.9) - margin * math.sin(margin)  # 2.9 + 0.5 > pi
    torch.testing.assert_close(found, wanted)
    head = AngularMargin(2, 2, scale=4.0)
    head.weight.data = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    loss, cosine = head(torch.tensor([[math.cos(0.3), math.sin(0.3)]]), torch.tensor([0]), margin)
    logits = 4 * np.array([math.cos(0.8), math.sin(0.3)])
    assert loss.item() == pytest.approx(np.log(np.exp(logits).sum()) - logits[0], rel=1e-5)
    assert cosine[0].tolist() == pytest.approx([math.cos(0.3), math.sin(0.3)])


# figures

def test_the_small_network_has_defaults_that_learn_from_little(root):
    def opt(*more):
        return options(["--model", "identity", "--name", "x", "--dataroot", root, *SIZES, "--niter", "10", *more])
    small, typed = opt("--netI", "small"), opt("--netI", "small", "--lr", "0.3", "--margin_warmup", "1")
    assert (small.lr, small.scale, small.margin, small.margin_warmup) == (0.02, 16, 0.3, 4)
    assert (typed.lr, typed.scale, typed.margin_warmup) == (0.3, 16, 1)
    published = opt()
    assert (published.lr, published.scale, published.margin, published.margin_warmup) == (0.1, 64, 0.5, 0)


def test_figures_of_pairs_by_hand():
    scores, same = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.2]), np.array([1, 1, 0, 1, 0, 0], bool)
    assert best_threshold(scores, same) == pytest.approx(0.75)
    assert best_threshold([0.5, 0.5], [True, False]) > 0.5, "equal scores are decided alike"
    assert best_threshold([0.1], [True]) == pytest.approx(0.1)
    # three folds of every third pair: (0.9 right, 0.4 missed), (0.8 right, 0.3 right), (0.7 wrong, 0.2 right)
    assert verification_accuracy(scores, same, 3) == pytest.approx(self_made(scores, same, 3))
    genuine, impostor = np.array([0.9, 0.6, 0.2]), np.array([0.7, 0.5, 0.1, 0.0])
    assert tar_at_far(genuine, impostor, 0.25) == pytest.approx(2 / 3)
    assert tar_at_far(genuine, impostor, 0.0) == pytest.approx(1 / 3)
    curve = roc(genuine, impostor)
    assert curve[0].tolist() == [0, 0] and curve[-1].tolist() == [1, 1] and (np.diff(curve, axis=0) >= 0).all()
    assert (np.abs(curve - (0.25, 2 / 3)).max(1) < 1e-9).any()


def self_made(scores, same, folds):
    """The protocol by trying every threshold."""
    shares = []
    for k in range(folds):
        out = np.arange(len(scores)) % folds == k
        tried = [-np.inf, *((a + b) / 2 for a, b in zip(np.sort(scores[~out]), np.sort(scores[~out])[1:])), np.inf]
        best = max(tried, key=lambda t: (np.mean((scores[~out] >= t) == same[~out]), t))
        shares.append(np.mean((scores[out] >= best) == same[out]))
    return np.mean(shares)


def test_metrics_of_two_processes_are_those_of_one():
    random = np.random.default_rng(0)
    vectors = np.repeat(np.eye(8), 3, 0) + 0.2 * random.standard_normal((24, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole, parts = VerificationMetrics(), [VerificationMetrics(), VerificationMetrics()]
    for i, vector in enumerate(vectors):
        for metric in (whole, parts[i // 12]):
            metric.add(f"p{i}", vector, np.array(i // 3))
    parts[0].extend(parts[1].state())
    assert parts[0].summary() == whole.summary()
    assert whole.summary()["accuracy"] > 0.95 and whole.summary()["rank1"] > 0.9 and whole.summary()["people"] == 8
    confused = whole.confused(2)
    assert [len(pairs) for pairs in confused.values()] == [2, 2]
    assert VerificationMetrics().summary()["accuracy"] is None


def test_a_training_is_tested_with_its_figures_and_the_page_of_pairs(root, tmp_path):
    where = ["--name", "who", "--checkpoints_dir", tmp_path, "--dataroot", root, "--gpu_ids", "-1", "--nThreads", "0"]
    network = ["--model", "identity", "--netI", "small", "--nif", "4", "--loadSize", SIDE]
    succeed(call("train", *where, *network, "--batchSize", "4", "--niter", "1", "--no_html", "--lr_policy", "steps",
                 "--margin_warmup", "2"))
    done = succeed(call("test", *where, "--results_dir", tmp_path / "results", "--phase", "train"))
    assert "accuracy" in done.out and "rank1" in done.out
    folder = tmp_path / "results" / "who" / "train_latest"
    pairs, index = ((folder / name).read_text() for name in ("pairs.html", "index.html"))
    assert "Different people" in pairs and "cosine" in pairs and (folder / "roc.png").stat().st_size > 1000
    assert "pairs.html" in index and "verification accuracy" in index


def test_a_pickled_network_is_refused_with_the_way_out(root, tmp_path):
    folder = tmp_path / "arcface"
    folder.mkdir()
    torch.save({"model": torch.nn.Linear(2, 2)}, folder / "latest_net_I.pth")
    done = call("test", "--model", "identity", "--name", "arcface", "--checkpoints_dir", tmp_path, "--dataroot", root, *SIZES)
    assert done.status == 2 and len(done.err.strip().splitlines()) == 1
    assert "latest_net_I.pth" in done.err and "state dict" in done.err
