"""simgit plot and tree: lines in a terminal, and pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from simgit import Repository
from simgit.cli.output import Output


@pytest.fixture
def repo(run, directory: Path):
    """``run``, in a repository with main, a branch of it and three runs that differ by seed."""
    with Repository.init(directory) as repo:
        _record(repo, "main", [3, 5, 8])
        repo.branch("try", "main@9")
        _record(repo, "try", [13])
        for seed in (1, 2, 3):
            _record(repo, f"s/{seed}", [seed, 4], seed)
    return run


def _record(repo: Repository, name: str, lengths: list[int], seed: int = 0) -> None:
    with repo.recorder(name, seed=seed) as recorder:
        for length in lengths:
            recorder.append(0, reset={"seed": seed})
            for i in range(length):
                recorder.append(0, 1, 0.5, i == length - 1, False)


def test_one_run_is_a_chart(repo) -> None:
    lines = repo("plot", "--kind", "lengths").lines
    assert lines[0] == "main  lengths of 3 episodes" and len(lines) == 10
    assert lines[1] == "8 ┤  █" and lines[8] == "3 ┤▁██"
    assert lines[9] == "first 3, shortest 3, longest 8, last 3: 5.33333 on average"


def test_several_runs_are_a_line_each_on_one_scale(repo) -> None:
    lines = repo("plot", "main", "try").lines
    assert lines[0].split() == ["run", "returns", "episodes", "best", "last", "10"]
    assert lines[1].split() == ["main", "▁▂▅", "3", "4", "2.66667"]
    assert lines[2].split() == ["try", "▁▂█", "3", "6.5", "3.5"]
    assert lines[3] == "▁ is 1.5, █ is 6.5"


def test_of_lengths_nobody_knows_which_is_best(repo) -> None:
    lines = repo("plot", "main", "try", "--kind", "lengths").lines
    assert lines[0].split()[2:5] == ["episodes", "shortest", "longest"]
    assert [line.split()[3:5] for line in lines[1:3]] == [["3", "8"], ["3", "13"]]
    assert max(map(len, lines)) <= 80


def test_json_has_the_points(repo) -> None:
    found = repo("plot", "try", "--x", "steps", "--json").json
    assert found == {
        "label": "try",
        "kind": "returns",
        "steps": [3.0, 9.0, 23.0],
        "values": [1.5, 2.5, 6.5],
    }
    band = repo("plot", "s/*", "--bands", "--json").json
    assert (band["label"], band["values"], band["runs"]) == ("s", [1.0, 2.0], 3)
    assert band["low"][0] < 1 < band["high"][0]


@pytest.fixture
def odd(run, directory: Path):
    """Runs whose returns are not all finite, and one with a series of uneven steps."""
    with Repository.init(directory) as repo:
        for name, rewards in {
            "inf": [1.0, np.inf, 2.0], "nan": [np.nan, np.nan], "near": [100000.0, 100019.0],
        }.items():  # fmt: skip
            with repo.recorder(name) as recorder:
                for time, reward in enumerate(rewards):
                    recorder.append(0, reset=True, time=4.0**time)
                    recorder.append(0, 1, reward, True, False, time=4.0**time)
        repo.add_series("inf", {"x": ([0, 10, 80, 99], [1.0, 2.0, 4.0, 8.0])})
        repo.add_series("near", {"x": ([20], [8.0])})
    return run


def test_values_that_are_not_finite_are_told(odd) -> None:
    assert odd("plot", "inf").lines[-1] == "first 1, best inf, last 3: inf on average"
    assert odd("plot", "nan").lines == [
        "nan  returns of 2 episodes", "first nan, best nan, last 2: nan on average",
    ]  # fmt: skip
    assert odd("plot", "nan", "nan", "inf").lines[1].split()[-2:] == ["nan", "nan"]
    assert odd("plot", "inf", "--json").json["values"] == [1.0, {"$float": "inf"}, 2.0]
    assert [odd("plot", "near").lines[row].split()[0] for row in (1, 8)] == ["100019", "100000"]


def test_steps_and_times_are_at_equal_distances(odd) -> None:
    lines = odd("plot", "inf", "--series", "x").lines
    columns = [lines[row].partition("┤")[2] for row in range(1, 9)]
    width = len(columns[0])
    assert columns[0] == " " * (width - 1) + "█"  # 8, at the end only
    assert abs(columns[5].index("█") / width - 0.8) < 0.05  # 4, from step 80 on
    assert len(columns[7]) == width
    assert lines[9] == "steps from 0 to 99"
    lines = odd("plot", "inf", "near", "--series", "x").lines
    assert lines[2].split()[1:3] == ["█", "1"]
    begin, width = lines[1].index("▁"), lines[1].index("█") + 1 - lines[1].index("▁")
    assert lines[2].index("█") - begin == width * 20 // 99
    lines = odd("plot", "inf", "--field", "info.time", "--x", "time").lines
    assert lines[9] == "time from 1 to 16"


@pytest.fixture
def long(run, directory: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs of 20 000 states, of which plots have four points at most, and odd ones."""
    monkeypatch.setattr("simgit.cli.plot.POINTS", 4)
    rng = np.random.default_rng(3)
    with Repository.init(directory) as repo:
        for name in ("main", "inf"):
            with repo.recorder(name) as recorder:
                recorder.append({"x": 0.5}, reset={"seed": 1})  # which has no reward
                for i, reward in enumerate(rng.normal(size=19_999).tolist()):
                    last = name == "inf" and i == 7000
                    recorder.append({"x": i / 3}, 1, np.inf if last else reward, False, False)
        with repo.recorder("great") as recorder:
            recorder.append({"n": 2**63 + 1, "x": 1e307}, reset={"seed": 1})
            for _ in range(19_999):
                recorder.append({"n": 2**63 + 1, "x": 1e307}, 1, 0.0, False, False)
    return run


