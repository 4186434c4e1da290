"""On a GPU everything is as on the CPU: losses, gradients and pictures of every model, precisions, resumes, whole commands.

Tests of the device 'cuda' are marked `gpu` and skipped where there is none; those of 'cpu' run the same lines anywhere.
"""
import copy
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from data.data_loader import CreateDataLoader
from models import precision
from models.deploy import OnnxGenerator
from models.models import MODELS, create_model
from tests.conftest import LOSSES, NETWORK, SIZES, call, options, spawn, start, succeed
from tests.test_models import CASES, OTHERS, course, first_batch, flags_of, in_two_parts
from util.checkpoint import Checkpoint, Position
from util.errors import UserError
from util.metrics.pictures import psnr

ON_GPU = pytest.mark.gpu
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]
_RANDOM = {torch.randn, torch.rand, torch.randint, torch.randperm, torch.normal, torch.bernoulli, torch.randn_like,
           torch.rand_like, torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.bernoulli_}


def cases():
    """(model, flags, device): all cases on a GPU; on the CPU, where they test the test alone, the plain one of each model."""
    for name in MODELS:
        for case, flags in CASES.get(name, OTHERS).items():
            if "bf16" not in flags:  # whose rounding differs between devices
                yield pytest.param(name, flags, "cuda", id=f"{name}-{case}-cuda", marks=ON_GPU)
            if case == "plain":
                yield pytest.param(name, flags, "cpu", id=f"{name}-{case}-cpu")


class CpuRandom(TorchFunctionMode):
    """Random numbers are drawn on the CPU and moved, so that they are the same on each device; so are dropout's."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.nn.functional.dropout:
            return self._dropout(*args, **kwargs)
        like = next((a for a in args if torch.is_tensor(a)), None)
        target = kwargs.get("device") or (like.device if like is not None else None)
        if func not in _RANDOM or target is None or torch.device(target).type == "cpu":
            return func(*args, **kwargs)
        if kwargs.get("generator") is None:
            kwargs.pop("generator", None)
        drawn = func(*(a.detach().cpu() if torch.is_tensor(a) else a for a in args), **{**kwargs, "device": "cpu"} if
                     "device" in kwargs or func.__name__.endswith("_like") else kwargs)
        return args[0].copy_(drawn) if func.__name__.endswith("_") else drawn.to(target)

    @staticmethod
    def _dropout(x, p=0.5, training=True, inplace=False):
        return x * ((torch.rand(x.shape) >= p).to(x.device, x.dtype) / (1 - p)) if training and p else x


@pytest.fixture(autouse=True)
def exact():
    """Without TensorFloat32, whose rounding is a thousand times float32's."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


def on(device):
    """The flag of a device."""
    return ["--gpu_ids", "0" if device == "cuda" else "-1"]


def training(name, root, checkpoints, device, *more):
    """(model, loader) on a device."""
    opt = options([*flags_of(name, root, checkpoints, *LOSSES, "--from_scratch", *more), *on(device)])
    model = create_model(opt)
    assert model.device.type == device and {p.device.type for p in model.parameters()} == {device}
    return model, CreateDataLoader(opt)


def stepped(model, batch):
    """(terms, {parameter: gradient}) of a step, on the CPU."""
    model._stores_all_gradients = lambda: True
    model.start_epoch(1)
    torch.manual_seed(1)
    with CpuRandom():
        terms = model.train_step(batch)
    return ({key: float(value) for key, value in terms.items()},
            {key: p.grad.cpu() for key, p in model.nets.named_parameters() if p.grad is not None})


def assert_near(found, wanted, share, what):
    """The distance of two tensors is at most that share of their length."""
    distance, length = float((found.cpu().double() - wanted.double()).norm()), float(wanted.double().norm())
    assert distance <= share * length + 1e-5 * math.sqrt(wanted.numel()), (what, distance, length)


@pytest.mark.parametrize("name, flags, device", cases())
def test_losses_gradients_and_pictures_are_those_of_the_cpu(name, flags, device, root_inst, tmp_path):
    (plain, loader), (other, _) = (training(name, root_inst, tmp_path / side, side_device, "--batchSize", "2", *flags)
                                   for side, side_device in (("a", "cpu"), ("b", device)))
    for (key, a), b in zip(plain.nets.state_dict().items(), other.nets.state_dict().values(), strict=True):
        assert torch.equal(a, b.cpu()), key
    batch = first_batch(loader)
    (terms, gradients), (found, on_device) = (stepped(model, batch) for model in (plain, other))
    assert found == pytest.approx(terms, rel=1e-3, abs=1e-5)
    assert gradients.keys() == on_device.keys()
    for key, gradient in gradients.items():
        if not key.endswith("bias"):  # of which those before a norm are rounding alone
            assert_near(on_device[key], gradient, 2e-2, key)
    other.nets.load_state_dict(plain.nets.state_dict())
    drawn = []
    for model in (plain, other):
        with model.as_at_test(), CpuRandom():
            torch.manual_seed(1)
            drawn.append(model.aimed_inference(batch)["synthesized_image"].cpu())
    assert_near(drawn[1], drawn[0], 1e-2, "picture")


