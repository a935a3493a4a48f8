"""A check of a remote tells every damage, and fetch never takes damaged bytes for a state."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simgit import IntegrityError, InvalidInput, Repository
from simgit.maintenance.fsck import Fsck
from simgit.remotes import layout, packs, tombs
from simgit.remotes.checking import RemoteCheck, RemoteProblem, check
from simgit.remotes.connection import Connection
from simgit.remotes.lease import LeaseRecord
from simgit.remotes.remote import Local, Remote
from simgit.remotes.transport.base import Transport
from tests.remotes.remote_support import (
    Clock,
    ClockedDirectory,
    ClockedMemory,
    close,
    fetch,
    opened,
    push,
)
from tests.remotes.test_bundle import fill

_numbers = itertools.count()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "directory"])
def storage(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Transport:
    if request.param == "memory":
        return ClockedMemory(f"checking-{next(_numbers)}", clock)
    return ClockedDirectory(tmp_path / "remote", clock)


@pytest.fixture
def memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> ClockedMemory:
    """A remote with shards and several packs, and one object of every kind."""
    monkeypatch.setattr(packs, "CUT", 700)
    monkeypatch.setattr(layout, "MAX_LISTED", 2)
    monkeypatch.setattr(layout, "FANOUT", 2)
    memory = ClockedMemory(f"checking-{next(_numbers)}", clock)
    with Repository.init(":memory:") as repo:
        for value in range(5):
            for i in range(4):
                repo.commit({"y": i, "v": value}, i, 1.0, run="main")
            repo.attach("main", "note", bytes([value]) * 300)
            if value == 3:
                repo.branch("b", "main~2")
                repo.tag("v1", "main", message="annotated")
            push(repo, memory, clock=clock)
        push(repo, memory, [], ["runs/b"], clock=clock)
    memory.put(layout.LEASE, LeaseRecord(bytes(range(16)), 5).encode())
    memory.put(tombs.key_of_tomb(bytes(32)), tombs.encode_tomb(tombs.TOMBED, bytes(16)))
    memory.put(f"{layout.PROBE}left", b"1")
    memory.put(layout.key_of_pack(bytes(32)), b"a pack that nothing names")
    memory.put("packs/nonsense", b"x")
    memory.put("other", b"x")
    return memory


def checked(storage: Transport, **options: Any) -> RemoteCheck:
    connection = opened(storage)
    try:
        return check(connection, **options)
    finally:
        close(connection)


def whole(odb: Any, refs: Any) -> Iterator[str]:
    for problem in Fsck(odb, refs, None).run().problems:
        yield str(problem)


def test_what_is_there_is_told(memory: ClockedMemory) -> None:
    found = checked(memory, deep=whole)
    assert found.problems == [] and found.is_clean
    assert (found.refs, found.deleted_refs) == (2, 1)
    named = {k for k in memory.objects if k.startswith(layout.PACKS)}
    assert found.packs == found.checked > 8 and found.shards > 1
    assert found.unreferenced_bytes >= len(b"a pack that nothing names")
    assert found.packs + found.unreferenced == len(named) - 1
    assert found.bytes + found.unreferenced_bytes + 1 == sum(
        len(memory.objects[key].data) for key in named
    )
    assert found.tombs == {tombs.TOMBED: 1}
    assert (found.log, found.locked_since) == (1, 5)
    assert sorted(found.strangers) == ["other", "packs/nonsense"]
    assert found.leftovers > 1 and found.requests and found.received > found.bytes


@pytest.mark.slow
def test_all_that_is_pushed_is_clean_and_can_be_fetched(storage: Transport, clock: Clock) -> None:
    with Repository.init(":memory:") as repo:
        fill(repo)
        push(repo, storage, clock=clock)
        states = repo.fsck().states
    told: list[tuple[str, int, int]] = []
    found = checked(storage, deep=whole, progress=lambda *each: told.append(each))
    assert found.is_clean and found.states == states and found.refs == 7
    assert {"refs", "packs", "fetch"} <= {what for what, _, _ in told}
    before = found.requests
    found = checked(storage, quick=True)
    assert found.is_clean and found.checked == 0 and found.requests < before


@pytest.mark.slow
def test_a_full_check_is_one_of_all_that_can_be_fetched(storage: Transport, clock: Clock) -> None:
    with Repository.init(":memory:") as repo:
        for i in range(4):
            repo.commit({"y": i}, i, 1.0, run="main")
        push(repo, storage, clock=clock)
        local = Local(repo.odb, repo.refs, repo._store.journaled, "origin", whole)
        with Remote.of(storage, local) as remote:
            told: list[str] = []
            assert remote.fsck(deep=True, progress=lambda *each: told.append(each[0])).is_clean
            assert "fetch" in told
    with Remote(opened(storage)) as remote, pytest.raises(InvalidInput, match="without a repo"):
        remote.fsck(deep=True)


def test_samples_are_all_packs_together(memory: ClockedMemory) -> None:
    total = checked(memory).checked
    parts = [checked(memory, sample=(k, 3)).checked for k in (1, 2, 3)]
    assert sum(parts) == total and all(parts)
    for part in ((0, 3), (4, 3), (1, 0)):
        with pytest.raises(InvalidInput, match="the part must be 1 to"):
            checked(memory, sample=part)


def test_a_large_pack_is_read_in_parts(
    memory: ClockedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simgit.remotes.connection._WHOLE", 100)
    monkeypatch.setattr("simgit.remotes.connection._PART", 64)
    assert checked(memory).is_clean
    key = max(named_packs(memory), key=lambda key: len(memory.objects[key].data))
    flip(memory, key, 70)
    assert [each.key for each in checked(memory).problems] == [key]


# --- damage -------------------------------------------------------------------------------------


def packs_of(memory: ClockedMemory, ref: str) -> list[str]:
    """Return the keys of a ref's packs, in the order of their import."""
    connection = opened(memory)
    seen = connection.read_ref(ref)
    assert seen is not None
    return [layout.key_of_pack(entry.name) for entry in connection.entries(seen.ref)]


