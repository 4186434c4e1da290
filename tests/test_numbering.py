"""Names for the ids of faces: from a scheme's name, from where parts lie, and written down by the check."""
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from data.dataset_spec import CELEBAMASK_HQ, FACE_PARSING, SCHEMES, DatasetSpec, face_spec
from data.face_numbering import numbering_of
from data.image_files import read_label
from datasets import check
from datasets.relabel import translation
from tests.conftest import ROOT, label_map, options, save
from util.errors import UserError
from util.util import palette

FACES = ROOT / "datasets" / "sample_faces"
OTHER = translation("celebamask-hq", "face-parsing")


@pytest.fixture(scope="module")
def maps():
    """24 label maps of faces, in the numbering of CelebAMask-HQ."""
    return [read_label(path) for path in sorted((FACES / "train_label").iterdir())[:24]]


@pytest.fixture
def faces(tmp_path, maps):
    """A data root of faces that nothing is said about."""
    for i, ids in enumerate(maps[:10]):
        save(tmp_path / "faces" / "train_label" / f"{i}.png", ids)
        shutil.copy(sorted((FACES / "train_img").iterdir())[i], _made(tmp_path / "faces" / "train_img") / f"{i}.jpg")
    return tmp_path / "faces"


def _made(folder):
    folder.mkdir(exist_ok=True)
    return folder


def renumber(root, table):
    for path in (root / "train_label").iterdir():
        save(path, table[read_label(path)].astype(np.uint8))


def write(root, **values):
    (root / "dataset.json").write_text(json.dumps(values))


def written(root):
    return json.loads((root / "dataset.json").read_text())


# by name

@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_names_classes_and_pairs(scheme):
    spec = DatasetSpec.from_dict({"scheme": scheme, "defaults": {"loadSize": 64}})
    assert spec == face_spec(scheme, {"loadSize": 64})
    assert spec.label_nc == 19 and spec.labels[spec.label_of("hair")] == "hair" and len(spec.flip_pairs) == 3


def test_what_the_file_says_itself_stands():
    own = {"scheme": "celebamask-hq", "labels": ["a", "b"]}
    assert DatasetSpec.from_dict(own) == DatasetSpec(2, ("a", "b"), scheme="celebamask-hq")
    spec = DatasetSpec.from_dict({"scheme": "face-parsing", "flip_pairs": [], "colors": [[9, 9, i] for i in range(19)]})
    assert spec.flip_pairs == () and spec.class_colors[3] == (9, 9, 3) and spec.labels == FACE_PARSING
    with pytest.raises(UserError, match="label_nc is 20, but scheme face-parsing has 19 classes"):
        DatasetSpec.from_dict({"scheme": "face-parsing", "label_nc": 20})
    assert DatasetSpec.from_dict({"scheme": "mine", "label_nc": 4}).labels == ()


def test_a_part_has_one_colour_in_both_numberings(maps):
    one, other = (palette(19, face_spec(scheme).class_colors) for scheme in SCHEMES)
    assert np.array_equal(one[maps[0]], other[OTHER[maps[0]]]) and np.array_equal(one, palette(19))


# by where parts lie

@pytest.mark.parametrize("mirrored", [False, True])
def test_both_numberings_are_told_by_where_parts_lie(maps, mirrored):
    seen = [ids[:, ::-1] for ids in maps] if mirrored else maps
    assert numbering_of(seen) == "celebamask-hq" and numbering_of(OTHER[ids] for ids in seen) == "face-parsing"
    assert numbering_of(ids[::4, ::4] for ids in seen) == "celebamask-hq", "whatever the size"


def test_real_faces_are_told_as_well():
    real = [read_label(path) for path in (ROOT.parent / "shared/data/celebamask_hq_sample").glob("*_label/*.png")]
    if not real:
        pytest.skip("no real faces at hand")
    assert numbering_of(real * 2) == "celebamask-hq" and numbering_of(OTHER[ids] for ids in real * 2) == "face-parsing"


def test_other_numberings_are_told_by_nothing(maps):
    random = np.random.default_rng(0)
    for _ in range(40):
        assert numbering_of(np.r_[0, 1 + random.permutation(18)].astype(np.uint8)[ids] for ids in maps) == ""
    for a, b in (("skin", "nose"), ("l_eye", "l_brow"), ("hair", "skin"), ("u_lip", "l_lip"), ("l_eye", "r_eye"),
                 ("neck", "cloth"), ("nose", "r_ear")):
        table = np.arange(19)
        table[[CELEBAMASK_HQ.index(a), CELEBAMASK_HQ.index(b)]] = CELEBAMASK_HQ.index(b), CELEBAMASK_HQ.index(a)
        assert numbering_of(table[ids] for ids in maps) == "", (a, b)
    assert numbering_of(label_map(random, classes=19) for _ in range(24)) == ""
    assert numbering_of(maps[:7]) == "", "a few faces tell little"
    assert numbering_of([]) == "" and numbering_of([*maps, maps[0] + 100]) == ""


# in a run

