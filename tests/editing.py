"""What the tests of the editor share: a small experiment with named classes, and its application, served or not."""
import contextlib
import socket
import threading

import numpy as np

from data.dataset_spec import DatasetSpec
from editor.model import EditedModel
from editor.server import create_app
from models.predictor import Predictor
from options.edit_options import EditOptions
from tests.conftest import LOSSES, NETWORK, SIZES, call, succeed, write_root

NAMES = ("background", "skin", "l_eye", "r_eye", "hair", "hat")
SIDE = 64


def make_experiment(folder):
    """checkpoints_dir of 'small', of which a style sheet was drawn; its data are in `folder`/data."""
    root = write_root(folder / "data", {"train": 3, "test": 2}, size=(SIDE, SIDE))
    DatasetSpec(label_nc=len(NAMES), labels=NAMES, flip_pairs=((2, 3),)).write(root)
    where = ["--name", "small", "--checkpoints_dir", folder, "--dataroot", root, *SIZES, "--loadSize", SIDE, *NETWORK]
    succeed(call("train", *where, "--label_feat", *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html"))
    succeed(call("encode_features", *where, "--label_feat"))
    return folder


def model_of(checkpoints, name="small", *flags) -> EditedModel:
    """The experiment as the editor draws with it."""
    with contextlib.redirect_stdout(None):
        opt = EditOptions().parse(["--name", name, "--checkpoints_dir", str(checkpoints), "--gpu_ids", "-1", *flags])
    return EditedModel(Predictor(opt))


class HalvesParser:
    """Stands for a face parser: the left half of any photo is skin, the right one hair."""

    def parse(self, raw, size, aligned):
        from editor.uploads import checked_photo
        ids = np.ones((size, size), np.uint8)
        ids[:, size // 2:] = NAMES.index("hair")
        return checked_photo(raw).resize((size, size)), ids


@contextlib.contextmanager
def served(model, parser=None):
    """The address of the application of a model, which a thread of this process serves."""
    import uvicorn
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(model, parser), log_level="warning", access_log=False, lifespan="off",
                                           ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
