"""A folder of photos becomes a data root: alignment, numbering, resumption, and what is said about the doubtful."""
import csv
import json
import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data import face_detection
from data.aligned_dataset import AlignedDataset
from data.dataset_spec import CELEBAMASK_HQ, FACE_PARSING, DatasetSpec, face_spec
from data.face_alignment import TEMPLATE, align, mirrored_share, read_landmarks, similarity
from data.face_detection import Face
from datasets import _parsing_page, parse_faces, prepare_celeba
from datasets._parsing_page import write_page
from datasets.parse_faces import Settings, parse_folder
from models.face_parser import FaceParser, trained_spec
from models.networks import build
from models.networks.bisenet import _DEVIATION, _MEAN, BiSeNet
from tests.conftest import ROOT, options, save
from tests.test_pages import Page
from tests.test_prepare_celeba import source  # noqa: F401 - a fixture
from util.errors import UserError
from util.files import write_json

HAIR, SKIN = FACE_PARSING.index("hair"), FACE_PARSING.index("skin")


class ColorParser:
    """Says hair for bright pixels and skin for middling ones, in the published numbering; agreement 0.9, of yellow 0.5."""

    spec = face_spec("face-parsing")

    def __init__(self, fail_at=None):
        self.batches, self.fail_at = [], fail_at

    def __call__(self, photos, smooth=0.0):
        self.batches.append(len(photos))
        if len(self.batches) == self.fail_at:
            raise KeyboardInterrupt
        red = photos[:, 0]
        label = torch.where(red > 200, HAIR, torch.where(red > 90, SKIN, 0)).to(torch.uint8)
        return label, torch.tensor([0.5 if (photo[1] > 200).any() else 0.9 if ids.any() else 0.0
                                    for photo, ids in zip(photos, label)])


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


def table(path):
    """{name: row} of a table."""
    with open(path, newline="") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def test_doubtful_photos_are_listed(photos):
    save(photos / "dark.png", np.zeros((20, 20, 3), np.uint8))
    run(photos)
    out = photos.parent / "out"
    assert table(out / "train_parsing.csv")["p0"] == {"name": "p0", "photo": "p0.png", "face": "middle", "faces": "",
                                                      "mirrored": "0.000", "agreement": "0.9000"}
    unsure = table(out / "train_unsure.csv")
    assert list(unsure) == ["dark", "sub/q"] and unsure["sub/q"]["agreement"] == "0.5000", "the worst first"


def test_an_interrupted_run_does_only_what_is_missing(photos):
    with pytest.raises(KeyboardInterrupt):
        run(photos, ColorParser(fail_at=2))
    out = photos.parent / "out"
    first = {p: p.stat().st_mtime_ns for p in (out / "train_label").glob("*.png")}
    assert len(first) == 2 and len(table(out / "train_parsing.csv")) == 2
    with open(out / "train_parsing.csv", "a") as stream:
        stream.write("p2,p2.png,mid")  # what a killed process may leave
    parser = ColorParser()
    journal = run(photos, parser)
    assert sum(parser.batches) == 4 == journal.written
    assert all(path.stat().st_mtime_ns == time for path, time in first.items())
    assert list(table(out / "train_parsing.csv")) == ["p0", "p1", "p2", "p3", "p4", "sub/q"]
    run(photos, parser)
    assert sum(parser.batches) == 4, "a third run finds nothing to do"
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]


def test_a_broken_photo_is_named_and_the_others_are_done(photos):
    (photos / "p1.png").write_bytes(b"no picture at all")
    with pytest.raises(UserError, match=r"p1\.png: is no picture.*all else is done"):
        run(photos)
    assert len(list((photos.parent / "out" / "train_label").rglob("*.png"))) == 5


def test_photos_without_a_face_are_left_out_and_not_searched_again(photos, monkeypatch):
    searched = []

    def find(pixels):
        searched.append(1)
        return [Face(TEMPLATE * (40, 30), "eyes")] if len(searched) % 2 else []
    monkeypatch.setattr(face_detection, "find_faces", find)
    journal = run(photos, settings={"aligned": True})
    assert len(list((photos.parent / "out" / "train_label").rglob("*.png"))) == 3
    assert [(row.face, row.faces, row.agreement) for row in journal.faceless()] == [("none", "0", "")] * 3
    run(photos, settings={"aligned": True})
    assert len(searched) == 6


