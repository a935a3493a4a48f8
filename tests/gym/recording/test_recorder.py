"""The recorder looks on: it changes nothing, keeps everything, and loses nothing."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.utils.env_checker import check_env

from simgit import Conflict, InvalidInput, Repository
from simgit.errors import StorageError
from simgit.gym import Recorder, restore


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def cartpole(**kwargs: Any) -> Any:
    return gymnasium.make("CartPole-v1", **kwargs)


def drive(env: Any, steps: int = 100, seed: int = 0) -> list[bytes]:
    """Act at random; return everything that the environment returned, as bytes."""
    seen: list[Any] = [env.reset(seed=seed)]
    env.action_space.seed(seed)
    for _ in range(steps):
        result = env.step(env.action_space.sample())
        seen.append(result)
        if result[2] or result[3]:
            seen.append(env.reset())
    return [pickle.dumps(_plain(each)) for each in seen]


def _plain(value: Any) -> Any:
    """Return a value with arrays as bytes: pickles depend on how arrays lie in memory."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return str(value.dtype), value.shape, value.tobytes()
    return value


class Scripted(gymnasium.Env[Any, Any]):
    """Returns what it is told to; an exception is raised instead."""

    def __init__(self, results: list[Any], space: Any = None, actions: Any = None) -> None:
        self.results = list(results)
        self.observation_space = space or spaces.Box(-10, 10, (2,))
        self.action_space = actions or spaces.Discrete(3)

    def _next(self) -> Any:
        result = self.results.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._next()

    def step(self, action: Any) -> Any:
        self.got = action
        return self._next()


def scripted(repo: Repository, results: list[Any], run: str = "main", **options: Any) -> Recorder:
    env = Scripted(results, options.pop("space", None), options.pop("actions", None))
    return Recorder(env, repo, run, provenance=False, **options)


START = (np.zeros(2, np.float32), {})


def moved(n: float, **info: Any) -> Any:
    return np.full(2, n, np.float32), n, False, False, info


# --- a pure observer ---------------------------------------------------------------------------

LIGHT = [
    "CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1",
    "Blackjack-v1", "CliffWalking-v1", "FrozenLake-v1", "Taxi-v4",
    "phys2d/CartPole-v1", "phys2d/Pendulum-v0", "tabular/Blackjack-v0", "tabular/CliffWalking-v0",
    "MiniGrid-Empty-8x8-v0", "MiniGrid-DoorKey-6x6-v0", "BabyAI-GoToRedBall-v0",
]  # fmt: skip
HEAVY = [
    "Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5", "HumanoidStandup-v5",
    "InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Pusher-v5", "Reacher-v5", "Swimmer-v5",
    "Walker2d-v5", "ALE/Pong-v5", "ALE/Breakout-v5", "ALE/MontezumaRevenge-v5",
    "LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "CarRacing-v3",
]  # fmt: skip
PARTS = {
    "ALE": "ale_py",
    "MiniGrid": "minigrid",
    "BabyAI": "minigrid",
    "phys2d": "jax",
    "tabular": "jax",
}


def make(id: str, **kwargs: Any) -> Any:
    part = PARTS.get(id.replace("-", "/").split("/")[0])
    if part is not None:
        gymnasium.register_envs(pytest.importorskip(part))
    if any(id.startswith(name) for name in ("Lunar", "Bipedal", "CarRacing")):
        pytest.importorskip("Box2D")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return gymnasium.make(id, **kwargs)
        except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
            pytest.skip(str(error))


def compare(id: str, repo: Repository, steps: int = 150) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what environments say about themselves
        bare = drive(make(id), steps)
        env = Recorder(make(id), repo, provenance=False)
        assert drive(env, steps) == bare
        env.close()
    assert repo.head_run.step == len(bare) - 1
    assert repo.head_run.status == "active"


@pytest.mark.parametrize("id", LIGHT)
def test_an_environment_does_the_same_with_the_recorder(repo: Repository, id: str) -> None:
    compare(id, repo)


