"""Revisions name states; what is ambiguous or missing is an error that says so."""

from __future__ import annotations

import itertools

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
