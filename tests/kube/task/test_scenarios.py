"""Scenarios: each is solvable, in the documented fewest number of steps and no fewer."""

import pytest

from simgit.errors import InvalidInput, NotFound
from simgit.kube.observation import at_goal
from simgit.kube.simulation import DEFAULT, simulate
from simgit.kube.task.actions import ACTIONS, act
from simgit.kube.task.resources import GIB, MIB, Resources, final_resources
from simgit.kube.task.scenarios import SCENARIOS, Scenario, default_severity, generate
from simgit.kube.trace.check import trace_warnings
from simgit.kube.trace.edit import set_replicas, set_requests, workload
from simgit.kube.trace.model import Trace
from simgit.kube.trace.sktrace import canonical_bytes, load_trace, trace_id

WEB = workload("web", namespace="default")
SELECTED = DEFAULT.selection("default", "web")
DOCUMENTED = {
    "cpu-slight": ({"cpu": "17", "memory": "2Gi", "replicas": 3}, 2),
    "cpu-heavy": ({"cpu": "20", "memory": "2Gi", "replicas": 3}, 8),
    "mem-slight": ({"cpu": "500m", "memory": "33Gi", "replicas": 3}, 4),
    "mem-heavy": ({"cpu": "500m", "memory": "40Gi", "replicas": 3}, 32),
    "cpu-mem": ({"cpu": "17", "memory": "33Gi", "replicas": 3}, 6),
    "replicas-over": ({"cpu": "500m", "memory": "512Mi", "replicas": 5}, 2),
    "mem-replicas": ({"cpu": "250m", "memory": "33Gi", "replicas": 5}, 6),
}


def solved(trace: Trace, target: int = 3) -> bool:
    return at_goal(simulate(trace).observe(SELECTED), target)


def fewest(scenario: Scenario, most: int) -> int | None:
    """Search breadth first over all seven actions; states are what the workload asks for."""
    frontier, seen = [scenario.trace], {final_resources(scenario.trace, WEB)}
    for steps in range(most + 1):
        if any(solved(trace, scenario.target) for trace in frontier):
            return steps
        grown = [act(trace, WEB, action).trace for trace in frontier for action in ACTIONS]
        fresh = {final_resources(trace, WEB): trace for trace in grown}
        frontier = [trace for asked, trace in fresh.items() if asked not in seen]
        seen |= fresh.keys()
    return None


def solve(scenario: Scenario) -> int:
    """Reduce what is too much, and count the steps."""
    trace, steps = scenario.trace, 0
    while not solved(trace, scenario.target):
        asked = final_resources(trace, WEB)
        if asked.replicas > scenario.target:
            action = "scale_down_replicas"
        else:
            action = "reduce_cpu_small" if asked.cpu_m > 16_000 else "reduce_mem_small"
        trace, steps = act(trace, WEB, action).trace, steps + 1
        assert steps <= scenario.steps
    return steps


def test_the_seven_documented_scenarios() -> None:
    assert set(SCENARIOS) == set(DOCUMENTED)
    for name, (asked, steps) in DOCUMENTED.items():
        scenario = generate(name)
        assert final_resources(scenario.trace, WEB).plain() == asked
        assert (scenario.steps, scenario.target) == (steps, 3)


@pytest.mark.parametrize("name", [n for n, (_, steps) in DOCUMENTED.items() if steps <= 8])
def test_no_fewer_steps_reach_the_goal(name: str) -> None:
    scenario = generate(name)
    assert fewest(scenario, min(scenario.steps, 4)) == (
        scenario.steps if scenario.steps <= 4 else None
    )


@pytest.mark.parametrize("name", DOCUMENTED)
@pytest.mark.parametrize("severity", [None, 1, 3, 11, 48])
@pytest.mark.parametrize("seed", [0, 7])
def test_every_severity_is_solved_in_its_number_of_steps(
    name: str, severity: int | None, seed: int
) -> None:
    scenario = generate(name, severity=severity, seed=seed)
    assert solve(scenario) == scenario.steps
    assert scenario.severity == (severity or default_severity(name))


def needed(asked: Resources, target: int) -> int:
    """Count the steps on each axis: an action moves along one of three, by one step."""
    cpu = max(0, -(-(asked.cpu_m - 16_000) // 500))
    memory = max(0, -(-(asked.memory - 32 * GIB) // (256 * MIB)))
    return cpu + memory + abs(asked.replicas - target)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_number_of_steps_is_the_distance_to_the_goal(name: str) -> None:
    for severity in range(1, 49):
        for seed in (0, severity):
            for target in (1, 3):
                made = generate(name, severity=severity, seed=seed, target=target)
                assert needed(final_resources(made.trace, WEB), target) == made.steps


@pytest.mark.parametrize(
    ("cpu", "memory", "replicas", "healthy"),
    [
        ("16", "32Gi", 3, True),
        ("16001m", "2Gi", 3, False),
        ("500m", "34359738369", 3, False),
        ("500m", "2Gi", 2, False),
        ("500m", "2Gi", 4, False),
    ],
)
def test_the_goal_is_bounded_on_each_axis(
    cpu: str, memory: str, replicas: int, healthy: bool
) -> None:
    asked = set_requests(generate("cpu-slight").trace, WEB, cpu=cpu, memory=memory)
    assert solved(set_replicas(asked, WEB, replicas)) == healthy


def test_seeds_vary_and_repeat() -> None:
    traces = {trace_id(generate("cpu-mem", seed=seed).trace) for seed in range(20)}
    assert len(traces) > 15
    assert generate("cpu-mem", seed=3) == generate("cpu-mem", seed=3)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_generated_traces_are_valid_files(name: str) -> None:
    trace = generate(name).trace
    assert load_trace(canonical_bytes(trace)) == trace
    assert trace_warnings(trace) == []


GOLDEN = {
    "cpu-slight": "d7cae980f413f2bf",
    "cpu-heavy": "dce5bbb5cfd6bc89",
    "mem-slight": "ac4d2ec13341fac7",
    "mem-heavy": "9c132f8cb8926241",
    "cpu-mem": "0071fb6f5f500a1b",
    "replicas-over": "707156af9be2a540",
    "mem-replicas": "9e3396fadd3370cc",
}
GOLDEN_OF_SEED_3 = {
    "cpu-slight": "bde04d4b515ed771",
    "cpu-heavy": "349d4cc75e500981",
    "mem-slight": "3e707cdfd6d4e943",
    "mem-heavy": "df45276e7cefacd8",
    "cpu-mem": "82c2d93f7f2b4960",
    "replicas-over": "9020c41a96636ecd",
    "mem-replicas": "ebb3916ef944f8c8",
}


def test_generated_traces_are_the_same_on_every_machine() -> None:
    assert {name: trace_id(generate(name).trace)[:16] for name in SCENARIOS} == GOLDEN
    seeded = {name: trace_id(generate(name, seed=3).trace)[:16] for name in SCENARIOS}
    assert seeded == GOLDEN_OF_SEED_3
    varied = generate("mem-replicas", severity=5, seed=9)
    assert trace_id(varied.trace)[:16] == "2f2cdf56aa1511b6"


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(NotFound, match="no scenario 'x'"):
        generate("x")
    for bad in ({"severity": 0}, {"severity": 49}, {"target": 0}, {"target": 4}):
        with pytest.raises(InvalidInput):
            generate("cpu-slight", **bad)