@pytest.mark.slow
@pytest.mark.parametrize("id", HEAVY)
def test_a_heavy_environment_does_the_same_with_the_recorder(repo: Repository, id: str) -> None:
    compare(id, repo)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: wrappers.FrameStackObservation(env, 4),
        lambda env: wrappers.NormalizeObservation(wrappers.NormalizeReward(env)),
        lambda env: wrappers.FlattenObservation(wrappers.TimeAwareObservation(env)),
        lambda env: wrappers.StickyAction(env, 0.3),
        lambda env: wrappers.Autoreset(env),
    ],
)
def test_wrappers_below_and_above_the_recorder_do_the_same(repo: Repository, wrap: Any) -> None:
    for run, build in (
        ("below", lambda e: recorded(wrap(e))),
        ("above", lambda e: wrap(recorded(e))),
    ):

        def recorded(env: Any, run: str = run) -> Any:
            return Recorder(env, repo, run, provenance=False)

        bare, env = wrap(cartpole()), build(cartpole())
        assert drive(env) == drive(bare)
        env.close()


def test_what_is_returned_is_the_environments_own(repo: Repository) -> None:
    results = [START, moved(1.0, a=[1])]
    env = scripted(repo, results)
    assert env.reset() is results[0]
    assert env.step(1) is results[1]


def test_the_action_is_passed_on_as_it_is_and_kept_as_it_was(repo: Repository) -> None:
    class Changing(Scripted):
        def step(self, action: Any) -> Any:
            result = super().step(action)
            action += 1
            return result

    actions = spaces.Box(-1, 1, (2,))
    env = Recorder(Changing([START, moved(1.0)], None, actions), repo, provenance=False)
    env.reset()
    action = np.zeros(2)
    env.step(action)
    assert env.unwrapped.got is action  # type: ignore[attr-defined]
    env.close()
    assert repo.state("main@1").action.tolist() == [0, 0]
    assert repo.state("main@1").action.dtype == np.float64


def test_nothing_is_seeded_and_no_generator_is_made(repo: Repository) -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    env = scripted(repo, [START, moved(1.0)])
    env.reset()
    env.step(0)
    assert env.unwrapped._np_random is None
    assert env.action_space._np_random is None
    assert env.observation_space._np_random is None
    assert np.random.get_state()[1].tolist() == before


def test_the_recorder_is_a_wrapper_like_others(repo: Repository) -> None:
    env = Recorder(wrappers.RecordEpisodeStatistics(cartpole()), repo, "a/b", flush_every=9)
    spec = env.spec
    assert spec is not None
    assert json.loads(spec.to_json())["additional_wrappers"][-1]["kwargs"] == {
        "repo": ":memory:", "run": "a/b", "provenance": True, "self_check": True, "flush_every": 9,
            "snapshots": "auto",
    }  # fmt: skip
    env.reset(seed=1)
    assert env.get_wrapper_attr("return_queue").maxlen == 100
    assert env.get_wrapper_attr("length") == 0.5
    assert env.set_wrapper_attr("gravity", 5.0)
    assert env.unwrapped.gravity == 5.0  # type: ignore[attr-defined]
    assert env.has_wrapper_attr("attach")
    assert env.metadata is env.env.metadata
    env.close()


def test_an_environment_can_be_made_with_the_recorder_from_its_spec(tmp_path: Path) -> None:
    env = Recorder(cartpole(), tmp_path, "one", config={"lr": 0.1})
    env.close()
    spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())  # type: ignore[union-attr]
    again = gymnasium.make(spec)
    again.reset(seed=1)
    again.close()
    with Repository.open(tmp_path) as repo:
        assert repo.runs["one"].step == 0
        assert repo.config("one") == {"lr": 0.1}


