"""The registry of agents. To add one, write its module and name it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from simgit.agents.base import Agent, build, plain
from simgit.agents.policies import POLICIES, Random, RulePolicy
from simgit.errors import InvalidInput, NotFound, near_or_known

LEARNERS: Final = ("dqn", "greedy")


def names() -> tuple[str, ...]:
    """Return the names of all agents, learners first."""
    return (*LEARNERS, "random", *POLICIES)


def make(
    name: str,
    observation_size: int,
    actions: int | Sequence[str],
    seed: int = 0,
    **settings: Any,
) -> Agent:
    """Make a new agent.

    Args:
        name: one of ``names()``.
        observation_size: the number of elements of an observation.
        actions: the names of the actions by number, or their count; hand-written policies need the
            names.
        seed: the random seed.
        settings: see the agent's page in docs/agents; ``defaults`` lists them.

    Raises:
        NotFound: no such agent, or torch is needed and not installed.
        InvalidInput: a setting is unknown or out of range.
    """
    known = [str(n) for n in range(actions)] if isinstance(actions, int) else list(actions)
    if name in LEARNERS:
        made: Agent = _module(name).make(observation_size, len(known), seed, settings)
        return made
    if settings and name in names():
        raise InvalidInput(f"agent '{name}' has no settings, got '{next(iter(settings))}'")
    if name == "random":
        return Random(len(known), seed)
    if name in POLICIES:
        return RulePolicy(name, known)
    raise NotFound(f"agent '{name}' not found{near_or_known(name, names())}", name=name)


def complete(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of an agent, with defaults for those not given.

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
    """Return the default settings of an agent; empty if it has no settings."""
    return complete(name, {})


def load(data: Mapping[str, Any], actions: int | Sequence[str] | None = None) -> Agent:
    """Rebuild the agent of a checkpoint, with its own settings.

    Raises:
        NotFound: see ``make``.
        InvalidInput: it is not a checkpoint.
    """
    try:
        kind, count = str(data["kind"]), int(data["actions"])
        size = int(data.get("observation_size", 0))
        settings = dict(data.get("settings", {}))
    except (KeyError, TypeError, ValueError):
        raise InvalidInput("the data are not a checkpoint of an agent") from None
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
