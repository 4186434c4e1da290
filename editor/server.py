"""The editor's web application: the page, and the API that it draws with."""
from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from editor.access import MAX_BODY, Access
from editor.answers import add_error_answers
from editor.gallery import Gallery
from editor.model import EditedModel
from editor.parsing import MISSING, PhotoParser
from editor.style_list import StyleList
from editor.turns import Turns
from editor.uploads import checked_photo, checked_styles, png
from util.errors import UserError

STATIC = Path(__file__).parent / "static"
MAX_LOOKS = 8
PNG, ZIP = "image/png", "application/zip"
LabelFile = Annotated[UploadFile, File(description="Label map: one channel of class ids, as PNG, BMP, PGM or TIFF")]
PhotoFile = Annotated[UploadFile, File(description="Photo: PNG, JPEG, WEBP, TIFF, BMP")]


def create_app(model: EditedModel, parser: PhotoParser | None = None, host: str = "127.0.0.1", token: str = "") -> FastAPI:
    """The application. host, token: see `Access`."""
    MultiPartParser.spool_max_size = MAX_BODY  # uploads are bounded, and stay in memory
    app = FastAPI(title="Label map editor", docs_url=None, redoc_url=None, description="Draws photos from label maps.")
    app.state.turns = Turns()
    add_error_answers(app)
    _add_facts(app, model, parser)
    _add_drawing(app, model)
    _add_reading(app, model, parser)
    _add_gallery(app, Gallery(model))

    @app.get("/docs", include_in_schema=False)
    def docs():
        return FileResponse(STATIC / "docs.html")

    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_middleware(Access, host=host, token=token)
    return app


def _add_facts(app, model, parser) -> None:
    styles = StyleList(model)

    @app.get("/api/model", summary="Classes, sizes and abilities of the model")
    def describe():
        return {**model.describe(), "parser": parser is not None, "looks": MAX_LOOKS}

    @app.get("/api/health", summary="Whether the server answers, and what it does")
    async def health():
        turns = app.state.turns
        return {"status": "ok", "drawn": turns.done, "waiting": turns.waiting}

    @app.get("/api/styles", summary="The styles of each class, and the range of its features")
    def list_styles():
        return styles.describe()

    @app.get("/api/styles/{label}/{number}.jpg", summary="A style's picture on the style sheet", response_class=Response)
    def thumbnail(label: int, number: int):
        path = styles.thumbnail(label, number)
        return FileResponse(path) if path else _absent("style")


def _add_drawing(app, model) -> None:
    @app.post("/api/draw", summary="Draw a label map", response_class=Response,
              responses={200: {"content": {PNG: {}, ZIP: {}}, "description": "PNG; for several looks a zip of them"}})
    async def draw(request: Request, label: LabelFile, photo: PhotoFile | None = None,
                   styles: Annotated[str, Form(description="JSON {class: style number, 'random' or features}")] = "",
                   seed: Annotated[int | None, Form(ge=0, lt=2**31 - MAX_LOOKS, description="Of random styles")] = None,
                   looks: Annotated[int, Form(ge=1, le=MAX_LOOKS)] = 1):
        wanted = checked_styles(styles)
        raw, image = await label.read(), None if photo is None else await photo.read()
        pictures, seconds = await app.state.turns.run(request, model.draw, raw, image, wanted, seed, looks)
        timing = {"server-timing": ", ".join(f"{step};dur={1000 * value:.2f}" for step, value in seconds.items())}
        if looks == 1:
            return Response(pictures[0], media_type=PNG, headers=timing)
        return Response(_zipped({f"look_{i}.png": picture for i, picture in enumerate(pictures, 1)}), media_type=ZIP,
                        headers=timing)

    @app.post("/api/encode", summary="The features of a photo's regions by class name")
    async def encode(request: Request, photo: PhotoFile, label: LabelFile):
        raw, ids = await photo.read(), await label.read()
        return {"features": await app.state.turns.run(request, model.encode, raw, ids)}


def _add_reading(app, model, parser) -> None:
    @app.post("/api/parse", summary="A photo's label map, by the face parser of --parser")
    async def parse(request: Request, photo: PhotoFile,
                    align: Annotated[bool, Form(description="find, turn and scale the face as in CelebAMask-HQ")] = False):
        if parser is None:
            raise UserError(MISSING)
        square, ids = await app.state.turns.run(request, parser.parse, await photo.read(), model.describe()["size"], align)
        return {"photo": base64.b64encode(png(square)).decode(), "label": base64.b64encode(png(ids)).decode()}

    @app.post("/api/label", summary="A label map in any format that is read, as PNG of ids", response_class=Response)
    async def read_label(request: Request, label: LabelFile):
        return Response(await app.state.turns.run(request, model.read_label, await label.read()), media_type=PNG)

    @app.post("/api/photo", summary="A photo upright, at most 1024 pixels a side, as PNG", response_class=Response)
    async def read_photo(request: Request, photo: PhotoFile):
        def work(raw):
            return png(checked_photo(raw))
        return Response(await app.state.turns.run(request, work, await photo.read()), media_type=PNG)


def _add_gallery(app, gallery) -> None:
    @app.get("/api/gallery", summary="Pictures of the experiment's data set")
    def list_gallery():
        return gallery.describe()

    @app.get("/api/gallery/{number}/label.png", summary="Its label map", response_class=Response)
    def label(number: int):
        return _picture(gallery.label(number), PNG)

    @app.get("/api/gallery/{number}/photo.png", summary="Its photo", response_class=Response)
    def photo(number: int):
        return _picture(gallery.photo(number), PNG)

    @app.get("/api/gallery/{number}/thumbnail.jpg", summary="A small picture of it", response_class=Response)
    def thumbnail(number: int):
        return _picture(gallery.thumbnail(number), "image/jpeg")


def _picture(content: bytes | None, kind: str) -> Response:
    return Response(content, media_type=kind) if content else _absent("picture")


def _absent(what: str):
    raise HTTPException(404, f"there is no such {what}")


def _zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()
