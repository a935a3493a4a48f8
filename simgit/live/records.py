"""The records of simulations in one repository, and what happened to them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from simgit.errors import InvalidInput, NotFound, did_you_mean
from simgit.live.channel import make_private
from simgit.process import now
from simgit.refs.simulations import (
    KnownRecord,
    SimulationEvent,
    SimulationRecord,
    events,
    home_of,
    known_records,
    next_number,
    note_event,
    put_simulation,
    simulation_record,
    simulation_records,
    trim_events,
)
from simgit.repository import Repository


class Records:
    """Reads and changes records, each by compare-and-swap."""

    def __init__(self, repo: Repository) -> None:
        """Take the records of a repository.

        Raises:
            InvalidInput: it is in memory.
        """
        if repo.directory is None:
            raise InvalidInput(
                "simulations are processes: they need a repository in a directory, not in memory"
            )
        self.directory = repo.directory
        self._storage = repo.odb.storage
        self._home = home_of(repo.directory)
        self._known: dict[str, KnownRecord] = {}
        self._seen: tuple[int, dict[str, SimulationRecord]] = (-1, {})

    def get(self, run: str) -> SimulationRecord:
        """Return the record of a run's simulation.

        Raises:
            NotFound: none was started.
        """
        found = self.find(run)
        if found is None:
            near = did_you_mean(run, self.all()) or "; see 'simgit sim list'"
            raise NotFound(f"run '{run}' has no simulation{near}", name=run)
        return found

    def find(self, run: str) -> SimulationRecord | None:
        """Return the record of a run's simulation, None without one."""
        with self._storage.read() as txn:
            return simulation_record(txn, run, self._home)

    @contextmanager
    def held(self, run: str) -> Iterator[SimulationRecord]:
        """Yield a record that nobody can change meanwhile, unless the store is read-only.

        Raises:
            NotFound: none was started.
        """
        if self._storage.read_only:
            yield self.get(run)
            return
        self.get(run)  # says what is near
        with self._storage.write() as txn:
            found = simulation_record(txn, run, self._home)
            if found is None:
                raise NotFound(f"run '{run}' has no simulation any more", name=run)
            yield found

    def all(self) -> dict[str, SimulationRecord]:
        """Return all records by run."""
        with self._storage.read() as txn:
            return dict(simulation_records(txn, self._home))

    def look(self) -> tuple[int, dict[str, SimulationRecord]]:
        """Return a number that changes whenever anything is written, and all records by run.

        While nothing is written it is the same dict; then only what has changed is decoded.
        """
        with self._storage.read() as txn:
            number = txn.txn_id
            if number != self._seen[0]:
                self._known = known_records(txn, self._home, self._known)
                found = {run: each.record for run, each in self._known.items() if each.record}
                self._seen = number, found
        return self._seen

    def put(
        self, run: str, record: SimulationRecord, expected: SimulationRecord | None, **data: Any
    ) -> SimulationRecord:
        """Store the record of a new execution; return it with its place in the queue, if queued.

        One that has a place keeps it.

        Raises:
            Conflict: there is another one than the expected.
        """
        make_private(self.directory / "live")
        with self._storage.write() as txn:
            number = record.number
            if not number and record.phase == "queued":
                number = next_number(txn, self._home)
            made = record._replace(
                execution=secrets.token_hex(8), home=self._home, created=now(), number=number
            )
            put_simulation(txn, run, made, expected, self._home)
            note_event(txn, run, made.phase, data)
        return made

    def change(
        self,
        run: str,
        record: SimulationRecord,
        event: str | None = None,
        data: Mapping[str, Any] = {},
        **changes: Any,
    ) -> SimulationRecord:
        """Change some fields of a record; return the new one.

        Args:
            run: the run.
            record: the record as it is known.
            event: what is noted of it.
            data: what belongs to the event.
            changes: the fields.

        Raises:
            Conflict: it has changed since it was read.
        """
        made = record._replace(**changes)
        with self._storage.write() as txn:
            put_simulation(txn, run, made, record, self._home)
            if event is not None:
                note_event(txn, run, event, data)
        return made

    def note(self, run: str, event: str, data: Mapping[str, Any]) -> None:
        """Note what happened to a simulation."""
        with self._storage.write() as txn:
            note_event(txn, run, event, data)

    def remove(self, run: str, record: SimulationRecord) -> None:
        """Forget a simulation; its run is kept.

        Raises:
            Conflict: it has changed since it was read.
        """
        with self._storage.write() as txn:
            put_simulation(txn, run, None, record, self._home)

    def events(self, after: int = 0) -> list[SimulationEvent]:
        """Return what happened after the event of a number."""
        with self._storage.read() as txn:
            return list(events(txn, after))

    def trim(self, before: int) -> int:
        """Remove events from before a time, in nanoseconds since 1970; return how many."""
        with self._storage.write() as txn:
            return trim_events(txn, before)
