"""LMDB, memory and an overlay answer alike, whatever is asked of them in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simgit import errors
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.lmdb import LmdbStorage
from simgit.storage.memory import MemoryStorage
from simgit.storage.overlay import Overlay
from tests.support.examples import share

tables = st.sampled_from(["meta", "objects"])
keys = st.one_of(
    st.binary(min_size=1, max_size=2), st.sampled_from([b"\xff", b"a" * 510, b"a" * 511])
)
values = st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 5000, b"y" * 20_000]))
bounds = st.one_of(st.none(), keys)


class Rollback(Exception):
    """Raised to leave a write transaction."""


@contextmanager
def over(storage: MemoryStorage) -> Iterator[WriteTxn]:
    """Yield a write transaction of which nothing stays."""
    with storage.read() as txn:
        yield Overlay(txn)


def alike(answers: list[object]) -> None:
    assert all(answer == answers[0] for answer in answers)


class StorageMachine(RuleBasedStateMachine):
    """Drives both storages with the same calls and compares every answer."""

    @initialize()
    def create(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.model = MemoryStorage()
        self.real = LmdbStorage.create(self.directory / "store")
        self.writing: list[AbstractContextManager[WriteTxn]] = []
        self.writers: list[WriteTxn] = []
        self.snapshots: list[list[tuple[AbstractContextManager[ReadTxn], ReadTxn]]] = []

    @precondition(lambda self: not self.writing)
    @rule()
    def begin_write(self) -> None:
        overlay = over(self.model)  # begun first: it sees what was there before
        self.writing = [self.model.write(), self.real.write(), overlay]
        self.writers = [manager.__enter__() for manager in self.writing]

    @precondition(lambda self: self.writing)
    @rule(commit=st.booleans())
    def end_write(self, commit: bool) -> None:
        kind = None if commit else Rollback
        for manager in self.writing:
            with suppress(Rollback):
                assert not manager.__exit__(kind, kind and kind(), None)
        self.writing, self.writers = [], []

    @precondition(lambda self: self.writing)
    @rule(table=tables, key=keys, value=values)
    def put(self, table: str, key: bytes, value: bytes) -> None:
        for txn in self.writers:
            txn.put(table, key, value)

    @precondition(lambda self: self.writing)
    @rule(table=tables, key=keys)
    def delete(self, table: str, key: bytes) -> None:
        alike([txn.delete(table, key) for txn in self.writers])

    @precondition(lambda self: self.writing)
    @rule(table=tables, key=keys, value=values)
    def append(self, table: str, key: bytes, value: bytes) -> None:
        alike([self._appends(txn, table, key, value) for txn in self.writers])

    @precondition(lambda self: self.writing)
    @rule(table=tables, every=st.integers(1, 3), reverse=st.booleans(), key=keys)
    def scan_and_change(self, table: str, every: int, reverse: bool, key: bytes) -> None:
        alike([self._changing_scan(txn, table, every, reverse, key) for txn in self.writers])

    @precondition(lambda self: len(self.snapshots) < 3)
    @rule()
    def begin_read(self) -> None:
        managers: list[AbstractContextManager[ReadTxn]] = [self.model.read(), self.real.read()]
        self.snapshots.append([(manager, manager.__enter__()) for manager in managers])

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def end_read(self, data: st.DataObject) -> None:
        pair = self.snapshots.pop(data.draw(st.integers(0, len(self.snapshots) - 1)))
        for manager, _ in pair:
            manager.__exit__(None, None, None)

    @rule(table=tables, start=bounds, stop=bounds, reverse=st.booleans(), key=keys)
    def look(
        self, table: str, start: bytes | None, stop: bytes | None, reverse: bool, key: bytes
    ) -> None:
        for first, second in self._views():
            scans = [t.scan(table, start or b"", stop, reverse=reverse) for t in (first, second)]
            assert list(scans[0]) == list(scans[1])
            assert first.get(table, key) == second.get(table, key)
            assert first.floor(table, key) == second.floor(table, key)
            assert first.last(table) == second.last(table)
            assert first.count(table) == second.count(table)

    @precondition(lambda self: not self.writing and not self.snapshots)
    @rule()
    def reopen(self) -> None:
        self.real.close()
        self.real = LmdbStorage.open(self.directory / "store")

    @invariant()
    def committed_entries_agree(self) -> None:
        with self.model.read() as first, self.real.read() as second:
            for table in ("meta", "objects"):
                assert list(first.scan(table)) == list(second.scan(table))

    def teardown(self) -> None:
        for pair in self.snapshots:
            for manager, _ in pair:
                manager.__exit__(None, None, None)
        if self.writing:
            self.end_write(commit=False)
        self.real.close()
        shutil.rmtree(self.directory)

    def _views(self) -> list[tuple[ReadTxn, ReadTxn]]:
        pairs: list[tuple[ReadTxn, ReadTxn]] = [(a[1], b[1]) for a, b in self.snapshots]
        return [*pairs, *((self.writers[0], other) for other in self.writers[1:])]

    @staticmethod
    def _appends(txn: WriteTxn, table: str, key: bytes, value: bytes) -> bool:
        try:
            txn.append(table, key, value)
        except errors.StorageError:
            return False
        return True

    @staticmethod
    def _changing_scan(
        txn: WriteTxn, table: str, every: int, reverse: bool, key: bytes
    ) -> list[tuple[bytes, bytes]]:
        seen = []
        for number, (found, value) in enumerate(txn.scan(table, reverse=reverse)):
            seen.append((found, value))
            if number % every == 0:
                txn.delete(table, found)
            if number == 1:
                txn.put(table, key, b"put while scanning")
        return seen


TestStorageModel = StorageMachine.TestCase
TestStorageModel.settings = settings(max_examples=share(80), stateful_step_count=30)
