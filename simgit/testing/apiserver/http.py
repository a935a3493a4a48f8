"""HTTP/1.1 on asyncio: requests, answers, chunked streams, and the faults of a connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from itertools import pairwise
from typing import NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from simgit.testing.apiserver.faults import ANSWERS, ApiFault, FaultPlan
from simgit.testing.apiserver.statuses import StatusError, as_bytes

_MOST_BODY = 64 * 2**20
_TEXTS = {
    401: "Unauthorized\n",
    429: "Too many requests, please try again later.\n",
    500: "<html><body><h1>500 Internal Server Error</h1></body></html>\n",
    502: "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n",
    503: "upstream connect error or disconnect/reset before headers\n",
    504: "<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n</html>\r\n",
}
_REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try "
          "again later"),
    500: ("InternalError", "Internal error occurred: etcdserver: leader changed"),
    502: ("InternalError", "bad gateway"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}  # fmt: skip


@dataclass(slots=True)
class HttpRequest:
    """A request; ``target`` is the path with the query, as it was sent."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class HttpAnswer:
    """An answer with a body, or with lines that are sent as they come, each a chunk."""

    code: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    lines: AsyncIterator[list[bytes]] | None = None


@dataclass(slots=True)
class RequestRecord:
    """A request in the server's log. ``status`` is 0 for one that was not answered."""

    number: int
    method: str
    path: str
    status: int = 0
    fault: str | None = None


class _Ended(Exception):
    """The connection is at its end."""


Handle = Callable[[HttpRequest], Awaitable[HttpAnswer]]


