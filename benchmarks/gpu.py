"""Everything that needs a GPU, in at most nine minutes: python -m benchmarks.gpu --out DIR [--parts tests,step]

Writes DIR/gpu.json anew after every figure, pictures beside it, and what each part said as DIR/PART.log. Each part has a
process of its own and a time limit, so that one that fails, hangs or breaks the device costs the others nothing.
`--device cpu --small` runs the same lines where there is no GPU.
"""
from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import startup  # noqa: F401 - before torch
from benchmarks._timing import PROJECT, matmul_peak, peak_megabytes, report, rounded, synchronize
from util.errors import UserError
from util.files import make_folder, write_json

_WARM_UP, _ROUNDS, _SECONDS = 2, 10, 1.5  # runs that are not measured; those that are, at most, and in how many seconds
_LEAST = 2  # measured runs
_SHORTEST = 10.0  # seconds that a part is begun for


@dataclass(frozen=True)
class Setting:
    """What the parts are run with. device: 'cuda' or 'cpu'. small: tiny networks and pictures, to try the script itself."""

    device: str
    small: bool
    out: Path

    @property
    def torch_device(self):
        import torch
        return torch.device(self.device)

    @property
    def ngf(self) -> int:
        return 4 if self.small else 64

    @property
    def flags(self) -> list[str]:
        """Of our models: device, width."""
        return ["--gpu_ids", "0" if self.device == "cuda" else "-1", "--ngf", str(self.ngf), "--ndf", str(self.ngf)]

    @property
    def grid(self) -> list[tuple[int, int]]:
        """(side, pictures at once)."""
        return [(64, 1)] if self.small else [(512, 1), (512, 4), (1024, 1), (512, 16), (1024, 4)]


