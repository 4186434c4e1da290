"""Everything that training would trip over gets its line, and what is fine gets none."""
import html.parser
import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from data.dataset_spec import face_spec
from data.image_files import read_image, read_label
from datasets import check
from tests.test_prepare_shared import ROOT
from util.errors import UserError

SIDE, RNG = 48, np.random.default_rng(4)
PHOTO = RNG.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def face_map(mirrored=False):
    """A label map with all 19 classes; the left eye and ear on one side, the right ones on the other."""
    ids = np.zeros((SIDE, SIDE), np.uint8)
    for i in range(1, 19):
        row, column = divmod(i, 5)
        column = {4: 0, 5: 4, 6: 0, 7: 4, 8: 0, 9: 4}.get(i, column)
        row = i // 2 % 5 if 4 <= i <= 9 else row + 5
        ids[5 * row:5 * row + 4, 9 * column:9 * column + 6] = i
    return ids[:, ::-1].copy() if mirrored else ids


LABEL = face_map()


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def png(header: bytes, *chunks):
    """A PNG by hand: an IHDR and any chunks, with right checksums."""
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


@pytest.fixture
def root(tmp_path):
    """A clean face data root: three train pictures and a test picture."""
    folder = tmp_path / "faces"
    for phase, names in (("train", "abc"), ("test", "d")):
        for i, name in enumerate(names):
            save(folder / f"{phase}_label/{name}.png", LABEL)
            save(folder / f"{phase}_img/{name}.jpg", np.roll(PHOTO, 7 * i + len(names), 0))
    face_spec().write(folder)
    return folder


def lines(root, label_nc=None):
    return [str(problem) for problem in check.full_check(root, label_nc).problems]


def test_a_clean_root_has_no_line(root):
    assert lines(root) == []


@pytest.mark.parametrize("map_of", [lambda: turned("PNG", LABEL), lambda: bytes_of(LABEL[:32].T)])
def test_a_map_that_shares_the_turn_of_its_photo_has_no_line(root, map_of):
    """By EXIF as well, or because it was made from the photo as it is seen, which sides that are not equal tell."""
    square = np.asarray(Image.open(io.BytesIO(map_of()))).shape == LABEL.shape
    put("train_img/a.jpg", turned("JPEG", PHOTO if square else PHOTO[:32]))(root)
    put("train_label/a.png", map_of())(root)
    assert lines(root) == []


@pytest.mark.parametrize("inst", [LABEL.astype(np.uint16) * 1000 + 7, LABEL + 19 * (np.indices(LABEL.shape)[0] < 9)])
def test_instances_of_one_class_each_may_have_any_numbers(root, inst):
    for name in "abc":
        save(root / f"train_inst/{name}.png", inst.astype(np.uint16))
    assert lines(root) == []


# Broken inputs: (what is done to the root, severity, what its line says). `a` is always the file at fault.

def bytes_of(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, kind, **options)
    return stream.getvalue()


def put(name, data):
    """Replace a file by bytes."""
    def spoil(root):
        (root / name).unlink(missing_ok=True)
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    return spoil


def edit_spec(**changes):
    def spoil(root):
        raw = json.loads((root / "dataset.json").read_text())
        (root / "dataset.json").write_text(json.dumps({**raw, **changes}))
    return spoil


def with_label(i, share=slice(0, 6)):
    ids = LABEL.astype(np.int32)
    ids[share] = i
    return ids.astype(np.uint8 if 0 <= i < 256 else np.uint16)


def turned(kind, pixels, orientation=6):
    exif = Image.Exif()
    exif[274] = orientation
    return bytes_of(pixels, kind, exif=exif)


BIG = png(struct.pack(">IIBBBBB", 29000, 29000, 8, 0, 0, 0, 0), (b"IDAT", zlib.compress(b"")))
WIDE = png(struct.pack(">IIBBBBB", 40000, 16, 8, 0, 0, 0, 0), (b"IDAT", zlib.compress(b"")))
EMPTY = png(struct.pack(">IIBBBBB", 0, 16, 8, 0, 0, 0, 0), (b"IDAT", zlib.compress(b"")))
RGB16 = png(struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0), (b"IDAT", zlib.compress((b"\0" + bytes([0, 5] * 6)) * 2)))
WHOLE_PNG, WHOLE_JPEG = bytes_of(LABEL), bytes_of(PHOTO, "JPEG")
NOISE = RNG.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)

