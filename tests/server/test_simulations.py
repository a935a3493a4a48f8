"""Simulations over HTTP, each started for real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.errors import InvalidInput
from simgit.live import Tracker, processes
from simgit.live.inputs import type_metadata
from simgit.live.records import Records
from simgit.objects.oid import Oid
from simgit.server.serving import Options, tracker_of
from tests.live.test_tracker import ROOT, TYPES
from tests.support.web import Client

PACE = {"id": "CartPole-v1", "steps": 100_000, "pace": 0.005}


@pytest.fixture
def tracker(repo: Repository) -> Iterator[Tracker]:
    with Tracker(repo) as tracker:
        yield tracker
        tracker.close(stop=True, timeout=5)


@pytest.fixture
def client(repo: Repository, tracker: Tracker) -> Iterator[Client]:
    client = Client(repo, tracker=tracker)
    yield client
    client.close()


def until(client: Client, run: str, *phases: str) -> Any:
    deadline = time.monotonic() + 60
    while (found := client.json(f"simulations/{run}"))["phase"] not in phases:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def post(client: Client, path: str, body: Any, status: int = 200) -> Any:
    found = client.post(path, json=body)
    assert found.status_code == status, found.text
    return found.json()


def test_a_simulation_is_started_paused_asked_and_stopped(client: Client, repo: Repository) -> None:
    made = post(
        client, "simulations", {"type": "env", "run": "web/1", "overrides": PACE, "seed": 4}, 201
    )
    assert made["run"] == "web/1" and made["type"] == "env"
    found = until(client, "web/1", "running")
    while found["step"] is None or found["step"] < 3:
        found = until(client, "web/1", "running")
    paused = post(client, "simulations/pause/web/1", {})
    assert client.json("simulations/web/1")["phase"] == "paused"
    assert repo.runs["web/1"].step == paused["step"]
    assert [each["run"] for each in client.json("simulations?phase=paused")] == ["web/1"]
    assert post(client, "simulations/pause/web/1", {}, 409)["type"] == "Conflict"
    assert post(client, "simulations/query/web/1", {"name": "no"}, 404)["type"] == "NotFound"
    post(client, "simulations/resume/web/1", {})
    assert post(client, "simulations/stop/web/1", {"timeout": 30}) == {"outcome": "stopped"}
    assert repo.runs["web/1"].status == "paused"
    assert post(client, "simulations/stop/web/1", {}, 409)["type"] == "Conflict"
    again = post(client, "simulations", {"run": "web/1"}, 201)
    assert again["phase"] in ("starting", "running")
    assert post(client, "simulations/kill/web/1", {}) == {"outcome": "crashed"}
    found = client.json("simulations/web/1")
    assert "SIGKILL" in found["reason"]
    fork = {"type": "env", "run": "web/2", "at": "web/1@3", "overrides": {"pace": 0, "steps": 9}}
    post(client, "simulations", fork, 201)
    assert until(client, "web/2", "ended")["outcome"] == "completed"
    assert repo.resolve("web/2@3") == repo.resolve("web/1@3")
    records = Records(repo)
    path = processes.log_path(records.directory, records.get("web/2").execution)
    with path.open("a") as log:
        log.write("none\none\ntwo\n")  # a fork that begins at a snapshot writes nothing itself
    whole = client.json("lines/web/2")
    assert whole["lines"][-2:] == ["one", "two"] and len(whole["lines"]) > 2
    last = client.json("lines/web/2?last=1")
    assert last == whole | {"lines": whole["lines"][-1:]}
    assert client.json("lines/web/2?last=1000") == whole
    assert client.get("lines/web/2?last=1&after=1").status_code == 422
    assert client.request("DELETE", "simulations").json() == {"forgotten": 2}


@pytest.mark.parametrize("queue", [False, True])
def test_settings_of_another_kind_are_refused_at_the_start(
    client: Client, repo: Repository, queue: bool
) -> None:
    runs = set(repo.runs)
    for wrong in ({"push": "x"}, {"steps": None}):
        body = {"type": "demo", "run": "k", "overrides": wrong, "queue": queue}
        assert "must be a number" in post(client, "simulations", body, 422)["detail"]
        assert set(repo.runs) == runs
    repo.create_run("preset/p", config={"push": "x"}, metadata=type_metadata("demo"))
    body = {"preset": "p", "run": "k", "queue": queue}
    assert "setting 'push'" in post(client, "simulations", body, 422)["detail"]
    assert set(repo.runs) == runs | {"preset/p"}


@pytest.mark.slow
def test_a_question_is_answered_once(client: Client, tracker: Tracker) -> None:
    tracker.start(TYPES + "swing", "q", config={"steps": 5, "ask": 2}, folder=ROOT)
    until(client, "q", "asking")
    (question,) = client.json("questions")
    assert question["run"] == "q" and question["text"] == "which torque?"
    refused = post(client, "answers/q", {"value": {"torque": "x"}}, 422)
    assert "torque" in refused["detail"]
    assert post(client, "answers/q", {"value": {"torque": 1}}) == {"value": {"torque": 1.0}}
    assert post(client, "answers/q", {"value": {"torque": 2}}, 409)["type"] == "Conflict"
    assert until(client, "q", "ended")["outcome"] == "completed"
    (entry,) = client.json("inputs/q")["inputs"]
    assert entry["kind"] == "answer" and entry["question"] == "which torque?"
    assert entry["value"] == {"torque": 1.0} and entry["from"] == 3
    assert client.json("inputs/q?step=2") == {"inputs": [], "config": {"steps": 5, "ask": 2}}


@pytest.mark.slow
def test_people_play_on_from_a_state(client: Client, repo: Repository) -> None:
    given = {"type": "env", "overrides": PACE | {"steps": 6, "pace": 0}, "seed": 4, "run": "first"}
    post(client, "simulations", given, 201)
    assert until(client, "first", "ended")["outcome"] == "completed"
    settings = {"id": "CartPole-v1", "policy": "ask", "steps": 5, "pace": 0}
    given = {"type": "env", "run": "played", "at": "first@3", "overrides": settings}
    post(client, "simulations", given, 201)
    for action in (1, 0):
        question = until(client, "played", "asking")["questions"][0]
        assert question["form"]["properties"]["action"]["maximum"] == 1
        post(client, "answers/played", {"value": {"action": 2}}, 422)
        post(client, "answers/played", {"value": {"action": action}})
        deadline = time.monotonic() + 60
        while (repo.runs["played"].step or 0) < 5 - action:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert until(client, "played", "ended")["outcome"] == "completed"
    assert [each.action for each in repo.trajectory("played")][4:] == [1, 0]
    assert repo.resolve("played@3") == repo.resolve("first@3")


@pytest.mark.slow
def test_settings_in_force_are_those_of_the_run_and_what_was_changed(client: Client) -> None:
    post(client, "simulations", {"type": "env", "run": "s", "overrides": PACE, "seed": 1}, 201)
    while (until(client, "s", "running")["step"] or 0) < 3:
        time.sleep(0.05)
    wrong = post(client, "simulations/set/s", {"overrides": {"steps": "x"}}, 422)
    assert wrong["detail"] == "setting 'steps' must be a number, got 'x'"
    first = post(client, "simulations/set/s", {"overrides": {"steps": 200_000}})["from"]
    post(client, "simulations/stop/s", {"timeout": 30})
    found = client.json("inputs/s")
    assert found["config"] == PACE | {"steps": 200_000}
    (entry,) = found["inputs"]
    assert (entry["kind"], entry["from"], entry["overrides"]) == ("set", first, {"steps": 200_000})
    assert entry["before"] == {"steps": PACE["steps"]}
    assert client.json(f"inputs/s?step={first - 1}") == {"inputs": [], "config": PACE}
    assert client.json(f"inputs/s?step={first}")["config"]["steps"] == 200_000
    post(client, "simulations", {"type": "env", "run": "f", "at": f"s@{first - 1}",
                                 "overrides": {"pace": 0}, "queue": True}, 201)  # fmt: skip
    assert client.json("inputs/f") == {"inputs": [], "config": PACE | {"pace": 0}}


@pytest.mark.parametrize(("body", "detail"), [
    ({"type": TYPES + "swing"}, "not registered"),
    ({"type": "os:system"}, "not registered"),
    ({"type": "command", "overrides": {"command": ["true"]}}, "command line and Python only"),
    ({"type": "env", "overrides": {"id": "tests.live.simulations:Env-v0"}}, "import path"),
    ({"type": "env", "overrides": {"id": "CartPole-v1", "policy": "os:system"}}, "import path"),
    ({"type": "train", "overrides": {"environment": {"id": "os:Env-v0"}}}, "import path"),
    ({"type": "train", "overrides": {"environment.id": "os:Env-v0"}}, "import path"),
    ({"run": "local"}, "not registered"),
    ({"at": "local@1", "run": "b"}, "not registered"),
    ({"preset": "bad", "run": "b"}, "import path"),
    ({"type": "env", "at": "inherits@0", "run": "b"}, "import path"),
    ({"type": "env", "at": "inherits~1", "run": "b"}, "import path"),
    ({"type": "env", "at": "runs/inherits", "run": "b"}, "import path"),
    ({"type": "env", "overrides": {"id": "CartPole-v1", "policy": "os"}}, "import path"),
    ({"type": "env", "overrides": {"id": "nobody/Made-v0"}}, "not registered here"),
    ({"type": "env", "overrides": {"id": "CartPole-v1", "arguments": {"x": "/etc/passwd"}}},
     "name files"),
    ({"type": "train", "overrides": {"environment.cluster": {"driver": "replayer"}}}, "live cluster"),
])  # fmt: skip
def test_nothing_starts_over_http_that_names_code(
    client: Client, repo: Repository, tracker: Tracker, body: Any, detail: str
) -> None:
    local = {"simulation": {"type": TYPES + "swing"}}
    repo.create_run("local", "main@1", metadata=local)
    bad = {"id": "CartPole-v1", "policy": "os:system"}
    repo.create_run("preset/bad", config=bad, metadata={"simulation": {"type": "env"}})
    repo.create_run("inherits", "main@1", config=bad, metadata={"simulation": {"type": "env"}})
    before = {*repo.runs}
    found = post(client, "simulations", body, 403)
    assert found["type"] == "Untrusted"
    assert detail in found["detail"]
    assert {*repo.runs} == before
    assert tracker.simulations == []


def test_types_have_forms(client: Client) -> None:
    found = {each["name"]: each for each in client.json("types")}
    assert found["env"]["form"]["properties"]["steps"]["default"] == 1000
    assert found["env"]["help"] == "Record an environment while a policy acts in it."
    assert found["demo"]["queries"] == ["energy"]
    assert found["train"]["error"] is None


def test_a_server_without_a_tracker_starts_nothing(repo: Repository) -> None:
    client = Client(repo)
    assert post(client, "simulations", {"type": "demo"}, 403)["title"]
    client.close()


def test_what_names_code_is_refused_wherever_it_is_given(client: Client, repo: Repository) -> None:
    given = [
        ("PATCH", "settings", {"live.types.x": "os:system"}),
        ("PATCH", "settings", {"remote.origin.url": "/elsewhere"}),
        ("POST", "runs", {"name": "x", "metadata": {"simulation": {"type": "os:system"}}}),
        ("POST", "runs", {"name": "x", "metadata": {"simulator": {"rebuild": "os:system"}}}),
        ("PATCH", "runs/main", {"metadata": {"simulation": {"type": "os:system"}}}),
        ("PATCH", "runs/main", {"metadata": {"input": [{"kind": "set", "position": 0}]}}),
        ("PATCH", "runs/main", {"metadata": {"verdict": {}}}),
        ("PATCH", "runs/main", {"overrides": {"policy": "os"}}),
        ("PATCH", "runs/main", {"overrides": {"command": ["true"]}}),
        ("POST", "runs", {"name": "x", "overrides": {"environment": {"id": "os:E-v0"}}}),
        ("POST", "runs", {"name": "x", "overrides": {"environment.id": "os:E-v0"}}),
    ]
    for method, path, body in given:
        found = client.request(method, path, json=body)
        assert found.status_code == 403, (path, found.text)
    assert "x" not in repo.runs
    own = f"snapshot-{'0' * 16}"  # of another session at the same state
    for name in ("snapshot", own, "session", "input-0", "checkpoint-1f"):
        put = client.request(
            "PUT", f"attachments/main?name={name}", content=b"pickle",
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        assert put.status_code == 403, name
    put = client.request("PUT", "attachments/main?name=model", json=[1, 2])
    assert put.status_code < 300
    with repo.odb.read() as txn:
        binding = Oid(txn.get("attachments", repo.resolve("main") + b"model") or b"")
    assert not repo.is_trusted(binding)
    assert client.request("DELETE", "attachments/main?name=model").status_code < 300
    assert client.post(f"reattach/{binding.hex()}").status_code < 300
    assert not repo.is_trusted(binding)


def test_each_start_is_an_operation_of_its_own(repo: Repository) -> None:
    repo.name_command("serve")
    tracker = tracker_of(repo, Options(workers=0))
    assert tracker is not None
    with tracker:
        client = Client(repo, tracker=tracker)
        for run in ("a", "b"):
            body = {"type": "env", "run": run, "overrides": {"id": "CartPole-v1"}, "queue": True}
            post(client, "simulations", body, 201)
        assert client.post("undo").status_code < 300
        assert "a" in repo.runs and "b" not in repo.runs
        client.close()
    assert tracker_of(repo, Options(read_only=True)) is None
    repo.distrust()
    assert tracker_of(repo, Options()) is None


@pytest.mark.slow
def test_settings_are_looked_at_again_where_they_are_read(
    client: Client, repo: Repository, tracker: Tracker
) -> None:
    tracker.workers = 0
    body = {"type": "env", "run": "q", "overrides": {"id": "CartPole-v1"}, "queue": True}
    post(client, "simulations", body, 201)
    repo.configure("q", {"policy": "os:system"})
    tracker.workers = 1
    found = until(client, "q", "ended")
    assert found["outcome"] == "failed" and found["reason"].startswith(
        "Untrusted: setting 'policy'"
    )
    assert repo.runs["q"].oid is None


def test_no_request_hides_the_other_simulations(client: Client, tracker: Tracker) -> None:
    body = {"type": "demo", "queue": True, "priority": 2**63}
    assert client.post("simulations", json=body).status_code == 422
    with pytest.raises(InvalidInput, match="priority"):
        tracker.queue("demo", priority=2**63)
    assert client.json("simulations") == []
    assert client.get("lines/x?after=1" + "0" * 30).status_code == 422


def test_what_reached_a_run_that_is_not_there_is_not_found(
    client: Client, repo: Repository
) -> None:
    repo.create_run("empty")
    for noun in ("inputs", "usage", "lines", "simulations"):
        assert client.get(f"{noun}/none").status_code == 404, noun
        assert client.get(f"{noun}/empty").status_code in (200, 404), noun


def test_types_are_read_again_when_their_files_or_the_settings_change(
    client: Client, repo: Repository, tmp_path: Path
) -> None:
    file, count = tmp_path / "own_type.py", tmp_path / "count"
    text = """
