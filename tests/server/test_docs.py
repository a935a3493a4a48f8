"""The table of routes is whole, the page is current, and each request on it is answered."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from simgit import Repository
from simgit.cli.commands import FLAT
from simgit.live import Tracker
from simgit.server.docs import EXAMPLES, HEADERS, description, page
from simgit.server.routes_of import COMMANDS, METHODS, REPOSITORY, is_route
from tests.support.paths import ROOT
from tests.support.web import Client

RESTORED = [
    f"GET /v1/{each}"
    for each in ("plan/{revision}", "frames/{revision}", "films/{revisions}", "cluster/{revision}")
]
"""What needs an environment: see test_restored.py."""


def routes() -> set[str]:
    paths = description()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_every_call_and_every_command_has_its_route_or_a_reason() -> None:
    public = {name for name in dir(Repository) if not name.startswith("_")}
    assert set(REPOSITORY) == public
    assert set(COMMANDS) == set(FLAT)
    named = {text for text in (*REPOSITORY.values(), *COMMANDS.values()) if is_route(text)}
    assert named <= routes()
    reasons = {text for text in (*REPOSITORY.values(), *COMMANDS.values()) if not is_route(text)}
    assert all(reasons) and not any(text.startswith(METHODS) for text in reasons)


def test_the_page_is_current() -> None:
    assert Path(ROOT / "docs/http-api.md").read_text() == page()


def test_every_route_has_a_request_on_the_page() -> None:
    assert set(EXAMPLES) == routes()


SIMULATIONS = [name for name in EXAMPLES if "/web/" in EXAMPLES[name][0] or "simul" in name]


@pytest.mark.slow
def test_each_request_of_simulations_on_the_page_is_answered(repo: Repository) -> None:
    with Tracker(repo) as tracker:
        client = Client(repo, tracker=tracker)
        tracker.start("demo", "web/3", config={"ask": 0, "pace": 0.01})
        pace = {"id": "CartPole-v1", "steps": 100_000, "pace": 0.01}
        running = tracker.start("env", "web/1", config=pace)
        while running.phase != "running" or tracker["web/3"].phase != "asking":
            time.sleep(0.05)
        for name in SIMULATIONS:
            path, body = EXAMPLES[name]
            headers = {"Content-Type": "application/json"} if body else {}
            more = {"content": body} if body else {}
            found = client.request(
                name.partition(" ")[0], path.removeprefix("/v1/"), headers=headers, **more
            )
            assert found.status_code < 300, (name, found.text)
        for each in client.json("jobs"):
            if each["process"] is not None:
                os.kill(each["process"], signal.SIGKILL)
        client.close()
        tracker.close(stop=True, timeout=5)


ELSEWHERE = ("GET /v1/events", *RESTORED, *SIMULATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in ELSEWHERE])
def test_each_request_on_the_page_is_answered(client: Client, name: str, tmp_path: Path) -> None:
    repo = client.repo
    repo.commit(files={"a.txt": b"text"}, run="main")
    repo.attach("main", "note", b"text")
    repo.attach("main", "score", 1)
    if "try/1" in EXAMPLES[name][0]:
        repo.branch("try/1", "main@2")
    if name == "DELETE /v1/tags/{name}":
        repo.tag("v2", "main")
    if name == "POST /v1/redo":
        repo.undo()
    binding = ""
    if "BINDING" in EXAMPLES[name][0]:
        repo.detach("main", "note")
        (change,) = repo.changes()
        assert change.old is not None
        binding = change.old["binding"].hex()
    names = {
        "OID": repo.resolve("main").hex(), "BLOB": next(iter(repo.files("main").values())).hex(),
        "BINDING": binding, "TOKEN": client.access.tokens["full"],
    }  # fmt: skip
    path, body = EXAMPLES[name]
    if "{number}" in name:
        job = client.post("exports", json={"all": True}).json()["job"]
        while client.json(f"jobs/{job}")["phase"] != "ended":
            time.sleep(0.05)
        path = path.replace("/3", f"/{job}")
    if body == "BUNDLE":
        client.repo.create_bundle(tmp_path / "bundle", ["main"])
    for mark, value in names.items():
        path, body = path.replace(mark, value), body.replace(mark, value)
    headers = {"Content-Type": "application/json"} if body else {}
    if name in HEADERS:
        header, _, value = HEADERS[name].partition(": ")
        headers[header] = value
    content: str | bytes = body
    if body == "BUNDLE":
        content = (tmp_path / "bundle").read_bytes()
    more = {"content": content} if body else {}
    found = client.request(
        name.partition(" ")[0], path.removeprefix("/v1/"), headers=headers, **more
    )
    assert found.status_code < 300, found.text
    for each in client.json("jobs"):
        if each["process"] is not None:
            os.kill(each["process"], signal.SIGKILL)
    if found.headers.get("content-type") == "application/json" and found.content:
        json.loads(found.content)
