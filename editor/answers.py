"""Errors as answers: JSON {"error": one line}, and never a traceback."""
from __future__ import annotations

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from util.errors import UserError


def one_line(status: int, message, headers=None) -> JSONResponse:
    """The answer that says what went wrong."""
    return JSONResponse({"error": " ".join(str(message).split())[:500]}, status, headers)


def add_error_answers(app) -> None:
    """Answer errors of any kind; what is no fault of the request is 500, and its traceback goes to the server's stderr."""
    @app.exception_handler(UserError)
    async def refused(request, error):
        return one_line(400, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request, error):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first.get("loc", ())[1:]) or "request"
        return one_line(422, f"{where}: {first.get('msg', 'is wrong')}")

    @app.exception_handler(HTTPException)
    async def failed(request, error):
        return one_line(error.status_code, error.detail, error.headers)

    @app.exception_handler(MemoryError)
    async def too_large(request, error):
        return one_line(413, "there is not enough memory for that; send smaller pictures")

    @app.exception_handler(Exception)
    async def broken(request, error):
        return one_line(500, "something went wrong in the editor; its terminal shows what")
