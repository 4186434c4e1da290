"""Flags: where a value comes from, what is refused, what is remembered."""
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data.data_loader import DATASETS
from models.models import MODELS, model_class, model_flags
from options import saved
from options.base_options import SAMPLE_FACES, BaseOptions
from options.flags import INF, FlagParser
from options.test_options import TestOptions
from options.train_options import TrainOptions
from tests.conftest import GOLDEN, ROOT, call, load_script, options
from util.errors import UserError

FLAGS = GOLDEN.parent / "acceptance" / "flags.json"


@pytest.fixture
def spot(tmp_path, monkeypatch):
    """An empty working directory with an empty data root in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def experiment(spot, name="faces", weights=True, **values):
    """A folder that holds an experiment's opt.json (values over a parse of nothing), and perhaps weights."""
    opt = options(["--name", name, "--dataroot", "data", *[w for k, v in values.items() for w in word(k, v)]])
    (spot / "checkpoints" / name).mkdir(parents=True)
    saved.write(opt)
    if weights:
        (spot / "checkpoints" / name / "latest_net_G.pth").write_bytes(b"")
    return spot / "checkpoints" / name


def word(flag, value):
    return [] if value is False else [f"--{flag}"] if value is True else [f"--{flag}", str(value)]


# where values come from

def test_command_line_over_dataset_json_over_default(spot):
    (spot / "data" / "dataset.json").write_text(json.dumps({"label_nc": 7, "defaults": {"loadSize": 64, "no_flip": True}}))
    opt = options(["--name", "x", "--dataroot", "data"])
    assert (opt.label_nc, opt.loadSize, opt.no_flip, opt.fineSize) == (7, 64, True, 512)
    assert (opt.sources["label_nc"], opt.sources["fineSize"]) == ("dataset.json", "default")
    opt = options(["--name", "x", "--dataroot", "data", "--label_nc", "9", "--loadSize", "32"])
    assert (opt.label_nc, opt.loadSize, opt.sources["loadSize"]) == (9, 32, "command line")


@pytest.mark.parametrize("flags, wanted", [
    ([], ("multiscale", 64, 3)), (["--netG", "region"], ("segmentation", 32, 16)),
    (["--netD", "segmentation"], ("segmentation", 32, 3)), (["--netG", "region", "--label_nc", "0"], ("multiscale", 64, 16)),
    (["--netG", "region", "--netD", "multiscale", "--feat_num", "3"], ("multiscale", 64, 3)),
    (["--netG", "region", "--ndf", "64"], ("segmentation", 64, 16))])
def test_a_region_generator_has_defaults_of_its_own(spot, flags, wanted):
    opt = options(["--name", "x", "--dataroot", "data", "--lambda_l1", "1", *flags])
    assert (opt.netD, opt.ndf, opt.feat_num) == wanted


def test_the_default_typed_is_still_the_users_word(spot):
    (spot / "data" / "dataset.json").write_text(json.dumps({"defaults": {"loadSize": 64}}))
    assert options(["--name", "x", "--dataroot", "data", "--loadSize", "1024"]).loadSize == 1024


def defaults(spot, **values):
    (spot / "data" / "dataset.json").write_text(json.dumps({"defaults": values}))


@pytest.mark.parametrize("role", ["train", "test"])
def test_a_data_root_sets_sizes_preprocessing_networks_and_epochs_and_nothing_else(role, spot):
    """Whoever makes the data must not choose what is read, written or run on another's machine."""
    may = {"loadSize", "fineSize", "label_nc", "contain_dontcare_label", "input_nc", "output_nc", "batchSize",
           "max_dataset_size", "display_winsize", "resize_or_crop", "no_flip", "serial_batches", "norm", "use_dropout",
           "netG", "ngf", "n_downsample_global",
           "n_blocks_global", "n_blocks_local", "n_local_enhancers", "upsample", "no_instance", "instance_feat", "label_feat",
           "feat_num", "n_downsample_E", "nef", "use_vae", "norm_E", "feat_skip", "niter_fix_global", "n_clusters"}
    train = {"niter", "niter_decay", "lr", "beta1", "aug_rotate", "aug_scale", "aug_color", "print_freq", "display_freq",
             "num_D", "n_layers_D", "ndf", "no_lsgan", "no_ganFeat_loss", "no_vgg_loss", "lambda_feat", "lambda_l1",
             "lambda_pyr", "lambda_gan", "lambda_kld", "kld_free_bits", "kld_warmup", "pool_size"}
    may |= train if role == "train" else {"aspect_ratio"}
    never = {"name", "gpu_ids", "checkpoints_dir", "model", "dataset_mode", "dataroot", "phase", "verbose", "compile",
             "nThreads", "local_rank", "which_epoch", "seed", "load_features", "precision", "fp16"}
    known = parsers(role)
    assert not never & known.from_dataset
    assert may <= known.from_dataset
    for dest in known.from_dataset - {"resize_or_crop"}:
        flag = known.flags()[dest]
        assert flag.nargs == 0 or flag.choices or isinstance(flag.default, (int, float)), f"{dest} may hold any text"
    for dest in known.flags().keys() - known.from_dataset:
        defaults(spot, **{dest: "1"})
        with pytest.raises(UserError, match=f"^data/dataset.json: defaults holds '{dest}', .*--{dest}$"):
            options(["--name", "x", "--dataroot", "data", "--niter" if role == "train" else "--how_many", "1"], role)


