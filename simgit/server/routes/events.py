"""The stream of events."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from simgit.errors import InvalidInput, near_or_known
from simgit.server.answers import Route
from simgit.server.problems import Refused
from simgit.server.service import ONLY_PRESENT, Served
from simgit.server.watch import KINDS, STREAMS, Viewer

router = APIRouter(route_class=Route, tags=["events"], dependencies=ONLY_PRESENT)


@router.get("/events", response_class=StreamingResponse)
async def events(
    request: Request,
    served: Served,
    runs: Annotated[list[str] | None, Query(description="Names, such as sweep/*.")] = None,
    kinds: Annotated[str | None, Query(description=f"Of {', '.join(KINDS)}; by commas.")] = None,
    last: Annotated[str | None, Header(alias="last-event-id")] = None,
) -> Response:
    """Stream what is there now and what changes, whatever process writes, as server-sent events.

    The event 'tips' has all that is there, by name; 'run' and 'ref' tell the newest value of a ref,
    'phase', 'progress' and 'question' how a simulation stands, 'line' where its log ends,
    'operation' each operation, 'gap' those that are not told any more. A simulation whose run
    somebody watches is seen after 0.1 s instead of 1 s.
    """
    wanted = [each.strip() for each in (kinds or "").split(",") if each.strip()]
    for each in wanted:
        if each not in KINDS:
            raise InvalidInput(f"unknown kind '{each}'{near_or_known(each, KINDS)}", kind=each)
    number = int(last) if last and last.isascii() and last.isdecimal() and len(last) < 19 else None
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.scope.get("simgit.head"):
        return Response(None, 200, headers, "text/event-stream")
    listener = Viewer(served.watch, runs or (), wanted)
    if not await asyncio.to_thread(served.watch.listen, listener):
        why = f"there are {STREAMS} streams already"
        raise Refused(429, why, {"Retry-After": "5"}, limit=STREAMS)
    stream = listener.events(number)
    return StreamingResponse(stream, 200, headers, "text/event-stream")
