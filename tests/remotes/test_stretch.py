"""Stretches of runs: what came is as at the remote, what did not is said, and it joins."""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import IntegrityError, InvalidInput, Missing, NotFound, Oid, Repository, SimgitWarning
from simgit.history.trajectory import Trajectory
from simgit.odb.segments.lines import SHALLOW, grafts
from simgit.remotes import packs
from simgit.remotes.fetch import Fetch
from simgit.remotes.pack_parts import PackParts
from simgit.remotes.stretch import AskedSteps, StretchFetch
from simgit.remotes.transport import Transport
from simgit.remotes.transport.memory import MemoryTransport
from simgit.testing.failpoints import arm, disarm
from tests.remotes.remote_support import (
    DAY,
    Clock,
    ClockedMemory,
    Killed,
    close,
    gc,
    killed_at,
    opened,
)
from tests.remotes.test_bundle import fill
from tests.remotes.test_push import connect, push, record

_number = itertools.count()


def with_episodes(repo: Repository, run: str, count: int, seed: int = 0) -> None:
    """Record states whose episodes begin with a reset, each 40 states."""
    with repo.recorder(run) as rec:
        for i in range(count):
            if i % 40 == 0:
                rec.append({"x": float(seed)}, reset={"seed": i})
            else:
                rec.append({"x": float(i + seed)}, i % 3, 1.0)


def fetch(repo: Repository, transport: Transport, run: str = "main", **options: Any) -> Any:
    with connect(repo, transport) as remote:
        return remote.fetch([run], **options)


def part(repo: Repository, revision: str, first: int) -> Trajectory:
    """Return the states of a history from a step on."""
    return repo.trajectory(revision)[first:]


