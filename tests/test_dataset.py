"""Data sets: pairs by name, one draw for all maps of an item, an order that follows from seed and epoch."""
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_loader import CreateDataLoader, collate
from data.dataset_spec import CELEBAMASK_HQ, FACE_PARSING, FACE_PARTS, SCHEMES, DatasetSpec, face_spec, flip_pairs_of
from data.image_files import read_image
from data.sampler import EpochSampler
from data.transforms import Augmentation, Draw, Preprocess, swap_ids
from tests.conftest import CLASSES, GOLDEN, NETWORK, SIDE, SIZES, label_map, options, picture, same, save, write_root
from util.errors import UserError


def loader_of(root, *flags, role="train"):
    return CreateDataLoader(options(["--name", "x", "--dataroot", root, *SIZES, *NETWORK, *flags], role))


# dataset.json

def test_spec_survives_the_disk(tmp_path):
    spec = DatasetSpec.from_dict({"label_nc": 3, "labels": ["a", "l_b", "r_b"],
                                  "colors": [[0, 0, 0], [1, 2, 3], [255, 255, 255]],
                                  "flip_pairs": [[1, 2]], "scheme": "mine", "defaults": {"loadSize": 64},
                                  "parts": {"sides": ["r_b", "l_b"]}, "note": "kept out"})
    spec.write(tmp_path)
    assert DatasetSpec.read(tmp_path) == spec
    assert DatasetSpec.read(tmp_path / "none") == DatasetSpec() and spec.part_ids() == {"sides": [2, 1]}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_faces_have_parts_in_either_numbering(scheme):
    spec = face_spec(scheme)
    assert {part: [spec.labels[i] for i in ids] for part, ids in spec.part_ids().items()} == \
        {part: list(names) for part, names in FACE_PARTS.items()}
    assert DatasetSpec.from_dict(spec.as_dict()) == spec


def test_classes_go_by_name_or_number():
    spec = face_spec()
    assert spec.label_of("hair") == 13 and spec.label_of("13") == 13 and spec.name_of(13) == "hair" and spec.name_of(40) == "40"
    for wrong in ("hiar", "19", "-1"):
        with pytest.raises(UserError, match="background"):
            spec.label_of(wrong)


def test_left_and_right_are_found_by_name():
    assert flip_pairs_of(CELEBAMASK_HQ) == [[4, 5], [6, 7], [8, 9]]
    assert sorted(FACE_PARSING) == sorted(CELEBAMASK_HQ)
    assert [[FACE_PARSING[a], FACE_PARSING[b]] for a, b in flip_pairs_of(FACE_PARSING)] == \
        [["l_brow", "r_brow"], ["l_eye", "r_eye"], ["l_ear", "r_ear"]]


@pytest.mark.parametrize("raw, said", [
    ([], "object"), ({"label_nc": -1}, "label_nc"), ({"label_nc": True}, "label_nc"), ({"label_nc": 2.5}, "label_nc"),
    ({"labels": "ab"}, "labels"), ({"labels": ["a", "a"]}, "twice"), ({"labels": ["a"], "label_nc": 2}, "1 names"),
    ({"colors": [[0, 0]]}, "colors"), ({"colors": [[0, 0, 256]]}, "colors"),
    ({"label_nc": 2, "colors": [[0, 0, 0]]}, "1 entries"),
    ({"flip_pairs": [[1]]}, "flip_pairs"), ({"flip_pairs": [[1, 2], [2, 3]]}, "twice"),
    ({"label_nc": 2, "flip_pairs": [[1, 2]]}, "id 2"),
    ({"parts": ["eyes"]}, "parts"), ({"labels": ["a"], "parts": {"eyes": "a"}}, "parts"),
    ({"labels": ["a"], "parts": {"eyes": []}}, "parts"), ({"labels": ["a"], "parts": {"eyes": ["a", "b"]}}, "'eyes' of b"),
    ({"labels": ["a"], "parts": {"eyes": ["a", "a"]}}, "twice"), ({"labels": ["a"], "parts": {"": ["a"]}}, "parts"),
    ({"parts": {"eyes": ["a"]}}, "'eyes' of a"),
    ({"defaults": []}, "defaults"), ({"defaults": {"loadSize": [1]}}, "defaults")])
def test_a_wrong_spec_is_refused_by_file_and_field(raw, said, tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match=f"dataset.json: .*{said}"):
        DatasetSpec.read(tmp_path)


