"""What an environment is made of: described as canonical data, and made again from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium import wrappers
from gymnasium.utils import EzPickle

from simgit import InvalidInput, NotFound, Repository
from simgit.gym import Recorder
from simgit.gym.spec.spec import compare_spaces, describe, describe_spaces, layers, make
from simgit.objects.codec import decode_value, encode_value


def cartpole(**kwargs: Any) -> Any:
    return gymnasium.make("CartPole-v1", **kwargs)


def names(env: Any) -> list[str]:
    return [type(layer).__name__ for layer in layers(env)]


class Walk(gymnasium.Env[Any, Any]):
    """An environment that nobody registered."""

    observation_space = gymnasium.spaces.Discrete(10)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, start: int = 3, *, noise: Any = None) -> None:
        self.start = start
        self._noise = noise

    def reset(self, **kwargs: Any) -> Any:
        super().reset(seed=kwargs.get("seed"))
        return self.start, {}

    def step(self, action: Any) -> Any:
        return action, 0.0, False, False, {}


class Pickled(Walk, EzPickle):
    def __init__(self, start: int, more: int = 1) -> None:
        EzPickle.__init__(self, start, more=more)
        Walk.__init__(self, 0)


class Hidden(Walk):
    def __init__(self, needed: int) -> None:
        super().__init__()


class Scale(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that does not keep its arguments, but has them as attributes."""

    def __init__(self, env: Any, factor: float) -> None:
        super().__init__(env)
        self._factor = factor

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        return observation, reward * self._factor, *rest


