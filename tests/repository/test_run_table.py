"""Runs are chosen and ordered by what is known of them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, Repository


@pytest.fixture(scope="module")
def repo() -> Repository:
    """Runs a to c of two ended episodes each, d without a setting and without states."""
    made = Repository.init(":memory:")
    for i, name in enumerate("abc"):
        config = {"lr": 0.1**i, "agent": {"lambda": i, "kind": "dqn" if i else "ppo"}}
        with made.recorder(name, config=config, seed=i) as recorder:
            for episode in range(2):
                for step in range(4):
                    recorder.append(
                        observation=step, reward=float(i + episode), reset=step == 0,
                        terminated=step == 3,
                    )  # fmt: skip
    made.recorder("d").close()
    made.configure("b", metadata={"note": "good"})
    return made


def chosen(repo: Repository, *arguments: str | None) -> str:
    return "".join(info.name for info in repo.runs.select(*arguments))


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("return > 5", "bc"), ("config.lr < 0.5 and return > 5", "bc"), ("config.lr < 0.05", "c"),
        ("config.agent.lambda >= 1", "bc"), ("config.agent.kind == 'ppo'", "a"),
        ("status == 'active' and states == 8", "abc"), ("step == None", "d"),
        ("best_return >= 8", "bc"), ("last_length == 3", "abc"), ("mean_return * 2 == return", "abc"),
        ("'o' in metadata.note", "b"), ("seed in (0, 2)", "ac"), ("name != 'a'", "bcd"),
        ("not (return > 5)", "ad"), ("parent == None", "abcd"), ("episodes == 2", "abc"),
        ("name == 'return > 5'", ""),
    ],
)  # fmt: skip
def test_runs_are_chosen_by_a_condition(repo: Repository, condition: str, names: str) -> None:
    assert chosen(repo, condition) == names


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("-return", "cbad"), ("return", "dabc"), ("config.lr", "cbad"), ("-config.lr,name", "abcd"),
        ("config.agent.kind,-seed", "cbad"), ("-best_return", "cbad"), ("metadata.note,name", "bacd"),
    ],
)  # fmt: skip
def test_runs_are_ordered(repo: Repository, order: str, names: str) -> None:
    assert chosen(repo, None, order) == names


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("retrun > 1", "unknown field 'retrun'; did you mean 'return'?"),
        ("config.lrr > 1", "unknown name 'config.lrr'; did you mean 'config.lr'?"),
        ("return > 'x'", "'return' is a number, 'x' is a text"),
        ("return >", "column 8: the condition ends after '>'"),
        ("reward > 1", "unknown field 'reward'"),
        ("status == done", "write a text in quotes: 'done'"),
    ],
)
def test_mistakes_in_conditions_are_named(repo: Repository, condition: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        repo.runs.select(condition)
    assert message in str(caught.value) and "retur_" not in str(caught.value)


def test_mistakes_in_orders_and_columns_are_named(repo: Repository) -> None:
    with pytest.raises(InvalidInput, match=r"unknown name 'reurn'; did you mean 'return'\?"):
        repo.runs.select(None, "-reurn")
    with pytest.raises(InvalidInput, match=r"unknown name 'config.agent.kin'; did you mean"):
        repo.runs.table().values("config.agent.kin")
    assert Repository.init(":memory:").runs.select("return > 1", "-return") == []


def test_an_unknown_name_is_answered_in_one_short_line() -> None:
    """The metadata of a recorded environment have dozens of entries: they are not listed."""
    repo = Repository.init(":memory:")
    repo.recorder("a").close()
    repo.configure("a", metadata={f"entry{i}": i for i in range(50)})
    for name, rest in {
        "config.lr": "; no run has config", "zzz": " (known: name, status,", "metadata.zzz": "",
    }.items():  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            repo.runs.select(None, name)
        assert f"unknown name '{name}'{rest}" in str(caught.value)
        assert "entry1" not in str(caught.value)


def ranking(repo: Repository, by: str, **options: Any) -> list[tuple[str, float]]:
    return [(info.name, value) for info, value in repo.runs.best(by, **options)]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("mean(return, 10)", [("c", 10.0), ("b", 6.0), ("a", 2.0)]),
        ("mean(return)", [("c", 10.0), ("b", 6.0), ("a", 2.0)]),
        ("mean(return, 1)", [("c", 12.0), ("b", 8.0), ("a", 4.0)]),
        (" max ( return ) ", [("c", 12.0), ("b", 8.0), ("a", 4.0)]),
        ("first(return)", [("c", 8.0), ("b", 4.0), ("a", 0.0)]),
        ("last(return)", [("c", 12.0), ("b", 8.0), ("a", 4.0)]),
        ("sum(length)", [("a", 6), ("b", 6), ("c", 6)]),
        ("min(return, 2)", [("c", 8.0), ("b", 4.0), ("a", 0.0)]),
        ("std(return)", [("a", 2.0), ("b", 2.0), ("c", 2.0)]),
        ("median(return)", [("c", 10.0), ("b", 6.0), ("a", 2.0)]),
        ("best_return", [("c", 12.0), ("b", 8.0), ("a", 4.0)]),
        ("config.lr", [("a", 1.0), ("b", 0.1), ("c", 0.1**2)]),
        ("states", [("a", 8), ("b", 8), ("c", 8), ("d", 0)]),
    ],
)
def test_runs_are_ranked(repo: Repository, by: str, expected: list[tuple[str, float]]) -> None:
    assert ranking(repo, by) == expected


def test_a_ranking_of_some_runs_the_lowest_first(repo: Repository) -> None:
    found = ranking(repo, "mean(return)", where="config.lr < 0.5", lowest=True)
    assert found == [("b", 6.0), ("c", 10.0)]


@pytest.mark.parametrize("lowest", [True, False])
def test_a_run_whose_number_is_none_is_the_last(lowest: bool) -> None:
    made = Repository.init(":memory:")
    for name, reward in (("a", 1.0), ("b", math.nan), ("c", 2.0), ("d", -math.inf)):
        made.commit(observation=0, run=name)
        made.commit(observation=0, reward=reward, terminated=True, run=name)
    found = [name for name, _ in ranking(made, "mean(return)", lowest=lowest)]
    assert found == (["d", "a", "c", "b"] if lowest else ["c", "a", "d", "b"])


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("men(return)", "unknown function 'men'"), ("mean(rewrd)", "did you mean 'reward'?"),
        ("mean(return, 0)", "must be of 1 episode or more"), ("name", "'name' must be a number"),
        ("mean(return, -1)", "unknown name"), ("mean(return", "unknown name"), ("", "unknown name"),
        ("mean(return, 10) + 1", "unknown name"),
    ],
)  # fmt: skip
def test_a_measure_that_is_none(repo: Repository, by: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        repo.runs.best(by)


def test_measures_are_columns(repo: Repository) -> None:
    assert chosen(repo, None, "-mean(return, 1),name") == "cbad"
    assert repo.runs.table().values("max(length, 1)") == [3, 3, 3, None]


def test_numbers_of_numpy_in_settings_are_ranked_and_sorted_as_numbers() -> None:
    repo = Repository.init(":memory:")
    for name, lr in (
        ("a", np.float32(10)),
        ("b", 9.5),
        ("c", np.int64(100)),
        ("d", np.float64("nan")),
    ):
        repo.recorder(name, config={"lr": lr}).close()
    assert [(name, float(lr)) for name, lr in ranking(repo, "config.lr")][:3] == [
        ("c", 100),
        ("a", 10),
        ("b", 9.5),
    ]
    assert [info.name for info in repo.runs.select(None, "config.lr")] == ["d", "b", "a", "c"]


# --- measures of fields ---


@pytest.fixture(scope="module")
def fields() -> Repository:
    """Runs of several blocks, with forks, absent values and NaN."""
    made = Repository.init(":memory:")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("long", "fork", "short")):
        if name == "fork":
            made.branch("fork", "long@3000")
        with made.recorder(name, flush_every=1500) as rec:
            for i in range(20 if name == "short" else 5000):
                info = {"loss": float(rng.normal(number)) if i % 3 else math.nan}
                rec.append(
                    rng.normal(size=2), 1, rng.normal(number), i % 100 == 99, False,
                    info if i % 5 else {}, reset={"seed": i} if i % 100 == 0 else None,
                )  # fmt: skip
    made.recorder("empty").close()
    return made


def by_columns(repo: Repository, run: str, field: str, count: int) -> dict[str, float]:
    """Return the measures of a field, from its column."""
    states = repo.trajectory(run)
    start = states.episodes[-min(count, len(states.episodes))].start if count else 0
    path = {"observation[1]": ("observation", 1)}.get(field, field)
    (leaf,) = states.leaf_columns(path)
    values = np.asarray(leaf.values, float)[~leaf.absent & (states.steps >= start)]
    values = values[~np.isnan(values)]
    return {
        "mean": values.mean(), "min": values.min(), "max": values.max(), "sum": values.sum(),
        "last": values[-1],
    }  # fmt: skip


@pytest.mark.parametrize("field", ["reward", "info.loss", "observation[1]"])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_measures_of_fields_are_those_of_the_columns(
    fields: Repository, field: str, count: int
) -> None:
    table = fields.runs.table()
    names = [info.name for info in table.infos]
    for function in ("mean", "min", "max", "sum", "last"):
        text = f"{function}({field}{f', {count}' * bool(count)})"
        found = dict(zip(names, table.values(text), strict=True))
        assert found.pop("empty") is None
        for name, value in found.items():
            assert value == pytest.approx(by_columns(fields, name, field, count)[function])


def test_runs_are_chosen_and_ordered_by_measures_of_fields(fields: Repository) -> None:
    def chosen(*arguments: str | None) -> list[str]:
        return [info.name for info in fields.runs.select(*arguments)]

    assert chosen("mean(reward) > 1.5") == ["short"]
    assert chosen("mean(reward) < 1.5 and max(info.loss) > 0 and last(length, 1) == 99") == [
        "fork", "long",
    ]  # fmt: skip
    assert chosen("min(observation[1]) < min(1, 2)", "-mean(reward, 3)") == [
        "short",
        "fork",
        "long",
    ]
    assert chosen(None, "sum(reward)")[-1] == "empty"
    (best, value), *_ = fields.runs.best("max(reward)")
    assert value == max(
        by_columns(fields, n, "reward", 0)["max"] for n in ("long", "fork", "short")
    )
    assert best.name in ("fork", "short")


def test_measures_of_fields_are_the_same_without_summaries(fields: Repository) -> None:
    measures = ("mean(reward)", "sum(info.loss, 9)", "last(observation[0])")
    before = [fields.runs.table().values(each) for each in measures]
    with fields.odb.write() as txn:
        kept = list(txn.scan("summaries"))
        for key, _ in kept:
            txn.delete("summaries", key)
    try:
        assert [fields.runs.table().values(each) for each in measures] == before
    finally:
        with fields.odb.write() as txn:
            for entry in kept:
                txn.put("summaries", *entry)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("mean(rewrd) > 1", "did you mean 'reward'"), ("median(reward) > 1", "'return' or 'length'"),
        ("mean(observation) > 1", "is not a number"), ("mean(reward, 0) > 1", "1 episode or more"),
        ("mean(reward) > 'a'", "is a text"), ("mean(1) > 1", "can be called"),
    ],
)  # fmt: skip
def test_a_measure_that_is_none_is_refused(
    fields: Repository, condition: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        fields.runs.select(condition)
