"""Simulations as processes, each started for real."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.errors import Conflict, InvalidInput, NotFound, TimedOut
from simgit.live import Simulation, Tracker, find
from simgit.process import process_start

TYPES = "tests.live.simulations:"
ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "r") as found:
        yield found


@pytest.fixture
def tracker(repo: Repository) -> Iterator[Tracker]:
    with Tracker(repo, workers=1) as found:
        yield found
        found.close(stop=True, timeout=5)


def start(tracker: Tracker, kind: str, run: str, **options: Any) -> Simulation:
    return tracker.start(TYPES + kind, run, folder=ROOT, **options)


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def reach(simulation: Simulation, phase: str) -> None:
    until(lambda: simulation.phase in (phase, "ended"), phase)
    assert simulation.phase == phase, (simulation.reason, simulation.lines()[0])


def oids(repo: Repository, run: str) -> list[str]:
    return [each.oid.hex() for each in repo.trajectory(run)]


def test_a_simulation_runs_to_its_end(tracker: Tracker, repo: Repository) -> None:
    one = start(tracker, "swing", "p/1", config={"steps": 120}, seed=3)
    assert one.wait(PATIENCE) == "completed"
    info = repo.runs["p/1"]
    assert (info.status, info.step, info.seed) == ("completed", 120, 3)
    assert repo.state("p/1@0").reset["seed"] == 3
    with pytest.raises(Conflict, match="has ended already"):
        one.stop()
    with pytest.raises(InvalidInput, match="completed"):
        tracker.restart("p/1")


@pytest.mark.slow
def test_one_that_is_killed_goes_on_to_the_same_states(tracker: Tracker, repo: Repository) -> None:
    whole = start(tracker, "swing", "whole", config={"steps": 300}, seed=1)
    assert whole.wait(PATIENCE) == "completed"
    one = start(tracker, "swing", "killed", config={"steps": 300, "die_at": [211]}, seed=1)
    assert one.wait(PATIENCE) == "crashed"
    assert one.reason == "SIGKILL"
    assert repo.runs["killed"].status == "crashed"
    again = tracker.restart("killed")
    assert again.wait(PATIENCE) == "completed", again.lines()[0]
    assert oids(repo, "killed") == oids(repo, "whole")


@pytest.mark.slow
def test_a_type_with_state_of_its_own_goes_on_from_its_checkpoint(
    tracker: Tracker, repo: Repository
) -> None:
    whole = start(tracker, "learner", "whole", seed=1)
    assert whole.wait(PATIENCE) == "completed", whole.lines()[0]
    one = start(tracker, "learner", "slow", config={"pace": 0.02}, seed=1)
    until(lambda: (repo.runs["slow"].step or 0) > 90, "90 states")
    assert one.kill() == "crashed"
    assert one.reason is not None and "SIGKILL by" in one.reason
    tip = repo.runs["slow"].step
    repo.configure("slow", {"pace": 0.0})
    again = tracker.restart("slow")
    assert again.wait(PATIENCE) == "completed", again.lines()[0]
    assert 0 < (again.record.begin or 0) <= (tip or 0) + 1  # a number of states
    assert oids(repo, "slow") == oids(repo, "whole")


@pytest.mark.slow
def test_a_steered_run_is_exact(tracker: Tracker, repo: Repository) -> None:
    settings = {"steps": 260, "ask": 100, "pace": 0.005}
    one = start(tracker, "swing", "steered", config=settings, seed=5)
    reach(one, "asking")
    (question,) = one.questions
    assert question["text"] == "which torque?"
    with pytest.raises(InvalidInput, match="torque"):
        one.answer({"torque": "much"})
    with pytest.raises(InvalidInput, match="unknown field"):
        one.answer({"speed": 1})
    assert one.answer({"torque": 1.25}, by="me") == {"torque": 1.25}
    until(lambda: one.status["step"] > 120 or one.phase == "ended", "step 120")
    changed = one.configure({"scale": 0.5})
    assert changed > 120
    assert one.query("config")["scale"] == 0.5
    assert one.wait(PATIENCE) == "completed", one.lines()[0]
    assert float(repo.state("steered@101").action[0]) == 1.25
    # executed again from the beginning, and from a state after both, it is the same
    repo.configure("steered", {"pace": 0.0})
    tip = repo.resolve("steered")
    fork = tracker.fork("steered", 250, "fork", config={"pace": 0.0})
    assert fork.wait(PATIENCE) == "completed", fork.lines()[0]
    assert repo.resolve("fork") == tip
    other = tracker.fork("steered", 60, "other", config={"pace": 0.0})
    reach(other, "asking")
    other.answer({"torque": 1.25})
    assert other.wait(PATIENCE) == "completed"
    assert oids(repo, "other")[:105] == oids(repo, "steered")[:105]
    assert repo.resolve("other") != tip  # nobody changed the scale there


@pytest.mark.slow
def test_a_fork_has_its_own_settings_from_its_first_state_on(
    tracker: Tracker, repo: Repository
) -> None:
    assert start(tracker, "swing", "a", seed=1).wait(PATIENCE) == "completed"
    fork = tracker.fork("a", 150, "b", config={"scale": 2.0})
    assert fork.wait(PATIENCE) == "completed", fork.lines()[0]
    assert oids(repo, "a")[:151] == oids(repo, "b")[:151]
    ours, theirs = repo.state("a@151"), repo.state("b@151")
    assert float(theirs.action[0]) == pytest.approx(2 * float(ours.action[0]))


@pytest.mark.slow
def test_pause_query_resume_stop_and_go_on(tracker: Tracker, repo: Repository) -> None:
    config = {"steps": 4000, "pace": 0.002}
    one = start(tracker, "swing", "p", config=config, seed=2)
    reach(one, "running")
    until(lambda: one.phase == "ended" or one.status["step"] > 20, "step 20")
    step = one.pause()
    assert one.phase == "paused"
    assert repo.runs["p"].step == step
    assert one.query("energy") >= 0
    with pytest.raises(Conflict, match="paused already"):
        one.pause()
    with pytest.raises(NotFound, match="query 'speed' not found; known: energy"):
        one.query("speed")
    with pytest.raises(Exception, match="division by zero"):
        one.query("bad")
    assert one.status["step"] == step
    one.resume()
    with pytest.raises(Conflict, match="not paused"):
        one.resume()
    until(lambda: one.status["step"] > step, "a step more")
    assert one.stop(by="me") == "stopped"
    assert repo.runs["p"].status == "paused"
    repo.configure("p", {"steps": 200, "pace": 0.0})
    assert tracker.restart("p").wait(PATIENCE) == "completed"
    whole = start(tracker, "swing", "w", config={"steps": repo.runs["p"].step}, seed=2)
    assert whole.wait(PATIENCE) == "completed"
    assert oids(repo, "p") == oids(repo, "w")[: len(oids(repo, "p"))]


def test_one_that_raises_is_failed_with_its_traceback(tracker: Tracker, repo: Repository) -> None:
    one = start(tracker, "swing", "p", config={"raise_at": [40]}, seed=1)
    assert one.wait(PATIENCE) == "failed"
    assert one.reason == "ValueError: the arm broke"
    assert repo.runs["p"].status == "failed"
    assert repo.runs["p"].step == 40
    log = repo.attachment("p", "log")
    assert b"Traceback" in log and b"the arm broke" in log


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "config", "outcome", "reason"), [
    ("broken", {}, "failed", "InvalidInput: no gravity"),
    ("leaves", {"code": 0}, "completed", None),
    ("leaves", {"code": 4}, "failed", "it left with exit code 4"),
    ("no_states", {}, "completed", None),
])  # fmt: skip
def test_ends_without_states(
    tracker: Tracker, repo: Repository, kind: str, config: Any, outcome: str, reason: str | None
) -> None:
    one = start(tracker, kind, "p", config=config)
    assert one.wait(PATIENCE) == outcome
    assert one.reason == reason
    assert repo.runs["p"].oid is None
    if kind == "no_states":
        assert len(repo.trajectory("p/metrics")) == 5
        assert any("step 4\\x1b[2J" in line for line in one.lines()[0])


@pytest.mark.slow
def test_one_that_does_not_look_is_ended_with_all_below_it(
    tracker: Tracker, repo: Repository
) -> None:
    one = start(tracker, "deaf", "p")
    grandchild = tracker._records.directory / "live" / "files" / "grandchild"
    until(lambda: grandchild.exists() and grandchild.read_text() != "", "a grandchild")
    pid = int(grandchild.read_text())
    with pytest.raises(TimedOut, match="has not answered"):
        one.pause(timeout=0.2)
    assert one.stop(timeout=0.3) == "crashed"
    assert "did not end in 0.3 s" in str(one.reason)
    until(lambda: process_start(pid) == "", "the grandchild's end")
    assert repo.runs["p"].step == 1


@pytest.mark.slow
def test_the_queue_keeps_its_order_and_its_number_of_workers(
    tracker: Tracker, repo: Repository
) -> None:
    names = ["a", "b", "c"]
    ended: list[str] = []
    tracker.when("each", "q/", "ended", lambda each: ended.append(each.run))
    every: list[str] = []
    for name in names:
        tracker.queue(
            TYPES + "swing", f"q/{name}", folder=ROOT, config={"steps": 30},
            priority=5 if name == "c" else 0,
        )  # fmt: skip
    tracker.when("all", [f"q/{name}" for name in names], "ended", lambda all: every.extend(all))
    assert tracker.wait([f"q/{name}" for name in names], PATIENCE) == ["completed"] * 3
    until(lambda: len(every) == 3, "the callback of all")
    assert set(ended) == {"q/a", "q/b", "q/c"}
    began = [tracker[f"q/{name}"].record.began or 0 for name in names]
    ends = [tracker[f"q/{name}"].record.ended or 0 for name in names]
    order = sorted(range(3), key=lambda i: began[i])
    assert all(ends[a] <= began[b] for a, b in pairwise(order))
    assert order.index(0) < order.index(1)
    late: list[Any] = []
    tracker.when("any", ["q/a"], "completed", late.append)
    until(lambda: len(late) == 1, "a callback that comes late")


@pytest.mark.slow
def test_a_simulation_outlives_its_tracker(repo: Repository) -> None:
    with Tracker(repo) as first:
        one = start(first, "swing", "p", config={"steps": 100_000, "pace": 0.01}, seed=1)
        reach(one, "running")
    pid = (one.record.process or {})["pid"]
    with Tracker(repo) as second:
        assert find(repo, "p").phase == "running"
        assert second["p"].stop() == "stopped"
    until(lambda: process_start(pid) == "", "the end of its process")


@pytest.mark.slow
def test_a_death_is_seen_whoever_started_it(repo: Repository) -> None:
    with Tracker(repo) as first:
        one = start(first, "swing", "p", config={"steps": 100_000, "pace": 0.01}, seed=1)
        reach(one, "running")
    os.kill((one.record.process or {})["pid"], signal.SIGKILL)
    with Tracker(repo):
        until(lambda: one.record.phase == "ended", "the death")
    assert one.outcome == "crashed"
    assert repo.runs["p"].status == "crashed"


def test_what_cannot_be_started_is_refused_at_once(tracker: Tracker, repo: Repository) -> None:
    with pytest.raises(NotFound, match="type 'swinging' not found"):
        tracker.start("swinging")
    with pytest.raises(NotFound, match="cannot import type"):
        tracker.start("tests.live.simulations:nothing", folder=ROOT)
    with pytest.raises(NotFound):
        tracker.start(TYPES + "swing", at="main@5", folder=ROOT)
    with pytest.raises(InvalidInput, match="must be a function"):
        tracker.start("os:sep")
    assert list(repo.runs) == []
    assert tracker.simulations == []


@pytest.mark.slow
def test_what_a_tracker_adopts_counts_as_its_workers(repo: Repository) -> None:
    config = {"steps": 10**6, "pace": 0.005}
    first = Tracker(repo, workers=2)
    taken = [first.queue(TYPES + "count", f"t/{n}", config=config, folder=ROOT) for n in range(2)]
    beside = start(first, "count", "beside", config=config)  # at once: nobody's worker
    for each in [*taken, beside]:
        reach(each, "running")
    first.close()
    with Tracker(repo, workers=2) as second:
        until(lambda: len(second._adopted) == 2, "both are adopted")
        late = second.queue(TYPES + "count", "late", config={"steps": 5}, folder=ROOT)
        second._look()
        assert late.phase == "queued"
        with Tracker(repo, workers=1) as third:  # they are another's
            assert late.wait(PATIENCE) == "completed"
            assert not third._adopted
        last = second.queue(TYPES + "count", "last", config={"steps": 5}, folder=ROOT)
        second._look()
        assert last.phase == "queued"
        taken[0].stop()
        assert last.wait(PATIENCE) == "completed"
        assert [each.phase for each in (taken[1], beside)] == ["running"] * 2
        second.close(stop=True)
    assert [each.outcome for each in (taken[1], beside)] == ["stopped"] * 2
