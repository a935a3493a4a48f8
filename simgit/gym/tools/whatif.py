"""Rollouts from recorded states, in worker processes, each recorded as a run."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from gymnasium.spaces import Box, Dict, Tuple

from simgit.errors import EnvironmentChanged, InvalidInput, shown
from simgit.gym import drivers
from simgit.gym.restoring.recorded_path import RecordedPath, run_named
from simgit.gym.restoring.reexecute import Progress
from simgit.gym.restoring.reseeding import WHAT_IF
from simgit.gym.restoring.restore import restored, settled, warn_of_changes
from simgit.gym.restoring.run_notes import snapshots_fail
from simgit.gym.restoring.sessions import note_of
from simgit.gym.spec import spaces
from simgit.gym.spec.permit import Trust
from simgit.gym.spec.values import cast_for, hard_step, keeper, kept_or_simplified
from simgit.objects.arguments import checked, manager
from simgit.objects.oid import Oid
from simgit.objects.simplify import Simplifier, left_out
from simgit.process import end_with_parent
from simgit.repository import Repository

PREFIX: Final = "what-if"
_CHUNKS: Final = 4
"""Chunks of work for each worker: progress shows, and no worker is idle at the end."""
LOOK_SECONDS: Final = 0.2
"""Seconds between two looks while workers are busy."""
Look = Callable[[], None]
AroundRun = Callable[[str], AbstractContextManager[Look]]


@dataclass(frozen=True)
class Rollout:
    """A rollout to execute.

    Attributes:
        state: the state to start from.
        run: the name of the run to record.
        actions: the first actions; random ones follow, up to ``horizon``.
        horizon: the greatest number of actions; an episode's end ends the rollout.
        seed: the random seed for the environment and for random actions; None continues with the
            random numbers of the recorded run.
        is_branched: the run is there already.
        of: the run whose state it is, None if the state was given by its oid.
    """

    state: Oid
    run: str
    actions: tuple[Any, ...]
    horizon: int
    seed: int | None = None
    is_branched: bool = False
    of: str | None = None

    def path(self, repo: Repository) -> RecordedPath:
        """Return the path to the state."""
        return RecordedPath(repo, self.state, self.of)

    def branch(self, repo: Repository) -> None:
        """Make the run; by the state's oid: the path to it is compared."""
        facts = {"from": self.state.hex(), "seed": self.seed, "horizon": self.horizon}
        noted = note_of(self.path(repo).sessions)
        repo.branch(self.run, self.state, metadata={WHAT_IF: facts, **noted})


@dataclass(frozen=True)
class Continuation:
    """The result of a rollout.

    Attributes:
        run: the name of its run.
        tip: its newest state.
        return_: the sum of the rewards since the start.
        length: the number of actions.
        terminated: the flag of the last step.
        truncated: likewise.
    """

    run: str
    tip: Oid
    return_: float
    length: int
    terminated: bool
    truncated: bool

    def to_json(self) -> dict[str, Any]:
        """Return the result as data for JSON."""
        return {**vars(self), "tip": self.tip.hex()}


@checked
def step_batch(
    repo: Repository,
    states: Sequence[str | Oid],
    actions: Sequence[Any],
    *,
    prefix: str = PREFIX,
    workers: int | None = None,
    trust: Trust = None,
    progress: Progress | None = None,
) -> list[Continuation]:
    """Execute actions from recorded states, and record each rollout as a run.

    Args:
        repo: the repository; with one in memory the work is done in this process.
        states: the states to start from; a state may occur several times.
        actions: for each state a list (or tuple) of actions, or one action.
        prefix: the runs are named ``prefix/STATE-1`` and so on.
        workers: the number of processes (default: one for each processor).
        trust: see ``restore``.
        progress: called with the number of rollouts done, and of all.

    Returns:
        One result for each state, in order. Random numbers continue as recorded.

    Raises:
        InvalidInput: the numbers of states and actions differ, an action is not in the space, or a
            state ended its episode.
        NotFound, Untrusted, Divergence: see ``restore``.
    """
    if len(states) != len(actions):
        raise InvalidInput(
            f"there must be a list of actions for each state, got {len(actions)} for {len(states)}"
        )
    names = _names(repo, prefix)
    jobs = []
    for each, given in zip(states, actions, strict=True):
        state, of = repo.resolve(each), run_named(repo, each)
        sequence = tuple(given) if isinstance(given, (list, tuple)) else (given,)
        sequence = _checked(repo, state, sequence)
        jobs.append(Rollout(state, next(names(state)), sequence, len(sequence), of=of))
    return execute(repo, jobs, workers=workers, trust=trust, progress=progress)


