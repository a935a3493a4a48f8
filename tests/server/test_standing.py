"""What simulations say of themselves reaches those who watch: a real server, real simulations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from simgit import Repository
from simgit.live.records import Records
from simgit.live.tracker import Simulation
from tests.server.test_events import CLIENT, Event, opened, until
from tests.support.web import Process, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    where = tmp_path_factory.mktemp("standing")
    with Repository.init(where) as repo:
        with serving(where) as server:
            yield server
        for run, record in Records(repo).all().items():
            if not record.is_over:
                Simulation(repo, run).kill()


def post(server: Process, path: str, body: Any) -> httpx.Response:
    found = CLIENT.post(server.url + path, json=body, headers=server.headers)
    assert found.status_code < 300, found.text
    return found


def start(server: Process, run: str, **overrides: Any) -> None:
    post(server, "simulations", {"type": "demo", "run": run, "overrides": overrides, "seed": 1})


def log(server: Process, run: str, after: int) -> Any:
    found = CLIENT.get(f"{server.url}lines/{run}?after={after}", headers=server.headers)
    return found.json()


def first(events: Iterator[Event], kind: str, **members: Any) -> Any:
    """Return the next event of a kind that has these members."""
    for name, data, _ in events:
        if name == kind and members.items() <= data.items():
            return data
    raise AssertionError("the stream has ended")


@pytest.mark.slow
def test_progress_questions_and_lines_are_told(server: Process) -> None:
    with opened(server, "?runs=web/*") as events:
        assert next(events)[0] == "tips"
        start(server, "web/1", steps=60, pace=0.01, ask=20, patience=600)
        progress = first(events, "progress", run="web/1", total=60)
        assert set(progress) == {"run", "done", "total", "stage", "left"}
        asked = first(events, "question", run="web/1")
        (question,) = asked["questions"]
        assert (question["number"], question["text"]) == (1, "which torque?")
        assert question["form"]["properties"]["torque"]["default"] == 2.0
        assert question["until"].endswith("Z") and asked["answered"] is None
        post(server, "answers/web/1", {"value": {"torque": 1.5}})
        answered = first(events, "question", run="web/1", questions=[])
        if answered["answered"] is None:  # its end is seen before who has answered
            answered = first(events, "question", run="web/1")
        assert answered["answered"] == {
            "question": "which torque?",
            "value": {"torque": 1.5},
            "by": "the page or the HTTP API",
        }
        first(events, "phase", run="web/1", phase="ended", outcome="completed")
    whole = log(server, "web/1", 0)
    assert any("which torque?" in line for line in whole["lines"])


@pytest.mark.slow
def test_where_a_log_ends_is_told_so_that_no_line_is_lost(server: Process) -> None:
    lines: list[str] = []
    place = 0
    with opened(server, "?runs=lines&kinds=line,phase") as events:
        start(server, "lines", steps=410, pace=0, ask=250, patience=600)
        phases = []
        for kind, told, _ in events:
            if kind == "phase":
                phases.append(told["phase"])
                if told["phase"] == "asking":
                    post(server, "answers/lines", {"value": {}})
            elif told["end"] > place:
                found = log(server, "lines", place)
                assert found["execution"] == told["execution"]
                lines += found["lines"]
                place = found["next"]
            if "ended" in phases and place == log(server, "lines", place)["next"]:
                break
    assert len(lines) == 3
    assert lines == log(server, "lines", 0)["lines"]


@pytest.mark.slow
def test_a_run_that_somebody_watches_is_seen_sooner(server: Process) -> None:
    start(server, "watched", steps=100_000, pace=0.02, ask=-1)
    with opened(server, "?runs=watched&kinds=run") as events:
        for _ in range(3):  # it is being hastened
            until(events, "run")
        steps = [until(events, "run")["step"] for _ in range(10)]
    apart = sorted(b - a for a, b in itertools.pairwise(steps))
    assert apart[0] > 0
    assert apart[len(apart) // 2] <= 15, steps  # of about 50 in a second
    assert post(server, "simulations/stop/watched", {"timeout": 30}).json()


@pytest.mark.slow
def test_the_phase_of_a_job_is_told(server: Process) -> None:
    with opened(server, "?kinds=tips,job") as events:
        assert next(events)[1] == {}
        job = post(server, "fsck", {}).json()["job"]
        assert first(events, "job", job=job)["phase"] == "running"
        assert first(events, "job", job=job, phase="ended")["outcome"] == "completed"
    with opened(server, "?kinds=tips,job") as events:
        assert next(events)[1][f"job/{job}"]["kind"] == "fsck"
        CLIENT.delete(f"{server.url}jobs/{job}", headers=server.headers)
        assert first(events, "job", job=job) == {"job": job, "phase": None}


@pytest.mark.slow
def test_what_nobody_wants_to_know_is_not_asked(server: Process) -> None:
    start(server, "quiet", steps=100_000, pace=0.02, ask=-1)
    with opened(server, "?runs=other&kinds=tips,progress,line,question,run") as events:
        assert next(events)[1] == {}
        start(server, "other", steps=100, pace=0.01, ask=-1)
        assert {data["run"] for name, data, _ in itertools.islice(events, 10)} == {"other"}
    with opened(server, "?kinds=tips") as events:
        tips = next(events)[1]
        assert {name.partition("/")[0] for name in tips} <= {"runs", "live", "HEAD"}
    post(server, "simulations/kill/quiet", {})


@pytest.mark.slow
def test_the_log_of_a_line_that_never_ends_is_read(tmp_path: Path) -> None:
    from simgit.live import Tracker

    with Repository.init(tmp_path) as repo, Tracker(repo) as tracker:
        one = tracker.start("demo", "long", config={"steps": 1, "ask": -1, "pace": 0})
        one.wait(60)
        assert repo.directory is not None
        path = repo.directory / "live" / f"{one.record.execution}.log"
        path.write_bytes(b"x" * ((1 << 20) + 5) + b"\nlast\n")
        first, place = one.lines(0)
        second, end = one.lines(place)
    assert ("".join([*first, second[0]]), second[1:]) == ("x" * ((1 << 20) + 5), ["last"])
    assert end == path.stat().st_size
