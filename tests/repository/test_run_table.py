"""Runs are chosen and ordered by what is known of them."""

from __future__ import annotations

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
