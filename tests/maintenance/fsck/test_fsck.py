"""fsck reports whatever is damaged, in every table, and says which runs it costs."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.maintenance.fsck import FsckReport, states
from simgit.odb.segments import index
from simgit.odb.segments.index_runs import delete_run
from simgit.storage.base import TABLES
from simgit.storage.lmdb import LmdbStorage

Entry = tuple[str, bytes, bytes]
HINTS = (b"latest\0", b"settled", b"upkeep", b"collected")
"""Entries of meta that may be wrong without harm."""
COSTS = ("lines", "segments", "blocks", "groups", "index", "children")
"""Tables of which every damage costs a run something."""


def fill(repo: Repository) -> None:
    rng = np.random.default_rng(0)
    for run, count in (("a", 150), ("b", 100)):
        with repo.recorder(run, flush_every=100) as rec:
            for i in range(count):
                frame = rng.integers(0, 255, (10, 10), np.uint8).repeat(4)
                observation: Any = {"x": np.float32([i]), "frame": frame}
                rec.append(observation, i, float(i), info={"text": f"{run}{i}"})
        if run == "a":
            repo.branch("b", "a@70")
    repo.commit({"x": np.zeros(2)}, run="a", parents=["b"], message="merge")
    repo.gc()
    for k in range(3):
        files = {"small": b"hello" * k, "big": rng.bytes(100_000)}
        repo.commit({"x": np.arange(100.0) + k}, run="files", files=files)
    repo.tag("v1", "a@50", message="annotated")
    repo.attach("a@10", "note", {"a": np.arange(1000.0)})
    repo.branch("gone", "b")
    repo.delete_run("gone", force=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LmdbStorage]]:
    path = tmp_path_factory.mktemp("damage")
    with Repository.init(path) as repo:
        fill(repo)
        assert repo.fsck().is_clean
        storage = repo.odb.storage
        assert isinstance(storage, LmdbStorage)
        yield path, storage


def damage(store: tuple[Path, LmdbStorage], entry: Entry, value: bytes | None) -> FsckReport:
    """Return what fsck says while an entry has another value, or none."""
    table, key, old = entry
    with store[1].write() as txn:
        if value is None:
            txn.delete(table, key)
        else:
            txn.put(table, key, value)
    try:
        with Repository.open(store[0]) as repo:
            return repo.fsck()
    finally:
        with store[1].write() as txn:
            txn.put(table, key, old)


def entries(store: tuple[Path, LmdbStorage], table: str) -> list[Entry]:
    with store[1].read() as txn:
        found = [(table, key, value) for key, value in txn.scan(table)]
    return [each for each in found if table != "meta" or not each[1].startswith(HINTS)]


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_damage_is_reported(store: tuple[Path, LmdbStorage], table: str) -> None:
    rng = random.Random(table)
    found = entries(store, table)
    for entry in rng.sample(found, min(len(found), 8)):
        value = entry[2]
        at = rng.randrange(len(value)) if value else 0
        if table == "oids":
            at = rng.choice((0, 1, 2))  # behind it lies a step that may be any of a group's
        flipped = None
        # a counter may be larger than needed, and an identity is any bytes of its size
        if value and not entry[1].startswith((b"next-", b"identity")):
            flipped = value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]
        short = value[: rng.randrange(len(value))] if value else None
        for other in {flipped or short, short}:
            report = damage(store, entry, other)
            assert report.problems, (entry, other)
            if table in COSTS:
                assert any(problem.runs for problem in report.problems), (entry, report.problems)


@pytest.mark.slow
@pytest.mark.parametrize(
    "table",
    [
        "lines",
        "segments",
        "blocks",
        "groups",
        "index",
        "oids",
        "children",
        "refs",
        "log",
        "operations",
    ],
)
def test_what_is_missing_is_reported(store: tuple[Path, LmdbStorage], table: str) -> None:
    found = [each for each in entries(store, table) if each[1] != b"HEAD"]
    for entry in random.Random(table).sample(found, min(len(found), 8)):
        if entry[1].startswith((b"HEAD\0", b"runs/gone\0")) and table == "log":
            continue  # the newest entry of a ref that is not there any more is not missed
        report = damage(store, entry, None)
        assert report.problems, entry
        if table in COSTS:
            assert any(problem.runs for problem in report.problems), (entry, report.problems)


def test_damage_in_several_places_is_reported_in_one_report(
    store: tuple[Path, LmdbStorage],
) -> None:
    ref = ("refs", b"runs/files", b"")
    with store[1].read() as txn:
        ref = (ref[0], ref[1], txn.get(*ref[:2]) or b"")
    with store[1].write() as txn:
        txn.put("refs", ref[1], ref[2][:-1])
    try:
        report = damage(store, entries(store, "blocks")[0], b"")
    finally:
        with store[1].write() as txn:
            txn.put(*ref)
    assert any(problem.runs for problem in report.problems)
    assert any("runs/files" in problem.what for problem in report.problems)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["file", "bytes"])
def test_the_memory_of_fsck_does_not_grow_with_an_attachment(how: str, tmp_path: Path) -> None:
    size = 96 << 20
    content = np.random.default_rng(1).bytes(1 << 20) * (size >> 20)
    (tmp_path / "large").write_bytes(content)
    with Repository.init(tmp_path) as repo:
        repo.commit(0)
        repo.attach("main", "large", tmp_path / "large" if how == "file" else content)
    del content
    with Repository.open(tmp_path) as repo:
        tracemalloc.start()
        try:
            assert repo.fsck().is_clean
            assert tracemalloc.get_traced_memory()[1] < size // 4
        finally:
            tracemalloc.stop()


def test_a_damaged_blob_is_found_in_each_form(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    few = rng.integers(0, 9, 99_999, np.uint8).tobytes()
    for name, content in {"raw": rng.bytes(99_999), "zstd": few}.items():
        with Repository.init(tmp_path / name) as repo:
            repo.commit(0)
            oid = repo.attach("main", "x", content)
            (target,) = [each for _, each in repo.attachments("main").values()]
            with repo.odb.storage.write() as txn:
                key, value = next(iter(txn.scan("bodies")))
                txn.put("bodies", key, value[:-1] + bytes([value[-1] ^ 1]))
            problems = repo.fsck().problems
            assert [each.where for each in problems] == [bytes(target)], (name, oid, problems)


@pytest.mark.parametrize("together", [1, 150, 10_000])
def test_each_place_that_the_index_lacks_is_told_once(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "_CLAIMS", together)
    monkeypatch.setattr(index, "_PAGES", 1)
    with Repository.init(":memory:") as repo:
        repo.set_setting("gc.auto", 0)
        for run in ("a", "b"):
            with repo.recorder(run, flush_every=100) as rec:
                for i in range(300):
                    rec.append({"x": np.full(300, i) + 1000 * (run == "b")}, i)
        assert repo.fsck().is_clean
        with repo.odb.write() as txn:
            lacking = {}
            for run in repo.odb.states.index.runs(txn):
                line, place = run.places[0][["a", "b"]].item()
                if (line, place & 0xFFFF) in [(0, 200), (1, 100)]:
                    delete_run(txn, run.id)
                    lacking[run.kind, line, place & 0xFFFF] = run.entries
        assert lacking == {(kind, *place): 100 for kind in (0, 1) for place in [(0, 200), (1, 100)]}
        repo.odb.states.index.forget()
        report = repo.fsck()
        of_index = [problem for problem in report.problems if problem.kind == "index"]
        told = sorted((problem.what, problem.runs) for problem in of_index)
        assert told == [
            ("the index does not lead to the state at 0/200", {"a": (200, 299)}),
            ("the index does not lead to the state at 1/100", {"b": (100, 299)}),
            ("the index lacks arrays of the group at 0/200", {"a": (200, 299)}),
            ("the index lacks arrays of the group at 1/100", {"b": (100, 299)}),
        ]
        assert repo.repair().report.is_clean


def test_few_places_are_kept_however_short_segments_are(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    claim = states.StateChecks._claim

    def counted(self: states.StateChecks, txn: Any, each: Any) -> None:
        claim(self, txn, each)
        kept.append(len(self._claims))

    monkeypatch.setattr(states, "_CLAIMS", 300)
    monkeypatch.setattr(states.StateChecks, "_claim", counted)
    with Repository.init(":memory:") as repo:
        repo.set_setting("gc.auto", 0)
        for i in range(100):
            repo.commit({"x": i})
        assert repo.fsck().is_clean
        assert kept == [0] * 100  # each has an entry of its own
        kept.clear()
        repo.gc()
        with repo.recorder("b", flush_every=64) as rec:
            for i in range(640):
                rec.append({"x": np.full(300, i)}, i)
        assert repo.fsck().is_clean
        assert 1 < max(kept) <= 300 // 32


@pytest.mark.parametrize("before", ["read", "fsck"])
def test_damage_is_found_where_what_is_damaged_was_read_before(tmp_path: Path, before: str) -> None:
    """The bytes are read again, and not what is kept of them."""
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main") as recorder:
            for i in range(5000):
                recorder.append({"x": i / 7, "n": i // 9}, 1, i / 3, False, False)
        assert repo.fsck().is_clean
        if before == "read":
            for step in range(0, 5000, 100):
                repo.state(f"main@{step}")
        with repo.odb.write() as txn:
            key, value = max(txn.scan("blocks"), key=lambda each: len(each[1]))
            middle = len(value) // 2
            changed = bytes([value[middle] ^ 255])
            txn.put("blocks", key, value[:middle] + changed + value[middle + 1 :])
        assert any("block" in problem.what for problem in repo.fsck().problems)
        assert repo.repair().actions