@pytest.mark.parametrize("wanted", ["fp32", "bf16", "fp16", "auto"])
@pytest.mark.parametrize("name, device", [("pix2pixHD", "cpu"), *(pytest.param(name, "cuda", marks=ON_GPU) for name in MODELS)])
def test_each_precision_trains_and_steps_that_overflow_are_skipped(name, device, wanted, root, tmp_path):
    model, loader = training(name, root, tmp_path, device, "--precision", wanted)
    assert device == "cpu" or wanted == "auto" or model.precision == wanted
    assert model.scaler.is_enabled() == (model.precision == "fp16")
    if wanted == "fp16" and device == "cpu":
        model.scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** 10)
    model.start_epoch(1)
    batch = first_batch(loader)
    before = {key: p.detach().clone() for key, p in model.nets.named_parameters()}
    for _ in range(3):
        terms = model.train_step(batch)
    assert all(math.isfinite(value) for value in terms.values())
    if not model.skipped:
        assert any(not torch.equal(before[key], p) for key, p in model.nets.named_parameters())
    if not model.scaler.is_enabled():
        return
    scale, skipped = model.scaler.get_scale(), model.skipped
    before = {key: p.detach().clone() for key, p in model.nets.named_parameters()}
    hooks = [optimizer.param_groups[0]["params"][0].register_hook(lambda gradient: torch.full_like(gradient, float("inf")))
             for optimizer in model.optimizers.values()]
    model.train_step(batch)
    assert model.skipped == skipped + 1 and model.scaler.get_scale() < scale
    assert all(torch.equal(before[key], p) for key, p in model.nets.named_parameters())
    for hook in hooks:
        hook.remove()
    state = copy.deepcopy(model.state())
    assert state["scaler"]["scale"] == model.scaler.get_scale(), "a resume goes on with this scale"


@pytest.mark.parametrize("bits", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=ON_GPU) for name in MODELS])
def test_a_resumed_run_is_the_uninterrupted_one_but_for_rounding(name, bits, root, tmp_path):
    flags = ["--gpu_ids", "0", "--precision", bits, "--ema", "0.5"]
    (terms, whole), (parts, second) = in_two_parts(name, root, tmp_path, flags, 7)
    assert second.device.type == "cuda" and whole.steps == second.steps and len(terms) == len(parts)
    for step, (a, b) in enumerate(zip(terms, parts)):
        for key, value in a.items():
            assert float(b[key]) == pytest.approx(float(value), rel=0.1, abs=0.05), (step, key)
    assert whole.state().keys() == second.state().keys() and "cuda_rng" in second.state()


@pytest.mark.parametrize("device", DEVICES)
def test_weights_trained_on_one_device_draw_alike_on_the_other(device, root, tmp_path):
    model, loader = training("pix2pixHD", root, tmp_path, device, "--label_feat")
    course(model, loader, None, 1)
    with Checkpoint(tmp_path / "x") as checkpoint:
        checkpoint.save(model, Position())
    drawn = []
    for side in ("cpu", device):
        flags = [*flags_of("pix2pixHD", root, tmp_path, "--label_feat", "--use_encoded_image", role="test"), *on(side)]
        drawer = create_model(options(flags, "test"))
        drawn.append(drawer.inference(next(iter(CreateDataLoader(drawer.opt))))["synthesized_image"])
    assert drawn[0].device.type == "cpu"
    assert_near(drawn[1], drawn[0], 1e-2, "picture")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("flags", [[], ["--netG", "region", "--label_feat"]], ids=["global", "region"])
def test_channels_last_weights_give_the_same_step(flags, device, root, tmp_path):
    (plain, loader), (other, _) = (training("pix2pixHD", root, tmp_path / side, device, *flags) for side in "ab")
    other.nets.to(memory_format=torch.channels_last)
    (terms, _), (found, _) = (stepped(model, first_batch(loader)) for model in (plain, other))
    assert found == pytest.approx(terms, rel=1e-3, abs=1e-5)


@pytest.mark.gpu
def test_two_trainings_share_a_device(root, tmp_path):
    where = ["--checkpoints_dir", tmp_path, "--dataroot", root, *SIZES, *NETWORK, *LOSSES, "--gpu_ids", "0", "--niter", "2",
             "--niter_decay", "0", "--no_html", "--precision", "bf16"]
    running = [start("train", *where, "--name", name) for name in "ab"]
    ends = [(*process.communicate(timeout=300), process.returncode) for process in running]
    assert [status for *_, status in ends] == [0, 0], ends
    assert all((tmp_path / name / "latest_state.pth").is_file() for name in "ab")