def test_what_a_data_root_says_of_another_command_is_left_to_that(spot):
    defaults(spot, niter=3, lambda_pyr=20.0, aspect_ratio=2.0, warmup=10, batchSize=4)
    opt = options(["--name", "x", "--dataroot", "data"])
    assert (opt.niter, opt.batchSize) == (3, 4)
    opt = options(["--name", "x", "--dataroot", "data"], "test")
    assert (opt.aspect_ratio, opt.batchSize) == (2, 1), "pictures of several sizes are drawn one by one"
    assert options(["--name", "x", "--dataroot", "data", "--model", "parsing"]).warmup == 10
    defaults(spot, niter="many")
    with pytest.raises(UserError, match="data/dataset.json: --niter must be a whole number"):
        options(["--name", "x", "--dataroot", "data"], "test")
    for role, dest in (("train", "export_onnx"), ("test", "vgg_weights"), ("train", "resnet_weights")):
        defaults(spot, **{dest: "file"})
        with pytest.raises(UserError, match=f"data/dataset.json: .*'{dest}'"):
            options(["--name", "x", "--dataroot", "data"], role)


def test_a_mistyped_default_of_a_data_root_is_told(spot):
    defaults(spot, loadsize=256)
    with pytest.raises(UserError, match="data/dataset.json: defaults holds 'loadsize', but there is no such flag"):
        options(["--name", "x", "--dataroot", "data"])


def test_what_a_model_adds_is_safe_until_it_says_otherwise():
    parser = FlagParser()
    group = parser.add_argument_group("toy", architecture=True)
    group.add_argument("--width", type=int, default=1)
    group.add_argument("--depth", type=int, default=1, architecture=False, from_dataset=True)
    parser.add_argument("--tables", default="")
    parser.add_argument("--heads", type=int, default=1, inherited=True)
    assert (parser.architecture, parser.inherited, parser.from_dataset) == ({"width"}, {"heads"}, {"depth"})


def test_test_takes_over_what_shapes_networks_and_data(spot):
    experiment(spot, ngf=8, netG="local", label_feat=True, loadSize=64, no_flip=True, niter=3, norm="batch",
               resize_or_crop="scale_width_and_crop", fineSize=32)
    opt = options(["--name", "faces"], "test")
    assert (opt.ngf, opt.netG, opt.label_feat, opt.loadSize, opt.norm) == (8, "local", True, 64, "batch")
    assert opt.resize_or_crop == "scale_width", "whole pictures are drawn"
    assert opt.sources["ngf"] == "opt.json" and opt.phase == "test"
    assert options(["--name", "faces", "--loadSize", "96"], "test").loadSize == 96
    opt = options(["--name", "faces"], "encode")
    assert (opt.ngf, opt.loadSize, opt.phase) == (8, 64, "train")


def test_opt_json_beats_dataset_json(spot):
    experiment(spot, label_nc=5)
    (spot / "data" / "dataset.json").write_text(json.dumps({"label_nc": 7}))
    assert options(["--name", "faces"], "test").label_nc == 5


