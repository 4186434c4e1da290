"""The editor's server: what it draws is what Predictor draws, and no request breaks it or gets where it must not."""
import asyncio
import io
import json
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the editor's packages are not installed")
from fastapi.testclient import TestClient  # noqa: E402

from editor import access, serving, turns  # noqa: E402
from editor.parsing import PhotoParser  # noqa: E402
from editor.server import create_app  # noqa: E402
from tests.conftest import call, succeed  # noqa: E402
from tests.editing import NAMES, SIDE, HalvesParser, make_experiment, model_of  # noqa: E402
from util.errors import UserError  # noqa: E402

HERE = "http://127.0.0.1:7860"
TOKEN = "right-token"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("editor"))


@pytest.fixture(scope="module")
def model(checkpoints):
    return model_of(checkpoints)


@pytest.fixture(scope="module")
def client(model):
    with TestClient(create_app(model), base_url=HERE, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def guarded(model):
    """A client of the application at a given --host."""
    with TestClient(create_app(model, HalvesParser(), "0.0.0.0", TOKEN), base_url=HERE, follow_redirects=False) as client:
        yield client


@pytest.fixture(scope="module")
def face(client):
    """(label map, photo) of the gallery's first picture, as files."""
    return tuple(client.get(f"/api/gallery/0/{kind}.png").content for kind in ("label", "photo"))


def array(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def file_of(values, kind="PNG", **how) -> bytes:
    stream = io.BytesIO()
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(stream, kind, **how)
    return stream.getvalue()


@pytest.mark.parametrize("given", [{}, {"seed": 3}, {"styles": {"hair": 1, "skin": [0.1, -0.5, 0.2], "4": "random"}, "seed": 9},
                                   {"photo": True}, {"photo": True, "styles": {"hair": 0}}])
def test_it_draws_what_predictor_draws(client, model, face, given):
    if "4" in given.get("styles", {}):
        given = {**given, "styles": {"hair": 1, "skin": [0.1, -0.5, 0.2], "l_eye": "random"}}
    files = {"label": face[0], **({"photo": face[1]} if "photo" in given else {})}
    data = {"styles": json.dumps(given.get("styles", {})), **({"seed": given["seed"]} if "seed" in given else {})}
    answer = client.post("/api/draw", files=files, data=data)
    assert answer.status_code == 200, answer.text
    wanted = model.predictor(array(face[0]), image=array(face[1]) if "photo" in given else None, style=given.get("styles"),
                             seed=given.get("seed"))
    assert np.array_equal(array(answer.content), np.asarray(wanted))


def test_looks_are_the_pictures_of_successive_seeds(client, model, face):
    answer = client.post("/api/draw", files={"label": face[0]}, data={"looks": 3, "seed": 5})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        looks = [array(archive.read(name)) for name in archive.namelist()]
    assert len(looks) == 3
    for seed, look in zip((5, 6, 7), looks, strict=True):
        assert np.array_equal(look, np.asarray(model.predictor(array(face[0]), seed=seed)))


def test_a_face_drawn_with_its_encoded_features_is_the_one_drawn_with_its_photo(client, model, face):
    features = client.post("/api/encode", files={"label": face[0], "photo": face[1]}).json()["features"]
    answer = client.post("/api/draw", files={"label": face[0]}, data={"styles": json.dumps(features)})
    assert np.array_equal(array(answer.content), np.asarray(model.predictor(array(face[0]), image=array(face[1]))))


def test_the_model_and_its_styles_are_described(client, model):
    facts, styles = client.get("/api/model").json(), client.get("/api/styles").json()
    assert [one["name"] for one in facts["classes"]] == list(NAMES) and facts["flip_pairs"] == [[2, 3]]
    assert facts["features"] == {"count": 3, "encoder": True, "vae": False} and facts["parser"] is False
    for name, known in styles.items():
        assert len(known["range"]) == 3 and all(low < high for low, high in known["range"])
        for style in known["styles"]:
            centres = model.predictor.model.drawing.styles.centres[NAMES.index(name)]
            assert np.allclose(style["centre"], centres[style["number"]])
            assert array(client.get(style["thumbnail"]).content).ndim == 3
    assert client.get("/api/health").json()["status"] == "ok"


@pytest.mark.parametrize("kind, how", [("PNG", {}), ("BMP", {}), ("PPM", {}), ("TIFF", {})])
def test_label_maps_are_read_in_any_format(client, face, kind, how):
    answer = client.post("/api/label", files={"label": file_of(array(face[0]), kind, **how)})
    assert np.array_equal(array(answer.content), array(face[0]))


def test_photos_are_parsed_and_without_a_parser_the_way_is_said(client, guarded, face):
    answer = guarded.post("/api/parse", files={"photo": face[1]}, headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200 and set(answer.json()) == {"photo", "label"}
    assert "--parser CHECKPOINT" in client.post("/api/parse", files={"photo": face[1]}).json()["error"]


SMALL = np.zeros((8, 8), np.uint8)
LABEL = file_of(SMALL)


def bomb(side=60000) -> bytes:
    """A PNG whose header claims a picture of gigabytes."""
    good = bytearray(file_of(SMALL))
    good[16:24] = side.to_bytes(4, "big") * 2
    import zlib
    good[29:33] = zlib.crc32(bytes(good[12:29])).to_bytes(4, "big")
    return bytes(good)


BROKEN = {
    "nothing at all": ({}, {}),
    "no file": ({}, {"label": "text"}),
    "an empty file": ({"label": b""}, {}),
    "text": ({"label": b"no picture"}, {}),
    "a web page": ({"label": b"<html>"}, {}),
    "a cut PNG": ({"label": LABEL[:40]}, {}),
    "a bit flipped": ({"label": LABEL[:-20] + b"\0" * 20}, {}),
    "JPEG ids": ({"label": file_of(SMALL, "JPEG")}, {}),
    "colours": ({"label": file_of(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8))}, {}),
    "an id too large": ({"label": file_of(SMALL + 6)}, {}),
    "255": ({"label": file_of(SMALL + 255)}, {}),
    "16 bits": ({"label": file_of(Image.fromarray(np.full((8, 8), 40000, np.uint16)))}, {}),
    "a GIF": ({"label": file_of(SMALL, "GIF")}, {}),
    "a bomb": ({"label": bomb()}, {}),
    "a wide bomb": ({"label": file_of(np.zeros((1, 29000), np.uint8))}, {}),
    "a narrow map that scaling makes huge": ({"label": file_of(np.zeros((2048, 1), np.uint8))}, {}),
    "too large a map": ({"label": file_of(np.zeros((2049, 8), np.uint8))}, {}),
    "a photo of another shape": ({"label": LABEL, "photo": file_of(np.zeros((8, 30, 3), np.uint8))}, {}),
    "an empty photo": ({"label": LABEL, "photo": ("photo.png", b"")}, {}),
    "a photo that is none": ({"label": LABEL, "photo": b"x"}, {}),
    "a photo bomb": ({"label": LABEL, "photo": bomb()}, {}),
    "styles that are no JSON": ({"label": LABEL}, {"styles": "{"}),
    "styles in a list": ({"label": LABEL}, {"styles": "[1]"}),
    "deep styles": ({"label": LABEL}, {"styles": "[" * 30000}),
    "long styles": ({"label": LABEL}, {"styles": " " * (1 << 17)}),
    "an unknown class": ({"label": LABEL}, {"styles": '{"nobody": 0}'}),
    "a long class": ({"label": LABEL}, {"styles": json.dumps({"x" * 5000: 0})}),
    "an unknown style": ({"label": LABEL}, {"styles": '{"hair": 99}'}),
    "a negative style": ({"label": LABEL}, {"styles": '{"hair": -1}'}),
    "a huge style": ({"label": LABEL}, {"styles": '{"hair": 1' + "0" * 400 + "}"}),
    "a style in words": ({"label": LABEL}, {"styles": '{"hair": "red"}'}),
    "a style of two numbers": ({"label": LABEL}, {"styles": '{"hair": [0, 1]}'}),
    "a style of words": ({"label": LABEL}, {"styles": '{"hair": ["a", "b", "c"]}'}),
    "a style that is not finite": ({"label": LABEL}, {"styles": '{"hair": [NaN, 0, 0]}'}),
    "an infinite style": ({"label": LABEL}, {"styles": '{"hair": [Infinity, 0, 0]}'}),
    "a style that is true": ({"label": LABEL}, {"styles": '{"hair": true}'}),
    "a style in a style": ({"label": LABEL}, {"styles": '{"hair": {"a": 1}}'}),
    "a seed in words": ({"label": LABEL}, {"seed": "x"}),
    "a negative seed": ({"label": LABEL}, {"seed": "-1"}),
    "a huge seed": ({"label": LABEL}, {"seed": "9" * 30}),
    "no looks": ({"label": LABEL}, {"looks": "0"}),
    "a thousand looks": ({"label": LABEL}, {"looks": "1000"}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_drawings_are_refused_in_one_line(client, what):
    files, data = BROKEN[what]
    refused(client.post("/api/draw", files=files, data=data))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 17), (64, 200)])
def test_maps_of_any_shape_are_drawn_at_their_size(client, size):
    answer = client.post("/api/draw", files={"label": file_of(np.ones(size, np.uint8))})
    assert answer.status_code == 200 and array(answer.content).shape == (*size, 3)


def refused(answer, status=None):
    assert 400 <= answer.status_code < 500 and status in (None, answer.status_code), (answer.status_code, answer.text)
    said = answer.json()["error"]
    assert said and "\n" not in said and "Traceback" not in said and len(said) <= 500
    return said


@pytest.mark.parametrize("path", ["/api/gallery/999/label.png", "/api/gallery/-1/photo.png", "/api/styles/4/999.jpg",
                                  "/api/styles/../../opt.json", "/api/styles/4/..%2f..%2fopt.json", "/%2e%2e/server.py",
                                  "/..%2fserver.py", "/js/../../server.py", "/etc/passwd", "/api/none",
                                  "/api/gallery/x/label.png"])
def test_names_never_become_paths(client, path):
    refused(client.get(path))


@pytest.mark.parametrize("method, path", [("GET", "/api/draw"), ("DELETE", "/api/model"), ("PUT", "/api/draw"), ("POST", "/")])
def test_other_methods_are_refused(client, method, path):
    refused(client.request(method, path))


def test_uploads_are_bounded_whatever_their_header_says(client, monkeypatch):
    said = refused(client.post("/api/draw", content=b"", headers={"content-length": str(access.MAX_BODY + 1)}), 413)
    assert "at most 32 MB" in said
    refused(client.post("/api/draw", content=b"", headers={"content-length": "many"}), 400)
    monkeypatch.setattr(access, "MAX_BODY", 1 << 16)

    def pieces():
        yield b'--b\r\nContent-Disposition: form-data; name="label"; filename="a"\r\n\r\n'
        for _ in range(64):
            yield b"x" * 4096
    refused(client.post("/api/draw", content=pieces(), headers={"content-type": "multipart/form-data; boundary=b"}), 413)


@pytest.mark.parametrize("headers, status", [
    ({"host": "evil.example"}, 421), ({"host": "evil.example:7860"}, 421), ({"host": ""}, 421), ({"host": "192.168.0.9"}, 421),
    ({"host": "localhost:7860"}, 200), ({"host": "[::1]:7860"}, 200), ({"host": "127.0.0.1.evil.example"}, 421),
    ({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403), ({"origin": "http://127.0.0.1:1"}, 403),
    ({"origin": HERE}, 200), ({"origin": "http://["}, 403),
    ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403)])
def test_only_this_page_asks_only_this_server(client, headers, status):
    answer = client.get("/api/model", headers=headers)
    assert answer.status_code == status
    assert status == 200 or refused(answer)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("headers", [
    {}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer "}, {"authorization": TOKEN},
    {"cookie": "editor_token=wrong"}, {"cookie": "editor_token=\u00e4"}, {"cookie": ";;=x"}])
@pytest.mark.parametrize("path", ["/", "/api/model", "/style.css", "/?token=wrong"])
def test_without_the_token_nothing_is_served(guarded, path, headers):
    guarded.cookies.clear()
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    assert "token" in refused(guarded.get(path, headers=encoded), 401)


def test_the_token_in_the_address_becomes_a_cookie(guarded):
    answer = guarded.get(f"/?token={TOKEN}")
    assert answer.status_code == 303 and answer.headers["location"] == "/" and "HttpOnly" in answer.headers["set-cookie"]
    assert guarded.get("/").status_code == 200 and guarded.get("/api/model").json()["parser"]
    guarded.cookies.clear()
    assert guarded.get("/api/model", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/", headers={"authorization": f"Bearer {TOKEN}", "host": "evil.example"}).status_code == 421


def test_pages_run_no_code_but_their_own(client):
    for path in ("/", "/docs", "/api/model", "/nowhere"):
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'self';") and "unsafe" not in policy
    for path in ("/", "/docs"):
        html = client.get(path).text
        assert "http://" not in html and "https://" not in html and "style=" not in html and "onclick" not in html
    assert "/api/draw" in client.get("/openapi.json").json()["paths"]


def test_eight_clients_get_their_own_pictures(client, model, face):
    wanted = {seed: np.asarray(model.predictor(array(face[0]), seed=seed)) for seed in range(8)}

    def ask(seed):
        for _ in range(4):
            answer = client.post("/api/draw", files={"label": face[0]}, data={"seed": seed})
            if answer.status_code == 200:
                assert np.array_equal(array(answer.content), wanted[seed])
            else:
                assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1 and refused_busy(answer)
        return True
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))
    assert client.get("/api/health").json()["waiting"] == 0


