"""Access control: tokens, host names, origins, content types, sizes; headers of every answer.

It stands before the application, so that no route can forget it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simgit.server.problems import Refused, of_error
from simgit.server.sessions import Sessions

SAFE: Final = ("GET", "HEAD", "OPTIONS")
BODY: Final = 32 << 20
"""The most bytes of a body."""
SMALL: Final = 4096
"""The most bytes of a body that is read without a token."""
UPLOAD: Final = 4 << 30
"""The most bytes of an attachment or a bundle."""
SECONDS: Final = 30.0
"""Seconds that a long request may take."""
TYPES: Final = (
    "application/json", "application/x-ndjson", "application/x-npz", "application/zip",
    "application/octet-stream",
)  # fmt: skip
"""The kinds of bodies: none that a form of another site can send."""
OPEN: Final = ("/v1/health", "/v1/session")
"""What is answered without a token."""
POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
}  # fmt: skip
_ASKED: Final = (
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID, Range"
)
_TOLD: Final = (
    "ETag, Link, Content-Location, Location, Retry-After, Content-Range, X-Count, X-Cursor"
)


def new_tokens() -> dict[str, str]:
    """Return tokens that nobody can guess, by level."""
    return {level: secrets.token_urlsafe(32) for level in ("full", "view")}


@dataclass(frozen=True)
class Access:
    """Rules of access: who may do what.

    Attributes:
        tokens: token by level, ``full`` and ``view``; empty if none is needed.
        hosts: further names of this host, besides those of loopback.
        origins: other origins whose pages may ask.
        read_only: nobody may write.
        port: the port, which is part of the cookie's name: hosts share cookies between ports.
        is_tls: the connection is encrypted.
        upload: the most bytes of an attachment or a bundle.
        seconds: the time that a long request may take.
        sessions: what cookies stand for.
    """

    tokens: dict[str, str] = field(default_factory=new_tokens, repr=False)
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    read_only: bool = False
    port: int = 0
    is_tls: bool = False
    upload: int = UPLOAD
    seconds: float = SECONDS
    sessions: Sessions = field(default_factory=Sessions, repr=False, compare=False)

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return f"simgit-{self.port}"

    @property
    def scheme(self) -> str:
        """The scheme of URLs."""
        return "https" if self.is_tls else "http"

    def level(self, token: str) -> str | None:
        """Return the level of a token, None if it is wrong; it takes as long in any case."""
        given, found = token.encode(errors="replace"), None
        for level, each in self.tokens.items():
            if hmac.compare_digest(given, each.encode()):
                found = level
        return found


class Gate:
    """Lets pass what is allowed, and adds the headers of every answer."""

    def __init__(self, app: ASGIApp, access: Callable[[], Access]) -> None:
        """Stand before an application."""
        self.app = app
        self._access = access

    @property
    def access(self) -> Access:
        """The rules."""
        return self._access()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers, method = Headers(scope=scope), scope["method"]
        origin = headers.get("origin")
        cross = origin if origin in self.access.origins else None

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message), cross)
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            self._check_host(headers)
            if method == "OPTIONS" and cross and "access-control-request-method" in headers:
                await _preflight(answer)
                return
            if scope["path"].startswith("/v1/"):
                self._check_site(headers, cross)
                scope["simgit.level"] = self._level(scope["path"], headers)
            if method not in SAFE:
                self._check_unsafe(scope, headers, cross)
            limit = self.access.upload if is_upload(scope) else BODY
            limit = SMALL if scope["path"] in OPEN else limit
            limited = _limited(receive, headers, limit)
        except Refused as refused:
            await of_error(refused)(scope, receive, answer)
            return
        passed = {**scope, "method": "GET", "simgit.head": True} if method == "HEAD" else scope
        await self.app(passed, limited, answer)

    def _add_headers(self, headers: MutableHeaders, cross: str | None) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if self.access.origins:
            headers.add_vary_header("Origin")
        if cross is not None:
            headers["Access-Control-Allow-Origin"] = cross
            headers["Access-Control-Expose-Headers"] = _TOLD
        headers["Cross-Origin-Resource-Policy"] = "cross-origin" if cross else "same-origin"

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that are not this host's: a page of another site may have rebound one."""
        given = headers.getlist("host")
        name = host_name(given[0]) if len(given) == 1 else ""
        if not (is_loopback(name) or name in self.access.hosts):
            raise Refused(
                403, f"host '{name}' is not served here; --allow-host {name or 'NAME'} allows it"
            )

    def _check_site(self, headers: Headers, cross: str | None) -> None:
        site = headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none") and cross is None:
            raise Refused(403, "pages of other sites may not ask; --allow-origin allows one")

    def _level(self, path: str, headers: Headers) -> str:
        if not self.access.tokens:
            return "full"
        given = headers.get("authorization")
        if given is not None:
            scheme, _, token = given.partition(" ")
            found = self.access.level(token.strip()) if scheme.lower() == "bearer" else None
        else:
            found = self.access.sessions.level(session_of(headers, self.access))
        if found is None and path not in OPEN:
            raise Refused(
                401,
                "a token is needed, as 'Authorization: Bearer TOKEN'; 'simgit serve' prints it",
                {"WWW-Authenticate": "Bearer"},
            )
        return found or "none"

    def _check_unsafe(self, scope: Scope, headers: Headers, cross: str | None) -> None:
        own = f"{self.access.scheme}://{headers['host']}"
        origin = headers.get("origin")
        if origin is not None and origin.lower() != own.lower() and cross is None:
            raise Refused(403, f"origin '{origin}' may not write; --allow-origin allows one")
        if origin is None and "cookie" in headers and "authorization" not in headers:
            raise Refused(403, "a request with a cookie needs an Origin")
        if headers.get("sec-fetch-site", "same-origin") != "same-origin" and cross is None:
            raise Refused(403, "pages of other sites may not write")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in TYPES and not _is_attachment(scope):
            length = headers.get("content-length", "0")
            if kind or length != "0" or "transfer-encoding" in headers:
                known = ", ".join(TYPES)
                raise Refused(415, f"body must be one of {known}, got '{kind}'")
        if scope["path"] in OPEN:
            return
        if self.access.read_only:
            raise Refused(403, "the server is read-only")
        if scope.get("simgit.level", "full") != "full":
            raise Refused(403, "a view token reads only")


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0][1:]
    return name.rpartition(":")[0].rstrip(".") if ":" in name else name.rstrip(".")


