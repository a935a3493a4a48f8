"""The stream of events: levels, whatever process writes; its end."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from simgit import Repository
from tests.support.tracking import track
from tests.support.web import Process, serving

CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None))
"""One for all, of other modules too: making one takes longer than a request."""
atexit.register(CLIENT.close)
Event = tuple[str, Any, str | None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    where = tmp_path_factory.mktemp("events")
    with Repository.init(where) as repo:
        repo.commit(np.zeros(2), run="main")
    with serving(where) as server:
        server.where = where  # type: ignore[attr-defined]
        yield server


@contextmanager
def opened(server: Process, query: str = "", **headers: str) -> Iterator[Iterator[Event]]:
    url = f"{server.url}events{query}"
    with CLIENT.stream("GET", url, headers=server.headers | headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        yield _events(stream.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[Event]:
    found: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            found[name] = value
        elif "event" in found:
            yield found["event"], json.loads(found["data"]), found.get("id")
            found = {}


def until(events: Iterator[Event], kind: str) -> Any:
    return next(data for name, data, _ in events if name == kind)


def writer(server: Process) -> Repository:
    where: Path = server.where  # type: ignore[attr-defined]
    return Repository.open(where)


def test_the_present_comes_first_then_what_any_process_writes(server: Process) -> None:
    with opened(server) as events, writer(server) as repo:
        kind, tips, _ = next(events)
        assert kind == "tips"
        assert tips["runs/main"]["oid"] == repo.resolve("main").hex()
        oid = repo.commit(np.ones(2), 1, 1.0, run="main")
        found = until(events, "run")
        assert (found["run"], found["oid"], found["step"]) == (
            "main",
            oid.hex(),
            repo.state(oid).step,
        )
        assert until(events, "operation")["command"] == "commit"
        code = f"from simgit import Repository; Repository.open({str(repo.worktree)!r}).tag('other', 'main')"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert until(events, "ref") == {"ref": "tags/other", "oid": oid.hex()}
        repo.branch("gone", "main")
        assert until(events, "run")["run"] == "gone"
        repo.delete_run("gone")
        assert until(events, "run") == {"run": "gone", "oid": None}
        repo.delete_tag("other")
        assert until(events, "ref") == {"ref": "tags/other", "oid": None}
        track(repo, "origin/main", "main")
        assert until(events, "ref") == {"ref": "remotes/origin/main", "oid": oid.hex()}
        repo.delete_remote_run("origin/main")
        assert until(events, "ref") == {"ref": "remotes/origin/main", "oid": None}


def test_a_viewer_that_was_away_gets_what_is_there_and_the_operations_it_missed(
    server: Process,
) -> None:
    with opened(server) as events:
        _, _, last = next(events)
    with writer(server) as repo:
        oids = [repo.commit(np.ones(2) * i, 1, 1.0, run="main") for i in range(3)]
        assert last is not None
        with opened(server, **{"Last-Event-ID": last}) as events:
            kind, tips, _ = next(events)
            assert (kind, tips["runs/main"]["oid"]) == ("tips", oids[-1].hex())
            told = [next(events) for _ in range(3)]
            assert [(kind, data["number"]) for kind, data, _ in told] == [
                ("operation", int(last) + i) for i in (1, 2, 3)
            ]


def test_a_number_of_another_repository_silences_nothing(server: Process) -> None:
    with (
        opened(server, "?kinds=tips,operation", **{"Last-Event-ID": "999999"}) as events,
        writer(server) as repo,
    ):
        newest = repo.operations(1)[0].number
        kind, _, number = next(events)
        assert (kind, number) == ("tips", str(newest))
        repo.tag("after", "main")
        kind, data, _ = next(events)
        assert (kind, data["number"]) == ("operation", newest + 1)
        repo.delete_tag("after")


def test_operations_that_are_not_kept_are_a_gap(server: Process) -> None:
    with writer(server) as repo:
        for i in range(101):
            repo.tag("t", "main", force=True, message=str(i))
        newest = repo.operations(1)[0].number
    with opened(server, "?kinds=gap,operation", **{"Last-Event-ID": "1"}) as events:
        kind, gap, number = next(events)
        assert (kind, gap["first"]) == ("gap", 2)
        following = [next(events)[1]["number"] for _ in range(newest - gap["last"])]
        assert following == [*range(gap["last"] + 1, newest + 1)]
        assert number == str(gap["last"])


def test_a_viewer_says_which_runs_and_kinds_it_wants(server: Process) -> None:
    with opened(server, "?runs=wanted/*&kinds=tips,run") as events, writer(server) as repo:
        assert next(events)[1] == {}
        repo.branch("other", "main")
        repo.branch("wanted/1", "main")
        kind, data, _ = next(events)
        assert (kind, data["run"]) == ("run", "wanted/1")
        repo.delete_run("other")
        repo.delete_run("wanted/1")
    odd = CLIENT.get(server.url + "events?kinds=rnu", headers=server.headers)
    assert (odd.status_code, odd.json()["detail"]) == (
        422,
        "unknown kind 'rnu'; did you mean 'run'?",
    )


def test_a_slow_viewer_is_told_the_newest_value_only(server: Process) -> None:
    with writer(server) as repo, opened(server, "?kinds=tips,run") as events:
        next(events)
        with repo.recorder("many") as recorder:
            for step in range(50):
                recorder.append(
                    np.zeros(2), None if step == 0 else 1, 1.0, reset={} if step == 0 else None
                )
                recorder.flush()
        steps = []
        for kind, data, _ in events:
            assert kind == "run"
            steps.append(-1 if data["step"] is None else data["step"])
            if data["step"] == 49:
                break
        assert steps == sorted(steps)


@pytest.mark.slow
def test_it_ends_with_twenty_open_streams_and_no_more_than_sixty_four_are_open(
    tmp_path: Path,
) -> None:
    Repository.init(tmp_path).close()
    with serving(tmp_path) as server, ExitStack() as stack:
        streams = [stack.enter_context(opened(server)) for _ in range(64)]
        for events in streams:
            next(events)
        more = CLIENT.get(server.url + "events", headers=server.headers)
        assert (more.status_code, more.headers["retry-after"]) == (429, "5")
        ended: list[int] = []

        def read(events: Iterator[Event]) -> None:
            ended.append(sum(1 for _ in events))

        readers = [threading.Thread(target=read, args=(events,)) for events in streams]
        for reader in readers:
            reader.start()
        assert server.end() == (0, "")
        for reader in readers:
            reader.join()
        assert len(ended) == 64


def test_head_of_the_stream_ends(server: Process) -> None:
    found = CLIENT.head(server.url + "events", headers=server.headers)
    assert (found.status_code, found.content) == (200, b"")
