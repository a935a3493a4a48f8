"""log, its graph, and what it leaves out."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from simgit import Repository
from simgit.cli.graph import Graph
from simgit.objects.oid import Oid


def texts(found) -> list[str]:
    """Return what is left of lines without their oids."""
    return [line.partition(" ")[2] for line in found.lines]


def test_one_line_a_state(repo) -> None:
    assert texts(repo("log", "--oneline")) == [
        "(HEAD -> main) step 2 ep1.2 action 0 reward 0.5 terminated: fell over",
        "step 1 ep1.1 action 1 reward 1",
        "step 0 ep1.0 reset",
    ]


def test_a_paragraph_a_state(repo) -> None:
    oid = repo("rev-parse", "HEAD").out.strip()
    found = repo("log", "-n", 1).lines
    assert found.pop(3).startswith("Time:    20")
    assert found == [
        f"state {oid}",
        "Refs:    HEAD -> main",
        "Step:    2 (episode 1, state 2)",
        "Action:  0",
        "Reward:  0.5",
        "Ended:   terminated",
        "",
        "    fell over",
        "",
    ]


def test_json_has_every_field(repo) -> None:
    last, middle, first = repo("log", "--json").records
    assert last["parents"] == [middle["oid"]] and first["parents"] == []
    assert (first["reset"], middle["reset"]) == (True, False)
    assert (middle["action"], middle["reward"], middle["message"]) == (1, 1.0, None)
    assert (last["episode"], last["episode_step"]) == (1, 2)


def test_limits_order_and_ranges(repo) -> None:
    def steps(*args: object) -> list[int]:
        return [record["step"] for record in repo("log", "--json", *args).records]

    assert steps("-n", 2) == [2, 1]
    assert steps("-n", 2, "--reverse") == [1, 2]
    assert steps("-n", 0) == []
    assert steps("main~2..main") == [2, 1]
    assert steps("main", "^main~1") == [2]
    assert steps("main@0..1") == [1]
    repo("branch", "other", "main~1")
    repo("commit", "--run", "other", "-r", 5)
    repo("commit", "--run", "other", "-r", 6)
    assert steps("main...other") == [2, 3, 2]
    assert steps("--all") == [2, 3, 2, 1, 0]
    assert steps("other..main") == [2]


def test_conditions(repo) -> None:
    found = repo("log", "--where", "reward > 0 and not terminated", "--json").records
    assert [record["step"] for record in found] == [1]
    found = repo("log", "--where", "observation[1] == 2.5", "--reverse", "-n", 1, "--json").records
    assert [record["step"] for record in found] == [2]
    assert "fatal: condition" in repo("log", "--where", "__import__('os')", code=128).err


def test_episodes(repo) -> None:
    repo("commit", "--reset")
    repo("commit", "-a", 1, "-r", 2)
    assert repo("log", "--episodes").lines == [
        "episode  steps  return  end         states",
        "ep2          1       2  open        3..4",
        "ep1          2     1.5  terminated  0..2",
    ]
    one = repo("log", "--episodes", "--reverse", "--json").records[0]
    assert one == {
        "episode": 1, "start": 0, "stop": 3, "steps": 2, "return": 1.5, "end": "terminated",
    }  # fmt: skip


@pytest.mark.slow
def test_episodes_of_a_long_run_agree_with_its_columns(directory, run) -> None:
    run("init")
    rng = random.Random(3)
    with Repository.open(directory) as repo:
        with repo.recorder("main", flush_every=3000) as recorder:
            for _ in range(9000):
                if rng.random() < 0.01:
                    recorder.append(1.0, reset=True)
                else:
                    end = rng.random() < 0.01
                    recorder.append(1.0, 1, float(rng.randrange(5)), end, rng.random() < 0.01)
        found = repo.episodes()
        lines = list(repo.log(reverse=True))
        wanted = repo["main"].episodes
        assert [line.oid for line in lines] == repo["main"].oids
        assert [line.episode for line in lines] == repo["main"].episode_ids.tolist()
        assert [e.return_ for e in reversed(found)] == [e.return_ for e in wanted]
        assert [e.stop - e.start for e in reversed(found)] == [len(e) for e in wanted]
        for episode in found:
            last = lines[episode.stop - 1]
            flags = [n for n in ("terminated", "truncated") if getattr(last, n)]
            assert episode.end == ("+".join(flags) or "open")


def test_a_graph_of_branches_is_drawn_like_gits(repo) -> None:
    repo("branch", "one", "main~1")
    repo("branch", "two", "main~2")
    for name in ("one", "two", "two"):
        repo("commit", "--run", name, "-m", name)
    repo("commit", "-m", "merge", "--parent", "one")
    drawn = [
        line[: line.find(" step")] for line in repo("log", "--graph", "--all", "--oneline").lines
    ]
    short = {m: repo("rev-parse", "--short", m).out.strip() for m in ("main", "one", "two")}
    assert drawn[0] == f"*   {short['main']} (HEAD -> main)"
    assert [line.rstrip() for line in repo("log", "--graph", "--all", "--oneline").lines][
        1
    ] == "|\\"
    assert any(line.startswith(f"| * {short['one']}") for line in drawn)
    assert any(line.startswith(f"| * {short['two']}") for line in drawn)


def test_a_graph_can_be_simplified(directory, run) -> None:
    run("init")
    with Repository.open(directory) as repo:
        for name, start in (("main", None), ("try", "main@40")):
            if start:
                repo.branch(name, start)
            with repo.recorder(name) as recorder:
                for i in range(100):
                    recorder.append(i, reward=float(start is None))
        repo.tag("v1", "main@90")
    lines = run("log", "--graph", "--all", "--simplify").lines
    assert sum("step" in line for line in lines) == 5
    assert [line.partition("…")[2] for line in lines if "…" in line] == [
        " 8 more", " 49 more", " 99 more", " 39 more",
    ]  # fmt: skip
    records = run("log", "--all", "--simplify", "--json").records
    shown = {record["oid"] for record in records}
    assert all(parent in shown for record in records[:-1] for parent in record["parents"])


def test_a_log_of_an_empty_repository_says_so(run) -> None:
    run("init")
    assert run("log", code=128).err == "fatal: HEAD points at run 'main', which has no states yet\n"
    assert run("log", "--all").out == ""


def test_options_that_exclude_each_other(repo) -> None:
    assert repo("log", "--graph", "--reverse", code=2).err.startswith("error: --")
    assert repo("log", "--where", "step", "--graph", code=2).err.startswith("error: --where and")
    assert "fatal" in repo("log", "nothing", code=128).err


def _draw(history: list[tuple[str, str]]) -> list[str]:
    graph, lines = Graph(), []
    names = {c: Oid(c.encode() * 32) for c in "abcdefghijklm"}
    for name, parents in history:
        lines += graph.gap(names[name])
        lines.append(graph.row(names[name], [names[p] for p in parents]) + name)
        lines += graph.after()
    return lines


@pytest.mark.parametrize(
    ("history", "drawn"),
    [
        ([("a", "b"), ("b", "")], ["* a", "* b"]),
        (
            [("a", "bc"), ("c", "d"), ("b", "d"), ("d", "")],
            ["*   a", "|\\", "| * c", "* | b", "|/", "* d"],
        ),
        (
            [("a", "d"), ("b", "d"), ("c", "d"), ("d", "")],
            ["* a", "| * b", "|/", "| * c", "|/", "* d"],
        ),
        (
            [("a", "e"), ("b", "f"), ("c", "g"), ("d", "e"), ("g", "e"), ("f", "e"), ("e", "")],
            ["* a", "| * b", "| | * c", "| | | * d", "| |_|/", "|/| |", "| | * g", "| |/",
             "|/|", "| * f", "|/", "* e"],
        ),
        ([("a", ""), ("b", "c"), ("c", "")], ["* a", "", "* b", "* c"]),
        ([("a", ""), ("b", ""), ("c", "")], ["* a", "", "* b", "", "* c"]),
        (
            [("a", "d"), ("b", ""), ("c", "d"), ("d", "")],
            ["* a", "| * b", "|", "| * c", "|/", "* d"],
        ),
        ([("a", "d"), ("b", ""), ("d", "")], ["* a", "| * b", "* d"]),
        (
            [("a", "c"), ("b", "d"), ("c", ""), ("e", ""), ("d", "")],
            ["* a", "| * b", "* | c", " /", "| * e", "* d"],
        ),
        ([("a", "bc"), ("c", ""), ("b", "")], ["*   a", "|\\", "| * c", "* b"]),
        (
            [("a", "bcd"), ("d", "e"), ("c", "e"), ("b", "e"), ("e", "")],
            ["*     a", "|\\", "|\\ \\", "| | * d", "| * | c", "| |/", "* | b", "|/", "* e"],
        ),
    ],
)  # fmt: skip
def test_shapes_of_graphs(history: list[tuple[str, str]], drawn: list[str]) -> None:
    assert _draw(history) == drawn


def test_a_root_is_not_drawn_above_another_history(run) -> None:
    run("init")
    for name in "ab":
        run("commit", "-m", name, "--run", name)
        run("commit", "-m", name, "--run", name)
    lines = [line[:1] for line in run("log", "--graph", "--all", "--oneline").lines]
    assert lines == ["*", "*", "", "*", "*"]
    assert "\n\n\n" not in run("log", "--graph", "--all").out


@pytest.mark.parametrize(
    ("command", "option"), [(("gc",), "--grace"), (("gc",), "--expire"), (("log",), "--max-count")]
)
def test_a_negative_value_is_that_of_its_option(repo, command: Any, option: str) -> None:
    for given in ((option, "-1"), (f"{option}=-1",)):
        err = repo(*command, *given, code=2).err
        assert option in err
        assert "'-1'" in err
        assert "has no option" not in err


def test_a_number_after_a_dash_is_a_count_only_where_there_is_one(repo) -> None:
    assert len(repo("log", "--oneline", "-2").lines) == 2
    assert "must be a whole number of 0 or more" in repo("log", "-n", "-1", code=2).err
    assert "has no option '-5'" in repo("gc", "-5", code=2).err  # its -n is --dry-run


def test_columns_of_a_log(repo) -> None:
    header, *rows = repo("log", "--fields", "step,reward,info.lives,message,observation").lines
    assert header.split() == ["step", "reward", "info.lives", "message", "observation"]
    assert rows[0].split()[:3] == ["2", "0.5", "-"] and "fell over" in rows[0]
    assert rows[1].split()[:4] == ["1", "1", "3", "-"]
    record, *_ = repo("log", "--fields", "time,oid,info", "--json", "--reverse").records
    assert list(record) == ["time", "oid", "info"] and re.fullmatch(
        r"20\d\d-.*T.*\.\d{9}Z", record["time"]
    )
    assert len(repo("log", "-n", 1, "--fields", "time").lines[1].split()) == 3


def test_all_fields_of_a_log(repo) -> None:
    newest, middle, first = repo("log", "--json", "--fields", "all").records
    assert (middle["info"], middle["step"], newest["terminated"]) == ({"lives": 3}, 1, True)
    assert first["reset"] == {"seed": 7} and "observation" in first
    assert middle["oid"] == newest["parents"][0]


def test_mistakes_with_columns(repo) -> None:
    assert "needs --json" in repo("log", "--fields", "all", code=2).err
    assert (
        "unknown field 'rewrad'; did you mean 'reward'?"
        in repo("log", "--fields", "step,rewrad", code=128).err
    )
    assert (
        "no state has 'info.livs'; did you mean 'info.lives'?"
        in repo("log", "--fields", "info.livs").err
    )
    assert "cannot be used together" in repo("log", "--fields", "step", "--graph", code=2).err
    assert "cannot be used together" in repo("log", "--since", "now", "--episodes", code=2).err


def test_states_by_time(repo) -> None:
    assert len(repo("log", "--since", "1 hour ago", "--oneline").lines) == 3
    assert repo("log", "--until", "yesterday", "--oneline").lines == []
    assert "'soon' is not a time; write" in repo("log", "--since", "soon", code=128).err
    assert repo("show", "--json").json["time"].endswith("Z")
    assert any(line.startswith("time:") for line in repo("show").lines)
