"""The self-check: what a process of its own finds out, and that the script does not notice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from simgit import Repository
from simgit.errors import Unverified
from simgit.gym import Recorder, VectorRecorder, judge
from simgit.gym.recording import selfcheck
from simgit.gym.restoring import check_process
from tests.gym.recording import checked_envs
from tests.gym.restoring.hiding_envs import Hiding
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("checked", "without_torch")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine have its time."""
    for name in ("PATIENCE", "REST"):
        monkeypatch.setattr(selfcheck, name, PATIENCE)
    monkeypatch.setattr("simgit.gym.recording.session.PATIENCE", PATIENCE)


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def play(env: Any, steps: int = 9) -> list[Any]:
    seen = [env.reset(seed=1)[0]]
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(0)
        seen.append(observation)
        if terminated or truncated:
            seen.append(env.reset()[0])
    env.close()
    return seen


def verdict(repo: Repository, env: Any, **options: Any) -> Any:
    play(Recorder(env, repo, snapshots=2, provenance=False, **options))
    return repo.runs["main"].metadata.get("verdict")


def test_the_run_is_that_which_would_have_been(repo: Repository) -> None:
    runs = []
    for wrap in (lambda env: env, lambda env: Recorder(env, repo, snapshots=2)):
        checked_envs.OfClass.rng = np.random.default_rng(42)
        checked_envs.OfClass.made = checked_envs.OfClass.closed = 0
        runs.append(play(wrap(checked_envs.OfClass())))
        assert (checked_envs.OfClass.made, checked_envs.OfClass.closed) == (1, 1)
    assert runs[0] == runs[1]


@pytest.mark.slow
def test_every_environment_that_is_made_is_closed(tmp_path: Path, repo: Repository) -> None:
    verdict(repo, checked_envs.Device(str(tmp_path / "log")))
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    there = {pid for _, pid in lines}
    assert len(there) > 1, "it was re-executed, elsewhere"
    assert {pid for what, pid in lines if what == "close"} == there
    assert sum(pid == str(os.getpid()) for _, pid in lines) == 3


def test_what_is_marked_is_not_re_executed(tmp_path: Path, repo: Repository) -> None:
    assert verdict(repo, checked_envs.Marked(str(tmp_path / "log"))) is None
    assert repo.runs["main"].metadata["reexecute"] is False
    lines = (tmp_path / "log").read_text().splitlines()
    assert {line.split()[1] for line in lines} == {str(os.getpid())}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (checked_envs.Counting, "exact"),
        (checked_envs.HashOrder, "depends on the process"),
        (checked_envs.Clock, "not deterministic"),
    ],
)
def test_verdicts_say_what_was_found(repo: Repository, kind: Any, result: str) -> None:
    found = verdict(repo, kind())
    assert found["result"] == result
    assert found["process"] == "another"
    if result == "exact":
        assert (found["driver"], found["format"]) == ("generic", 2)
        # after the first episode, and again at the end
        assert (found["upto"], found["snapshots"]["checked"]) == (10, 3)
    else:
        assert found["field"] == "observation"


