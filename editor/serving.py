"""Loading what the editor draws with, and serving it at an address until Ctrl-C."""
from __future__ import annotations

import importlib.util
import secrets
import socket

from options.edit_options import LOCAL
from util.errors import UserError, first_few

PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "multipart": "python-multipart"}


def serve(opt) -> int:
    """Serve the editor of the options. Raises UserError for missing packages, weights that do not fit, a port in use."""
    require_packages()
    import uvicorn

    from editor.model import EditedModel
    from editor.parsing import PhotoParser
    from editor.server import create_app
    from models.predictor import Predictor
    sock = _bound(opt.host or LOCAL, opt.port)
    model = EditedModel(Predictor(opt))
    parser = PhotoParser.load(opt.parser, model.class_names, opt.gpu_ids) if opt.parser else None
    if model.takes_styles and (line := model.predictor.model.drawing.outdated_styles()):
        print(line)
    model.warm_up()
    token = secrets.token_urlsafe(24) if opt.host else ""
    app = create_app(model, parser, host=opt.host or LOCAL, token=token)
    print(f"Editor: {_address(opt.host or LOCAL, sock.getsockname()[1], token)}  (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none",
                            limit_concurrency=200, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[sock])
    return 0


def require_packages() -> None:
    """Raise UserError naming the packages that are not installed."""
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"edit.py needs {first_few(missing)}: pip install -r requirements-edit.txt (make edit does it)")


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UserError if the address cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: cannot be served at ({error.strerror or error}); choose another "
                        "--port, or 0 for any free one") from None
    return sock


def _address(host: str, port: int, token: str) -> str:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
