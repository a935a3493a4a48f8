"""`simgit verify`, `bisect`, `doctor`, `what-if` and `trust`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from simgit import Repository
from simgit.gym import Recorder, drivers
from tests.cli.conftest import Call
from tests.gym.restoring.hiding_envs import Hiding
from tests.gym.restoring.reset_envs import Mean, Model, OfOldTimes


@pytest.fixture
def recorded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with three runs: the same twice, and one with another action later on."""
    monkeypatch.setenv("SIMGIT_CONFIG_DIR", str(directory / "config"))
    with Repository.init(directory) as repo:
        alternate = [1, 0] * 40
        for run, actions in (
            ("main", alternate), ("again", alternate), ("other", [*alternate[:30], 0, 0, 0]),
        ):  # fmt: skip
            record(repo, run, actions)
    return directory


def record(repo: Repository, run: str, actions: list[int], *, meddle_at: int = -1) -> None:
    env: Any = gym.make("CartPole-v1")
    recorder = Recorder(env, repo, run, snapshots=drivers.select(env), step_trigger=tenth)
    recorder.reset(seed=1)
    for i, action in enumerate(actions):
        if i == meddle_at:
            env.unwrapped.force_mag = 11.0
        _, _, terminated, truncated, _ = recorder.step(action)
        if terminated or truncated:
            recorder.reset()
    recorder.close()


def tenth(step: int) -> bool:
    return step % 10 == 0


@pytest.mark.slow
def test_verify_takes_patterns_and_goes_on_after_what_cannot_be_verified(
    recorded: Path, run: Call
) -> None:
    lines = run("verify", "*", "main").lines
    assert [line.split(":")[0] for line in lines if " replayed" in line] == [
        "again",
        "main",
        "other",
    ]
    run("commit", "--run", "bare", "--observation", "1", "--reset")
    found = run("verify", "ba*", "main", code=1)
    assert found.lines[0].startswith("bare: not verified: ")
    assert found.lines[1].startswith("main: exact: ")
    records = run("verify", "ba*", "main", "--json", code=1).records
    assert [each["revision"] for each in records] == ["bare", "main"]
    assert [each["exact"] for each in records] == [None, True]
    assert "no run matches 'x*'" in run("verify", "x*", code=128).err


def test_verify_says_that_all_came_again(recorded: Path, run: Call) -> None:
    assert run("verify", "main").lines[0].startswith("exact: ")
    found = run("verify", "main@10..20", "--json").json
    assert (found["start"], found["stop"], found["exact"]) == (11, 21, True)


@pytest.mark.slow
def test_verify_tries_snapshots_and_says_how_many(recorded: Path, run: Call, checked: None) -> None:
    found = run("verify", "main")
    assert found.lines[1].startswith("exact: ") and "snapshots restored" in found.lines[1]
    verdict = run("verify", "main", "--json").json["verdict"]
    assert verdict["result"] == "exact" and verdict["snapshots"]["checked"] > 3


@pytest.mark.slow
def test_verify_ends_with_1_where_a_snapshot_differs(
    directory: Path, run: Call, checked: None
) -> None:
    with Repository.init(directory) as repo:
        recorder = Recorder(Hiding(), repo, snapshots=5, self_check=False)
        recorder.reset(seed=1)
        for _ in range(12):
            recorder.step(1)
        recorder.close()
    found = run("verify", "main", code=1)
    assert found.lines[0] == "exact: 13 states replayed"
    assert found.lines[1].startswith("snapshots differ: continued from step 5, step 6, observation")
    assert run("verify", "main", "--json", code=1).json["exact"] is False
    with Repository.open(directory) as repo:
        assert repo.runs["main"].metadata["verdict"]["result"] == "exact by replay"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Model, "exact: 3 of 3 later seeded resets re-executed alone, 33 states"),
        (
            Mean,
            "seeded resets do not forget: re-executed alone from step 33, step 34, reward differs",
        ),
        (OfOldTimes, "not known if seeded resets forget: re-executed alone from step 33, the "),
    ],
)
def test_verify_says_whether_resets_forget(
    directory: Path, run: Call, checked: None, kind: type[Model], text: str
) -> None:
    with Repository.init(directory) as repo:
        recorder = Recorder(kind(), repo, self_check=False)
        for seed in range(4):
            recorder.reset(seed=seed)
            for _ in range(10):
                recorder.step(1)
        recorder.close()
    found = run("verify", "main").lines
    assert found[0] == "exact: 44 states replayed" and found[1].startswith(text)


