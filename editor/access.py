"""Who may ask the editor, and how much at once: the token, Host and Origin, the size and number of uploads."""
from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException

MAX_BODY = 32 << 20  # bytes of a request
MAX_UPLOADS = 16  # requests with a body at a time; each may hold MAX_BODY
BODY_SECONDS = 30.0  # a body must arrive within
COOKIE = "editor_token"
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Refused(Exception):
    """A request that is not answered. status: of HTTP. headers: further ones of the answer."""

    def __init__(self, status: int, message: str, **headers: str):
        super().__init__(message)
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}


class Access:
    """ASGI middleware around the application `app`.

    host: the address that is served. token: what a request must bring, as cookie or `Authorization: Bearer`; '' for none.
    A request must name the server by an IP address or one of its own names, so that a foreign name that leads to this
    machine (DNS rebinding) does not; and come from no other page.
    """

    def __init__(self, app, host: str, token: str = ""):
        self.app, self.token = app, token.encode()
        own = {socket.gethostname().lower(), socket.getfqdn().lower()} if token else set()
        self.names = {"localhost", host.lower()} | own
        self.any_address = bool(token)
        self.uploads = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send) if scope["type"] == "lifespan" else None
        send = _with_headers(send, scope["path"])
        counted = False
        try:
            headers = _headers(scope)
            self._check_host(headers)
            _check_origin(headers, scope)
            if (answer := self._check_token(headers, scope)) is not None:
                return await _answer(send, 303, b"", answer)
            if scope["method"] not in ("GET", "HEAD"):
                _check_length(headers)
                if self.uploads >= MAX_UPLOADS:
                    raise Refused(503, f"{MAX_UPLOADS} requests are waiting already; try again in a moment", retry_after="1")
                self.uploads, counted = self.uploads + 1, True
                receive = _bounded(receive)
            return await self.app(scope, receive, send)
        except Refused as error:
            body = json.dumps({"error": str(error)}).encode()
            return await _answer(send, error.status, body, {"content-type": "application/json", **error.headers})
        finally:
            self.uploads -= counted

    def _check_host(self, headers) -> None:
        name = _host_name(headers.get("host", ""))
        if name in self.names or _is_address(name, loopback=not self.any_address):
            return
        raise Refused(421, "Host: is not this server's address; open the address that edit.py printed")

    def _check_token(self, headers, scope) -> dict | None:
        """Raise Refused without the token; the headers of a redirect where it was in the address, to get it out of there."""
        if not self.token:
            return None
        query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._is_token(query):
            return {"location": "/", "set-cookie": f"{COOKIE}={query}; HttpOnly; SameSite=Lax; Path=/"}
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if not (self._is_token(_cookie(headers)) or scheme.lower() == "bearer" and self._is_token(bearer.strip())):
            raise Refused(401, "the token is missing or wrong; open the whole address that edit.py printed, with its token",
                          www_authenticate="Bearer")
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.token)


def _headers(scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _host_name(host: str) -> str:
    """'[::1]:80' -> '::1', 'localhost:80' -> 'localhost'."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(name: str, loopback: bool) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not loopback


def _check_origin(headers, scope) -> None:
    """Raise Refused for what another page asks; following a link to the start page is no such request."""
    origin = headers.get("origin")
    try:
        foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").strip().lower()
    except ValueError:
        foreign = True
    site = headers.get("sec-fetch-site", "same-origin")
    visit = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if foreign or site not in ("same-origin", "none") and not visit:
        raise Refused(403, "Origin: another page's requests are not answered")


def _check_length(headers) -> None:
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise Refused(400, "Content-Length: is no number")
    if int(length) > MAX_BODY:
        raise Refused(413, f"the upload has {int(length) >> 20} MB; send at most {MAX_BODY >> 20} MB")


def _cookie(headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _bounded(receive):
    """`receive` with the bounds of a body, which may have no Content-Length or a wrong one."""
    loop = asyncio.get_running_loop()
    seen, whole, until = 0, False, loop.time() + BODY_SECONDS

    async def bounded():
        nonlocal seen, whole
        if whole:
            return await receive()  # waits for the client to leave
        try:
            message = await asyncio.wait_for(receive(), max(0.0, until - loop.time()))
        except (TimeoutError, asyncio.TimeoutError):
            raise HTTPException(408, f"the upload took longer than {BODY_SECONDS:.0f} s") from None
        seen += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if seen > MAX_BODY:
            raise HTTPException(413, f"the upload is larger than {MAX_BODY >> 20} MB")
        return message
    return bounded


def _with_headers(send, path: str):
    async def sent(message):
        if message["type"] == "http.response.start":
            own = {name.encode(): value.encode() for name, value in HEADERS.items()}
            own[b"cache-control"] = b"no-store" if path.startswith("/api/") and not path.endswith(".jpg") else b"no-cache"
            message = {**message, "headers": [*message.get("headers", ()), *own.items()]}
        await send(message)
    return sent


async def _answer(send, status: int, body: bytes, headers: dict) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status,
                "headers": [*encoded, (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
