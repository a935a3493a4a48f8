"""Recording without a script: an environment by its id, a policy by its name.

What a ``CollectionSpec`` declares is recorded once: its oid names the run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, count
from time import perf_counter
from typing import Any, Final

import gymnasium

from simgit.errors import AlreadyExists, InvalidInput, NotFound, shown
from simgit.gym.recording.recorder import Recorder
from simgit.gym.restoring.run_notes import VERDICT, noted
from simgit.objects.arguments import checked, manager
from simgit.objects.coerce import check_number, coerce
from simgit.objects.kinds import Spec
from simgit.objects.oid import Oid
from simgit.refs.runs import RunInfo
from simgit.repository import Repository
from simgit.repository.derivations import MADE_FROM

Policy = Callable[[Any], Any]
"""Returns the action for an observation."""
Progress = Callable[[int, int | None], None]
Around = Callable[[Recorder], AbstractContextManager[object]]
_PACKAGES: Final = {"ALE": "ale_py", "MiniGrid": "minigrid", "BabyAI": "minigrid"}
"""Packages whose ids are registered only when they are imported."""


@dataclass(frozen=True)
class Collected:
    """The result of a recording: the run, its new steps and episodes, and the duration.

    ``returned`` is the mean return of the episodes that ended, None without one; ``verdict`` is
    that of the self-check. ``is_new`` is False if all was there already.
    """

    run: str
    tip: Oid | None
    steps: int
    episodes: int
    returned: float | None
    seconds: float
    verdict: Mapping[str, Any] | None
    is_new: bool = True


_KINDS: Final[tuple[tuple[str, Any, str], ...]] = (
    ("environment", str, "a text"), ("policy", str, "a text"), ("arguments", Mapping, "a dict"),
    ("seeds", Sequence, "a list"), ("made_from", Mapping, "a dict"),
)  # fmt: skip


@dataclass(frozen=True)
class CollectionSpec:
    """A declaration of what to record; equal ones have the same oid.

    Attributes:
        environment: the id of the environment.
        arguments: the arguments that it is made with, plain values: its workload, for instance.
        policy: "random", a function as "module:name", or the name of what is passed to
            ``collect_once`` as ``act``.
        seeds: the seeds of the resets; each begins a part that does not depend on the others.
        episodes: the number of episodes of each part, None for as many as ``steps`` give.
        steps: the greatest number of actions of each part, None for any.
        made_from: the oids of what the policy depends on, by label: of a model, for instance.
    """

    environment: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    policy: str = "random"
    seeds: Sequence[int] = (0,)
    episodes: int | None = 1
    steps: int | None = None
    made_from: Mapping[str, Oid] = field(default_factory=dict)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The spec as canonical data.

        Raises:
            InvalidInput: an argument has no encoding, or a number no meaning.
        """
        for name, kind, what in _KINDS:
            if not isinstance(getattr(self, name), kind):
                raise InvalidInput(f"{name} must be {what}, got {shown(getattr(self, name))}")
        seeds = [check_number(each, "seeds", whole=True) for each in self.seeds]
        if not seeds:
            raise InvalidInput("seeds: at least one is needed")
        if self.episodes is None and self.steps is None:
            raise InvalidInput("episodes or steps must say where to end")
        if not all(isinstance(each, Oid) for each in self.made_from.values()):
            raise InvalidInput("made_from must have oids, such as that of what derived() returns")
        return {
            "environment": self.environment,
            "arguments": coerce(dict(self.arguments), "arguments"),
            "policy": self.policy,
            "seeds": seeds,
            **{
                name: None if value is None else check_number(value, name, 1, whole=True)
                for name, value in (("episodes", self.episodes), ("steps", self.steps))
            },
            MADE_FROM: {str(label): oid.hex() for label, oid in self.made_from.items()},
        }

    @property
    def oid(self) -> Oid:
        """The oid: that of the data as an object of kind ``spec``."""
        return Spec(self.data).oid

    @property
    def run(self) -> str:
        """The name of the run that has what is declared."""
        return f"datasets/{self.oid.short(12)}"


def import_package(id: str) -> None:
    """Import the known package that registers an environment, if there is one for its id.

    Raises:
        ImportError: it is not installed.
    """
    package = _PACKAGES.get(id.partition("/")[0]) or _PACKAGES.get(id.partition("-")[0])
    if package is not None:
        importlib.import_module(package)