# names: each photo's own, whatever lies beside it

def names_in(folder):
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.*"))


def test_a_photo_added_later_changes_the_name_of_no_other(tmp_path):
    """Endings that tell the pictures of a scene apart elsewhere are a part of these names like any other."""
    for name in ("anna_A.jpg", "ben_B.jpg", "eva_photo.jpg"):
        save(tmp_path / "photos" / name, photo())
    (tmp_path / "out").mkdir()
    run(tmp_path / "photos")
    save(tmp_path / "photos" / "anna_B.jpg", photo())
    journal = run(tmp_path / "photos")
    assert names_in(tmp_path / "out" / "train_label") == ["anna_A", "anna_B", "ben_B", "eva_photo"] and journal.written == 1
    assert names_in(tmp_path / "out" / "train_img") == names_in(tmp_path / "out" / "train_label")


@pytest.mark.parametrize("later", ["kim.jpg", "kim.png"])
def test_photos_that_differ_in_their_extension_only_are_told_apart(tmp_path, later):
    """The one that was there first keeps the name."""
    colors = {"kim.jpg": (255, 0, 0), "kim.png": (255, 255, 0)}
    earlier, = colors.keys() - {later}
    (tmp_path / "out").mkdir()
    for name in (earlier, later):
        save(tmp_path / "photos" / name, photo(top=colors[name]))
        journal = run(tmp_path / "photos", settings={"jobs": 1})
        assert journal.written == 1
    names = ["kim", f"kim_{later[-3:]}"]
    assert names_in(tmp_path / "out" / "train_label") == names
    assert [row.photo for row in journal.rows.values() if row.name == "kim"] == [earlier]
    for name, file in zip(names, (earlier, later)):
        shown = np.asarray(Image.open(tmp_path / "out" / "train_img" / f"{name}.jpg"))[4, 28].astype(int)
        assert np.abs(shown - colors[file]).max() < 30


def test_a_table_of_an_earlier_version_is_gone_on_with(photos):
    run(photos)
    path = photos.parent / "out" / "train_parsing.csv"
    path.write_text("name,face,confidence\n" + "".join(f"{name},middle,0.9500\n" for name in table(path)))
    parser = ColorParser()
    save(photos / "p9.png", photo())
    journal = run(photos, parser)
    assert parser.batches == [1] and len(journal.rows) == 7 and not journal.faceless()


@pytest.fixture
def group(tmp_path):
    """Photos of one and of three drawn people, and one upside down."""
    faces = [np.asarray(Image.open(ROOT / "datasets/sample_faces/test_img" / f"000{i}.jpg")) for i in range(3)]
    faces[1] = faces[1][16:240, 16:240]  # the smallest photo shows the largest face
    faces[1] = np.asarray(Image.fromarray(faces[1]).resize((256, 256)))
    save(tmp_path / "photos" / "one.png", faces[0])
    save(tmp_path / "photos" / "party.png", np.concatenate(faces, 1))
    save(tmp_path / "photos" / "upside down.png", faces[0][::-1, ::-1])
    (tmp_path / "out").mkdir()
    return tmp_path / "photos"


def test_of_a_group_the_largest_face_is_taken_and_the_others_are_counted(group, capsys):
    journal = run(group, settings={"aligned": True})
    parse_faces.report(journal, group.parent / "out")
    assert names_in(group.parent / "out" / "train_label") == ["one", "party"]
    assert {row.name: (row.face, row.faces) for row in journal.rows.values()} == {
        "one": ("eyes", "1"), "party": ("eyes", "3"), "upside down": ("none", "0")}
    said = capsys.readouterr().out
    assert "several faces: 1 photos with 3 faces" in said and "--faces all" in said
    assert "1 photos show no face that could be found" in said


