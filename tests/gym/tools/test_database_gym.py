"""The database gym's loop learns: better than chance, and near the best on workloads it never saw."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import gymnasium
import numpy as np
import pytest

from examples.database_gym import (
    COLUMNS,
    STATE,
    DbGym,
    GymSpec,
    Linear,
    fit,
    load_model,
    workloads,
)
from simgit import Repository
from simgit.gym import CollectionSpec, collect_once, drift

QUICK: dict[str, Any] = {"snapshots": None, "self_check": False, "provenance": False}


def saved(env: DbGym, actions: tuple[int, ...], seed: int) -> float:
    env.reset(seed=seed)
    return sum(env.step(action)[1] for action in actions)


@pytest.mark.slow
def test_the_loop_learns_and_its_artefacts_are_linked(seed: int) -> None:
    def spec(count: int, seed: int) -> GymSpec:
        return GymSpec(historical_workloads=workloads(count, seed), historical_state=STATE)

    with Repository.init(":memory:") as repo:
        declared = CollectionSpec(
            "dbgym/DbGym-v0", {"gym_spec": spec(30, seed)}, seeds=range(20), episodes=5
        )
        data = collect_once(repo, declared, **QUICK)
        model = repo.derived(data.run, "model", fit)
        linear = load_model(repo, data.run)
        assert (linear.saved == model.data["saved"]).all()

        new, space = {"gym_spec": spec(12, seed + 1)}, gymnasium.spaces.Discrete(len(COLUMNS))
        decided = collect_once(
            repo,
            CollectionSpec(
                "dbgym/DbGym-v0", new, "linear", range(12), made_from={"model": model.oid}
            ),
            act=lambda seen: linear.pick_action(space, seen), **QUICK,
        )  # fmt: skip
        env = DbGym(**new)
        pairs = list(permutations(range(len(COLUMNS)), 2))
        each = [[saved(env, pair, number) for pair in pairs] for number in range(12)]
        best = sum(map(max, each)) / 12
        chance = sum(map(sum, each)) / 12 / len(pairs)
        assert decided.returned is not None
        assert decided.returned > chance + 0.9 * (best - chance)

        assert repo.sources(decided.run) == {"model": model.oid}
        assert repo.sources(model.oid) == {"state": data.tip}
        assert not drift(repo, decided.run).has_drift
        changed = drift(repo, decided.run, make=lambda spec: DbGym(
            {**new["gym_spec"], "historical_state": STATE | {"rows": 1000}}
        ))  # fmt: skip
        assert changed.fields["info.cost"].states > 12


@pytest.mark.slow
def test_a_model_that_knows_nothing_would_be_told_from_it(seed: int) -> None:
    spec = GymSpec(historical_workloads=workloads(12, seed), historical_state=STATE)
    env, blind = DbGym(spec), Linear({"saved": np.zeros(len(COLUMNS))})
    first, _ = env.reset(seed=0)
    action = int(blind.pick_action(env.action_space, first))
    pairs = list(permutations(range(len(COLUMNS)), 2))
    each = [[saved(env, pair, number) for pair in pairs] for number in range(12)]
    best, chance = sum(map(max, each)) / 12, sum(map(sum, each)) / 12 / len(pairs)
    got = sum(saved(env, (action, action), number) for number in range(12)) / 12
    assert got < chance + 0.9 * (best - chance)
