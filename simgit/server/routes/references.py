"""Routes of tags, reflogs and operations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from simgit.objects.oid import Oid
from simgit.repository.jsonable import entry_record, tag_record, to_jsonable
from simgit.server.answers import After, Limit, Route, page, past, reply
from simgit.server.service import Present, Reader
from simgit.server.shortened import operation_told, shortened
from simgit.server.turns import slow

router = APIRouter(route_class=Route, tags=["references"])


@router.get("/tags")
def tags(request: Request, repo: Reader) -> Response:
    """List the tags with their annotations."""
    return reply(request, [tag_record(name, *found) for name, found in repo.tags().items()])


@router.get("/tags/{name:path}")
def tag(request: Request, repo: Reader, name: str) -> Response:
    """Return a tag with its annotation."""
    found = repo.tags()
    if name not in found:
        repo.resolve(f"tags/{name}")  # which says so
    return reply(request, tag_record(name, *found[name]))


@router.get("/reflog/{ref:path}")
def reflog(
    request: Request, repo: Present, ref: str, limit: Limit = 100, after: After = None
) -> Response:
    """List the earlier values of a run, a tag or HEAD, newest first."""
    entries = [entry_record(i, entry) for i, entry in enumerate(repo.reflog(ref))]
    shown = past(entries, after, _index)[: limit + 1]
    return page(request, shortened(shown), limit, _index)


def _index(entry: dict[str, int]) -> int:
    return entry["index"]


@router.get("/decorations")
def decorations(request: Request, repo: Reader) -> Response:
    """Return which refs point at which states."""
    return reply(request, repo.decorations())


@router.get("/head")
def head(request: Request, repo: Reader) -> Response:
    """Return the run that HEAD points at, or the oid of a detached HEAD."""
    return reply(request, {"head": repo.head})


@router.get("/operations")
def operations(request: Request, repo: Reader, limit: Limit = 100, after: After = None) -> Response:
    """List the operations, newest first."""
    found = past(repo.operations(), after, lambda each: each.number)
    shown = list(map(operation_told, found[: limit + 1]))
    return page(request, shown, limit, lambda each: each["number"])


@router.get("/changes/{operation}")
def changes(request: Request, repo: Reader, operation: str) -> Response:
    """Return an operation and what it changed; '@' is the newest."""
    found = operation_told(repo.operation(operation))
    return reply(request, found | {"changed": to_jsonable(repo.changes(operation))})


@router.get("/unreachable")
@slow()
def unreachable(
    request: Request, repo: Present, limit: Limit = 100, after: After = None
) -> Response:
    """List what no ref leads to, and until when each can be brought back."""
    found = past(map(asdict, repo.unreachable()), after, _hex)
    return page(request, found, limit, _hex)


def _hex(each: dict[str, Any]) -> str:
    oid: Oid = each["oid"]
    return oid.hex()


@router.get("/stats")
@slow()
def stats(request: Request, repo: Present) -> Response:
    """Return where the bytes of the repository are."""
    return reply(request, repo.stats())
