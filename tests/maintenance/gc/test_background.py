"""Maintenance that runs by itself removes what is lost: in short slices, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simgit import Oid, Repository, StorageError
from simgit.maintenance import background
from simgit.maintenance.background import COLLECTION_SLICE, BackgroundCollection
from simgit.maintenance.gc.plan import DAY
from simgit.maintenance.size_log import COLLECTED
from simgit.odb import database, overflow
from simgit.odb.overflow import body_size
from simgit.odb.segments import truncate
from simgit.odb.segments.array_groups import read_group
from simgit.odb.segments.lines import decode_line
from simgit.refs.records import decode_run
from simgit.storage.base import ReadTxn


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1_000 * DAY

    def __call__(self) -> int:
        return self.now

    def wait(self, days: float) -> None:
        self.now += int(days * DAY)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "time_ns", found)
    return found


@pytest.fixture
def repo(tmp_path: Path, clock: Clock) -> Iterator[Repository]:
    with Repository.init(tmp_path) as repo:
        repo.set_setting("gc.auto", 100_000)  # nothing is joined meanwhile
        yield repo


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let slices have the time that they need, however busy the machine is."""
    monkeypatch.setattr(background, "COLLECTION_SLICE", 60.0)


def commits(repo: Repository, count: int) -> None:
    for i in range(count):
        repo.commit({"i": i}, run="main")


def record(repo: Repository, run: str, count: int) -> list[Oid]:
    with repo.recorder(run, flush_every=100) as rec:
        for i in range(count):
            rec.append({"frame": np.full((8, 40), i % 7, np.uint8)}, i, info={"text": f"{run} {i}"})
    repo.attach(run, "agent", {"w": np.arange(500) + len(run)})
    return list(repo.trajectory(run).oids)


def lose(repo: Repository, clock: Clock, count: int, run: str = "lost") -> list[Oid]:
    """Record a run, delete it, and let its time pass; return its states."""
    oids = record(repo, run, count)
    forget(repo, clock, run)
    return oids


def forget(repo: Repository, clock: Clock, run: str) -> None:
    """Delete a run, and let its time pass."""
    repo.delete_run(run, force=True)
    commits(repo, 110)  # the newest 100 operations stay, however old they are
    clock.wait(100)
    commits(repo, 20)
    clock.wait(20)


def lose_for_good(repo: Repository, clock: Clock, count: int) -> list[Oid]:
    """Lose a run so that all of it can go, and nothing does by itself; return its states."""
    repo.set_setting("gc.auto", 0)
    oids = lose(repo, clock, count)
    repo.gc()
    clock.wait(20)
    return oids


def there(repo: Repository, oids: list[Oid]) -> int:
    with repo.odb.read() as txn:
        return sum(repo.odb.exists(txn, oid) for oid in oids)


def collection(repo: Repository, clock: Clock) -> BackgroundCollection:
    return BackgroundCollection(repo.odb.on(repo.odb.storage), repo.refs, clock)


def is_collecting(repo: Repository) -> bool:
    found = repo._maintenance._background
    return found is not None and found.is_collecting


def collect(repo: Repository, clock: Clock) -> None:
    upkeep = collection(repo, clock)
    while upkeep.slice():
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
def test_what_is_lost_goes_by_itself(repo: Repository, clock: Clock) -> None:
    oids, kept = lose(repo, clock, 300), record(repo, "kept", 50)
    commits(repo, 20)
    assert there(repo, oids) == 0
    assert there(repo, kept) == 50
    assert repo.fsck().is_clean
    assert not repo.gc().removed.states


@pytest.mark.usefixtures("patient")
def test_zero_turns_it_off(repo: Repository, clock: Clock) -> None:
    repo.set_setting("gc.auto", 0)
    oids = lose(repo, clock, 30)
    commits(repo, 20)
    assert there(repo, oids) == 30


