"""Push, fetch, pull and clone where it is easy to lose something: each test was a fault once."""

from __future__ import annotations

import io
import itertools
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
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
from simgit.errors import SimgitWarning, TransportError
from simgit.odb.database import ObjectDatabase
from simgit.refs.remote_cache import RemoteCache
from simgit.remotes import layout, packs
from simgit.remotes.fetch import FetchReport
from simgit.remotes.sending import Sending
from simgit.remotes.transport import Transport
from simgit.remotes.transport.memory import MemoryTransport
from tests.remotes.faulty import FaultyTransport
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


@pytest.mark.parametrize("what", ["states", "attachments"])
def test_no_snapshot_is_held_while_packs_are_sent(
    repo: Repository, other: Repository, transport: Transport, monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(packs, "CUT", 1000)
    begin = ObjectDatabase.read
    held: list[int] = []
    taken: list[int] = []

    @contextmanager
    def reading(self: ObjectDatabase) -> Iterator[Any]:
        with begin(self) as txn:
            held.append(threading.get_ident())
            try:
                yield txn
            finally:
                held.remove(threading.get_ident())

    def take(self: Sending, pack: Any) -> None:
        taken.append(held.count(threading.get_ident()))
        whole(self, pack)

    whole = Sending._take
    monkeypatch.setattr(Sending, "_take", take)
    record(repo, "main", 3000 if what == "states" else 20)
    if what == "attachments":
        push(repo, transport)
        taken.clear()
        for i in range(12):
            repo.attach(f"main~{i}", "note", np.random.default_rng(i).bytes(900))
    monkeypatch.setattr(ObjectDatabase, "read", reading)
    push(repo, transport)
    monkeypatch.undo()
    assert len(taken) > 2 and set(taken) == {0}
    fetch(other, transport)
    assert attached(other) == attached(repo)
    assert other.state("origin/main").oid == repo.state("main").oid


def test_many_packs_of_one_snapshot_lie_in_files(
    repo: Repository, other: Repository, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "CUT", 1000)
    record(repo, "main", 20)
    for i in range(12):
        repo.attach(f"main~{i}", "note", np.random.default_rng(i).bytes(900))
    in_memory: list[bool] = []
    whole = Sending._take

    def take(self: Sending, pack: Any) -> None:
        in_memory.append(not pack.file._rolled)
        whole(self, pack)

    monkeypatch.setattr(Sending, "_take", take)
    push(repo, transport)
    assert len(in_memory) > 8 and sum(in_memory) < 4
    fetch(other, transport)
    assert attached(other) == 12


@pytest.mark.parametrize("cut", [1, 100, 8 << 20])
def test_runs_that_share_a_record_find_it_whichever_pack_has_it(
    repo: Repository, other: Repository, transport: Transport, monkeypatch: pytest.MonkeyPatch,
    cut: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(packs, "CUT", cut)
    for name in ("a", "b", "z"):  # without settings: the records are one object
        repo.commit({name: 1}, 0, 1.0, run=name)
    push(repo, transport, all=True)
    for name in ("a", "b", "z"):
        with Repository.init(":memory:") as alone:
            assert whats(fetch(alone, transport, name)) == {f"runs/{name}": "new"}
    with connect(repo, transport) as remote:
        assert remote.fsck().is_clean


def test_refs_that_went_through_are_noted_though_another_failed(
    repo: Repository, transport: Transport
) -> None:
    for name in ("a", "b", "c"):
        record(repo, name, 3)

    def refuse(_: int, name: str, key: str) -> None:
        if key == "refs/runs/a@" and name.startswith("put"):
            raise TransportError("the call failed, as the test wants it", kind="unreachable")

    faulty = FaultyTransport(transport, before=refuse)
    with pytest.raises(TransportError, match="as the test wants it"):
        push(repo, faulty, all=True)
    assert list(repo.remote_runs()) == ["origin/b", "origin/c"]
    before = faulty.calls
    assert whats(push(repo, transport, "b")) == {"runs/b": "unchanged"}
    assert faulty.calls == before
    done = push(repo, transport, all=True)
    assert whats(done) == {"runs/a": "new", "runs/b": "unchanged", "runs/c": "unchanged"}


def test_another_annotation_of_a_tag_is_refused_without_force(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 5)
    repo.tag("v1", "main", message="first")
    push(repo, transport, "main", "tags/v1")
    fetch(other, transport)
    repo.delete_tag("v1")
    repo.tag("v1", "main", message="second")
    said = "'v1' has another annotation there; delete it there first"
    with pytest.raises(Conflict, match=said):
        push(repo, transport, "tags/v1")
    assert whats(push(repo, transport, "tags/v1", force=True)) == {"tags/v1": "forced"}
    assert whats(push(repo, transport, "tags/v1")) == {"tags/v1": "unchanged"}
    found = fetch(other, transport).refs["tags/v1"]
    assert found.what == "kept" and other.tags()["v1"][1].message == "first"
    other.delete_tag("v1")
    assert whats(fetch(other, transport))["tags/v1"] == "new"
    assert other.tags()["v1"][1].message == "second"


@pytest.mark.parametrize("limit", ["_MAX_INFLATED", "_PARTS", "MAX_FRAME"])
def test_shards_that_would_be_too_large_as_one_are_not_joined(
    repo: Repository, other: Repository, transport: Transport, monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(layout, "MAX_LISTED", 0)
    monkeypatch.setattr(layout, limit, {"_PARTS": 70, "MAX_FRAME": 800}.get(limit, 600))
    for number in range(12):
        repo.commit({"y": number}, 0, 1.0, run="main")
        push(repo, transport)
    assert fetch(other, transport).states == 12


@pytest.mark.parametrize("limit", ["_MAX_INFLATED", "MAX_FRAME"])
def test_a_cache_of_refs_that_nobody_would_read_is_not_written(
    repo: Repository, other: Repository, transport: Transport, monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:  # fmt: skip
    for number in range(70):
        repo.commit({"y": number}, 0, 1.0, run=f"r/{number}")
    push(repo, transport, all=True)
    size = 4000 if limit == "MAX_FRAME" else 70 * 300
    monkeypatch.setattr(layout, limit, size)
    assert len(fetch(other, transport).refs) == 70
    with pytest.raises(NotFound):
        transport.head(layout.HEADS)
    monkeypatch.undo()
    with Repository.init(":memory:") as third:
        fetch(third, transport)
    with connect(repo, transport) as remote:
        assert transport.head(layout.HEADS).size and remote.fsck(quick=True).is_clean


def test_an_object_that_is_larger_than_one_of_its_kind_is_not_read(
    repo: Repository, other: Repository, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_LISTED", 0)
    monkeypatch.setattr(layout, "MAX_FRAME", 1 << 20)
    record(repo, "main", 5)
    push(repo, transport)
    (shard,) = transport.list("index")
    for key in (layout.REMOTE, layout.key_of_ref("runs/main"), shard.key):
        got = transport.get(key)
        assert got is not None
        transport.put(key, got.data + bytes(2 << 20))
        before = transport.counts.received
        with pytest.raises(IntegrityError, match=f"'{key}' in 'memory://.*' has more than the "):
            fetch(other, transport)
        assert transport.counts.received - before < 20_000
        transport.put(key, got.data)
    for place in ("tombs/" + 64 * "0", "log/20261130/" + 32 * "0", layout.HEADS, layout.LEASE):
        transport.put(place, bytes(2 << 20))
        with connect(repo, transport) as remote:
            before = transport.counts.received
            (problem,) = remote.fsck(quick=True).problems
        assert problem.key == place and re.search("is damaged|has more than", problem.what)
        assert transport.counts.received - before < 20_000
        transport.delete([place])
    assert whats(fetch(other, transport)) == {"runs/main": "new"}


# --- bundles ---


def test_a_bundled_tag_of_another_annotation_is_kept_aside(repo: Repository) -> None:
    record(repo, "main", 5)
    repo.tag("v1", "main", message="first")
    out = io.BytesIO()
    repo.create_bundle(out, ["tags/v1"])
    for note in ("second", None):
        with Repository.init(":memory:") as third:
            third.import_bundle(io.BytesIO(out.getvalue()))
            third.delete_tag("v1")
            third.tag("v1", repo.resolve("v1"), message=note)
            for _ in range(2):
                found = third.import_bundle(io.BytesIO(out.getvalue())).refs["tags/v1"]
                assert (found.name, found.what) == ("tags/v1.conflict-1", "aside")
            notes = {name: tag and tag.message for name, (_, tag) in third.tags().items()}
            assert notes == {"v1": note, "v1.conflict-1": "first"}


# --- fetch and pull ---


def test_a_pull_keeps_what_differs_in_one_run(
    repo: Repository, other: Repository, tmp_path: Path
) -> None:
    for each, seed in ((repo, 0), (other, 1)):
        record(each, "main", 5, seed=seed)
        each.add_remote("origin", str(tmp_path / "remote"))

    def pull() -> str:
        with repo.remote() as remote:
            remote.push()
        return other.pull("origin", ["main"]).runs["main"].name

    assert pull() == pull() == "runs/main.conflict-1"
    repo.commit([1.0] * 4, 0, 1.0, run="main")
    assert pull() == "runs/main.conflict-1"  # which moves forward
    assert other.state("main.conflict-1").oid == repo.state("main").oid
    other.commit([2.0] * 4, 0, 1.0, run="main.conflict-1")
    tip = other.state("main.conflict-1").oid
    assert pull() == "runs/main.conflict-1"  # which has it
    repo.commit([3.0] * 4, 0, 1.0, run="main")
    assert pull() == "runs/main.conflict-2"
    other.delete_run("main.conflict-1")
    assert pull() == "runs/main.conflict-2"
    assert list(other.runs) == ["main", "main.conflict-2"]
    other.undo()
    assert other.state("main.conflict-1").oid == tip


@pytest.mark.parametrize("name", ["main.conflict-01", "main.conflict-٣", "main.conflict-0"])
def test_a_run_that_is_called_nearly_as_a_conflict_is_left_alone(
    repo: Repository, other: Repository, name: str
) -> None:
    record(repo, "main", 5)
    record(other, "main", 5, seed=1)
    other.branch(name, "main")
    out = io.BytesIO()
    repo.create_bundle(out, ["main"])
    for _ in range(2):
        found = other.import_bundle(io.BytesIO(out.getvalue()))
        assert found.refs["runs/main"].name == "runs/main.conflict-1"
    assert other.state(name).oid == other.state("main").oid


def test_an_undo_says_that_a_remote_is_not_set_up_again(repo: Repository, tmp_path: Path) -> None:
    record(repo, "main", 5)
    repo.add_remote("lab", str(tmp_path / "remote"))
    with repo.remote() as remote:
        remote.push()
    repo.remove_remote("lab")
    said = (
        "runs of 'lab' are back, but not where it lies: operations keep no settings; add it again "
        "with 'simgit remote add lab URL'"
    )
    with pytest.warns(SimgitWarning, match=re.escape(said)):
        repo.undo()
    assert list(repo.remote_runs()) == ["lab/main"] and not repo.remotes()
    assert repo.add_remote("lab", str(tmp_path / "remote"))
    repo.redo()
    repo.undo()  # without a word, as the remote is set up


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
