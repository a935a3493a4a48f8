"""Policies written by hand: they learn nothing, and are what a learner has to beat.

To add one, write a function here under ``@policy``: it is given the observation (SimKube's state
vector, see docs/simkube.md) and returns the name of an action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from simgit.agents.base import Checkpoint, Vector, check_kind, generator, rng_state, set_rng
from simgit.errors import InvalidInput

VERSION: Final = 1
CPU_FIT: Final = 4.0
"""16 CPU, all that a node has, in the state vector's unit of 4."""
MEMORY_FIT: Final = 8.0
"""32Gi, all that a node has, in the state vector's unit of 4Gi."""
_SLACK: Final = 1e-6

Rule = Callable[[Vector], str]
POLICIES: dict[str, Rule] = {}


def policy(name: str) -> Callable[[Rule], Rule]:
    """Decorate a function to be found under the name."""

    def add(rule: Rule) -> Rule:
        POLICIES[name] = rule
        return rule

    return add


@policy("noop")
def noop(observation: Vector) -> str:
    """Do nothing."""
    return "noop"


@policy("bump_cpu")
def bump_cpu(observation: Vector) -> str:
    """Always ask for more CPU."""
    return "bump_cpu_small"


@policy("bump_mem")
def bump_mem(observation: Vector) -> str:
    """Always ask for more memory."""
    return "bump_mem_small"


@policy("reduce_cpu")
def reduce_cpu(observation: Vector) -> str:
    """Always ask for less CPU."""
    return "reduce_cpu_small"


@policy("reduce_mem")
def reduce_mem(observation: Vector) -> str:
    """Always ask for less memory."""
    return "reduce_mem_small"


@policy("scale_replicas")
def scale_replicas(observation: Vector) -> str:
    """Bring the number of pods to the target, whatever their state."""
    missing = float(observation[3])
    if abs(missing) <= _SLACK:
        return "noop"
    return "scale_up_replicas" if missing > 0 else "scale_down_replicas"


@policy("heuristic")
def heuristic(observation: Vector) -> str:
    """Bring requests down to what a node has, then the number of pods to the target."""
    if observation[0] > CPU_FIT + _SLACK:
        return "reduce_cpu_small"
    if observation[1] > MEMORY_FIT + _SLACK:
        return "reduce_mem_small"
    return scale_replicas(observation)


class _Unlearning:
    """What agents have in common that never learn."""

    name = ""

    @property
    def settings(self) -> dict[str, Any]:
        """They have none."""
        return {}

    def observe(
        self,
        observation: Vector,
        action: int,
        reward: float,
        next_observation: Vector,
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Take no notice."""

    def update(self) -> dict[str, float]:
        """Learn nothing."""
        return {}


class RulePolicy(_Unlearning):
    """A rule as an agent."""

    def __init__(self, name: str, actions: Sequence[str]) -> None:
        """Name a rule, and the actions in the order of their numbers."""
        self.name = name
        self._rule = POLICIES[name]
        self._numbers = {action: number for number, action in enumerate(actions)}

    def act(self, observation: Vector, *, explore: bool) -> int:
        """Return the rule's action; InvalidInput if the environment does not have it."""
        action = self._rule(observation)
        if action not in self._numbers:
            raise InvalidInput(
                f"policy '{self.name}' wants '{action}', which is none of this environment's "
                f"actions ({', '.join(self._numbers)})"
            )
        return self._numbers[action]

    def state(self) -> Checkpoint:
        """Return all that there is."""
        return {"kind": self.name, "version": VERSION, "actions": len(self._numbers)}

    def load(self, data: Mapping[str, Any]) -> None:
        """Check that the checkpoint is this policy's."""
        check_kind(data, self.name, VERSION, actions=len(self._numbers))


class Random(_Unlearning):
    """Each action is as likely as any other."""

    name = "random"

    def __init__(self, actions: int, seed: int = 0) -> None:
        self._actions = actions
        self._rng = generator(seed, 1)

    def act(self, observation: Vector, *, explore: bool) -> int:
        """Return any action; without exploring, one that the observation alone decides."""
        rng = self._rng if explore else _of(observation)
        return int(rng.integers(self._actions))

    def state(self) -> Checkpoint:
        """Return where its generator stands."""
        rng = rng_state(self._rng)
        return {"kind": self.name, "version": VERSION, "actions": self._actions, "rng": rng}

    def load(self, data: Mapping[str, Any]) -> None:
        """Go on from there."""
        check_kind(data, self.name, VERSION, actions=self._actions)
        set_rng(self._rng, data["rng"])


def _of(observation: Vector) -> np.random.Generator:
    words = np.ascontiguousarray(observation, "<f4").view("<u4").tolist()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