@pytest.mark.parametrize("id", ["CartPole-v1", "FrozenLake-v1", "Pendulum-v1"])
def test_gymnasiums_own_checks_pass(repo: Repository, id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(make(id).unwrapped, skip_render_check=True)
        check_env(Recorder(make(id).unwrapped, repo, provenance=False), skip_render_check=True)


# --- what is recorded --------------------------------------------------------------------------


def test_every_reset_and_step_is_a_state(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0, lives=3), moved(2.0), START])
    env.reset(seed=5, options={"low": 0.5})
    env.step(2)
    env.step(np.int32(1))
    env.reset()
    assert env.step_count == 3
    env.close()
    assert [repo.state(f"main@{i}").reset for i in (0, 1, 3)] == [
        {"seed": 5, "options": {"low": 0.5}}, None, {},
    ]  # fmt: skip
    state = repo.state("main@1")
    assert state.observation.tolist() == [1, 1]
    assert (state.action, state.reward, state.terminated, state.truncated) == (2, 1.0, False, False)
    assert state.info == {"lives": 3}
    assert [type(repo.state(f"main@{i}").action) for i in (1, 2)] == [np.int64, np.int64]
    assert repo.head_run.episodes == 2


def test_a_run_has_the_same_names_each_time_and_whatever_the_integers_are(repo: Repository) -> None:
    for run, kind in (("a", int), ("b", np.int64), ("c", np.uint8)):
        env = Recorder(cartpole(), repo, run)
        env.reset(seed=1)
        for i in range(10):
            env.step(kind(i % 2))
        env.close()
    assert repo.resolve("a") == repo.resolve("b") == repo.resolve("c")


def test_the_root_says_what_was_recorded(repo: Repository) -> None:
    env = Recorder(wrappers.TimeLimit(cartpole(), 9), repo)
    env.reset(seed=1)
    env.close()
    origin = repo.state("main@0").origin
    assert origin is not None
    fields = repo.object(origin).fields  # type: ignore[union-attr]
    assert fields["environment"]["id"] == "CartPole-v1"
    assert [each["name"] for each in fields["wrappers"]] == ["TimeLimit"]
    assert fields["action_space"] == {"type": "Discrete", "n": 2, "start": 0, "dtype": "<i8"}


def test_the_seed_of_an_unseeded_environment_is_known(repo: Repository) -> None:
    env = Recorder(cartpole(), repo)
    first = env.reset()[0]
    env.close()
    seed = repo.attachment("main@0", "session")["seed"]
    assert cartpole().reset(seed=seed)[0].tobytes() == first.tobytes()


@pytest.mark.slow
def test_a_space_of_every_kind_is_recorded(repo: Repository) -> None:
    kinds = {
        "box": spaces.Box(0, 1, (2, 3)), "discrete": spaces.Discrete(5, start=-2),
        "binary": spaces.MultiBinary((2, 2)), "multi": spaces.MultiDiscrete([3, 4]),
        "text": spaces.Text(8), "sequence": spaces.Sequence(spaces.Box(0, 1, (2,))),
        "stack": spaces.Sequence(spaces.Discrete(3), stack=True),
        "graph": spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Discrete(2)),
        "bare": spaces.Graph(spaces.Discrete(3), None),
        "tuple": spaces.Tuple([spaces.Discrete(2), spaces.Text(3)]),
        "one": spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1, (1,))]),
    }  # fmt: skip
    for name, space in [*kinds.items(), ("dict", spaces.Dict(kinds))]:
        space.seed(3)
        samples = [space.sample() for _ in range(20)]
        results = [(samples[0], {}), *[(each, 0.0, False, False, {}) for each in samples[1:]]]
        env = scripted(repo, results, name, space=space, actions=space)
        env.reset()
        for sample in samples[1:]:
            assert env.step(sample)[0] is sample
        env.close()
        for i, sample in enumerate(samples):
            state = repo.state(f"{name}@{i}")
            assert _plain(state.observation) == _plain(sample)
            assert i == 0 or _plain(state.action) == _plain(sample)