# transforms

@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference's pictures are not here")
@pytest.mark.parametrize("number", range(4))
def test_preprocessing_equals_the_references(number):
    case = torch.load(GOLDEN / "transforms.pt", weights_only=True)[number]
    flags, size = {"loadSize": 64, "fineSize": 32, **case["opt"]}, case["size"]
    prep = Preprocess(flags["resize_or_crop"], flags["loadSize"], flags["fineSize"], True, multiple=16)
    draw = Draw(tuple(case["params"]["crop_pos"]), case["params"]["flip"])
    image = Image.fromarray(case["image_in"].numpy())
    assert torch.equal(prep.image(image, size, draw), case["image"])
    assert torch.equal(prep.ids(case["label_in"].numpy(), size, draw).long(), case["label"])
    difference = prep.ids(case["inst_in"].numpy(), size, draw).long() - case["inst"]
    assert (difference % 65536 == 0).all(), "the reference wraps ids above 32767 into negative ones"


@pytest.mark.parametrize("flip", [False, True])
def test_every_level_is_where_the_definition_puts_it(flip):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    level = torch.from_numpy((values[:, ::-1] if flip else values).copy()).float() / 255
    out = Preprocess("none", 0, 0, False).image(Image.fromarray(values), (16, 16), Draw(flip=flip))
    assert torch.equal(out[0], (level - 0.5) / 0.5)


@pytest.mark.parametrize("mode, size, scaled, final", [
    ("resize", (100, 60), (48, 48), (48, 48)), ("resize_and_crop", (100, 60), (48, 48), (32, 32)),
    ("scale_width", (100, 60), (48, 28), (48, 28)), ("scale_width_and_crop", (100, 60), (48, 28), (32, 32)),
    ("crop", (100, 20), (100, 20), (32, 32)), ("crop", (32, 20), (32, 20), (32, 20)),
    ("none", (100, 60), (96, 64), (96, 64)), ("none", (3, 3), (16, 16), (16, 16)),
    ("scale_width", (48, 3), (48, 3), (48, 3))])
def test_sizes(mode, size, scaled, final):
    prep = Preprocess(mode, 48, 32, False, 16)
    assert prep.scaled(size) == scaled and prep.final(size) == final
    image = Image.new("RGB", size)
    assert prep.image(image, size, prep.draw(size, np.random.default_rng(0))).shape == (3, final[1], final[0])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size, mode", [((256, 128), "crop"), ((100, 300), "crop"), ((512, 256), "scale_width_and_crop")])
def test_a_crop_larger_than_the_picture_is_a_square_as_pillow_crops_it(size, mode, flip):
    """Image.crop, which pix2pixHD uses, gives zeros outside; they are mirrored with the picture and then normalised."""
    random = np.random.default_rng(0)
    ids = random.integers(1, 6, size[::-1], dtype=np.uint8)
    photo = Image.fromarray(random.integers(1, 256, (*size[::-1], 3), dtype=np.uint8))
    prep = Preprocess(mode, 256, 192, True)
    for seed in range(4):
        x, y = prep.draw(size, np.random.default_rng(seed)).crop
        draw = Draw((x, y), flip)

        def original(image, how, x=x, y=y):
            image = image.resize(prep.scaled(size), how).crop((x, y, x + 192, y + 192))
            return np.asarray(image)[:, ::-1] if flip else np.asarray(image)
        wanted = torch.from_numpy(original(photo, Image.Resampling.BICUBIC).transpose(2, 0, 1).copy()).float() / 127.5 - 1
        assert torch.equal(prep.image(photo, size, draw), wanted) and (wanted == -1).any()
        for deep in (ids, ids.astype(np.int32) * 1000):
            got = prep.ids(deep, size, draw)[0].numpy()
            assert np.array_equal(got, original(Image.fromarray(deep), Image.Resampling.NEAREST)) and got.dtype == deep.dtype


def test_what_fills_up_a_crop_is_unlit_and_has_no_side():
    prep = Preprocess("crop", 0, 16, True, flip_pairs=((0, 1),), augmentation=Augmentation(color=0.9))
    draw = Draw(flip=True, color=(1.5, 0.3, 1.2))
    lit = prep.image(Image.new("RGB", (20, 8), "white"), (20, 8), draw, jitter=True)
    assert lit.shape == (3, 16, 16) and (lit[:, 8:] == -1).all() and (lit[:, :8] > -1).all()
    ids = prep.ids(np.zeros((8, 20), np.uint8), (20, 8), draw, swap=True)[0]
    assert (ids[:8] == 1).all() and (ids[8:] == 0).all()


