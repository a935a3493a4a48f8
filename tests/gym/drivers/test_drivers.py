"""Snapshot drivers: what they choose, what they store, and that environments go on exactly."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit import InvalidInput, Repository
from simgit.gym import drivers
from simgit.gym.drivers.plain import Encoder, NotPlain, decode
from simgit.objects.codec import encode_value, unpack_value
from tests.support import continuation

WRAPPERS = "gymnasium.wrappers:"
RECIPES: list[dict[str, Any]] = [
    {"id": "CartPole-v1"},
    {"id": "Pendulum-v1"},
    {"id": "Taxi-v4"},
    {"id": "Blackjack-v1"},
    {"id": "CartPole-v1", "vector": 3},
    {"id": "CartPole-v1", "vector": 3, "kwargs": {"vectorization_mode": "sync"}},
    {
        "id": "CartPole-v1",
        "wrappers": [
            [WRAPPERS + "RecordEpisodeStatistics", {}],
            [WRAPPERS + "FrameStackObservation", {"stack_size": 4}],
            [WRAPPERS + "NormalizeObservation", {}],
            [WRAPPERS + "NormalizeReward", {}],
            [WRAPPERS + "StickyAction", {"repeat_action_probability": 0.3}],
            [WRAPPERS + "Autoreset", {}],
        ],
    },
    {"id": "MiniGrid-Dynamic-Obstacles-6x6-v0", "import": ["minigrid"]},
    {"id": "BabyAI-GoToObj-v0", "import": ["minigrid"]},
    {"id": "Ant-v5"},
    {"id": "Humanoid-v5"},
]
DRIVER = {"Ant-v5": "mujoco", "Humanoid-v5": "mujoco"}


@pytest.fixture
def cart() -> Any:
    env = gym.make("CartPole-v1")
    env.reset(seed=3)
    return env


@pytest.fixture
def repo(tmp_path: Path) -> Any:
    with Repository.init(tmp_path) as made:
        yield made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_restored_in_another_process_an_environment_goes_on_exactly(tmp_path: Path) -> None:
    cases, expected = [], []
    with Repository.init(tmp_path) as repo:
        for i, recipe in enumerate(RECIPES):
            run = f"case/{i}"
            env = continuation.make(recipe)
            env.reset(seed=i)
            env.action_space.seed(i)
            continuation.goes_on(env, continuation.sample(env, 20 + i))
            driver = drivers.select(env)
            assert driver.name == DRIVER.get(recipe["id"], "generic")
            repo.attach(repo.commit({"case": i}, run=run), "snapshot", driver.snapshot(env))
            actions = continuation.sample(env, 200)
            cases.append({"make": recipe, "state": run, "actions": actions})
            expected.append(continuation.goes_on(env, actions))
    got = continuation.elsewhere(tmp_path, cases)
    differing = [case["make"] for case, a, b in zip(cases, expected, got, strict=True) if a != b]
    assert differing == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_snapshot_changes_nothing_in_the_environment() -> None:
    for recipe in RECIPES:
        ways = []
        for looked_at in (False, True):
            env = continuation.make(recipe)
            env.reset(seed=1)
            env.action_space.seed(1)
            driver = drivers.select(env)
            way = []
            for action in continuation.sample(env, 40):
                if looked_at:
                    driver.snapshot(env)
                way.append(continuation.advance(env, continuation.as_action(env, action)))
            ways.append(way)
        assert ways[0] == ways[1], recipe


def test_a_snapshot_is_a_copy(cart: Any) -> None:
    driver = drivers.select(cart)
    before = driver.snapshot(cart)
    kept = continuation.digest(before)
    for _ in range(5):
        cart.step(1)
    assert continuation.digest(before) == kept
    assert continuation.digest(driver.snapshot(cart)) != kept


def test_restoring_makes_the_action_space_sample_the_same_again(cart: Any) -> None:
    cart.action_space.seed(5)
    driver = drivers.select(cart)
    data = driver.snapshot(cart)
    first = [int(cart.action_space.sample()) for _ in range(20)]
    driver.restore(cart, data)
    assert [int(cart.action_space.sample()) for _ in range(20)] == first


def test_restoring_puts_global_random_numbers_back(cart: Any) -> None:
    driver = drivers.select(cart)
    data = driver.snapshot(cart)
    first = random.random(), np.random.random()
    driver.restore(cart, data)
    assert (random.random(), np.random.random()) == first


def test_reseeding_changes_random_numbers_and_not_the_state(cart: Any) -> None:
    driver = drivers.select(cart)
    state = np.array(cart.unwrapped.state)
    drawn = []
    for seed in (1, 1, 2):
        driver.reseed(cart, seed)
        drawn.append(float(cart.unwrapped.np_random.random()))
    assert drawn[0] == drawn[1] != drawn[2]
    assert np.array_equal(cart.unwrapped.state, state)


def test_a_plain_snapshot_needs_no_trust_and_a_pickle_does(cart: Any) -> None:
    assert not drivers.select(cart).needs_trust
    assert not drivers.needs_trust(drivers.select(cart).snapshot(cart) or {})
    cart.unwrapped.something = _Thing()
    driver = drivers.select(cart)
    assert driver.needs_trust and drivers.needs_trust(driver.snapshot(cart) or {})


class _Thing:
    """An object of a class that has no plain form."""


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value",
    ["\ud800", _nested(100), np.longdouble(1.5), np.zeros(2, [("a", "i4")])[0],
     [np.longdouble(i) for i in range(300)], {i: _nested(1) for i in (2**70, 1)}],
    ids=["surrogate", "deep", "longdouble", "record", "many", "key"],
)  # fmt: skip
def test_an_attribute_without_a_canonical_form_is_pickled(cart: Any, value: Any) -> None:
    cart.unwrapped.strange = value
    driver = drivers.select(cart)
    taken = driver.snapshot(cart)
    cart.unwrapped.strange = None
    driver.restore(cart, taken)
    assert cart.unwrapped.strange == value


@pytest.mark.slow
def test_an_attribute_that_not_even_pickle_can_walk_down_is_replayed(cart: Any) -> None:
    cart.unwrapped.strange = _nested(20_000)
    assert drivers.select(cart).name == "replay-creation"


def test_layers_and_their_random_numbers_stay_themselves_in_a_pickle(cart: Any) -> None:
    thing = _Thing()
    thing.env, thing.numbers, thing.space = cart.unwrapped, cart.np_random, cart.action_space
    cart.unwrapped.something = thing
    driver = drivers.select(cart)
    data = driver.snapshot(cart) or {}
    driver.restore(cart, data)
    back = cart.unwrapped.something
    assert back is not thing
    assert back.env is cart.unwrapped and back.numbers is cart.np_random
    assert back.space is cart.action_space


def test_what_two_attributes_share_is_shared_after_a_restore(cart: Any) -> None:
    core = cart.unwrapped
    core.one = core.two = [1]
    driver = drivers.select(cart)
    data = driver.snapshot(cart) or {}
    driver.restore(cart, data)
    assert core.one is core.two


NUMBERS = {
    "environment": lambda core: core.np_random,
    "bits": lambda core: core.np_random.bit_generator,
    "space": lambda core: core.action_space.np_random,
    "numpy": lambda core: np.random.mtrand._rand,
    "python": lambda core: random._inst,
}


@pytest.mark.parametrize("which", NUMBERS)
def test_another_name_of_a_generator_stays_one(cart: Any, which: str) -> None:
    cart.unwrapped.numbers = NUMBERS[which](cart.unwrapped)
    data = drivers.select(cart).snapshot(cart) or {}
    new = gym.make("CartPole-v1")  # which has no generators yet
    drivers.serving(new, "generic").restore(new, data)
    core = new.unwrapped
    assert core.numbers is NUMBERS[which](core)


def test_a_part_of_a_large_table_is_shared_in_every_snapshot(cart: Any) -> None:
    core = cart.unwrapped
    core.table = [[i] for i in range(300)]
    driver = drivers.select(cart)
    assert driver.snapshot(cart)["form"] == "plain"  # from here on its encoding is known
    for _ in range(2):
        core.row = core.table[7]
        driver.restore(cart, driver.snapshot(cart))
        assert core.row is core.table[7]
        core.table = [[i] for i in range(300)]  # the same again, of other lists


class Timed(gym.Env[Any, Any]):
    """Has state in attributes that are named as those of environments that draw."""

    observation_space = gym.spaces.Box(0, 99, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.screen, self.window, self.viewer = None, None, None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.clock, self.window = 0.0, deque([0.0], 2)
        return np.array([0.0]), {}

    def step(self, action: Any) -> Any:
        self.clock += 1.0
        self.window.append(self.clock)
        return np.array([sum(self.window)]), 0.0, False, False, {}


def test_what_is_named_like_a_clock_or_a_window_is_state_unless_it_draws() -> None:
    env, other = Timed(), Timed()
    driver = drivers.select(env)
    before = driver.snapshot(env)
    env.reset(seed=1)
    env.step(0)
    data = driver.snapshot(env)
    other.screen = shown = pytest.importorskip("pygame").Surface((2, 2))
    driver.restore(other, data)
    assert other.screen is shown, "what draws stays"
    assert other.step(0)[0].tolist() == env.step(0)[0].tolist() == [3.0]
    driver.restore(other, before)
    assert other.window is None


def test_attributes_that_came_later_are_gone_after_a_restore(cart: Any) -> None:
    driver = drivers.select(cart)
    data = driver.snapshot(cart) or {}
    cart.unwrapped.later = 1
    driver.restore(cart, data)
    assert not hasattr(cart.unwrapped, "later")


def test_an_environment_with_unstorable_parts_is_replayed(cart: Any) -> None:
    cart.unwrapped.handle = (i for i in range(3))
    assert drivers.select(cart).name == "replay-creation"
    assert "generator" in (drivers.check(cart) or "")


def test_an_environment_inside_an_attribute_is_never_pickled(cart: Any) -> None:
    cart.unwrapped.inner = [gym.make("CartPole-v1")]
    assert drivers.select(cart).name == "replay-creation"
    assert "whose pickle would lose its state" in (drivers.check(cart) or "")


@pytest.mark.filterwarnings("ignore")  # SWIG's, at the import
def test_box2d_is_replayed() -> None:
    assert drivers.select(gym.make("LunarLander-v3")).name == "replay-episode"
    assert drivers.select(gym.make("BipedalWalker-v3")).name == "replay-creation"


def test_an_environment_that_says_it_is_not_deterministic_has_no_driver(cart: Any) -> None:
    cart.unwrapped.spec.nondeterministic = True
    driver = drivers.select(cart)
    assert (driver.name, driver.where, driver.snapshot(cart)) == ("none", "never", None)
    with pytest.raises(InvalidInput, match="'none' has no snapshots"):
        driver.restore(cart, {})


def test_an_environments_own_methods_come_before_its_attributes(cart: Any) -> None:
    class Counter(gym.Env[int, int]):
        observation_space = action_space = gym.spaces.Discrete(5)
        handle = (i for i in range(3))

        def __init__(self) -> None:
            self.count, self.stream = 0, iter([])

        def get_state(self) -> Any:
            return {"count": self.count}

        def set_state(self, data: Any) -> None:
            self.count = data["count"]

    env = gym.wrappers.TimeLimit(Counter(), 9)
    env.unwrapped.count, env._elapsed_steps = 4, 3
    driver = drivers.select(env)
    data = driver.snapshot(env) or {}
    assert driver.name == "methods" and not driver.needs_trust
    env.unwrapped.count, env._elapsed_steps = 0, 0
    driver.restore(env, data)
    assert (env.unwrapped.count, env._elapsed_steps) == (4, 3)


def test_registered_engines_are_asked_first(cart: Any, monkeypatch: Any) -> None:
    class Mine(drivers.Engine):
        name = "mine"

        def accepts(self, core: Any) -> bool:
            return type(core).__name__ == "CartPoleEnv"

    monkeypatch.setattr("simgit.gym.drivers.choose._registered", [])
    drivers.register(Mine())
    assert drivers.select(cart).name == "mine"


def test_a_snapshot_of_another_environment_is_refused(cart: Any) -> None:
    other = gym.make("Acrobot-v1")
    other.reset(seed=1)
    with pytest.raises(InvalidInput, match=r"has a '.*CartPoleEnv'"):
        drivers.select(cart).restore(cart, drivers.select(other).snapshot(other) or {})
    data = drivers.select(cart).snapshot(cart) or {}
    with pytest.raises(InvalidInput, match="taken by driver 'ale'"):
        drivers.select(cart).restore(cart, {**data, "driver": "ale"})
    with pytest.raises(InvalidInput, match="version 99"):
        drivers.select(cart).restore(cart, {**data, "version": 99})
    wrapped = gym.wrappers.RecordEpisodeStatistics(cart)
    with pytest.raises(InvalidInput, match="RecordEpisodeStatistics"):
        drivers.select(wrapped).restore(wrapped, data)


@pytest.mark.slow
def test_taxis_table_is_stored_once(repo: Repository) -> None:
    env = gym.make("Taxi-v4")
    env.reset(seed=1)
    driver = drivers.select(env)
    oids = []
    for i in range(3):
        env.step(env.action_space.sample())
        data = driver.snapshot(env)
        repo.attach(repo.commit({"i": i}), "snapshot", data)
        large = repo.object(repo.attachments()["snapshot"][1])
        oids.append(next(entry.oid for entry in large.entries if entry.name == "large"))
    assert len(set(oids)) == 1


# --- plain forms ---------------------------------------------------------------------------------

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=9),
    st.text(st.characters(codec="utf-8"), max_size=9), st.floats(width=32).map(np.float32),
    st.integers(-99, 99).map(np.int16), st.floats().map(np.array),
    st.lists(st.floats(), max_size=4).map(lambda xs: np.array(xs, np.float64)),
)  # fmt: skip
keys = st.one_of(st.integers(), st.text("abL0", max_size=3), st.tuples(st.integers()))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(lambda xs: deque(xs, 5)),
        st.dictionaries(keys, inner, max_size=4),
        st.frozensets(st.integers(), max_size=4),
        st.sets(st.integers(), max_size=4),
    ),
    max_leaves=12,
)


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes()
    return bool(a == b)


@given(values)
def test_plain_forms_come_back_with_types_order_and_bits(value: Any) -> None:
    try:
        stored = unpack_value(encode_value(Encoder().encode(value)))
    except drivers.CannotSnapshot:
        return  # a set in an order that cannot be made again
    assert _same(decode(stored), value)


def test_generators_come_back_where_they_were() -> None:
    generator, legacy, python = np.random.default_rng(3), np.random.RandomState(3), random.Random(3)
    for made in (generator, legacy, python):
        made.random()
    stored = unpack_value(encode_value(Encoder().encode([generator, legacy, python])))
    again = decode(stored)
    for made, back in zip((generator, legacy, python), again, strict=True):
        assert back.random() == made.random()


@pytest.mark.parametrize("value", [object(), np.array([object()]), np.zeros((2, 3)).T, {1: len}])
def test_other_values_have_no_plain_form(value: Any) -> None:
    with pytest.raises(NotPlain):
        Encoder().encode(value)


class Referring(gym.Env[Any, Any]):
    """Hands out, and takes, the very arrays that it works with."""

    observation_space = gym.spaces.Box(-9, 9, (2,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.inner = {"place": np.zeros(2)}
        return self.inner["place"].copy(), {}

    def step(self, action: Any) -> Any:
        self.inner["place"][0] += 1
        return self.inner["place"].copy(), 0.0, False, False, {}

    def get_state(self) -> Any:
        return {"inner": self.inner}

    def set_state(self, data: Any) -> None:
        self.inner = data["inner"]


def test_what_an_environment_hands_out_and_takes_itself_is_copied() -> None:
    env, other = Referring(), Referring()
    env.reset(seed=1)
    driver = drivers.select(env)
    taken = driver.snapshot(env)
    stored = drivers.unpack(drivers.pack(taken))
    env.step(0)
    for data in (taken, stored, stored):
        driver.restore(other, data)
        assert other.step(0)[0].tolist() == [1.0, 0.0]
