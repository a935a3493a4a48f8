"""Rollouts from recorded states, in worker processes, each recorded as a run."""

from __future__ import annotations

import itertools
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from gymnasium.spaces import Box, Dict, Tuple

from simgit.errors import EnvironmentChanged, InvalidInput, StorageError, shown
from simgit.gym.restoring.recorded_path import RecordedPath, run_named
from simgit.gym.restoring.reexecute import Progress
from simgit.gym.restoring.restore import settled, warn_of_changes
from simgit.gym.restoring.sessions import note_of
from simgit.gym.spec import spaces
from simgit.gym.spec.permit import Trust
from simgit.gym.tools.executors import (
    LOOK_SECONDS,
    StateSource,
    by_executor,
    check_error,
    check_executor,
    check_policy,
    new_processes,
)
from simgit.gym.tools.rollout import Continuation, Policy, Rollout, in_turn
from simgit.objects.arguments import checked, manager
from simgit.objects.coerce import check_number
from simgit.objects.oid import Oid
from simgit.process import cores
from simgit.repository import Repository

PREFIX: Final = "what-if"
_CHUNKS: Final = 4
"""Chunks of work for each worker: progress shows, and no worker is idle at the end."""
Look = Callable[[], None]
AroundRun = Callable[[str], AbstractContextManager[Look]]


@checked
def step_batch(
    repo: Repository,
    states: Sequence[str | Oid],
    actions: Sequence[Any],
    *,
    prefix: str = PREFIX,
    workers: int | None = None,
    executor: Executor | None = None,
    trust: Trust = None,
    progress: Progress | None = None,
) -> list[Continuation]:
    """Execute actions from recorded states, and record each rollout as a run.

    Args:
        repo: the repository; with one in memory the work is done in this process.
        states: the states to start from; a state may occur several times.
        actions: for each state a list (or tuple) of actions, or one action.
        prefix: the runs are named ``prefix/STATE-1`` and so on.
        workers: the number of processes (default: one for each processor); with an executor, the
            number of tasks at a time, of which each process should have two.
        executor: a ``concurrent.futures.Executor`` whose processes do the work, such as a
            ``ProcessPoolExecutor``, that of a Dask client, or ``simgit.integrations.ray``'s. Each
            opens the repository's directory, or copies the history of the states into its memory;
            the results are the same, oid for oid.
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
        sequence = checked_actions(repo, state, sequence)
        jobs.append(Rollout(state, next(names(state)), sequence, len(sequence), of=of))
    return execute(repo, jobs, workers=workers, executor=executor, trust=trust, progress=progress)


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
    executor: Executor | None = None,
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
        prefix, workers, executor, trust, progress: see ``step_batch``.
        around: called with the name of the first run; what it returns is entered meanwhile, and
            gives a function that is called between rollouts, which ends them by raising.

    Returns:
        The results for each action.

    Raises:
        see ``step_batch``
    """
    oid, of = repo.resolve(state), run_named(repo, state)
    actions = checked_actions(repo, oid, actions)
    horizon = check_number(horizon, "horizon", 1, whole=True)
    rollouts = check_number(rollouts, "rollouts", 1, whole=True)
    names = _names(repo, prefix)(oid)
    seeds = np.random.SeedSequence(seed).generate_state(rollouts).tolist()
    jobs = [
        Rollout(oid, next(names), (action,), horizon, seed, of=of)
        for action in actions
        for seed in seeds
    ]
    found = execute(
        repo, jobs, workers=workers, executor=executor, trust=trust, progress=progress,
        around=around,
    )  # fmt: skip
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
    executor: Executor | None = None,
    source: StateSource | None = None,
    policy: Policy | None = None,
    trust: Trust = None,
    progress: Progress | None = None,
    around: AroundRun | None = None,
) -> list[Continuation]:
    """Execute rollouts, in worker processes if there are several; return the results in order.

    Args:
        repo: the repository.
        jobs: the rollouts.
        workers: the number of processes; with an executor, of tasks at a time.
        executor: an executor whose processes do the work.
        source: where those find the states (default: the directory of the repository).
        policy: chooses the actions that are not given.
        trust: see ``restore``.
        progress: called with the number of rollouts done, and of all.
        around: see ``what_if``.

    Raises:
        InvalidInput: the executor or the policy cannot be used, or a state is of a live cluster.
        StorageError: the repository is read-only, or a process of the executor was lost.
        NotFound, Untrusted, Divergence: see ``restore``.
    """
    if workers is not None:
        check_number(workers, "workers", 1, whole=True)
    if repo.read_only:
        raise StorageError("the repository is open read-only: rollouts are recorded as runs in it")
    if around is not None and not callable(around):
        raise InvalidInput(f"around must be a function, got {shown(around)}")
    tell = progress or (lambda done, total: None)
    paths = {job.start: job.path(repo) for job in jobs}
    if any(path.is_live for path in paths.values()):
        raise InvalidInput("live: rollouts are not run on a live cluster; branch the run instead")
    trusted = settled([*paths.values()], trust, makes=True)
    tell(0, len(jobs))
    for path in paths.values():
        warn_of_changes(repo, path)  # once, not in each worker
    noted = {start: note_of(path.sessions) for start, path in paths.items()}
    jobs = [replace(job, noted=noted[job.start]) for job in jobs]
    if executor is not None:
        source = source or StateSource.of(repo)
        check_executor(executor, policy)

    def executed(jobs: Sequence[Rollout], look: Look) -> list[Continuation]:
        if executor is not None:
            assert source is not None
            found = by_executor(repo, source, jobs, executor, workers, trusted, policy)
        elif repo.directory is None or min(workers or cores(), len(jobs)) <= 1:
            found = in_turn(repo, jobs, trusted, policy)
        else:
            check_policy(policy, pickle.dumps)
            return _in_processes(repo, jobs, workers or cores(), trusted, policy, tell, look)
        done: list[Continuation] = []
        with closing(found):
            for each in found:
                if each is not None:
                    done.append(each)
                    tell(len(done), len(jobs))
                look()
        return done

    if around is None or not jobs:
        return executed(jobs, lambda: None)
    jobs[0].branch(repo)
    with manager(around(jobs[0].run), "around") as look:
        if not callable(look):
            raise InvalidInput(f"around must give a function, got {shown(look)}")
        return executed([replace(jobs[0], is_branched=True), *jobs[1:]], look)


