"""PettingZoo: a lane for each agent, and every joint step put back exactly, in both APIs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from simgit import Divergence, InvalidInput, Repository
from simgit.errors import AlreadyExists, SimgitWarning
from tests.integrations.zoo_script import CASES, maker, play
from tests.support.paths import ROOT

pytest.importorskip("pettingzoo")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
FAST = {"born and dying in turns", "tic-tac-toe"}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def zoo() -> Iterator[Any]:
    from simgit.integrations import pettingzoo

    yield pettingzoo


def made(case: str) -> Any:
    """Return a function that makes an environment; skip what is not installed."""
    try:
        maker(case)().close()
    except ImportError as error:
        pytest.skip(str(error))
    return maker(case)


def same(one: Repository, other: Repository) -> bool:
    """Return whether all runs of two repositories have the same states."""
    tips = [{name: info.oid for name, info in repo.runs.items()} for repo in (one, other)]
    return tips[0] == tips[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_resumed_branched_and_verified(zoo: Any, case: str) -> None:
    make, stop = made(case), 40 if case in FAST else 60
    whole, parts = Repository.init(":memory:"), Repository.init(":memory:")
    play(zoo.record(make(), whole, "main"), stop)
    play(zoo.record(make(), parts, "main"), 13)
    play(zoo.resume(parts, "main", make=make), 31)
    play(zoo.resume(parts, "main", make=make, at=22), stop)  # compared up to 31, then recorded
    assert same(whole, parts)
    assert zoo.verify(parts, "main", make=make).is_exact
    assert parts.runs["main"].metadata["verdict"]["result"] == "exact by replay"
    zoo.branch(parts, "other", "main@33")
    play(zoo.resume(parts, "other", make=make), stop)
    for name, info in whole.runs.items():
        found = parts.runs.get(name.replace("main", "other", 1))
        assert (None if found is None else found.oid) == info.oid, name


@pytest.mark.slow
def test_a_fresh_process_resumes(tmp_path: Path) -> None:
    made("tic-tac-toe")
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SIMGIT_CONFIG_DIR": str(tmp_path / "config")}

    def run(where: str, stop: int) -> None:
        program = [sys.executable, "-m", "tests.integrations.zoo_script"]
        arguments = [str(tmp_path / where), "tic-tac-toe", str(stop)]
        subprocess.run([*program, *arguments], check=True, env=environ, cwd=tmp_path)

    run("parts", 17)
    run("parts", 40)
    from simgit.integrations import pettingzoo as zoo

    with Repository.init(":memory:") as whole, Repository.open(tmp_path / "parts") as parts:
        play(zoo.record(maker("tic-tac-toe")(), whole, "main"), 40)
        assert same(whole, parts)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["archers", "born and dying in turns", "tic-tac-toe"])
def test_what_was_killed_in_the_middle_of_it_goes_on(tmp_path: Path, case: str) -> None:
    """Killed three times with states in the buffers; what was stored is continued exactly."""
    made(case)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SIMGIT_CONFIG_DIR": str(tmp_path / "config")}

    def run(stop: int, *more: str) -> int:
        program = [sys.executable, "-m", "tests.integrations.zoo_script"]
        arguments = [str(tmp_path / "parts"), case, str(stop), *more]
        return subprocess.run([*program, *arguments], env=environ, cwd=tmp_path).returncode

    assert [run(stop, "kill") for stop in (14, 23, 31)] == [-9] * 3
    assert run(40) == 0
    from simgit.integrations import pettingzoo as zoo

    with Repository.init(":memory:") as whole, Repository.open(tmp_path / "parts") as parts:
        play(zoo.record(maker(case)(), whole, "main"), 40)
        assert same(whole, parts)


@pytest.mark.slow
def test_a_lane_has_what_its_agent_saw(zoo: Any) -> None:
    make = made("born and dying")
    repo, plain = Repository.init(":memory:"), make()
    env = zoo.record(make(), repo, "main")
    seen: dict[Any, list[Any]] = {}
    given = [(plain.reset(seed=3)[0], env.reset(seed=3)[0])]
    for step in range(60):
        actions = dict.fromkeys(env.agents, step % 3)
        given.append((plain.step(actions)[0], env.step(actions)[0]))
    for unrecorded, recorded in given:  # the recorder only looks on
        assert unrecorded.keys() == recorded.keys()
        for agent, observation in recorded.items():
            assert np.array_equal(unrecorded[agent], observation)
            seen.setdefault(agent, []).append(observation)
    env.close()
    for agent, observations in seen.items():
        lane = repo[f"main/{agent}"]
        assert len(lane) == len(observations)
        assert all(
            np.array_equal(s.observation, o) for s, o in zip(lane, observations, strict=True)
        )
    lanes = [repo[f"main/{agent}"] for agent in seen]
    born = [lane[0].info["joint_step"] for lane in lanes]
    assert 0 in born and max(born) > 0, "no agent is born in the test"
    assert all(lane[0].reset is not None for lane in lanes)
    died = [lane[len(lane) - 1] for lane in lanes if lane[len(lane) - 1].terminated]
    assert any(state.info["joint_step"] < 60 for state in died), "no agent dies in the test"


def test_agents_in_turns_have_the_reward_since_their_last_turn(zoo: Any) -> None:
    make = made("tic-tac-toe")
    repo = Repository.init(":memory:")
    env = zoo.record(make(), repo, "main")
    env.reset(seed=1)
    for action in (0, 3, 1, 4, 2):  # player 1 has a row
        env.step(action)
    while env.agents:
        env.step(None)
    env.close()
    one, two = repo["main/player_1"], repo["main/player_2"]
    assert [s.action for s in one] == [None, 0, 1, 2] and [s.action for s in two] == [None, 3, 4]
    assert (one[3].reward, one[3].terminated, two[2].reward, two[2].terminated) == (
        1,
        True,
        -1,
        True,
    )
    assert repo["main"].actions["agent"][0] in (None, "player_1")
    assert [s.info["turn"] for s in repo["main"]][:3] == ["player_1", "player_2", "player_1"]


@pytest.mark.slow
def test_another_environment_diverges(zoo: Any) -> None:
    make = made("archers")
    repo = Repository.init(":memory:")
    play(zoo.record(make(), repo, "main"), 12)
    from pettingzoo.butterfly import knights_archers_zombies_v11 as other

    def changed() -> Any:
        return other.parallel_env(max_cycles=25, spawn_delay=3)

    with pytest.raises(Divergence) as caught:
        zoo.restore(repo, "main@12", make=changed)
    assert caught.value.field.startswith("observation")
    found = zoo.verify(repo, "main", make=changed)
    assert not found.is_exact and found.divergence.step == caught.value.step
    with pytest.raises(Divergence):
        env = zoo.resume(repo, "main", make=make, at=5)
        while True:
            env.step(dict.fromkeys(env.agents, 5))


def test_a_lane_that_is_ahead_after_a_kill_is_cut(zoo: Any) -> None:
    make = made("tic-tac-toe")
    repo, whole = Repository.init(":memory:"), Repository.init(":memory:")
    play(zoo.record(make(), repo, "main"), 12)
    play(zoo.record(make(), whole, "main"), 20)
    with repo.recorder("main/player_1") as rec:
        rec.append({"not": "played"}, info={"joint_step": 13})
    with repo.recorder("main/player_3") as rec:
        rec.append({"not": "played"}, info={"joint_step": 13})
    play(zoo.resume(repo, "main", make=make), 20)
    assert same(whole, repo)


def test_what_is_refused_and_what_is_warned_of(zoo: Any) -> None:
    make = made("stone")
    repo = Repository.init(":memory:")
    with pytest.raises(InvalidInput):
        zoo.record(object(), repo, "main")
    with pytest.warns(SimgitWarning, match="had no seed"):
        env = zoo.record(make(), repo, "main")
        env.reset()
    env.close()
    with pytest.raises(AlreadyExists):
        zoo.record(make(), repo, "main")
    with pytest.raises(InvalidInput):
        zoo.record(make(), repo, "third", on_conflict="branch")


def test_a_path_is_a_repository_of_the_environments_own(zoo: Any, tmp_path: Path) -> None:
    play(zoo.record(made("stone")(), tmp_path / "new", "main"), 4)
    with Repository.open(tmp_path / "new") as repo:
        assert repo.runs["main"].step == 4 and repo.runs["main/player_0"].step == 4
        assert zoo.restore(repo, "main@3", make=made("stone")).agents == ["player_0", "player_1"]


def sums_of(agents: list[str]) -> Any:
    """Make an environment that sums actions up in their order, and takes them away."""
    from gymnasium import spaces
    from pettingzoo import ParallelEnv

    class Sums(ParallelEnv):  # type: ignore[misc]
        metadata: ClassVar[dict[str, Any]] = {"name": "sums"}

        def __init__(self) -> None:
            self.possible_agents, self.render_mode = list(agents), None

        def observation_space(self, agent: str) -> Any:
            return spaces.Box(-np.inf, np.inf, (1,), np.float32)

        def action_space(self, agent: str) -> Any:
            return spaces.Box(-1, 1, (1,), np.float32)

        def reset(self, seed: Any = None, options: Any = None) -> Any:
            self.agents, self.x = list(agents), np.zeros(1, np.float32)
            return dict.fromkeys(agents, self.x), {agent: {} for agent in agents}

        def step(self, actions: Any) -> Any:
            for agent in list(actions):
                action = actions.pop(agent)
                self.x += action
                action *= 0
            flags = dict.fromkeys(agents, False)
            rewards = {agent: None if agent == "b" else 1.5 for agent in agents}
            return dict.fromkeys(agents, self.x), rewards, flags, flags, {}

    return Sums


@pytest.mark.slow
@pytest.mark.parametrize("agents", [["b", "aa", "c"], ["c", "b", "aa"]])
@pytest.mark.parametrize("turned", [False, True], ids=["as the agents", "in another order"])
def test_actions_are_recorded_as_given_and_in_their_order(
    zoo: Any, agents: list[str], turned: bool
) -> None:
    make, repo = sums_of(agents), Repository.init(":memory:")
    env = zoo.record(make(), repo, "main")
    env.reset(seed=1)
    seen = []
    for step in range(25):
        order = env.agents[:: -1 if turned else 1]
        draw = np.random.default_rng(step)
        env.step({each: draw.uniform(-1, 1, 1).astype(np.float32) ** 9 for each in order})
        seen.append(env.returned[0]["b"].copy())
    env.close()
    assert zoo.verify(repo, "main", make=make).is_exact
    assert all(state.action is None or state.action.any() for state in repo["main/b"])
    assert repo.state("main").reward == 3.0 and repo.state("main").info["rewards"]["b"] is None
    for step in (3, 17, 25):
        restored = zoo.restore(repo, f"main@{step}", make=make)
        assert restored.x.tobytes() == seen[step - 1].tobytes()
