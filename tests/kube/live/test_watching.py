"""The watched copy of a collection: whatever a watch does, the copy is that of the server in the end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from simgit.kube.live import api as calls
from simgit.kube.live.api import Api, Stream
from simgit.kube.live.watching import Changes, Watching
from simgit.testing.apiserver import ApiFault, ApiServer, random_faults
from tests.kube.live.loopback import loopback
from tests.support.patience import PATIENCE

MAPS = "/api/v1/configmaps"
OURS = "simgit.io/run=main"


def config(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": name, "namespace": "default", "labels": {"simgit.io/run": "main"}},
    }  # fmt: skip


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[tuple[ApiServer, Api]]:
    with loopback(tmp_path, nodes=0) as both:
        yield both


def names(watching: Watching) -> set[str]:
    return {each["metadata"]["name"] for each in watching.objects()}


def watch(api: Api, **options: Any) -> Watching:
    return Watching(api, MAPS, Changes(), labels=OURS, **options)


def comes_to(watching: Watching, *expected: str) -> bool:
    return watching.changes.wait_until(lambda: names(watching) == set(expected), PATIENCE)


def test_changes_come_without_asking(loop: tuple[ApiServer, Api]) -> None:
    server, api = loop
    server.create(config("a"))
    told: list[tuple[str, str]] = []

    def note(old: Any, new: Any) -> None:
        kind = "added" if old is None else "deleted" if new is None else "changed"
        told.append((kind, (new or old)["metadata"]["name"]))

    watching = watch(api, on_change=note)
    asked = len(server.requests)
    server.create(config("b"))
    assert comes_to(watching, "a", "b")
    api.patch("/api/v1/namespaces/default/configmaps/a", {"data": {"x": "1"}})
    server.delete("configmaps", "b", "default")
    assert comes_to(watching, "a")
    watching.close()
    assert told == [("added", "a"), ("added", "b"), ("changed", "a"), ("deleted", "b")]
    lists = [
        each
        for each in server.requests[asked:]
        if "watch=" not in each.path and each.method == "GET"
    ]
    assert lists == []


def test_many_objects_are_listed_page_by_page(
    loop: tuple[ApiServer, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, api = loop
    monkeypatch.setattr(calls, "_PAGE", 7)
    server.create(*(config(f"m{i}") for i in range(30)))
    watching = watch(api)
    assert len(names(watching)) == 30
    watching.close()
    assert sum("continue=" in each.path for each in server.requests) == 4


@pytest.mark.parametrize("expired", ["status", "event"])
def test_a_version_that_is_too_old_is_a_new_list_with_deletions(
    tmp_path: Path, expired: Any
) -> None:
    """kubernetes-client/python-base 57, 199: 410 comes as an event or as a status."""
    with loopback(tmp_path, nodes=0, expired=expired) as (server, api):
        server.create(config("a"), config("b"))
        server.faults = [ApiFault("gone", after=0)]
        gone: list[str] = []
        watching = watch(
            api, on_change=lambda old, new: None if new else gone.append(old["metadata"]["name"])
        )
        server.delete("configmaps", "a", "default")
        server.create(config("c"))
        server.forget_history()
        assert comes_to(watching, "b", "c")
        watching.close()
        assert gone == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "closed",
        "cut",
        "garbage",
        "empty-lines",
        "split",
        "slow",
        "duplicate",
        "reorder",
        "reset",
        "500",
        "429",
        "401",
    ],
)
def test_no_fault_of_a_watch_is_seen(loop: tuple[ApiServer, Api], kind: str) -> None:
    """728, 124 (a watch ends; a read is incomplete), 1402, split characters, events out of order."""
    server, api = loop
    server.faults = [
        ApiFault(kind, match=lambda method, path: "watch=" in path, times=2, retry_after=0)
    ]
    watching = watch(api)
    for number in range(4):
        server.create(config(f"ü{number}".replace("ü", "u"), text="äöü€😀" * 50))
    api.patch("/api/v1/namespaces/default/configmaps/u0", {"data": {"text": "ß"}})
    server.delete("configmaps", "u1", "default")
    server.create(config("last"), config("end"))  # eight events, as a swap holds an odd one back
    assert comes_to(watching, "u0", "u2", "u3", "last", "end")
    assert watching.changes.wait_until(
        lambda: (watching.get(("default", "u0")) or {})["data"] == {"text": "ß"}, PATIENCE
    )
    watching.close()


def test_a_dead_watch_is_noticed_by_refresh(loop: tuple[ApiServer, Api]) -> None:
    """1148, 2462 and PR 2527: a half-open connection never says anything."""
    server, api = loop
    server.faults = [ApiFault("half-open", match=lambda method, path: "watch=" in path)]
    watching = watch(api)
    server.create(config("a"))
    while not any("watch=" in each.path for each in server.requests):
        threading.Event().wait(0.01)
    assert not watching.changes.wait_until(lambda: bool(names(watching)), 0.1)
    assert not watching.refresh()
    assert names(watching) == {"a"}
    server.create(config("b"))  # by the watch, which was opened anew
    assert comes_to(watching, "a", "b")
    assert watching.refresh()
    watching.close()


def test_bookmarks_are_no_objects_and_count_as_versions(loop: tuple[ApiServer, Api]) -> None:
    """1404, 1729: bookmarks were ignored, or took the watch down."""
    _, api = loop
    watching = watch(api)
    mark = {
        "type": "BOOKMARK",
        "object": {"kind": "ConfigMap", "metadata": {"resourceVersion": "999999"}},
    }
    watching._take(mark)
    assert watching._version == "999999"
    assert names(watching) == set()
    watching.close()


def test_what_is_old_changes_nothing(loop: tuple[ApiServer, Api]) -> None:
    server, api = loop
    server.create(config("a"))
    watching = watch(api)
    first = watching.objects()[0]

    def at(version: str, *, uid: str | None = None, **data: str) -> dict[str, Any]:
        own = {**first["metadata"], "resourceVersion": version}
        return {**first, "metadata": own if uid is None else {**own, "uid": uid}, "data": data}

    now = int(first["metadata"]["resourceVersion"])
    watching._take({"type": "MODIFIED", "object": at(str(now + 5), x="new")})
    watching._take({"type": "MODIFIED", "object": at(str(now + 3), x="old")})
    watching._take({"type": "ADDED", "object": at(str(now + 5), x="again")})
    assert watching.objects()[0]["data"] == {"x": "new"}
    watching._take({"type": "ADDED", "object": at(str(now + 9), uid="second", x="recreated")})
    watching._take({"type": "DELETED", "object": at(str(now + 7))})  # that of the first one, late
    assert watching.objects()[0]["data"] == {"x": "recreated"}
    watching._take({"type": "DELETED", "object": at(str(now + 11), uid="second")})
    watching._take({"type": "MODIFIED", "object": at(str(now + 10), uid="second", x="late")})
    assert watching.objects() == []
    watching.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_the_copy_is_that_of_the_server_in_the_end(loop: tuple[ApiServer, Api], seed: int) -> None:
    server, api = loop
    with api.within(PATIENCE):
        watching = watch(api)
    faults = random_faults(seed, 0.3)
    server.faults = lambda n, m, path: faults(n, m, path) if "watch=" in path else None
    for number in range(30):
        server.create(config(f"m{number}"))
        if number % 3 == 0:
            server.delete("configmaps", f"m{number}", "default")
        if number % 10 == 5:
            server.forget_history()
    server.faults = []
    with api.within(PATIENCE):
        watching.refresh()
    there = {
        (each["metadata"]["name"], each["metadata"]["resourceVersion"])
        for each in server.objects("configmaps", "default")
        if each["metadata"]["name"].startswith("m")
    }
    assert {
        (e["metadata"]["name"], e["metadata"]["resourceVersion"]) for e in watching.objects()
    } == there
    server.create(config("last"))
    assert watching.changes.wait_until(lambda: "last" in names(watching), PATIENCE)
    watching.close()


def test_a_change_is_seen_at_once(loop: tuple[ApiServer, Api]) -> None:
    """Prints the time from a write on the server to a waiting thread that has seen it (``-s``)."""
    server, api = loop
    changes, lags = Changes(api.clock), []
    watching = Watching(api, MAPS, changes, labels=OURS)
    for number in range(50):
        start = time.monotonic()
        server.create(config(f"m{number}"))
        assert changes.wait_until(partial(watching.get, ("default", f"m{number}")), PATIENCE)
        lags.append(1000 * (time.monotonic() - start))
    watching.close()
    assert all(watching.get(("default", f"m{number}")) for number in range(50))
    low, middle, high = min(lags), sorted(lags)[25], max(lags)
    print(f"seen after {low:.1f} to {high:.1f} ms, in the median {middle:.1f} ms")


def test_threads_end_with_the_watch(loop: tuple[ApiServer, Api]) -> None:
    """411, 1037: nothing of a watch is left."""
    _, api = loop
    before = threading.active_count()
    several = [watch(api) for _ in range(5)]
    assert threading.active_count() == before + 5
    for each in several:
        each.close()
    assert threading.active_count() == before


def test_more_watches_than_connections_are_no_deadlock(tmp_path: Path) -> None:
    """402, 290: a full pool stopped a watch."""
    file = tmp_path / "kubeconfig"
    with (
        loopback(tmp_path, nodes=0) as (server, _),
        Api("loopback", kubeconfig=str(file), connections=2) as api,
    ):
        several = [watch(api) for _ in range(5)]
        server.create(config("a"))
        assert all(comes_to(each, "a") for each in several)
        for each in several:
            each.close()


@pytest.mark.slow
def test_a_process_with_an_open_watch_ends(loop: tuple[ApiServer, Api], tmp_path: Path) -> None:
    """411: the interpreter hung at exit."""
    script = (
        "import sys; from simgit.kube.live.api import Api; from simgit.kube.live.watching import *\n"
        "Watching(Api('loopback', kubeconfig=sys.argv[1]), '/api/v1/pods', Changes())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "kubeconfig")]
    assert subprocess.run(command, timeout=PATIENCE).returncode == 0


def test_a_stream_that_is_closed_by_another_thread_ends(loop: tuple[ApiServer, Api]) -> None:
    _, api = loop
    stream = api.watch(MAPS, api.list(MAPS)[1])
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(stream))
    reader.start()
    assert isinstance(stream, Stream)
    stream.close()
    reader.join(PATIENCE)
    assert not reader.is_alive()
    assert found == []
