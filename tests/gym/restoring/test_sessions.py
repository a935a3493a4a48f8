"""Runs that share their first states: each is restored with its own random numbers."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from simgit import InvalidInput, Repository, SimgitWarning, Unverified
from simgit.cli.output import Output
from simgit.cli.render import write_run
from simgit.gym import Recorder, VectorRecorder, judge, restore, step_batch, verify
from simgit.gym.restoring.recorded_path import RecordedPath, path_to_last
from simgit.gym.restoring.restore import from_snapshot
from simgit.gym.restoring.sessions import SESSION
from simgit.refs.own_names import SESSIONS, base_name
from tests.gym.restoring import late_envs

pytestmark = pytest.mark.usefixtures("without_torch")

LATE, GLOBAL, LAKE, CARDS = "tests/Late-v0", "tests/Global-v0", "FrozenLake-v1", "Blackjack-v1"
HIDDEN = "tests/Hidden-v0"
STEPS = 3 * late_envs.QUIET
NAMES = ("one", "two", "three")


@pytest.fixture
def repo() -> Iterator[Repository]:
    with Repository.init(":memory:") as made:
        yield made


@pytest.fixture(autouse=True)
def without_doubts() -> Iterator[None]:
    """Ignore the warnings that nothing was compared: here everything that follows is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SimgitWarning)
        yield


def record(
    repo: Repository, run: str, env: str = LATE, seed: int | None = None, **options: Any
) -> None:
    """Record a run whose actions are always the same."""
    recorder = Recorder(gym.make(env), repo, run, **{"snapshots": 5, **options})
    recorder.reset(seed=seed)
    go_on(recorder, STEPS)
    recorder.close()


def go_on(env: Any, steps: int) -> None:
    actions = np.random.default_rng(0)
    for _ in range(steps):
        *_, terminated, truncated, _ = env.step(int(actions.integers(env.action_space.n)))
        if terminated or truncated:
            env.reset()


def assert_own(repo: Repository, run: str, border: int | None = None) -> None:
    """Assert that a run is continued as it was recorded from each of its states.

    It is not continued over a border, where a new environment began.
    """
    states = list(repo.trajectory(run))
    for step in range(len(states)):
        env = restore(repo, f"{run}@{step}")
        for state in states[step + 1 : None if border is None or border <= step else border]:
            if state.reset is not None:
                seen, info = env.reset(seed=state.reset.get("seed"))
            else:
                seen, reward, terminated, truncated, info = env.step(int(state.action))
                found = float(reward), terminated, truncated
                assert found == (state.reward, state.terminated, state.truncated), (run, step)
            assert np.array_equal(np.asarray(seen), np.asarray(state.observation)), (run, step)
            assert dict(info) == dict(state.info or {}), (run, step)
        env.close()


def differ(repo: Repository, names: Sequence[str]) -> bool:
    return len({repo.resolve(name) for name in names}) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("snapshots", ["auto", 5, None])
@pytest.mark.parametrize("env", [LAKE, LATE, CARDS])
@pytest.mark.parametrize("seeds", [(None, None, None), (1, 2, None), (1, None, 1)])
def test_runs_that_begin_alike_are_restored_as_each_was_recorded(
    repo: Repository, env: str, snapshots: Any, seeds: Sequence[int | None]
) -> None:
    for name, seed in zip(NAMES, seeds, strict=True):
        record(repo, name, env, seed, snapshots=snapshots)
    roots = {name: repo.resolve(f"{name}@0") for name in NAMES}
    if env != CARDS:
        given = {seed for seed in seeds if seed is not None}
        assert len(set(roots.values())) == len(given) + (None in seeds)
    for name in NAMES:
        assert_own(repo, name)


