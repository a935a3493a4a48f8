"""The environment that steps through what was recorded."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

import simgit
from simgit.gym import Recorder
from simgit.gym.envs.replay import ReplayEnv

CHECKED = [
    "ignore:.*Box observation space m..imum value is.*infinity",
    "ignore:.*Not able to test alternative render modes",
]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Four episodes of CartPole with seeds 0 to 3, the last one cut off."""
    env = Recorder(gymnasium.make("CartPole-v1"), tmp_path / "repo", provenance=False)
    env.action_space.seed(0)
    for seed in range(4):
        env.reset(seed=seed)
        for _ in range(500 if seed < 3 else 5):
            if any(env.step(env.action_space.sample())[2:4]):
                break
    env.close()
    return tmp_path / "repo"


def play(env: gymnasium.Env, **reset) -> list[tuple]:
    """Step through one episode; return all that came of it."""
    seen = [env.reset(**reset)]
    while len(seen) == 1 or not (seen[-1][2] or seen[-1][3]):
        seen.append(env.step(env.action_space.sample()))
    return seen


def test_it_returns_what_was_recorded(recorded: Path) -> None:
    env = gymnasium.make("simgit:simgit/Replay-v0", repository=str(recorded), revision="main")
    with simgit.Repository.open(recorded) as repo:
        episodes = repo["main"].episodes
        for number, episode in enumerate(episodes):
            seen = play(env)
            assert np.array_equal([row[0] for row in seen], episode.observations)
            assert [row[1] for row in seen[1:]] == episode.rewards[1:].tolist()
            actions = [row[4]["recorded_action"] for row in seen[1:]]
            assert actions == episode.actions[1:].tolist()
            assert seen[-1][2:4] == ((True, False) if number < 3 else (False, True))
    assert np.array_equal(play(env)[0][0], play(env, options={"episode": 1})[0][0]), (
        "from the start again"
    )
    env.close()


@pytest.mark.filterwarnings(*CHECKED)
def test_it_passes_gymnasiums_checker(recorded: Path) -> None:
    env = gymnasium.make("simgit:simgit/Replay-v0", repository=str(recorded)).unwrapped
    check_env(env, skip_render_check=True)
    env.close()


def test_a_seed_leads_to_the_episode_that_had_it(recorded: Path) -> None:
    with ReplayEnv(str(recorded)) as env:
        second = play(env, options={"episode": 2})
        assert np.array_equal(second[0][0], play(env, seed=1)[0][0])
        assert np.array_equal(play(env, seed=99)[0][0], play(env, options={"episode": 1})[0][0])
        with pytest.raises(simgit.NotFound, match="episode 9 not found"):
            env.reset(options={"episode": 9})


def test_its_spaces_are_those_of_the_environment(recorded: Path) -> None:
    original = gymnasium.make("CartPole-v1")
    with ReplayEnv(str(recorded)) as env:
        assert env.observation_space == original.observation_space
        assert env.action_space == original.action_space
        observation, _ = env.reset()
        observation += 1  # as of any environment, it is the caller's own


def test_a_strict_replay_tells_another_action(recorded: Path) -> None:
    with ReplayEnv(str(recorded), strict=True) as env:
        env.reset(seed=0)
        with simgit.Repository.open(recorded) as repo:
            action = int(repo.state("main@1").action)
        env.step(action)
        env.reset(seed=0)
        with pytest.raises(simgit.Divergence, match="at step 1") as caught:
            env.step(1 - action)
        assert (caught.value.step, caught.value.field) == (1, "action")


def test_stepping_past_the_end_is_an_error(recorded: Path) -> None:
    with ReplayEnv(str(recorded)) as env:
        with pytest.raises(simgit.InvalidInput, match="is over"):
            env.step(0)
        play(env)
        with pytest.raises(simgit.InvalidInput, match="is over"):
            env.step(0)


def test_one_episode_and_a_range_can_be_replayed(recorded: Path) -> None:
    with ReplayEnv(str(recorded), "main@ep3") as env:
        assert len(env._episodes) == 1
    with pytest.raises(simgit.NotFound, match="contains no reset"):
        ReplayEnv(str(recorded), "main@1..3")


def test_what_was_recorded_without_spaces_gets_some_that_fit(tmp_path: Path) -> None:
    with simgit.Repository.init(tmp_path) as repo, repo.recorder("main") as recorder:
        recorder.append(np.zeros((20, 20, 3), np.uint8), reset={})
        recorder.append(np.full((20, 20, 3), 9, np.uint8), 2, 1.0, True, False)
    with ReplayEnv(str(tmp_path), render_mode="rgb_array") as env:
        assert env.observation_space == spaces.Box(0, 255, (20, 20, 3), np.uint8)
        assert env.action_space == spaces.Discrete(3)
        env.reset()
        env.step(0)
        assert (env.render() == 9).all() and env.render().shape == (20, 20, 3)


def test_texts_have_no_space_of_their_own(tmp_path: Path) -> None:
    with simgit.Repository.init(tmp_path) as repo, repo.recorder("main") as recorder:
        recorder.append("a", reset={})
        recorder.append("b", "go", 1.0)
    with pytest.raises(simgit.InvalidInput, match="observation space was not recorded"):
        ReplayEnv(str(tmp_path))


def test_states_without_images_cannot_be_rendered(recorded: Path) -> None:
    with ReplayEnv(str(recorded), render_mode="rgb_array") as env:
        env.reset()
        with pytest.raises(simgit.InvalidInput, match="simgit video"):
            env.render()


def test_the_origin_of_a_history_is_what_it_was_recorded_from(recorded: Path) -> None:
    with simgit.Repository.open(recorded) as repo:
        assert repo.origin("main@3")["environment"]["id"] == "CartPole-v1"
    with simgit.Repository.init(":memory:") as repo:
        repo.commit(0)
        assert repo.origin() == {}
