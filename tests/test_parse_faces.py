"""A folder of photos becomes a data root: alignment, numbering, resumption, and what is said about the doubtful."""
import csv
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data.aligned_dataset import AlignedDataset
from data.dataset_spec import CELEBAMASK_HQ, FACE_PARSING, DatasetSpec, face_spec
from datasets import face_alignment, parse_faces, prepare_celeba
from datasets.face_alignment import IN_BOX, TEMPLATE, align, read_landmarks, similarity
from datasets.parse_faces import Settings, parse_folder
from models.face_parser import FaceParser, trained_spec
from models.networks import build
from models.networks.bisenet import BiSeNet
from tests.conftest import options, save
from tests.test_prepare_celeba import source  # noqa: F401 - a fixture
from util.errors import UserError
from util.files import write_json

HAIR, SKIN = FACE_PARSING.index("hair"), FACE_PARSING.index("skin")


class ColorParser:
    """Says hair for bright pixels and skin for middling ones, in the published numbering; 0.9 sure, 0.5 of green."""

    spec = face_spec("face-parsing")

    def __init__(self, fail_at=None):
        self.batches, self.fail_at = [], fail_at

    def __call__(self, photos, smooth=0.0):
        self.batches.append(len(photos))
        if len(self.batches) == self.fail_at:
            raise KeyboardInterrupt
        red = photos[:, 0]
        label = torch.where(red > 200, HAIR, torch.where(red > 90, SKIN, 0)).to(torch.uint8)
        return label, torch.where(photos[:, 1] > 200, 0.5, 0.9)


