"""A real HTTP server that answers as the test says, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit


class Reply(NamedTuple):
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    """The bytes of the body after which the connection is closed; negative: before any answer."""
    times: int = 1
    """How often the body is sent, one after the other."""


def error(status: int, code: str, message: str = "no") -> Reply:
    """Return an error in S3's form."""
    return Reply(
        status,
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}'
        f"</Message><Key>a</Key><RequestId>request-7</RequestId></Error>".encode(),
        (("Content-Type", "application/xml"),),
    )


def found(data: bytes, cut: int | None = None) -> Reply:
    """Return an object."""
    etag, date = f'"{hashlib.md5(data).hexdigest()}"', "Mon, 30 Nov 2026 17:12:41 GMT"
    return Reply(200, data, (("ETag", etag), ("Last-Modified", date)), cut)


class Server:
    """The server: its address, what it will answer, and the requests that it got.

    Attributes:
        replies: answers to come; the last is given again and again.
        asked: the method, path and headers of each request.
        sent: the bytes of bodies that were sent.
    """

    def __init__(self) -> None:
        self.replies = [Reply()]
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.address = ""
        self.sent = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    told: Server

    def handle_any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.told.asked.append((self.command, self.path, dict(self.headers)))
        reply = self.told.replies[0]
        if len(self.told.replies) > 1:
            self.told.replies.pop(0)
        if reply.cut is not None and reply.cut < 0:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) * reply.times))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(OSError):  # nobody reads it to its end
                for _ in range(reply.times):
                    self.told.sent += self.wfile.write(reply.body[: reply.cut])
        if reply.cut is not None:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class _Careless(BaseHTTPRequestHandler):
    """A store that ignores conditions."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        self.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"", self.objects[self.path])

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if "list-type" in parts.query:
            self._list(parse_qs(parts.query)["prefix"][0], parts.path.rstrip("/"))
        elif parts.path in self.objects:
            data = self.objects[parts.path]
            asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
            if asked is None:
                self._answer(data, data)
            else:
                first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
                self._answer(data[first : last + 1], data, f"bytes {first}-{last}/{len(data)}")
        else:
            self._answer(error(404, "NoSuchKey").body, b"", status=404)

    do_HEAD = do_GET  # noqa: N815

    def _list(self, prefix: str, bucket: str) -> None:
        rows = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(data)}</Size><LastModified>2026-11-30T17:12:41Z"
            f"</LastModified><ETag>{hashlib.md5(data).hexdigest()}</ETag></Contents>"
            for path, data in sorted(self.objects.items())
            if (key := unquote(path.removeprefix(f"{bucket}/"))).startswith(prefix)
        )
        page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        self._answer(page.encode(), b"")

    def do_POST(self) -> None:
        assert urlsplit(self.path).query == "delete"
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        place = urlsplit(self.path).path.rstrip("/")
        for each in asked.split("<Key>")[1:]:
            self.objects.pop(f"{place}/{each.partition('<')[0]}", None)
        self._answer(b"<DeleteResult></DeleteResult>", b"")

    def _answer(
        self, body: bytes, content: bytes, part: str | None = None, status: int = 200
    ) -> None:
        self.send_response(status if part is None else 206)
        if part is not None:
            self.send_header("Content-Range", part)
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 17:12:41 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def replying(certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """Run a server that answers as it is told; with a certificate and its key, by HTTPS."""
    server = Server()
    handler = type("Handler", (_Handler,), {"told": server})
    with _running(handler, certificate) as server.address:
        yield server


@contextmanager
def careless() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Run a store that ignores conditions; yield its address and its objects."""
    objects: dict[str, bytes] = {}
    with _running(type("Handler", (_Careless,), {"objects": objects})) as address:
        yield address, objects


@contextmanager
def _running(
    handler: type[BaseHTTPRequestHandler], certificate: tuple[Path, Path] | None = None
) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            scheme = "http" if certificate is None else "https"
            yield f"{scheme}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
