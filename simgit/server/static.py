"""The page: files that the server sends from memory, under an address that changes with them."""

from __future__ import annotations

import base64
import gzip
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from simgit.server.answers import FOREVER, has_tag
from simgit.server.problems import Refused, of_error

router = APIRouter(include_in_schema=False)
FOLDER: Final = Path(__file__).parent / "page"
SCREENS: Final = ("runs", "run", "compare", "best", "repository", "reference")
"""First parts of the addresses that the page shows; a test compares them with app.js."""
_TYPES: Final = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}  # fmt: skip
_FIRST: Final = ("main.js", "screens/runs.js", "parts/curves.js")
"""Modules of the first screen: with what they import they are asked for at once, in this order."""
_STYLES: Final = ("vendor/uplot.css", "style.css")
"""What the page's one style sheet is made of."""
_IMPORT: Final = re.compile(rb'^import [^;]*?"(\.[^"]+)";$', re.MULTILINE)


class File(NamedTuple):
    """A file of the page: its bytes, the same compressed, and their media type."""

    data: bytes
    packed: bytes
    media: str


@cache
def files() -> tuple[str, dict[str, File]]:
    """Return the part of the address that names this version, and the files by their paths."""
    found = {
        path.relative_to(FOLDER).as_posix(): path.read_bytes()
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in _TYPES
    }
    found["page.css"] = b"\n".join(found.pop(name) for name in _STYLES)
    hasher = blake3()
    for name, data in found.items():
        hasher.update(name.encode() + b"\0" + blake3(data).digest())
    version = hasher.hexdigest(8)
    base = f"/page/{version}"
    links = [f'<link rel="modulepreload" href="{base}/{name}">' for name in _needed(found)]
    icon = "data:image/svg+xml;base64," + base64.b64encode(found.pop("icon.svg")).decode()
    text = found["index.html"].decode()
    for name, value in (("base", base), ("icon", icon), ("preload", "\n".join(links))):
        text = text.replace(f"{{{name}}}", value)
    found["index.html"] = text.encode()
    return version, {
        name: File(data, gzip.compress(data, 9, mtime=0), _TYPES[Path(name).suffix])
        for name, data in found.items()
    }


def _needed(found: dict[str, bytes]) -> list[str]:
    """Return the modules of the first screen, and those that they import, the first ones first."""
    needed: dict[str, None] = {}
    waiting = list(reversed(_FIRST))
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = None
            near = posixpath.dirname(name)
            waiting += [
                posixpath.normpath(posixpath.join(near, each.decode()))
                for each in reversed(_IMPORT.findall(found[name]))
            ]
    return list(needed)


class Files:
    """Answers requests for files of the page at once: a visit asks for forty of them.

    They stand before the application, whose routes would be compared with each of their paths.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a file, and hand on every other."""
        parts = scope["path"].split("/", 3) if scope["type"] == "http" else []
        if len(parts) < 4 or parts[1] != "page" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        now, found = files()
        if parts[2] == now and parts[3] in found:
            answer = _sent(Request(scope), found[parts[3]], {"Cache-Control": FOREVER})
        else:
            why = "this version of the page has no such file; load it again"
            answer = of_error(Refused(404, why))
        await answer(scope, receive, send)


@router.get("/")
@router.get("/{screen}")
@router.get("/{screen}/{name:path}")
def page(request: Request, screen: str = "runs", name: str = "") -> Response:
    """Return the page: what it shows is in its address."""
    if screen not in SCREENS:
        raise Refused(404, "there is no such page; the API begins with /v1/")
    version, found = files()
    if has_tag(request, "if-none-match", version):
        return Response(status_code=304)
    headers = {"Cache-Control": "no-cache", "ETag": f'"{version}"'}
    return _sent(request, found["index.html"], headers)


def _sent(request: Request, file: File, headers: dict[str, str]) -> Response:
    found = {**headers, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, 200, {**found, "Content-Encoding": "gzip"}, file.media)
    return Response(file.data, 200, found, file.media)
