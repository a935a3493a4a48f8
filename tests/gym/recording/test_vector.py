"""Lanes of vector environments are recorded as if each were recorded by itself."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import vector as vector_wrappers

from simgit import Conflict, InvalidInput, Repository
from simgit.errors import StorageError
from simgit.gym import Recorder, VectorRecorder
from simgit.gym.spec.spec import make
from simgit.recording.verdicts import Verdict

LANES = 3


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


class Counter(gymnasium.Env[Any, Any]):
    """Ends after as many steps as its seed says; says much, and something else each time."""

    observation_space = spaces.Dict({"n": spaces.Discrete(100), "x": spaces.Box(0, 100, (2,))})
    action_space = spaces.Box(-1, 1, (2,))

    def _observe(self) -> Any:
        return {"n": np.int64(self.n), "x": np.float32([self.n, self.total])}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.n, self.total = 0, 0.0
        self.length = int(self.np_random.integers(2, 6))
        return self._observe(), {"length": self.length, "options": str(options)}

    def step(self, action: Any) -> Any:
        self.n += 1
        self.total += float(action[0])
        info: dict[str, Any] = {"n": self.n, "half": self.n / 2, "deep": {"even": self.n % 2 == 0}}
        if self.n % 2:
            info["odd"] = np.arange(self.n % 4 + 1)[:1]
            info["deep"]["np"] = np.float64(self.n)
        if self.n == 3:
            info["text"] = "three"
        return self._observe(), self.n * 0.5, self.n >= self.length, False, info


def cartpole() -> Any:
    return gymnasium.make("CartPole-v1")


def pendulum() -> Any:
    return gymnasium.make("Pendulum-v1", max_episode_steps=9)


def stacked() -> Any:
    return wrappers.FrameStackObservation(cartpole(), 2)


def actions_of(env: Any, steps: int) -> list[Any]:
    env.action_space.seed(5)
    return [env.action_space.sample() for _ in range(steps)]


def record_single(
    repo: Repository, build: Callable[[], Any], lane: int, mode: AutoresetMode, actions: list[Any]
) -> str:
    """Record one environment as the lane of a vector environment goes; return the run."""
    run = f"single/{lane}"
    env = Recorder(build(), repo, run, provenance=False)
    env.reset(seed=10 + lane)
    ended = False
    for each in actions:
        if ended:
            env.reset(options={} if mode is AutoresetMode.DISABLED else None)
            ended = False
            if mode is AutoresetMode.NEXT_STEP:
                continue
        _, _, terminated, truncated, _ = env.step(each[lane])
        ended = terminated or truncated
        if ended and mode is AutoresetMode.SAME_STEP:
            env.reset()
            ended = False
    env.close()
    return run


def record_lanes(env: VectorEnv[Any, Any, Any], mode: AutoresetMode, actions: list[Any]) -> None:
    env.reset(seed=10)
    ended = np.zeros(LANES, bool)
    for each in actions:
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
        _, _, terminated, truncated, _ = env.step(each)
        ended = np.logical_or(terminated, truncated)
    env.close()


KINDS: dict[str, Any] = {
    "sync": SyncVectorEnv,
    "async": functools.partial(AsyncVectorEnv, shared_memory=True),
}


@pytest.mark.parametrize("build", [cartpole, pendulum, stacked, Counter])
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(
    "kind", [pytest.param(each, marks=[pytest.mark.slow] * (each == "async")) for each in KINDS]
)
def test_a_lane_has_the_names_of_the_same_environment_by_itself(
    repo: Repository, kind: str, mode: AutoresetMode, build: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about how processes are made
        vector = KINDS[kind]([build] * LANES, autoreset_mode=mode)
    env = VectorRecorder(vector, repo, "lanes", provenance=False)
    actions = actions_of(vector, 60)
    record_lanes(env, mode, actions)
    for lane in range(LANES):
        single = record_single(repo, build, lane, mode, actions)
        lane_run, single_run = repo.runs[f"lanes/{lane}"], repo.runs[single]
        assert single_run.episodes >= 3
        last = min(lane_run.step or 0, single_run.step or 0)
        assert last >= 55
        if build is Counter and kind == "async":  # it has no spec that another process could say
            trajectories = repo[f"lanes/{lane}"], repo[single]
            for i in range(last + 1):
                values = [each[i].value for each in trajectories]
                assert repr(values[0]) == repr(values[1])
        else:
            assert repo.resolve(f"lanes/{lane}@{last}") == repo.resolve(f"{single}@{last}")


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_environment_does_the_same_with_the_recorder(
    repo: Repository, mode: AutoresetMode
) -> None:
    seen = []
    for record in (False, True):
        env: Any = SyncVectorEnv([Counter] * LANES, autoreset_mode=mode)
        env = VectorRecorder(env, repo, provenance=False) if record else env
        results = [env.reset(seed=1)]
        ended = np.zeros(LANES, bool)
        for action in actions_of(env, 30):
            if mode is AutoresetMode.DISABLED and ended.any():
                results.append(env.reset(options={"reset_mask": ended}))
            results.append(env.step(action))
            ended = results[-1][2] | results[-1][3]
        seen.append([repr(each) for each in results])
        env.close()
    assert seen[0] == seen[1]


def test_an_environment_of_many_lanes_of_its_own_is_recorded(repo: Repository) -> None:
    vector = gymnasium.make_vec("CartPole-v1", 4, vectorization_mode="vector_entry_point")
    env = VectorRecorder(vector, repo, provenance=False)
    env.reset(seed=3)
    for _ in range(60):
        env.step(np.ones(4, np.int64))
    env.close()
    for lane in range(4):
        run = f"main/{lane}"
        trajectory = repo[run]
        assert len(trajectory) == 61
        starts = trajectory.episode_starts.nonzero()[0]
        assert len(starts) > 4
        assert not trajectory.present("action")[starts].any()
        ends = trajectory.terminations.nonzero()[0]
        assert set((ends + 1).tolist()) - {61} == set(starts.tolist()[1:])
        fields: Any = repo.object(repo.state(f"{run}@0").origin)  # type: ignore[arg-type]
        assert fields.fields["environment"]["lane"] == lane
        with pytest.raises(InvalidInput, match="cannot make one lane of 'CartPole-v1'"):
            make(fields.fields)


def test_the_last_observation_of_an_episode_is_kept_in_every_mode(repo: Repository) -> None:
    for mode in AutoresetMode:
        env = VectorRecorder(
            SyncVectorEnv([Counter] * LANES, autoreset_mode=mode), repo, mode.name, provenance=False
        )
        record_lanes(env, mode, actions_of(env, 20))
        run = repo[f"{mode.name}/0"]
        for end in run.terminations.nonzero()[0].tolist():
            state = run[end]
            assert state.observation["n"] == state.info["n"] >= 2
            if end + 1 < len(run):
                assert run[end + 1].reset is not None
                assert run[end + 1].observation["n"] == 0
                assert run[end + 1].info["length"] in range(2, 6)


def test_seeds_and_options_are_those_of_each_lane(repo: Repository) -> None:
    env = VectorRecorder(
        SyncVectorEnv([Counter] * LANES, autoreset_mode="Disabled"), repo, provenance=False
    )
    env.reset(seed=7, options={"a": 1})
    env.reset(seed=[None, 4, 5])
    mask = np.array([False, True, False])
    env.reset(seed=[1, 2, 3], options={"reset_mask": mask, "b": 2})
    env.close()
    resets = [[state.reset for state in repo[f"main/{i}"]] for i in range(LANES)]
    assert resets[0] == [{"seed": 7, "options": {"a": 1}}, {}]
    assert resets[1] == [
        {"seed": 8, "options": {"a": 1}}, {"seed": 4}, {"seed": 2, "options": {"b": 2}},
    ]  # fmt: skip
    assert resets[2][1] == {"seed": 5}


def test_lanes_may_be_of_different_environments(repo: Repository) -> None:
    builds = [functools.partial(gymnasium.make, "CartPole-v1", max_episode_steps=n) for n in (5, 9)]
    env = VectorRecorder(SyncVectorEnv(builds), repo, provenance=False)
    env.reset(seed=1)
    env.close()
    limits = []
    for lane in range(2):
        spec: Any = repo.object(repo.state(f"main/{lane}@0").origin)  # type: ignore[arg-type]
        limits.append(spec.fields["environment"]["max_episode_steps"])
    assert limits == [5, 9]


def test_wrappers_of_the_vector_are_noted(repo: Repository) -> None:
    env = vector_wrappers.NormalizeReward(SyncVectorEnv([Counter] * 2))
    recorder = VectorRecorder(env, repo, provenance=False)
    recorder.reset(seed=1)
    recorder.close()
    spec: Any = repo.object(repo.state("main/1@0").origin)  # type: ignore[arg-type]
    assert spec.fields["vector_wrappers"] == ["gymnasium.wrappers.vector:NormalizeReward"]
    with pytest.raises(InvalidInput, match="cannot make one lane"):
        make(spec.fields)


@pytest.mark.slow
def test_lanes_have_snapshots_of_their_own(repo: Repository, checked: None) -> None:
    env = VectorRecorder(SyncVectorEnv([cartpole] * 2), repo, provenance=False, snapshots=15)
    env.reset(seed=1)
    for action in actions_of(env, 60):
        env.step(action)
    env.close()
    for lane in range(2):
        found = [i for i in range(61) if "snapshot" in repo.attachments(f"main/{lane}@{i}")]
        assert found[0] == 0
        assert len(found) >= 3
        assert repo.runs[f"main/{lane}"].metadata["verdict"]["result"] == "exact"
        session = repo.attachment(f"main/{lane}@0", "session")
        assert session["seed"] == 1 + lane


def test_data_can_be_attached_to_a_lane(repo: Repository) -> None:
    env = VectorRecorder(SyncVectorEnv([Counter] * 2), repo, provenance=False)
    env.reset(seed=1)
    env.attach(1, "note", "x")
    assert env.tips == [repo.resolve("main/0"), repo.resolve("main/1")]
    assert env.step_counts == [0, 0]
    env.close()
    assert repo.attachment("main/1", "note") == "x"


def test_a_lane_that_fails_fails_the_runs_with_everything_in_them(repo: Repository) -> None:
    class Failing(Counter):
        def step(self, action: Any) -> Any:
            if self.n == 1:
                raise ZeroDivisionError("lane")
            return super().step(action)

    env = VectorRecorder(SyncVectorEnv([Counter, Failing]), repo, provenance=False)
    env.reset(seed=1)
    action = np.zeros((2, 2), np.float32)
    env.step(action)
    with pytest.raises(ZeroDivisionError):
        env.step(action)
    assert [repo.runs[f"main/{i}"].status for i in range(2)] == ["failed", "failed"]
    assert [repo.runs[f"main/{i}"].step for i in range(2)] == [1, 1]


class Numbered(gymnasium.Env[Any, Any]):
    """Counts steps in its observation; one of them, once, leads to what is said."""

    observation_space = spaces.Box(0, 100, (1,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self, bad: Any = None, at: int = 3, length: int = 5) -> None:
        self.bad, self.at, self.length = bad, at, length

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.n = 0
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        self.n += 1
        info = {"n": self.n}
        if self.n == self.at and self.bad is not None:
            bad, self.bad = self.bad, None
            if isinstance(bad, Exception):
                raise bad
            info["bad"] = bad
        return np.full(1, self.n, float), float(self.n), self.n >= self.length, False, info


def seen(repo: Repository, lanes: int) -> list[list[float]]:
    return [[s.observation[0] for s in repo[f"main/{i}"]] for i in range(lanes)]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(
    "bad", [object(), [len], ValueError("boom")], ids=["object", "function", "raise"]
)
def test_of_a_step_with_an_error_no_lane_has_a_state(
    repo: Repository, mode: AutoresetMode, bad: Any
) -> None:
    makers = [Numbered, lambda: Numbered(bad), lambda: Numbered(length=9)]
    env = VectorRecorder(
        SyncVectorEnv(makers, autoreset_mode=mode), repo, provenance=False, self_check=False,
        unencodable="raise",
    )  # fmt: skip
    env.reset(seed=1)
    for i in range(4):
        if i == 2:
            with pytest.raises(ValueError) as failed:
                env.step(np.zeros(3, int))
            assert failed.value.__notes__ == ["simgit: nothing is recorded until the next reset"]
        else:
            env.step(np.zeros(3, int))
    assert (seen(repo, 3), env.step_counts) == ([[0, 1, 2]] * 3, [2] * 3)
    assert {repo.runs[name].status for name in env.runs} == {"failed"}
    with pytest.raises(InvalidInput, match="cannot attach 'x' to lane"):
        env.attach(2, "x", 1)
    env.reset(seed=2)
    env.step(np.zeros(3, int))
    env.close()
    assert (seen(repo, 3), env.step_counts) == ([[0, 1, 2, 0, 1]] * 3, [4] * 3)
    assert [[s.message is not None for s in repo[name]] for name in env.runs] == [
        [False] * 3 + [True, False]
    ] * 3
    assert {repo.runs[name].status for name in env.runs} == {"active"}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_after_an_error_a_lane_is_recorded_from_its_own_reset_on(
    repo: Repository, mode: AutoresetMode
) -> None:
    makers = [Numbered, lambda: Numbered(object()), lambda: Numbered(length=7)]
    env = VectorRecorder(
        SyncVectorEnv(makers, autoreset_mode=mode), repo, provenance=False, self_check=False,
        unencodable="raise",
    )  # fmt: skip
    env.reset(seed=1)
    for i in range(9):
        if i == 2:
            with pytest.raises(InvalidInput, match=r"info\.bad"):
                env.step(np.zeros(3, int))
        else:
            env.step(np.zeros(3, int))
    env.close()
    short = {AutoresetMode.NEXT_STEP: [0, 1, 2, 3], AutoresetMode.SAME_STEP: [0, 1, 2, 3, 4]}[mode]
    last = {AutoresetMode.NEXT_STEP: [0, 1], AutoresetMode.SAME_STEP: [0, 1, 2]}[mode]
    assert seen(repo, 3) == [[0, 1, 2, *short], [0, 1, 2, *short], [0, 1, 2, *last]]


def test_a_conflict_in_one_lane_takes_no_state_from_the_others(repo: Repository) -> None:
    env = VectorRecorder(
        SyncVectorEnv([Numbered] * 3), repo, provenance=False, self_check=False, flush_every=6
    )
    env.reset(seed=1)
    repo.set_status("main/0", "completed")
    with pytest.raises(Conflict, match="main/0"):
        env.step(np.zeros(3, int))
    env.step(np.zeros(3, int))
    env.close()
    runs = ["main/0.conflict-1", "main/1", "main/2"]
    assert (env.runs, env.step_counts) == (runs, [2, 2, 2])
    assert [[s.observation[0] for s in repo[name]] for name in runs] == [[0, 1, 2]] * 3


def test_what_could_not_be_stored_of_lanes_is_kept(repo: Repository) -> None:
    env = VectorRecorder(
        SyncVectorEnv([Numbered] * 3), repo, provenance=False, self_check=False, flush_every=3
    )
    env.reset(seed=1)
    with repo.odb.write():  # nobody else may write
        with pytest.raises(StorageError):
            env.step(np.zeros(3, int))
        with pytest.raises(StorageError):
            env.close()
    env.step(np.zeros(3, int))
    env.close()
    assert (seen(repo, 3), env.step_counts) == ([[0, 1, 2]] * 3, [2] * 3)


TIMED = 40
"""After as many steps all lanes of a step are recorded together: before, each step is timed."""
endless = functools.partial(Numbered, length=10**6)


class Doubled(gymnasium.Env[Any, Any]):
    """Counts its steps in float64, where its space has float32; one of its steps ends an episode."""

    observation_space = spaces.Box(0, 100, (2,), np.float32)
    action_space = spaces.Discrete(9)

    def __init__(self, end: int) -> None:
        self.n, self.end = 0, end

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.array([self.n, 0.0]), {}

    def step(self, action: Any) -> Any:
        self.n += 1
        return np.array([self.n, 0.0]), 0.0, self.n == self.end, False, {}


@pytest.mark.parametrize("every", range(2 * TIMED - 4, 2 * TIMED + 14))
def test_observations_of_another_form_are_kept_where_a_flush_fails(
    repo: Repository, every: int
) -> None:
    lanes = SyncVectorEnv(
        [functools.partial(Doubled, TIMED), functools.partial(Doubled, 999)],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    env = VectorRecorder(lanes, repo, provenance=False, self_check=False, flush_every=every)
    env.reset(seed=1)
    repo.set_status("main/1", "completed")  # the next flush meets another writer
    steps = TIMED + 9
    for _ in range(steps):
        with contextlib.suppress(Conflict):
            env.step(np.zeros(2, int))
    with contextlib.suppress(Conflict):
        env.close()
    first, other = ([s.observation[0] for s in repo[name]] for name in env.runs)
    assert first == [*range(TIMED + 1), *range(TIMED, steps + 1)]
    assert other == [*range(steps + 1)]
    assert env.step_counts == [steps + 1, steps]


def test_actions_are_recorded_as_they_were_given(repo: Repository) -> None:
    env = VectorRecorder(SyncVectorEnv([endless] * 2), repo, provenance=False, self_check=False)
    env.reset(seed=1)
    for shape in [(2,), (2, 1)] * TIMED:
        actions = np.zeros(shape, int)
        env.step(actions)
        actions[:] = 1
    env.close()
    assert [np.ravel(s.action).tolist() for s in repo["main/1"]][1:] == [[0]] * 2 * TIMED


def test_a_step_that_is_interrupted_is_in_no_lane(
    repo: Repository,
) -> None:
    env = VectorRecorder(SyncVectorEnv([endless] * 3), repo, provenance=False, self_check=False)
    env.reset(seed=1)
    for _ in range(TIMED):
        env.step(np.zeros(3, int))

    class Interrupting(list[Any]):
        def append(self, value: Any) -> None:
            raise KeyboardInterrupt

    recorder = env._session.recorder
    recorder._rows = Interrupting(recorder._rows)
    with pytest.raises(KeyboardInterrupt):
        env.step(np.zeros(3, int))
    env.close()
    assert seen(repo, 3) == [[*range(TIMED + 1)]] * 3


@pytest.mark.parametrize("field", range(6))
@pytest.mark.parametrize("is_done", [False, True])
def test_a_flush_that_is_interrupted_leaves_all_states(
    repo: Repository, field: int, is_done: bool
) -> None:
    env = VectorRecorder(SyncVectorEnv([endless] * 3), repo, provenance=False, self_check=False)
    env.reset(seed=1)

    came = []

    class Interrupting(list[Any]):
        def extend(self, values: Any) -> None:
            if is_done or came:
                super().extend(values)
            if not came:
                came.append(True)
                raise KeyboardInterrupt

    member = env._session.recorder._members[1]
    names = [
        "_observations", "_actions", "_rewards", "_terminated", "_truncated", "_infos",
    ]  # fmt: skip
    lists = member._lists()
    setattr(member, names[field], Interrupting(lists[field]))
    for _ in range(TIMED + 5):
        env.step(np.zeros(3, int))
    with pytest.raises(KeyboardInterrupt):
        env.flush()
    env.close()
    assert seen(repo, 3) == [[*range(TIMED + 6)]] * 3


@pytest.mark.slow
def test_a_second_recorder_of_a_lane_is_refused(repo: Repository) -> None:
    first = VectorRecorder(SyncVectorEnv([Counter] * 2), repo, provenance=False)
    with pytest.raises(Conflict, match="'main/0' is being recorded"):
        VectorRecorder(SyncVectorEnv([Counter] * 2), repo, provenance=False)
    first.close()


def test_what_is_noted_of_lanes_is_as_many_operations_as_of_one() -> None:
    counts = []
    for lanes in (1, 3):
        repo = Repository.init(":memory:")
        envs = VectorRecorder(SyncVectorEnv([cartpole] * lanes), repo, "lanes")
        envs.reset(seed=1)
        for _ in range(40):
            envs.step(np.ones(lanes, np.int64))
        envs.close()
        notes = [each for each in repo.operations() if each.command == "configure"]
        counts.append(len(notes))
        for run in envs.runs:
            assert {"provenance", "verdict", "step_seconds"} <= repo.runs[run].metadata.keys()
    assert counts[0] == counts[1] > 0


def test_lanes_have_verdicts_although_the_run_of_one_is_deleted(repo: Repository) -> None:
    envs = VectorRecorder(SyncVectorEnv([cartpole] * 3), repo, "lanes")
    runs = list(envs.runs)
    envs.reset(seed=1)
    for _ in range(5):
        envs.step(np.ones(3, np.int64))
    envs.flush()
    found = dict.fromkeys(runs, Verdict("exact"))
    repo.delete_run("lanes/1", force=True)
    envs._session._note_verdicts(found)
    verdicts = [repo.runs[run].metadata.get("verdict") for run in runs if run in repo.runs]
    assert [each["result"] for each in verdicts] == ["exact", "exact"]