@pytest.mark.slow
def test_a_script_that_resets_twice_before_its_first_step_has_a_verdict(repo: Repository) -> None:
    env = Recorder(checked_envs.Counting(), repo, snapshots=2, provenance=False)
    env.reset()
    play(env)
    found = repo.runs["main"].metadata["verdict"]
    assert (found["result"], found["upto"]) == ("exact", 11)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "result", "reason"),
    [
        pytest.param("exits", "unknown", "SystemExit", marks=pytest.mark.slow),
        ("dies", "not checked", "exit code 9"),
        ("breaks", "unknown", "no such robot"),
        pytest.param("hangs", "not checked", "too long", marks=pytest.mark.slow),
        ("prints", "exact", ""),
        pytest.param("spawns", "exact", "", marks=pytest.mark.slow),
    ],
)
def test_what_happens_elsewhere_stays_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    how: str,
    result: str,
    reason: str,
) -> None:
    monkeypatch.setenv("CHECKED_HOME", str(os.getpid()))
    monkeypatch.setenv("CHECKED_HOW", how)
    repo = Repository.init(tmp_path)
    verdict(repo, checked_envs.Elsewhere(), self_check=False)
    found = judge(repo, "main", seconds=4.0 if how == "hangs" else PATIENCE)
    assert found.result == result, found
    assert reason in str(found.details.get("reason", ""))
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_made_again_is_unknown(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKED_HOME", str(os.getpid()))
    found = verdict(repo, checked_envs.Unmade())
    assert (found["result"], found["reason"]) == ("unknown", "OSError: no licence here")

    class Local(checked_envs.Counting):
        pass

    recorder = Recorder(Local(), repo, "local", provenance=False)
    play(recorder)
    found = repo.runs["local"].metadata["verdict"]
    assert found["result"] == "unknown" and "outside its script" in found["reason"]


def test_without_a_process_nothing_is_checked_and_that_is_said(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.warns(Unverified, match="not checked: run 'main': cannot start a process"):
        found = verdict(repo, checked_envs.Counting())
    assert found["result"] == "not checked"


@pytest.mark.slow
def test_what_is_not_finished_at_the_end_is_said(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simgit.gym.recording.session.PATIENCE", 0.0)
    with pytest.warns(Unverified, match="not finished.*'simgit verify'"):
        found = verdict(repo, checked_envs.Counting())
    assert found["result"] == "not checked"


@pytest.mark.slow
def test_an_episode_that_does_not_end_is_checked_as_far_as_it_is(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfcheck, "STATES", 5)
    env = Recorder(checked_envs.Counting(), repo, snapshots=2, provenance=False)
    env.env.length = 1 << 30
    env.reset(seed=1)
    for _ in range(8):
        env.step(0)
    wait_until(lambda: env.flush() or "verdict" in repo.runs["main"].metadata)
    found = repo.runs["main"].metadata["verdict"]
    assert (found["result"], found["snapshots"]["step"]) == ("exact", 4)
    env.close()


@pytest.mark.slow
def test_what_changes_after_the_first_episode_is_found_at_the_end(repo: Repository) -> None:
    env = Recorder(Hiding(hides_from=2), repo, snapshots=2, provenance=False)
    for _ in range(3):
        env.reset(seed=1)
        for _ in range(9):
            env.step(1)
        env.flush()
    env.close()
    found = repo.runs["main"].metadata["verdict"]
    assert (found["result"], found["upto"]) == ("exact by replay", 29)


@pytest.mark.slow
def test_each_lane_has_its_verdict(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    env = gym.vector.SyncVectorEnv([checked_envs.Counting, checked_envs.HashOrder])
    env = VectorRecorder(env, repo, snapshots=2, provenance=False)
    env.reset(seed=1)
    for _ in range(9):
        env.step(np.zeros(2, int))
    env.close()
    found = [repo.runs[f"main/{i}"].metadata["verdict"]["result"] for i in range(2)]
    assert found == ["exact", "depends on the process"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_a_lane_whose_check_fails_costs_no_other_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("CHECKED_HOME", str(os.getpid()))
    monkeypatch.setenv("CHECKED_HOW", how)
    long = {"seconds": 100 * PATIENCE}  # a check that hangs is given up after the test
    monkeypatch.setattr(check_process.CheckProcess.__init__, "__kwdefaults__", long)
    repo = Repository.init(tmp_path)
    env: Any = gym.vector.SyncVectorEnv([checked_envs.Elsewhere, *[checked_envs.Counting] * 2])
    env = VectorRecorder(env, repo, snapshots=2, provenance=False)
    env.reset(seed=1)
    for _ in range(9):
        env.step(np.zeros(3, int))
    process = env._check._process
    assert process is not None
    others = {"main/1", "main/2"}
    wait_until(lambda: process.wait() or (how == "hangs" and others <= process._found.keys()))
    monkeypatch.setattr("simgit.gym.recording.session.PATIENCE", 0.0)
    with pytest.warns(Unverified, match="run 'main/0'"):
        env.close()
    found = [repo.runs[name].metadata["verdict"] for name in env.runs]
    assert [each["result"] for each in found] == ["not checked", "exact", "exact"]
    assert ("exit code 9" if how == "dies" else "not finished") in found[0]["reason"]


@pytest.mark.slow
def test_lanes_that_hang_hold_up_no_other_recorder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as are checked at a time, or more."""
    monkeypatch.setenv("CHECKED_HOME", str(os.getpid()))
    monkeypatch.setenv("CHECKED_HOW", "hangs")
    long = {"seconds": 100 * PATIENCE}
    monkeypatch.setattr(check_process.CheckProcess.__init__, "__kwdefaults__", long)
    repo = Repository.init(tmp_path)
    lanes = [checked_envs.Elsewhere] * (check_process._AT_ONCE + 1)
    hanging: Any = VectorRecorder(
        gym.vector.SyncVectorEnv(lanes), repo, snapshots=2, provenance=False
    )
    hanging.reset(seed=1)
    for _ in range(9):
        hanging.step(np.zeros(len(lanes), int))
    other = Recorder(checked_envs.Counting(), repo, "other", snapshots=2, provenance=False)
    other.reset(seed=1)
    for _ in range(9):
        other.step(0)
    other.reset()
    process, first = other._check._process, hanging._check._process
    assert process is not None and first is not None and process._process is first._process
    wait_until(process.wait)
    assert process._found["other"].result == "exact" and not first._found
    other.close()
    monkeypatch.setattr("simgit.gym.recording.session.PATIENCE", 0.0)
    with pytest.warns(Unverified):
        hanging.close()


def test_verdicts_that_nobody_reads_keep_no_check_from_going_on() -> None:
    """They are more bytes than a pipe holds; who makes the checks does not wait for room."""
    source, target = os.pipe()
    desk = check_process.CheckDesk(target)
    replies = [{"job": 1, "run": f"{'x' * 200}/{i}"} for i in range(1000)]
    for each in replies:
        desk._say(each)
    found = b""
    while desk._replies or found.count(b"\n") < len(replies):
        found += os.read(source, 1 << 16)
        desk._tell()
    assert [json.loads(line) for line in found.splitlines()] == replies
    os.close(source)
    os.close(target)


@pytest.mark.slow
def test_code_of_one_recorder_that_crashes_costs_no_other_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver is imported once for all forks: not where its module ends the process."""
    (tmp_path / "crashing_driver.py").write_text("import os\nos.abort()\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    repo = Repository.init(tmp_path / "r")
    play(Recorder(checked_envs.Counting(), repo, "mine", snapshots=2, provenance=False))
    first = check_process.CheckProcess(repo, {"mine": None})
    monkeypatch.setattr(check_process.choose, "importable", lambda: ["crashing_driver:Driver"])
    second = check_process.CheckProcess(repo, {"mine": None})
    assert first._process is second._process
    for each in (first, second):
        wait_until(lambda each=each: each.wait(1.0))
        assert each.verdicts("missing")["mine"].result == "exact"
        each.stop()


@pytest.mark.slow
def test_recorders_of_a_script_are_checked_by_one_process(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    envs = [
        Recorder(checked_envs.Counting(), repo, f"run/{i}", snapshots=2, provenance=False)
        for i in range(3)
    ]
    seen = set()
    for env in envs:
        env.reset(seed=1)
        for _ in range(9):
            env.step(0)
        env.reset()
        assert env._check._process is not None
        seen.add(env._check._process._process.pid)
    (pid,) = seen
    for env in envs:
        assert is_there(pid), "the next recorder is checked by it again"
        env.step(0)
        env.close()
        found = repo.runs[env.run].metadata["verdict"]
        assert (found["result"], found["upto"]) == ("exact", 11)
    assert not is_there(pid), "nobody needs it any more"


@pytest.mark.slow
def test_a_process_that_was_ended_is_no_end_of_checks(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    env = Recorder(checked_envs.Counting(), repo, snapshots=2, provenance=False)
    env.reset(seed=1)
    for _ in range(9):
        env.step(0)
    env.reset()
    assert env._check._process is not None
    os.kill(env._check._process._process.pid, signal.SIGKILL)
    with pytest.warns(Unverified, match="not checked: run 'main'"):
        env.close()
    assert repo.runs["main"].metadata["verdict"]["result"] == "not checked"
    play(Recorder(checked_envs.Counting(), repo, "other", snapshots=2, provenance=False))
    assert repo.runs["other"].metadata["verdict"]["result"] == "exact"


@pytest.mark.slow
def test_what_is_resumed_or_branched_is_not_checked_again(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    before = verdict(repo, checked_envs.Counting())
    Recorder.resume(repo, "main").close()
    Recorder.branch(repo, "other", "main@3").close()
    assert repo.runs["main"].metadata["verdict"] == before
    assert "verdict" not in repo.runs["other"].metadata


def wait_until(is_so: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


SCRIPT = """
import os, sys, time
import gymnasium as gym
from simgit.gym import Recorder
from tests.gym.recording import checked_envs
print("script", flush=True)
env = Recorder(checked_envs.Elsewhere(), sys.argv[1], snapshots=2, provenance=False)
os.environ.update(CHECKED_HOME=str(os.getpid()), CHECKED_HOW="hangs")
env.reset(seed=1)
while not env.step(0)[2]:
    pass
env.reset()
env.flush()
print(env._check._process._process.pid, flush=True)
time.sleep(3600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_check_ends_with_the_script(tmp_path: Path, number: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "repo")], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "script\n"
    pid = int(process.stdout.readline())
    os.kill(pid, 0)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE)
    assert out == "", "the script ran once"
    assert err.count("Traceback") == (number == signal.SIGINT)
    wait_until(lambda: not is_there(pid))


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_the_other_process_has_another_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("0", "7", "random"):
        monkeypatch.setenv("PYTHONHASHSEED", given)
        found = check_process._environment()["PYTHONHASHSEED"]
        assert found != given and 0 <= int(found) < 1 << 32