def test_infos_may_be_ragged_nested_and_miss_keys(repo: Repository) -> None:
    infos: list[Any] = [
        {}, {"a": 1}, {"b": {"c": np.zeros(3)}}, {"b": {"c": np.zeros(4), "d": "x"}}, {},
        {"a": 2.5, "list": [1, "two", None]}, {"a": np.float64(1), 7: (1, 2)}, {"a": None},
    ]  # fmt: skip
    env = scripted(repo, [START, *[moved(1.0) for _ in infos]])
    env.unwrapped.results[1:] = [(*moved(1.0)[:4], info) for info in infos]  # type: ignore[attr-defined]
    env.reset()
    for _ in infos:
        env.step(0)
    env.close()
    for i, info in enumerate(infos):
        assert repr(sorted(repo.state(f"main@{i + 1}").info.items(), key=repr)) == repr(
            sorted(info.items(), key=repr)
        ).replace("np.float64(1.0)", "1.0")


def test_what_the_environment_changes_later_stays_as_it_was(repo: Repository) -> None:
    buffer, info = np.zeros(2, np.float32), {"x": np.zeros(2)}
    env = scripted(repo, [(buffer, info), (buffer, 1.0, False, False, info)])
    env.reset()
    buffer += 1
    info["x"] += 1
    env.step(0)
    buffer += 1
    env.close()
    assert [repo.state(f"main@{i}").observation[0] for i in range(2)] == [0, 1]
    assert [repo.state(f"main@{i}").info["x"][0] for i in range(2)] == [0, 1]


def test_data_can_be_attached(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0)])
    env.reset()
    env.attach("agent", {"weights": np.arange(3)})
    env.step(0)
    env.close()
    assert repo.attachment("main@0", "agent")["weights"].tolist() == [0, 1, 2]


def test_the_tip_is_the_newest_state(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0)])
    assert (env.tip, env.step_count) == (None, -1)
    env.reset()
    assert env.tip == repo.resolve("main")
    env.step(0)
    assert env.tip == repo.resolve("main@1")
    assert (env.run, env.step_count, env.repo) == ("main", 1, repo)


# --- provenance --------------------------------------------------------------------------------


def test_where_a_run_comes_from_is_kept_unless_it_is_switched_off(repo: Repository) -> None:
    for run, wanted in (("without", False), ("with", True)):
        env = Recorder(cartpole(), repo, run, provenance=wanted)
        env.reset(seed=1)
        env.close()
        if not wanted:  # both runs have the same state, and so its attachments
            assert "code.diff" not in repo.attachments("without@0")
    facts = repo.runs["with"].metadata["provenance"]
    assert facts["versions"]["gymnasium"] == gymnasium.__version__
    assert facts["machine"]["architecture"]
    assert facts["command"] == list(facts["command"])
    assert "provenance" not in repo.runs["without"].metadata
    assert repo.resolve("with@0") == repo.resolve("without@0")


# --- ends --------------------------------------------------------------------------------------


def test_an_exception_in_the_environment_marks_the_run_as_failed(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0), ZeroDivisionError("by zero")])
    env.reset()
    env.step(1)
    with pytest.raises(ZeroDivisionError):
        env.step(2)
    info = repo.head_run
    assert (info.status, info.step) == ("failed", 1)
    assert info.metadata["error"] == {
        "type": "builtins.ZeroDivisionError", "message": "by zero", "after": 1, "given": 2,
    }  # fmt: skip


UNENCODABLE = [
    moved(9.0, bad=object()),
    moved(9.0, bad={1: [len]}),
    (np.zeros(2), "no reward", False, False, {}),
    (np.array([object()]), *moved(9.0)[1:]),
    (np.zeros(2), 1.0, "no flag", False, {}),
    ValueError("once"),
]


