"""Rollouts by the processes of any executor, on this machine or on others.

A task names the repository and the states to start from. The process opens the one and restores
the others, records into a repository in memory, and returns a bundle, which the caller imports.
"""

from __future__ import annotations

import io
import multiprocessing
import pickle
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import replace
from typing import Any, Final, NamedTuple

from simgit.errors import (
    EnvironmentChanged,
    InvalidInput,
    NotFound,
    SimgitError,
    StorageError,
    shown,
)
from simgit.gym.spec.permit import Trust
from simgit.gym.tools.rollout import Continuation, Policy, Rollout, Starts, record_rollout
from simgit.objects.oid import Oid
from simgit.process import cores, end_with_parent, this_writer
from simgit.refs.names import RUNS
from simgit.remotes import bundle
from simgit.remotes.clone import is_remote
from simgit.repository import Repository

LEAST: Final = 16
"""The fewest rollouts of a task, unless a process would have none: a task takes some time too."""
MOST: Final = 64
"""The most rollouts of a task."""
LOOK_SECONDS: Final = 0.2
"""Seconds between two looks while processes are busy."""
_AHEAD: Final = 2
"""Tasks for each process: one is executed, one waits for it."""
_KEPT: Final = 200_000
"""The most states of rollouts that a process keeps: they are in the caller's repository by then."""
ORIGIN: Final = "origin"
_SHUT_DOWN: Final = "the executor was shut down; the rollouts so far are recorded"


class StateSource(NamedTuple):
    """The place at which other processes find the states to start from.

    Attributes:
        url: the directory of a repository, or the URL of a remote.
        runs: of a remote, the runs to fetch; None for all.
        remote: of a remote, ``endpoint``, ``region`` and ``profile``, as pairs.
    """

    url: str
    runs: tuple[str, ...] | None = None
    remote: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, repo: Repository) -> StateSource:
        """Return the place of a repository.

        Raises:
            InvalidInput: it is in memory.
        """
        if repo.directory is None:
            raise InvalidInput(
                "other processes cannot open a repository in memory: leave out the executor, or "
                "make the repository in a directory"
            )
        return cls(str(repo.directory))

    def open(self) -> Repository:
        """Open the repository, or fetch the remote into one in memory.

        Raises:
            NotFound: there is none, or it has no such run.
            TransportError: the storage of the remote cannot be reached, or refuses.
        """
        if not is_remote(self.url):
            try:
                return Repository.open(self.url, read_only=True)
            except NotFound as error:
                machine = this_writer()["machine"].split(" ")[0]
                raise NotFound(
                    f"{error} on '{machine}', where a process of the executor runs; use a remote "
                    "that all machines reach"
                ) from None
        repo = self._connected()
        try:
            names = self.runs
            if names is None:
                with repo.remote(ORIGIN) as remote:
                    found = remote.refs()
                names = tuple(each[len(RUNS) :] for each in found if each.startswith(RUNS))
            repo.pull(ORIGIN, names)
        except BaseException:
            repo.close()
            raise
        return repo

    def lineage(self, run: str | None) -> tuple[str, ...] | None:
        """Return a run of the remote and those it was branched off; None if it has no such run.

        Raises:
            NotFound: the remote is empty.
            TransportError: the storage of the remote cannot be reached, or refuses.
        """
        with self._connected() as repo, repo.remote(ORIGIN) as remote:
            names: list[str] = []
            while run is not None and run not in names and remote.refs(run):
                names.append(run)
                remote.fetch([run])
                run = repo.remote_runs()[f"{ORIGIN}/{run}"].parent
        return tuple(names) or None

    def _connected(self) -> Repository:
        """Return a repository in memory with the remote."""
        repo = Repository.init(":memory:")
        try:
            options: dict[str, Any] = dict(self.remote)
            repo.add_remote(ORIGIN, self.url, **options)
        except BaseException:
            repo.close()
            raise
        return repo


# --- the caller ----------------------------------------------------------------------------------


