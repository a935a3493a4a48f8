"""Clocks that jump by an hour while a simulation runs: nothing ends early, and order stays."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simgit import Repository
from simgit.live import Tracker, attach, find, usage
from simgit.live.event_folder import EventFolder
from simgit.live.inputs import SET, inputs_of
from simgit.live.records import Records
from tests.live.test_attached import asked
from tests.live.test_tracker import ROOT, TYPES, repo
from tests.support.patience import PATIENCE

__all__ = ["repo"]

HOUR = 3600


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the time jump by an hour at each look: forth, back, and twice back."""
    real, real_ns = time.time, time.time_ns
    jumps = itertools.cycle([0, HOUR, 0, -HOUR, -2 * HOUR])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + next(jumps) * 10**9)
    yield
    monkeypatch.undo()


def test_requests_are_answered_in_time_and_what_they_change_is_in_order(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "SECONDS", 0.01)
    queries = {"step": lambda control, _: control.position - 1}
    with attach(repo, config={"push": 0}, queries=queries) as control:
        recorder, one = control.recorder(flush_seconds=0.05), find(repo, "main")
        places: list[int] = []
        for step in range(6):
            recorder.append(step)
            changed = asked(control, lambda: one.configure({"push": step}, PATIENCE))  # noqa: B023
            assert changed in (step + 1, step + 2)  # from this look on, or from the next state's
            places.append(changed)
            assert asked(control, lambda: one.query("step", timeout=PATIENCE)) == step
        assert control.ask("how far?", {"n": 3}, timeout=0.05) == {"n": 3}
        recorder.append(6)
        control.check()
        assert control.config["push"] == 5
        for done in range(3):
            control.progress(done, 3)
            status = one.look(PATIENCE)
            assert 0 <= status["looked"] < PATIENCE
            assert status["progress"]["left"] is None or status["progress"]["left"] < PATIENCE
    found, config = inputs_of(repo, "main")
    settings = [each for each in found if each.kind == SET]
    assert [each.data["overrides"]["push"] for each in settings] == list(range(6))
    assert [each.position for each in settings] == places == sorted(places)
    assert config == {"push": 5}
    assert [each.observation for each in repo.trajectory("main")] == list(range(7))
    kept = find(repo, "main").usage
    assert len(kept) > 2 and (np.diff(kept[:, 0]) > 0).all()
    assert (repo.runs["main"].status, one.outcome) == ("completed", "completed")


@pytest.mark.slow
def test_a_tracker_starts_waits_and_stops_as_ever(repo: Repository) -> None:
    with Tracker(repo, workers=1) as tracker:
        queued = [tracker.queue(TYPES + "count", f"q/{i}", folder=ROOT) for i in range(3)]
        assert tracker.wait(queued, PATIENCE) == ["completed"] * 3
        begun = [each.run for each in Records(repo).events() if each.kind == "starting"]
        assert begun == ["q/0", "q/1", "q/2"]
        numbers = [each.number for each in Records(repo).events()]
        assert numbers == sorted(set(numbers))
        slow = tracker.start(TYPES + "count", "slow", folder=ROOT, config={"steps": 10**9})
        while slow.phase != "running":
            time.sleep(0.01)
        assert slow.stop(PATIENCE) == "stopped"
        assert repo.runs["slow"].status == "paused"


def test_event_files_count_if_somebody_writes_to_them(tmp_path: Path) -> None:
    old, grown = (tmp_path / f"events.out.tfevents.{name}" for name in ("old", "grown"))
    for path in (old, grown):
        path.write_bytes(b"")
        os.utime(path, (1, 1))
    folder = EventFolder(tmp_path, 2.0)
    new = tmp_path / "events.out.tfevents.new"
    new.write_bytes(b"")
    os.utime(new, (1, 1))  # the clock was set back meanwhile
    grown.write_bytes(b"more")
    folder.read()
    assert set(folder._files) == {new, grown}
