"""A bit flipped or the end cut off, anywhere: what was stored, or one of our errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgit import IntegrityError, Repository
from simgit.storage.datafile import record_origin
from tests.support.examples import share

from . import damage


@pytest.mark.slow
def test_damage_anywhere_yields_what_was_stored_or_an_error_of_ours(tmp_path: Path) -> None:
    count = share(800)
    outcomes, failures = damage.sweep(tmp_path, count)
    assert not failures, failures[0]
    assert sum(outcomes.values()) == count
    assert sum(n for what, n in outcomes.items() if "found by fsck" in what) > count // 16
    assert sum(n for what, n in outcomes.items() if "IntegrityError" in what) > count // 8


@pytest.mark.slow
def test_damage_in_place_never_yields_other_bytes(tmp_path: Path) -> None:
    count = share(200)
    outcomes, failures = damage.sweep(tmp_path, count, in_place=True)
    assert not failures, failures[0]
    assert sum(n for what, n in outcomes.items() if damage.ENDED in what) <= count // 40


def test_an_audit_names_the_damage_of_a_page_before_it_is_read(tmp_path: Path) -> None:
    damage.make(tmp_path)
    with Repository.open(tmp_path) as repo:
        assert repo.odb.storage.audit() == []
    data = tmp_path / ".simgit" / "data.mdb"
    content = data.read_bytes()
    named = 0
    for page in range(2, len(content) // 4096, 5):  # some of them are free: no damage there
        damaged = bytearray(content)
        damaged[page * 4096 + 10] ^= 0xFF  # the kind of a page
        data.write_bytes(damaged)
        record_origin(tmp_path / ".simgit")
        with Repository.open(tmp_path) as repo:
            named += any(str(page) in problem for problem in repo.odb.storage.audit())
    assert named >= 5


@pytest.mark.slow
def test_every_error_of_a_transaction_that_met_damage_is_the_first(tmp_path: Path) -> None:
    damage.make(tmp_path)
    data = tmp_path / ".simgit" / "data.mdb"
    content = data.read_bytes()
    for page in range(2, len(content) // 4096, 3):
        damaged = bytearray(content)
        damaged[page * 4096 + 10] ^= 0x13  # neither a leaf nor a branch any more
        data.write_bytes(damaged)
        record_origin(tmp_path / ".simgit")
        status, said = damage.in_child(lambda: _read_twice(tmp_path))
        assert status == 0, said


def _read_twice(path: Path) -> None:
    try:
        repo = Repository.open(path)
    except IntegrityError:
        return
    with repo, repo.odb.read() as txn:
        for _ in range(2):
            for table in ("objects", "segments", "refs", "index", "bodies"):
                try:
                    list(txn.scan(table))
                    txn.last(table)
                    txn.floor(table, b"\xff" * 8)
                except IntegrityError:
                    continue
