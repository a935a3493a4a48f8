"""Agents by name. To add one, write its module and name it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from simgit.agents.base import Agent, build, plain
from simgit.agents.policies import POLICIES, Random, RulePolicy
from simgit.errors import InvalidInput, NotFound

LEARNERS: Final = ("dqn", "greedy")


def names() -> tuple[str, ...]:
    """Return the names of all agents, those that learn first."""
    return (*LEARNERS, "random", *POLICIES)


def make(
    name: str,
    observation_size: int,
    actions: int | Sequence[str],
    seed: int = 0,
    **settings: Any,
) -> Agent:
    """Make an agent that has learned nothing.

    Args:
        name: one of ``names()``.
        observation_size: how many elements the observations have.
        actions: the names of the actions in the order of their numbers, or how many there are;
            policies that are written by hand choose by name.
        seed: what all its random numbers follow from.
        settings: see the agent's page in docs/agents; ``defaults`` lists them.

    Raises:
        NotFound: there is no such agent, or what it needs is not installed.
        InvalidInput: a setting is unknown or out of range.
    """
    known = [str(n) for n in range(actions)] if isinstance(actions, int) else list(actions)
    if name in LEARNERS:
        made: Agent = _module(name).make(observation_size, len(known), seed, settings)
        return made
    if settings and name in names():
        raise InvalidInput(f"agent '{name}' has no settings, such as '{next(iter(settings))}'")
    if name == "random":
        return Random(len(known), seed)
    if name in POLICIES:
        return RulePolicy(name, known)
    raise NotFound(f"no agent '{name}' (there are: {', '.join(names())})", name=name)


def complete(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of an agent, those that are not given with their defaults.

    Raises:
        NotFound: see ``make``.
        InvalidInput: a setting is unknown or out of range.
    """
    if name not in LEARNERS:
        make(name, 1, 1, **settings)
        return {}
    found = build(_module(name).SETTINGS, settings)
    found.check()
    return plain(found)


def defaults(name: str) -> dict[str, Any]:
    """Return all settings of an agent with their defaults; empty if it has none."""
    return complete(name, {})


def load(data: Mapping[str, Any], actions: int | Sequence[str] | None = None) -> Agent:
    """Rebuild the agent of a checkpoint, with its own settings.

    Raises:
        NotFound: see ``make``.
        InvalidInput: it is no checkpoint.
    """
    try:
        kind, count = str(data["kind"]), int(data["actions"])
        size = int(data.get("observation_size", 0))
        settings = dict(data.get("settings", {}))
    except (KeyError, TypeError, ValueError):
        raise InvalidInput("these data are no checkpoint of an agent") from None
    agent = make(kind, size, count if actions is None else actions, **settings)
    agent.load(data)
    return agent


def _module(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"simgit.agents.{name}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise NotFound("agent 'dqn' needs torch: pip install 'simgit[torch]'") from None
