"""Whatever a user can get wrong: exit status 2, one line that names the culprit and says what to do, nothing touched."""
import re
import shutil
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import CLASSES, LOSSES, NETWORK, SIDE, SIZES, call, save, spawn, tree

REMEDY = re.compile(
    "choose|must |give |leave |run |check |use |lower|raise|replace|remove|restore|save |fetch|copy|mend|keep one|stands alone|"
    "put |add |try |names a device twice|--help lists|wait for|needs|it is torchvision|make it|make the label map|delete it|"
    "Make it|take |train with|partner|its shapes say|scale it|only --netG|takes 1")
CASES = {}


class Spot:
    """A data root and an experiment 'faces' that a case may spoil, and the command lines that should have worked."""

    def __init__(self, folder, root, trained):
        self.folder, self.data, self.checkpoints = folder, folder / "data", folder / "checkpoints"
        shutil.copytree(root, self.data)
        shutil.copytree(trained, self.checkpoints)
        self.faces = self.checkpoints / "faces"

    def where(self, name):
        return ["--name", name, "--checkpoints_dir", self.checkpoints, "--dataroot", self.data]

    def train(self, *more):
        return ["train", *self.where("new"), *SIZES, *NETWORK, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html",
                *more]

    def resume(self, *more):
        return ["train", *self.where("faces"), "--gpu_ids", "-1", "--nThreads", "0", "--continue_train", "--niter", "2", *more]

    def encode(self, *more):
        return ["encode_features", *self.where("faces"), "--gpu_ids", "-1", "--nThreads", "0", *more]

    def draw(self, *more):
        return ["test", *self.where("faces"), "--gpu_ids", "-1", "--nThreads", "0", "--results_dir", self.folder / "results",
                *more]


def case(name, culprit):
    """Register a function of a Spot that spoils something and gives the command line."""
    def register(function):
        assert name not in CASES, name
        CASES[name] = (function, culprit)
        return function
    return register


def flag_case(words, culprit=None, command="train"):
    """A case that is only a command line; the culprit is its first flag unless said."""
    words = words if isinstance(words, list) else words.split()
    case(" ".join([*words, *([] if command == "train" else ["to", command])])[:60],
         culprit or re.escape(words[0].split("=")[0]))(lambda spot: getattr(spot, command)(*words))


# flags, one by one

for line in ("--netG globel", "--netG encoder", "--norm grup", "--norm none", "--model nosuch", "--dataset_mode unaligned",
             "--resize_or_crop stretch", "--gpu_ids gpu0", "--gpu_ids 0,0", "--gpu_ids 0,-1", "--gpu_ids=-2", "--name ../up",
             "--name .hidden", "--name a/b", "--phase ../train", "--which_epoch newest", "--which_epoch ../1", "--batchSize 0",
             "--batchSize -1", "--batchSize two", "--batchSize 1.5", "--lr nan", "--lr 0", "--lr inf", "--beta1 1",
             "--beta1 -0.1",
             "--beta1 nan", "--niter -1", "--niter_decay x", "--loadSize 0", "--loadSize 1000000", "--fineSize 0",
             "--label_nc -1",
             "--label_nc 70000", "--output_nc 2", "--input_nc 2 --label_nc 0 --no_instance", "--nThreads -1",
             "--max_dataset_size 0",
             "--print_freq 0", "--display_freq 0", "--save_latest_freq 0", "--save_time 0", "--save_time nan",
             "--keep_checkpoints 0", "--save_epoch_freq 0", "--pool_size -1",
             "--lambda_feat -1",
             "--lambda_feat nan", "--num_D 0", "--n_layers_D 0", "--ngf 0", "--n_downsample_global 0", "--n_local_enhancers 0",
             "--n_blocks_global -1", "--feat_num 0", "--data_type 12", "--seed -1", "--precision fp8", "--display_winsize 0",
             "--no_such_flag", "--nite 3", "--niter", "--lr"):
    flag_case(line)
