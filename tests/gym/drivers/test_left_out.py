"""What a snapshot has to hold, refuse or compare, and what a stranger's snapshot cannot reach."""

from __future__ import annotations

import enum
import functools
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from simgit import InvalidInput
from simgit.gym import drivers
from simgit.gym.drivers.plain import Decoder, Encoder
from simgit.gym.drivers.stored_form import padded
from tests.gym.nasty import envs


@pytest.fixture
def cart() -> Any:
    env = gym.make("CartPole-v1")
    env.reset(seed=3)
    return env


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Recipe:
    def __init__(self) -> None:
        self.size = 1


def test_names_decide_nothing(cart: Any) -> None:
    core, values = cart.unwrapped, {}
    for i, name in enumerate((
        "envs", "env_fns", "metadata", "_metadata", "reward_range", "observation_mode",
        "autoreset_mode", "_saved_kwargs", "_cached_spec", "render_mode_count", "_np_random_count",
    )):  # fmt: skip
        values[name] = [i]
        setattr(core, name, [i])
    driver = drivers.select(cart)
    taken = driver.snapshot(cart) or {}
    for name in values:
        setattr(core, name, None)
    driver.restore(cart, taken)
    assert {name: getattr(core, name) for name in values} == values


def test_an_enum_a_class_and_a_partial_come_back(cart: Any) -> None:
    core = cart.unwrapped
    core.colour, core.kind, core.act = Colour.RED, int, functools.partial(min, 1)
    driver = drivers.select(cart)
    driver.snapshot(cart)
    core.colour, core.kind, core.act = Colour.GREEN, float, functools.partial(min, 2)
    taken = driver.snapshot(cart) or {}
    assert drivers.needs_trust(taken), "code that changes needs a pickle"
    new = gym.make("CartPole-v1")
    drivers.serving(new, "generic").restore(new, taken)
    found = new.unwrapped
    assert found.colour is Colour.GREEN and found.kind is float and found.act(5) == 2  # type: ignore


def test_code_that_stays_is_compared_with_that_of_the_new_environment(cart: Any) -> None:
    core = cart.unwrapped
    core.act = lambda: 1
    driver = drivers.select(cart)
    taken = driver.snapshot(cart) or {}
    assert taken["form"] == "plain"
    driver.restore(cart, taken)
    core.act = lambda: 2
    with pytest.raises(drivers.CannotRestore, match="attribute 'act'"):
        driver.restore(cart, taken)


@pytest.mark.parametrize("body", [
    {"e": ["os", "system", "x"]}, {"e": ["antigravity", "Colour", "RED"]},
    {"e": [__name__, "Recipe", "size"]}, {"e": ["signal", "Signals", "mro"]},
    {"^": ["layer", 0]}, {"=": b"123456789012"},
])  # fmt: skip
def test_a_plain_form_reaches_nothing_but_members_of_what_is_loaded(body: Any) -> None:
    before = set(sys.modules)
    with pytest.raises(drivers.CannotRestore):
        Decoder().decode(body)
    assert set(sys.modules) == before


def test_a_strangers_snapshot_reaches_only_the_code_of_the_same_attribute(cart: Any) -> None:
    core = cart.unwrapped
    core.harmless, core.harmful = len, exec
    driver = drivers.select(cart)
    taken = driver.snapshot(cart) or {}
    from simgit.gym.drivers.stored_form import unpadded
    from simgit.objects.codec import encode_value, unpack_value

    rows = unpack_value(unpadded(taken["body"]))
    rows[-1]["harmless"] = rows[-1]["harmful"]
    with pytest.raises(drivers.CannotRestore, match="attribute 'harmless'"):
        driver.restore(cart, {**taken, "body": padded(encode_value(rows))})
    assert core.harmless is len


def test_shared_memory_is_refused(cart: Any) -> None:
    core = cart.unwrapped
    core.grid = np.zeros((3, 3))
    core.row = core.grid[1]
    assert "share memory" in (drivers.check(cart) or "")
    core.row = core.grid[1].copy()
    assert drivers.check(cart) is None
    core.parts = np.split(np.arange(6.0), 2)  # of one array, and disjoint
    assert drivers.check(cart) is None


def test_a_set_whose_order_is_of_the_process_is_refused(cart: Any) -> None:
    cart.unwrapped.held = {"one", "two"}
    assert "PYTHONHASHSEED" in (drivers.check(cart) or "") or "order" in (drivers.check(cart) or "")
    cart.unwrapped.held = {"one"}
    assert drivers.check(cart) is None