class Together(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that only puts others together, as Stable-Baselines3's AtariWrapper does."""

    def __init__(self, env: Any) -> None:
        super().__init__(Scale(env, 2.0))


WRAPPED = [
    lambda: cartpole(),
    lambda: cartpole(max_episode_steps=7),
    lambda: cartpole(sutton_barto_reward=True, render_mode="rgb_array"),
    lambda: gymnasium.make("CartPole-v1", disable_env_checker=True, max_episode_steps=-1),
    lambda: wrappers.TimeLimit(cartpole(), 9),
    lambda: wrappers.FrameStackObservation(cartpole(), 4),
    lambda: wrappers.NormalizeReward(wrappers.ClipReward(cartpole(), 0, 0.5)),
    lambda: Scale(cartpole(), 0.5),
    lambda: Together(cartpole()),
    lambda: Walk(5),
    lambda: Scale(Walk(noise=[1, 2]), 3.0),
    lambda: Pickled(4, more=2),
    lambda: gymnasium.make("FrozenLake-v1", map_name="8x8", is_slippery=False),
    lambda: gymnasium.make("Blackjack-v1"),
]


@pytest.mark.parametrize("build", WRAPPED)
def test_an_environment_is_made_again_from_the_bytes_of_its_description(build: Any) -> None:
    env = build()
    data = describe(env)
    again = make(decode_value(encode_value(data)), True)
    assert names(again) == names(env)
    assert encode_value(describe(again)) == encode_value(data)


@pytest.mark.parametrize("build", WRAPPED)
def test_an_environment_that_was_made_again_does_the_same(build: Any) -> None:
    one, two = build(), make(describe(build()), True)
    one.action_space.seed(0)
    for seed in (1, None):
        assert repr(one.reset(seed=seed)) == repr(two.reset(seed=seed))
        for _ in range(12):
            action = one.action_space.sample()
            results = one.step(action), two.step(action)
            assert repr(results[0]) == repr(results[1])
            if results[0][2] or results[0][3]:
                break


def test_what_is_usual_is_not_written_down() -> None:
    assert describe(cartpole())["environment"] == {
        "id": "CartPole-v1",
        "kwargs": {},
        "max_episode_steps": 500,
    }


def test_describing_does_not_touch_the_environment() -> None:
    env = cartpole()
    describe(env)
    assert env.unwrapped._np_random is None
    assert env.action_space._np_random is None
    assert env.unwrapped.state is None


def test_what_only_looks_on_is_left_out() -> None:
    plain = encode_value(describe(cartpole(render_mode="rgb_array")))
    collected = wrappers.RenderCollection(cartpole(render_mode="rgb_array"))
    recorded = Recorder(collected, Repository.init(":memory:"), provenance=False)
    assert encode_value(describe(recorded)) == plain
    assert encode_value(describe(cartpole())) != plain
    recorded.close()


def test_arguments_can_be_changed() -> None:
    env = make(describe(cartpole()), True, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (400, 600, 3)


def test_an_environment_registered_as_a_function_is_made_by_its_id() -> None:
    gymnasium.register("Lambda-v0", lambda: Walk(2))
    try:
        data = describe(gymnasium.make("Lambda-v0"))
        assert make(data, True).reset()[0] == 2
    finally:
        gymnasium.registry.pop("Lambda-v0")
    with pytest.raises(NotFound, match=r"Lambda-v0"):
        make(data, True)


def test_what_is_not_known_is_asked_for() -> None:
    with pytest.raises(InvalidInput, match=r"arguments of '.*:Hidden' were not recorded"):
        make(describe(Hidden(3)), True)
    function = wrappers.TransformReward(cartpole(), lambda reward: 2 * reward)
    data = describe(function)
    assert data["wrappers"][0]["opaque"] == {"func": "builtins.function"}
    with pytest.raises(InvalidInput, match="'TransformReward' was made with 'func'"):
        make(data, True)

    class Local(Walk):
        pass

    with pytest.raises(InvalidInput, match="outside its script"):
        make(describe(Local()), True)


def test_an_environment_that_is_not_installed_is_not_found() -> None:
    data = describe(cartpole())
    data["environment"] |= {"id": "Gone-v3", "entry_point": "gone_package:Gone"}
    with pytest.raises(NotFound, match="cannot make environment 'Gone-v3'"):
        make(data, True)


def test_spaces_that_changed_are_refused() -> None:
    data = describe(cartpole())
    data["action_space"]["n"] = 3
    with pytest.raises(
        InvalidInput,
        match=r"the action space is Discrete\(2\), but Discrete\(3\) in what was recorded",
    ):
        make(data, True)
    compare_spaces(describe_spaces(cartpole()), describe(cartpole()))


@pytest.mark.slow
def test_stable_baselines3s_wrappers_are_made_again() -> None:
    atari = pytest.importorskip("stable_baselines3.common.atari_wrappers")
    ale_py = pytest.importorskip("ale_py")
    gymnasium.register_envs(ale_py)
    env = atari.AtariWrapper(gymnasium.make("ALE/Pong-v5", frameskip=1), frame_skip=3)
    again = make(describe(env), True)
    assert "AtariWrapper" not in names(again)
    assert names(again) == names(env)
    assert again.get_wrapper_attr("_skip") == 3


HOSTILE = [
    ({"id": None, "entry_point": "os:system", "kwargs": {"command": "touch TARGET"}}, []),
    ({"id": "Some-v0", "entry_point": "os:mkdir", "kwargs": {"path": "TARGET"}}, []),
    ({"id": "CartPole-v1", "entry_point": "builtins:open", "kwargs": {"file": "TARGET"}}, []),
    (
        {"id": "CartPole-v1", "entry_point": None, "kwargs": {}},
        [{"name": "f", "entry_point": "os:mkdir", "kwargs": {"mode": 0}}],
    ),
    (
        {"id": "CartPole-v1", "entry_point": None, "kwargs": {"render_mode": "rgb_array"}},
        [
            {
                "name": "RecordVideo",
                "entry_point": "gymnasium.wrappers.rendering:RecordVideo",
                "kwargs": {"video_folder": "TARGET"},
            }
        ],
    ),
    (
        {"id": "CartPole-v1", "entry_point": None, "kwargs": {}},
        [
            {
                "name": "Recorder",
                "entry_point": "simgit.gym.recording.recorder:Recorder",
                "kwargs": {"repo": "TARGET"},
            }
        ],
    ),
]


@pytest.mark.parametrize(("environment", "wrappers"), HOSTILE)
def test_a_description_makes_environments_and_wrappers_and_calls_nothing_else(
    environment: dict[str, Any], wrappers: list[Any], tmp_path: Path
) -> None:
    target = tmp_path / "made"
    text = json.dumps({"environment": environment, "wrappers": wrappers})
    hostile = json.loads(text.replace("TARGET", str(target)))
    with gymnasium.make("CartPole-v1") as env:
        hostile |= describe_spaces(env)
    with pytest.raises(InvalidInput, match="refusing to call it"):
        make(hostile, True)
    assert not target.exists()


def test_a_class_is_described_by_the_shortest_module_that_offers_it() -> None:
    """Where a package keeps it inside changes from version to version, and names must not."""
    env = wrappers.TimeAwareObservation(cartpole())
    assert type(env).__module__ == "gymnasium.wrappers.stateful_observation"
    (described,) = describe(env)["wrappers"]
    assert described["entry_point"] == "gymnasium.wrappers:TimeAwareObservation"
    assert type(make(describe(env), True)) is wrappers.TimeAwareObservation


class Counted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that an entry point puts around its environment."""

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        return observation, reward + 1, *rest


def make_counted() -> Any:
    return Counted(gymnasium.make("CartPole-v1").unwrapped)


def test_what_an_entry_point_wraps_is_not_wrapped_again() -> None:
    gymnasium.register("Counted-v0", entry_point=f"{__name__}:make_counted")
    try:
        env = gymnasium.wrappers.ClipReward(gymnasium.make("Counted-v0"), -5, 5)
        made = make(describe(env))
        assert encode_value(describe(made)) == encode_value(describe(env))
        made.reset(seed=1)
        assert made.step(0)[1] == 2
    finally:
        gymnasium.registry.pop("Counted-v0", None)
