"""What a remote-tracking ref leads to is kept, checked and repaired as what a run leads to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit import NotFound, Repository
from simgit.maintenance.fsck.report import REFS
from simgit.maintenance.gc.kept import KeptStates
from simgit.refs.remotes import remote_run
from tests.support.tracking import forget, track, tracked

DAY = 24 * 3600 * 10**9


def lose(repo: Repository, *tables: str) -> None:
    """Remove what the logs say, as if they had expired long ago."""
    with repo.odb.storage.write() as txn:
        for table in tables:
            for key, _ in list(txn.scan(table)):
                if not key.startswith((b"runs/main", b"HEAD")):
                    txn.delete(table, key)


def damage(repo: Repository, table: str, key: bytes, how: str) -> None:
    with repo.odb.storage.write() as txn:
        value = txn.get(table, key) or b""
        half = len(value) // 2
        if how == "missing":
            txn.delete(table, key)
        elif how == "short":
            txn.put(table, key, value[:half])
        else:
            txn.put(table, key, value[:half] + bytes([value[half] ^ 4]) + value[half + 1 :])


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    """main with 10 states; origin/far with 5 more, attached and configured, that no run has."""
    with Repository.init(tmp_path / "repo") as repo:
        with repo.recorder("main") as recorder:
            for i in range(10):
                recorder.append(i, reward=1.0)
        repo.branch("far", "main@5", overrides={"lr": 2})
        with repo.recorder("far") as recorder:
            for i in range(5):
                recorder.append(100 + i, reward=1.0, info={"text": "x" * i})
        repo.attach("far", "note", {"a": 1})
        track(repo, "origin/far", "far")
        repo.delete_run("far", force=True)
        yield repo


def test_gc_keeps_what_only_it_leads_to_until_it_is_deleted_and_forgotten(repo: Repository) -> None:
    lose(repo, "log", "operations")
    assert repo.gc(grace=0).removed.states == 0
    assert repo.attachment("origin/far", "note") == {"a": 1}
    repo.branch("mine", "origin/far")
    assert repo.runs["mine"].config == {"lr": 2}  # its record was kept
    repo.delete_run("mine", force=True)
    oid = repo.resolve("origin/far")
    forget(repo, "origin/far")
    assert repo.gc(grace=0).removed.states == 0  # the reflog and the operations keep it
    assert repo.state("origin/far@{1}").oid == oid
    later = time.time_ns() + 200 * DAY
    repo.gc(grace=0, expire=0, clock=lambda: later)
    assert repo.gc(grace=0, expire=0, clock=lambda: later + DAY).removed.states == 0
    with pytest.raises(NotFound):
        repo.state(oid)
    assert len(repo.trajectory("main").steps) == 10 and repo.fsck().is_clean


def test_its_reflog_expires_but_for_the_newest_entry(repo: Repository) -> None:
    for step in range(5):
        track(repo, "origin/main", "main", f"main@{step}")
    later = time.time_ns() + 200 * DAY
    repo.gc(grace=0, expire=0, clock=lambda: later)
    (entry,) = repo.reflog("origin/main")
    assert (entry.old, entry.new) == (None, repo.resolve("main@4"))
    assert repo.fsck().is_clean


def test_what_it_leads_to_is_not_counted_as_kept_by_logs(repo: Repository) -> None:
    assert repo.kept() == KeptStates()
    forget(repo, "origin/far")
    assert repo.kept() == KeptStates(reflogs=5)


def test_a_purge_names_it_as_a_keeper(repo: Repository) -> None:
    repo.branch("mine", "origin/far~2")
    repo.commit(7, run="mine")
    purged = repo.purge("mine")
    assert purged.states == 1
    assert purged.kept == {"remotes/origin/far": 9, "runs/main": 6}
    assert repo.state("origin/far").observation == 104
    assert repo.fsck().is_clean


@pytest.mark.parametrize("how", ["flipped", "short", "missing"])
@pytest.mark.parametrize("logs", [(), ("operations",)])
def test_a_damaged_one_is_found_and_restored(
    repo: Repository, how: str, logs: tuple[str, ...]
) -> None:
    with repo.odb.read() as txn:
        before = remote_run(txn, "origin", "far")
    lose(repo, *logs)
    damage(repo, "refs", b"remotes/origin/far", how)
    problems = repo.fsck().problems
    assert any("remotes/origin/far" in each.what and each.kind == REFS for each in problems)
    done = repo.repair()
    assert done.report.is_clean, done.report.problems
    assert "restored ref 'remotes/origin/far'" in done.actions
    with repo.odb.read() as txn:
        after = remote_run(txn, "origin", "far")
    if logs:  # without the operation log its settings are not known any more
        after = after._replace(record=before.record, created=before.created, status=before.status,
                               parent=before.parent)  # fmt: skip
    assert after == before


def test_one_that_is_in_no_log_is_dropped(repo: Repository) -> None:
    lose(repo, "operations", "log")
    damage(repo, "refs", b"remotes/origin/far", "short")
    done = repo.repair()
    assert "remotes/origin/far" not in tracked(repo)
    assert any(each.startswith("dropped ref 'remotes/origin/far'") for each in done.actions)
    assert done.report.is_clean, done.report.problems


def test_a_reflog_that_does_not_end_at_it_is_found_and_completed(repo: Repository) -> None:
    with repo.odb.storage.write() as txn:
        for key, _ in list(txn.scan("log", b"remotes/", b"remotes0")):
            txn.delete("log", key)
    assert not repo.fsck().is_clean
    assert repo.repair().report.is_clean
    assert repo.reflog("origin/far")[0].new == repo.resolve("origin/far")


def test_one_that_has_the_wrong_fields_is_found(repo: Repository) -> None:
    with repo.odb.storage.write() as txn:
        txn.put("refs", b"remotes/origin/v1", txn.get("refs", b"HEAD") or b"")
    assert any("remotes/origin/v1" in each.what for each in repo.fsck().problems)
    assert repo.repair().report.is_clean


def test_damaged_states_say_which_it_costs_and_it_moves_back(repo: Repository) -> None:
    with repo.odb.read() as txn:
        ref = remote_run(txn, "origin", "far")
        header = txn.floor("segments", ref.line.to_bytes(8, "big") + b"\xff" * 8)
    assert header is not None
    value: Any = bytearray(header[1])
    value[len(value) // 2] ^= 1
    with repo.odb.storage.write() as txn:
        txn.put("segments", header[0], bytes(value))
    costs = [each for each in repo.fsck().problems if each.runs]
    assert {name for each in costs for name in each.runs} == {"remotes/origin/far"}
    done = repo.repair()
    assert "moved run 'remotes/origin/far' from step 10 back to step 5" in done.actions
    assert repo.reflog("origin/far")[0].message == "fsck: back to the last good state"
    assert repo.resolve("origin/far") == repo.resolve("main@5")


def test_damaged_states_are_fetched_from_a_copy(repo: Repository, tmp_path: Path) -> None:
    assert repo.directory is not None
    shutil.copytree(repo.directory, tmp_path / "copy" / ".simgit")
    with repo.odb.read() as txn:
        ref = remote_run(txn, "origin", "far")
        header = txn.floor("segments", ref.line.to_bytes(8, "big") + b"\xff" * 8)
    assert header is not None
    damage(repo, "segments", header[0], "flipped")
    with Repository.open(tmp_path / "copy") as good:
        assert repo.repair(good).report.is_clean
    assert [state.observation for state in repo.trajectory("origin/far")][6:] == [
        100, 101, 102, 103, 104
    ]  # fmt: skip
