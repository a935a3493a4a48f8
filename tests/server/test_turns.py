"""Requests that take long take turns, and the others do not wait for them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from simgit import Repository
from simgit.server import turns
from simgit.server.gate import Access
from simgit.server.routes import ROUTERS
from simgit.server.run_rows import RunRows
from simgit.storage.limits import TimeIsUp
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


@pytest.mark.slow
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


SLOW = {
    "runs?where=step>0", "runs?columns=max(reward)", "best", "diff?a=main&b=sweep/1",
    "diff?a=main@1&b=sweep/1&kind=states", "bisect?a=main&b=sweep/1",
    "merge-base?a=main&b=sweep/1", "series?run=main&field=reward", "bands?field=reward",
    "children/main@2?as_of=1", "columns/main?field=reward&field=observation", "log", "log/main?where=reward>0",
    "episodes/main", "outline", "leaves", "contains/main@2", "media/main", "unreachable", "stats",
}  # fmt: skip
"""Requests, at least one of each route that takes turns."""


@pytest.mark.slow
def test_work_that_takes_too_long_ends_and_leaves_nothing_wrong(repo: Repository) -> None:
    client, fresh = Client(repo, Access(seconds=1e-9)), Client(repo)
    for path in sorted(SLOW):
        found = client.get(path)
        assert found.status_code == 504, (path, found.text)
        assert "takes longer" in found.json()["detail"]
        assert "'limit'" in found.json()["detail"]
    client.service.access = replace(client.access, seconds=60)
    for path in sorted(SLOW):
        found = client.get(path)
        assert found.status_code == 200, (path, found.text)
        assert found.json() == fresh.json(path), path
    client.close()
    fresh.close()


def test_every_route_that_takes_turns_is_bounded_here() -> None:
    every: list[Any] = [each for router in ROUTERS for each in router.routes]
    found = {each.path.split("/")[1] for each in every if hasattr(each.endpoint, "slow")}
    assert found == {path.partition("?")[0].partition("/")[0] for path in SLOW}


def test_work_ends_when_its_client_has_gone(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, gone = asyncio.Event(), threading.Event()
    loop: list[asyncio.AbstractEventLoop] = []

    def reads(self: RunRows) -> Any:
        """Read until that is ended."""
        loop[0].call_soon_threadsafe(began.set)
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                with client.service.reader.odb.read() as txn:
                    txn.count("refs")
            raise AssertionError("it was not ended")
        except TimeIsUp:
            gone.set()
            raise

    monkeypatch.setattr(RunRows, "table", reads)
    client.app.state.service = client.service
    token = client.headers["Authorization"].encode()
    scope = {
        "type": "http", "method": "GET", "path": "/v1/runs", "query_string": b"where=step>0",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", token)], "root_path": "",
        "scheme": "http", "http_version": "1.1", "raw_path": b"/v1/runs",
    }  # fmt: skip
    sent: list[Any] = []

    async def ask() -> None:
        loop.append(asyncio.get_running_loop())
        messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            for message in messages:
                return message
            await began.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await client.app(scope, receive, send)

    asyncio.run(ask())
    assert gone.is_set() and sent[0]["status"] == 499
    monkeypatch.undo()
    assert client.get("runs?where=step>0").status_code == 200
