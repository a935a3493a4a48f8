"""Generators beside an environment's own: of its spaces, of the process, and of torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from simgit import Repository
from simgit.gym import Recorder, VectorRecorder, drivers, restore, verify


class Sampling(gym.Env[Any, Any]):
    """Its resets and steps draw from its spaces, and from the process's generators."""

    observation_space = gym.spaces.Box(0, 1e6, (3,), np.float64)

    def __init__(self) -> None:
        self.action_space = gym.spaces.Discrete(1000)

    def _drawn(self) -> Any:
        inner = self.observation_space.sample()[0]
        return np.array([self.action_space.sample(), inner, np.random.random()], np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._drawn(), {}

    def step(self, action: Any) -> Any:
        return self._drawn(), 0.0, False, False, {}


@pytest.fixture
def repo(tmp_path: Path) -> Any:
    gym.register("Sampling-v0", Sampling)
    with Repository.init(tmp_path) as made:
        yield made
    del gym.registry["Sampling-v0"]


def _unseed() -> None:
    np.random.seed(None)
    Sampling.observation_space.seed(None)


@pytest.mark.parametrize("snapshots", [None, 4])
def test_what_a_first_reset_draws_from_spaces_and_the_process_comes_again(
    repo: Repository, snapshots: int | None
) -> None:
    env = gym.make("Sampling-v0", disable_env_checker=True)
    env.action_space.seed(7)
    recorder = Recorder(env, repo, snapshots=snapshots, self_check=False)
    recorder.reset(seed=1)
    for _ in range(9):
        recorder.step(0)
    recorder.close()
    _unseed()
    assert verify(repo, "main").divergence is None
    _unseed()
    again = restore(repo, "main@6", trust=True)
    assert again.step(0)[0].tolist() == repo.state("main@7").observation.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_each_lane_of_a_vector_has_the_generators_of_its_spaces(
    repo: Repository, mode: str
) -> None:
    from simgit.gym import Lane

    envs: Any = gym.make_vec(
        "Sampling-v0", 2, vectorization_mode=mode, wrappers=[Lane],
        **({"vector_kwargs": {"context": "fork"}} if mode == "async" else {}),
    )  # fmt: skip
    recorder = VectorRecorder(envs, repo, "lanes", self_check=False)
    recorder.reset(seed=1)
    noted = [repo.runs[name].oid for name in recorder.runs]
    recorder.step(np.zeros(2, np.int64))
    recorder.close()
    assert noted == [None, None]
    for name in ("lanes/0", "lanes/1"):
        found = repo.attachment(f"{name}@0", "session")
        assert set(drivers.unpack(found["random"])) == {"spaces", "globals"}


def test_a_space_of_the_class_samples_the_same_again(repo: Repository) -> None:
    env = gym.make("Sampling-v0").unwrapped
    env.observation_space.seed(3)
    driver = drivers.select(env)
    taken = driver.snapshot(env)
    first = env.observation_space.sample().tolist()
    driver.restore(env, taken or {})
    assert env.observation_space.sample().tolist() == first


def test_children_that_a_generator_spawns_come_again() -> None:
    envs = [gym.make("CartPole-v1"), gym.make("CartPole-v1")]
    envs[0].reset(seed=5)
    envs[0].unwrapped.np_random.spawn(2)
    driver = drivers.select(envs[0])
    taken = driver.snapshot(envs[0]) or {}
    first = envs[0].unwrapped.np_random.spawn(1)[0].random()
    for env in envs:
        driver.restore(env, taken)
        assert env.unwrapped.np_random.spawn(1)[0].random() == first


LATE = """
import sys
import gymnasium as gym

class Late(gym.Env):
    observation_space = action_space = gym.spaces.Discrete(99)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return 0, {}
    def step(self, action):
        self.t += 1
        if self.t < 4:
            return self.t, 0.0, False, False, {}
        import torch
        return self.t, float(torch.rand(())), False, False, {}

gym.register("Late-v0", Late)

if __name__ == "__main__":
    from simgit.gym import Recorder, restore
    import simgit, late
    if sys.argv[2] == "record":
        env = Recorder(gym.make("Late-v0"), sys.argv[1], snapshots=3, self_check=False)
        env.reset(seed=1)
        for _ in range(12):
            env.step(0)
        env.close()
    else:
        repo = simgit.Repository.open(sys.argv[1])
        for at in map(int, sys.argv[2].split(",")):
            env = restore(repo, f"main@{at}")
            for step in range(at + 1, 13):
                assert env.step(0)[1] == repo.state(f"main@{step}").reward, (at, step)
"""


@pytest.mark.slow
def test_torch_that_is_loaded_late_draws_the_same_again_in_another_process(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "late.py").write_text(LATE)
    for do in ("record", "5,2,7", "0"):
        done = subprocess.run(
            [sys.executable, "-c", "import runpy; runpy.run_module('late', run_name='__main__')",
             str(tmp_path / "store"), do],
            cwd=tmp_path, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
