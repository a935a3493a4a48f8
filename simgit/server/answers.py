"""Answers: JSON, conditional requests, pages; and how requests are read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from blake3 import blake3
from fastapi import Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from simgit.errors import InvalidInput, SimgitError, collected_warnings, without_folders
from simgit.objects.json_form import plain_json
from simgit.repository.jsonable import json_text, to_jsonable
from simgit.server.gate import is_upload
from simgit.server.problems import Refused, of_error
from simgit.server.turns import is_slow, turn
from simgit.storage.limits import check_time

FOREVER: Final = "private, max-age=31536000, immutable"
CHANGING: Final = "private, no-cache"
JSON: Final = "application/json"
MOST: Final = 1000
"""The most elements of a page."""
CELLS: Final = 50_000_000
"""The most numbers of an answer."""
_LONGEST: Final = 4000
"""The most characters of a header."""
_PIECE: Final = 1 << 20
"""Bytes that are compressed at a time."""
_SMALL: Final = 1024
"""Bytes that are not worth to be compressed."""

Limit = Annotated[int, Query(ge=1, le=MOST, description="Elements of a page.")]
After = Annotated[str | None, Query(description="The last element of the page before.")]


class Text(str):
    """A text that is JSON already."""


def reply(
    request: Request, record: Any, headers: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    """Return what a call returned as JSON; a reader who has it gets 304."""
    text = record if isinstance(record, Text) else json_text(to_jsonable(record))
    body = text.encode()
    if request.method not in ("GET", "HEAD") or status != 200:
        return sent(request, body, JSON, status, headers or {})
    tag = blake3(body).hexdigest(16)
    return conditional(request, tag, lambda: body, JSON, headers or {})


def conditional(
    request: Request,
    tag: str,
    make: Callable[[], bytes],
    media: str,
    headers: Mapping[str, str],
) -> Response:
    """Return a body under a tag; it is made only for a reader who does not have it."""
    found = {"Cache-Control": CHANGING, "ETag": f'"{tag}"', **headers}
    if has_tag(request, "if-none-match", tag):
        return Response(status_code=304, headers={**found, "Vary": "Accept, Accept-Encoding"})
    return sent(request, make(), media, 200, found)


def packed_reply(
    request: Request, tag: str, body: bytes, gzipped: bytes, headers: Mapping[str, str]
) -> Response:
    """Return a JSON body that is kept in both forms; a reader who has it gets 304."""
    if len(body) <= _SMALL or "gzip" not in request.headers.get("accept-encoding", ""):
        return conditional(request, tag, lambda: body, JSON, headers)
    found = conditional(request, tag, lambda: b"", JSON, headers)
    if found.status_code == 304:
        return found
    more = {name: found.headers[name] for name in ("Cache-Control", "ETag", "Vary")}
    return Response(gzipped, 200, {**more, **headers, "Content-Encoding": "gzip"}, JSON)


def by_revision(
    request: Request,
    noun: str,
    revision: str,
    whole: str,
    make: Callable[[], bytes],
    media: str = JSON,
    *,
    has_address: bool = True,
) -> Response:
    """Return what an oid leads to: for ever if it was asked for by oid, else with its address.

    Args:
        request: the request.
        noun: the first part of the path.
        revision: what was asked for.
        whole: the same by oids only; also the tag.
        make: returns the body.
        media: its type.
        has_address: the same can be asked for by ``whole``.
    """
    if not has_address:
        return conditional(request, whole, make, media, {})
    if revision == whole:
        return conditional(request, whole, make, media, {"Cache-Control": FOREVER})
    query = f"?{request.url.query}" if request.url.query else ""
    place = f"/v1/{noun}/{quote(whole)}{query}"
    return conditional(request, whole, make, media, {"Content-Location": place})


def sent(
    request: Request, body: bytes, media: str, status: int, headers: Mapping[str, str]
) -> Response:
    """Return a body, compressed if the reader takes that."""
    found = dict(headers)
    found.setdefault("Cache-Control", "no-store")
    if status == 200 and request.method == "GET":
        found.setdefault("Vary", "Accept, Accept-Encoding")
    packs = media.endswith(("json", "npy")) and len(body) > _SMALL
    if packs and "gzip" in request.headers.get("accept-encoding", ""):
        body, found["Content-Encoding"] = _compressed(body), "gzip"
    return Response(body, status, found, media)


def _compressed(body: bytes) -> bytes:
    """Return a body in the format of gzip, some at a time: between them the work may end."""
    packer, parts = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16), []
    for start in range(0, len(body), _PIECE):
        check_time()
        parts.append(packer.compress(body[start : start + _PIECE]))
    return b"".join([*parts, packer.flush()])


def has_tag(request: Request, header: str, *tags: str) -> bool:
    """Return True if one of some tags, or ``*``, is in a header."""
    given = [part.strip() for part in request.headers.get(header, "").split(",")]
    there = {f'"{tag}"' for tag in tags}
    return "*" in given or any(part.removeprefix("W/") in there for part in given)


def accepted(request: Request, offers: Sequence[str]) -> str:
    """Return the media type that a request prefers; the first offer if it does not say.

    Raises:
        Refused: 406, it accepts none.
    """
    wanted: list[tuple[float, str]] = []
    for part in request.headers.get("accept", "*/*").split(","):
        kind, *parameters = (each.strip().lower() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            wanted.append((-float(quality), kind))
        except ValueError:
            continue
    for weight, kind in sorted(wanted, key=lambda each: each[0]):
        for offer in offers if weight else ():
            if kind in (offer, "*/*", f"{offer.partition('/')[0]}/*"):
                return offer
    raise Refused(406, f"Accept must have one of {', '.join(offers)}", offers=list(offers))


def check_match(request: Request, what: str, there: str | int | None, *others: str) -> None:
    """Refuse a request whose ``If-Match`` is not what is there.

    Raises:
        Refused: 412, with what is there under the name ``what``.
    """
    if "if-match" not in request.headers:
        return
    if not has_tag(request, "if-match", str(there), *others):
        members: dict[str, Any] = {what: there}
        raise Refused(412, f"the {what} is {there}, which If-Match does not have", **members)


def page(
    request: Request, found: Sequence[Any], limit: int, name: Callable[[Any], str | int]
) -> Response:
    """Return one page of what was read, which may have one element more than the page.

    Args:
        request: the request.
        found: the elements of the page, and the one after it if there is one.
        limit: the number of elements of a page.
        name: returns the cursor of an element.
    """
    if len(found) <= limit:
        return reply(request, list(found))
    link = next_link(request, str(name(found[limit - 1])))
    return reply(request, list(found[:limit]), {"Link": link})


def next_link(request: Request, after: str) -> str:
    """Return the header ``Link`` that leads to the next page."""
    query = [(k, v) for k, v in request.query_params.multi_items() if k != "after"]
    path = quote(request.url.path)
    return f'<{path}?{urlencode([*query, ("after", after)])}>; rel="next"'


def past(found: Iterable[Any], after: str | None, name: Callable[[Any], str | int]) -> list[Any]:
    """Return the elements after the one of a name.

    Raises:
        InvalidInput: there is none.
    """
    listed = list(found)
    if after is None:
        return listed
    at = next((i for i, each in enumerate(listed) if str(name(each)) == after), None)
    if at is None:
        raise InvalidInput(f"after: '{after}' is not in the list; begin again", after=after)
    return listed[at + 1 :]


class StrictRequest(Request):
    """A request whose JSON is read as simgit reads it: a key that stands twice is refused."""

    async def json(self) -> Any:
        """Return the body."""
        try:
            return plain_json(await self.body())
        except SimgitError as error:  # FastAPI lets pass what HTTP refuses, and hides the rest
            raise Refused(422, str(error)) from error


class _Passed:
    """A receiver of a request's body, which is hashed on the way."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.hash = blake3()
        self.is_whole = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.hash.update(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)
        return message