@checked
def what_if(
    repo: Repository,
    state: str | Oid,
    actions: Sequence[Any],
    *,
    horizon: int,
    rollouts: int = 1,
    seed: int = 0,
    prefix: str = PREFIX,
    workers: int | None = None,
    trust: Trust = None,
    progress: Progress | None = None,
    around: AroundRun | None = None,
) -> list[list[Continuation]]:
    """Try actions from a state, each several times and followed by random actions.

    The n-th rollouts of all actions have the same random seed, so that the actions are compared
    and not their luck.

    Args:
        repo: the repository.
        state: the state to start from.
        actions: the first actions to try.
        horizon: the number of actions in all.
        rollouts: the number of rollouts for each action.
        seed: the random seed.
        prefix, workers, trust, progress: see ``step_batch``.
        around: called with the name of the first run; what it returns is entered meanwhile, and
            gives a function that is called between rollouts, which ends them by raising.

    Returns:
        The results for each action.

    Raises:
        see ``step_batch``
    """
    oid, of = repo.resolve(state), run_named(repo, state)
    actions = _checked(repo, oid, actions)
    names = _names(repo, prefix)(oid)
    seeds = np.random.SeedSequence(seed).generate_state(rollouts).tolist()
    jobs = [
        Rollout(oid, next(names), (action,), horizon, seed, of=of)
        for action in actions
        for seed in seeds
    ]
    found = execute(repo, jobs, workers=workers, trust=trust, progress=progress, around=around)
    return [found[i * rollouts : (i + 1) * rollouts] for i in range(len(actions))]


def _names(repo: Repository, prefix: str) -> Callable[[Oid], Iterator[str]]:
    """Return a function that yields unused names of runs for a state."""
    taken = set(repo.runs)
    counters: dict[Oid, Iterator[int]] = {}

    def names(state: Oid) -> Iterator[str]:
        for i in counters.setdefault(state, itertools.count(1)):
            name = f"{prefix}/{state.short()}-{i}"
            if name not in taken:
                yield name

    return names


# --- execution -----------------------------------------------------------------------------------


def execute(
    repo: Repository,
    jobs: Sequence[Rollout],
    *,
    workers: int | None = None,
    trust: Trust = None,
    progress: Progress | None = None,
    around: AroundRun | None = None,
) -> list[Continuation]:
    """Execute rollouts, in worker processes if there are several; return the results in order."""
    if around is not None and not callable(around):
        raise InvalidInput(f"around must be a function, got {shown(around)}")
    tell = progress or (lambda done, total: None)
    paths = [*{(job.state, job.of): job.path(repo) for job in jobs}.values()]
    if any(path.is_live for path in paths):
        raise InvalidInput("live: rollouts are not run on a live cluster; branch the run instead")
    trusted = settled(paths, trust, makes=True)
    tell(0, len(jobs))
    for path in paths:
        warn_of_changes(repo, path)  # once, not in each worker
    if around is None or not jobs:
        return _executed(repo, jobs, workers, trusted, tell, lambda: None)
    jobs[0].branch(repo)
    with manager(around(jobs[0].run), "around") as look:
        if not callable(look):
            raise InvalidInput(f"around must give a function, got {shown(look)}")
        first = replace(jobs[0], is_branched=True)
        return _executed(repo, [first, *jobs[1:]], workers, trusted, tell, look)


def _executed(
    repo: Repository,
    jobs: Sequence[Rollout],
    workers: int | None,
    trusted: Trust,
    tell: Progress,
    look: Look,
) -> list[Continuation]:
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if repo.directory is None or count <= 1:
        done: list[Continuation] = []
        with closing(_in_turn(repo, jobs, trusted)) as rollouts:
            for each in rollouts:
                done.append(each)
                tell(len(done), len(jobs))
                look()
        return done
    size = -(-len(jobs) // (count * _CHUNKS))
    parts = [jobs[i : i + size] for i in range(0, len(jobs), size)]
    found: dict[int, list[Continuation]] = {}
    left = iter(enumerate(parts))
    waiting: dict[Future[list[Continuation]], int] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=spawn, initializer=end_with_parent) as pool:
        while len(found) < len(parts):
            for i, part in itertools.islice(left, count - len(waiting)):  # no more: it may pause
                waiting[pool.submit(_in_worker, repo.directory, part, trusted)] = i
            for over in wait(waiting, LOOK_SECONDS, FIRST_COMPLETED).done:
                found[waiting.pop(over)] = over.result()
                tell(sum(map(len, found.values())), len(jobs))
            look()
    return [each for i in range(len(parts)) for each in found[i]]


def _in_worker(directory: Path, jobs: Sequence[Rollout], trusted: Trust) -> list[Continuation]:
    warnings.simplefilter("ignore", EnvironmentChanged)
    with Repository.open(directory) as repo:
        return list(_in_turn(repo, jobs, trusted))


