"""Values that no writer writes, each in its right form: an ``IntegrityError`` error, or no harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from simgit import IntegrityError, Repository, SimgitError
from simgit.storage.base import WriteTxn

Plant = Callable[[WriteTxn], None]


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path) as repo:
        for i in range(4):
            repo.commit({"x": float(i)}, run="main")
        repo.attach("main", "note", b"hello")
        repo.branch("b", "main~1")
        yield repo


def no_binding(txn: WriteTxn) -> None:
    key, value = next(txn.scan("attachments"))
    txn.put("attachments", key, next(oid for oid, _ in txn.scan("objects") if oid != value))


def no_name(txn: WriteTxn) -> None:
    key, value = next(txn.scan("attachments"))
    txn.delete("attachments", key)
    txn.put("attachments", key[:32] + b"\xff\xfe", value)


def no_folded_name(txn: WriteTxn) -> None:
    txn.put("meta", b"fold\0runs/c", b"\xff")


def no_number(txn: WriteTxn) -> None:
    first = txn.get("operations", (1).to_bytes(8, "big") + bytes(4))
    txn.put("operations", b"\xff" * 8 + bytes(4), first or b"")


READS: dict[str, Callable[[Repository], object]] = {
    "log": lambda repo: list(repo.log()),
    "stats": lambda repo: repo.stats(),
    "attachments": lambda repo: repo.attachments("main"),
    "operations": lambda repo: repo.operations(),
    "changes": lambda repo: repo.changes("@"),
    "at-op": lambda repo: list(repo.at_operation(1).runs),
    "preview": lambda repo: repo.gc_preview(),
    "gc": lambda repo: repo.gc(),
    "undo": lambda repo: repo.undo(),
    "branch": lambda repo: repo.branch("c", "main"),
    "detach": lambda repo: repo.detach("main", "note"),
}


@pytest.mark.parametrize(
    ("plant", "seen_by"),
    [
        (no_binding, {"stats", "attachments", "detach"}),
        (no_name, {"stats", "attachments"}),
        (no_folded_name, {"branch"}),
        (no_number, {"operations", "changes", "at-op", "undo", "branch"}),
    ],
)
def test_what_is_planted_is_damage(repo: Repository, plant: Plant, seen_by: set[str]) -> None:
    with repo.odb.storage.write() as txn:
        plant(txn)
    assert not repo.fsck().is_clean
    seen = set()
    for name, read in READS.items():
        with suppress(SimgitError):
            try:
                read(repo)
            except IntegrityError:
                seen.add(name)
    assert seen_by <= seen
