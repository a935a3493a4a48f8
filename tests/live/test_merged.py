"""Faults that a review found: forks, counts, callbacks, other recorders, unreadable records."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from simgit import Repository
from simgit.errors import SimgitWarning, StorageError, TimedOut
from simgit.gym import Recorder
from simgit.live import Stopped, Tracker, attach, find
from simgit.live.attached import controlled
from simgit.live.child import LOST, main
from simgit.live.inputs import inputs_of
from simgit.live.records import Records
from simgit.live.tracker import settle
from simgit.process import writer_of
from simgit.refs.records import pack_ref
from simgit.refs.simulations import home_of
from tests.live.test_tracker import PATIENCE, ROOT, TYPES, oids, reach, repo, tracker, until

__all__ = ["repo", "tracker"]


def _gone() -> None:
    pass


def dead() -> dict[str, Any]:
    """The identity of a process that has ended."""
    child = multiprocessing.get_context("spawn").Process(target=_gone)
    child.start()
    assert child.pid is not None
    found = writer_of(child.pid)
    child.join()
    return found


@pytest.mark.slow
def test_the_end_of_a_simulation_leaves_another_recorder_alone(
    repo: Repository, tracker: Tracker
) -> None:
    one = tracker.start(TYPES + "swing", "p", config={"pace": 0.01}, folder=ROOT)
    reach(one, "running")
    until(lambda: repo.runs["p"].step is not None, "a state")
    record = one.record
    one.kill()
    with repo.recorder("p") as recorder:
        recorder.append(1)
        settle(repo, "p", record._replace(process=dead(), phase="running"), None)
        Records(repo).change("p", Records(repo).get("p"), process=dead(), phase="running")
        settle(repo, "p", Records(repo).get("p"), None)
        info = repo.runs["p"]
        assert info.status == "active" and info.writer is not None


@pytest.mark.slow
def test_forks_of_a_run_that_was_recorded_without_a_simulation_are_exact(
    repo: Repository, tracker: Tracker
) -> None:
    env = Recorder(gymnasium.make("Pendulum-v1"), repo, "plain", self_check=False)
    env.reset(seed=1)
    for _ in range(60):
        env.step(env.action_space.sample())
    env.close()
    for run in ("a", "b"):
        one = tracker.start(
            TYPES + "swing", run, at="plain@50", seed=7, config={"steps": 90}, folder=ROOT
        )
        assert one.wait(PATIENCE) == "completed", one.lines()[0]
    assert oids(repo, "a") == oids(repo, "b")
    assert repo.runs["a"].step == 90


@pytest.mark.slow
def test_a_fork_counts_to_its_own_number_of_steps(repo: Repository, tracker: Tracker) -> None:
    settings = {"id": "Pendulum-v1", "steps": 120}
    assert tracker.start("env", "a", config=settings, seed=1).wait(PATIENCE) == "completed"
    fork = tracker.fork("a", 70, "b", config={"steps": 160})
    assert fork.wait(PATIENCE) == "completed"
    assert repo.runs["b"].step == 160
    assert any("its own apply from step 71" in line for line in fork.lines()[0])
    short = tracker.fork("a", 70, "c", config={"steps": 80})
    assert short.wait(PATIENCE) == "completed"
    assert repo.runs["c"].step == 80


def test_a_recorder_whose_first_state_has_an_action_is_counted_right(repo: Repository) -> None:
    def record(run: str, stop: int) -> None:
        with attach(repo, run) as control:
            recorder = control.recorder()
            for step in control.range(20):
                if step == stop:
                    raise Stopped
                recorder.append(step, action=step, reward=1.0)
                control.checkpoint(step)

    record("whole", 99)
    record("cut", 9)
    repo.set_status("cut", "active")
    record("cut", 99)
    assert oids(repo, "cut") == oids(repo, "whole")
    assert len(oids(repo, "cut")) == 20


def test_a_script_may_attach_to_a_run_that_was_recorded_before(repo: Repository) -> None:
    with repo.recorder("plain") as recorder:
        for step in range(5):
            recorder.append(step, action=step)
    with attach(repo, "plain") as control:
        mine = control.recorder()
        for step in range(3):
            mine.append(100 + step, action=step)
    assert repo.runs["plain"].step == 7


def test_an_unreadable_record_of_another_run_stops_nobody(repo: Repository) -> None:
    home = home_of(repo.directory)
    with repo.odb.storage.write() as txn:
        txn.put("meta", b"live\0other", pack_ref({"type": "x", "home": home}))
    with Tracker(repo, workers=0) as tracker:
        assert tracker.simulations == []
        assert tracker.queue("demo", "q").phase == "queued"
    with repo.recorder("main") as recorder, controlled(repo, "main", recorder) as control:
        assert control is not None
        assert find(repo, "main").phase == "running"


@pytest.mark.slow
def test_each_question_is_told(repo: Repository, tracker: Tracker) -> None:
    told: list[str] = []
    tracker.when("each", "asks", "asking", lambda each: told.append(each.run))
    one = tracker.start(TYPES + "asks", "asks", folder=ROOT)
    for number in range(3):
        reach(one, "asking")
        until(lambda number=number: len(told) == number + 1, f"question {number}")
        one.answer({"n": number})
        until(lambda: one.phase != "asking", "the answer")
    assert one.wait(PATIENCE) == "completed"


@pytest.mark.slow
def test_metrics_of_steps_that_come_again_are_recorded_once(
    repo: Repository, tracker: Tracker
) -> None:
    one = tracker.start(TYPES + "measured", "m", config={"die_at": 61}, seed=1, folder=ROOT)
    assert one.wait(PATIENCE) == "crashed"
    assert tracker.restart("m").wait(PATIENCE) == "completed"
    steps = [each.info["step"] for each in repo.trajectory("m/metrics")]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_a_pause_that_nobody_waits_for_does_not_come(repo: Repository, tracker: Tracker) -> None:
    one = tracker.start(TYPES + "slow", "s", folder=ROOT)
    reach(one, "running")
    with pytest.raises(TimedOut):
        one.pause(timeout=0.05)
    looks = one.query("looks", timeout=PATIENCE)
    assert looks >= 1 and one.phase == "running"
    assert one.stop(PATIENCE) == "stopped"


@pytest.mark.slow
def test_a_worker_of_a_simulation_can_be_terminated(repo: Repository, tracker: Tracker) -> None:
    one = tracker.start(TYPES + "forks", "f", folder=ROOT)
    assert one.wait(PATIENCE) == "completed", one.lines()[0]


def test_without_a_place_for_its_socket_a_recording_is_not_shown_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with Repository.init(tmp_path / ("x" * 90) / "r") as repo:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(blocked))
        monkeypatch.setattr("tempfile.tempdir", str(blocked))
        with (
            repo.recorder("main") as recorder,
            pytest.warns(SimgitWarning, match="nobody can watch or stop this"),
            controlled(repo, "main", recorder) as control,
        ):
            assert control is None
            recorder.append(1)
        assert Records(repo).find("main") is None
        time.sleep(0)


def test_without_a_place_for_its_socket_one_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("y" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    why = r"a socket's path has 107 bytes at most.*let XDG_RUNTIME_DIR or TMPDIR name"
    with Repository.init(tmp_path / ("x" * 90) / "r") as repo, Tracker(repo, workers=1) as tracker:
        with pytest.raises(StorageError, match=why):
            tracker.start(TYPES + "count", "a", folder=ROOT)
        queued = tracker.queue(TYPES + "count", "b", folder=ROOT)
        assert queued.wait(PATIENCE) == "failed"
        assert "let XDG_RUNTIME_DIR or TMPDIR name" in str(queued.reason)
        assert [repo.runs[run].status for run in ("a", "b")] == ["failed"] * 2
        claimed = Records(repo).put(
            "b", queued.record._replace(phase="starting", process=None, socket=None), queued.record
        )
        assert main(str(Records(repo).directory), "b", claimed.execution) == LOST  # the process's
        assert "let XDG_RUNTIME_DIR or TMPDIR name" in str(queued.reason)
        assert queued.outcome == "failed"


def test_inputs_under_the_name_of_earlier_versions_are_found() -> None:
    with Repository.init(":memory:") as repo:
        for step in range(3):
            repo.commit(float(step), run="main")
        kept = {"kind": "answer", "position": 2, "value": {"by": 1.0}}
        repo.attach("main@1", "input-0", [kept])
        found, _ = inputs_of(repo, "main")
    assert [(each.position, each.kind) for each in found] == [(2, "answer")]
