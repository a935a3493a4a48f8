"""A write transaction that writes nothing: changes lie in memory over a snapshot.

For finding out the effect of a change without keeping writers waiting.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from operator import gt, lt

from simgit.errors import StorageError
from simgit.storage.base import TABLES, ReadTxn, WriteTxn, check_key, check_start, check_table

Entry = tuple[bytes, bytes]


class Overlay(WriteTxn):
    """Changes over a snapshot, dropped with this object."""

    def __init__(self, txn: ReadTxn) -> None:
        """Wrap a read transaction, which must stay open."""
        self._txn = txn
        self._keys: dict[str, list[bytes]] = {table: [] for table in TABLES}
        self._values: dict[str, dict[bytes, bytes | None]] = {table: {} for table in TABLES}
        self._more = dict.fromkeys(TABLES, 0)

    @property
    def txn_id(self) -> int:
        """Return the number that a commit would have had."""
        return self._txn.txn_id + 1

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        check_table(table)
        changed = self._values[table]
        return changed[key] if key in changed else self._txn.get(table, key)

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        """Yield entries in the order of their keys."""
        check_table(table)
        check_start(start)
        below = self._txn.scan(table, start, stop, reverse=reverse)
        keys = self._keys[table]

        def ascending(reached: bytes | None) -> bytes | None:
            at = bisect_left(keys, start) if reached is None else bisect_right(keys, reached)
            return keys[at] if at < len(keys) and (stop is None or keys[at] < stop) else None

        def descending(reached: bytes | None) -> bytes | None:
            end = stop if reached is None else reached
            at = (len(keys) if end is None else bisect_left(keys, end)) - 1
            return keys[at] if at >= 0 and keys[at] >= start else None

        if reverse:
            return self._merge(table, below, descending, gt)
        return self._merge(table, below, ascending, lt)

    def floor(self, table: str, key: bytes) -> Entry | None:
        """Return the entry with the greatest key that is not greater than ``key``."""
        check_key(key)
        value = self.get(table, key)
        return (key, value) if value is not None else self._first(table, key)

    def last(self, table: str) -> Entry | None:
        """Return the entry with the greatest key."""
        return self._first(table, None)

    def count(self, table: str) -> int:
        """Return the number of entries of a table."""
        check_table(table)
        return self._txn.count(table) + self._more[table]

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set a key."""
        check_key(key)
        self._set(table, key, bytes(value))

    def append(self, table: str, key: bytes, value: bytes) -> None:
        """Add a key greater than every other one."""
        newest = self.last(table)
        if newest is not None and key <= newest[0]:
            raise StorageError(f"cannot append to '{table}': key is not the greatest", key=key)
        self.put(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        """Remove a key; return True if it existed."""
        check_key(key)
        return self._set(table, key, None)

    def _set(self, table: str, key: bytes, value: bytes | None) -> bool:
        """Change a key; return True if it existed."""
        was = self.get(table, key) is not None
        if key not in self._values[table]:
            insort(self._keys[table], key)
        self._values[table][key] = value
        self._more[table] += (value is not None) - was
        return was

    def _first(self, table: str, stop: bytes | None) -> Entry | None:
        return next(self.scan(table, stop=stop, reverse=True), None)

    def _merge(
        self,
        table: str,
        below: Iterator[Entry],
        following: Callable[[bytes | None], bytes | None],
        before: Callable[[bytes, bytes], bool],
    ) -> Iterator[Entry]:
        """Yield the entries below with the changes up to the moment at which each is reached."""
        under, over = next(below, None), following(None)
        while under is not None or over is not None:
            key, value = self._nearer(table, under, over, before)
            if value is not None:
                yield key, value
            while under is not None and not before(key, under[0]):
                under = next(below, None)
            over = following(key)

    def _nearer(
        self,
        table: str,
        under: Entry | None,
        over: bytes | None,
        before: Callable[[bytes, bytes], bool],
    ) -> tuple[bytes, bytes | None]:
        if under is not None and (over is None or before(under[0], over)):
            return under
        assert over is not None
        return over, self._values[table][over]
