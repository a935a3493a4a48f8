"""Maintenance that runs by itself: it joins what is small, delays nobody, and can be turned off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import IntegrityError
from simgit.maintenance import compaction
from simgit.maintenance.background import COMPACTION_SLICE, BackgroundCompaction
from simgit.objects.compression import checksum
from simgit.objects.oid import OID_SIZE
from simgit.odb.segments.header import Blocks, Header, encode_header, segment_key
from simgit.odb.segments.join import headers


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path) as repo:
        repo.set_setting("gc.auto", 20)
        yield repo


def record(repo: Repository, count: int, run: str = "main", every: int = 2) -> None:
    with repo.recorder(run, flush_every=every) as rec:
        for i in range(count):
            rec.append({"x": np.float32([i, 1])}, i, 1.0, info={"text": f"{run} {i}"})


def segments(repo: Repository) -> int:
    with repo.odb.read() as txn:
        return txn.count("segments")


@pytest.mark.slow
def test_small_segments_are_joined_as_they_come(repo: Repository) -> None:
    record(repo, 400)
    assert segments(repo) < 100
    assert [state.action for state in repo.trajectory("main")] == list(range(400))
    assert repo.fsck().is_clean


def test_zero_turns_it_off(repo: Repository) -> None:
    repo.set_setting("gc.auto", 0)
    record(repo, 400)
    assert segments(repo) == 200


@pytest.mark.slow
def test_oids_are_what_they_are_without_it(repo: Repository, tmp_path: Path) -> None:
    with Repository.init(tmp_path / "other") as other:
        other.set_setting("gc.auto", 0)
        record(other, 300)
        record(repo, 300)
        assert segments(repo) < segments(other) == 150
        assert repo.resolve("main") == other.resolve("main")


@pytest.mark.slow
def test_processes_of_one_commit_each_get_on_with_it(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.set_setting("gc.auto", 20)
    for i in range(80):
        with Repository.open(tmp_path) as repo:
            repo.commit({"i": i})
    with Repository.open(tmp_path) as repo:
        assert segments(repo) < 50
        assert repo.fsck().is_clean


@pytest.mark.slow
def test_single_entries_of_the_index_become_a_run(repo: Repository) -> None:
    record(repo, 2000, every=20)
    with repo.odb.read() as txn:
        assert txn.count("oids") < 2000
    oids = repo.trajectory("main").oids
    for step in range(0, 2000, 97):
        assert repo.state(oids[step]).step == step
    assert repo.fsck().is_clean


def test_damage_does_not_keep_anybody_from_recording(repo: Repository) -> None:
    record(repo, 30, "damaged", every=1)
    with repo.odb.storage.write() as txn:
        key, value = next(txn.scan("segments"))
        txn.put("segments", key, value[:-1] + bytes([value[-1] ^ 1]))
    record(repo, 200)
    assert len(repo.trajectory("main")) == 200


@pytest.mark.slow
def test_a_slice_is_short(repo: Repository) -> None:
    repo.set_setting("gc.auto", 0)
    record(repo, 2000, every=10)
    upkeep, longest, more = BackgroundCompaction(repo.odb), 0.0, True
    while more:
        start = time.thread_time()  # not by the clock: other processes have the machine too
        more = upkeep.slice()
        longest = max(longest, time.thread_time() - start)
    assert segments(repo) <= 10
    assert longest < COMPACTION_SLICE + 0.035


FORGERIES: dict[str, Callable[[Header, Header], Header]] = {
    "another row": lambda _, other: other,
    "another name": lambda header, _: changed(header, last=bytes(OID_SIZE)),
    "another checkpoint": lambda header, _: with_checkpoint(header, bytes(OID_SIZE)),
}


def changed(header: Header, **facts: Any) -> Header:
    return Header(**vars(header) | facts)


def with_checkpoint(header: Header, oid: bytes) -> Header:
    """Return the header of a segment of one small block whose first checkpoint is another."""
    block = header.blocks[0]
    fixed = oid + header.inline[OID_SIZE : block.fixed_size]
    blocks = Blocks.pack([block._replace(fixed_check=checksum(fixed))])
    return changed(header, blocks=blocks, inline=fixed + header.inline[block.fixed_size :])


@pytest.mark.parametrize("forgery", FORGERIES)
def test_segments_whose_states_have_other_names_are_not_joined(
    repo: Repository, tmp_path: Path, forgery: str
) -> None:
    repo.set_setting("gc.auto", 0)
    record(repo, 8)
    with Repository.init(tmp_path / "other") as other:
        other.set_setting("gc.auto", 0)
        record(other, 8, "else")
        with other.odb.read() as txn:
            strange = list(headers(txn, 0))[2]
    with repo.odb.write() as txn:
        found = list(headers(txn, 0))
        forged = FORGERIES[forgery](found[2], strange)
        txn.put("segments", segment_key(0, forged.step), encode_header(forged))
    before = list_segments(repo)
    with pytest.raises(IntegrityError, match="segment 0/4"):
        BackgroundCompaction(repo.odb).slice()
    assert list_segments(repo) == before


def list_segments(repo: Repository) -> list[tuple[bytes, bytes]]:
    with repo.odb.read() as txn:
        return list(txn.scan("segments"))


@pytest.mark.slow
def test_gc_joins_large_segments_as_far_as_that_takes_not_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "LARGE_ROWS", 0)
    with Repository.init(tmp_path) as repo:
        repo.set_setting("gc.auto", 0)
        record(repo, 6 * 4096, every=4096)
        record(repo, 30, every=10)
        before = repo.resolve("main")
        assert repo.gc().segments_after == 6
        with repo.odb.read() as txn:
            sizes = [header.count for header in headers(txn, 0)]
        assert sizes == [4096] * 5 + [4126]
        record(repo, 100, "other")
        monkeypatch.setattr(compaction, "LARGE_ROWS", 8192)
        assert repo.gc().segments_after == 2
        record(repo, 6 * 4096, every=4096)
        assert repo.gc().segments_after == 7  # the first with one of the new ones
        assert repo.gc(aggressive=True).segments_after == 3
        assert repo.resolve(f"main@{6 * 4096 + 29}") == before and repo.fsck().is_clean