def test_resume_takes_over_everything_but_what_belongs_to_the_call(spot):
    experiment(spot, niter=3, lr=0.01, pool_size=4, batchSize=2, verbose=True, seed=5)
    opt = options(["--name", "faces", "--continue_train", "--niter", "9"])
    assert (opt.niter, opt.lr, opt.pool_size, opt.batchSize, opt.seed) == (9, 0.01, 4, 2, 5)
    assert opt.verbose is False
    assert options(["--name", "faces"]).niter == 100, "a new run starts from the defaults"


def test_encode_can_read_the_record_of_other_weights(spot):
    experiment(spot, "other", ngf=8, label_feat=True)
    opt = options(["--name", "new", "--load_pretrain", "checkpoints/other", "--dataroot", "data"], "encode")
    assert opt.ngf == 8 and opt.name == "new"


@pytest.mark.parametrize("role", ["train", "encode"])
@pytest.mark.parametrize("epoch", ["latest", "30"])
def test_a_file_of_weights_names_its_folder_and_its_epoch(spot, role, epoch, capsys):
    experiment(spot, "other", ngf=8, label_feat=True)
    argv = ["--name", "new", "--load_pretrain", f"checkpoints/other/{epoch}_net_G.pth", "--dataroot", "data"]
    for more in ([], ["--which_epoch", epoch]):
        opt = options([*argv, *more], role)
        assert (opt.load_pretrain, opt.which_epoch) == (str(Path("checkpoints/other")), epoch)
        assert role == "train" or opt.ngf == 8, "the folder's record is found"
    with pytest.raises(UserError, match=f"--load_pretrain .*{epoch}_net_G.pth.*--which_epoch 7"):
        options([*argv, "--which_epoch", "7"], role)


@pytest.mark.parametrize("role", ["train", "encode"])
@pytest.mark.parametrize("name", ["parser.pth", "opt.txt", "last_net_G.pth", "gone.pth"])
def test_another_file_in_place_of_the_folder_is_refused(spot, role, name):
    folder = experiment(spot, "other")
    for file in ("parser.pth", "opt.txt", "last_net_G.pth"):
        (folder / file).write_bytes(b"")
    with pytest.raises(UserError, match="--load_pretrain checkpoints/other/.*the folder"):
        options(["--name", "new", "--load_pretrain", f"checkpoints/other/{name}", "--dataroot", "data"], role)


def test_a_folder_may_be_called_like_a_file(spot):
    (spot / "30_net_G.pth").mkdir()
    opt = options(["--name", "new", "--load_pretrain", "30_net_G.pth", "--dataroot", "data"])
    assert (opt.load_pretrain, opt.which_epoch) == ("30_net_G.pth", "latest")


def test_which_epoch_needs_something_to_start_from(spot):
    with pytest.raises(UserError, match="--which_epoch 30: .*--continue_train.*--load_pretrain"):
        options(["--name", "x", "--dataroot", "data", "--which_epoch", "30"])
    assert options(["--name", "x", "--dataroot", "data", "--which_epoch", "30", "--label_feat"], "encode").which_epoch == "30"
    for more in (["--continue_train"], ["--load_pretrain", "data"]):
        assert options(["--name", "x", "--dataroot", "data", "--which_epoch", "30", *more]).which_epoch == "30"


def test_no_record_means_the_command_line_describes_the_weights(spot):
    opt = options(["--name", "copied", "--dataroot", "data", "--ngf", "8"], "test")
    assert opt.ngf == 8 and opt.saved == {}


@pytest.mark.parametrize("flag, value", [("ngf", 16), ("netG", "local"), ("norm", "batch"), ("label_nc", 9),
                                         ("label_feat", True),
                                         ("no_instance", True), ("use_dropout", True), ("n_downsample_global", 2),
                                         ("feat_num", 5), ("output_nc", 1), ("upsample", "resize")])
@pytest.mark.parametrize("role", ["test", "train"])
def test_a_contradicted_architecture_is_refused(spot, flag, value, role):
    experiment(spot, ngf=8)
    argv = ["--name", "faces", *word(flag, value), *(["--continue_train"] if role == "train" else [])]
    with pytest.raises(UserError, match=f"--{flag} {value}: .*opt.json"):
        options(argv, role)


