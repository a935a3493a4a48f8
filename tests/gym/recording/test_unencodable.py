"""Values that cannot be stored: no recorder stops for them, and all of them are told."""

from __future__ import annotations

import datetime
import enum
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from simgit import InvalidInput, Repository, SimgitWarning
from simgit.gym import Recorder, VectorRecorder, verify
from tests.objects.test_forms import NOTHING

Phase = enum.Enum("Phase", "RED GREEN")


@pytest.fixture
def repo() -> Iterator[Repository]:
    with Repository.init(":memory:") as made:
        yield made


class Telling(gymnasium.Env[Any, Any]):
    """Counts its steps; what else it returns is a function of the count."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, tell: Any = None, length: int = 5) -> None:
        self.tell, self.length, self.n = tell, length, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.n = 0
        found: dict[str, Any] = {"observation": np.zeros(1), "info": {"n": 0}}
        found |= self.tell(0) if self.tell else {}
        return found["observation"], found["info"]

    def step(self, action: Any) -> Any:
        self.n += 1
        found: dict[str, Any] = {
            "observation": np.full(1, self.n, float), "reward": float(self.n),
            "terminated": self.n >= self.length, "truncated": False, "info": {"n": self.n},
        }  # fmt: skip
        found |= self.tell(self.n) if self.tell else {}
        return tuple(found.values())


def drive(env: gymnasium.Env[Any, Any], steps: int = 7) -> list[Any]:
    """Run an environment; return the very objects that it gave."""
    given = [env.reset(seed=1)]
    for i in range(steps):
        given.append(env.step(i % 2))
        if given[-1][2] is True:
            given.append(env.reset())
    env.close()
    return given


def recorded(repo: Repository, tell: Any, run: str = "main", **options: Any) -> list[str]:
    """Record an environment; return the warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", SimgitWarning)
        drive(Recorder(Telling(tell), repo, run, provenance=False, **options))
    return [str(each.message) for each in told if issubclass(each.category, SimgitWarning)]


