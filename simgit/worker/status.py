"""The state of workers, as the refs of their remote tell it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from simgit.errors import TransportError, warn
from simgit.objects.coerce import check_number
from simgit.refs.names import RUNS
from simgit.remotes import layout
from simgit.remotes.connection import SeenRef
from simgit.remotes.remote import Remote
from simgit.worker.clock import StoreClock

STATES: Final = ("done", "running", "stuck", "paused", "failed")
MISSED: Final = 3
"""A worker that has not pushed for so many intervals is stuck."""


@dataclass(frozen=True)
class WorkerStatus:
    """The state of a worker.

    Attributes:
        name: the worker.
        index: the number at the end of its name; None without one.
        state: ``done`` (all its runs are completed), ``failed`` (one has failed or crashed),
            ``running``, ``stuck`` (one is active, but nothing was pushed for three intervals) or
            ``paused`` (it was stopped, and nobody has started it again).
        pushed: when it pushed last, in seconds since 1970 by the clock of the storage.
        age: the seconds since then.
        runs: how many runs it has.
    """

    name: str
    index: int | None
    state: str
    pushed: float
    age: float
    runs: int


class JobStatus(AbstractContextManager["JobStatus"]):
    """The workers of a remote whose names begin alike; it reads refs, and nothing else.

    It is a context manager.
    """

    def __init__(self, remote: str, prefix: str = "worker/", **options: Any) -> None:
        """Open the remote.

        Args:
            remote: its URL.
            prefix: what the names of the workers begin with, up to a slash.
            options: ``endpoint``, ``region`` and ``profile`` of the URL.

        Raises:
            InvalidInput: the URL is none, or something else lies there.
            TransportError: the storage cannot be reached, or refuses.
        """
        self.prefix = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        self._remote = Remote.open(remote, read_only=True, **options)
        self._connection = self._remote._connection
        self._clock = StoreClock(self._connection.transport)
        self._known: dict[str, SeenRef] = {}

    def close(self) -> None:
        """Close the remote."""
        self._remote.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self, interval: float = 300.0) -> list[WorkerStatus]:
        """Return the workers in the order of their names: one listing, and what has changed.

        Args:
            interval: the seconds between two pushes of a worker (its ``push_seconds``).

        Raises:
            IntegrityError: a ref is damaged.
            TransportError: the storage cannot be reached, or refuses.
        """
        check_number(interval, "interval", 0)
        if not self._connection.exists:
            return []
        found = self._connection.read_refs([RUNS + self.prefix], self._last)
        self._known = {layout.key_of_ref(name): seen for name, seen in found.items()}
        workers: dict[str, list[SeenRef]] = {}
        for name, seen in found.items():
            if not seen.ref.deleted:
                rest = name[len(RUNS) + len(self.prefix) :].split("/")[0]
                worker = self.prefix + rest.partition(".conflict-")[0]
                workers.setdefault(worker, []).append(seen)
        now = self._now() if workers else 0.0
        rows = [_status(name, runs, now, interval) for name, runs in workers.items()]
        return sorted(rows, key=lambda row: (row.index is None, row.index, row.name))

    def _last(self, key: str) -> tuple[str, bytes] | None:
        seen = self._known.get(key)
        return None if seen is None else (seen.etag, seen.data)

    def _now(self) -> float:
        """Return the time of the storage, or of this machine if nothing may be written there."""
        try:
            return self._clock.now()
        except TransportError as error:
            if error.kind != "denied":
                raise
            warn("ages are told by the clock of this machine: nothing may be written to the remote")
            return time.time()


def _status(name: str, runs: list[SeenRef], now: float, interval: float) -> WorkerStatus:
    number = re.search(r"(?:^|[/_-])([0-9]+)$", name)
    pushed = max(each.modified for each in runs)
    age = max(0.0, now - pushed)
    states = {each.ref.fields["status"] for each in runs}
    if "active" in states:
        state = "stuck" if age > MISSED * interval else "running"
    elif "paused" in states:
        state = "paused"
    else:
        state = "failed" if states & {"failed", "crashed"} else "done"
    return WorkerStatus(name, int(number[1]) if number else None, state, pushed, age, len(runs))


def missing(rows: Iterable[WorkerStatus], completions: int) -> list[int]:
    """Return the indexes below ``completions`` whose worker is not done."""
    done = {row.index for row in rows if row.state == "done"}
    return [index for index in range(completions) if index not in done]


def ranges(indexes: Iterable[int]) -> str:
    """Return numbers as a list of ranges, ``0,3-5``, as ``sbatch --array`` takes it."""
    found: list[list[int]] = []
    for index in sorted(set(indexes)):
        if found and found[-1][1] == index - 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)
