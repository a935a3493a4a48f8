"""Branches of a training, its checkpoints beside those of its parent, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

from sb3_contrib import ARS
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

from simgit import InvalidInput, NotFound, Repository
from simgit.errors import SimgitWarning
from simgit.integrations.sb3 import SimgitCallback, branch, checkpoints, record, resume
from tests.integrations.sb3.cases import CASES, IGNORED, SMALL, digest
from tests.support.paths import ROOT
from tests.support.unchecked import unchecked  # noqa: F401

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{each}") for each in (*IGNORED, ".*was not checked.*")
]
OPTIONS: dict[str, Any] = {"self_check": False, "provenance": False}
CASE = CASES["ppo-2-plain"]


def learn(model: Any, left: int, **more: Any) -> str:
    try:
        model.learn(left, reset_num_timesteps=False, **more)
    finally:
        model.env.close()
    return digest(model)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    CASE.train(tmp_path / "runs", "ppo")
    return tmp_path / "runs"


@pytest.mark.slow
def test_a_branch_changes_what_it_says_from_there_on(path: Path) -> None:
    with Repository.open(path) as repo:
        before = [(each.oid, each.timesteps) for each in checkpoints.checkpoints(repo, "ppo/0")]
    given = {"learning_rate": 3e-3}
    once = learn(*branch(path, "hot", "ppo@150", overrides=given, make=CASE.make))
    again = learn(*branch(path, "hot2", "ppo@150", overrides=given, make=CASE.make))
    without_make = learn(*branch(path, "hot3", "ppo@150", overrides=given))
    assert once == again == without_make
    same = learn(*branch(path, "same", "ppo@150", make=CASE.make))
    assert once != same == learn(*resume(path, "ppo", at="@150", make=CASE.make))
    with Repository.open(path) as repo:
        # 75 actions of each lane: those to 150 are shared, the 64 to 128 learned before
        for lane in (0, 1):
            point = repo.state(repo.runs[f"hot/{lane}"].branch_point).step
            starts = repo["ppo/0" if not lane else "ppo/1"].episode_starts
            assert (~starts[: point + 1]).sum() == 75
        assert repo.config("hot/0")["agent"]["learning_rate"] == 3e-3
        assert before == [
            (each.oid, each.timesteps) for each in checkpoints.checkpoints(repo, "ppo/0")
        ]
        own = [each.timesteps for each in checkpoints.checkpoints(repo, "hot/0")]
        assert own == [256, 192, 128, 0]
        assert repo.fsck().is_clean
    model, left = resume(path, "hot", at=192)  # from a checkpoint of the branch's own
    assert (model.learning_rate, left) == (3e-3, 250 - 192)
    assert learn(model, left) == once
    assert learn(*resume(path, "hot", at=128)) == once  # and from its parent's


@pytest.mark.slow
def test_a_branch_of_a_branch_has_the_settings_of_both(path: Path) -> None:
    learn(*branch(path, "one", "ppo@100", overrides={"gamma": 0.5}))
    two = learn(*branch(path, "two", "one@200", overrides={"ent_coef": 0.1}))
    assert two == learn(*resume(path, "two", at=0))


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_anything_is_recorded(path: Path) -> None:
    def other(kind: Any, **settings: Any) -> Any:
        given = {"policy_kwargs": {"net_arch": [8]}, "n_steps": 32, "device": "cpu"} | settings
        return lambda envs, overrides: kind("MlpPolicy", envs, **given)

    for make, words in (
        (other(A2C), "is a 'A2C'"),
        (other(PPO, policy_kwargs={"net_arch": [9]}), "shape"),
        (other(PPO, n_steps=16), "n_steps=16"),
        (lambda envs, overrides: None, "make"),
    ):
        with pytest.raises(InvalidInput, match=words):
            resume(path, "ppo", make=make)
    with pytest.raises(InvalidInput, match="lambda lane: Thing"):
        resume(path, "ppo", env=type("Thing", (), {}))
    with pytest.raises(InvalidInput, match="n_steps"):
        branch(path, "x", "ppo@100", overrides={"n_steps": 8})
    with pytest.raises(InvalidInput, match="did you mean 'gamma'"):
        branch(path, "y", "ppo@100", overrides={"gama": 0.5})
    with Repository.open(path) as repo:
        repo.commit({"x": 1}, run="plain")
        with pytest.raises(NotFound, match="no checkpoint"):
            resume(repo, "plain")
    model, left = resume(path, "ppo", at=128)
    with pytest.raises(InvalidInput, match="reset_num_timesteps=False"):
        model.learn(left)
    with pytest.warns(SimgitWarning, match="'gamma' was 0.99 and is made as 0.5"):
        model.env.close()
        resume(path, "ppo", make=lambda envs, _: CASE.make(envs, {"gamma": 0.5}))[0].env.close()


@pytest.mark.slow
def test_a_rate_that_moves_is_replaced_in_a_branch_and_a_failed_branch_leaves_nothing(
    tmp_path: Path,
) -> None:
    def rate(left: float) -> float:
        return 3e-3 * left

    given: dict[str, Any] = {"learning_rate": rate, "n_steps": 32, "batch_size": 16} | SMALL

    def make(envs: Any, overrides: dict[str, Any]) -> Any:
        return PPO("MlpPolicy", envs, **(given | overrides))

    path = tmp_path / "runs"
    venv = make_vec_env("CartPole-v1", 1, seed=1, wrapper_class=record(path, "ppo", **OPTIONS))
    PPO("MlpPolicy", venv, seed=1, **given).learn(128, callback=SimgitCallback(64))
    venv.close()
    with pytest.raises(InvalidInput, match="n_steps=8"):
        branch(path, "hot", "ppo@80", make=lambda envs, _: make(envs, {"n_steps": 8}))
    with Repository.open(path) as repo:
        assert "hot" not in repo.runs
    model, left = branch(
        path, "hot", "ppo@80", overrides={"learning_rate": 1e-2}, make=make, trust=True
    )
    model.learn(left, reset_num_timesteps=False)
    assert model.lr_schedule(0.5) == 1e-2
    assert model.policy.optimizer.param_groups[0]["lr"] == 1e-2
    model.env.close()


def test_what_would_not_be_restored_is_refused(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "runs") as repo:
        plain = DQN("MlpPolicy", "CartPole-v1", device="cpu")
        with pytest.raises(InvalidInput, match="not recorded"):
            plain.learn(10, callback=SimgitCallback())
        above = DummyVecEnv([
            lambda: gymnasium.wrappers.TimeLimit(
                record(repo, "a", **OPTIONS)(gymnasium.make("CartPole-v1")), 9
            )
        ])  # fmt: skip
        with pytest.raises(InvalidInput, match="above the recorder"):
            PPO("MlpPolicy", above, device="cpu").learn(10, callback=SimgitCallback())
        above.close()
        recorded = make_vec_env("CartPole-v1", wrapper_class=record(repo, "b", **OPTIONS))
        with pytest.raises(InvalidInput, match="'ARS' cannot be resumed exactly"):
            ARS("LinearPolicy", recorded, device="cpu").learn(10, callback=SimgitCallback())
        model = PPO("MlpPolicy", recorded, n_steps=8, batch_size=8, device="cpu")
        model.thing = object()
        with pytest.raises(InvalidInput, match="attribute 'thing' cannot be stored exactly"):
            model.learn(10, callback=SimgitCallback())
        recorded.close()
        with pytest.raises(InvalidInput, match="every must be at least 1"):
            SimgitCallback(every=0)
        with pytest.raises(NotFound, match="run 'nothing' not found"):
            resume(repo, "nothing")


@pytest.mark.slow
def test_the_states_are_those_of_the_environment_alone(tmp_path: Path) -> None:
    """Monitor's seconds are in no state, wherever it stands: two trainings have the same states."""
    for run in ("a", "b"):
        CASES["dqn-1-plain"].train(tmp_path / "runs", run)
    with Repository.open(tmp_path / "runs") as repo:
        assert repo.runs["a/0"].oid == repo.runs["b/0"].oid
        inner = gymnasium.wrappers.TimeLimit(make_vec_env("CartPole-v1").envs[0], 99)
        env = record(repo, "c", **OPTIONS)(inner)
        env.reset(seed=1)
        while not env.step(0)[2]:
            pass
        env.close()
        assert "t" not in repo.state("c/0").info["episode"]
        assert np.isfinite(repo.state("c/0").info["episode"]["r"])


@pytest.mark.slow
def test_a_training_that_was_killed_becomes_what_it_would_have_become(tmp_path: Path) -> None:
    case = CASES["sac-1-plain"]
    learned = case.train(tmp_path / "whole", "sac")[0]
    code = (
        "import os, signal\n"
        "from tests.integrations.sb3 import cases\n"
        "class Kill(cases.SimgitCallback):\n"
        "    def _on_step(self):\n"
        "        if self.num_timesteps == 201: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super()._on_step()\n"
        "cases.SimgitCallback = Kill\n"
        f"cases.CASES['sac-1-plain'].train({str(tmp_path / 'killed')!r}, 'sac')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert case.resume(tmp_path / "killed", "sac", None)[0] == learned
    with Repository.open(tmp_path / "killed") as a, Repository.open(tmp_path / "whole") as b:
        assert a.runs["sac/0"].oid == b.runs["sac/0"].oid
