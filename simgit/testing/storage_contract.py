"""The contract of a storage: subclass ``StorageContract`` and provide a ``storage`` fixture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from simgit import errors
from simgit.storage.base import MAX_KEY, TABLES, Storage, WriteTxn

ENTRIES = [(b"a", b"1"), (b"b", b"2"), (b"b\x00", b""), (b"c" * MAX_KEY, b"4"), (b"\xff", b"5")]


class StorageContract:
    """The suite; a subclass's fixture ``storage`` yields an empty, writable storage."""

    @pytest.fixture
    def filled(self, storage: Storage) -> Storage:
        """The storage with a few entries in one table."""
        with storage.write() as txn:
            for key, value in reversed(ENTRIES):
                txn.put("objects", key, value)
        return storage

    def test_a_new_storage_has_every_table_and_they_are_empty(self, storage: Storage) -> None:
        with storage.read() as txn:
            for table in TABLES:
                assert txn.count(table) == 0
                assert txn.last(table) is None
                assert list(txn.scan(table)) == []
                assert list(txn.scan(table, reverse=True)) == []
                assert txn.floor(table, b"x") is None

    def test_what_is_put_is_got(self, filled: Storage) -> None:
        with filled.read() as txn:
            assert [txn.get("objects", key) for key, _ in ENTRIES] == [v for _, v in ENTRIES]
            assert txn.get("objects", b"aa") is None
            assert txn.get("refs", b"a") is None
            assert txn.count("objects") == len(ENTRIES)

    def test_a_put_replaces_the_value(self, filled: Storage) -> None:
        with filled.write() as txn:
            txn.put("objects", b"a", b"new")
            assert txn.get("objects", b"a") == b"new"
        with filled.read() as read:
            assert read.get("objects", b"a") == b"new"
            assert read.count("objects") == len(ENTRIES)

    def test_a_value_outlives_its_transaction(self, filled: Storage) -> None:
        with filled.read() as txn:
            value, entries = txn.get("objects", b"a"), list(txn.scan("objects"))
        with filled.write() as write:
            write.put("objects", b"a", b"other")
        assert type(value) is bytes and value == b"1"
        assert entries == ENTRIES
        assert all(type(part) is bytes for entry in entries for part in entry)

    def test_a_large_value_comes_back_whole(self, storage: Storage) -> None:
        value = bytes(range(256)) * 20_000
        with storage.write() as txn:
            txn.put("chunks", b"big", value)
        with storage.read() as read:
            assert read.get("chunks", b"big") == value

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("start", [b"", b"a", b"aa", b"b", b"d", b"\xff\xff"])
    @pytest.mark.parametrize("stop", [None, b"", b"a", b"b\x00", b"bb", b"\xff", b"\xff" * 600])
    def test_a_scan_yields_the_keys_in_range_in_order(
        self, filled: Storage, start: bytes, stop: bytes | None, reverse: bool
    ) -> None:
        expected = [e for e in ENTRIES if start <= e[0] and (stop is None or e[0] < stop)]
        if reverse:
            expected.reverse()
        with filled.read() as txn:
            assert list(txn.scan("objects", start, stop, reverse=reverse)) == expected
        with filled.write() as write:
            assert list(write.scan("objects", start, stop, reverse=reverse)) == expected

    def test_floor_finds_the_key_or_the_one_before(self, filled: Storage) -> None:
        with filled.read() as txn:
            assert txn.floor("objects", b"a") == (b"a", b"1")
            assert txn.floor("objects", b"az") == (b"a", b"1")
            assert txn.floor("objects", b"\xff\xff") == (b"\xff", b"5")
            assert txn.floor("objects", b"\x00") is None
            assert txn.last("objects") == (b"\xff", b"5")

    def test_delete_tells_whether_the_key_was_there(self, filled: Storage) -> None:
        with filled.write() as txn:
            assert txn.delete("objects", b"a")
            assert not txn.delete("objects", b"a")
            assert not txn.delete("refs", b"a")
            assert txn.get("objects", b"a") is None
        with filled.read() as read:
            assert [key for key, _ in read.scan("objects")] == [key for key, _ in ENTRIES[1:]]

    def test_append_takes_growing_keys_only(self, storage: Storage) -> None:
        with storage.write() as txn:
            for n in range(1000):
                txn.append("blocks", n.to_bytes(8, "big"), b"x")
        for key in ((999).to_bytes(8, "big"), (0).to_bytes(8, "big"), b"\x00"):
            with pytest.raises(errors.StorageError, match="append"), storage.write() as txn:
                txn.append("blocks", key, b"y")
        with storage.read() as read:
            assert read.count("blocks") == 1000
            assert all(value == b"x" for _, value in read.scan("blocks"))

    def test_an_exception_rolls_everything_back(self, filled: Storage) -> None:
        with pytest.raises(RuntimeError), filled.write() as txn:
            txn.put("objects", b"new", b"x")
            txn.delete("objects", b"a")
            txn.append("log", b"1", b"x")
            raise RuntimeError
        with filled.read() as read:
            assert list(read.scan("objects")) == ENTRIES
            assert read.count("log") == 0

    def test_the_write_lock_is_free_after_an_exception(self, storage: Storage) -> None:
        with pytest.raises(RuntimeError), storage.write():
            raise RuntimeError
        with storage.write() as txn:
            txn.put("meta", b"k", b"v")

    def test_a_reader_keeps_its_snapshot(self, filled: Storage) -> None:
        with filled.read() as old:
            in_thread(lambda: put(filled, b"new", b"x"))
            assert old.get("objects", b"new") is None
            assert list(old.scan("objects")) == ENTRIES
            with filled.read() as new:
                assert new.get("objects", b"new") == b"x"
                assert new.txn_id > old.txn_id

    def test_the_transaction_number_grows_with_every_commit(self, storage: Storage) -> None:
        numbers = []
        for n in range(3):
            with storage.write() as txn:
                txn.put("meta", b"n", bytes([n]))
                pending = txn.txn_id
            with storage.read() as read:
                numbers.append(read.txn_id)
            assert numbers[-1] == pending
        assert numbers == sorted(set(numbers))

    def test_a_rolled_back_write_does_not_advance_the_number(self, filled: Storage) -> None:
        with filled.read() as txn:
            before = txn.txn_id
        with pytest.raises(RuntimeError), filled.write() as write:
            write.put("meta", b"n", b"")
            raise RuntimeError
        with filled.read() as txn:
            assert txn.txn_id == before

    def test_a_nested_write_is_an_error_and_harms_nothing(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("meta", b"k", b"v")
            with pytest.raises(errors.StorageError, match="write transaction"), storage.write():
                pass
            txn.put("meta", b"l", b"v")
        with storage.read() as read:
            assert read.count("meta") == 2

    def test_a_read_inside_a_write_sees_what_was_committed(self, filled: Storage) -> None:
        with filled.write() as write:
            write.put("objects", b"new", b"x")
            with filled.read() as read:
                assert read.get("objects", b"new") is None

    def test_writers_of_several_threads_take_turns(self, storage: Storage) -> None:
        def count() -> None:
            for _ in range(20):
                with storage.write() as txn:
                    seen = int(txn.get("meta", b"n") or b"0")
                    txn.put("meta", b"n", b"%d" % (seen + 1))

        in_threads([count] * 4)
        with storage.read() as read:
            assert read.get("meta", b"n") == b"80"

    def test_readers_of_several_threads_see_whole_commits(self, storage: Storage) -> None:
        def write() -> None:
            for n in range(30):
                with storage.write() as txn:
                    txn.put("meta", b"x", b"%d" % n)
                    txn.put("refs", b"x", b"%d" % n)

        def read() -> None:
            for _ in range(300):
                with storage.read() as txn:
                    assert txn.get("meta", b"x") == txn.get("refs", b"x")

        in_threads([write, read, read])

    @pytest.mark.parametrize("key", [b"", b"x" * (MAX_KEY + 1)])
    def test_a_key_of_a_wrong_length_is_refused(self, filled: Storage, key: bytes) -> None:
        with filled.write() as txn:
            calls: list[Callable[[], Any]] = [
                lambda: txn.get("objects", key),
                lambda: txn.floor("objects", key),
                lambda: txn.put("objects", key, b""),
                lambda: txn.append("objects", key, b""),
                lambda: txn.delete("objects", key),
            ]
            for call in calls:
                with pytest.raises(errors.InvalidInput, match="511"):
                    call()
        with filled.read() as read:
            assert list(read.scan("objects")) == ENTRIES

    def test_a_scan_from_a_key_too_long_is_refused(self, filled: Storage) -> None:
        with filled.read() as txn, pytest.raises(errors.InvalidInput, match="511"):
            txn.scan("objects", b"x" * (MAX_KEY + 1))

    def test_an_unknown_table_is_refused(self, storage: Storage) -> None:
        with storage.write() as txn:
            calls: list[Callable[[], Any]] = [
                lambda: txn.get("nothing", b"k"),
                lambda: txn.scan("nothing"),
                lambda: txn.count("nothing"),
                lambda: txn.put("nothing", b"k", b""),
            ]
            for call in calls:
                with pytest.raises(errors.InvalidInput, match="'nothing'"):
                    call()

    def test_an_ended_transaction_raises(self, filled: Storage) -> None:
        with filled.read() as read:
            entries = read.scan("objects")
            next(entries)
        with filled.write() as write:
            changed = write.scan("objects")
            next(changed)
        calls: list[Callable[[], Any]] = [
            lambda: read.get("objects", b"a"),
            lambda: read.count("objects"),
            lambda: read.last("objects"),
            lambda: list(read.scan("objects")),
            lambda: read.txn_id,
            lambda: next(entries),
            lambda: next(changed),
            lambda: write.put("objects", b"a", b""),
            lambda: write.delete("objects", b"a"),
        ]
        for call in calls:
            with pytest.raises(errors.StorageError):
                call()

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_scan_may_delete_what_it_yields(self, filled: Storage, reverse: bool) -> None:
        with filled.write() as txn:
            seen = []
            for key, _ in txn.scan("objects", reverse=reverse):
                seen.append(key)
                assert txn.delete("objects", key)
            assert sorted(seen) == [key for key, _ in ENTRIES]
            assert txn.count("objects") == 0

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_scan_sees_writes_ahead_and_not_behind(self, storage: Storage, reverse: bool) -> None:
        with storage.write() as txn:
            for n in range(0, 100, 10):
                txn.put("meta", bytes([n]), b"old")
            seen = [key[0] for key in keys_while_changing(txn, reverse)]
        ahead = [50, 45, 30, 20, 10, 0] if reverse else [50, 55, 70, 80, 90]
        assert seen[seen.index(50) :] == ahead

    def test_a_closed_storage_raises_and_closes_again(self, filled: Storage) -> None:
        filled.close()
        filled.close()
        calls: list[Callable[[], Any]] = [
            lambda: filled.read().__enter__(),
            lambda: filled.write().__enter__(),
            lambda: filled.size(),
        ]
        for call in calls:
            with pytest.raises(errors.StorageError, match="closed"):
                call()


def keys_while_changing(txn: WriteTxn, reverse: bool) -> list[bytes]:
    """Scan; at key 50 put 45 and 55 (one ahead, one behind) and delete 40 and 60."""
    seen = []
    for key, _ in txn.scan("meta", reverse=reverse):
        seen.append(key)
        if key == bytes([50]):
            for near in (45, 55):
                txn.put("meta", bytes([near]), b"new")
            for near in (40, 60):
                txn.delete("meta", bytes([near]))
    return seen


def put(storage: Storage, key: bytes, value: bytes) -> None:
    """Write one object."""
    with storage.write() as txn:
        txn.put("objects", key, value)


def in_thread(work: Callable[[], None]) -> None:
    """Run in a thread of its own and wait for it."""
    in_threads([work])


def in_threads(works: list[Callable[[], None]]) -> None:
    """Run each in a thread of its own, wait for all, and raise what any of them raised."""
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