def test_a_point_of_a_long_run_is_the_mean_of_many_states_and_that_is_said(
    long, directory: Path
) -> None:
    with Repository.open(directory) as repo:
        rewards, x = repo["main"].rewards[1:], repo["main"].observations["x"]
    found = long("plot", "--field", "reward", "--json").json
    assert (found["means_of"], len(found["values"])) == (8192, 3)
    parts = [rewards[:8191], rewards[8191:16383], rewards[16383:]]
    for name, of in (("values", np.mean), ("low", np.min), ("high", np.max)):
        assert np.allclose(found[name], [of(part) for part in parts], rtol=1e-12, atol=0)
    assert found["steps"] == [1.0, 8192 + 8191 / 2, 19999.0]
    lines = long("plot", "--field", "reward").lines
    assert lines[0] == "main  reward of 19999 states, means of 8192"
    assert lines[9] == "steps from 1 to 19999"
    assert lines[10].split() == [
        "first", f"{rewards[0]:.6g},", "lowest", f"{rewards.min():.6g},", "highest",
        f"{rewards.max():.6g},", "last", "10:", f"{rewards[-10:].mean():.6g}", "on", "average",
    ]  # fmt: skip
    lines = long("plot", "main", "inf", "--field", "observation.x").lines
    assert lines[1].split()[-4:] == [
        "20000", "0", f"{x.max():.6g}", f"{x[-10:].mean():.6g}",
    ]  # fmt: skip
    assert "each point of long runs is the mean of 8192 states" in lines


@pytest.mark.parametrize(
    "args",
    [
        ["--field", "reward", "--smooth", "2"], ["inf", "--field", "reward"],
        ["main@5..19999", "--field", "reward"], ["great", "--field", "observation.n"],
        ["great", "--field", "observation.x"],
    ],
)  # fmt: skip
def test_what_means_would_not_show_is_read_state_by_state(long, args: list[str]) -> None:
    found = long("plot", *args, "--json").json
    assert "means_of" not in found and len(found["values"]) > 19_000


@pytest.mark.parametrize("args", [["--field", "action"], ["--field", "observation"]])
def test_what_is_no_number_is_refused_for_a_long_run_too(long, args: list[str]) -> None:
    code = 0 if args[1] == "action" else 128
    found = long("plot", *args, code=code)
    assert code == 0 or "not a number in each state" in found.err


def test_an_encoding_without_the_signs_gets_others(odd) -> None:
    stream = io.StringIO()
    Output(stream, color=False).line("4 ┤▁█ →")
    ascii = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    Output(ascii, color=False).line("4 ┤▁█ → ü")
    ascii.seek(0)
    assert (stream.getvalue(), ascii.read()) == ("4 ┤▁█ →\n", "4 |.# -> ?\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c.png", "c.svg", "C.PNG"])