def test_crops_of_wide_pictures_are_squares_that_the_networks_take(tmp_path):
    """SPADE's 286 and 256, at a tenth of the size: the height is less than the crop's."""
    write_root(tmp_path, {"train": 2}, size=(60, 30), inst=True)
    flags = ["--resize_or_crop", "scale_width_and_crop", "--loadSize", "29", "--fineSize", "24"]
    loader = loader_of(tmp_path, *flags, "--batchSize", "2", "--no_flip")
    batch = next(iter(loader))
    assert batch["label"].shape == batch["inst"].shape == (2, 1, 24, 24) and batch["size"] == [(24, 24)] * 2
    for key, nothing in (("label", 0), ("inst", 0), ("image", -1)):
        assert (batch[key][:, :, 14:] == nothing).all() and (batch[key][:, :, :14] != nothing).any(), key


def test_one_draw_serves_picture_and_maps():
    ids = np.arange(40 * 40, dtype=np.int32).reshape(40, 40) % 251
    image = Image.fromarray(np.repeat(ids[:, :, None], 3, 2).astype(np.uint8))
    prep = Preprocess("crop", 0, 16, True)
    seen = set()
    for seed in range(20):
        draw = prep.draw((40, 40), np.random.default_rng(seed))
        seen.add(draw)
        shown = (prep.image(image, (40, 40), draw)[0] + 1) * 127.5
        assert torch.equal(shown.round().int(), prep.ids(ids, (40, 40), draw)[0])
    assert len({d.crop for d in seen}) > 10 and {d.flip for d in seen} == {True, False}


def test_mirrored_left_eye_is_a_right_eye():
    ids = np.array([[4, 4, 1, 5]], np.uint8)
    prep = Preprocess("none", 0, 0, True, flip_pairs=((4, 5),))
    assert prep.ids(ids, (4, 1), Draw(flip=True), swap=True).tolist() == [[[4, 1, 5, 5]]]
    assert prep.ids(ids, (4, 1), Draw(flip=True)).tolist() == [[[5, 1, 4, 4]]], "instance ids have no sides"
    assert prep.ids(ids, (4, 1), Draw(), swap=True).tolist() == [ids.tolist()]
    assert swap_ids(np.array([[0, 1]], np.uint8), ((4, 5),)).tolist() == [[0, 1]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["RGB", "L", "F"])
def test_loading_a_picture_does_not_touch_it(mode):
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert(mode)
    before = np.array(image)
    out = Preprocess("none", 0, 0, False).image(image, (16, 16), Draw())
    assert np.array_equal(before, np.array(image)) and out.dtype == torch.float32 and out.min() == -1 and out.max() == 1


def test_pictures_span_minus_one_to_one_even_where_resampling_overshoots():
    image = Image.fromarray(np.tile(np.array([0, 255], np.uint8).repeat(4), (16, 2))).convert("F")
    out = Preprocess("resize", 48, 48, False).image(image, (16, 16), Draw())
    assert out.min() >= -1 and out.max() <= 1 and out.std() > 0.5


# order

def test_order_follows_from_seed_and_epoch():
    sampler = EpochSampler(50, 1, True, seed=1)
    assert sampler.order(1) == EpochSampler(50, 4, True, seed=1).order(1) and sorted(sampler.order(1)) == list(range(50))
    assert sampler.order(1) != sampler.order(2) and sampler.order(1) != EpochSampler(50, 1, True, seed=2).order(1)
    assert EpochSampler(50, 1, False, seed=1).order(3) == list(range(50))


def test_a_resume_goes_on_where_the_order_stood():
    whole, rest = EpochSampler(11, 3, True, 0), EpochSampler(11, 3, True, 0)
    assert list(rest.start(2, 6)) == list(whole.start(2))[2:] and len(rest) == 2 and len(whole) == 4
    assert list(whole.start(2, 11)) == []


def test_shards_make_up_the_global_batch():
    whole = list(EpochSampler(10, 4, True, 0).start(1))
    shards = [list(EpochSampler(10, 4, True, 0, rank, 2).start(1)) for rank in range(2)]
    assert [a + b for a, b in zip(*shards)] == whole


