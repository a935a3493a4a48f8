"""Routes of jobs: maintenance, verifying, imports and exports of bundles."""

from __future__ import annotations

import asyncio
import os
import pathlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from simgit.errors import InvalidInput
from simgit.server.answers import Route, reply
from simgit.server.jobs import FILE, failure
from simgit.server.media import BYTES, send_file
from simgit.server.problems import Refused
from simgit.server.service import ONLY_PRESENT, Served, Service

router = APIRouter(route_class=Route, tags=["jobs"], dependencies=ONLY_PRESENT)
Number = Annotated[int, Path(ge=1, le=1 << 62, description="The number of the job.")]
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True, "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}},
    }
}  # fmt: skip
Words = Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=10_000)]


class GcBody(BaseModel):
    """Options of a collection; times are such as "14d" or "now"."""

    model_config = ConfigDict(extra="forbid")
    dry_run: bool = False
    aggressive: bool = False
    grace: str | None = None
    expire: str | None = None
    keep: str | None = None


class FsckBody(BaseModel):
    """Options of a check, which repairs only if that is said."""

    model_config = ConfigDict(extra="forbid")
    repair: bool = False
    sample: str | None = None
    max_seconds: float | None = None


class ExportBody(BaseModel):
    """Options of a bundle; ``attachments`` are names, all if it is null."""

    model_config = ConfigDict(extra="forbid")
    refs: Words = Field(default_factory=list)
    all: bool = False
    exclude: Words = Field(default_factory=list)
    attachments: Words | None = None


@router.post("/gc", status_code=202)
def gc(request: Request, served: Served, given: GcBody | None = None) -> Response:
    """Collect garbage in a job; with 'dry_run' only say what would be removed."""
    given = given or GcBody()
    options = {"grace": given.grace, "expire": given.expire, "keep": given.keep}
    words = [f"--{name}={value}" for name, value in options.items() if value is not None]
    flags = ["--dry-run"] * given.dry_run + ["--aggressive"] * given.aggressive
    return _started(request, served, "gc", ["gc", "--json", *flags, *words])


@router.post("/fsck", status_code=202)
def fsck(request: Request, served: Served, given: FsckBody | None = None) -> Response:
    """Check the repository in a job; it changes nothing without 'repair'."""
    given = given or FsckBody()
    options = {"sample": given.sample, "max-seconds": given.max_seconds}
    words = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return _started(
        request, served, "fsck", ["fsck", "--json", *(["--repair"] * given.repair), *words]
    )


@router.post("/verify/{revision:path}", status_code=202)
def verify(request: Request, served: Served, revision: str) -> Response:
    """Re-execute recorded actions in a job, and compare; nothing that needs trust is executed."""
    if served.tracker is None:
        raise Refused(403, "this server executes nothing")
    return _started(request, served, "verify", ["verify", "--json", "--", revision])


@router.post("/imports", status_code=202, openapi_extra=_UPLOAD)
async def imports(
    request: Request,
    served: Served,
    prefix: Annotated[str | None, Query(description="Before the names of runs and tags.")] = None,
    run: Annotated[str | None, Query(description="Name of the run, if there is only one.")] = None,
) -> Response:
    """Import a bundle in a job: the body, as a stranger's, whose code needs 'simgit trust'."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != BYTES:
        raise Refused(415, f"a bundle must be sent as {BYTES}, got '{kind}'")
    options = {"prefix": prefix, "run": run}
    words = [f"--{name}={value}" for name, value in options.items() if value is not None]
    command = ["import", "--json", "--format=bundle", *words, "--", FILE]
    jobs = served.jobs
    await asyncio.to_thread(jobs.check)
    with jobs.spool() as path:
        try:
            with path.open("xb") as file:
                async for piece in request.stream():
                    await asyncio.to_thread(file.write, piece)
        except OSError as error:
            raise failure("cannot keep the bundle", error) from None
        return await asyncio.to_thread(_started, request, served, "imports", command, path)


@router.post("/exports", status_code=202)
def exports(request: Request, served: Served, given: ExportBody) -> Response:
    """Write runs and tags into a bundle in a job; then GET /v1/exports/N returns it."""
    if bool(given.refs) == given.all:
        raise InvalidInput("name the runs and tags in 'refs', or set 'all'")
    words = [f"--not={each}" for each in given.exclude]
    if given.attachments is not None:
        words += [f"--attachments={each}" for each in given.attachments] or ["--no-attachments"]
    named = ["--all"] if given.all else []
    command = ["bundle", "create", "--json", *named, *words, "--", FILE, *given.refs]
    return _started(request, served, "exports", command)


@router.get("/exports/{number}")
def exported(request: Request, served: Served, number: Number) -> Response:
    """Return the bundle that a job has exported; it is kept for a day."""
    file = served.jobs.exported(number)
    found = os.fstat(file.fileno())
    shown = {
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="export-{number}.bundle"',
    }
    tag = f"{number}-{found.st_mtime_ns}"
    return send_file(request, tag, file, found.st_size, BYTES, shown)


@router.get("/jobs")
def jobs(request: Request, served: Served) -> Response:
    """List the jobs, the newest first; one is known for a day after its end."""
    return reply(request, served.jobs.all())


@router.get("/jobs/{number}")
def job(request: Request, served: Served, number: Number) -> Response:
    """Return what is known of a job: its last lines, and its result as '--json' prints it."""
    return reply(request, served.jobs.get(number))


@router.delete("/jobs/{number}")
def cancel(
    request: Request,
    served: Served,
    number: Number,
    timeout: Annotated[float, Query(ge=0, le=60, description="Seconds to its end.")] = 10.0,
) -> Response:
    """Cancel a job that runs: it is asked to end, and then ended; forget one that has ended."""
    if served.jobs.remove(number):
        return reply(request, {"forgotten": number})
    return reply(request, served.jobs.cancel(number, timeout), status=202)


def _started(
    request: Request,
    served: Service,
    kind: str,
    arguments: list[str],
    bundle: pathlib.Path | None = None,
) -> Response:
    if served.repo.read_only:
        raise Refused(403, "the repository is read-only")
    found = served.jobs.start(kind, arguments, bundle)
    return reply(request, found, {"Location": f"/v1/jobs/{found['job']}"}, 202)
