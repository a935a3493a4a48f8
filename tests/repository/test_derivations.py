"""Artefacts: computed once, found again, and stale by the oids of what they were made from."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, NotFound, Oid, Repository, Trajectory


@pytest.fixture
def repo() -> Repository:
    made = Repository.init(":memory:")
    with made.recorder("main") as recorder:
        for i in range(5):
            recorder.append(i, i, float(i))
    return made


CALLS: list[int] = []


def total(states: Trajectory) -> dict[str, object]:
    CALLS.append(len(states))
    return {"total": states.rewards.sum(), "each": np.array(states.rewards)}


def other(states: Trajectory) -> int:
    return len(states)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


def test_what_is_there_is_not_computed_again(repo: Repository) -> None:
    first = repo.derived("main", "sum", total)
    assert first.is_new and first.data["total"] == 10.0 and first.stale == ()
    again = repo.derived("main", "sum", total)
    assert not again.is_new and again.oid == first.oid and again.state == repo.resolve("main")
    assert np.array_equal(again.data["each"], first.data["each"])
    assert repo.derived("main", "sum").function.endswith("test_derivations:total")
    assert CALLS == [5]
    assert not repo.derived("main", "sum", partial(total)).is_new
    forced = repo.derived("main", "sum", total, force=True)
    assert forced.is_new and forced.oid == first.oid  # the same data on the same state


@pytest.mark.parametrize("how", ["settings", "function", "uses"])
def test_other_sources_are_computed_anew(repo: Repository, how: str) -> None:
    repo.commit("tests", run="workload")
    given = {"settings": {"lr": 0.1}, "uses": {"workload": "workload"}}
    first = repo.derived("main", "sum", total, **given)
    if how == "settings":
        given["settings"] = {"lr": 0.2}
    elif how == "uses":
        repo.commit("more tests", run="workload")
    second = repo.derived("main", "sum", other if how == "function" else total, **given)
    assert second.is_new
    assert (second.oid != first.oid) == (how == "function")  # else the data are equal
    assert not repo.derived("main", "sum", other if how == "function" else total, **given).is_new


def test_an_artefact_is_stale_if_its_states_or_sources_are_others_now(repo: Repository) -> None:
    repo.commit("tests", run="workload")
    model = repo.derived("main", "model", total, uses={"workload": "workload"})
    repo.derived("workload", "report", other, uses={"model": model, "fixed": model.state})
    assert repo.derived("main", "model").stale == repo.derived("workload", "report").stale == ()
    repo.set_status("main", "completed")  # time passes, and nothing else
    assert repo.derived("main", "model").stale == ()
    repo.set_status("main", "active")
    repo.commit(6, run="main")
    found = repo.derived("main", "model")
    assert found.stale == ("state",) and found.oid == model.oid
    assert repo.derived("workload", "report").stale == ()  # of the model that is still the newest
    repo.derived("main", "model", total, uses={"workload": "workload"})
    assert repo.derived("workload", "report").stale == ("model",)
    repo.commit("more tests", run="workload")
    assert repo.derived("main", "model").stale == ("workload",)
    assert repo.derived("workload", "report").stale == ("state", "model")
    repo.delete_run("workload", force=True)
    assert repo.derived("main", "model").stale == ()  # what is no longer found is not known


def test_sources_lead_from_an_artefact_back_to_the_states(repo: Repository) -> None:
    model = repo.derived("main", "model", total)
    repo.commit("decided", run="decisions")
    repo.configure("decisions", metadata={"made_from": {"model": model.oid.hex()}})
    assert repo.sources("decisions") == {"model": model.oid}
    assert repo.sources(repo.resolve("decisions")) == {"model": model.oid}
    assert repo.sources(model.oid) == {"state": repo.resolve("main")}
    assert repo.sources("main") == {}


def test_artefacts_and_their_sources_survive_a_bundle(repo: Repository, tmp_path: object) -> None:
    model = repo.derived("main", "model", total)
    repo.create_bundle(f"{tmp_path}/b", ["main"])
    with Repository.init(":memory:") as there:
        there.import_bundle(f"{tmp_path}/b")
        assert there.derived("main", "model").oid == model.oid
        assert not there.derived("main", "model", total).is_new


def test_what_has_no_sources_or_forged_ones_is_refused(repo: Repository) -> None:
    with pytest.raises(NotFound, match="no state up to 'main' has an attachment 'x'"):
        repo.derived("main", "x")
    repo.attach("main", "x", {"a": 1})
    with pytest.raises(NotFound, match=r"sources of attachment 'x' of '[0-9a-f]{8}' are not known"):
        repo.derived("main", "x")
    assert repo.derived("main", "x", total).is_new  # replaced
    for forged in (3, {}, {"uses": 3}, {"uses": {"a": 3}}, {"uses": {"a": {"oid": "zz"}}}, [None]):
        repo.attach("main", "x.source", forged)
        with pytest.raises(InvalidInput):
            repo.derived("main", "x")
        assert repo.derived("main", "x", total).data["total"] == 10.0
    repo.configure("main", metadata={"made_from": {"model": 3}})
    with pytest.raises(InvalidInput):
        repo.sources("main")
    with pytest.raises(NotFound):
        repo.sources(Oid(bytes(32)))


def test_what_was_attached_by_hand_since_was_not_computed(repo: Repository) -> None:
    made = repo.derived("main", "sum", total)
    repo.derived("main", "next", other, uses={"sum": made})
    repo.attach("main", "sum", {"total": 0})
    with pytest.raises(NotFound, match="are not known"):
        repo.derived("main", "sum")
    assert repo.sources(made.oid) == {"state": repo.resolve("main")}  # what it was is known
    assert repo.derived("main", "next").stale == ("sum",)
    again = repo.derived("main", "sum", total)
    assert again.is_new and again.data["total"] == 10.0 and again.oid == made.oid
    assert repo.derived("main", "next").stale == ()


class Times:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, states: Trajectory) -> int:
        return self.factor * len(states)

    compute = __call__


def times(states: Trajectory, factor: int) -> int:
    return factor * len(states)


@pytest.mark.parametrize(
    "made",
    [
        Times, lambda factor: Times(factor).compute, lambda factor: partial(times, factor=factor),
        lambda factor: lambda states: factor * len(states),
    ],
    ids=["object", "method", "partial", "closure"],
)  # fmt: skip
def test_functions_that_differ_by_more_than_their_names_are_called_each_time(
    repo: Repository, made: Any
) -> None:
    assert [repo.derived("main", "x", made(factor)).data for factor in (2, 3)] == [10, 15]


def test_a_computation_that_fails_leaves_nothing(repo: Repository) -> None:
    with pytest.raises(ZeroDivisionError):
        repo.derived("main", "x", lambda states: 1 // 0)
    with pytest.raises(InvalidInput):
        repo.derived("main", "x", lambda states: object())
    assert repo.attachments("main") == {}
    repo.derived("main", "x", total)
    repo.undo()
    assert repo.attachments("main") == {}
