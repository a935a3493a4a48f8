"""Every agent solves what it can solve, repeats itself, and goes on exactly from a checkpoint."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from simgit import InvalidInput, NotFound, Repository, agents
from simgit.agents.base import Agent, generator
from simgit.agents.exploration import Exploration, ExplorationSettings
from simgit.agents.replay import MultiStep, ReplayBuffer
from simgit.kube.task.actions import ACTIONS
from simgit.objects.codec import decode_value, encode_value

Step = tuple[npt.NDArray[np.float32], int, float, npt.NDArray[np.float32], bool, bool]
QUICK: dict[str, dict[str, Any]] = {
    "dqn": {"epsilon_steps": 300, "batch": 16, "updates": 2, "lr": 0.01},
    "greedy": {"epsilon_steps": 300},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dqn": ("dqn", {}),
    "dqn-double-duelling": ("dqn", {"double": True, "duelling": True, "loss": "mse"}),
    "dqn-multi-step": ("dqn", {"n_step": 3, "repeat": 2.0, "clip": 0.0}),
    "greedy": ("greedy", {}),
    "greedy-repeat": ("greedy", {"repeat": 2.0, "backward": False, "initial": 1.0}),
    "random": ("random", {}),
    "heuristic": ("heuristic", {}),
}


def variant(name: str, seed: int = 5) -> Agent:
    kind, settings = VARIANTS[name]
    return agents.make(kind, 5, ACTIONS.names(), seed, **QUICK.get(kind, {}), **settings)


class Identity:
    """The right action is the one that is shown; an episode has ten steps."""

    size = 3

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def show(self) -> npt.NDArray[np.float32]:
        return np.eye(self.size, dtype=np.float32)[self._rng.integers(self.size)]

    def episode(self, agent: Agent, explore: bool = True) -> float:
        total, shown = 0.0, self.show()
        for step in range(10):
            action = agent.act(shown, explore=explore)
            reward, after = float(shown[action]), self.show()
            if explore:
                agent.observe(shown, action, reward, after, False, step == 9)
                agent.update()
            total, shown = total + reward, after
        return total


class Corridor:
    """Five cells; the way right ends at a reward, the way left at a small one at once."""

    def __init__(self, length: int = 5) -> None:
        self.length = length

    def run(self, agent: Agent, explore: bool = True) -> list[Step]:
        steps: list[Step] = []
        place = 1
        while not steps or not (steps[-1][4] or steps[-1][5]):
            action = agent.act(self.at(place), explore=explore)
            after = place + (1 if action else -1)
            reward = {0: 0.1, self.length: 1.0}.get(after, 0.0)
            ended = after in (0, self.length)
            steps.append(
                (
                    self.at(place),
                    action,
                    reward,
                    self.at(after),
                    ended,
                    len(steps) == 19 and not ended,
                )
            )
            if explore:
                agent.observe(*steps[-1])
                agent.update()
            place = after
        return steps

    def at(self, place: int) -> npt.NDArray[np.float32]:
        return np.eye(self.length + 1, dtype=np.float32)[place]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dqn", "greedy"])
def test_a_learner_finds_the_action_that_it_is_shown(name: str) -> None:
    agent = agents.make(name, 3, 3, 1, **QUICK[name])
    game = Identity(0)
    for _ in range(40):
        game.episode(agent)
    assert game.episode(agent, explore=False) == 10


@pytest.mark.parametrize(
    "settings",
    [{}, *(pytest.param(each, marks=pytest.mark.slow)
           for each in ({"double": True}, {"duelling": True}, {"n_step": 1}))],
)  # fmt: skip
def test_a_dqn_prefers_the_greater_reward_that_is_further_away(settings: dict[str, Any]) -> None:
    agent = agents.make("dqn", 6, 2, 2, **QUICK["dqn"], **settings)
    for _ in range(70):
        Corridor().run(agent)
    assert [step[1] for step in Corridor().run(agent, explore=False)] == [1, 1, 1, 1]


def test_tables_hold_the_values_of_bellman_s_equation_once_they_have_learned() -> None:
    agent = agents.make("greedy", 6, 2, 0, epsilon_min=1.0, gamma=0.5)
    corridor = Corridor()
    for _ in range(400):
        corridor.run(agent)
    found = agent.values(np.stack([corridor.at(place) for place in range(1, 5)]))  # type: ignore[attr-defined]
    right = [0.125, 0.25, 0.5, 1.0]
    left = [0.1, *(0.5 * value for value in right[:3])]
    np.testing.assert_allclose(found, np.transpose([left, right]), atol=1e-6)


@pytest.mark.slow
def test_an_episode_that_was_cut_off_is_not_one_that_ended() -> None:
    """A reward of 1 a step for ever is worth 1 / (1 - gamma), however short the episodes are."""
    for name in ("dqn", "greedy"):
        agent = agents.make(name, 1, 1, 0, gamma=0.5, **{**QUICK[name], "epsilon_steps": 1})
        here = np.ones(1, np.float32)
        for step in range(300):
            agent.observe(here, 0, 1.0, here, False, step % 3 == 2)
            agent.update()
        assert agent.values(here[None])[0, 0] == pytest.approx(2.0, abs=0.1)  # type: ignore[attr-defined]


def trail(agent: Agent, episodes: int, seed: int = 9) -> list[int]:
    """Return all actions of an agent on observations and rewards that are made up, but fixed."""
    rng = np.random.default_rng(seed)
    taken = []
    for _ in range(episodes):
        shown = rng.random(5).astype(np.float32) * 8
        for step in range(12):
            taken.append(agent.act(shown, explore=True))
            after = rng.random(5).astype(np.float32) * 8
            reward = float(rng.random()) - 0.1 * taken[-1]
            agent.observe(shown, taken[-1], reward, after, step == 11, False)
            agent.update()
            shown = after
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_equal_seeds_give_equal_agents_and_others_others(name: str) -> None:
    one, other = variant(name), variant(name)
    assert trail(one, 6) == trail(other, 6)
    assert encode_value(one.state()) == encode_value(other.state())
    if name != "heuristic":
        assert trail(variant(name, seed=6), 6) != trail(variant(name), 6)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("steps", [0, 1, 5, 37, 90])
def test_an_agent_goes_on_from_a_checkpoint_as_if_nothing_had_happened(
    name: str, steps: int
) -> None:
    rng = np.random.default_rng(steps)
    agent = variant(name)

    def stage(each: Agent, count: int, rng: np.random.Generator) -> list[int]:
        taken = []
        for step in range(count):
            shown, after = (rng.random(5).astype(np.float32) * 8 for _ in range(2))
            taken.append(each.act(shown, explore=True))
            ends = step % 7 == 6
            each.observe(shown, taken[-1], float(rng.random()), after, ends and step % 2 == 0, ends)
            each.update()
        return taken

    stage(agent, steps, rng)
    kept = encode_value(agent.state())
    ahead = rng.bit_generator.state
    expected = stage(agent, 30, rng)
    again = variant(name, seed=77)
    again.load(decode_value(kept))
    rng.bit_generator.state = ahead
    assert stage(again, 30, rng) == expected
    assert encode_value(again.state()) == encode_value(agent.state())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_checkpoint_does_not_change_with_its_agent(name: str) -> None:
    agent = variant(name)
    trail(agent, 3)
    state = agent.state()
    kept = encode_value(state)
    trail(agent, 3, seed=1)
    assert encode_value(state) == kept


@pytest.mark.parametrize("name", VARIANTS)
def test_without_exploring_an_agent_repeats_itself_and_nothing_in_it_changes(name: str) -> None:
    agent = variant(name)
    trail(agent, 3)
    before = encode_value(agent.state())
    shown = np.array([4.25, 8.5, 0.6, 0.0, 0.375], np.float32)
    assert len({agent.act(shown, explore=False) for _ in range(5)}) == 1
    assert encode_value(agent.state()) == before


@pytest.mark.parametrize("suffix", [".json", ".pt", ""])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_checkpoint_comes_back_from_a_file(name: str, suffix: str, tmp_path: Path) -> None:
    agent = variant(name)
    trail(agent, 4)
    path = tmp_path / f"agent{suffix}"
    agents.write_checkpoint(agent.state(), path)
    back = agents.load(agents.read_checkpoint(path), ACTIONS.names())
    assert encode_value(back.state()) == encode_value(agent.state())
    assert trail(back, 2) == trail(agent, 2)


@pytest.mark.slow
def test_a_further_checkpoint_costs_what_changed(tmp_path: Path) -> None:
    """The replay buffer of 2000 steps is far larger than the rows that twelve steps write."""
    agent = agents.make("dqn", 5, 7, 0, batch=16, updates=1)
    trail(agent, 60)
    sizes = []
    with Repository.init(tmp_path) as repo:
        for step in range(4):
            sizes.append(repo.size())
            trail(agent, 1)
            repo.attach(repo.commit(observation=step), "agent", agent.state())
        sizes.append(repo.size())
    first, *_, last = np.diff(sizes)
    buffer = sum(np.asarray(value).nbytes for value in agent.state()["replay"].values())
    assert first > buffer
    assert last < buffer / 2


def test_a_loader_refuses_what_it_is_not_for() -> None:
    checkpoint = variant("dqn").state()
    with pytest.raises(InvalidInput, match="not of 'greedy'"):
        variant("greedy").load(checkpoint)
    with pytest.raises(InvalidInput, match="observation size 5, this agent 4"):
        agents.make("dqn", 4, 7).load(checkpoint)
    with pytest.raises(InvalidInput, match="must be 1, got '9'"):
        variant("dqn").load({**checkpoint, "version": 9})
    with pytest.raises(InvalidInput, match="malformed checkpoint of 'dqn'"):
        variant("dqn").load({**checkpoint, "online": {}})
    with pytest.raises(InvalidInput, match="malformed checkpoint of 'greedy'"):
        agents.load({"kind": "greedy", "version": 1, "observation_size": 5, "actions": 7})
    for part in ("cells", "episode", "exploration"):
        with pytest.raises(InvalidInput, match="malformed checkpoint of 'greedy'"):
            variant("greedy").load({**variant("greedy").state(), part: [1]})
    with pytest.raises(InvalidInput, match="replay buffer has"):
        agents.make("dqn", 5, 7, buffer=100).load(checkpoint)
    with pytest.raises(InvalidInput, match="has setting 'resolution' 16, this agent 2"):
        agents.make("greedy", 5, 7, resolution=2).load(variant("greedy").state())
    with pytest.raises(InvalidInput, match="not a checkpoint"):
        agents.load({"kind": "dqn"})


def test_a_branch_keeps_its_own_settings_and_takes_all_else_from_the_checkpoint() -> None:
    agent = variant("dqn")
    trail(agent, 4)
    fast = agents.make("dqn", 5, 7, **{**QUICK["dqn"], "lr": 0.1})
    fast.load(agent.state())
    assert fast.settings["lr"] == 0.1
    assert (
        fast.state()["optimizer"]["0.weight"]["step"]
        == agent.state()["optimizer"]["0.weight"]["step"]
    )
    assert trail(fast, 3) != trail(agent, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "'lr' must be from"),
        ({"lr": "fast"}, "'lr' must be like its default"),
        ({"lr": float("nan")}, "'lr' must be like its default"),
        ({"gamma": 1.5}, "'gamma' must be from 0 to 1, got 1.5"),
        ({"batch": 0}, "'batch' must be at least 1, got 0"),
        ({"hidden": [0]}, "'hidden' must be like its default"),
        ({"double": 1}, "'double' must be like its default"),
        ({"loss": "l1"}, "must be 'huber' or 'mse'"),
        ({"repeat": 0.5}, "'repeat' must be"),
        ({"speed": 1}, "unknown setting 'speed'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        agents.make("dqn", 5, 7, **settings)


def test_an_agent_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"agent 'ppo' not found \(known: dqn, greedy, random"):
        agents.make("ppo", 5, 7)
    with pytest.raises(InvalidInput, match="has no settings"):
        agents.make("noop", 5, ACTIONS.names(), lr=0.1)
    with pytest.raises(InvalidInput, match="needs action 'noop'"):
        agents.make("noop", 5, ["left", "right"]).act(np.zeros(5, np.float32), explore=False)


def test_defaults_are_those_that_an_agent_has() -> None:
    for name in agents.LEARNERS:
        assert agents.defaults(name) == agents.make(name, 5, 7).settings
    assert agents.defaults("random") == {}


# --- the parts ---


def test_epsilon_falls_in_a_straight_line_and_stays() -> None:
    explorer = Exploration(ExplorationSettings(epsilon_steps=10), 4, generator(0, 1))
    seen = []
    for _ in range(13):
        seen.append(explorer.epsilon)
        explorer.choose(lambda: 0)
    np.testing.assert_allclose(seen, [*np.linspace(1.0, 0.1, 11), 0.1, 0.1])


def test_random_actions_are_as_frequent_as_epsilon_and_equally_likely() -> None:
    settings = ExplorationSettings(epsilon=0.4, epsilon_min=0.4)
    explorer = Exploration(settings, 4, generator(1, 1))
    taken = np.array([explorer.choose(lambda: -1) for _ in range(20_000)])
    assert np.mean(taken >= 0) == pytest.approx(0.4, abs=0.015)
    np.testing.assert_allclose(np.bincount(taken[taken >= 0]) / np.sum(taken >= 0), 0.25, atol=0.02)


def runs(actions: list[int]) -> Iterator[int]:
    """Yield the lengths of stretches of equal actions."""
    length = 1
    for before, now in itertools.pairwise(actions):
        if before == now:
            length += 1
        else:
            yield length
            length = 1


def test_durations_of_random_actions_follow_the_zeta_distribution() -> None:
    """With 10 000 actions hardly two stretches of the same one meet."""
    settings = ExplorationSettings(epsilon_min=1.0, repeat=2.0)
    explorer = Exploration(settings, 10_000, generator(2, 1))
    lengths = np.array(list(runs([explorer.choose(lambda: 0) for _ in range(60_000)])))
    for n in (1, 2, 3):  # zeta(2) = pi^2 / 6
        assert np.mean(lengths == n) == pytest.approx(6 / np.pi**2 / n**2, abs=0.012)
    assert lengths.max() > 50


def test_what_goes_on_ends_with_the_episode() -> None:
    settings = ExplorationSettings(epsilon_min=1.0, repeat=1.1)
    explorer = Exploration(settings, 10_000, generator(3, 1))
    taken = []
    for _ in range(300):
        taken.append(explorer.choose(lambda: 0))
        explorer.end_episode()
    assert set(runs(taken)) == {1}


def test_a_buffer_keeps_the_last_steps_and_draws_each_alike() -> None:
    buffer = ReplayBuffer(8, 1)
    for step in range(20):
        buffer.add(np.full(1, step, np.float32), step, step, np.full(1, step + 1, np.float32), 0.9)
    batch = buffer.sample(8000, generator(0, 0))
    assert len(buffer) == 8
    assert sorted(set(batch.actions.tolist())) == list(range(12, 20))
    np.testing.assert_array_equal(batch.observations[:, 0], batch.actions)
    np.testing.assert_array_equal(batch.next_observations[:, 0], batch.rewards + 1)
    assert np.bincount(batch.actions)[12:].min() > 850


@pytest.mark.parametrize("terminated", [True, False])
def test_returns_over_several_steps_are_discounted_sums(terminated: bool) -> None:
    multi = MultiStep(3, 0.5)
    rows = []
    for step in range(4):
        here, after = (np.full(1, n, np.float32) for n in (step, step + 1))
        rows += multi.push(here, step, 2.0**step, after, terminated and step == 3, step == 3)
    found = [(int(o[0]), a, value, int(n[0]), left) for o, a, value, n, left in rows]
    bootstrap = 0.0 if terminated else 1.0
    assert found == [
        (0, 0, 1 + 1 + 1, 3, 0.125),
        (1, 1, 2 + 2 + 2, 4, 0.125 * bootstrap),
        (2, 2, 4 + 4, 4, 0.25 * bootstrap),
        (3, 3, 8.0, 4, 0.5 * bootstrap),
    ]


# --- the policies ---


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        ([4.25, 0.5, 0.6, 0.0, 0.375], "reduce_cpu_small"),
        ([4.0, 8.25, 0.6, 0.0, 0.375], "reduce_mem_small"),
        ([0.125, 0.125, 0.0, -0.4, 0.625], "scale_down_replicas"),
        ([0.125, 0.125, 0.0, 0.4, 0.125], "scale_up_replicas"),
        ([4.0, 8.0, 0.0, 0.0, 0.375], "noop"),
    ],
)
def test_the_heuristic_points_the_right_way(observation: list[float], action: str) -> None:
    agent = agents.make("heuristic", 5, ACTIONS.names())
    number = agent.act(np.array(observation, np.float32), explore=True)
    assert ACTIONS.names()[number] == action


def test_json_checkpoints_are_exact_and_refuse_what_is_none() -> None:
    data = {"a": np.array([[0.1, -0.0]], np.float32), "n": 2**127, "deep": [{"b": np.arange(0)}]}
    back = agents.from_json(agents.to_json(data))
    assert encode_value(back) == encode_value(data)
    for text in (
        "",
        "[]",
        "{",
        '{"a": {"array": ["O8", [1], ""]}}',
        json.dumps({"a": {"array": 1}}),
    ):
        with pytest.raises(InvalidInput, match="not a checkpoint"):
            agents.from_json(text)
    with pytest.raises(InvalidInput, match="must hold finite numbers"):
        agents.to_json({"a": float("nan")})
    with pytest.raises(InvalidInput, match="cannot hold a value of type 'object'"):
        agents.to_json({"a": object()})


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path / "trapped").touch, ()

    path = tmp_path / "agent.pt"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InvalidInput, match="cannot read"):
        agents.read_checkpoint(path)
    assert not (tmp_path / "trapped").exists()
    with pytest.raises(NotFound):
        agents.read_checkpoint(tmp_path / "none.pt")