for line in ("--n_up 0", "--n_up 9", "--norm_G batch", "--norm_G spade", "--netD patches", "--gan_mode wgan",
             "--gan_mode hinge --netD segmentation", "--gan_mode hinge --no_lsgan", "--gan_mode relativistic --pool_size 2",
             "--lambda_r1 -1", "--r1_every 0", "--lambda_labelmix nan", "--lr_D 0", "--beta2 1", "--diffaug blur",
             "--diffaug color,color", "--gan_start 0", "--gan_start 9 --lambda_l1 1",
             "--gan_start 2 --niter 2", "--lambda_gan 0 --netD segmentation", "--lambda_parts -1",
             "--lambda_texture -1", "--lambda_texture 1 --label_nc 0 --no_instance",
             "--feat_skip --netG region --label_feat",
             "--use_dropout --netG region", "--no_lsgan --netD segmentation"):
    flag_case(line, line.split()[0])
flag_case("--netD segmentation --label_nc 0 --no_instance", "--netD segmentation.*--netD multiscale")
flag_case(["--name", ""])
flag_case(["--name", "a\nb"])
flag_case(["--name", "x" * 300])
flag_case(["--no_flip", "True"], "True")
for line in ("--how_many 0", "--ntest 0", "--aspect_ratio 0", "--aspect_ratio nan", "--aspect_ratio 1e9", "--phase a/b",
             "--which_epoch last", "--niter 3"):
    flag_case(line, command="draw")
CASES["--name too long at test"] = (lambda spot: ["test", "--name", "x" * 300, "--checkpoints_dir", spot.checkpoints], "--name")

# flags that do not go together

for line, culprit in (("--instance_feat --label_feat", "--instance_feat and --label_feat"),
                      ("--label_feat --label_nc 0", "--label_feat.*--label_nc 0"),
                      ("--instance_feat --no_instance", "--instance_feat.*--no_instance"),
                      ("--load_features", "--load_features"),
                      ("--feat_skip", "--feat_skip"),
                      ("--label_feat --load_features --feat_num 2", "--feat_num 2.*--load_features"),
                      ("--niter_fix_global 1", "--niter_fix_global 1.*--netG local"),
                      ("--continue_train --load_pretrain .", "--load_pretrain.*--continue_train")):
    flag_case(line, culprit)
flag_case("--use_encoded_image --ngf 9", "--ngf 9.*--ngf 4.*opt.json", command="draw")
flag_case("--netG local", "--netG local.*--netG global.*opt.json", command="draw")
flag_case("--no_instance", "--no_instance.*opt.json", command="draw")
flag_case("--ngf 8", "--ngf 8.*--ngf 4.*opt.json", command="resume")
flag_case("--load_features", "--load_features", command="encode")

# sizes that the networks cannot take

for line, culprit in (("--loadSize 30", "--loadSize 30.*30x30.*multiples of 4"), ("--loadSize 4", "--loadSize 4.*from 8 up"),
                      ("--n_downsample_global 5", "--loadSize 32.*from 64 up"),
                      ("--netG local --n_local_enhancers 4", "--loadSize 32"),
                      ("--label_feat --n_downsample_E 5", "--loadSize 32"),
                      ("--resize_or_crop crop --fineSize 18", "--fineSize 18.*multiples of 4"),
                      ("--num_D 8", "--num_D 8|--loadSize 32")):
    flag_case(line, culprit)


# data roots

@case("missing data root", "--dataroot .*gone")
def _(spot):
    return spot.train("--dataroot", spot.folder / "gone")


@case("data root is a file", "--dataroot .*file")
def _(spot):
    (spot.folder / "file").write_text("")
    return spot.train("--dataroot", spot.folder / "file")


@case("data root without folders", "--dataroot .*train_label")
def _(spot):
    (spot.folder / "bare").mkdir()
    return spot.train("--dataroot", spot.folder / "bare")


@case("empty label folder", "train_label")
def _(spot):
    shutil.rmtree(spot.data / "train_label")
    (spot.data / "train_label").mkdir()
    return spot.train()


@case("no photos to train on", "train_img")
def _(spot):
    shutil.rmtree(spot.data / "train_img")
    return spot.train()


@case("a phase that is not there", "val_label")
def _(spot):
    return spot.train("--phase", "val")


