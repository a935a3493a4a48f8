"""Merge bases, and what one history has more, against their definitions, over random histories."""

from __future__ import annotations

import random

import pytest

from simgit import Oid, Repository
from simgit.odb.ancestry import ahead_behind


def _random_history(repo: Repository, rng: random.Random, size: int) -> dict[Oid, tuple[Oid, ...]]:
    """Record states on random states, a quarter of them merges; return the parents of each."""
    parents: dict[Oid, tuple[Oid, ...]] = {repo.commit(0, run="root"): ()}
    for i in range(1, size):
        names = list(parents)
        recent = rng.choice(names[-4:] if rng.random() < 0.7 else names)
        above = [recent]
        if rng.random() < 0.25:
            above += [oid for oid in [rng.choice(names)] if oid != recent]
        repo.branch(f"r{i}", above[0])
        parents[repo.commit(i, run=f"r{i}", parents=above[1:])] = tuple(above)
    return parents


def _ancestors(parents: dict[Oid, tuple[Oid, ...]], oid: Oid) -> set[Oid]:
    found, todo = set(), [oid]
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += parents[each]
    return found


SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_merge_bases_are_the_common_ancestors_that_no_other_descends_from(seed: int) -> None:
    rng = random.Random(seed)
    with Repository.init(":memory:") as repo:
        parents = _random_history(repo, rng, 40)
        above = {oid: _ancestors(parents, oid) for oid in parents}
        names = list(parents)
        for _ in range(150):
            a, b = rng.choice(names), rng.choice(names)
            common = above[a] & above[b]
            best = {c for c in common if not any(c in above[d] for d in common if d != c)}
            assert set(repo.merge_bases(a, b)) == best
        for oid in names:
            holds = {f"r{i}" for i, tip in enumerate(names) if i and oid in above[tip]}
            assert set(repo.contains(oid)) - {"root"} == holds


def _forest(repo: Repository, rng: random.Random, size: int) -> dict[Oid, tuple[Oid, ...]]:
    """Record chains on random states, some of them from new roots, without any merge."""
    parents: dict[Oid, tuple[Oid, ...]] = {}
    for run in range(size):
        above = rng.choice(list(parents)) if parents and rng.random() < 0.9 else None
        name = f"run{run}"
        if above is not None:
            repo.branch(name, above)
        for i in range(rng.randrange(1, 5)):
            oid = repo.commit(run * 100 + i, run=name)
            parents[oid] = () if above is None else (above,)
            above = oid
    return parents


@pytest.mark.parametrize("merges", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_states_ahead_and_behind_are_those_of_one_history_only(seed: int, merges: bool) -> None:
    rng = random.Random(200 + seed)
    with Repository.init(":memory:") as repo:
        parents = (_random_history if merges else _forest)(repo, rng, 30)
        above = {oid: _ancestors(parents, oid) for oid in parents}
        names = list(parents)
        with repo.odb.read() as txn:
            places = {oid: repo.odb.locate(txn, oid) for oid in names}
            for _ in range(200):
                a, b = rng.choice(names), rng.choice(names)
                found = ahead_behind(repo.odb, txn, places[a], places[b])
                assert found == (len(above[a] - above[b]), len(above[b] - above[a]))
                assert ahead_behind(repo.odb, txn, places[a], None) == (len(above[a]), 0)
                assert ahead_behind(repo.odb, txn, None, places[b]) == (0, len(above[b]))
            assert ahead_behind(repo.odb, txn, None, None) == (0, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_log_has_every_state_once_and_children_first(seed: int) -> None:
    rng = random.Random(100 + seed)
    with Repository.init(":memory:") as repo:
        parents = _random_history(repo, rng, 40)
        lines = list(repo.log(every=True))
        order = {line.oid: i for i, line in enumerate(lines)}
        assert order.keys() == parents.keys() and len(lines) == len(parents)
        assert all(line.parents == parents[line.oid] for line in lines)
        assert all(order[p] > order[oid] for oid, above in parents.items() for p in above)
        names = list(parents)
        for _ in range(40):
            a, b = rng.choice(names), rng.choice(names)
            found = [line.oid for line in repo.log(f"{a}..{b}")]
            assert set(found) == _ancestors(parents, b) - _ancestors(parents, a)
            assert len(found) == len(set(found))


def test_states_that_differ_only_in_text_are_not_confused() -> None:
    with Repository.init(":memory:") as repo:
        base = repo.commit(1, run="main")
        for name in ("one", "two"):
            repo.branch(name, base)
            repo.commit(1, message=name, run=name)
        assert [repo.state(name).message for name in ("one", "two")] == ["one", "two"]
        assert len({line.oid for line in repo.log("one", "two")}) == 3
