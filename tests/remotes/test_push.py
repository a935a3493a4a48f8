"""Push and fetch: what a ref of a remote leads to is always there, whatever happens meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Conflict, IntegrityError, InvalidInput, NotFound, Oid, Repository
from simgit.errors import TransportError
from simgit.process import now
from simgit.remotes import packs
from simgit.remotes.push import PushReport
from simgit.remotes.remote import Local, Remote
from simgit.remotes.transport import Transport
from simgit.remotes.transport.directory import DirectoryTransport
from simgit.remotes.transport.memory import MemoryTransport
from tests.remotes.faulty import FAULTS, Fault, FaultyTransport, Killed
from tests.remotes.test_bundle import fill

_number = itertools.count()


def record(repo: Repository, run: str, count: int, seed: int = 0, **options: Any) -> None:
    rng = np.random.default_rng(seed)
    with repo.recorder(run, **options) as rec:
        for i in range(count):
            rec.append(rng.normal(size=4), i % 2, float(i), i % 50 == 49)


def connect(repo: Repository, transport: Transport, **options: Any) -> Remote:
    local = Local(repo.odb, repo.refs, repo._store.journaled, "origin")
    return Remote.of(transport, local, **options)


def push(repo: Repository, transport: Transport, *names: str, **options: Any) -> PushReport:
    with connect(repo, transport) as remote:
        return remote.push(names or None, **options)


def whats(report: Any) -> dict[str, str]:
    return {name: each.what for name, each in report.refs.items()}


def assert_whole(transport: Transport, tmp_path: Path) -> dict[str, Oid | None]:
    """Fetch everything into a new repository, and each ref alone; return the refs."""
    with connect(Repository.init(":memory:"), transport) as remote:
        refs = remote.refs() if remote.exists else {}
    for names in (None, *([name] for name in refs)) if refs else ():
        with Repository.init(tmp_path / f"whole-{next(_number)}") as repo:
            with connect(repo, transport) as remote:
                remote.fetch(names)
            assert not repo.fsck().problems
            for name in names or refs:
                here = "tags/" if name.startswith("tags/") else "remotes/origin/"
                oid = refs[name]
                assert oid is None or repo.state(here + name[5:]).oid == oid
    return refs


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "a") as repo:
        yield repo


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "b") as repo:
        yield repo


@pytest.fixture(params=["memory", "directory"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Transport:
    if request.param == "memory":
        return MemoryTransport(f"push-{next(_number)}")
    return DirectoryTransport(tmp_path / "remote")


@pytest.mark.slow
@pytest.mark.parametrize("cut", [2_000, 1 << 23])
def test_everything_arrives(
    repo: Repository,
    transport: Transport,
    tmp_path: Path,
    cut: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packs, "CUT", cut)
    fill(repo)
    done = push(repo, transport, all=True, tags=True)
    assert set(whats(done).values()) == {"new"}
    with Repository.init(tmp_path / "c") as clone:
        with connect(clone, transport) as remote:
            found = remote.fetch()
        assert found.states == done.states == sum(1 for _ in _oids(repo))
        assert set(_oids(clone)) == set(_oids(repo))
        with clone.odb.read() as here, repo.odb.read() as there:
            assert dict(here.scan("attachments")) == dict(there.scan("attachments"))
        assert clone.remote_runs()["origin/child"].config == repo.config("child")
    refs = assert_whole(transport, tmp_path)
    assert refs == {
        **{f"runs/{name}": info.oid for name, info in repo.runs.items()},
        **{f"tags/{name}": oid for name, (oid, _) in repo.tags().items()},
    }


def _oids(repo: Repository) -> Iterator[Oid]:
    from simgit.odb import ancestry

    with repo.odb.read() as txn:
        for key, _ in txn.scan("lines"):
            line = int.from_bytes(key, "big")
            start = ancestry.read_line(txn, line).step
            stop = ancestry.last_header(txn, line).end
            yield from ancestry.oids_of(repo.odb, txn, ancestry.LineRange(line, start, stop))


def test_a_run_goes_on(repo: Repository, other: Repository, transport: Transport) -> None:
    record(repo, "main", 120)
    assert whats(push(repo, transport)) == {"runs/main": "new"}
    assert repo.state("origin/main").oid == repo.state("main").oid
    record(repo, "main", 30, seed=1)
    done = push(repo, transport)
    assert whats(done) == {"runs/main": "forward"} and (done.states, done.packs) == (30, 1)
    assert done.requests <= 3
    with connect(other, transport) as remote:
        assert whats(remote.fetch()) == {"runs/main": "new"}
        assert whats(remote.fetch()) == {"runs/main": "unchanged"}
    assert other.state("origin/main").oid == repo.state("main").oid
    assert list(other.runs) == []


def test_nothing_new_is_one_request(repo: Repository, transport: Transport) -> None:
    for name in range(20):
        record(repo, f"worker/{name}", 3, seed=name)
    push(repo, transport, all=True)
    again = push(repo, transport, all=True)
    assert set(whats(again).values()) == {"unchanged"} and again.requests == 1


def test_attachments_and_status_follow(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 60)
    push(repo, transport)
    repo.attach("main@10", "weights", np.arange(5000.0))
    repo.set_status("main", "completed")
    assert whats(push(repo, transport)) == {"runs/main": "updated"}
    assert whats(push(repo, transport)) == {"runs/main": "unchanged"}
    with connect(other, transport) as remote:
        remote.fetch()
    assert (other.attachment("origin/main@10", "weights") == np.arange(5000.0)).all()
    assert other.remote_runs()["origin/main"].status == "completed"


def test_branches_build_on_what_is_there(
    repo: Repository, transport: Transport, tmp_path: Path
) -> None:
    record(repo, "main", 200)
    push(repo, transport)
    repo.branch("try", "main@100")
    record(repo, "try", 20, seed=3)
    done = push(repo, transport, "try")
    assert done.states == 20
    repo.branch("again", "try~5")
    record(repo, "again", 7, seed=4)
    assert push(repo, transport, "again").states == 7
    assert set(assert_whole(transport, tmp_path)) == {"runs/main", "runs/try", "runs/again"}


def test_many_branches_of_one_run_do_not_name_the_packs_of_each_other(
    repo: Repository, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "CUT", 100)
    record(repo, "main", 100)
    push(repo, transport)
    for number in range(12):
        repo.branch(f"b{number}", f"main@{40 + number}")
        record(repo, f"b{number}", 3, seed=number)
        push(repo, transport, f"b{number}")
    with connect(repo, transport) as remote:
        seen = remote._connection.read_refs(None, lambda key: None)
        assert max(len(remote._connection.entries(each.ref)) for each in seen.values()) <= 4
    assert_whole(transport, tmp_path)


def test_states_that_differ_are_refused(
    repo: Repository, other: Repository, transport: Transport, tmp_path: Path
) -> None:
    record(repo, "main", 20)
    push(repo, transport)
    record(other, "main", 20, seed=9)
    before = connect(other, transport).refs()
    with pytest.raises(Conflict, match="push refused: 'main' has states there that are not here"):
        push(other, transport)
    record(other, "more", 5)
    with pytest.raises(Conflict):
        push(other, transport, all=True)
    assert connect(other, transport).refs() == before
    assert whats(push(other, transport, aside=True)) == {"runs/main": "aside"}
    assert whats(push(other, transport, aside=True)) == {"runs/main": "unchanged"}
    refs = assert_whole(transport, tmp_path)
    assert refs["runs/main.conflict-1"] == other.state("main").oid


def test_a_lease_holds_or_the_push_is_refused(
    repo: Repository, other: Repository, transport: Transport, tmp_path: Path
) -> None:
    record(repo, "main", 20)
    push(repo, transport)
    with connect(other, transport) as remote:
        remote.fetch()
    record(other, "main", 4, seed=9)
    record(repo, "main", 1)
    push(repo, transport)
    with pytest.raises(Conflict, match="moved since it was last fetched"):
        push(other, transport, force=True)
    wrong = other.state("main").oid
    with pytest.raises(Conflict):
        push(other, transport, expect={"main": wrong})
    with connect(other, transport) as remote:
        remote.fetch()
    assert whats(push(other, transport, force=True)) == {"runs/main": "forced"}
    assert assert_whole(transport, tmp_path) == {"runs/main": wrong}
    right = other.state("main").oid
    assert whats(push(repo, transport, expect={"main": right})) == {"runs/main": "forced"}


def test_what_the_remote_has_more_is_not_taken_away(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 20)
    push(repo, transport)
    with connect(other, transport) as remote:
        remote.fetch()
    other.branch("main", "origin/main~5")
    assert whats(push(other, transport)) == {"runs/main": "behind"}
    assert connect(other, transport).refs()["runs/main"] == repo.state("main").oid


def test_deleted_refs_leave_and_come_back(
    repo: Repository, other: Repository, transport: Transport, tmp_path: Path
) -> None:
    record(repo, "main", 20)
    repo.tag("v1", "main@3")
    push(repo, transport, all=True, tags=True)
    with connect(other, transport) as remote:
        remote.fetch()
        assert whats(push(repo, transport, delete=["main"])) == {"runs/main": "deleted"}
        assert "origin/main" not in repo.remote_runs()
        assert whats(remote.fetch(prune=True))["runs/main"] == "pruned"
        assert set(remote.refs()) == {"tags/v1"}
    with pytest.raises(NotFound):
        push(repo, transport, delete=["main"])
    assert whats(push(repo, transport)) == {"runs/main": "new"}
    assert set(assert_whole(transport, tmp_path)) == {"runs/main", "tags/v1"}


def test_a_dry_run_writes_nothing(repo: Repository, transport: Transport) -> None:
    record(repo, "main", 20)
    done = push(repo, transport, dry_run=True)
    assert whats(done) == {"runs/main": "new"} and done.states == 20 and done.sent == 0
    assert list(transport.list("")) == []
    assert not repo.remote_runs()


def test_a_run_without_states(repo: Repository, other: Repository, transport: Transport) -> None:
    repo.create_run("empty", config={"lr": 1})
    assert whats(push(repo, transport, "empty")) == {"runs/empty": "new"}
    with connect(other, transport) as remote:
        remote.fetch()
    assert other.remote_runs()["origin/empty"].oid is None
    record(repo, "empty", 2)
    assert whats(push(repo, transport, "empty")) == {"runs/empty": "forward"}


def test_a_remote_that_is_read_only_or_something_else(
    repo: Repository, transport: Transport, tmp_path: Path
) -> None:
    record(repo, "main", 2)
    with connect(repo, transport, read_only=True) as remote:
        with pytest.raises(InvalidInput, match="read-only"):
            remote.push()
        with pytest.raises(NotFound, match="nothing was pushed to it yet"):
            remote.fetch()
    transport.put_new("something", b"else")
    with pytest.raises(InvalidInput, match="is not a remote"):
        connect(repo, transport)


def _requests(repo: Repository, transport: Transport) -> int:
    faulty = FaultyTransport(transport)
    push(repo, faulty, all=True)
    return faulty.calls


@pytest.mark.slow
@pytest.mark.parametrize("how", [*FAULTS, "kill", "kill after"])
def test_a_push_that_fails_at_any_request_goes_on(
    how: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "CUT", 1500)
    with Repository.init(tmp_path / "n") as repo:
        _grow(repo, 0)
        number = _requests(repo, MemoryTransport(f"push-{next(_number)}"))
    assert number > 6
    for at in range(1, number + 2):
        transport = MemoryTransport(f"push-{next(_number)}")
        with Repository.init(tmp_path / f"{at}") as repo:
            _grow(repo, 0)
            _push_or_fail(repo, FaultyTransport(transport, how, at))
            assert_whole(transport, tmp_path)
            _grow(repo, 1)
            _push_or_fail(repo, FaultyTransport(transport, how, at))
            assert_whole(transport, tmp_path)
            push(repo, transport, all=True)
            refs = assert_whole(transport, tmp_path)
            assert refs == {f"runs/{name}": info.oid for name, info in repo.runs.items()}
            again = push(repo, transport, all=True)
            assert set(whats(again).values()) == {"unchanged"}


def _grow(repo: Repository, seed: int) -> None:
    record(repo, "main", 60, seed=seed)
    repo.branch(f"try-{seed}", "main~10")
    record(repo, f"try-{seed}", 20, seed=10 + seed)
    repo.attach(f"try-{seed}", "weights", np.arange(100.0) + seed)


def _push_or_fail(repo: Repository, transport: Transport) -> None:
    with suppress(TransportError, IntegrityError, Killed):
        push(repo, transport, all=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fail", "truncate", "kill", "kill after"])
def test_a_fetch_that_fails_at_any_request_goes_on(
    how: Fault, repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "CUT", 1500)
    transport = MemoryTransport(f"push-{next(_number)}")
    _grow(repo, 0)
    push(repo, transport, all=True)
    _grow(repo, 1)
    push(repo, transport, all=True)
    for at in range(1, 30):
        with Repository.init(tmp_path / f"{at}") as clone:
            faulty = FaultyTransport(transport, how, at)
            try:
                with connect(clone, faulty) as remote:
                    remote.fetch()
            except (TransportError, IntegrityError, Killed):
                assert not clone.remote_runs()
            assert not clone.fsck().problems
            with connect(clone, transport) as remote:
                remote.fetch()
            assert {f"origin/{name}" for name in repo.runs} == set(clone.remote_runs())
            assert not clone.fsck().problems
        if faulty.calls < at:
            return
    raise AssertionError("the fetch never came to its end")


def test_two_writers_of_one_run(repo: Repository, tmp_path: Path) -> None:
    transport = MemoryTransport(f"push-{next(_number)}")
    record(repo, "main", 20)
    push(repo, transport)
    with Repository.init(tmp_path / "b") as other:
        with connect(other, transport) as remote:
            remote.fetch()
        other.branch("main", "origin/main")
        record(repo, "main", 3, seed=1)
        longer = Repository.clone(tmp_path / "a", tmp_path / "c")
        with longer:
            record(longer, "main", 2, seed=2)

            def meanwhile(number: int, name: str, key: str) -> None:
                if name == "put_if":
                    push(repo, transport)

            done = push(longer, FaultyTransport(transport, before=meanwhile))
            assert whats(done) == {"runs/main": "forward"} and done.conflicts == 1
            assert connect(other, transport).refs() == {"runs/main": longer.state("main").oid}
    assert_whole(transport, tmp_path)


def test_damaged_objects_are_refused(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 20)
    push(repo, transport)
    for each in list(transport.list("")):
        got = transport.get(each.key)
        assert got is not None
        for at in range(0, len(got.data), max(1, len(got.data) // 40)):
            flipped = bytearray(got.data)
            flipped[at] ^= 1
            transport.put(each.key, bytes(flipped))
            with pytest.raises(IntegrityError), connect(other, transport) as remote:
                remote.fetch()
        transport.put(each.key, got.data)
    assert not other.remote_runs()
    with connect(other, transport) as remote:
        remote.fetch()
    assert other.state("origin/main").oid == repo.state("main").oid


def test_a_pack_that_was_removed_here_is_fetched_again(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    record(repo, "main", 20)
    repo.branch("try", "main@10")
    record(repo, "try", 5, seed=2)
    push(repo, transport, all=True)
    with connect(other, transport) as remote:
        remote.fetch()
    for name in ("main", "try"):
        other.delete_remote_run(f"origin/{name}")
    other.gc(grace=0, expire=0, clock=lambda: now() + 2 * 86_400 * 10**9)
    assert not list(_oids(other))
    with connect(other, transport) as remote:
        assert set(whats(remote.fetch()).values()) == {"new"}
    assert other.state("origin/try").oid == repo.state("try").oid
    assert not other.fsck().problems


class _Listing(FaultyTransport):
    """A transport that notes what is listed."""

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Any]:
        self.__dict__.setdefault("listed", []).append(prefix)
        return super().list(prefix, etags=etags)


def test_only_refs_that_a_name_can_mean_are_listed(
    repo: Repository, other: Repository, transport: Transport
) -> None:
    for name in ("a/1", "a/1/x", "a/1/y", "a/10", "b"):
        record(repo, name, 3, seed=len(name))
    push(repo, transport, all=True)
    noting = _Listing(transport)
    with connect(other, noting) as remote:
        assert set(remote.refs("a/1", "a/1/*")) == {"runs/a/1", "runs/a/1/x", "runs/a/1/y"}
        assert set(remote.refs("b", "c")) == {"runs/b"}
        assert set(remote.refs("a/*")) == {f"runs/a/{n}" for n in ("1", "1/x", "1/y", "10")}
        assert len(remote.refs()) == len(remote.refs("*")) == 5
        assert whats(remote.fetch(["a/1/*"])) == {"runs/a/1/x": "new", "runs/a/1/y": "new"}
        with pytest.raises(NotFound):
            remote.fetch(["a/2/*"])
    assert noting.listed == [  # type: ignore[attr-defined]
        "refs/runs/a/1/", "refs/runs/a/", "refs/", "refs/runs/", "refs/runs/a/1/", "refs/runs/a/2/",
    ]  # fmt: skip


def test_a_run_beside_the_folder_of_others_does_not_list_all(
    repo: Repository, transport: Transport
) -> None:
    names = ["w/3", *(f"w/3/{n}" for n in range(12))]
    for number, name in enumerate(["w/4", *names]):
        record(repo, name, 3, seed=number)
    push(repo, transport, all=True)
    noting = _Listing(transport)
    for number, name in enumerate(names):
        record(repo, name, 1, seed=100 + number)
    done = push(repo, noting, *names)
    assert set(whats(done).values()) == {"forward"} and len(done.refs) == 13
    assert noting.listed == ["refs/runs/w/3"]  # type: ignore[attr-defined]
