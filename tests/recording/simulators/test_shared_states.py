"""Runs of simulators that begin alike: each is put back with its own random numbers."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest

from simgit import Repository
from simgit.refs.own_names import SESSIONS
from tests.recording.simulators.models import Queue, load_queue, save_queue

QUIET, STEPS = 4, 12
NAMES = ("one", "two", "three")


def new_queue(seed: int | None = None, options: Any = None) -> Queue:
    """Make a queue; without a seed it draws what no other one draws."""
    return Queue(random.SystemRandom().getrandbits(64) if seed is None else seed, options)


def advance(queue: Queue, action: Any) -> None:
    queue.advance(action)
    queue.served += queue.random.getrandbits(30)


def observe(queue: Queue) -> dict[str, Any]:
    return {"observation": queue.served if queue.now > QUIET else 0}


def save_as_list(queue: Queue) -> list[Any]:
    return [*save_queue(queue).items()]


def load_list(data: list[Any]) -> Queue:
    return load_queue(dict(data))


def save_with_a_session(queue: Queue) -> dict[str, Any]:
    return {"session": "0123456789abcdef", "data": save_queue(queue)}


def load_with_a_session(data: dict[str, Any]) -> Queue:
    assert data["session"] == "0123456789abcdef"
    return load_queue(data["data"])


def save_under_one_key(queue: Queue) -> dict[str, Any]:
    return {"data": save_queue(queue)}


def load_under_one_key(data: dict[str, Any]) -> Queue:
    return load_queue(data["data"])


HOOKS = {
    "map": {"save": save_queue, "load": load_queue},
    "list": {"save": save_as_list, "load": load_list},
    "session": {"save": save_with_a_session, "load": load_with_a_session},
    "one key": {"save": save_under_one_key, "load": load_under_one_key},
}


@pytest.fixture(params=HOOKS)
def hooks(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"rebuild": new_queue, "advance": advance, "observe": observe, **HOOKS[request.param]}


@pytest.fixture
def repo() -> Iterator[Repository]:
    with Repository.init(":memory:") as made:
        yield made


def record(repo: Repository, run: str, hooks: dict[str, Any], seed: int | None = None) -> None:
    with repo.recorder(run, snapshots=2, **hooks) as recorder:
        recorder.reset(seed=seed)
        for step in range(STEPS):
            recorder.step(step % 2)


def assert_own(repo: Repository, run: str, hooks: dict[str, Any]) -> None:
    """Assert that a run is continued as it was recorded from each of its states."""
    states = list(repo.trajectory(run))
    for step in range(len(states)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            simulator = repo.simulator(f"{run}@{step}", **hooks)
        for state in states[step + 1 :]:
            advance(simulator, int(state.action))
            assert observe(simulator)["observation"] == state.observation, (run, step)


def test_each_run_has_its_own_snapshots(repo: Repository, hooks: dict[str, Any]) -> None:
    for name in NAMES:
        record(repo, name, hooks)
    record(repo, "seeded", hooks, 5)
    assert len({repo.resolve(f"{name}@{QUIET}") for name in NAMES}) == 1
    assert len({repo.resolve(name) for name in NAMES}) == len(NAMES)
    for name in (*NAMES, "seeded"):
        assert_own(repo, name, hooks)
        assert repo.verify_simulator(name, **(hooks | {"rebuild": None})).verdict.result == "exact"


def test_runs_are_continued_branched_and_set_back(repo: Repository, hooks: dict[str, Any]) -> None:
    for name in NAMES:
        record(repo, name, hooks)
        repo.branch(f"{name}-1", f"{name}@3")
        repo.branch(f"{name}-2", f"{name}-1@2")
    repo.delete_run("one-1", force=True)
    states = {name: list(repo.trajectory(name)) for name in NAMES}
    for name in NAMES:
        repo.delete_run(name, force=name != "three")
        with repo.recorder(f"{name}-2", snapshots=1, **hooks) as recorder:
            for state in states[name][3:]:
                recorder.step(int(state.action))
        assert repo.resolve(f"{name}-2") == states[name][-1].oid
    repo.reset("two-2@2", run="two-2")
    with repo.recorder("two-2", snapshots=1, **hooks) as recorder:
        for _ in range(STEPS):
            recorder.step(2)
    for name in NAMES:
        assert_own(repo, f"{name}-2", hooks)


def test_runs_of_two_repositories(repo: Repository, hooks: dict[str, Any]) -> None:
    for name in NAMES:
        with Repository.init(":memory:") as other:
            record(other, name, hooks)
            bundle = BytesIO()
            other.create_bundle(bundle, [name])
        repo.import_bundle(BytesIO(bundle.getvalue()))
    for name in NAMES:
        assert_own(repo, name, hooks)
    repo.checkout("two")
    for revision in ("HEAD@2", "runs/two@2", "HEAD~10"):
        simulator = repo.simulator(revision, **hooks)
        for state in list(repo.trajectory("two"))[3:]:
            advance(simulator, int(state.action))
        assert observe(simulator)["observation"] == repo.state("two").observation


@pytest.mark.parametrize("hooks", ["map", "list", "one key"], indirect=True)
def test_runs_of_an_earlier_version_keep_theirs(repo: Repository, hooks: dict[str, Any]) -> None:
    record(repo, "old", hooks)
    session = repo.runs["old"].metadata[SESSIONS]["0"]
    for state in repo.trajectory("old"):
        for name in repo.attachments(state.oid):
            data = repo.attachment(state.oid, name)
            assert data["session"] == session
            data = data["data"] if data.keys() == {"data", "session"} else dict(data)
            if hooks["save"] is save_queue:
                del data["session"]
            repo.detach(state.oid, name)
            repo.attach(state.oid, name, data)
    repo.configure("old", metadata={SESSIONS: {}})
    for name in NAMES:
        record(repo, name, hooks)
    for name in ("old", *NAMES):
        assert_own(repo, name, hooks)
    with repo.recorder("old", snapshots=2, **hooks) as recorder:
        for step in range(STEPS):
            recorder.step(step % 2)
    assert repo.runs["old"].metadata[SESSIONS].keys() != {"0"}
    assert_own(repo, "old", hooks)