def test_each_face_of_a_group_on_request(group, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(group, ColorParser(fail_at=2), settings={"aligned": True, "every": True})
    assert names_in(group.parent / "out" / "train_label") == ["one_1", "party_1"]
    for _ in range(2):
        journal = run(group, settings={"aligned": True, "every": True})
        assert names_in(group.parent / "out" / "train_label") == ["one_1", "party_1", "party_2", "party_3"]
        rows = table(group.parent / "out" / "train_parsing.csv")
        assert list(rows) == ["one_1", "party_1", "party_2", "party_3", "upside down"]
    assert journal.written == 0, "the third run had nothing to do"
    parse_faces.report(journal, group.parent / "out", every=True)
    assert "several faces: 1 photos with 3 faces" in capsys.readouterr().out
    shown = [np.asarray(Image.open(group.parent / "out" / "train_img" / f"party_{i}.jpg")).astype(int) for i in (1, 2, 3)]
    assert min(np.abs(a - b).mean() for a, b in ((shown[0], shown[1]), (shown[0], shown[2]), (shown[1], shown[2]))) > 20


def test_a_photo_that_is_cut_close_is_told(group, capsys):
    save(group / "close.png", np.asarray(Image.open(group / "one.png"))[40:216, 40:216])
    journal = run(group, settings={"aligned": True})
    assert [row.name for row in journal.mirrored()] == ["close"] and 0.25 < float(journal.rows["close"].mirrored) < 0.5
    assert float(journal.rows["one"].mirrored) < 0.05
    assert "close" in table(group.parent / "out" / "train_unsure.csv")
    parse_faces.report(journal, group.parent / "out")
    assert "1 photos are cut so close that more than 25% of the result is their border, mirrored" in capsys.readouterr().out


def test_photos_that_are_there_already_are_not_written_again(photos):
    """What a program needs that has prepared the photos itself."""
    out = photos.parent / "prepared"
    save(out / "test_img" / "a.png", photo(size=(32, 32)))
    run(out / "test_img", out=out, phase="test", settings={"photos": False, "overlays": False})
    assert {p.name for p in out.iterdir()} == {"test_img", "test_label", "test_parsing.csv", "test_unsure.csv"}
    assert [p.name for p in (out / "test_img").iterdir()] == ["a.png"]


# the page

def page_of(photos, journal, facts=()):
    out = photos.parent / "out"
    if not (out / "dataset.json").exists():
        face_spec().write(out)
    return Page(write_page(out, "train", journal, photos, facts))


def headings(page):
    return re.findall(r"<h3>([^<]*)</h3>", (page.folder / "index.html").read_text())


def test_the_page_shows_the_most_doubtful_first_and_how_sure_and_aligned_each_is(group):
    journal = run(group, settings={"aligned": True})
    for name, agreement in (("one", "0.9312"), ("party", "0.4649")):
        journal.rows[name] = journal.rows[name]._replace(agreement=agreement)
    page = page_of(group, journal, [("command", "python -m datasets.parse_faces")])
    assert headings(page) == ["party", "one", "upside down"]
    assert len(page.files()) == 2 * (1 + 2 * 3) and len(page.all("img")) == 7, "photo alone where there is no face"
    for text in ("agreement 0.46 · aligned by both eyes", "agreement 0.93 · aligned by both eyes", "3 faces", "no face found",
                 "python -m datasets.parse_faces", "median agreement", "hair", "skin"):
        assert text in page.text, text
    assert "nose" not in page.text, "classes that no map has"


def test_the_page_stays_loadable_and_says_what_it_leaves_out(photos, monkeypatch):
    monkeypatch.setattr(_parsing_page, "SHOWN", 2)
    page = page_of(photos, run(photos))
    assert headings(page) == ["sub/q", "p0"] and "2 of 6 are shown, the most doubtful" in page.text
    assert "train_parsing.csv" in page.text


def test_a_page_made_anew_leaves_out_what_is_gone(photos):
    journal, out = run(photos), photos.parent / "out"
    page_of(photos, journal)
    before = {path.name for path in (out / "train_parsed" / "images").iterdir()}
    (out / "train_label" / "p0.png").unlink()
    page = page_of(photos, journal)
    after = {path.name for path in (out / "train_parsed" / "images").iterdir()}
    assert "p0" not in headings(page) and before - after == {f"p0_{what}.jpg" for what in ("photo", "label_map", "overlay")}
    assert {path.name for path in page.files()} == after


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


@pytest.mark.parametrize("shift, share", [(0, 0.0), (0.25, 0.25), (0.5, 0.5)])
def test_the_share_of_mirrored_border(shift, share):
    assert mirrored_share((200, 200, 3), (TEMPLATE + (shift, 0)) * 200) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("text", [
    "2\nlefteye_x lefteye_y\na.jpg 1 2 3 4 5 6 7 8 9 10\nb 1.jpg 1 2 3 4 5 6 7 8 9 -10\n",
    "image_id,lefteye_x\na.jpg,1,2,3,4,5,6,7,8,9,10\nb 1.jpg,1,2,3,4,5,6,7,8,9,-10\n",
    "a.jpg train 1 2 3 4 5 6 7 8 9 10\nb 1.jpg train 1 2 3 4 5 6 7 8 9 -10\n",
    "name,split,lefteye_x\na,train,1.0,2,3,4,5,6,7,8,9,10\nb 1,test,1,2,3,4,5,6,7,8,9,-10.0\n"])
def test_published_and_own_landmark_tables_are_read(text, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    landmarks = read_landmarks(tmp_path / "t.txt")
    for photo in ("b 1.jpg", "b 1.png", "x/b 1.jpg"):
        assert landmarks.of(photo).tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, -10]]
    assert landmarks.of("a.jpg")[4, 1] == 10 and landmarks.of("b.jpg") is None


