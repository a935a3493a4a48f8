"""Routes of objects, files and attachments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from simgit.errors import NotFound
from simgit.objects.json_form import value_to_json
from simgit.objects.oid import Oid
from simgit.refs.revision import file_of
from simgit.repository import Repository
from simgit.server.answers import After, Limit, Route, by_revision, page, past, reply
from simgit.server.media import PEEK, media_type, send_bytes
from simgit.server.service import Reader
from simgit.server.turns import slow

router = APIRouter(route_class=Route, tags=["objects"])


@router.get("/objects/{oid}")
def stored(request: Request, repo: Reader, oid: str) -> Response:
    """Return the bytes that were hashed to an oid, of which a unique beginning suffices."""
    kind, found = repo.find_object(oid.lower())
    return _bytes(request, repo, found, f"{kind}-{found.short()}", oid)


@router.get("/blobs/{oid}")
def blob(request: Request, repo: Reader, oid: str) -> Response:
    """Return the bytes of a blob."""
    kind, found = repo.find_object(oid.lower())
    if kind != "blob":
        raise NotFound(f"object '{oid}' is no blob but a {kind}", oid=found)
    return _bytes(request, repo, found, found.short(), oid)


@router.get("/files/{revision:path}")
def files(request: Request, repo: Reader, revision: str) -> Response:
    """List the files of a state with their oids; of REVISION:PATH return the bytes."""
    if file_of(revision) is None:
        oid = repo.resolve(revision)

        def make() -> bytes:
            from simgit.repository.jsonable import json_text

            return json_text(repo.files(oid)).encode()

        return by_revision(request, "files", revision, oid.hex(), make)
    kind, found = repo.file(revision)
    if kind == "tree":
        tree: Any = repo.object(found)
        names = [each.name + "/" * (each.kind == "tree") for each in tree.entries]
        return reply(request, {"oid": found, "kind": kind, "entries": names})
    return _bytes(request, repo, found, revision.rpartition("/")[2].rpartition(":")[2], "")


@router.get("/attachments/{revision:path}")
def attachments(
    request: Request,
    repo: Reader,
    revision: str,
    name: Annotated[str | None, Query(description="Return the data of this one.")] = None,
    newest: Annotated[bool, Query(description="Take the newest of the history.")] = False,
) -> Response:
    """List the attachments of a state, or return one: bytes, or its values as JSON."""
    if name is None:
        found = repo.attachments(revision).items()
        return reply(request, [{"name": n, "kind": kind, "oid": o} for n, (kind, o) in found])
    at: str | Oid = revision
    if newest:
        last = repo.history_attachments(revision, name)[:1]
        at = last[0].state if last else revision
    there = repo.attachments(at)
    if name in there and there[name][0] == "blob":
        return _bytes(request, repo, there[name][1], name, "")
    data = repo.attachment(at, name)
    if isinstance(data, bytes):  # short ones are stored as a value
        tag = there[name][1].hex()
        return send_bytes(
            request, tag, len(data), data[:PEEK], iter([data]), name, is_forever=False
        )
    return reply(request, {"name": name, "data": value_to_json(data)})


@router.get("/media/{revision:path}")
@slow()
def media(
    request: Request,
    repo: Reader,
    revision: str,
    kind: Literal["image", "video", "audio", "text"] | None = None,
    name: str | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List the attachments of a history that a browser shows, newest first, with their types."""
    found = repo.history_attachments(revision, name)
    shown: list[dict[str, Any]] = []
    for each in past(found, after, lambda each: f"{each.state.hex()}/{each.name}"):
        if each.kind == "blob":
            head, size = _head(repo, each.oid), repo.object_size(each.oid)
        elif each.kind == "value" and isinstance(
            data := repo.attachment(each.state, each.name), bytes
        ):
            head, size = data[:PEEK], len(data)
        else:
            continue
        type_ = media_type(head)
        if type_.partition("/")[0] in ((kind,) if kind else ("image", "video", "audio", "text")):
            shown.append(each._asdict() | {"media": type_, "size": size})
        if len(shown) > limit:
            break
    return page(request, shown, limit, lambda each: f"{each['state'].hex()}/{each['name']}")


def _bytes(request: Request, repo: Repository, oid: Oid, name: str, asked: str) -> Response:
    size = repo.object_size(oid)
    pieces = repo.stream(oid)
    forever = asked == oid.hex()
    head = _head(repo, oid)
    return send_bytes(request, oid.hex(), size, head, pieces, name, is_forever=forever)


def _head(repo: Repository, oid: Oid) -> bytes:
    pieces: Iterator[bytes] = repo.stream(oid)
    return next(pieces, b"")[:PEEK]
