"""simgit step: one step of the agent's loop, shown whole and recorded nowhere."""

from __future__ import annotations

from dataclasses import replace as evolve
from pathlib import Path

import pytest

from simgit.kube.manifest import replace
from simgit.kube.task.reward import REWARDS
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.model import Event
from simgit.kube.trace.sktrace import dump_trace, trace_id


@pytest.fixture
def web(directory: Path) -> Path:
    (directory / "web.sktrace").write_bytes(dump_trace(generate("cpu-slight", severity=1).trace))
    return directory / "web.sktrace"


def test_a_step_shows_what_was_seen_done_and_earned(run, web: Path) -> None:
    lines = run("step", "--trace", "web.sktrace", "--action", "reduce_cpu_small").lines
    shown = {
        line.split()[0]: " ".join(line.split()[1:]) for line in lines if not line.startswith(" ")
    }
    assert shown["before"] == "ready 0, pending 3, total 3, cpu 16500m, memory 2Gi, replicas 3"
    assert shown["action"] == "reduce_cpu_small: web: cpu 16500m → 16"
    assert shown["after"] == "ready 3, pending 0, total 3, cpu 16, memory 2Gi, replicas 3"
    assert (shown["reward"], shown["goal"]) == ("shaped 1", "reached")
    assert not list(web.parent.glob(".simgit"))


def test_json_has_all_of_it_and_the_changed_trace_is_written(run, web: Path) -> None:
    record = run(
        "step", "--trace", "web.sktrace", "--action", 4, "-o", "next.sktrace", "--json"
    ).json
    assert record["rewards"].keys() == set(REWARDS)
    assert record["reward"] == {"name": "shaped", "value": record["rewards"]["shaped"]}
    assert record["action_info"] == {"changed": True, "blocked": False}
    assert record["before"]["vector"] == [4.125, 0.5, 0.6, 0.0, 0.375]
    assert record["trace"] == trace_id(generate("cpu-slight", severity=1).trace)
    assert run("trace", "show", "next.sktrace").lines[1] == f"id {record['changed_trace']}"


def test_a_blocked_action_says_why_and_a_waiting_pod_too(run, directory: Path) -> None:
    lines = run("step", "--trace", "cpu-slight", "--action", "bump_cpu_small").lines
    assert any("blocked: default/web: cpu 17500m would exceed the limit of 16" in x for x in lines)
    assert any("3 × 0/3 nodes are available: 3 Insufficient cpu." in line for line in lines)


def test_an_agent_that_draws_draws_by_the_seed(run, web: Path) -> None:
    def action(seed: int) -> str:
        asked = ("step", "--trace", "web.sktrace", "--agent", "random", "--seed", seed, "--json")
        return str(run(*asked).json["action"])

    drawn = [action(seed) for seed in range(12)]
    assert len(set(drawn)) > 3 and action(5) == drawn[5]


def test_a_workload_without_pods_says_why(run, web: Path) -> None:
    trace = generate("cpu-slight").trace
    place = ("spec", "template", "spec", "priorityClassName")
    event = Event(0, (replace(trace.events[0].applied[0], place, "gold"),))
    web.write_bytes(dump_trace(evolve(trace, events=(event,), source=None)))
    done = run("step", "--trace", "web.sktrace")
    assert "ready 0, pending 0, total 0" in done.out
    assert "no pods to observe: Deployment 'web' cannot create pods: pods \"web-" in done.err
    assert "is forbidden: no PriorityClass with name gold was found" in done.err


def test_order_before_earns_what_was_there_before(run, web: Path) -> None:
    asked = ("step", "--trace", "web.sktrace", "--action", 4, "--order", "before")
    record = run(*asked, "--json").json
    assert record["after"] == record["before"] and record["changes"] == ["web: cpu 16500m → 16"]
    assert any("observed before the action" in line for line in run(*asked).lines)


def test_a_trace_can_come_through_a_pipe(run, web: Path) -> None:
    record = run("step", "--trace", "-", "--json", stdin=web.read_bytes()).json
    assert record["action"] == "noop" and record["changes"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--trace", "nothing"), 128, "fatal: no scenario 'nothing'"),
        (("--trace", "gone.sktrace"), 128, "no such file"),
        (("--trace", "cpu-slight", "--action", "fly"), 128, "fatal: no action 'fly'"),
        (("--trace", "cpu-slight", "--action", 7), 128, "fatal: action must be in 0..6, got 7"),
        (
            ("--trace", "cpu-slight", "--target", 0),
            128,
            "fatal: target must be a whole number above 0, got '0'",
        ),
        (("--trace", "cpu-slight", "--workload", "api"), 128, "no such workload 'api'"),
        (("--trace", "cpu-slight", "--output", "-"), 2, "--output must be a file"),
        ((), 2, "missing option '--trace'"),
    ],
)
def test_bad_input_is_refused(run, directory: Path, arguments, code: int, message: str) -> None:
    assert message in run("step", *arguments, code=code).err
