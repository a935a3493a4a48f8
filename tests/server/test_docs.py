"""The table of routes is whole, the page is current, and each request on it is answered."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from simgit import Repository
from simgit.cli.commands import FLAT
from simgit.live import Tracker
from simgit.server.docs import EXAMPLES, HEADERS, description, page
from simgit.server.routes.answered import LISTS, ONES
from simgit.server.routes_of import COMMANDS, METHODS, REPOSITORY, is_route
from tests.support.json_schema import errors, schema
from tests.support.paths import ROOT
from tests.support.web import Client

RESTORED = [
    f"GET /v1/{each}"
    for each in ("plan/{revision}", "frames/{revision}", "films/{revisions}", "cluster/{revision}")
]
"""What needs an environment: see test_restored.py."""


described = cache(description)


def routes() -> set[str]:
    paths = described()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


@pytest.mark.slow
def test_every_call_and_every_command_has_its_route_or_a_reason() -> None:
    public = {name for name in dir(Repository) if not name.startswith("_")}
    assert set(REPOSITORY) == public
    assert set(COMMANDS) == set(FLAT)
    named = {text for text in (*REPOSITORY.values(), *COMMANDS.values()) if is_route(text)}
    assert named <= routes()
    reasons = {text for text in (*REPOSITORY.values(), *COMMANDS.values()) if not is_route(text)}
    assert all(reasons) and not any(text.startswith(METHODS) for text in reasons)


@pytest.mark.slow
def test_the_page_is_current() -> None:
    assert Path(ROOT / "docs/http-api.md").read_text() == page()


def test_every_route_has_a_request_on_the_page() -> None:
    assert set(EXAMPLES) == routes()


def check_answer(name: str, answer: httpx.Response) -> None:
    """Check an answer by the schema that the description has for its route, if it has one."""
    method, _, path = name.partition(" ")
    api = described()
    known = api["paths"][path][method.lower()]["responses"]
    rule = known.get(str(answer.status_code), {}).get("content", {}).get("application/json", {})
    if name in (*LISTS, *ONES, "GET /v1/runs"):
        assert rule["schema"], name
        assert not [*errors(answer.json(), _whole(rule["schema"], api["components"]["schemas"]))]


def _whole(rule: Any, schemas: Any) -> Any:
    """Return a rule with the schemas of commands in the place of references to them."""
    if isinstance(rule, list):
        return [_whole(each, schemas) for each in rule]
    if not isinstance(rule, dict):
        return rule
    name = rule.get("$ref", "").rpartition("/")[2]
    if name and name not in schema()["$defs"]:
        return schemas[name]
    return {key: _whole(each, schemas) for key, each in rule.items()}


def test_the_description_says_what_is_answered(client: Client) -> None:
    api = described()
    assert {*LISTS, *ONES} <= routes()
    text = json.dumps(api)
    named = {each.partition('"')[0] for each in text.split("#/components/schemas/")[1:]}
    assert named <= set(api["components"]["schemas"])  # no reference leads nowhere
    for name in ("GET /v1/runs", "GET /v1/runs/{name}", "GET /v1/log/{revisions}", "GET /v1/diff"):
        check_answer(name, client.get(EXAMPLES[name][0].removeprefix("/v1/")))
    wrong = client.get("health")
    with pytest.raises(AssertionError):
        check_answer("GET /v1/runs", wrong)


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
            check_answer(name, found)
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
    check_answer(name, found)
