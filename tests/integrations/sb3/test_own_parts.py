"""What users add to a learner comes back too, or is refused: modules, counters, lists of callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

import stable_baselines3
import torch
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import ActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper
from torch import nn

from simgit import InvalidInput, Repository
from simgit.errors import SimgitWarning
from simgit.integrations.sb3 import SimgitCallback, checkpoints, record, resume
from tests.integrations.sb3.cases import IGNORED, digest
from tests.support.unchecked import unchecked  # noqa: F401

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{each}") for each in (*IGNORED, ".*the recorded one is.*")
]
ON = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}}
OFF = {"learning_starts": 40, "batch_size": 16, "buffer_size": 150}


class Curious(BaseCallback):
    """Trains a network and sets the entropy coefficient by it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)
        nn.init.constant_(self.net.weight, 0.1)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1)

    def _on_step(self) -> bool:
        loss = self.net(torch.as_tensor(self.locals["new_obs"])).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.model.ent_coef = float(loss.detach())
        return True


class Counting(BaseCallback):
    def __init__(self, shared: dict[str, int]) -> None:
        super().__init__()
        self.shared = shared

    def _on_step(self) -> bool:
        self.shared["steps"] += 1
        return True


class Following(Counting):
    def _on_step(self) -> bool:
        self.model.ent_coef = self.shared["steps"] * 1e-3
        return True


class Drawing(BaseCallback):
    """Draws where a checkpoint is taken."""

    def _on_rollout_start(self) -> None:
        self.model.ent_coef = float(np.random.random()) * 0.1

    def _on_step(self) -> bool:
        return True


class Shaping(VecEnvWrapper):
    """Adds a reward of a network that changes."""

    def __init__(self, venv: Any) -> None:
        super().__init__(venv)
        self.net = nn.Linear(4, 1)
        nn.init.constant_(self.net.weight, 0.1)

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        seen, reward, ended, infos = self.venv.step_wait()
        with torch.no_grad():
            self.net.weight *= 0.99
            return seen, reward + self.net(torch.as_tensor(seen)).numpy().ravel(), ended, infos


class Late(PPO):
    """Has an attribute only when it has learned."""

    def train(self) -> None:
        self.critic_updates = getattr(self, "critic_updates", 0) + 1
        self.ent_coef = 0.01 * self.critic_updates
        super().train()


class Beside(PPO):
    """Has a network that its parameters do not have."""

    def _setup_model(self) -> None:
        super()._setup_model()
        self.critic_extra = nn.Linear(1, 1)
        nn.init.zeros_(self.critic_extra.bias)

    def train(self) -> None:
        with torch.no_grad():
            self.critic_extra.bias += 0.01
        self.ent_coef = self.critic_extra.bias.item()
        super().train()


class Extractor(BaseFeaturesExtractor):
    """Has state that is in no ``state_dict``."""

    def __init__(self, space: Any) -> None:
        super().__init__(space, 4)
        self.calls, self._rng, self.line = 0, np.random.default_rng(1), nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4), persistent=False)

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.mean += 0.1 * x.mean(0).detach()
        return self.line(x - self.mean) * (1 + 0.001 * self.calls) + self._rng.normal() * 0.01


class Fading(ActionNoise):
    """Another noise, less and less."""

    def __init__(self) -> None:
        super().__init__()
        self.base = OrnsteinUhlenbeckActionNoise(np.zeros(1), 0.3 * np.ones(1))
        self.count = 0

    def __call__(self) -> Any:
        self.count += 1
        return self.base() / (1 + 0.01 * self.count)

    def reset(self) -> None:
        self.base.reset()


def ppo(venv: Any, kind: Any = PPO, **given: Any) -> Any:
    return kind("MlpPolicy", venv, seed=1, device="cpu", **ON | given)


def extracting(venv: Any) -> Any:
    return ppo(venv, policy_kwargs={"net_arch": [8], "features_extractor_class": Extractor})


def fading(venv: Any) -> Any:
    return TD3("MlpPolicy", venv, seed=1, device="cpu", action_noise=Fading(), **OFF)


def no_callbacks() -> list[Any]:
    return []


def sharing() -> list[Any]:
    shared = {"steps": 0}
    return [Counting(shared), Following(shared)]


CASES: dict[str, Any] = {
    "callback": (ppo, lambda: [Curious()]),
    "shared": (ppo, sharing),
    "wrapper": (lambda venv: ppo(Shaping(venv)), no_callbacks),
    "late": (lambda venv: ppo(venv, Late), no_callbacks),
    "beside": (lambda venv: ppo(venv, Beside), no_callbacks),
    "extractor": (extracting, no_callbacks),
    "noise": (fading, no_callbacks),
}


