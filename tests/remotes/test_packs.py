"""Packs carry what a remote lacks: each is a bundle, and in their order they are the repository."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from simgit import IntegrityError, Oid, Repository
from simgit.objects.rows import Rows
from simgit.odb.segments import reader
from simgit.remotes import packs
from simgit.remotes.bundle import creation, verify
from simgit.remotes.bundle.loading import load_pack
from simgit.remotes.bundle.records import MANIFEST, TABLE, RecordReader
from simgit.remotes.bundle.select import select
from simgit.remotes.packs import Pack, Packing
from tests.remotes.test_bundle import fill


@pytest.fixture(params=[1_000, 20_000, 1 << 23])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(packs, "CUT", request.param)
    return int(request.param)


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "a") as repo:
        fill(repo)
        yield repo


def packed(repo: Repository, names: list[str], *known: Oid) -> list[tuple[Pack, bytes]]:
    made: list[tuple[Pack, bytes]] = []

    def take(pack: Pack) -> None:
        with pack.file as file:
            made.append((pack, file.read()))

    with repo.odb.read() as txn:
        chosen = select(repo.odb, repo.refs, txn, names, known, None)
    Packing(repo.odb, chosen, take, lambda txn, oid: False).pack_all()
    return made


def everything(repo: Repository) -> list[str]:
    return [f"runs/{name}" for name in repo.runs] + [f"tags/{name}" for name in repo.tags()]


def test_blocks_are_sent_as_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []
    chain_oids = reader.chain_oids

    def chain(rows: Rows, head: bytes) -> list[bytes]:
        hashed.append(rows.count)
        return chain_oids(rows, head)

    monkeypatch.setattr(reader, "chain_oids", chain)
    encoded: list[int] = []
    encode_rows = creation.encode_rows

    def encode(rows: Rows, *rest: Any) -> list[bytes]:
        encoded.append(rows.count)
        return encode_rows(rows, *rest)

    monkeypatch.setattr(creation, "encode_rows", encode)
    with Repository.init(tmp_path / "a") as repo:
        with repo.recorder("main", flush_every=3000) as recorder:
            for i in range(9000):  # in blocks of 2048, 952, 2048, …
                recorder.append([i, i * i], i % 2, info={"text": f"step {i}"})
        tip = repo.state("main").oid
        repo.branch("part", "main@5000")
    with Repository.open(tmp_path / "a") as repo:  # which has read nothing yet
        hashed.clear()
        made = packed(repo, ["runs/main"])
        assert not encoded and sum(hashed) < 9000 // 10
        some = packed(repo, ["runs/part"])
        assert encoded == [2001]  # the beginning of a block
        rest = packed(repo, ["runs/main"], repo.state("part").oid)
        assert encoded == [2001, 47]  # and what is left of it
    for parts in (made, some + rest):
        with Repository.init(tmp_path / str(len(parts))) as other:
            for _, data in parts:
                load_pack(other.odb, io.BytesIO(data).read)
            with other.odb.read() as txn:
                assert other.odb.states.locate(txn, tip) is not None


@pytest.mark.slow
def test_all_packs_in_their_order_are_the_repository(
    repo: Repository, cut: int, tmp_path: Path
) -> None:
    made = packed(repo, everything(repo))
    assert len(made) > (cut < 100_000)
    with Repository.init(tmp_path / "b") as other:
        for pack, data in made:
            assert pack.entry.name == blake3(data).digest() and pack.entry.size == len(data)
            found = load_pack(other.odb, _reader(data))
            assert found.states == pack.entry.states
            assert sorted(found.bindings) == sorted(map(Oid, pack.bindings))
        for info in repo.runs.values():
            assert info.oid is not None
            assert other.state(info.oid).step == info.step
            assert other.attachments(info.oid) == repo.attachments(info.oid)
        assert not other.fsck().problems
        with other.odb.read() as here, repo.odb.read() as there:
            assert dict(here.scan("attachments")) == dict(there.scan("attachments"))


@pytest.mark.slow
def test_each_pack_can_be_checked_alone_and_imported_after_what_it_names(
    repo: Repository, cut: int, tmp_path: Path
) -> None:
    made = {pack.entry.name: (pack, data) for pack, data in packed(repo, everything(repo))}
    for number, (pack, data) in enumerate(list(made.values())[::6]):
        assert verify(_reader(data)).states == pack.entry.states
        needed: list[bytes] = []
        _need(made, pack.entry.name, needed)
        with Repository.init(tmp_path / f"b{number}") as other:
            for name in needed:
                load_pack(other.odb, _reader(made[name][1]))
            for stretch in pack.entry.stretches:
                assert other.state(stretch.oid).step == stretch.last


def _need(made: dict[bytes, tuple[Pack, bytes]], name: bytes, found: list[bytes]) -> None:
    for each in made[name][0].entry.after:
        _need(made, each, found)
    if name not in found:
        found.append(name)


def test_the_states_that_a_remote_has_are_left_out(repo: Repository, tmp_path: Path) -> None:
    known = repo.state("main@2000").oid
    ((pack, data),) = packed(repo, ["runs/main"], known)
    assert pack.entry.states == 499 and pack.entry.after == ()
    (stretch,) = pack.entry.stretches
    assert (stretch.ref, stretch.first, stretch.last) == ("runs/main", 2001, 2499)
    assert verify(_reader(data)).manifest.prerequisites == (known,)


def test_a_table_that_tells_something_else_is_refused(repo: Repository) -> None:
    ((_, data),) = packed(repo, ["runs/child"])
    kinds = [kind for kind, _ in RecordReader(_reader(data))]
    assert kinds[0] == MANIFEST and TABLE not in kinds
    with pytest.raises(IntegrityError):
        verify(_reader(data.replace(b"simgit bundle 1\n", b"simgit bundle 0\n")))
    at = data.rindex(bytes(32) + bytes([0]))  # a line of the table, of a record without states
    with pytest.raises(IntegrityError):
        verify(_reader(data[:at] + b"\1" + data[at + 1 :]))


def _reader(data: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(data).read
