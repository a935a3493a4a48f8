"""Environments and simulators, played to be recorded and re-executed to be compared."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from simgit.errors import InvalidInput, Unverified, shown
from simgit.recording.verdicts import IGNORE
from simgit.repository import Repository

Policy = Callable[[Any], Any]
"""Returns the action for an observation."""


def play_environment(
    repo: Repository,
    make: Any,
    seeds: Sequence[int],
    steps: int,
    policy: Policy | None,
) -> Any:
    """Record an environment; return the module of its class."""
    from simgit.gym.recording.recorder import Recorder

    env = Recorder(
        made_environment(make), repo, "run", snapshots=None, provenance=False, self_check=False,
        flush_seconds=None,
    )  # fmt: skip
    with closing(env):
        for seed in seeds:
            observation, _ = env.reset(seed=seed)
            env.action_space.seed(seed)
            ended = False
            for _ in range(steps):
                if ended:
                    observation, _ = env.reset()
                action = env.action_space.sample() if policy is None else policy(observation)
                observation, _, terminated, truncated, _ = env.step(action)
                ended = bool(terminated or truncated)
        return _module(env)


def made_environment(make: Any) -> Any:
    if isinstance(make, str):
        from simgit.gym.tools.collect import make_environment

        return make_environment(make)
    is_made = hasattr(make, "step") and not isinstance(make, type)
    env = make() if callable(make) and not is_made else make
    if not all(hasattr(env, name) for name in ("reset", "step", "action_space")):
        raise InvalidInput(
            f"an environment, its id or a function that makes one is needed, got {shown(env)}"
        )
    if hasattr(env, "num_envs"):
        raise InvalidInput(
            f"{shown(env)} is a vector: test one of its environments, or record it and compare its "
            "runs with compare()"
        )
    return env


def repeat_environment(
    repo: Repository, revision: str, make: Any, ignore: Sequence[str], tell: Callable[[Any], None]
) -> None:
    """Re-execute recorded actions in an environment, and compare each state.

    Args:
        repo: the repository.
        revision: the recorded states.
        make: see ``Golden.environment``.
        ignore: likewise.
        tell: called with the module of the environment's class.

    Raises:
        Divergence: a state differs.
        InvalidInput: the states are not such, or the spaces differ.
    """
    from simgit.gym.restoring.reexecute import Reexecution
    from simgit.gym.spec.spec import compare_spaces, describe_spaces

    states, origin = repo.trajectory(revision), repo.origin(revision)
    if states.has("reset.options") or not {"observation_space", "action_space"} <= {*origin}:
        raise InvalidInput("it was not recorded from an environment by this test")
    with closing(made_environment(make)) as env:
        tell(_module(env))
        compare_spaces(describe_spaces(env), origin)
        Reexecution(env, ignore=ignore).replay(states)


def _module(env: Any) -> Any:
    return sys.modules.get(type(env.unwrapped).__module__)


# --- simulators ----------------------------------------------------------------------------------


def play_simulator(
    repo: Repository,
    hooks: Mapping[str, Any],
    seeds: Sequence[int],
    steps: int,
    policy: Policy | None,
) -> None:
    """Record a simulator by its hooks; a part ends where its episode does."""
    with repo.recorder("run", flush_seconds=None, **hooks) as recorder:
        for seed in seeds:
            seen = recorder.reset(seed=seed)
            for _ in range(steps):
                if seen.get("terminated") or seen.get("truncated"):
                    break
                seen = recorder.step(None if policy is None else policy(seen.get("observation")))


def repeat_simulator(
    repo: Repository, revision: str, hooks: Mapping[str, Any], ignore: Sequence[str]
) -> None:
    """Re-execute recorded actions in a simulator, and compare each state.

    Raises:
        Divergence: a state differs.
        InvalidInput: the states are not such.
    """
    if repo.trajectory(revision).has("reset.options"):
        raise InvalidInput("it was not recorded from a simulator by this test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Unverified)  # it is verified here
        repo.branch("compared", revision, metadata={IGNORE: list(ignore)})
    found = repo.verify_simulator("compared", snapshots=0, **hooks)
    if found.divergence is not None:
        raise found.divergence


# --- global generators ---------------------------------------------------------------------------


@contextmanager
def fixed_generators() -> Iterator[None]:
    """Seed the global generators of Python, NumPy and (if it is loaded) torch; then restore them.

    What draws from them repeats itself then.
    """
    torch = getattr(sys.modules.get("torch"), "random", None)
    before = random.getstate(), np.random.get_state(), torch and torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    if torch is not None:
        torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        if torch is not None:
            torch.set_rng_state(before[2])
