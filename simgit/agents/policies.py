"""Hand-written policies: they do not learn, and are the baselines of a learner.

To add one, write a function here under ``@policy``: it gets the observation (SimKube's state
vector, see docs/simkube.md) and returns the name of an action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from simgit.agents.base import Agent, Checkpoint, Vector, check_kind, generator, rng_state, set_rng
from simgit.errors import InvalidInput

VERSION: Final = 1
CPU_FIT: Final = 4.0
"""The 16 CPU of a node, in the state vector's unit of 4."""
MEMORY_FIT: Final = 8.0
"""The 32Gi of a node, in the state vector's unit of 4Gi."""
_SLACK: Final = 1e-6

Rule = Callable[[Vector], str]
POLICIES: dict[str, Rule] = {}


def policy(name: str) -> Callable[[Rule], Rule]:
    """Decorate a function to register it as a policy of this name."""

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
    """Scale the number of pods to the target, whatever their state."""
    missing = float(observation[3])
    if abs(missing) <= _SLACK:
        return "noop"
    return "scale_up_replicas" if missing > 0 else "scale_down_replicas"


@policy("heuristic")
def heuristic(observation: Vector) -> str:
    """Reduce requests to a node's capacity, then scale the pods to the target."""
    if observation[0] > CPU_FIT + _SLACK:
        return "reduce_cpu_small"
    if observation[1] > MEMORY_FIT + _SLACK:
        return "reduce_mem_small"
    return scale_replicas(observation)


class _Unlearning:
    """The common part of agents that do not learn."""

    name = ""

    @property
    def settings(self) -> dict[str, Any]:
        """There are no settings."""
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
        """Ignore the step."""

    def update(self) -> dict[str, float]:
        """Learn nothing."""
        return {}


class RulePolicy(_Unlearning):
    """A hand-written policy as an agent."""

    def __init__(self, name: str, actions: Sequence[str]) -> None:
        """Make the agent of a policy, given the names of the actions by number."""
        self.name = name
        self._rule = POLICIES[name]
        self._numbers = {action: number for number, action in enumerate(actions)}

    def act(self, observation: Vector, *, explore: bool) -> int:
        """Return the policy's action; InvalidInput if the environment does not have it."""
        action = self._rule(observation)
        if action not in self._numbers:
            raise InvalidInput(
                f"policy '{self.name}' needs action '{action}', which the environment does not "
                f"have (it has {', '.join(self._numbers)})"
            )
        return self._numbers[action]

    def state(self) -> Checkpoint:
        """Return the checkpoint: the policy's name."""
        return {"kind": self.name, "version": VERSION, "actions": len(self._numbers)}

    def load(self, data: Mapping[str, Any]) -> None:
        """Check that the checkpoint is this policy's."""
        check_kind(data, self.name, VERSION, actions=len(self._numbers))


class Random(_Unlearning):
    """Draws actions uniformly."""

    name = "random"

    def __init__(self, actions: int, seed: int = 0, *, always: bool = False) -> None:
        self._actions = actions
        self._rng = generator(seed, 1)
        self._always = always

    def evaluated(self, seed: int) -> Random:
        """Return an agent for an evaluation, which draws without exploring too."""
        return Random(self._actions, seed, always=True)

    def act(self, observation: Vector, *, explore: bool) -> int:
        """Return a random action; without exploring it depends on the observation alone."""
        rng = self._rng
        if not (explore or self._always):
            words = np.ascontiguousarray(observation, "<f4").view("<u4").tolist()
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
        return int(rng.integers(self._actions))

    def state(self) -> Checkpoint:
        """Return the generator's state."""
        rng = rng_state(self._rng)
        return {"kind": self.name, "version": VERSION, "actions": self._actions, "rng": rng}

    def load(self, data: Mapping[str, Any]) -> None:
        """Load the generator's state."""
        check_kind(data, self.name, VERSION, actions=self._actions)
        set_rng(self._rng, data["rng"])


def evaluated(agent: Agent, seed: int) -> Agent:
    """Return the agent as an evaluation lets it act: ``random`` draws by a seed, others stay."""
    return agent.evaluated(seed) if isinstance(agent, Random) else agent