def make_environment(id: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Make an environment by its id; known packages are imported first.

    Raises:
        NotFound: no environment of this id, or its package is not installed.
        InvalidInput: the environment does not take these arguments.
    """
    try:
        import_package(id)
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
        if not (module and function):
            raise ValueError(name)  # nothing is imported for that
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
    around: Around = nullcontext,
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
        around: called with the recorder; what it returns is entered while that records.
        options: further arguments of ``Recorder``.

    Raises:
        Conflict, InvalidInput: see ``Recorder``.
    """
    recorder = Recorder(env, repo, run, **options)
    start = perf_counter()
    try:
        with manager(around(recorder), "around"):
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


_SPEC: Final = "collection"
"""The key of a run's metadata for the data of its spec."""


@checked
def collect_once(
    repo: Repository,
    spec: CollectionSpec,
    *,
    act: Callable[[Any], Any] | None = None,
    force: bool = False,
    progress: Progress = lambda done, total: None,
    around: Around = nullcontext,
    **options: Any,
) -> Collected:
    """Record what a spec declares, unless it is there already; the run is completed then.

    A recording that was interrupted is resumed: the policy acts again from the beginning, each step
    is compared with the recorded one, and what is missing is appended.

    Args:
        repo: the repository.
        spec: the declaration.
        act: returns the action for an observation, instead of what the spec's policy names; it has
            to do the same each time.
        force: record again to a run of its own, ``RUN.2``. It has the same oids if the environment
            and the policy repeat themselves. Where they do not, this ends what was interrupted.
        progress: called with the number of seeds done, and of all.
        around: see ``collect``.
        options: further arguments of ``Recorder``.

    Raises:
        NotFound: no such environment or policy.
        AlreadyExists: the run's name is taken by something else.
        Divergence: an interrupted recording is not repeated.
        Conflict: another process records it.
    """
    if not isinstance(spec, CollectionSpec):
        raise InvalidInput(f"spec must be a CollectionSpec, got {shown(spec)}", path="spec")
    there = _recorded_for(repo, spec)
    complete = next((each for each in there if each.status == "completed"), None)
    if complete is not None and not force:
        return _summary(repo, complete.name, 0.0, False)
    begun = perf_counter()
    env = make_environment(spec.environment, **spec.data["arguments"])
    try:
        if act is None:
            make_policy(spec.policy, env, None)  # raises before anything is written
        if there and not force:
            run = there[0].name
            recorder = Recorder.resume(repo, run, at=-1, env=env, **options)
        else:
            names = (f"{spec.run}.{n}" if n else spec.run for n in chain([0], count(2)))
            run = next(
                name for name in names if name not in repo.runs or repo.runs[name].step is None
            )
            recorder = Recorder(env, repo, run, **options)
            repo.configure(run, metadata={_SPEC: spec.data, MADE_FROM: spec.data[MADE_FROM]})
    except BaseException:
        env.close()
        raise
    with closing(recorder), manager(around(recorder), "around"):
        for number, seed in enumerate(spec.data["seeds"]):
            policy = make_policy(spec.policy, recorder, seed) if act is None else act
            _play(recorder, policy, spec.steps, spec.episodes, seed, lambda done, total: None)
            progress(number + 1, len(spec.seeds))
    repo.set_status(run, "completed")
    return _summary(repo, run, perf_counter() - begun, True)


def _recorded_for(repo: Repository, spec: CollectionSpec) -> list[RunInfo]:
    """Return the runs that were recorded for a spec, the first one first.

    Raises:
        AlreadyExists: something else has the name of the first.
    """
    found = []
    for name in chain([spec.run], (f"{spec.run}.{n}" for n in count(2))):
        if name not in repo.runs:
            break
        info = repo.runs[name]
        declared = info.metadata.get(_SPEC)
        if isinstance(declared, Mapping) and Spec(declared).oid == spec.oid:
            found += [info] * (info.step is not None)
        elif name == spec.run and info.step is not None:
            raise AlreadyExists(
                f"run '{name}' was not recorded for this spec: rename it", name=name
            )
    return found


def _summary(repo: Repository, run: str, seconds: float, is_new: bool) -> Collected:
    """Return what a whole run has."""
    info, states = repo.runs[run], repo.trajectory(run)
    ends = int((states.terminations | states.truncations).sum())
    mean = info.return_ / ends if ends else None
    steps = len(states) - int(states.episode_starts.sum())
    verdict = noted([info], VERDICT, dict)
    return Collected(run, info.oid, steps, ends, mean, seconds, verdict, is_new)
