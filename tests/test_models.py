"""Every registered model: the step, its gradients, its pictures, and a resume that is equal bit for bit."""
import copy
import urllib.error

import numpy as np
import pytest
import torch

from data.data_loader import CreateDataLoader
from models.base_model import Diverged
from models.models import MODELS, create_model, model_class
from models.styles.styles import Choice
from tests.conftest import CLASSES, IDENTITY, LOSSES, NETWORK, SIDE, SIZES, UNET, call, known, options, same, save, write_root
from util.checkpoint import Checkpoint, Position
from util.errors import UserError
from util.image_pool import ImagePool

# what a model's users combine
CASES = {"pix2pixHD": {
    "plain": [], "label_feat": ["--label_feat"], "instance_feat": ["--instance_feat"],
    "local": ["--netG", "local", "--label_feat"],
    "no_instance": ["--no_instance"], "batch_norm": ["--norm", "batch"], "no_lsgan": ["--no_lsgan", "--no_ganFeat_loss"],
    "dropout": ["--use_dropout"], "pool": ["--pool_size", "3"], "grey": ["--output_nc", "1", "--label_feat"],
    "skip": ["--label_feat", "--feat_skip", "--norm_E", "none", "--nef", "16", "--upsample", "resize"],
    "l1": ["--lambda_l1", "10", "--lambda_pyr", "5"],
    "vae": ["--label_feat", "--use_vae", "--batchSize", "2"],
    "vae_skip": ["--instance_feat", "--use_vae", "--feat_skip", "--norm_E", "none", "--nef", "16"],
    "bf16": ["--precision", "bf16"],
    "region": ["--netG", "region", "--label_feat"],
    "region_instances": ["--netG", "region", "--instance_feat", "--use_vae", "--diffaug", "color,translation,cutout",
                         "--precision", "bf16"],
    "spade": ["--netG", "region", "--norm_G", "spade", "--label_feat", "--netD", "multiscale", "--gan_mode", "relativistic",
              "--lambda_r1", "1", "--r1_every", "1"],
    "hinge": ["--gan_mode", "hinge", "--lambda_r1", "1", "--r1_every", "1", "--diffaug", "color,cutout"],
    "segmentation": ["--netD", "segmentation", "--lambda_r1", "1", "--r1_every", "1", "--pool_size", "2", "--lambda_parts",
                     "1", "--lambda_texture", "1"]},
    "vae": {"plain": [], "deterministic": ["--latent", "deterministic"], "bf16": ["--precision", "bf16"],
            "conditional": ["--condition", "attributes", "--rec", "l1", "--kld_warmup", "1", "--lambda_xcov", "1"]},
    "gan": {"plain": ["--lambda_r1", "1"], "projection": ["--condition", "projection", "--gan_mode", "lsgan"],
            "concat": ["--condition", "concat", "--gan_mode", "wgangp"],
            "auxiliary": ["--condition", "auxiliary", "--gan_mode", "vanilla", "--diffaug", "color,translation,cutout",
                          "--lambda_ms", "0.1"]},
    "simswap": {"plain": ["--batchSize", "2"], "gaussian": ["--latent", "gaussian", "--output_range", "tanh"],
                "bf16": ["--precision", "bf16"]},
    "diffusion": {
        "plain": ["--warmup", "0"], "label": ["--condition", "label", "--warmup", "0", "--objective", "v", "--snr_gamma", "5"],
        "sigma": ["--learn_sigma", "--warmup", "0", "--batchSize", "2", "--beta_schedule", "cosine", "--dropout", "0.1"],
        "bf16": ["--precision", "bf16", "--warmup", "0"]}}
OTHERS = {"plain": [], "batch": ["--batchSize", "2"], "bf16": ["--precision", "bf16"]}
HARD = ["--label_feat", "--use_dropout", "--pool_size", "2", "--resize_or_crop", "resize_and_crop", "--fineSize", "16"]


