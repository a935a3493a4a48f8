"""`simgit record`: environments by their ids."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simgit import Repository
from simgit.gym import verify
from tests.cli.conftest import Call
from tests.support.patience import PATIENCE


@pytest.fixture
def repo(directory: Path) -> Path:
    Repository.init(directory).close()
    return directory


@pytest.mark.slow
def test_the_same_seed_gives_the_same_names(repo: Path, run: Call) -> None:
    found = [
        run("record", "CartPole-v1", "--steps", 300, "--seed", seed, "--run", name, "--json").json
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert found[0]["tip"] == found[1]["tip"] != found[2]["tip"]
    assert (found[0]["steps"], found[0]["run"]) == (300, "a")
    with Repository.open(repo) as opened:
        assert opened.runs["a"].step == 300 + found[0]["episodes"]
        assert opened.runs["a"].episodes == found[0]["episodes"] + 1
        ended = opened["a"].returns[: found[0]["episodes"]]
        assert found[0]["returned"] == ended.mean()
        assert verify(opened, "a").divergence is None


def test_a_recording_says_what_it_did(repo: Path, run: Call) -> None:
    out = run("record", "CartPole-v1", "--episodes", 3, "--seed", 0).out
    assert out.startswith("[main] ")
    assert "3 episodes in" in out
    assert "mean return" in out
    assert out.endswith("first episode re-executed: exact\n")
    with Repository.open(repo) as opened:
        assert opened.runs["main"].episodes == 3
        assert opened.runs["main"].metadata["provenance"]["versions"]["gymnasium"]


def test_what_is_recorded_once_is_found_again(repo: Path, run: Call) -> None:
    options = ("record", "CartPole-v1", "--episodes", 2, "--seed", 3, "--once")
    out = run(*options).out
    assert out.startswith("[datasets/") and "2 episodes in" in out
    with Repository.open(repo) as opened:
        (name,) = opened.runs
        tip, count = opened.runs[name].oid, len(opened.operations())
    again = run(*options).out
    assert again == f"[{name}] {len_of(repo, name)} steps, 2 episodes are there already, up to {tip.short(8)}\n"  # fmt: skip
    assert run(*options, "--json").json["is_new"] is False
    with Repository.open(repo) as opened:
        assert len(opened.operations()) == count
    forced = run(*options, "--force", "--json").json
    assert (forced["run"], forced["tip"], forced["is_new"]) == (f"{name}.2", tip.hex(), True)
    assert run("record", "CartPole-v1", "--steps", 30, "--once", "--json").json["steps"] == 30
    assert "cannot be used together" in run(*options, "--run", "x", code=2).err
    assert "--force needs --once" in run("record", "CartPole-v1", "--force", code=2).err


def len_of(repo: Path, name: str) -> int:
    with Repository.open(repo) as opened:
        return int(opened[name].present("action").sum())


def test_arguments_snapshots_and_policies_can_be_chosen(
    repo: Path, run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "my_policy.py").write_text("def left(observation):\n    return 0\n")
    monkeypatch.syspath_prepend(str(repo))
    run(
        "record", "CartPole-v1", "--steps", 30, "--policy", "my_policy:left", "--snapshots", 10,
        "--env-set", "sutton_barto_reward=true", "--no-provenance",
    )  # fmt: skip
    with Repository.open(repo) as opened:
        trajectory = opened["main"]
        assert not trajectory.actions[trajectory.present("action")].any()
        assert set(trajectory.rewards[trajectory.terminations].tolist()) == {-1.0}
        assert "provenance" not in opened.runs["main"].metadata
        taken = [i for i in range(30) if "snapshot" in opened.attachments(f"main@{i}")]
        assert len(taken) >= 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["Nothing-v0"], 128, "cannot make environment 'Nothing-v0'"),
        (["no_such_module:Nothing-v0"], 128, "cannot make environment"),
        (["CartPole-v1", "--kwargs", "wheels=4"], 128, "unexpected keyword argument 'wheels'"),
        (["CartPole-v1", "--policy", "clever"], 128, "policy 'clever' not found"),
        (["CartPole-v1", "--policy", "math:nothing"], 128, "policy 'math:nothing' not found"),
        (["CartPole-v1", "--steps", "0"], 2, "'0' must be a whole number of 1 or more"),
        (["CartPole-v1", "--snapshots", "often"], 2, "not 'auto', 'none' or a number"),
    ],
)
def test_what_cannot_be_recorded_is_said(
    repo: Path, run: Call, arguments: list[str], code: int, message: str
) -> None:
    result = run("record", *arguments, code=code)
    assert message in result.err
    with Repository.open(repo) as opened:
        assert list(opened.runs) == [] or opened.runs["main"].step is None


def test_a_run_of_another_environment_is_left_alone(repo: Path, run: Call) -> None:
    run("record", "CartPole-v1", "--steps", 5)
    err = run("record", "Acrobot-v1", "--steps", 5, code=128).err
    assert "run 'main' was recorded from 'CartPole-v1', not from 'Acrobot-v1'" in err


def test_ctrl_c_says_what_is_stored_and_how_to_go_on(run, environment) -> None:
    run("init")
    with subprocess.Popen(
        [sys.executable, "-m", "simgit", "record", "CartPole-v1", "--steps", "100000000",
         "--run", "x", "--env-set", "sutton_barto_reward=true"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
    ) as child:  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        shown = ("log", "x", "-n", 1, "--json")
        while not run(*shown, code=None).out and time.monotonic() < deadline:
            time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        err = child.communicate(timeout=PATIENCE)[1]
    assert child.returncode == 130
    info = run("run", "show", "x", "--json").json
    assert info["step"] > 0
    assert err.splitlines()[-1] == (
        f"interrupted: {info['step'] + 1} states stored on run 'x'; continue with: "
        "simgit record CartPole-v1 --env-set=sutton_barto_reward=true --run x"
    )


def test_what_says_an_argument_has_one_name(run) -> None:
    for command in ("record", "doctor", "train", "evaluate"):
        shown = run(command, "--help").out
        assert "--env-set KEY=VALUE" in shown and "--kwargs" not in shown
    assert "unexpected keyword" in run("doctor", "CartPole-v1", "--set", "wheels=4", code=128).err
