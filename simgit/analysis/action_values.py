"""Action values of an agent in recorded states, from its attached checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit import agents
from simgit.analysis.loop import environment, episode_title, one_episode
from simgit.analysis.shared_states import RunNames
from simgit.errors import InvalidInput, NotFound
from simgit.history.trajectory import Trajectory
from simgit.kube.observation import Observation
from simgit.kube.quantity import parse_quantity
from simgit.kube.task.actions import ACTIONS
from simgit.kube.task.resources import GIB, Resources
from simgit.kube.task.scenarios import NODE_CPU_M, NODE_MEMORY
from simgit.kube.task.vectors import VECTORS
from simgit.plot import Drawing, policy_map, state_values
from simgit.plot.curves import Floats
from simgit.repository import Repository

ATTACHMENT: Final = "agent"
COLUMNS: Final = 40
_CORES, _GIBS = np.linspace(0.5, 22, 44), np.linspace(0.5, 42, 42)


@dataclass(frozen=True)
class Thoughts:
    """The action values of an agent in states, and the actions taken there.

    ``values`` has shape (states, actions); ``taken[i]`` is the action that followed state i, or
    None.
    """

    steps: Sequence[int]
    actions: Sequence[str]
    values: Floats
    taken: Sequence[int | None]
    checkpoint: int
    """The step of the state that the agent's checkpoint is attached to."""
    over: Sequence[bool] = ()
    """True for each state that ended the episode, so that no action follows."""


def thoughts(repo: Repository, revision: str, most: int = COLUMNS) -> Thoughts:
    """Return the newest checkpoint's action values in evenly spaced states of an episode.

    Raises:
        NotFound: no state of the history has a checkpoint.
        InvalidInput: the agent has no action values, or other observations.
    """
    part = one_episode(repo.trajectory(revision))
    agent, names, step = load_agent(repo, part)
    seen = np.asarray(part.observations)
    if seen.ndim != 2 or seen.dtype.kind not in "fiu":
        raise InvalidInput(f"the observations of '{part.name}' are not vectors of numbers")
    shown = np.unique(np.linspace(0, len(part) - 1, min(most, len(part))).astype(int))
    return Thoughts(
        part.steps[shown].tolist(),
        names,
        _values(agent, seen[shown].astype(np.float32)),
        [_taken(part, int(i) + 1) for i in shown],
        step,
        (part.terminations | part.truncations)[shown].tolist(),
    )


def load_agent(repo: Repository, trajectory: Trajectory) -> tuple[Any, list[str], int]:
    """Return the agent of the newest checkpoint, the names of its actions, and its state's step.

    Raises:
        NotFound: there is no checkpoint.
    """
    past = repo.trajectory(trajectory[-1].oid)
    step, attached = _newest(repo, past, trajectory.name)
    data = repo.attachment(past[step].oid, attached)
    count = int(data.get("actions", 0))
    named = environment(repo, trajectory).get("actions")
    usual = ACTIONS.names() if count == len(ACTIONS) else [f"action {i}" for i in range(count)]
    names = [str(name) for name in (named or usual)]
    return agents.load(data, names), names, step


def _newest(repo: Repository, past: Trajectory, name: str | None) -> tuple[int, str]:
    """Return the last step with a checkpoint, searched from the end in growing batches."""
    names = RunNames(repo, name if name in repo.runs else None)
    stop, size = len(past), 64
    while stop > 0:
        start = max(0, stop - size)
        oids = past[start:stop].oids
        with repo.odb.read() as txn:
            for i in reversed(range(len(oids))):
                attached = names.bound(txn, oids[i], start + i, ATTACHMENT)
                if attached is not None:
                    return start + i, attached
        stop, size = start, 2 * size
    raise NotFound(f"revision '{name or past[-1].oid.short()}' has no agent checkpoint")


def _values(agent: Any, observations: Any) -> Floats:
    find = getattr(agent, "values", None)
    if find is None:
        raise InvalidInput("a hand-written policy has no action values")
    return np.asarray(find(observations), np.float64)


