"""Merge bases against their definition, over random histories with merges."""

from __future__ import annotations

import random

import pytest

from simgit import Oid, Repository


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