import pathlib
with (pathlib.Path(__file__).parent / "count").open("a") as out:
    out.write("x")
def walk(control):
    "{help}"
walk.defaults = {{"steps": 1}}
"""

    def found() -> Any:
        answer = client.get("types")
        return {each["name"]: each for each in answer.json()}, answer.headers["etag"]

    file.write_text(text.format(help="One."))
    repo.set_setting("live.types.walk", f"{file}:walk")
    first, tag = found()
    assert first["walk"]["help"] == "One." and "steps" in str(first["walk"]["form"])
    assert found() == (first, tag) and count.read_text() == "x"
    assert client.get("types", headers={"If-None-Match": tag}).status_code == 304
    assert count.read_text() == "x"
    file.write_text(text.format(help="Another one."))
    second, other = found()
    assert second["walk"]["help"] == "Another one." and other != tag
    assert count.read_text() == "xx"
    repo.set_setting("live.types.walk2", f"{file}:walk")
    assert found()[0]["walk2"]["help"] == "Another one."
    repo.set_setting("live.types.walk", None)
    assert "walk" not in found()[0]


def test_a_type_that_failed_is_tried_again(
    client: Client, repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "late_type.py"
    repo.set_setting("live.types.late", "late_type:walk")
    one = {each["name"]: each for each in client.json("types")}["late"]
    assert one["form"] is None and "late_type" in one["error"]
    file.write_text("def walk(control):\n    'Late.'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("simgit.live.views.monotonic", lambda: float("inf"))
    one = {each["name"]: each for each in client.json("types")}["late"]
    assert (one["help"], one["error"]) == ("Late.", None)


def test_a_view_token_imports_no_type(client: Client, repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "heavy_type.py").write_text("raise SystemExit(3)\n")
    repo.set_setting("live.types.heavy", f"{tmp_path}/heavy_type.py:walk")
    seen = client.json("types", headers={"Authorization": f"Bearer {client.access.tokens['view']}"})
    one = {each["name"]: each for each in seen}["heavy"]
    assert (one["form"], one["error"], one["help"]) == (None, None, "")
