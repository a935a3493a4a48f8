"""Maintenance: garbage collection, checks and repair, and its turns in the background."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from simgit.errors import InvalidInput, SimgitError
from simgit.process import now
from simgit.refs.names import expanded

if TYPE_CHECKING:
    from simgit.maintenance.background import BackgroundMaintenance
    from simgit.maintenance.compaction import Progress
    from simgit.maintenance.fsck import FsckReport, Repaired
    from simgit.maintenance.fsck import Progress as FsckProgress
    from simgit.maintenance.gc.kept import KeptStates
    from simgit.maintenance.gc.run import GcReport
    from simgit.maintenance.gc.sweep import Removed
    from simgit.maintenance.gc.unreachable import UnreachableObject
    from simgit.maintenance.purge import Purged
    from simgit.maintenance.stats import Stats
    from simgit.repository.store import Store

_EVERY: Final = 8
"""After so many transactions, maintenance in the background has a turn."""


class Maintenance:
    """Maintains a store when it is asked to, and a little after writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._busy = threading.Lock()  # held while maintenance is at work, asked for or not
        self._writes = 0
        self._background: BackgroundMaintenance | None = None
        # a copy, made before it is watched: maintenance gives itself no turns
        self._unwatched = store.odb.on(store.storage)
        # weak, so that a repository is closed with the last reference to it
        mine = weakref.WeakMethod(self._after_write)
        store.odb.after_write = lambda: (found := mine()) and found()

    # --- in the background ---

    def _after_write(self) -> None:
        """Give maintenance in the background a turn, if it is time for one and anything is due.

        Its code is not imported before.
        """
        self._writes += 1
        if self._writes % _EVERY != 1 or not self._busy.acquire(blocking=False):
            return
        try:
            with suppress(SimgitError):  # what was written is safe, and fsck says what is wrong
                if self._background is None and self._is_due():
                    from simgit.maintenance.background import BackgroundMaintenance

                    self._background = BackgroundMaintenance(self._unwatched, self._store.refs)
                if self._background is not None:
                    self._background.turn()
        finally:
            self._busy.release()

    def _is_due(self) -> bool:
        from simgit.maintenance.size_log import due

        with self._unwatched.read() as txn:
            return due(txn, now()) is not None

    def close(self) -> None:
        """Let a collection in the background finish, if that is soon."""
        if self._background is None or not self._busy.acquire(blocking=False):
            return
        try:
            with suppress(SimgitError):
                self._background.finish()
        finally:
            self._background = None
            self._busy.release()

    # --- asked for ---

    def gc(
        self,
        progress: Progress | None,
        grace: float | None,
        expire: float | None,
        keep: str | None,
        clock: Callable[[], int],
        *,
        aggressive: bool = False,
    ) -> GcReport:
        from simgit.maintenance.gc.run import GcOptions, gc

        logged = self._store.journaled("gc", always=True)
        options = GcOptions(grace, expire, keep, aggressive)
        with self._busy:
            found = gc(self._store.odb, self._store.refs, options, progress, clock, logged)
            self._remove_live_files()
            return found

    def _remove_live_files(self) -> None:
        """Remove the sockets and logs of simulations of which no record is kept."""
        directory = self._store.directory
        if directory is None:
            return
        from simgit.refs.simulations import home_of, simulation_records

        files = [  # before the records: that of an execution is older than its files
            each for each in (directory / "live").glob("*") if each.suffix in (".log", ".sock")
        ]
        with self._store.odb.read() as txn:
            kept = {each.execution for _, each in simulation_records(txn, home_of(directory))}
        for each in files:
            if each.stem not in kept:
                with suppress(OSError):
                    each.unlink()

    def purge(self, names: Sequence[str], clock: Callable[[], int]) -> Purged:
        from simgit.maintenance import purge

        odb, size = self._store.odb, self._store.storage.size()
        with odb.read() as txn:
            known = purge.purgeable(self._store.refs, txn)
        names = expanded(names, known)
        reach, kept = purge.remove_refs(odb, self._store.refs, names, clock)
        count = purge.counted(odb, reach)
        self.gc(None, None, None, None, clock)
        left = purge.remaining(odb, reach)
        freed = max(0, size - self._store.storage.size())
        return purge.Purged(tuple(names), count - left, kept, left, freed)

    def kept(self) -> KeptStates:
        from simgit.maintenance.gc.kept import kept_states

        with self._store.odb.read() as txn:
            return kept_states(self._store.odb, self._store.refs, txn)

    def gc_preview(
        self,
        grace: float | None,
        expire: float | None,
        keep: str | None,
        clock: Callable[[], int],
    ) -> Removed:
        from simgit.maintenance.gc.run import GcOptions, dry_run

        options = GcOptions(grace, expire, keep)
        return dry_run(self._store.odb, self._store.refs, options, clock)

    def unreachable(
        self, every: bool, grace: float | None, clock: Callable[[], int]
    ) -> list[UnreachableObject]:
        from simgit.maintenance.gc.run import GcOptions, window
        from simgit.maintenance.gc.unreachable import unreachable_objects

        with self._store.odb.read() as txn:
            counted = window(txn, GcOptions(grace), clock)
        return unreachable_objects(self._store.odb, self._store.refs, counted, every)

    def stats(self) -> Stats:
        from simgit.maintenance.stats import stats

        return stats(self._store.odb, self._store.refs)

    def fsck(
        self, progress: FsckProgress | None, sample: tuple[int, int], seconds: float | None
    ) -> FsckReport:
        from simgit.maintenance.fsck import Fsck, Sample

        number, parts = sample
        if not 1 <= number <= parts <= 256:
            raise InvalidInput(
                f"sample {number}/{parts}: the part must be 1 to {parts}, of at most 256 parts"
            )
        chosen = Sample(number, parts)
        return Fsck(self._store.odb, self._store.refs, progress, chosen, seconds).run()

    def repair(self, source: Store | None) -> Repaired:
        from simgit.maintenance.fsck import repair

        odb = self._store.journaled("fsck --repair")
        copies = source.odb if source else None
        if copies is not None:
            copies.states.forget()
        with self._busy:
            return repair(odb, self._store.refs, self._store.directory, copies)
