"""Runs: branching, renaming, sealing, configuration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from simgit.errors import Unverified
from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.refs import run_config
from simgit.refs.names import HEAD, RUNS
from simgit.refs.runs import RunInfo
from simgit.repository.base import RepositoryBase
from simgit.storage.room import make_room


class RunOperations(RepositoryBase):
    """Runs: branching, renaming, sealing, configuration."""

    def runs(self) -> list[RunInfo]:
        """Return what is known of all runs, ordered by name."""
        with self._read() as txn:
            return [self.runs_.info(txn, name) for name, _ in self.refs.runs(txn)]

    def run_names(self) -> list[str]:
        """Return the names of all runs."""
        with self._read() as txn:
            return [name for name, _ in self.refs.runs(txn)]

    def run(self, name: str | None = None) -> RunInfo:
        """Return what is known of a run (HEAD's, if none is named).

        Raises:
            NotFound: there is no such run.
        """
        with self._read() as txn:
            return self.runs_.info(txn, name if name is not None else self._head_run(txn))

    def branch(
        self,
        name: str,
        start: str | Oid = HEAD,
        *,
        overrides: Mapping[str, Any] | None = None,
        seed: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Oid:
        """Create a run at a state; return the state's oid. Nothing is copied.

        The run inherits the configuration of the run that ``start`` was named through.

        Args:
            overrides: settings that differ from the parent's; keys may be dotted paths.

        Raises:
            AlreadyExists: there is a run of this name (or one that differs only in case).
            NotFound: there is no such state.
            InvalidInput: the name is not allowed.

        Warns:
            Unverified: the states are an environment's, and it was not found that it does the
                same thing twice.
        """
        shown = start if isinstance(start, str) else start.short()
        with self._write("branch", name, shown) as txn:
            found = self._resolve(txn, start)
            self.runs_.create(
                txn, name, found, overrides or {}, seed, metadata or {},
                f"branch: created from {shown}",
            )  # fmt: skip
            doubt = self.runs_.doubt(txn, found)
        if doubt is not None:
            warnings.warn(doubt, Unverified, stacklevel=2)
        return found.oid

    def rename_run(self, old: str, new: str) -> None:
        """Rename a run, its reflog with it."""
        with self._write("rename", old, new) as txn:
            first = self.refs.rename_run(txn, old, new)
            if old != new:
                txn.moves.append((RUNS + old, 0, RUNS + new, first))

    def delete_run(self, name: str, *, force: bool = False) -> Oid | None:
        """Delete a run's ref; return what it pointed at. Its states and its reflog stay.

        Raises:
            Conflict: HEAD points at it, or it is being written.
        """
        return make_room(self._storage, lambda: self._delete_run(name, force))

    def _delete_run(self, name: str, force: bool) -> Oid | None:
        with self._write("delete", name) as txn:
            return self.runs_.delete(txn, name, force).oid

    def set_status(self, name: str, status: str) -> None:
        """Set how a run stands: ``completed`` seals it, ``active`` reopens it."""
        with self._write("set-status", name, status) as txn:
            self.runs_.set_status(txn, name, status)

    def config(self, run: str | None = None) -> dict[str, Any]:
        """Return a run's resolved configuration."""
        with self._read() as txn:
            name = run if run is not None else self._head_run(txn)
            return run_config.resolve(self.odb, txn, self.refs.run(txn, name).record)

    def configure(
        self,
        run: str,
        overrides: Mapping[str, Any] | None = None,
        *,
        unset: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change a run's own settings and metadata; keys may be dotted paths."""
        with self._write("configure", run) as txn:
            self.runs_.configure(txn, run, overrides or {}, tuple(unset), metadata or {})

    def contains(self, revision: str | Oid) -> list[str]:
        """Return the names of the runs in whose history a state lies."""
        with self._read() as txn:
            place = self._resolve(txn, revision).place
            return [
                name
                for name, ref in self.refs.runs(txn)
                if ref.oid is not None and ancestry.is_ancestor(self.odb, txn, place, ref.place)
            ]

    def lineage(self, run: str | None = None) -> list[RunInfo]:
        """Return a run and the runs that it was branched off, nearest first."""
        with self._read() as txn:
            name: str | None = run if run is not None else self._head_run(txn)
            found: list[RunInfo] = []
            while name is not None and self.refs.has_run(txn, name):
                found.append(self.runs_.info(txn, name))
                name = found[-1].parent
            return found
