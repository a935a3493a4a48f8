"""The LMDB storage keeps the contract, between processes and with damaged files too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simgit import errors
from simgit.storage.base import Storage
from simgit.storage.lmdb import LmdbStorage, files
from simgit.storage.lmdb import store as store_module
from simgit.storage.lmdb.environment import REGISTRY
from simgit.testing.storage_contract import StorageContract, put
from tests.support.patience import PATIENCE


class TestLmdbStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        storage = LmdbStorage.create(tmp_path / "store")
        yield storage
        storage.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStorage]:
    storage = LmdbStorage.create(tmp_path / "store")
    put(storage, b"k", b"v")
    yield storage
    storage.close()


def get(storage: Storage, key: bytes) -> bytes | None:
    with storage.read() as txn:
        return txn.get("objects", key)


def python(
    directory: Path, code: str, *, before: str = "", wait: bool = True
) -> subprocess.Popen[str]:
    """Run code in another process, with ``s`` the open store, and other code before it is open."""
    head = "import sys, os, time\nfrom simgit.storage.lmdb import LmdbStorage\n"
    script = head + before + f"s = LmdbStorage.open({str(directory)!r})\n" + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    if wait:
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    return process


def in_child(work: Callable[[], bool]) -> bool:
    """Fork; return whether the work returned true in the child."""
    child = os.fork()
    if child == 0:
        result = False
        try:
            result = work()
        finally:
            os._exit(0 if result else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_was_committed_is_there_after_reopening(store: LmdbStorage) -> None:
    store.close()
    with LmdbStorage.open(store.path).read() as txn:  # the transaction keeps its handle
        assert txn.get("objects", b"k") == b"v"


def test_create_refuses_to_overwrite(store: LmdbStorage) -> None:
    with pytest.raises(errors.AlreadyExists):
        LmdbStorage.create(store.path)
    assert get(store, b"k") == b"v"


def test_a_missing_store_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound):
        LmdbStorage.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_size_is_that_of_the_data_file(store: LmdbStorage) -> None:
    assert store.size() == (store.path / "data.mdb").stat().st_size > 0


def test_two_handles_share_the_file_and_close_one_by_one(store: LmdbStorage) -> None:
    other = LmdbStorage.open(store.path)
    with (
        pytest.raises(errors.StorageError, match="write transaction"),
        store.write(),
        other.write(),
    ):
        pass
    put(other, b"other", b"x")
    assert get(store, b"other") == b"x"
    other.close()
    other.close()
    assert get(store, b"k") == b"v"


def is_open(directory: Path) -> bool:
    """Return whether this process still has the file; other tests may have others open."""
    status = directory.stat()
    return (status.st_dev, status.st_ino) in REGISTRY._open


def test_a_handle_that_is_dropped_lets_go(store: LmdbStorage) -> None:
    path = store.path
    store.close()
    LmdbStorage.open(path)
    LmdbStorage.open(path).close()
    assert not is_open(path)


def test_a_read_only_handle_refuses_to_write(store: LmdbStorage) -> None:
    store.close()
    reader = LmdbStorage.open(store.path, read_only=True)
    with pytest.raises(errors.StorageError, match="read-only"), reader.write():
        pass
    writer = LmdbStorage.open(store.path)
    put(writer, b"new", b"x")
    assert get(reader, b"new") == b"x"
    reader.close()
    writer.close()


def test_a_directory_that_cannot_be_written_is_opened_for_reading(
    store: LmdbStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    (store.path / "lock.mdb").unlink()
    monkeypatch.setattr(files, "may_write", lambda directory: False)
    reader = LmdbStorage.open(store.path)
    assert reader.read_only
    assert get(reader, b"k") == b"v"
    assert not (store.path / "lock.mdb").exists()
    reader.close()


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="needs another user")
def test_another_user_without_rights_reads(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("shared")
    for parent in (base, *base.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    store = LmdbStorage.create(base / "store")
    put(store, b"k", b"v")
    store.close()

    def work() -> bool:
        os.setuid(65534)
        reader = LmdbStorage.open(base / "store")
        return reader.read_only and get(reader, b"k") == b"v"

    assert in_child(work)


def test_a_network_file_system_is_refused_for_writing(
    store: LmdbStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    for module in (files, store_module):
        monkeypatch.setattr(module, "network_file_system", lambda path: "nfs4")
    for attempt in (LmdbStorage.open, LmdbStorage.create):
        with pytest.raises(errors.StorageError, match="nfs4"):
            attempt(store.path)
    reader = LmdbStorage.open(store.path, read_only=True)
    assert get(reader, b"k") == b"v"
    reader.close()
    writer = LmdbStorage.open(store.path, allow_network=True)
    put(writer, b"k", b"new")
    writer.close()


@pytest.mark.parametrize("length", [0, 1, 100, 4096, 4300, 8192, -4096, -1])
def test_a_truncated_file_is_refused_before_it_is_mapped(store: LmdbStorage, length: int) -> None:
    put(store, b"big", bytes(100_000))
    store.close()
    data = store.path / "data.mdb"
    os.truncate(data, length if length >= 0 else data.stat().st_size + length)
    with pytest.raises(errors.IntegrityError):
        LmdbStorage.open(store.path)


def test_a_file_of_something_else_is_refused(store: LmdbStorage) -> None:
    store.close()
    (store.path / "data.mdb").write_bytes(os.urandom(50_000))
    with pytest.raises(errors.IntegrityError):
        LmdbStorage.open(store.path)


def test_a_whole_copy_opens_and_a_torn_one_is_refused(store: LmdbStorage, tmp_path: Path) -> None:
    with store.write() as txn:
        for n in range(2000):
            txn.append("objects", b"n%06d" % n, bytes(100))
    data = (store.path / "data.mdb").read_bytes()
    for name, content in (("whole", data), ("torn", data[:20480] + bytes(8192) + data[28672:])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.mdb").write_bytes(content)
    with LmdbStorage.open(tmp_path / "whole").read() as read:
        assert read.count("objects") == 2001
    with pytest.raises(errors.IntegrityError, match="copied"):
        LmdbStorage.open(tmp_path / "torn")


def test_copy_to_makes_a_store_of_the_same_content(store: LmdbStorage, tmp_path: Path) -> None:
    store.copy_to(tmp_path / "copy")
    with pytest.raises(errors.AlreadyExists):
        store.copy_to(tmp_path / "copy")
    copy = LmdbStorage.open(tmp_path / "copy")
    assert get(copy, b"k") == b"v"
    copy.close()


def test_two_processes_count_together(store: LmdbStorage) -> None:
    code = """
        for _ in range(30):
            with s.write() as txn:
                n = int(txn.get("meta", b"n") or b"0")
                txn.put("meta", b"n", b"%d" % (n + 1))
    """
    other = python(store.path, code, wait=False)
    for _ in range(30):
        with store.write() as txn:
            txn.put("meta", b"n", b"%d" % (int(txn.get("meta", b"n") or b"0") + 1))
    other.communicate(timeout=PATIENCE)
    with store.read() as read:
        assert read.get("meta", b"n") == b"60"


def test_a_writer_that_was_killed_lets_the_next_one_in(store: LmdbStorage) -> None:
    code = """
        with s.write() as txn:
            txn.put("objects", b"k", b"half")
            print("holding", flush=True)
            time.sleep(60)
    """
    other = python(store.path, code, wait=False)
    assert other.stdout is not None and other.stdout.readline() == "holding\n"
    other.send_signal(signal.SIGKILL)
    other.communicate()
    put(store, b"new", b"x")
    assert get(store, b"k") == b"v"


def test_a_killed_reader_does_not_make_the_file_grow(store: LmdbStorage) -> None:
    code = """
        with s.read() as txn:
            txn.get("objects", b"k")
            print("reading", flush=True)
            time.sleep(60)
    """
    other = python(store.path, code, wait=False)
    assert other.stdout is not None and other.stdout.readline() == "reading\n"
    other.send_signal(signal.SIGKILL)
    other.communicate()
    for n in range(200):
        put(store, b"value", bytes([n]) * 20_000)
    assert store.size() < 1_500_000


def test_a_child_opens_its_own_environment(store: LmdbStorage) -> None:
    def work() -> bool:
        put(store, b"child", b"x")
        return get(store, b"k") == b"v" and get(store, b"child") == b"x"

    assert in_child(work)
    put(store, b"parent", b"x")
    assert get(store, b"child") == b"x"


def test_a_child_leaves_the_readers_of_its_parent_alone(store: LmdbStorage) -> None:
    def work() -> bool:
        put(store, b"k", b"child")
        store.close()
        return True

    with store.read() as txn:
        before = store.readers()
        assert in_child(work)
        assert store.readers() == before
        assert txn.get("objects", b"k") == b"v"
    assert get(store, b"k") == b"child"


@pytest.mark.slow
def test_a_fork_waits_for_the_transactions_of_other_threads(store: LmdbStorage) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            get(store, b"k")

    def write() -> None:
        while not stop.is_set():
            put(store, b"k", b"v")

    def work() -> bool:
        put(store, b"child", b"x")
        return get(store, b"k") == b"v"

    threads = [threading.Thread(target=target) for target in (read, read, write)]
    for thread in threads:
        thread.start()
    try:
        assert all(in_child(work) for _ in range(5))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert get(store, b"child") == b"x"


def test_a_transaction_of_the_parent_has_ended_in_the_child(store: LmdbStorage) -> None:
    with store.read() as read, store.write() as write:

        def work() -> bool:
            for call in (read.get, write.get):
                with pytest.raises(errors.StorageError, match="ended"):
                    call("objects", b"k")
            return True

        assert in_child(work)
        write.put("objects", b"k", b"new")
    assert get(store, b"k") == b"new"


def test_a_full_map_rolls_back_and_is_enlarged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAP_SIZE", 1 << 20)
    store = LmdbStorage.create(tmp_path / "small")
    big = bytes(1_500_000)
    with pytest.raises(errors.StorageError, match="enlarged"):
        put(store, b"big", big)
    assert get(store, b"big") is None
    put(store, b"big", big)
    assert get(store, b"big") == big
    store.close()


def test_a_map_that_another_process_enlarged_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAP_SIZE", 1 << 20)
    store = LmdbStorage.create(tmp_path / "small")
    python(store.path, "with s.write() as txn: txn.put('objects', b'big', bytes(3_000_000))")
    assert get(store, b"big") == bytes(3_000_000)
    put(store, b"k", b"v")
    store.close()


def test_a_process_with_little_address_space_opens_a_store(store: LmdbStorage) -> None:
    pytest.importorskip("resource")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))\n"
    python(store.path, "with s.write() as txn: txn.put('objects', b'new', b'x')", before=limit)
    assert get(store, b"new") == b"x"


def test_too_many_readers_are_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MAX_READERS", 2)
    store = LmdbStorage.create(tmp_path / "few")
    with store.read(), store.read(), pytest.raises(errors.StorageError, match="too many"):
        store.read().__enter__()
    with store.read():
        pass
    store.close()


def test_closing_in_a_transaction_ends_it(store: LmdbStorage) -> None:
    with store.read() as txn:
        store.close()
        with pytest.raises(errors.StorageError):
            txn.get("objects", b"k")


def test_handles_are_opened_and_closed_by_many_threads(store: LmdbStorage) -> None:
    path = store.path
    store.close()

    def work() -> None:
        for _ in range(20):
            handle = LmdbStorage.open(path)
            assert get(handle, b"k") == b"v"
            handle.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not is_open(path)