def photo(top=(255, 0, 0), bottom=(120, 0, 0), size=(40, 30)):
    """Bright above, middling below, black at the left."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:height // 2, width // 2:], pixels[height // 2:, width // 2:] = top, bottom
    return pixels


@pytest.fixture
def photos(tmp_path):
    for i in range(5):
        save(tmp_path / "photos" / f"p{i}.png", photo())
    save(tmp_path / "photos" / "sub" / "q.png", photo(top=(255, 255, 0)))
    (tmp_path / "out").mkdir()
    return tmp_path / "photos"


def run(photos, parser=None, out=None, **more):
    settings = Settings(**{"size": 32, "batch": 2, "jobs": 1, **more.pop("settings", {})})
    return parse_folder(photos, out or photos.parent / "out", parser or ColorParser(), settings=settings, **more)


def rows(path):
    with open(path, newline="") as stream:
        return list(csv.reader(stream))


# from photos to maps

def test_classes_go_by_name_into_the_numbering_of_the_root(photos):
    parser = ColorParser()
    run(photos, parser)
    out = photos.parent / "out"
    ids = np.asarray(Image.open(out / "train_label" / "p0.png"))
    assert ids.shape == (32, 32) and ids.dtype == np.uint8
    assert ids[4, 28] == CELEBAMASK_HQ.index("hair") == 13 and ids[28, 28] == CELEBAMASK_HQ.index("skin") and ids[4, 4] == 0
    assert parser.batches == [2, 2, 2], "photos are parsed in batches"
    (photos.parent / "same").mkdir()
    run(photos, out=photos.parent / "same", scheme="face-parsing")
    assert np.asarray(Image.open(photos.parent / "same" / "train_label" / "p0.png"))[4, 28] == HAIR


def test_photos_maps_and_overlays_have_one_geometry(photos):
    run(photos)
    out = photos.parent / "out"
    for folder in (out / "train_img", out / "train_label", out / "train_overlay"):
        assert sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.*")) == \
            ["p0", "p1", "p2", "p3", "p4", "sub/q"]
    shown = np.asarray(Image.open(out / "train_img" / "p0.jpg"))
    assert shown.shape == (32, 32, 3) and shown[4, 28, 0] > 240 and shown[28, 28, 0] < 140, "the middle square, upright"
    assert np.asarray(Image.open(out / "train_overlay" / "p0.jpg")).shape == (32, 32, 3)


def test_doubtful_photos_are_listed(photos):
    save(photos / "dark.png", np.zeros((20, 20, 3), np.uint8))
    journal = run(photos)
    out = photos.parent / "out"
    assert {r[0]: r[2] for r in rows(out / "train_parsing.csv")[1:]}["p0"] == "0.9000"
    unsure = rows(out / "train_unsure.csv")
    assert [r[0] for r in unsure[1:]] == ["dark", "sub/q"], "the worst first; nothing but background is no portrait"
    assert 0.5 < float(unsure[2][2]) < 0.8 and len(journal.unsure()) == 2


def test_an_interrupted_run_does_only_what_is_missing(photos):
    with pytest.raises(KeyboardInterrupt):
        run(photos, ColorParser(fail_at=2))
    out = photos.parent / "out"
    first = {p: p.stat().st_mtime_ns for p in (out / "train_label").glob("*.png")}
    assert len(first) == 2 and len(rows(out / "train_parsing.csv")) == 3
    with open(out / "train_parsing.csv", "a") as stream:
        stream.write("p2,mid")  # what a killed process may leave
    parser = ColorParser()
    journal = run(photos, parser)
    assert sum(parser.batches) == 4 == journal.written
    assert all(path.stat().st_mtime_ns == time for path, time in first.items())
    assert [r[0] for r in rows(out / "train_parsing.csv")] == ["name", "p0", "p1", "p2", "p3", "p4", "sub/q"]
    run(photos, parser)
    assert sum(parser.batches) == 4, "a third run finds nothing to do"
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]


def test_a_broken_photo_is_named_and_the_others_are_done(photos):
    (photos / "p1.png").write_bytes(b"no picture at all")
    with pytest.raises(UserError, match=r"1 of 6 photos could not be read.*p1\.png"):
        run(photos)
    assert len(list((photos.parent / "out" / "train_label").rglob("*.png"))) == 5


def test_photos_without_a_face_are_left_out_and_not_searched_again(photos, monkeypatch):
    searched = []

    def find(pixels):
        searched.append(1)
        return (TEMPLATE * (40, 30), "eyes") if len(searched) % 2 else (None, "none")
    monkeypatch.setattr(face_alignment, "find_landmarks", find)
    journal = run(photos, settings={"aligned": True})
    assert len(list((photos.parent / "out" / "train_label").rglob("*.png"))) == 3
    assert [row[1:] for row in journal.unsure()][:3] == [("none", "")] * 3
    run(photos, settings={"aligned": True})
    assert len(searched) == 6


def test_photos_that_are_there_already_are_not_written_again(photos):
    """What a program needs that has prepared the photos itself."""
    out = photos.parent / "prepared"
    save(out / "test_img" / "a.png", photo(size=(32, 32)))
    run(out / "test_img", out=out, phase="test", settings={"photos": False, "overlays": False})
    assert {p.name for p in out.iterdir()} == {"test_img", "test_label", "test_parsing.csv", "test_unsure.csv"}
    assert [p.name for p in (out / "test_img").iterdir()] == ["a.png"]


# alignment

def test_a_similarity_is_recovered():
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.7
    points = np.random.default_rng(0).random((5, 2)) * 100
    matrix = similarity(points, points @ turn.T + (3, -8))
    np.testing.assert_allclose(matrix, np.column_stack([turn, (3, -8)]), atol=1e-9)
    with pytest.raises(ValueError, match="one point"):
        similarity(np.ones((5, 2)), points)


@pytest.mark.parametrize("scale", [0.7, 6.0])
def test_landmarks_end_up_at_their_places(scale):
    angle = np.deg2rad(-25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale * 100
    points = TEMPLATE @ turn.T + (150 * scale, 60 * scale)
    pixels = np.full((int(260 * scale), int(260 * scale), 3), 30, np.uint8)
    for point in points:
        cv2.circle(pixels, tuple(int(v) for v in np.rint(point)), max(2, int(3 * scale)), (255, 255, 255), -1)
    square = align(pixels, points, 128)
    assert square.shape == (128, 128, 3)
    _, _, _, centres = cv2.connectedComponentsWithStats((square[:, :, 0] > 120).astype(np.uint8))
    for place in TEMPLATE * 128 - 0.5:
        assert np.hypot(*(centres[1:] - place).T).min() < 1.0


@pytest.mark.parametrize("text", [
    "2\nlefteye_x lefteye_y\na.jpg 1 2 3 4 5 6 7 8 9 10\nb.jpg 1 2 3 4 5 6 7 8 9 -10\n",
    "image_id,lefteye_x\na.jpg,1,2,3,4,5,6,7,8,9,10\nb.jpg,1,2,3,4,5,6,7,8,9,-10\n",
    "name,split,lefteye_x\na,train,1.0,2,3,4,5,6,7,8,9,10\nb,test,1,2,3,4,5,6,7,8,9,-10.0\n"])
def test_published_and_own_landmark_tables_are_read(text, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    table = read_landmarks(tmp_path / "t.txt")
    assert list(table) == ["a", "b"] and table["b"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, -10]]


@pytest.mark.parametrize("text", ["", "a b\nc d\ne f\n", "a 1 2 3 4 5 6 7 8 9 10\nb 1 2 x 4 5 6 7 8 9 10\n",
                                  "a 1 2 3 4 5 6 7 8 9 nan\n"])
def test_a_broken_landmark_table_is_named(text, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(UserError, match="t.txt"):
        read_landmarks(tmp_path / "t.txt")


def test_the_largest_face_is_found_by_its_box_and_better_by_its_eyes(monkeypatch):
    eyes = [(10, 8, 20, 20)]
    detectors = {"haarcascade_frontalface_alt2": lambda *a, **k: np.array([(5, 5, 30, 30), (100, 50, 100, 100)]),
                 "haarcascade_eye_tree_eyeglasses": lambda *a, **k: np.array(eyes), "haarcascade_eye": lambda *a, **k: ()}
    monkeypatch.setattr(face_alignment, "_cascade", lambda name: SimpleNamespace(detectMultiScale=detectors[name]))
    points, how = face_alignment.find_landmarks(np.zeros((1280, 640, 3), np.uint8))
    assert how == "box", "one eye is not enough"
    np.testing.assert_allclose(points, ((100, 50) + IN_BOX * 100) * 2)
    eyes[:] = [(20, 30, 20, 20), (60, 30, 20, 20), (62, 5, 10, 10)]
    points, how = face_alignment.find_landmarks(np.zeros((1280, 640, 3), np.uint8))
    assert how == "eyes"
    np.testing.assert_allclose(points[:2], [(260, 180), (340, 180)])
    assert points[2, 1] > 180 and points[2, 0] == pytest.approx(300)


def test_an_opencv_without_detectors_is_an_error_that_helps(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    face_alignment._cascade.cache_clear()
    with pytest.raises(UserError, match=r"opencv-python-headless<5.*--landmarks"):
        face_alignment.check_detector()


# the program

@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of fresh weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(build(BiSeNet).state_dict(), path)
    return path


def command(photos, weights, out, *more):
    return parse_faces.main(["--images", str(photos), "--out", str(out), "--checkpoint", str(weights), "--size", "32",
                             "--gpu_ids", "-1", "--jobs", "1", *map(str, more)])


def test_the_data_root_trains(photos, weights, monkeypatch, capsys):
    monkeypatch.setattr("models.face_parser.PUBLISHED_SIZE", 32)
    (photos / "sub" / "q.png").unlink()
    out = photos.parent / "root"
    assert command(photos, weights, out, "--limit", "4", "--smooth", "1") == 0
    assert "4 photos with label maps" in capsys.readouterr().out
    opt = options(["--dataroot", out, "--gpu_ids", "-1", "--name", "x", "--n_downsample_global", "2"])
    assert opt.label_nc == 19 and opt.loadSize == 32 and opt.spec.scheme == "celebamask-hq"
    item = AlignedDataset(opt)[0]
    assert item["label"].shape == (1, 32, 32) and item["image"].shape == (3, 32, 32)
    with pytest.raises(UserError, match="was made with size 32, not 64"):
        parse_faces.main(["--images", str(photos), "--out", str(out), "--checkpoint", str(weights), "--size", "64",
                          "--gpu_ids", "-1", "--smooth", "1"])
    state = torch.load(weights)
    torch.save({k: v + 1 for k, v in state.items()}, photos.parent / "other.pth")
    with pytest.raises(UserError, match="was made with parser"):
        command(photos, photos.parent / "other.pth", out, "--smooth", "1")


def test_missing_weights_say_where_there_are_some(photos, tmp_path):
    for missing in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UserError, match=r"79999_iter\.pth.*non-commercial.*train\.py --model parsing"):
            command(photos, missing, tmp_path / "root")
    torch.save({"model.1.weight": torch.zeros(3)}, tmp_path / "gan.pth")
    with pytest.raises(UserError, match="holds no face parser"):
        command(photos, tmp_path / "gan.pth", tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_photos_without_given_landmarks_are_named(photos, weights, tmp_path):
    (tmp_path / "t.csv").write_text("p0,1,2,3,4,5,6,7,8,9,10\n")
    with pytest.raises(UserError, match=r"no row for 5 of 6 photos \(p1"):
        command(photos, weights, tmp_path / "root", "--landmarks", tmp_path / "t.csv")


@pytest.mark.parametrize("wrong", [("--min_confidence", 2), ("--smooth", -1), ("--batch", 0), ("--phase", "../x"),
                                   ("--limit", 0)])
def test_flags_that_cannot_be_meant(photos, weights, tmp_path, wrong):
    with pytest.raises(UserError, match=wrong[0]):
        command(photos, weights, tmp_path / "root", *wrong)


def test_celeba_is_parsed_on_the_way(source, weights, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("models.face_parser.PUBLISHED_SIZE", 32)
    argv = ["--src", str(source), "--out", str(tmp_path / "root"), "--size", "32", "--jobs", "1", "--parse", str(weights)]
    assert prepare_celeba.main(argv) == 0
    root = tmp_path / "root"
    names = [[p.stem for p in sorted((root / f"train_{kind}").iterdir())] for kind in ("img", "label", "overlay")]
    assert names[0] == names[1] == names[2] == ["000001", "000002"]
    assert DatasetSpec.read(root).scheme == "celebamask-hq" and (root / "test_label" / "000004.png").is_file()
    before = (root / "train_label" / "000001.png").stat().st_mtime_ns
    assert prepare_celeba.main(argv) == 0, "a second run has nothing to do"
    assert (root / "train_label" / "000001.png").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="--labels and --parse"):
        prepare_celeba.main([*argv, "--labels", str(tmp_path)])


# the parser

def test_the_numbering_travels_with_the_weights(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    face_spec("face-parsing").write(tmp_path)
    write_json(folder / "opt.json", {"options": {"dataroot": str(tmp_path), "loadSize": 96}})
    assert trained_spec(folder).scheme == "face-parsing", "from the data it was trained on"
    torch.save({"model": {"extra": {"data": face_spec().as_dict()}}}, folder / "latest_state.pth")
    assert trained_spec(folder).scheme == "celebamask-hq", "rather from the training's own record"
    DatasetSpec(labels=("a", "b"), label_nc=2).write(folder)
    assert trained_spec(folder).labels == ("a", "b"), "rather from a file beside the weights"
    torch.save(build(lambda: BiSeNet(2)).state_dict(), folder / "latest_net_P.pth")
    parser = FaceParser.load(folder)
    assert parser.spec.labels == ("a", "b") and parser.size == 96
    assert parse_faces.translation(parser.spec, None)[1].tolist() == [0, 1], "its own numbering is kept"
    with pytest.raises(UserError, match="has no class a, b"):
        parse_faces.translation(parser.spec, "celebamask-hq")


def test_maps_have_the_photos_size_whatever_the_network_sees():
    parser = FaceParser(build(BiSeNet), face_spec(), 48, torch.device("cpu"))
    label, confidence = parser(torch.randint(0, 255, (2, 3, 70, 100), dtype=torch.uint8))
    assert label.shape == confidence.shape == (2, 70, 100) and label.dtype == torch.uint8
    assert confidence.min() >= 1 / 19 and confidence.max() <= 1


def test_smoothing_takes_specks_away():
    parser = FaceParser(torch.nn.Identity(), DatasetSpec(), 32, torch.device("cpu"))
    scores = torch.zeros(1, 2, 32, 32)
    scores[:, 1, :, 16:], scores[:, 1, :, :16], scores[:, 1, 8, 8] = 2.0, -2.0, 2.0
    parser.net = lambda image, auxiliary: (scores,)
    plain, _ = parser(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    smooth, _ = parser(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), smooth=1.5)
    assert plain[0, 8, 8] == 1 and smooth[0, 8, 8] == 0
    plain[0, 8, 8] = 0
    assert torch.equal(plain, smooth), "a straight border stays"


def test_a_spec_without_labels_is_json(photos, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("models.face_parser.PUBLISHED_SIZE", 32)
    torch.save(build(lambda: BiSeNet(3)).state_dict(), tmp_path / "three.pth")
    command(photos, tmp_path / "three.pth", tmp_path / "root", "--limit", "1")
    assert json.loads((tmp_path / "root" / "dataset.json").read_text())["label_nc"] == 3
