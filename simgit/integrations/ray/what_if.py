"""What-if on a Ray cluster: thousands of continuations of one state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from simgit.gym.restoring.reexecute import Progress
from simgit.gym.spec.permit import Trust
from simgit.gym.tools.executors import ORIGIN, StateSource
from simgit.gym.tools.fan_out import FanOutRow
from simgit.gym.tools.fan_out import fan_out as fan_out_of
from simgit.gym.tools.rollout import Policy
from simgit.gym.tools.whatif import PREFIX
from simgit.integrations.ray.executor import RayExecutor
from simgit.objects.arguments import checked
from simgit.objects.oid import Oid
from simgit.refs.names import RUNS
from simgit.refs.revision import split_revision
from simgit.remotes.clone import is_remote
from simgit.repository import Repository


@checked
def fan_out(
    repo_or_url: Repository | str | Path,
    revision: str | Oid,
    arms: Sequence[Any],
    horizon: int,
    policy: Policy | None = None,
    repeat: int = 1,
    pool: Executor | None = None,
    *,
    seed: int = 0,
    prefix: str = PREFIX,
    trust: Trust = None,
    progress: Progress | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> list[FanOutRow]:
    """Continue a state in many ways on a Ray cluster; record each rollout as a run.

    Each process opens the repository, or fetches from the remote, once, and restores the state
    once. The results are those of ``simgit.gym.fan_out`` in one process, oid for oid.

    Args:
        repo_or_url: a repository whose directory all machines of the cluster see, or the URL of a
            remote, to which the runs are pushed.
        revision: the state.
        arms: see ``simgit.gym.fan_out``; so are ``horizon``, ``policy``, ``repeat``, ``seed``,
            ``prefix``, ``trust`` and ``progress``.
        pool: an executor; None for a ``RayExecutor``.
        endpoint, region, profile: of the remote; see ``simgit.worker.open``.

    Returns:
        A row for each rollout: arm, run, return_, length, oid.

    Raises:
        NotFound: no such state, or nothing was pushed to the remote.
        ClusterError: no cluster, or no free CPU for 30 seconds.
        TransportError: the remote cannot be reached, or refuses.
        InvalidInput, Untrusted, Divergence: see ``simgit.gym.fan_out``.
    """
    remote = {"endpoint": endpoint, "region": region, "profile": profile}
    options = tuple((key, each) for key, each in remote.items() if each is not None)
    given: dict[str, Any] = {
        "policy": policy, "repeat": repeat, "seed": seed, "prefix": prefix, "trust": trust,
        "progress": progress,
    }  # fmt: skip
    with _opened(repo_or_url, revision, options) as (repo, source):
        taken: list[str] = []
        if source is not None:
            with repo.remote(ORIGIN) as there:
                found = there.refs(f"{prefix}/*")
                taken = [each.removeprefix(RUNS) for each in found]
        with RayExecutor() if pool is None else nullcontext(pool) as executor:
            rows = fan_out_of(
                repo, revision, arms, horizon, executor=executor, source=source, taken=taken,
                **given,
            )  # fmt: skip
        if source is not None and rows:
            with repo.remote(ORIGIN) as there:
                there.push([each.run for each in rows])
    return rows


@contextmanager
def _opened(
    where: Repository | str | Path, revision: str | Oid, options: tuple[tuple[str, str], ...]
) -> Iterator[tuple[Repository, StateSource | None]]:
    """Open a repository; of a remote, a copy in memory of what is needed, and where it is from."""
    if isinstance(where, Repository):
        yield where, None
    elif not is_remote(str(where)):
        with Repository.open(where) as repo:
            yield repo, None
    else:
        url = str(where) if "://" in str(where) else str(Path(where).expanduser().resolve())
        source = StateSource(url, None, options)
        source = source._replace(runs=source.lineage(_run_of(revision)))
        with source.open() as repo:
            yield repo, source


def _run_of(revision: str | Oid) -> str | None:
    """Return the name that a revision may have of a run; None for an oid."""
    return None if isinstance(revision, Oid) else split_revision(revision)[0]
