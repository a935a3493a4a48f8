"""Reading: states, their neighbours, trajectories, and the other objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from simgit.errors import InvalidInput, NotFound
from simgit.history.state import State, load_state, load_states
from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.odb.location import Location
from simgit.refs.remotes import run_refs
from simgit.refs.revision import Found, whole_episode

if TYPE_CHECKING:
    from simgit.history.trajectory import Trajectory
    from simgit.objects.kinds import Decodable
    from simgit.refs.revision import Range
    from simgit.repository.store import Store
    from simgit.storage.base import ReadTxn


def _load(store: Store, run: str | None, where: Location, count: int) -> list[State]:
    """Return states of a trajectory (a function of a module, which can be pickled)."""
    with store.read() as txn:
        return load_states(store.odb, txn, where, count, run)


def _table(states: Trajectory, fields: Sequence[str] | None, oids: str) -> Any:
    """Return the Arrow table of a trajectory (a function of a module, which can be pickled)."""
    from simgit.datasets.packages import needed

    arrow = needed("simgit.datasets.arrow", "a table")
    return arrow.ArrowTable([states], fields, oids=oids).table()


class States:
    """Reads states, trajectories and other objects."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._odb = store.odb
        self._reach: tuple[int, dict[int, int]] | None = None

    def state(self, revision: str | Oid) -> State:
        with self._store.read() as txn:
            if isinstance(revision, Oid):
                place = self._odb.locate(txn, revision)
                return load_state(self._odb, txn, place, None, revision)
            found = self._store.revisions.find(txn, revision)
            return load_state(self._odb, txn, found.place, found.run, found.oid)

    def parents(self, revision: str | Oid) -> list[State]:
        with self._store.read() as txn:
            places = ancestry.parents_at(self._odb, txn, self._store.resolve(txn, revision).place)
            return [load_state(self._odb, txn, place) for place in places]

    def children(self, revision: str | Oid) -> list[State]:
        with self._store.read() as txn:
            place, reach = self._store.resolve(txn, revision).place, self._past_reach(txn)
            return [load_state(self._odb, txn, each) for each in self._children(txn, place, reach)]

    def leaves(self) -> list[State]:
        with self._store.read() as txn:
            reach = self._past_reach(txn)
            if reach is None:
                places = [*ancestry.leaves(self._odb, txn)]
            else:
                ends = [Location(*each) for each in sorted(reach.items())]
                places = [each for each in ends if not self._children(txn, each, reach)]
            return [load_state(self._odb, txn, place) for place in places]

    def _past_reach(self, txn: ReadTxn) -> dict[int, int] | None:
        """Return how far the refs of a past operation reach in each line; None for the present.

        Of other states it is not known when they were recorded.
        """
        from simgit.refs.oplog.as_of import PastStorage  # a reader waits for no part that writes

        if not isinstance(self._store.storage, PastStorage):
            return None
        kept = self._reach
        if kept is not None and kept[0] == txn.txn_id:
            return kept[1]
        refs = self._store.refs
        places = [ref.place for _, ref in run_refs(txn) if ref.oid is not None]
        oids = [ref.oid for _, ref in refs.tags(txn)]
        if isinstance(head := refs.head(txn), Oid):
            oids.append(head)
        places += [self._odb.locate(txn, oid) for oid in oids]
        found = ancestry.reach(self._odb, txn, places)
        self._reach = txn.txn_id, found
        return found

    def _children(
        self, txn: ReadTxn, place: Location, reach: dict[int, int] | None
    ) -> list[Location]:
        found = self._odb.states.children(txn, place)
        return [each for each in found if reach is None or each.step <= reach.get(each.line, -1)]

    def origin(self, revision: str | Oid) -> dict[str, Any]:
        from simgit.objects.kinds import Spec

        with self._store.read() as txn:
            place = self._store.resolve(txn, revision).place
            root = load_state(self._odb, txn, ancestry.ancestor(txn, place, 0))
            found = self._odb.object(txn, root.origin) if root.origin is not None else None
        return dict(found.fields) if isinstance(found, Spec) else {}

    # --- trajectories ---

    def trajectory(self, revision: str | Oid) -> Trajectory:
        with self._store.read() as txn:
            if isinstance(revision, Oid):
                return self.ending_at(self._odb.locate(txn, revision), None)
            ends = self._store.revisions.resolve_range(txn, revision)
            if ends is not None:
                return self._between(txn, revision, ends)
            found = self._store.revisions.find(txn, revision)
            start = 0
            if (episode := whole_episode(revision)) is not None:
                tip = self._store.revisions.find(txn, episode.base).place
                start = found.place.step
                last = ancestry.episode_end(self._odb, txn, tip, episode.number)
                found = Found(ancestry.ancestor(txn, tip, last), found.run)
            return self.ending_at(found.place, found.run, start)

    def _between(self, txn: ReadTxn, text: str, ends: Range) -> Trajectory:
        bases = ancestry.merge_bases(self._odb, txn, ends.start.place, ends.end.place)
        if ends.symmetric or bases != [ends.start.place]:
            raise InvalidInput(f"'{text}' is not a part of one history: use 'ancestor..state'")
        return self.ending_at(ends.end.place, ends.end.run, ends.start.place.step + 1)

    def ending_at(self, place: Location, run: str | None, start: int = 0) -> Trajectory:
        from simgit.history.trajectory import Trajectory

        make = partial(_load, self._store, run)
        return Trajectory(self._odb, place, start, place.step + 1, run or "", make, _table)

    # --- objects ---

    def object(self, oid: Oid) -> Decodable:
        with self._store.read() as txn:
            return self._odb.object(txn, oid)

    def find_object(self, digits: str) -> tuple[str, Oid]:
        with self._store.read() as txn:
            if len(digits) < 4 or set(digits) - set("0123456789abcdef"):
                raise NotFound(f"object '{digits}' not found")
            found = self._odb.with_prefix(txn, digits)
        if not found:
            raise NotFound(f"object '{digits}' not found")
        if len(found) > 1:
            shown = ", ".join(f"{kind} {oid.short(12)}" for kind, oid in found)
            raise InvalidInput(f"'{digits}' is ambiguous: {shown}", candidates=found)
        return found[0]

    def object_size(self, oid: Oid) -> int:
        with self._store.read() as txn:
            if self._odb.kind(txn, oid) == "blob":
                return self._odb.blob_size(txn, oid)
            return len(self._odb.get(txn, oid)[1])

    def stream(self, oid: Oid) -> Iterator[bytes]:
        with self._store.read() as txn:
            kind = self._odb.kind(txn, oid)
            if kind != "blob":
                yield self._odb.get(txn, oid)[1]
                return
        yield from self._odb.stream_blob(oid)
