"""Runs of the index that are merged a part at a time, and what may come between two parts."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import IntegrityError, StorageFullError
from simgit.maintenance import compaction
from simgit.objects.compression import checksum
from simgit.odb.location import Location
from simgit.odb.segments import index, index_merge, index_runs, join
from simgit.odb.segments.elias_fano import prefix_of
from simgit.odb.segments.index_merge import Merge, unfinished
from simgit.odb.segments.index_runs import (
    ARRAYS,
    STATES,
    IndexRun,
    array_places,
    delete_run,
    meta_key,
)

FLUSH = 100


@pytest.fixture(autouse=True)
def _small_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge four runs; more than 3000 entries a part at a time, for each 1600 that are added."""
    monkeypatch.setattr(index, "FAN_IN", 4)
    for module in (index, index_merge):
        monkeypatch.setattr(module, "MAX_MERGE", 3000)
        monkeypatch.setattr(module, "PART", 500)
    monkeypatch.setattr(join, "_TOGETHER", 1000)


def _record(repo: Repository, count: int, run: str = "main") -> None:
    with repo.recorder(run, flush_every=FLUSH) as rec:
        for i in range(count):
            rec.append(i, run)


def _check(repo: Repository, *runs: str) -> None:
    """Check that many states are found in their places, and that fsck finds nothing."""
    repo.odb.states.index.forget()
    states = repo.odb.states
    for run in runs or ("main",):
        tip = repo.runs[run]
        assert tip.oid is not None and tip.step is not None
        with repo.odb.read() as txn:
            line = repo.odb.locate(txn, tip.oid).line
            oids = states.oids(txn, line, 0, tip.step + 1)
            for step in [*range(0, tip.step, 29), tip.step]:
                assert states.locate(txn, oids[step]) == Location(line, step)
    assert repo.fsck().problems == []


def _merges(repo: Repository) -> list[Merge]:
    with repo.odb.read() as txn:
        return unfinished(txn)


def _levels(repo: Repository) -> list[tuple[int, int]]:
    """Return level and entries of each run of states."""
    with repo.odb.read() as txn:
        found = [r for r in repo.odb.states.index.runs(txn) if r.kind == STATES]
    return sorted((run.level, run.entries) for run in found)


def _until_begun(repo: Repository) -> Merge:
    """Record until some pages of a merge are written."""
    while not (found := [each for each in _merges(repo) if each.entries]):
        _record(repo, 4 * FLUSH)
    return found[0]


@pytest.mark.slow
def test_a_large_merge_goes_on_with_what_is_recorded() -> None:
    with Repository.init(":memory:") as repo:
        seen = set()
        for _ in range(30):
            _record(repo, 1600)
            seen |= {(each.level, each.entries) for each in _merges(repo)}
        _check(repo)
        # four runs of 100, 400, 1600, 6400: at most three wait while four are merged
        assert {level for level, _ in seen} == {2, 3}
        assert len({entries for level, entries in seen if level == 3}) > 4
        levels = _levels(repo)
        assert sum(entries for _, entries in levels) == 30 * 1600
        assert len(levels) <= 7 * 4
        assert max(level for level, _ in levels) == 4


@pytest.mark.slow
def test_pages_of_an_unfinished_merge_are_not_read() -> None:
    with Repository.init(":memory:") as repo:
        merge = _until_begun(repo)
        with repo.odb.write() as txn:
            pages = [key for key, _ in txn.scan("index", b"\1") if key[:1] == b"\1"]
            mine = [key for key in pages if int.from_bytes(key[1:9], "big") == merge.run]
            assert mine
            for key in mine:
                txn.put("index", key, b"not a page")
        repo.odb.states.index.forget()
        with repo.odb.read() as txn:
            assert repo.odb.states.locate(txn, bytes(repo.resolve("main@50"))) is not None
        assert [problem.kind for problem in repo.fsck().problems] == ["index"]
        assert repo.repair().report.is_clean
        assert merge.run not in [each.run for each in _merges(repo)]
        _check(repo)


def test_gc_in_the_middle_of_a_merge() -> None:
    with Repository.init(":memory:") as repo:
        _until_begun(repo)
        repo.gc()
        assert _merges(repo) == []
        assert len(_levels(repo)) == 1
        _check(repo)
        _until_begun(repo)
        _check(repo)


