"""Maintenance and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from simgit.errors import InvalidInput
from simgit.repository.base import RepositoryBase
from simgit.storage.process import now

if TYPE_CHECKING:
    from simgit.maintenance import fsck
    from simgit.maintenance.compaction import Progress
    from simgit.maintenance.fsck import Repaired
    from simgit.maintenance.gc.run import GcReport
    from simgit.maintenance.gc.sweep import Removed
    from simgit.maintenance.gc.unreachable import UnreachableObject
    from simgit.maintenance.stats import Stats


class UpkeepOperations(RepositoryBase):
    """Maintenance and checks."""

    def gc(
        self,
        progress: Progress | None = None,
        *,
        grace: float | None = None,
        expire: float | None = None,
        keep: str | None = None,
        clock: Callable[[], int] = now,
    ) -> GcReport:
        """Remove what has expired, join what is small, give back the space; no oid changes.

        Args:
            progress: told how many lines of how many are joined.
            grace: so many days after nothing leads to something any more it is removed; 14 if not
                given.
            expire: entries of reflogs and of the operation log are removed after so many days;
                90 if not given.
            keep: retention rules by which attachments are thinned out, for instance
                ``agent: last 5, every 100, best 3 by return``; those of the settings if not given.
            clock: returns the time in nanoseconds since 1970.

        Raises:
            NotFound: something that is needed is missing; nothing more was removed.
            IntegrityError: something that is needed is damaged; nothing more was removed.
        """
        from simgit.maintenance.gc.run import GcOptions, gc

        logged = self._journaled("gc", always=True)
        options = GcOptions(grace, expire, keep)
        with self._upkeep.resting:  # it need not come by itself meanwhile
            return gc(self.odb, self.refs, options, progress, clock, logged)

    def gc_preview(
        self,
        *,
        grace: float | None = None,
        expire: float | None = None,
        keep: str | None = None,
        clock: Callable[[], int] = now,
    ) -> Removed:
        """Return exactly what ``gc`` would remove now; see there."""
        from simgit.maintenance.gc.run import GcOptions, dry_run

        return dry_run(self.odb, self.refs, GcOptions(grace, expire, keep), clock)

    def unreachable(
        self, *, every: bool = False, grace: float | None = None, clock: Callable[[], int] = now
    ) -> list[UnreachableObject]:
        """Return what nothing leads to any more, and until when it can be brought back.

        A state comes back by ``branch(name, oid)``, an attachment by ``reattach(oid)``.

        Args:
            every: also objects that only what is lost refers to.
            grace: as ``gc``'s.
            clock: as ``gc``'s.
        """
        from simgit.maintenance.gc.run import GcOptions, window
        from simgit.maintenance.gc.unreachable import unreachable_objects

        with self.odb.read() as txn:
            counted = window(txn, GcOptions(grace), clock)
        return unreachable_objects(self.odb, self.refs, counted, every)

    def stats(self) -> Stats:
        """Return where the bytes of the repository are, and how its size went."""
        from simgit.maintenance.stats import stats

        return stats(self.odb, self.refs)

    def fsck(
        self,
        progress: fsck.Progress | None = None,
        *,
        sample: tuple[int, int] = (1, 1),
        seconds: float | None = None,
    ) -> fsck.FsckReport:
        """Derive every name again from the bytes, and follow every link.

        Args:
            progress: told how many states have been checked.
            sample: (k, n) checks the k-th of n parts of the states and objects; what is short
                (refs, logs, links) is checked in any case.
            seconds: stop after so many; ``is_complete`` of the report is False then.

        Raises:
            InvalidInput: there is no such part.
        """
        from simgit.maintenance import fsck

        number, parts = sample
        if not 1 <= number <= parts <= 256:
            raise InvalidInput(f"there is no part {number} of {parts}; at most 256 are possible")
        return fsck.Fsck(self.odb, self.refs, progress, fsck.Sample(number, parts), seconds).run()

    def repair(self, source: RepositoryBase | None = None) -> Repaired:
        """Repair what can be repaired; nothing is deleted.

        The index, counters, names and records of lines are derived again. Refs that cannot be read
        are taken back from the operation log or their reflogs. What is damaged is fetched from
        ``source``, if that has it. Runs whose states cannot be had back go on from the last good
        one; what they pointed at stays in their reflog.

        Args:
            source: a repository with good copies: a clone, or where bundles came from.

        Raises:
            StorageError: the repository cannot be written.
        """
        from simgit.maintenance import fsck

        odb = self._journaled("fsck --repair")
        with self._upkeep.resting:
            return fsck.repair(odb, self.refs, self.directory, source.odb if source else None)
