"""What the tests share: small data roots, networks of a few channels, and the scripts run here or as processes."""
import contextlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT.parent / "shared" / "golden"
CLASSES, SIDE = 6, 32
SIZES = ["--gpu_ids", "-1", "--nThreads", "0", "--loadSize", str(SIDE), "--label_nc", str(CLASSES)]
NETWORK = ["--ngf", "4", "--nef", "4", "--n_downsample_global", "2", "--n_blocks_global", "1", "--n_downsample_E", "2",
           "--n_up", "2"]
IDENTITY = ["--netI", "small", "--nif", "4"]
# a small UNet, whose networks are not those of NETWORK
UNET = ["--unet_channels", "8", "--unet_mult", "1,2", "--unet_attention", "2", "--timesteps", "20", "--steps", "2"]
LOSSES = ["--ndf", "4", "--n_layers_D", "2", "--no_vgg_loss"]

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start


def pytest_collection_modifyitems(items):
    """Skip what needs a CUDA device where there is none."""
    skip = pytest.mark.skip(reason="there is no CUDA device here")
    for item in items if not torch.cuda.is_available() else ():
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


def label_map(random, size=(SIDE, SIDE), classes=CLASSES) -> np.ndarray:
    """A random map of blocks: (H, W) uint8."""
    width, height = size
    blocks = random.integers(0, classes, (4, 4), dtype=np.uint8)
    return blocks[np.arange(height)[:, None] * 4 // height, np.arange(width) * 4 // width]


def picture(random, labels: np.ndarray) -> np.ndarray:
    """A smooth picture that shows a label map: a colour a class, and light from one side. (H, W, 3) uint8."""
    colours = random.integers(20, 200, (256, 3))
    light = np.linspace(0, 55, labels.shape[1])[None, :, None]
    return (colours[labels] + light).astype(np.uint8)


def write_root(folder, phases, size=(SIDE, SIDE), inst=False, pictures=("label", "img"), seed=0, classes=CLASSES):
    """Make a data root: phases is {'train': 5, ...}, pictures the endings of label and photo folders."""
    random = np.random.default_rng(seed)
    names = {phase: [f"p{i:02d}" for i in range(count)] for phase, count in phases.items()}
    write_attributes(folder, names)
    write_identities(folder, names)
    for phase, count in phases.items():
        for i in range(count):
            labels = label_map(random, size, classes)
            photo = picture(random, labels)
            source = labels if pictures[0] == "label" else photo[::-1].copy()
            for role, array in zip(pictures, (source, photo)):
                save(folder / f"{phase}_{role}" / f"p{i:02d}.png", array)
            if inst:
                save(folder / f"{phase}_inst" / f"p{i:02d}.png", labels.astype(np.uint16) * 1000 + (labels > 2))
    return folder


ATTRIBUTES = ("Smiling", "Eyeglasses", "Bald")


def write_attributes(folder, photos, names=ATTRIBUTES):
    """Write attributes.csv: photos is {phase: their names}; from three photos on, each attribute varies."""
    rows = [[name, phase, *(int(i % (k + 2) == k) for k in range(len(names)))]
            for phase, listed in photos.items() for i, name in enumerate(listed)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "attributes.csv").write_text("\n".join(",".join(map(str, row)) for row in [["name", "split", *names], *rows]))


def write_identities(folder, photos):
    """Write identities.csv: photos is {phase: their names}; of two photos each, somebody's."""
    rows = [(name, phase, i // 2) for phase, listed in photos.items() for i, name in enumerate(listed)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "identities.csv").write_text("\n".join(",".join(map(str, row)) for row in [("name", "split", "identity"), *rows]))


def save(path, array):
    """Write an array as a picture, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def copy_tracked(folder, leave_out=()):
    """Copy the tracked files into a folder, as a clone has them, less those in `leave_out` (their paths' beginnings)."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if names.returncode:
        pytest.skip("not a clone")
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(tuple(leave_out)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def load_script(name: str):
    """A script of the project's root as a module (its own name may be another package's)."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_scripts = {}


def call(name: str, *argv) -> SimpleNamespace:
    """Run a script's main() here, as its command would: (status, out, err)."""
    module = _scripts.setdefault(name, None) or load_script(name)
    _scripts[name] = module
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [f"{name}.py", *map(str, argv)]
    status = 1
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            module.main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue())


def start(name: str, *argv, **more) -> subprocess.Popen:
    """Start a script as a process of its own."""
    return subprocess.Popen([sys.executable, str(ROOT / f"{name}.py"), *map(str, argv)], cwd=more.pop("cwd", ROOT), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def spawn(name: str, *argv, **more) -> SimpleNamespace:
    """Run a script as a process of its own and wait: (status, out, err)."""
    process = start(name, *argv, **more)
    out, err = process.communicate(timeout=300)
    return SimpleNamespace(status=process.returncode, out=out, err=err)


def succeed(done):
    """The finished call, or a failure that shows what it said."""
    assert done.status == 0, f"exit {done.status}\n{done.out[-2000:]}\n{done.err[-3000:]}"
    return done


def options(argv, role="train"):
    """Parse a command line quietly, as the script of that role would."""
    from options.test_options import TestOptions
    from options.train_options import TrainOptions
    parser = TestOptions() if role == "test" else TrainOptions(role=role)
    with contextlib.redirect_stdout(io.StringIO()):
        return parser.parse([str(word) for word in argv])


def known(model, argv, role="train") -> list[str]:
    """The command line without those flags (and their values) that a model does not have."""
    from options.test_options import TestOptions
    from options.train_options import TrainOptions
    parsing = TestOptions() if role == "test" else TrainOptions(role=role)
    flags = parsing._full_parser(parsing._first_phase(["--model", model]), {}).flags()
    kept, wanted = [], True
    for word in map(str, argv):
        if word.startswith("--"):
            wanted = word[2:] in flags
        if wanted:
            kept.append(word)
    return kept


def tree(folder) -> dict:
    """{relative path: bytes} of a folder, less the lock that a run leaves there."""
    folder = Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


def same(a, b) -> bool:
    """Whether two nests of dicts, lists, tensors and plain values are equal bit for bit."""
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b


@pytest.fixture(autouse=True)
def timed(monkeypatch):
    """What `--precision auto` is told of this machine, without a clock: {precision: seconds}, for tests to change."""
    from models import precision
    seconds = {"fp32": 2.0, "bf16": 1.0, "fp16": 1.5}
    monkeypatch.setattr(precision, "measured",
                        lambda model: {each: seconds[each] for each in precision.candidates(model.device)})
    return seconds


@pytest.fixture
def group():
    """A group of processes that has one, for what they exchange."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Five training and three test pictures with their label maps. Read only."""
    return write_root(tmp_path_factory.mktemp("data"), {"train": 5, "test": 3})


@pytest.fixture(scope="session")
def root_inst(tmp_path_factory):
    """The same with instance maps, some of several instances a class. Read only."""
    return write_root(tmp_path_factory.mktemp("data_inst"), {"train": 5, "test": 3}, inst=True)


def train_faces(checkpoints, root, *more):
    """Train the experiment 'faces' for an epoch with --label_feat, and encode."""
    where = ["--name", "faces", "--checkpoints_dir", checkpoints, "--dataroot", root, *SIZES, *NETWORK, "--label_feat"]
    succeed(call("train", *where, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html", *more))
    succeed(call("encode_features", "--name", "faces", "--checkpoints_dir", checkpoints, "--gpu_ids", "-1", "--nThreads", "0"))
    return checkpoints


@pytest.fixture(scope="session")
def trained(tmp_path_factory, root):
    """checkpoints_dir of the experiment 'faces': one epoch with --label_feat, encoded. Read only: copy to change it."""
    return train_faces(tmp_path_factory.mktemp("trained"), root)


@pytest.fixture(scope="session")
def trained_region(tmp_path_factory, root):
    """The same with --netG region. Read only."""
    return train_faces(tmp_path_factory.mktemp("trained_region"), root, "--netG", "region", "--ema", "0.5")