def named_packs(memory: ClockedMemory) -> list[str]:
    return sorted({*packs_of(memory, "runs/main"), *packs_of(memory, "tags/v1")})


def named_shards(memory: ClockedMemory) -> list[str]:
    seen = opened(memory).read_ref("runs/main")
    assert seen is not None
    return [layout.key_of_shard(*shard) for shard in seen.ref.shards]


def flip(memory: ClockedMemory, key: str, at: int) -> None:
    data = bytearray(memory.objects[key].data)
    data[at] ^= 0x20
    memory.put(key, bytes(data))


def refused(memory: ClockedMemory) -> bool:
    """Return True if a fetch of all is refused; else check that what came is right."""
    with Repository.init(":memory:") as repo:
        try:
            fetch(repo, memory)
        except IntegrityError:
            return True
        finally:
            assert not repo.fsck().problems
    return False


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pack", "shard", "ref", "simgit-remote"])
def test_each_byte_that_is_flipped_is_told_and_refused(memory: ClockedMemory, kind: str) -> None:
    keys = {
        "pack": packs_of(memory, "runs/main")[:2],
        "shard": named_shards(memory)[:1],
        "ref": [layout.key_of_ref("runs/main"), layout.key_of_ref("tags/v1")],
        "simgit-remote": [layout.REMOTE],
    }[kind]
    connection = opened(memory)
    good = dict(memory.objects)
    for key in keys:
        size = len(good[key].data)
        for at in sorted({*range(0, size, max(1, size // 60)), size - 1}):
            flip(memory, key, at)
            found = check(connection)
            assert key in [each.key for each in found.problems], at
            if kind in ("pack", "shard"):
                (problem,) = [each for each in found.problems if each.key == key]
                assert "runs/main" in problem.refs
            assert refused(memory)
            memory.objects.update(good)
    assert check(connection).is_clean and not refused(memory)
    close(connection)


@pytest.mark.parametrize(
    "key", [layout.LEASE, tombs.key_of_tomb(bytes(32)), layout.LOG, layout.HEADS]
)
def test_what_no_fetch_reads_is_told_too(memory: ClockedMemory, key: str) -> None:
    if key == layout.LOG:
        (key,) = [each for each in memory.objects if each.startswith(key)]
    if key == layout.HEADS:
        connection = opened(memory)
        connection._write_heads({})
        assert checked(memory).is_clean
    good = dict(memory.objects)
    for at in range(len(good[key].data)):
        flip(memory, key, at)
        assert [each.key for each in checked(memory, quick=True).problems] == [key]
        memory.objects.update(good)
    assert not refused(memory)


def test_what_is_missing_or_of_a_wrong_size_is_told_with_the_refs(memory: ClockedMemory) -> None:
    good = dict(memory.objects)
    for key in (*named_packs(memory), *named_shards(memory)):
        memory.delete([key])
        (problem,) = checked(memory, quick=True).problems
        assert problem.key == key and problem.refs
        assert "missing" in problem.what or "lacks" in problem.what
        assert refused(memory)
        memory.objects.update(good)
    (key, *_) = named_packs(memory)
    memory.put(key, good[key].data + b"x")
    (problem,) = checked(memory, quick=True).problems
    assert problem.key == key and "bytes, not" in problem.what
    memory.objects.update(good)
    memory.delete(named_packs(memory))
    found = checked(memory)
    assert len(found.problems) == len(named_packs(memory)) > 8  # not only the first


def test_objects_that_are_no_refs_or_not_their_own_are_told(memory: ClockedMemory) -> None:
    main = memory.objects[layout.key_of_ref("runs/main")].data
    for key, data in (
        ("refs/runs/not-at-its-end", main),
        ("refs/elsewhere/main@", main),
        (layout.key_of_ref("runs/copy"), main),
    ):
        memory.put(key, data)
        assert [each.key for each in checked(memory).problems] == [key]
        memory.delete([key])
    memory.put(layout.REMOTE, layout.RemoteInfo(bytes(16), "exclusive").encode())
    assert layout.key_of_ref("runs/main") in [each.key for each in checked(memory).problems]


@pytest.mark.parametrize("what", ["order", "lacking", "states", "sizes", "oid", "record"])
def test_refs_that_name_other_packs_than_they_need_are_told(
    memory: ClockedMemory, what: str
) -> None:
    connection = opened(memory)
    seen = connection.read_ref("runs/main")
    assert seen is not None
    entries = connection.entries(seen.ref)
    oid, fields = seen.ref.oid, dict(seen.ref.fields)
    if what == "order":
        entries = entries[::-1]
    elif what == "lacking":
        del entries[2]
    elif what == "states":
        entries[-1] = entries[-1]._replace(states=99)
    elif what == "sizes":
        entries[-1] = entries[-1]._replace(size=99)
    elif what == "oid":
        oid = type(fields["record"])(bytes(32))
    else:
        fields["record"] = type(fields["record"])(bytes(32))
    wrong = layout.with_packs(
        layout.RemoteRef("runs/main", connection.info.id, oid, fields, seq=9),
        entries,
        connection.read_shard,
        connection.write_shard,
    )
    connection.write_ref(wrong, seen)
    found = checked(memory, deep=whole)
    assert found.problems
    assert all("runs/main" in each.refs for each in found.problems)
    if what not in ("states", "sizes"):
        assert refused(memory)
        assert any("cannot be fetched" in each.what for each in found.problems)


def test_refs_that_say_different_things_of_a_pack_are_told(memory: ClockedMemory) -> None:
    connection = opened(memory)
    seen = connection.read_ref("tags/v1")
    assert seen is not None
    first, *rest = connection.entries(seen.ref)
    ref = replace(seen.ref, shards=(), packs=(first._replace(states=99), *rest), seq=9)
    connection.write_ref(ref, seen)
    problems = {each.what: each.refs for each in checked(memory, quick=True).problems}
    assert list(problems.values()) == [("runs/main", "tags/v1")]


def test_a_check_of_an_opened_remote_tells_that_another_is_there(memory: ClockedMemory) -> None:
    connection: Connection = opened(memory)
    memory.delete([layout.REMOTE])
    assert [each.key for each in check(connection, quick=True).problems] == [layout.REMOTE]
    close(connection)


def test_a_problem_is_one_line() -> None:
    refs = tuple(f"runs/{number}" for number in range(9))
    assert str(RemoteProblem("packs/a", "is missing")) == "packs/a: is missing"
    assert str(RemoteProblem("packs/a", "is missing", refs)) == (
        "packs/a: is missing (of runs/0, runs/1, runs/2, runs/3, runs/4, … (9 refs))"
    )