def test_a_merge_is_given_up_when_a_run_that_it_reads_has_been_rewritten() -> None:
    with Repository.init(":memory:") as repo:
        _record(repo, 450, "other")
        repo.branch("side", "other@300")
        merge = _until_begun(repo)
        with repo.odb.read() as txn:
            first = {run.id for run in repo.odb.states.index.runs(txn)}
        repo.delete_run("other", force=True)
        repo.gc(grace=0, expire=0)
        _check(repo, "main", "side")
        with repo.odb.read() as txn:
            assert not set(merge.sources) & {run.id for run in repo.odb.states.index.runs(txn)}
            assert merge.sources[0] in first


def test_a_merge_without_one_of_its_runs_leaves_nothing_behind() -> None:
    with Repository.init(":memory:") as repo:
        merge = _until_begun(repo)
        with repo.odb.write() as txn:
            index_of = repo.odb.states.index
            run = next(run for run in index_of.runs(txn) if run.id == merge.sources[3])
            entries = index_merge.merged_entries(
                txn, [run], index_merge.renumbered(STATES, [run.places]), 0, 1 << 32
            )
            delete_run(txn, run.id)
            index_merge.write_parts(
                txn, STATES, run.level, [entries], run.places, (run.entries, 20)
            )
        while _merges(repo) and _merges(repo)[0].run == merge.run:
            _record(repo, 4 * FLUSH)
        with repo.odb.read() as txn:
            assert [
                key for key, _ in txn.scan("index") if key[1:9] == meta_key(merge.run)[1:]
            ] == []
        _check(repo)


def test_a_write_that_fails_leaves_a_merge_as_it_was() -> None:
    with Repository.init(":memory:") as repo:
        _until_begun(repo)
        before, levels = _merges(repo), _levels(repo)
        with pytest.raises(RuntimeError), repo.odb.write() as txn:
            index_merge.go_on(txn, repo.odb.states.index.runs(txn), STATES, 2000)
            assert unfinished(txn) != before
            raise RuntimeError
        repo.odb.states.index.forget()
        assert (_merges(repo), _levels(repo)) == (before, levels)
        _check(repo)
        _record(repo, 3000)
        _check(repo)


@pytest.mark.parametrize(
    ("level", "head", "sources"),
    [
        (255, (900, 0, 0, 2), (1, 2)),
        (1, (900, 0, 1 << 32, 2), (1, 2)),
        (1, (900, 0, 0, 3), (1, 2)),
        (1, (900, 0, 0, (1 << 32) - 1), ()),
        (1, (1, 0, 0, 2), (1, 2)),  # the number of a run
        (1, (900,), ()),
    ],
)
def test_a_forged_merge_is_refused(
    level: int, head: tuple[int, ...], sources: tuple[int, ...]
) -> None:
    with Repository.init(":memory:") as repo:
        _record(repo, 2 * FLUSH)
        form = "<QQQI"[: 1 + len(head)]
        body = struct.pack(form, *head) + struct.pack(f"<{len(sources)}Q", *sources)
        with repo.odb.write() as txn:
            txn.put("index", bytes((2, STATES, level)), body + checksum(body))
        with pytest.raises(IntegrityError, match="merge of the index is damaged"):
            repo.gc()
        assert [problem.kind for problem in repo.fsck().problems] == ["index"]
        assert repo.repair().report.is_clean
        _check(repo)


@pytest.mark.slow
def test_a_damaged_merge_is_found_and_repaired() -> None:
    with Repository.init(":memory:") as repo:
        merge = _until_begun(repo)
        key = bytes((2, STATES, merge.level))
        with repo.odb.write() as txn:
            value = bytearray(txn.get("index", key) or b"")
            value[9] ^= 1
            txn.put("index", key, bytes(value))
        with pytest.raises(IntegrityError, match="merge of the index is damaged"):
            _merges(repo)
        assert [problem.kind for problem in repo.fsck().problems] == ["index"]
        assert repo.repair().report.is_clean
        _record(repo, 1000)
        _check(repo)