def flags_of(name, root, checkpoints, *more, role="train"):
    """Command line of a small model; flags that it does not have are left out."""
    argv = ["--model", name, "--name", "x", "--checkpoints_dir", checkpoints, "--dataroot", root, "--batchSize", "1"]
    return known(name, [*argv, *SIZES, *NETWORK, *UNET, *IDENTITY, *more], role)


def first_gradients(model, batch):
    """The gradients of a step, {parameter: gradient}: without the step's own way of letting go of them."""
    model._stores_all_gradients = lambda: True
    terms = model.train_step(batch)
    return terms, {k: p.grad for k, p in model.nets.named_parameters() if p.requires_grad}


def training(name, root, checkpoints, *more):
    opt = options(flags_of(name, root, checkpoints, *LOSSES, "--from_scratch", *more))
    return create_model(opt), CreateDataLoader(opt)


def first_batch(loader):
    return next(iter(loader.epoch(1)))


models_and_cases = [pytest.param(name, flags, id=f"{name}-{case}")
                    for name in MODELS for case, flags in CASES.get(name, OTHERS).items()]


@pytest.mark.parametrize("name, flags", models_and_cases)
def test_every_parameter_of_an_update_learns(name, flags, root_inst, tmp_path):
    model, loader = training(name, root_inst, tmp_path, "--batchSize", "2", *flags)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.start_epoch(1)
    terms, gradients = first_gradients(model, first_batch(loader))
    assert terms and all(torch.isfinite(v) and v.ndim == 0 and not v.requires_grad for v in terms.values())
    owned = [id(p) for o in model.optimizers.values() for group in o.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in model.nets.parameters() if p.requires_grad), "each has one optimizer"
    for key, gradient in gradients.items():
        assert gradient is not None and torch.isfinite(gradient).all(), key
        assert gradient.abs().max() > 0 or key.endswith(("bias", "noise_of_style")), key  # before a norm; noise starts at 0
    after = model.state_dict()
    assert all(not torch.equal(before[k], after[k]) for k,
               p in model.named_parameters() if k.endswith("weight") and p.requires_grad)


@pytest.mark.parametrize("name, flags", models_and_cases)
def test_drawn_pictures_have_the_size_and_range(name, flags, root_inst, tmp_path):
    model, loader = training(name, root_inst, tmp_path, *flags)
    with Checkpoint(tmp_path / "x") as checkpoint:
        checkpoint.save(model, Position())
    features = ["--use_encoded_image"] if "feat" in " ".join(flags) else []
    opt = options(flags_of(name, root_inst, tmp_path, *flags, *features, role="test"), "test")
    drawer = create_model(opt)
    assert not drawer.training and not any(p.requires_grad for p in drawer.parameters()) and not drawer.optimizers
    batch = next(iter(CreateDataLoader(opt)))
    outputs = drawer.inference(batch)
    image = outputs["synthesized_image"]
    assert image.shape == (opt.batchSize, opt.output_nc, SIDE, SIDE) and image.dtype == torch.float32
    assert image.min() >= -1 and image.max() <= 1 and image.std() > 0
    assert torch.equal(image, drawer.inference(batch)["synthesized_image"]), "drawing is not a matter of chance"
    shown = drawer.result_visuals(batch, outputs, 0)
    assert all(v.shape == (SIDE, SIDE, 3) and v.dtype == np.uint8 for v in shown.values())
    assert {key.split("_")[0] for key in shown} >= {"synthesized"}


