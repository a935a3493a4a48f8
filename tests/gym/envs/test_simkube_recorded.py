"""SimKube recorded: restored from any state, verified, and its cluster made again."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from simgit.analysis.recorded_clusters import recorded
from simgit.gym import Recorder, restore
from simgit.gym.recording.vector import VectorRecorder
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.files import write_trace_file
from simgit.repository import Repository

ID = "simgit:simgit/SimKube-v0"
ACTIONS = [3, 3, 4, 1, 6, 4, 0, 2, 5, 4]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "mine.sktrace"
    write_trace_file(path, generate("cpu-slight", severity=5).trace)
    return path


def rows(env: Any, actions: list[int]) -> list[Any]:
    found = []
    for action in actions:
        observation, *rest = env.step(np.int64(action))
        found.append((observation.tolist(), *rest))
    observation, info = env.reset()
    return [*found, observation.tolist(), info]


@pytest.mark.slow
@pytest.mark.parametrize("snapshots", [1, 4, None])
@pytest.mark.parametrize("faults", [{}, {"timeouts": 0.2, "late_pods": 0.5, "late_seconds": 90}])
def test_any_state_is_restored_and_goes_on_as_it_did(
    trace: Path, snapshots: int | None, faults: dict[str, Any]
) -> None:
    repo = Repository.init(":memory:")
    live = gymnasium.make(ID, trace=str(trace), faults=faults)
    env = Recorder(live, repo, "main", snapshots=snapshots)
    env.reset(seed=3)
    expected = rows(env, ACTIONS)
    env.close()
    trace.unlink()
    for at in (0, 3, 9, len(ACTIONS)):
        again = restore(repo, f"main@{at}")
        assert rows(again, ACTIONS[at:]) == expected[at:]


def test_every_lane_of_a_vector_gives_its_clusters(trace: Path) -> None:
    repo = Repository.init(":memory:")
    envs = VectorRecorder(gymnasium.make_vec(ID, 2, "sync", trace=str(trace)), repo, "main")
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(np.array([4, 3]))
    envs.close()
    trace.unlink()
    assert [len(recorded(repo, f"main/{lane}@3").cluster().pods()) for lane in (0, 1)] == [3, 6]
