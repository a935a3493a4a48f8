"""Recording without a script: an environment by its id, a policy by its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import gymnasium

from simgit.errors import InvalidInput, NotFound
from simgit.gym.recording.recorder import Recorder
from simgit.gym.restoring.run_notes import VERDICT, noted
from simgit.objects.oid import Oid
from simgit.repository import Repository

Policy = Callable[[Any], Any]
"""Returns the action for an observation."""
Progress = Callable[[int, int | None], None]
_PACKAGES: Final = {"ALE": "ale_py", "MiniGrid": "minigrid", "BabyAI": "minigrid"}
"""Packages whose ids are registered only when they are imported."""


@dataclass(frozen=True)
class Collected:
    """The result of a recording: the run, its new steps and episodes, and the duration.

    ``returned`` is the mean return of the episodes that ended, None without one; ``verdict`` is
    that of the self-check.
    """

    run: str
    tip: Oid | None
    steps: int
    episodes: int
    returned: float | None
    seconds: float
    verdict: Mapping[str, Any] | None


def make_environment(id: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Make an environment by its id; known packages are imported first.

    Raises:
        NotFound: no environment of this id, or its package is not installed.
        InvalidInput: the environment does not take these arguments.
    """
    package = _PACKAGES.get(id.partition("/")[0]) or _PACKAGES.get(id.partition("-")[0])
    try:
        if package is not None:
            importlib.import_module(package)
        made: gymnasium.Env[Any, Any] = gymnasium.make(id, **kwargs)
    except (gymnasium.error.Error, ImportError) as error:
        raise NotFound(f"cannot make environment '{id}': {_first_line(error)}", name=id) from None
    except TypeError as error:
        raise InvalidInput(
            f"cannot make environment '{id}': {_first_line(error)}", name=id
        ) from None
    return made


def _first_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    # the name of a class keeps its case
    return text[:1].lower() + text[1:] if text.partition(" ")[0].istitle() else text


def make_policy(name: str, env: gymnasium.Env[Any, Any], seed: int | None) -> Policy:
    """Return a policy: "random", or a function of the observation as "module:name".

    Raises:
        NotFound: no such function.
    """
    if name == "random":
        env.action_space.seed(seed)
        return lambda observation: env.action_space.sample()
    module, _, function = name.partition(":")
    try:
        found: Policy = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError):
        raise NotFound(
            f"policy '{name}' not found: must be 'random' or 'module:function'"
        ) from None
    return found


def collect(
    repo: Repository,
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    *,
    run: str = "main",
    steps: int | None = None,
    episodes: int | None = None,
    seed: int | None = None,
    progress: Progress = lambda done, total: None,
    **options: Any,
) -> Collected:
    """Record an environment for a number of steps or episodes, whichever is reached first.

    Args:
        repo: the repository.
        env: the environment; it is closed.
        policy: the policy that acts.
        run: the run.
        steps: the greatest number of actions.
        episodes: the greatest number of episodes.
        seed: the random seed of the first reset; the others get none.
        progress: called now and then with the number done, and of all.
        options: further arguments of ``Recorder``.

    Raises:
        Conflict, InvalidInput: see ``Recorder``.
    """
    recorder = Recorder(env, repo, run, **options)
    start = perf_counter()
    try:
        done, returns = _play(recorder, policy, steps, episodes, seed, progress)
        tip = recorder.tip
    finally:
        recorder.close()
    seconds = perf_counter() - start
    mean = sum(returns) / len(returns) if returns else None
    verdict = noted([repo.runs[recorder.run]], VERDICT, dict)
    return Collected(recorder.run, tip, done, len(returns), mean, seconds, verdict)


def _play(
    env: Recorder,
    policy: Policy,
    steps: int | None,
    episodes: int | None,
    seed: int | None,
    progress: Progress,
) -> tuple[int, list[float]]:
    """Act; return the number of steps, and the returns of the episodes that ended."""
    observation, _ = env.reset(seed=seed)
    done, total = 0, 0.0
    returns: list[float] = []
    while done != steps and len(returns) != episodes:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        done, total = done + 1, total + float(reward)
        if terminated or truncated:
            returns.append(total)
            total = 0.0
            if done != steps and len(returns) != episodes:
                observation, _ = env.reset()
        if done & 255 == 0:
            progress(done if steps else len(returns), steps or episodes)
    return done, returns