class HttpServer:
    """Connections of one listening socket. Everything runs in one event loop."""

    def __init__(self, handle: Handle, plan: FaultPlan, date: Callable[[], float]) -> None:
        """Answer by ``handle``; ``date`` gives the Unix time of the header ``Date``."""
        self.plan = plan
        self.requests: list[RequestRecord] = []
        self.errors: list[Exception] = []
        """Mistakes of the server itself."""
        self._handle, self._date = handle, date
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> tuple[asyncio.Server, int]:
        """Listen on a port of the loopback interface that the system picks; return both."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2**20)
        return server, server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End all connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (_Ended, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # also how the server ends: a task of a stream must not end as cancelled
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        if request is None:
            return False
        record = RequestRecord(len(self.requests) + 1, request.method, request.target)
        self.requests.append(record)
        fault = self.plan(record.number, request.method, request.target)
        kind = None if fault is None else fault.kind
        record.fault = kind
        if kind == "reset":
            _reset(writer)
        watch = "watch" in request.query
        if kind == "half-open" and not watch:
            await reader.read(1)
            raise _Ended
        if fault is not None and kind in ANSWERS:
            answer = _failure(fault)
        else:
            answer = await self._handled(request)
        record.status = answer.code
        if kind == "reset-after":
            record.status = 0
            _reset(writer)
        if answer.lines is not None:
            await self._stream(reader, writer, answer, fault)
        else:
            await self._send(writer, answer, kind)
        return request.headers.get("connection", "").lower() != "close"

    async def _handled(self, request: HttpRequest) -> HttpAnswer:
        try:
            return await self._handle(request)
        except Exception as error:
            self.errors.append(error)
            status = StatusError(500, "InternalError", f"Internal error occurred: {error!r}")
            return HttpAnswer(500, as_bytes(status.status))

    def _head(self, answer: HttpAnswer, framing: str) -> bytes:
        phrase = HTTPStatus(answer.code).phrase
        lines = [
            f"HTTP/1.1 {answer.code} {phrase}",
            f"Content-Type: {answer.content_type}",
            f"Date: {formatdate(self._date(), usegmt=True)}",
            framing,
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _send(
        self, writer: asyncio.StreamWriter, answer: HttpAnswer, kind: str | None
    ) -> None:
        if kind == "split":
            writer.write(self._head(answer, "Transfer-Encoding: chunked"))
            for piece in (*_cut(answer.body), b""):
                writer.write(_chunk(piece))
                await writer.drain()
            return
        data = self._head(answer, f"Content-Length: {len(answer.body)}") + answer.body
        for piece in _bytes_of(data) if kind == "slow" else (data,):
            writer.write(piece)
            await writer.drain()
            if kind == "slow":
                await asyncio.sleep(0)

    async def _stream(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: HttpAnswer,
        fault: ApiFault | None,
    ) -> None:
        assert answer.lines is not None
        writer.write(self._head(answer, "Transfer-Encoding: chunked"))
        await writer.drain()
        gone = asyncio.ensure_future(reader.read(1))
        lines = answer.lines.__aiter__()
        faulty = _FaultyStream(fault)
        step: asyncio.Future[list[bytes]] | None = None
        try:
            if fault is not None and fault.kind == "half-open":
                await gone
                raise _Ended
            while True:
                step = asyncio.ensure_future(anext(lines))
                await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    raise _Ended
                try:
                    batch = step.result()
                except StopAsyncIteration:
                    break
                for piece in faulty.pieces(batch):
                    if piece is None:
                        _reset(writer)
                    writer.write(_chunk(piece))
                    await writer.drain()
                if faulty.ended:
                    break
            for held in faulty.rest():
                writer.write(_chunk(held))
            writer.write(_chunk(b""))
            await writer.drain()
        finally:
            ending = [future for future in (gone, step) if future is not None]
            for future in ending:
                future.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            if (close := getattr(lines, "aclose", None)) is not None:
                await close()
        raise _Ended  # the reader may have taken a byte of a next request


class _FaultyStream:
    """The lines of a watch, as a fault changes them."""

    def __init__(self, fault: ApiFault | None) -> None:
        self._kind = None if fault is None else fault.kind
        self._left = 0 if fault is None else fault.after
        self._held: bytes | None = None
        self.ended = False

    def pieces(self, batch: list[bytes]) -> list[bytes | None]:
        """Return the chunks for some lines; None stands for a reset."""
        if self._kind in ("gone", "closed", "cut", "garbage"):
            return self._limited(batch)
        if self._kind == "reorder":
            return [*self._swapped(batch)]
        made: list[bytes | None] = []
        for line in batch:
            if self._kind == "split":
                made += _cut(_with_wide_characters(line))
            elif self._kind == "slow":
                made += _bytes_of(line)
            elif self._kind == "duplicate":
                made += (line, line)
            elif self._kind == "empty-lines":
                made += (b"\n", line, b"\n\n")
            else:
                made.append(line)
        return made

    def _limited(self, batch: list[bytes]) -> list[bytes | None]:
        passed: list[bytes | None] = [*batch[: self._left]]
        self._left -= len(passed)
        if self._left > 0 or self.ended:
            return passed
        self.ended = True
        if self._kind == "gone":
            error = StatusError(410, "Expired", "too old resource version: 1 (2)")
            return [*passed, as_bytes({"type": "ERROR", "object": error.status}) + b"\n"]
        if self._kind == "garbage":
            return [*passed, b"<html>upstream request timeout</html>\n"]
        if self._kind == "cut":
            half = batch[len(passed)] if len(passed) < len(batch) else b'{"type":"MODIFIED","obj'
            return [*passed, half[: len(half) // 2], None]
        return passed

    def _swapped(self, batch: list[bytes]) -> list[bytes]:
        made = []
        for line in batch:
            if self._held is None:
                self._held = line
            else:
                made += [line, self._held]
                self._held = None
        return made

    def rest(self) -> list[bytes]:
        """Return what was held back."""
        return [] if self._held is None else [self._held]


def _with_wide_characters(line: bytes) -> bytes:
    """Add an annotation of characters of two to four bytes to an event, so that one can be cut."""
    return line.replace(b'"metadata":{"', '"metadata":{"x":"aé€😀","'.encode(), 1)


def _cut(data: bytes) -> list[bytes]:
    """Cut in the middle of each character of several bytes, or else in two."""
    cuts = [i for i in range(1, len(data)) if data[i] & 0xC0 == 0x80] or [len(data) // 2]
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def _bytes_of(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _reset(writer: asyncio.StreamWriter) -> NoReturn:
    """End the connection by a reset, not in order."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise _Ended


def _failure(fault: ApiFault) -> HttpAnswer:
    code = int(fault.kind)
    reason, message = _REASONS[code]
    headers = {}
    if code in (429, 503) and fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    if fault.body == "json":
        return HttpAnswer(
            code, as_bytes(StatusError(code, reason, message).status), headers=headers
        )
    text = _TEXTS[code].encode() if fault.body == "text" else b""
    kind = "text/html" if text.startswith(b"<") else "text/plain; charset=utf-8"
    return HttpAnswer(code, text, kind, headers)


async def _read_request(reader: asyncio.StreamReader) -> HttpRequest | None:
    """Read a request; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length") or 0)
    if length > _MOST_BODY:
        raise _Ended
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(length)
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return HttpRequest(method, target, unquote(parts.path), query, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        if len(body) > _MOST_BODY:
            raise _Ended
    await reader.readuntil(b"\r\n")
    return body
