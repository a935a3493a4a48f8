"""A run moved to another state goes on under its name, and what it leaves can be brought back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simgit import Conflict, InvalidInput, NotFound, Oid, Repository


@pytest.fixture
def repo() -> Repository:
    made = Repository.init(":memory:")
    with made.recorder("main", config={"lr": 1}, flush_every=2) as recorder:
        for i in range(10):
            recorder.append(observation=float(i), reward=1.0)
    return made


def test_a_run_goes_on_from_an_earlier_state(repo: Repository) -> None:
    tip, middle = repo.resolve("main"), repo.resolve("main@5")
    assert repo.reset("main@5") == middle
    info = repo.runs["main"]
    assert (info.oid, info.step, info.return_, dict(info.config)) == (middle, 5, 6.0, {"lr": 1})
    assert repo.resolve("main@{1}") == tip and repo.resolve("HEAD@{1}") == tip
    assert repo.reflog("main")[0].message == "reset: moving to main@5"
    with repo.recorder() as recorder:
        recorder.append(observation=-1.0, reward=1.0)
    assert repo.parents("main")[0].oid == middle
    assert [line.step for line in repo.log("main")] == list(range(6, -1, -1))


def test_undo_returns_and_gc_keeps_what_was_left(repo: Repository) -> None:
    tip = repo.resolve("main")
    repo.attach(tip, "note", {"a": 1})
    repo.reset("main@5")
    repo.gc(grace=0)
    assert repo.attachment("main@{1}", "note") == {"a": 1}
    repo.undo()
    assert repo.resolve("main") == tip
    repo.redo()
    repo.gc(grace=0, expire=0)
    assert tip not in repo
    assert not repo.fsck().problems


def test_a_run_that_is_written_is_not_moved(repo: Repository) -> None:
    repo.branch("other", "main")
    with repo.recorder("other") as recorder:
        recorder.append(observation=0.0)
        for move in (
            lambda: repo.reset("main@5", run="other"),
            lambda: repo.branch("other", "main@5", force=True),
        ):
            with pytest.raises(
                Conflict, match=f"is being written by process {os.getpid()}"
            ) as caught:
                move()
            assert caught.value.pid == os.getpid()  # type: ignore[attr-defined]
    assert repo.runs["other"].step == 10
    repo.reset("main@5", run="other")
    assert repo.runs["other"].step == 5


def test_a_completed_run_is_not_moved(repo: Repository) -> None:
    repo.set_status("main", "completed")
    with pytest.raises(InvalidInput, match="run 'main' is completed; reopen it with"):
        repo.reset("main@5")
    repo.set_status("main", "failed")
    repo.reset("main@5")
    assert (repo.runs["main"].status, repo.runs["main"].ended) == ("active", None)


def test_branch_moves_any_run_but_heads(repo: Repository) -> None:
    repo.branch("try", "main@3", overrides={"lr": 2})
    repo.branch("try", "main@7", force=True)
    assert (repo.runs["try"].step, repo.config("try")) == (7, {"lr": 2})
    assert repo.reflog("try")[0].message == "branch: reset to main@7"
    with pytest.raises(Conflict, match="'main' is checked out; 'simgit reset main@5' moves it"):
        repo.branch("main", "main@5", force=True)
    with pytest.raises(InvalidInput, match="keeps its settings when it is moved"):
        repo.branch("try", "main@5", overrides={"lr": 3}, force=True)
    assert repo.branch("new", "main@5", overrides={"lr": 3}, force=True) == repo.resolve("new")
    assert repo.config("new") == {"lr": 3}


def test_the_branch_point_stays_in_the_history(repo: Repository) -> None:
    repo.branch("try", "main@5")
    with repo.recorder("try") as recorder:
        for i in range(4):
            recorder.append(observation=float(-i))
    point = repo.resolve("main@5")
    repo.reset("try@7", run="try")
    assert (repo.runs["try"].branch_point, repo.runs["try"].parent) == (point, "main")
    repo.reset("try@3", run="try")
    assert (repo.runs["try"].branch_point, repo.runs["try"].parent) == (
        repo.resolve("main@3"), "main",
    )  # fmt: skip
    repo.reset("main@8", run="try")
    assert (repo.runs["try"].branch_point, repo.runs["try"].parent) == (
        repo.resolve("main@8"), "main",
    )  # fmt: skip


def test_two_runs_are_never_each_others_parent(repo: Repository) -> None:
    repo.branch("try", "main@5")
    repo.commit(observation=1.0, run="try")
    repo.reset("try", run="main")
    assert repo.runs["main"].parent is None
    assert [info.name for info in repo.lineage("try")] == ["try", "main"]
    assert [info.name for info in repo.lineage("main")] == ["main"]


def test_a_detached_head_moves_alone(repo: Repository) -> None:
    repo.checkout("main@5")
    repo.reset("main@2")
    assert repo.head == repo.resolve("main@2") and repo.runs["main"].step == 9


def test_what_is_not_there_is_not_moved(repo: Repository) -> None:
    with pytest.raises(NotFound, match="run 'nope' not found"):
        repo.reset("main", run="nope")
    with pytest.raises(NotFound):
        repo.reset("main@99")
    with pytest.raises(NotFound):
        repo.reset(Oid(bytes(32)))
    assert len(repo.reflog("main")) == 6


def test_files_stay_unless_the_reset_is_hard(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    file = tmp_path / "a.txt"
    for text in ("one", "two"):
        file.write_text(text)
        repo.commit(files={"a.txt": file}, action=0)
    repo.reset("main~1")
    assert file.read_text() == "two" and repo.status().modified == ("a.txt",)
    repo.undo()
    assert file.read_text() == "two" and repo.status().is_clean
    file.write_text("mine")
    repo.reset("main~1", hard=True)
    assert file.read_text() == "one" and repo.status().is_clean
    repo.undo()
    assert file.read_text() == "two" and repo.status().is_clean
    repo.branch("try")
    with pytest.raises(InvalidInput, match="run 'try' is not checked out"):
        repo.reset("main~1", run="try", hard=True)
    repo.set_status("main", "completed")
    with pytest.raises(InvalidInput):
        repo.reset("main~1", hard=True)
    assert file.read_text() == "two"
    repo.close()
