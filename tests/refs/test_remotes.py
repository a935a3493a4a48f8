"""Remote-tracking refs are named by revisions, logged, undone and branched from, and are no runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simgit import AlreadyExists, Conflict, InvalidInput, NotFound, Repository
from simgit.refs.names import check_remote_name
from simgit.refs.records import RunRef
from simgit.refs.remotes import (
    delete_remote_run,
    remote_run,
    remote_runs,
    run_refs,
    set_remote_run,
)
from tests.support.tracking import forget, track, tracked


@pytest.fixture(params=["disk", "memory"])
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    """Three episodes on main, of which origin/main has two; origin/far is nowhere else."""
    with Repository.init(":memory:" if request.param == "memory" else tmp_path) as repo:
        with repo.recorder("main", config={"agent": {"lr": 0.5}, "size": 3}) as rec:
            for length in (4, 3, 5):
                for i in range(length):
                    rec.append(length * 10 + i, reset=i == 0, reward=1.0)
        track(repo, "origin/main", "main", "main@3")
        track(repo, "origin/main", "main", "main@6")
        repo.branch("far", "main@5", overrides={"agent.lr": 0.1})
        repo.commit(100, run="far")
        track(repo, "origin/far", "far")
        repo.delete_run("far")
        yield repo


@pytest.mark.parametrize(
    ("revision", "observation"),
    [
        ("origin/main", 32),
        ("remotes/origin/main", 32),
        ("origin/main~2", 30),
        ("origin/main^", 31),
        ("origin/main@4", 30),
        ("origin/main@ep2", 30),
        ("origin/main@ep2.1", 31),
        ("origin/main@{0}", 32),
        ("origin/main@{1}", 43),
        ("remotes/origin/main@{1}~", 42),
        ("origin/far", 100),
        ("remotes/origin/far@3", 43),
    ],
)
def test_revisions_name_them(repo: Repository, revision: str, observation: int) -> None:
    state = repo.state(revision)
    assert state.observation == observation
    assert state.run is None


def test_ranges_and_logs_go_from_one_to_another(repo: Repository) -> None:
    assert repo.trajectory("origin/main..main").steps.tolist() == [7, 8, 9, 10, 11]
    assert [line.step for line in repo.log("main", "^origin/main")] == [11, 10, 9, 8, 7]
    assert repo.resolve("origin/far") in {line.oid for line in repo.log(every=True)}


def test_wrong_names_are_said_with_the_nearest(repo: Repository) -> None:
    with pytest.raises(NotFound, match="did you mean 'origin/main'"):
        repo.resolve("origin/maim")
    with pytest.raises(NotFound, match="did you mean 'origin/far'"):
        repo.resolve("remotes/origin/fax")
    with pytest.raises(NotFound, match="reflog of 'remotes/origin/main' is shorter"):
        repo.resolve("origin/main@{7}")


@pytest.mark.parametrize("kind", ["runs", "tags"])
def test_a_run_or_a_tag_of_the_same_name_makes_it_ambiguous(repo: Repository, kind: str) -> None:
    repo.branch("x", "main@1") if kind == "runs" else repo.tag("x", "main@1")
    with repo.odb.write() as txn:  # as older versions, or a remote added later, allow it
        value = txn.get("refs", f"{kind}/x".encode())
        txn.put("refs", f"{kind}/origin/main".encode(), value or b"")
    with pytest.raises(InvalidInput, match="ambiguous") as error:
        repo.resolve("origin/main")
    assert error.value.candidates == [f"{kind}/origin/main", "remotes/origin/main"]
    assert repo.state("remotes/origin/main").observation == 32
    assert repo.state(f"{kind}/origin/main").observation == 41


def test_no_new_run_or_tag_takes_the_name(repo: Repository) -> None:
    for make in (
        lambda: repo.branch("origin/main", "main"),
        lambda: repo.tag("origin/main", "main"),
        lambda: repo.recorder("origin/main"),
        lambda: repo.commit(1, run="origin/main"),
        lambda: repo.rename_run("main", "origin/main"),
    ):
        with pytest.raises(AlreadyExists, match="remote-tracking ref 'origin/main'"):
            make()
    with pytest.raises(InvalidInput, match=r"begins with 'remotes/'.*use 'origin/main'"):
        repo.branch("remotes/origin/main", "main")
    assert list(repo.runs) == ["main"] and repo.tags() == {}


def test_they_are_no_runs(repo: Repository) -> None:
    assert list(repo.runs) == ["main"] and "origin/main" not in repo.runs
    with pytest.raises(NotFound):
        repo.runs["origin/main"]
    assert repo.contains("main@2") == ["main"]


def test_a_branch_has_the_configuration_of_the_run_there(repo: Repository) -> None:
    repo.branch("mine", "origin/far~1", overrides={"size": 4})
    info = repo.runs["mine"]
    assert info.config == {"agent": {"lr": 0.1}, "size": 4}
    assert info.parent is None and info.branch_point == repo.resolve("origin/far~1")
    repo.branch("other", "origin/main@{1}")
    assert repo.runs["other"].config == {"agent": {"lr": 0.5}, "size": 3}
    forget(repo, "origin/far")
    assert repo.runs["mine"].config == {"agent": {"lr": 0.1}, "size": 4}


def test_head_is_detached_there(repo: Repository) -> None:
    oid = repo.checkout("origin/far")
    assert repo.head == oid == repo.resolve("origin/far")
    assert repo.reflog()[0].message == "checkout: moving from main to origin/far"
    repo.checkout("main")
    repo.checkout("@{-1}")
    assert repo.head == oid


def test_decorations_have_them_after_runs_and_tags(repo: Repository) -> None:
    repo.tag("v1", "main@6")
    repo.branch("b", "main@6")
    found = repo.decorations()
    assert found[repo.resolve("v1")] == ["runs/b", "tags/v1", "remotes/origin/main"]


def test_the_reflog_outlives_the_ref(repo: Repository) -> None:
    news = [repo.resolve("main@6"), repo.resolve("main@3")]
    assert [entry.new for entry in repo.reflog("origin/main")] == news
    forget(repo, "origin/main")
    with pytest.raises(NotFound):
        repo.resolve("origin/main")
    assert repo.resolve("origin/main@{1}") == news[0]
    assert [entry.new for entry in repo.reflog("remotes/origin/main")] == [None, *news]


def test_what_has_not_changed_is_not_noted(repo: Repository) -> None:
    before = repo.operations()
    track(repo, "origin/main", "main", "main@6")
    assert repo.operations() == before
    assert len(repo.reflog("origin/main")) == 2


def test_operations_on_them_are_undone_redone_and_looked_at(repo: Repository) -> None:
    before = tracked(repo)
    number = repo.operations(1)[0].number
    track(repo, "origin/main", "main")
    track(repo, "other/new", "main", "main@1")
    after = tracked(repo)
    assert after == before | {
        "origin/main": repo.resolve("main"), "other/new": repo.resolve("main@1")
    }  # fmt: skip
    assert tracked(repo.at_operation(number)) == before
    assert repo.at_operation(number).state("origin/main").step == 6
    repo.undo()
    repo.undo()
    assert tracked(repo) == before
    assert repo.reflog("origin/main")[0].message.startswith("undo: ")
    repo.redo()
    repo.redo()
    assert tracked(repo) == after
    repo.restore_operation(number)
    assert tracked(repo) == before
    forget(repo, "origin/far")
    repo.undo()
    assert tracked(repo) == before
    with repo.odb.read() as txn:
        assert remote_run(txn, "origin", "far").episodes == 2
    assert repo.fsck().is_clean


def test_an_undo_of_what_was_fetched_again_is_refused(repo: Repository) -> None:
    track(repo, "origin/main", "main", "main@8")
    number = repo.operations(1)[0].number
    track(repo, "origin/main", "main", "main@9")
    with pytest.raises(Conflict, match="'remotes/origin/main' changed since"):
        repo.undo(number)


def test_names_that_differ_in_case_stand_side_by_side(repo: Repository) -> None:
    track(repo, "origin/Main", "main", "main@1")
    assert repo.state("origin/Main").step == 1 and repo.state("origin/main").step == 6
    assert repo.fsck().is_clean
    forget(repo, "origin/Main")
    repo.undo()
    assert repo.state("origin/Main").step == 1


def test_they_are_listed_by_remote(repo: Repository) -> None:
    track(repo, "ori/main", "main")
    track(repo, "z/worker/17", "main", "main@0")
    with repo.odb.read() as txn:
        named = [(remote, name) for remote, name, _ in remote_runs(txn)]
        assert named == [("ori", "main"), ("origin", "far"), ("origin", "main"), ("z", "worker/17")]
        assert [name for _, name, _ in remote_runs(txn, "origin")] == ["far", "main"]
        assert list(remote_runs(txn, "o")) == []
        assert [name for name, _ in run_refs(txn)][:2] == ["runs/main", "remotes/ori/main"]
        assert remote_run(txn, "z", "worker/17").step == 0
        with pytest.raises(NotFound, match=r"'origin/mian' not found; did you mean 'origin/main'"):
            remote_run(txn, "origin", "mian")


def test_a_writer_is_left_out(repo: Repository) -> None:
    with repo.recorder("busy") as recorder:
        recorder.append(1)
        recorder.flush()
        track(repo, "origin/busy", "busy")
        with repo.odb.read() as txn:
            assert repo.refs.run(txn, "busy").writer is not None
            assert remote_run(txn, "origin", "busy").writer is None


@pytest.mark.parametrize("name", ["origin", "a", "o.r_i-g1n", "0", "x" * 50, "Runs"])
def test_names_that_a_remote_may_have(name: str) -> None:
    assert check_remote_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "runs", "tags", "remotes", "HEAD", "a/b", "x" * 51, "a..b", "-a", ".a", "a.", "a.lock",
     "ä", "a b", "a@{1", "a~", "a@5", "_a"],
)  # fmt: skip
def test_names_that_a_remote_may_not_have(repo: Repository, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a valid name for a remote"):
        check_remote_name(name)
    with repo.odb.write() as txn, pytest.raises(InvalidInput):
        set_remote_run(txn, name, "main", RunRef(None, 0, 0, repo.resolve("main")), "fetch")


@pytest.mark.parametrize("name", ["", "a..b", "main@5", "x" * 201, "a//b", "ends.lock"])
def test_names_that_a_run_of_a_remote_may_not_have(repo: Repository, name: str) -> None:
    with repo.odb.write() as txn:
        with pytest.raises(InvalidInput, match="is not a valid name for a run of a remote"):
            set_remote_run(txn, "origin", name, RunRef(None, 0, 0, repo.resolve("main")), "fetch")
        with pytest.raises(NotFound):
            delete_remote_run(txn, "origin", name, "")


def test_a_run_without_states_is_known_too(repo: Repository) -> None:
    repo.create_run("empty")
    with repo._store.write("fetch", "origin") as txn:
        set_remote_run(txn, "origin", "empty", repo.refs.run(txn, "empty"), "fetch")
    assert tracked(repo)["origin/empty"] is None
    with pytest.raises(NotFound, match="run 'origin/empty' has no states yet"):
        repo.resolve("origin/empty")
    repo.undo()
    assert "origin/empty" not in tracked(repo)


def test_a_clone_has_them(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "a") as repo:
        repo.commit(1)
        repo.commit(2)
        track(repo, "origin/main", "main", "main@0")
    with Repository.clone(tmp_path / "a", tmp_path / "b") as copy:
        assert copy.state("origin/main").step == 0
        assert copy.fsck().is_clean
