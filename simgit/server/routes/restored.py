"""Routes of states that are restored: how, frames, films, clusters; by processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from anyio import from_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from simgit import __version__
from simgit.errors import InvalidInput, NotFound, Untrusted, warn
from simgit.objects.oid import Oid
from simgit.repository.jsonable import json_text
from simgit.server.answers import (
    CHANGING,
    FOREVER,
    JSON,
    Route,
    by_revision,
    conditional,
    has_tag,
    reply,
)
from simgit.server.films import MadeFilm
from simgit.server.media import send_file
from simgit.server.problems import Refused
from simgit.server.restorers import Restored
from simgit.server.service import Handle, Reading, Served, Service
from simgit.server.shortened import explained

router = APIRouter(route_class=Route, tags=["restored"])
FRAMES = {"mp4": 3600, "gif": 600}
"""The most frames of a film: those of a GIF are all in memory."""
FILM_SECONDS = 120.0
"""The seconds that a film may take."""
MEDIA = {"mp4": "video/mp4", "gif": "image/gif"}
Width = Annotated[
    int | None, Query(ge=16, le=1920, description="The most pixels in a row; default: as rendered.")
]


@router.get("/plan/{revision:path}")
def plan(request: Request, reading: Reading, served: Served, revision: str) -> Response:
    """Return how a state is reached: from where, in how many steps and seconds, whether exactly.

    'why' says in one line why it is not known to be exact (null), or why it cannot be restored:
    then 'how' is null, and 'error' is the class of the error.
    """
    oid = reading.repo.resolve(revision)
    return reply(request, explained(_asked(reading, served, oid, what="plan").record))


@router.get("/frames/{revision:path}")
def frame(
    request: Request, reading: Reading, served: Served, revision: str, width: Width = None
) -> Response:
    """Return the image of a state as PNG, although nothing was filmed: it is restored.

    403 if that would run code of a repository that is not trusted, 404 if there is nothing to
    render, 409 if the environment does not repeat the recorded steps, 504 after 20 s.
    """
    oid = reading.repo.resolve(revision)

    def make() -> bytes:
        with _nothing_to_show():
            return _asked(reading, served, oid, what="frame", width=width).body

    return by_revision(request, "frames", revision, oid.hex(), make, "image/png")


@router.get("/films/{revisions:path}")
def film(
    request: Request,
    reading: Reading,
    served: Served,
    revisions: str,
    format: Literal["mp4", "gif"] = "mp4",
    fps: Annotated[
        float | None, Query(ge=0.1, le=240, description="Default: the environment's.")
    ] = None,
    width: Width = None,
    every: Annotated[int, Query(ge=1, le=1_000_000, description="States per frame.")] = 1,
) -> Response:
    """Return a film of a run, a range or an episode, restored and rendered.

    An MP4 is sent while it is made, in chunks; the connection is closed before its end if that
    fails, and warnings that come later are told to who asks again. Parts by Range, and a GIF, are
    sent when it is whole.

    At most 3,600 frames (GIF: 600), else 413; 429 while another one is made; otherwise as a frame.
    """
    states = reading.repo.trajectory(revisions)
    if not len(states):
        raise NotFound(f"'{revisions}' has no states to render", revision=revisions)
    count, most = -(-(len(states) - 1) // every) + 1, FRAMES[format]
    if count > most:
        why = f"{count} frames, of which a film has at most {most}: give a range, or 'every'"
        raise Refused(413, why, frames=count, limit=most)
    last = states[-1].oid.hex()
    whole = "".join(f"{each.hex()}.." for each in states[0].parents[:1]) + last
    tag = f"{whole}-{len(states)}-{every}-{fps}-{width}.{format}"
    headers = {"Cache-Control": FOREVER if revisions == whole else CHANGING}
    if has_tag(request, "if-none-match", tag):
        return Response(status_code=304, headers={"ETag": f'"{tag}"', **headers})

    root = reading.repo.resolve(f"{last}@0")

    def make(film: MadeFilm) -> list[str]:
        job = {"revision": whole, "fps": fps, "width": width, "every": every}
        with _nothing_to_show():
            found = served.restorers.film(
                root, FILM_SECONDS, begun=film.begin, wanted=film.goes_on,
                as_of=reading.as_of, path=str(film.path), **job,
            )  # fmt: skip
        return found.warnings

    film = served.films.film(tag, f".{format}", make)
    is_read = False
    try:
        # a part needs the size, and so does who asks for the head
        is_whole = request.headers.get("range", "bytes=0-") != "bytes=0-"
        with served.films.waiting():
            film.wait(
                is_whole=is_whole or request.scope.get("simgit.head", False),
                is_lost=lambda: from_thread.run(request.is_disconnected),
            )
        for text in film.warnings:
            warn(text)
        if film.size is not None:
            return send_file(request, tag, film.path.open("rb"), film.size, MEDIA[format], headers)
        is_read = True
        shown = {"ETag": f'"{tag}"', **headers}
        return StreamingResponse(film.read(), 200, shown, MEDIA[format])
    finally:
        if not is_read:
            film.leave()


@router.get("/cluster/{revision:path}")
def cluster(request: Request, reading: Reading, served: Served, revision: str) -> Response:
    """Return the cluster of a SimKube state: nodes, pods and events as 'simgit kube' prints them.

    'totals' are the recorded counts. Where the cluster is not known (a live one, or a fault), its
    lists are null and 'why' says so in one line. 404 for other states.
    """
    oid = reading.repo.resolve(revision)

    def make() -> bytes:
        with _nothing_to_show():
            return json_text(
                explained(_asked(reading, served, oid, what="cluster").record)
            ).encode()

    # a later version may know more: by oid too it is asked for again
    return conditional(request, f"{oid.hex()}-{__version__}", make, JSON, {})


def _asked(reading: Handle, served: Service, oid: Oid, **job: Any) -> Restored:
    """Return what the processes answer about a state; that of its history is preferred."""
    root = reading.repo.resolve(f"{oid.hex()}@0")
    found = served.restorers.ask(root, oid=oid.hex(), as_of=reading.as_of, **job)
    _tell(found)
    return found


def _tell(found: Restored) -> None:
    for text in found.warnings:
        warn(text)


@contextmanager
def _nothing_to_show() -> Iterator[None]:
    """Answer 404 where a state has nothing to restore or to render."""
    try:
        yield
    except Untrusted:
        raise
    except InvalidInput as error:
        raise NotFound(str(error)) from None
