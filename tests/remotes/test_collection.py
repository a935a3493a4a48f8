"""gc of a remote deletes what no ref leads to, long after, and never what one leads to."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Conflict, IntegrityError, InvalidInput, Repository
from simgit.errors import StorageError, TransportError
from simgit.remotes import joining, layout, packs, tombs
from simgit.remotes.bundle import verify
from simgit.remotes.checking import RemoteCheck, check
from simgit.remotes.collection import collect
from simgit.remotes.layout import ClaimRecord, PackEntry, PackStretch, RemoteRef
from simgit.remotes.lease import LASTS, RENEWED, LeaseRecord, RemoteLease
from simgit.remotes.remote import Remote
from simgit.remotes.transport.base import Transport
from simgit.worker import claim
from tests.remotes.remote_support import (
    DAY,
    HOUR,
    Clock,
    ClockedDirectory,
    ClockedMemory,
    Killed,
    Watched,
    check_whole,
    close,
    fetch,
    gc,
    killed_at,
    opened,
    push,
)
from tests.remotes.test_bundle import fill

GRACE = 14 * DAY
_numbers = itertools.count()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> ClockedMemory:
    return new_memory(clock)


def new_memory(clock: Clock) -> ClockedMemory:
    return ClockedMemory(f"collection-{next(_numbers)}", clock)


@pytest.fixture(params=["memory", "directory"])
def storage(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Transport:
    if request.param == "memory":
        return new_memory(clock)
    return ClockedDirectory(tmp_path / "remote", clock)


@pytest.fixture
def repo() -> Iterator[Repository]:
    with Repository.init(":memory:") as repo:
        yield repo


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tombs, "_PATIENCE", 0)


def commit(repo: Repository, run: str, count: int = 5, value: int = 0) -> None:
    for i in range(count):
        repo.commit({"y": i, "v": value}, i, 1.0, run=run)


def keys(storage: Transport, place: str) -> list[str]:
    return [each.key for each in storage.list(place)]


def checked(storage: Transport, **options: Any) -> RemoteCheck:
    connection = opened(storage)
    try:
        return check(connection, **options)
    finally:
        close(connection)


def entries(storage: Transport, ref: str) -> list[PackEntry]:
    connection = opened(storage)
    seen = connection.read_ref(ref)
    assert seen is not None
    return connection.entries(seen.ref)


def orphans(repo: Repository, storage: Transport, clock: Clock) -> list[str]:
    """Push packs that no ref leads to, by a push that is killed; return their keys."""
    before = set(keys(storage, layout.PACKS))

    def hook(number: int, what: str, key: str) -> None:
        if key.startswith(layout.REFS) and what in ("put_new", "put_if"):
            raise Killed

    with pytest.raises(Killed):
        push(repo, Watched(storage, hook), clock=clock)
    return sorted(set(keys(storage, layout.PACKS)) - before)


# --- phases -------------------------------------------------------------------------------------


def test_what_no_ref_leads_to_is_deleted_after_two_grace_periods(
    repo: Repository, storage: Transport, clock: Clock
) -> None:
    commit(repo, "main")
    push(repo, storage, clock=clock)
    whole = check_whole(storage)
    commit(repo, "main")
    (orphan,) = orphans(repo, storage, clock)
    size = storage.head(orphan).size
    first = gc(storage, clock)
    assert (first.young, first.young_bytes, first.tombed) == (1, size, 0)
    clock.sleep(GRACE + HOUR)
    second = gc(storage, clock)
    assert (second.tombed, second.tombed_bytes, second.deleted) == (1, size, 0)
    clock.sleep(GRACE - HOUR)
    third = gc(storage, clock)
    assert (third.waiting, third.waiting_bytes, third.deleted) == (1, size, 0)
    assert orphan in keys(storage, layout.PACKS)
    clock.sleep(2 * HOUR)
    fourth = gc(storage, clock)
    assert (fourth.deleted, fourth.deleted_bytes) == (1, size)
    assert orphan not in keys(storage, layout.PACKS) and not keys(storage, layout.TOMBS)
    assert (fourth.refs, fourth.packs) == (1, 1)
    assert check_whole(storage) == whole
    assert checked(storage).is_clean
    push(repo, storage, clock=clock)  # what was deleted is sent again
    assert check_whole(storage)["runs/main"][0] == repo.state("main").oid


def test_a_pack_that_was_never_tombed_or_is_younger_than_its_tomb_stays(
    repo: Repository, memory: ClockedMemory, clock: Clock
) -> None:
    commit(repo, "main")
    push(repo, memory, clock=clock)
    commit(repo, "main")
    (orphan,) = orphans(repo, memory, clock)
    clock.sleep(GRACE + HOUR)
    gc(memory, clock)
    clock.sleep(GRACE + HOUR)
    data = memory.objects[orphan].data
    memory.put(orphan, data)  # by a writer that did not look for tombs yet
    assert gc(memory, clock).deleted == 0
    assert not keys(memory, layout.TOMBS)
    tomb = layout.TOMBS + orphan[-64:]
    memory.put(tomb, tombs.encode_tomb(tombs.DELETING, bytes(16)))  # that a killed gc has left
    clock.sleep(HOUR)
    assert gc(memory, clock).deleted == 0
    assert not keys(memory, layout.TOMBS) and orphan in memory.objects


@pytest.mark.parametrize("grace", [0.0, 1 / 25, -1.0, float("nan")])
def test_a_grace_period_of_less_than_an_hour_is_refused(
    repo: Repository, memory: ClockedMemory, clock: Clock, grace: float
) -> None:
    commit(repo, "main")
    push(repo, memory, clock=clock)
    with pytest.raises(InvalidInput, match="an hour"):
        gc(memory, clock, grace_days=grace)
    gc(memory, clock, grace_days=1 / 24)


def test_a_remote_that_is_read_only_here_is_not_collected(
    repo: Repository, memory: ClockedMemory, clock: Clock
) -> None:
    commit(repo, "main")
    push(repo, memory, clock=clock)
    connection = opened(memory)
    connection.read_only = True
    with pytest.raises(InvalidInput, match="read-only"):
        collect(connection, now=clock)
    assert collect(connection, now=clock, dry_run=True).packs == 1


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    repo: Repository, memory: ClockedMemory, clock: Clock
) -> None:
    for _ in range(10):
        commit(repo, "main", 2)
        push(repo, memory, clock=clock)
    commit(repo, "main")
    orphans(repo, memory, clock)
    memory.put(f"{layout.PROBE}left", b"1")
    same: tuple[str, ...] = (
        "deleted",
        "deleted_bytes",
        "tombed",
        "tombed_bytes",
        "waiting",
        "rescued",
        "shards",
    )
    same += "joined", "into", "leftovers", "young"
    for _ in range(3):
        clock.sleep(GRACE + HOUR)
        before = dict(memory.objects)
        said = gc(memory, clock, dry_run=True)
        assert memory.objects == before and said.is_dry_run
        done = gc(memory, clock)
        assert [getattr(said, name) for name in same] == [getattr(done, name) for name in same]
    assert done.deleted


# --- what was taken away ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["forced", "deleted"])
def test_a_ref_that_was_taken_away_can_be_had_back_for_a_grace_period(
    repo: Repository, memory: ClockedMemory, clock: Clock, how: str
) -> None:
    commit(repo, "main", 4, 1)
    push(repo, memory, clock=clock)
    whole = check_whole(memory)
    clock.sleep(GRACE + HOUR)
    if how == "deleted":
        push(repo, memory, [], ["runs/main"], clock=clock)
    else:
        with Repository.init(":memory:") as other:
            commit(other, "main", 4, 2)
            fetch(other, memory)
            report = push(other, memory, clock=clock, force=True)
            assert report.refs["runs/main"].what == "forced"
    for _ in range(2):
        gc(memory, clock)
        clock.sleep(GRACE / 2 - HOUR)
    ((entry, old),) = log_of(memory)
    assert old.name == "runs/main"
    connection = opened(memory)
    now = connection.read_ref("runs/main")
    assert now is not None
    connection.write_ref(replace(old, seq=now.ref.seq + 1), now)
    assert check_whole(memory) == whole
    connection.write_ref(replace(now.ref, seq=9), connection.read_ref("runs/main"))
    clock.sleep(3 * HOUR)
    done = gc(memory, clock)
    assert done.log == 1 and entry not in memory.objects
    clock.sleep(GRACE + HOUR)
    gc(memory, clock)
    assert len(keys(memory, layout.PACKS)) == (how == "forced")
    check_whole(memory)


def log_of(storage: Transport) -> list[tuple[str, RemoteRef]]:
    found = []
    info = opened(storage).info
    for key in keys(storage, layout.LOG):
        got = storage.get(key)
        assert got is not None
        found.append((key, tombs.decode_log(got.data, key, info.id)))
    return found


# --- what is damaged ----------------------------------------------------------------------------


def test_gc_deletes_nothing_while_it_cannot_know_what_is_needed(
    repo: Repository, memory: ClockedMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_LISTED", 2)
    monkeypatch.setattr(packs, "CUT", 300)
    for _ in range(4):
        commit(repo, "main", 3)
        push(repo, memory, clock=clock)
    repo.branch("b", "main")
    push(repo, memory, clock=clock)
    commit(repo, "main")
    orphans(repo, memory, clock)
    clock.sleep(GRACE + HOUR)
    assert gc(memory, clock, join=False).tombed
    clock.sleep(GRACE + HOUR)
    push(repo, memory, [], ["runs/b"], clock=clock)
    good = dict(memory.objects)
    shard = keys(memory, layout.INDEX)[-1]
    places = [layout.key_of_ref("runs/main"), shard, log_of(memory)[0][0]]
    named = {key: bytearray(good[key].data) for key in places}
    for key, data in named.items():
        data[len(data) // 2] ^= 1
        memory.put(key, bytes(data))
        with pytest.raises(IntegrityError, match=r"nothing was deleted.*fsck --remote"):
            gc(memory, clock, join=False)
        assert {key for key in memory.objects if key.startswith(layout.PACKS)} == {
            key for key in good if key.startswith(layout.PACKS)
        }
        memory.objects.clear()
        memory.objects.update(good)
    for key in (shard,):
        del memory.objects[key]
        with pytest.raises(IntegrityError, match="nothing was deleted"):
            gc(memory, clock, join=False)
        memory.objects.update(good)
    memory.put("refs/runs/no ref@".replace(" ", "%2"), b"x")
    with pytest.raises(IntegrityError, match="nothing was deleted"):
        gc(memory, clock, join=False)
    memory.delete(["refs/runs/no%2ref@"])
    assert gc(memory, clock, join=False).deleted


def test_packs_that_are_missing_are_told(
    repo: Repository, memory: ClockedMemory, clock: Clock
) -> None:
    commit(repo, "main")
    push(repo, memory, clock=clock)
    (key,) = keys(memory, layout.PACKS)
    memory.delete([key])
    assert gc(memory, clock).missing == [key]


# --- the lease ----------------------------------------------------------------------------------


def lease_of(storage: Transport) -> LeaseRecord:
    got = storage.get(layout.LEASE)
    assert got is not None
    return LeaseRecord.decode(got.data)


def test_there_is_one_gc_at_a_time(memory: ClockedMemory, clock: Clock) -> None:
    with RemoteLease(memory, clock) as lease:
        clock.sleep(5)
        since = r"since 2023-11-14 22:13:20 UTC \(.* 5 s ago"
        with pytest.raises(Conflict, match=since), RemoteLease(memory, clock):
            pass
        clock.sleep(RENEWED)
        lease.check()
        assert lease_of(memory) == LeaseRecord(lease.holder, int(1.7e9))
        assert lease.now == 1.7e9 + RENEWED + 5
        clock.sleep(LASTS - 1)
        with pytest.raises(Conflict, match="another gc"), RemoteLease(memory, clock):
            pass
    assert lease_of(memory).holder == b""
    with RemoteLease(memory, clock):  # at once
        pass


def test_a_dead_gc_makes_room_after_a_while_and_one_that_wakes_up_stops(
    memory: ClockedMemory, clock: Clock
) -> None:
    first = RemoteLease(memory, clock)
    first.__enter__()
    clock.sleep(LASTS + 1)
    with RemoteLease(memory, clock) as second:
        with pytest.raises(Conflict, match="did nothing for a while"):
            first.check()
        first.__exit__()
        assert lease_of(memory).holder == second.holder
    # it stops too if nobody has taken over: it must not go on from what it knew
    third = RemoteLease(memory, clock)
    third.__enter__()
    clock.sleep(LASTS + 1)
    with pytest.raises(Conflict, match="run it again"):
        third.check()


def test_a_gc_whose_lease_was_taken_stops(memory: ClockedMemory, clock: Clock) -> None:
    with RemoteLease(memory, clock) as lease:
        memory.put(layout.LEASE, LeaseRecord(bytes(16), None).encode())
        clock.sleep(RENEWED + 1)
        with pytest.raises(Conflict, match="took over"):
            lease.check()
        with pytest.raises(Conflict):
            lease.check()
    assert lease_of(memory).holder == bytes(16)


def test_a_damaged_lease_is_taken_over_when_it_is_old(memory: ClockedMemory, clock: Clock) -> None:
    memory.put(layout.LEASE, b"nothing of sense")
    with pytest.raises(Conflict), RemoteLease(memory, clock):
        pass
    clock.sleep(LASTS + 1)
    with RemoteLease(memory, clock):
        pass


def test_a_lost_answer_is_no_lost_lease(memory: ClockedMemory, clock: Clock) -> None:
    lost: list[str] = []

    class Losing(Watched):
        def _lose(self, key: str) -> None:
            if key not in lost:
                lost.append(key)
                error = TransportError("lost")
                error.unknown = True
                raise error

        def put_new(self, key: str, data: bytes) -> str:
            etag = super().put_new(key, data)
            self._lose(f"new {key}")
            return etag

        def put_if(self, key: str, data: bytes, etag: str) -> str:
            new = super().put_if(key, data, etag)
            self._lose(f"if {key}")
            return new

    with RemoteLease(Losing(memory, lambda *_: None), clock) as lease:
        clock.sleep(RENEWED + 1)
        lease.check()
        assert lease_of(memory).holder == lease.holder
    assert lost == [f"new {layout.LEASE}", f"if {layout.LEASE}"]


def test_the_lease_is_renewed_while_a_step_takes_long(
    memory: ClockedMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simgit.remotes.lease.RENEWED", 0.01)
    written = threading.Event()

    def hook(number: int, what: str, key: str) -> None:
        if what == "put_if":
            written.set()

    with RemoteLease(Watched(memory, hook), clock):
        assert written.wait(10)


# --- at once ------------------------------------------------------------------------------------


class Scene:
    """A remote with what a gc has to do, made anew for each try."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.storage = new_memory(self.clock)
        self.repo = Repository.init(":memory:")
        for run in ("main", "b"):
            commit(self.repo, run, 3)
            push(self.repo, self.storage, clock=self.clock)
        commit(self.repo, "main", 3)
        orphans(self.repo, self.storage, self.clock)
        self.clock.sleep(GRACE + HOUR)
        gc(self.storage, self.clock)  # a tomb
        push(self.repo, self.storage, [], ["runs/b"], clock=self.clock)
        self.clock.sleep(GRACE + HOUR)
        for _ in range(4):
            commit(self.repo, "c", 2)
            push(self.repo, self.storage, ["runs/c"], clock=self.clock)
        self.storage.put(f"{layout.PROBE}left", b"1")
        self.clock.sleep(2 * HOUR)
        self.whole = check_whole(self.storage)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "MANY", 2)


