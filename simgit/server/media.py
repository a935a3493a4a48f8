"""Bytes that were attached: their type by signature, ranges of them, how browsers may show them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simgit.server.answers import FOREVER, has_tag
from simgit.server.problems import Refused

BYTES: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"
PEEK: Final = 64
"""The number of bytes that tell the type."""
_PIECE: Final = 1 << 18
_IN_MEMORY: Final = 32 << 20


def media_type(head: bytes) -> str:
    """Return the type of bytes by their beginning; ``application/octet-stream`` if it is not shown.

    HTML and SVG are never shown: they would run scripts under this origin.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm"
    if head.startswith(b"ID3") or (
        head[:1] == b"\xff" and head[1:2] in (b"\xfb", b"\xf3", b"\xf2")
    ):
        return "audio/mpeg"
    if head.startswith(b"OggS"):
        return "audio/ogg"
    return TEXT if _is_text(head) else BYTES


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if len(head) < PEEK or error.start < len(head) - 3:  # not a letter that was cut
            return False
        text = head[: error.start].decode()
    plain = all(c.isprintable() or c in "\n\r\t" for c in text)
    return bool(text) and plain and not text.lstrip("\ufeff \n\r\t").startswith("<")


def send_bytes(
    request: Request,
    tag: str,
    size: int,
    head: bytes,
    pieces: Iterable[bytes],
    name: str,
    *,
    is_forever: bool,
) -> Response:
    """Return bytes, or the range of them that is asked for.

    They are copied aside first: a slow reader must hold no transaction.

    Args:
        request: the request.
        tag: their tag.
        size: the number of them.
        head: the first of them, which tell their type.
        pieces: all of them.
        name: the name of the file that they are saved as.
        is_forever: they were asked for by their hash.
    """
    media = media_type(head)
    shown = "attachment" if media == BYTES else "inline"
    headers = {
        "ETag": f'"{tag}"', "Accept-Ranges": "bytes",
        "Cache-Control": FOREVER if is_forever else "private, no-cache",
        "Content-Disposition": f"{shown}; filename*=UTF-8''{quote(name, safe='')}",
    }  # fmt: skip
    if has_tag(request, "if-none-match", tag):
        return Response(status_code=304, headers=headers)
    start, stop = _range(request, tag, size)
    status = 200 if stop - start == size else 206
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    file = _aside(pieces, start, stop)
    return StreamingResponse(_read(file), status, headers, media)


def send_file(
    request: Request, tag: str, file: IO[bytes], size: int, media: str, headers: Mapping[str, str]
) -> Response:
    """Return an open file, or the range of it that is asked for; it is closed at the end."""
    try:
        start, stop = _range(request, tag, size)
    except Refused:
        file.close()
        raise
    found = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes", **headers}
    status = 200 if stop - start == size else 206
    if status == 206:
        found["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    found["Content-Length"] = str(stop - start)
    file.seek(start)
    return StreamingResponse(_read(file, stop - start), status, found, media)


def _range(request: Request, tag: str, size: int) -> tuple[int, int]:
    """Return the first byte that is asked for, and the one after the last."""
    given = request.headers.get("range", "")
    unit, _, text = given.partition("=")
    first, dash, last = text.strip().partition("-")
    whole = (0, size)
    if unit.strip() != "bytes" or not dash or "," in text:
        return whole  # a server may ignore what it does not know
    if "if-range" in request.headers and request.headers["if-range"] != f'"{tag}"':
        return whole
    if not all(each.isascii() and (each.isdecimal() or not each) for each in (first, last)):
        return whole
    if not first:
        start, stop = max(0, size - int(last or 0)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
    if start >= stop:
        raise Refused(
            416, f"range '{given}' is not in {size} bytes", {"Content-Range": f"bytes */{size}"}
        )
    return start, stop


def _aside(pieces: Iterable[bytes], start: int, stop: int) -> IO[bytes]:
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
    at = 0
    for piece in pieces:
        if at + len(piece) > start and at < stop:
            file.write(piece[max(0, start - at) : stop - at])
        at += len(piece)
        if at >= stop and stop - start < at:
            break
    file.seek(0)
    return file


def _read(file: IO[bytes], most: int | None = None) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE if most is None else min(_PIECE, most)):
            yield piece
            most = None if most is None else most - len(piece)