def is_loopback(name: str) -> bool:
    """Return True for the names and addresses of this host's loopback."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def session_of(headers: Headers, access: Access) -> str:
    """Return the id of a session in the cookie of a request, "" without one."""
    pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in pairs}.get(access.cookie, "")


def _is_attachment(scope: Scope) -> bool:
    return scope["method"] == "PUT" and str(scope["path"]).startswith("/v1/attachments/")


def is_upload(scope: Scope) -> bool:
    """Return True for a request whose body may be long, and is not kept in memory."""
    is_bundle = scope["method"] == "POST" and scope["path"] == "/v1/imports"
    return is_bundle or _is_attachment(scope)


async def _preflight(send: Send) -> None:
    headers = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": _ASKED, "Access-Control-Max-Age": "600",
    }  # fmt: skip
    pairs: Iterable[tuple[bytes, bytes]] = (
        (name.lower().encode(), value.encode()) for name, value in headers.items()
    )
    await send({"type": "http.response.start", "status": 204, "headers": list(pairs)})
    await send({"type": "http.response.body", "body": b""})


def _limited(receive: Receive, headers: Headers, limit: int) -> Receive:
    """Return what receives a body, and refuses one that is too long."""
    too_long = Refused(413, f"body has more than {limit} bytes", limit=limit)
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limit:
        raise too_long
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise too_long
        return message

    return counted
