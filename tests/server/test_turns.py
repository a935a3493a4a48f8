"""Requests that take long take turns, and the others do not wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from simgit.server import turns
from simgit.server.routes import ROUTERS
from simgit.server.run_rows import RunRows
from tests.support.web import Client


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """Let each reading of the table of runs wait until it is let go on."""
    go, began = threading.Semaphore(0), threading.Semaphore(0)
    table = RunRows.table

    def slowly(self: RunRows) -> Any:
        began.release()
        go.acquire()
        return table(self)

    monkeypatch.setattr(RunRows, "table", slowly)
    go.began = began  # type: ignore[attr-defined]
    yield go
    go.release(100)


def test_cheap_requests_are_answered_while_many_long_ones_are(
    client: Client, held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    client.app.state.service = client.service

    async def ask() -> None:
        transport = httpx.ASGITransport(client.app, raise_app_exceptions=False)
        url = "http://127.0.0.1/v1/"
        async with httpx.AsyncClient(
            transport=transport, base_url=url, headers=client.headers
        ) as asking:
            long = [asyncio.create_task(asking.get("runs?where=step>0")) for _ in range(60)]
            for _ in range(turns.MOST):
                await asyncio.to_thread(held.began.acquire)
            for path in ("runs", "runs/main", "simulations", "tags"):
                assert (await asking.get(path)).status_code == 200
            refused = await _first(long, 60 - turns.MOST)
            assert {each.status_code for each in refused} == {429}
            assert {each.headers["retry-after"] for each in refused} == {"5"}
            held.release(turns.MOST)
            found = [await each for each in long]
            assert sum(each.status_code == 200 for each in found) == turns.MOST
            held.release()
            assert (await asking.get("runs?where=step>0")).status_code == 200

    asyncio.run(ask())


async def _first(tasks: list[asyncio.Task[httpx.Response]], count: int) -> list[httpx.Response]:
    left, done = {*tasks}, []
    while len(done) < count:
        found, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        done += [each.result() for each in found]
    return done


def test_which_requests_take_turns() -> None:
    every: list[Any] = [each for router in ROUTERS for each in router.routes]
    routes = [each for each in every if "GET" in each.methods]
    found = {each.path: getattr(each.endpoint, "slow", None) for each in routes}
    for path in ("/diff", "/bisect", "/series", "/columns/{revisions:path}", "/best", "/outline"):
        assert found[path] == (), path
    assert found["/log/{revisions:path}"] == () and found["/log"] == ()
    assert "where" in found["/runs"]
    for path in ("/health", "/events", "/simulations", "/states/{revision:path}", "/jobs"):
        assert found[path] is None, path