@pytest.mark.parametrize("result", UNENCODABLE, ids=range(len(UNENCODABLE)))
def test_nothing_is_recorded_between_an_error_and_the_next_reset(
    repo: Repository, result: Any
) -> None:
    after = [moved(2.0), moved(3.0, bad=object()), START, moved(4.0)]
    env = scripted(repo, [START, moved(1.0), result, *after], unencodable="raise")
    env.reset()
    env.step(0)
    with pytest.raises(ValueError) as failed:
        env.step(1)
    assert failed.value.__notes__ == ["simgit: nothing is recorded until the next reset"]
    assert [env.step(i)[1] for i in range(2)] == [2.0, 3.0]
    assert (repo.head_run.status, repo.head_run.step, env.step_count) == ("failed", 1, 1)
    with pytest.raises(InvalidInput, match="cannot attach 'x': what came right before"):
        env.attach("x", 1)
    env.reset()
    env.step(2)
    env.close()
    assert (repo.head_run.status, repo.head_run.step, env.step_count) == ("active", 3, 3)
    assert [repo.state(f"main@{i}").reward for i in range(4)] == [None, 1, None, 4]
    name = type(failed.value).__name__
    told = [repo.state(f"main@{i}").message for i in range(4)]
    assert told == [None, None, f"what came right before is not recorded, because of {name}", None]


def test_a_reset_that_cannot_be_recorded_begins_no_episode(repo: Repository) -> None:
    bad = START[0], {"bad": {object()}}
    results = [START, moved(1.0), bad, moved(2.0), START, moved(3.0)]
    env = scripted(repo, results, unencodable="raise")
    env.reset()
    env.step(0)
    with pytest.raises(InvalidInput, match=r"info\.bad"):
        env.reset()
    env.step(0)
    env.reset()
    env.step(0)
    env.close()
    assert [repo.state(f"main@{i}").reward for i in range(4)] == [None, 1, None, 3]


def test_after_an_error_the_next_episode_can_be_restored(repo: Repository) -> None:
    class Once(gymnasium.Wrapper[Any, Any, Any, Any]):
        is_observer = True
        left = 5

        def step(self, action: Any) -> Any:
            result = self.env.step(action)
            self.left -= 1
            if self.left == 0:
                result[4]["bad"] = object()
            return result

    env = Recorder(Once(cartpole()), repo, provenance=False, self_check=False, unencodable="raise")
    env.reset(seed=1)
    for i in range(7):
        if i == 4:
            with pytest.raises(InvalidInput):
                env.step(0)
        else:
            env.step(0)
    env.reset()
    last = [env.step(1)[0] for _ in range(3)][-1]
    env.close()
    assert repo.head_run.step == 8
    assert np.array_equal(restore(repo, "main@7").step(1)[0], last)


ODD_FLAGS = [0, 1, np.int64(1), np.bool_(True), np.array(False), np.array([1]), None, 0.0]


@pytest.mark.parametrize("flag", ODD_FLAGS, ids=repr)
@pytest.mark.parametrize("watched", [True, False])
def test_flags_are_what_they_mean(repo: Repository, flag: Any, watched: bool) -> None:
    before = [] if watched else [moved(1.0)] * 40
    env = scripted(repo, [START, *before, (np.zeros(2, np.float32), 1.0, flag, flag, {})])
    env.reset()
    for _ in range(len(before) + 1):
        given = env.step(0)
    env.close()
    assert given[2] is flag
    meant = flag is not None and bool(flag)
    assert (repo.state("main").terminated, repo.state("main").truncated) == (meant, meant)


@pytest.mark.parametrize("reward", [True, np.bool_(True)])
def test_a_reward_may_be_a_bool(repo: Repository, reward: Any) -> None:
    env = scripted(repo, [START, (np.zeros(2, np.float32), reward, False, False, {})])
    env.reset()
    env.step(0)
    env.close()
    assert repo.state("main").reward == 1.0


def test_ctrl_c_pauses_a_run(repo: Repository) -> None:
    env = scripted(repo, [START, KeyboardInterrupt()])
    env.reset()
    with pytest.raises(KeyboardInterrupt):
        env.step(0)
    assert repo.head_run.status == "paused"


def test_an_action_that_cannot_be_recorded_is_refused_before_it_is_taken(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0)], unencodable="raise")
    env.reset()
    with pytest.raises(InvalidInput, match="action"):
        env.step(object())
    with pytest.raises(InvalidInput, match="options"):
        env.reset(options={"x": object()})
    env.step(1)
    env.close()
    assert repo.head_run.step == 1
    assert repo.head_run.status == "active"