def test_verify_ends_with_1_and_names_step_and_field(recorded: Path, run: Call) -> None:
    with Repository.open(recorded) as repo:
        record(repo, "bad", [1, 0] * 5, meddle_at=4)
    found = run("verify", "bad", code=1)
    assert found.lines[0].startswith("differs: the environment does not repeat step 5: 'obs")
    assert found.lines[1] == "5 states before it replayed exactly"
    record_ = run("verify", "bad", "--json", code=1).json
    assert (record_["step"], record_["field"], record_["exact"]) == (5, "observation", False)


def test_bisect_ends_with_0_if_nothing_differs(recorded: Path, run: Call) -> None:
    assert run("bisect", "main", "again").lines[0].startswith("no state of 'main' and 'again'")


def test_bisect_tells_an_action_from_an_outcome(recorded: Path, run: Call) -> None:
    with Repository.open(recorded) as repo:
        record(repo, "bad", [1, 0] * 5, meddle_at=4)
    found = run("bisect", "main", "other", code=1)
    assert found.lines[:3] == [
        "first difference: step 32 (5 oids compared)",  # the reset after 26 steps is a state too
        "the actions differ",
        "  action: 1 → 0",
    ]
    noise = run("bisect", "main", "bad", code=1)
    assert noise.lines[1] == "the same action had another outcome: nondeterminism"
    assert run("bisect", "main", "bad", "--json", code=1).json["cause"] == "outcome"


@pytest.mark.slow
def test_trust_is_given_listed_and_revoked(recorded: Path, run: Call) -> None:
    assert run("trust").lines == [f"'{recorded}' is already trusted"], "it was made here"
    assert run("trust", "--list").lines == []
    assert run("trust", "--revoke").lines == [f"'{recorded}' is no longer trusted"]
    assert run("trust").lines == [f"'{recorded}' is now trusted"]
    assert run("trust").lines == [f"'{recorded}' is already trusted"]
    assert run("trust", "--list").lines == [str(recorded)]
    listed = {"directory": str(recorded), "data_only": False}
    assert run("trust", "--list", "--json").records == [listed]
    assert run("trust", "--revoke", "--json").json == {
        "directory": str(recorded), "trusted": False,
    }  # fmt: skip
    assert run("trust", "--revoke").lines == [f"'{recorded}' was not trusted"]
    assert run("trust", "--list").lines == []
    assert run("trust", "--data").lines == [f"'{recorded}' may be used"]
    assert run("trust", "--list").lines == [f"{recorded} (data only)"]
    assert run("trust", "--data", "--revoke", code=2).err.startswith("error: --revoke and --data")


@pytest.mark.slow
def test_what_if_prints_a_row_an_action(recorded: Path, run: Call) -> None:
    call = ("what-if", "main@5", "--action", "0,1", "--horizon", 5, "--rollouts", 2, "--workers", 1)
    found = run(*call)
    assert found.lines[0].split()[:3] == ["action", "rollouts", "return"]
    assert [line.split()[:3] for line in found.lines[1:]] == [["0", "2", "5"], ["1", "2", "5"]]
    again = run(*call, "--json").records
    assert [each["action"] for each in again] == [0, 1]
    assert again[0]["return"] == {"mean": 5.0, "low": 5.0, "high": 5.0}
    assert again[0]["runs"][0]["run"].startswith("what-if/")
    assert run("verify", again[0]["runs"][0]["run"] + "@ep1", code=None).code == 0


