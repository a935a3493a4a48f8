"""The repository: making, opening, commits, configuration, HEAD."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import (
    Conflict,
    FormatError,
    IntegrityError,
    InvalidInput,
    NotFound,
    Repository,
    StorageError,
)


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def test_a_repository_is_made_opened_and_found(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "a") as repo:
        oid = repo.commit(1)
        assert repo.worktree == tmp_path / "a"
    Repository.init(tmp_path / "a").close()
    for path in (tmp_path / "a", tmp_path / "a" / ".simgit"):
        with Repository.open(path) as repo:
            assert repo.resolve("main") == oid
    below = tmp_path / "a" / "b" / "c"
    below.mkdir(parents=True)
    with Repository.discover(below) as repo:
        assert repo.resolve("HEAD") == oid
    for path in (below, tmp_path):
        with pytest.raises(NotFound):
            Repository.open(path)


@pytest.mark.parametrize(
    ("text", "error"), [("99\n", FormatError), ("x\n", IntegrityError), ("", IntegrityError)]
)
def test_a_format_that_is_newer_or_unreadable_is_refused(
    tmp_path: Path, text: str, error: type[Exception]
) -> None:
    Repository.init(tmp_path).close()
    (tmp_path / ".simgit" / "format").write_text(text)
    with pytest.raises(error, match="format"):
        Repository.open(tmp_path)


def test_a_closed_repository_is_not_used(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    repo.close()
    repo.close()
    with pytest.raises(StorageError):
        repo.commit(1)


def test_one_that_is_opened_read_only_reads_only(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(1)
    with Repository.open(tmp_path, read_only=True) as repo:
        assert repo.read_only
        assert repo.state().observation == 1
        with pytest.raises(StorageError):
            repo.commit(2)


def test_a_commit_has_all_of_its_fields(repo: Repository) -> None:
    repo.commit(np.zeros(2), reset={"seed": 1}, info={}, spec={"id": "x"})
    oid = repo.commit(
        {"x": np.ones(400)},
        (1, 2),
        np.float32(0.5),
        np.bool_(True),
        False,
        {"k": None},
        message="m",
        files={"a": b"1"},
    )
    state = repo.state(oid)
    assert (state.step, state.episode, state.episode_step) == (1, 1, 1)
    assert state.observation["x"].tolist() == [1.0] * 400
    assert (state.action, state.reward, state.terminated, state.truncated) == (
        (1, 2),
        0.5,
        True,
        False,
    )
    assert (state.info, state.reset, state.message) == ({"k": None}, None, "m")
    assert list(repo.files(oid)) == ["a"]
    first = repo.state("main@0")
    assert (first.reset, first.action, first.info) == ({"seed": 1}, None, {})
    assert first.origin == repo.object(first.origin).oid  # type: ignore[arg-type]
    assert repo.object(oid).oid == oid


@pytest.mark.slow
def test_a_commit_without_fields_or_with_the_same_parent_twice_is_refused(repo: Repository) -> None:
    with pytest.raises(InvalidInput, match="without fields"):
        repo.commit()
    oid = repo.commit(1)
    with pytest.raises(InvalidInput, match="same parent"):
        repo.commit(2, parents=[oid])
    others = [repo.commit(i, run=f"r{i}") for i in range(3, 260)]
    with pytest.raises(InvalidInput, match="parents"):
        repo.commit(2, parents=others)
    assert len(repo.state(repo.commit(2, parents=others[:254])).parents) == 255


def test_a_commit_that_failed_leaves_nothing(repo: Repository) -> None:
    for bad in (
        {"reward": "x"},
        {"parents": ["nothing"], "observation": 1},
        {"run": "a b", "action": 1},
    ):
        with pytest.raises((InvalidInput, NotFound)):
            repo.commit(**bad)  # type: ignore[arg-type]
    assert list(repo.runs) == []
    with pytest.raises(NotFound):
        repo.resolve("HEAD")


def test_equal_states_are_one_state(repo: Repository) -> None:
    a, b = repo.commit(1, run="a"), repo.commit(1, run="b")
    assert a == b
    assert repo.commit(2, run="a") == repo.commit(2, run="b")
    assert len(list(repo.log(every=True))) == 2


def test_head_is_a_run_or_a_state(repo: Repository) -> None:
    assert repo.head == "main"
    first = repo.commit(1)
    second = repo.commit(2)
    repo.checkout("main~1")
    assert repo.head == first
    third = repo.commit(3)
    assert repo.head == third
    assert repo.runs["main"].oid == second
    assert repo.state().parents == (first,)
    repo.checkout("main", detach=True)
    assert repo.head == second
    repo.checkout("main")
    assert repo.head == "main"
    with pytest.raises(InvalidInput, match="detached"):
        repo.checkout(first)
        repo.recorder()


def test_configurations_are_inherited_and_overridden(repo: Repository) -> None:
    with repo.recorder("a", config={"net.width": 64, "net.depth": 2, "lr": 0.1}) as rec:
        rec.append(1)
    repo.branch("b", "a", overrides={"net.width": 128})
    repo.commit(2, run="b")
    repo.branch("c", "b~1", overrides={"net": 5})
    assert repo.config("b") == {"net": {"width": 128, "depth": 2}, "lr": 0.1}
    assert repo.config("c") == {"net": 5, "lr": 0.1}
    repo.configure("a", {"lr": 0.2})
    assert repo.config("a")["lr"] == 0.2
    assert repo.config("b")["lr"] == 0.1
    repo.configure("b", unset=["net.width"])
    assert repo.config("b")["net"] == {"width": 64, "depth": 2}
    with pytest.raises(NotFound):
        repo.configure("b", unset=["net.width"])
    assert [info.name for info in repo.lineage("c")] == ["c", "b", "a"]
    repo.config("b")["net"]["width"] = 0
    assert repo.config("b")["net"]["width"] == 64


def test_a_branch_by_oid_inherits_nothing(repo: Repository) -> None:
    with repo.recorder("a", config={"x": 1}) as rec:
        rec.append(1)
    repo.branch("b", repo.resolve("a"))
    assert repo.config("b") == {}
    assert repo.runs["b"].branch_point == repo.resolve("a")


@pytest.mark.parametrize(
    "error", [NotFound("x 'y'", name="y"), Conflict("c", diverted="d"), InvalidInput("i", path="p")]
)
def test_errors_survive_pickling(error: Any) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error) == error.message
    assert vars(again) == vars(error)