@case("label map without photo", "train_img.*p03")
def _(spot):
    (spot.data / "train_img" / "p03.png").unlink()
    return spot.train()


@case("photo without label map", "train_label.*p03")
def _(spot):
    (spot.data / "train_label" / "p03.png").unlink()
    return spot.train()


@case("other names", "train_img.*5 of 5.*p00")
def _(spot):
    for path in (spot.data / "train_img").iterdir():
        path.rename(path.with_name("x" + path.name))
    return spot.train()


@case("one stem twice", "p00.jpg.*p00.png|p00.png.*p00.jpg")
def _(spot):
    shutil.copy(spot.data / "train_img" / "p00.png", spot.data / "train_img" / "p00.jpg")
    return spot.train()


@case("instance map missing", "train_inst.*p00")
def _(spot):
    save(spot.data / "train_inst" / "p04.png", np.zeros((SIDE, SIDE), np.uint8))
    return spot.train()


@case("features missing", "train_feat.*precompute_feature_maps")
def _(spot):
    return spot.train("--label_feat", "--load_features")


@case("no instances for pictures", "train_inst.*--no_instance")
def _(spot):
    for a, b in (("label", "A"), ("img", "B")):
        (spot.data / f"train_{a}").rename(spot.data / f"train_{b}")
    return spot.train("--label_nc", "0")


# pictures

for content, said in ((b"", "empty file"), (b"hello, I am no picture", "no picture"),
                      (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "broken|no picture")):
    for role in ("label", "img"):
        def spoil(spot, content=content, role=role):
            (spot.data / f"train_{role}" / "p02.png").write_bytes(content)
            return spot.train()
        CASES[f"{role} of {len(content)} bytes: {content[:5]!r}"] = (spoil, f"train_{role}.*p02.png: .*({said})")


@case("label map cut short", "train_label.*p02.png: is broken or cut short")
def _(spot):
    path = spot.data / "train_label" / "p02.png"
    path.write_bytes(path.read_bytes()[:70])
    return spot.train()


@case("test label map cut short", "test_label.*p02.png: is broken or cut short")
def _(spot):
    path = spot.data / "test_label" / "p02.png"
    path.write_bytes(path.read_bytes()[:70])
    return spot.draw()


@case("label out of range", f"p01.png: holds label {CLASSES}.*--label_nc {CLASSES}.*0 to {CLASSES - 1}")
def _(spot):
    save(spot.data / "train_label" / "p01.png", np.full((SIDE, SIDE), CLASSES, np.uint8))
    return spot.train()


@case("label out of range at test", "p01.png: holds label 255.*--label_nc")
def _(spot):
    save(spot.data / "test_label" / "p01.png", np.full((SIDE, SIDE), 255, np.uint8))
    return spot.draw()


@case("16-bit label out of range", "p01.png: holds label 26001.*--label_nc")
def _(spot):
    save(spot.data / "train_label" / "p01.png", np.full((SIDE, SIDE), 26001, np.uint16))
    return spot.train()


@case("RGB label map", "p01.png: is colour-coded.*one channel")
def _(spot):
    save(spot.data / "train_label" / "p01.png", np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))
    return spot.train()


@case("JPEG label map", "p01.jpg: is a JPEG.*PNG")
def _(spot):
    (spot.data / "train_label" / "p01.png").unlink()
    save(spot.data / "train_label" / "p01.jpg", np.zeros((SIDE, SIDE), np.uint8))
    return spot.train()


@case("grey palette", "p01.png: has a palette of greys.*PNG")
def _(spot):
    path = spot.data / "train_label" / "p01.png"
    Image.open(path).quantize(CLASSES).save(path)
    return spot.train()


@case("photo of another shape", "train_img.*p01.png: is 64x32.*32x32")
def _(spot):
    save(spot.data / "train_img" / "p01.png", np.zeros((SIDE, 2 * SIDE, 3), np.uint8))
    return spot.train()


@case("sizes differ in a batch", "--batchSize 2.*32x32, 32x64")
def _(spot):
    for role, shape in (("label", (2 * SIDE, SIDE)), ("img", (2 * SIDE, SIDE, 3))):
        save(spot.data / f"train_{role}" / "p01.png", np.zeros(shape, np.uint8))
    return spot.train("--batchSize", "2", "--serial_batches")


