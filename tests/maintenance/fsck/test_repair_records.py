"""Damaged records of lines and refs: derived again, or taken back from the logs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import IntegrityError, Oid, Repository
from simgit.odb.segments.lines import NOWHERE, Line, encode_line, line_key, read_line

HOW = ["flipped", "short", "missing"]


def fill(repo: Repository) -> None:
    """Record lines of every kind: roots of two specs, branches, merges of two and of four."""
    for run, count in (("main", 150), ("other", 70)):
        with repo.recorder(run, flush_every=50, spec={"id": run}, config={"lr": 0.5}) as rec:
            for i in range(count):
                rec.append({"x": np.float32([i])}, i, float(i), info={"text": f"{run}{i}"})
    repo.branch("b", "main@100", overrides={"lr": 2})
    for i in range(3):
        repo.commit({"x": np.float32([-i])}, run="b")
    repo.branch("c", "b~1")
    repo.commit({"x": np.float32([7])}, run="c", parents=["other"])
    for name in ("p", "q"):
        repo.branch(name, "main@40")
        repo.commit({"x": np.float32([ord(name)])}, run=name)
    repo.commit({"x": np.float32([9])}, run="c", parents=["q", "other@3", "p"])
    repo.tag("v1", "main@50", message="annotated")
    repo.tag("light", "main@51")
    repo.set_status("other", "completed")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original")
    with Repository.init(path) as repo:
        fill(repo)
        assert repo.fsck().is_clean
    return path


@pytest.fixture
def repo(original: Path, tmp_path: Path) -> Iterator[Repository]:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    with Repository.open(tmp_path) as repo:
        yield repo


def lines(repo: Repository) -> dict[int, Line]:
    with repo.odb.read() as txn:
        numbers = [int.from_bytes(key, "big") for key, _ in txn.scan("lines")]
        return {number: read_line(txn, number)._replace(cut=False) for number in numbers}


def held(repo: Repository) -> dict[str, Any]:
    """Return everything that can be seen of runs, tags and HEAD, but who writes them."""
    found: dict[str, Any] = {"head": repo.head, "tags": repo.tags()}
    for run in repo.runs.values():
        found[run.name] = run._told() | {"writer": None}, [line.oid for line in repo.log(run.name)]
    return found


def damage(repo: Repository, table: str, key: bytes, how: str) -> None:
    with repo.odb.storage.write() as txn:
        value = txn.get(table, key) or b""
        if how == "missing":
            txn.delete(table, key)
        else:
            half = len(value) // 2
            flipped = value[:half] + bytes([value[half] ^ 4]) + value[half + 1 :]
            txn.put(table, key, value[:half] if how == "short" else flipped)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_each_line_is_derived_again(repo: Repository, how: str) -> None:
    before, seen = lines(repo), held(repo)
    assert len(before) == 7 and {len(line.parents) for line in before.values()} == {0, 1, 2, 4}
    for number in before:
        damage(repo, "lines", number.to_bytes(8, "big"), how)
        problems = repo.fsck().problems
        assert ("simgit fsck --repair",) in {problem.commands for problem in problems}
        done = repo.repair()
        assert done.report.is_clean, (number, done.actions, done.report.problems)
        assert (done.quarantine is None) == (how == "missing")
        assert lines(repo) == before
    assert held(repo) == seen
    repo.commit({"x": np.float32([1])}, run="main")
    assert repo.fsck().is_clean


WRONG: dict[str, Callable[[Line], Line]] = {
    "jump": lambda line: line._replace(jump=line.id),
    "parent": lambda line: line._replace(parent_line=line.id, parent_step=line.step),
    "newer": lambda line: line._replace(jump=line.id + 1),
    "no jump": lambda line: line._replace(jump=NOWHERE),
    "no parent": lambda line: line._replace(parent_line=NOWHERE),
    "depth": lambda line: line._replace(depth=line.depth + 1),
    "generation": lambda line: line._replace(generation=line.generation + 1),
    "step": lambda line: line._replace(step=line.step + 1),
    "merged": lambda line: line._replace(merged=not line.merged),
    "number": lambda line: line._replace(record=line.record + 1),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_line_that_does_not_follow_from_its_parents_is_derived_again(
    repo: Repository, what: str
) -> None:
    before, seen = lines(repo), held(repo)
    merge = next(line for line in before.values() if len(line.parents) == 4)
    with repo.odb.storage.write() as txn:
        txn.put("lines", line_key(merge.id), encode_line(WRONG[what](merge)))
    with suppress(IntegrityError):  # not for ever, and not something else
        assert repo.state("c@0").oid == repo.state("main@0").oid
    assert not repo.fsck().is_clean
    assert repo.repair().report.is_clean
    assert (lines(repo), held(repo)) == (before, seen)


def test_all_lines_at_once_are_derived_again(repo: Repository) -> None:
    before, seen = lines(repo), held(repo)
    for number in before:
        damage(repo, "lines", number.to_bytes(8, "big"), "flipped")
    done = repo.repair()
    assert done.report.is_clean, (done.actions, done.report.problems)
    assert (lines(repo), held(repo)) == (before, seen)


def test_a_line_whose_parents_are_unknown_costs_its_runs(repo: Repository) -> None:
    merge = next(line for line in lines(repo).values() if len(line.parents) == 4)
    with repo.odb.storage.write() as txn:
        for key, _ in list(txn.scan("children")):
            if int.from_bytes(key[16:], "big") == merge.id:
                txn.delete("children", key)
        txn.delete("lines", merge.id.to_bytes(8, "big"))
    repo.repair()
    assert repo.runs["c"].oid is None
    assert repo.reflog("c")[0].message.startswith("fsck")
    assert len(repo.trajectory("main").rewards) == 150


REFS = ["HEAD", "runs/main", "runs/other", "runs/b", "runs/c", "tags/v1", "tags/light"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("ref", REFS)
def test_each_ref_is_taken_back_from_the_operation_log(
    repo: Repository, ref: str, how: str
) -> None:
    repo.checkout("b")
    seen = held(repo)
    if (ref, how) == ("HEAD", "missing"):
        return  # HEAD is at main then
    damage(repo, "refs", ref.encode(), how)
    assert ("simgit fsck --repair",) in {each.commands for each in repo.fsck().problems}
    done = repo.repair()
    assert done.report.is_clean, (done.actions, done.report.problems)
    assert held(repo) == seen
    repo.commit({"x": np.float32([1])}, run="main")
    assert repo.fsck().is_clean


def test_all_refs_at_once_are_taken_back(repo: Repository) -> None:
    repo.checkout(repo.resolve("main@7"))
    seen = held(repo)
    for ref in REFS:
        damage(repo, "refs", ref.encode(), "flipped")
    done = repo.repair()
    assert done.report.is_clean, (done.actions, done.report.problems)
    assert held(repo) == seen


def forget_operations(repo: Repository) -> None:
    with repo.odb.storage.write() as txn:
        for key, _ in list(txn.scan("operations")):
            txn.delete("operations", key)


@pytest.mark.parametrize("ref", REFS)
def test_without_an_operation_log_the_reflog_says_where_a_ref_was(
    repo: Repository, ref: str
) -> None:
    repo.checkout("b")
    tips: dict[str, Oid | None] = {run.name: run.oid for run in repo.runs.values()}
    tags = {name: oid for name, (oid, _) in repo.tags().items()}
    steps = {run.name: (run.step, run.episodes) for run in repo.runs.values()}
    forget_operations(repo)
    damage(repo, "refs", ref.encode(), "flipped")
    done = repo.repair()
    assert done.report.is_clean, (done.actions, done.report.problems)
    assert repo.head == "b"
    assert {run.name: run.oid for run in repo.runs.values()} == tips
    assert {run.name: (run.step, run.episodes) for run in repo.runs.values()} == steps
    assert {name: oid for name, (oid, _) in repo.tags().items()} == tags


def test_a_ref_of_which_nothing_is_known_is_given_up(repo: Repository) -> None:
    forget_operations(repo)
    with repo.odb.storage.write() as txn:
        for key, _ in list(txn.scan("log", b"runs/c\0", b"runs/c\1")):
            txn.delete("log", key)
    damage(repo, "refs", b"runs/c", "short")
    done = repo.repair()
    assert done.report.is_clean, (done.actions, done.report.problems)
    assert any("dropped ref 'runs/c'" in action for action in done.actions)
    assert done.quarantine is not None
    assert "c" not in repo.runs
    repo.branch("c", "b")


def test_a_repair_of_a_ref_is_an_operation_and_the_log_is_sound_after_it(repo: Repository) -> None:
    damage(repo, "refs", b"runs/b", "flipped")
    repo.repair()
    assert repo.operations()[0].command.startswith("fsck")
    assert repo.fsck().is_clean
