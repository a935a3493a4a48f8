"""Pods and actions of an agent on a cluster, from recorded states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simgit.errors import InvalidInput, NotFound
from simgit.history.trajectory import Trajectory
from simgit.kube.task.actions import ACTIONS
from simgit.plot import Drawing, PodHistory, pod_history
from simgit.plot.curves import Floats
from simgit.repository import Repository


def pods(repo: Repository, revision: str, *, title: str = "") -> Drawing:
    """Draw ready and pending pods over steps with the actions; of a whole run the last episode.

    Raises:
        InvalidInput: the states were not recorded from SimKube.
        NotFound: no such revision, or matplotlib is not installed.
    """
    trajectory, history = pod_steps(repo, revision)
    target = environment(repo, trajectory).get("target")
    return pod_history(history, target=target, title=title or episode_title(trajectory))


def pod_steps(repo: Repository, revision: str) -> tuple[Trajectory, PodHistory]:
    """Return the states of one episode, and the pods and actions in them."""
    trajectory = one_episode(repo.trajectory(revision))
    actions = environment(repo, trajectory).get("actions") or ACTIONS.names()
    return trajectory, pod_history_of(trajectory, actions)


def episode_title(trajectory: Trajectory) -> str:
    """Return a title for states of an episode: 'main, episode 3: return 0.25'."""
    number = int(trajectory.episode_ids[0])
    return f"{trajectory.name}, episode {number}: return {trajectory.rewards.sum():.3g}"


def one_episode(trajectory: Trajectory) -> Trajectory:
    """Return the last episode with an action, of states that begin at a root; else all."""
    if trajectory.start > 0:
        return trajectory
    with_actions = [each for each in trajectory.episodes if each.length]
    return with_actions[-1] if with_actions else trajectory


def environment(repo: Repository, trajectory: Trajectory) -> Mapping[str, Any]:
    """Return the arguments of a trajectory's environment, {} if they were not recorded."""
    described = repo.origin(trajectory[0].oid).get("environment") or {}
    kwargs = described.get("kwargs")
    return kwargs if isinstance(kwargs, Mapping) else {}


def pod_history_of(trajectory: Trajectory, actions: Sequence[str]) -> PodHistory:
    """Return the pods and actions of SimKube states.

    Raises:
        InvalidInput: the states were not recorded from SimKube.
    """
    if not trajectory.has("info.ready"):
        raise InvalidInput(
            f"'{trajectory.name}' was not recorded from SimKube: its infos have no counts of pods"
        )
    return PodHistory(
        trajectory.steps.astype(np.float64),
        _counts(trajectory, "ready"),
        _counts(trajectory, "pending"),
        _names(trajectory, actions),
        _flags(trajectory, "info.blocked"),
        trajectory.steps[trajectory.episode_starts].astype(float).tolist(),
    )


def _counts(trajectory: Trajectory, name: str) -> Floats:
    """Return a count of each state, NaN where the observation failed."""
    return np.asarray(trajectory.column(f"info.{name}", fill=np.nan), np.float64)


def _names(trajectory: Trajectory, actions: Sequence[str]) -> list[str]:
    if not trajectory.has("action"):
        return [""] * len(trajectory)
    present = trajectory.present("action")
    numbers = [int(action) if there else -1
               for action, there in zip(trajectory.actions, present, strict=True)]  # fmt: skip
    return [_name(actions, number) for number in numbers]


def _name(actions: Sequence[str], number: int) -> str:
    if number < 0:
        return ""
    return actions[number] if number < len(actions) else f"action {number}"


def _flags(trajectory: Trajectory, path: str) -> list[bool]:
    try:
        return [bool(value) for value in trajectory.column(path, fill=False)]
    except NotFound:
        return [False] * len(trajectory)
