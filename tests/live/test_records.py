"""Records of simulations: what is read again, and in which directory they hold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from simgit import Repository
from simgit.live import Tracker
from simgit.live.records import Records
from simgit.process import now
from simgit.refs.records import pack_ref
from simgit.refs.simulations import SimulationRecord, home_of
from simgit.storage.datafile import birth_time
from tests.live.test_tracker import repo, tracker, until

__all__ = ["repo", "tracker"]

ENDED = SimulationRecord("demo", "ended", "", "", outcome="completed")


def test_what_has_not_changed_is_not_read_again(repo: Repository) -> None:
    records = Records(repo)
    for run in "abc":
        records.put(run, ENDED, None)
    number, found = records.look()
    assert records.look()[1] is found and records.look()[0] == number
    changed = records.change("b", found["b"], outcome="crashed")
    later, again = records.look()
    assert later > number and list(again) == ["a", "b", "c"]
    assert again["b"] == changed
    assert again["a"] is found["a"] and again["c"] is found["c"]
    Records(repo).remove("a", again["a"])  # another object's writing counts too
    assert list(records.look()[1]) == ["b", "c"]


def test_a_tracker_sees_what_another_process_has_written(
    repo: Repository, tracker: Tracker
) -> None:
    seen: list[str] = []
    tracker.when("each", "x", "crashed", lambda one: seen.append(one.run))
    made = Records(repo).put("x/1", ENDED, None)
    Records(repo).put("x/2", ENDED._replace(outcome="crashed"), None)
    until(lambda: seen == ["x/2"], "the first")
    Records(repo).change("x/1", made, outcome="crashed")
    until(lambda: seen == ["x/2", "x/1"], "the second")


def stored_with(repo: Repository, home: str, created: int) -> bool:
    """Return whether a record that was stored with a home is this directory's."""
    record = ENDED._replace(home=home, created=created)
    with repo.odb.storage.write() as txn:
        txn.put("meta", b"live\0main", pack_ref(record._asdict()))
    found = Records(repo).find("main")
    assert (found is not None) == ("main" in Records(repo).all())
    return found is not None


def test_records_hold_in_their_directory_and_in_no_copy(repo: Repository, tmp_path: Path) -> None:
    Records(repo).put("main", ENDED, None)
    directory = repo.directory
    assert directory is not None
    repo.close()
    shutil.copytree(tmp_path / "r", tmp_path / "copy")
    (tmp_path / "r").rename(tmp_path / "moved")
    directory.parent.parent.joinpath("moved", ".simgit").chmod(0o750)
    with Repository.open(tmp_path / "moved") as moved:
        assert list(Records(moved).all()) == ["main"]
    with Repository.open(tmp_path / "copy") as copy:
        assert Records(copy).all() == {} and Records(copy).find("main") is None


def test_older_records_hold_whatever_the_number_of_the_device(repo: Repository) -> None:
    assert repo.directory is not None
    status, born = repo.directory.stat(), birth_time(repo.directory)
    if not born:
        pytest.skip("this file system knows no times of birth")
    assert home_of(repo.directory) == f"{status.st_ino}@{born}"
    assert stored_with(repo, f"{status.st_dev}:{status.st_ino}", now())
    assert stored_with(repo, f"{status.st_dev + 1}:{status.st_ino}", now())
    assert not stored_with(repo, f"{status.st_dev}:{status.st_ino + 1}", now())
    assert not stored_with(repo, f"{os.getpid()}:{status.st_ino}", born - 1)  # came with a copy
    assert not stored_with(repo, f"{status.st_ino}@{born + 1}", now())


def test_fsck_names_a_record_that_is_damaged(repo: Repository) -> None:
    Records(repo).put("main", ENDED, None)
    assert repo.fsck().problems == []
    with repo.odb.storage.write() as txn:
        txn.put("meta", b"live\0other", pack_ref({"type": "x", "home": ""}))
    assert [str(each) for each in repo.fsck().problems if "other" in str(each)]
    assert list(Records(repo).all()) == ["main"]