def test_workers_change_nothing(root):
    flags = ["--resize_or_crop", "resize_and_crop", "--fineSize", "16", "--batchSize", "2"]
    loaders = [loader_of(root, *flags, "--nThreads", str(n)) for n in (0, 2)]
    for epoch, done in ((1, 0), (2, 2), (1, 4)):
        runs = [list(loader.epoch(epoch, done)) for loader in loaders]
        assert same(*runs) and sum(len(batch["path"]) for batch in runs[0]) == 5 - done


def test_augmentation_follows_from_seed_epoch_and_index(root):
    flags = ["--resize_or_crop", "resize_and_crop", "--fineSize", "8"]
    data, twin = loader_of(root, *flags).dataset, loader_of(root, *flags, "--batchSize", "3").dataset
    assert all(same(data[(e, i)], twin[(e, i)]) for e in (1, 2) for i in range(5))
    assert any(not same(data[(1, i)], data[(2, i)]) for i in range(5)), "each epoch crops anew"
    other = loader_of(root, *flags, "--seed", "9").dataset
    assert any(not same(data[(1, i)], other[(1, i)]) for i in range(5))


def test_loading_leaves_the_random_state_alone(root):
    """A resume rebuilds the loader in mid-epoch; dropout and the image pool must not notice."""
    loader = loader_of(root)
    before = torch.get_rng_state()
    assert len(list(loader.epoch(1))) == 5
    assert torch.equal(before, torch.get_rng_state())


def test_no_flip_and_serial_batches_mean_it(root):
    data = loader_of(root, "--no_flip").dataset
    assert all(same(data[(1, i)], data[(e, i)]) for i in range(5) for e in range(2, 8))
    data = loader_of(root).dataset
    assert any(not same(data[(1, 0)]["image"], data[(e, 0)]["image"]) for e in range(2, 12))
    names = [batch["name"][0] for batch in loader_of(root, "--serial_batches").epoch(3)]
    assert names == sorted(names)


# pairs

def test_pairs_are_matched_by_name_not_by_order(tmp_path):
    for i, (label, photo) in enumerate((("b/x_label", "b/x"), ("a", "a_img"), ("c_gtFine_labelIds", "c_leftImg8bit"))):
        labels = np.full((SIDE, SIDE), i, np.uint8)
        save(tmp_path / "train_label" / f"{label}.png", labels)
        save(tmp_path / "train_img" / f"{photo}.jpg", np.full((SIDE, SIDE, 3), 80 * i, np.uint8))
    for stray in ("train_img/notes.txt", "train_label/.hidden.png"):
        (tmp_path / stray).write_text("not a picture")
    data = loader_of(tmp_path, "--no_flip").dataset
    assert len(data) == 3
    for item in (data[i] for i in range(3)):
        which = int(item["label"].unique())
        assert item["image"].mean().item() == pytest.approx(80 * which / 127.5 - 1, abs=0.02)
    assert sorted(item["name"] for item in (data[i] for i in range(3))) == ["a", "b/x_label", "c_gtFine_labelIds"]


def test_an_item_is_what_the_model_is_promised(root_inst):
    item = loader_of(root_inst, "--no_flip").dataset[0]
    stored = np.array(Image.open(root_inst / "train_label" / "p00.png"))
    assert torch.equal(item["label"][0], torch.from_numpy(stored)) and item["label"].dtype == torch.uint8
    inst = np.asarray(Image.open(root_inst / "train_inst" / "p00.png")).astype(np.int32)
    assert torch.equal(item["inst"][0].int(), torch.from_numpy(inst))
    photo = np.array(Image.open(root_inst / "train_img" / "p00.png"))
    assert torch.equal(((item["image"] + 1) * 127.5).round().byte(), torch.from_numpy(photo).permute(2, 0, 1))
    assert item["feat"] == 0 and item["index"] == 0 and item["path"].endswith("p00.png") and item["name"] == "p00"


