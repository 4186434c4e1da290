"""Starting from trained weights: a training takes over what the networks are, and nothing else."""
import json
import re
import shutil

import pytest

from models.models import MODELS, create_model
from models.pix2pixHD_weights import flags_of_weights
from options import saved
from tests.conftest import LOSSES, NETWORK, SIDE, SIZES, UNET, known, options, same
from util.checkpoint import Checkpoint, Position
from util.errors import UserError


@pytest.fixture
def spot(tmp_path, monkeypatch):
    """An empty working directory with an empty data root in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def weights(*flags):
    """An experiment 'old' with those flags: its record alone."""
    opt = options(["--name", "old", "--dataroot", "data", *flags])
    saved.experiment_folder(opt).mkdir(parents=True)
    saved.write(opt)


def start(*flags, role="train"):
    return options(["--name", "new", "--dataroot", "data", "--load_pretrain", "checkpoints/old", *flags], role)


def dataset_json(spot, **values):
    (spot / "data" / "dataset.json").write_text(json.dumps(values))


def test_a_training_takes_over_the_networks_of_its_start_and_no_more(spot):
    weights("--ngf", "8", "--label_feat", "--label_nc", "7", "--norm_E", "none", "--nef", "4", "--ndf", "6", "--num_D", "3",
            "--lr", "0.01", "--loadSize", "64", "--niter", "3", "--batchSize", "2", "--resize_or_crop", "none", "--fp16")
    opt = start()
    assert (opt.ngf, opt.label_feat, opt.label_nc, opt.norm_E, opt.nef, opt.ndf, opt.num_D) == (8, True, 7, "none", 4, 6, 3)
    assert {opt.sources[key] for key in ("ngf", "label_feat", "label_nc", "ndf")} == {"--load_pretrain"}
    assert (opt.lr, opt.loadSize, opt.niter, opt.batchSize, opt.precision) == (0.0002, 1024, 100, 1, "fp32")
    assert (opt.name, opt.dataroot, opt.resize_or_crop) == ("new", "data", "scale_width")


@pytest.mark.parametrize("flags, both", [
    (["--ngf", "16"], "--ngf 16.*--ngf 8"), (["--norm_E", "batch"], "--norm_E batch.*none"),
    (["--no-use_dropout"], "--no-use_dropout.*--use_dropout True"), (["--model", "parsing"], "--model parsing.*pix2pixHD"),
    (["--netG", "local"], "--netG local: .*--ngf 3 times 2 .*--ngf 7")])
def test_flags_that_contradict_the_weights_are_refused_with_both_values(spot, flags, both):
    weights("--ngf", "7" if "local" in flags else "8", "--label_feat", "--norm_E", "none", "--use_dropout")
    with pytest.raises(UserError, match=f"^{both}.*checkpoints/old/opt.json") as error:
        start(*flags)
    assert "\n" not in str(error.value) and "--load_pretrain" in str(error.value)


def test_what_shapes_only_first_and_last_layers_may_differ(spot):
    weights("--ngf", "8", "--label_feat", "--label_nc", "7", "--nef", "4")
    opt = start("--label_nc", "9", "--instance_feat", "--use_vae", "--feat_skip", "--ndf", "5", "--output_nc", "1")
    assert (opt.label_nc, opt.instance_feat, opt.label_feat, opt.use_vae, opt.ndf, opt.nef) == (9, True, False, True, 5, 4)
    opt = start("--no-label_feat", "--no_instance")
    assert not opt.label_feat and opt.no_instance


def test_the_new_data_knows_its_classes_and_the_weights_their_networks(spot):
    weights("--ngf", "8", "--label_nc", "7", "--ndf", "6")
    dataset_json(spot, label_nc=5, defaults={"ngf": 3, "ndf": 3, "loadSize": 32})
    opt = start()
    assert (opt.label_nc, opt.ngf, opt.ndf, opt.loadSize) == (5, 8, 6, 32)


def test_the_coarse_part_of_a_local_generator_has_the_global_ones_width(spot):
    weights("--ngf", "16", "--n_blocks_global", "2", "--label_feat")
    opt = start("--netG", "local", "--load_features")
    assert (opt.netG, opt.ngf, opt.n_blocks_global, opt.n_blocks_local) == ("local", 8, 2, 3)
    assert start("--netG", "local", "--ngf", "8").ngf == 8
    assert start("--netG", "local", "--n_local_enhancers", "2").ngf == 4
    with pytest.raises(UserError, match="--ngf 16 times 2 .*--ngf 16 .*leave --ngf out or give 8"):
        start("--netG", "local", "--ngf", "16")
    shutil.rmtree("checkpoints")
    weights("--netG", "local", "--ngf", "8", "--n_local_enhancers", "2")
    assert (start().netG, start().ngf, start().n_local_enhancers) == ("local", 8, 2)


def test_the_coarse_part_of_a_larger_region_generator_has_the_smaller_ones_widths(spot):
    weights("--netG", "region", "--ngf", "32", "--n_up", "4", "--label_feat")
    opt = start("--n_up", "6")
    assert (opt.netG, opt.n_up, opt.ngf, opt.ngf_max) == ("region", 6, 8, 128)
    assert start("--n_up", "5", "--ngf", "16").ngf == 16 and start().ngf_max == 0
    with pytest.raises(UserError, match="--n_up.*--ngf 32 times 2 .*--ngf 32 .*leave --ngf out or give 16"):
        start("--n_up", "5", "--ngf", "32")
    with pytest.raises(UserError, match="--n_up 3: .*--n_up 4"):
        start("--n_up", "3")


@pytest.fixture
def bare(trained, spot):
    """Weights without any record of their flags, as pix2pixHD's users have them: a function of what to leave out."""
    def copy(*without):
        shutil.copytree(trained / "faces", "checkpoints/old", ignore=shutil.ignore_patterns("opt.*", "*state*", *without))
    return copy


