"""A full disk, a full map: a clear error, all old data, and room can be made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simgit import Repository
from simgit.storage.lmdb import reserve

from . import full
from .processes import in_child


@pytest.mark.slow
def test_on_a_full_disk_all_can_be_read_and_gc_makes_room(tmp_path: Path) -> None:
    full.on_disk(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_in_a_full_address_space_all_can_be_read_and_gc_makes_room(tmp_path: Path) -> None:
    status, said = in_child(lambda: full.in_address_space(tmp_path))
    assert status == 0, said


def test_a_reserve_is_kept_given_up_in_two_parts_and_kept_again(tmp_path: Path) -> None:
    file = tmp_path / ".simgit" / "reserve"
    with Repository.init(tmp_path) as repo:
        assert file.stat().st_size == reserve.wanted(0)
        assert repo.odb.storage.give_up_reserve()
        assert file.stat().st_size == 128 << 10
        assert repo.odb.storage.give_up_reserve()
        assert not file.exists()
        assert not repo.odb.storage.give_up_reserve()
        repo.gc()
        assert file.stat().st_size == reserve.wanted(0)


def test_a_reserve_grows_with_the_store_up_to_a_limit() -> None:
    sizes = [reserve.wanted(1 << power) for power in range(50)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 256 << 10 and sizes[-1] == 16 << 20


def test_a_repository_that_cannot_have_a_reserve_works(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        assert repo.odb.storage.give_up_reserve() and repo.odb.storage.give_up_reserve()
        (tmp_path / ".simgit" / "reserve").mkdir()  # it is open: no file can be made there now
        repo.commit(1)
        repo.gc()
        repo.commit(2)
        assert not repo.odb.storage.give_up_reserve()
        assert repo.fsck().is_clean