def test_a_merge_of_prefixes_that_are_not_spread_goes_on() -> None:
    """Oids are spread evenly, but who forges a store need not care."""
    with Repository.init(":memory:") as repo:
        rng = random.Random(5)
        near = sorted({rng.randrange(5000) for _ in range(4000)})
        oids = [number.to_bytes(4, "big") + bytes(28) for number in near]
        places = array_places([(1, i) for i in range(len(oids))])
        index_of = repo.odb.states.index
        with repo.odb.write() as txn:
            for part in range(8):
                picked = range(part, len(oids), 8)
                index_of.add(txn, ARRAYS, [oids[i] for i in picked], list(picked), places)
            index_merge.begin(txn, 9, index_of.runs(txn))
            for _ in range(9000):
                if not unfinished(txn):
                    break
                index_merge.go_on(txn, repo.odb.states.index.runs(txn), ARRAYS, 1)
            assert unfinished(txn) == []
            for i in rng.sample(range(len(oids)), 50):
                prefix = prefix_of(oids[i])
                found = index_of.candidates(txn, ARRAYS, prefix, prefix)
                assert (prefix, (1, i)) in list(found)


@pytest.mark.slow
def test_the_counter_is_above_the_number_of_a_merge() -> None:
    with Repository.init(":memory:") as repo:
        while not (merges := _merges(repo)):
            _record(repo, FLUSH)
        with repo.odb.write() as txn:
            newest = max(run.id for run in repo.odb.states.index.runs(txn))
            assert (merges[0].run, merges[0].entries) == (newest + 1, 0)
            txn.delete("meta", b"next-index")
        assert [problem.kind for problem in repo.fsck().problems] == ["counters"]
        assert repo.repair().report.is_clean
        _record(repo, 8000)
        _check(repo)


@pytest.mark.slow
def test_merges_keep_up_with_writes_of_any_size() -> None:
    rng = random.Random(6)
    with Repository.init(":memory:") as repo:
        index_of, counts, number = repo.odb.states.index, [], 0
        for _ in range(120):
            sizes = [480, 480, 480, 520]
            with repo.odb.write() as txn:
                for size in sizes:
                    oids = [rng.randbytes(32) for _ in range(size)]
                    places = array_places([(1, number + i) for i in range(size)])
                    number += size
                    index_of.add(txn, ARRAYS, oids, range(size), places)
                counts.append(len(index_of.runs(txn)))
        assert sum(run.entries for run in _runs(repo)) == number
        assert max(counts) <= 4 * 7


def _runs(repo: Repository) -> list[IndexRun]:
    with repo.odb.read() as txn:
        return repo.odb.states.index.runs(txn)


def test_places_that_continue_each_other_become_one() -> None:
    parts = [
        index_runs.state_places([(3, 64, 128), (1, 0, 64)]),
        index_runs.state_places([(3, 192, 10), (1, 128, 64)]),
        index_runs.state_places([(3, 202, 64), (1, 64, 64), (2, 64, 1)]),
    ]
    joined = index_merge.joined_places(STATES, parts)
    assert joined.tolist() == [(1, 0, 3), (2, 64, 1), (3, 64, 3), (3, 202, 1)]
    run = IndexRun(0, STATES, 0, 0, joined, np.cumsum(joined["n"], dtype=np.int64), [])
    for part, (ends, by) in zip(parts, index_merge.renumbered(STATES, parts), strict=True):
        alone = IndexRun(0, STATES, 0, 0, part, ends, [])
        for slot in range(int(ends[-1])):
            owner = int(np.searchsorted(ends, slot, "right"))
            assert run.place(slot + int(by[owner])) == alone.place(slot)


def test_gc_leaves_no_unfinished_merge_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with Repository.init(":memory:") as repo:
        _record(repo, 4100)
        go_on, calls, before = compaction.go_on_joining, [], len(_levels(repo))

        def full(*args: Any) -> bool:
            calls.append(_merges(repo)[0].entries)
            if len(calls) == 2:
                raise StorageFullError("no space is left")
            return go_on(*args)

        monkeypatch.setattr(compaction, "go_on_joining", full)
        repo.gc()
        assert calls[0] == 0 < calls[1]
        assert _merges(repo) == [] and len(_levels(repo)) == before > 1
        _check(repo)
