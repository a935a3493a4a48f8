"""Push, fetch, pull and clone where it is easy to lose something: each test was a fault once."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.refs.remote_cache import RemoteCache
from simgit.remotes.fetch import FetchReport
from simgit.remotes.transport import Transport
from simgit.remotes.transport.memory import MemoryTransport
from tests.remotes.test_push import connect, push, record, whats

_number = itertools.count()


@pytest.fixture
def transport() -> Transport:
    return MemoryTransport(f"review-{next(_number)}")


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "a") as repo:
        yield repo


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "b") as repo:
        yield repo


def fetch(repo: Repository, transport: Transport, *names: str, **options: Any) -> FetchReport:
    with connect(repo, transport) as remote:
        return remote.fetch(names or None, **options)


def attached(repo: Repository) -> int:
    with repo.odb.read() as txn:
        return sum(1 for _ in txn.scan("attachments"))


def comes_with(transport: Transport, name: str) -> int:
    """Return how many attachments come with one ref."""
    with Repository.init(":memory:") as alone:
        fetch(alone, transport, name)
        return attached(alone)


# --- push ---


def test_attachments_of_states_that_only_another_ref_leads_to_stay_with_that_ref(
    repo: Repository, transport: Transport
) -> None:
    record(repo, "main", 100)
    push(repo, transport)
    repo.branch("try", "main@50")
    record(repo, "try", 3, seed=4)
    repo.attach("main@80", "weights", np.arange(10.0))
    push(repo, transport, "try")
    assert comes_with(transport, "try") == 0
    assert whats(push(repo, transport, "main")) == {"runs/main": "updated"}
    assert comes_with(transport, "main") == 1


def test_an_attachment_that_another_ref_brought_is_sent_with_each_ref(
    repo: Repository, transport: Transport
) -> None:
    record(repo, "main", 100)
    push(repo, transport)
    repo.branch("try", "main@50")
    record(repo, "try", 3, seed=4)
    repo.attach("main@10", "weights", np.arange(10.0))
    push(repo, transport, "try")
    assert comes_with(transport, "try") == 1
    assert whats(push(repo, transport, "main")) == {"runs/main": "updated"}
    assert comes_with(transport, "main") == 1
    assert whats(push(repo, transport, all=True)) == {
        "runs/main": "unchanged", "runs/try": "unchanged",
    }  # fmt: skip


def test_a_run_that_somebody_deleted_and_pushed_again_gets_its_attachments_back(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 20)
    push(repo, transport)
    fetch(other, transport)
    repo.attach("main@3", "weights", np.arange(10.0))
    push(repo, transport)
    other.branch("main", "origin/main")
    push(other, transport, delete=["main"])
    push(other, transport)
    assert comes_with(transport, "main") == 0
    push(repo, transport)
    assert comes_with(transport, "main") == 1


def test_a_deletion_at_the_remote_is_an_operation(repo: Repository, transport: Transport) -> None:
    record(repo, "main", 20)
    push(repo, transport)
    push(repo, transport, delete=["main"])
    assert not repo.remote_runs()
    repo.undo()
    assert list(repo.remote_runs()) == ["origin/main"]
    repo.undo()
    assert not repo.remote_runs()


def test_a_shard_that_many_refs_name_is_sent_once(repo: Repository, transport: Transport) -> None:
    for number in range(200):
        repo.commit({"y": number}, 0, 1.0, run=f"r/{number}")
    done = push(repo, transport, all=True)
    assert done.packs == 1 and done.requests < 200 + 20
    assert done.sent < done.bytes + 200 * 2048
    assert fetch(Repository.init(":memory:"), transport).states == 200


def test_a_read_transaction_is_used_by_one_thread(
    repo: Repository, other: Repository, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: dict[Any, set[int]] = defaultdict(set)
    ref = RemoteCache.ref

    def noted(self: RemoteCache, txn: Any, key: str) -> Any:
        users[txn].add(threading.get_ident())
        return ref(self, txn, key)

    monkeypatch.setattr(RemoteCache, "ref", noted)
    for number in range(6):
        record(repo, f"r/{number}", 2, seed=number)
    for _ in range(2):
        push(repo, transport, all=True)
        fetch(other, transport, *(f"r/{number}" for number in range(6)))
    assert users and all(len(threads) == 1 for threads in users.values())
