"""The list of runs: kept in blocks, and what has changed since a cursor."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.repository.jsonable import json_text, run_record
from simgit.server.run_rows import BLOCK
from tests.support.web import Client


@pytest.fixture
def many(client: Client) -> Client:
    """More runs than a block has rows."""
    with client.repo.transaction():
        for number in range(2 * BLOCK):
            client.repo.branch(f"many/{number:04}", "main@2", overrides={"lr": number})
    return client


def whole(client: Client, **more: Any) -> Any:
    """Return the list, and that what is sent compressed is the same."""
    plain = client.get("runs?limit=10000", headers={"Accept-Encoding": "identity"}, **more)
    packed = client.get("runs?limit=10000", **more)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json()
    assert packed.headers["etag"] == plain.headers["etag"]
    return plain


def expected(repo: Repository) -> Any:
    return [json.loads(json_text(run_record(info))) for info in repo.runs.values()]


@pytest.mark.slow
def test_the_list_is_always_what_the_runs_are(many: Client) -> None:
    repo = many.repo
    tags = {whole(many).headers["etag"]}
    assert whole(many).json() == expected(repo)
    changes: list[Any] = [
        lambda: repo.commit(np.float64([1.0, 1.0]), 1, 1.0, run="many/0100"),
        lambda: repo.branch("a/first", "main"),
        lambda: repo.delete_run("many/0000"),
        lambda: repo.rename_run("many/0001", "zzz"),
        lambda: repo.configure("main", {"lr": 5}),
        lambda: repo.set_status("sweep/1", "completed"),
    ]
    for change in changes:
        change()
        found = whole(many)
        assert found.json() == expected(repo)
        assert found.headers["x-count"] == str(len(repo.runs))
        tags.add(found.headers["etag"])
    assert len(tags) == len(changes) + 1
    again = many.get("runs?limit=10000", headers={"If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_run_that_is_recorded_is_looked_at_again(many: Client) -> None:
    whole(many)
    with many.repo.recorder("many/0003"):
        assert next(e for e in whole(many).json() if e["name"] == "many/0003")["writer"]
    assert whole(many).json() == expected(many.repo)


def test_other_programs_read_what_is_sent_compressed(many: Client, tmp_path: Path) -> None:
    served = many.service.present.rows
    found = served.packed(served.infos(), ("name", "step"))
    assert gzip.decompress(found.gzipped) == found.body
    (tmp_path / "x.gz").write_bytes(found.gzipped)
    read = subprocess.run(["gzip", "-dc", tmp_path / "x.gz"], capture_output=True, check=True)
    assert read.stdout == found.body


@pytest.mark.slow
def test_members_can_be_chosen(many: Client) -> None:
    found = many.json("runs?limit=10000&fields=name,step")
    assert found == [{"name": e["name"], "step": e["step"]} for e in expected(many.repo)]
    assert many.json("runs?where=name=='main'&fields=name") == [{"name": "main"}]
    assert many.get("runs?fields=nmae").status_code == 422


def test_only_what_has_changed_since_a_cursor_is_told(client: Client) -> None:
    repo = client.repo
    known = {each["name"]: each for each in client.json("runs")}
    cursor = client.get("runs").headers["x-cursor"]

    def refresh() -> tuple[set[str], list[str]]:
        nonlocal cursor
        found = client.get(f"runs?since={cursor}")
        cursor = found.headers["x-cursor"]
        told = found.json()
        assert told["whole"] is False
        for name in told["removed"]:
            known.pop(name, None)
        known.update({each["name"]: each for each in told["runs"]})
        assert [known[name] for name in sorted(known)] == expected(repo)
        return {each["name"] for each in told["runs"]}, told["removed"]

    assert refresh() == (set(), [])
    repo.commit(np.float64([1.0, 1.0]), 1, 1.0, run="main")
    assert refresh() == ({"main"}, [])
    repo.branch("new", "main")
    repo.delete_run("sweep/1")
    assert refresh() == ({"new"}, ["sweep/1"])
    assert refresh() == (set(), [])
    repo.undo()
    assert refresh() == ({"sweep/1"}, [])
    repo.rename_run("new", "newer")
    assert refresh() == ({"newer"}, ["new"])
    old = cursor
    repo.delete_run("newer")
    assert refresh() == (set(), ["newer"])
    repo.branch("newer", "main")
    assert refresh() == ({"newer"}, [])
    told = client.json(f"runs?since={old}")  # it was removed and made again since
    assert ([each["name"] for each in told["runs"]], told["removed"]) == (["newer"], [])


def test_values_that_are_equal_but_not_the_same_have_changed(client: Client) -> None:
    repo = client.repo
    repo.configure("main", {"lr": {"first": [1]}})
    cursor = client.get("runs").headers["x-cursor"]
    for value in (True, 1.0, 1, 0.0, -0.0):
        repo.configure("main", {"lr": {"first": [value]}})
        found = client.get(f"runs?since={cursor}")
        cursor = found.headers["x-cursor"]
        (told,) = found.json()["runs"]
        assert repr(told["config"]["lr"]["first"]) == repr([value])
    with repo.recorder("main"):  # it is read again and again, and is as it was
        cursor = client.get("runs").headers["x-cursor"]
        for _ in range(2):
            assert client.json(f"runs?since={cursor}")["runs"] == []


@pytest.mark.slow
def test_a_writer_that_dies_without_a_word_has_crashed(client: Client) -> None:
    code = (
        "import os, sys; from simgit import Repository; "
        "repo = Repository.open(sys.argv[1]); recorder = repo.recorder('killed'); "
        "recorder.append(1); recorder.flush(); print('x', flush=True); sys.stdin.read(); "
        "os._exit(1)"
    )

    def status() -> Any:
        return next(each for each in client.json("runs") if each["name"] == "killed")["status"]

    with subprocess.Popen(
        [sys.executable, "-c", code, str(client.repo.worktree)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.read(1) == b"x"
        assert [status(), status()] == ["active", "active"]
        number = client.repo.operations()[0].number
        process.kill()
        process.wait()
    assert status() == "crashed"
    assert client.repo.operations()[0].number == number  # nothing was written


def test_a_cursor_of_another_server_gives_the_whole_list(client: Client) -> None:
    for cursor in ("ffffffff-3", "x", "", "-" * 30):
        found = client.json(f"runs?since={cursor}")
        assert (found["whole"], found["removed"]) == (True, [])
        assert found["runs"] == expected(client.repo)
    assert client.get("runs?since=x&where=step>1").status_code == 422