@pytest.mark.parametrize("name", MODELS)
def test_updates_have_the_gradients_of_their_own_loss_before_any_step(name, root_inst, tmp_path):
    model, loader = training(name, root_inst, tmp_path, "--label_feat", "--norm", "batch")
    model.start_epoch(1)
    twin, batch = copy.deepcopy(model), first_batch(loader)
    twin.train()
    torch.manual_seed(1)
    twin.prepare(batch)
    terms = {update: loss() for update, loss in twin.updates()}
    torch.manual_seed(1)
    first_gradients(model, batch)
    for update, found in terms.items():
        parameters = [p for group in twin.optimizers[update].param_groups for p in group["params"]]
        wanted = torch.autograd.grad(sum(found.values()) * twin.loss_scale.get(update, 1), parameters, retain_graph=True)
        taken = [p.grad for group in model.optimizers[update].param_groups for p in group["params"]]
        for a, b in zip(taken, wanted, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_a_loss_that_is_not_finite_stops_before_the_step(name, root, tmp_path):
    model, loader = training(name, root, tmp_path)
    model.start_epoch(1)
    batch = first_batch(loader)
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    next(v for v in batch.values() if torch.is_tensor(v) and v.is_floating_point())[0, 0, 3, 3] = float("nan")
    with pytest.raises(Diverged, match=r"diverged: .* is nan for .*p0\d\.png.*--continue_train"):
        model.train_step(batch)
    assert same(before, dict(model.named_parameters()))


# the same run twice, and in two parts

def course(model, loader, checkpoint, epochs, stop=None, start=None):
    """Train; `stop` saves and ends after so many pictures in all, `start` is the position to go on from."""
    position = start or Position()
    terms = []
    while position.epoch <= epochs:
        model.start_epoch(position.epoch)
        for batch in loader.epoch(position.epoch, position.done):
            terms.append(model.train_step(batch))
            position.done, position.total = position.done + len(batch["path"]), position.total + len(batch["path"])
            if position.total == stop:
                checkpoint.save(model, position)
                return terms
        position.epoch, position.done = position.epoch + 1, 0
    return terms


def in_two_parts(name, root, folder, flags, stop, epochs=2):
    """(one go, in two parts): each (terms of every step, final state of the model)."""
    whole, loader = training(name, root, folder / "whole", *flags)
    terms = course(whole, loader, None, epochs)
    first, loader = training(name, root, folder / "parts", *flags)
    with Checkpoint(folder / "parts" / "x") as checkpoint:
        parts = course(first, loader, checkpoint, epochs, stop)
        torch.manual_seed(12345)  # another process would have another random state
        second, loader = training(name, root, folder / "parts", *flags, "--continue_train")
        parts += course(second, loader, checkpoint, epochs, start=checkpoint.resume(second, "latest", len(loader)))
    return (terms, whole), (parts, second)


def assert_equal_runs(one, other):
    for step, (a, b) in enumerate(zip(one[0], other[0], strict=True)):
        assert same(a, b), f"losses differ at step {step + 1}"
    assert same(one[1].weights(), other[1].weights())
    a, b = one[1].state(), other[1].state()
    assert same(a, b), [k for k in a if not same(a[k], b[k])]


@pytest.mark.parametrize("stop", [2, 5, 7])
@pytest.mark.parametrize("name", MODELS)
def test_a_resumed_run_equals_the_uninterrupted_one(name, stop, root, tmp_path):
    assert_equal_runs(*in_two_parts(name, root, tmp_path, HARD, stop))


@pytest.mark.parametrize("name", MODELS)
def test_a_resumed_run_has_the_averages_of_the_uninterrupted_one(name, root, tmp_path):
    flags = [*HARD, "--ema", "0.5"]
    whole, parts = in_two_parts(name, root, tmp_path, flags, 7)
    assert_equal_runs(whole, parts)
    assert {key for key in whole[1].weights() if key.endswith("_ema")} == {f"{n}_ema" for n in whole[1].inference_networks()}


@pytest.mark.parametrize("flags, stop", [
    (["--netG", "local", "--niter_fix_global", "1", "--label_feat"], 3), (["--netG", "local", "--niter_fix_global", "1"], 5),
    (["--netG", "local", "--niter_fix_global", "1", "--niter", "0", "--niter_decay", "2"], 7),
    (["--norm", "batch", "--batchSize", "2"], 4), (["--batchSize", "2", *HARD], 4), ([*HARD, "--nThreads", "2"], 8),
    (["--netG", "region", "--label_feat", "--lambda_r1", "1", "--r1_every", "2", "--diffaug", "cutout", "--gan_start", "2",
      "--lr_D", "0.001", "--lambda_l1", "1"], 7),
    ([*HARD, "--precision", "bf16"], 6), (["--instance_feat", "--serial_batches"], 3)])
def test_a_resumed_pix2pixHD_equals_the_uninterrupted_one(flags, stop, root_inst, tmp_path):
    assert_equal_runs(*in_two_parts("pix2pixHD", root_inst, tmp_path, flags, stop))


@pytest.mark.parametrize("name", MODELS)
def test_one_seed_one_run_another_seed_another(name, root, tmp_path):
    runs = []
    for i, seed in enumerate(("3", "3", "4")):
        model, loader = training(name, root, tmp_path / str(i), *HARD, "--seed", seed)
        runs.append((course(model, loader, None, 1), model.weights()))
    assert same(runs[0], runs[1]) and not same(runs[0][1], runs[2][1])


def test_state_of_other_networks_is_refused(root, tmp_path):
    wide, _ = training("pix2pixHD", root, tmp_path, "--ngf", "8")
    wide.start_epoch(1)
    wide.train_step(first_batch(CreateDataLoader(wide.opt)))
    model, _ = training("pix2pixHD", root, tmp_path)
    state = wide.state()
    for wrong in (state, {}, {**state, "optimizers": {"G": "text", "D": "text"}}, {**model.state(), "extra": {"pool": ["a"]}},
                  {**model.state(), "torch_rng": torch.zeros(3)}):
        with pytest.raises(UserError, match="latest_state.pth"):
            model.load_state(wrong)


# what the base offers to every model

@pytest.mark.parametrize("name", MODELS)
def test_averages_are_those_of_the_formula_and_draw_at_test(name, root, tmp_path):
    model, loader = training(name, root, tmp_path, "--ema", "0.3")
    wanted = {n: {k: v.clone() for k, v in model.nets[n].named_parameters()} for n in model.inference_networks()}
    model.start_epoch(1)
    for step, batch in enumerate(loader.epoch(1)):
        model.train_step(batch)
        decay = min(0.3, (1 + step) / (10 + step))
        for n, weights in wanted.items():
            for key, p in model.nets[n].named_parameters():
                weights[key] = decay * weights[key] + (1 - decay) * p.detach()
    for n, weights in wanted.items():
        for key, p in model.averages.nets[n].named_parameters():
            torch.testing.assert_close(p, weights[key])
    with Checkpoint(tmp_path / "x") as checkpoint:
        checkpoint.save(model, Position(), 1)
    for flags, nets in (([], model.averages.nets), (["--no_ema"], model.nets)):
        for epoch in ("latest", "1"):
            drawer = create_model(options(flags_of(name, root, tmp_path, *flags, "--which_epoch", epoch, role="test"), "test"))
            for n, net in drawer.nets.items():
                assert same(dict(net.state_dict()), dict(nets[n].state_dict())), (flags, epoch, n)


def test_averages_can_begin_in_the_middle_of_a_training(root, tmp_path):
    first, loader = training("pix2pixHD", root, tmp_path)
    with Checkpoint(tmp_path / "x") as checkpoint:
        course(first, loader, checkpoint, 1, stop=2)
        second, loader = training("pix2pixHD", root, tmp_path, "--continue_train", "--ema", "0.9")
        checkpoint.resume(second, "latest", len(loader))
    assert second.steps == 2
    assert same(dict(second.averages.nets["G"].state_dict()), dict(first.nets["G"].state_dict()))


def test_gradients_are_clipped_where_a_model_asks(root, tmp_path):
    model, loader = training("pix2pixHD", root, tmp_path)
    model.max_norm = {"G": 1e-3}
    model.start_epoch(1)
    model.train_step(first_batch(loader))
    norms = model.gradient_norms()
    assert norms["G"] == pytest.approx(1e-3, rel=1e-3) and norms["D"] > 1e-2


@pytest.mark.parametrize("max_norm", [{}, {"G": 1e9, "P": 1e9}])
@pytest.mark.parametrize("name", MODELS)
def test_a_scaled_step_is_the_plain_one_and_one_that_overflows_is_skipped(name, max_norm, root, tmp_path):
    """fp16's loss scaling, which needs no fp16 to be seen at work."""
    (plain, loader), (scaled, _) = (training(name, root, tmp_path / side) for side in "ab")
    scaled.scaler, scaled.max_norm = torch.amp.GradScaler("cpu", init_scale=2.0 ** 10), max_norm
    batch = first_batch(loader)
    for model in (plain, scaled):
        model.start_epoch(1)
        torch.manual_seed(1)
        model.train_step(batch)
    assert scaled.skipped == 0
    for (key, a), b in zip(plain.nets.named_parameters(), scaled.nets.parameters()):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=2e-5, msg=key)
    before = {key: p.detach().clone() for key, p in scaled.nets.named_parameters()}
    for optimizer in scaled.optimizers.values():
        optimizer.param_groups[0]["params"][0].register_hook(lambda gradient: torch.full_like(gradient, float("inf")))
    scaled.train_step(batch)
    assert scaled.skipped == 1 and scaled.scaler.get_scale() < 2.0 ** 10
    assert same(before, dict(scaled.nets.named_parameters()))