def requests_of(make: Callable[[], Scene]) -> int:
    scene = make()
    watched = Watched(scene.storage, lambda *_: None)
    gc(watched, scene.clock)
    return watched.number


@pytest.mark.slow
def test_a_gc_that_was_killed_anywhere_is_ended_by_the_next(few: None) -> None:
    total = requests_of(Scene)
    scene = Scene()
    gc(scene.storage, scene.clock)
    ended = {key for key in scene.storage.objects if not key.startswith(layout.LOG)}
    assert total > 25
    for number in range(total):
        scene = Scene()
        with pytest.raises(Killed):
            gc(killed_at(scene.storage, number), scene.clock)
        assert check_whole(scene.storage) == scene.whole
        if number > 3:
            with pytest.raises(Conflict, match="if it was killed"):
                if lease_of(scene.storage).holder:
                    gc(scene.storage, scene.clock)
                else:
                    raise Conflict("if it was killed, it was at its end")
        scene.clock.sleep(LASTS + 1)
        gc(scene.storage, scene.clock)
        for _ in range(3):
            scene.clock.sleep(GRACE + HOUR)
            gc(scene.storage, scene.clock)
        assert check_whole(scene.storage) == scene.whole
        found = checked(scene.storage)
        assert found.is_clean and not found.unreferenced and not found.tombs
        assert len(keys(scene.storage, layout.PACKS)) == 2
        assert len(ended) >= len(scene.storage.objects)


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, LASTS + 1.0])
def test_two_gcs_at_once_do_no_harm(few: None, pause: float) -> None:
    total = requests_of(Scene)
    ends = set()
    for number in range(total):
        scene = Scene()
        other: list[str] = []

        def hook(
            now: int, what: str, key: str, number: int = number, scene: Scene = scene,
            other: list[str] = other,
        ) -> None:  # fmt: skip
            if now == number:
                scene.clock.sleep(pause)
                try:
                    gc(scene.storage, scene.clock)
                    other.append("done")
                except Conflict:
                    other.append("refused")

        try:
            gc(Watched(scene.storage, hook), scene.clock)
            mine = "done"
        except Conflict:
            mine = "refused"
        ends.add((mine, other[0]))
        assert "done" in (mine, other[0])
        assert check_whole(scene.storage) == scene.whole
        assert checked(scene.storage).is_clean
    assert (("refused", "done") in ends) == bool(pause)
    assert (("done", "refused") in ends) == (not pause)


