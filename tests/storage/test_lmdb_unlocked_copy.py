"""Readers that LMDB's writers cannot see read what nobody changes, or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simgit import Repository, StorageError
from simgit.storage.lmdb import LmdbStorage, files, lease, unlocked_copy
from simgit.storage.lmdb.lease import Lease, LoneLease
from tests.support.patience import PATIENCE

NOBODY = 65534
WRITER = """
import sys, time
from simgit import Repository
with Repository.open(sys.argv[1]) as repo:
    n = 0
    while True:
        repo.commit({"x": float(n)})
        n += 1
        print(n, flush=True)
        time.sleep(0.02)  # whose disk is memory may commit more often than a copy can be made
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop its rights here")


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a repository of root's that others may only read, beside a place of theirs."""
    # the directories of pytest may be closed to others: go where everybody may
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    place.chmod(0o755)
    old = os.umask(0o022)
    with Repository.init(place / "source") as repo:
        for i in range(150):
            repo.commit({"x": float(i)})
    os.umask(old)
    (place / "out").mkdir()
    os.chown(place / "out", NOBODY, NOBODY)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def writer(place: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER, str(place / "source")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def by_nobody(work: Callable[[], bool]) -> int:
    """Return 0 if the work returns true as a user without rights; -6 says that LMDB aborted."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            code = 0 if work() else 1
        except BaseException:
            traceback.print_exc()  # pytest shows it
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
@needs_root
def test_who_is_not_seen_reads_while_nobody_may_write(place: Path) -> None:
    def work() -> bool:
        with Repository.open(place / "source") as repo:
            return repo.read_only and len(list(repo.log())) == 150 and repo.fsck().is_clean

    assert by_nobody(work) == 0


@needs_root
def test_who_is_not_seen_is_refused_while_somebody_writes(
    place: Path, writer: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_PATIENCE", 0.05)

    def work() -> bool:
        with pytest.raises(StorageError, match="in use by a process that may write"):
            Repository.open(place / "source")
        return True

    assert by_nobody(work) == 0


@pytest.mark.slow
@needs_root
def test_who_may_write_the_lock_file_reads_while_somebody_writes(
    place: Path, writer: subprocess.Popen[str]
) -> None:
    (place / "source" / ".simgit" / "lock.mdb").chmod(0o666)

    def work() -> bool:
        with Repository.open(place / "source") as repo:
            return repo.read_only and all(len(list(repo.log())) >= 150 for _ in range(20))

    assert by_nobody(work) == 0


@pytest.mark.slow
@needs_root
def test_clones_by_who_is_not_seen_are_whole(place: Path, writer: subprocess.Popen[str]) -> None:
    def work() -> bool:
        for n in range(8):
            with Repository.clone(place / "source", place / "out" / str(n)) as made:
                if not made.fsck().is_clean or len(list(made.log())) < 150:
                    return False
            assert not list((place / "out" / str(n)).glob(".simgit/.new-*"))
        return True

    assert by_nobody(work) == 0


def test_a_copy_during_more_than_one_commit_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LmdbStorage.create(tmp_path / "store")
    copy, commits = shutil.copyfileobj, [3, 2, 1]

    def slow(*args: object) -> None:
        copy(*args)  # type: ignore[arg-type]
        for _ in range(commits.pop(0)):
            with store.write() as txn:
                txn.put("objects", os.urandom(8), b"")

    monkeypatch.setattr(shutil, "copyfileobj", slow)
    unlocked_copy._copy(store.path / "data.mdb", tmp_path / "copy")
    assert not commits
    commits[:] = [2] * unlocked_copy._TRIES
    with pytest.raises(StorageError, match="too often"):
        unlocked_copy._copy(store.path / "data.mdb", tmp_path / "copy")
    assert files.audit(tmp_path / "copy") == []
    store.close()


def test_who_opens_waits_for_a_lone_reader(tmp_path: Path) -> None:
    Lease(tmp_path).close()
    alone, opened = LoneLease(tmp_path), threading.Event()
    assert alone.keep_writers_out()
    assert not alone.keep_writers_out()
    thread = threading.Thread(target=lambda: (Lease(tmp_path), opened.set()))
    thread.start()
    alone.let_writers_in()
    assert not opened.wait(0.1)
    alone.let_writers_in()
    assert opened.wait(PATIENCE)
    thread.join()


def test_a_reader_over_a_network_that_then_writes_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LmdbStorage.create(tmp_path / "store").close()
    monkeypatch.setattr("simgit.storage.lmdb.store.network_file_system", lambda path: "nfs4")
    reader = LmdbStorage.open(tmp_path / "store", read_only=True)
    assert not reader._environment().registered
    writer = LmdbStorage.open(tmp_path / "store", allow_network=True)
    assert writer._environment().registered
    with writer.write() as txn:
        txn.put("objects", b"k", b"v")
    with reader.read() as read:
        assert read.get("objects", b"k") == b"v"
        assert writer.readers().count("\n") > 1  # a line for each reader below the head
    reader.close()
    writer.close()