def jpeg_pair(folder, side, turn=1):
    """A label map of 96x64 and its photo as JPEG, `side` times as large, stored turned as EXIF orientation `turn` says."""
    labels = label_map(np.random.default_rng(0), (96, 64))
    photo = picture(np.random.default_rng(1), labels).repeat(side, 0).repeat(side, 1)
    exif = Image.Exif()
    exif[274] = turn
    save(folder / "train_label" / "a.png", labels)
    (folder / "train_img").mkdir()
    stored = Image.fromarray(photo).transpose(Image.Transpose.ROTATE_90) if turn == 6 else Image.fromarray(photo)
    stored.save(folder / "train_img" / "a.jpg", quality=95, exif=exif)
    return photo


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("flags, side, decoded", [
    ("--resize_or_crop scale_width --loadSize 48", 2, (48, 32)), ("--resize_or_crop scale_width --loadSize 120", 3, (144, 96)),
    ("--resize_or_crop scale_width --loadSize 48", 1, (48, 32)), ("--resize_or_crop resize --loadSize 32", 2, (48, 32)),
    ("--resize_or_crop resize_and_crop --loadSize 64 --fineSize 16", 2, (96, 64)), ("--resize_or_crop pad", 1, (96, 64)),
    ("--resize_or_crop crop --fineSize 32", 4, (96, 64)), ("--resize_or_crop none", 2, (96, 64)),
    ("--resize_or_crop scale_width --loadSize 192", 1, (96, 64))])
def test_a_jpeg_is_decoded_no_larger_than_needed_and_never_smaller(tmp_path, flags, side, decoded, turn, monkeypatch):
    photo, sizes = jpeg_pair(tmp_path, side, turn), []

    def watched(*given):
        image = read_image(*given)
        sizes.append(image.size)
        return image
    monkeypatch.setattr("data.aligned_dataset.read_image", watched)
    dataset = loader_of(tmp_path, "--no_flip", *flags.split()).dataset
    item, scaled = dataset[0], dataset.preprocess.scaled((96, 64))
    assert sizes == [decoded] and decoded[0] >= min(scaled[0], 96 * side) and decoded[1] >= min(scaled[1], 64 * side)
    draw = dataset.preprocess.draw((96, 64), np.random.default_rng((0, 1, 0)))
    whole = dataset.preprocess.image(Image.fromarray(photo), (96, 64), draw)
    assert (item["image"] - whole).abs().mean() * 127.5 < 6


def test_faces_need_no_instance_maps(root, capsys):
    data = loader_of(root).dataset
    assert torch.equal(data[(1, 3)]["inst"], data[(1, 3)]["label"])
    assert "train_inst" in capsys.readouterr().out
    assert loader_of(root, "--no_instance").dataset[0]["inst"] == 0


def test_a_test_without_photos_is_fine(tmp_path, root):
    shutil.copytree(root / "test_label", tmp_path / "test_label")
    data = loader_of(tmp_path, role="test").dataset
    assert data[0]["image"] == 0 and len(data) == 3
    with pytest.raises(UserError, match="test_img"):
        loader_of(tmp_path, "--phase", "test")


def test_photos_for_a_few_test_pictures_only(tmp_path):
    write_root(tmp_path, {"test": 3})
    (tmp_path / "test_img" / "p01.png").unlink()
    batches = list(loader_of(tmp_path, role="test"))
    assert [torch.is_tensor(b["image"]) for b in batches] == [True, False, True]


def test_encoding_takes_the_test_folders_where_only_those_are(tmp_path, capsys):
    write_root(tmp_path, {"test": 2})
    assert loader_of(tmp_path, "--label_feat", role="encode").dataset.phase == "test"
    assert "test_" in capsys.readouterr().out
    with pytest.raises(UserError, match="train_label"):
        loader_of(tmp_path, "--label_feat", "--phase", "train", role="encode")


def test_pictures_to_pictures(tmp_path):
    write_root(tmp_path, {"train": 2}, pictures=("A", "B"))
    item = loader_of(tmp_path, "--label_nc", "0", "--no_instance", "--no_flip").dataset[0]
    photo = torch.from_numpy(np.asarray(Image.open(tmp_path / "train_A" / "p00.png")).copy()).permute(2, 0, 1)
    assert item["label"].shape == (3, SIDE, SIDE) and torch.equal(((item["label"] + 1) * 127.5).round().byte(), photo)
    grey = loader_of(tmp_path, "--label_nc", "0", "--no_instance", "--input_nc", "1", "--output_nc", "1").dataset[0]
    assert grey["label"].shape == grey["image"].shape == (1, SIDE, SIDE)
    with pytest.raises(UserError, match="no_instance"):
        loader_of(tmp_path, "--label_nc", "0")