def test_what_cannot_be_recorded_is_an_error_that_names_its_place(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0, bad={"worse": object()})], unencodable="raise")
    env.reset()
    with pytest.raises(InvalidInput, match=r"info\.bad\.worse"):
        env.step(0)
    assert repo.head_run.metadata["error"]["type"] == "simgit.errors.InvalidInput"


def test_closing_in_the_middle_of_an_episode_loses_nothing(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0)])
    env.reset()
    env.step(0)
    env.close()
    env.close()
    assert (repo.head_run.step, repo.head_run.status, repo.head_run.writer) == (1, "active", None)


@pytest.mark.slow
def test_a_second_recorder_of_a_run_is_refused_while_the_first_is_open(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    first = Recorder(cartpole(), repo)
    first.reset(seed=1)
    with pytest.raises(Conflict, match="run 'main' is being recorded in this process"):
        Recorder(cartpole(), repo)
    first.step(0)
    first.close()
    second = Recorder(cartpole(), repo)
    second.reset()
    second.close()
    assert repo.head_run.step == 2
    assert "session" in repo.attachments("main@2")


def test_a_writer_from_elsewhere_takes_nothing_away(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0), moved(2.0), moved(3.0)])
    env.reset()
    env.flush()
    repo.commit(message="from elsewhere", run="main")
    env.step(1)
    with pytest.raises(Conflict, match=r"main\.conflict-1"):
        env.flush()
    env.step(1)
    assert env.run == "main.conflict-1"
    env.close()
    env.step(2)
    env.close()
    rewards = [repo.state(f"main.conflict-1@{i}").reward for i in range(4)]
    assert rewards == [None, 1, 2, 3]
    assert repo.state("main").message == "from elsewhere"


def test_a_conflict_in_a_step_is_no_failure_and_the_state_is_kept(repo: Repository) -> None:
    env = scripted(repo, [START, moved(1.0), moved(2.0)], flush_every=2)
    env.reset()
    env.flush()
    repo.commit(message="x", run="main")
    env.step(1)
    with pytest.raises(Conflict):
        env.step(1)
    assert env.step_count == 2
    env.close()
    assert repo.runs["main.conflict-1"].step == 2
    assert repo.runs["main.conflict-1"].status == "active"


def test_what_could_not_be_stored_is_kept(repo: Repository) -> None:
    env = scripted(repo, [START, *map(moved, range(1, 5))], flush_every=1)
    env.reset()
    with repo.odb.write():  # nobody else may write
        for _ in range(2):
            with pytest.raises(StorageError):
                env.step(0)
        with pytest.raises(StorageError):
            env.close()
    env.step(0)
    assert (repo.head_run.step, repo.head_run.status, env.step_count) == (3, "active", 3)
    env.step(0)
    env.close()
    assert [repo.state(f"main@{i}").reward for i in range(5)] == [None, 1, 2, 3, 4]
    assert repo.head_run.writer is None


def test_a_sealed_run_is_refused(repo: Repository) -> None:
    scripted(repo, [START]).close()
    repo.set_status("main", "completed")
    with pytest.raises(InvalidInput, match="run 'main' is completed"):
        scripted(repo, [START])


def test_a_run_of_another_environment_is_refused(repo: Repository) -> None:
    env = Recorder(cartpole(), repo)
    env.reset()
    env.close()
    with pytest.raises(
        InvalidInput, match="run 'main' was recorded from 'CartPole-v1', not from 'Acrobot-v1'"
    ):
        Recorder(gymnasium.make("Acrobot-v1"), repo)
    with pytest.raises(InvalidInput, match="the observation space is"):
        Recorder(wrappers.FrameStackObservation(cartpole(), 2), repo)