@case("picture as large as all memory", "p01.png: .*is larger than any picture")
def _(spot):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    (spot.data / "train_label" / "p01.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))
    return spot.train()


# dataset.json

for content, said in (("{", "JSON"), ("[]", "object"), ('{"label_nc": -1}', "label_nc"), ('{"labels": ["a", "a"]}', "labels"),
                      ('{"defaults": {"loadSize": "big"}}', "--loadSize"), ('{"defaults": {"netG": "globel"}}', "--netG"),
                      ('{"defaults": {"no_flip": 1}}', "--no_flip"), ('{"defaults": {"lr": -1}}', "--lr"),
                      ('{"flip_pairs": [[1, 1]]}', "flip_pairs"), ('{"flip_pairs": [[1, 7]]}', "flip_pairs.*7"),
                      ('{"flip_pairs": [[1, 300]]}', "flip_pairs.*300"), ('{"label_nc": 1e400}', "label_nc"),
                      ("[" * 100_000, "JSON"),
                      ('{"colors": [[0, 0, 999]]}', "colors")):
    def spoil(spot, content=content):
        (spot.data / "dataset.json").write_text(content)
        return spot.train("--seed", "1")
    CASES[f"dataset.json {content[:40]}"] = (spoil, f"dataset.json: .*{said}")


# checkpoints

@case("no such experiment", "gone.*--name|--name.*gone")
def _(spot):
    return spot.draw("--name", "gone")


@case("no such experiment to encode", "gone.*--name|--name.*gone")
def _(spot):
    return spot.encode("--name", "gone", "--label_feat")


@case("nothing to resume", "gone.*--name|--name.*gone")
def _(spot):
    return [*spot.train("--continue_train"), "--name", "gone"]


@case("no experiment at all", "--name")
def _(spot):
    return ["test", "--checkpoints_dir", spot.folder / "none", "--dataroot", spot.data]


@case("no such epoch", "7_net_G.pth.*latest.*--which_epoch")
def _(spot):
    return spot.draw("--which_epoch", "7")


@case("no such pretrained folder", "gone.*--load_pretrain")
def _(spot):
    return spot.train("--load_pretrain", spot.folder / "gone")


@case("pretrained weights of which none fit", "--load_pretrain")
def _(spot):
    return spot.train("--load_pretrain", spot.faces, "--ngf", "6", "--output_nc", "1")


@case("missing clusters", "features_clustered_010.npy.*encode_features.py")
def _(spot):
    (spot.faces / "features_clustered_010.npy").unlink()
    return spot.draw("--sample", "clusters")


@case("missing other clusters", "features_clustered_005.npy.*--cluster_path")
def _(spot):
    return spot.draw("--cluster_path", "features_clustered_005.npy")


@case("missing encoder", "latest_net_E.pth")
def _(spot):
    (spot.faces / "latest_net_E.pth").unlink()
    return spot.draw("--use_encoded_image")


@case("encode without encoder", "latest_net_E.pth")
def _(spot):
    (spot.faces / "latest_net_E.pth").unlink()
    return spot.encode()


@case("encode a model without features", "--label_feat")
def _(spot):
    (spot.faces / "opt.json").unlink()
    return spot.encode(*SIZES, *NETWORK)


@case("weights of other flags", "latest_net_G.pth: does not fit.*--ngf 4.*--n_downsample_global 2.*--n_blocks_global 1")
def _(spot):
    (spot.faces / "opt.json").unlink()
    return spot.draw(*SIZES, *NETWORK, "--label_feat", "--ngf", "8")


@case("weights of another norm", "latest_net_G.pth: does not fit")
def _(spot):
    (spot.faces / "opt.json").unlink()
    return spot.draw(*SIZES, *NETWORK, "--label_feat", "--norm", "batch")


@case("encoder weights of other flags", "latest_net_E.pth: does not fit.*--nef 4")
def _(spot):
    (spot.faces / "opt.json").unlink()
    return spot.encode(*SIZES, *NETWORK, "--label_feat", "--nef", "8")


class Trap:
    """Unpickled without care, makes the file 'ran' beside the data."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def spoilt_weights(write):
    def spoil(spot):
        write(spot.faces / "latest_net_G.pth", spot)
        return spot.draw("--use_encoded_image")
    return spoil


def not_finite(path, spot):
    state = torch.load(path, weights_only=True)
    state["model.1.weight"][0] = float("inf")
    torch.save(state, path)


for name, write in {
        "hostile": lambda path, spot: torch.save({"w": Trap(spot.folder / "ran")}, path),
        "hostile, old format": lambda path, spot: torch.save({"w": Trap(spot.folder / "ran")}, path,
                                                             _use_new_zipfile_serialization=False),
        "a text": lambda path, spot: path.write_text("hello"), "empty": lambda path, spot: path.write_bytes(b""),
        "cut short": lambda path, spot: path.write_bytes(path.read_bytes()[:2000]), "a list": lambda path,
        spot: torch.save([1], path),
        "a whole module": lambda path, spot: torch.save(torch.nn.Linear(1, 1), path), "numbered": lambda path,
        spot: torch.save({1: torch.ones(1)}, path),
        "not finite": not_finite}.items():
    CASES[f"weights are {name}"] = (spoilt_weights(write), "latest_net_G.pth")


def spoilt_clusters(write):
    def spoil(spot):
        write(spot.faces / "features_clustered_010.npy", spot)
        return spot.draw()
    return spoil


def objects(path, value):
    array = np.empty((), object)
    array[()] = value
    np.save(path, array, allow_pickle=True)


for name, write in {
        "hostile": lambda path, spot: objects(path, {1: Trap(spot.folder / "ran")}), "a text": lambda path,
        spot: path.write_text("hello"),
        "empty": lambda path, spot: path.write_bytes(b""), "cut short": lambda path,
        spot: path.write_bytes(path.read_bytes()[:150]),
        "a plain array": lambda path, spot: np.save(path, np.zeros(3)), "of another feat_num": lambda path,
        spot: objects(path, {1: np.zeros((2, 5))}),
        "not finite": lambda path, spot: objects(path, {1: np.full((2, 3), np.nan)})}.items():
    CASES[f"clusters are {name}"] = (spoilt_clusters(write), "features_clustered_010.npy.*encode_features.py")

for content in ("", "{", "[1]", '{"options": 3}', '{"options": {"ngf": "four"}}', '{"options": {"ngf": 0}}',
                '{"options": {"netG": "x"}}',
                '{"options": {"label_feat": "yes"}}', '{"options": {"model": "nosuch"}}', '{"options": {"model": [1]}}',
                '{"options": {"dataset_mode": {}}}', '{"options": {"loadSize": null}}', "\ufeff{}", "[" * 100_000):
    def spoil(spot, content=content):
        (spot.faces / "opt.json").write_text(content)
        return spot.draw()
    CASES[f"opt.json {content[:40]!r}"] = (spoil, "opt.json")


# resumes

@case("iter.txt is a text", "iter.txt")
def _(spot):
    (spot.faces / "latest_state.pth").unlink()
    (spot.faces / "iter.txt").write_text("yesterday")
    return spot.resume()


for name, write in {
        "hostile": lambda path, spot: torch.save({"position": Trap(spot.folder / "ran")}, path), "a text": lambda path,
        spot: path.write_text("hello"),
        "cut short": lambda path, spot: path.write_bytes(path.read_bytes()[:3000]), "of something else": lambda path,
        spot: torch.save({"a": 1}, path),
        "of a strange position": lambda path, spot: torch.save({"position": {"epoch": "x"}, "model": {}}, path),
        "of no optimizers": lambda path, spot: torch.save({"position": {"epoch": 1}, "model": {}}, path)}.items():
    def spoil(spot, write=write):
        write(spot.faces / "latest_state.pth", spot)
        return spot.resume()
    CASES[f"state is {name}"] = (spoil, "latest_state.pth")


# other files

@case("missing VGG weights", "--vgg_weights .*gone.pth")
def _(spot):
    return [word for word in spot.train("--vgg_weights", spot.folder / "gone.pth") if word != "--no_vgg_loss"]


@case("VGG weights of something else", "latest_net_G.pth.*VGG19.*--vgg_weights")
def _(spot):
    return [word for word in spot.train("--vgg_weights", spot.faces / "latest_net_G.pth") if word != "--no_vgg_loss"]


@case("checkpoints_dir is a file", "file.*--checkpoints_dir")
def _(spot):
    (spot.folder / "file").write_text("")
    return spot.train("--checkpoints_dir", spot.folder / "file")


@case("results_dir is a file", "file")
def _(spot):
    (spot.folder / "file").write_text("")
    return spot.draw("--results_dir", spot.folder / "file")


@case("checkpoints_dir is a file when encoding", "file/new: cannot be made")
def _(spot):
    (spot.folder / "file").write_text("")
    return spot.encode("--name", "new", "--checkpoints_dir", spot.folder / "file", "--load_pretrain", spot.faces)


@case("the folder of feature maps is a file", "train_feat: cannot be made")
def _(spot):
    (spot.data / "train_feat").write_text("")
    return ["precompute_feature_maps", *spot.encode()[1:]]


def assert_refused(done, culprit, spot, before):
    """What every refusal is like."""
    assert "Traceback" not in done.err
    assert done.status == 2, f"exit {done.status}\n{done.out[-1500:]}\n{done.err}"
    lines = [line for line in done.err.strip("\n").split("\n") if not re.match(r" *\d+%", line)]  # the progress so far
    assert len(lines) == 1, done.err
    message = lines[0].split(": error: ", 1)[1]
    assert re.search(culprit, message), message
    assert REMEDY.search(message), f"does not say what to do: {message}"
    assert len(message) < 700
    assert tree(spot.checkpoints) == before and sorted(p.name for p in spot.checkpoints.iterdir()) == ["faces"]
    assert not (spot.folder / "ran").exists(), "a file ran code"


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_line(name, tmp_path, root, trained):
    make, culprit = CASES[name]
    spot = Spot(tmp_path, root, trained)
    script, *argv = make(spot)
    before = tree(spot.checkpoints)
    assert_refused(call(script, *argv), culprit, spot, before)


AS_PROCESSES = ["--netG globel", "missing data root", "label out of range", "weights are hostile", "weights are cut short",
                "clusters are hostile", "state is hostile", "weights of other flags"]


def test_refused_in_one_line_by_the_real_commands(tmp_path, root, trained):
    def run(name):
        make, culprit = CASES[name]
        spot = Spot(tmp_path / str(AS_PROCESSES.index(name)), root, trained)
        script, *argv = make(spot)
        before = tree(spot.checkpoints)
        return spawn(script, *argv), culprit, spot, before
    with ThreadPoolExecutor(2) as pool:
        for name, found in zip(AS_PROCESSES, pool.map(run, AS_PROCESSES)):
            print(name)
            assert_refused(*found)


def test_verbose_shows_where_it_came_from(tmp_path, root, trained):
    spot = Spot(tmp_path, root, trained)
    done = call(*spot.train("--netG", "globel", "--verbose"))
    assert done.status == 2 and "Traceback" in done.err and "--netG" in done.err.splitlines()[-1]


def test_the_commands_that_cases_spoil_work(tmp_path, root, trained):
    spot = Spot(tmp_path, root, trained)
    for argv in (spot.train(), spot.resume(), spot.encode(), spot.draw()):
        done = call(*argv)
        assert done.status == 0, done.err
    assert len(list((spot.folder / "results").rglob("*_synthesized_image.jpg"))) == 3


def test_the_traps_would_spring(tmp_path):
    torch.save({"w": Trap(tmp_path / "ran")}, tmp_path / "a.pth")
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert (tmp_path / "ran").exists() and len(CASES) > 150


def test_colours_in_a_label_map_are_told_from_grey_stored_as_rgb(tmp_path, root, trained):
    spot = Spot(tmp_path, root, trained)
    path = spot.data / "train_label" / "p01.png"
    Image.open(path).convert("RGB").save(path)
    assert call(*spot.train()).status == 0