def test_sixteen_bit_greys_keep_their_low_bits(tmp_path):
    write_root(tmp_path, {"train": 1}, pictures=("A", "B"))
    deep = (np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 60)
    save(tmp_path / "train_A" / "p00.png", deep)
    item = loader_of(tmp_path, "--label_nc", "0", "--no_instance", "--input_nc", "1", "--no_flip").dataset[0]
    assert len(item["label"].unique()) == SIDE * SIDE


def test_sixteen_bit_label_maps(tmp_path):
    labels = np.zeros((SIDE, SIDE), np.uint16)
    labels[:4] = 299
    save(tmp_path / "train_label" / "a.png", labels)
    save(tmp_path / "train_img" / "a.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    assert loader_of(tmp_path, "--label_nc", "300").dataset[0]["label"].max() == 299


def test_features_are_read_where_asked(tmp_path, root):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for i in range(5):
        save(tmp_path / "train_feat" / f"p{i:02d}.png", np.full((2 * SIDE, 2 * SIDE, 3), 255, np.uint8))
    item = loader_of(tmp_path, "--label_feat", "--load_features").dataset[0]
    assert item["feat"].shape == (3, SIDE, SIDE) and (item["feat"] == 1).all()


@pytest.mark.parametrize("more", [[], ["--aug_rotate", "30", "--aug_scale", "0.3"]])
def test_scaling_feature_maps_mixes_no_two_regions(tmp_path, root, more):
    """A feature is constant over its region; between two regions lies no third feature."""
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for i in range(5):
        regions = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((SIDE - 5, SIDE - 5), np.uint8))
        save(tmp_path / "train_feat" / f"p{i:02d}.png", np.repeat(regions[:, :, None], 3, 2))
    dataset = loader_of(tmp_path, "--label_feat", "--load_features", *more).dataset
    for i in range(5):
        assert set(dataset[i]["feat"].unique().tolist()) == {-1.0, 1.0}
        assert len(dataset[i]["image"].unique()) > 100


def test_feature_maps_that_are_missing_are_named(tmp_path, root):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for i in range(4):
        save(tmp_path / "train_feat" / f"p{i:02d}.png", np.full((2 * SIDE, 2 * SIDE, 3), 255, np.uint8))
    with pytest.raises(UserError, match="p04"):
        loader_of(tmp_path, "--label_feat", "--load_features")


@pytest.mark.parametrize("flags, role, count", [(["--max_dataset_size", "2"], "train", 2), (["--debug"], "train", 5),
                                                (["--ntest", "2"], "test", 2), (["--how_many", "1"], "test", 1)])
def test_size_limits(root, flags, role, count):
    loader = loader_of(root, *flags, role=role)
    assert len(loader) == count == sum(len(batch["path"]) for batch in loader)


def test_limits_keep_faults_beyond_them_out(tmp_path, root):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train_label" / "p04.png").write_bytes(b"broken")
    assert len(list(loader_of(tmp_path, "--max_dataset_size", "4"))) == 4


# faults

def test_every_file_at_fault_is_listed(tmp_path, root):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for name in ("p01", "p03"):
        save(tmp_path / "train_label" / f"{name}.png", np.full((SIDE, SIDE), CLASSES, np.uint8))
    with pytest.raises(UserError) as error:
        loader_of(tmp_path)
    assert all(word in str(error.value) for word in ("p01.png", "p03.png", f"label {CLASSES}", f"--label_nc {CLASSES}"))


def test_the_further_files_at_fault_are_files_whatever_their_line_begins_with(root):
    with pytest.raises(UserError, match=r"^--fineSize 30: .*p00\.png becomes .* -- and 4 more: \S*p01\.png, .*p04\.png$"):
        loader_of(root, "--resize_or_crop", "scale_width_and_crop", "--fineSize", "30")


@pytest.mark.parametrize("making", [lambda root: root, lambda root: (root / "train_A").mkdir()])
def test_what_is_missing_is_called_what_it_is(tmp_path, making):
    making(tmp_path)
    with pytest.raises(UserError, match="train_A.*; put the input pictures there"):
        loader_of(tmp_path, "--label_nc", "0", "--no_instance")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_breaks_in_training_is_named(tmp_path, root, workers):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    loader = loader_of(tmp_path, "--nThreads", str(workers), "--serial_batches")
    path = tmp_path / "train_img" / "p02.png"
    path.write_bytes(path.read_bytes()[:120])
    seen = []
    with pytest.raises(UserError, match="p02.png"):
        for batch in loader.epoch(1):
            seen += batch["name"]
    assert seen == ["p00", "p01"]