def _in_processes(
    repo: Repository,
    jobs: Sequence[Rollout],
    workers: int,
    trusted: Trust,
    policy: Policy | None,
    tell: Progress,
    look: Look,
) -> list[Continuation]:
    """Execute rollouts in processes of this machine, which record into the repository itself."""
    count = min(workers, len(jobs))
    size = -(-len(jobs) // (count * _CHUNKS))
    parts = [jobs[i : i + size] for i in range(0, len(jobs), size)]
    found: dict[int, list[Continuation]] = {}
    left = iter(enumerate(parts))
    waiting: dict[Future[list[Continuation]], int] = {}
    assert repo.directory is not None
    with new_processes(count) as pool:
        while len(found) < len(parts):
            for i, part in itertools.islice(left, count - len(waiting)):  # no more: it may pause
                waiting[pool.submit(_in_worker, repo.directory, part, trusted, policy)] = i
            for over in wait(waiting, LOOK_SECONDS, FIRST_COMPLETED).done:
                found[waiting.pop(over)] = over.result()
                tell(sum(map(len, found.values())), len(jobs))
            look()
    return [each for i in range(len(parts)) for each in found[i]]


def _in_worker(
    directory: Path, jobs: Sequence[Rollout], trusted: Trust, policy: Policy | None
) -> list[Continuation]:
    warnings.simplefilter("ignore", EnvironmentChanged)
    with Repository.open(directory) as repo:
        try:
            return list(in_turn(repo, jobs, trusted, policy))
        except Exception as error:
            check_error(error)
            raise


def checked_actions(repo: Repository, state: Oid, actions: Sequence[Any]) -> tuple[Any, ...]:
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