@pytest.mark.parametrize("device", DEVICES)
def test_whole_commands(device, trained, root, tmp_path):
    shutil.copytree(trained / "faces", tmp_path / "faces")
    where = ["--name", "faces", "--checkpoints_dir", tmp_path, "--dataroot", root, *on(device), "--nThreads", "0"]
    succeed(call("encode_features", *where))
    done = succeed(call("test", *where, "--use_encoded_image", "--results_dir", tmp_path / "r", "--precision", "bf16"))
    assert "no CUDA" not in done.out and (tmp_path / "faces" / "styles" / "index.html").is_file()
    assert len(list((tmp_path / "r" / "faces" / "test_latest" / "images").glob("*synthesized*"))) == 3


@pytest.mark.gpu
def test_a_gpu_that_is_not_there_is_refused(root, tmp_path):
    with pytest.raises(UserError, match="numbered from 0"):
        options([*flags_of("pix2pixHD", root, tmp_path), "--gpu_ids", str(torch.cuda.device_count())])


@pytest.mark.gpu
def test_precisions_are_measured_on_the_device(root, tmp_path, monkeypatch):
    monkeypatch.undo()  # of conftest's figures
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, _ = training("pix2pixHD", root, tmp_path, "cuda")
    assert all(0 < seconds < 10 for seconds in precision.measured(model).values())


@pytest.fixture
def exported(trained, tmp_path):
    """The trained generator as an ONNX file."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    succeed(call("test", "--name", "faces", "--checkpoints_dir", trained, "--gpu_ids", "-1", "--export_onnx",
                 tmp_path / "face.onnx"))
    return tmp_path / "face.onnx"


def assert_draws_alike(trained, root, tmp_path, least, *form):
    """test.py with another form of the generator writes nearly the picture that it writes without. least: PSNR in dB."""
    pictures = []
    for number, more in enumerate(([], form)):
        where = ["--name", "faces", "--checkpoints_dir", trained, "--dataroot", root, "--gpu_ids", "0", "--nThreads", "0"]
        succeed(call("test", *where, "--use_encoded_image", "--how_many", "1", "--results_dir", tmp_path / str(number), *more))
        file = next((tmp_path / str(number) / "faces" / "test_latest" / "images").glob("*synthesized*"))
        pictures.append(np.array(Image.open(file)))
    assert psnr(*pictures) > least


@pytest.mark.gpu
@pytest.mark.parametrize("bits", ["8", "16"])
def test_fewer_bits_draw_nearly_the_same_picture(bits, trained, root, tmp_path):
    assert_draws_alike(trained, root, tmp_path, 25, "--data_type", bits)


@pytest.mark.gpu
def test_onnx_runtime_draws_on_the_device(exported, trained, root, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {', '.join(onnxruntime.get_available_providers())} alone")
    assert OnnxGenerator(str(exported)).session.get_providers()[0] == "CUDAExecutionProvider"
    assert_draws_alike(trained, root, tmp_path, 35, "--onnx", exported)


@pytest.mark.gpu
def test_a_tensorrt_engine_draws_on_the_device(exported, trained, root, tmp_path):
    tensorrt = pytest.importorskip("tensorrt")
    from benchmarks.gpu import build_engine
    engine = build_engine(tensorrt, exported, tmp_path / "face.plan", side=32)
    assert_draws_alike(trained, root, tmp_path, 35, "--engine", engine)


@pytest.mark.gpu
def test_processes_of_a_device_each_are_started(root, tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device here, and nccl allows no two processes on one")
    where = ["--checkpoints_dir", tmp_path, "--dataroot", root, *SIZES, *NETWORK, *LOSSES, "--gpu_ids", "0,1", "--niter", "1",
             "--niter_decay", "0", "--no_html", "--batchSize", "2"]
    assert spawn("train", *where, "--name", "x").status == 0


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("bits, flags", [("fp32", ["--label_feat"]), ("bf16", ["--netG", "region", "--label_feat"])],
                         ids=["global", "region"])
def test_compiled_networks_step_alike(bits, flags, root, tmp_path):
    (plain, loader), (compiled, _) = (training("pix2pixHD", root, tmp_path / side, "cuda", "--precision", bits, *flags, *more)
                                     for side, more in (("a", []), ("b", ["--compile"])))
    (terms, _), (found, _) = (stepped(model, first_batch(loader)) for model in (plain, compiled))
    assert found == pytest.approx(terms, rel=1e-3 if bits == "fp32" else 0.1, abs=1e-3)
