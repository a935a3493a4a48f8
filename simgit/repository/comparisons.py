"""Reading: what differs between states, runs and configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simgit.refs import run_config
from simgit.refs.names import RUNS

if TYPE_CHECKING:
    from simgit.history.bisect import FirstDifference
    from simgit.history.diff.runs import RunDiff
    from simgit.history.diff.values import Change, StateDiff
    from simgit.objects.oid import Oid
    from simgit.odb.location import Location
    from simgit.repository.store import Store


class Comparisons:
    """Compares states, runs and configurations."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._odb = store.odb

    def diff(self, a: str | Oid, b: str | Oid, whole: bool) -> StateDiff | RunDiff:
        with self._store.read() as txn:
            runs = all(
                isinstance(each, str) and self._store.refs.has_run(txn, each.removeprefix(RUNS))
                for each in (a, b)
            )
        return self.runs(a, b, whole) if runs else self.states(a, b)

    def states(self, a: str | Oid, b: str | Oid) -> StateDiff:
        from simgit.history.diff.values import diff_states

        return diff_states(self._odb, *self._places(a, b))

    def runs(self, a: str | Oid, b: str | Oid, whole: bool) -> RunDiff:
        from simgit.history.diff.runs import diff_runs

        return diff_runs(self._odb, *self._places(a, b), whole=whole)

    def _places(self, a: str | Oid, b: str | Oid) -> tuple[Location, Location]:
        with self._store.read() as txn:
            return self._store.resolve(txn, a).place, self._store.resolve(txn, b).place

    def configs(self, a: str, b: str) -> tuple[Change, ...]:
        from simgit.history.diff.values import diff_configs

        with self._store.read() as txn:
            one, two = (
                run_config.resolve(self._odb, txn, self._store.refs.run(txn, name).record)
                for name in (a, b)
            )
        return diff_configs(one, two)

    def bisect(self, a: str | Oid, b: str | Oid) -> FirstDifference:
        from simgit.history.bisect import bisect

        with self._store.read() as txn:
            one, two = self._store.resolve(txn, a), self._store.resolve(txn, b)
        known = one.run is not None and two.run is not None
        settings = self.configs(str(one.run), str(two.run)) if known else ()
        return bisect(self._odb, one.place, two.place, settings)
