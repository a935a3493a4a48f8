"""The log reads what it shows, block by block, whatever happens to the blocks meanwhile."""

from __future__ import annotations

from io import BytesIO
from itertools import islice

import pytest

from simgit import IntegrityError, Repository, SimgitWarning
from simgit.odb.segments.state_store import StateStore


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def test_the_first_page_of_a_log_reads_one_block_of_a_long_history(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with repo.recorder("main", flush_every=100) as recorder:
        for step in range(5_000):
            recorder.append(step)
    looked_up = []
    header = StateStore.header
    monkeypatch.setattr(StateStore, "header", lambda *args: looked_up.append(1) or header(*args))
    assert [line.step for line in islice(repo.log("main"), 20)] == [*range(4_999, 4_979, -1)]
    assert len(looked_up) < 20


def test_a_log_goes_on_while_the_blocks_are_joined(repo: Repository) -> None:
    with repo.recorder("main", flush_every=100) as recorder:
        for step in range(5_000):
            recorder.append(step)
    for reverse in (False, True):
        log = repo.log("main", reverse=reverse)
        steps = [line.step for line in islice(log, 150)]
        repo.gc()
        steps += [line.step for line in log]
        assert steps == sorted(range(5_000), reverse=not reverse)


DAY = 24 * 3600 * 10**9


@pytest.fixture
def dated(monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Steps 0 to 5 of a run, two each day, and step 3 to 4 of another one a day after that."""
    clock = [1_800_000_000 * 10**9]
    monkeypatch.setattr("simgit.recording.states.now", lambda: clock[0])
    repo = Repository.init(":memory:")
    with repo.recorder("main", flush_every=2) as recorder:
        for i in range(6):
            recorder.append(action=i)
            clock[0] += DAY * (i % 2)
    repo.branch("try", "main@2")
    with repo.recorder("try") as recorder:
        for i in range(2):
            recorder.append(action=-i)
    return repo


def test_states_are_found_by_when_they_were_recorded(dated: Repository) -> None:
    begun = dated.time("main@0")
    assert begun is not None
    days = [((line.time or 0) - begun) // DAY for line in dated.log("main", reverse=True)]
    assert days == [0, 0, 1, 1, 2, 2]
    steps = lambda **limits: [line.step for line in dated.log("main", **limits)]  # noqa: E731
    assert steps(since=begun + DAY) == [5, 4, 3, 2]
    assert steps(until=begun + DAY) == [3, 2, 1, 0]
    assert steps(since=begun + 1, until=begun + DAY) == [3, 2]
    assert steps(since=begun + DAY, limit=1, reverse=True) == [5]
    assert steps(since=begun + DAY, where="action == 3") == [3]
    assert steps(since=begun + 9 * DAY) == []
    assert [line.step for line in dated.log("try", since=begun + DAY)] == [4, 3, 2]
    assert [line.step for line in dated.log(every=True, since=begun + 3 * DAY)] == [4, 3]


def test_a_time_is_no_part_of_an_oid_and_goes_with_its_state(dated: Repository) -> None:
    other = Repository.init(":memory:")
    with other.recorder("main") as recorder:
        for i in range(6):
            recorder.append(action=i)
    assert other.resolve("main") == dated.resolve("main")
    assert other.time("main") != dated.time("main")
    before = dated.time("main@3")
    dated.reset("main@3")
    dated.gc(grace=0, expire=0)
    assert dated.time("main") == before
    dated.commit(action=7)
    with dated.odb.read() as txn:
        spans = [span for _, span in txn.scan("meta", b"time\0", b"time\1")]
    assert len(spans) == 4  # those of the states that are gone are gone
    dated.delete_run("try")
    assert not dated.fsck().problems


def test_states_without_a_time_say_so(dated: Repository) -> None:
    with dated.odb.write() as txn:  # as an older version recorded them
        first, *_ = [key for key, _ in txn.scan("meta", b"time\0", b"time\1")]
        txn.delete("meta", first)
    assert dated.time("main@1") is None
    assert [line.time is None for line in dated.log("main")] == [False] * 4 + [True] * 2
    with pytest.warns(SimgitWarning, match="2 states left out: it is not known when they were"):
        assert [line.step for line in dated.log("main", since=1)] == [5, 4, 3, 2]


def test_what_a_bundle_brings_has_no_time(dated: Repository) -> None:
    packed = BytesIO()
    dated.create_bundle(packed, ["main"])
    packed.seek(0)
    other = Repository.init(":memory:")
    other.import_bundle(packed)
    assert other.time("main") is None
    other.commit(action=8)
    assert other.time("main") is not None and other.time("main~1") is None


def test_a_damaged_time_is_found_and_removed(dated: Repository) -> None:
    with dated.odb.write() as txn:
        key, value = next(txn.scan("meta", b"time\0", b"time\1"))
        txn.put("meta", key, value[:-1] + bytes([value[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="the time of recorded states is damaged"):
        dated.time("main@1")
    assert [problem.kind for problem in dated.fsck().problems] == ["times"]
    dated.repair()
    assert not dated.fsck().problems and dated.time("main@1") is None