@pytest.mark.slow
def test_what_if_by_an_executor_is_the_same(recorded: Path, run: Call) -> None:
    call = ("what-if", "main@5", "--action", "0,1", "--horizon", 5, "--rollouts", 20, "--json")
    here = run(*call, "--workers", 1).records
    there = run(*call, "--executor", "processes:2").records
    assert [[each["tip"] for each in arm["runs"]] for arm in there] == [
        [each["tip"] for each in arm["runs"]] for arm in here
    ]
    assert not any("conflict" in each["run"] for arm in there for each in arm["runs"])
    assert not {each["run"] for each in there[0]["runs"]} & {
        each["run"] for each in here[0]["runs"]
    }


@pytest.mark.parametrize("executor", ["dask", "processes:0", "processes:", "processes:x", "ray:2"])
def test_what_if_refuses_what_is_no_executor(recorded: Path, run: Call, executor: str) -> None:
    call = ("what-if", "main@5", "--action", "0", "--executor", executor)
    assert f"'{executor}' must be ray, processes or processes:N" in run(*call, code=2).err


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_what_if_says_what_ray_needs(recorded: Path, run: Call) -> None:
    said = run("what-if", "main@5", "--action", "0", "--executor", "ray", code=128).err
    assert said == "fatal: simgit.integrations.ray needs Ray: pip install 'simgit[ray]'\n"


def test_what_if_refuses_what_is_no_action(recorded: Path, run: Call) -> None:
    assert "must be numbers such as 0,1" in run("what-if", "main@5", "--action", "left", code=2).err
    assert (
        "is not an action of Discrete(2)" in run("what-if", "main@5", "--action", "7", code=128).err
    )


@pytest.mark.slow
def test_doctor_examines_an_environment(directory: Path, run: Call) -> None:
    found = run("doctor", "CartPole-v1", "--steps", 60, "--points", 1)
    assert found.lines[1].split() == ["deterministic", "yes"]
    assert found.lines[3].split()[1:5] == ["exact", "in", "all", "1;"]
    assert found.lines[4].split()[0] == "verdict" and "exact" in found.lines[4]
    assert "cannot make environment" in run("doctor", "Nope-v1", code=128).err


def test_branching_an_unchecked_run_warns_on_a_line(recorded: Path, run: Call) -> None:
    with Repository.open(recorded) as repo:
        repo.configure("main", metadata={"verdict": {}})
    found = run("branch", "try", "main@5")
    assert found.err == (
        "warning: run 'main' was not checked for determinism; check it with 'simgit verify main'\n"
    )
    run("verify", "main")
    assert run("branch", "again-try", "main@5").err == ""


def test_bisect_names_the_settings_that_differ(run: Call) -> None:
    run("init")
    for reward in (1, 2):
        run("commit", "-o", "[0.5]", "-a", 1, "-r", reward)
    run("branch", "b", "main@0", "--set", "lr=0.5")
    run("commit", "-o", "[0.5]", "-a", 1, "-r", 9, "--run", "b")
    found = run("bisect", "main", "b", code=1)
    assert found.lines[1:] == [
        "the same action had another outcome, under other settings",
        "  reward: 2.0 → 9.0",
        "the runs' settings differ:",
        "+ lr: 0.5",
    ]
    record = run("bisect", "main", "b", "--json", code=1).json
    assert record["cause"] == "settings" and record["settings"][0]["after"] == 0.5


@pytest.mark.slow
def test_rollouts_are_one_line_of_the_tree_below_their_run(recorded: Path, run: Call) -> None:
    call = ("what-if", "main@5", "--action", "0,1", "--horizon", 3, "--workers", 1)
    run(*call, "--rollouts", 1)
    assert len(run("tree").lines) == 6, "few are shown as they are"
    run(*call, "--rollouts", 20)
    lines = run("tree").lines
    state = run("rev-parse", "main@5").out[:8]
    (folded,) = [line for line in lines if "what-if" in line]
    assert folded.split() == [
        "└─", f"what-if/{state}-1", "…", "-42", "5", "8", "mean", "8", "42", "rollouts",
    ]  # fmt: skip
    assert lines[lines.index(folded) - 1].startswith("main ")
    records = run("tree", "--json").records
    assert len(records) == 45 and records[-2]["parent"] == "main"
    assert max(map(len, lines)) <= 80
