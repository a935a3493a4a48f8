"""A purged run is gone with its reflog and its states, and who keeps what is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simgit import Conflict, NotFound, Repository
from simgit.maintenance.gc.kept import KeptStates


def fill(repo: Repository, run: str, count: int, first: int = 0) -> None:
    with repo.recorder(run) as recorder:
        for i in range(count):
            recorder.append(observation=float(first + i), reward=1.0)


@pytest.fixture
def repo() -> Repository:
    """main with 10 states, and try with 5 more that begin after the sixth of them."""
    made = Repository.init(":memory:")
    fill(made, "main", 10)
    made.branch("try", "main@5")
    fill(made, "try", 5, 100)
    made.attach("try", "note", {"a": 1})
    return made


def test_a_purged_run_is_gone_with_its_reflog(repo: Repository) -> None:
    tip = repo.resolve("try")
    purged = repo.purge("try")
    assert (purged.runs, purged.states, purged.kept_states) == (("try",), 5, 6)
    assert purged.kept == {"runs/main": 6}
    assert tip not in repo and "try" not in repo.runs
    with pytest.raises(NotFound):
        repo.reflog("try")
    with repo.odb.read() as txn:
        assert not list(txn.scan("attachments")) and not list(txn.scan("pending"))
    with pytest.raises(NotFound):
        repo.undo()
    assert repo.trajectory("main").steps.tolist() == list(range(10))
    assert not repo.fsck().problems
    fill(repo, "try", 3, 200)
    assert len(repo.reflog("try")) == 2


def test_a_deleted_run_is_purged_too(repo: Repository) -> None:
    repo.delete_run("try")
    assert repo.gc(grace=0).removed.states == 0
    assert repo.kept() == KeptStates(reflogs=5)
    assert repo.purge("try").states == 5
    assert repo.kept() == KeptStates()
    with pytest.raises(NotFound, match="run 'try' not found"):
        repo.purge("try")


def test_whoever_keeps_states_is_named(repo: Repository) -> None:
    repo.tag("v1", "try@8")
    repo.branch("child", "try@7")
    repo.branch("other", "try@9")
    repo.reset("main@1", run="other")
    purged = repo.purge("try")
    assert purged.kept == {
        "runs/child": 8, "runs/main": 6, "runs/other": 2, "tags/v1": 9, "log: runs/other": 1,
    }  # fmt: skip
    assert (purged.states, purged.kept_states) == (1, 10)
    assert repo.runs["child"].parent is None
    assert repo.state("child").step == 7
    assert repo.gc(grace=0, expire=0).removed.states == 1
    assert not repo.fsck().problems


def test_what_others_have_deleted_keeps_its_grace_period(repo: Repository) -> None:
    repo.branch("lost", "main@2")
    fill(repo, "lost", 4, 300)
    tip = repo.resolve("lost")
    repo.delete_run("lost")
    repo.gc(expire=0)
    assert repo.kept() == KeptStates(grace=4)
    assert repo.purge("try").states == 5
    assert tip in repo and repo.kept() == KeptStates(grace=4)


def test_heads_reflog_forgets_the_run(repo: Repository) -> None:
    repo.checkout("try")
    fill(repo, "try", 2, 400)
    repo.checkout("main")
    before = [entry.message for entry in repo.reflog("HEAD")]
    assert repo.purge("try").states == 7
    assert [entry.message for entry in repo.reflog("HEAD")] == before
    assert repo.reflog("HEAD")[0].new == repo.resolve("main")
    assert not repo.fsck().problems


def test_runs_in_use_are_not_purged(repo: Repository) -> None:
    with pytest.raises(Conflict, match="run 'main' is checked out"):
        repo.purge("main")
    with repo.recorder("try") as recorder:
        recorder.append(observation=1.0)
        with pytest.raises(Conflict, match=f"is being written by process {os.getpid()}"):
            repo.purge("try")
    with pytest.raises(NotFound, match=r"run 'tyr' not found; did you mean 'try'\?"):
        repo.purge("tyr")
    with pytest.raises(NotFound, match=r"no run matches 'x\*'"):
        repo.purge("x*")
    assert repo.runs["try"].step == 11 and repo.runs["main"].step == 9


def test_the_only_runs_can_be_purged(repo: Repository) -> None:
    """There is no other one to check out."""
    repo.purge("main", "try")
    assert not list(repo.runs) and repo.head == "main" and repo.fsck().is_clean
    repo.commit(action=1)
    assert list(repo.runs) == ["main"]


def test_patterns_name_many_runs(repo: Repository) -> None:
    for i in range(3):
        repo.branch(f"sweep/{i}", "main")
        fill(repo, f"sweep/{i}", 2, 500 + 10 * i)
    repo.delete_run("sweep/2")
    assert repo.runs.matching("sweep/*", "main") == ["sweep/0", "sweep/1", "main"]
    assert {line.step for line in repo.log("sweep/*", "^main")} == {10, 11}
    assert repo.purge("sweep/*").states == 6


def test_space_is_given_back(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        fill(repo, "main", 3)
        with repo.recorder("big") as recorder:
            for _ in range(40):
                recorder.append(observation=os.urandom(50_000))
        repo.delete_run("big")
        repo.gc(grace=0)
        before = repo.size()
        purged = repo.purge("big")
        assert purged.states == 40 and purged.bytes > 1_500_000
        assert repo.size() == before - purged.bytes
