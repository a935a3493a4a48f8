"""The base of all checks: problems found so far, and the runs that a damage costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from simgit.errors import SimgitError
from simgit.maintenance.fsck.report import FsckReport, Problem, Sample
from simgit.odb import ancestry
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.lines import read_line
from simgit.refs.names import OF_RUNS, REMOTES, RUNS
from simgit.refs.records import RunRef, decode_run
from simgit.refs.refs import Refs
from simgit.storage.base import ReadTxn

Progress = Callable[[int], None]
"""A function called with the number of states checked so far."""
ALL: Final = Sample()
END: Final = 1 << 62
"""A step after every other."""


def readable_runs(txn: ReadTxn) -> Iterator[tuple[str, RunRef]]:
    """Yield full name and ref of the runs, and of those of remotes, with readable refs."""
    for space in OF_RUNS:
        for key, value in txn.scan("refs", space.encode(), space.encode() + b"\xff"):
            name = key.decode(errors="replace")
            with suppress(SimgitError):
                if name.encode() == key:
                    yield name, decode_run(value)


def full_name(txn: ReadTxn, name: str) -> str:
    """Return the full name of a run, or of a remote-tracking ref, as a problem names it."""
    is_tracking = name.startswith(REMOTES) and txn.get("refs", name.encode()) is not None
    return name if is_tracking else RUNS + name


class TimeOverError(Exception):
    """The time for a check is over."""


class Findings:
    """The common part of all checks: the store, the report, the sample, the time."""

    def __init__(
        self,
        odb: ObjectDatabase,
        refs: Refs,
        progress: Progress | None = None,
        sample: Sample = ALL,
        seconds: float | None = None,
    ) -> None:
        """Prepare a check.

        Args:
            odb: the database to check.
            refs: its refs.
            progress: called with the number of states checked so far.
            sample: the part of the segments and loose objects to check.
            seconds: the time after which to stop, None for no limit.
        """
        self.odb = odb
        self._sample = sample
        self._until = None if seconds is None else time.monotonic() + seconds
        self.refs = refs
        self.report = FsckReport()
        self._progress = progress or (lambda _: None)
        self._checked_arrays: set[bytes] = set()
        self._ends: dict[int, int] | None = None

    def _check_time(self) -> None:
        if self._until is not None and time.monotonic() > self._until:
            raise TimeOverError

    def _problem(
        self,
        what: str,
        runs: dict[str, tuple[int, int]] | None = None,
        kind: str = "",
        where: tuple[int, int] | bytes | None = None,
    ) -> None:
        self.report.problems.append(Problem(what, runs or {}, kind, where))

    @contextmanager
    def _noting(self, kind: str = "") -> Iterator[None]:
        """Turn an error of the block into a problem of a kind."""
        try:
            yield
        except SimgitError as error:
            self._problem(str(error), kind=kind)

    def _needed(self, txn: ReadTxn) -> dict[int, int]:
        """Return for each line in a run's history the newest step in it."""
        if self._ends is None:
            self._ends = {}
            for _, ref in readable_runs(txn):
                with suppress(SimgitError):
                    for part in (
                        ancestry.line_ranges(txn, ref.place, shallow=True) if ref.oid else ()
                    ):
                        if self._ends.get(part.line, 0) >= part.stop:
                            break  # so are the lines below
                        self._ends[part.line] = part.stop
        return self._ends

    def _cost(self, txn: ReadTxn, line: int, start: int, stop: int) -> dict[str, tuple[int, int]]:
        """Return the runs whose history contains steps of a line, and which steps."""
        cost = {}
        for name, ref in readable_runs(txn):
            at = ref.line if ref.oid else -1
            try:
                for part in ancestry.line_ranges(txn, ref.place, shallow=True) if ref.oid else ():
                    at = read_line(txn, part.line).parent_line
                    first, last = max(part.start, start), min(part.stop - 1, stop)
                    if part.line == line and first <= last:
                        cost[name.removeprefix(RUNS)] = (first, ref.step)
            except SimgitError:
                if at == line:  # the line is unreadable: its first step is unknown
                    cost[name.removeprefix(RUNS)] = (0, ref.step)
        return cost