def test_a_shared_state_keeps_the_start_of_each_session(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
    assert len({repo.resolve(f"{name}@{late_envs.QUIET}") for name in NAMES}) == 1
    assert differ(repo, NAMES)
    named = [repo.runs[name].metadata[SESSIONS]["0"] for name in NAMES]
    bound = repo.attachments("one@0")
    sessions = [name for name in bound if base_name(name) == SESSION]
    assert sessions == [SESSION, *sorted(f"{SESSION}-{each}" for each in named[1:])]
    assert repo.attachment("one@0", SESSION)["session"] == named[0]
    for name in NAMES:
        assert_own(repo, name)


def test_sessions_that_begin_with_the_same_numbers_share_what_is_attached(repo: Repository) -> None:
    before = random.getstate(), np.random.get_state()
    for name in ("one", "two"):
        record(repo, name, seed=1, provenance=False)
        random.setstate(before[0])
        np.random.set_state(before[1])
    assert repo.runs["one"].metadata[SESSIONS] == repo.runs["two"].metadata[SESSIONS]
    assert [*repo.attachments("one@0")] == [SESSION, "snapshot"]


@pytest.mark.parametrize("snapshots", [5, None])
def test_runs_with_one_seed_that_draw_from_the_global_generator(
    repo: Repository, snapshots: Any
) -> None:
    for name in NAMES:
        record(repo, name, GLOBAL, seed=1, snapshots=snapshots)
    assert len({repo.resolve(f"{name}@0") for name in NAMES}) == 1
    assert differ(repo, NAMES)
    for name in NAMES:
        assert_own(repo, name)


def test_runs_of_an_environment_with_a_generator_of_its_own(repo: Repository) -> None:
    before = random.getstate(), np.random.get_state()
    for name in NAMES:
        record(repo, name, HIDDEN, snapshots=3)
        random.setstate(before[0])
        np.random.set_state(before[1])
    assert len({repo.resolve(f"{name}@0") for name in NAMES}) == 1
    assert differ(repo, NAMES)
    for name in NAMES:
        assert_own(repo, name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_lanes_with_generators_of_their_own(repo: Repository, kind: Any) -> None:
    vector = kind([partial(late_envs.lane, HIDDEN)] * 3)
    recorder = VectorRecorder(vector, repo, "a", snapshots=3)
    recorder.reset()
    for _ in range(STEPS + 4):
        recorder.step(np.array([1, 1, 1]))
    recorder.close()
    names = [f"a/{lane}" for lane in range(3)]
    assert differ(repo, names)
    for name in names:
        assert_own(repo, name)


def test_the_first_snapshot_is_taken_once(repo: Repository) -> None:
    class Counting:
        name, count = "counting", 0

        def snapshot(self, env: Any) -> Any:
            self.count += 1
            return {"count": self.count}

    driver = Counting()
    recorder = Recorder(gym.make(LATE), repo, "one", snapshots=driver)
    recorder.reset()
    assert driver.count == 1
    recorder.close()
    assert repo.attachment("one@0", "snapshot") == {"count": 1}


def assert_continues(env: Any, repo: Repository, run: str, step: int) -> None:
    for state in list(repo.trajectory(run))[step + 1 : STEPS]:
        assert np.array_equal(env.step(int(state.action))[0], state.observation), state.step
    env.close()


def test_every_revision_that_leads_through_a_run_is_of_that_run(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
    repo.checkout("two")
    for revision in ("HEAD@2", "@2", f"HEAD~{repo.state('two').step - 2}", "runs/three@2"):
        run = "three" if "three" in revision else "two"
        assert_continues(restore(repo, revision), repo, run, 2)
    for revision in ("two@1..4", "one@0..HEAD@3", "two@0..two@3", "HEAD@1..3"):
        assert verify(repo, revision, snapshots=0).divergence is None
        states = repo.trajectory(revision)
        assert path_to_last(repo, states, revision).sessions == {0: named(repo, "two")}


def named(repo: Repository, run: str) -> str:
    session: str = repo.runs[run].metadata[SESSIONS]["0"]
    return session


def test_a_branch_of_a_run_that_was_deleted(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
        repo.branch(f"{name}-1", f"{name}@3")
        repo.branch(f"{name}-2", f"{name}-1@2")
    sessions = {name: {0: named(repo, name)} for name in NAMES}
    states = {name: list(repo.trajectory(name)) for name in NAMES}
    for name in NAMES:
        repo.delete_run(name, force=True)
        repo.delete_run(f"{name}-1", force=True)
    for name in NAMES:
        assert RecordedPath(repo, f"{name}-2").sessions == sessions[name]
        with Recorder.resume(repo, f"{name}-2", snapshots=1) as recorder:
            for state in states[name][3:]:
                recorder.reset() if state.reset is not None else recorder.step(int(state.action))
        assert repo.resolve(f"{name}-2") == states[name][-1].oid


def test_a_tag_of_a_run_that_was_deleted(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
        repo.tag(f"tag-{name}", f"{name}@8")
    states = {name: list(repo.trajectory(name)) for name in NAMES}
    for name in NAMES:
        repo.delete_run(name, force=True)
    for name in NAMES:
        env = restore(repo, f"tag-{name}")
        for state in states[name][9:STEPS]:
            assert np.array_equal(env.step(int(state.action))[0], state.observation)
        env.close()


@pytest.mark.slow
@pytest.mark.parametrize("snapshots", [5, None])
def test_runs_of_a_remote_have_their_own_numbers(tmp_path: Path, snapshots: Any) -> None:
    with Repository.init(tmp_path / "one") as one, Repository.init(tmp_path / "two") as two:
        for name in NAMES:
            record(one, name, snapshots=snapshots)
            record(two, name, snapshots=snapshots)
        one.add_remote("origin", str(tmp_path / "remote"))
        one.remote("origin").push([*NAMES])
        two.add_remote("origin", str(tmp_path / "remote"))
        two.remote("origin").fetch()
        for name in NAMES:
            for revision in (f"origin/{name}@2", f"remotes/origin/{name}@2"):
                assert_continues(restore(two, revision, trust=True), one, name, 2)
            assert_own(two, name)
            two.branch(f"{name}-branch", f"origin/{name}@2")
            assert_continues(restore(two, f"{name}-branch", trust=True), one, name, 2)


def test_a_state_by_its_oid_is_that_of_the_first_run(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
    shared = repo.resolve("three@2")
    assert RecordedPath(repo, shared).sessions == RecordedPath(repo, "one").sessions
    own = repo.resolve("two@8")
    assert RecordedPath(repo, own).sessions == RecordedPath(repo, "two").sessions
    restore(repo, shared).close()
    restore(repo, own).close()


@pytest.mark.slow
def test_verdicts_are_of_the_run_itself(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
    for name in NAMES:
        assert judge(repo, name).result == "exact"
        assert verify(repo, name).divergence is None
        assert verify(repo, f"{name}@3..{name}").divergence is None


@pytest.mark.slow
def test_self_checks_of_runs_that_begin_alike(tmp_path: Path, checked: None) -> None:
    with Repository.init(tmp_path) as repo:
        for name in NAMES:
            record(repo, name, LAKE)
        assert [repo.runs[name].metadata["verdict"]["result"] for name in NAMES] == ["exact"] * 3


@pytest.mark.slow
def test_branches_continue_the_session_of_the_run_that_is_named(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
    for name in NAMES:
        branch = Recorder.branch(repo, f"{name}-branch", f"{name}@2", snapshots=1)
        go_on(branch, STEPS)
        branch.close()
    for name in NAMES:
        assert_own(repo, f"{name}-branch")
        repo.delete_run(name, force=True)
    for name in NAMES:  # the metadata of what they were branched off are not there any more
        assert_own(repo, f"{name}-branch")


@pytest.mark.slow
def test_a_branch_by_an_oid_stays_that_of_the_session_it_was_restored_with(
    repo: Repository,
) -> None:
    for name in NAMES:
        record(repo, name)
    branch = Recorder.branch(repo, "branch", repo.resolve("three@2"))
    go_on(branch, STEPS)
    branch.close()
    for name in (*NAMES, "branch"):
        assert_own(repo, name)


@pytest.mark.slow
def test_runs_are_resumed_with_their_own_numbers(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
    for name in NAMES:
        recorder = Recorder.resume(repo, name, at=2)
        go_on_as_recorded(recorder, repo, name, 2)
        go_on(recorder, 3)
        recorder.close()
        assert len(repo.trajectory(name)) > STEPS + 4
    for name in NAMES:
        assert_own(repo, name)


def go_on_as_recorded(recorder: Recorder, repo: Repository, run: str, step: int) -> None:
    for state in list(repo.trajectory(run))[step + 1 :]:
        recorder.reset() if state.reset is not None else recorder.step(int(state.action))


@pytest.mark.slow
def test_new_environments_in_one_run_are_sessions_of_their_own(repo: Repository) -> None:
    for name in ("one", "two"):
        for _ in range(2):
            record(repo, name)
        assert repo.attachments(f"{name}@{STEPS + 2}").keys() >= {SESSION}
        assert sorted(repo.runs[name].metadata[SESSIONS]) == ["0", str(STEPS + 2)]
    for name in ("one", "two"):
        assert_own(repo, name, border=STEPS + 2)
        assert verify(repo, name).divergence is None


@pytest.mark.slow
def test_a_run_that_was_set_back_forgets_the_sessions_after_that(repo: Repository) -> None:
    for _ in range(2):
        record(repo, "one")
    repo.reset("one@3", run="one")
    recorder = Recorder.resume(repo, "one", snapshots=4)
    go_on(recorder, 2 * STEPS)
    recorder.close()
    assert RecordedPath(repo, "one").sessions == RecordedPath(repo, "one@0").sessions
    nearest = from_snapshot(RecordedPath(repo, "one"), None, 2 * STEPS)
    assert nearest is not None and nearest.start > STEPS
    assert_own(repo, "one")


@pytest.mark.slow
def test_another_run_may_reset_where_a_new_environment_began(repo: Repository) -> None:
    record(repo, "one")  # it ends at the end of its episode, with the reset of the next
    tip = repo.state("one")
    repo.branch("two", f"one@{tip.step - 1}")
    record(repo, "two")
    assert repo.resolve(f"two@{tip.step}") == tip.oid
    assert SESSION in repo.attachments(tip.oid)
    recorder = Recorder.resume(repo, "one")
    go_on(recorder, STEPS)
    recorder.close()
    assert_own(repo, "one")
    assert_own(repo, "two", border=tip.step)


@pytest.mark.slow
def test_rollouts_begin_with_the_numbers_of_the_run_that_is_named(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
    actions = [int(state.action) for state in list(repo.trajectory("one"))[3:9]]
    found = step_batch(repo, [f"{name}@2" for name in NAMES], [actions] * 3)
    assert [each.tip for each in found] == [repo.resolve(f"{name}@8") for name in NAMES]
    for each in found:
        recorder = Recorder.resume(repo, each.run, snapshots=1)
        recorder.step(0)
        recorder.close()
        assert_own(repo, each.run)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("snapshots", [2, None])
def test_lanes_that_begin_alike(repo: Repository, snapshots: Any, kind: Any) -> None:
    for run in ("a", "b"):
        vector = kind([partial(late_envs.lane, LATE)] * 3)
        recorder = VectorRecorder(vector, repo, run, snapshots=snapshots)
        recorder.reset()
        for _ in range(STEPS + 4):
            recorder.step(np.array([1, 1, 1]))
        recorder.close()
    names = [f"{run}/{lane}" for run in ("a", "b") for lane in range(3)]
    assert len({repo.resolve(f"{name}@0") for name in names}) == 1
    assert differ(repo, names)
    for name in names:
        assert_own(repo, name)
    again = VectorRecorder.resume(repo, "a", snapshots=1)
    for _ in range(3):
        again.step(np.array([2, 2, 2]))
    again.close()
    for name in names:
        assert_own(repo, name)


@pytest.mark.parametrize("snapshots", [5, None])
@pytest.mark.parametrize("env", [LATE, GLOBAL])
def test_runs_of_two_repositories_are_imported_into_one(env: str, snapshots: Any) -> None:
    one, two, both = (Repository.init(":memory:") for _ in range(3))
    seed = 1 if env == GLOBAL else None
    for repo, name in ((one, "one"), (two, "two"), (two, "three")):
        record(repo, name, env, seed, snapshots=snapshots)
    for repo in (one, two, one):
        bundle = BytesIO()
        repo.create_bundle(bundle, [*repo.runs])
        done = both.import_bundle(BytesIO(bundle.getvalue()))
        assert not done.attachments  # nothing lies where nobody looks
    assert len({both.resolve(f"{name}@0") for name in NAMES}) == 1
    for name in NAMES:
        assert_own(both, name)
    for repo in (one, two, both):
        repo.close()


def test_bundles_with_some_attachments_have_those_of_all_sessions(repo: Repository) -> None:
    for name in NAMES:
        record(repo, name)
    bundle = BytesIO()
    repo.create_bundle(bundle, NAMES, attachments=[SESSION])
    with Repository.init(":memory:") as other:
        other.import_bundle(BytesIO(bundle.getvalue()))
        for name in NAMES:
            assert_own(other, name)
            assert not [each for each in other.attachments(f"{name}@0") if "snapshot" in each]


def test_rules_thin_out_the_snapshots_of_all_sessions(repo: Repository) -> None:
    for name in ("one", "two"):
        record(repo, name, snapshots=1)
    own = f"snapshot-{repo.runs['two'].metadata[SESSIONS]['0']}"
    shared = [f"two@{step}" for step in range(late_envs.QUIET + 1)]
    assert all(own in repo.attachments(each) for each in shared)
    repo.gc(keep="snapshot: last 1")
    assert [own in repo.attachments(each) for each in shared] == [
        True,
        *[False] * (len(shared) - 1),
    ]
    for name in ("one", "two"):
        assert_own(repo, name)


def test_names_of_sessions_are_not_shown(repo: Repository) -> None:
    record(repo, "one")
    repo.configure("one", metadata={"note": "shown"})
    text = StringIO()
    write_run(Output(text, color=False), repo, repo.runs["one"])
    assert "shown" in text.getvalue()
    assert repo.runs["one"].metadata[SESSIONS]["0"] not in text.getvalue()


def test_without_the_start_of_its_session_a_run_is_refused(repo: Repository) -> None:
    for name in ("one", "two"):
        record(repo, name, snapshots=None)
    session = repo.runs["two"].metadata[SESSIONS]["0"]
    repo.detach("two@0", f"{SESSION}-{session}")
    assert_own(repo, "one")
    with pytest.raises(InvalidInput, match="its first reset had no seed"):
        restore(repo, "two@2")


def test_runs_of_an_earlier_version_that_shared_their_start_are_doubted(repo: Repository) -> None:
    for name in ("one", "two"):
        record(repo, name, snapshots=None)
        seed = RecordedPath(repo, name).attachment(0, SESSION)
        session = {key: each for key, each in seed.items() if key != "session"}
        for each in repo.attachments(f"{name}@0"):
            repo.detach(f"{name}@0", each)
        repo.attach(f"{name}@0", SESSION, session)  # the newest takes the place of the others
        repo.configure(name, metadata={SESSIONS: {}})
    with pytest.warns(Unverified, match="runs 'one' and 'two' share"):
        restore(repo, "two@2").close()
    record(repo, "three", snapshots=None)
    assert_own(repo, "three")
    assert repo.attachment("two@0", SESSION)["seed"] == session["seed"]
    assert_own(repo, "two")
    repo.delete_run("one", force=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SimgitWarning)
        restore(repo, "two@8").close()
