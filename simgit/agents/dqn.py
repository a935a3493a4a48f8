"""Deep Q-learning (Mnih et al., Nature 2015), with double, duelling and multi-step as options.

The network Q(s, ·) is moved towards y = r + γ max Q⁻(s', ·), where Q⁻ is the target network, a
periodic copy of it; γ is 0 where s' terminated the episode. See docs/agents/dqn.md. Only
this module and ``tensors`` import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from simgit.agents.base import (
    Checkpoint,
    Vector,
    build,
    check,
    check_kind,
    check_settings,
    first_line,
    generator,
    loading,
    plain,
    rng_state,
    set_rng,
)
from simgit.agents.exploration import Exploration, ExplorationSettings
from simgit.agents.replay import MultiStep, ReplayBuffer, TransitionBatch
from simgit.errors import InvalidInput

KIND: Final = "dqn"
VERSION: Final = 1
_MOMENTS: Final = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class DQNSettings(ExplorationSettings):
    """The settings of a DQN."""

    lr: float = 0.001
    gamma: float = 0.97
    buffer: int = 2000
    batch: int = 32
    target_sync: int = 50
    """Environment steps between two copies of the network to the target network."""
    updates: int = 4
    """Gradient steps after each environment step."""
    n_step: int = 3
    double: bool = False
    duelling: bool = False
    loss: Literal["huber", "mse"] = "huber"
    clip: float = 10.0
    """The greatest norm of a gradient; 0 for no clipping."""
    hidden: tuple[int, ...] = (24, 48)
    threads: int = 1
    """Threads of torch in this process; results may depend on it."""

    def check(self) -> None:
        """Raise InvalidInput for a value out of range."""
        ExplorationSettings.check(self)
        check("lr", self.lr, 1e-9, 1e3)
        check("gamma", self.gamma, 0, 1)
        check("clip", self.clip, 0)
        for name in ("buffer", "batch", "target_sync", "updates", "n_step", "threads"):
            check(name, getattr(self, name), 1)
        if self.loss not in ("huber", "mse"):
            raise InvalidInput(
                f"setting 'loss' must be 'huber' or 'mse', got '{self.loss}'", path="loss"
            )


SETTINGS: Final = DQNSettings
"""The dataclass of this agent's settings, for ``registry``."""


class Duelling(nn.Module):
    """Q(s, a) = V(s) + A(s, a) − mean A(s, ·) (Wang et al., ICML 2016)."""

    def __init__(self, size: int, actions: int) -> None:
        super().__init__()
        self.value = nn.Linear(size, 1)
        self.advantage = nn.Linear(size, actions)

    def forward(self, features: Tensor) -> Tensor:
        """Return the values of all actions, shape (n, actions)."""
        advantage: Tensor = self.advantage(features)
        values: Tensor = self.value(features) + advantage - advantage.mean(dim=1, keepdim=True)
        return values


def network(observation_size: int, actions: int, settings: DQNSettings) -> nn.Sequential:
    """Return an MLP with ReLU between its layers: (n, observation_size) to (n, actions)."""
    layers: list[nn.Module] = []
    size = observation_size
    for width in settings.hidden:
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    head = Duelling(size, actions) if settings.duelling else nn.Linear(size, actions)
    return nn.Sequential(*layers, head)


