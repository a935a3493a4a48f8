"""Reading: logs, ranges and merge bases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from simgit.errors import warn
from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.odb.segments.lines import missing, read_line
from simgit.odb.segments.times import time_of
from simgit.process import now
from simgit.refs.names import HEAD, expanded, is_pattern
from simgit.refs.remotes import run_refs

if TYPE_CHECKING:
    from simgit.history.buckets import Along, Buckets
    from simgit.history.log import EpisodeLine, LogLine, LogSelection
    from simgit.odb.ancestry import LineRange
    from simgit.odb.location import Location
    from simgit.repository.store import Store
    from simgit.storage.base import ReadTxn


class History:
    """Reads logs and merge bases."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._odb = store.odb

    def merge_bases(self, a: str | Oid, b: str | Oid) -> list[Oid]:
        with self._store.read() as txn:
            one, two = self._store.resolve(txn, a).place, self._store.resolve(txn, b).place
            return self._bases(txn, one, two)

    def is_ancestor(self, a: str | Oid, b: str | Oid) -> bool:
        with self._store.read() as txn:
            one, two = self._store.resolve(txn, a).place, self._store.resolve(txn, b).place
            return ancestry.is_ancestor(self._odb, txn, one, two)

    def _bases(self, txn: ReadTxn, one: Location, two: Location) -> list[Oid]:
        places = ancestry.merge_bases(self._odb, txn, one, two)
        return [self._odb.states.state(txn, place)[0] for place in places]

    def rev_parse(self, text: str) -> list[tuple[Oid, bool]]:
        with self._store.read() as txn:
            ends = self._store.revisions.resolve_range(txn, text)
            if ends is None:
                excluded = text.startswith("^") and len(text) > 1
                return [(self._store.resolve(txn, text[excluded:]).oid, excluded)]
            a, b = ends.start, ends.end
            if not ends.symmetric:
                return [(b.oid, False), (a.oid, True)]
            bases = self._bases(txn, a.place, b.place)
            return [(a.oid, False), (b.oid, False), *((oid, True) for oid in bases)]

    def log(
        self,
        revisions: Sequence[str | Oid],
        every: bool,
        limit: int | None,
        reverse: bool,
        where: str | None,
        since: str | int | None,
        until: str | int | None,
        after: str | Oid | None,
    ) -> Iterator[LogLine]:
        from simgit.history import log

        first, last = _time(since), _time(until)
        with self._store.read() as txn:
            wanted = self._selection(txn, revisions, every)
            most = limit if where is None else None
            found = iter(log.ordered(self._odb, txn, wanted))
            if after is not None:
                found = log.after(found, self._store.resolve(txn, after).place)
            if first is not None or last is not None:
                found = log.recorded_between(txn, found, first, last)
            ranges = log.limited(found, most)
        if where is not None:
            matching = islice(log.matching(self._odb, ranges, where), limit)
            yield from reversed(list(matching)) if reverse else matching
            self._warn_of_grafts(ranges)
            return
        for page in log.pages(self._odb, ranges, reverse):
            yield from page
        self._warn_of_grafts(ranges)

    def _warn_of_grafts(self, ranges: Iterable[LineRange]) -> None:
        """Say where histories end that are shallow, if they were read to their ends."""
        with self._store.read() as txn:
            for part in ranges:
                line = read_line(txn, part.line)
                if line.grafted and part.start == line.step:
                    warn(str(missing(txn, line)))

    def time(self, revision: str | Oid) -> int | None:
        with self._store.read() as txn:
            return time_of(txn, self._store.resolve(txn, revision).place)

    def outline(
        self, revisions: Sequence[str | Oid], every: bool, limit: int | None
    ) -> list[LogLine]:
        from simgit.history import log

        with self._store.read() as txn:
            wanted = self._selection(txn, revisions, every)
            tags = [self._odb.locate(txn, ref.oid) for _, ref in self._store.refs.tags(txn)]
            cuts = (*tags, *self._tips(txn))
            wanted = log.LogSelection(wanted.tips, wanted.exclude, cuts)
            ranges = list(islice(log.ordered(self._odb, txn, wanted), limit))
            found = log.outline(self._odb, txn, ranges)
        self._warn_of_grafts(ranges)
        return found

    def _selection(self, txn: ReadTxn, revisions: Sequence[str | Oid], every: bool) -> LogSelection:
        from simgit.history.log import LogSelection

        tips: list[Location] = []
        exclude: list[Location] = []
        for revision in revisions or (() if every else (HEAD,)):
            text = revision if isinstance(revision, str) else ""
            if is_pattern(text):
                runs = {name: ref for name, ref in self._store.refs.runs(txn) if ref.oid}
                found = expanded([text.removeprefix("^")], runs)
                (exclude if text.startswith("^") else tips).extend(runs[n].place for n in found)
                continue
            if text.startswith("^"):
                exclude.append(self._store.resolve(txn, text[1:]).place)
            elif (ends := self._store.revisions.resolve_range(txn, text)) is None:
                tips.append(self._store.resolve(txn, revision).place)
            elif ends.symmetric:
                tips += [ends.start.place, ends.end.place]
                exclude += ancestry.merge_bases(self._odb, txn, ends.start.place, ends.end.place)
            else:
                tips.append(ends.end.place)
                exclude.append(ends.start.place)
        tips += self._tips(txn) if every else []
        return LogSelection(tuple(dict.fromkeys(tips)), tuple(exclude))

    def _tips(self, txn: ReadTxn) -> list[Location]:
        """Return the places that refs point at: HEAD's first, then by step, the newest first."""
        refs = self._store.refs
        tips = [ref.place for _, ref in run_refs(txn) if ref.oid is not None]
        tips += [self._odb.locate(txn, ref.oid) for _, ref in refs.tags(txn)]
        tips.sort(key=lambda place: -place.step)
        head = refs.head_oid(txn)
        return ([self._odb.locate(txn, head)] if head is not None else []) + tips

    def episodes(
        self, revision: str | Oid, limit: int | None, before: int | None
    ) -> list[EpisodeLine]:
        from simgit.history import log

        with self._store.read() as txn:
            tip = self._store.resolve(txn, revision).place
            if before is not None:
                start = ancestry.episode_start(self._odb, txn, tip, before)
                if start == 0:
                    return []
                tip = ancestry.ancestor(txn, tip, start - 1)
            return list(islice(log.episodes(self._odb, txn, tip), limit))

    def buckets(
        self,
        revision: str | Oid,
        fields: Sequence[str],
        x: Along,
        start: int,
        stop: int | None,
        points: int,
        width: int | None,
        smooth: int,
    ) -> Buckets:
        from simgit.history.buckets import read_buckets, width_for

        with self._store.read() as txn:
            tip = self._store.resolve(txn, revision).place
            end = tip.step + 1 if stop is None else min(stop, tip.step + 1)
            chosen = width_for(start, end, points) if width is None else width
            return read_buckets(
                self._odb, txn, tip, fields, x=x, start=start, stop=end, width=chosen, smooth=smooth
            )


def _time(given: str | int | None) -> int | None:
    """Return a time in nanoseconds since 1970."""
    if not isinstance(given, str):
        return given
    from simgit.refs.times import parse_time

    return parse_time(given, now())
