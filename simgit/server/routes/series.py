"""Routes of curves: fields of histories in buckets of steps, and means of groups of runs."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from simgit.analysis.statistics import CONFIDENCE, column_means
from simgit.errors import InvalidInput, NotFound, near_or_known
from simgit.objects.json_form import SAFE, value_to_json
from simgit.repository import Repository
from simgit.repository.jsonable import plain_text
from simgit.server.answers import Route, Text, reply
from simgit.server.problems import Refused
from simgit.server.service import Reader, Reading
from simgit.server.turns import slow

router = APIRouter(route_class=Route, tags=["columns"])
PARTS = ("n", "min", "max", "mean", "last", "smooth")
NUMBERS: Final = 1_000_000
"""The most numbers of curves whose width is given."""
RUNS: Final = 1000
"""The most runs of a band."""


@router.get("/series")
@slow()
def series(
    request: Request,
    repo: Reader,
    runs: Annotated[list[str], Query(alias="run", max_length=100, description="Revisions.")],
    fields: Annotated[list[str], Query(alias="field", max_length=32, description="Of numbers.")],
    x: Literal["step", "episode", "time"] = "step",
    start: Annotated[int, Query(alias="from", ge=0, description="The first step.")] = 0,
    stop: Annotated[int | None, Query(alias="to", ge=0, description="The step after it.")] = None,
    points: Annotated[int, Query(ge=1, le=2000, description="The most buckets of a curve.")] = 1000,
    width: Annotated[int | None, Query(ge=1, description="Steps of a bucket instead.")] = None,
    smooth: Annotated[int, Query(ge=1, le=4096, description="Over so many buckets.")] = 1,
    parts: Annotated[str, Query(description=f"Of {', '.join(PARTS)}; by commas.")] = "",
    digits: Annotated[int, Query(ge=1, le=17, description="Significant digits of numbers.")] = 17,
    missing: Annotated[
        Literal["error", "skip"], Query(description="A run that is not there: 404, or left out.")
    ] = "error",
) -> Response:
    """Return fields of runs as curves: n, min, max, mean and last of buckets of 2^k steps.

    The same request gives the same answer, and a run that grows changes only its last bucket: a
    curve is continued with 'from', its last 'step', and with its 'width'. Who draws asks for the
    parts that are drawn, with the digits that are seen: 17 are exact. With missing=skip the answer
    is {"curves": [...], "missing": ["NAME"]}: runs that were renamed or deleted are named there.
    """
    wanted = [each.strip() for each in parts.split(",") if each.strip()] or PARTS
    for each in wanted:
        if each not in PARTS:
            raise InvalidInput(f"unknown part '{each}'{near_or_known(each, PARTS)}", part=each)
    is_lenient = missing == "skip"
    there = [each for each in runs if not is_lenient or _is_there(repo, each)]
    if width is not None:
        _check_size(repo, there, len(fields) * len(wanted), start, stop, width)
    found = []
    for run in there:
        try:
            curve = repo.buckets(
                run, fields, x=x, start=start, stop=stop, points=points, width=width, smooth=smooth
            )
        except NotFound:  # the run, or a field of it
            if is_lenient and not _is_there(repo, run):
                continue
            raise
        columns = {
            name: {
                part: _plain(values, digits)
                for part in wanted
                if (values := getattr(each, part)) is not None
            }
            for name, each in curve.fields.items()
        }
        found.append(
            {"run": run, "width": curve.width, "stop": curve.stop, "step": _plain(curve.step),
             "x": _plain(curve.x), "fields": columns}
        )  # fmt: skip
    if not is_lenient:
        return reply(request, Text(plain_text(found)))
    shown = {each["run"] for each in found}
    gone = [each for each in dict.fromkeys(runs) if each not in shown]
    return reply(request, Text(plain_text({"curves": found, "missing": gone})))


@router.get("/bands")
@slow()
def bands(
    request: Request,
    reading: Reading,
    field: Annotated[str, Query(description="Of numbers, as in 'series'.")],
    by: Annotated[str | None, Query(description="Column, such as config.agent.lr.")] = None,
    where: Annotated[str | None, Query(description="Condition, as in 'run list'.")] = None,
    window: Annotated[int, Query(ge=1, le=4096, description="Moving mean of buckets.")] = 1,
    points: Annotated[int, Query(ge=1, le=2000, description="The most buckets.")] = 500,
) -> Response:
    """Return the mean of a field over the runs of each group, with its 95 % confidence interval.

    By buckets of 2^k steps: of each run the mean of a bucket counts once, and 'n' says how many
    runs have one. The interval is that of Student's t, for runs that are independent of each other:
    mean ± t(n - 1) · s / √n (NIST/SEMATECH e-Handbook, 1.3.5.2); null for less than two runs.
    Runs without states or without the field are left out. Histories of more than 20 million states
    in all have buckets of at least 2048 steps; 413 where these have no summaries (returns, arrays).
    """
    table = reading.runs.table()
    chosen = [each for each in table.select(where, None) if each.oid is not None]
    if len(chosen) > RUNS:
        why = f"{len(chosen)} runs, of which a band has at most {RUNS}: give 'where'"
        raise Refused(413, why, runs=len(chosen), limit=RUNS)
    column = None if by is None else table.values(by)
    places = {info.name: i for i, info in enumerate(table.infos)}
    try:
        width, found = reading.runs.bucket_sums(chosen, field, points)
    except InvalidInput as error:
        if (limit := vars(error).get("limit")) is None:
            raise
        raise Refused(413, str(error), limit=limit) from None
    groups: dict[str, dict[str, Any]] = {}
    curves: dict[str, list[Any]] = {}
    for name, sums in found.items():
        value = None if column is None else value_to_json(column[places[name]])
        key = repr(value)
        groups.setdefault(key, {"value": value, "runs": []})["runs"].append(name)
        curves.setdefault(key, []).append(sums.means(window))
    count = max((len(each.n) for each in found.values()), default=0)
    steps = np.arange(count, dtype=np.int64) * width
    for key, group in groups.items():
        rows = np.full((len(curves[key]), len(steps)), np.nan)
        for row, curve in zip(rows, curves[key], strict=True):
            row[: len(curve)] = curve
        names = ("n", "mean", "low", "high")
        group |= zip(names, map(_plain, column_means(rows)), strict=True)
    record = {"field": field, "by": by, "width": width, "confidence": CONFIDENCE}
    return reply(request, record | {"step": _plain(steps), "groups": list(groups.values())})


def _is_there(repo: Repository, revision: str) -> bool:
    try:
        repo.resolve(revision)
    except NotFound:
        return False
    return True


def _check_size(
    repo: Repository, runs: list[str], columns: int, start: int, stop: int | None, width: int
) -> None:
    """Refuse curves that would have too many numbers, before any of them is read."""
    count = 0
    for run in runs:
        last = repo.state(run).step + 1
        count += columns * max(0, -(-(min(stop or last, last) - start) // width))
    if count > NUMBERS:
        why = f"{count} numbers, of which curves have at most {NUMBERS}: give 'points' or 'to'"
        raise Refused(413, why, numbers=count, limit=NUMBERS)


def _plain(values: Any, digits: int = 17) -> list[Any]:
    """Return numbers as a list, None for NaN."""
    found: list[Any] = values.tolist()
    if values.dtype.kind != "f":
        found = [int(each) for each in found]
        is_safe = all(-SAFE <= each <= SAFE for each in found)
        return found if is_safe else [value_to_json(each) for each in found]
    if digits < 17:
        found = [float(f"{each:.{digits}g}") for each in found]
    if np.isfinite(values).all():
        return found
    return [None if each != each else value_to_json(each) for each in found]