@pytest.mark.parametrize("role", ["train", "test"])
def test_every_switch_has_an_off_that_the_help_does_not_repeat(role, spot):
    parser = parsers(role)
    switches = [dest for dest, action in parser.flags().items() if action.nargs == 0]
    assert len(switches) > 9
    for dest in switches:
        assert getattr(parser.parse_args([f"--{dest}", f"--no-{dest}"]), dest) is False
        assert getattr(parser.parse_args([f"--no-{dest}", f"--{dest}"]), dest) is True
        assert f"--no-{dest}" not in parser.format_help().replace("--no-label_feat.", "")
    with pytest.raises(UserError, match="--no-ngf"):
        parser.parse_args(["--no-ngf"])


def test_what_was_saved_as_on_can_be_turned_off(spot):
    experiment(spot, label_feat=True, no_flip=True, no_vgg_loss=True, tf_log=True, fp16=True, seed=3)
    defaults(spot, serial_batches=True)
    again = ["--name", "faces", "--continue_train"]
    opt = options(again)
    assert opt.no_flip and opt.no_vgg_loss and opt.tf_log and opt.fp16 and opt.precision == "fp16" and opt.seed == 3
    opt = options([*again, "--no-no_flip", "--no-no_vgg_loss", "--no-tf_log", "--no-fp16", "--no-serial_batches"])
    assert not (opt.no_flip or opt.no_vgg_loss or opt.tf_log or opt.fp16 or opt.serial_batches) and opt.precision == "fp32"
    assert opt.sources["no_flip"] == "command line" and opt.label_feat
    assert options(["--name", "faces", "--no-fp16"], "test").precision == "fp32"
    assert options(["--name", "faces", "--no-fp16", "--precision", "bf16"], "test").precision == "bf16"


@pytest.mark.parametrize("role", ["train", "test"])
def test_turning_off_what_shapes_the_networks_is_refused(role, spot):
    experiment(spot, label_feat=True)
    with pytest.raises(UserError, match="^--no-label_feat: the experiment was trained with --label_feat True .*opt.json"):
        options(["--name", "faces", "--no-label_feat", *(["--continue_train"] if role == "train" else [])], role)
    assert options(["--name", "faces", "--no-use_vae"], "test").use_vae is False, "it was off"


def test_saying_the_same_again_is_no_contradiction(spot):
    experiment(spot, ngf=8, label_feat=True)
    assert options(["--name", "faces", "--ngf", "8", "--label_feat"], "test").ngf == 8


def test_sample_faces_stand_in_for_missing_data(spot, capsys):
    opt = TrainOptions().parse(["--gpu_ids", "-1"])
    assert opt.dataroot.rstrip("/").endswith("sample_faces") and opt.label_nc == 19
    lines = [line for line in capsys.readouterr().out.splitlines() if "sample faces" in line and "dataroot" in line]
    assert len([line for line in lines if line.startswith("No --dataroot")]) == 1
    assert SAMPLE_FACES.is_dir()
    (spot / "datasets" / "cityscapes").mkdir(parents=True)
    assert TrainOptions().parse(["--gpu_ids", "-1"]).dataroot == "./datasets/cityscapes/"


# the experiment that --name leaves open

def test_name_left_out_is_label2city_else_the_one_trained_last(spot, capsys):
    import os
    for i, name in enumerate(("old", "new", "copied")):
        folder = experiment(spot, name, label_feat=True)
        if name != "copied":
            (folder / "iter.txt").write_text("1\n0\n")
            os.utime(folder / "iter.txt", (1000 + i, 1000 + i))
    assert options([], "test").name == "new", "trained last; copied weights count only where nothing was trained"
    assert TestOptions().parse([]).name == "new"
    assert "new" in capsys.readouterr().out
    opt = TrainOptions().parse(["--continue_train"])
    assert opt.name == "new" and opt.label_feat and opt.sources["name"] == "trained last"
    assert capsys.readouterr().out.count("No --name given: using 'new', the experiment trained last in checkpoints") == 1
    assert TrainOptions().parse([]).name == "label2city", "a new training is the default's"
    experiment(spot, "label2city", label_feat=True)
    assert options([], "encode").name == "label2city"


def test_name_left_out_before_any_training_draws_with_the_shipped_weights(spot, capsys):
    experiment(spot, "sample_faces", label_feat=True)
    opt = TestOptions().parse(["--dataroot", "data"])
    assert (opt.name, opt.sources["name"], opt.label_feat) == ("sample_faces", "shipped", True)
    assert "the weights that come with this project, 'sample_faces'" in capsys.readouterr().out
    for role, argv in (("encode", []), ("train", ["--continue_train"])):  # which would write there
        with pytest.raises(UserError, match="--name is not given"):
            options([*argv, "--dataroot", "data"], role)
    experiment(spot, "own", label_feat=True)
    assert options([], "test").name == "own"