def main(argv: list[str] | None = None) -> int:
    """Run the parts, or one of them for the parent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json, pictures and logs")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, and in which order (default: all)")
    parser.add_argument("--minutes", type=float, default=9.0, help="of all parts together, at most")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny networks and pictures")
    parser.add_argument("--here", action="store_true", help="run the parts in this process, without time limits")
    parser.add_argument("--serve", choices=PARTS, help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    setting = Setting(flags.device, flags.small, make_folder(flags.out.resolve()))
    if flags.serve:
        return serve(flags.serve, setting)
    names = flags.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--parts {unknown[0]}: there is no such part; choose from {', '.join(PARTS)}")
    return Run(setting, flags.minutes, flags.here).run(names)


class Run:
    """A run of several parts, and its record: {part: {'seconds', 'figures': [...], 'failed': why, if it did}}."""

    def __init__(self, setting: Setting, minutes: float, here: bool):
        self.setting, self.here, self.ends = setting, here, time.monotonic() + 60 * minutes
        self.record = {"command": " ".join(sys.argv), "begun": time.strftime("%Y-%m-%d %H:%M:%S"), "parts": {}}

    def run(self, names: list[str]) -> int:
        """Run parts; gives 1 if one of them failed."""
        for name in names:
            entry = self.record["parts"][name] = {"seconds": 0.0, "figures": []}
            begun = time.monotonic()
            try:
                self._limited(name, entry) if not self.here else self._in_process(name, entry)
            except Exception:  # whatever it is, the other parts go on
                entry["failed"] = traceback.format_exc(limit=-3)
            entry["seconds"] = rounded(time.monotonic() - begun)
            self._save()
            failed = f", FAILED: {entry['failed'].strip().splitlines()[-1]}" if "failed" in entry else ""
            print(f"{name}: {len(entry['figures'])} figures in {entry['seconds']:.0f} s{failed}", flush=True)
        return int(any("failed" in entry for entry in self.record["parts"].values()))

    def _add(self, entry, figure):
        entry["figures"].append(figure)
        self._save()

    def _save(self):
        write_json(self.setting.out / "gpu.json", self.record)

    def _in_process(self, name, entry):
        for figure in PARTS[name].work(self.setting):
            self._add(entry, figure)

    def _limited(self, name, entry):
        """Run a part as a process; it and those that it started are killed when its time is over."""
        limit = min(PARTS[name].seconds, self.ends - time.monotonic())
        if limit < _SHORTEST:
            entry["failed"] = "no time was left"
            return
        command = [sys.executable, "-m", "benchmarks.gpu", "--serve", name, "--out", str(self.setting.out), "--device",
                   self.setting.device, *["--small"] * self.setting.small]
        log, over = self.setting.out / f"{name}.log", threading.Event()
        with open(log, "w") as said:
            process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=said, text=True,
                                       start_new_session=True)
            timer = threading.Timer(limit, lambda: (over.set(), _kill(process)))
            timer.start()
            try:
                for line in process.stdout:
                    if line.startswith('{"benchmark": "gpu"'):
                        self._add(entry, {k: v for k, v in json.loads(line).items() if k not in ("benchmark", "what")})
                process.wait()
            finally:
                timer.cancel()
                _kill(process)
        if over.is_set():
            entry["failed"] = f"ran past its {limit:.0f} s"
        elif process.returncode:
            entry["failed"] = f"exit status {process.returncode}: {log.read_text(errors='replace')[-1500:]}"


def _kill(process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def serve(name: str, setting: Setting) -> int:
    """Run a part in this process, and print a line for each figure."""
    if setting.device == "cuda":
        import torch
        if not torch.cuda.is_available():
            raise SystemExit("there is no CUDA device here; --device cpu --small tries the script without one")
    for figure in PARTS[name].work(setting):
        report("gpu", name, **figure)
    return 0


# measuring

def measured(setting: Setting, work: Callable, facts: dict, pictures: int = 1) -> dict:
    """`facts` with the median seconds of `work()`, pictures a second and peak memory; or why there are none."""
    device = setting.torch_device
    try:
        for _ in range(1 if setting.small else _WARM_UP):
            work()
        synchronize(device)
        if device.type == "cuda":
            import torch
            torch.cuda.reset_peak_memory_stats(device)
        times, ends = [], time.monotonic() + _SECONDS
        while len(times) < (1 if setting.small else _LEAST) or len(times) < _ROUNDS and time.monotonic() < ends:
            begun = time.perf_counter()
            work()
            synchronize(device)
            times.append(time.perf_counter() - begun)
            if setting.small:
                break
    except (RuntimeError, UserError) as error:  # out of memory, mostly: smaller ones may do
        return {**facts, "failed": str(error).splitlines()[0][:300]}
    finally:
        release(device)
    seconds = statistics.median(times)
    return {**facts, "seconds": rounded(seconds), "pictures_per_second": rounded(pictures / seconds), "runs": len(times),
            "peak_mb": round(peak_megabytes(device))}


def release(device) -> None:
    """Give cached memory back."""
    gc.collect()
    if device.type == "cuda":
        import torch
        torch.cuda.empty_cache()


class Compared:
    """Figures of a plain and of our way, side by side: the later ones get the ratios to the plain ones of the same size."""

    def __init__(self, tflop_of: Callable | None = None, peaks: dict | None = None):
        """tflop_of(side, pictures): 10^12 operations. peaks: {precision: TFLOP/s of a matrix product}."""
        self.tflop_of, self.peaks, self.plain = tflop_of, peaks or {}, {}

    def __call__(self, figure: dict) -> dict:
        """The figure with its ratios."""
        key = figure["side"], figure["batch"], figure.get("vgg", False)
        if "seconds" not in figure:
            return figure
        if figure["who"] == "plain":
            self.plain[key, figure["precision"]] = figure
        else:
            for precision in ("fp32", "bf16"):
                other = self.plain.get((key, precision))
                if other:
                    figure[f"times_as_fast_as_plain_{precision}"] = rounded(other["seconds"] / figure["seconds"])
                    figure[f"memory_of_plain_{precision}"] = rounded(figure["peak_mb"] / other["peak_mb"])
        if self.tflop_of:
            speed = self.tflop_of(figure["side"], figure["batch"]) / figure["seconds"]
            figure["tflop_per_second"] = rounded(speed)
            if figure["precision"] in self.peaks:
                figure["of_matmul_peak"] = rounded(speed / self.peaks[figure["precision"]])
        return figure


def peaks(setting: Setting) -> dict[str, float]:
    """{precision: TFLOP/s of a large matrix product}."""
    precisions = ("fp32", "bf16", "fp16") if setting.device == "cuda" else ("fp32", "bf16")
    return {precision: rounded(matmul_peak(setting.torch_device, precision, 128 if setting.small else 8192))
            for precision in precisions}


def in_precision(model, precision: str):
    """Have a model that was built for float32 compute in another precision, as its flags would from the start."""
    import torch
    model.precision = precision
    model.scaler = torch.amp.GradScaler(model.device.type, enabled=precision == "fp16")
    return model


def save_pictures(setting: Setting, name: str, pictures) -> str:
    """Write pictures (N, C, H, W) in [-1, 1] side by side; gives the file's name."""
    import torch

    from util.util import save_image, tensor2im
    save_image(tensor2im(torch.cat(list(pictures.detach().float().cpu()), 2)), setting.out / name)
    return name