# --- pushes -------------------------------------------------------------------------------------


class Pushing:
    """A push that is about to begin."""

    def __init__(self, scene: str) -> None:
        self.clock = Clock()
        self.storage = new_memory(self.clock)
        self.repo = Repository.init(":memory:")
        self.options: dict[str, Any] = {}
        self.names: list[str] | None = None
        with Repository.init(":memory:") as first:
            for value in range(3):
                commit(first, "main", 3, value)
                first.attach("main", "note", bytes([value]) * 400)
                push(first, self.storage, clock=self.clock)
            self.clock.sleep(GRACE + HOUR)
            fetch(self.repo, self.storage)
            self.repo.branch("mine", "origin/main")
            if scene == "forced":
                self.repo.branch("main", "origin/main~4")
                commit(self.repo, "main", 2, 7)
                self.options = {"force": True}
                self.names = ["runs/main"]
            else:
                commit(self.repo, "mine", 4, 5)
                self.repo.attach("mine", "note", bytes(500))
                self.names = ["runs/mine"]
            if scene == "known":
                orphans(self.repo, self.storage, self.clock)
                self.clock.sleep(2 * GRACE)
                gc(self.storage, self.clock)
                assert keys(self.storage, layout.TOMBS)
            if scene == "goes on":
                push(self.repo, self.storage, self.names, clock=self.clock)
                self.clock.sleep(GRACE + HOUR)
                commit(self.repo, "mine", 4, 5)
        self.removes_base = scene == "base leaves"

    def collect(self) -> None:
        """Let a grace period pass, and gc run."""
        self.clock.sleep(GRACE + HOUR)
        gc(self.storage, self.clock)

    def run(self, pauses: tuple[int, ...]) -> int:
        """Push, with a gc before some requests; return the number of requests."""

        def hook(now: int, what: str, key: str) -> None:
            for _ in range(pauses.count(now)):
                if self.removes_base:
                    with Repository.init(":memory:") as other:
                        push(other, self.storage, [], ["runs/main"], clock=self.clock)
                    self.removes_base = False
                self.collect()

        watched = Watched(self.storage, hook)
        push(self.repo, watched, self.names, clock=self.clock, **self.options)
        return watched.number