def test_name_left_out_with_nothing_trained_is_refused(spot):
    with pytest.raises(UserError, match="--name"):
        options(["--dataroot", "data"], "test")


def test_a_mistyped_flag_is_named_before_a_missing_experiment(spot):
    with pytest.raises(UserError, match="--nname"):
        options(["--nname", "x"], "test")


# what parsing gives

def test_options_are_read_only(spot):
    opt = options(["--name", "x", "--dataroot", "data"])
    with pytest.raises(AttributeError):
        opt.ngf = 3
    changed = opt.replace(ngf=3)
    assert (changed.ngf, opt.ngf) == (3, 64) and changed.flags()["ngf"] == 3


def test_record_holds_every_flag_and_comes_back_equal(spot):
    folder = experiment(spot, ngf=8, lr=0.1, label_feat=True, max_dataset_size=4)
    record = json.loads((folder / "opt.json").read_text())
    opt = options(["--name", "faces", "--dataroot", "data", "--ngf", "8", "--lr", "0.1", "--label_feat", "--max_dataset_size",
                   "4"])
    assert record["options"].keys() == opt.flags().keys()
    assert record["seed"] == 0 and "--ngf 8" in record["command"] and record["versions"]["torch"]
    again = options(["--name", "faces", "--continue_train"])
    assert {k: v for k, v in again.flags().items() if k != "continue_train"} == \
        {k: v for k, v in opt.flags().items() if k != "continue_train"}
    text = (folder / "opt.txt").read_text()
    assert "ngf: 8" in text and "label_feat: True" in text


def test_debug_runs_short_and_shows_everything(spot):
    opt = options(["--name", "x", "--dataroot", "data", "--debug", "--niter", "50"])
    assert (opt.niter, opt.niter_decay, opt.max_dataset_size, opt.display_freq, opt.print_freq) == (1, 0, 10, 1, 1)


def test_a_debug_run_can_be_extended_as_the_script_says(spot):
    experiment(spot, debug=True)
    assert options(["--name", "faces", "--continue_train", "--niter", "3"]).niter == 3


def test_encoding_and_testing_neither_shuffle_nor_mirror(spot):
    for role in ("encode", "test"):
        opt = options(["--name", "x", "--dataroot", "data", "--label_feat"], role)
        assert opt.serial_batches and opt.no_flip


def test_gpu_ids_become_a_list(spot, monkeypatch):
    import torch
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for text, ids in (("2", [2]), ("0,2", [0]), ("-1", [])):  # a program that brings its own words is one process
        opt = options(["--name", "x", "--dataroot", "data", "--gpu_ids", text], "test")
        assert opt.gpu_ids == ids
    with pytest.raises(UserError, match="--gpu_ids 3"):
        options(["--name", "x", "--dataroot", "data", "--gpu_ids", "3"])


@pytest.mark.parametrize("role", ["train", "encode", "test"])
def test_a_script_starts_as_many_processes_as_it_has_devices(spot, monkeypatch, role):
    import torch

    from util import distributed
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    launched = []
    monkeypatch.setattr(distributed, "launch", launched.append)
    words = ["--name", "x", "--dataroot", "data", "--label_feat", "--gpu_ids", "0,2"]
    monkeypatch.setattr("sys.argv", ["script.py", *words])
    (TestOptions() if role == "test" else TrainOptions(role=role)).parse()
    assert launched == [2]
    options(words, role)
    assert launched == [2], "a program that brings its own words is left alone"


@pytest.mark.parametrize("ids, batch, idle", [
    ("1,3", 1, "device 3 has nothing to do; raise --batchSize to 2,"), ("1,3", 2, ""), ("1,3", 3, ""),
    ("0,1,2,3", 2, "devices 2,3 have nothing to do; raise --batchSize to 4,"),
    ("0,1,2", 4, "device 2 has nothing to do; raise --batchSize to 6,")])