@pytest.mark.parametrize("value", NOTHING, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("field", ["observation", "info", "entry", "reward", "terminated"])
def test_no_value_stops_a_recorder(repo: Repository, field: str, value: Any) -> None:
    def tell(n: int) -> Any:
        if n != 2:
            return {}
        return {"info": {"n": n, "bad": value}} if field == "entry" else {field: value}

    told = recorded(repo, tell, self_check=False, snapshots=None)
    assert repo.runs["main"].status == "active" and len(repo["main"]) == 9
    places = repo.runs["main"].metadata["left_out"]
    name = {"entry": "info.bad"}.get(field, field)
    assert places and all(place.startswith(name) for place in places)
    assert len(told) == len(places) and all(any(p in text for text in told) for p in places)
    assert repo.state("main@2").action == 1, "the rest of the state is there"


def test_an_action_that_cannot_be_stored_is_left_out_after_the_step(repo: Repository) -> None:
    env = Recorder(Telling(), repo, provenance=False, self_check=False)
    env.reset(seed=1, options=None)
    with pytest.warns(SimgitWarning, match="'action' is left out"):
        env.step(object())
    with pytest.warns(SimgitWarning, match=r"'reset\.options\.x' is left out"):
        env.reset(options={"x": object(), "y": 1})
    env.close()
    assert repo.state("main@1").action is None and repo.state("main@1").reward == 1
    assert repo.state("main@2").reset == {"options": {"y": 1}}
    with pytest.raises(InvalidInput, match="step 1 has neither an action nor a reset"):
        verify(repo, "main", make=lambda spec: Telling())


def test_what_has_a_form_is_recorded_and_verified(repo: Repository) -> None:
    def tell(n: int) -> Any:
        return {
            "info": {
                "when": datetime.date(2020, 1, 1 + n), "phase": Phase.RED, "seen": {n, "x"},
                "place": Path("/a") / str(n), "last": deque([n], 2), "space": SimpleNamespace(n=n),
                "table": np.array([(n, 0.5)], [("a", "<i4"), ("b", "<f8")]), (1, 2): n,
                "long": np.longdouble(n) / 3, "number": np.float64(n), np.int64(4): n,
            }
        }  # fmt: skip

    assert recorded(repo, tell) == []
    info = repo.state("main@3").info
    assert info["when"] == datetime.date(2020, 1, 4) and info["seen"] == {3, "x"}
    assert info["phase"] is Phase.RED and info[(1, 2)] == 3 and info[4] == 3
    assert type(info["number"]) is float, "NumPy's scalars are Python's, beside a date too"
    found = verify(repo, "main", make=lambda spec: Telling(tell))
    assert found.divergence is None and found.stop == 9
    moved = verify(repo, "main", make=lambda spec: Telling(lambda n: tell(n + (n == 3))))
    assert moved.divergence is not None and moved.stop == 3


def test_an_action_and_an_observation_that_have_a_form_are_recorded_as_they_were(
    repo: Repository,
) -> None:
    class Sets(spaces.Space[Any]):
        def contains(self, x: Any) -> bool:
            return isinstance(x, set)

    env = Telling(lambda n: {"observation": {n, "x"}})
    env.observation_space = env.action_space = Sets()
    with Recorder(env, repo, self_check=False, snapshots=None) as recorder:
        recorder.reset(seed=1)
        recorder.step({4, "y"})
    assert repo.state("main").action == {4, "y"} and repo.state("main").observation == {1, "x"}


def test_what_is_left_out_is_not_compared(repo: Repository) -> None:
    assert len(recorded(repo, lambda n: {"info": {"n": n, "lock": threading.Lock()}})) == 1
    assert verify(repo, "main", make=lambda spec: Telling(tell_lock)).divergence is None
    assert verify(repo, "main", make=lambda spec: Telling()).divergence is None


def tell_lock(n: int) -> Any:
    return {"info": {"n": n, "lock": threading.Lock()}}


def test_the_environments_own_objects_reach_the_script(repo: Repository) -> None:
    lock = threading.Lock()
    env = Recorder(Telling(lambda n: {"info": {"lock": lock}}), repo, provenance=False)
    with pytest.warns(SimgitWarning):
        assert all(each[-1]["lock"] is lock for each in drive(env))


def test_each_place_is_told_once_and_many_places_are_told_together(repo: Repository) -> None:
    told = recorded(
        repo, lambda n: {"info": {f"k{n}.{i}": len for i in range(20)} | {"list": [1, len]}},
        self_check=False,
    )  # fmt: skip
    assert len(told) == 33 and "more than 32 fields are left out" in told[-1]
    assert len(repo.runs["main"].metadata["left_out"]) == 33
    again = recorded(repo, lambda n: {"info": {"list": [len] * n}}, "b", self_check=False)
    assert [text.split(" is ")[0] for text in again] == ["'info.list[]'"]


def test_raise_raises_before_anything_is_recorded(repo: Repository) -> None:
    env = Recorder(Telling(tell_lock), repo, provenance=False, unencodable="raise")
    with pytest.raises(InvalidInput, match=r"info\.lock: cannot store a value of type 'lock'"):
        env.reset(seed=1)
    with pytest.raises(InvalidInput, match="unencodable must be 'skip' or 'raise', got 'no'"):
        Recorder(Telling(), repo, "other", unencodable="no")
    assert "other" not in repo.runs


def test_a_reward_of_several_numbers_is_recorded_and_verified(repo: Repository) -> None:
    def tell(n: int) -> Any:
        return {"reward": np.array([n, -n / 2], np.float32)} if n else {}

    assert recorded(repo, tell) == []
    state = repo.state("main@2")
    assert state.reward.dtype == np.float32 and state.reward.tolist() == [2, -1]
    assert repo["main@1..main@5"].column("rewards").shape == (4, 2)
    assert verify(repo, "main", make=lambda spec: Telling(tell)).divergence is None
    other = verify(repo, "main", make=lambda spec: Telling(lambda n: {"reward": np.ones(2, "f4")}))
    assert other.divergence is not None and other.divergence.field == "rewards"


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_records_all_lanes_whatever_one_tells(
    repo: Repository, mode: AutoresetMode
) -> None:
    def tell(n: int) -> Any:
        return {"info": {"n": n, "lock": threading.Lock(), "day": datetime.date(2020, 1, 1 + n)}}

    lanes = SyncVectorEnv([lambda: Telling(tell), lambda: Telling(length=99)], autoreset_mode=mode)
    env = VectorRecorder(lanes, repo, provenance=False, self_check=False)
    with pytest.warns(SimgitWarning, match=r"'info\.lock' is left out"):
        env.reset(seed=1)
        for _ in range(4):
            env.step(np.zeros(2, int))
        env.close()
    assert repo.state("main/0@2").info == {"n": 2, "day": datetime.date(2020, 1, 3)}
    assert repo.state("main/1@4").info == {"n": 4}
    assert "info.lock" in repo.runs["main/0"].metadata["left_out"]


class ManyRewards(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """A vector environment of two lanes whose rewards have an axis more."""

    num_envs = 2
    single_observation_space = observation_space = spaces.Box(-9, 9, (2,), np.float64)
    single_action_space = action_space = spaces.Discrete(2)

    def __init__(self, width: int) -> None:
        self.single_observation_space = spaces.Box(-9, 9, (1,), np.float64)
        self.observation_space = spaces.Box(-9, 9, (2, 1), np.float64)
        self.single_action_space = spaces.Discrete(2)
        self.action_space = spaces.MultiDiscrete([2, 2])
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.width = width

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros((2, 1)), {}

    def step(self, actions: Any) -> Any:
        flags: NDArray[np.bool_] = np.zeros(2, bool)
        rewards = np.arange(2 * self.width, dtype=np.float32).reshape(2, self.width)
        return np.ones((2, 1)), rewards, flags, flags, {}


@pytest.mark.parametrize("width", [1, 2])
def test_rewards_of_a_vector_may_have_an_axis_more(repo: Repository, width: int) -> None:
    env = VectorRecorder(ManyRewards(width), repo, provenance=False, snapshots=None)
    env.reset(seed=1)
    env.step(np.zeros(2, int))
    env.close()
    found = repo.state("main/1").reward
    assert found == 1.0 if width == 1 else np.array_equal(found, [2, 3])


def test_keys_that_are_new_at_each_step_are_recorded(repo: Repository) -> None:
    assert recorded(repo, lambda n: {"info": {f"step {n}": n}}) == []
    assert repo.state("main@4").info == {"step 4": 4}