def test_networks_without_an_optimizer_are_saved_and_stay_as_they_are(root, tmp_path, monkeypatch):
    model_type = model_class("pix2pixHD")
    makers = model_type.networks
    monkeypatch.setattr(model_type, "networks", lambda self: {**makers(self), "X": lambda: torch.nn.Linear(2, 2)})
    model, loader = training("pix2pixHD", root, tmp_path)
    before = copy.deepcopy(model.weights()["X"])
    course(model, loader, None, 1)
    assert same(model.weights()["X"], before) and not any(p.requires_grad for p in model.nets["X"].parameters())


def test_hooks_come_before_and_after_each_step(root, tmp_path, monkeypatch):
    model, loader = training("pix2pixHD", root, tmp_path)
    seen = []
    monkeypatch.setattr(model, "start_step", lambda step: seen.append(("before", step)))
    monkeypatch.setattr(model, "after_step", lambda: seen.append(("after", model.steps)))
    model.start_epoch(1)
    for _ in range(2):
        model.train_step(first_batch(loader))
    assert seen == [("before", 0), ("after", 1), ("before", 1), ("after", 2)]


@pytest.mark.parametrize("script, flags, said", [
    ("encode_features", [], "cannot encode photos into styles"), ("precompute_feature_maps", [], "cannot write feature maps"),
    ("test", ["--export_onnx", "a.onnx"], "cannot be written as ONNX")])