@pytest.mark.parametrize("role", ["train", "encode"])
def test_without_a_record_shapes_tell(bare, role):
    bare()
    opt = start("--label_feat", role=role)
    assert (opt.ngf, opt.nef, opt.n_downsample_global, opt.n_blocks_global, opt.n_downsample_E) == (4, 4, 2, 1, 2)
    assert opt.sources["ngf"] == "--load_pretrain" and opt.label_nc == 35, "inputs add up in the shapes"
    with pytest.raises(UserError, match="--n_blocks_global 9.*--n_blocks_global 1.*shapes in checkpoints/old"):
        start("--n_blocks_global", "9", role=role)


def test_a_generator_alone_tells_its_own_shape(bare):
    bare("*_net_[DE].pth")
    opt = start()
    assert (opt.ngf, opt.nef, opt.ndf) == (4, 16, 64)


def test_where_nothing_is_found_the_flags_count(spot):
    (spot / "checkpoints" / "old").mkdir(parents=True)
    assert start().ngf == 64


@pytest.mark.parametrize("flags", [
    [], ["--norm", "batch"], ["--use_dropout"], ["--upsample", "resize", "--feat_skip"], ["--use_vae", "--feat_num", "5"],
    ["--output_nc", "1"], ["--netG", "local", "--n_blocks_local", "2"], ["--n_blocks_global", "0", "--norm_E", "batch"],
    ["--num_D", "3", "--n_layers_D", "1"], ["--no_ganFeat_loss", "--num_D", "1"], ["--no_lsgan", "--no_ganFeat_loss"],
    ["--netG", "local", "--n_local_enhancers", "2", "--upsample", "resize"],
    ["--n_blocks_global", "0", "--upsample", "resize", "--netG", "local", "--no_lsgan"]])
def test_shapes_tell_what_networks_were_made_with(flags, root, tmp_path):
    argv = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", root, *SIZES, "--ngf", "6", "--nef", "5", "--ndf", "7",
            "--n_downsample_global", "2", "--n_blocks_global", "2", "--n_downsample_E", "3", "--no_vgg_loss", "--label_feat",
            *flags]
    opt = options(argv)
    found = flags_of_weights(create_model(opt).weights())
    assert found.items() <= opt.flags().items()
    wanted = {"netG", "ngf", "n_downsample_global", "n_blocks_global", "norm", "upsample", "feat_skip", "output_nc", "nef",
              "n_downsample_E", "feat_num", "use_vae", "ndf", "num_D", "n_layers_D", "no_ganFeat_loss"}
    wanted |= {"n_local_enhancers", "n_blocks_local"} if opt.netG == "local" else set()
    assert found.keys() - {"use_dropout", "norm_E"} == wanted, "use_dropout shows in residual blocks, where there are any"


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_no_flag_need_be_repeated(name, record, root, tmp_path, capsys):
    """Every model starts from its own weights, whole, with nothing given but where they are and what the data is."""
    small = known(name, [*NETWORK, *UNET, *LOSSES, "--label_feat", "--from_scratch", "--upsample", "resize"])
    shared = ["--model", name, "--name", "x", "--dataroot", root, *SIZES]
    opt = options([*shared, "--checkpoints_dir", tmp_path / "a", *small])
    model = create_model(opt)
    with Checkpoint(tmp_path / "a" / "x") as checkpoint:
        checkpoint.save(model, Position())
    if record:
        saved.write(opt)
    again = options([*(shared[2:] if record else shared), "--checkpoints_dir", tmp_path / "b", "--load_pretrain",
                     tmp_path / "a" / "x", *known(name, ["--no_vgg_loss", *([] if record else ["--label_feat"])])])
    assert again.model == name and again.loadSize == SIDE
    assert same(create_model(again).weights(), model.weights())
    assert not re.search("left out|starts fresh", capsys.readouterr().out)