def test_a_device_without_a_share_of_the_batch_is_told(spot, monkeypatch, capsys, ids, batch, idle):
    import torch

    from util import distributed
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(distributed, "launch", lambda processes: None)
    words = ["--name", "x", "--dataroot", "data", "--label_feat", "--batchSize", str(batch), "--gpu_ids", ids]
    monkeypatch.setattr("sys.argv", ["train.py", *words])
    TrainOptions().parse()
    told = [line for line in capsys.readouterr().out.splitlines() if "nothing to do" in line]
    assert len(told) == bool(idle) and all(f"--gpu_ids {ids}: with --batchSize {batch} {idle}" in line for line in told)
    monkeypatch.setattr("sys.argv", ["test.py", *words])
    TestOptions().parse()
    assert "nothing to do" not in capsys.readouterr().out, "of a test each device has a run of the pictures"


def test_no_cuda_means_the_cpu_and_one_line_says_so(spot, monkeypatch, capsys):
    import torch
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TrainOptions().parse(["--name", "x", "--dataroot", "data"]).gpu_ids == []
    assert len([line for line in capsys.readouterr().out.splitlines() if "--gpu_ids 0" in line and "CPU" in line]) == 1


@pytest.mark.parametrize("there", [True, False])
def test_mps_is_used_where_it_is_and_the_cpu_where_not(spot, monkeypatch, capsys, there):
    import torch

    from util.device import device_of
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    opt = TrainOptions().parse(["--name", "x", "--dataroot", "data", "--gpu_ids", "mps", "--precision", "bf16"])
    lines = capsys.readouterr().out.splitlines()
    assert opt.gpu_ids == (["mps"] if there else []) and device_of(opt.gpu_ids) == torch.device("mps" if there else "cpu")
    assert len([line for line in lines if "--gpu_ids mps" in line and "CPU" in line]) == (not there)
    assert not there or len([line for line in lines if "--precision bf16" in line and "float32" in line]) == 1
    with pytest.raises(UserError, match="--gpu_ids mps,0"):
        options(["--name", "x", "--dataroot", "data", "--gpu_ids", "mps,0"])


def test_table_shows_what_is_no_default_and_where_it_came_from(spot, capsys):
    TrainOptions().parse(["--name", "x", "--dataroot", "data", "--ngf", "8"])
    out = capsys.readouterr().out
    assert "ngf: 8  [command line]" in out and "batchSize" not in out
    TrainOptions().parse(["--name", "x", "--dataroot", "data", "--verbose"])
    assert "batchSize: 1  [default]" in capsys.readouterr().out


def test_dataset_size_may_be_unlimited(spot):
    assert options(["--name", "x", "--dataroot", "data", "--max_dataset_size", "inf"]).max_dataset_size == INF


# every flag

def parsers(role):
    options_class = TestOptions if role == "test" else TrainOptions
    return options_class()._full_parser(BaseOptions("x")._first_phase([]), {})


@pytest.mark.parametrize("role", ["train", "test"])
def test_every_number_refuses_what_is_none(role, spot):
    for dest, action in parsers(role).flags().items():
        if type(action.default) not in (int, float):
            continue
        for text in ("nan", "-inf", "1e999x", "", "two"):
            with pytest.raises(UserError, match=f"--{dest}"):
                options(["--name", "x", "--dataroot", "data", f"{action.option_strings[0]}={text}"], role)


@pytest.mark.parametrize("role", ["train", "test"])
def test_every_flag_says_what_it_does(role):
    for dest, action in parsers(role).flags().items():
        assert action.option_strings == [f"--{dest}"]
        assert dest in parsers(role).without_effect or action.help and len(action.help) > 10, dest


@pytest.mark.skipif(not FLAGS.is_file(), reason="the reference's table is not here")
@pytest.mark.parametrize("role", ["train", "test"])
def test_reference_flags_keep_their_defaults(role):
    known = parsers(role).flags()
    for flag, entry in json.loads(FLAGS.read_text())[role].items():
        default = known[flag[2:]].default
        wanted = entry["default"]
        assert (default or None) == (wanted or None) or float(default) == float(wanted), flag


@pytest.mark.parametrize("role", ["train", "test"])
def test_every_flag_is_read_somewhere(role):
    """A flag that no file but the parsers reads does nothing."""
    files = list(ROOT.glob("*.py")) + [p for d in ("options", "data", "models", "util") for p in (ROOT / d).rglob("*.py")]
    text = "\n".join(p.read_text() for p in files)
    unread = [dest for dest in parsers(role).flags()
              if not any(form in text for form in (f"opt.{dest}", f'"{dest}",', f'values["{dest}"]', f"first.{dest}"))]
    assert unread == []