class Dying:
    """A data set whose third item takes its process with it, as a crash in a decoder does."""

    def __init__(self, inner):
        self.inner = inner

    def __getitem__(self, key):
        import os
        if key[1] == 2:
            os._exit(3)
        return self.inner[key]


def test_a_worker_that_dies_names_the_file(root):
    loader = loader_of(root, "--nThreads", "1", "--serial_batches")
    loader.loader.dataset.dataset = Dying(loader.dataset)
    with pytest.raises(UserError, match=r"died.*p0\d.png.*--nThreads 0"):
        list(loader.epoch(1))


def test_pictures_of_one_batch_have_one_size(tmp_path):
    random = np.random.default_rng(0)
    for name, size in (("a", (SIDE, SIDE)), ("b", (SIDE, 2 * SIDE))):
        labels = label_map(random, size)
        save(tmp_path / "train_label" / f"{name}.png", labels)
        save(tmp_path / "train_img" / f"{name}.png", picture(random, labels))
    assert len(list(loader_of(tmp_path))) == 2
    with pytest.raises(UserError, match="--batchSize 2.*32x32, 32x64"):
        list(loader_of(tmp_path, "--batchSize", "2"))


def test_collate_stacks_tensors_and_lists_the_rest():
    batch = collate([{"a": torch.zeros(1, 2), "b": "x"}, {"a": torch.ones(1, 2), "b": "y"}])
    assert batch["a"].shape == (2, 1, 2) and batch["b"] == ["x", "y"]


def test_padding_keeps_every_pixel():
    prep = Preprocess("pad", 64, 32, True, multiple=16)
    labels = np.random.default_rng(0).integers(0, 6, (35, 50), dtype=np.uint8)
    padded = prep.ids(labels, (50, 35), Draw())[0].numpy()
    assert padded.shape == (48, 64) == prep.final((50, 35))[::-1]
    assert np.array_equal(padded[:35, :50], labels) and prep.shown((50, 35)) == (50, 35)
    assert np.array_equal(padded[:35, 50:], np.repeat(labels[:, -1:], 14, 1))
    mirrored = prep.ids(labels, (50, 35), Draw(flip=True))[0].numpy()
    assert np.array_equal(mirrored[:35, :50], labels[:, ::-1])


def test_augmentation_moves_photo_and_map_alike_and_invents_no_class():
    prep = Preprocess("resize", 64, 64, False, augmentation=Augmentation(rotate=30, scale=0.3))
    labels = np.zeros((64, 64), np.uint8)
    labels[20:40, 12:50] = 5
    photo = Image.fromarray(np.repeat(labels[:, :, None] * 50, 3, 2))
    draws = [prep.draw((64, 64), np.random.default_rng(i)) for i in range(8)]
    assert len({draw.angle for draw in draws}) == 8 and all(abs(draw.angle) <= 30 and 0.7 <= draw.zoom <= 1.3 for draw in draws)
    for draw in draws:
        turned = prep.ids(labels, (64, 64), draw)[0].numpy()
        seen = (prep.image(photo, (64, 64), draw)[0].numpy() + 1) / 2 * 255 > 125
        assert set(np.unique(turned)) <= {0, 5} and (turned == 5).sum() != (labels == 5).sum()
        assert np.mean(seen == (turned == 5)) > 0.98


def test_light_falls_on_the_photo_alone():
    prep = Preprocess("resize", 8, 8, False, augmentation=Augmentation(color=0.5))
    draw = prep.draw((8, 8), np.random.default_rng(3))
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))
    assert not torch.equal(prep.image(photo, (8, 8), draw, jitter=True), prep.image(photo, (8, 8), draw))
    assert torch.equal(prep.image(photo, (8, 8), draw), prep.image(photo, (8, 8), Draw()))
    assert prep.image(photo, (8, 8), draw, jitter=True).abs().max() <= 1


def test_spawned_workers_load_what_forked_ones_do(root):
    alone = loader_of(root, "--batchSize", "2")
    spawned = loader_of(root, "--batchSize", "2", "--nThreads", "1")
    spawned.loader.multiprocessing_context = "spawn"
    for one, other in zip(alone.epoch(2), spawned.epoch(2), strict=True):
        assert same(one, other)