def initialise(net: nn.Module, random: torch.Generator) -> None:
    """Draw all weights as torch's layers do, but from our own generator."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -bound, bound, generator=random)


def make(observation_size: int, actions: int, seed: int, settings: Mapping[str, Any]) -> DQN:
    """Make an agent from settings by name."""
    return DQN(observation_size, actions, seed, build(DQNSettings, settings))


class DQN:
    """Learns the value of each action from a replay buffer, by gradient descent."""

    def __init__(
        self,
        observation_size: int,
        actions: int,
        seed: int = 0,
        settings: DQNSettings | None = None,
    ) -> None:
        """Make a new agent.

        Args:
            observation_size: the number of elements of an observation.
            actions: the number of actions.
            seed: the random seed of weights, exploration and replay sampling.
            settings: the settings (default: those of ``DQNSettings``).

        Raises:
            InvalidInput: a setting is out of range.
        """
        self._settings = settings or DQNSettings()
        self._settings.check()
        torch.set_num_threads(self._settings.threads)
        self._shape = {"observation_size": observation_size, "actions": actions}
        self._online = network(observation_size, actions, self._settings)
        initialise(self._online, torch.Generator().manual_seed(seed))
        self._target = network(observation_size, actions, self._settings).requires_grad_(False)
        self._sync()
        self._optimizer = torch.optim.Adam(
            self._online.parameters(), lr=self._settings.lr, fused=True
        )
        self._replay = ReplayBuffer(self._settings.buffer, observation_size)
        self._multi = MultiStep(self._settings.n_step, self._settings.gamma)
        self._exploration = Exploration(self._settings, actions, generator(seed, 1))
        self._rng = generator(seed, 2)
        self._loss = nn.HuberLoss() if self._settings.loss == "huber" else nn.MSELoss()
        self._steps = 0

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        return plain(self._settings)

    def values(self, observations: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the values of all actions, shape (n, actions), of observations (n, size)."""
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = self._online(_tensor(observations)).numpy()
        return found

    def act(self, observation: Vector, *, explore: bool) -> int:
        """Return the action of the greatest value; while exploring, sometimes another."""

        def best() -> int:
            return int(self.values(observation[None])[0].argmax())

        return self._exploration.choose(best) if explore else best()

    def observe(
        self,
        observation: Vector,
        action: int,
        reward: float,
        next_observation: Vector,
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Put a step into the replay buffer."""
        ended = terminated or truncated
        for row in self._multi.push(
            observation, action, reward, next_observation, terminated, ended
        ):
            self._replay.add(*row)
        if ended:
            self._exploration.end_episode()
        self._steps += 1

    def update(self) -> dict[str, float]:
        """Do the gradient steps; none until the buffer holds a batch."""
        metrics = {"epsilon": self._exploration.epsilon}
        if len(self._replay) >= self._settings.batch:
            learned = [self._learn() for _ in range(self._settings.updates)]
            metrics["loss"], metrics["value"] = map(float, np.mean(learned, axis=0))
        if self._steps % self._settings.target_sync == 0:
            self._sync()
        return metrics

    def _learn(self) -> tuple[float, float]:
        batch = self._replay.sample(self._settings.batch, self._rng)
        targets = self._targets(batch)
        chosen = torch.from_numpy(batch.actions)[:, None]
        values = self._online(torch.from_numpy(batch.observations)).gather(1, chosen)[:, 0]
        loss: Tensor = self._loss(values, targets)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._settings.clip:
            nn.utils.clip_grad_norm_(self._online.parameters(), self._settings.clip)
        self._optimizer.step()
        return loss.item(), values.detach().mean().item()

    @torch.no_grad()
    def _targets(self, batch: TransitionBatch) -> Tensor:
        after = torch.from_numpy(batch.next_observations)
        values = self._target(after)
        if (
            self._settings.double
        ):  # van Hasselt et al., AAAI 2016: one network selects, the other evaluates
            best = values.gather(1, self._online(after).argmax(1, keepdim=True))[:, 0]
        else:
            best = values.amax(1)
        found: Tensor = torch.from_numpy(batch.rewards) + torch.from_numpy(batch.discounts) * best
        return found

    def _sync(self) -> None:
        self._target.load_state_dict(self._online.state_dict())

    def state(self) -> Checkpoint:
        """Return networks, optimiser, replay buffer, counters and generators as plain data."""
        return {
            "kind": KIND,
            "version": VERSION,
            **self._shape,
            "settings": self.settings,
            "online": _arrays(self._online),
            "target": _arrays(self._target),
            "optimizer": self._moments(),
            "replay": self._replay.state(),
            "unfinished": self._multi.state(),
            "exploration": self._exploration.state(),
            "rng": rng_state(self._rng),
            "steps": self._steps,
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """Load a checkpoint; the agent keeps its own settings, such as lr and gamma.

        Raises:
            InvalidInput: the checkpoint is of another kind of agent, or of other shapes.
        """
        check_kind(data, KIND, VERSION, **self._shape)
        with loading(KIND):
            self._load(data)

    def _load(self, data: Mapping[str, Any]) -> None:
        check_settings(data, self.settings, "hidden", "duelling")
        for net, name in ((self._online, "online"), (self._target, "target")):
            net.load_state_dict({key: _tensor(value) for key, value in data[name].items()})
        self._set_moments(data["optimizer"])
        self._replay.load(data["replay"])
        self._multi.load(data["unfinished"])
        self._exploration.load(data["exploration"])
        set_rng(self._rng, data["rng"])
        self._steps = int(data["steps"])

    def _moments(self) -> dict[str, Any]:
        """Return Adam's moments by the names of the parameters; empty before the first step."""
        found = {}
        for name, parameter in self._online.named_parameters():
            kept = self._optimizer.state.get(parameter)
            if kept:
                found[name] = {key: kept[key].numpy().copy() for key in _MOMENTS}
                found[name]["step"] = int(kept["step"])
        return found

    def _set_moments(self, data: Mapping[str, Any]) -> None:
        self._optimizer.state.clear()
        for name, parameter in self._online.named_parameters():
            if name in data:
                moments = {key: _tensor(data[name][key]).view_as(parameter) for key in _MOMENTS}
                step = torch.tensor(float(data[name]["step"]))
                self._optimizer.state[parameter] = {**moments, "step": step}


def _arrays(net: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    return {name: value.numpy().copy() for name, value in net.state_dict().items()}


def _tensor(values: npt.ArrayLike) -> Tensor:
    # a copy: arrays of a checkpoint may be read-only, and belong to the caller
    return torch.from_numpy(np.array(values, np.float32))


def save_pt(data: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint with tensors for arrays, as ``torch.load(weights_only=True)`` reads it."""
    torch.save(_with_tensors(data), path)


def load_pt(path: Path) -> Checkpoint:
    """Read such a file, executing nothing in it; InvalidInput if it is malformed."""
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise InvalidInput(f"cannot read '{path}': {first_line(error)}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"cannot read '{path}': not a checkpoint")
    return dict(_with_arrays(found))


def _with_tensors(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_tensors(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_tensors(item) for item in value]
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def _with_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_arrays(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_arrays(item) for item in value]
    if not isinstance(value, Tensor):
        return value
    plain = value.detach()  # NumPy has no bfloat16
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
