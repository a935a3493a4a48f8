"""Route of curves: fields of histories in buckets of steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from simgit.objects.json_form import value_to_json
from simgit.server.answers import Route, reply
from simgit.server.service import Reader
from simgit.server.turns import slow

router = APIRouter(route_class=Route, tags=["columns"])


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
) -> Response:
    """Return fields of runs as curves: n, min, max, mean and last of buckets of 2^k steps.

    The same request gives the same answer, and a run that grows changes only its last bucket: a
    curve is continued with 'from', its last 'step', and with its 'width'.
    """
    found = []
    for run in runs:
        curve = repo.buckets(
            run, fields, x=x, start=start, stop=stop, points=points, width=width, smooth=smooth
        )
        columns = {
            name: {
                part: _plain(values)
                for part in ("n", "min", "max", "mean", "last", "smooth")
                if (values := getattr(each, part)) is not None
            }
            for name, each in curve.fields.items()
        }
        found.append(
            {"run": run, "width": curve.width, "stop": curve.stop, "step": _plain(curve.step),
             "x": _plain(curve.x), "fields": columns}
        )  # fmt: skip
    return reply(request, found)


def _plain(values: Any) -> list[Any]:
    """Return numbers as a list, None for NaN."""
    if values.dtype.kind == "f":
        return [None if each != each else value_to_json(each) for each in values.tolist()]
    return [int(each) for each in np.asarray(values)]