def learned(path: Path, make: Any, callbacks: Any, vector: Any = DummyVecEnv) -> str:
    env, lanes = ("Pendulum-v1", 1) if make is fading else ("CartPole-v1", 2)
    wrapper = record(path, "x", self_check=False, provenance=False)
    venv = make_vec_env(env, lanes, seed=3, wrapper_class=wrapper, vec_env_cls=vector)
    model = make(venv)
    try:
        model.learn(250, callback=callbacks)
    finally:
        model.env.close()
    return digest(model)


def again(path: Path, make: Any, callbacks: Any, at: int | None = None) -> str:
    model, left = resume(path, "x", at=at, make=lambda envs, _: make(envs), trust=True)
    try:
        model.learn(left, callback=callbacks, reset_num_timesteps=False)
    finally:
        model.env.close()
    return digest(model)


@pytest.mark.parametrize(
    "case",
    [each if each == "callback" else pytest.param(each, marks=pytest.mark.slow) for each in CASES],
)
def test_what_users_add_comes_back(tmp_path: Path, case: str) -> None:
    make, callbacks = CASES[case]
    full = learned(tmp_path / "runs", make, [*callbacks(), SimgitCallback(60)])
    assert again(tmp_path / "runs", make, callbacks(), 130) == full


@pytest.mark.slow
def test_a_checkpoint_is_taken_where_it_was_among_the_callbacks(tmp_path: Path) -> None:
    full = learned(tmp_path / "runs", ppo, [SimgitCallback(60), Drawing()])
    assert again(tmp_path / "runs", ppo, [Drawing()], 192) == full


@pytest.mark.slow
def test_the_callback_of_the_script_is_found_within_a_list(tmp_path: Path) -> None:
    """Two callbacks would be there: the one that was not told writes over the checkpoint."""

    def stored() -> list[Any]:
        with Repository.open(tmp_path / "runs") as repo:
            return [each.oid for each in checkpoints.checkpoints(repo, "x/0")]

    full = learned(tmp_path / "runs", ppo, SimgitCallback(60))
    before = stored()
    for given in (CallbackList([SimgitCallback(60)]), lambda *_: True):  # and a function
        assert again(tmp_path / "runs", ppo, given, 130) == full
        assert stored() == before


@pytest.mark.slow
def test_other_threads_versions_and_another_end_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(venv: Any) -> Any:
        return ppo(venv, learning_rate=lambda left: 1e-3 * left)

    learned(tmp_path / "runs", make, SimgitCallback(60))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.warns(SimgitWarning, match=f"other versions or settings: threads {threads}$"):
            model, left = resume(
                tmp_path / "runs", "x", at=192, make=lambda envs, _: make(envs), trust=True
            )
        with pytest.warns(SimgitWarning, match=r"ends at 300 timesteps.*'lr_schedule'"):
            model.learn(left + 50, reset_num_timesteps=False)
        model.env.close()
    finally:
        torch.set_num_threads(threads)
    was = stable_baselines3.__version__
    monkeypatch.setattr(stable_baselines3, "__version__", "99.0")
    with pytest.warns(SimgitWarning, match=f"settings: stable_baselines3 {was}$"):
        resume(tmp_path / "runs", "x", at=192, make=lambda envs, _: make(envs), trust=True)[
            0
        ].env.close()


class Rewards(RolloutBuffer):
    """Remembers something from rollout to rollout."""

    scale = 1.0


class FasterDummyVecEnv(DummyVecEnv):
    """A vector of the user's whose name ends like that of the library's."""


class Adaptive:
    """A schedule that depends on how often it was called."""

    count = 0

    def __call__(self, _: float) -> float:
        self.count += 1
        return 1e-3 / self.count


@pytest.mark.slow
def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    callback = SimgitCallback(60)
    with pytest.raises(InvalidInput, match=r"rollout buffer '.*Rewards'"):
        learned(tmp_path / "a", lambda venv: ppo(venv, rollout_buffer_class=Rewards), callback)
    with pytest.raises(InvalidInput, match="another value each time"):
        learned(tmp_path / "b", lambda venv: ppo(venv, learning_rate=Adaptive()), callback)
    learned(tmp_path / "c", ppo, SimgitCallback(60), FasterDummyVecEnv)
    with pytest.raises(InvalidInput, match="vector 'FasterDummyVecEnv' cannot be restored"):
        again(tmp_path / "c", ppo, None)
