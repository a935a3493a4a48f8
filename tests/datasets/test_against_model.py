"""Datasets agree with a plain model: history once, conditions, splits, n steps, sequences."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import simgit
from simgit.errors import SimgitWarning
from tests.datasets import model
from tests.support.examples import share

SEEDS = st.integers(0, 1 << 32)


def sources_of(repo: simgit.Repository, rng: random.Random) -> list[str]:
    names = [*repo.runs]
    rng.shuffle(names)
    chosen = names[: rng.randrange(1, len(names) + 1)]
    if rng.random() < 0.3:
        tip = repo.state(chosen[0]).step
        if tip:
            start = rng.randrange(tip)
            chosen[0] = f"{chosen[0]}@{start}..{tip}"
    return chosen


def made(seed: int) -> tuple[simgit.Repository, list[str], random.Random]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SimgitWarning)
        repo = model.forest(seed)
    rng = random.Random(seed + 1)
    return repo, sources_of(repo, rng), rng


def same(batch: dict[str, Any], wanted: list[dict[str, Any]]) -> None:
    """Compare columns with rows, in any order."""
    got = [
        (float(batch["observations"]["pos"][i][0]), float(batch["next_observations"]["pos"][i][1]),
         int(batch["observations"]["n"][i]), int(batch["actions"][i]), round(float(batch["rewards"][i]), 9),
         bool(batch["terminations"][i]), bool(batch["truncations"][i]), round(float(batch["discounts"][i]), 9))
        for i in range(len(batch["rewards"]))
    ]  # fmt: skip
    rows = [
        (float(w["observations"]["pos"][0]), float(w["next_observations"]["pos"][1]),
         w["observations"]["n"], w["actions"], round(w["rewards"], 9),
         w["terminations"], w["truncations"], round(w["discounts"], 9))
        for w in wanted
    ]  # fmt: skip
    assert sorted(got) == sorted(rows)


@settings(max_examples=share(60))
@given(seed=SEEDS, n_step=st.integers(1, 4), gamma=st.sampled_from([1.0, 0.9, 0.0]))
def test_transitions_are_those_of_the_model(seed: int, n_step: int, gamma: float) -> None:
    repo, sources, _ = made(seed)
    data = repo.dataset(sources)
    episodes = model.episodes(repo, sources)
    assert data.episodes == len(episodes)
    assert data.states == len({state.oid for each in episodes for state in each.states})
    assert data.steps == len(model.transitions(episodes)) == len(data.transitions())
    found = data.transitions(n_step, gamma)
    same(found[:], model.transitions(episodes, n_step, gamma))
    alone = model.transitions(model.episodes(repo, ["main"]), n_step, gamma)
    same(repo["main"].transitions(n_step, gamma), alone)


@settings(max_examples=share(60))
@given(seed=SEEDS, which=st.integers(0, 3), n_step=st.integers(1, 3))
def test_conditions_choose_what_the_model_chooses(seed: int, which: int, n_step: int) -> None:
    repo, sources, _ = made(seed)
    episode_where, keeps = [
        ("return > 0 and length >= 2", lambda e: e.return_ > 0 and e.length >= 2),
        ("terminated or run == 'b0'", lambda e: e.terminated or e.run == "b0"),
        ("config.lr < 0.3 and start >= 3", lambda e: repo.runs[e.run].config.get("lr", 9) < 0.3 and e.states[0].step - e.states[0].episode_step >= 3),
        ("episode % 2 == 1", lambda e: e.number % 2 == 1),
    ][which]  # fmt: skip
    where, holds = [
        ("info.lives >= 1 and reward > -1", lambda s: s.info["lives"] >= 1 and s.reward > -1),
        (None, None),
    ][which % 2]
    data = repo.dataset(sources, where=where, episode_where=episode_where)
    chosen = [each for each in model.episodes(repo, sources) if keeps(each)]
    wanted = model.transitions(chosen, n_step, 0.5, holds)
    assert data.episodes == len(chosen)
    assert len(data.transitions(n_step, 0.5)) == len(wanted)
    if wanted:
        same(data.transitions(n_step, 0.5)[:], wanted)


@settings(max_examples=share(60))
@given(
    seed=SEEDS, length=st.integers(1, 6), stride=st.integers(1, 5), pad=st.booleans(),
    burn_in=st.integers(0, 3),
)  # fmt: skip
def test_sequences_are_those_of_the_model(
    seed: int, length: int, stride: int, pad: bool, burn_in: int
) -> None:
    repo, sources, _ = made(seed)
    found = repo.dataset(sources).sequences(
        length, stride, pad="zero" if pad else "drop", burn_in=burn_in
    )
    wanted = model.sequences(model.episodes(repo, sources), length, stride, pad, burn_in)
    assert len(found) == len(wanted)
    batch = found[:]
    got = [
        [
            (int(batch["observations"]["n"][i][t]), int(batch["next_observations"]["n"][i][t]),
             int(batch["actions"][i][t]), float(batch["rewards"][i][t]), bool(batch["terminations"][i][t]))
            for t in range(burn_in + length)
        ]
        for i in range(len(found))
    ]  # fmt: skip
    rows = [
        [
            (0, 0, 0, 0.0, False) if step is None
            else (step[0].observation["n"], step[1].observation["n"], step[1].action, step[1].reward, step[1].terminated)
            for step in row
        ]
        for row in wanted
    ]  # fmt: skip
    assert sorted(got) == sorted(rows)
    if len(found):
        assert batch["mask"].sum() == sum(step is not None for row in wanted for step in row)
        assert not batch["loss_mask"][:, :burn_in].any()
        assert (batch["loss_mask"][:, burn_in:] == batch["mask"][:, burn_in:]).all()


@settings(max_examples=share(20))
@given(seed=SEEDS)
def test_parts_of_a_split_are_all_and_episodes_stay_when_data_grow(seed: int) -> None:
    repo, _, rng = made(seed)
    sources = [*repo.runs]
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}

    def parts() -> dict[str, set[bytes]]:
        split = repo.dataset(sources).split(shares, seed=3)
        return {
            name: {bytes(o) for o in part.to_arrow(oids="all")["oid"].to_pylist()}
            for name, part in split.items()
        }

    before = parts()
    found = model.episodes(repo, sources)
    first = {each.states[0].oid for each in found}
    for name, (low, high) in {"a": (0, 0.5), "b": (0.5, 0.8), "c": (0.8, 1)}.items():
        assert first & before[name] == {oid for oid in first if low <= model.share(oid, 3) < high}
    assert sum(map(len, before.values())) == len({s.oid for e in found for s in e.states})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SimgitWarning)
        model.grow(repo, rng.choice(sources), 15, rng)
    after = parts()
    assert all(before[name] <= after[name] for name in shares)


@settings(max_examples=share(60))
@given(seed=SEEDS, memory=st.sampled_from([1, 300, 1 << 20]))
def test_blocks_that_are_thrown_away_are_read_again(seed: int, memory: int) -> None:
    repo, sources, _ = made(seed)
    data, small = repo.dataset(sources), repo.dataset(sources, memory=memory)
    if len(data):
        for number in (None, 3):
            one = (
                data.sample(20, 5)
                if number is None
                else data.sequences(number, pad="zero").sample(20, 5)
            )
            two = (
                small.sample(20, 5)
                if number is None
                else small.sequences(number, pad="zero").sample(20, 5)
            )
            for name in one:
                if name.endswith("observations"):
                    np.testing.assert_array_equal(one[name]["pos"], two[name]["pos"])
                else:
                    np.testing.assert_array_equal(one[name], two[name])
    assert len(small._origin.cache._blocks) <= 1 or small._origin.cache.nbytes <= memory
