"""``simgit record`` and ``simgit what-if`` are simulations: they are seen and stopped elsewhere."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from simgit import Repository
from simgit.errors import Conflict, InvalidInput
from simgit.gym.tools.collect import collect, make_environment, make_policy
from simgit.gym.tools.whatif import what_if
from simgit.live import Simulation, Tracker, find
from simgit.live.records import Records
from tests.support.patience import PATIENCE


def begin(directory: Path, run: str, *words: str) -> tuple[subprocess.Popen[str], Simulation]:
    child = subprocess.Popen(
        [sys.executable, "-m", "simgit", "-C", str(directory), *words],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    repo = Repository.open(directory)
    deadline = time.monotonic() + PATIENCE
    while (found := Records(repo).find(run)) is None or found.phase != "running":
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return child, find(repo, run)


def oids(repo: Repository, run: str) -> list[str]:
    return [each.oid.hex() for each in repo.trajectory(run)]


@pytest.mark.slow
def test_a_recording_is_paused_and_stopped_and_records_the_same(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        words = ("record", "Pendulum-v1", "--steps", "10000000", "--seed", "3", "--run", "p")
        child, one = begin(tmp_path, "p", *words)
        assert one.pause(PATIENCE) >= 0
        assert one.record.type == "record"
        with pytest.raises(InvalidInput, match="reads its settings when it begins"):
            one.configure({"x": 1}, PATIENCE)
        one.resume(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while one.status["step"] < 50:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert one.stop(PATIENCE) == "stopped"
        out, err = child.communicate(timeout=PATIENCE)
        assert (child.returncode, out) == (1, "")
        assert "stopped: " in err and "continue with: simgit record Pendulum-v1 --run p" in err
        with (
            Tracker(repo, workers=0) as tracker,
            pytest.raises(InvalidInput, match="again with: simgit record"),
        ):
            tracker.restart("p")
        env = make_environment("Pendulum-v1")
        count = int(repo.runs["p"].step or 0)
        collect(repo, env, make_policy("random", env, 3), run="q", steps=count + 1, seed=3)
        there, alone = oids(repo, "p"), oids(repo, "q")
        assert len(there) > 50
        assert there == alone[: len(there)]


@pytest.mark.slow
def test_rollouts_are_seen_and_stopped_and_are_the_same(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        env = make_environment("Pendulum-v1")
        collect(repo, env, make_policy("random", env, 3), run="main", steps=5, seed=3)
        first = f"what-if/{repo.resolve('main@5').short()}-1"
        words = ("what-if", "main@5", "--action", "[0.5]", "--horizon", "20", "--workers", "1")
        child, one = begin(tmp_path, first, *words, "--rollouts", "100000")
        assert one.stop(PATIENCE) == "stopped"
        _, err = child.communicate(timeout=PATIENCE)
        assert child.returncode == 1
        assert "stopped; the rollouts so far are runs under what-if/" in err
        # the seeds of the n-th rollouts depend on nothing but the seed
        alone = what_if(repo, "main@5", [[0.5]], horizon=20, rollouts=1, prefix="alone", workers=1)
        assert repo.resolve(first) == alone[0][0].tip
        with pytest.raises(Conflict, match="has ended already"):
            one.stop()