def test_a_run_on_nineteen_classes_takes_the_names_it_sees_and_says_so(faces, capsys):
    renumber(faces, OTHER)
    opt = options(["--dataroot", faces, "--name", "x", "--label_nc", "19"])
    assert opt.spec.labels == FACE_PARSING and opt.spec.flip_pairs == face_spec("face-parsing").flip_pairs
    opt = options(["--dataroot", faces, "--name", "x", "--label_nc", "19", "--label_feat", "--style", "hair=3"], "test")
    assert opt.spec.label_of("hair") == 17
    assert options(["--dataroot", faces, "--name", "x", "--label_nc", "20"]).spec == DatasetSpec()
    write(faces, label_nc=19, labels=[f"c{i}" for i in range(19)])
    assert options(["--dataroot", faces, "--name", "x"]).spec.labels[17] == "c17", "who names them, names them"
    write(faces, defaults={"loadSize": 32}, dontcare=255)
    opt = options(["--dataroot", faces, "--name", "x", "--label_nc", "19"])
    assert (opt.loadSize, opt.spec.dontcare, opt.spec.class_names[17:]) == (32, 255, ("hair", "hat", "unlabelled"))


def test_the_line_tells_what_was_seen_and_how_to_write_it_down(faces, capsys, monkeypatch):
    from options.train_options import TrainOptions
    TrainOptions().parse(["--dataroot", str(faces), "--name", "x", "--label_nc", "19"])
    line, = [line for line in capsys.readouterr().out.splitlines() if "numbered as" in line]
    assert line.startswith(f"{faces}: ") and f"datasets.check {faces} --write" in line and "celebamask-hq" in line


# by the check

def test_the_check_tells_and_writes_what_it_sees(faces, capsys):
    assert check.main([str(faces), "--label_nc", "19"]) == 0
    out = capsys.readouterr().out
    assert "numbered as celebamask-hq" in out and "--write" in out and not (faces / "dataset.json").exists()
    check.main([str(faces), "--write"])
    out = capsys.readouterr().out
    assert "dataset.json: defaults, flip_pairs, label_nc, labels, parts, scheme written" in out and "as celebamask-hq" in out
    assert DatasetSpec.read(faces) == face_spec("celebamask-hq", {"loadSize": 256})
    before = (faces / "dataset.json").read_bytes()
    check.main([str(faces), "--write"])
    assert (faces / "dataset.json").read_bytes() == before and "written" not in capsys.readouterr().out


def test_the_check_keeps_what_is_written_and_adds_what_lacks(faces, capsys):
    write(faces, scheme="celebamask-hq", flip_pairs=[[4, 5]], note="mine", defaults={"loadSize": 128, "niter": 3})
    check.main([str(faces), "--write"])
    raw = written(faces)
    assert (raw["flip_pairs"], raw["note"], raw["defaults"]) == ([[4, 5]], "mine", {"loadSize": 128, "niter": 3})
    assert raw["labels"] == list(CELEBAMASK_HQ) and raw["label_nc"] == 19


@pytest.mark.parametrize("argv, line", [
    (["--scheme", "face-parsing"], "--scheme face-parsing: only --write"),
    (["--write", "--scheme", "face-parsing"], "--scheme face-parsing: .*dataset.json says celebamask-hq"),
    (["--write", "--label_nc", "20"], "--label_nc 20: .*dataset.json says 19")])
def test_flags_against_the_file_are_refused(faces, argv, line):
    write(faces, scheme="celebamask-hq")
    with pytest.raises(UserError, match=line):
        check.main([str(faces), *argv])
    assert written(faces) == {"scheme": "celebamask-hq"}


def test_a_wrong_scheme_is_told(faces, capsys):
    write(faces, scheme="face-parsing")
    assert check.main([str(faces)]) == 1
    assert "says face-parsing, but the label maps look numbered as celebamask-hq" in capsys.readouterr().out
    write(faces, scheme="celebamask-hq")
    check.main([str(faces)])
    assert "look numbered" not in capsys.readouterr().out


@pytest.mark.parametrize("ids, expected", [((0, 1, 5), {"label_nc": 6}), ((0, 3, 255), {"label_nc": 4, "dontcare": 255}),
                                           ((0, 254, 255), {"label_nc": 256})])
def test_of_other_classes_their_number_is_written(tmp_path, ids, expected, capsys):
    save(tmp_path / "train_label" / "a.png", np.array([ids] * 48, np.uint8).repeat(16, 1))
    save(tmp_path / "train_img" / "a.png", np.zeros((48, 48, 3), np.uint8))
    assert check.main([str(tmp_path), "--write"]) == 1
    assert written(tmp_path) == {**expected, "defaults": {"loadSize": 32}}
    assert f"label_nc {expected['label_nc']} written" in capsys.readouterr().out


def test_sizes_that_differ_are_not_written(faces):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(faces / "train_label" / "0.png")
    check.main([str(faces), "--write", "--scheme", "celebamask-hq"])
    assert "defaults" not in written(faces)
