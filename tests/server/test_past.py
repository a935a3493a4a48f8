"""The repository as it was: every route that reads states, runs and tags can look at it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from simgit import Repository
from simgit.cli.root import cli
from simgit.server import service
from simgit.server.docs import description
from tests.support.web import Client

PRESENT = {
    "health", "version", "settings", "machine", "types", "simulations", "simulations/{run}",
    "lines/{run}", "inputs/{run}", "usage/{run}", "questions", "events", "reflog/{ref}",
    "unreachable", "stats", "jobs", "jobs/{number}", "exports/{number}",
}  # fmt: skip
"""What is only known of the present."""
READ: dict[str, tuple[str, ...]] = {
    "runs": ("run", "list"), "runs?where=return > 1&sort=-return": ("run", "list", "--where", "return > 1", "--sort", "-return"),
    "best": ("run", "best"), "log/main": ("log", "main"), "tags": ("tag",), "operations": ("op", "log"),
    "config/main": ("config", "main"), "attachments/main@2": ("attachments", "main@2"), "log": ("log", "--all"),
}  # fmt: skip


def printed(repo: Repository, number: int, *words: str) -> list[Any]:
    """Return what a command prints of an earlier moment."""
    given = ["-C", str(repo.worktree), "--at-op", str(number), *words, "--json"]
    found = CliRunner().invoke(cli, given, standalone_mode=False)
    assert found.exception is None, found
    return [json.loads(line) for line in found.stdout.splitlines()]


def at(path: str, number: int | str) -> str:
    return f"{path}{'&' if '?' in path else '?'}as_of={number}"


@pytest.mark.parametrize("path", READ)
def test_the_past_is_what_the_command_prints_of_it(client: Client, path: str) -> None:
    repo = client.repo
    there = repo.operations()[0].number
    before = client.json(path)
    repo.commit([7.0, 7.0], 0, 3.0, run="main")
    repo.configure("main", {"lr": 9.0})
    repo.delete_tag("v1")
    repo.delete_run("sweep/1")
    repo.attach("main@2", "more", b"x")
    assert client.json(path) != before
    found = client.json(at(path, there))
    assert found == before
    commands = printed(repo, there, *READ[path])
    assert found == commands or [found] == commands


@pytest.mark.slow
def test_every_route_that_reads_takes_a_moment_or_refuses_it(client: Client) -> None:
    paths = description()["paths"]
    reading = {
        path.removeprefix("/v1/"): each["get"] for path, each in paths.items() if "get" in each
    }
    takes = {
        path
        for path, route in reading.items()
        if any(each["name"] == "as_of" for each in route.get("parameters", ()))
    } - {"openapi.json"}
    assert reading.keys() - takes == PRESENT
    for path in PRESENT:
        found = client.get(
            at(path.replace("{run}", "main").replace("{ref}", "main").replace("{number}", "1"), 1)
        )
        assert found.status_code == 422 and "as_of" in found.json()["detail"], path
    assert client.post(at("undo", 1)).status_code == 422
    assert client.repo.operations()[0].command != "undo"


@pytest.mark.parametrize(
    ("number", "status"), [("-1", 422), ("x", 422), ("1.5", 422), ("9" * 19, 422), ("99999", 404), ("", 422)]
)  # fmt: skip
def test_a_wrong_number_is_refused_in_one_line(client: Client, number: str, status: int) -> None:
    for path in ("runs", "states/main@2", "log/main"):
        found = client.get(at(path, number))
        assert found.status_code == status, found.text
        assert "\n" not in found.json()["detail"]


def test_what_moves_with_a_moment_is_asked_for_again(client: Client) -> None:
    repo = client.repo
    oid, number = repo.resolve("main@2").hex(), repo.operations()[0].number
    by_name = client.get(at("states/main@2", number))
    assert by_name.headers["cache-control"] == "private, no-cache"
    assert by_name.headers["content-location"] == f"/v1/states/{oid}?as_of={number}"
    assert "immutable" in client.get(at(f"states/{oid}", number)).headers["cache-control"]
    with repo.recorder("grows") as recorder:  # one operation, as long as it records
        recorder.append([1.0])
        recorder.flush()
        here = repo.operations()[0].number
        first = client.get(at("runs/grows", here))
        recorder.append([2.0], 0, 1.0)
        recorder.flush()
        second = client.get(
            at("runs/grows", here), headers={"If-None-Match": first.headers["etag"]}
        )
        assert (first.json()["step"], second.json()["step"]) == (0, 1)


def test_few_moments_are_kept(client: Client) -> None:
    for _ in range(2):
        for number in range(service.PAST + 2):
            client.repo.tag(f"t{number}", "main@1", force=True)
            assert client.get(at("tags", number)).status_code == 200
    assert len(client.service._past) == service.PAST


def test_children_and_leaves_are_those_of_then(client: Client) -> None:
    repo = client.repo
    oids = [repo.commit([float(i), 5.0], 0, 1.0, run="grown").hex() for i in range(3)]
    repo.branch("side", f"{oids[1]}")
    there = repo.operations()[0].number
    later = repo.commit([8.0, 8.0], 0, 1.0, run="grown").hex()
    other = repo.commit([9.0, 9.0], 0, 1.0, run="side").hex()

    def listed(path: str) -> set[str]:
        return {each["oid"] for each in client.json(path)}

    assert listed(f"children/{oids[2]}") == {later}
    assert listed(f"children/{oids[1]}") == {oids[2], other}
    assert listed(at(f"children/{oids[2]}", there)) == set()
    assert listed(at(f"children/{oids[1]}", there)) == {oids[2]}
    now, then = listed("leaves"), listed(at("leaves", there))
    assert (now - then, then - now) == ({later, other}, {oids[2]})
    newest = repo.operations()[0].number
    assert listed(at("leaves", newest)) == now


def test_what_the_refs_of_then_reach_is_found_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simgit.odb import ancestry

    reach, calls = ancestry.reach, []
    monkeypatch.setattr(ancestry, "reach", lambda *a: calls.append(0) or reach(*a))
    newest = client.json("operations")[0]["number"]
    first = client.json(f"children/main@2?as_of={newest}")
    assert [each["step"] for each in first] == [3]
    for step in (0, 1, 2, 3):
        client.json(f"children/main@{step}?as_of={newest}")
    assert len(calls) == 1
    client.repo.commit([1.0], run="main")
    assert client.json(f"children/main@2?as_of={newest}") == first
    assert len(calls) == 2  # states may lie elsewhere after any write
