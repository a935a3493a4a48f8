"""One step and one episode of an agent in an environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from simgit.agents import Agent

Vector = npt.NDArray[np.float32]


class Env(Protocol):
    """The part of an environment that the loop needs: Gymnasium's two methods."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Execute an action."""


class Seen(Protocol):
    """The agent's view of an environment; see ``simgit.gym.envs.agent_view.View``."""

    actions: tuple[str, ...]

    def vector(self, observation: Any) -> Vector:
        """Return an observation as a vector."""

    def action(self, number: int) -> Any:
        """Return the environment's action of a number."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One step: observation, action, result, and metrics of learning."""

    before: Vector
    number: int
    action: str
    reward: float
    after: Vector
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]
    metrics: Mapping[str, float]

    @property
    def ended(self) -> bool:
        """True if the episode is over."""
        return self.terminated or self.truncated


@dataclass(frozen=True, slots=True)
class TrainingEpisode:
    """A whole episode. ``trace`` is the name of SimKube's trace, None elsewhere."""

    number: int
    seed: int
    length: int
    return_: float
    terminated: bool
    trace: str | None
    metrics: Mapping[str, float]


Watch = Callable[[Transition], None]
Tell = Callable[[TrainingEpisode], None]


def step(env: Env, agent: Agent, view: Seen, before: Vector, *, learn: bool) -> Transition:
    """Let the agent act once; with ``learn`` it explores, observes the step and updates."""
    number = agent.act(before, explore=learn)
    observation, reward, terminated, truncated, info = env.step(view.action(number))
    after, metrics = view.vector(observation), {}
    if learn:
        agent.observe(before, number, float(reward), after, terminated, truncated)
        metrics = agent.update()
    return Transition(
        before, number, view.actions[number], float(reward), after, terminated, truncated, info,
        metrics,
    )  # fmt: skip


def episode(
    env: Env,
    agent: Agent,
    view: Seen,
    seed: int,
    *,
    number: int = 1,
    learn: bool = True,
    options: dict[str, Any] | None = None,
    watch: Watch | None = None,
    begun: Callable[[], None] | None = None,
) -> TrainingEpisode:
    """Reset the environment with a seed, and let the agent act until the episode is over.

    ``begun`` is called after the reset, ``watch`` after each step.
    """
    observation, info = env.reset(seed=seed, options=options)
    if begun is not None:
        begun()
    seen, length, total = view.vector(observation), 0, 0.0
    while True:
        done = step(env, agent, view, seen, learn=learn)
        seen, length, total = done.after, length + 1, total + done.reward
        if watch is not None:
            watch(done)
        if done.ended:
            named = info.get("trace")
            trace = named if isinstance(named, str) else None
            return TrainingEpisode(
                number, seed, length, total, done.terminated, trace, done.metrics
            )
