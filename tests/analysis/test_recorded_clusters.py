"""The trace and the cluster behind each recorded state of SimKube."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit.analysis.recorded_clusters import recorded
from simgit.errors import InvalidInput
from simgit.gym.envs.simkube import SimKubeEnv
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.files import write_trace_file
from simgit.kube.trace.sktrace import canonical_bytes, dump_trace
from simgit.repository import Repository


def record(env: SimKubeEnv, repo: Repository, episodes: list[list[int]], **reset: Any) -> list[Any]:
    """Record episodes as a recorder does; return what the environment had in each state."""
    spec = {"environment": {"id": "simgit/SimKube-v0", "kwargs": env.settings()}}
    seen = []
    with repo.recorder("main", spec=spec) as recorder:
        for number, actions in enumerate(episodes):
            observation, info = env.reset(seed=number or 7, **reset)
            recorder.append(observation, info=info, reset=True)
            seen.append((env.loop.base, env.loop.trace, env.loop.cluster))
            for action in actions:
                observation, reward, *flags, info = env.step(np.int64(action))
                recorder.append(observation, action, reward, *flags, info)
                seen.append((env.loop.base, env.loop.trace, env.loop.cluster))
    return seen


def rows(cluster: Any) -> list[Any]:
    return [cluster.pods(), cluster.nodes(), cluster.events()]


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("faults", [{}, {"late_pods": 0.5, "late_seconds": 90}])
def test_every_recorded_state_gives_its_trace_and_its_cluster(order: Any, faults: Any) -> None:
    repo = Repository.init(":memory:")
    env = SimKubeEnv(["replicas-over", "cpu-slight"], order=order, faults=faults, nodes=4)
    seen = record(env, repo, [[3, 3, 4, 1, 2, 6], [], [4, 4, 0, 5]])
    for step, (base, trace, cluster) in enumerate(seen):
        found = recorded(repo, f"main@{step}")
        assert (found.base, found.trace) == (base, trace)
        assert dump_trace(found.trace) == canonical_bytes(trace)
        assert rows(found.cluster()) == rows(cluster)


def test_a_trace_named_at_reset_is_kept_when_its_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "mine.sktrace"
    write_trace_file(path, generate("mem-slight", severity=7).trace)
    repo = Repository.init(":memory:")
    env = SimKubeEnv("cpu-slight")
    seen = record(env, repo, [[5, 5]], options={"trace": str(path)})
    path.unlink()
    found = recorded(repo, "main@2")
    assert found.trace == seen[2][1] and dump_trace(found.base) == dump_trace(seen[0][0])


def test_a_state_of_something_else_is_refused() -> None:
    repo = Repository.init(":memory:")
    repo.commit(np.zeros(3), run="main")
    with pytest.raises(InvalidInput, match=r"state '.*' was not recorded from SimKube"):
        recorded(repo, "main")
