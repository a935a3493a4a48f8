"""Routes of runs."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from simgit.repository.jsonable import run_record
from simgit.server.answers import Route, reply
from simgit.server.service import Reader

router = APIRouter(route_class=Route, tags=["runs"])


@router.get("/runs/{name:path}")
def run(request: Request, repo: Reader, name: str) -> Response:
    """Return what is known of a run."""
    return reply(request, run_record(repo.runs[name]))
