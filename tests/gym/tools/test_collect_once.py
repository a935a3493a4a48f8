"""Collections: what a spec declares is recorded once, and an interrupted one is resumed exactly."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

import simgit
from simgit import Oid, Repository
from simgit.gym import CollectionSpec, collect_once

QUICK: dict[str, Any] = {"snapshots": None, "self_check": False, "provenance": False}


class Counted(gymnasium.Env[Any, Any]):
    """Counts its steps over all environments, and is interrupted at one of them if told so."""

    observation_space = gymnasium.spaces.Discrete(100)
    action_space = gymnasium.spaces.Discrete(3)
    steps: ClassVar[int] = 0
    stop_at: ClassVar[int] = -1
    slip: ClassVar[int] = 0

    def __init__(self, length: int = 4, workload: Any = ()) -> None:
        self.length = length

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.left = int(self.np_random.integers(50)), self.length
        return self.at, {}

    def step(self, action: Any) -> Any:
        if Counted.steps == Counted.stop_at:
            raise KeyboardInterrupt
        Counted.steps += 1
        self.at, self.left = (self.at + int(action) + Counted.slip) % 100, self.left - 1
        return self.at, float(action), self.left == 0, False, {}


@pytest.fixture(autouse=True)
def counted() -> Any:
    gymnasium.register("Counted-v0", entry_point=Counted)
    Counted.steps, Counted.stop_at, Counted.slip = 0, -1, 0
    yield
    gymnasium.registry.pop("Counted-v0")


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


SPEC = CollectionSpec("Counted-v0", {"length": 5}, seeds=(3, 1), episodes=2)


def test_equal_declarations_have_one_oid_and_any_difference_another() -> None:
    assert SPEC.oid == CollectionSpec("Counted-v0", {"length": 5}, "random", [3, 1], 2).oid
    assert (
        SPEC.oid
        == CollectionSpec("Counted-v0", {"length": 5}, seeds=range(3, 0, -2), episodes=2).oid
    )
    assert SPEC.run == f"datasets/{SPEC.oid.hex()[:12]}"
    others = [
        CollectionSpec("Counted-v1", {"length": 5}, seeds=(3, 1), episodes=2),
        CollectionSpec("Counted-v0", {"length": 6}, seeds=(3, 1), episodes=2),
        CollectionSpec("Counted-v0", {"length": 5}, "m:f", seeds=(3, 1), episodes=2),
        CollectionSpec("Counted-v0", {"length": 5}, seeds=(1, 3), episodes=2),
        CollectionSpec("Counted-v0", {"length": 5}, seeds=(3, 1), episodes=3),
        CollectionSpec("Counted-v0", {"length": 5}, seeds=(3, 1), episodes=2, steps=9),
        CollectionSpec("Counted-v0", {"length": 5}, seeds=(3, 1), episodes=2, made_from={"m": Oid(bytes(32))}),
    ]  # fmt: skip
    assert len({SPEC.oid, *(each.oid for each in others)}) == 1 + len(others)


def test_a_second_call_finds_what_the_first_recorded(repo: Repository) -> None:
    first = collect_once(repo, SPEC, **QUICK)
    assert first.is_new and (first.run, first.steps, first.episodes) == (SPEC.run, 20, 4)
    assert Counted.steps == 20
    again = collect_once(repo, SPEC, **QUICK)
    assert not again.is_new and Counted.steps == 20
    assert (again.run, again.tip, again.steps, again.episodes, again.returned) == (
        first.run, first.tip, first.steps, first.episodes, first.returned,
    )  # fmt: skip
    assert repo.runs[SPEC.run].status == "completed"
    resets = [state.reset for state in repo[SPEC.run] if state.reset is not None]
    assert [reset.get("seed") for reset in resets] == [3, None, 1, None]


def test_the_parts_of_seeds_do_not_depend_on_each_other(repo: Repository) -> None:
    both = repo[collect_once(repo, SPEC, **QUICK).run]
    one = CollectionSpec("Counted-v0", {"length": 5}, seeds=(1,), episodes=2)
    alone = repo[collect_once(repo, one, **QUICK).run]
    assert np.array_equal(both.observations[12:], alone.observations)
    space = gymnasium.spaces.Discrete(3, seed=3)
    assert both.actions[1:6].tolist() == [space.sample() for _ in range(5)]


def test_a_number_of_steps_may_say_where_parts_end(repo: Repository) -> None:
    spec = CollectionSpec("Counted-v0", {"length": 5}, seeds=(3, 1), episodes=None, steps=7)
    done = collect_once(repo, spec, **QUICK)
    assert (done.steps, done.episodes) == (14, 2)


def test_force_records_again_and_shares_all_states(repo: Repository) -> None:
    first = collect_once(repo, SPEC, **QUICK)
    forced = collect_once(repo, SPEC, force=True, **QUICK)
    assert forced.is_new and forced.run == f"{SPEC.run}.2" and forced.tip == first.tip
    Counted.slip = 1
    other = collect_once(repo, SPEC, force=True, **QUICK)
    assert other.run == f"{SPEC.run}.3" and other.tip != first.tip
    assert not collect_once(repo, SPEC, **QUICK).is_new


@pytest.mark.parametrize("stop_at", [0, 1, 7, 12, 19])
def test_an_interrupted_collection_is_resumed(repo: Repository, stop_at: int) -> None:
    whole = collect_once(Repository.init(":memory:"), SPEC, **QUICK)
    Counted.steps, Counted.stop_at = 0, stop_at
    with pytest.raises(KeyboardInterrupt):
        collect_once(repo, SPEC, **QUICK)
    assert repo.runs[SPEC.run].status != "completed"
    Counted.stop_at = -1
    resumed = collect_once(repo, SPEC, **QUICK)
    assert resumed.is_new and resumed.tip == whole.tip and len(repo.runs) == 1
    assert repo.runs[SPEC.run].status == "completed"


def test_an_interrupted_collection_that_is_not_repeated_is_refused(repo: Repository) -> None:
    Counted.stop_at = 7
    with pytest.raises(KeyboardInterrupt):
        collect_once(repo, SPEC, **QUICK)
    Counted.stop_at, Counted.slip = -1, 1
    with pytest.raises(simgit.Divergence):
        collect_once(repo, SPEC, **QUICK)
    assert repo.runs[SPEC.run].status != "completed"
    forced = collect_once(repo, SPEC, force=True, **QUICK)
    assert forced.run == f"{SPEC.run}.2" and forced.episodes == 4
    found = collect_once(repo, SPEC, **QUICK)  # that one, as it is complete
    assert found.run == forced.run and not found.is_new


def test_a_policy_of_ones_own_is_declared_by_its_name_and_sources(repo: Repository) -> None:
    model = Oid(bytes(range(32)))
    spec = CollectionSpec("Counted-v0", policy="twos", seeds=[0], made_from={"model": model})
    done = collect_once(repo, spec, act=lambda observation: 2, **QUICK)
    assert done.returned == 8.0 and repo.sources(done.run) == {"model": model}
    with pytest.raises(simgit.NotFound, match="policy 'ones' not found"):
        collect_once(repo, CollectionSpec("Counted-v0", policy="ones"), **QUICK)
    assert [*repo.runs] == [done.run]
    assert not collect_once(repo, spec, act=None, **QUICK).is_new


@pytest.mark.parametrize(
    "wrong",
    [
        {"environment": 3}, {"policy": None}, {"seeds": []}, {"seeds": ["x"]}, {"seeds": 3},
        {"episodes": 0}, {"episodes": None}, {"episodes": 1.5}, {"steps": 0}, {"steps": "x"}, {"arguments": {"f": object()}},
        {"arguments": 3}, {"made_from": {"a": "b"}}, {"made_from": 3}, {"seeds": [True]}, {"seeds": [1.5]},
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused(repo: Repository, wrong: dict[str, Any]) -> None:
    with pytest.raises(simgit.InvalidInput):
        collect_once(repo, CollectionSpec(**{"environment": "Counted-v0"} | wrong), **QUICK)
    assert not repo.runs


def test_a_run_that_only_has_the_name_is_not_taken_for_it(repo: Repository) -> None:
    repo.commit(1, run=SPEC.run)
    with pytest.raises(simgit.AlreadyExists, match="was not recorded for this spec"):
        collect_once(repo, SPEC, **QUICK)
    repo.configure(SPEC.run, metadata={"collection": CollectionSpec("Counted-v0").data})
    with pytest.raises(simgit.AlreadyExists, match="was not recorded for this spec"):
        collect_once(repo, SPEC, **QUICK)
    assert len(repo[SPEC.run]) == 1
