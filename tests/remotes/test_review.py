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

from simgit import (
    AlreadyExists,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    Repository,
    StorageError,
)
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


# --- fetch and pull ---


def test_what_an_undo_took_away_comes_with_the_next_fetch(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 20)
    repo.attach("main@3", "weights", np.arange(10.0))
    push(repo, transport)
    fetch(other, transport)
    other.undo()
    assert attached(other) == 0 and not other.remote_runs()
    fetch(other, transport)
    assert (other.attachment("origin/main@3", "weights") == np.arange(10.0)).all()


def test_attachments_kept_aside_are_not_sent_back(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 20)
    push(repo, transport)
    fetch(other, transport)
    other.branch("main", "origin/main")
    repo.attach("main@3", "weights", np.arange(10.0))
    other.attach("main@3", "weights", np.arange(11.0))
    for _ in range(3):
        push(repo, transport)
        fetch(other, transport)
        push(other, transport)
        fetch(repo, transport)
    assert attached(repo) == attached(other) == 2
    assert comes_with(transport, "main") == 2


@pytest.mark.parametrize("here", ["run", "tag"])
def test_a_tag_that_cannot_be_made_here_is_kept_out(
    repo: Repository, other: Repository, transport: Transport, here: str
) -> None:
    record(repo, "main", 20)
    repo.tag("V1", "main@3")
    push(repo, transport, all=True, tags=True)
    record(other, "V1" if here == "run" else "main", 3, seed=1)
    if here == "tag":
        other.tag("v1", "main")
    before = set(other.tags())
    assert whats(fetch(other, transport)) == {"runs/main": "new", "tags/V1": "kept"}
    assert set(other.tags()) == before


def test_a_pull_makes_parents_first_and_only_runs_that_are_there(
    repo: Repository, other: Repository, tmp_path: Path
) -> None:
    record(repo, "z", 100)
    repo.branch("a", "z@50")
    record(repo, "a", 3, seed=4)
    for each in (repo, other):
        each.add_remote("origin", str(tmp_path / "remote"))
    with repo.remote() as remote:
        remote.push(all=True)
    assert list(other.pull("origin", ["*"]).runs) == ["z", "a"]
    assert other.runs["a"].parent == "z"
    with repo.remote() as remote:
        remote.push(delete=["a"])
    other.delete_run("a", force=True)
    assert list(other.pull("origin", ["*"]).runs) == ["z"]
    assert list(other.runs) == ["z"]


# --- leases ---


def test_a_lease_is_for_its_ref_and_holds_for_each_kind_of_push(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 20)
    record(repo, "x", 3, seed=5)
    push(repo, transport, all=True)
    fetch(other, transport)
    record(other, "main", 4, seed=9)
    record(other, "x", 4, seed=10)
    now, wrong = repo.state("main").oid, repo.state("main@1").oid
    with pytest.raises(Conflict, match="'x' has other states there"):
        push(other, transport, "main", "x", expect={"main": now})
    for name in ("main", "HEAD", "runs/main"):
        with pytest.raises(Conflict, match="'main' is not at the state that was given"):
            push(other, transport, name, expect={name: wrong})
    assert whats(push(other, transport, expect={"HEAD": now})) == {"runs/main": "forced"}
    record(other, "main", 1, seed=1)
    for stale in (now, None):
        with pytest.raises(Conflict, match="is not at the state that was given"):
            push(other, transport, expect={"main": stale})  # although it would be a fast-forward
    with pytest.raises(InvalidInput, match="not pushed"):
        push(other, transport, "main", expect={"x": now})
    other.branch("new", "main")
    assert whats(push(other, transport, "new", expect={"new": None})) == {"runs/new": "new"}


# --- repositories that are read-only; clones ---


def test_a_repository_that_is_read_only_sends_and_gets_nothing(
    repo: Repository, other: Repository, transport: Transport, tmp_path: Path
) -> None:
    record(repo, "main", 20)
    repo.close()
    with Repository.open(tmp_path / "a", read_only=True) as closed:
        with pytest.raises(StorageError, match="read-only"):
            push(closed, transport)
        assert list(transport.list("")) == []
        assert whats(push(closed, transport, dry_run=True)) == {"runs/main": "new"}
        record(other, "main", 3)
        push(other, transport)
        before = transport.counts.requests
        with pytest.raises(StorageError, match="read-only"):
            fetch(closed, transport)
        assert transport.counts.requests == before + 1  # which remote it is


@pytest.mark.parametrize("there", ["nothing", "a directory", "a .simgit"])
def test_a_clone_that_fails_removes_only_what_it_made(
    repo: Repository, tmp_path: Path, there: str
) -> None:
    record(repo, "main", 3)
    repo.add_remote("origin", str(tmp_path / "remote"))
    with repo.remote() as remote:
        remote.push()
    target = tmp_path / "some" / "where"
    mine = target / (".simgit/notes" if there == "a .simgit" else "notes")
    if there != "nothing":
        mine.parent.mkdir(parents=True)
        mine.write_text("mine")
    with pytest.raises(AlreadyExists if there == "a .simgit" else NotFound):
        Repository.clone(str(tmp_path / "remote"), target, runs=["no-such-run"])
    if there == "nothing":
        assert not (tmp_path / "some").exists()
    else:
        assert [each for each in target.rglob("*") if each.is_file()] == [mine]


def test_a_clone_that_fails_leaves_what_others_wrote_meanwhile(
    repo: Repository, tmp_path: Path
) -> None:
    for number in range(3):
        record(repo, f"r/{number}", 3, seed=number)
    repo.add_remote("origin", str(tmp_path / "remote"))
    with repo.remote() as remote:
        remote.push(all=True)
    target = tmp_path / "clone"

    def fail(states: int, total: int | None) -> None:
        with pytest.raises(AlreadyExists):  # a second clone, of which nothing is removed either
            Repository.clone(str(tmp_path / "remote"), target)
        (target / "notes").write_text("mine")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Repository.clone(str(tmp_path / "remote"), target, progress=fail)
    assert [each.name for each in target.iterdir()] == ["notes"]
    (target / "notes").unlink()
    with Repository.clone(str(tmp_path / "remote"), target) as clone:
        assert list(clone.runs) == ["r/0", "r/1", "r/2"]


def test_no_more_of_a_pack_is_read_than_its_ref_says(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 20)
    push(repo, transport)
    (pack,) = transport.list("packs")
    got = transport.get(pack.key)
    assert got is not None
    transport.put(pack.key, bytes(64 << 20))
    with connect(other, transport) as remote:
        before = transport.counts.received
        with pytest.raises(IntegrityError, match="is damaged"):
            remote.fetch()
        assert transport.counts.received - before < 1 << 20
    for bad in (b"", got.data[:-1]):
        transport.put(pack.key, bad)
        with pytest.raises(IntegrityError, match="is damaged"):
            fetch(other, transport)
    transport.put(pack.key, got.data)
    assert whats(fetch(other, transport)) == {"runs/main": "new"}


def test_a_ref_of_a_long_key_is_noted_too(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    name = "字" * 66  # three bytes each, and nine in a key
    record(repo, name, 20)
    push(repo, transport, name)
    fetch(other, transport)
    before = transport.counts.received
    fetch(other, transport)
    assert transport.counts.received - before < 100  # which remote it is
    record(other, name, 4, seed=9)
    assert whats(push(other, transport, name, force=True)) == {f"runs/{name}": "forced"}
    assert whats(push(other, transport, delete=[name])) == {f"runs/{name}": "deleted"}
