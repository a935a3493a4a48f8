"""A vector environment made alive again, each lane at the newest state of its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array

from simgit.errors import InvalidInput, NotFound
from simgit.gym.recording.session import check_open
from simgit.gym.recording.sub_env import MARK, Lane
from simgit.gym.restoring.lineage import Past
from simgit.gym.restoring.restore import Trust, loads_pickle
from simgit.gym.spec import spec as specs
from simgit.gym.spec.values import thaw
from simgit.history.state import State
from simgit.repository import Repository

Mode = Literal["sync", "async"]
VECTOR: Final = "vector"
"""The key of a run's metadata that says of which vector it was a lane."""


def lanes_of(repo: Repository, run: str) -> list[str]:
    """Return the runs of a vector environment's lanes, in order.

    Raises:
        NotFound: there is none.
        InvalidInput: one has no states, or is completed.
        Conflict: somebody writes one.
    """
    known = set(repo.runs)
    names: list[str] = []
    while f"{run}/{len(names)}" in known:
        names.append(f"{run}/{len(names)}")
    if not names:
        raise NotFound(f"run '{run}/0' not found: '{run}' is not the name of a vector", name=run)
    for name in names:
        check_open(repo, name)
    return names


def make_lanes(repo: Repository, names: Sequence[str], mode: Mode) -> VectorEnv[Any, Any, Any]:
    """Return a new vector environment of the environments that were recorded to runs.

    Raises:
        NotFound: one is not installed.
        InvalidInput: there is no such mode, or one is no environment of its own.
    """
    facts = repo.runs[names[0]].metadata.get(VECTOR, {})
    reset_mode = AutoresetMode(facts.get("autoreset_mode", AutoresetMode.NEXT_STEP.value))
    made: list[Callable[[], Any]] = [partial(_make, repo.origin(name)) for name in names]
    if mode == "sync":
        return SyncVectorEnv(made, autoreset_mode=reset_mode)
    if mode == "async":
        return AsyncVectorEnv(made, autoreset_mode=reset_mode)
    raise InvalidInput(f"'{mode}' is neither 'sync' nor 'async'", mode=mode)


def _make(description: Any) -> Lane:
    return Lane(specs.make(description))


def put_back(
    repo: Repository, names: Sequence[str], env: VectorEnv[Any, Any, Any], trust: Trust
) -> list[bool]:
    """Put each lane into the newest state of its run; return whether that ended an episode.

    Raises:
        InvalidInput: the lanes cannot be reached, or are not as many as there are runs.
        NotFound, Untrusted, Divergence: see ``restore``.
    """
    core: Any = env.unwrapped
    given: Any = repo
    if env.num_envs != len(names):
        raise InvalidInput(f"there are {len(names)} runs, but {env.num_envs} lanes")
    if not core.metadata.get(MARK):
        raise InvalidInput("its lanes cannot be restored: make them with wrappers=[Lane]")
    if isinstance(core, AsyncVectorEnv):
        if repo.directory is None:
            raise InvalidInput("lanes in other processes cannot read a repository in memory")
        given = str(repo.directory)
    newest = [repo.state(name) for name in names]
    ended = [bool(state.terminated or state.truncated) for state in newest]
    resets = [each and _mode(core) is not AutoresetMode.DISABLED for each in ended]
    core.set_attr("lane_number", list(range(len(names))))
    trusted = any(loads_pickle(Past(repo, name), trust) for name in names)
    core.call("lane_restore", given, list(names), resets, trusted)
    _show(core, newest)
    return resets


def _mode(core: Any) -> AutoresetMode:
    return AutoresetMode(core.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))


def _show(core: Any, newest: Sequence[State]) -> None:
    """Let lanes that are not reset show what they showed, where DISABLED resets the others."""
    found = _thawed(core, newest)
    if isinstance(core, SyncVectorEnv):
        core._env_obs = found
    elif core.shared_memory:
        shared: Any = core.observations
        concatenate(core.single_observation_space, found, shared)


def batched(env: VectorEnv[Any, Any, Any], newest: Sequence[State]) -> Any:
    """Return the observations of states as one batch."""
    space = env.single_observation_space
    empty: Any = create_empty_array(space, len(newest))
    return concatenate(space, _thawed(env, newest), empty)


def _thawed(env: VectorEnv[Any, Any, Any], newest: Sequence[State]) -> list[Any]:
    return [thaw(env.single_observation_space, state.observation) for state in newest]
