"""simgit train, evaluate: from a trace to an agent that was shown to solve it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simgit import Repository
from tests.support.paths import ROOT

TRACE = ROOT / "traces" / "cpu-slight.sktrace"
QUICK = ("--agent", "greedy", "--episodes", "6", "--checkpoint-every", "2")


@pytest.fixture
def repo(run, directory: Path):
    Repository.init(directory).close()
    return run


def test_training_ends_with_what_came_of_it_and_what_to_do_next(repo, directory: Path) -> None:
    found = repo("train", "--trace", TRACE, "--target", 3, *QUICK)
    assert found.lines[0].startswith("train/cpu-slight-greedy-1: 6 episodes, ")
    assert found.lines[-4:] == [
        "next:",
        "  simgit log --oneline -n 10 train/cpu-slight-greedy-1",
        "  simgit plot train/cpu-slight-greedy-1",
        "  simgit evaluate train/cpu-slight-greedy-1",
    ]
    assert found.err.startswith(
        "training 'train/cpu-slight-greedy-1' for 6 episodes, then writing "
        "'train-cpu-slight-greedy-1.png'\n"
    )
    assert "episode 6/6" in found.err and "epsilon" in found.err and "solved" in found.err
    assert (directory / "train-cpu-slight-greedy-1.png").read_bytes().startswith(b"\x89PNG")
    for line in found.lines[-3:]:
        assert repo(*line.split()[1:]).code == 0


@pytest.mark.slow
def test_runs_are_numbered_and_named_by_trace_and_agent(repo) -> None:
    for number in (1, 2):
        found = repo("train", "--trace", "mem-slight", *QUICK, "--json").json
        assert found["run"] == f"train/mem-slight-greedy-{number}"
        assert found["episodes"] == 6 and len(found["returns"]) == 6
    assert (
        repo("train", "--trace", "mem-slight", *QUICK, "--run", "mine", "--json").json["run"]
        == "mine"
    )


@pytest.mark.slow
def test_a_setting_may_have_the_name_that_the_configuration_shows(repo) -> None:
    repo("train", "--trace", TRACE, *QUICK, "--run", "a", "--set", "lr=0.25")
    repo("train", "--trace", TRACE, *QUICK, "--run", "b", "--set", "agent.lr=0.25")
    assert repo("config", "b", "--json").json == repo("config", "a", "--json").json
    assert repo("config", "b", "--json").json["agent"]["lr"] == 0.25


@pytest.mark.slow
def test_a_branch_is_resumed_with_its_setting(repo) -> None:
    repo("train", "--trace", TRACE, *QUICK, "--run", "a")
    repo("branch", "slow", "a@ep3", "--set", "lr=0.01", "--set", "episodes=6")
    own = repo("config", "slow", "--own", "--json").json
    assert own == {"agent": {"lr": 0.01}, "training": {"episodes": 6}}
    assert repo("diff", "a", "slow", "--config").lines == ["  agent.lr: 0.5 → 0.01"]
    found = repo("train", "--resume", "--run", "slow", "--json").json
    assert found["run"] == "slow" and found["episodes"] == 6
    assert repo("plot", "a", "slow").lines[-1].startswith("▁")


@pytest.mark.slow
def test_a_setting_at_the_top_of_an_older_branch_counts_as_it_did(repo) -> None:
    repo("train", "--trace", TRACE, *QUICK, "--run", "a")
    with Repository.open(".") as found:  # what the command recorded before it named the section
        found.branch("old", "a@ep3", overrides={"lr": 0.01})
    repo("branch", "new", "a@ep3", "--set", "lr=0.01")
    for name in ("old", "new"):
        repo("train", "--resume", "--run", name)
    assert (
        repo("rev-parse", "old").out == repo("rev-parse", "new").out != repo("rev-parse", "a").out
    )
    repo("config", "old", "lr=0.5")
    assert repo("config", "old", "--own", "--json").json == {"lr": 0.5}


@pytest.mark.slow
def test_resume_takes_the_training_that_is_not_finished(repo) -> None:
    repo("train", "--trace", TRACE, *QUICK, "--run", "a")
    repo("train", "--trace", TRACE, *QUICK, "--run", "b")
    repo("branch", "c", "a@ep2")
    assert repo("train", "--resume", "--json").json["run"] == "c"
    assert "has finished its 6 episodes" in repo("train", "--resume", code=128).err
    assert repo("train", "--resume", "--run", "a", "--episodes", 7, "--json").json["episodes"] == 7


def test_what_makes_no_sense_is_refused(repo, run, directory: Path) -> None:
    assert "no training to resume" in repo("train", "--resume", code=128).err
    assert "branch the run" in repo("train", "--resume", "--lr", 1, code=2).err
    assert (
        "cannot be used together"
        in repo("train", "--env", "CartPole-v1", "--target", 3, code=2).err
    )
    assert "no scenario 'nothing'" in repo("train", "--trace", "nothing", *QUICK, code=128).err
    assert (
        "target must be a whole number"
        in repo("train", "--trace", TRACE, "--target", 0, *QUICK, code=128).err
    )
    assert (
        "agent 'ppo' not found" in repo("train", "--trace", TRACE, "--agent", "ppo", code=128).err
    )
    assert (
        "unknown setting 'batch'"
        in repo("train", "--trace", TRACE, *QUICK, "--batch", 3, code=128).err
    )
    assert not repo("branch").lines
    (directory / "elsewhere").mkdir()
    lost = run("-C", "/", "train", "--trace", TRACE, code=128).err
    assert "not a simgit repository" in lost and "simgit init" in lost


def test_any_environment_with_numbered_actions_is_trained(repo) -> None:
    found = repo("train", "--env", "CartPole-v1", *QUICK)
    assert found.lines[0].startswith("train/CartPole-v1-greedy-1: 6 episodes, ")
    assert "solved" not in found.out and "has return" in found.out


@pytest.mark.slow
def test_an_evaluation_is_a_table_with_intervals_and_a_run(repo) -> None:
    found = repo("evaluate", "heuristic", "--traces", ROOT / "traces", "--episodes", 2)
    assert found.lines[0].split() == ["episodes", "solved", "steps", "fewest", "return"]
    assert found.lines[4].split()[:9] == [
        "mem-heavy",
        "2",
        "100",
        "%",
        "(34…100)",
        "32",
        "32",
        "-12.95",
    ]
    assert found.lines[-2:] == [
        "in the fewest steps: 14 of 14 episodes",
        "recorded as evaluate/heuristic-1",
    ]
    assert len(repo("log", "--oneline", "evaluate/heuristic-1").lines) == 2 * (60 + 7)
    records = repo("evaluate", "noop", "--trace", TRACE, "--no-record", "--json").records
    assert records[0]["solved"] == 0 and records[0]["steps"] is None and records[-1]["run"] is None


@pytest.mark.slow
def test_an_agent_is_evaluated_on_traces_that_it_was_not_trained_on(repo) -> None:
    repo("train", "--trace", TRACE, *QUICK, "--run", "a")
    for subject in ("a", "a@ep3"):
        records = repo("evaluate", subject, "--traces", ROOT / "traces", "--json").records
        assert [record["name"] for record in records[:-1]] == sorted(
            p.stem for p in (ROOT / "traces").glob("*.sktrace")
        )


@pytest.mark.slow
def test_a_checkpoint_file_is_evaluated(repo, directory: Path) -> None:
    repo("train", "--trace", TRACE, *QUICK, "--out", "folder")
    found = repo("evaluate", "folder/checkpoint_latest", "--trace", TRACE, "--json").records
    stored = repo("evaluate", "train/cpu-slight-greedy-1", "--json").records
    assert found[0] == stored[0]


@pytest.mark.slow
def test_an_interrupted_training_says_how_to_go_on(directory: Path) -> None:
    """Ctrl-C in a process of its own; then --resume leads to the names of an undisturbed run."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = ["--trace", str(TRACE), "--agent", "greedy", "--episodes", "300", "--run", "a"]
    expected = directory / "expected"

    def start(where: Path, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "simgit", "-C", str(where), "train", *words],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    for where in (directory, expected):
        where.mkdir(exist_ok=True)
        Repository.init(where).close()
    process = start(directory, *arguments)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("training 'a' for 300 episodes, then writing ")
    process.stderr.readline()  # fifty episodes are done: there is a checkpoint to go on from
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1]
    assert process.returncode == 130
    assert "interrupted; resume with: simgit train --resume --run a" in err
    with Repository.open(directory) as repo:
        assert repo.runs["a"].status == "paused"
    done, other = start(directory, "--resume", "--json"), start(expected, *arguments, "--json")
    found, wanted = (json.loads(each.communicate()[0]) for each in (done, other))
    assert found["oid"] == wanted["oid"] and found["trained"] < wanted["trained"] == 300


@pytest.mark.slow
def test_a_step_is_what_an_agent_decides(repo) -> None:
    repo("train", "--trace", TRACE, "--agent", "greedy", "--episodes", "40", "--run", "a")
    for agent in ("heuristic", "a"):
        found = repo("step", "--trace", TRACE, "--agent", agent, "--json").json
        assert found["action"] == "reduce_cpu_small"
    both = repo("step", "--trace", TRACE, "--agent", "a", "--action", "noop", code=2)
    assert "cannot be used together" in both.err