@pytest.mark.parametrize(
    "options",
    [
        *({"snapshots": each} for each in ("often", "", "none", -3, 0, True, False, 2.5)),
        {"episode_trigger": "nowhere:to_be_found"},
        {"episode_trigger": "os:nothing"},
        {"step_trigger": ""},
        {"step_trigger": "os:sep"},
        {"step_trigger": 5},
        {"flush_every": 0},
    ],
    ids=str,
)
def test_wrong_options_are_refused_and_leave_nothing(repo: Repository, options: Any) -> None:
    with pytest.raises(InvalidInput, match=r"snapshots|trigger|flush_every") as refused:
        Recorder(cartpole(), repo, provenance=False, **options)
    assert "\n" not in str(refused.value)
    assert "main" not in repo.runs
    drive(Recorder(cartpole(), repo, provenance=False), 2)  # with the error still there


def test_a_number_of_steps_may_be_of_numpy(repo: Repository) -> None:
    env = Recorder(cartpole(), repo, snapshots=np.int64(3), provenance=False)  # type: ignore[arg-type]
    drive(env, 4)
    env.close()
    assert snapshot_steps(repo) == [0, 3]


# --- processes ---------------------------------------------------------------------------------

SCRIPT = """
import gymnasium, os, signal, sys
from simgit import Repository
from simgit.gym import Recorder, restore
with Repository.init(sys.argv[1]) as repo:
    env = Recorder(gymnasium.make("CartPole-v1"), repo, flush_every=10)
    env.reset(seed=1)
    for _ in range(5):
        env.step(0)
{end}
"""


def run_script(path: Path, end: str) -> tuple[Any, subprocess.CompletedProcess[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end=end), str(path)], capture_output=True, text=True
    )
    with Repository.open(path) as repo:
        return repo.head_run, done


@pytest.mark.slow
def test_a_script_that_forgets_to_close_loses_nothing(tmp_path: Path) -> None:
    info, done = run_script(tmp_path, "")
    assert (done.returncode, done.stderr) == (0, "")
    assert (info.step, info.status, info.writer) == (5, "active", None)


def test_a_script_that_raises_leaves_a_crashed_run_with_everything_in_it(tmp_path: Path) -> None:
    info, done = run_script(tmp_path, "1 / 0")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert (info.step, info.status) == (5, "crashed")


@pytest.mark.slow
def test_a_script_that_is_killed_leaves_a_crashed_run_with_what_was_flushed(tmp_path: Path) -> None:
    end = "env.flush(); env.step(0); os.kill(os.getpid(), signal.SIGKILL)"
    info, _ = run_script(tmp_path, end)
    assert (info.step, info.status) == (5, "crashed")


@pytest.mark.slow
def test_a_forked_child_stores_nothing_of_its_parents(tmp_path: Path) -> None:
    end = "import time\nif os.fork() == 0: sys.exit(0)\nos.wait(); env.step(0); env.close()"
    info, done = run_script(tmp_path, end)
    assert (done.returncode, done.stderr) == (0, "")
    assert (info.step, info.status) == (6, "active")


# --- snapshots ---------------------------------------------------------------------------------