# the parts: each yields figures, {name: plain value}

def machine(setting: Setting) -> Iterator[dict]:
    """The device, the versions, and the speed of matrix products with and without TensorFloat32."""
    import torch

    from util.experiment import versions
    yield {"versions": versions(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
           "cpus": os.cpu_count(), "packages": _installed("onnxruntime", "tensorrt", "diffusers", "openvino")}
    if setting.device == "cuda":
        found = torch.cuda.get_device_properties(0)
        yield {"device": found.name, "memory_mb": found.total_memory >> 20, "processors": found.multi_processor_count,
               "capability": f"{found.major}.{found.minor}", "bf16": torch.cuda.is_bf16_supported(including_emulation=False)}
    yield {"tflop_per_second_of_a_product": peaks(setting)}
    if setting.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        yield {"tflop_per_second_of_a_product_with_tf32": rounded(matmul_peak(setting.torch_device, "fp32", 8192))}


def _installed(*names) -> dict:
    from importlib import metadata
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def tests(setting: Setting) -> Iterator[dict]:
    """The test suite's `gpu` marker; on the CPU, the same file's tests of the CPU. What failed is in tests.txt."""
    chosen = ["-m", "gpu"] if setting.device == "cuda" else ["-k", "overflow and cpu"]
    with open(setting.out / "tests.txt", "w") as said:
        done = subprocess.run([sys.executable, "-m", "pytest", "tests/test_gpu.py", *chosen, "-v", "-rfEs", "--durations=10",
                               "--tb=short"], cwd=PROJECT, stdout=said, stderr=subprocess.STDOUT)
    lines = (setting.out / "tests.txt").read_text(errors="replace").splitlines()
    yield {"status": done.returncode, "summary": lines[-1] if lines else "",
           "failed_tests": [line[:300] for line in lines if line.startswith(("FAILED", "ERROR"))],
           "skipped_tests": [line[:300] for line in lines if line.startswith("SKIPPED")]}
    if done.returncode not in (0, 5):
        raise RuntimeError("some tests failed: see tests.txt")


def step(setting: Setting) -> Iterator[dict]:
    """The documented training step: plain in float32 (with TensorFloat32) and bf16, ours in every way."""
    from benchmarks.plain import PlainTraining, face_batch
    from benchmarks.step import training_model
    device, compared = setting.torch_device, Compared(_operations_of(setting), peaks(setting))

    def grid(who, precision, take, sizes=None, **more):
        for side, count in sizes or setting.grid:
            batch = face_batch(side, count)
            facts = {"who": who, "precision": precision, "side": side, "batch": count, **more}
            yield compared(measured(setting, partial(take, batch), facts, count))

    for precision in ("fp32", "bf16"):
        plain = PlainTraining(device, setting.ngf, precision)
        yield from grid("plain", precision, plain.step)
        del plain
    model = training_model(*setting.flags)
    for precision in ("bf16", "fp32", "fp16") if device.type == "cuda" else ("bf16", "fp32"):
        yield from grid("ours", precision, in_precision(model, precision).train_step)
    del model
    release(device)
    for what, flags in (("channels-last", []), ("cudnn chooses by trying", ["--resize_or_crop", "resize"]),
                        ("--checkpoint_activations", ["--checkpoint_activations"]), ("--compile", ["--compile"])):
        if what == "--compile" and setting.small:
            continue
        model = training_model(*setting.flags, "--precision", "bf16", *flags)
        if what == "channels-last":
            import torch
            model.nets.to(memory_format=torch.channels_last)
        yield from grid("ours", model.precision, model.train_step, setting.grid[:2], way=what)
        del model
        release(device)


def vgg(setting: Setting) -> Iterator[dict]:
    """The step with a perceptual loss of VGG19's size, of random weights."""
    import torch
    import torchvision

    from benchmarks.plain import PlainTraining, face_batch
    from benchmarks.step import training_model
    from models.networks.vgg import VGG19Features
    state = {f"features.{key}": value for key, value in torchvision.models.vgg19(weights=None).features.state_dict().items()}
    compared, sizes = Compared(), setting.grid[:2]
    for who, precision in itertools.product(("plain", "ours"), ("fp32", "bf16")):
        if who == "plain":
            take = PlainTraining(setting.torch_device, setting.ngf, precision, VGG19Features(dict(state))).step
        else:
            with tempfile.TemporaryDirectory() as folder:
                torch.save(state, Path(folder) / "vgg19.pth")
                take = training_model(*setting.flags, "--precision", precision, "--vgg_weights",
                                      str(Path(folder) / "vgg19.pth")).train_step
        for side, count in sizes:
            batch = face_batch(side, count)
            facts = {"who": who, "precision": precision, "side": side, "batch": count, "vgg": True}
            yield compared(measured(setting, partial(take, batch), facts, count))
        del take
        release(setting.torch_device)


def _operations_of(setting: Setting) -> Callable:
    """tflop(side, pictures) of the plain step's convolutions, counted once at 64 pixels and scaled by the area."""
    from benchmarks._timing import count_operations
    from benchmarks.plain import PlainTraining, face_batch
    counted = count_operations(partial(PlainTraining(setting.torch_device, setting.ngf).step, face_batch(64)))
    release(setting.torch_device)
    return lambda side, pictures: counted * pictures * (side / 64) ** 2


def picture(setting: Setting) -> Iterator[dict]:
    """A picture at test: plain and ours, and how far apart the two are."""
    from benchmarks.infer import drawing_model
    from benchmarks.plain import PlainDrawing, face_batch
    device, compared = setting.torch_device, Compared()
    shown = {}

    def grid(who, precision, draw, sizes=None, **more):
        for side, count in sizes or setting.grid:
            batch = face_batch(side, count)
            facts = {"who": who, "precision": precision, "side": side, "batch": count, **more}
            figure = compared(measured(setting, lambda batch=batch: draw(batch).cpu(), facts, count))
            if count == 1 and "seconds" in figure:
                drawn = draw(batch)[:1].float().cpu()
                first = shown.setdefault(side, drawn)
                figure["levels_of_255_from_plain"] = rounded(float((drawn - first).abs().mean()) * 127.5)
            yield figure

    for precision in ("fp32", "bf16"):
        plain = PlainDrawing(device, setting.ngf, precision)
        yield from grid("plain", precision, plain.draw)
    model = drawing_model(setting.ngf, *setting.flags[:2])
    for precision in ("bf16", "fp32"):
        yield from grid("ours", precision, _drawing(in_precision(model, precision)))
    for what, flags in (("--data_type 16", ["--data_type", "16"]), ("--compile", ["--precision", "bf16", "--compile"])):
        if setting.small:
            continue
        model = drawing_model(setting.ngf, *setting.flags[:2], *flags)
        yield from grid("ours", model.precision, _drawing(model), setting.grid[:2], way=what)
    yield {"file": save_pictures(setting, "picture.png", next(iter(shown.values())))}


def _drawing(model) -> Callable:
    """batch -> pictures."""
    return lambda batch: model.inference(batch)["synthesized_image"]


def region(setting: Setting) -> Iterator[dict]:
    """Step and picture with --netG region beside --netG global."""
    import torch

    from benchmarks.plain import face_batch
    from benchmarks.step import training_model
    for kind in ("global", "region"):
        model = training_model(*setting.flags, "--netG", kind)
        for precision, (side, count) in itertools.product(("bf16", "fp32"), setting.grid[:3]):
            in_precision(model, precision)
            batch, facts = face_batch(side, count), {"netG": kind, "precision": precision, "side": side, "batch": count}
            yield measured(setting, partial(model.train_step, batch), {**facts, "work": "step"}, count)
            with model.as_at_test(), torch.no_grad():
                yield measured(setting, partial(model.aimed_inference, batch), {**facts, "work": "picture"}, count)
        del model
        release(setting.torch_device)


def diffusion(setting: Setting) -> Iterator[dict]:
    """Step and samples of --model diffusion with its default UNet."""
    from benchmarks.plain import face_batch
    from benchmarks.step import training_model
    side, count = (16, 2) if setting.small else (64, 32)
    unet = ["--unet_channels", "8", "--unet_mult", "1,2", "--unet_attention", "2", "--timesteps", "10", "--steps", "2"]
    model = training_model("--model", "diffusion", *setting.flags[:2], "--loadSize", str(side), "--resize_or_crop", "resize",
                           *(unet if setting.small else []))
    batch = face_batch(side, count)
    for precision in ("bf16", "fp32"):
        in_precision(model, precision)
        facts = {"precision": precision, "side": side, "batch": count}
        yield measured(setting, lambda: model.train_step(batch), {**facts, "work": "step"}, count)
        with model.as_at_test():
            model.eval()
            yield measured(setting, lambda: model.denoise({}, range(count), 0), {**facts, "work": "samples"}, count)
    with model.as_at_test():
        model.eval()
        yield {"file": save_pictures(setting, "diffusion.png", model.denoise({}, range(min(4, count)), 0))}


def loader(setting: Setting) -> Iterator[dict]:
    """Whether the loader feeds the step: pictures a second of steps on one batch, and with batches read from files."""
    from benchmarks.plain import face_batch
    from benchmarks.startup import _four_faces
    from benchmarks.step import training_model
    from data.data_loader import CreateDataLoader
    from util.stopwatch import Stopwatch
    (side, count), copies = setting.grid[0], 1 if setting.small else 32
    count = 2 if setting.small else 4
    with tempfile.TemporaryDirectory() as folder:
        data = _four_faces(Path(folder))
        for path in list(data.glob("train_*/*")):
            for i in range(1, copies):
                (path.parent / f"{path.stem}_{i}{path.suffix}").symlink_to(path)
        flags = ["--precision", "bf16", "--batchSize", str(count), "--loadSize", str(side), "--resize_or_crop", "resize",
                 "--dataroot", str(data)]
        model = training_model(*setting.flags, *flags)
        batch = face_batch(side, count)
        yield measured(setting, lambda: model.train_step(batch), {"work": "one batch", "side": side, "batch": count}, count)
        for threads in (0,) if setting.small else (0, 2, 8):
            steps = CreateDataLoader(model.opt.replace(nThreads=threads))
            for _ in steps.epoch(1):  # starts the processes
                break
            watch = Stopwatch()
            for each in watch.waiting(steps.epoch(2)):
                model.train_step(each)
                watch.pictures += each["count"]
            synchronize(setting.torch_device)
            seconds, waited = watch.read()
            yield {"work": "files", "nThreads": threads, "side": side, "batch": count,
                   "pictures_per_second": rounded(1 / seconds), "waiting_for_data": rounded(waited)}


def engines(setting: Setting) -> Iterator[dict]:
    """The generator by ONNX Runtime's providers and by TensorRT, where they are installed: seconds, and distance to PyTorch."""
    import torch

    from benchmarks.plain import plain_generator
    from models.deploy import EngineGenerator, export_onnx
    net = plain_generator(torch.device("cpu"), 4 if setting.small else 32).eval().requires_grad_(False)
    channels, side = next(net.parameters()).shape[1], setting.grid[0][0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "face.onnx"
        export_onnx(net, channels, 16, str(path))
        x = torch.rand(1, channels, side, side, device=setting.torch_device)
        net = net.to(setting.torch_device)
        wanted = net(x)
        facts = {"side": side, "batch": 1}
        yield measured(setting, lambda: net(x), {**facts, "by": "PyTorch, float32"})

        def compared(run, what, **more):
            figure = measured(setting, run, {**facts, "by": what, **more})
            if "failed" in figure:
                return figure
            return {**figure, "levels_of_255": rounded(float((run().to(wanted) - wanted).abs().mean()) * 127.5)}

        if _importable("onnxruntime"):
            yield from _by_onnxruntime(path, x, compared)
        else:
            yield {"by": "ONNX Runtime", "failed": "not installed"}
        if setting.device == "cuda" and _importable("tensorrt"):
            import tensorrt
            for half in (False, True):
                engine = EngineGenerator(str(build_engine(tensorrt, path, Path(folder) / f"{half}.plan", side, half)),
                                         setting.torch_device)
                yield compared(lambda engine=engine: engine(x), "TensorRT, float16" if half else "TensorRT, float32")
        else:
            yield {"by": "TensorRT", "failed": "not installed" if setting.device == "cuda" else "needs a CUDA device"}


def _importable(name: str) -> bool:
    from importlib.util import find_spec
    return find_spec(name) is not None


def _by_onnxruntime(path: Path, x, compared) -> Iterator[dict]:
    import onnxruntime
    import torch
    for provider in onnxruntime.get_available_providers():
        if provider not in ("CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider") or \
                provider.startswith("CPU") and x.device.type == "cuda":
            continue
        session = onnxruntime.InferenceSession(str(path), providers=[provider])
        used, name = session.get_providers()[0], session.get_inputs()[0].name
        array = x.cpu().numpy()
        yield compared(lambda session=session, name=name, array=array: torch.from_numpy(session.run(None, {name: array})[0]),
                       f"ONNX Runtime, {provider}", runs_on=used)


def build_engine(tensorrt, onnx_file: Path, path: Path, side: int, half: bool = False) -> Path:
    """Build a TensorRT engine of an exported generator, for pictures of one size; as `trtexec --onnx` does."""
    log = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(log)
    explicit = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)  # which later versions always are
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(Path(onnx_file).read_bytes()):
        raise RuntimeError("; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    config, profile, source = builder.create_builder_config(), builder.create_optimization_profile(), network.get_input(0)
    shape = (1, source.shape[1], side, side)
    profile.set_shape(source.name, shape, shape, shape)
    config.add_optimization_profile(profile)
    if half and hasattr(tensorrt.BuilderFlag, "FP16"):
        config.set_flag(tensorrt.BuilderFlag.FP16)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RuntimeError("TensorRT could not build the engine")
    Path(path).write_bytes(engine)
    return path


def demo(setting: Setting) -> Iterator[dict]:
    """The demo's training by its script's flags, then its held-out faces drawn in float32: their figures and pictures."""
    from benchmarks.precision import _figures
    flags = argparse.Namespace(gpu_ids=setting.flags[1], more="--niter 1 --niter_decay 2" +
                               " --max_dataset_size 4 --loadSize 32" * setting.small)
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("bf16",) if setting.small else ("bf16", "fp32", "fp16"):
            begun = time.monotonic()
            found = _figures(precision, flags, Path(folder))
            yield {"precision": precision, "seconds": rounded(time.monotonic() - begun), **found}
            drawn = sorted((Path(folder) / "results" / precision / "test_latest" / "images").glob("*synthesized*"))[:4]
            yield {"file": _side_by_side(drawn, setting.out / f"demo_{precision}.png")}


def _side_by_side(files: list[Path], path: Path) -> str:
    import numpy as np

    from data.image_files import read_image
    from util.util import save_image
    save_image(np.concatenate([np.asarray(read_image(file)) for file in files], 1), path)
    return path.name


@dataclass(frozen=True)
class Part:
    """A part and its time limit."""

    work: Callable[[Setting], Iterator[dict]]
    seconds: float


PARTS = {"machine": Part(machine, 40), "step": Part(step, 140), "tests": Part(tests, 160), "picture": Part(picture, 60),
         "demo": Part(demo, 90), "region": Part(region, 45), "vgg": Part(vgg, 45), "diffusion": Part(diffusion, 45),
         "engines": Part(engines, 60), "loader": Part(loader, 45)}  # in the order of their worth


if __name__ == "__main__":
    sys.exit(main())