def _in_turn(
    repo: Repository, jobs: Sequence[Rollout], trusted: Trust
) -> Generator[Continuation, None, None]:
    """Execute rollouts one after another; the same state is not restored twice in a row."""
    env: Any = None
    start: tuple[tuple[Oid, str | None], Any] | None = None
    try:
        for job in jobs:
            if start is None or start[0] != (job.state, job.of):
                if env is not None:
                    env.close()
                path = job.path(repo)
                env = restored(path, trust=trusted)
                driver = drivers.select(env)
                # without snapshots the state is restored each time
                serves = driver.where == "any" and not snapshots_fail(path.recorded_in)
                start = ((job.state, job.of), driver.snapshot(env)) if serves else None
            else:
                driver.restore(env, start[1])
            if job.seed is not None:
                driver.reseed(env, job.seed)
            yield _recorded(repo, env, job)
    finally:
        if env is not None:
            env.close()


def _recorded(repo: Repository, env: Any, job: Rollout) -> Continuation:
    if not job.is_branched:
        job.branch(repo)
    cast, keep = cast_for(env.observation_space), keeper(env.action_space, "action")
    total, length = 0.0, 0
    terminated = truncated = False
    with repo.recorder(job.run) as recorder:
        simplifier = recorder.simplifier = Simplifier(left_out, numbers=True)
        for action in _actions(env, job):
            kept = kept_or_simplified(keep, action, "action", simplifier)
            observation, reward, terminated, truncated, info = env.step(action)
            seen, value, *flags, info = hard_step(
                simplifier, cast, (observation, reward, terminated, truncated), info
            )
            recorder.append(seen, kept, value, *flags, info)
            total, length = total + float(reward), length + 1
            if terminated or truncated:
                break
    return Continuation(
        job.run, repo.resolve(job.run), total, length, bool(terminated), bool(truncated)
    )


def _actions(env: Any, job: Rollout) -> Iterator[Any]:
    """Yield the given actions, then random ones."""
    yield from job.actions[: job.horizon]
    left = job.horizon - len(job.actions)
    if left > 0:
        env.action_space.seed(job.seed)
        yield from (env.action_space.sample() for _ in range(left))


def _checked(repo: Repository, state: Oid, actions: Sequence[Any]) -> tuple[Any, ...]:
    """Return actions in the form of the recorded action space.

    Raises:
        InvalidInput: an action is not in the space, or the state ended its episode.
    """
    spec = RecordedPath(repo, state).spec
    if _is_over(repo, state, spec):
        raise InvalidInput(
            f"state '{state.short()}' ends an episode: no action can follow it", oid=state
        )
    space = spaces.decode(spec["action_space"])
    taken = tuple(_of_space(space, action) for action in actions)
    for given, action in zip(actions, taken, strict=True):
        if not space.contains(_cast(space, action)):
            raise InvalidInput(f"'{given}' is not an action of {space}", path="action")
    return taken


def _is_over(repo: Repository, oid: Oid, spec: Mapping[str, Any]) -> bool:
    """Return True if only a reset can follow a state."""
    state = repo.state(oid)
    resets_itself = any(each["name"] == "Autoreset" for each in spec["wrappers"])
    return bool(state.terminated or state.truncated) and not resets_itself


def _of_space(space: Any, action: Any) -> Any:
    """Return a plain number or list in the dtype of the space, if that is exact."""
    if isinstance(action, (int, float, list)) and space.dtype is not None:
        array = np.asarray(action)
        if array.dtype.kind in "biuf" and np.array_equal(array.astype(space.dtype), array):
            array = array.astype(space.dtype)
        return array[()] if array.ndim == 0 else array
    return action


def _cast(space: Any, action: Any) -> Any:
    """Return a copy in the space's dtype of floats.

    (Scripts pass float64 for float32, and environments accept it.)
    """
    if isinstance(space, Dict) and isinstance(action, Mapping):
        return {k: _cast(space.spaces.get(k), each) for k, each in action.items()}
    if isinstance(space, Tuple) and isinstance(action, tuple):
        return tuple(map(_cast, space.spaces, action))
    if isinstance(space, Box) and space.dtype.kind == "f":
        array = np.asarray(action)
        return array.astype(space.dtype) if array.dtype.kind in "iuf" else array
    return action


# --- results -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval (bootstrap)."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], *, resamples: int = 2000) -> Interval:
    """Return the mean of at least one value with its interval, deterministically."""
    numbers = np.asarray(values, np.float64)
    rng = np.random.default_rng(0)
    means = numbers[rng.integers(0, len(numbers), (resamples, len(numbers)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(numbers.mean()), float(low), float(high))
