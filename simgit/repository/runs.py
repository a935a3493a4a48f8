"""Runs: what is known of them, and what changes them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import (
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    Unverified,
    visible,
    warn,
)
from simgit.objects.arguments import checked_methods
from simgit.odb import ancestry
from simgit.refs import run_config
from simgit.refs.names import RUNS, expanded
from simgit.refs.runs import RunInfo, being_recorded
from simgit.storage.base import make_room

if TYPE_CHECKING:
    from simgit.history.buckets import Summed
    from simgit.history.log import EpisodeColumns
    from simgit.history.shared_sums import Sums
    from simgit.objects.oid import Oid
    from simgit.odb.location import Location
    from simgit.repository.run_table import RunTable
    from simgit.repository.store import Store
    from simgit.storage.base import ReadTxn

DECODED: Final = 20_000_000
"""The most states that are read for the buckets of many runs."""
SUMMED: Final = 1 << 31
"""The most states whose summaries are read for them."""
SUMS: Final = 32 << 20
"""The most bytes of buckets that are kept."""


@checked_methods
class RunsView(Mapping[str, RunInfo]):
    """The runs of a repository by name, in the order of their names.

    Each call reads, in one snapshot, what is there at that moment; of runs that have not moved it
    returns the same ``RunInfo`` again, in which nothing must be changed. A loop goes over the runs
    that there were when it began.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, name: str) -> RunInfo:
        """Return what is known of a run.

        Raises:
            NotFound: there is no such run. It is a ``KeyError``.
        """
        with self._store.read() as txn:
            return self._store.runs.info(txn, name)

    def __contains__(self, name: object) -> bool:
        with self._store.read() as txn:
            return isinstance(name, str) and self._store.refs.has_run(txn, name)

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return dict.fromkeys(self._names()).keys()

    def values(self) -> ValuesView[RunInfo]:
        """Return what is known of all runs."""
        return self._snapshot().values()

    def items(self) -> ItemsView[str, RunInfo]:
        """Return the names, each with what is known of the run."""
        return self._snapshot().items()

    def matching(self, *patterns: str) -> list[str]:
        """Return the names that shell patterns such as ``sweep/*`` match; other names as they are.

        Raises:
            NotFound: a pattern matches no run.
        """
        return expanded(patterns, self._names())

    def table(self) -> RunTable:
        """Return what is known of all runs, as columns."""
        from simgit.history import log
        from simgit.history.buckets import sum_up
        from simgit.odb.clock import clocks
        from simgit.repository.run_table import RunTable

        def episodes(name: str) -> EpisodeColumns:
            with self._store.read() as txn:
                place = self._store.refs.run(txn, name).place
                return log.episode_columns(self._store.odb, txn, place)

        def clock(name: str) -> float | None:
            with self._store.read() as txn:
                place = self._store.refs.run(txn, name).place
                return clocks(self._store.odb.states.row(txn, place)[2])[0]

        def summed(name: str, field: str, count: int) -> Summed | None:
            with self._store.read() as txn:
                place = self._store.refs.run(txn, name).place
                return sum_up(self._store.odb, txn, place, field, count)

        return RunTable([*self.values()], episodes, clock, summed)

    def select(self, where: str | None = None, sort: str | None = None) -> list[RunInfo]:
        """Return the runs that fulfil a condition, in an order.

        Args:
            where: as in ``return > 10 and config.lr < 0.1``; the names are those of
                ``simgit.repository.run_table.FIELDS`` and measures as in ``best``. A run without
                a value does not fulfil it.
            sort: names of which the first counts most, as in ``-return,name``; ``-`` for the
                greatest first. Runs without a value come last.

        Raises:
            InvalidInput: the condition is malformed, or no run has a name in it.
        """
        if where is None and not sort:
            return [*self.values()]
        return self.table().select(where, sort)

    def best(
        self, by: str = "mean(return, 10)", *, where: str | None = None, lowest: bool = False
    ) -> list[tuple[RunInfo, float]]:
        """Return the runs with the number by which they are ranked, the best first.

        Args:
            by: a measure of the episodes that have ended, such as ``mean(return, 10)`` for the last
                ten; the functions are mean, median, min, max, sum, std, first and last, of
                ``return`` or ``length``. Or mean, min, max, sum or last of a field of the states,
                as in ``mean(reward)`` or ``max(info.loss, 3)``, in all or in the last episodes. Or
                a name, as in ``select``.
            where: only runs that fulfil a condition, as in ``select``.
            lowest: True if the lowest number is the best.

        Raises:
            InvalidInput: the measure or the condition is malformed, or not a number.
        """
        return self.table().ranked(by, where, lowest)

    def kept(self) -> KeptRuns:
        """Return a view that keeps sums over histories too."""
        return KeptRuns(self._store)

    def _names(self) -> list[str]:
        with self._store.read() as txn:
            return [name for name, _ in self._store.refs.stored_runs(txn)]

    def _snapshot(self) -> Mapping[str, RunInfo]:
        with self._store.read() as txn:
            return self._store.runs.infos(txn)

    def __repr__(self) -> str:
        return visible(f"<{len(names := self._names())} runs: {', '.join(names)}>")

    def _repr_html_(self) -> str:
        from simgit.repository.display import runs_table

        return runs_table(self.values())