def _taken(part: Trajectory, following: int) -> int | None:
    if following >= len(part) or not part.present("action")[following]:
        return None
    return int(part.actions[following])


def draw_values(repo: Repository, revision: str, *, title: str = "") -> Drawing:
    """Draw the values of actions in the states of an episode; see ``thoughts``."""
    found = thoughts(repo, revision)
    part = one_episode(repo.trajectory(revision))
    label = title or f"{episode_title(part)}; agent of step {found.checkpoint}"
    steps = [str(step) for step in found.steps]
    return state_values(
        found.values, found.actions, steps, chosen=found.taken, over=found.over, title=label,
        x_label="step",
    )  # fmt: skip


@dataclass(frozen=True)
class PolicyMap:
    """The action values of a SimKube agent for requests of a pod.

    ``values`` has shape (memory, cpu, actions); ``cpu`` is in cores, ``memory`` in GiB.
    """

    name: str
    cpu: Floats
    memory: Floats
    actions: Sequence[str]
    values: Floats
    checkpoint: int
    visited: npt.NDArray[np.bool_]
    """True where the history had such requests, shape (memory, cpu)."""


def policy(repo: Repository, revision: str) -> PolicyMap:
    """Return the action values for each request of CPU and memory.

    The target number of pods exists, ready if one fits the largest node, else pending.

    Raises:
        NotFound: no state of the history has a checkpoint.
        InvalidInput: not recorded from SimKube, or the agent has no action values.
    """
    part = one_episode(repo.trajectory(revision))
    kwargs = environment(repo, part)
    if "vector" not in kwargs or "target" not in kwargs:
        raise InvalidInput(
            f"'{part.name}' was not recorded from SimKube: its observations have no CPU and memory"
        )
    agent, names, step = load_agent(repo, part)
    vector, target = VECTORS.get(kwargs["vector"]), int(kwargs["target"])
    room = _largest(kwargs)
    asked = [Resources(round(c * 1000), round(g * GIB), target) for g in _GIBS for c in _CORES]
    grid = [vector(_pods(each, room), each, target) for each in asked]
    values = _values(agent, np.stack(grid)).reshape(len(_GIBS), len(_CORES), -1)
    past = repo.trajectory(part[-1].oid)
    return PolicyMap(part.name, _CORES, _GIBS, names, values, step, _visited(past))


def _visited(past: Trajectory) -> npt.NDArray[np.bool_]:
    """Return for each cell of the grid whether a state had such requests."""
    found = np.zeros((len(_GIBS), len(_CORES)), bool)
    columns = [past.column(f"info.{name}", fill="") for name in ("cpu", "memory")]
    for cpu, memory in set(zip(*columns, strict=True)):
        if cpu and memory:
            cores, gibs = parse_quantity(cpu).milli / 1000, parse_quantity(memory).units / GIB
            found[np.abs(_GIBS - gibs).argmin(), np.abs(_CORES - cores).argmin()] = True
    return found


def draw_policy(repo: Repository, revision: str, *, title: str = "") -> Drawing:
    """Draw the preferred action of a SimKube agent for each request; see ``policy``."""
    found = policy(repo, revision)
    return policy_map(
        found.values, found.cpu, found.memory, found.actions,
        title=title or f"{found.name}: policy at step {found.checkpoint}",
        x_label="CPU requested (cores)", y_label="memory requested (GiB)", visited=found.visited,
    )  # fmt: skip


def _largest(kwargs: Mapping[str, Any]) -> tuple[int, int]:
    """Return millicores and bytes of the largest node of an environment."""
    nodes = [node for node in kwargs.get("nodes") or () if isinstance(node, Mapping)]
    sizes = [(parse_quantity(n["cpu"]).milli, parse_quantity(n["memory"]).units) for n in nodes]
    return max(sizes, default=(NODE_CPU_M, NODE_MEMORY))


def _pods(asked: Resources, room: tuple[int, int]) -> Observation:
    fits = asked.cpu_m <= room[0] and asked.memory <= room[1]
    ready = asked.replicas if fits else 0
    return Observation(ready, asked.replicas - ready, asked.replicas)
