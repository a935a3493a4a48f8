"""Routes of runs, their order and their configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from simgit.errors import InvalidInput
from simgit.objects.json_form import value_to_json
from simgit.repository.jsonable import column_record, json_text, run_record
from simgit.repository.run_table import split_names
from simgit.server.answers import After, Route, Text, next_link, packed_reply, past, reply
from simgit.server.run_rows import MEMBERS
from simgit.server.service import Reader, Reading
from simgit.server.turns import slow

router = APIRouter(route_class=Route, tags=["runs"])
Status = Literal["active", "paused", "completed", "failed", "crashed"]


@router.get("/runs")
@slow("where", "sort", "columns", "group")
def runs(
    request: Request,
    reading: Reading,
    pattern: Annotated[list[str] | None, Query(description="Names, such as sweep/*.")] = None,
    where: Annotated[str | None, Query(description="Condition, as in 'run list'.")] = None,
    sort: Annotated[str | None, Query(description="Names; '-' for the greatest first.")] = None,
    status: Status | None = None,
    columns: Annotated[str | None, Query(description="Names of columns, by commas.")] = None,
    group: Annotated[str | None, Query(description="Name of a column to group by.")] = None,
    fields: Annotated[str | None, Query(description="Members of a run, by commas.")] = None,
    since: Annotated[str | None, Query(description="An X-Cursor: only what has changed.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    after: After = None,
) -> Response:
    """List the runs; with 'group' how many have each value of a column, and which.

    The list of all runs has the header X-Cursor. With that as 'since' the answer has in 'runs'
    those that changed, in 'removed' the names of those that are gone, and 'whole' is true if the
    cursor is too old, so that 'runs' are all. Fewer 'fields' make a shorter answer.
    """
    members = tuple(split_names(fields)) if fields is not None else MEMBERS
    chosen = (pattern, where, sort, status, columns, group, after)
    if chosen == (None,) * len(chosen):
        infos = reading.rows.infos()
        cursor, changed, removed = reading.rows.since(infos, since)
        more = {"X-Cursor": cursor, "X-Count": str(len(infos))}
        if since is not None:
            rows = ", ".join(reading.rows.texts(infos if changed is None else changed, members))
            whole = json_text({"removed": removed, "whole": changed is None})
            return reply(request, Text(f'{{"runs": [{rows}], {whole[1:]}'), more)
        if len(infos) <= limit:
            packed = reading.rows.packed(infos, members)
            return packed_reply(request, packed.tag, packed.body, packed.gzipped, more)
    elif since is not None:
        raise InvalidInput("since is of the list of all runs: leave out what chooses some")
    names = {*reading.repo.runs.matching(*pattern)} if pattern else None
    wanted = [group] if group is not None else split_names(columns or "")
    table = reading.rows.table() if where or sort or wanted else None
    found = [
        info
        for info in (reading.rows.infos() if table is None else table.select(where, sort))
        if status in (None, info.status) and (names is None or info.name in names)
    ]
    values = {} if table is None else {name: table.values(name) for name in wanted}
    places = {} if table is None else {info.name: i for i, info in enumerate(table.infos)}
    if group is not None:
        groups: dict[str, dict[str, Any]] = {}
        for info in found:
            value = value_to_json(values[group][places[info.name]])
            each = groups.setdefault(repr(value), {"value": value, "count": 0, "runs": []})
            each["count"] += 1
            each["runs"].append(info.name)
        return reply(request, list(groups.values()))
    left = past(found, after, lambda info: info.name)
    shown = left[:limit]
    more = {} if len(left) <= limit else {"Link": next_link(request, shown[-1].name)}
    more["X-Count"] = str(len(found))
    if columns is not None:
        records = [{n: values[n][places[info.name]] for n in wanted} for info in shown]
        return reply(request, [column_record(record) for record in records], more)
    rows = ", ".join(reading.rows.texts(shown, members))
    return reply(request, Text(f"[{rows}]"), more)


@router.get("/best")
@slow()
def best(
    request: Request,
    reading: Reading,
    by: str = "mean(return, 10)",
    where: str | None = None,
    lowest: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Rank the runs by a measure, the best first."""
    ranked = reading.rows.table().ranked(by, where, lowest)[:limit]
    return reply(
        request,
        [
            {"rank": rank, "by": by, "value": value} | run_record(info)
            for rank, (info, value) in enumerate(ranked, 1)
        ],
    )


@router.get("/runs/{name:path}")
def run(request: Request, repo: Reader, name: str) -> Response:
    """Return what is known of a run."""
    return reply(request, run_record(repo.runs[name]))


@router.get("/lineage/{name:path}")
def lineage(request: Request, repo: Reader, name: str) -> Response:
    """List a run and those that it was branched off, the nearest first."""
    return reply(request, repo.lineage(name))


@router.get("/config/{name:path}")
def config(request: Request, repo: Reader, name: str, own: bool = False) -> Response:
    """Return the configuration of a run, or only its own overrides."""
    info = repo.runs[name]
    return reply(request, value_to_json(dict(info.overrides if own else info.config)))


@router.get("/diff")
@slow()
def diff(
    request: Request,
    repo: Reader,
    a: str,
    b: str = "HEAD",
    kind: Annotated[
        Literal["auto", "states", "runs", "config"],
        Query(description="auto compares runs where both are names of runs."),
    ] = "auto",
    whole: Annotated[bool, Query(description="Compare all aligned steps of runs.")] = True,
) -> Response:
    """Compare two states, two runs since they diverged, or two configurations."""
    both = a in repo.runs and b in repo.runs
    if kind == "config":
        found = repo.diff_configs(a, b)
        return reply(request, {"a": a, "b": b, "changes": [each.to_json() for each in found]})
    if kind == "states" or (kind == "auto" and not both):
        return reply(request, repo.diff_states(a, b))
    changes = repo.diff_configs(a, b) if both else ()
    record = repo.diff_runs(a, b, whole=whole).to_json()
    return reply(request, record | {"config": [each.to_json() for each in changes]})


@router.get("/bisect")
@slow()
def bisect(request: Request, repo: Reader, a: str, b: str = "HEAD") -> Response:
    """Return the first state in which two histories differ, and why; it compares oids only."""
    return reply(request, repo.bisect(a, b))


@router.get("/merge-base")
@slow()
def merge_base(
    request: Request, repo: Reader, a: str, b: str, is_ancestor: bool = False
) -> Response:
    """List the best common ancestors of two states, or say whether a leads to b."""
    if is_ancestor:
        return reply(request, {"is_ancestor": repo.is_ancestor(a, b)})
    return reply(request, [{"oid": oid} for oid in repo.merge_bases(a, b)])
