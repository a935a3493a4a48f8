"""Revisions name states; what is ambiguous or missing is an error that says so."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from simgit import InvalidInput, NotFound, Oid, Repository
from simgit.refs.revision import split_revision


@pytest.fixture(scope="module")
def repo() -> Repository:
    """Three episodes on main (4, 3 and 5 states), a branch in the second, a merge."""
    repo = Repository.init(":memory:")
    with repo.recorder("main", flush_every=5) as rec:
        for length in (4, 3, 5):
            for i in range(length):
                rec.append(length * 10 + i, reset=i == 0)
    repo.branch("side", "main@ep2.1")
    repo.commit(100, run="side", reset=True)
    repo.commit(101, run="side")
    repo.branch("merge", "side")
    repo.commit(102, run="merge", parents=["main"])
    repo.tag("v1", "main@ep3")
    repo.tag("other", "side")
    with repo.odb.write() as txn:  # as older versions allowed it
        txn.put("refs", b"tags/main", txn.get("refs", b"tags/other") or b"")
    repo.delete_tag("other")
    repo.checkout("side")
    return repo


@pytest.mark.parametrize(
    ("revision", "observation"),
    [
        ("HEAD", 101),
        ("@", 101),
        ("HEAD~1", 100),
        ("@~", 100),
        ("~1", 100),
        ("side", 101),
        ("runs/side", 101),
        ("runs/main", 54),
        ("tags/main", 101),
        ("v1", 50),
        ("tags/v1", 50),
        ("v1~1", 32),
        ("merge^", 101),
        ("merge^2", 54),
        ("merge^2~3", 51),
        ("merge^^", 100),
        ("merge^0", 102),
        ("merge~0", 102),
        ("side@0", 40),
        ("side@5", 31),
        ("side@ep1", 40),
        ("side@ep2", 30),
        ("side@ep2.1", 31),
        ("side@ep3", 100),
        ("side@ep3.1", 101),
        ("merge@ep3.2", 102),
        ("runs/main@ep2", 30),
        ("runs/main@ep3.4", 54),
        ("runs/main@11", 54),
        ("runs/main@11~1", 53),
        ("side@{1}", 100),
        ("merge^2@ep1.3", 43),
        ("@{0}", 101),
    ],
)
def test_a_revision_names_a_state(repo: Repository, revision: str, observation: int) -> None:
    assert repo.state(revision).observation == observation


@pytest.mark.parametrize(
    "revision",
    [
        "nothing",
        "side~100",
        "merge^3",
        "side^2",
        "side@100",
        "side@ep0",
        "side@ep4",
        "side@ep2.5",
        "runs/main@ep3.5",
        "side@{9}",
        "runs/none",
        "tags/none",
        "0000",
        "ffffffffffff",
        "side@999999999999999999",
        "abc",
    ],
)
def test_a_revision_that_names_none_is_not_found(repo: Repository, revision: str) -> None:
    with pytest.raises(NotFound):
        repo.resolve(revision)


@pytest.mark.parametrize(
    "revision", ["", "a b", "a:b", "a^{x}", "a~x", "a@{x}", "a?", "*", "a\n", "main"]
)
def test_what_is_no_revision_or_ambiguous_is_refused(repo: Repository, revision: str) -> None:
    with pytest.raises(InvalidInput):
        repo.resolve(revision)


def test_an_ambiguous_name_lists_its_candidates(repo: Repository) -> None:
    with pytest.raises(InvalidInput, match="ambiguous") as caught:
        repo.resolve("main")
    assert caught.value.candidates == ["runs/main", "tags/main"]  # type: ignore[attr-defined]


def test_an_ambiguous_beginning_of_an_oid_lists_its_candidates() -> None:
    with Repository.init(":memory:") as repo:
        with repo.recorder(flush_every=500) as rec:
            for i in range(3000):
                rec.append(i)
        with repo.odb.read() as txn:
            oids = [Oid(oid) for oid in repo.odb.states.oids(txn, 0, 0, 3000)]
        starts = sorted(oid.hex() for oid in oids)
        same = next(a[:4] for a, b in itertools.pairwise(starts) if a[:4] == b[:4])
        with pytest.raises(InvalidInput, match="ambiguous") as caught:
            repo.resolve(same)
        wanted = sorted(oid for oid in oids if oid.hex().startswith(same))
        assert sorted(caught.value.candidates) == wanted  # type: ignore[attr-defined]
        for oid in wanted:
            assert repo.resolve(oid.hex()[:20]) == oid


def test_ranges_are_what_is_in_one_but_not_in_the_other(repo: Repository) -> None:
    def listed(*wanted: str) -> list[int]:
        return [repo.state(line.oid).observation for line in repo.log(*wanted)]

    assert listed("runs/main..side") == [101, 100]
    assert listed("side..runs/main") == [54, 53, 52, 51, 50, 32]
    assert sorted(listed("side...runs/main")) == [32, 50, 51, 52, 53, 54, 100, 101]
    assert listed("runs/main..") == [101, 100]
    assert listed("side@1..side@3") == listed("side@1..3") == [43, 42]
    assert listed("side@ep2..ep3.1") == [101, 100, 31]


def test_suffixes_are_split_first_to_last() -> None:
    base, suffixes = split_revision("a/b@2~3^2@ep1.4")
    assert base == "a/b"
    assert [match[0] for match in suffixes] == ["@2", "~3", "^2", "@ep1.4"]


def test_a_revision_names_what_a_ref_was_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hour, noon = 3600 * 10**9, 1_800_000_000 * 10**9
    clock = [noon]
    for module in (
        "simgit.refs.refs.now",
        "simgit.refs.revision.now",
        "simgit.recording.states.now",
    ):
        monkeypatch.setattr(module, lambda: clock[0])
    repo = Repository.init(":memory:")
    states = []
    for _ in range(3):
        states.append(repo.commit(action=len(states)))
        clock[0] += 24 * hour
    clock[0] += hour  # the commits were 73, 49 and 25 hours ago
    assert repo.resolve("main@{yesterday}") == states[2] == repo.resolve("HEAD@{now}")
    assert repo.resolve("main@{30 hours ago}") == states[1]
    assert repo.resolve("main@{2 days ago}~1") == states[0]
    assert repo.resolve("main@{2.days.ago}") == states[1]
    written = datetime.fromtimestamp((noon + 24 * hour) / 1e9)
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"):
        assert repo.resolve(f"main@{{{written.strftime(form)}}}") == states[1]
    aware = written.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00:00")
    assert repo.resolve(f"runs/main@{{{aware}}}") == states[1]
    assert [line.step for line in repo.log("main@{2 days ago}..main@{yesterday}")] == [2]
    with pytest.raises(NotFound, match="the reflog of 'runs/main' begins later"):
        repo.resolve("main@{4 days ago}")
    for text in ("main@{25:00}", "main@{2 fortnights ago}", "main@{2026-13-01}", "main@{}"):
        with pytest.raises(InvalidInput, match="is not a time; write '2026-11-28'"):
            repo.resolve(text)
    repo.branch("gone")
    repo.checkout("gone")
    repo.checkout("main")
    repo.delete_run("gone")
    clock[0] += hour
    with pytest.raises(NotFound, match="'runs/gone' had no state then"):
        repo.resolve("gone@{now}")


def test_where_head_was_before_is_a_revision() -> None:
    repo = Repository.init(":memory:")
    first = repo.commit(action=0)
    repo.commit(action=1)
    repo.branch("try", first)
    with pytest.raises(NotFound, match="there was no earlier checkout"):
        repo.resolve("@{-1}")
    repo.checkout("try")
    repo.checkout(first)
    repo.checkout("main")
    assert repo.resolve("@{-1}") == first
    assert repo.resolve("@{-2}") == first and repo.resolve("@{-3}~1") == first
    with pytest.raises(NotFound, match="the reflog of HEAD has only 3 checkouts"):
        repo.resolve("@{-4}")
    repo.checkout("@{-2}")
    assert repo.head == "try"
    repo.checkout("@{-1}")
    assert repo.head == "main"
    with pytest.raises((NotFound, InvalidInput)):
        repo.resolve("main@{-1}")
    with pytest.raises(InvalidInput):
        repo.resolve("@{-0}")


def test_a_run_that_head_was_at_and_that_was_deleted_is_named() -> None:
    repo = Repository.init(":memory:")
    repo.branch("try", repo.commit(action=0))
    repo.checkout("try")
    repo.checkout("main")
    repo.delete_run("try")
    with pytest.raises(NotFound, match=r"'@\{-1\}' not found: HEAD was at 'try', which is deleted"):
        repo.resolve("@{-1}")


def test_checkouts_of_older_versions_are_known_too() -> None:
    repo = Repository.init(":memory:")
    repo.commit(action=0)
    with repo.odb.write() as txn:
        for name in ("a", "b"):
            repo.refs.set_head(txn, name, f"checkout: moving to {name}")
    repo.branch("a", "main")
    repo.checkout("main")
    assert repo.resolve("@{-2}") == repo.resolve("a")
