"""The first difference of two runs: found in few looks, and explained."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit import Repository, Unverified
from tests.support.examples import share


def walk(repo: Repository, run: str, actions: list[int], *, noise_at: int = -1) -> None:
    with repo.recorder(run, spec={"environment": {"id": "Walk-v0"}}) as recorder:
        recorder.append(0, reset={"seed": 1})
        place = 0
        for i, action in enumerate(actions):
            place += action + (100 if i == noise_at else 0)
            recorder.append(place, action, 1.0, False, False)


@settings(max_examples=share(50))
@given(st.integers(1, 300), st.data())
def test_the_first_difference_is_found_in_logarithmic_time(
    length: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, length - 1))
    one = [1] * length
    other = [2 if i == at else 1 for i in range(length)]
    with Repository.init(":memory:") as repo:
        walk(repo, "a", one)
        walk(repo, "b", other)
        found = repo.bisect("a", "b")
    assert (found.step, found.cause) == (at + 1, "action")
    assert found.compared <= math.ceil(math.log2(length + 2))
    assert {change.name for change in found.changes} == {"action", "observation"}


def test_the_same_action_with_another_outcome_is_nondeterminism() -> None:
    with Repository.init(":memory:") as repo:
        walk(repo, "a", [1] * 50)
        walk(repo, "b", [1] * 50, noise_at=20)
        found = repo.bisect("a", "b")
    assert (found.step, found.cause) == (21, "outcome")
    (change,) = found.changes
    assert (change.name, change.before, change.after) == ("observation", 21, 121)


def test_another_outcome_with_other_settings_is_no_nondeterminism() -> None:
    with Repository.init(":memory:") as repo:
        repo.recorder("a", config={"agent": {"lr": 0.1}}).close()
        walk(repo, "a", [1] * 50)
        with pytest.warns(Unverified):
            repo.branch("b", "a@10", overrides={"agent.lr": 0.2})
        repo.commit(99, 1, 1.0, False, False, run="b")
        found = repo.bisect("a", "b")
        other = repo.bisect("a", str(repo.runs["b"].oid))
    assert (found.step, found.cause) == (11, "settings")
    assert [(c.name, c.before, c.after) for c in found.settings] == [("agent.lr", 0.1, 0.2)]
    assert (other.cause, other.settings) == ("outcome", ())  # an oid has no settings


@pytest.mark.parametrize(("other", "step"), [([1] * 50, None), ([1] * 20, None), ([], None)])
def test_a_run_that_begins_with_the_other_has_no_difference(
    other: list[int], step: int | None
) -> None:
    with Repository.init(":memory:") as repo:
        walk(repo, "a", [1] * 50)
        walk(repo, "b", other)
        assert repo.bisect("a", "b").step == step


def test_runs_of_other_environments_differ_at_their_roots() -> None:
    with Repository.init(":memory:") as repo:
        for run, name in (("a", "One-v0"), ("b", "Two-v0")):
            with repo.recorder(run, spec={"environment": {"id": name}}) as recorder:
                recorder.append(0, reset={"seed": 1})
        with repo.recorder("c", spec={"environment": {"id": "One-v0"}}) as recorder:
            recorder.append(0, reset={"seed": 2})
        assert (repo.bisect("a", "b").step, repo.bisect("a", "b").cause) == (0, "environment")
        assert (repo.bisect("a", "c").step, repo.bisect("a", "c").cause) == (0, "reset")
