"""The process that serves: its socket, the file that names it, and its end."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn

from simgit.errors import InvalidInput, NotFound, StorageError, reason
from simgit.live.tracker import Tracker
from simgit.repository import Repository
from simgit.server.application import application, complete
from simgit.server.gate import SECONDS, Access, host_name, is_loopback, new_tokens

FILE: Final = "serve.json"
PAGE: Final = "serve.html"
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Options:
    """Options of a server.

    Attributes:
        host: the address that is listened on.
        port: the port; 0 for a free one.
        read_only: nobody may write.
        hosts: further names of this host.
        origins: other origins whose pages may ask.
        certificate: a PEM file with the certificate and its key, for TLS.
        with_token: a token is needed.
        workers: how many simulations of the queue run at once.
        has_page: a browser is shown the page.
        seconds: the time that a long request may take.
    """

    host: str = "127.0.0.1"
    port: int = 8877
    read_only: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    certificate: Path | None = None
    with_token: bool = True
    workers: int = 1
    has_page: bool = True
    seconds: float = SECONDS


@dataclass(frozen=True)
class Address:
    """The URL of a server; its tokens by level, and the URLs for browsers, where they differ."""

    url: str
    tokens: dict[str, str] = field(repr=False)
    pages: dict[str, str] = field(default_factory=dict, repr=False)

    def link(self, level: str = "full") -> str:
        """Return the URL for browsers with a token as its fragment, which is never sent."""
        token, url = self.tokens.get(level), self.pages.get(level, self.url)
        return url if token is None else f"{url}#token={token}"


class Server(uvicorn.Server):
    """A server that ends its streams before it waits for them, and lets its caller go on."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End at Ctrl-C and SIGTERM; uvicorn would raise the signal again at the end."""
        before = {each: signal.signal(each, self.handle_exit) for each in _ENDINGS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note that the server ends; a second Ctrl-C does not wait."""
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then the rest."""
        self.config.app.state.service.end()  # type: ignore[union-attr]
        await super().shutdown(sockets)


def serve(repo: Repository, options: Options, ready: Callable[[Address], None]) -> None:
    """Serve a repository until Ctrl-C or SIGTERM.

    Args:
        repo: the repository.
        options: how.
        ready: called with the address once it is listened on.

    Raises:
        InvalidInput: the options would let others in without a token.
        NotFound: the certificate is not there.
        StorageError: the port is in use.
    """
    if not options.with_token and not is_loopback(options.host):
        raise InvalidInput(
            f"--no-token is for loopback only, got --host {options.host}: drop one of them"
        )
    if options.certificate is not None and not options.certificate.is_file():
        raise NotFound(f"no certificate in '{options.certificate}'", path=options.certificate)
    for origin in options.origins:
        if "://" not in origin or origin.rstrip("/") != origin:
            raise InvalidInput(f"an origin is such as https://example.org, got '{origin}'")
    listening = _listen(options.host, options.port)
    port = listening.getsockname()[1]
    name = f"[{options.host}]" if ":" in options.host else options.host
    tokens = new_tokens() if options.with_token else {}
    has_own = options.host in _LOOPBACK and options.certificate is None  # which is for other names
    own = {level: own_name() for level in tokens} if has_own and _resolves_own(port) else {}
    access = Access(
        tokens,
        hosts=frozenset({options.host.lower(), *map(host_name, options.hosts), *own.values()}),
        origins=frozenset(options.origins),
        read_only=options.read_only,
        port=port,
        is_tls=options.certificate is not None,
        seconds=options.seconds,
    )
    pages = {level: f"{access.scheme}://{each}:{port}/" for level, each in own.items()}
    address = Address(f"{access.scheme}://{name}:{port}/", access.tokens, pages)
    tracker = tracker_of(repo, options)
    app = application(repo, access, tracker, has_page=options.has_page)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=1,
        ssl_certfile=options.certificate,
    )
    with listening, tracker or nullcontext(), _told(repo.directory, address):
        app.state.service.warm()
        ready(address)
        complete(app)  # in this thread: it changes how warnings are filtered
        asyncio.run(Server(config).serve([listening]))


def own_name() -> str:
    """Return a new name of loopback, which nobody can guess.

    Browsers share the cookies of a host between its ports: under 127.0.0.1, a server of another
    user on another port would be sent them. Under this name none is.
    """
    return f"simgit-{secrets.token_hex(8)}.localhost"


def _resolves_own(port: int) -> bool:
    """Return True if browsers know such names: Chromium and Firefox do, Safari asks the system."""
    if sys.platform != "darwin":
        return True
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(own_name(), port)}
    except OSError:
        return False
    return all(map(is_loopback, found))


def tracker_of(repo: Repository, options: Options) -> Tracker | None:
    """Return a tracker for a server; None where the server or the repository may not start code.

    It has a handle of its own, on which no command is named: each start is one operation.
    """
    if options.read_only or repo.read_only or repo.directory is None or not repo.is_trusted():
        return None
    return Tracker(repo.directory, workers=options.workers)


def _listen(host: str, port: int) -> socket.socket:
    try:
        host.encode("idna")
    except UnicodeError:
        raise InvalidInput(f"'{host}' is not an address") from None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=256)
        # inherited by connections; asyncio sets it only where the protocol is named. Without it a
        # body waits 40 ms for the acknowledgement of its head
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    except (OSError, OverflowError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise StorageError(
            f"cannot listen on {host} port {port}: {why}; --port 0 takes a free one"
        ) from None


def redirect(directory: Path | None, address: Address) -> Path:
    """Write a page that only the user can read, and that leads a browser to the address.

    It is removed when the server ends; without a directory it lies in a new temporary one.

    Raises:
        StorageError: it cannot be written.
    """
    folder = directory if directory is not None else Path(tempfile.mkdtemp(prefix="simgit-"))
    path = folder / PAGE
    text = f'<meta http-equiv="refresh" content="0;url={address.link()}">'
    _write_private(path, text.encode())
    return path


def _write_private(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with suppress(FileNotFoundError):
            new.unlink()
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        new.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write '{path}': {reason(error)}", path=path) from None


@contextmanager
def _told(directory: Path | None, address: Address) -> Iterator[None]:
    """Keep address and tokens in a file that only the user can read, while the block runs."""
    if directory is None:
        yield
        return
    path = directory / FILE
    record: dict[str, Any] = {"url": address.url, "tokens": address.tokens, "pid": os.getpid()}
    text = json.dumps(record).encode()
    _write_private(path, text)
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_bytes() == text:  # a later server may have written its own
                path.unlink()
                (directory / PAGE).unlink()
