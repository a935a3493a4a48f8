"""Runs read as a mapping, and a repository answers ``in``, but is neither iterable nor sized."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from simgit import NotFound, Repository
from simgit.refs.runs import RunInfo


@pytest.fixture
def repo() -> Repository:
    repo = Repository.init(":memory:")
    repo.commit(1, run="main")
    repo.branch("b", "main")
    repo.commit(2, run="a/x")
    return repo


def test_a_run_is_found_by_its_name(repo: Repository) -> None:
    assert repo.run("main") == repo.runs["main"]
    with pytest.raises(NotFound, match="run 'mian' not found; did you mean 'main'"):
        repo.run("mian")


def test_runs_are_a_mapping_in_the_order_of_their_names(repo: Repository) -> None:
    assert isinstance(repo.runs, Mapping)
    assert list(repo.runs) == list(repo.runs.keys()) == ["a/x", "b", "main"]
    assert len(repo.runs) == 3 and repo.runs
    assert [run.name for run in repo.runs.values()] == list(repo.runs)
    assert dict(repo.runs.items()) == {name: repo.runs[name] for name in repo.runs} == repo.runs
    assert isinstance(repo.runs["main"], RunInfo)
    assert repo.runs["b"].parent == "main"


def test_a_run_that_is_not_there_is_a_key_error(repo: Repository) -> None:
    assert "b" in repo.runs and "c" not in repo.runs
    assert 1 not in repo.runs
    assert repo.runs.get("c") is None
    for error in (KeyError, NotFound):
        with pytest.raises(error, match="'c'"):
            repo.runs["c"]


def test_a_view_of_the_runs_reads_what_is_there_now(repo: Repository) -> None:
    runs = repo.runs
    repo.delete_run("b")
    repo.commit(3, run="main")
    assert list(runs) == ["a/x", "main"] and runs["main"].step == 1
    for name in runs:  # those that there were when the loop began
        repo.branch(f"{name}-copy", name)
    assert list(runs) == ["a/x", "a/x-copy", "main", "main-copy"]


def test_a_view_sees_what_its_transaction_has_written(repo: Repository) -> None:
    with pytest.raises(RuntimeError), repo.transaction():
        repo.delete_run("b")
        assert "b" not in repo.runs and list(repo.runs) == ["a/x", "main"]
        raise RuntimeError
    assert "b" in repo.runs


def test_all_runs_come_from_one_snapshot(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo, Repository.open(tmp_path) as other:
        for name in "abc":
            repo.commit(1, run=name)
        items = iter(repo.runs.items())
        assert next(items)[0] == "a"
        other.delete_run("c")  # a mapping that reads run by run would raise a KeyError
        assert [name for name, _ in items] == ["b", "c"]


def test_runs_show_themselves(repo: Repository) -> None:
    assert repr(repo.runs) == "<3 runs: a/x, b, main>"
    text = repo.runs._repr_html_()
    assert text.startswith("<table") and all(name in text for name in repo.runs)


def test_the_run_of_head(repo: Repository) -> None:
    assert repo.head_run == repo.runs["main"]
    repo.checkout("main@0", detach=True)
    with pytest.raises(NotFound, match="HEAD is detached"):
        _ = repo.head_run
    with pytest.raises(NotFound, match="no states yet"):
        _ = Repository.init(":memory:").head_run


def test_a_revision_is_in_a_repository_if_it_names_a_state(repo: Repository) -> None:
    state = repo.resolve("main")
    for revision in ("main", "HEAD~0", "main@0", state, state.hex()[:12]):
        assert revision in repo
    for revision in ("c", "main@1", "main~9", "a b", state.hex()[::-1], type(state)(bytes(32)), 7):
        assert revision not in repo


def test_a_repository_is_neither_iterable_nor_sized(repo: Repository) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        iter(repo)
    with pytest.raises(TypeError, match="no len"):
        len(repo)
