"""Giving space back: the file is replaced only while nobody else has it open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simgit import errors
from simgit.storage.lmdb import LmdbStorage
from simgit.storage.lmdb.lease import Lease
from simgit.testing.failpoints import arm, disarm


def fill(storage: LmdbStorage) -> None:
    with storage.write() as txn:
        for i in range(500):
            txn.put("objects", b"%04d" % i, b"x" * 5000)
    with storage.write() as txn:
        for i in range(499):
            txn.delete("objects", b"%04d" % i)


def test_compacting_shrinks_the_file_and_keeps_what_is_there(tmp_path: Path) -> None:
    storage = LmdbStorage.create(tmp_path)
    fill(storage)
    before = storage.size()
    assert storage.compact()
    assert storage.size() < before / 10
    with storage.write() as txn:
        txn.put("objects", b"new", b"1")
    other = LmdbStorage.open(tmp_path)
    with other.read() as txn:
        assert txn.get("objects", b"0499") == b"x" * 5000
        assert txn.get("objects", b"new") == b"1"
    storage.close()
    other.close()


def test_an_open_transaction_prevents_compacting(tmp_path: Path) -> None:
    storage = LmdbStorage.create(tmp_path)
    fill(storage)
    with storage.read() as txn:
        assert not storage.compact()
        assert txn.get("objects", b"0499")
    assert storage.compact()
    storage.close()


def test_another_process_that_has_the_store_open_prevents_compacting(tmp_path: Path) -> None:
    storage = LmdbStorage.create(tmp_path)
    fill(storage)
    code = (
        "import sys; from simgit.storage.lmdb import LmdbStorage\n"
        "s = LmdbStorage.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()\n"
        "with s.write() as t: t.put('objects', b'child', b'1')\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    assert not storage.compact()
    child.stdin.close()
    assert child.wait() == 0
    child.stdout.close()
    assert storage.compact()
    with storage.read() as txn:
        assert txn.get("objects", b"child") == b"1"
    storage.close()


def test_a_forked_child_does_not_keep_the_parents_lease(tmp_path: Path) -> None:
    storage = LmdbStorage.create(tmp_path)
    fill(storage)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    assert storage.compact()
    os.close(write)
    os.waitpid(pid, 0)
    storage.close()


def test_no_number_of_a_snapshot_comes_back_after_compacting(tmp_path: Path) -> None:
    storage = LmdbStorage.create(tmp_path)
    fill(storage)
    with storage.read() as txn:
        before = txn.txn_id
    assert storage.compact()
    with storage.read() as txn:
        assert txn.txn_id > before
    storage.close()


def test_a_thread_that_writes_cannot_compact(tmp_path: Path) -> None:
    storage = LmdbStorage.create(tmp_path)
    with storage.write():
        assert not storage.compact()
    storage.close()


def test_what_is_written_after_a_compaction_was_lost_to_another_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LmdbStorage.create(tmp_path)
    fill(storage)
    code = (
        "import sys; from simgit.storage.lmdb import LmdbStorage\n"
        "s = LmdbStorage.open(sys.argv[1]); print('open', flush=True); sys.stdin.readline()\n"
        "print(s.compact(), flush=True); sys.stdin.readline()\n"
        "with s.read() as t: print(t.get('objects', b'late'), flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    share, answers = Lease.share, []

    def late(lease: Lease) -> None:
        """Let the other process have the lease between the failed attempt and sharing again."""
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
        answers.append(child.stdout.readline())
        share(lease)

    monkeypatch.setattr(Lease, "share", late)
    assert not storage.compact()
    with storage.write() as txn:
        txn.put("objects", b"late", b"1")
    answers.append(child.communicate(b"go\n")[0])
    assert answers[-1] == b"b'1'\n"
    storage.close()


def test_compacting_removes_what_a_killed_compaction_left(tmp_path: Path) -> None:
    storage = LmdbStorage.create(tmp_path)
    left = tmp_path / ".new-killed"
    left.mkdir()
    (left / "data.mdb").write_bytes(b"half")
    assert storage.compact()
    assert not left.exists()
    storage.close()


def test_a_compaction_that_fails_says_why_and_leaves_the_store_open(tmp_path: Path) -> None:
    storage = LmdbStorage.create(tmp_path)
    fill(storage)
    for point in ("compact.begun=raise", "compact.copied=raise", "copy.moved=raise"):
        arm(point)
        with pytest.raises(errors.StorageError, match="injected"):
            storage.compact()
        disarm()
        with storage.write() as txn:
            txn.put("objects", point.encode(), b"1")
        with storage.read() as read:
            assert read.get("objects", b"0499") == b"x" * 5000
            assert read.get("objects", point.encode()) == b"1"
    assert storage.compact()
    storage.close()
