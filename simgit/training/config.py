"""The settings of a training, stored in the configuration of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from simgit import agents
from simgit.agents import Agent
from simgit.errors import InvalidInput, near_or_known

SEED_STRIDE: Final = 1000
"""Episode n of a run begins with the seed ``seed + n * SEED_STRIDE``."""
_SECTIONS: Final = ("agent", "training", "environment")


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of a training; ``settings`` are all settings of the agent.

    ``checkpoint`` is the number of episodes between two checkpoints, and ``trials`` the number of
    episodes without exploring at each, to find the best one. ``load`` says which agent the run
    began with (None: a new one); see ``simgit.training.loading``. ``environment`` repeats what the
    run's root state holds; it cannot be changed.
    """

    agent: str = "dqn"
    settings: Mapping[str, Any] = field(default_factory=dict)
    episodes: int = 60
    seed: int = 0
    checkpoint: int = 20
    trials: int = 1
    load: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in the agent's defaults; raise NotFound or InvalidInput for impossible values."""
        for name, least in (("episodes", 1), ("seed", 0), ("checkpoint", 1), ("trials", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InvalidInput(f"'{name}' must be at least {least}, got {value}", path=name)
        object.__setattr__(self, "settings", agents.complete(self.agent, self.settings))

    def plain(self) -> dict[str, Any]:
        """Return the configuration of the run."""
        training = {name: getattr(self, name) for name in _TRAINING}
        if self.load is None:
            del training["load"]
        return {
            "agent": {"name": self.agent, **self.settings},
            "training": training,
            "environment": dict(self.environment),
        }

    @classmethod
    def of(cls, config: Mapping[str, Any], run: str) -> Config:
        """Return the Config of a run's configuration; ``lr`` at its top level means ``agent.lr``.

        Raises:
            InvalidInput: it is not of a training, or has an unknown setting.
        """
        agent = dict(config.get("agent") or {})
        name = agent.pop("name", None)
        if name is None:
            raise InvalidInput(f"run '{run}' is not of a training: its configuration has no agent")
        training = {k: v for k, v in dict(config.get("training") or {}).items() if k in _TRAINING}
        for key, value in config.items():
            if key in _SECTIONS:
                continue
            if key in agents.defaults(name):
                agent[key] = value
            elif key in _TRAINING:
                training[key] = value
            else:
                near = near_or_known(key, [*agents.defaults(name), *_TRAINING])
                raise InvalidInput(f"agent '{name}' has no setting '{key}'{near}", path=key)
        return cls(name, agent, **training, environment=config.get("environment") or {})

    def make_agent(self, observation_size: int, actions: tuple[str, ...]) -> Agent:
        """Return the new agent."""
        return agents.make(self.agent, observation_size, actions, self.seed, **self.settings)

    def episode_seed(self, number: int) -> int:
        """Return the reset seed of episode ``number``, counted from 1."""
        return self.seed + number * SEED_STRIDE


_TRAINING: Final = tuple(
    each.name for each in fields(Config) if each.name not in ("agent", "settings", "environment")
)
