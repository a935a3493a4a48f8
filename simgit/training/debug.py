"""A few steps that are looked at and not recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simgit.gym.agentview import View, make
from simgit.gym.restore import restore
from simgit.repository import Repository
from simgit.training.evaluation import agent_of
from simgit.training.loop import Transition, step

Looked = tuple[Transition, dict[str, float] | None]


def walk(
    subject: str,
    environment: str = "",
    arguments: Mapping[str, Any] | None = None,
    *,
    repo: Repository | None = None,
    revision: str | None = None,
    seed: int = 0,
    steps: int = 1,
) -> Iterator[Looked]:
    """Let an agent act without learning; yield each step with the values of all actions.

    Args:
        subject: the agent, as ``simgit.training.evaluation.agent_of`` reads it.
        environment: a registered environment, if no revision is given.
        arguments: of it.
        repo: where the revision is.
        revision: the state to begin at; one that ended an episode is followed by a reset.
        seed: of that reset.
        steps: how many at most; it ends with the episode.

    Raises:
        NotFound, InvalidInput: the state, the environment or the agent is not there.
    """
    if repo is not None and revision is not None:
        env, state = restore(repo, revision), repo.state(revision)
        goes_on = not (state.terminated or state.truncated)
        observation = state.observation if goes_on else env.reset(seed=seed)[0]
    else:
        env = make(environment, **dict(arguments or {}))
        observation = env.reset(seed=seed)[0]
    view = View(env)
    agent = agent_of(repo, subject, view, seed)
    seen = view.vector(observation)
    thinks = getattr(agent, "values", None)
    for _ in range(steps):
        values = None
        if thinks is not None:
            values = dict(zip(view.actions, map(float, thinks(seen[None])[0]), strict=True))
        done = step(env, agent, view, seen, learn=False)
        seen = done.after
        yield done, values
        if done.ended:
            break
    env.close()