SCENES = ["new", "goes on", "known", "forced", "base leaves"]


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("scene", SCENES)
def test_a_push_that_pauses_longer_than_the_grace_period_never_dangles(
    scene: str, shards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "CUT", 900)
    if shards:
        monkeypatch.setattr(layout, "MAX_LISTED", 2)
        monkeypatch.setattr(layout, "FANOUT", 2)
    total = Pushing(scene).run(())
    # each gc passes a grace period: the log expires, a tomb is written, a pack is deleted
    pauses = [(n,) * 4 for n in range(total)]
    pauses += [(n, n, m, m) for n in range(total) for m in range(n + 1, total)]
    loud = 0
    for pause in pauses:
        pushing = Pushing(scene)
        try:
            pushing.run(pause)
        except (Conflict, StorageError) as error:
            loud += 1
            assert "push again" in str(error) or "has no" in str(error) or "moved" in str(error)
            check_whole(pushing.storage)
            assert checked(pushing.storage).is_clean
            push(pushing.repo, pushing.storage, pushing.names, clock=pushing.clock,
                 **pushing.options)  # fmt: skip
        (name,) = pushing.names or [""]
        assert check_whole(pushing.storage)[name][0] == pushing.repo.state(name[5:]).oid
        assert checked(pushing.storage).is_clean
    assert loud