def test_help_says_what_applies():
    done = call("train", "--help")
    assert done.status == 0 and "  --ngf" in done.out and "  --serial_batches" in done.out and "--how_many" not in done.out
    assert all(name in done.out for name in (*MODELS, *DATASETS))
    listed, last = call("test", "--help").out.split("Accepted without effect:")
    training = {"--serial_batches", "--no_flip", "--tf_log", "--n_clusters", "--niter_fix_global"}
    assert training <= set(last.replace(",", "").split()) and not training & set(listed.split())
    assert "--no_style_sheet" not in listed + last
    listed, last = call("encode_features", "--help").out.split("Accepted without effect:")
    training = {"--niter", "--lr", "--ema", "--display_freq", "--aug_color", "--val_freq", "--ndf", "--lambda_feat"}
    listed = set(re.findall(r"^  (--\w+)", listed, re.M))
    assert training <= set(last.replace(",", "").split()) and not training & listed
    assert {"--load_pretrain", "--n_clusters", "--no_style_sheet", "--label_feat", "--ngf", "--phase"} <= listed


def test_help_is_as_wide_as_the_terminal(monkeypatch):
    for width in (60, 150):
        monkeypatch.setenv("COLUMNS", str(width))
        assert width - 30 < max(map(len, call("test", "--help").out.splitlines())) <= width


@pytest.mark.parametrize("name, role", [("train", "train"), ("encode_features", "encode"),
                                        ("precompute_feature_maps", "encode"), ("test", "test")])
def test_help_gives_two_examples_that_are_sound(name, role, spot, monkeypatch):
    experiment(spot, "faceIm", label_feat=True)
    (spot / "datasets" / "mine").mkdir(parents=True)
    text = load_script(name).__doc__
    examples = re.findall(rf"^    python {name}\.py .+$", text, re.M)
    assert len(examples) == 2
    for line in examples:
        assert options(shlex.split(line)[2:], role).label_feat
    monkeypatch.setattr("__main__.__doc__", text)
    monkeypatch.setenv("COLUMNS", "60")
    shown = call(name, "--help").out
    assert all(line in shown for line in examples), "as they are, whatever the width"


def test_help_and_faults_of_flags_do_not_wait_for_torch(spot):
    """Importing it takes seconds."""
    experiment(spot, label_feat=True)
    code = """if True:
        import json, runpy, sys
        for argv in json.loads(sys.argv[1]):
            sys.argv = argv
            try:
                runpy.run_path(argv[0], run_name="__main__")
            except SystemExit as end:
                assert end.code == (0 if "--help" in argv else 2), argv
            assert "torch" not in sys.modules, argv"""
    wrong = [["--ngf", "x"], ["--nname"], ["--label_feat", "--instance_feat"], ["--model", "parsing", "--label_nc", "1"],
             ["--model", "none"], ["--dataset_mode", "none"], ["--gpu_ids", "x"]]
    commands = [[f"{name}.py", "--name", "x", *words] for words in wrong for name in ("train", "test")]
    scripts = ("train", "encode_features", "precompute_feature_maps", "test", "evaluate", "edit")
    commands += [[f"{name}.py", "--help"] for name in scripts]
    commands += [["test.py", "--name", "faces", "--ngf", "3"], ["test.py", "--name", "faces", "--style", "hat"]]
    commands += [["evaluate.py", "--real", "x"]]
    programs = [path for path in (ROOT / "datasets").glob("*.py") if "def flags()" in path.read_text()]
    assert len(programs) >= 6
    commands += [[f"datasets/{path.name}", "--help"] for path in programs]
    commands = json.dumps([[str(ROOT / script), *words] for script, *words in commands])
    done = subprocess.run([sys.executable, "-c", code, commands], cwd=spot, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == 2 * len(wrong) + 3


def test_every_model_reads_its_flags_where_its_class_does(spot):
    for name in MODELS:
        flags, model = model_flags(name), model_class(name)
        assert model.modify_commandline_options is flags.modify_commandline_options
        assert model.check_options is flags.check_options
        assert options(["--name", "x", "--model", name, "--dataroot", "data"]).dataset_mode == model.dataset_mode


def test_flags_are_not_abbreviated(spot):
    with pytest.raises(UserError, match="--nit"):
        options(["--name", "x", "--dataroot", "data", "--nit", "3"])