BROKEN = {
    # label maps that cannot be read
    "label: empty file": (put("train_label/a.png", b""), "error", "a.png: is an empty file; replace or remove it"),
    "label: text": (put("train_label/a.png", b"<html>404</html>"), "error", "a.png: is a text or web page, not a"),
    "label: cut short": (put("train_label/a.png", WHOLE_PNG[:len(WHOLE_PNG) // 2]), "error", "is broken or cut short"),
    "label: only a header": (put("train_label/a.png", WHOLE_PNG[:33]), "error", "is broken or cut short"),
    "label: half a header": (put("train_label/a.png", WHOLE_PNG[:20]), "error", "a.png: is broken or cut short"),
    "label: broken pixels": (put("train_label/a.png", WHOLE_PNG[:60] + bytes(20) + WHOLE_PNG[80:]), "error",
                             "is broken or cut short"),
    "label: bomb": (put("train_label/a.png", BIG), "error", "larger than any picture this reads"),
    "label: 40000 wide": (put("train_label/a.png", WIDE), "error", "40000x16 is larger than any picture this reads"),
    "label: no pixels": (put("train_label/a.png", EMPTY), "error", "a.png: is broken or"),
    "label: a gif called png": (put("train_label/a.png", bytes_of(LABEL, "GIF")), "error", "is a GIF file, which is"),
    "label: a folder": (lambda root: ((root / "train_label/a.png").unlink(), (root / "train_label/a.png").mkdir()),
                        "error", "a.jpg: has no partner 'a' in train_label"),
    "label: a dead link": (lambda root: ((root / "train_label/a.png").unlink(),
                                         (root / "train_label/a.png").symlink_to("nowhere")), "error",
                           "a.png: there is no such file"),
    "label: random bytes": (put("train_label/a.png", bytes(range(7, 99))), "error", "a.png: is no picture; replace"),
    # label maps that hold no ids
    "label: jpeg": (lambda root: ((root / "train_label/a.png").unlink(), save(root / "train_label/a.jpg", LABEL)),
                    "error", "a.jpg: is a JPEG file, whose lossy compression changes ids; make the label map again as"),
    "label: jpeg called png": (put("train_label/a.png", bytes_of(LABEL, "JPEG")), "error", "a.png: is a JPEG file"),
    "label: webp": (put("train_label/a.png", bytes_of(LABEL, "WEBP")), "error", "a.png: is a WEBP file"),
    "label: colours": (put("train_label/a.png", bytes_of(PHOTO)), "error",
                       "a.png: is colour-coded (RGB); save one channel of class ids as PNG"),
    "label: colours and alpha": (put("train_label/a.png", bytes_of(np.dstack([PHOTO, NOISE]))), "error",
                                 "a.png: is colour-coded (RGBA)"),
    "label: 16-bit colours": (put("train_label/a.png", RGB16), "error", "a.png: is colour-coded (16-bit RGB)"),
    "label: print colours": (put("train_label/a.png", bytes_of(Image.fromarray(PHOTO).convert("CMYK"), "TIFF")), "error",
                             "a.png: is colour-coded (CMYK)"),
    "label: floating point": (put("train_label/a.png", bytes_of(Image.fromarray(LABEL).convert("F"), "TIFF")), "error",
                              "a.png: holds floating-point values"),
    "label: a palette of greys": (put("train_label/a.png", bytes_of(Image.fromarray(LABEL).quantize(19))), "error",
                                  "a.png: has a palette of greys, of which"),
    # ids out of range
    "label: one too many": (put("train_label/a.png", bytes_of(with_label(19))), "error",
                            "a.png: holds label 19 in 12.5% of it, but label_nc 19 allows 0 to 18; ids count from 0"),
    "label: 255": (put("train_label/a.png", bytes_of(with_label(255))), "error", "255 often marks pixels to ignore"),
    "label: black and white": (put("train_label/a.png", bytes_of((LABEL > 0) * np.uint8(255))), "error",
                               "this is a black-and-white mask: divide it by 255"),
    "label: a grey photo": (put("train_label/a.png", bytes_of(NOISE)), "error", "this looks like a grey photo"),
    "label: 16-bit id": (put("train_label/a.png", bytes_of(with_label(1000))), "error", "or use --label_nc 1001"),
    "label: negative id": (put("train_label/a.png", bytes_of(Image.fromarray(LABEL.astype(np.int32) - 1), "TIFF")),
                           "error", "a.png: holds label -1 in 81.2% of it, but label_nc 19 allows 0 to 18; save whole ids"),
    "label: an id of billions": (put("train_label/a.png", bytes_of(
        Image.fromarray(LABEL.astype(np.int32) + 2_000_000_000), "TIFF")), "error", "a.png: holds label 2000000000"),
    "label: one class": (put("train_label/a.png", bytes_of(LABEL * 0 + 1)), "warning", "a.png: holds nothing but label 1"),
    # photos
    "photo: empty file": (put("train_img/a.jpg", b""), "error", "a.jpg: is an empty file"),
    "photo: cut short": (put("train_img/a.jpg", WHOLE_JPEG[:len(WHOLE_JPEG) // 2]), "error", "is broken or cut short"),
    "photo: an error page": (put("train_img/a.jpg", b"<html>Quota exceeded</html>"), "error", "a.jpg: is a text or web"),
    "photo: png called jpg": (put("train_img/a.jpg", bytes_of(PHOTO)), "warning", "a.jpg: is a PNG file by its content"),
    "photo: transparency": (lambda root: ((root / "train_img/a.jpg").unlink(),
                                          save(root / "train_img/a.png", np.dstack([PHOTO, NOISE]))), "warning",
                            "a.png: has transparency, which is laid over white"),
    "photo: print colours": (put("train_img/a.jpg", bytes_of(Image.fromarray(PHOTO).convert("CMYK"), "JPEG")), "warning",
                             "a.jpg: is CMYK"),
    "photo: grey among colour": (put("train_img/a.jpg", bytes_of(NOISE, "JPEG")), "warning",
                                 "a.jpg: in grey, among 3 photos in colour; keep one sort"),
    "photo: one colour": (put("train_img/a.jpg", bytes_of(PHOTO * 0, "JPEG")), "warning", "is all of one colour (0, 0, 0)"),
    "photo: floating point": (put("train_img/a.jpg", bytes_of(Image.fromarray(LABEL).convert("F"), "TIFF")), "error",
                              "a.jpg: holds floating-point values"),
    "photo: twice": (lambda root: (root / "train_img/a.jpg").write_bytes((root / "test_img/d.jpg").read_bytes()), "warning",
                     "so one is tested on what it was trained on"),
    # sizes
    "photo: twice the size": (put("train_img/a.jpg", bytes_of(Image.fromarray(PHOTO).resize((96, 96)), "JPEG")), "note",
                              "1 of 4 photos are of another size than what they belong to"),
    "photo: another shape": (put("train_img/a.jpg", bytes_of(PHOTO[:32], "JPEG")), "error",
                             "a.jpg: is 48x32, a.png in train_label 48x48; the two must show the same view"),
    "photo: turned, its map not": (lambda root: (put("train_img/a.jpg", turned("JPEG", PHOTO[:32]))(root),
                                                 save(root / "train_label/a.png", LABEL[:32])), "error",
                                   "a.jpg: is 32x48, a.png in train_label 48x32 (a.jpg is turned by its EXIF orientation, "
                                   "a.png is not)"),
    "photo: square and turned, its map not": (put("train_img/a.jpg", turned("JPEG", PHOTO)), "warning",
                                              "img/a.jpg: is turned by its EXIF orientation (6), a.png in train_label is not;"),
    "photo: upside down, its map not": (lambda root: (put("train_img/a.jpg", turned("JPEG", PHOTO[:32], 3))(root),
                                                      save(root / "train_label/a.png", LABEL[:32])), "warning",
                                        "img/a.jpg: is turned by its EXIF orientation (3), a.png in train_label is not;"),
    "photo: very small": (lambda root: (save(root / "train_img/a.jpg", PHOTO[:16, :16]),
                                        save(root / "train_label/a.png", LABEL[:16, :16])), "warning",
                          "a.jpg: is 16x16; the networks halve it"),
    # instance maps
    "instance: several classes": (lambda root: [save(root / f"train_inst/{n}.png", LABEL // (20 if n == "a" else 1) + 30)
                                                for n in "abc"], "warning", "a.png: in 100.0% of it the instances lie on"),
    "instance: a palette of greys": (lambda root: [
        save(root / f"train_inst/{n}.png", Image.fromarray(LABEL).quantize(19) if n == "a" else LABEL) for n in "abc"],
        "error", "train_inst/a.png: has a palette of greys"),
    "instance: jpeg": (lambda root: [save(root / f"train_inst/{n}.{'jpg' if n == 'a' else 'png'}", LABEL)
                                     for n in "abc"], "error", "train_inst/a.jpg: is a JPEG file"),
    "instance: another shape": (lambda root: [save(root / f"train_inst/{n}.png", LABEL[:40 if n == "a" else 48])
                                              for n in "abc"], "error", "train_inst/a.png: is 48x40"),
    "instance: one missing": (lambda root: [save(root / f"train_inst/{n}.png", LABEL) for n in "bc"], "error",
                              "train_label/a.png: has no partner 'a' in train_inst"),
    # names and folders
    "no photo": (lambda root: (root / "train_img/a.jpg").unlink(), "error", "a.png: has no partner 'a' in train_img"),
    "no label map": (lambda root: (root / "train_label/a.png").unlink(), "error", "a.jpg: has no partner 'a' in train_lab"),
    "no photo to test": (lambda root: (save(root / "test_label/a.png", LABEL)), "warning",
                         "test_label/a.png: has no partner 'a' in test_img"),
    "no name in common": (lambda root: [path.rename(path.with_name("x" + path.name))
                                        for path in list((root / "train_img").iterdir())], "error",
                          "train_img: none of its 3 files is named like one in train_label"),
    "one name twice": (lambda root: save(root / "train_label/a.bmp", LABEL), "error", "a.png and "),
    "an empty folder": (lambda root: (root / "train_inst").mkdir(), "error", "train_inst: holds no pictures"),
    "no photos at all": (lambda root: (root / "train_img").rename(root / "photos"), "error",
                         "train_img: there is no such folder; training needs"),
    "no label maps at all": (lambda root: (root / "train_label").rename(root / "labels"), "error",
                             "train_label: there is no such folder"),
    "a kind that is not read": (lambda root: (root / "train_img/a.heic").write_bytes(b"x"), "warning",
                                "holds files of a kind that is not read: a.heic"),
    # dataset.json
    "spec: no JSON": (put("dataset.json", b"{"), "error", "dataset.json: is not valid JSON"),
    "spec: names missing": (edit_spec(labels=["a", "b"]), "error", "labels has 2 names for label_nc 19"),
    "spec: no pairs": (edit_spec(flip_pairs=[]), "warning",
                       "l_eye and r_eye are no flip pair, so mirrored pictures mix them up; add [4, 5] to flip_pairs"),
    "spec: pair out of range": (edit_spec(flip_pairs=[[4, 19]]), "error", "flip_pairs names id 19 of 19 classes"),
    "spec: a flag it may not set": (edit_spec(defaults={"load_pretrain": "/x"}), "error",
                                    "dataset.json: defaults holds 'load_pretrain', which is for the command line alone"),
    "spec: a mistyped flag": (edit_spec(defaults={"loadsize": 8}), "error", "defaults holds 'loadsize', but there is no such"),
    # the whole
    "a class never seen": (lambda root: [save(path, np.where(LABEL == 14, 0, LABEL).astype(np.uint8))
                                         for path in root.glob("*_label/*.png")], "warning",
                           "no label map has 1 of 19 classes: hat (14)"),
    "a class not trained": (lambda root: [save(path, np.where(LABEL == 14, 0, LABEL).astype(np.uint8))
                                          for path in root.glob("train_label/*.png")], "warning",
                            "test_label: has hat (14), which no training map has"),
}


def test_the_list_is_long_enough():
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_gets_its_line(root, name, recwarn, capfd):
    spoil, severity, line = BROKEN[name]
    spoil(root)
    found = lines(root)
    assert [text for text in found if text.startswith(severity) and line in text], "\n".join(found)
    assert all("\n" not in text and str(root) in text and len(text) < 400 for text in found)
    assert not recwarn.list and "Warning" not in capfd.readouterr().err


@pytest.mark.parametrize("name", [name for name in BROKEN if name.startswith(("label:", "photo:"))])
def test_readers_refuse_or_read_but_never_crash(root, name):
    BROKEN[name][0](root)
    for path in (root / "train_label").iterdir():
        for read in (read_label, read_image):
            try:
                read(path)
            except UserError as error:
                assert str(path) in str(error)


def test_a_mirrored_picture_with_unswapped_ids_is_found(root):
    for i in range(20):
        save(root / f"train_label/x{i}.png", face_map(mirrored=i == 13))
        save(root / f"train_img/x{i}.jpg", np.roll(PHOTO, i + 20, 1))
    assert lines(root) == [f"warning: {root}/train_label/x13.png: has left and right the other way round than the others; "
                           "a mirrored picture needs its left and right ids swapped"]


def test_counts_are_exact(root):
    result = check.full_check(root)
    sizes = np.bincount(LABEL.ravel(), minlength=19)
    assert [result.pixels["train"][i] for i in range(19)] == (3 * sizes).tolist()
    assert [result.pictures["test"][i] for i in range(19)] == [1] * 19


def test_pictures_to_pictures_need_no_classes(tmp_path):
    for phase in ("train", "test"):
        for i in range(2):
            for side in "AB":
                pixels = np.roll(PHOTO, [10 * i + 3 * (side == "B") + (phase == "test"), 0], (0, 1))
                save(tmp_path / f"{phase}_{side}/{i}_{side}.jpg", pixels)
    assert lines(tmp_path) == []
    (tmp_path / "train_B/0_B.jpg").unlink()
    assert lines(tmp_path, 0) == [
        f"error: {tmp_path}/train_A/0_A.jpg: has no partner '0_A' in train_B; add it or remove this one"]


def test_quick_check_looks_at_names_headers_and_a_sample(root):
    assert check.quick_check(root, "train") == []
    put("train_img/a.jpg", b"")(root)
    put("train_label/b.png", bytes_of(with_label(19)))(root)
    (root / "train_label/c.png").unlink()
    found = {problem.kind for problem in check.quick_check(root, "train")}
    assert found == {"unpaired", "unreadable", "label out of range"}
    assert check.quick_check(root, "test") == []
    with pytest.raises(UserError, match="has no val_ folders; there are train, test"):
        check.quick_check(root, "val")


def test_check_labels(root):
    save(root / "train_label/b.png", with_label(19))
    paths = sorted((root / "train_label").iterdir())
    assert [problem.message.split(":")[0] for problem in check.check_labels(paths, 19)] == [str(paths[1])]
    assert check.check_labels(paths, None) == []


@pytest.mark.parametrize("spoil, status", [(None, 0), ("a class never seen", 1), ("label: 255", 2)])
def test_exit_status(root, spoil, status, capsys):
    if spoil:
        BROKEN[spoil][0](root)
    assert check.main([str(root), "--jobs", "1"]) == status
    assert "3 train, 1 test pictures" in capsys.readouterr().out


def test_photos_larger_than_their_maps_are_noted_in_one_line(root, capsys):
    """As CelebAMask-HQ is: photos of 1024, maps of 512."""
    for path in root.glob("*_img/*.jpg"):
        Image.open(path).resize((96, 96)).save(path)
    assert check.main([str(root), "--jobs", "1"]) == 0
    note, total = capsys.readouterr().out.splitlines()
    assert note.startswith(f"note: {root}: 4 of 4 photos are of another size") and "train_img/a.jpg: 96x96 and 48x48; " in note
    assert total.endswith("0 errors, 0 warnings")


def test_a_class_without_a_name_is_called_by_its_number_once(root):
    (root / "dataset.json").unlink()
    save(root / "test_label/d.png", with_label(19))
    said = "\n".join(lines(root, 22))
    assert "has 2 of 22 classes: 20, 21; is" in said and "has 19, which no training map has" in said
    assert "(19)" not in said and "(20)" not in said


def test_many_faults_of_a_kind_are_counted_and_listed_on_request(root, capsys):
    for i in range(30):
        save(root / f"train_label/x{i:02d}.png", LABEL)
    check.main([str(root), "--jobs", "1"])
    short = capsys.readouterr().out
    assert "error: unpaired (30)" in short and "... and 20 more" in short and "x29" not in short
    check.main([str(root), "--jobs", "1", "--all"])
    assert "x29" in capsys.readouterr().out


@pytest.mark.parametrize("folder, line", [("nowhere", "there is no such folder"), ("", "holds no folders such as train_label")])
def test_a_folder_that_is_no_data_root(tmp_path, folder, line):
    done = subprocess.run([sys.executable, "-m", "datasets.check", str(tmp_path / folder)], cwd=ROOT, text=True,
                          capture_output=True, timeout=60, env=os.environ)
    assert done.returncode == 2 and line in done.stderr and done.stderr.count("\n") == 1


class Page(html.parser.HTMLParser):
    """The tags and words of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data.strip())


def test_the_report_says_it_all_in_one_file(root, tmp_path):
    put("train_label/b.png", bytes_of(with_label(255)))(root)
    (root / "train_img/<script>alert('1')&.jpg").write_bytes(WHOLE_JPEG)
    check.main([str(root), "--jobs", "1", "--report", str(tmp_path / "pages/report.html")])
    page = Page((tmp_path / "pages/report.html").read_text())
    assert "script" not in page.tags
    assert any("<script>alert('1')&.jpg: has no partner" in word for word in page.words)
    assert {"l_eye", "hair", "255 (out of range)"} <= set(page.words)
    assert page.tags.count("img") == 12 and all(source.startswith("data:image/jpeg") for source in page.sources)
    assert any("2 errors" in word for word in page.words)
    assert any(f"python -m datasets.check {root} --jobs 1" in word for word in page.words)
