"""A stranger's `.simgit` may have links, pipes and sockets for files: each is refused at once."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from simgit import NotFound, Repository, StorageError
from simgit.maintenance.fsck.quarantine import Quarantine
from simgit.storage import datafile, durable, regular
from simgit.storage.lmdb import reserve
from simgit.storage.lmdb.lease import Lease
from tests.support.patience import PATIENCE

TEXT = b"the user's own words\n"
Plant = Callable[[Path, Path], None]


def link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def dangling_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim.with_name("new"))


def pipe(place: Path, victim: Path) -> None:
    os.mkfifo(place)


def unix_socket(place: Path, victim: Path) -> None:
    here = Path.cwd()
    os.chdir(place.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name)
    finally:
        os.chdir(here)


def a_directory(place: Path, victim: Path) -> None:
    place.mkdir()


def hard_link(place: Path, victim: Path) -> None:
    place.hardlink_to(victim)


SPECIAL: list[Plant] = [link, dangling_link, pipe, unix_socket, a_directory]


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """A pipe that is opened would be waited for without end."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError("waits for a special file")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(int(PATIENCE))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of the user; nothing may happen to it."""
    found = tmp_path / "thesis.txt"
    found.write_bytes(TEXT)
    yield found
    assert found.read_bytes() == TEXT and not found.with_name("new").exists()


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A stranger's directory, with a repository of one state."""
    with Repository.init(tmp_path / "strange") as repo:
        repo.commit({"observation": 1})
    return tmp_path / "strange"


def plant(strange: Path, name: str, kind: Plant, victim: Path) -> None:
    place = strange / ".simgit" / name
    place.unlink(missing_ok=True)
    kind(place, victim)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", regular.NAMES)
def test_a_special_file_is_refused(strange: Path, victim: Path, name: str, kind: Plant) -> None:
    plant(strange, name, kind, victim)
    for attempt in (Repository.open, Repository.discover):
        for read_only in (False, True):
            with pytest.raises(StorageError, match=f"{name}' is a "):
                attempt(strange, read_only=read_only)
    with pytest.raises(StorageError, match=f"{name}' is a "):
        Repository.clone(strange, strange.with_name("copy"))


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "reserve"])
def test_a_hard_link_is_not_written(strange: Path, victim: Path, name: str) -> None:
    if name != "data.mdb":
        plant(strange, name, hard_link, victim)
    else:
        victim.with_name("other.mdb").hardlink_to(strange / ".simgit" / name)
    with pytest.raises(StorageError, match="is a hard link"):
        Repository.open(strange)


def test_a_hard_linked_backup_can_be_read_and_cloned(strange: Path, tmp_path: Path) -> None:
    (tmp_path / "backup.mdb").hardlink_to(strange / ".simgit" / "data.mdb")
    with Repository.open(strange, read_only=True) as repo:
        assert len(repo.trajectory("main")) == 1
    with Repository.clone(strange, tmp_path / "copy") as repo:
        repo.commit({"observation": 2})


def test_what_an_interrupted_init_left_is_no_hard_link(strange: Path) -> None:
    (strange / ".simgit" / ".new-1").mkdir()
    (strange / ".simgit/.new-1/data.mdb").hardlink_to(strange / ".simgit/data.mdb")
    with Repository.open(strange) as repo:
        repo.commit({"observation": 2})


def test_a_linked_repository_is_refused_unless_it_is_named(strange: Path, tmp_path: Path) -> None:
    (tmp_path / "work" / "deep").mkdir(parents=True)
    (tmp_path / "work" / ".simgit").symlink_to(strange / ".simgit")
    for attempt, place in ((Repository.discover, "work/deep"), (Repository.open, "work")):
        with pytest.raises(StorageError, match="is a symbolic link, not a repository's directory"):
            attempt(tmp_path / place)
    with Repository.open(tmp_path / "work" / ".simgit") as repo:
        assert repo.directory == strange / ".simgit"


@pytest.mark.parametrize("kind", SPECIAL[:4])
def test_a_place_that_is_prepared_for_a_new_repository_is_refused(
    strange: Path, victim: Path, tmp_path: Path, kind: Plant
) -> None:
    for number, name in enumerate(("data.mdb", "lock.mdb", "lease", "origin", "reserve")):
        place = tmp_path / str(number) / ".simgit"
        place.mkdir(parents=True)
        kind(place / name, victim)
        with pytest.raises(StorageError, match="is a "):
            Repository.init(place.parent)
        with pytest.raises(StorageError, match="is a "):
            Repository.clone(strange, place.parent)


def test_a_link_in_place_of_the_new_directory_is_refused(strange: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "data.mdb").write_bytes(TEXT)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".simgit").symlink_to(other)
    with pytest.raises(StorageError, match="is a symbolic link"):
        Repository.init(tmp_path / "new")
    with pytest.raises(StorageError, match="is a symbolic link"):
        Repository.clone(strange, tmp_path / "new")
    assert [each.name for each in other.iterdir()] == ["data.mdb"]


def test_a_file_in_place_of_the_directory_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / ".simgit").write_bytes(TEXT)
    with pytest.raises(NotFound):
        Repository.open(tmp_path)
    with pytest.raises(StorageError):
        Repository.init(tmp_path)


def test_scratch_files_whose_names_can_be_foretold_are_made_anew(
    strange: Path, victim: Path
) -> None:
    directory = strange / ".simgit"
    for name in (f"origin.{os.getpid()}", f"format.{os.getpid()}"):
        (directory / name).symlink_to(victim)
    datafile.record_origin(directory)
    durable.write(directory / "format", b"1\n")
    assert not datafile.is_copy(directory) and not (directory / "format").is_symlink()


def test_what_is_exchanged_after_the_check_is_not_followed(strange: Path, victim: Path) -> None:
    """Every file that simgit itself opens: each opening refuses a link by itself."""
    directory = strange / ".simgit"
    for name in ("lease", "reserve", "origin"):
        plant(strange, name, link, victim)
    with pytest.raises(StorageError):
        Lease(directory)
    for use in (reserve.keep, datafile.is_copy):
        with pytest.raises(StorageError):
            use(directory)
    assert reserve.give_up(directory) and not (directory / "reserve").is_symlink()


def test_a_quarantine_is_not_written_through_a_link(
    strange: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 7)
    (strange / ".simgit" / "quarantine-7").symlink_to(victim)
    with Repository.open(strange) as repo, repo.odb.write() as txn:
        kept = Quarantine(repo.directory)
        kept.take(txn, "meta", b"next-line")
        with pytest.raises(StorageError):
            kept.save()


def test_a_clone_has_only_the_files_that_simgit_makes(strange: Path) -> None:
    for name in ("notes.txt", "run.sh"):
        (strange / ".simgit" / name).write_text("#!/bin/sh\n")
    (strange / ".simgit" / "hooks").mkdir()
    with Repository.clone(strange, strange.with_name("copy")) as repo:
        assert repo.directory is not None
        found = {each.name for each in repo.directory.iterdir()}
    assert found <= set(regular.NAMES)


def test_a_directory_that_cannot_be_written_is_read(strange: Path) -> None:
    places = [*(strange / ".simgit").iterdir(), strange / ".simgit"]
    for each in places:
        each.chmod(0o444 if each.is_file() else 0o555)
    try:
        with Repository.open(strange) as repo:
            assert len(repo.trajectory("main")) == 1
    finally:
        for each in places[::-1]:
            each.chmod(0o755)
