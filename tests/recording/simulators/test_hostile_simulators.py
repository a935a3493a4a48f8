"""Simulators that change what they are given, raise, or say nothing: none is silently wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, Repository
from simgit.errors import SimgitWarning, Unverified
from tests.recording.simulators import models
from tests.recording.simulators.test_simulators import record


def hooks_of(kind: Any) -> dict[str, Any]:
    """Return the hooks of a class whose methods are called like them."""
    return {"rebuild": kind} | {
        name: getattr(kind, name) for name in ("advance", "observe", "save", "load")
    }


class Greedy:
    """Keeps and changes whatever it is given, and gives out its own arrays."""

    def __init__(self, seed: int = 0, options: dict[str, Any] | None = None) -> None:
        self.rate = (options or {}).pop("rate", 7.0)
        self.x = np.zeros(2)

    def advance(self, action: Any) -> None:
        action["push"] *= 0.5
        action["by"].append(self.rate)
        self.x += action["push"] * sum(action["by"])

    def observe(self) -> dict[str, Any]:
        return {"observation": self.x, "info": {"rate": self.rate}}

    def save(self) -> dict[str, Any]:
        return {"x": self.x, "rate": self.rate}

    @classmethod
    def load(cls, data: dict[str, Any]) -> Greedy:
        made = cls()
        made.x, made.rate = data["x"], data["rate"]
        return made


GREEDY = hooks_of(Greedy)


def test_what_is_recorded_is_what_was_given_before_a_simulator_changed_it() -> None:
    repo, seen = Repository.init(":memory:"), []
    with repo.recorder("main", snapshots=3, **GREEDY) as rec:
        rec.reset(seed=1, options={"rate": 3.0})
        for i in range(10):
            seen.append(rec.step({"push": np.ones(2), "by": [float(i)]})["observation"].copy())
    assert repo.state("main@0").reset == {"seed": 1, "options": {"rate": 3.0}}
    for i, observation in enumerate(seen):
        state = repo.state(f"main@{i + 1}")
        assert state.action["by"] == [float(i)] and state.action["push"].tolist() == [1.0, 1.0]
        assert state.observation.tolist() == observation.tolist()
    assert repo.verify_simulator("main", **GREEDY).verdict.result == "exact"
    rebuilt = {name: GREEDY[name] for name in ("rebuild", "advance", "observe")}
    assert repo.simulator("main", **rebuilt).x.tolist() == seen[-1].tolist()


def test_a_part_of_a_run_is_compared_too(seed: int) -> None:
    repo = Repository.init(":memory:")
    record(repo, "main", models.QUEUE, seed, 20)

    def advance(queue: models.Queue, action: Any) -> dict[str, Any]:
        found = models.advance_queue(queue, action)
        return {"reward": found["reward"] - (queue.now == 9)}

    changed = {**models.QUEUE, "advance": advance}
    found = repo.verify_simulator("main@5..main@12", **changed)
    assert not found.is_exact and (found.stop, found.divergence.field) == (9, "reward")
    assert repo.verify_simulator("main@2..main@8", **changed).is_exact
    assert repo.verify_simulator("main@5..main@12", **models.QUEUE).is_exact


def test_nothing_is_called_exact_where_nothing_was_compared() -> None:
    def advance(queue: models.Queue, action: Any) -> None:
        queue.advance(action)

    silent = {"rebuild": lambda seed=0: models.Queue(random.randrange(99)), "advance": advance}
    repo = Repository.init(":memory:")
    with repo.recorder("main", **silent) as rec:
        rec.reset(seed=1)
        for _ in range(5):
            rec.step(1)
    for revision in ("main", "main@2..main@4"):
        with pytest.raises(InvalidInput, match="nothing can be compared"):
            repo.verify_simulator(revision, **silent)
    assert "verdict" not in repo.runs["main"].metadata
    with pytest.warns(Unverified, match="nothing was compared"):
        repo.simulator("main@3", **silent)
    seen = {**silent, "observe": lambda queue: {"info": {"now": queue.now}}}
    with repo.recorder("told", **seen) as rec:
        rec.reset(seed=1)
        rec.step(1)
    repo.configure("told", metadata={"ignore": ["info.now"]})
    with pytest.raises(InvalidInput, match="nothing can be compared"):
        repo.verify_simulator("told", **seen)


def test_snapshots_between_which_nothing_is_told_do_not_make_a_run_exact(seed: int) -> None:
    def observe(queue: models.Queue) -> dict[str, Any]:
        return models.observe_queue(queue) if queue.now < 4 else {}

    def advance(queue: models.Queue, action: Any) -> None:
        queue.advance(action)

    hooks = {**models.SAVED, "observe": observe, "advance": advance}
    repo = Repository.init(":memory:")
    with repo.recorder("main", snapshots=5, **hooks) as rec:
        rec.reset(seed=seed)
        for _ in range(15):
            rec.step(1)
    hooks["load"] = models.load_queue_badly
    found = repo.verify_simulator("main", **hooks)
    assert found.verdict.result == "exact by replay"


@pytest.mark.parametrize("raises", ["observe", "record"])
def test_after_a_move_that_could_not_be_recorded_nothing_is_recorded_until_a_reset(
    raises: str,
) -> None:
    calls = 0

    def observe(queue: models.Queue) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 3 and raises == "observe":
            raise ZeroDivisionError
        return {"observation": {1, object()}} if calls == 3 else models.observe_queue(queue)

    repo = Repository.init(":memory:")
    with repo.recorder("main", **{**models.QUEUE, "observe": observe}) as rec:
        done = []
        for call in range(12):
            try:
                rec.reset(seed=call) if call in (0, 5, 8) else rec.step(1)
                done.append(call)
            except (ZeroDivisionError, InvalidInput):
                continue
        assert done == [0, 1, *range(5, 12)] and rec.position == 9
    assert len(repo["main"]) == 9
    assert repo.verify_simulator("main", **models.QUEUE).is_exact


def test_a_move_that_the_simulator_refuses_is_told_and_recording_goes_on() -> None:
    def advance(queue: models.Queue, action: int) -> dict[str, Any]:
        if action > 1:
            raise ValueError(action)
        return models.advance_queue(queue, action)

    hooks, repo = {**models.QUEUE, "advance": advance}, Repository.init(":memory:")
    with repo.recorder("main", **hooks) as rec:
        rec.reset(seed=1)
        rec.step(1)
        with pytest.raises(ValueError, match="2"):
            rec.step(2)
        with pytest.warns(SimgitWarning, match="raised ValueError at step 2 of run 'main'"):
            rec.step(0)
        rec.step(1)
        with pytest.raises(ValueError, match="2"):
            rec.step(2)
        rec.reset(seed=2)  # then it does not matter
    assert len(repo["main"]) == 5 and repo.verify_simulator("main", **hooks).is_exact


def test_an_action_that_cannot_be_stored_does_not_move_the_simulator() -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("main", **models.QUEUE) as rec:
        rec.reset(seed=1)
        with pytest.raises(InvalidInput, match="action"):
            rec.step(object())
        assert rec.simulator.now == 0
        rec.step(1)
    assert repo.verify_simulator("main", **models.QUEUE).is_exact


def test_a_loop_of_ones_own_begins_before_a_snapshot_that_nobody_has_compared() -> None:
    hooks = {"save": models.save_queue, "load": models.load_queue_badly}
    repo = Repository.init(":memory:")

    def loop(stop: int) -> None:
        with repo.recorder("main", snapshots=6, **hooks) as rec:
            rec.simulator = rec.simulator or models.Queue(3)
            while rec.position < stop:
                reward = rec.simulator.advance(1)
                rec.append(rec.simulator.random.random(), action=1, reward=reward)

    loop(13)  # the newest state has a snapshot
    assert repo.attachments("main").keys() >= {"snapshot"}
    with pytest.raises(Exception, match="was recorded with another"):
        loop(20)
    with repo.recorder("short", snapshots=6, **hooks) as rec:
        rec.simulator = models.Queue(3)
        rec.append(1)
    with pytest.warns(Unverified, match="nothing was compared"):
        repo.recorder("short", **hooks).close()


class Hiding:
    """Draws from the generator of the whole process, and shows little of what it draws."""

    def __init__(self, seed: int = 0, options: Any = None) -> None:
        random.seed(seed)
        self.x = 0.0

    def advance(self, action: Any) -> None:
        self.x += random.random()

    def observe(self) -> dict[str, Any]:
        return {"observation": int(self.x // 1e9)}

    def save(self) -> dict[str, Any]:
        return {"x": self.x}

    @classmethod
    def load(cls, data: dict[str, Any]) -> Hiding:
        made = cls.__new__(cls)
        made.x = data["x"]
        return made


HIDING = hooks_of(Hiding)


def test_a_difference_that_no_observation_shows_is_found_in_the_next_snapshot() -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("main", snapshots=4, **HIDING) as rec:
        rec.reset(seed=3)
        for _ in range(20):
            rec.step()
        last = rec.simulator.x
    random.random()
    found = repo.verify_simulator("main", **HIDING)
    assert not found.is_exact and found.verdict.result == "exact by replay"
    assert found.verdict.details["field"] == "snapshot.x"
    assert repo.simulator("main", **HIDING).x == last
    repo.configure("main", metadata={"ignore": ["snapshot.x"]})
    assert repo.verify_simulator("main", **HIDING).verdict.result == "exact"


def test_a_snapshot_that_is_reached_by_re_execution_is_compared_with_what_is_saved_now() -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("main", snapshots=4, **HIDING) as rec:
        rec.reset(seed=3)
        for _ in range(8):
            rec.step()
    random.seed(9)  # the way from the snapshot at step 4 leads elsewhere than to that at step 8
    with pytest.warns(Unverified, match="from its own snapshot"):
        found = repo.simulator("main@8", **HIDING)
    assert found.x == repo.attachment("main@8", "snapshot")["x"]


def test_snapshots_that_fail_without_anything_to_rebuild_are_not_called_exact(seed: int) -> None:
    hooks = {**models.SAVED, "load": models.load_queue_badly}
    del hooks["rebuild"]
    repo = Repository.init(":memory:")
    with repo.recorder("main", snapshots=5, **hooks) as rec:
        rec.simulator = models.Queue(seed)
        rec.append(**models.observe_queue(rec.simulator))
        for _ in range(20):
            rec.step(1)
    found = repo.verify_simulator("main", **hooks)
    assert not found.is_exact and found.verdict.result == "unknown"
    with pytest.raises(InvalidInput, match="no state up to it has a snapshot that can be used"):
        repo.simulator("main@7", **hooks)


def test_hooks_of_a_script_are_said_to_be_what_keeps_a_run_from_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from simgit.cli.root import cli

    with Repository.init(tmp_path) as repo:
        hooks = {**models.QUEUE, "observe": lambda queue: models.QUEUE["observe"](queue)}
        with repo.recorder("shop", **hooks) as rec:
            rec.reset(seed=1)
            rec.step(1)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["verify", "shop"])
    assert done.exit_code == 128
    assert "its hooks stood in a script or a notebook" in done.stderr
    assert "verify_simulator" in done.stderr