def test_a_picture_is_drawn(repo, directory: Path, name: str) -> None:
    assert repo("plot", "main", "try", "--smooth", "2", "-o", name).out == f"wrote {name}\n"
    assert (directory / name).read_bytes()[:4] == (b"<?xm" if name.endswith("svg") else b"\x89PNG")
    assert repo("tree", "-o", name, "--json").json == {"file": name}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nope"], 128, "revision 'nope' not found"),
        (["x*"], 128, "no run matches 'x*'"),
        (["-o", "a.jpg"], 128, "cannot write 'a.jpg': the name must end in .png or .svg"),
        (["--kind", "losses"], 2, "'losses'"),
        (["--kind", "loss"], 128, "run 'main' has no loss: only trainings of agents"),
        (["--kind", "solved"], 128, "'main' has no goal to solve"),
        (["--series", "loss", "--x", "time"], 2, "drawn over its steps"),
        (["--title", "x"], 2, "--title is of a picture"),
        (["main@0"], 128, "no episode to plot"),
        (["main@0", "-o", "a.png"], 128, "no episodes to draw"),
    ],
)
def test_what_cannot_be_shown_is_an_error(repo, directory: Path, args, code, said) -> None:
    assert said in repo("plot", *args, code=code).err
    assert not list(directory.glob("a.*"))


def test_the_tree_shows_branches_below_their_parents(repo) -> None:
    lines = repo("tree").lines
    assert lines[0].split() == ["run", "from", "step", "to", "step", "episodes", "return", "status"]
    assert lines[1].split()[:2] == ["main", "(HEAD)"] and lines[2].startswith("└─ try")
    assert lines[2].split()[2:] == ["9", "23", "3", "10.5", "active"]
    records = repo("tree", "--json").records
    assert [r["name"] for r in records] == ["main", "try", "s/1", "s/2", "s/3"]
    assert (records[1]["parent"], records[1]["branch_step"], records[0]["branch_step"]) == (
        "main",
        9,
        None,
    )


@pytest.mark.slow
def test_neither_loads_matplotlib_unless_it_draws(repo, process) -> None:
    for args in (("plot",), ("tree",), ("plot", "main", "try")):
        done = process(*args, PYTHONPROFILEIMPORTTIME="1")
        assert done.code == 0 and "matplotlib" not in done.err


@pytest.mark.slow
def test_an_error_is_one_line_without_matplotlib(repo, environment, directory: Path) -> None:
    import subprocess
    import sys

    (directory / "sitecustomize.py").write_text("import sys; sys.modules['matplotlib'] = None")
    path = f"{directory}:{environment['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "simgit", "plot", "-o", "a.png"], capture_output=True, text=True,
        env=environment | {"PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        128,
        "fatal: pictures need matplotlib: pip install 'simgit[plot]'\n",
    )


@pytest.fixture
def loop(run, directory: Path):
    """``run``, in a repository with one episode on a cluster."""
    with Repository.init(directory) as repo, repo.recorder("main") as recorder:
        recorder.append(0, info={"ready": 0, "pending": 3}, reset={"seed": 1})
        recorder.append(0, 4, -0.5, False, False, {"ready": 1, "pending": 2, "blocked": False})
        recorder.append(0, 1, -0.5, False, False, {"validity": "timeout", "blocked": True})
        recorder.append(0, 4, 1, True, False, {"ready": 30, "pending": 0, "blocked": False})
    return run


@pytest.mark.slow
def test_pods_are_a_table_of_steps(loop, directory: Path) -> None:
    lines = loop("plot", "--kind", "pods").lines
    assert lines[0] == "main, episode 1: return 0"
    assert [line.split() for line in lines[2:6]] == [
        ["0", "○○○"], ["1", "reduce_cpu_small", "●○○", "-0.5"],
        ["2", "bump_cpu_small", "(refused)", "not", "observed", "-0.5"],
        ["3", "reduce_cpu_small", "30", "ready,", "0", "pending", "1"],
    ]  # fmt: skip
    records = loop("plot", "--kind", "pods", "--json").records
    assert records[2] == {"step": 2, "action": "bump_cpu_small", "blocked": True, "ready": None,
                          "pending": None, "reward": -0.5}  # fmt: skip
    loop("plot", "main@ep1", "--kind", "pods", "-o", "pods.png")
    assert (directory / "pods.png").read_bytes().startswith(b"\x89PNG")


def test_pods_of_one_run_at_a_time(repo) -> None:
    assert (
        "--kind pods takes one run, got 2"
        in repo("plot", "main", "try", "--kind", "pods", code=128).err
    )
    assert "was not recorded from SimKube" in repo("plot", "--kind", "pods", code=128).err
