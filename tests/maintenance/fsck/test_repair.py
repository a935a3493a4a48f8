"""Repairing: whatever is damaged, what can be had back is had back, and nothing is deleted."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from simgit import Repository

Entry = tuple[str, bytes, bytes]


def fill(repo: Repository) -> None:
    rng = np.random.default_rng(0)
    repo.set_setting("gc.auto", 0)
    for run, count in (("main", 250), ("b", 190)):
        with repo.recorder(run, flush_every=70) as rec:
            for i in range(count):
                frame = rng.integers(0, 255, (10, 10), np.uint8).repeat(4)
                observation: Any = {"x": np.float32([i]), "frame": frame}
                rec.append(observation, i, float(i), info={"text": f"{run}{i}"})
        if run == "main":
            repo.branch("b", "main@100")
    repo.attach("main@10", "agent", {"w": rng.random(1000)})
    repo.commit({"x": np.zeros(2)}, run="files", files={"a": b"hello" * 100, "b": rng.bytes(3000)})
    video = repo.worktree / "video"  # type: ignore[operator]
    video.write_bytes(rng.bytes(200_000))
    repo.attach("files", "video", video)
    repo.tag("v1", "main@50", message="annotated")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original")
    with Repository.init(path) as repo:
        fill(repo)
        assert repo.fsck().is_clean
    return path


@pytest.fixture
def repo(original: Path, tmp_path: Path) -> Iterator[Repository]:
    with Repository.clone(original, tmp_path / "copy") as repo:
        yield repo


def held(repo: Repository) -> dict[str, Any]:
    """Everything that runs and tags lead to."""
    found: dict[str, Any] = {name: oid for name, (oid, _) in repo.tags().items()}
    for run in repo.runs:
        trajectory = repo.trajectory(run)
        columns = trajectory.observations
        found[run] = trajectory.oids
        found[f"{run} frames"] = columns["frame"].tobytes() if "frame" in columns else b""
    found["agent"] = repo.attachment("main@10", "agent")["w"].tobytes()
    found["video"] = repo.attachment("files", "video")
    found["files"] = [b"".join(repo.read_blob(o)) for o in repo.files("files").values()]
    return found


def damage(repo: Repository, table: str, pick: int, how: str) -> Entry:
    """Damage one entry of a table; return what it was."""
    rng = random.Random(f"{table} {pick} {how}")
    with repo.odb.storage.write() as txn:
        entries = [
            e for e in txn.scan(table) if not e[0].startswith((b"latest", b"setting", b"size"))
        ]
        if not entries:
            return table, b"", b""
        key, value = entries[pick % len(entries)]
        if how == "missing":
            txn.delete(table, key)
        elif how == "short":
            txn.put(table, key, value[: rng.randrange(len(value))] if value else b"x")
        else:
            at = rng.randrange(len(value)) if value else 0
            flipped = value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]
            txn.put(table, key, flipped)
    return table, key, value


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "short", "missing"])
@pytest.mark.parametrize("table", ["index", "oids", "children"])
def test_what_can_be_derived_is_derived_again(
    repo: Repository, original: Path, table: str, how: str
) -> None:
    if table == "children" and how != "missing":
        return  # it has no value
    for pick in range(3):
        damage(repo, table, pick * 7, how)
    with Repository.open(repo.directory.parent) as again:  # type: ignore[union-attr]
        assert not again.fsck().is_clean or how == "short"
        done = again.repair()
        assert done.report.is_clean, done.report.problems
        with Repository.open(original) as good:
            assert held(again) == held(good)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "short", "missing"])
@pytest.mark.parametrize("table", ["segments", "blocks", "groups", "objects", "chunks", "bodies"])
def test_what_is_damaged_is_fetched_from_another_repository(
    repo: Repository, original: Path, table: str, how: str
) -> None:
    for pick in (1, 4):
        damage(repo, table, pick, how)
    with Repository.open(repo.directory.parent) as again:  # type: ignore[union-attr]
        before = again.fsck()
        assert any("--from" in command for p in before.problems for command in p.commands)
        with Repository.open(original) as good:
            done = again.repair(good)
            assert done.report.is_clean, (done.actions, done.report.problems)
            assert held(again) == held(good)


@pytest.mark.slow
def test_counters_and_names_are_set_again(repo: Repository) -> None:
    with repo.odb.storage.write() as txn:
        txn.put("meta", b"next-line", (0).to_bytes(8, "big"))
        txn.delete("meta", b"next-index")
        txn.delete("meta", b"fold\0runs/main")
        txn.put("meta", b"fold\0tags/none", b"none")
        for key, _ in list(txn.scan("log", b"runs/b\0", b"runs/b\1")):
            txn.delete("log", key)
    assert {p.commands for p in repo.fsck().problems} == {("simgit fsck --repair",)}
    done = repo.repair()
    assert done.report.is_clean, done.report.problems
    repo.commit({"x": np.zeros(1)}, run="b")
    assert repo.fsck().is_clean


def test_runs_go_back_to_the_last_good_state_and_the_reflog_knows(repo: Repository) -> None:
    with repo.odb.storage.write() as txn:
        table, key, value = "blocks", *list(txn.scan("blocks"))[1]
        txn.put(table, key, value[:-9] + bytes([value[-9] ^ 1]) + value[-8:])
    line, step = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:16], "big")
    assert (line, step) == (0, 70)
    before = {name: repo.runs[name].oid for name in repo.runs}
    problem = next(p for p in repo.fsck().problems if p.runs)
    assert problem.runs == {"main": (70, 249), "b": (70, 290)}
    done = repo.repair()
    assert "moved run 'main' from step 249 back to step 69" in done.actions
    for name in ("main", "b"):
        assert repo.runs[name].step == 69
        assert repo.reflog(name)[0].old == before[name]
        assert len(repo.trajectory(name).rewards) == 70
    assert not any(p.runs for p in repo.fsck().problems)
    repo.commit({"x": np.zeros(1)}, run="main")
    assert repo.runs["main"].step == 70


def test_a_run_without_a_good_state_becomes_empty(repo: Repository) -> None:
    with repo.odb.storage.write() as txn:
        key, _ = next(txn.scan("blocks"))
        txn.put("blocks", key, b"")
    repo.repair()
    assert repo.runs["main"].oid is None


def test_nothing_is_deleted(repo: Repository, original: Path) -> None:
    table, key, _ = damage(repo, "objects", 3, "flipped")
    with repo.odb.read() as txn:
        bad = txn.get(table, key)
    with Repository.open(original) as good:
        done = repo.repair(good)
    assert done.quarantine is not None and done.quarantine.parent == repo.directory
    with done.quarantine.open("rb") as file:
        kept = list(msgpack.Unpacker(file))
    assert [table, key, bad] in kept


def test_a_clean_repository_is_left_alone(repo: Repository) -> None:
    done = repo.repair()
    assert done.actions == [] and done.quarantine is None and done.report.is_clean


@pytest.mark.slow
def test_the_parts_of_a_sample_are_everything(repo: Repository) -> None:
    whole = repo.fsck()
    parts = [repo.fsck(sample=(k, 7)) for k in range(1, 8)]
    assert sum(part.states for part in parts) == whole.states
    assert sum(part.objects for part in parts) == whole.objects
    damage(repo, "objects", 2, "short")
    assert sum(not repo.fsck(sample=(k, 7)).is_clean for k in range(1, 8)) >= 1


@pytest.mark.slow
def test_a_damaged_identity_is_replaced_and_the_store_is_to_be_trusted_again(
    repo: Repository,
) -> None:
    assert repo.is_trusted()
    for value in (b"", b"short", b"x" * 17):
        with repo.odb.storage.write() as txn:
            txn.put("meta", b"identity", value)
        [problem] = repo.fsck().problems
        assert "identity" in problem.what
        assert repo.repair().report.is_clean
        assert not repo.is_trusted()


def test_a_check_ends_when_its_time_is_over(repo: Repository) -> None:
    report = repo.fsck(seconds=0)
    assert not report.is_complete and report.states == 0
    assert repo.fsck(seconds=60).is_complete


def test_a_damaged_hint_is_not_in_the_way_of_what_is_attached(repo: Repository) -> None:
    for value in (b"", b"x" * 32, b"short", repo.resolve("main")):
        with repo.odb.storage.write() as txn:
            txn.put("meta", b"latest\0agent", bytes(value))
        repo.attach("main@11", "agent", {"w": np.arange(1000.0)})
        assert repo.attachment("main@11", "agent")["w"][3] == 3
    assert repo.fsck().is_clean
    with repo.odb.storage.write() as txn:  # what it leads to is damaged
        oid = txn.get("meta", b"latest\0agent") or b""
        txn.put("objects", oid, b"\3\0")
    repo.attach("main@12", "agent", {"w": np.arange(1000.0) + 1})
    assert repo.attachment("main@12", "agent")["w"][3] == 4


def test_an_attachment_whose_binding_is_gone_is_fetched_again(
    repo: Repository, original: Path
) -> None:
    with repo.odb.storage.write() as txn:
        [binding] = [v for key, v in txn.scan("attachments") if key.endswith(b"agent")]
        txn.delete("objects", binding)
    assert not repo.fsck().is_clean
    with Repository.open(original) as good:
        assert repo.repair(good).report.is_clean
    assert repo.attachment("main@10", "agent")["w"].shape == (1000,)


def test_copies_do_not_touch_the_source(repo: Repository, original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "before")
    damage(repo, "segments", 0, "short")
    with Repository.open(original, read_only=True) as good:
        assert repo.repair(good).report.is_clean
    ours, theirs = (p / ".simgit" / "data.mdb" for p in (original, tmp_path / "before"))
    assert ours.read_bytes() == theirs.read_bytes()
