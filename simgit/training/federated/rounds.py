"""All rounds of a federated training, with the workers of any executor."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from simgit.errors import InvalidInput, TimedOut, plural, shown
from simgit.objects.coerce import check_number
from simgit.refs.remotes import ORIGIN
from simgit.repository import Repository
from simgit.training.average import Averaging
from simgit.training.config import SEED_STRIDE, Config
from simgit.training.federated.federation import (
    Federation,
    check_remote,
    fetched,
    round_of,
)
from simgit.training.federated.local import LocalRound, train_round
from simgit.training.federated.merging import (
    GlobalRound,
    check_options,
    merge_round,
    taken,
)
from simgit.training.trainer import SIMKUBE

LOG: Final = logging.getLogger("simgit.federated")


def train_federated(
    config: Config,
    workers: int,
    rounds: int,
    local_episodes: int,
    *,
    remote: str | Path,
    group: str = "federated",
    environment: str = SIMKUBE,
    arguments: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    quorum: int | None = None,
    deadline: float | None = None,
    averaging: Averaging | None = None,
    weights: str = "even",
    late: str = "keep",
    seeds: Sequence[int] | None = None,
    repo: Repository | None = None,
    tell: Callable[[GlobalRound], object] | None = None,
    **storage: Any,
) -> list[GlobalRound]:
    """Train in rounds, and return the outcome of each; a training that was ended continues.

    Args:
        config: the settings of the training; ``episodes`` is not used.
        workers: how many workers there are.
        rounds: the number of rounds in all, those of earlier calls included.
        local_episodes: the episodes of a worker in a round.
        remote: the URL of the remote: a path, ``file:///path`` or ``s3://bucket/prefix``.
        group: what the names of all runs begin with: ``GROUP/global``, ``GROUP/worker/0``, …
        environment: the id of a registered environment.
        arguments: the environment's arguments.
        executor: what calls ``train_round`` for the workers, in processes: a
            ``ProcessPoolExecutor``, that of a Dask client, or
            ``simgit.integrations.ray.RayExecutor``. None for one worker after another, here.
        quorum: how many workers a round needs (default: all).
        deadline: how many seconds all workers are waited for; then only for the quorum (default:
            no limit).
        averaging: how agents become one.
        weights: see ``merge_round``.
        late: see ``merge_round``.
        seeds: the workers' seeds (default: that of the configuration, and 1, 2, … more).
        repo: the coordinator's repository (default: a temporary one).
        tell: called with each outcome.
        storage: how to reach the remote: ``endpoint``, ``region``, ``profile``.

    Raises:
        InvalidInput: a setting cannot be, or the agents cannot be averaged.
        TimedOut: all workers ended, and those that have done the round are fewer than the quorum.
        TransportError: the remote cannot be reached, or refuses.
    """
    check_options(weights, late)
    check_number(workers, "workers", 1, most=SEED_STRIDE, whole=True)
    needed = check_number(workers if quorum is None else quorum, "quorum", 1, most=workers,
                          whole=True)  # fmt: skip
    if executor is not None and not isinstance(executor, Executor):
        raise InvalidInput(
            f"executor must be a concurrent.futures.Executor, got {shown(executor)}",
            path="executor",
        )
    given = [config.seed + index for index in range(workers)] if seeds is None else list(seeds)
    if len(given) != workers:
        raise InvalidInput(f"there are {workers} workers, but {len(given)} seeds", path="seeds")
    federation = Federation(
        str(remote), config, local_episodes, group, rounds, environment, dict(arguments or {}),
        storage,
    )  # fmt: skip
    found: list[GlobalRound] = []
    pending: dict[int, Future[LocalRound]] = {}
    with _coordinating(federation, repo) as own:
        while (done := _done(federation, own)) < rounds:
            for index in range(workers):
                if index not in pending:
                    pending[index] = (executor or _Here()).submit(
                        train_round, federation, index, seed=given[index],
                        keep=done + 1 < rounds,
                    )  # fmt: skip
            failed = _wait(pending, done + 1, needed, deadline)
            result = merge_round(
                federation, own, needed, averaging=averaging, weights=weights, late=late
            )
            if result is None and _done(federation, own) > done:
                result = taken(federation, own)
            if result is None:
                raise _too_few(done + 1, needed, failed)
            found.append(result)
            if tell is not None:
                tell(result)
        wait(pending.values())  # late in the last round: what they did is pushed too
    return found


@contextmanager
def _coordinating(federation: Federation, repo: Repository | None) -> Iterator[Repository]:
    """Yield the coordinator's repository, with the remote of the federation."""
    if repo is not None:
        if ORIGIN not in repo.remotes():
            repo.add_remote(ORIGIN, federation.remote, **federation.storage)
        check_remote(federation, repo)
        yield repo
        return
    with (
        TemporaryDirectory(prefix="simgit-federated-") as folder,
        Repository.init(folder) as made,
    ):
        made.add_remote(ORIGIN, federation.remote, **federation.storage)
        yield made


def _done(federation: Federation, repo: Repository) -> int:
    base = fetched(repo, federation.global_run)
    return 0 if base is None else round_of(repo, federation.global_run, base)


class _Here(Executor):
    """Calls functions at once, in this thread."""

    def submit(self, call: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        found: Future[Any] = Future()
        try:
            found.set_result(call(*arguments, **named))
        except Exception as error:
            found.set_exception(error)
        return found


def _wait(
    pending: dict[int, Future[LocalRound]], number: int, needed: int, deadline: float | None
) -> dict[int, BaseException]:
    """Wait for all workers, after the deadline for the quorum; return why workers failed.

    Workers that are done are taken out of ``pending``.
    """
    end = None if deadline is None else time.monotonic() + deadline
    arrived, failed = 0, {}
    while pending:
        left = None if end is None else max(0.0, end - time.monotonic())
        if left == 0.0:
            if arrived >= needed:
                break
            left = None
        wait(pending.values(), timeout=left, return_when=FIRST_COMPLETED)
        for index in [each for each, future in pending.items() if future.done()]:
            future = pending.pop(index)
            if (error := future.exception()) is not None:
                failed[index] = error
                LOG.warning("round %d: worker %d failed: %s", number, index, error)
            elif future.result().round == number:
                arrived += 1
    return failed


def _too_few(number: int, needed: int, failed: Mapping[int, BaseException]) -> Exception:
    if failed and isinstance(error := next(iter(failed.values())), InvalidInput):
        return error
    why = "".join(f"; worker {index}: {error}" for index, error in failed.items())
    return TimedOut(f"round {number} needs {plural(needed, 'worker')}, and has fewer{why}")
