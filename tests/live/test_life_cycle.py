"""Simulations whose life goes any way, against a model: real processes, and trackers that die."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from simgit import Repository
from simgit.errors import Conflict
from simgit.live import Simulation, Tracker
from simgit.live.records import Records
from tests.faults.processes import Child, Say, start
from tests.live.test_kills import processes_of
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
TYPE = "tests.live.simulations:asking"
STATES = [0.0, *(float(i) * (1.0 if i < 6 else 2.0) for i in range(12))]
PICK = st.integers(0, 9)


def work(path: Path, workers: int) -> Any:
    def body(say: Say) -> None:
        with Repository.open(path) as repo, Tracker(repo, workers=workers):
            while True:
                time.sleep(1)

    return body


class LifeCycle(RuleBasedStateMachine):
    """Who asks is this process; who takes from the queue are up to two others, which may be killed.

    The model knows what must be so whatever the processes do meanwhile: the states, how many of
    them were seen, what was queued in which order, what ended by whom.
    """

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.path = Path(self.stack.enter_context(TemporaryDirectory())) / "r"
        self.repo = self.stack.enter_context(Repository.init(self.path))
        self.tracker = self.stack.enter_context(Tracker(self.repo, workers=0))
        self.workers: list[Child] = []
        self.runs: dict[str, Simulation] = {}
        self.queued: list[str] = []
        self.seen: dict[str, int] = {}

    def name(self) -> str:
        return f"r{len(self.runs)}"

    def pick(self, number: int) -> Simulation:
        return list(self.runs.values())[number % len(self.runs)]

    @precondition(lambda self: len(self.runs) < 3)
    @rule()
    def queue(self) -> None:
        name = self.name()
        self.runs[name] = self.tracker.queue(TYPE, name, folder=ROOT)
        self.queued.append(name)
        assert self.runs[name].phase in ("queued", "starting", "running")

    @precondition(lambda self: len(self.runs) < 3)
    @rule()
    def start(self) -> None:
        name = self.name()
        self.runs[name] = self.tracker.start(TYPE, name, folder=ROOT)

    @precondition(lambda self: 0 < len(self.runs) < 3)
    @rule(number=PICK)
    def fork(self, number: int) -> None:
        one = self.pick(number)
        if (self.repo.runs[one.run].step or 0) >= 3:
            name = self.name()
            self.runs[name] = self.tracker.fork(one.run, 3, name, folder=ROOT)

    @precondition(lambda self: self.runs)
    @rule(number=PICK)
    def pause_and_resume(self, number: int) -> None:
        one = self.pick(number)
        with suppress(Conflict):  # it does not run, or has ended meanwhile
            step = one.pause(PATIENCE)
            assert one.phase == "paused"
            assert self.repo.runs[one.run].step in (None if step < 0 else step, step)
            one.resume(PATIENCE)

    @precondition(lambda self: self.runs)
    @rule(number=PICK)
    def answer(self, number: int) -> None:
        with suppress(Conflict):
            assert self.pick(number).answer({"by": 2.0}, timeout=PATIENCE) == {"by": 2.0}

    @precondition(lambda self: self.runs)
    @rule(number=PICK, how=st.sampled_from(["stop", "kill", "crash"]))
    def end(self, number: int, how: str) -> None:
        one = self.pick(number)
        if how == "crash":
            process = one.record.process
            if process is not None and not one.record.is_over:
                with suppress(ProcessLookupError):
                    os.kill(process["pid"], 9)
                assert one.wait(PATIENCE) in ("crashed", "completed", "stopped")
            return
        with suppress(Conflict):
            outcome = one.stop(PATIENCE) if how == "stop" else one.kill()
            assert outcome in ("stopped", "crashed", "completed")
            assert one.phase == "ended"

    @precondition(lambda self: self.runs)
    @rule(number=PICK, queue=st.booleans())
    def restart(self, number: int, queue: bool) -> None:
        one = self.pick(number)
        if one.outcome in ("stopped", "crashed"):
            assert self.tracker.restart(one.run, queue=queue).outcome in (None, "completed")

    @precondition(lambda self: self.runs)
    @rule(number=PICK, then=st.sampled_from(["resume", "stop", "kill"]))
    def freeze(self, number: int, then: str) -> None:
        one = self.pick(number)
        with suppress(Conflict):  # it does not run, or has ended meanwhile
            one.freeze()
            deadline = time.monotonic() + PATIENCE
            while not (one.is_frozen or one.record.is_over):
                assert time.monotonic() < deadline, one
            Records(self.repo).note(one.run, "frozen", {})  # it holds nothing that this needs
            if then == "resume":
                one.resume(PATIENCE)
                assert not one.is_frozen
            else:
                outcome = one.stop(0.1) if then == "stop" else one.kill()
                assert outcome in ("stopped", "crashed", "completed")

    @precondition(lambda self: self.workers)
    @rule()
    def a_tracker_dies(self) -> None:
        self.workers[0].kill()
        self.workers.pop(0).wait()

    @rule(workers=st.integers(1, 2))
    def another_tracker_comes(self, workers: int) -> None:
        if len(self.workers) == 2:
            self.a_tracker_dies()
        self.workers.append(start(work(self.path, workers)))

    @invariant()
    def nothing_that_was_seen_is_lost(self) -> None:
        for run in getattr(self, "runs", ()):
            step = self.repo.runs[run].step
            found = -1 if step is None else step
            assert found >= self.seen.get(run, -1), run
            self.seen[run] = found

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            try:
                self.finish()
            finally:
                for each in self.workers:
                    each.kill()
                    each.wait()
                for one in self.runs.values():
                    with suppress(Conflict):
                        one.kill()

    def finish(self) -> None:
        if not self.workers:
            self.another_tracker_comes(1)
        deadline = time.monotonic() + PATIENCE
        while left := [each for each in self.runs.values() if each.outcome != "completed"]:
            assert time.monotonic() < deadline, left
            for each in left:
                assert each.outcome != "failed", each.lines()[0]
                with suppress(Conflict):
                    if each.outcome in ("stopped", "crashed"):
                        self.tracker.restart(each.run)
                    elif each.phase == "asking":
                        each.answer({"by": 2.0}, timeout=PATIENCE)
            time.sleep(0.02)
        with Repository.init(":memory:") as alone:
            with alone.recorder("main") as recorder:
                recorder.append(observation=STATES[0])
                for step, value in enumerate(STATES[1:]):
                    recorder.append(observation=value, action=step)
            expected = alone.resolve("main")
        for run in self.runs:
            assert self.repo.runs[run].status == "completed"
            assert self.repo.resolve(run) == expected
        taken = [
            each.run
            for each in Records(self.repo).events()
            if each.kind == "starting" and each.run in self.queued
        ]
        first = [run for i, run in enumerate(taken) if run not in taken[:i]]
        never_waited = [run for run in self.queued if run in first]
        restarted = {each.run for each in Records(self.repo).events() if each.kind == "ended"
                     and each.data.get("outcome") == "stopped"}  # fmt: skip
        assert [run for run in first if run not in restarted] == [
            run for run in never_waited if run not in restarted
        ]
        while processes_of(self.path):
            assert time.monotonic() < deadline, processes_of(self.path)
            time.sleep(0.02)


def live(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        LifeCycle,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
            derandomize=True, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_no_life_loses_a_state_or_leaves_a_process() -> None:
    live(2, 8)


@pytest.mark.slow
def test_nor_do_many() -> None:
    live(30, 15)
