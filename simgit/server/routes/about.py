"""Routes about the server: health, version, settings, the exchange of a token for a cookie."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from simgit import __version__
from simgit.errors import word_without_folders
from simgit.live.usage import machine as usage
from simgit.repository.jsonable import json_text
from simgit.server.answers import JSON, Route, reply, sent
from simgit.server.gate import session_of
from simgit.server.problems import Refused
from simgit.server.service import ONLY_PRESENT, Present, Served

router = APIRouter(route_class=Route, tags=["about"], dependencies=ONLY_PRESENT)


class Token(BaseModel):
    """A token that is exchanged for a cookie."""

    model_config = ConfigDict(extra="forbid")
    token: str


@router.get("/health")
async def health(request: Request) -> Response:
    """Say that the server answers; this needs no token."""
    return reply(request, {"status": "ok"})


@router.get("/version")
async def version(request: Request, served: Served) -> Response:
    """Return the version of simgit, what the token may do, and how many workers run the queue."""
    level = request.scope.get("simgit.level", "full")
    can_write = level == "full" and not (served.access.read_only or served.repo.read_only)
    workers = served.tracker.workers if served.tracker else 0
    told = {"version": __version__, "level": level, "can_write": can_write, "workers": workers}
    return reply(request, told)


@router.post("/session")
async def begin(request: Request, given: Token, served: Served) -> Response:
    """Exchange a token for the cookie of a session, which ends with the server.

    This needs no other token.
    """
    access = served.access
    level = access.level(given.token)
    if level is None:
        raise Refused(401, "the token is wrong; 'simgit serve' prints it")
    response = reply(request, {"level": level})
    response.set_cookie(
        access.cookie, access.sessions.begin(level), path="/", secure=access.is_tls, httponly=True,
        samesite="strict",
    )  # fmt: skip
    return response


@router.delete("/session")
async def end(request: Request, served: Served) -> Response:
    """End the session of the cookie."""
    served.access.sessions.end(session_of(request.headers, served.access))
    response = sent(request, b"", "application/json", 204, {})
    response.delete_cookie(
        served.access.cookie, path="/", secure=served.access.is_tls, httponly=True,
        samesite="strict",
    )  # fmt: skip
    return response


@router.get("/settings")
def settings(request: Request, repo: Present) -> Response:
    """Return the settings of the repository; to a view token, files without their folders."""
    found = repo.settings()
    if request.scope.get("simgit.level", "full") != "full":
        found = {
            key: word_without_folders(value) if isinstance(value, str) else value
            for key, value in found.items()
        }
    return reply(request, found)


@router.get("/machine")
def machine(request: Request, repo: Present) -> Response:
    """Return the usage of the server's machine: processors, memory, disk of the repository, GPUs.

    In bytes and percent; null where it cannot be told. 'gpus' needs nvidia-ml-py (extra 'gpu').
    """
    return sent(request, json_text(usage(repo.directory)).encode(), JSON, 200, {})