def test_what_a_model_cannot_do_is_refused_before_anything_is_loaded(script, flags, said, tmp_path):
    done = call(script, "--model", "parsing", "--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", tmp_path, "--gpu_ids",
                "-1", *flags)
    assert done.status == 2 and f"--model parsing: {said}; choose an experiment of --model pix2pixHD" in done.err


# pix2pixHD's own

def test_learning_rate_is_a_function_of_the_epoch(root, tmp_path):
    model, _ = training("pix2pixHD", root, tmp_path, "--niter", "2", "--niter_decay", "4", "--lr", "0.1")
    rates = []
    for epoch in range(1, 7):
        model.start_epoch(epoch)
        rates += [{group["lr"] for o in model.optimizers.values() for group in o.param_groups}]
    assert all(len(r) == 1 for r in rates)
    assert [r.pop() for r in rates] == pytest.approx([0.1, 0.1, 0.1, 0.075, 0.05, 0.025])


def test_adam_is_the_references(root, tmp_path):
    model, _ = training("pix2pixHD", root, tmp_path, "--beta1", "0.3", "--lr", "0.01")
    for optimizer in model.optimizers.values():
        group = optimizer.param_groups[0]
        assert group["betas"] == (0.3, 0.999) and group["lr"] == 0.01 and group["eps"] == 1e-8 and group["weight_decay"] == 0