def test_a_pack_that_is_being_deleted_is_waited_for_and_sent_again(
    repo: Repository, memory: ClockedMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(repo, "main")
    (orphan,) = orphans(repo, memory, clock)
    tomb = layout.TOMBS + orphan[-64:]
    memory.put(tomb, tombs.encode_tomb(tombs.DELETING, bytes(16)))
    clock.sleep(2 * HOUR)
    with pytest.raises(StorageError, match="gc --remote"):
        push(repo, memory, clock=clock)
    monkeypatch.setattr(tombs, "_PATIENCE", 60)
    monkeypatch.setattr(tombs, "_PAUSE", 0.01)
    threading.Timer(0.1, lambda: memory.delete([orphan, tomb])).start()
    push(repo, memory, clock=clock)
    assert check_whole(memory)["runs/main"][0] == repo.state("main").oid


def test_a_tomb_that_a_writer_has_seen_keeps_its_pack_for_another_grace_period(
    repo: Repository, memory: ClockedMemory, clock: Clock
) -> None:
    commit(repo, "main")
    orphans(repo, memory, clock)
    clock.sleep(GRACE + HOUR)
    assert gc(memory, clock).tombed == 1
    assert orphans(repo, memory, clock) == []
    (tomb,) = keys(memory, layout.TOMBS)
    assert tombs.decode_tomb(memory.objects[tomb].data, tomb)[0] == tombs.KEPT
    clock.sleep(GRACE - HOUR)
    assert gc(memory, clock).waiting == 1
    clock.sleep(2 * HOUR)
    assert gc(memory, clock).waiting == 1
    assert tombs.decode_tomb(memory.objects[tomb].data, tomb)[0] == tombs.TOMBED
    clock.sleep(GRACE + HOUR)
    assert gc(memory, clock).deleted == 1
    # and one of a pack that has been named goes
    orphans(repo, memory, clock)
    clock.sleep(GRACE + HOUR)
    gc(memory, clock)
    push(repo, memory, clock=clock)
    assert gc(memory, clock).rescued == 1 and not keys(memory, layout.TOMBS)


def test_a_damaged_tomb_is_written_anew(
    repo: Repository, memory: ClockedMemory, clock: Clock
) -> None:
    commit(repo, "main")
    orphans(repo, memory, clock)
    clock.sleep(GRACE + HOUR)
    gc(memory, clock)
    (tomb,) = keys(memory, layout.TOMBS)
    memory.put(tomb, b"no tomb")
    assert not checked(memory).is_clean
    clock.sleep(GRACE + HOUR)
    assert gc(memory, clock).deleted == 0
    assert checked(memory).is_clean
    clock.sleep(GRACE + HOUR)
    assert gc(memory, clock).deleted == 1


def test_shards_and_what_tests_have_left_are_deleted_too(
    repo: Repository, storage: Transport, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_LISTED", 1)
    monkeypatch.setattr(layout, "FANOUT", 2)
    for _ in range(9):
        commit(repo, "main", 2)
        push(repo, storage, clock=clock)
    storage.put(f"{layout.PROBE}left", b"1")
    assert checked(storage).leftovers > 4
    assert gc(storage, clock, join=False).leftovers == 0
    deleted = 0
    for _ in range(2):
        clock.sleep(GRACE + HOUR)
        deleted += gc(storage, clock, join=False).shards
    assert deleted and checked(storage).leftovers == 0 and checked(storage).is_clean
    assert check_whole(storage)["runs/main"][0] == repo.state("main").oid


def test_claims_of_finished_work_are_deleted_when_they_are_old(
    repo: Repository, storage: Transport, clock: Clock
) -> None:
    commit(repo, "main")
    push(repo, storage, clock=clock)
    with Remote(opened(storage)) as remote:
        for name in ("done", "late", "free"):
            work = claim(remote, f"jobs/{name}")
            assert work is not None
            work.release() if name == "free" else work.finish()
    record = ClaimRecord(bytes(16), 1000, "held", 1)
    storage.put(layout.key_of_claim("jobs/held"), record.encode())
    storage.put(layout.key_of_claim("jobs/damaged"), b"damaged")
    assert gc(storage, clock).claims == 0
    clock.sleep(GRACE + HOUR)
    done = record._replace(state="done", seq=9)
    storage.put(layout.key_of_claim("jobs/late"), done.encode())
    assert gc(storage, clock, dry_run=True).claims == 1
    assert len(keys(storage, layout.CLAIMS)) == 5
    assert gc(storage, clock).claims == 1
    assert [key[7:] for key in keys(storage, layout.CLAIMS)] == [
        "jobs/damaged@", "jobs/free@", "jobs/held@", "jobs/late@"
    ]  # fmt: skip
    with Remote(opened(storage)) as remote:
        again = claim(remote, "jobs/done")
        assert again is not None and claim(remote, "jobs/late") is None
        again.release()


# --- joining ------------------------------------------------------------------------------------


def pushed_in_small_parts(repo: Repository, storage: Transport, clock: Clock) -> None:
    """Push what ``fill`` records as small packs, and what is recorded after it too."""
    fill(repo)
    names = ["tags/light", "runs/frames", "runs/files", "tags/v1", "runs/main", "runs/try"]
    for name in names:
        push(repo, storage, [name], clock=clock)
    push(repo, storage, clock=clock)
    for number in range(6):
        commit(repo, "main", 3, number)
        repo.attach("main", "agent", {"weights": [number] * 50})
        push(repo, storage, ["runs/main"], clock=clock)
    repo.branch("late", "main~4")
    for number in range(6):
        commit(repo, "main", 3, 10 + number)
        repo.commit({"z": number}, 1, run="late", files={"f": b"%d" % number * 500})
        repo.attach("late", "of", repo.state("main").oid.hex())
        push(repo, storage, ["runs/main", "runs/late"], clock=clock)


def attachments_of(repo: Repository) -> dict[bytes, bytes]:
    with repo.odb.read() as txn:
        return dict(txn.scan("attachments"))


@pytest.mark.slow
def test_joined_packs_hold_all_that_was_in_their_parts(
    repo: Repository, storage: Transport, clock: Clock
) -> None:
    pushed_in_small_parts(repo, storage, clock)
    whole = check_whole(storage)
    before = {name: entries(storage, name) for name in whole}
    assert max(map(len, before.values())) > 12
    done = gc(storage, clock)
    assert done.joined > done.into > 0 and done.moved >= 2 and done.left == 0
    after = {name: entries(storage, name) for name in whole}
    assert len(after["runs/main"]) < len(before["runs/main"]) / 3
    assert check_whole(storage) == whole
    found = checked(storage)
    assert found.is_clean and found.unreferenced == done.joined
    assert found.states == sum(
        entry.states for entry in {e.name: e for es in before.values() for e in es}.values()
    )
    for name, packs_now in after.items():
        place = {entry.name: i for i, entry in enumerate(packs_now)}
        for entry in packs_now:
            assert all(place[other] < place[entry.name] for other in entry.after if other in place)
            got = storage.get(layout.key_of_pack(entry.name))
            assert got is not None and len(got.data) == entry.size
            assert entry.states == sum(s.last - s.first + 1 for s in entry.stretches), name
    with Repository.init(":memory:") as other:
        fetch(other, storage)
        assert attachments_of(other) == attachments_of(repo)
    for _ in range(3):
        clock.sleep(GRACE + HOUR)
        gc(storage, clock)
    found = checked(storage)
    assert found.is_clean and not found.unreferenced and not found.tombs and not found.log
    assert check_whole(storage) == whole
    commit(repo, "main", 3)  # who has pushed before goes on
    push(repo, storage, ["runs/main"], clock=clock)
    assert check_whole(storage)["runs/main"][0] == repo.state("main").oid


def test_refs_that_share_packs_share_the_joined_one(
    repo: Repository, memory: ClockedMemory, clock: Clock
) -> None:
    for number in range(10):
        commit(repo, "main", 2, number)
        push(repo, memory, clock=clock)
    for run in ("a", "b"):
        repo.branch(run, "main")
        commit(repo, run, 2)
        push(repo, memory, clock=clock)
    repo.tag("t", "main")
    push(repo, memory, clock=clock)
    assert len(entries(memory, "runs/a")) == 11
    done = gc(memory, clock)
    assert (done.joined, done.into, done.moved) == (10, 1, 4)
    (shared,) = entries(memory, "runs/main")
    assert shared.stretches == (PackStretch("runs/main", 0, 19, repo.state("main").oid),)
    for name in ("runs/a", "runs/b"):
        first, *own = entries(memory, name)
        assert first == shared and sum(entry.states for entry in own) == 2
    assert gc(memory, clock).joined == 0
    check_whole(memory)


def test_a_ref_that_moved_meanwhile_keeps_its_packs(
    repo: Repository, memory: ClockedMemory, clock: Clock
) -> None:
    for number in range(10):
        commit(repo, "main", 2, number)
        push(repo, memory, clock=clock)
    repo.branch("b", "main")
    push(repo, memory, clock=clock)

    def hook(number: int, what: str, key: str) -> None:
        if what == "put_if" and key == layout.key_of_ref("runs/main") and not moved:
            moved.append(key)
            commit(repo, "main", 2)
            push(repo, memory, ["runs/main"], clock=clock)

    moved: list[str] = []
    done = gc(Watched(memory, hook), clock)
    assert (done.moved, done.left) == (1, 1)
    assert len(entries(memory, "runs/main")) == 11
    joined, record = entries(memory, "runs/b")
    assert joined.states == 20 and record.states == 0
    for _ in range(4):
        assert check_whole(memory)["runs/main"][0] == repo.state("main").oid
        clock.sleep(GRACE + HOUR)
        gc(memory, clock)
    assert checked(memory).is_clean


def test_small_packs_are_joined_around_large_ones_in_their_order(
    repo: Repository, memory: ClockedMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(15):
        commit(repo, "main", 2, number)
        if number == 7:
            repo.attach(
                "main",
                "large",
                np.random.default_rng(0).bytes(200_000),
            )
        push(repo, memory, clock=clock)
    large = max(entries(memory, "runs/main"), key=lambda entry: entry.size)
    monkeypatch.setattr(packs, "CUT", large.size)
    before = entries(memory, "runs/main")
    done = gc(memory, clock)
    now = entries(memory, "runs/main")
    assert done.joined == 14 and done.into == 2
    assert [entry.states for entry in now] == [14, 2, 14] and now[1] == large
    assert [e.stretches[0].first for e in now] == [0, 14, 16]
    assert before[7] == large
    assert check_whole(memory)["runs/main"] == (repo.state("main").oid, 1)


def test_many_packs_go_into_shards_when_they_are_joined(
    repo: Repository, memory: ClockedMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_LISTED", 3)
    monkeypatch.setattr(layout, "FANOUT", 2)
    for number in range(30):
        commit(repo, "main", 2, number)
        push(repo, memory, clock=clock)
    sizes = [entry.size for entry in entries(memory, "runs/main")]
    monkeypatch.setattr(packs, "CUT", max(sizes) * 3)
    done = gc(memory, clock)
    assert done.joined >= 29 and 7 < done.into < 16
    connection = opened(memory)
    seen = connection.read_ref("runs/main")
    assert seen is not None and seen.ref.shards and len(connection.entries(seen.ref)) < 17
    assert checked(memory).is_clean
    assert check_whole(memory)["runs/main"][0] == repo.state("main").oid


def test_what_two_packs_have_both_is_in_the_joined_one_once(
    memory: ClockedMemory, clock: Clock, repo: Repository, few: None
) -> None:
    commit(repo, "main", 4)
    repo.attach("main", "note", b"x" * 300)
    storages = [memory, new_memory(clock)]
    for storage in storages:
        with Repository.init(":memory:") as other:
            other.import_bundle(io.BytesIO(bundle_of(repo)))
            if storage is memory:
                commit(other, "main", 2)
            push(other, storage, clock=clock)
    found = [(e, storage) for storage in storages for e in entries(storage, "runs/main")]
    members = [(e, storage.objects[layout.key_of_pack(e.name)].data) for e, storage in found]
    assert [each.states for each, _ in members] == [6, 4]
    for order in ([0, 1], [1, 0], [0, 1, 0], [0, 0]):
        entry, data = joining.join([members[number] for number in order])
        assert entry.states == 6 and entry.stretches == members[0][0].stretches
        assert verify(io.BytesIO(data).read).states == 6
        assert entry.size < len(members[0][1]) + 200


def bundle_of(repo: Repository) -> bytes:
    out = io.BytesIO()
    repo.create_bundle(out, list(repo.runs))
    return out.getvalue()


def test_packs_that_are_not_what_their_entries_say_are_not_joined(
    repo: Repository, memory: ClockedMemory, clock: Clock, few: None
) -> None:
    for number in range(4):
        commit(repo, "main", 2, number)
        push(repo, memory, clock=clock)
    before = entries(memory, "runs/main")
    members = [(e, memory.objects[layout.key_of_pack(e.name)].data) for e in before]
    (entry, data), *rest = members
    for wrong in (
        entry._replace(states=3),
        entry._replace(stretches=()),
        entry._replace(stretches=(entry.stretches[0]._replace(last=5),)),
    ):
        with pytest.raises(IntegrityError, match="other states than refs say"):
            joining.join([(wrong, data), *rest])
    key = layout.key_of_pack(before[2].name)
    damaged = bytearray(memory.objects[key].data)
    damaged[-100] ^= 4
    memory.put(key, bytes(damaged))
    with pytest.raises(IntegrityError, match="damaged"):
        gc(memory, clock)
    assert entries(memory, "runs/main") == before
    assert lease_of(memory).holder == b""
