"""Records of simulations: what is read again, and in which directory they hold."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.errors import Conflict
from simgit.live import Simulation, Tracker, find
from simgit.live.records import Records
from simgit.live.views import view
from simgit.process import now, this_writer, writer_of
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


def test_what_has_noted_its_end_is_not_frozen(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stay where it is for ever: what has ended is neither resumed nor killed."""
    code = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        try:
            records, storage = Records(repo), repo.odb.storage
            running = ENDED._replace(phase="running", outcome=None, process=writer_of(process.pid))
            found, one = records.put("x", running, None), find(repo, "x")
            one.freeze()
            until(lambda: one.is_frozen, "frozen")
            one.resume()
            until(lambda: not one.is_frozen, "resumed")
            write = storage.write

            def end_before() -> Any:
                monkeypatch.undo()
                records.change("x", found, phase="ended", outcome="completed")
                return write()

            monkeypatch.setattr(storage, "write", end_before)
            with pytest.raises(Conflict, match="does not run here"):
                one.freeze()
            assert not one.is_frozen
        finally:
            process.kill()


def test_a_view_is_of_one_moment(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(repo)
    running = ENDED._replace(phase="running", outcome=None, process=this_writer())
    found = records.put("x", running, None)
    read = Simulation.record.fget
    assert read is not None
    assert view(repo, find(repo, "x"))["phase"] == "running"

    def read_before_it_ends(one: Simulation) -> SimulationRecord:
        monkeypatch.undo()
        before: SimulationRecord = read(one)
        records.change("x", found, phase="ended", outcome="failed", reason="why")
        return before

    monkeypatch.setattr(Simulation, "record", property(read_before_it_ends))
    row = view(repo, Simulation(repo, "x"))
    assert (row["phase"], row["outcome"], row["reason"]) == ("ended", "failed", "why")