@pytest.mark.parametrize("enhancers", [1, 2])
def test_niter_fix_global_changes_the_outermost_enhancer_and_the_encoder_only(root, tmp_path, enhancers):
    model, loader = training("pix2pixHD", root, tmp_path, "--netG", "local", "--niter_fix_global", "1", "--label_feat",
                             "--n_local_enhancers", str(enhancers), "--n_downsample_global", "1", "--n_blocks_local", "1")
    before = copy.deepcopy(model.weights())
    course(model, loader, None, 1)
    changed = {net: {k for k, v in state.items() if not torch.equal(v, before[net][k])} for net,
               state in model.weights().items()}
    assert {k.split("_")[0] for k in changed["G"]} == {f"model{enhancers}"}
    assert changed["E"] == set(before["E"]) and changed["D"] == set(before["D"])
    middle = copy.deepcopy(model.weights())
    model.start_epoch(2)
    model.train_step(first_batch(loader))
    assert all(not torch.equal(v, middle["G"][k]) for k, v in model.weights()["G"].items())


def test_a_global_network_starts_the_coarse_part_of_a_local_one(root, tmp_path, capsys):
    small, _ = training("pix2pixHD", root, tmp_path / "a", "--ngf", "8", "--label_feat")
    with Checkpoint(tmp_path / "a" / "x") as checkpoint:
        checkpoint.save(small, Position())
    model, _ = training("pix2pixHD", root, tmp_path / "b", "--netG", "local", "--label_feat", "--load_pretrain",
                        tmp_path / "a" / "x")
    old, new = small.weights(), model.weights()
    coarse = [k for k in new["G"] if k.startswith("model.")]
    assert coarse and all(torch.equal(new["G"][k], old["G"][k]) for k in coarse)
    assert same(new["E"], old["E"]) and same(new["D"], old["D"])
    out = capsys.readouterr().out
    assert "model1_1" in out and "model.18" in out, "what was left out and what starts fresh is listed"


def test_a_region_generator_starts_the_coarse_part_of_a_larger_one(root, tmp_path):
    small, _ = training("pix2pixHD", root, tmp_path / "a", "--netG", "region", "--ngf", "8", "--label_feat")
    with Checkpoint(tmp_path / "a" / "x") as checkpoint:
        checkpoint.save(small, Position())
    model, _ = training("pix2pixHD", root, tmp_path / "b", "--n_up", "3", "--label_feat", "--load_pretrain",
                        tmp_path / "a" / "x", "--ngf", "4")
    old, new = small.weights()["G"], model.weights()["G"]
    kept = [k for k in new if k in old and new[k].shape == old[k].shape]
    fresh = {k.rsplit(".", 1)[0].partition(".conv")[0].partition(".norm")[0] for k in new if k not in kept}
    assert fresh == {"blocks.3", "blocks.3.shortcut", "last", "noise_of_style"}
    assert all(torch.equal(new[k], old[k]) for k in kept)


def test_pretrained_weights_may_be_a_generator_alone(root, tmp_path):
    """Published pix2pixHD weights are one file, latest_net_G.pth."""
    source, _ = training("pix2pixHD", root, tmp_path)
    (tmp_path / "published").mkdir()
    torch.save(source.weights()["G"], tmp_path / "published" / "latest_net_G.pth")
    model, _ = training("pix2pixHD", root, tmp_path, "--load_pretrain", tmp_path / "published")
    assert same(model.weights()["G"], source.weights()["G"])


def test_pretrained_weights_must_hold_a_generator(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="latest_net_G.pth"):
        training("pix2pixHD", root, tmp_path, "--load_pretrain", tmp_path / "empty")


def test_encoder_alone_is_built_for_encoding(trained, root):
    opt = options(["--name", "faces", "--checkpoints_dir", trained, "--dataroot", root, "--gpu_ids", "-1", "--nThreads", "0"],
                  "encode")
    assert set(create_model(opt).nets) == {"E"}