def begin(repo: Repository, revision: str = "origin/main") -> int:
    """Return the step at which a history begins here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SimgitWarning)
        return list(repo.log(revision))[-1].step


def check_same(here: Repository, there: Repository, tip: str, run: str, first: int) -> None:
    """Check each state of a stretch against the run that it is of."""
    last = here.state(tip).step
    mine, theirs = part(here, tip, first), part(there, run, first)[: last + 1 - first]
    assert mine.oids == theirs.oids and len(mine) == last + 1 - first
    for step in {first, last, (first + last) // 2}:
        a, b = here.state(f"{tip}@{step}"), there.state(f"{run}@{step}")
        assert (a.oid, a.step, repr(a.observation)) == (b.oid, b.step, repr(b.observation))


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "source") as repo:
        yield repo


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "here") as repo:
        yield repo


@pytest.fixture(params=["one pack", "many packs", "joined"])
def remote(request: pytest.FixtureRequest, source: Repository) -> Transport:
    """A remote with 6000 states of ``main``, sent in one push, in many, or joined by gc since."""
    clock = Clock()
    transport = ClockedMemory(f"stretch-{next(_number)}", clock)
    if request.param == "one pack":
        record(source, "main", 6000)
        push(source, transport)
        return transport
    for seed in range(12):
        record(source, "main", 500, seed=seed)
        push(source, transport)
    if request.param == "joined":
        for _ in range(3):
            gc(transport, clock)
            clock.time += 15 * DAY
        connection = opened(transport)
        ref = connection.read_ref("runs/main")
        assert ref is not None and len(connection.entries(ref.ref)) < 12
        close(connection)
    return transport


@pytest.mark.slow
@pytest.mark.parametrize("attachments", [True, False])
@pytest.mark.parametrize(("first", "last"), [(0, 10), (2500, 2600), (5990, None), (1, 5999)])
def test_a_stretch_is_as_at_the_remote(
    source: Repository,
    here: Repository,
    remote: Transport,
    first: int,
    last: int | None,
    attachments: bool,
) -> None:
    done = fetch(here, remote, states=(first, last), attachments=attachments)
    info = here.remote_runs()["origin/main"]
    assert info.oid is not None and info.step is not None
    assert done.states < 2048 * 2 + (0 if last is None else last - first)
    oldest = begin(here)
    assert oldest <= first and info.step >= (5999 if last is None else last)
    check_same(here, source, "origin/main", "main", first)
    assert not here.fsck().problems
    here.gc(grace=0)
    check_same(here, source, "origin/main", "main", oldest)
    assert not here.fsck().problems
    fetch(here, remote)
    check_same(here, source, "origin/main", "main", 0)
    assert not here.fsck().problems
    with here.odb.read() as txn:
        assert not grafts(txn)
    found = here.remote_runs()["origin/main"]
    assert (found.episodes, found.return_) == (source.runs["main"].episodes, pytest.approx(
        source.runs["main"].return_
    ))  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_stretches_join_whatever_their_order(
    source: Repository, here: Repository, remote: Transport, seed: int
) -> None:
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, 6000), 5))
    parts = [(a, b - 1) for a, b in itertools.pairwise([0, *cuts, 6000])]
    rng.shuffle(parts)
    connection = opened(remote)
    ref = connection.read_ref("runs/main")
    assert ref is not None
    fetching = StretchFetch(here.odb, connection, "origin")
    assert fetching.begin(ref.ref) == 5999
    for first, last in parts:
        tip, _ = fetching.fetch(ref.ref, first, last)
        with here.odb.read() as txn:
            place = here.odb.locate(txn, tip)
            for step in range(first, last + 1, 97):
                at = here.odb.states.ancestor(txn, place, step)
                assert here.odb.states.row(txn, at)[0] == source.resolve(f"main@{step}")
        assert not here.fsck().problems
    close(connection)
    with here.odb.read() as txn:
        assert not grafts(txn)
        place = here.odb.locate(txn, source.resolve("main"))
        assert here.odb.states.tip(txn, place).episode == source.state("main").episode


def test_what_is_not_here_is_said(source: Repository, here: Repository) -> None:
    transport = MemoryTransport(f"stretch-{next(_number)}")
    with_episodes(source, "main", 5000)
    push(source, transport)
    fetch(here, transport, states=(4100, None))
    tip = here.state("origin/main")
    assert (tip.step, tip.episode, tip.episode_step) == (4999, None, 39)
    begins = begin(here)
    assert 2000 < begins <= 4100 and begins % 40
    first = here.state(f"origin/main@{begins}")
    assert first.episode is None and first.episode_step is None  # its reset is before
    info = here.remote_runs()["origin/main"]
    assert info.episodes is None and info.return_ != info.return_
    at = f"origin/main@{begins}"
    for revision in ("origin/main@10", "origin/main~4000", f"{at}^", "origin/main@ep2"):
        with pytest.raises(Missing, match=f"{begins} states before step {begins} are not here"):
            here.state(revision)
    for ask in (
        lambda: here.episodes("origin/main"),
        lambda: part(here, "origin/main", 4200).episode_ids,
        lambda: here.buckets("origin/main", ["reward"]),
        lambda: here.trajectory("origin/main").rewards,
        lambda: here.trajectory("origin/main")[begins - 1],
        lambda: here.state("origin/main@t=-5"),
        lambda: here.history_attachments("origin/main", "agent"),
        lambda: here.parents(at),
        lambda: here.origin("origin/main"),
    ):
        with pytest.raises(Missing, match="'origin'"):
            ask()
    with pytest.warns(match="shallow"):
        assert len(list(here.log("origin/main"))) == 5000 - begins
    assert len(list(here.log("origin/main", limit=3))) == 3  # nothing is said before the end
    with pytest.warns(match="shallow"):
        assert [line.step for line in here.outline("origin/main")] == [4999]
    assert part(here, "origin/main", 4960).rewards.sum() == 39  # all but the reset's
    here.branch("mine", "origin/main@4500")
    with pytest.raises(Missing):
        here.state("mine@10")
    assert here.merge_bases("mine", "origin/main") == [here.resolve("origin/main@4500")]
    here.commit({"x": 0.0}, 1, 1.0, run="mine")
    assert here.runs["mine"].episodes is None
    fetch(here, transport)
    source.branch("mine", "main@4500")
    source.commit({"x": 0.0}, 1, 1.0, run="mine")
    assert here.resolve("mine") == source.resolve("mine")
    assert here.runs["mine"].episodes == source.runs["mine"].episodes
    assert here.runs["mine"].return_ == pytest.approx(source.runs["mine"].return_)
    assert here.episodes("mine") == source.episodes("mine")
    assert not here.fsck().problems


def test_a_fork_of_a_shallow_state_goes_to_the_remote(
    source: Repository, here: Repository, tmp_path: Path
) -> None:
    transport = MemoryTransport(f"stretch-{next(_number)}")
    record(source, "main", 5000)
    push(source, transport)
    fetch(here, transport, depth=10)
    assert here.remote_runs()["origin/main"].step == 4999
    here.branch("mine", "origin/main@4990")
    record(here, "mine", 30, seed=3)
    done = push(here, transport, "mine")
    assert done.states == 30
    with Repository.init(tmp_path / "third") as third:
        fetch(third, transport, "mine")
        assert third.resolve("origin/mine") == here.resolve("mine")
        check_same(third, source, "origin/mine@4990", "main", 0)
        assert not third.fsck().problems
    with pytest.raises(Missing, match="push refused"):
        push(here, MemoryTransport(f"stretch-{next(_number)}"), "mine")
    here.create_bundle(tmp_path / "b", ["mine"])
    with pytest.raises(NotFound, match="builds on state"), Repository.init(tmp_path / "d") as empty:
        empty.import_bundle(tmp_path / "b")
    source.import_bundle(tmp_path / "b")
    assert source.resolve("mine") == here.resolve("mine")
    assert not source.fsck().problems


@pytest.mark.slow
@pytest.mark.parametrize("cut", [20_000, 1 << 23])
@pytest.mark.parametrize("run", ["main", "frames", "try", "files"])
def test_runs_of_every_kind(
    source: Repository, tmp_path: Path, run: str, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forks, a merge, frames that are stored with other states, files, checkpoints."""
    monkeypatch.setattr(packs, "CUT", cut)
    fill(source)
    transport = MemoryTransport(f"stretch-{next(_number)}")
    push(source, transport, all=True, tags=True)
    last = source.state(run).step
    for attachments, first in itertools.product((True, False), sorted({0, last // 2, last})):
        with Repository.init(tmp_path / f"here-{next(_number)}") as here:
            fetch(here, transport, run, states=(first, last), attachments=attachments)
            check_same(here, source, f"origin/{run}", run, first)
            assert not here.fsck().problems
            for each in source.history_attachments(run):
                if each.step >= first and attachments:
                    assert each.name in here.attachments(each.state)
            assert here.remote_runs()[f"origin/{run}"].config == source.config(run)
            if not attachments:
                with here.odb.read() as txn:
                    assert not list(txn.scan("attachments"))
            here.gc(grace=0)
            check_same(here, source, f"origin/{run}", run, first)
            assert not here.fsck().problems
            with connect(here, transport) as remote:
                remote.fetch()
            check_same(here, source, f"origin/{run}", run, 0)
            assert not here.fsck().problems
            with here.odb.read() as mine, source.odb.read() as theirs:
                assert dict(mine.scan("attachments")) == dict(theirs.scan("attachments"))


def test_parts_that_do_not_adjoin_are_refused(
    source: Repository, here: Repository, remote: Transport
) -> None:
    fetch(here, remote, states=(5900, None))
    begins = begin(here)
    with pytest.raises(InvalidInput, match=f"fetch 10..{begins - 1}"):
        fetch(here, remote, states=(10, 20))
    with pytest.raises(NotFound, match="has steps 0 to 5999"):
        fetch(here, remote, states=(10, 6000))
    for bad in ({"depth": 0}, {"states": (5, 4)}, {"attachments": False}):
        with pytest.raises(InvalidInput):
            fetch(here, remote, **bad)
    again = fetch(here, remote, states=(begins, None))
    assert again.states == 0
    fetch(here, remote, states=(10, begins - 1))
    check_same(here, source, "origin/main", "main", 10)


@pytest.mark.slow
def test_every_byte_that_is_used_counts(source: Repository, here: Repository) -> None:
    """A flipped byte is refused, or it is of a record that nobody asked for."""
    transport = MemoryTransport(f"stretch-{next(_number)}")
    record(source, "main", 40_000)
    push(source, transport)
    spans: list[tuple[int, int]] = []
    inner = transport.get_range

    def noted(key: str, start: int, length: int) -> bytes:
        spans.append((start, length))
        return inner(key, start, length)

    transport.get_range = noted  # type: ignore[method-assign]
    fetch(here, transport, states=(20_000, 20_001), attachments=False)
    transport.get_range = inner  # type: ignore[method-assign]
    assert len(spans) == 3
    key = next(each.key for each in transport.list("packs"))
    good = transport._objects.found[key]
    connection = opened(transport)
    ref = connection.read_ref("runs/main")
    assert ref is not None
    table = PackParts(connection, connection.entries(ref.ref)[0]).lines[-1].stop
    close(connection)
    rng = random.Random(0)
    for start, length in spans:
        for at in sorted(rng.sample(range(start, start + length), 150)):
            data = bytearray(good.data)
            data[at] ^= 1 << rng.randrange(8)
            transport._objects.found[key] = good._replace(data=bytes(data))
            with Repository.init(":memory:") as other:
                try:
                    fetch(other, transport, states=(20_000, 20_001), attachments=False)
                except IntegrityError:
                    assert "origin/main" not in other.remote_runs()
                    continue
                assert at < table and (start, length) != spans[2], at
                check_same(other, source, "origin/main", "main", 20_000)
    transport._objects.found[key] = good


@pytest.mark.slow
def test_a_fetch_that_is_killed_is_completed_by_the_next(
    source: Repository, tmp_path: Path, remote: Transport
) -> None:
    for number in itertools.count():
        with Repository.init(tmp_path / f"killed-{number}") as here:
            connection = None
            try:
                connection = opened(killed_at(remote, number))
                Fetch(here.odb, here.refs, connection, "origin").run(
                    ["runs/main"], steps=AskedSteps(2500, 2600)
                )
                done = True
            except Killed:
                done = False
                assert "origin/main" not in here.remote_runs()
            finally:
                if connection is not None:
                    close(connection)
            assert not here.fsck().problems
            fetch(here, remote, states=(2500, 2600))
            check_same(here, source, "origin/main", "main", 2500)
            if done:
                break
    for point in ("import.batch", "states.stored", "fetch.stretch", "fetch.pack", "fetch.refs"):
        with Repository.init(tmp_path / f"point-{point}") as here:
            for options in ({"states": (2500, 2600)}, {}):
                arm(f"{point}=raise")
                with suppress(OSError):
                    fetch(here, remote, **options)
                disarm()
                assert not here.fsck().problems
                fetch(here, remote, **options)
                assert not here.fsck().problems
                check_same(here, source, "origin/main", "main", 2500 if options else 0)


def test_a_shallow_store_says_so_in_its_format(
    source: Repository, here: Repository, remote: Transport, tmp_path: Path
) -> None:
    def version(repo: Repository) -> str:
        return (repo.directory / "format").read_text()

    with pytest.raises(NotFound, match="has steps 0 to 5999"):
        fetch(here, remote, states=(0, 6000))
    assert version(here) == "1\n"  # what is refused changes nothing
    fetch(here, remote, states=(5000, 5100))
    assert version(here) == "2\n" and version(source) == "1\n"
    with Repository.clone(here.directory.parent, tmp_path / "copy") as copy:
        assert version(copy) == "2\n"
        check_same(copy, source, "origin/main", "main", 5050)
    with source.odb.read() as txn:
        assert txn.get("meta", SHALLOW) is None


def test_a_shallow_clone(source: Repository, tmp_path: Path) -> None:
    for seed, run in enumerate(("main", "b", "c")):
        record(source, run, 3000, seed=seed)
    source.tag("v1", "main@100")
    push(source, (there := tmp_path / "remote") and _directory(there), all=True, tags=True)
    with Repository.clone(there, tmp_path / "clone", depth=100, attachments=False) as clone:
        assert set(clone.runs) == {"main", "b", "c"} and not clone.tags()
        for run in clone.runs:
            check_same(clone, source, run, run, 2900)
            with pytest.raises(Missing):
                clone.state(f"{run}@100")
        assert not clone.fsck().problems
        record(clone, "main", 10, seed=9)
        with clone.remote() as remote:
            assert remote.push(["main"]).states == 10
        assert clone.upstreams("main")["main"].ahead == 0


def _directory(path: Path) -> Transport:
    from simgit.remotes.transport.directory import DirectoryTransport

    return DirectoryTransport(path)


def test_a_wrong_step_is_found_when_a_stretch_is_joined(
    source: Repository, here: Repository, remote: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simgit.remotes.bundle import loading

    load = loading.load_pieces

    def late(odb: Any, stream: Any, pieces: Any) -> Any:
        steps = {oid: (step + 1, may) for oid, (step, may) in pieces.steps.items()}
        return load(odb, stream, pieces._replace(steps=steps))

    monkeypatch.setattr("simgit.remotes.stretch.load_pieces", late)
    with suppress(IntegrityError):
        fetch(here, remote, states=(3000, 3001))
    monkeypatch.undo()
    with pytest.raises(IntegrityError, match="wrong steps"):
        fetch(here, remote)


def test_states_that_are_recorded_again_meet_those_that_came(
    source: Repository, here: Repository, remote: Transport
) -> None:
    """Equal states are one state, also if those before them are made here."""
    fetch(here, remote, states=(3000, None))
    oid = here.resolve("origin/main")
    rows = [(s.observation, s.action, s.reward, s.terminated) for s in source.trajectory("main")]
    with here.recorder("again") as rec:
        for row in rows:
            rec.append(*row)
    assert here.resolve("again") == oid == source.resolve("main")
    assert here.merge_bases("again", "origin/main") == [oid]
    assert here.state("origin/main@0").oid == source.resolve("main@0")
    assert not here.fsck().problems
    assert isinstance(oid, Oid)


@pytest.mark.slow
def test_requests_and_bytes(tmp_path: Path) -> None:
    """One stretch of a million states: docs/remotes.md tells these numbers."""
    transport = MemoryTransport(f"stretch-{next(_number)}")
    with Repository.init(tmp_path / "a") as source, Repository.init(tmp_path / "b") as here:
        rows = [(float(i % 500), i % 2, 1.0, i % 500 == 499) for i in range(1_000_000)]
        with source.recorder("main") as rec:
            for row in rows:
                rec.append(*row)
        push(source, transport)
        connection = connect(here, transport)
        counts = transport.counts
        before = counts.requests, counts.received
        done = connection.fetch(["main"], depth=1, attachments=False)
        assert counts.requests - before[0] == done.requests <= 4
        assert counts.received - before[1] == done.received <= 100_000
        assert here.resolve("origin/main") == source.resolve("main")


def test_a_branch_off_a_part_is_pushed() -> None:
    storage = MemoryTransport(f"branched-part-{next(_number)}")
    with Repository.init(":memory:") as full, Repository.init(":memory:") as some:
        with_episodes(full, "main", 9000)
        with_episodes(full, "else", 3000, seed=1)
        push(full, storage)
        fetch(some, storage, states=(2500, 2510))
        some.branch("other", "origin/main@2505")
        with some.recorder("other") as rec:
            for i in range(5):
                rec.append({"x": float(i)}, 2, 1.0)
        assert push(some, storage, "other").states == 5
        assert push(some, storage, "other").states == 0
        fetch(full, storage, "other")
        assert full.resolve("origin/other") == some.resolve("other")
        assert full.is_ancestor(full.resolve("main@2505"), full.resolve("origin/other"))
        with Repository.init(":memory:") as third:
            fetch(third, storage, "other")
            assert len(third.trajectory("origin/other")) == 2511
        with_episodes(full, "main", 1, seed=5)
        push(full, storage, "else", "main")


def test_a_branch_off_a_part_is_not_pushed_where_its_states_were_replaced() -> None:
    storage = MemoryTransport(f"branched-part-{next(_number)}")
    with Repository.init(":memory:") as full, Repository.init(":memory:") as some:
        with_episodes(full, "main", 9000)
        push(full, storage)
        fetch(some, storage, states=(2500, 2510))
        some.branch("other", "origin/main@2505")
        full.delete_run("main", force=True)
        with_episodes(full, "main", 9000, seed=1)
        push(full, storage, "main", force=True)
        with pytest.raises(Missing, match=r"push refused: .* lacks some states"):
            push(some, storage, "other")


def test_an_attachment_of_a_state_that_is_not_here_waits_for_it(
    source: Repository, here: Repository
) -> None:
    transport = MemoryTransport(f"stretch-{next(_number)}")
    record(source, "main", 3000)
    push(source, transport)
    record(source, "main", 100)
    source.attach("main@5", "note", {"of": b"an old state"})
    push(source, transport)
    fetch(here, transport, depth=10)
    assert begin(here) == 3000
    check_same(here, source, "origin/main", "main", 3090)
    fetch(here, transport)
    assert here.attachments("origin/main@5") == source.attachments("main@5")


def test_an_attachment_that_names_states_which_are_not_here_is_said(
    source: Repository, here: Repository
) -> None:
    transport = MemoryTransport(f"stretch-{next(_number)}")
    record(source, "main", 3000)
    push(source, transport)
    record(source, "main", 100)
    named = {"@states": [bytes(source.resolve("main@5"))]}
    source.attach("main", "session", named)
    push(source, transport)
    with pytest.warns(match="'session' .* is left out"):
        fetch(here, transport, depth=10)
    assert not here.attachments("origin/main") and not here.fsck().problems
    fetch(here, transport)
    assert here.attachments("origin/main") == source.attachments("main")


def test_a_stretch_before_a_fork_ends_where_the_run_leaves(
    source: Repository, here: Repository
) -> None:
    """The last record has states of the run that it was branched off, too."""
    transport = MemoryTransport(f"stretch-{next(_number)}")
    record(source, "main", 30)
    push(source, transport)
    source.branch("try", "main@21")
    record(source, "try", 10, seed=1)
    push(source, transport, "try")
    fetch(here, transport, "try", states=(0, 9))
    assert here.resolve("origin/try") == source.resolve("try@21")
    fetch(here, transport, "try", states=(18, 23))
    check_same(here, source, "origin/try", "try", 0)
    assert here.state("origin/try").step >= 23


@pytest.mark.parametrize("depth", [None, 5])
def test_a_run_that_has_other_states_since(
    source: Repository, here: Repository, depth: int | None
) -> None:
    transport = MemoryTransport(f"stretch-{next(_number)}")
    for _ in range(2):
        record(source, "main", 30)
        push(source, transport)
    fetch(here, transport, depth=depth)
    source.delete_run("main", force=True)
    record(source, "main", 40, seed=1)
    push(source, transport, "main", force=True)
    done = fetch(here, transport, depth=5)
    assert done.refs["runs/main"].new == source.resolve("main")
    check_same(here, source, "origin/main", "main", 35)
    source.delete_run("main", force=True)
    record(source, "main", 50, seed=2)
    push(source, transport, "main", force=True)
    assert fetch(here, transport).refs["runs/main"].what == "forced"
    check_same(here, source, "origin/main", "main", 0)
    assert not here.fsck().problems


def test_a_merge_with_a_later_state_is_not_joined_silently(
    source: Repository, here: Repository
) -> None:
    """Its line has a number above that of the states after it, which came before."""
    transport = MemoryTransport(f"stretch-{next(_number)}")
    for run, count in (("other", 200), ("other", 100), ("main", 10)):
        record(source, run, count)
        push(source, transport, all=True)
    source.commit(np.zeros(4), 1, 1.0, run="main", parents=[source.resolve("other")])
    push(source, transport, all=True)
    for _ in range(2):
        record(source, "main", 5)
        push(source, transport, all=True)
    fetch(here, transport, depth=2)
    states = begin(here)
    with pytest.raises(InvalidInput, match="cannot be joined"):
        fetch(here, transport, states=(8, states - 1))
    assert begin(here) == states and not here.fsck().problems
    fetch(here, transport)
    check_same(here, source, "origin/main", "main", 0)


@pytest.mark.parametrize("damage", ["unlisted", "unmarked", "stray", "no remote"])
def test_a_list_of_grafts_that_is_wrong_is_found_and_repaired(
    source: Repository, here: Repository, damage: str
) -> None:
    transport = MemoryTransport(f"stretch-{next(_number)}")
    for seed in range(2):
        record(source, "main", 30, seed=seed)
        push(source, transport)
    fetch(here, transport, depth=5)
    with here.odb.write() as txn:
        ((parent, number),) = grafts(txn)
        key = b"graft\0" + parent + number.to_bytes(8, "big")
        value = txn.get("meta", key)
        assert value is not None
        if damage == "unlisted":
            txn.delete("meta", key)
        elif damage == "unmarked":
            txn.delete("meta", SHALLOW)
        elif damage == "stray":
            txn.put("meta", b"graft\0" + bytes(32) + (number + 1).to_bytes(8, "big"), value)
        else:
            txn.put("meta", key, value[1:])
    assert len(here.fsck().problems) == 1
    assert here.repair().actions == ["listed where shallow histories end"]
    assert not here.fsck().problems
    fetch(here, transport)
    check_same(here, source, "origin/main", "main", 0)
    with here.odb.read() as txn:
        assert not grafts(txn)


def test_a_push_to_the_same_remote_of_what_goes_on_from_a_branched_run(
    source: Repository, here: Repository, tmp_path: Path
) -> None:
    """Where the run branched off came with it, and lies apart from its newest states."""
    transport = MemoryTransport(f"stretch-{next(_number)}")
    for seed in range(2):
        record(source, "main", 30, seed=seed)
        push(source, transport)
    source.branch("try", "main@45")
    for seed in range(2):
        record(source, "try", 10, seed=seed + 5)
        push(source, transport, "try")
    fetch(here, transport, "try", depth=3)
    assert begin(here, "origin/try") > 46
    here.branch("mine", "origin/try")
    record(here, "mine", 5, seed=9)
    assert push(here, transport, "mine").states == 5
    with Repository.init(tmp_path / "third") as third:
        fetch(third, transport, "mine")
        check_same(third, source, "origin/mine@65", "try", 0)
        assert third.resolve("origin/mine") == here.resolve("mine") and not third.fsck().problems
