"""Turns of requests that may take long: few at once, so that the others always find a thread.

Their work is bounded: it ends when it takes too long, or when the client has gone.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

from starlette.requests import Request

from simgit.server.problems import Refused
from simgit.storage.limits import TimeIsUp, TimeLimit, limited

MOST: Final = 8
"""The most that are answered at once; there are 40 threads."""
PATIENCE: Final = 30.0
"""Seconds that one waits for its turn."""
_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
    weakref.WeakKeyDictionary()
)
F = TypeVar("F", bound=Callable[..., object])


def slow(*parameters: str) -> Callable[[F], F]:
    """Let requests to a route take turns; with parameters, only those that have one of them."""

    def mark(endpoint: F) -> F:
        endpoint.__dict__["slow"] = parameters
        return endpoint

    return mark


def is_slow(endpoint: Callable[..., object], request: Request) -> bool:
    """Return whether a request has to take its turn."""
    found: tuple[str, ...] | None = getattr(endpoint, "slow", None)
    return found is not None and (not found or any(each in request.query_params for each in found))


@asynccontextmanager
async def turn(request: Request, seconds: float) -> AsyncIterator[None]:
    """Wait for a turn, without a thread; then bound what reads the store in the block.

    Args:
        request: the request, which has no body.
        seconds: the time that its work may take.

    Raises:
        Refused: 429, it has not come in time; 504, the work took too long; 499, the client has
            disconnected meanwhile.
    """
    loop = asyncio.get_running_loop()
    turns = _turns.setdefault(loop, asyncio.Semaphore(MOST))
    has_waited = turns.locked()
    try:
        await asyncio.wait_for(turns.acquire(), PATIENCE)
    except TimeoutError:
        why = f"{MOST} requests that take long are being answered"
        raise Refused(429, why, {"Retry-After": "5"}, limit=MOST) from None
    try:
        if has_waited and await request.is_disconnected():
            raise _gone()
        limit = TimeLimit(seconds)
        watching = loop.create_task(_watch(request, limit))
        try:
            with limited(limit):
                yield
        except TimeIsUp:
            if limit.is_ended:
                raise _gone() from None
            why = (
                f"the answer takes longer than {seconds:g} s: ask for less, such as a part of the "
                "history ('main@0..main@1000'), fewer fields, or a smaller 'limit'; "
                "'simgit serve --request-timeout' allows more"
            )
            raise Refused(504, why, seconds=seconds) from None
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    finally:
        turns.release()


async def _watch(request: Request, limit: TimeLimit) -> None:
    """End the work of a request when its client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    limit.is_ended = True


def _gone() -> Refused:
    return Refused(499, "the client closed the request")
