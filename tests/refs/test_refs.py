"""Refs: names, reflogs, compare-and-swap, renaming and deleting."""

from __future__ import annotations

import os

import pytest

from simgit import AlreadyExists, Conflict, InvalidInput, NotFound, Repository
from simgit.refs.names import check_name, fold
from simgit.storage.process import is_alive, this_writer


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.mark.parametrize(
    "name", ["main", "a/b/c", "feature-1", "é", "a.b", "a@b", "@a", "x" * 200, "1", "a{b", "lock"]
)
def test_names_that_git_allows_are_allowed(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "@", "HEAD", ".a", "a/.b", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b",
        "a\x7f", "a\n", "/a", "a/", "a//b", "a.", "a.lock", "a.lock/b", "a@{1}", "-a", "a@2",
        "a@ep3", "a@ep3.4", "x" * 201, "é" * 101, "a\u200b", "a\ud800",
    ],
)  # fmt: skip
def test_names_that_git_forbids_or_revisions_need_are_refused(repo: Repository, name: str) -> None:
    repo.commit(1)
    for action in (lambda: repo.branch(name, "main"), lambda: repo.tag(name, "main")):
        with pytest.raises(InvalidInput, match="not a valid name|Unicode text"):
            action()


@pytest.mark.parametrize(
    ("a", "b"), [("Main", "main"), ("é", "e\u0301"), ("STRASSE", "straße"), ("Å", "å")]
)
def test_names_that_differ_only_in_case_or_form_cannot_coexist(
    repo: Repository, a: str, b: str
) -> None:
    assert fold(a) == fold(b)
    repo.commit(1, run="x")
    repo.checkout("x")
    repo.branch(a, "x")
    with pytest.raises(AlreadyExists, match="must differ in more"):
        repo.branch(b, "x")
    repo.tag(b, "x")
    with pytest.raises(AlreadyExists):
        repo.tag(a, "x")
    repo.rename_run(a, b)
    assert list(repo.runs) == sorted([b, "x"])
    repo.delete_run(b)
    repo.branch(a, "x")


def test_a_reflog_tells_what_a_run_was(repo: Repository) -> None:
    oids = [repo.commit(i, message=f"m{i}") for i in range(3)]
    entries = repo.reflog("main")
    assert [entry.new for entry in entries] == [*reversed(oids), None]
    assert [entry.old for entry in entries] == [oids[1], oids[0], None, None]
    assert entries[0].message == "commit: m2"
    assert [repo.resolve(f"main@{{{i}}}") for i in range(3)] == oids[::-1]
    with pytest.raises(NotFound):
        repo.resolve("main@{3}")
    assert [entry.new for entry in repo.reflog("HEAD")][:3] == oids[::-1]


def test_a_renamed_run_keeps_its_reflog_and_that_of_a_deleted_one(repo: Repository) -> None:
    first = [repo.commit(i, run="b") for i in range(5)]
    repo.delete_run("b")
    second = [repo.commit(10 + i, run="a") for i in range(2)]
    repo.rename_run("a", "b")
    found = [entry.new for entry in repo.reflog("b")]
    assert found[:3] == [second[1], *second[::-1]]
    assert found[-6:-1] == first[::-1]
    assert repo.resolve("b@{2}") == second[0]
    with pytest.raises(NotFound):
        repo.reflog("a")
    repo.commit(20, run="a")
    assert len(repo.reflog("a")) == 2


def test_renaming_a_run_to_itself_changes_nothing_but_the_reflog(repo: Repository) -> None:
    oids = [repo.commit(i) for i in range(3)]
    repo.rename_run("main", "main")
    assert [e.new for e in repo.reflog("main")] == [oids[2], *oids[::-1], None]
    assert repo.head == "main"


def test_renaming_onto_another_run_is_refused_and_changes_nothing(repo: Repository) -> None:
    repo.commit(1, run="a")
    repo.commit(2, run="b")
    with pytest.raises(AlreadyExists):
        repo.rename_run("a", "b")
    assert list(repo.runs) == ["a", "b"]
    assert len(repo.reflog("a")) == 2


def test_a_deleted_run_is_nobodys_parent(repo: Repository) -> None:
    repo.commit(1, run="b")
    repo.branch("a", "b")
    assert repo.runs["a"].parent == "b"
    repo.rename_run("b", "c")
    assert repo.runs["a"].parent == "c"
    repo.delete_run("c")
    repo.branch("c", "a")
    assert [info.name for info in repo.lineage("c")] == ["c", "a"]
    assert [info.name for info in repo.lineage("a")] == ["a"]


def test_head_follows_a_renamed_run_and_a_checked_out_one_cannot_be_deleted(
    repo: Repository,
) -> None:
    repo.commit(1)
    repo.rename_run("main", "trunk")
    assert repo.head == "trunk"
    with pytest.raises(Conflict):
        repo.delete_run("trunk")


def test_a_run_that_is_being_written_is_deleted_only_by_force(repo: Repository) -> None:
    rec = repo.recorder("a")
    rec.append(1)
    rec.flush()
    with pytest.raises(Conflict):
        repo.delete_run("a")
    repo.delete_run("a", force=True)
    rec.close()


def test_a_ref_that_moved_is_not_overwritten(repo: Repository) -> None:
    repo.commit(1)
    with repo.odb.read() as txn:
        old = repo.refs.run(txn, "main")
    repo.commit(2)
    with pytest.raises(Conflict), repo.odb.write() as txn:
        repo.refs.update_run(txn, "main", old, old._replace(status="paused"), "x")


def test_this_process_is_alive_and_others_are_not() -> None:
    assert is_alive(this_writer())
    assert not is_alive({**this_writer(), "start": "0"})
    assert not is_alive({**this_writer(), "pid": 2**22 + 1})
    assert is_alive({**this_writer(), "machine": "elsewhere 0000"})
    child = os.fork()
    if child == 0:
        os._exit(0)
    writer = {**this_writer(), "pid": child}
    os.waitpid(child, 0)
    assert not is_alive(writer)


def test_tags_move_only_by_force(repo: Repository) -> None:
    first, second = repo.commit(1), repo.commit(2)
    repo.tag("v1", first, message="the first", tagger="me")
    with pytest.raises(AlreadyExists):
        repo.tag("v1", second)
    oid, note = repo.tags()["v1"]
    assert (oid, note and note.message) == (first, "the first")
    repo.tag("v1", second, force=True)
    assert repo.tags() == {"v1": (second, None)}
    assert [entry.new for entry in repo.reflog("tags/v1")] == [second, first]
    repo.delete_tag("v1")
    with pytest.raises(NotFound):
        repo.resolve("v1")
