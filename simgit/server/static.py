"""The page: files that the server sends from memory, under an address that changes with them."""

from __future__ import annotations

import gzip
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3
from fastapi import APIRouter, Request
from starlette.responses import Response

from simgit.server.answers import FOREVER, has_tag
from simgit.server.problems import Refused

router = APIRouter(include_in_schema=False)
FOLDER: Final = Path(__file__).parent / "page"
SCREENS: Final = ("runs", "run", "compare", "best", "repository", "reference")
"""First parts of the addresses that the page shows; a test compares them with app.js."""
_TYPES: Final = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}  # fmt: skip
_FIRST: Final = ("main.js", "screens/runs.js")
"""Modules of the first screen: with what they import they are asked for at once."""
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
    hasher = blake3()
    for name, data in found.items():
        hasher.update(name.encode() + b"\0" + blake3(data).digest())
    version = hasher.hexdigest(8)
    base = f"/page/{version}"
    first = sorted(_needed(found))
    links = "\n".join(f'<link rel="modulepreload" href="{base}/{name}">' for name in first)
    text = found["index.html"].decode().replace("{base}", base).replace("{preload}", links)
    found["index.html"] = text.encode()
    return version, {
        name: File(data, gzip.compress(data, 9, mtime=0), _TYPES[Path(name).suffix])
        for name, data in found.items()
    }


def _needed(found: dict[str, bytes]) -> set[str]:
    """Return the modules of the first screen, and those that they import."""
    needed: set[str] = set()
    waiting = list(_FIRST)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            near = posixpath.dirname(name)
            waiting += [
                posixpath.normpath(posixpath.join(near, each.decode()))
                for each in _IMPORT.findall(found[name])
            ]
    return needed


@router.get("/page/{version}/{path:path}")
def file(request: Request, version: str, path: str) -> Response:
    """Return a file of the page."""
    now, found = files()
    if version != now or path not in found:
        raise Refused(404, f"there is no '{path}' in this version of the page; load it again")
    return _sent(request, found[path], {"Cache-Control": FOREVER})


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
