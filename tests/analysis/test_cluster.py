"""Pictures of clusters: nodes over time, and what an agent saw and did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from simgit import InvalidInput, Repository
from simgit.analysis import loop_usage, pod_steps, pods, trace_usage
from simgit.gym import Recorder
from simgit.kube.embedded import virtual_nodes
from simgit.kube.observation import at_goal
from simgit.kube.simulation import DEFAULT, simulate
from simgit.kube.task.actions import ACTIONS, act
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.edit import set_requests, workload
from simgit.kube.trace.model import Trace
from simgit.plot import occupancy

WEB = workload("web")
NAMES = ("noop", "reduce_cpu_small", "bump_cpu_small")


def look(trace: Trace) -> tuple[dict, bool]:
    seen = simulate(trace).observe(DEFAULT.selection("default", "web"))
    return seen.plain(), at_goal(seen, 3)


@pytest.fixture
def repo() -> Iterator[Repository]:
    """Two episodes of cpu-slight: one that solves it, one of a refused and a failed step."""
    spec = {"environment": {"id": "x", "kwargs": {"actions": list(NAMES), "target": 3}}}
    with Repository.init(":memory:") as repo:
        with repo.recorder("main", spec=spec) as recorder:
            for actions in ((1, 1), (2, 0)):
                trace = generate("cpu-slight").trace
                recorder.append(np.zeros(5), info=look(trace)[0], reset={"seed": 1})
                for number in actions:
                    done = act(trace, WEB, NAMES[number])
                    trace = done.trace
                    counts, goal = look(trace)
                    seen = {} if number == 0 else counts
                    recorder.append(np.zeros(5), number, -0.5, goal, False, seen | done.info())
        yield repo


def test_pods_and_actions_of_the_last_episode(repo: Repository) -> None:
    trajectory, history = pod_steps(repo, "main")
    assert trajectory.start == 3 and history.steps.tolist() == [3, 4, 5]
    assert history.actions == ["", "bump_cpu_small", "noop"] and history.blocked == [
        False,
        True,
        False,
    ]
    assert history.pending[:2].tolist() == [3, 3] and np.isnan(history.pending[2])
    assert list(history.starts) == [3]


@pytest.mark.slow
def test_pods_and_actions_of_an_episode_that_is_named(repo: Repository) -> None:
    _, history = pod_steps(repo, "main@ep1")
    assert history.ready.tolist() == [0, 0, 3] and history.pending.tolist() == [3, 3, 0]
    drawing = pods(repo, "main@ep1")
    assert drawing.figure.axes[0].get_title(loc="left") == "main, episode 1: return -1"
    assert "target: 3" in [
        text.get_text() for text in drawing.figure.axes[0].get_legend().get_texts()
    ]


def test_without_a_spec_actions_have_their_usual_names(repo: Repository) -> None:
    with repo.recorder("bare") as recorder:
        recorder.append(0.0, info={"ready": 1, "pending": 0})
        recorder.append(0.0, 4, info={"ready": 1, "pending": 0})
        recorder.append(0.0, 99, info={"ready": 1, "pending": 0})
    assert pod_steps(repo, "bare")[1].actions == ["", ACTIONS.names()[4], "action 99"]


def test_states_of_another_environment_have_no_pods(repo: Repository) -> None:
    repo.commit(0.0, run="other")
    with pytest.raises(InvalidInput, match="'other' was not recorded from SimKube"):
        pod_steps(repo, "other")


def test_nodes_fill_as_the_trace_says() -> None:
    trace = set_requests(generate("cpu-slight").trace, WEB, cpu="8", memory="16Gi")
    found = trace_usage(trace, virtual_nodes(2))
    assert found.times[0] == 0 and found.times[-1] == 60 and (np.diff(found.times) > 0).all()
    assert sorted(found.used["CPU"][:, -1].tolist()) == [0.5, 1.0]
    assert sorted(found.used["memory"][:, -1].tolist()) == [0.5, 1.0]
    assert (found.ready[-1], found.pending[-1]) == (3, 0)


def test_pods_that_fit_nowhere_are_pending() -> None:
    found = trace_usage(generate("cpu-slight").trace)
    assert not found.used["CPU"].any() and set(found.pending) == {3} and not found.ready.any()
    assert list(found.nodes) == ["node1", "node2", "node3"]


@pytest.mark.slow
def test_the_clusters_of_an_episode_that_was_recorded(tmp_path: Path) -> None:
    faults = {"timeouts": 0.4}
    env = gymnasium.make("simgit:simgit/SimKube-v0", trace="cpu-slight", faults=faults, seed=3)
    recorder = Recorder(env, tmp_path, provenance=False)
    recorder.reset(seed=5)
    seen = [recorder.step(4)[4]["validity"] for _ in range(6)]
    recorder.close()
    assert {"ok", "timeout"} == set(seen)
    with Repository.open(tmp_path) as repo:
        found = loop_usage(repo, repo["main"])
        drawing = occupancy(found, x_label="step")
    assert found.times.tolist() == list(range(7))
    there = np.isfinite(found.ready[1:])
    assert there[[each == "ok" for each in seen]].all() and not there.all()
    assert np.isfinite(found.used["CPU"][0]).tolist() == np.isfinite(found.ready).tolist()
    known = np.flatnonzero(np.isfinite(found.ready))
    assert found.used["CPU"][:, known[-1]].min() > 0.8 and found.pending[known[0]] == 3
    assert drawing.figure.axes[-2].get_xlabel() == "step"
