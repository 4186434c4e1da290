"""CelebA in miniature, as published, as a zip and as a mirror keeps it."""
import json
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

from datasets import _celeba_source, prepare_celeba
from tests.test_prepare_shared import files_of, rows_of
from util.errors import UserError

WIDTH, HEIGHT, SIZE = 178, 218, 64
PARTS = {"000001.jpg": 0, "000002.jpg": 0, "000003.jpg": 1, "000004.jpg": 2}
PHASES = ("train", "val", "test")
POINTS = [f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"]
LANDMARKS = (69, 109, 106, 113, 77, 142, 73, 152, 108, 154)
TABLES = {
    "list_eval_partition.txt": "".join(f"{name} {part}\n" for name, part in PARTS.items()),
    "list_attr_celeba.txt": "4\nBald Smiling \n" + "".join(f"{name}  1 -1\n" for name in PARTS),
    "identity_CelebA.txt": "".join(f"{name} {2000 + i}\n" for i, name in enumerate(PARTS)),
    "list_landmarks_align_celeba.txt": "4\n" + " ".join(POINTS) + "\n" + "".join(
        f"{name}  {'  '.join(map(str, LANDMARKS))}\n" for name in PARTS)}


def photo(seed):
    """A photo with a white dot at each landmark, on a dark gradient."""
    image = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 20 + seed, np.uint8))
    draw = ImageDraw.Draw(image)
    for x, y in zip(LANDMARKS[::2], LANDMARKS[1::2]):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(255, 255, 255))
    return image


@pytest.fixture
def source(tmp_path):
    src = tmp_path / "celeba"
    (src / "img_align_celeba").mkdir(parents=True)
    for i, name in enumerate(PARTS):
        photo(i).save(src / "img_align_celeba" / name, quality=98, subsampling=0)
    for name, text in TABLES.items():
        (src / name).write_text(text)
    return src


def prepare(src, out, *more):
    return prepare_celeba.main(["--src", str(src), "--out", str(out), "--size", str(SIZE), "--jobs", "1", *more])


