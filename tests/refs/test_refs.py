"""Refs: names, reflogs, compare-and-swap, renaming and deleting."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit import AlreadyExists, Conflict, InvalidInput, NotFound, Repository
from simgit.process import is_alive, this_writer
from simgit.refs.names import check_name, check_ref_name, fold
from tests.support import examples


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.mark.parametrize(
    "name", ["main", "a/b/c", "feature-1", "é", "a.b", "a@b", "@a", "x" * 200, "1", "a{b", "lock"]
)
def test_names_that_git_allows_are_allowed(name: str) -> None:
    assert check_ref_name(name) == check_name(name, "a run") == name


@pytest.mark.parametrize(
    "name",
    [
        "", "@", "HEAD", ".a", "a/.b", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b",
        "a\x7f", "a\n", "/a", "a/", "a//b", "a.", "a.lock", "a.lock/b", "a@{1}", "-a", "a@2",
        "a@ep3", "a@ep3.4", "x" * 201, "é" * 101, "a\u200b", "a\ud800",
        "ab" * 32, "AB" * 32, "runs/a", "tags/a", "tags/tags/a", "a{auto}", "a/%d", "%04d",
    ],
)  # fmt: skip
def test_names_that_git_forbids_or_revisions_need_are_refused(repo: Repository, name: str) -> None:
    repo.commit(1)
    for action in (lambda: repo.branch(name, "main"), lambda: repo.tag(name, "main")):
        with pytest.raises(InvalidInput, match=r"not a valid name|Unicode text"):
            action()


@pytest.mark.parametrize(
    ("name", "works"),
    [
        ("ppo lr=0.1", "ppo-lr=0.1"), ("a:b", "a-b"), ("main@5", "main-5"), ("runs/a", "a"),
        ("ab" * 32, "run-" + "ab" * 6), ("HEAD", "head"), (".git", "git"), ("a/b.lock", "a/b"),
        ("sweep/{auto}", "sweep/1"), ("tags/runs/@{u}", "u}"), ("a\n", "a"), ("a//b", "a/b"),
        ("x" * 300, "x" * 200),
    ],
)  # fmt: skip
def test_the_error_for_a_name_has_one_that_works(repo: Repository, name: str, works: str) -> None:
    actions: list[Any] = [lambda: repo.commit(1, run=name)]
    if "{auto}" not in name:
        actions.append(lambda: repo.recorder(name))
    for action in actions:
        with pytest.raises(InvalidInput) as caught:
            action()
        assert str(caught.value).endswith(f"; use '{works}'")
    assert not repo.runs


@given(st.text(max_size=250))
def test_a_name_is_allowed_or_the_error_has_one_that_is_or_none(name: str) -> None:
    try:
        assert check_ref_name(name) == name
    except InvalidInput as error:
        assert "\n" not in str(error).replace(name, "")
        _, marked, hint = str(error).rpartition("; use '")
        if marked:
            assert check_ref_name(hint[:-1]) == hint[:-1]


@settings(max_examples=examples.share(50))
@given(st.text(st.sampled_from("ab.@/{}:~^-0e5p HEAD'"), min_size=1, max_size=8))
def test_a_name_that_is_allowed_is_a_revision_that_names_its_run(name: str) -> None:
    repo = Repository.init(":memory:")
    try:
        first = repo.commit(1, run=name)
    except InvalidInput:
        return
    repo.commit(2, run=name)
    tip = repo.commit(3, run=name)
    assert repo.resolve(name) == repo.resolve(f"runs/{name}") == tip
    assert repo.resolve(f"{name}@0") == repo.resolve(f"{name}~2") == first
    assert repo.resolve(f"{name}@{{0}}") == tip
    assert next(iter(repo.log(f"{first}..{name}"))).oid == tip


def test_a_tag_and_a_run_cannot_have_one_name(repo: Repository) -> None:
    repo.commit(1)
    repo.tag("v1", "main")
    for action in (
        lambda: repo.branch("v1", "main"),
        lambda: repo.commit(2, run="v1"),
        lambda: repo.recorder("v1"),
        lambda: repo.recorder(["a", "v1"]),
        lambda: repo.rename_run("main", "v1"),
        lambda: repo.tag("main", "main"),
        lambda: repo.tag("main", "main", force=True),
    ):
        with pytest.raises(AlreadyExists, match=r"ambiguous; use '(v1-run|main-tag)'$"):
            action()
    assert set(repo.runs) == {"main"}
    assert set(repo.tags()) == {"v1"}
    repo.tag("v1", "main", force=True)
    repo.delete_tag("v1")
    repo.branch("v1", "main")
    with pytest.raises(AlreadyExists):
        repo.tag("v1", "main")


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
    repo.tag(f"t/{b}", "x")
    with pytest.raises(AlreadyExists):
        repo.tag(f"t/{a}", "x")
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
    repo.delete_run("b")  # the only one
    assert repo.head == "b"
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
    repo.delete_run("c", force=True)
    assert repo.head == "c"
    repo.branch("c", "a")
    assert [info.name for info in repo.lineage("c")] == ["c", "a"]
    assert [info.name for info in repo.lineage("a")] == ["a"]


def test_head_follows_a_renamed_run_and_a_checked_out_one_cannot_be_deleted(
    repo: Repository,
) -> None:
    repo.commit(1)
    repo.rename_run("main", "trunk")
    assert repo.head == "trunk"
    repo.branch("other", "trunk")
    with pytest.raises(Conflict):
        repo.delete_run("trunk")
    repo.delete_run("other")
    repo.delete_run("trunk")  # there is no other one to check out
    assert repo.head == "trunk"
    assert not repo.runs


def test_a_run_that_is_being_written_is_deleted_only_by_force(repo: Repository) -> None:
    rec = repo.recorder("a")
    rec.append(1)
    rec.flush()
    repo.commit(1, run="b")
    repo.checkout("b")
    with pytest.raises(Conflict, match="being written"):
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


def test_names_that_were_allowed_before_are_imported_under_a_prefix_or_kept_aside() -> None:
    """A bundle of an older version may have a run that is named like an oid, or like a tag."""
    source, target, bundle = Repository.init(":memory:"), Repository.init(":memory:"), io.BytesIO()
    tip = source.commit(1, run="a")
    source.tag("t", "a")
    with source.odb.write() as txn:
        txn.put("refs", b"tags/a", txn.get("refs", b"tags/t") or b"")
        for name in (b"ab" * 32, b"runs/x"):
            txn.put("refs", b"runs/" + name, txn.get("refs", b"runs/a") or b"")
    source.create_bundle(bundle, ["runs/a", "tags/a", "tags/t", "ab" * 32, "runs/runs/x"])
    for rename, prefix in ((None, ""), (None, "runs/"), (None, "a "), ("cd" * 32, "")):
        bundle.seek(0)
        with pytest.raises(InvalidInput):
            target.import_bundle(bundle, prefix=prefix, rename=rename)
    assert not target.runs
    bundle.seek(0)
    found = target.import_bundle(bundle, prefix="from/").refs
    assert {name: each.name for name, each in found.items()} == {
        "runs/a": "runs/from/a", f"runs/{'ab' * 32}": f"runs/from/{'ab' * 32}",
        "runs/runs/x": "runs/from/runs/x", "tags/t": "tags/from/t",
        "tags/a": "tags/from/a.conflict-1",
    }  # fmt: skip
    assert target.resolve("from/a") == target.resolve("from/a.conflict-1") == tip
    assert target.head == "from/a"  # the first one: its own does not exist
    assert target.resolve("HEAD") == tip