def new_processes(count: int) -> ProcessPoolExecutor:
    """Return an executor of new processes of this machine, which end with this one."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=spawn, initializer=end_with_parent)


def check_executor(executor: Executor, policy: Policy | None) -> None:
    """Check that rollouts can be executed by an executor.

    Raises:
        InvalidInput: they cannot, or the policy cannot be sent to its processes.
    """
    if not isinstance(executor, Executor):
        raise InvalidInput(
            f"executor must be a concurrent.futures.Executor, got {shown(executor)}",
            path="executor",
        )
    if isinstance(executor, ThreadPoolExecutor):
        raise InvalidInput(
            "executor must have processes: threads would share the random generators of Python "
            "and NumPy, which each rollout puts back",
            path="executor",
        )
    default = pickle.dumps if isinstance(executor, ProcessPoolExecutor) else None
    check_policy(policy, getattr(executor, "dumps", default))


def check_policy(policy: Policy | None, dumps: Callable[[Any], bytes] | None) -> None:
    """Check that a policy can be sent to other processes, by the function that will pack it.

    Raises:
        InvalidInput: it cannot.
    """
    if policy is None or dumps is None:
        return
    try:
        dumps(policy)
    except Exception as error:  # whatever the policy's class raises
        raise InvalidInput(
            f"the policy cannot be sent to other processes ({shown(str(error))}): make it a "
            "function or an object of a class at the top of a module, or give workers=1",
            path="policy",
        ) from None


class RolloutTask(NamedTuple):
    """Rollouts for one process: plain data, and no handles."""

    source: StateSource
    jobs: tuple[Rollout, ...]
    trust: Trust
    policy: Policy | None
    caller: dict[str, Any]


def by_executor(
    repo: Repository,
    source: StateSource,
    jobs: Sequence[Rollout],
    executor: Executor,
    workers: int | None,
    trust: Trust,
    policy: Policy | None,
) -> Generator[Continuation | None, None, None]:
    """Execute rollouts in other processes, and import them in order.

    Yields:
        The results in order, and None now and then meanwhile.

    Raises:
        StorageError: a process was lost.
    """
    count = workers or getattr(executor, "_max_workers", None) or cores()
    size = _size(len(jobs), count)
    caller = this_writer()
    tasks = (
        RolloutTask(source, tuple(jobs[i : i + size]), trust, policy, caller)
        for i in range(0, len(jobs), size)
    )
    waiting: deque[Future[tuple[list[Continuation], bytes]]] = deque()
    try:
        while True:
            for task in _some(tasks, _AHEAD * count - len(waiting)):
                waiting.append(_submitted(executor, task))
            if not waiting:
                return
            if not wait([waiting[0]], LOOK_SECONDS).done:
                yield None
                continue
            found, data = waiting.popleft().result()
            yield from _imported(repo, found, data)
    except BrokenExecutor as error:
        raise StorageError(
            "a process of the executor was lost: killed, out of memory, or not started from a "
            "script without 'if __name__ == \"__main__\":'; the rollouts so far are recorded"
        ) from error
    except CancelledError as error:
        raise StorageError(_SHUT_DOWN) from error
    finally:
        for each in waiting:
            each.cancel()


def _submitted(executor: Executor, task: RolloutTask) -> Future[tuple[list[Continuation], bytes]]:
    try:
        return executor.submit(run_task, task)
    except BrokenExecutor:
        raise
    except RuntimeError as error:  # what executors raise that take no more tasks
        raise StorageError(_SHUT_DOWN) from error


def _some(tasks: Iterator[RolloutTask], count: int) -> Iterator[RolloutTask]:
    for _, task in zip(range(count), tasks, strict=False):
        yield task


def _size(jobs: int, processes: int) -> int:
    """Return the number of rollouts of a task: each process gets some, and better several."""
    share = -(-jobs // processes)
    return max(1, min(MOST, max(min(LEAST, share), -(-share // 4))))


def _imported(
    repo: Repository, found: Iterable[Continuation], data: bytes
) -> Iterator[Continuation]:
    refs = repo.import_bundle(io.BytesIO(data)).refs
    for each in found:
        yield replace(each, run=refs[RUNS + each.run].name.removeprefix(RUNS))


# --- a process of the executor -------------------------------------------------------------------


class Desk:
    """The repositories that a process keeps for the next task, and a live environment."""

    def __init__(self, source: StateSource, trust: Trust) -> None:
        self.place = source, trust
        self.origin = source.open()
        self.own = Repository.init(":memory:")
        self.starts = Starts(self.origin, trust)
        self._states = 0

    def close(self) -> None:
        """Close the environment and the repositories."""
        try:
            self.starts.close()
        finally:
            self.own.close()
            self.origin.close()

    def execute(
        self, jobs: Sequence[Rollout], policy: Policy | None
    ) -> tuple[list[Continuation], bytes]:
        """Execute rollouts; return their results, and a bundle of their runs."""
        states = list(dict.fromkeys(job.state for job in jobs))
        if self._states > _KEPT:
            self.own.close()
            self.own, self._states = Repository.init(":memory:"), 0
        self._carry([each for each in states if each not in self.own])
        found = []
        try:
            for job in jobs:
                job = replace(job, is_branched=False)
                found.append(record_rollout(self.own, self.starts.env(job), job, policy))
                self._states += found[-1].length
            data = io.BytesIO()
            self.own.create_bundle(data, [each.run for each in found], exclude=states)
        finally:  # a task may be executed once more
            with self.own.transaction():
                for name in list(self.own.runs):
                    self.own.delete_run(name, force=True)
        return found, data.getvalue()

    def _carry(self, states: Sequence[Oid]) -> None:
        """Copy states with their history, without what is attached to them."""
        if states:
            data = io.BytesIO()
            bundle.create_of_states(self.origin.odb, data.write, states)
            data.seek(0)
            self.own.import_bundle(data)


_desk: Desk | None = None
_alone: Final = threading.Lock()
"""Rollouts of one process take turns: they put back the global random generators."""


def run_task(task: RolloutTask) -> tuple[list[Continuation], bytes]:
    """Execute the rollouts of a task; return their results, and a bundle of their runs.

    Raises:
        InvalidInput: the executor's process is that of the caller.
    """
    if this_writer() == task.caller:
        raise InvalidInput("executor must have other processes, and runs its tasks in this one")
    with _alone, warnings.catch_warnings():
        warnings.simplefilter("ignore", EnvironmentChanged)
        try:
            return _desk_for(task).execute(task.jobs, task.policy)
        except SimgitError:
            raise
        except BaseException as error:
            _leave()  # the environment may be in any state
            check_error(error)
            raise


def check_error(error: BaseException) -> None:
    """Raise a RuntimeError with its class and text for an error that cannot be sent as it is.

    (A process pool would break at it, and nobody would see the error.)
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class raises
        kind = type(error)
        line = shown(str(error))
        raise RuntimeError(f"{kind.__module__}.{kind.__qualname__}: {line}") from None


def _desk_for(task: RolloutTask) -> Desk:
    """Return the desk of this process, with all states of a task."""
    global _desk
    place = task.source, task.trust
    if _desk is not None and (_desk.place != place or not _has_all(_desk, task)):
        _leave()
    if _desk is None:
        _desk = Desk(*place)
    return _desk


def _has_all(desk: Desk, task: RolloutTask) -> bool:
    return all(job.state in desk.origin for job in task.jobs)


def _leave() -> None:
    global _desk
    left, _desk = _desk, None
    if left is not None:
        left.close()
