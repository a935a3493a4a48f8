"""Maintenance and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simgit.repository.base import RepositoryBase

if TYPE_CHECKING:
    from simgit import fsck, maintenance


class UpkeepOperations(RepositoryBase):
    """Maintenance and checks."""

    def gc(self, progress: maintenance.Progress | None = None) -> maintenance.GcReport:
        """Join small segments and index runs, and give back the space; no oid changes."""
        from simgit import maintenance

        return maintenance.gc(self._journaled("gc", always=True), progress)

    def fsck(self, progress: fsck.Progress | None = None) -> fsck.FsckReport:
        """Derive every name again from the bytes, and follow every link; see simgit/fsck.py."""
        from simgit import fsck

        return fsck.Fsck(self.odb, self.refs, progress).run()