def refused_busy(answer):
    return "try again" in answer.json()["error"]


class Client:
    """Stands for a request whose client may have left."""

    def __init__(self, left=False):
        self.left = left

    async def is_disconnected(self):
        return self.left


def test_few_wait_one_works_and_who_left_is_not_drawn_for():
    async def scene():
        queue, running, free = turns.Turns(most=3), [], threading.Event()

        def work(name):
            running.append(name)
            free.wait(30)
            return name
        tasks = [asyncio.create_task(queue.run(client, work, name))
                 for name, client in (("first", Client()), ("gone", Client(left=True)), ("last", Client()))]
        while not running:
            await asyncio.sleep(0.001)
        with pytest.raises(Exception, match="waiting already") as busy:
            await queue.run(Client(), work, "refused")
        assert busy.value.status_code == 503 and int(busy.value.headers["Retry-After"]) >= 1 and running == ["first"]
        free.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] == "first" and results[2] == "last" and running == ["first", "last"]
        assert results[1].status_code == turns.CLIENT_GONE and queue.waiting == 0
    asyncio.run(scene())


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(model):
    app = create_app(model)
    scope = {"type": "http", "method": "POST", "path": "/api/draw", "query_string": b"", "http_version": "1.1",
             "scheme": "http", "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=b")]}
    messages = [{"type": "http.request", "body": b"--b\r\nContent-", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        pass
    guard = access.Access(app.build_middleware_stack().app, "127.0.0.1")
    asyncio.run(guard(scope, receive, send))
    assert guard.uploads == 0 and app.state.turns.waiting == 0


@pytest.mark.parametrize("host", [[], ["--host", "127.0.0.1"]])
def test_the_command_prints_the_address_with_its_token_if_a_host_is_given(checkpoints, monkeypatch, host):
    served = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: served.append((server.config, sockets)))
    done = succeed(call("edit", "--name", "small", "--checkpoints_dir", checkpoints, "--gpu_ids", "-1", "--port", "0", *host))
    [(config, [sock])] = served
    address, _, token = done.out.rpartition("Editor: ")[2].split()[0].partition("?token=")
    assert address == f"http://127.0.0.1:{sock.getsockname()[1]}/" and len(token) == (32 if host else 0)
    sock.close()
    with TestClient(config.app, base_url=HERE) as client:
        assert client.get("/api/health").status_code == (401 if host else 200)
        assert client.get("/api/health", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_missing_packages_are_named_in_one_line(monkeypatch):
    monkeypatch.setitem(serving.PACKAGES, "no_such_module", "no-such-package")
    with pytest.raises(UserError, match="needs no-such-package: pip install -r requirements-edit.txt"):
        serving.require_packages()


def test_a_port_in_use_is_named():
    taken = serving._bound("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(UserError, match="--port"):
        serving._bound("127.0.0.1", taken.getsockname()[1])
    taken.close()


def test_models_that_are_not_painted_for_are_refused(checkpoints, tmp_path):
    from tests.conftest import LOSSES, NETWORK, SIZES
    where = ["--name", "parser", "--checkpoints_dir", tmp_path, "--dataroot", checkpoints / "data", "--model", "parsing",
             "--gpu_ids", "-1", "--nThreads", "0", "--loadSize", SIDE, "--from_scratch"]
    succeed(call("train", *where, "--niter", "1", "--niter_decay", "0", "--no_html", "--max_dataset_size", "1"))
    with pytest.raises(UserError, match="nothing to paint"):
        model_of(tmp_path, "parser")
    parser = PhotoParser.load(tmp_path / "parser", list(NAMES), [])
    square, ids = parser.parse(file_of(np.full((90, 70, 3), 128, np.uint8)), SIDE, aligned=False)
    assert square.size == (SIDE, SIDE) and ids.shape == (SIDE, SIDE) and ids.max() < len(NAMES)
    with pytest.raises(UserError, match="no face was found"):
        parser.parse(file_of(np.full((90, 70, 3), 128, np.uint8)), SIDE, aligned=True)
    with pytest.raises(UserError, match="which the model does not"):
        PhotoParser.load(tmp_path / "parser", ["background", "road"], [])
    plain = ["--name", "plain", "--checkpoints_dir", tmp_path, "--dataroot", checkpoints / "data", *SIZES, *NETWORK]
    succeed(call("train", *plain, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html", "--max_dataset_size", "1"))
    with TestClient(create_app(model_of(tmp_path, "plain")), base_url=HERE) as client:
        assert client.get("/api/model").json()["features"] is None and client.get("/api/styles").json() == {}
        assert client.post("/api/draw", files={"label": LABEL}).status_code == 200
        for more in ({"data": {"styles": '{"hair": 0}'}}, {"files": {"label": LABEL, "photo": LABEL}}):
            assert "takes no encoded features" in refused(client.post("/api/draw", **{"files": {"label": LABEL}, **more}))


@pytest.mark.parametrize("flags", [["--label_feat", "--use_vae"], ["--instance_feat", "--contain_dontcare_label"]])
def test_every_kind_of_experiment_is_edited(checkpoints, tmp_path, flags):
    from tests.conftest import LOSSES, NETWORK, SIZES
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", checkpoints / "data", *SIZES, *NETWORK, *flags]
    succeed(call("train", *where, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html", "--max_dataset_size", "1"))
    model = model_of(tmp_path, "x")
    model.warm_up()
    with TestClient(create_app(model), base_url=HERE) as client:
        facts, ranges = client.get("/api/model").json(), client.get("/api/styles").json()
        label, photo = (client.get(f"/api/gallery/0/{kind}.png").content for kind in ("label", "photo"))
        if "--contain_dontcare_label" in flags:
            assert facts["classes"][-1]["id"] == 255 and facts["classes"][-1]["name"] == "unlabelled"
            ids = array(label).copy()
            ids[:9] = 255
            label = file_of(ids)
            assert np.array_equal(array(client.post("/api/label", files={"label": label}).content), ids)
        assert facts["features"]["vae"] == ("--use_vae" in flags) and set(ranges) == {one["name"] for one in facts["classes"]}
        features = client.post("/api/encode", files={"label": label, "photo": photo}).json()["features"]
        drawn = client.post("/api/draw", files={"label": label}, data={"styles": json.dumps(features)})
        assert np.array_equal(array(drawn.content), np.asarray(model.predictor(array(label), image=array(photo))))
        at_random = client.post("/api/draw", files={"label": label}, data={"styles": '{"hair": "random"}', "seed": 2})
        assert at_random.status_code == (200 if "--use_vae" in flags else 400)


def test_styles_that_are_all_given_need_no_file_of_styles(checkpoints, tmp_path):
    import shutil
    folder = shutil.copytree(checkpoints / "small", tmp_path / "bare")
    for path in [*folder.glob("features*"), folder / "styles.json"]:
        path.unlink()
    bare = model_of(tmp_path, "bare")
    bare.warm_up()
    styles = {name: [0.1, 0.2, 0.3] for name in NAMES}
    assert bare.predictor(SMALL, style=styles).size == (8, 8)
    with pytest.raises(UserError, match="encode_features.py"):
        bare.predictor(SMALL, style={})
