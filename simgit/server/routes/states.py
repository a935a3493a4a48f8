"""Routes of states and their histories."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from simgit.errors import InvalidInput, NotFound, SimgitError
from simgit.objects.oid import Oid
from simgit.repository import Repository
from simgit.repository.jsonable import json_text, stamp, state_record, to_jsonable
from simgit.server.answers import (
    After,
    Limit,
    Route,
    by_revision,
    next_link,
    page,
    past,
    reply,
)
from simgit.server.service import Reader, Served
from simgit.server.turns import slow

router = APIRouter(route_class=Route, tags=["states"])
Fields = Annotated[list[str] | None, Query(alias="field", description="Only these fields.")]


def canonical(repo: Repository, text: str) -> str:
    """Return a revision or a range by oids only.

    Raises:
        InvalidInput: it has a form that names several histories.
    """
    found = repo.rev_parse(text)
    tips, excluded = [oid.hex() for oid, out in found if not out], [o for o, out in found if out]
    if len(tips) == 2:
        return "...".join(tips)
    if not tips:
        raise InvalidInput(f"'{text}' excludes states and names none", revision=text)
    return f"{excluded[0].hex()}..{tips[0]}" if excluded else tips[0]


@router.get("/resolve/{revision:path}")
def resolve(request: Request, repo: Reader, revision: str) -> Response:
    """List the oids that a revision or a range names; excluded ones are marked."""
    found = repo.rev_parse(revision)
    return reply(request, [{"oid": oid, "excluded": excluded} for oid, excluded in found])


@router.get("/states/{revision:path}")
def state(request: Request, repo: Reader, revision: str, fields: Fields = None) -> Response:
    """Return a state: its place, its parents and its values."""
    oid = repo.resolve(revision)

    def make() -> bytes:
        record = _whole(repo, oid)
        if fields is not None:
            record = {name: record[name] for name in ("oid", "step", *fields) if name in record}
        return json_text(record).encode()

    return by_revision(request, "states", revision, oid.hex(), make)


@router.get("/parents/{revision:path}")
def parents(request: Request, repo: Reader, revision: str) -> Response:
    """List the parents of a state, first to last."""
    oid = repo.resolve(revision)

    def make() -> bytes:
        return json_text(to_jsonable(repo.parents(oid))).encode()

    return by_revision(request, "parents", revision, oid.hex(), make)


@router.get("/children/{revision:path}")
@slow("as_of")
def children(
    request: Request, repo: Reader, revision: str, limit: Limit = 100, after: After = None
) -> Response:
    """List the states that have a state among their parents."""
    return page(request, past(repo.children(revision), after, _oid), limit, _oid)


@router.get("/leaves")
@slow()
def leaves(request: Request, repo: Reader, limit: Limit = 100, after: After = None) -> Response:
    """List the states without children."""
    return page(request, past(repo.leaves(), after, _oid), limit, _oid)


@router.get("/contains/{revision:path}")
@slow()
def contains(request: Request, repo: Reader, revision: str) -> Response:
    """List the names of the runs in whose history a state lies."""
    return reply(request, repo.contains(revision))


@router.get("/origin/{revision:path}")
def origin(request: Request, repo: Reader, revision: str) -> Response:
    """Return what the history that leads to a state began with."""
    from simgit.objects.json_form import value_to_json

    return reply(request, value_to_json(repo.origin(revision)))


@router.get("/log")
@slow()
def whole_log(
    request: Request,
    repo: Reader,
    where: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List the states that lead to all runs, tags and HEAD, newest first."""
    return _log(request, repo, (), True, where, since, until, False, False, limit, after)


@router.get("/log/{revisions:path}")
@slow()
def log(
    request: Request,
    repo: Reader,
    revisions: str,
    where: Annotated[str | None, Query(description="Condition, as in 'log --where'.")] = None,
    since: str | None = None,
    until: str | None = None,
    reverse: Annotated[bool, Query(description="The oldest of the page first.")] = False,
    whole: Annotated[bool, Query(description="States with all their values.")] = False,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List the states that lead to a revision, or those of a range, newest first."""
    return _log(
        request, repo, (revisions,), False, where, since, until, reverse, whole, limit, after
    )


def _log(
    request: Request,
    repo: Repository,
    revisions: tuple[str, ...],
    every: bool,
    where: str | None,
    since: str | None,
    until: str | None,
    reverse: bool,
    whole: bool,
    limit: int,
    after: str | None,
) -> Response:
    lines = repo.log(
        *revisions, every=every, limit=limit + 1, where=where, since=since, until=until, after=after
    )
    found = list(islice(lines, limit + 1))
    shown = found[:limit]
    more = {} if len(found) <= limit else {"Link": next_link(request, shown[-1].oid.hex())}
    shown = shown[::-1] if reverse else shown
    return reply(request, [_whole(repo, each.oid) for each in shown] if whole else shown, more)


def _whole(repo: Repository, oid: Oid) -> dict[str, Any]:
    return state_record(repo.state(oid)) | {"time": stamp(repo.time(oid))}


@router.get("/outline")
@slow()
def outline(
    request: Request,
    repo: Reader,
    revision: Annotated[list[str] | None, Query(description="Default: all refs.")] = None,
    limit: Limit = 1000,
) -> Response:
    """List the states where something happens: tips, tags, forks and merges."""
    found = repo.outline(*(revision or ()), every=not revision, limit=limit)
    return reply(request, found)


@router.get("/episodes/{revision:path}")
@slow()
def episodes(
    request: Request,
    repo: Reader,
    served: Served,
    revision: str,
    limit: Limit = 100,
    after: Annotated[
        int | None, Query(ge=1, le=1 << 62, description="The last episode of the page before.")
    ] = None,
) -> Response:
    """List the episodes of a state's history, the newest first."""
    try:
        found = repo.episodes(revision, limit=limit + 1, before=after)
    except NotFound as error:
        if "episode" not in vars(error):
            raise
        why = f"after: episode {after} is not in the list; begin again"
        raise InvalidInput(why, after=after) from None
    with suppress(SimgitError):  # the list does not need it
        if "environment" in repo.origin(revision):  # who looks at its episodes looks at frames
            served.restorers.warm()
    return page(request, found, limit, lambda each: each.number)


def _oid(each: Any) -> str:
    oid: Oid = each.oid
    return oid.hex()