def test_encoded_rows_are_means_and_sizes(trained, root_inst):
    opt = options(["--name", "faces", "--checkpoints_dir", trained, "--dataroot", root_inst, "--gpu_ids", "-1",
                   "--nThreads", "0", "--batchSize", "2"], "encode")
    model = create_model(opt)
    batch = first_batch(CreateDataLoader(opt))
    features = model.nets["E"].features(batch["image"])
    for i, table in enumerate(model.drawing.encode(batch)):
        rows = {}
        for value in batch["inst"][i].unique().tolist():
            inside = batch["inst"][i, 0] == value
            label = value if value < 1000 else value // 1000
            rows.setdefault(label, []).append([*features[i][:, inside].mean(1).tolist(),
                                               inside.sum().item() / (SIDE * SIDE // 32)])
        assert table.keys() == rows.keys()
        for label, expected in rows.items():
            np.testing.assert_allclose(sorted(table[label].tolist()), sorted(expected), atol=1e-5)


def drawer(trained, root, *more):
    return create_model(options(["--name", "faces", "--checkpoints_dir", trained, "--dataroot", root, "--gpu_ids", "-1",
                                 "--nThreads", "0", *more], "test"))


def test_styles_are_centres_of_their_class_and_the_seed_chooses(trained, root):
    styles = drawer(trained, root).drawing.styles
    classes = list(range(CLASSES))
    styles.centres.pop(0, None)
    drawn = styles.pick(classes, Choice(), index=1)
    assert np.array_equal(drawn, styles.pick(classes, Choice(), index=1))
    assert not drawn[0].any(), "a class without styles: zeros"
    assert all(any(np.array_equal(drawn[c], style) for style in styles.centres[c]) for c in classes[1:] if c in styles.centres)
    assert not np.array_equal(drawn, styles.pick(classes, Choice(seed=7), index=1))


def test_data_type_16_draws_at_half_precision(trained, root):
    full, half = drawer(trained, root, "--use_encoded_image"), drawer(trained, root, "--use_encoded_image", "--data_type", "16")
    batch = next(iter(CreateDataLoader(full.opt)))
    a, b = (m.inference(batch)["synthesized_image"] for m in (full, half))
    assert not torch.equal(a, b) and (a - b).abs().mean() < 0.05 and b.dtype == torch.float32


def test_features_from_files_need_no_encoder(root, tmp_path):
    import shutil
    shutil.copytree(root, tmp_path / "data")
    for i in range(5):
        save(tmp_path / "data" / "train_feat" / f"p{i:02d}.png", np.full((SIDE, SIDE, 3), 200, np.uint8))
    model, loader = training("pix2pixHD", tmp_path / "data", tmp_path, "--label_feat", "--load_features")
    assert set(model.nets) == {"G", "D"}
    model.start_epoch(1)
    assert all(torch.isfinite(v) for v in model.train_step(first_batch(loader)).values())


@pytest.mark.parametrize("channels", ["1", "3"])
def test_pictures_as_input(tmp_path, channels):
    write_root(tmp_path, {"train": 2}, pictures=("A", "B"))
    model, loader = training("pix2pixHD", tmp_path, tmp_path, "--label_nc", "0", "--no_instance", "--input_nc", channels,
                             "--output_nc", channels)
    model.start_epoch(1)
    terms = model.train_step(first_batch(loader))
    assert all(torch.isfinite(v) for v in terms.values())
    assert all(v.shape == (SIDE, SIDE, 3) for v in model.current_visuals().values())


def test_losses_have_the_references_names(root, tmp_path):
    names = {"plain": {"G_GAN", "G_GAN_Feat", "D_real", "D_fake"}, "no_lsgan": {"G_GAN", "D_real", "D_fake"},
             "l1": {"G_GAN", "G_GAN_Feat", "G_L1", "G_Pyr", "D_real", "D_fake"},
             "region": {"G_GAN", "D_real", "D_fake", "D_LabelMix"},
             "segmentation": {"G_GAN", "G_Parts", "G_Texture", "D_real", "D_fake", "D_LabelMix", "D_R1"},
             "spade": {"G_GAN", "G_GAN_Feat", "D_rel", "D_R1", "D_R2"}}
    for case, expected in names.items():
        model, loader = training("pix2pixHD", root, tmp_path, *CASES["pix2pixHD"][case])
        model.start_epoch(1)
        assert set(model.train_step(first_batch(loader))) == expected


def test_without_vgg_weights_a_pyramid_takes_its_place_and_says_so(root, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    opt = options([f for f in flags_of("pix2pixHD", root, tmp_path, *LOSSES) if f != "--no_vgg_loss"])
    model, loader = create_model(opt), CreateDataLoader(opt)
    model.start_epoch(1)
    terms = model.train_step(first_batch(loader))
    assert "G_Pyr" in terms and "G_VGG" not in terms
    assert len(model.notes) == 1 and "G_Pyr" in model.notes[0] and "--vgg_weights" in model.notes[0]


def test_lambdas_weigh_their_terms(root, tmp_path):
    terms = []
    for factor in (1, 3):
        model, loader = training("pix2pixHD", root, tmp_path, *[w for flag in ("feat", "l1", "pyr", "gan")
                                                                  for w in (f"--lambda_{flag}", str(factor))])
        model.start_epoch(1)
        terms.append(model.train_step(first_batch(loader)))
    for key in ("G_GAN", "G_GAN_Feat", "G_L1", "G_Pyr"):
        assert terms[1][key].item() == pytest.approx(3 * terms[0][key].item(), rel=1e-5)


def test_image_pool_answers_with_older_pictures_half_of_the_time():
    torch.manual_seed(0)
    pool = ImagePool(5)
    answers = [pool.query(torch.full((1, 1, 1, 1), float(i))).item() for i in range(400)]
    assert answers[:5] == [0, 1, 2, 3, 4]
    older = [i - a for i, a in enumerate(answers)][5:]
    assert 0.4 < sum(age > 0 for age in older) / len(older) < 0.6 and len(pool.images) == 5
    image = torch.ones(1, 1, 1, 1, requires_grad=True)
    assert ImagePool(0).query(image) is image


def test_hints_name_the_flags_of_foreign_weights(root, tmp_path):
    model, _ = training("pix2pixHD", root, tmp_path)
    cases = [["--ngf", "8"], ["--n_downsample_global", "3"], ["--n_blocks_global", "2"], ["--norm", "batch"],
             ["--netG", "local", "--n_local_enhancers", "2", "--n_blocks_local", "2", "--n_downsample_global", "1"],
             ["--netG", "region", "--ngf", "8", "--n_up", "3", "--norm_G", "spade"]]
    for flags in cases:
        other, _ = training("pix2pixHD", root, tmp_path, *flags)
        hint = model.weights_hint("G", other.weights()["G"])
        assert all(f"{a} {b}" in hint for a, b in zip(flags[::2], flags[1::2])), hint
    for kind in ("global", "region"):
        other, _ = training("pix2pixHD", root, tmp_path, "--label_feat", "--nef", "8", "--n_downsample_E", "3", "--feat_num",
                            "5", "--netG", kind)
        hint = model.weights_hint("E", other.weights()["E"])
        assert all(word in hint for word in ("--nef 8", "--n_downsample_E 3", "--feat_num 5")), hint
    hint = model.weights_hint("D", other.weights()["D"])
    assert all(word in hint for word in ("--netD segmentation", "--ndf 4", "--n_layers_D 2")), hint
    for junk in ({}, {"model.1.weight": torch.zeros(2)},
                 {"model.1.weight": torch.zeros(4, 3, 7, 7), "model.x.weight": torch.zeros(1)}):
        for net in "GDE":
            assert isinstance(model.weights_hint(net, junk), str)


def test_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="--model nosuch.*pix2pixHD"):
        model_class("nosuch")


def test_features_that_pictures_cannot_hold_are_not_written(trained_region, root):
    done = call("precompute_feature_maps", "--name", "faces", "--checkpoints_dir", trained_region, "--dataroot", root,
                "--gpu_ids", "-1", "--nThreads", "0")
    assert done.status == 2 and done.err.count("--feat_num 16: feature maps are pictures") == 1
    assert not (root / "train_feat").exists()