def test_a_landmark_row_is_for_the_photo_of_exactly_its_name(tmp_path):
    (tmp_path / "t.txt").write_text("".join(f"{name} {i} 2 3 4 5 6 7 8 9 10\n" for i, name in enumerate(
        ("kim_A.jpg", "kim_B.jpg", "kim.png", "kim.jpg", "x/kim.jpg", "Zo\u0065\u0308.jpg"))))
    landmarks = read_landmarks(tmp_path / "t.txt")
    assert [int(landmarks.of(name)[0, 0]) for name in ("kim_A.jpg", "kim_B.jpg", "kim.png", "kim.jpg", "x/kim.jpg",
                                                        "Zo\u00eb.jpg")] == [0, 1, 2, 3, 4, 5]
    assert landmarks.of("kim.bmp") is None, "of two rows neither is meant more than the other"


@pytest.mark.parametrize("text", ["", "a b\nc d\ne f\n", "a 1 2 3 4 5 6 7 8 9 10\nb 1 2 x 4 5 6 7 8 9 10\n",
                                  "a 1 2 3 4 5 6 7 8 9 nan\n", "1 2 3 4 5 6 7 8 9 10\n",
                                  "a 1 2 3 4 5 6 7 8 9 10\na 1 2 3 4 5 6 7 8 9 11\n"])