class Route(APIRoute):
    """A route with strict JSON, warnings as a header, one answer to a request sent twice."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return what answers a request."""
        handler = super().get_route_handler()

        async def inner(request: Request) -> Response:
            is_long = is_slow(self.endpoint, request)
            with collected_warnings() as found:
                seconds = request.app.state.service.access.seconds
                async with turn(request, seconds) if is_long else nullcontext():
                    response: Response = await handler(request)
            if found:
                told = [without_folders(each) for each in dict.fromkeys(found)]
                text = json.dumps(told)
                short = text if len(text) < _LONGEST else json.dumps([told[0][:300], "and more"])
                response.headers["Simgit-Warnings"] = short
            return response

        async def answer(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            passed = _Passed(request.receive)
            strict = StrictRequest(request.scope, passed)
            level = request.scope.get("simgit.level", "full")
            if key is None or level != "full" or request.method in ("GET", "PUT"):
                return await inner(strict)
            replays = request.app.state.service.replays
            target = f"{request.method} {request.url.path}?{request.url.query}\n"
            match = request.headers.get("if-match", "")
            body = b""  # what is long is not kept, and hashed while it is read
            if not (is_long := is_upload(request.scope)):
                body = blake3(await strict.body()).digest()
            before = replays.begin(level, key, target.encode() + match.encode() + body)
            if before is not None:
                if is_long:
                    async for _ in strict.stream():
                        pass
                    replays.check_body(level, key, passed.hash.digest())
                again = Response(before.body, before.status_code, dict(before.headers))
                again.headers["Idempotency-Replayed"] = "true"
                return again
            done: Response | None = None
            try:
                done = await inner(strict)
            except Exception as error:
                done = of_error(error)
            finally:
                whole = passed.hash.digest() if is_long else b""
                replays.end(level, key, None if is_long and not passed.is_whole else done, whole)
            return done

        return answer
