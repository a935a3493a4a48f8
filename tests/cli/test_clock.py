"""The simulator's clock in log, show, plot and run list, as text and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgit import Repository


@pytest.fixture
def bank(repo, directory: Path):
    with Repository.open(directory) as opened, opened.recorder("bank") as rec:
        for i in range(4):
            rec.append({"waiting": i % 3}, reward=-1.0, time=2.5 * i, reset=i == 0)
    return repo


def test_log_has_the_clock(bank) -> None:
    lines = bank("log", "bank", "--oneline").lines
    assert [" t=7.5 " in lines[0], " t=0 " in lines[-1]] == [True, True]
    assert "Clock:   7.5" in bank("log", "bank", "-n", 1).lines
    assert [r["clock"] for r in bank("log", "bank", "--json").records] == [7.5, 5.0, 2.5, 0.0]
    assert [r["step"] for r in bank("log", "bank", "--where", "time > 4", "--json").records] == [
        3,
        2,
    ]
    assert bank("log", "bank", "--fields", "step,clock").lines[1].split() == ["3", "7.5"]
    assert "clock" not in bank("log", "main", "--json").records[0]


def test_show_has_the_clock(bank) -> None:
    assert ["clock:", "2.5"] in [line.split() for line in bank("show", "bank@t=4").lines]
    assert bank("show", "bank@t=4", "--json").json["clock"] == 2.5
    assert "clock" not in bank("show", "main", "--json").json


def test_run_list_has_the_clock(bank) -> None:
    rows = [line.split() for line in bank("run", "list", "--columns", "name,time").lines]
    assert rows == [["name", "time"], ["bank", "7.5"], ["main", "-"]]
    assert bank("run", "list", "--where", "time > 5", "--json").records[0]["name"] == "bank"


@pytest.mark.slow
def test_plot_draws_a_field_over_the_clock(bank, directory: Path) -> None:
    call = ("plot", "bank", "--field", "observation.waiting", "--x", "time")
    found = bank(*call, "--json").json
    assert (found["time"], found["values"]) == ([0.0, 2.5, 5.0, 7.5], [0.0, 1.0, 2.0, 0.0])
    assert "4 states" in bank(*call).out
    assert bank("plot", "bank", "--x", "time", "--json").json["time"] == [7.5]
    assert bank(*call, "--output", str(directory / "a.svg")).code == 0
    assert (directory / "a.svg").read_text().startswith("<?xml")
    bank("plot", "bank", "--field", "observation.nothing", code=128)
    bank("plot", "bank", "--field", "observation.waiting", "--x", "episodes", code=128)


def test_a_stream_has_clocks(bank) -> None:
    lines = b'{"observation": 1, "time": 0.5, "reset": true}\n{"observation": 2, "time": 1}\n'
    bank("commit", "--stdin", "--run", "streamed", stdin=lines)
    assert [r["clock"] for r in bank("log", "streamed", "--json").records] == [1, 0.5]
    bank("commit", "--stdin", "--run", "other", stdin=b'{"time": "noon"}\n', code=128)


def test_a_commit_has_a_clock(repo) -> None:
    repo("commit", "-o", "1", "--time", "12", "--run", "new")
    repo("commit", "-o", "2", "--time", "12.5", "--info", '{"queue": 3}', "--run", "new")
    assert [line["clock"] for line in repo("log", "new", "--json").records] == [12.5, 12]
    assert repo("show", "new@t=12.4", "--json").json["info"] == {"time": 12}
    repo("commit", "--time", '"noon"', "--run", "new", code=128)
    repo("commit", "--time", "1", "--info", '{"time": 1}', "--run", "new", code=128)
    assert len(repo("log", "new", "--json").records) == 2
