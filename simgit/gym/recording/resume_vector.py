"""Restoring a vector environment: each lane at the newest state of its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

from gymnasium import vector
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array

from simgit.errors import InvalidInput, NotFound, shown
from simgit.gym.recording.session import check_open
from simgit.gym.recording.sub_env import MARK, Lane
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.restore import settled
from simgit.gym.restoring.run_notes import noted
from simgit.gym.spec import spec as specs
from simgit.gym.spec.permit import Trust
from simgit.gym.spec.values import thaw
from simgit.history.state import State
from simgit.repository import Repository

Mode = Literal["sync", "async"]
VECTOR: Final = "vector"
"""The key of a run's metadata that says how its vector environment reset its lanes."""
NEXT_STEP: Final = "NextStep"
SAME_STEP: Final = "SameStep"
DISABLED: Final = "Disabled"
# the values of Gymnasium's AutoresetMode, which Gymnasium 1.0 does not have


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> str:
    """Return how a vector environment resets lanes that ended.

    It is NEXT_STEP where the environment does not say, as in Gymnasium 1.0, which has no other.

    Raises:
        InvalidInput: it names an unknown mode.
    """
    given = env.metadata.get("autoreset_mode", NEXT_STEP)
    mode = getattr(given, "value", given)
    if mode not in (NEXT_STEP, SAME_STEP, DISABLED):
        raise InvalidInput(
            f"unknown autoreset mode '{given}' in the metadata of the vector environment: "
            f"must be '{NEXT_STEP}', '{SAME_STEP}' or '{DISABLED}'"
        )
    return str(mode)


def lanes_of(repo: Repository, run: str) -> list[str]:
    """Return the runs of a vector environment's lanes, in order.

    Raises:
        NotFound: no such run.
        InvalidInput: a run has no states, or is completed.
        Conflict: another recorder writes one.
    """
    known = set(repo.runs)
    names: list[str] = []
    while f"{run}/{len(names)}" in known:
        names.append(f"{run}/{len(names)}")
    if not names:
        raise NotFound(f"run '{run}/0' not found: '{run}' has no lanes", name=run)
    for name in names:
        check_open(repo, name)
    return names


def make_lanes(
    repo: Repository, names: Sequence[str], mode: Mode, trust: Trust
) -> VectorEnv[Any, Any, Any]:
    """Return a new vector environment of the environments that were recorded to runs.

    Raises:
        NotFound: an environment is not installed.
        Untrusted: see ``restore``.
        InvalidInput: the mode is unknown, or a lane is not an environment of its own.
    """
    facts = noted([repo.runs[names[0]]], VECTOR, dict) or {}
    options = _reset_option(facts.get("autoreset_mode", NEXT_STEP))
    paths = [RecordedPath(repo, name) for name in names]
    for path in paths:
        path.check_make(trust)
    made: list[Callable[[], Any]] = [partial(_make, path.spec) for path in paths]
    if mode == "sync":
        return SyncVectorEnv(made, **options)
    if mode == "async":
        return AsyncVectorEnv(made, **options)
    raise InvalidInput(f"the vectorization mode must be 'sync' or 'async', got '{mode}'", mode=mode)


def _reset_option(mode: object) -> dict[str, Any]:
    if isinstance(mode, str) and mode == NEXT_STEP:
        return {}  # the default, and in Gymnasium 1.0 there is no such argument
    if not hasattr(vector, "AutoresetMode"):
        raise NotFound(f"autoreset mode '{mode}' needs Gymnasium 1.1 or newer", name=mode)
    try:
        return {"autoreset_mode": vector.AutoresetMode(mode)}
    except ValueError:
        raise InvalidInput(
            f"unknown autoreset mode {shown(mode)} in the metadata of a run", mode=mode
        ) from None


def _make(description: Any) -> Lane:
    return Lane(specs.make(description, True))  # it was checked in the parent


def put_back(
    repo: Repository,
    names: Sequence[str],
    env: VectorEnv[Any, Any, Any],
    trust: Trust,
    at: Sequence[int] | None = None,
) -> list[bool]:
    """Restore each lane to a state of its run; return which lanes' next step resets.

    Args:
        repo: the repository.
        names: the runs.
        env: the vector environment.
        trust: see ``restore``.
        at: the step of each run, -1 for a new environment; the newest steps if None.

    Raises:
        InvalidInput: the lanes cannot be reached, or their number differs from that of the runs.
        NotFound, Untrusted, Divergence: see ``restore``.
    """
    core: Any = env.unwrapped
    given: Any = repo
    if env.num_envs != len(names):
        raise InvalidInput(
            f"the vector environment must have a lane for each of {len(names)} runs, "
            f"got {env.num_envs}"
        )
    if at is not None and all(step < 0 for step in at):
        return [False] * len(names)
    if isinstance(core, SyncVectorEnv) and not core.metadata.get(MARK):
        core.envs = [Lane(each) for each in core.envs]
        core.metadata = {**core.metadata, MARK: True}
    if not core.metadata.get(MARK):
        raise InvalidInput(
            "cannot restore the lanes of this vector environment: "
            "make it with wrappers=[simgit.gym.Lane]"
        )
    if isinstance(core, AsyncVectorEnv):
        if repo.directory is None:
            raise InvalidInput(
                "cannot restore lanes in other processes from a repository in memory: "
                "use vectorization_mode='sync'"
            )
        given = str(repo.directory)
    reached = (
        names if at is None else [f"{name}@{step}" for name, step in zip(names, at, strict=True)]
    )
    newest = [repo.state(each) for each in reached]
    ended = [bool(state.terminated or state.truncated) for state in newest]
    resets = [each and autoreset_mode(core) != DISABLED for each in ended]
    core.set_attr("lane_number", list(range(len(names))))
    trusted = settled([RecordedPath(repo, name) for name in names], trust)
    core.call("lane_restore", given, list(reached), resets, trusted)
    _show(core, newest)
    return resets


def _show(core: Any, newest: Sequence[State]) -> None:
    """Put back the shown observations: with DISABLED only some lanes are reset."""
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
