"""What each scenario is given: flags of reward, agent, exploration and episodes, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from simgit.training import Config


@dataclass(frozen=True)
class Budget:
    """The settings of a training, as ``simgit train`` takes them."""

    episodes: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    reward: str = "shaped"
    checkpoint: int = 20

    def config(self, seed: int) -> Config:
        """Return the training's configuration."""
        return Config("dqn", self.settings, self.episodes, seed, checkpoint=self.checkpoint)

    @property
    def flags(self) -> str:
        """The flags of ``simgit train`` that say the same."""
        words = [f"--episodes {self.episodes}"]
        words += [f"--reward {self.reward}"] if self.reward != "shaped" else []
        words += [f"--checkpoint-every {self.checkpoint}"] if self.checkpoint != 20 else []
        words += [f"--{k.replace('_', '-')} {v:g}" for k, v in self.settings.items()]
        return " ".join(words)


_LONG: Final = {"repeat": 2.0, "epsilon_steps": 2000}

BUDGETS: Final = {
    "cpu-slight": Budget(60),
    "replicas-over": Budget(60),
    "mem-slight": Budget(60, {"repeat": 2.0}),
    "cpu-heavy": Budget(120, _LONG),
    "cpu-mem": Budget(250, {**_LONG, "epsilon_min": 0.05}),
    "mem-replicas": Budget(250, {**_LONG, "epsilon_min": 0.05}),
    "mem-heavy": Budget(150, {"repeat": 2.0}),
}
"""By scenario; one constant action would solve some of them."""

GENERALIST: Final = Budget(
    1000, {"repeat": 2.0, "epsilon_steps": 10_000, "buffer": 20_000, "batch": 64}, checkpoint=100
)
SEVERITIES: Final = range(1, 13)
TRAINING_SEEDS: Final = (1, 2, 3)
HELD_OUT_SEEDS: Final = (101, 102)
SLACK: Final = 2
"""So many steps more than the fewest may an agent for all scenarios take."""
