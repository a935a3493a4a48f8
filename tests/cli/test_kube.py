"""simgit kube: the cluster of a recorded state, and of a trace file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simgit.gym.envs.simkube import SimKubeEnv
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.edit import set_replicas, set_requests, workload
from simgit.kube.trace.files import read_trace_file, write_trace_file
from simgit.kube.trace.model import Event, Trace
from simgit.repository import Repository


@pytest.fixture
def recorded(run, directory: Path) -> Path:
    """A repository with one episode: cpu-slight, one more replica, half a CPU less."""
    env = SimKubeEnv("cpu-slight")
    spec = {"environment": {"id": "simgit/SimKube-v0", "kwargs": env.settings()}}
    with Repository.init(directory) as repo, repo.recorder("main", spec=spec) as recorder:
        observation, info = env.reset(seed=0)
        recorder.append(observation, info=info, reset=True)
        for action in (3, 4, 4):
            observation, *rest, info = env.step(np.int64(action))
            recorder.append(observation, action, *rest, info)
    return directory


def test_pods_of_any_step_say_where_they_are_or_why_not(run, recorded: Path) -> None:
    waiting = run("kube", "pods", "main@1", "--json").records
    assert [pod["phase"] for pod in waiting] == ["Pending"] * 4
    assert waiting[0]["message"].startswith("0/3 nodes are available: 3 Insufficient cpu.")
    lines = run("kube", "pods").lines
    assert lines[0].split() == [
        "namespace",
        "pod",
        "phase",
        "ready",
        "node",
        "CPU",
        "memory",
        "message",
    ]
    assert sorted(line.split()[2] for line in lines[1:]) == ["Pending"] + ["Running"] * 3


def test_nodes_show_what_is_taken(run, recorded: Path) -> None:
    lines = [line.split() for line in run("kube", "nodes").lines]
    assert lines[1] == ["node1", "Ready", "16/16", "100", "%", "2Gi/32Gi", "6", "%", "1/110"]
    assert run("kube", "nodes", "main@0", "--json").records[0]["used"]["pods"] == 0


def test_events_of_one_object(run, recorded: Path) -> None:
    assert run("kube", "events", "main@3", "--object", "web").lines[1].split()[:4] == [
        "0", "s", "Deployment", "virtual-default/web",
    ]  # fmt: skip
    reasons = {row["reason"] for row in run("kube", "events", "--json").records}
    assert reasons == {"ScalingReplicaSet", "Scheduled", "FailedScheduling"}


def test_the_trace_of_a_step_is_shown_as_an_edit_and_written_whole(run, recorded: Path) -> None:
    assert run("kube", "trace").lines[1:] == ["web: replicas 3 → 4", "web: cpu 17 → 16"]
    assert run("kube", "trace", "main@0").lines[1:] == ["no changes since the episode began"]
    record = run("kube", "trace", "--output", "there.sktrace", "--json").json
    assert record["changes"] == ["web: replicas 3 → 4", "web: cpu 17 → 16"]
    written = read_trace_file(recorded / "there.sktrace")
    edited = set_requests(generate("cpu-slight").trace, workload("web"), cpu="16")
    assert written == set_replicas(edited, workload("web"), 4)
    assert run("trace", "show", "there.sktrace").lines[1] == f"id {record['id']}"


def test_a_trace_file_needs_no_repository(run, directory: Path) -> None:
    write_trace_file(directory / "a.sktrace", generate("replicas-over").trace)
    assert len(run("kube", "pods", "--trace", "a.sktrace").lines) == 6
    assert len(run("kube", "nodes", "--trace", "a.sktrace", "--nodes", 7, "--json").records) == 7
    events = run("kube", "events", "--trace", "a.sktrace", "--until", 0, "--json").records
    assert events == []


def test_events_count_from_the_first_event_of_the_trace(run, directory: Path) -> None:
    trace = generate("cpu-slight").trace
    late = Event(trace.start + 5, trace.events[0].applied)
    write_trace_file(directory / "late.sktrace", Trace((Event(trace.start), late)))
    row = run("kube", "events", "--trace", "late.sktrace").lines[1]
    assert row.split()[:2] == ["5", "s"]


def test_what_cannot_be_together_is_a_usage_error(run, recorded: Path) -> None:
    assert "cannot be used together" in run("kube", "pods", "main", "--trace", "x", code=2).err
    assert "need --trace" in run("kube", "pods", "--nodes", 3, code=2).err


def test_states_of_something_else_have_no_cluster(run, directory: Path) -> None:
    with Repository.init(directory) as repo:
        repo.commit(np.zeros(2), run="main")
    assert "was not recorded from SimKube" in run("kube", "pods", code=128).err
    assert "no such file" in run("kube", "pods", "--trace", "gone.sktrace", code=128).err


# --- nodes that change ---

CHANGES = {
    "nodes": [{"name": "a"}, {"name": "b"}],
    "events": [
        {"at": 10, "join": {"name": "c", "cpu": "20"}},
        {"at": 20, "drain": "a"},
        {"at": 30, "leave": "b"},
    ],
}


@pytest.fixture
def changes(directory: Path) -> str:
    (directory / "nodes.json").write_text(json.dumps(CHANGES))
    write_trace_file(directory / "a.sktrace", generate("cpu-slight").trace)
    return "nodes.json"


def test_a_file_of_nodes_and_events_is_played(run, changes: str) -> None:
    asked = ("--trace", "a.sktrace", "--nodes", changes)
    lines = [line.split() for line in run("kube", "nodes", *asked).lines]
    assert [line[:3] for line in lines[1:]] == [
        ["a", "Ready,SchedulingDisabled", "0/16"],
        ["c", "Ready", "17/20"],
    ]
    early = run("kube", "nodes", *asked, "--until", 19, "--json").records
    assert [(row["name"], row["unschedulable"]) for row in early] == [
        (name, False) for name in "abc"
    ]
    pods = run("kube", "pods", *asked, "--json").records
    assert [pod["node"] for pod in pods] == ["c", None, None]
    rows = [line.split()[:5] for line in run("kube", "events", *asked, "--object", "b").lines]
    assert rows[1] == ["30", "s", "Node", "b", "RemovingNode"]
    plotted = run("trace", "plot", "a.sktrace", "--nodes", changes).lines
    assert plotted[2].split()[:2] == ["b", "CPU"] and plotted[2].endswith("0 %")
    record = run("step", *asked, "--json").json
    assert record["before"]["observation"] == {"ready": 1, "pending": 2, "total": 3}


@pytest.mark.slow
def test_an_event_after_the_end_is_said_once_but_not_where_the_end_was_chosen(
    run, changes: str, directory: Path
) -> None:
    run("init")
    late = CHANGES | {"events": [{"at": 61, "leave": "a"}]}
    (directory / changes).write_text(json.dumps(late))
    told = "warning: node event 'leave a' at 61 s never happens: the simulation ends at 60 s\n"
    for command in (
        ("kube", "pods", "--trace", "a.sktrace"),
        ("step", "--trace", "a.sktrace"),
        ("trace", "plot", "a.sktrace"),
        ("train", "--trace", "a.sktrace", "--agent", "random", "--episodes", 1, "--max-steps", 1),
    ):
        assert run(*command, "--nodes", changes).err.count(told) == 1, command
    asked = ("kube", "pods", "--trace", "a.sktrace", "--nodes", changes, "--until", 5)
    assert run(*asked).err == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"nodes": [{"name": "a"}], "events": [{"at": 1, "leave": "b"}]}',
            "'nodes.json' is not a file of nodes: no node 'b' at 1 s at 'events[0].leave'",
        ),
        ('{"nodes": 0}', "'nodes.json' is not a file of nodes: nodes must be in 1..10000, got '0'"),
        (
            '{"nodes": 2, "nodes": 3}',
            "'nodes.json' is not JSON: key 'nodes' stands twice in an object",
        ),
        ("nodes:\n- name: a\n", "'nodes.json' is not JSON"),
        ("\xff", "'nodes.json' is not"),
        (None, "no such file"),
    ],
)
def test_a_bad_file_of_nodes_is_refused_in_a_line(
    run, changes: str, directory: Path, text: str | None, message: str
) -> None:
    if text is None:
        (directory / changes).unlink()
    else:
        (directory / changes).write_text(text, encoding="latin-1")
    for command in (
        ("kube", "nodes", "--trace", "a.sktrace"),
        ("step", "--trace", "a.sktrace"),
        ("trace", "plot", "a.sktrace"),
        ("train", "--trace", "a.sktrace"),
        ("evaluate", "random", "--trace", "a.sktrace", "--no-record"),
    ):
        error = run(*command, "--nodes", changes, code=128).err
        assert message in error and error.count("\n") == 1


@pytest.mark.slow
def test_a_training_with_nodes_that_change_is_exact_in_all_that_is_made_of_it(
    run, changes: str, directory: Path
) -> None:
    run("init")
    quick = ("--agent", "greedy", "--episodes", 2, "--max-steps", 5, "--checkpoint-every", 1)
    run("train", "--trace", "a.sktrace", "--nodes", changes, *quick, "--run", "a")
    (directory / changes).unlink()
    (directory / "a.sktrace").unlink()
    assert [row["name"] for row in run("kube", "nodes", "a", "--json").records] == ["a", "c"]
    drained = [row["unschedulable"] for row in run("kube", "nodes", "a@0", "--json").records]
    assert drained == [True, False]
    assert "differ" not in run("verify", "a").out
    run("branch", "b", "a@ep1")
    run("train", "--resume", "--run", "b")
    found = {name: run("rev-parse", name).out for name in ("a", "b")}
    assert found["a"] == found["b"]
    run("train", "--resume", "--run", "a", "--episodes", 3)
    scored = run("evaluate", "a", "--episodes", 1, "--json").records[-1]
    assert scored["episodes"] == 1
