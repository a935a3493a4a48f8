"""Loading the checkpoint of another agent: all of it, or only what that agent had learned.

Checkpoints of Sim-Arena, the earlier agent loop, are read too: the networks of its DQN (``.pt``).
Its other agent kept one value an action, whatever it observed, which no agent here does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from simgit.agents.base import Agent, Checkpoint
from simgit.agents.registry import make
from simgit.errors import InvalidInput, shown

LEARNED: Final[Mapping[str, tuple[str, ...]]] = {
    "dqn": ("online", "target"), "greedy": ("cells", "values")
}  # fmt: skip
"""Kind of an agent to the parts of its checkpoint that it learned, which ``transfer`` takes."""
PARTIAL: Final = "partial"
"""The key of a checkpoint that has only what was learned: what is missing, as text."""
_NETWORKS: Final = {"online": "q_net_state_dict", "target": "target_net_state_dict"}
_SETTINGS: Final = {
    "gamma": "gamma", "eps_start": "epsilon", "eps_end": "epsilon_min",
    "eps_decay_steps": "epsilon_steps",
}  # fmt: skip
"""Sim-Arena's name of a setting to its name here."""
_PARTS: Final = ("weight", "bias")


def transfer(agent: Agent, data: Mapping[str, Any]) -> None:
    """Load what the agent of a checkpoint learned, and nothing else.

    Networks or tables are taken. Exploration, counters, optimiser, replay buffer and random
    generators stay those of the new agent.

    Raises:
        InvalidInput: the checkpoint is of another kind of agent or shape, or did not learn.
    """
    kind, fresh = str(data.get("kind")), agent.state()
    if kind not in LEARNED:
        raise InvalidInput(f"agent '{kind}' does not learn: there is nothing to transfer")
    described = ("kind", "version", "observation_size", "actions", "settings")
    taken = {name: data.get(name) for name in (*described, *LEARNED[kind])}
    agent.load({**fresh, **taken})


def check_between_episodes(data: Mapping[str, Any]) -> None:
    """Check that a checkpoint holds no unfinished steps of an episode, which cannot continue.

    Raises:
        InvalidInput: it does, or it has only what was learned.
    """
    if PARTIAL in data:
        raise InvalidInput(f"{data[PARTIAL]}: --transfer takes what it learned")
    open_steps = data.get("unfinished") or data.get("episode")
    repeats = dict(data.get("exploration") or {}).get("left")
    if open_steps or repeats:
        raise InvalidInput(
            "the checkpoint was made in the middle of an episode, which cannot continue: "
            "--transfer takes what it learned"
        )


def recognised(data: Mapping[str, Any]) -> Checkpoint:
    """Return a checkpoint, of Sim-Arena's DQN as one of this package.

    Raises:
        InvalidInput: it is of neither.
        NotFound: torch is needed and not installed.
    """
    if "kind" in data:
        return dict(data)
    if _NETWORKS["online"] in data:
        return _sim_arena(data)
    if {"n_actions", "counts", "values"} <= set(data):
        raise InvalidInput(
            "an epsilon-greedy agent of Sim-Arena has one value per action for all observations, "
            "which agent 'greedy' has not: train it anew, or import its steps with 'simgit import'"
        )
    raise InvalidInput("the data are not a checkpoint of an agent")


def _sim_arena(data: Mapping[str, Any]) -> Checkpoint:
    networks = {name: _network(data.get(theirs), theirs) for name, theirs in _NETWORKS.items()}
    shapes = [value.shape for key, value in networks["online"].items() if key.endswith("weight")]
    given = data.get("hyperparams")
    given = given if isinstance(given, Mapping) else {}
    settings = {ours: given[theirs] for theirs, ours in _SETTINGS.items() if theirs in given}
    settings |= {"hidden": [shape[0] for shape in shapes[:-1]], "duelling": False}
    agent = make("dqn", shapes[0][1], shapes[-1][0], **settings)
    found = {**agent.state(), **networks}
    agent.load(found)  # an error here is one of the file
    return {
        **found,
        PARTIAL: "a checkpoint of Sim-Arena has no replay buffer, and another optimiser's state",
    }


def _network(given: Any, name: str) -> dict[str, Any]:
    """Return the parameters of a network of linear layers with ReLU between them, by our names."""
    parameters = dict(given) if isinstance(given, Mapping) else {}
    layers = [f"net.{2 * i}.{part}" for i in range(len(parameters) // 2) for part in _PARTS]
    if not layers or sorted(layers) != sorted(map(str, parameters)):
        raise InvalidInput(
            f"the network '{name}' of the checkpoint is not of linear layers only: "
            f"{shown(sorted(map(str, parameters)))}"
        )
    found = {each.removeprefix("net."): np.asarray(parameters[each]) for each in layers}
    if not all(np.isfinite(value).all() for value in found.values()):
        raise InvalidInput(f"the network '{name}' of the checkpoint has infinite weights or NaN")
    if any(found[f"{2 * i}.weight"].ndim != 2 for i in range(len(layers) // 2)):
        raise InvalidInput(f"the network '{name}' of the checkpoint has malformed weights")
    return found