class Positions:
    """Takes snapshots of what Scripted still has to return."""

    name = "positions"

    def __init__(self, fail: int = -1) -> None:
        self.left = fail

    def snapshot(self, env: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            raise RuntimeError("no more")
        return {"left": len(env.unwrapped.results)}


def snapshot_steps(repo: Repository) -> list[int]:
    last = repo.head_run.step
    assert last is not None
    return [i for i in range(last + 1) if "snapshot" in repo.attachments(f"main@{i}")]


def play(env: Recorder, episodes: int, length: int) -> None:
    for _ in range(episodes):
        env.reset()
        for _ in range(length):
            env.step(0)
    env.close()


def long(episodes: int, length: int) -> list[Any]:
    ends = [(*moved(1.0)[:2], True, False, {})]
    return [each for _ in range(episodes) for each in [START, *[moved(1.0)] * (length - 1), *ends]]


CASES: list[tuple[dict[str, Any], Callable[[int], bool]]] = [
    ({"step_trigger": lambda step: step % 7 == 3}, lambda i: i % 7 == 3 and i % 10 != 9),
    ({"episode_trigger": lambda episode: episode in (2, 3)}, lambda i: i in (10, 20)),
    ({"episode_trigger": f"{__name__}:first_only"}, lambda i: i == 0),
]


def first_only(episode: int) -> bool:
    return episode == 1


@pytest.mark.parametrize(("options", "wanted"), CASES)
def test_a_trigger_says_when_snapshots_are_taken(
    repo: Repository, options: Any, wanted: Callable[[int], bool]
) -> None:
    play(scripted(repo, long(4, 9), snapshots=Positions(), **options), 4, 9)
    assert snapshot_steps(repo) == [i for i in range(40) if wanted(i)]


def test_a_snapshot_is_of_the_state_that_it_is_attached_to(repo: Repository) -> None:
    env = scripted(repo, long(2, 9), snapshots=Positions(), step_trigger=lambda step: True)
    play(env, 2, 9)
    for i in snapshot_steps(repo):
        assert repo.attachment(f"main@{i}", "snapshot") == {"left": 19 - i}


def test_a_snapshot_that_cannot_be_taken_stops_no_script(repo: Repository) -> None:
    env = scripted(repo, long(2, 9), snapshots=Positions(fail=3), step_trigger=lambda step: True)
    with pytest.warns(UserWarning, match="no more snapshots are taken: RuntimeError: no more"):
        play(env, 2, 9)
    assert snapshot_steps(repo) == [0, 1, 2]
    assert repo.head_run.metadata["snapshots"]["failed"] == "RuntimeError: no more"


def test_a_run_that_is_of_no_environment_is_not_gone_on_with(repo: Repository) -> None:
    repo.commit(np.zeros(4, "f4"), run="by-hand")
    repo.recorder("empty").close()
    with pytest.raises(InvalidInput, match="run 'by-hand' was not recorded from an environment"):
        Recorder(cartpole(), repo, "by-hand")
    assert repo.runs["by-hand"].step == 0
    drive(Recorder(cartpole(), repo, "empty"), steps=3)  # nothing is in it yet


def test_a_snapshot_without_an_encoding_stops_no_script(repo: Repository) -> None:
    class Sets(Positions):
        def snapshot(self, env: Any) -> Any:
            return {"left": {1, 2}}

    env = scripted(repo, long(1, 9), snapshots=Sets())
    with pytest.warns(UserWarning, match="no more snapshots are taken: InvalidInput: snapshot"):
        play(env, 1, 9)
    assert (repo.head_run.step, snapshot_steps(repo)) == (9, [])


def test_an_environment_that_no_driver_can_be_chosen_for_stops_no_script(repo: Repository) -> None:
    class Strange(Scripted):
        def __getstate__(self) -> Any:
            raise ZeroDivisionError("nothing to see")

        @property
        def get_state(self) -> Any:
            raise ZeroDivisionError("nothing to see")

    env = Recorder(Strange(long(1, 9)), repo, provenance=False)
    with pytest.warns(UserWarning, match="no more snapshots are taken: ZeroDivisionError"):
        play(env, 1, 9)
    assert (repo.head_run.step, snapshot_steps(repo)) == (9, [])


class OldApi(gymnasium.Env[Any, Any]):
    """An environment of Gym 0.21: reset returns the observation, step four values."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    new_reset = False

    def reset(self, **_: Any) -> Any:
        observation = np.zeros(2, np.float32)
        return (observation, {}) if self.new_reset else observation

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 0.0, False, {}


def test_an_environment_of_the_old_api_is_told_what_wraps_it(repo: Repository) -> None:
    env = Recorder(OldApi(), repo, "reset", provenance=False)
    with pytest.raises(InvalidInput, match=r"the old Gym API; wrap .* shimmy.GymV21Compat"):
        env.reset()
    env.env.new_reset = True  # type: ignore[attr-defined]
    env.reset()
    with pytest.raises(InvalidInput, match=r"step\(\) must return .* got 4 values: .* old Gym API"):
        env.step(0)
    env.close()
