"""Marking of reachable objects: the newest reachable step of each line, loose objects, arrays.

A mark visits lines, segment headers, loose objects and attachments, not states. Rows are decoded
only where a schema has files, or arrays that gc asks for. The links of immutable objects are cached
from one mark to the next, so that the second, which runs while writers wait, is short.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from simgit.errors import IntegrityError
from simgit.objects import rows as rowlib
from simgit.objects.kinds import decode_object
from simgit.objects.oid import OID_SIZE
from simgit.objects.schema import TREE
from simgit.odb import ancestry, trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.header import Header, segment_key
from simgit.odb.segments.join import headers
from simgit.odb.segments.lines import read_line
from simgit.storage.base import ReadTxn

_LINKED = frozenset(("tree", "binding", "tag", "run"))
_BOUND: Final = 2
"""The links of a binding that are its own: its state and its target."""
_Ident = tuple[bytes, bytes]
_T = TypeVar("_T")


class OutOfTime(Exception):
    """The time for a mark is over; the next one finds more of it cached."""


@dataclass
class Marks:
    """The reached states and objects.

    Attributes:
        reach: for each line the newest reached step.
        objects: the oids of the loose objects.
        arrays: the oids of arrays that reached trees name and that do not lie loose.
    """

    reach: dict[int, int] = field(default_factory=dict)
    objects: set[bytes] = field(default_factory=set)
    arrays: set[bytes] = field(default_factory=set)

    def holds(self, place: Location) -> bool:
        """Return True if a state was reached."""
        return self.reach.get(place.line, -1) >= place.step


class Marker:
    """A marker of everything reachable from states and objects, with a cache of immutable links.

    Attributes:
        ends: first step and the step after the last of each line, in the marked snapshot.
        until: the deadline, in seconds of the monotonic clock.
    """

    def __init__(self, odb: ObjectDatabase) -> None:
        self.odb = odb
        self._links: dict[bytes, tuple[bytes, ...]] = {}
        self._places: dict[bytes, Location] = {}
        self._segments: dict[_Ident, tuple[bytes, ...]] = {}
        self._wanted: dict[_Ident, set[bytes]] = {}
        self._asked: set[bytes] = set()
        self.ends: dict[int, tuple[int, int]] = {}
        self.until = math.inf

    @property
    def read(self) -> int:
        """The size of the cache, which grows with every object read."""
        return len(self._links) + len(self._places) + len(self._segments) + len(self._wanted)

    def in_time(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield items until the deadline.

        Raises:
            OutOfTime: the deadline is over.
        """
        for item in items:
            self.check_time()
            yield item

    def check_time(self) -> None:
        """Raise ``OutOfTime`` if the deadline is over."""
        if time.monotonic() > self.until:
            raise OutOfTime

    def mark(
        self,
        txn: ReadTxn,
        kinds: dict[bytes, str],
        places: Iterable[Location],
        oids: Iterable[bytes],
        marks: Marks | None = None,
    ) -> Marks:
        """Return everything reachable from states and objects.

        Args:
            txn: the transaction.
            kinds: the kinds of all loose objects.
            places: the locations of the states.
            oids: the oids of objects of any kind.
            marks: the marks of this snapshot so far; they are added to.

        Raises:
            NotFound: a reachable object is missing.
            IntegrityError: a reachable object is damaged.
        """
        marks = Marks() if marks is None else marks
        todo = self._follow(txn, kinds, marks, list(places), list(oids))
        while todo:
            todo = self._follow(txn, kinds, marks, todo, [])
        return marks

    def _follow(
        self,
        txn: ReadTxn,
        kinds: dict[bytes, str],
        marks: Marks,
        places: list[Location],
        oids: list[bytes],
    ) -> list[Location]:
        """Mark states and objects with their links; return the states that objects name."""
        grown = self._climb(txn, marks, places)
        for line, start, stop in self.in_time(grown):
            if start == read_line(txn, line).step and read_line(txn, line).is_root:
                oids.append(read_line(txn, line).origin)
            oids += self._segment_links(txn, line, start, stop)
        for key, binding in self.in_time(txn.scan("attachments")):
            if marks.holds(self.place(txn, key[:OID_SIZE])):
                oids.append(binding)
        return self._reach_objects(txn, kinds, marks, oids)

    def _climb(
        self, txn: ReadTxn, marks: Marks, places: list[Location]
    ) -> list[tuple[int, int, int]]:
        """Extend the reach to states and their ancestors; return the new steps of each line."""
        grown: dict[int, tuple[int, int]] = {}
        while places:
            place = places.pop()
            known = marks.reach.get(place.line)
            if known is not None and known >= place.step:
                continue
            line = read_line(txn, place.line)
            first = line.step if known is None else known + 1
            start = grown.get(place.line, (first, 0))[0]
            grown[place.line] = (start, place.step + 1)
            marks.reach[place.line] = place.step
            if known is None:
                places += ancestry.parents_of(self.odb, txn, line)
        return [(line, start, stop) for line, (start, stop) in grown.items()]

    def _segment_links(self, txn: ReadTxn, line: int, start: int, stop: int) -> list[bytes]:
        """Return the schemas of a line's segments, and the trees that their rows name."""
        links: list[bytes] = []
        for header in self.in_time(self._headers(txn, line, start, stop)):
            first, end = max(start, header.step), min(stop, header.end)
            ident = (segment_key(line, first) + segment_key(header.step, end), header.last)
            if ident not in self._segments:
                self._segments[ident] = (header.schema, *self._files(txn, header, first, end))
            links += self._segments[ident]
        return links

    def _headers(self, txn: ReadTxn, line: int, start: int, stop: int) -> list[Header]:
        return [h for h in headers(txn, line) if h.end > start and h.step < stop]

    def _files(self, txn: ReadTxn, header: Header, start: int, stop: int) -> set[bytes]:
        schema = self.odb.schema(txn, header.schema)
        found: set[bytes] = set()
        for index in [i for i, (_, kind) in enumerate(schema.fields) if kind.code == TREE]:
            for _, rows in self.odb.states.rows(txn, header.line, start, stop, False):
                here = rowlib.presence(rows, index)
                found |= set(map(bytes, np.unique(rowlib.column(rows, index)[here], axis=0)))
        return found

    def place(self, txn: ReadTxn, oid: bytes) -> Location:
        """Return the location of a state, which does not change while the state exists.

        Raises:
            NotFound: there is no such state.
        """
        place = self._places.get(oid)
        if place is None or self.ends.get(place.line, (0, 0))[1] <= place.step:
            place = self._places[oid] = self.odb.locate(txn, oid)
        return place

    def _reach_objects(
        self, txn: ReadTxn, kinds: dict[bytes, str], marks: Marks, todo: list[bytes]
    ) -> list[Location]:
        places = []
        while todo:
            self.check_time()
            oid = bytes(todo.pop())
            if oid in marks.objects or oid in marks.arrays:
                continue
            kind = kinds.get(oid)
            if kind is not None:
                marks.objects.add(oid)
                todo += self.links(txn, oid, kind)
            elif oid in self._places or self.odb.states.locate(txn, oid) is not None:
                places.append(self.place(txn, oid))
            elif self.odb.states.find_array(txn, oid) is not None:
                marks.arrays.add(oid)
            else:
                raise IntegrityError(f"object '{oid.hex()}' is missing; see 'simgit fsck'")
        return [place for place in places if not marks.holds(place)]

    def links(self, txn: ReadTxn, oid: bytes, kind: str) -> tuple[bytes, ...]:
        """Return the oids that a loose object names."""
        if kind not in _LINKED:
            return ()
        if oid not in self._links:
            found = tuple(trees.links(self.odb, txn, decode_object(*self.odb.get(txn, oid))))
            if kind == "binding":  # of the states that it names a damaged store may lack some
                more = (each for each in found[_BOUND:] if self._is_here(txn, each))
                found = (*found[:_BOUND], *more)
            self._links[oid] = found
        return self._links[oid]

    def _is_here(self, txn: ReadTxn, oid: bytes) -> bool:
        return self.odb.states.locate(txn, oid) is not None

    def arrays_named(self, txn: ReadTxn, marks: Marks, asked: set[bytes]) -> set[bytes]:
        """Return those of some arrays that reached states name in their rows."""
        if not asked:
            return set()
        if not asked <= self._asked:
            self._wanted, self._asked = {}, set(asked)
        found: set[bytes] = set()
        for line, last in marks.reach.items():
            for header in self.in_time(self._headers(txn, line, 0, last + 1)):
                fields = self.odb.schema(txn, header.schema).arrays
                if fields:
                    found |= self._asked_in(txn, header, fields, last + 1)
        return found & asked

    def _asked_in(
        self, txn: ReadTxn, header: Header, fields: tuple[int, ...], stop: int
    ) -> set[bytes]:
        end = min(stop, header.end)
        ident = (segment_key(header.line, header.step) + end.to_bytes(8, "big"), header.last)
        if ident not in self._wanted:
            hits: set[bytes] = set()
            for _, rows in self.odb.states.rows(txn, header.line, header.step, end, False):
                for index in fields:
                    hits |= self._asked.intersection(map(bytes, rowlib.column(rows, index)))
            self._wanted[ident] = hits
        return self._wanted[ident]
