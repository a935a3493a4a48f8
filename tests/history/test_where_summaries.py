"""``log --where`` leaves blocks out by their summaries, and finds what it finds without them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit import Repository
from simgit.errors import InvalidInput
from simgit.history.where import Predicate

FIELDS = ("reward", "info.loss", "observation[1]", "step", "action", "info.count", "terminated")
BIG = 2**53


@pytest.fixture(scope="module")
def repo() -> Repository:
    """A run of many small blocks, each with values of its own, and a branch of it."""
    made = Repository.init(":memory:")
    rng = np.random.default_rng(0)
    for run in ("main", "side"):
        if run == "side":
            made.branch("side", "main@5000")
        with made.recorder(run, flush_every=700) as rec:
            for i in range(6000):
                level = i // 2000
                info: dict[str, Any] = {"name": "x"}
                if i % 7:
                    info["loss"] = math.nan if i % 3 == 0 else rng.normal(level)
                if level:
                    info["count"] = BIG + 1 if level == 2 else level
                observation = np.float32([level + 0.1, rng.normal(3 * level)])
                rec.append(observation, level, rng.normal(level), i % 500 == 499, False, info)
    return made


def steps(repo: Repository, run: str, condition: str) -> list[int]:
    return [line.step for line in repo.log(run, where=condition)]


def conditions() -> st.SearchStrategy[str]:
    numbers = st.one_of(
        st.sampled_from([0, 1, -1, 2, 2.1, 0.1, 4000, BIG, BIG + 1, -BIG]),
        st.floats(-4, 8, allow_nan=False),
    )
    compare = st.tuples(
        st.sampled_from(FIELDS), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers
    ).map(lambda each: f"{each[0]} {each[1]} {each[2]!r}")
    chain = st.tuples(numbers, st.sampled_from(FIELDS), numbers).map(
        lambda each: f"{each[0]!r} < {each[1]} <= {each[2]!r}"
    )
    return st.recursive(
        st.one_of(compare, chain, st.sampled_from(["terminated", "'x' in info.name"])),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
                lambda each: f"({each[0]}) {each[1]} ({each[2]})"
            ),
            inner.map(lambda each: f"not ({each})"),
        ),
        max_leaves=4,
    )


@given(conditions(), st.sampled_from(["main", "side"]))
def test_the_log_is_the_same_as_from_all_states(repo: Repository, condition: str, run: str) -> None:
    states = repo.trajectory(run)
    expected = np.flatnonzero(Predicate(condition)(states))[::-1].tolist()
    assert steps(repo, run, condition) == expected


def test_blocks_that_cannot_match_are_not_read(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = Predicate.__call__

    def counted(self: Predicate, block: Any) -> Any:
        read.append(block.start)
        return whole(self, block)

    monkeypatch.setattr(Predicate, "__call__", counted)
    found = steps(repo, "main", "observation[1] > 20 or action == 2 and step > 5900")
    assert found == list(range(5999, 5900, -1)) and read and min(read) >= 5000
    read.clear()
    assert not steps(repo, "main", "reward > 1e6") and not read


def test_an_error_of_a_condition_is_raised_all_the_same(repo: Repository) -> None:
    with pytest.raises(InvalidInput):
        list(repo.log("main", where="reward > 1e6 and info.name + 1 > 3"))
