"""States are stored in segments and read back, whatever lies beside them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from simgit import Oid, Repository
from simgit.objects.kinds import NO_ORIGIN
from simgit.objects.row_encoder import hash_array
from simgit.recording.states import prepare, store


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def both(repo: Repository, a: Oid, b: Oid) -> None:
    """Read two states one after the other, in both orders, by oid."""
    for oid in (a, b, a):
        assert repo.state(oid).oid == oid


def test_states_that_differ_only_in_a_string_are_told_apart(repo: Repository) -> None:
    repo.commit(1)
    repo.branch("other")
    a = repo.commit(2, message="a")
    b = repo.commit(2, message="b", run="other")
    both(repo, a, b)
    assert (repo.state("main").message, repo.state("other").message) == ("a", "b")


def test_roots_that_differ_only_in_their_origin_are_told_apart(repo: Repository) -> None:
    a = repo.commit(1, run="a", spec={"env": "a"})
    b = repo.commit(1, run="b", spec={"env": "b"})
    both(repo, a, b)
    assert repo.state("a").origin != repo.state("b").origin


def test_merges_that_differ_only_in_their_second_parent_are_told_apart(repo: Repository) -> None:
    repo.commit(1)
    for name in ("a", "b", "x", "y"):
        repo.branch(name)
    x, y = repo.commit(2, run="x"), repo.commit(3, run="y")
    a = repo.commit(4, run="a", parents=[x])
    b = repo.commit(4, run="b", parents=[y])
    both(repo, a, b)
    assert repo.state("a").parents[1] == x
    assert repo.state("b").parents[1] == y
    assert [p.oid for p in repo.parents("b")] == list(repo.state("b").parents)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 2047, 2048, 2049, 5000])
def test_every_state_of_a_chain_is_found_by_its_oid(repo: Repository, count: int) -> None:
    with repo.recorder(flush_every=10_000) as rec:
        for i in range(count):
            rec.append(np.float32([i, 1]), i, float(i), info={} if i % 3 else {"n": str(i)})
    for step in {0, 1, count // 2, count - 2, count - 1} & set(range(count)):
        state = repo.state(f"main@{step}")
        assert state.step == step
        assert state.action == step
        found = repo.state(state.oid)
        assert found.place == state.place
        assert found.info == ({} if step % 3 else {"n": str(step)})


def test_the_same_chain_again_stores_nothing(repo: Repository) -> None:
    def record(run: str) -> None:
        with repo.recorder(run, flush_every=70) as rec:
            for i in range(300):
                rec.append(np.zeros(300, np.uint8) + i % 7, i)

    record("a")
    with repo.odb.read() as txn:
        before = {t: txn.count(t) for t in ("segments", "blocks", "groups", "index", "lines")}
    record("b")
    with repo.odb.read() as txn:
        assert before == {t: txn.count(t) for t in before}
    assert repo.runs["a"].oid == repo.runs["b"].oid


def test_a_chain_that_exists_in_part_is_gone_on_with(repo: Repository) -> None:
    for run, count, every in (("a", 100, 30), ("b", 250, 70), ("c", 180, 1)):
        with repo.recorder(run, flush_every=every) as rec:
            for i in range(count):
                rec.append(i)
    a, b, c = (repo.runs[name] for name in "abc")
    assert (a.step, b.step, c.step) == (99, 249, 179)
    assert repo.state("b@99").oid == a.oid
    assert repo.state("b@179").oid == c.oid
    with repo.odb.read() as txn:
        assert txn.count("lines") == 1


def test_children_are_found_on_the_line_and_on_its_forks(repo: Repository) -> None:
    root = repo.commit(0)
    main = repo.commit(1)
    repo.branch("b", root)
    repo.branch("c", root)
    other = repo.commit(2, run="b")
    merge = repo.commit(3, run="c", parents=[main, other])
    assert {state.oid for state in repo.children(root)} == {main, other, merge}
    assert [state.oid for state in repo.children(main)] == [merge]
    assert {state.oid for state in repo.leaves()} == {merge}


class Stop(Exception):
    """Raised to leave a transaction."""


def test_what_a_transaction_that_failed_wrote_is_not_remembered(repo: Repository) -> None:
    with repo.recorder(flush_every=10_000) as rec:
        for i in range(100):
            rec.append(np.zeros(300) + i)
    with repo.odb.read() as txn:
        tip = repo.odb.states.tip(txn, repo.state().place)

    def arrays(first: int) -> dict[str, list[np.ndarray]]:
        return {"observation": [np.zeros(300) + first + i for i in range(100)]}

    wrong = prepare(arrays(1000), (tip,))
    with pytest.raises(Stop), repo.odb.write() as txn:
        end = store(repo.odb, txn, wrong, (tip,))
        assert repo.odb.exists(txn, end.oid)
        assert repo.odb.states.index.maybe_known(txn, 1, [hash_array(np.zeros(300) + 1000)]).all()
        raise Stop
    right = prepare(arrays(2000), (), NO_ORIGIN.oid)
    with repo.odb.write() as txn:
        store(repo.odb, txn, right, ())
    with repo.odb.read() as txn:
        for oid in right[0].oids:
            assert repo.odb.states.locate(txn, oid) is not None
        assert not repo.odb.exists(txn, wrong[0].oids[0])
        for array in arrays(2000)["observation"]:
            assert repo.odb.array(txn, hash_array(array)).tobytes() == array.tobytes()
    repo.commit(np.zeros(300) + 1000, run="again")
    assert (repo.state("again").observation == 1000).all()


@pytest.mark.parametrize("seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2, 3))])
def test_states_are_the_same_in_whichever_order_they_are_read(seed: int) -> None:
    """What was named is kept for who reads the next one; it must not depend on what that is."""
    rng = random.Random(seed)
    with Repository.init(":memory:") as repo:
        lines = {"a": 2200, "b": 70}
        for run, count in lines.items():
            with repo.recorder(run, flush_every=rng.choice([50, 64, 700, 5000])) as rec:
                for i in range(count):
                    rec.append(i, run, info={"text": f"{run} {i}"} if i % 3 else {})
        trajectories = {run: repo.trajectory(run) for run in lines}
        oids = {}
        for run in lines:
            oid = None
            for i, state in enumerate(trajectories[run]):
                assert (state.step, state.observation, state.action) == (i, i, run)
                assert state.info == ({"text": f"{run} {i}"} if i % 3 else {})
                assert i == 0 or state.parents == (oid,)
                oid = oids[run, i] = state.oid
        assert oids["a", 2199] == repo.runs["a"].oid
        run, step = "a", 0
        for _ in range(3000):
            jump = rng.random()
            if jump < 0.1:
                run = rng.choice("ab")
                step = rng.randrange(lines[run])
            step = min(max(0, step + rng.choice([1, 1, 1, 2, -1, 30])), lines[run] - 1)
            by = rng.choice(["step", "index", "oid"])
            if by == "step":
                state = repo.state(f"{run}@{step}")
            else:
                state = trajectories[run][step] if by == "index" else repo.state(oids[run, step])
            assert (state.oid, state.observation, state.action) == (oids[run, step], step, run)
            if step:
                assert state.parents == (oids[run, step - 1],)