def test_a_broken_landmark_table_is_named(text, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(UserError, match="t.txt"):
        read_landmarks(tmp_path / "t.txt")


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
    said = capsys.readouterr().out
    assert "4 photos with label maps" in said and f"Page: {out / 'train_parsed' / 'index.html'}" in said
    opt = options(["--dataroot", out, "--gpu_ids", "-1", "--name", "x", "--n_downsample_global", "2"])
    assert opt.label_nc == 19 and opt.loadSize == 32 and opt.spec.scheme == "celebamask-hq"
    item = AlignedDataset(opt)[0]
    assert item["label"].shape == (1, 32, 32) and item["image"].shape == (3, 32, 32)
    with pytest.raises(UserError, match="was made with size 32, not 64"):
        parse_faces.main(["--images", str(photos), "--out", str(out), "--checkpoint", str(weights), "--size", "64",
                          "--gpu_ids", "-1", "--smooth", "1"])
    raw = json.loads((out / "dataset.json").read_text())
    assert raw["prepared"].pop("faces") == "largest"
    (out / "dataset.json").write_text(json.dumps(raw))  # as an earlier version wrote it
    assert command(photos, weights, out, "--limit", "4", "--smooth", "1") == 0
    assert " 0 of them written now" in capsys.readouterr().out
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


@pytest.mark.parametrize("wrong", [("--min_agreement", 2), ("--faces", "all"), ("--smooth", -1), ("--batch", 0),
                                   ("--phase", "../x"), ("--limit", 0)])
def test_flags_that_cannot_be_meant(photos, weights, tmp_path, wrong):
    with pytest.raises(UserError, match=wrong[0]):
        command(photos, weights, tmp_path / "root", *wrong)


def test_celeba_is_parsed_on_the_way(source, weights, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("models.face_parser.PUBLISHED_SIZE", 32)
    argv = ["--src", str(source), "--out", str(tmp_path / "root"), "--size", "32", "--jobs", "1", "--parse", str(weights)]
    assert prepare_celeba.main(argv) == 0
    root = tmp_path / "root"
    assert {a["src"] for a in Page(root / "train_parsed" / "index.html").all("img")} >= {"images/000001_overlay.jpg"}
    names = [[p.stem for p in sorted((root / f"train_{kind}").iterdir())] for kind in ("img", "label", "overlay")]
    assert names[0] == names[1] == names[2] == ["000001", "000002"]
    assert DatasetSpec.read(root) == face_spec(defaults={"loadSize": 32}) and (root / "test_label" / "000004.png").is_file()
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
    label, agreement = parser(torch.randint(0, 255, (2, 3, 70, 100), dtype=torch.uint8))
    assert label.shape == (2, 70, 100) and label.dtype == torch.uint8 and agreement.shape == (2,) and agreement.max() <= 1


def parser_of(scores, spec=None):
    """A FaceParser whose network is a function of photos (N, 3, H, W) in [0, 1]."""
    parser = FaceParser(torch.nn.Identity(), spec or DatasetSpec(), 32, torch.device("cpu"))
    parser.net = lambda image, auxiliary: (scores(image * torch.tensor(_DEVIATION)[:, None, None] +
                                                  torch.tensor(_MEAN)[:, None, None]),)
    return parser


def test_smoothing_takes_specks_away():
    scores = torch.zeros(1, 2, 32, 32)
    scores[:, 1, :, 16:], scores[:, 1, :, :16], scores[:, 1, 8, 8] = 2.0, -2.0, 2.0
    parser = parser_of(lambda photos: scores)
    plain, _ = parser(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    smooth, _ = parser(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), smooth=1.5)
    assert plain[0, 8, 8] == 1 and smooth[0, 8, 8] == 0
    plain[0, 8, 8] = 0
    assert torch.equal(plain, smooth), "a straight border stays"


def blobs(count=3):
    """(count, 3, 32, 32) uint8: a few patches of colour each."""
    random = np.random.default_rng(3)
    colors = random.integers(0, 2, (count, 3, 4, 4)).repeat(8, 2).repeat(8, 3) * 255
    return torch.from_numpy(colors.astype(np.uint8))


def test_a_parser_that_sees_the_photo_agrees_with_itself():
    """Red is class 1, and class 2 or 3 is what is green left or right of the red's middle, as eyes are of a face's."""
    def scores(photos):
        red, green = photos[:, 0], photos[:, 1]
        across = torch.arange(32.0)
        middle = (red * across).sum((1, 2)) / red.sum((1, 2)).clamp(min=1)
        left = (across < middle[:, None, None]).float()
        return torch.stack([torch.full_like(red, 0.3), red, 2 * green * left, 2 * green * (1 - left)], 1)

    photos = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    photos[:, 0, 8:24, 8:24], photos[:, 1, 12:15, 10:14], photos[:, 1, 12:15, 18:22] = 255, 255, 255
    photos[1] = torch.roll(photos[1], 3, 2)
    spec = DatasetSpec(label_nc=4, labels=("bg", "skin", "l_eye", "r_eye"), flip_pairs=((2, 3),))
    label, agreement = parser_of(scores, spec)(photos)
    assert label.unique().tolist() == [0, 1, 2, 3] and (agreement > 0.99).all()
    mixed = parser_of(scores, DatasetSpec(label_nc=4, labels=("bg", "skin", "l_eye", "r_eye"), flip_pairs=((0, 1), (2, 3))))
    assert (mixed(photos)[1] < 0.1).all(), "left and right swap in the mirror image"


def test_a_parser_that_is_sure_without_a_reason_does_not_agree_with_itself():
    """The probabilities of all of these are 1."""
    torch.manual_seed(0)
    photos, noise = blobs(), 100 * torch.randn(1, 5, 32, 32)
    for scores in (lambda photos: noise.expand(len(photos), -1, -1, -1),
                   lambda photos: torch.tensor([0, 100.0])[:, None, None].expand(len(photos), -1, 32, 32)):
        assert (parser_of(scores)(photos)[1].abs() < 0.2).all(), "what is the same for every photo, or is one class"
    fresh = FaceParser(build(BiSeNet), face_spec(), 32, torch.device("cpu"))
    assert (fresh(photos)[1] < 0.7).all(), "random weights"


def test_a_spec_without_labels_is_json(photos, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("models.face_parser.PUBLISHED_SIZE", 32)
    torch.save(build(lambda: BiSeNet(3)).state_dict(), tmp_path / "three.pth")
    command(photos, tmp_path / "three.pth", tmp_path / "root", "--limit", "1")
    assert json.loads((tmp_path / "root" / "dataset.json").read_text())["label_nc"] == 3
