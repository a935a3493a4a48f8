"""Recorded states as a ``ray.data.Dataset``: each block is read by the process that needs it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
from blake3 import blake3
from ray.data import Dataset, Datasource, ReadTask
from ray.data.block import BlockMetadata

from simgit.datasets.arrow_splits import SplitReader, StateSplit, splits
from simgit.errors import InvalidInput, StorageError
from simgit.integrations.ray.cluster import connect, reserved
from simgit.objects.coerce import check_number
from simgit.refs.names import RUNS, check_ref_name, is_pattern
from simgit.refs.remotes import ORIGIN
from simgit.remotes.clone import is_remote
from simgit.remotes.remote import Remote
from simgit.repository import Repository
from simgit.storage.directory import DIRECTORY, is_repository

ROWS = 65536


def read(
    source: Repository | str | Path,
    revisions: str | Sequence[str],
    columns: Sequence[str] | None = None,
    where: str | None = None,
    rows_per_block: int = ROWS,
    *,
    cache: str | Path | None = None,
    **storage: Any,
) -> Dataset:
    """Return the states of runs or other revisions as a ``ray.data.Dataset``.

    Rows and columns are those of ``Trajectory.to_arrow``: a row is a state, with the action that
    led to it; ``run``, ``step``, ``episode`` and ``episode_step`` are there always. Nothing is read
    before the dataset is; then each block is made by the process that reads it, with no more of the
    columns than the dataset needs. Without ``where``, ``count()`` reads headers only.

    Of a remote the runs are first fetched into a clone on this machine, and on others that read.

    Args:
        source: a repository, or its directory; or the URL or directory of a remote.
        revisions: runs, patterns of runs, or other revisions such as ``main@100..main``; of each
            all states, those too that it shares with others.
        columns: the fields, such as ``info.lives``; all top-level ones without it.
        where: a condition on states, such as ``reward > 0``.
        rows_per_block: the most rows of a block.
        cache: the directory for the clone of a remote (default: one in the directory for temporary
            files, by URL, which is kept and used again).
        storage: how to reach a remote: ``endpoint``, ``region``, ``profile``.

    Raises:
        NotFound: there is no such repository or revision, or no state has one of the columns.
        InvalidInput: the repository is in memory, or the condition is malformed.
        TransportError: the remote cannot be reached, or refuses.
        ClusterError: no CPU of the cluster was free for 30 seconds: tasks that read would wait
            without end.
    """
    check_number(rows_per_block, "rows_per_block", 1, whole=True)
    wanted = [revisions] if isinstance(revisions, str) else list(revisions)
    if not wanted:
        raise InvalidInput("no revisions are given to read")
    place = _place_of(source, wanted, cache, storage)
    with place.opened() as repo:
        ranges = []
        for each in wanted:
            names = repo.runs.matching(each) if is_pattern(each) else [each]
            ranges += [repo.trajectory(name) for name in names]
        reader = SplitReader.plan(ranges, columns, where)
        parts = [
            part
            for states in ranges
            if len(states)
            for part in splits(states, states[-1].oid, rows_per_block)
        ]
    connect()
    with reserved(1, 1):
        pass
    return ray.data.read_datasource(
        StatesDatasource(place, reader, parts), override_num_blocks=max(1, len(parts))
    )


@dataclass(frozen=True)
class _Place:
    """The place of a repository, in words that any process understands."""

    path: str
    url: str | None = None
    storage: Mapping[str, Any] = field(default_factory=dict)
    revisions: tuple[str, ...] = ()

    @contextmanager
    def opened(self, part: StateSplit | None = None) -> Iterator[Repository]:
        """Open the repository; that of a remote is cloned, or fetched, if something is missing.

        Args:
            part: what has to be there; None for the revisions as they are at the remote now.
        """
        path = Path(self.path)
        if self.url is not None and not _has(path, part):
            with _locked(path):
                if not _has(path, part):
                    self._fetch(path)
        with Repository.open(path, read_only=True) as repo:
            yield repo

    def _fetch(self, path: Path) -> None:
        assert self.url is not None
        with Remote.open(self.url, **self.storage) as remote:
            plain = all(is_pattern(n) or _is_run(remote, n) for n in self.revisions)
        runs = list(self.revisions) if plain else None  # else they may be in any of the runs
        if not is_repository(path / DIRECTORY):
            Repository.clone(self.url, path, checkout=False, runs=runs, **self.storage).close()
            return
        with Repository.open(path) as repo, repo.remote() as remote:
            remote.fetch(runs)
            for name, there in repo.remote_runs(ORIGIN).items():
                run = name.removeprefix(f"{ORIGIN}/")
                if run not in repo.runs:
                    repo.pull(ORIGIN, [run])
                elif there.oid is not None and there.oid != repo.runs[run].oid:
                    repo.set_status(run, "active")
                    repo.reset(there.oid, run=run)


def _is_run(remote: Remote, name: str) -> bool:
    """Return True if a revision is the name of a run at a remote."""
    try:
        check_ref_name(name)
    except InvalidInput:  # what no run can be called
        return False
    return RUNS + name in remote.refs(name)


def _place_of(
    source: Repository | str | Path,
    revisions: Sequence[str],
    cache: Any,
    storage: Mapping[str, Any],
) -> _Place:
    if isinstance(source, Repository):
        if source.directory is None:
            raise InvalidInput("a repository in memory cannot be read by other processes")
        return _Place(str(source.directory))
    text = os.fspath(source)
    if not is_remote(text):
        if cache is not None or storage:
            raise InvalidInput(f"'{text}' is not a remote: it needs no cache, and no other options")
        with Repository.open(text, read_only=True) as repo:
            return _Place(str(repo.directory))
    url = text if "://" in text else str(Path(text).resolve())
    if cache is None:
        digest = blake3(f"{url}\n{os.getuid()}".encode()).hexdigest()[:16]
        cache = Path(tempfile.gettempdir()) / f"simgit-read-{digest}"
    return _Place(str(Path(cache).expanduser().absolute()), url, dict(storage), tuple(revisions))


def _has(path: Path, part: StateSplit | None) -> bool:
    if part is None or not is_repository(path / DIRECTORY):
        return False
    with Repository.open(path, read_only=True) as repo:
        return part.tip in repo


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time make or change the clone; refuse somebody else's directory."""
    path.mkdir(0o700, parents=True, exist_ok=True)
    if os.lstat(path).st_uid != os.getuid() or path.is_symlink():
        raise StorageError(f"'{path}' is not a directory of this user; give another 'cache'")
    with (path / "read.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(place: _Place, reader: SplitReader, part: StateSplit) -> list[Any]:
    with place.opened(part=part) as repo:
        return [reader.read(part.of(repo.trajectory(part.tip)))]


class StatesDatasource(Datasource):  # type: ignore[misc]
    """The states of a repository; ``read`` makes one."""

    def __init__(self, place: _Place, reader: SplitReader, parts: Sequence[StateSplit]) -> None:
        """Note what is read; nothing of it is open."""
        super().__init__()
        self._place = place
        self._reader = reader
        self._parts = list(parts)
        self._names: list[str] | None = None

    def get_name(self) -> str:
        """Return the name of the tasks that read."""
        return "simgit"

    def supports_projection_pushdown(self) -> bool:
        """Return True: columns that a dataset does not need are not read."""
        return True

    def get_projection_map(self) -> dict[str, str] | None:
        """Return the columns that are needed; None for all."""
        return None if self._names is None else {name: name for name in self._names}

    def apply_projection(self, projection_map: Iterable[str] | None) -> StatesDatasource:
        """Return the same with some of its columns."""
        made = copy(self)
        if projection_map is not None:
            names = list(projection_map)
            made._names = names if self._names is None else [n for n in self._names if n in names]
        return made

    def estimate_inmemory_data_size(self) -> int:
        """Return about how many bytes all rows have."""
        return sum(part.stop - part.start for part in self._parts) * self._columns().row_bytes

    def _columns(self) -> SplitReader:
        """Return what reads the columns that are needed; if none are, one that counts the rows."""
        return self._reader if self._names is None else self._reader.of(self._names or ["step"])

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: Any = None,
    ) -> list[ReadTask]:
        """Return a task for each block, however many are asked for."""
        reader, tasks = self._columns(), []
        for part in self._parts:
            rows = part.stop - part.start
            about = BlockMetadata(
                num_rows=None if reader.where else rows, size_bytes=rows * reader.row_bytes,
                input_files=(self._place.url or self._place.path,), exec_stats=None,
            )  # fmt: skip
            call = partial(_read, self._place, reader, part)
            tasks.append(ReadTask(call, about, reader.schema, per_task_row_limit))
        return tasks