class KeptRuns(RunsView):
    """The runs of a repository, with sums over their histories that are kept."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._sums: OrderedDict[tuple[Oid, str, int], Sums] = OrderedDict()
        """Of the states that were asked about last; what leads to an oid never changes."""
        self._size = 0
        self._alone = Lock()

    def bucket_sums(
        self, infos: Sequence[RunInfo], field: str, points: int
    ) -> tuple[int, dict[str, Sums]]:
        """Return a field of the histories of runs in buckets, and how many steps a bucket has.

        Histories that have more than ``DECODED`` states together have buckets of at least 2048
        steps, which are read from summaries. Runs without states or without the field are left out.

        Args:
            infos: the runs.
            field: as in ``Repository.buckets``.
            points: the most buckets.

        Raises:
            NotFound: no run has the field.
            InvalidInput: it is not a number; or, with ``limit``, it would have to be read from more
                than ``DECODED`` states, or from the summaries of more than ``SUMMED``.
        """
        from simgit.history.buckets import has_summaries, width_for
        from simgit.history.shared_sums import SharedSums, distinct_states
        from simgit.odb.segments.block import BLOCK_ROWS

        wanted = [(info.name, info.oid) for info in infos if info.oid is not None]
        width = width_for(0, 1 + max((info.step or 0 for info in infos), default=0), points)
        found: dict[str, Sums] = {}
        missing: NotFound | None = None
        odb = self._store.odb
        with self._store.read() as txn:
            places = {oid: self._place(txn, name, oid) for name, oid in wanted}
            count = distinct_states(txn, places.values())
            if count > DECODED:
                width = max(width, BLOCK_ROWS)
            shared = SharedSums(odb, txn, field, width)
            for name, oid in wanted:
                with self._alone:
                    sums = self._sums.get((oid, field, width))
                    if sums is not None:
                        self._sums.move_to_end((oid, field, width))
                if sums is None:
                    try:
                        most = SUMMED if has_summaries(odb, txn, places[oid], field) else DECODED
                        if count > most:
                            raise InvalidInput(
                                f"{count} states, of which at most {most} are read for this: ask "
                                "for fewer runs", states=count, limit=most,
                            )  # fmt: skip
                        sums = shared.of(places[oid])
                    except NotFound as error:
                        missing = error
                        continue
                    self._keep((oid, field, width), sums)
                found[name] = sums
        if missing is not None and not found:
            raise missing
        return width, found

    def _place(self, txn: ReadTxn, name: str, oid: Oid) -> Location:
        refs = self._store.refs
        if refs.has_run(txn, name) and (ref := refs.run(txn, name)).oid == oid:
            return ref.place
        return self._store.odb.locate(txn, oid)  # it has moved meanwhile

    def _keep(self, key: tuple[Oid, str, int], sums: Sums) -> None:
        with self._alone:
            before = self._sums.pop(key, None)
            self._size += sums.size - (0 if before is None else before.size)
            self._sums[key] = sums
            while self._size > SUMS:
                self._size -= self._sums.popitem(last=False)[1].size


class RunEditor:
    """Creates, changes and removes runs, and follows where they were branched off."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def branch(
        self,
        name: str,
        start: str | Oid,
        overrides: Mapping[str, Any],
        seed: Any,
        metadata: Mapping[str, Any],
        force: bool,
    ) -> Oid:
        shown = start if isinstance(start, str) else start.short()
        with self._store.write("branch", name, shown) as txn:
            found = self._store.resolve(txn, start)
            if force and self._store.refs.has_run(txn, name):
                if overrides or seed is not None or metadata:
                    raise InvalidInput(
                        f"run '{name}' exists and keeps its settings when it is moved; change them "
                        "with 'simgit config'",
                        name=name,
                    )
                if self._store.refs.head(txn) == name:
                    raise Conflict(
                        f"run '{name}' is checked out; 'simgit reset {shown}' moves it", name=name
                    )
                self._store.runs.reset(txn, name, found, f"branch: reset to {shown}")
            else:
                message = f"branch: created from {shown}"
                self._store.runs.create(txn, name, found, overrides, seed, metadata, message)
            doubt = self._store.runs.doubt(txn, found)
        if doubt is not None:
            warn(doubt, Unverified)
        return found.oid

    def create(
        self,
        name: str,
        start: str | Oid | None,
        config: Mapping[str, Any],
        seed: Any,
        metadata: Mapping[str, Any],
    ) -> str:
        with self._store.write("create-run", name) as txn:
            (found,) = self._store.runs.numbered(txn, [name])
            above = start if isinstance(start, str) and self._is_empty(txn, start) else None
            at = None if start is None or above else self._store.resolve(txn, start)
            message = "run: created" if at is None else f"branch: created from {at.oid.short()}"
            self._store.runs.create(txn, found, at, config, seed, metadata, message, above)
        return found

    def _is_empty(self, txn: ReadTxn, name: str) -> bool:
        refs = self._store.refs
        return refs.has_run(txn, name) and refs.run(txn, name).oid is None

    def rename(self, old: str, new: str) -> None:
        from simgit.refs.simulations import check_no_simulation, home_of

        with self._store.write("rename", old, new) as txn:
            ref = self._store.refs.run(txn, old)
            if ref.is_claimed:  # its recorder would not know the new name
                raise being_recorded(old, ref.writer)
            check_no_simulation(txn, old, home_of(self._store.directory))
            first = self._store.refs.rename_run(txn, old, new)
            if old != new:
                txn.moves.append((RUNS + old, 0, RUNS + new, first))

    def delete(self, name: str, force: bool) -> Oid | None:
        from simgit.refs.simulations import check_no_simulation, home_of

        def delete() -> Oid | None:
            with self._store.write("delete", name) as txn:
                if not force:
                    check_no_simulation(txn, name, home_of(self._store.directory))
                return self._store.runs.delete(txn, name, force).oid

        return make_room(self._store.storage, delete)

    def set_status(self, name: str, status: str) -> None:
        with self._store.write("set-status", name, status) as txn:
            self._store.runs.set_status(txn, name, status)

    def config(self, run: str | None) -> dict[str, Any]:
        with self._store.read() as txn:
            name = run if run is not None else self._store.head_run(txn)
            record = self._store.refs.run(txn, name).record
            return run_config.resolve(self._store.odb, txn, record)

    def configure(
        self,
        run: str,
        overrides: Mapping[str, Any],
        unset: Sequence[str],
        metadata: Mapping[str, Any],
    ) -> None:
        with self._store.write("configure", run) as txn:
            self._store.runs.configure(txn, run, overrides, tuple(unset), metadata)

    def head(self) -> RunInfo:
        with self._store.read() as txn:
            return self._store.runs.info(txn, self._store.head_run(txn))

    def containing(self, revision: str | Oid) -> list[str]:
        with self._store.read() as txn:
            place = self._store.resolve(txn, revision).place
            return [
                name
                for name, ref in self._store.refs.runs(txn)
                if ref.oid is not None
                and ancestry.is_ancestor(self._store.odb, txn, place, ref.place)
            ]

    def lineage(self, run: str | None) -> list[RunInfo]:
        with self._store.read() as txn:
            name: str | None = run if run is not None else self._store.head_run(txn)
            found: dict[str, RunInfo] = {}
            while name is not None and self._store.refs.has_run(txn, name):
                if name in found:
                    raise IntegrityError(f"run '{name}' is its own ancestor; see 'simgit fsck'")
                found[name] = self._store.runs.info(txn, name)
                name = found[name].parent
            return list(found.values())