@pytest.mark.usefixtures("patient")
def test_it_comes_once_a_day(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    begin = BackgroundCollection._begin
    monkeypatch.setattr(BackgroundCollection, "_begin", lambda self: begun.append(1) or begin(self))
    commits(repo, 30)
    assert not begun
    for _ in range(3):
        clock.wait(1.1)
        commits(repo, 30)
    assert len(begun) == 3
    clock.wait(-50)  # a clock that was wrong
    commits(repo, 30)
    assert len(begun) == 4


@pytest.mark.usefixtures("patient")
def test_a_long_run_goes_in_pieces(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.set_setting("gc.auto", 0)
    oids = lose(repo, clock, 1000)
    collect(repo, clock)  # what was lost is pending from now on
    clock.wait(20)
    monkeypatch.setattr(background, "MAX_STATES", 300)
    counts = []
    for _ in range(4):
        collect(repo, clock)
        counts.append(there(repo, oids))
        assert repo.fsck().is_clean
    assert counts == [700, 400, 100, 0]


@pytest.mark.usefixtures("patient")
def test_what_is_brought_back_before_it_goes_stays(repo: Repository, clock: Clock) -> None:
    oids = lose_for_good(repo, clock, 50)
    upkeep = collection(repo, clock)
    assert upkeep._read()  # it knows that they are lost
    repo.branch("back", oids[30])
    while upkeep.slice():
        pass
    assert there(repo, oids) == 31
    assert repo.fsck().is_clean


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
def test_what_comes_back_and_is_lost_again_has_its_time_again(
    repo: Repository, clock: Clock
) -> None:
    oids = lose(repo, clock, 50)
    repo.branch("back", oids[30])
    repo.delete_run("back", force=True)
    commits(repo, 110)
    assert there(repo, oids) == 31
    clock.wait(100)
    commits(repo, 20)  # the logs forget it
    clock.wait(10)
    commits(repo, 20)
    assert there(repo, oids) == 31
    clock.wait(10)
    commits(repo, 20)
    assert there(repo, oids) == 0


def test_what_does_not_fit_into_slices_is_left_to_gc(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "COLLECTION_SLICE", -1.0)
    oids = lose(repo, clock, 50)
    upkeep, slices = collection(repo, clock), 1
    while upkeep.slice():
        slices += 1
    assert slices < 10
    assert there(repo, oids) == 50
    with repo.odb.read() as txn:
        assert txn.get("meta", COLLECTED) == clock().to_bytes(8, "big")  # not again today
    repo.gc()
    clock.wait(20)
    assert repo.gc().removed.states == 50


@pytest.mark.usefixtures("patient")
def test_where_there_is_too_much_nothing_is_tried(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MAX_FOLLOWED", 100)
    oids = lose(repo, clock, 50)
    upkeep = collection(repo, clock)
    assert not upkeep.slice()
    assert there(repo, oids) == 50


@pytest.mark.usefixtures("patient")
def test_processes_of_one_command_each_get_it_done(repo: Repository, clock: Clock) -> None:
    assert repo.worktree is not None
    oids = lose(repo, clock, 300)
    for i in range(2):
        with Repository.open(repo.worktree) as other:
            other.commit({"i": i}, run="other")
        clock.wait(20)
    assert there(repo, oids) == 0


@pytest.mark.usefixtures("patient")
def test_damage_keeps_nobody_from_recording_and_nothing_goes(
    repo: Repository, clock: Clock
) -> None:
    record(repo, "damaged", 10)
    with repo.odb.storage.write() as txn:
        key, value = next(txn.scan("attachments"))
        txn.put("attachments", key, bytes(32) + value[32:])
    oids = lose(repo, clock, 30)
    commits(repo, 20)
    assert there(repo, oids) == 30
    assert repo.runs["main"].step == 149


@pytest.mark.slow
def test_a_slice_is_short(repo: Repository, clock: Clock) -> None:
    repo.set_setting("gc.auto", 0)
    for i in range(20):
        with repo.recorder(f"r{i}") as rec:
            for step in range(200):
                agent = (
                    {"agent": {"w": np.arange(50.0) + i, "step": step}} if step % 10 == 0 else {}
                )
                rec.append([step, i], attachments=agent)
    lose(repo, clock, 3000)
    repo.gc()
    clock.wait(20)
    upkeep, longest, more = collection(repo, clock), 0.0, True
    while more:
        start = time.thread_time()  # not by the clock: other processes have the machine too
        more = upkeep.slice()
        longest = max(longest, time.thread_time() - start)
    assert longest < COLLECTION_SLICE + 0.035


@pytest.mark.usefixtures("patient")
def test_settings_that_are_changed_meanwhile_count(repo: Repository, clock: Clock) -> None:
    oids = lose_for_good(repo, clock, 50)
    upkeep = collection(repo, clock)
    assert upkeep._begin()
    repo.set_setting("gc.grace", 100)
    while upkeep.slice():
        pass
    assert there(repo, oids) == 50
    collect(repo, clock)
    repo.set_setting("gc.grace", 10)
    collect(repo, clock)
    assert there(repo, oids) == 0


def test_what_is_turned_off_meanwhile_does_not_go_on(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "COLLECTION_SLICE", -1.0)  # a step a slice
    commits(repo, 1)
    clock.wait(2)
    commits(repo, 8)
    assert is_collecting(repo)
    repo.set_setting("gc.auto", 0)
    commits(repo, 8)
    assert not is_collecting(repo)


def index_entries(repo: Repository) -> int:
    with repo.odb.read() as txn:
        return sum(run.entries for run in repo.odb.states.index.runs(txn))


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
def test_a_large_part_of_the_index_is_left_to_gc(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.set_setting("gc.auto", 0)
    oids = lose(repo, clock, 2000)
    repo.gc()
    clock.wait(20)
    monkeypatch.setattr(background, "MAX_INDEX_ENTRIES", 1000)
    collect(repo, clock)
    assert there(repo, oids) == 0 and index_entries(repo) > 2000
    lose(repo, clock, 10, "little")
    collect(repo, clock)
    clock.wait(20)
    upkeep = collection(repo, clock)
    while upkeep.slice():
        pass
    assert upkeep.removed.states == 10 and index_entries(repo) > 2000
    assert not repo.gc().removed.states
    assert index_entries(repo) < 1000
    assert repo.fsck().is_clean


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kept", [0, 100])
def test_a_large_segment_goes_whole(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    repo.set_setting("gc.auto", 0)
    oids = lose(repo, clock, 500)
    if kept:
        repo.branch("kept", oids[kept - 1])
    repo.gc()  # it becomes one segment
    clock.wait(20)
    monkeypatch.setattr(background, "MAX_STATES", 300)
    collect(repo, clock)
    # of what a run leads to in part, the rest stays: it would have to be written anew
    assert there(repo, oids) == (500 if kept else 0)
    assert repo.fsck().is_clean


@pytest.mark.slow
@pytest.mark.parametrize("groups", [3, 40])
def test_many_arrays_go_though_reading_them_takes_several_slices(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    repo.set_setting("gc.auto", 0)
    with repo.recorder("lost") as rec:
        for i in range(128 * groups):
            rec.append({"frame": np.full((64, 16), i, np.uint16)})
    oids = list(repo.trajectory("lost").oids)
    forget(repo, clock, "lost")
    repo.gc()
    clock.wait(20)
    passed, counts = 0.0, []

    def read_slowly(txn: ReadTxn, key: bytes) -> bytes:
        nonlocal passed
        passed += 0.005
        counts[-1] += 1
        return read_group(txn, key)

    monkeypatch.setattr(truncate, "read_group", read_slowly)
    monkeypatch.setattr(time, "monotonic", lambda: passed)  # nothing else takes time
    upkeep, more = collection(repo, clock), True
    while more:
        counts.append(0)
        more = upkeep.slice()
    assert there(repo, oids) == 0
    assert max(counts) <= 0.024 / 0.005 + 1 and sum(counts) == groups
    monkeypatch.undo()
    assert repo.fsck().is_clean


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
def test_large_arrays_that_stay_are_not_read(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.set_setting("gc.auto", 0)
    record(repo, "kept", 5)
    weights = np.random.default_rng(0).standard_normal(10_000)
    for i in range(3):
        repo.attach("kept", f"agent-{i}", {"w": weights + (np.arange(10_000) == i)})
    oids = lose(repo, clock, 50, "another")
    collect(repo, clock)
    clock.wait(20)
    read = []

    def get_body(txn: ReadTxn, place: bytes) -> bytes:
        read.append(body_size(place))
        return overflow.get_body(txn, place)

    monkeypatch.setattr(database, "get_body", get_body)
    upkeep = collection(repo, clock)
    while upkeep.slice():
        pass
    assert there(repo, oids) == 0 and upkeep.removed.objects["array"] == 1
    assert max(read, default=0) < 40_000
    assert repo.fsck().is_clean


def test_ctrl_c_while_it_collects_at_the_end_closes_the_repository(
    repo: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "COLLECTION_SLICE", -1.0)  # a step a slice
    monkeypatch.setattr(BackgroundCollection, "_read", raise_interrupt)
    commits(repo, 1)
    clock.wait(2)
    commits(repo, 8)
    with pytest.raises(KeyboardInterrupt):
        repo.close()
    with pytest.raises(StorageError, match="closed"):
        repo.runs["main"]


def raise_interrupt(upkeep: BackgroundCollection) -> bool:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_the_next_plan_decodes_no_run_and_no_line_once_more(repo: Repository, clock: Clock) -> None:
    commits(repo, 1)
    with repo.transaction():
        for i in range(200):
            repo.commit({"i": i}, run=f"run-{i}")
    upkeep = collection(repo, clock)
    assert upkeep._read()
    before = decode_line.cache_info().misses, decode_run.cache_info().misses
    assert upkeep._read()
    assert (decode_line.cache_info().misses, decode_run.cache_info().misses) == before


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
def test_an_object_of_which_nothing_is_left_keeps_nobody_from_recording(
    repo: Repository, clock: Clock
) -> None:
    record(repo, "damaged", 10)
    with repo.odb.storage.write() as txn:
        key, _ = next(txn.scan("objects"))
        txn.put("objects", key, b"")
    lose(repo, clock, 30)
    commits(repo, 20)
    assert repo.runs["main"].step == 149
    assert not repo.fsck().is_clean