@pytest.mark.parametrize("numbers", [range(3), range(0, 900, 7), (1, 65, 129, 33)])
def test_a_set_of_numbers_comes_back_in_its_order(numbers: Any) -> None:
    for value in (set(numbers), {*numbers}, set(frozenset(numbers)), frozenset(numbers)):
        again = Decoder().decode(Encoder().encode(value))
        assert list(again) == list(value)
        if type(value) is set:
            value.add(5000)
            again.add(5000)
            assert list(again) == list(value)


def test_a_space_that_changed_comes_back(cart: Any) -> None:
    core = cart.unwrapped
    core.action_space = gym.spaces.Dict({"a": gym.spaces.Discrete(4), "b": gym.spaces.Box(0, 2)})
    core.same = core.action_space
    core.action_space.seed(3)
    taken = drivers.select(cart).snapshot(cart) or {}
    expected = str(core.action_space.sample())
    new = gym.make("CartPole-v1")
    drivers.serving(new, "generic").restore(new, taken)
    found = new.unwrapped
    assert found.action_space == core.action_space and found.same is found.action_space  # type: ignore
    assert str(found.action_space.sample()) == expected


def test_a_snapshot_is_refused_where_the_class_has_changed(monkeypatch: Any) -> None:
    env = Counting()
    env.reset(seed=1)
    driver = drivers.select(env)
    taken = driver.snapshot(env) or {}
    driver.restore(env, taken)
    monkeypatch.setattr(Counting, "table", {"a": [2]})
    with pytest.raises(drivers.CannotRestore, match=r"'.*Counting.table' is not as it was"):
        driver.restore(env, taken)


class Counting(gym.Env[Any, Any]):
    observation_space = action_space = gym.spaces.Discrete(3)
    table: Any = {"a": [1]}  # noqa: RUF012

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return 0, {}


def test_a_snapshot_calls_nothing_of_the_environment(cart: Any) -> None:
    class Watched:
        def __getattr__(self, name: str) -> Any:
            called.append(name)
            raise AttributeError(name)

    called: list[str] = []
    cart.unwrapped.watched = Watched
    Counting.watched = Watched()  # type: ignore[attr-defined]
    try:
        env = Counting()
        env.reset(seed=1)
        drivers.select(env)
        drivers.select(cart)
    finally:
        del Counting.watched  # type: ignore[attr-defined]
    assert [name for name in called if not name.startswith("__")] == []


@pytest.mark.slow
def test_a_changed_mujoco_model_is_refused() -> None:
    pytest.importorskip("mujoco")
    env = gym.make("Hopper-v5")
    env.reset(seed=1)
    driver = drivers.select(env)
    taken = driver.snapshot(env) or {}
    driver.restore(env, taken)
    env.unwrapped.model.opt.gravity[2] = -1  # type: ignore[attr-defined]
    with pytest.raises(drivers.CannotRestore, match="model"):
        driver.restore(env, taken)
    later = driver.snapshot(env) or {}
    driver.restore(env, later)


def test_a_version_that_is_not_known_is_refused(cart: Any) -> None:
    driver = drivers.select(cart)
    with pytest.raises(InvalidInput, match="version 3"):
        driver.restore(cart, {**(driver.snapshot(cart) or {}), "version": 3})


@pytest.mark.parametrize("name", [
    "InModuleOfTheUser", "InLateAttributeOfTheClass", "InLateGlobal", "InLateAttributeOfAFunction",
    "InChosenFunction", "InChosenMethod", "InBasesOfAClass",
])  # fmt: skip
def test_what_is_outside_is_compared_wherever_the_users_code_keeps_it(name: str) -> None:
    env = envs.HIDING[name]()
    env.reset(seed=3)
    driver = drivers.select(env)
    driver.snapshot(env)
    env.put(7)
    taken = driver.snapshot(env) or {}
    driver.restore(env, taken)
    env.put(8)
    with pytest.raises(drivers.CannotRestore, match="is not as it was"):
        driver.restore(env, taken)


class Game:
    """A simulator that is no environment."""

    place = 0


class Holding(gym.Env[Any, Any]):
    observation_space, action_space = gym.spaces.Discrete(9), gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.env = Game()

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.env.place = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.env.place += 1
        return self.env.place, 0.0, False, False, {}


def test_what_pickle_notes_with_a_class_is_no_state() -> None:
    env = Holding()
    env.reset(seed=1)
    env.step(0)
    driver = drivers.select(env)
    taken = driver.snapshot(env)
    assert taken is not None
    Game().__reduce_ex__(2)
    assert "__slotnames__" in vars(Game)
    other = Holding()
    drivers.select(other).restore(other, taken)
    assert other.step(0)[0] == 2
    del Game.__slotnames__  # type: ignore[attr-defined]
    drivers.select(other).restore(other, taken)
    assert other.step(0)[0] == 2