def zipped(src, unpack=False):
    """Pack the photos, and remove the folder."""
    folder = src / "img_align_celeba"
    with zipfile.ZipFile(src / "img_align_celeba.zip", "w") as archive:
        archive.writestr("img_align_celeba/", b"")
        for path in sorted(folder.iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
            path.unlink()
    folder.rmdir()
    return src / "img_align_celeba.zip"


def test_names_splits_and_tables(source, tmp_path):
    out = tmp_path / "out"
    assert prepare(source, out) == 0
    stems = {name[:-4]: PHASES[part] for name, part in PARTS.items()}
    assert files_of(out) == {f"{phase}_img/{stem}.jpg" for stem, phase in stems.items()} | {
        "dataset.json", "split.csv", "attributes.csv", "landmarks.csv", "identities.csv"}
    assert [(row["name"], row["split"], row["source"]) for row in rows_of(out / "split.csv")] == [
        (stem, phase, f"{stem}.jpg") for stem, phase in stems.items()]
    assert all((row["Bald"], row["Smiling"]) == ("1", "0") for row in rows_of(out / "attributes.csv"))
    assert [row["identity"] for row in rows_of(out / "identities.csv")] == ["2000", "2001", "2002", "2003"]


def test_the_square_is_the_middle_and_the_landmarks_move_with_it(source, tmp_path):
    prepare(source, tmp_path / "out")
    image = Image.open(tmp_path / "out/train_img/000001.jpg").convert("L")
    assert image.size == (SIZE, SIZE)
    bright = np.asarray(image) > 130
    row = rows_of(tmp_path / "out" / "landmarks.csv")[0]
    for name in ("lefteye", "righteye", "nose"):
        x, y = float(row[f"{name}_x"]), float(row[f"{name}_y"])
        rows, columns = np.nonzero(bright[round(y) - 2:round(y) + 3, round(x) - 2:round(x) + 3])
        # the dot's middle is where the table says, to half a pixel
        assert abs(rows.mean() + round(y) - 2 - y) < 0.5 and abs(columns.mean() + round(x) - 2 - x) < 0.5


def test_a_zip_gives_the_same_files_and_nothing_is_unpacked(source, tmp_path):
    prepare(source, tmp_path / "folder")
    zipped(source)
    before = files_of(source)
    prepare(source, tmp_path / "zip")
    assert files_of(source) == before
    for name in files_of(tmp_path / "folder"):
        assert (tmp_path / "folder" / name).read_bytes() == (tmp_path / "zip" / name).read_bytes(), name


def test_names_inside_a_zip_lead_nowhere(source, tmp_path):
    path = zipped(source)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../escaped.jpg", b"x")
        archive.writestr("/tmp/escaped.jpg", b"x")
    prepare(source, tmp_path / "out")
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize("place", ["Anno", "Eval", "CelebA/Anno"])
def test_the_published_folders_are_searched(source, tmp_path, place):
    (source / place).mkdir(parents=True)
    for name in TABLES:
        (source / name).rename(source / place / name)
    assert prepare(source, tmp_path / "out") == 0
    assert len(rows_of(tmp_path / "out" / "landmarks.csv")) == 4


def test_a_mirror_with_commas_and_a_doubled_folder(source, tmp_path):
    prepare(source, tmp_path / "published")
    for name, text in TABLES.items():
        lines = [line.split() for line in text.splitlines() if len(line.split()) > 1]
        if lines[0][0].endswith(".jpg"):
            lines.insert(0, ["value"])
        csv_text = "\n".join(",".join(line if line[0].endswith(".jpg") else ["image_id", *line]) for line in lines)
        (source / name).with_suffix(".csv").write_text(csv_text + "\n")
        (source / name).unlink()
    (source / "img_align_celeba").rename(source / "photos")
    (source / "img_align_celeba").mkdir()
    (source / "photos").rename(source / "img_align_celeba" / "img_align_celeba")
    prepare(source, tmp_path / "mirror")
    for name in files_of(tmp_path / "published"):
        assert (tmp_path / "published" / name).read_bytes() == (tmp_path / "mirror" / name).read_bytes(), name


def test_label_maps_from_a_parser_follow_the_photo(source, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    whole[:, :WIDTH // 2] = 1
    Image.fromarray(whole).save(labels / "000001.png")  # made from the whole photo
    square = np.zeros((128, 128), np.uint8)
    square[64:] = 13
    Image.fromarray(square).save(labels / "000004_mask.png")  # made from its middle square
    out = tmp_path / "out"
    prepare(source, out, "--labels", str(labels), "--scheme", "face-parsing")
    assert {name for name in files_of(out) if "/" in name} == {
        "train_label/000001.png", "train_img/000001.jpg", "test_label/000004.png", "test_img/000004.jpg"}
    first, second = (np.asarray(Image.open(out / name)) for name in ("train_label/000001.png", "test_label/000004.png"))
    assert first.shape == second.shape == (SIZE, SIZE)
    assert (first[:, :SIZE // 2] == 1).all() and (first[:, SIZE // 2:] == 0).all()
    assert (second[:SIZE // 2] == 0).all() and (second[SIZE // 2:] == 13).all()
    spec = json.loads((out / "dataset.json").read_text())
    assert spec["scheme"] == "face-parsing" and spec["labels"][14] == "neck"
    assert spec["parts"]["eyes"] == ["l_eye", "r_eye"]


def test_a_second_run_does_only_what_is_missing(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out)
    before = (out / "train_img/000001.jpg").stat().st_mtime_ns
    (out / "val_img/000003.jpg").unlink()
    prepare(source, out)
    assert (out / "train_img/000001.jpg").stat().st_mtime_ns == before and (out / "val_img/000003.jpg").exists()


def test_tables_that_are_not_there_are_said_and_left_out(source, tmp_path, capsys):
    (source / "identity_CelebA.txt").unlink()
    prepare(source, tmp_path / "out")
    assert "no table of identities, so no identities.csv" in capsys.readouterr().out
    assert not (tmp_path / "out/identities.csv").exists()


def _cut_zip(src):
    path = zipped(src)
    path.write_bytes(path.read_bytes()[:-200])


def _bad_member(src):
    path = zipped(src)
    data = bytearray(path.read_bytes())
    data[3000:3010] = b"0123456789"  # inside the first photo: its checksum is wrong now
    path.write_bytes(bytes(data))


FAULTS = {
    "no partition": (lambda src: (src / "list_eval_partition.txt").unlink(), "holds no list_eval_partition.txt"),
    "a fourth part": (lambda src: (src / "list_eval_partition.txt").write_text("000001.jpg 3\n"), "into part 3"),
    "no photos": (lambda src: [path.unlink() for path in (src / "img_align_celeba").iterdir()], "nor img_align_celeba.zip"),
    "a zip cut short": (_cut_zip, "img_align_celeba.zip: is no whole zip archive"),
    "a zip with a broken member": (_bad_member, "img_align_celeba.zip:000001.jpg: cannot be read"),
    "landmarks of four points": (lambda src: (src / "list_landmarks_align_celeba.txt").write_text(
        "1\na b c d\n000001.jpg 1 2 3 4\n"), "not a name and 10 whole numbers"),
    "no rows for some": (lambda src: (src / "identity_CelebA.txt").write_text("000001.jpg 1\n"), "no row for 000002.jpg"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_user_can_mend_is_said_in_a_line(source, tmp_path, fault):
    spoil, line = FAULTS[fault]
    spoil(source)
    with pytest.raises(UserError, match=line):
        prepare(source, tmp_path / "out")


@pytest.mark.parametrize("shape, top, line", [((HEIGHT, WIDTH), 19, "holds label 19, but there are 19 classes"),
                                              ((50, 90), 1, "is 90x50; make it from the photo")])
def test_a_label_map_that_does_not_fit_is_named(source, tmp_path, shape, top, line):
    (tmp_path / "labels").mkdir()
    Image.fromarray(np.full(shape, top, np.uint8)).save(tmp_path / "labels/000001.png")
    with pytest.raises(UserError, match="labels/000001.png: " + line):
        prepare(source, tmp_path / "out", "--labels", str(tmp_path / "labels"))


def test_a_download_that_fails_says_what_to_fetch(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("The daily quota is exceeded")

    monkeypatch.setitem(sys.modules, "torchvision.datasets", types.SimpleNamespace(CelebA=refuse))
    with pytest.raises(UserError, match="daily quota is exceeded.*fetch img_align_celeba.zip, list_eval_partition.txt"):
        _celeba_source.download(tmp_path / "celeba")
