"""The operation log: every change is an operation, and any of them can be taken back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Conflict, InvalidInput, NotFound, Repository, StorageError
from simgit.process import this_writer
from simgit.refs.oplog.journal import LEAST, MAX_ARGUMENT, MAX_ARGUMENTS, Journal, shortened
from simgit.refs.oplog.log import KeyChange, Operation
from simgit.refs.oplog.undo import Undo
from simgit.refs.records import TagRef
from tests.support.forks import in_a_fork
from tests.support.paths import ROOT


@pytest.fixture(params=["lmdb", "memory"])
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path if request.param == "lmdb" else ":memory:") as repo:
        repo.commit(0, message="first")
        repo.commit(1, message="second")
        yield repo
        assert not repo.fsck().problems


def seen(repo: Repository) -> dict[str, Any]:
    """Return everything that an undo has to bring back."""
    runs = {
        info.name: (info.oid, info.status, dict(info.config), info.parent, info.ended, info.created)
        for info in repo.runs.values()
    }
    bound = {
        (line.oid, name): target
        for line in repo.log(every=True)
        for name, target in repo.attachments(line.oid).items()
    }
    return {"runs": runs, "tags": repo.tags(), "head": repo.head, "attachments": bound}


def titles(repo: Repository) -> list[str]:
    return [operation.title for operation in repo.operations()]


def prepared(repo: Repository) -> None:
    """Make one of everything that the commands below change."""
    repo.branch("x", "main@0", overrides={"lr": 1})
    repo.branch("y", "x")
    repo.tag("v", "main")
    repo.attach("main", "note", b"hello")


COMMANDS = {
    "commit": lambda repo: repo.commit(2),
    "commit on a new run": lambda repo: repo.commit(2, run="other"),
    "merge": lambda repo: repo.commit(3, run="y", parents=["main"]),
    "branch": lambda repo: repo.branch("z", "main~1"),
    "rename": lambda repo: repo.rename_run("x", "z"),
    "rename HEAD's": lambda repo: repo.rename_run("main", "z"),
    "rename in case": lambda repo: repo.rename_run("x", "X"),
    "delete": lambda repo: repo.delete_run("x"),
    "seal": lambda repo: repo.set_status("x", "completed"),
    "configure": lambda repo: repo.configure("main", {"a": 1}, metadata={"by": "ada"}),
    "tag": lambda repo: repo.tag("w", "main~1", message="hello"),
    "move a tag": lambda repo: repo.tag("v", "main~1", force=True),
    "delete a tag": lambda repo: repo.delete_tag("v"),
    "checkout": lambda repo: repo.checkout("x"),
    "detach": lambda repo: repo.checkout("main~1"),
    "attach": lambda repo: repo.attach("main", "video", np.zeros(3)),
    "attach again": lambda repo: repo.attach("main", "note", b"other"),
    "detach an attachment": lambda repo: repo.detach("main", "note"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_one_operation_and_can_be_undone_and_redone(
    repo: Repository, name: str
) -> None:
    prepared(repo)
    before, count = seen(repo), len(repo.operations())
    COMMANDS[name](repo)
    after = seen(repo)
    assert after != before
    assert len(repo.operations()) == count + 1
    done = repo.operations()[0]
    for _ in range(2):
        assert repo.undo().number == done.number
        assert seen(repo) == before
        assert not repo.fsck().problems
        assert repo.redo().number == done.number
        assert seen(repo) == after
        assert not repo.fsck().problems


def history(repo: Repository) -> dict[int, dict[str, Any]]:
    """Give one command after another; return what was there after each operation."""
    found = {repo.operation().number: seen(repo)}
    for command in (
        lambda: repo.commit(2),
        lambda: repo.attach("main", "note", b"hello"),
        lambda: repo.branch("x", "main~1", overrides={"lr": 1}),
        lambda: repo.branch("y", "x"),
        lambda: repo.commit(3, run="y", parents=["main"]),
        lambda: repo.rename_run("x", "w"),
        lambda: repo.rename_run("w", "X"),
        lambda: repo.tag("v", "main"),
        lambda: repo.rename_run("main", "z"),
        lambda: repo.tag("v", "y", force=True, message="moved"),
        lambda: repo.delete_run("X"),
        lambda: repo.branch("x", "y~1"),
        lambda: repo.checkout("y"),
        lambda: repo.set_status("z", "completed"),
        lambda: repo.detach("z", "note"),
        lambda: repo.checkout("y~1"),
        lambda: repo.commit(4),
        lambda: repo.delete_tag("v"),
    ):
        command()
        found[repo.operation().number] = seen(repo)
    return found


@pytest.mark.slow
def test_undo_after_undo_goes_further_back_and_redo_forward(repo: Repository) -> None:
    states = list(history(repo).values())
    for was in states[-2::-1]:
        repo.undo()
        assert seen(repo) == was
        assert not repo.fsck().problems
    for is_now in states[1:]:
        repo.redo()
        assert seen(repo) == is_now
        assert not repo.fsck().problems
    with pytest.raises(NotFound, match="nothing to redo"):
        repo.redo()


def test_reflogs_move_back_with_their_runs(repo: Repository) -> None:
    was = [entry.new for entry in repo.reflog("main")]
    repo.rename_run("main", "x")
    repo.undo()
    assert [entry.new for entry in repo.reflog("main")][2:] == was
    assert repo.resolve("main@{2}") == was[0]
    repo.redo()
    assert [entry.new for entry in repo.reflog("x")][-1 - len(was) : -1] == was


def test_everything_can_be_undone_to_the_empty_repository_and_no_further(repo: Repository) -> None:
    full = seen(repo)
    repo.undo()
    repo.undo()
    assert list(repo.runs) == []
    assert repo.head == "main"
    with pytest.raises(NotFound, match="nothing to undo"):
        repo.undo()
    repo.redo()
    repo.redo()
    assert seen(repo) == full


def test_a_command_ends_redoing(repo: Repository) -> None:
    repo.branch("x")
    repo.undo()
    repo.tag("v")
    with pytest.raises(NotFound, match="nothing to redo"):
        repo.redo()
    repo.undo()  # of the tag; the undone branch is passed over
    assert not repo.tags()
    assert repo.undo().command == "commit"


def test_undoing_an_undo_by_its_number_redoes(repo: Repository) -> None:
    repo.branch("x")
    repo.undo()
    repo.undo("@")
    assert list(repo.runs) == ["main", "x"]
    assert repo.undo().command == "branch"


def test_an_older_operation_is_undone_where_nothing_of_it_was_changed_since(
    repo: Repository,
) -> None:
    repo.configure("main", {"lr": 1})
    number = repo.operation().number
    newest = repo.commit(2)
    repo.set_status("main", "completed")
    repo.undo(number)
    info = repo.runs["main"]
    assert dict(info.config) == {}
    assert (info.oid, info.status) == (newest, "completed")


def test_what_moved_since_is_a_conflict_and_nothing_is_undone(repo: Repository) -> None:
    with repo.transaction("both"):
        repo.branch("x")
        repo.tag("v")
    number = repo.operation().number
    repo.commit(2, run="x")
    before = seen(repo)
    with pytest.raises(
        Conflict, match=r"cannot undo operation \d+ \(both\): 'runs/x' changed since"
    ) as error:
        repo.undo(number)
    assert error.value.refs == ["'runs/x'"]  # type: ignore[attr-defined]
    assert seen(repo) == before


def test_a_name_that_was_taken_since_is_a_conflict(repo: Repository) -> None:
    repo.branch("name")
    repo.delete_run("name")
    number = repo.operation().number
    repo.branch("NAME")
    with pytest.raises(Conflict, match="already exists as 'NAME'"):
        repo.undo(number)


def test_the_run_that_was_checked_out_since_is_not_undone(repo: Repository) -> None:
    repo.branch("x")
    number = repo.operation().number
    repo.checkout("x")
    with pytest.raises(Conflict, match="run 'x' is checked out"):
        repo.undo(number)
    repo.checkout("main")
    repo.undo(number)
    assert list(repo.runs) == ["main"]


def test_undoing_a_branch_leaves_its_children_without_a_parent(repo: Repository) -> None:
    repo.branch("parent")
    number = repo.operation().number
    repo.branch("child", "parent")
    repo.undo(number)
    assert repo.runs["child"].parent is None
    repo.redo()
    assert repo.runs["child"].parent == "parent"


def test_a_transaction_is_one_operation_or_nothing(repo: Repository) -> None:
    before = seen(repo), titles(repo)
    with pytest.raises(NotFound), repo.transaction("tidy", "up"):
        repo.branch("x")
        assert list(repo.runs) == ["main", "x"]  # the block sees what it did
        repo.delete_run("none")
    assert (seen(repo), titles(repo)) == before
    with repo.transaction("tidy", "up"):
        repo.branch("x")
        repo.delete_run("x")
        repo.branch("y")
    assert titles(repo)[0] == "tidy up"
    assert [change.ref for change in repo.changes()] == ["runs/y"]
    repo.undo()
    assert (seen(repo)) == before[0]


# --- recorders ---------------------------------------------------------------------------------


def test_a_recording_session_is_one_operation(repo: Repository) -> None:
    before = seen(repo)
    with repo.recorder("long", flush_every=10) as rec:
        for i in range(500):
            rec.append(i)
    assert titles(repo)[0] == "recorder long"
    assert [change.ref for change in repo.changes()] == ["runs/long"]
    assert len(repo.reflog("long")) == 51
    repo.undo()
    assert seen(repo) == before
    repo.redo()
    assert repo.runs["long"].step == 499


def test_sessions_at_once_are_an_operation_each_however_often_they_flush(repo: Repository) -> None:
    names = [f"r{i}" for i in range(4)]
    recorders = [repo.recorder(name, flush_every=1) for name in names]
    for i in range(20):
        for rec in recorders:
            rec.append(i)
    count = len(repo.operations())
    assert count == 2 + 4
    repo.tag("between", "main")
    for rec in recorders:
        rec.append(1)
        rec.append(2)
        rec.close()
    assert len(repo.operations()) == count + 1 + 4
    then = repo.at_operation(count + 1)  # what was when the tag was made, exactly
    assert [then.runs[name].step for name in names] == [19] * 4
    assert [repo.runs[name].step for name in names] == [21] * 4


def test_a_run_that_is_being_written_is_not_undone(repo: Repository) -> None:
    with repo.recorder("live", flush_every=1) as rec:
        rec.append(1)
        number = repo.operation().number
        with pytest.raises(Conflict, match=f"run 'live' is being written by process {os.getpid()}"):
            repo.undo(number)
        with pytest.raises(Conflict, match="run 'live' is being written"):
            repo.restore_operation(1)
        assert repo.undo().command == "commit"  # without a number the session is passed over
        assert repo.redo().command == "commit"
    repo.undo(number)
    assert list(repo.runs) == ["main"]


def test_changing_a_run_that_is_being_written_can_be_undone(repo: Repository) -> None:
    with repo.recorder("live", flush_every=1) as rec:
        rec.append(1)
        repo.configure("live", {"lr": 1})
        rec.append(2)
        repo.undo()
        assert dict(repo.runs["live"].config) == {}
        assert repo.runs["live"].writer is not None
        rec.append(3)
    assert repo.runs["live"].step == 2


CRASHES = """
import os, sys, simgit
rec = simgit.Repository.open(sys.argv[1]).recorder('main', flush_every=1)
rec.append(1)
rec.append(2)
os._exit(9)
"""


@pytest.mark.slow
def test_what_another_program_recorded_is_undone_only_by_its_number(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.name_command("commit", "-o", "0")
        first = repo.commit(0)
    command = [sys.executable, "-c", CRASHES, tmp_path]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 9
    with Repository.open(tmp_path) as repo:
        assert repo.runs["main"].status == "crashed"
        session = repo.operation()
        assert session.title == "recorder main"
        with pytest.raises(Conflict, match="'runs/main' changed since"):
            repo.undo()  # of the commit, since a command may be undone by anybody
        repo.undo(session.number)
        info = repo.runs["main"]
        assert (info.oid, info.status, info.writer) == (first, "active", None)


# --- restore, and the past ---------------------------------------------------------------------


@pytest.mark.slow
def test_every_operation_can_be_looked_at_and_restored(repo: Repository) -> None:
    known = history(repo)
    for number, was in known.items():
        assert seen(repo.at_operation(number)) == was
    assert list(repo.at_operation(0).runs) == []
    for number in (3, 17, 9, 12, 2, 20, 6, 0, 11):
        repo.restore_operation(number)
        assert not repo.fsck().problems
        if number:
            assert seen(repo) == known[number]
        else:
            assert seen(repo) == {"runs": {}, "tags": {}, "head": "main", "attachments": {}}
    assert titles(repo)[0] == "op restore 11"
    repo.undo()
    assert list(repo.runs) == []
    repo.undo()
    assert seen(repo) == known[6]
    repo.redo()
    assert list(repo.runs) == []
    for number, was in known.items():
        assert seen(repo.at_operation(number)) == was


def test_the_past_cannot_be_written(repo: Repository) -> None:
    past = repo.at_operation(1)
    assert past.read_only
    with pytest.raises(
        StorageError, match="cannot write: the repository is shown as of operation 1"
    ):
        past.commit(1)
    assert past.resolve("main") == repo.resolve("main@0")
    assert [line.oid for line in past.log()] == [repo.resolve("main@0")]


def test_a_reflog_whose_beginning_has_expired_moves_with_its_run(tmp_path: Path) -> None:
    later = time.time_ns() + 200 * 24 * 3600 * 10**9
    with Repository.init(tmp_path) as repo:
        for i in range(5):
            repo.commit(i)
        repo.gc(clock=lambda: later)
        assert len(repo.reflog("main")) == 1
        repo.rename_run("main", "x")
        repo.commit(0, run="main")
        assert not repo.fsck().problems
        repo.undo()
        repo.undo()
        assert list(repo.runs) == ["main"]
        assert not repo.fsck().problems


def test_what_cannot_be_written_leaves_the_files_alone(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        for text in (b"one", b"two"):
            repo.commit(files={"file": text})
        repo.checkout("main~1")
        repo.checkout("main")
        for other in (Repository.open(tmp_path, read_only=True), repo.at_operation("@")):
            with pytest.raises(StorageError):
                other.undo()
            with pytest.raises(StorageError):
                other.checkout("main~1")
            assert (tmp_path / "file").read_bytes() == b"two"


@pytest.mark.parametrize("restore", [False, True])
def test_what_is_refused_leaves_the_files_alone(tmp_path: Path, restore: bool) -> None:
    with Repository.init(tmp_path) as repo:
        for text in (b"one", b"two"):
            repo.commit(files={"file": text})
        before = repo.operations()[0].number
        with repo.transaction("checkout", "-b", "try"):
            repo.branch("try", "main~1")
            repo.checkout("try")
        with repo.recorder("try"):  # which is why it cannot be undone
            with pytest.raises(Conflict, match="being written"):
                repo.restore_operation(before) if restore else repo.undo(before + 1)
            assert (tmp_path / "file").read_bytes() == b"one"
            assert repo.status().is_clean
        with pytest.raises(Conflict, match="local changes"):
            (tmp_path / "file").write_bytes(b"mine")
            repo.restore_operation(before)
        assert repo.head == "try"
        (tmp_path / "file").write_bytes(b"one")
        repo.restore_operation(before)
        assert repo.head == "main" and (tmp_path / "file").read_bytes() == b"two"


def test_what_gc_has_forgotten_is_not_shown_and_not_restored(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(1)
        repo.tag("v")
        repo.gc(expire=0)
        assert [each.number for each in repo.operations()] == [3, 2]  # the gc, and what it left
        for number in (0, 1):
            with pytest.raises(NotFound, match="too old"):
                repo.at_operation(number)
            with pytest.raises(NotFound, match="too old"):
                repo.restore_operation(number)
        with pytest.raises(NotFound, match="gc has removed"):
            repo.undo(2)
        with pytest.raises(NotFound, match="nothing to undo"):
            repo.undo()
        with pytest.raises(NotFound, match="it changed nothing"):
            repo.undo(3)
        repo.delete_tag("v")
        assert list(repo.at_operation(2).tags()) == ["v"]
        repo.restore_operation(2)
        assert list(repo.tags()) == ["v"] and repo.fsck().is_clean


def test_what_changed_nothing_cannot_be_undone(repo: Repository) -> None:
    with Journal(repo.odb.storage, repo.oplog, "nothing").write() as txn:
        txn._journal.mark(always=True)
    with pytest.raises(NotFound, match="it changed nothing"):
        repo.undo(repo.operation().number)


def test_the_past_is_looked_at_while_others_write(repo: Repository) -> None:
    repo.tag("v", "main~1")
    past = repo.at_operation("@")
    was = seen(past)
    repo.tag("w")
    repo.delete_tag("v")
    repo.commit(5)
    repo.checkout("main~1")
    assert seen(past) == was


def test_operations_are_named_by_number_or_from_the_newest(repo: Repository) -> None:
    repo.tag("v")
    assert repo.operation(1).arguments == ("first",)
    assert repo.operation("@").title == "tag v HEAD"
    assert repo.operation("@~1").number == repo.operation("@-").number == 2
    for text in ("4", "99", "@~9", 0):
        with pytest.raises(NotFound, match="not found"):
            repo.operation(text)
    for text in ("", "x", "-1", "@~", "1.5"):
        with pytest.raises(InvalidInput, match="is not an operation"):
            repo.operation(text)


# --- what is kept ------------------------------------------------------------------------------


@pytest.mark.slow
def test_old_operations_go_by_number_and_the_newest_stay_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Repository.init(":memory:") as repo:
        oid = repo.commit(0)
        repo.set_setting("oplog.keep", 150)
        for i in range(400):
            repo.tag("v", oid, force=True, message=str(i))
        numbers = [operation.number for operation in repo.operations()]
        assert 150 <= len(numbers) < 150 + 32
        assert numbers == list(range(401, 401 - len(numbers), -1))
        future = time.time_ns() + 10 * 365 * 24 * 3600 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda: future)
        for i in range(64):
            repo.tag("v", oid, force=True, message=f"later {i}")
        assert LEAST <= len(repo.operations()) < LEAST + 64
        monkeypatch.undo()  # and the clock goes back
        for i in range(64):
            repo.tag("v", oid, force=True, message=f"back {i}")
        assert len(repo.operations()) >= LEAST
        repo.undo()
        assert repo.tags()["v"][1].message == "back 62"  # type: ignore[union-attr]
        with pytest.raises(NotFound, match=r"\d+ to \d+ are kept"):
            repo.at_operation(1)
        with pytest.raises(NotFound):
            repo.restore_operation(0)
        assert not repo.fsck().problems


def test_a_clock_that_goes_back_changes_no_order(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(10**18, 0, -(10**15)))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    states = [seen(repo)]
    for i in range(5):
        repo.tag(f"t{i}")
        states.append(seen(repo))
    assert [o.number for o in repo.operations()] == [7, 6, 5, 4, 3, 2, 1]
    for was in states[-2::-1]:
        repo.undo()
        assert seen(repo) == was


def test_what_operations_name_is_among_the_roots(repo: Repository) -> None:
    gone = repo.commit(7, run="gone")
    target = repo.attach(gone, "note", b"bound")
    repo.tag("v", gone, message="noted")
    with repo.odb.read() as txn:
        bindings = [value for _, value in txn.scan("attachments")]
        record = repo.refs.run(txn, "gone").record
        note = repo.refs.tag(txn, "v").tag
    repo.delete_run("gone")
    repo.detach(gone, "note")
    repo.delete_tag("v")
    with repo.odb.read() as txn:
        roots = set(repo.oplog.roots(txn))
    assert {gone, record, note, *bindings} <= roots
    assert target not in roots  # the binding leads to it
    for _ in range(3):
        repo.undo()
    assert repo.attachment(gone, "note") == b"bound"


def test_what_an_operation_replaced_is_among_the_roots(repo: Repository) -> None:
    with repo.odb.read() as txn:
        record = repo.refs.run(txn, "main").record
    first = repo.resolve("main~1")
    repo.tag("v", first)
    repo.configure("main", {"lr": 1})
    repo.delete_tag("v")
    with repo.odb.write() as txn:
        repo.oplog.expire(txn, 0, 2, 2, 1000)  # only the last two are kept
    with repo.odb.read() as txn:
        assert {first, record} <= set(repo.oplog.roots(txn))


def test_a_journal_does_not_go_on_with_what_it_has_not_written(repo: Repository) -> None:
    journal = Journal(repo.odb.storage, repo.oplog, "shared")
    odb = repo.odb.on(journal)
    for name in ("a", "b", "c"):
        with odb.write() as txn:
            tip = repo.refs.run(txn, "main").oid
            assert tip is not None
            repo.refs.create_tag(txn, name, TagRef(tip))
        if name == "a":
            stale = journal.written
        if name == "b":
            journal.wrote(stale)  # as a thread sees it that another one has overtaken
    assert [operation.changes for operation in repo.operations()[:2]] == [1, 2]
    with pytest.raises(RuntimeError), odb.write() as txn:
        repo.refs.delete_tag(txn, "a")
        raise RuntimeError
    with odb.write() as txn:
        repo.refs.delete_tag(txn, "b")
    assert [operation.changes for operation in repo.operations()[:2]] == [2, 2]


def test_undo_refuses_to_bring_back_a_note_that_is_gone(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        oid = repo.commit(0)
        repo.tag("v", oid, message="noted")
        repo.delete_tag("v")
        with repo.odb.write() as txn:
            note = next(o for o in repo.oplog.roots(txn) if repo.odb.kind(txn, o) == "tag")
            assert repo.odb.drop(txn, note)
        with pytest.raises(NotFound, match=r"gc has removed '.*', the former 'tags/v'"):
            repo.undo()
        assert not repo.tags()


def test_an_import_is_one_operation(repo: Repository, tmp_path: Path) -> None:
    file = tmp_path / "file.bundle"
    with Repository.init(":memory:") as other:
        other.commit(5, run="theirs")
        other.attach("theirs", "note", b"hello")
        other.tag("v", "theirs")
        other.create_bundle(file, ["theirs", "v"])
    before = seen(repo)
    repo.import_bundle(file)
    assert repo.operation().command == "import"
    assert len(repo.changes()) == 3
    after = seen(repo)
    repo.undo()
    assert seen(repo) == before
    repo.redo()
    assert seen(repo) == after


def test_undo_refuses_to_bring_back_what_is_gone(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        oid = repo.commit(0)
        data = repo.attach(oid, "note", {"weights": np.zeros(3)})
        repo.detach(oid, "note")
        with repo.odb.write() as txn:
            assert repo.odb.drop(txn, data)
        with pytest.raises(NotFound, match="gc has removed the former attachment"):
            repo.undo()
        assert not repo.attachments(oid)


def test_settings_are_checked_and_can_go_back(repo: Repository) -> None:
    assert repo.settings().items() >= {"oplog.keep": 10000, "oplog.days": 90}.items()
    repo.set_setting("oplog.days", 1)
    assert repo.settings()["oplog.days"] == 1
    repo.set_setting("oplog.days", None)
    assert repo.settings()["oplog.days"] == 90
    for name, value in (
        ("oplog.keep", 1.5),
        ("oplog.keep", -1),
        ("other", 1),
        ("oplog.days", True),
    ):
        with pytest.raises(InvalidInput):
            repo.set_setting(name, value)


# --- the records -------------------------------------------------------------------------------


def test_operations_say_who_did_what_when(repo: Repository) -> None:
    before = time.time_ns()
    repo.branch("x", "main@0")
    operation = repo.operation()
    assert operation.title == "branch x main@0"
    assert before <= operation.time <= operation.until <= time.time_ns()
    assert operation.process == this_writer()
    assert operation.changes == 1
    (change,) = repo.changes()
    assert (change.ref, change.old) == ("runs/x", None)
    assert change.new is not None
    assert change.new["oid"] == repo.resolve("main@0")
    assert Operation.decode(operation.number, operation.encode()) == operation
    assert KeyChange.decode(change.encode()) == change


def test_long_arguments_are_shortened() -> None:
    found = shortened(("x" * 1000, *range(100), "\udcff"))
    assert len(found) == MAX_ARGUMENTS + 1
    assert found[0] == "x" * (MAX_ARGUMENT - 1) + "…"
    assert found[-1] == "…"
    assert shortened(("\udcff",)) == ("?",)


def test_a_forked_child_writes_an_operation_of_its_own(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.name_command("parent")
        repo.commit(0)
        child = os.fork()
        if child == 0:
            repo.commit(1, run="child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert len(repo.operations()) == 2
        pids = {operation.process["pid"] for operation in repo.operations()}
        assert pids == {os.getpid(), child}
        assert not repo.fsck().problems


def test_an_undo_whose_changes_are_forgotten_is_not_redone(repo: Repository) -> None:
    repo.commit(1)
    repo.commit(2)
    repo.undo()
    repo.gc(grace=0, expire=0)
    before = repo.operation().number
    with pytest.raises(NotFound, match="nothing to redo"):
        repo.redo()
    assert repo.operation().number == before


def _collect_after(monkeypatch: pytest.MonkeyPatch, method: str, directory: Path) -> None:
    """Let another process collect everything after a method of ``Undo`` is called first."""
    plan = getattr(Undo, method)
    calls = []

    def then_collect(self: Undo, *args: Any) -> Any:
        found = plan(self, *args)
        if not calls:
            calls.append(method)
            assert in_a_fork(lambda: Repository.open(directory).gc(grace=0, expire=0)) == 0
        return found

    monkeypatch.setattr(Undo, method, then_collect)


@pytest.mark.parametrize("last", ["commit", "rename", "attach", "tag", "checkout"])
@pytest.mark.parametrize("method", ["to_undo", "revert", "head_oid"])
def test_undo_fails_if_gc_removes_the_operation_at_the_same_time(
    last: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0)
        repo.branch("try", "main")
        match last:
            case "commit":
                repo.commit(1)
            case "rename":
                repo.rename_run("try", "other")
            case "attach":
                repo.attach("main", "x", b"1")
            case "tag":
                repo.tag("v")
            case "checkout":
                repo.checkout("try")
        before = seen(repo)
        _collect_after(monkeypatch, method, tmp_path)
        number = None if method == "to_undo" else repo.operations()[0].number
        with pytest.raises(NotFound):
            repo.undo(number)
        assert seen(repo) == before
        assert not repo.fsck().problems


@pytest.mark.parametrize("method", ["to_redo", "redo"])
def test_redo_fails_if_gc_removes_the_undo_at_the_same_time(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0)
        repo.commit(1)
        repo.undo()
        before = seen(repo)
        _collect_after(monkeypatch, method, tmp_path)
        with pytest.raises(NotFound):
            repo.redo()
        assert seen(repo) == before


def test_a_restore_fails_if_gc_removes_operations_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Repository.init(tmp_path) as repo:
        for value in range(4):
            repo.commit(value)
        before = seen(repo)
        _collect_after(monkeypatch, "restore", tmp_path)
        with pytest.raises(NotFound):
            repo.restore_operation(2)
        assert seen(repo) == before
