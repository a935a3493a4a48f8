"""Actions, safeguards, vectors and rewards: the golden values of the earlier loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.errors import AlreadyExists, ClusterError, InvalidInput, NotFound
from simgit.kube.observation import Observation, at_goal, failed
from simgit.kube.quantity import byte_count, millicores
from simgit.kube.task.actions import STANDARD, act
from simgit.kube.task.registry import Registry
from simgit.kube.task.resources import MIB, Resources, final_resources
from simgit.kube.task.reward import REWARDS, StepOutcome, outcome
from simgit.kube.task.vectors import VECTORS
from simgit.kube.trace.edit import workload
from simgit.kube.trace.model import Event, Trace

WEB = workload("web", gvk="apps/v1.Deployment")
SEVEN = (
    "noop",
    "bump_cpu_small",
    "bump_mem_small",
    "scale_up_replicas",
    "reduce_cpu_small",
    "reduce_mem_small",
    "scale_down_replicas",
)


def trace(*requests: dict[str, str], replicas: int | None = 3) -> Trace:
    return Trace(tuple(Event(i, (_web(r, replicas),)) for i, r in enumerate(requests)))


def _web(requests: dict[str, str], replicas: int | None) -> Any:
    first = {"name": "c", "resources": {"requests": requests}}
    spec: dict[str, Any] = {"template": {"spec": {"containers": (first, {"name": "side"})}}}
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": spec,
    }


def resources(cpu: str, memory: str, replicas: int) -> Resources:
    return Resources(millicores(cpu), byte_count(memory), replicas)


def test_the_seven_actions_have_their_indices() -> None:
    assert STANDARD == SEVEN


@pytest.mark.parametrize(
    ("action", "after"),
    [
        (0, ("2", "2Gi", 3)),
        (1, ("2500m", "2Gi", 3)),
        (2, ("2", "2304Mi", 3)),
        (3, ("2", "2Gi", 4)),
        (4, ("1500m", "2Gi", 3)),
        (5, ("2", "1792Mi", 3)),
        (6, ("2", "2Gi", 2)),
    ],
)
def test_each_action_does_its_one_thing(action: int, after: tuple[str, str, int]) -> None:
    result = act(trace({"cpu": "2", "memory": "2Gi"}), WEB, action)
    assert final_resources(result.trace, WEB) == resources(*after)
    assert result.info() == {"changed": action != 0, "blocked": False}
    assert act(trace({"cpu": "2", "memory": "2Gi"}), WEB, SEVEN[action]) == result


def test_an_action_reaches_every_event() -> None:
    both = act(trace({"cpu": "2"}, {"cpu": "3"}), WEB, "reduce_cpu_small").trace
    cpus = [m["spec"]["template"]["spec"]["containers"][0]["resources"] for m in both.applied()]
    assert cpus == [{"requests": {"cpu": "1500m"}}, {"requests": {"cpu": "2500m"}}]


@pytest.mark.parametrize(
    ("action", "requests", "replicas", "why"),
    [
        ("bump_cpu_small", {"cpu": "15600m"}, 3, "cpu 16100m would exceed the limit of 16"),
        ("bump_mem_small", {"memory": "32Gi"}, 3, "memory 33024Mi would exceed the limit of 32Gi"),
        ("scale_up_replicas", {}, 100, "replicas 101 would exceed the limit of 100"),
        ("reduce_cpu_small", {"cpu": "549m"}, 3, "cpu 49m would fall below the limit of 50m"),
        ("reduce_cpu_small", {}, 3, "cpu -500m would fall below the limit of 50m"),
        ("reduce_mem_small", {"memory": "256Mi"}, 3, "memory 0 would fall below the limit"),
        ("scale_down_replicas", {}, 1, "replicas 0 would fall below the limit of 1"),
        ("scale_down_replicas", {}, None, "replicas 0 would fall below the limit of 1"),
    ],
)
def test_a_step_out_of_the_range_is_blocked_whole(
    action: str, requests: dict[str, str], replicas: int | None, why: str
) -> None:
    before = trace({"cpu": "2", "memory": "2Gi"}, requests, replicas=replicas)
    result = act(before, WEB, action)
    assert result.trace is before
    info = result.info()
    assert (info["changed"], info["blocked"]) == (False, True)
    assert why in info["error"]


@pytest.mark.parametrize(
    ("action", "requests", "replicas"),
    [
        ("reduce_cpu_small", {"cpu": "20"}, 3),
        ("reduce_mem_small", {"memory": "40Gi"}, 3),
        ("scale_down_replicas", {}, 150),
        ("bump_cpu_small", {"cpu": "1m"}, 3),
        ("bump_cpu_small", {"cpu": "15500m"}, 3),
        ("reduce_cpu_small", {"cpu": "550m"}, 3),
        ("scale_up_replicas", {}, 0),
    ],
)
def test_a_workload_outside_may_come_back(
    action: str, requests: dict[str, str], replicas: int
) -> None:
    assert act(trace(requests, replicas=replicas), WEB, action).changed


def test_unknown_actions_and_workloads_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"0\.\.6, got 7"):
        act(trace({}), WEB, 7)
    with pytest.raises(NotFound, match="no action 'jump'"):
        act(trace({}), WEB, "jump")
    with pytest.raises(NotFound, match="no such workload"):
        act(trace({}), workload("db"), 0)


GOLDEN = [
    ((0, 0, 0), ("0", "0", 0), (0, -0.54, -1, 0, -0.03)),
    ((0, 3, 3), ("500m", "33Gi", 3), (0, -0.45, -1, -0.5, -0.02)),
    ((2, 1, 3), ("500m", "8Gi", 3), (0, -0.15, -0.865673, 0, -0.006667)),
    ((5, 0, 5), ("500m", "512Mi", 5), (0, -0.5, -0.34648, 0, -0.14)),
    ((3, 2, 5), ("250m", "32Gi", 5), (0, -0.4, -0.634667, 0, -0.153333)),
    ((3, 0, 3), ("16", "2Gi", 3), (1, 1, 0, 1, 1)),
]


@pytest.mark.parametrize(("counts", "asked", "expected"), GOLDEN)
def test_the_golden_rewards(
    counts: tuple[int, int, int], asked: tuple[str, str, int], expected: tuple[float, ...]
) -> None:
    seen = outcome(Observation(*counts), resources(*asked), 3)
    names = ("base", "shaped", "cost_aware_v2", "max_punish", "scale")
    got = tuple(REWARDS.get(name)(seen) for name in names)
    assert got == pytest.approx(expected, abs=5e-7)


def test_a_blocked_action_costs_only_where_it_should() -> None:
    asked = resources("500m", "512Mi", 5)
    free = StepOutcome(5, 0, 5, 3, asked)
    blocked = StepOutcome(5, 0, 5, 3, asked, blocked=True, step_penalty=0.01)
    cost = REWARDS.get("cost_aware_v2")
    assert cost(free) - cost(blocked) == pytest.approx(0.13)
    assert REWARDS.get("shaped")(free) == REWARDS.get("shaped")(blocked)


@given(
    st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200)),
    st.integers(1, 200),
    st.integers(0, 10**6),
    st.integers(0, 2**45),
    st.booleans(),
)
def test_rewards_stay_in_their_range(
    counts: tuple[int, int, int], target: int, cpu: int, memory: int, blocked: bool
) -> None:
    seen = StepOutcome(*counts, target, Resources(cpu, memory, counts[2]), blocked)
    for name in REWARDS:
        low, high = {"cost_aware_v2": (-1, 0), "max_punish": (-1.5, 1)}.get(name, (-1, 1))
        assert low <= REWARDS.get(name)(seen) <= high


def test_state_vectors() -> None:
    seen, asked = Observation(1, 2, 3), Resources(2000, 1024 * MIB, 4)
    base = VECTORS.get("base")(seen, asked, 4)
    assert base.dtype == np.float32
    assert base == pytest.approx([0.5, 0.25, 0.4, 0.2, 0.5])
    assert VECTORS.get("scale")(seen, asked, 4) == pytest.approx([0.5, 0.25, 2 / 15, 1 / 15, 0.5])


def test_a_failed_observation_has_no_counts_to_mistake_for_zeros() -> None:
    lost = failed("timeout", "no answer in 30 s")
    assert lost.plain() == {"validity": "timeout", "error": "no answer in 30 s"}
    assert not at_goal(lost, 3)
    with pytest.raises(ClusterError, match="timeout"):
        VECTORS.get("base")(lost, Resources(), 3)
    with pytest.raises(ClusterError):
        outcome(lost, Resources(), 3)


def test_the_goal_and_bad_targets() -> None:
    assert at_goal(Observation(3, 0, 3), 3)
    assert not at_goal(Observation(3, 0, 4), 3)
    for bad in (0, -1, True, 1.5):
        with pytest.raises(InvalidInput, match="target must be"):
            at_goal(Observation(3, 0, 3), bad)  # type: ignore[arg-type]


def test_a_name_is_registered_once() -> None:
    registry: Registry[Any] = Registry("thing")
    registry.register("a")(len)
    with pytest.raises(AlreadyExists, match="thing 'a'"):
        registry.register("a")(len)
