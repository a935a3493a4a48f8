"""What is parsed once is kept by content: a replay that finds it gives the same world."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kube_invariants import CLASSES, nodes, steps

from simgit.errors import InvalidInput
from simgit.kube import recorded_lifetimes
from simgit.kube.embedded import EmbeddedCluster, podspec
from simgit.kube.embedded.controllers import cron_schedule
from simgit.kube.simulation import Simulation, simulate
from simgit.kube.trace.model import Event, Lifecycle, Trace

CACHES = [
    (podspec, "_known_facts"),
    (cron_schedule, "_times_of"),
    (cron_schedule, "parse_schedule"),
    (recorded_lifetimes, "_hash_of"),
]


@contextmanager
def uncached() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, name in CACHES:
            patch.setattr(module, name, getattr(module, name).__wrapped__)
        yield


def world(cluster: EmbeddedCluster) -> tuple[Any, ...]:
    return cluster.pods(), cluster.nodes(), cluster.events()


def applied(todo: list[tuple[str, dict[str, Any]]], seed: int) -> list[tuple[Any, ...]]:
    cluster = EmbeddedCluster(nodes(), seed=seed, priority_classes=CLASSES)
    worlds = []
    for what, manifest in todo:
        (cluster.apply if what == "apply" else cluster.delete)([manifest])
        worlds.append(world(cluster))
        cluster.advance(301)
    return [*worlds, world(cluster)]


@given(steps, st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_cached_replay_gives_the_same_world(
    todo: list[tuple[str, dict[str, Any]]], seed: int
) -> None:
    with uncached():
        expected = applied(todo, seed)
    assert applied(todo, seed) == expected
    assert applied(todo, seed) == expected, "with every cache warm"


def cron_trace(schedule: str, zone: str) -> Trace:
    container = {"name": "c", "resources": {"requests": {"cpu": "1"}}}
    template = {"spec": {"containers": (container,), "restartPolicy": "Never"}}
    spec = {
        "schedule": schedule,
        "timeZone": zone,
        "jobTemplate": {"spec": {"template": template}},
    }
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "w"},
        "spec": spec,
    }
    gvk, name, start = "batch/v1.CronJob", "default/w", 1_743_296_000  # the day before a change
    lives = {(gvk, name): {1: (Lifecycle(start, start + 90), Lifecycle(start, start + 7))}}
    events = (Event(start, (manifest,)), Event(start + 30 * 3600))
    return Trace(events, index={gvk: {name: 1}}, lifecycles=lives)


@pytest.mark.parametrize("schedule", ["*/7 * * * *", "30 2 * * *", "0 0 1 * *", "@every 50m"])
@pytest.mark.parametrize("zone", ["", "Europe/Berlin"])
def test_a_cached_schedule_gives_the_same_world(schedule: str, zone: str) -> None:
    trace, simulation = cron_trace(schedule, zone), Simulation(linger=3600)
    with uncached():
        expected = world(simulate(trace, simulation))
    assert world(simulate(trace, simulation)) == expected
    assert world(simulate(trace, simulation)) == expected, "with every cache warm"


def deployment(cpu: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "w"},
        "spec": {"replicas": 1, "template": template},
    }


def test_a_template_that_was_changed_in_place_is_read_again() -> None:
    manifest = deployment("1")
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    for cpu in ("1", "2", "1"):
        container["resources"]["requests"]["cpu"] = cpu
        cluster = EmbeddedCluster()
        cluster.apply([manifest])
        assert [row["cpu"] for row in cluster.pods()] == [cpu]


def test_what_is_not_plain_data_is_read_as_ever() -> None:
    class Weight(IntEnum):
        ONE = 1

    plain = deployment("1")
    template = MappingProxyType(
        {key: MappingProxyType(value) for key, value in plain["spec"]["template"].items()}
    )
    cluster = EmbeddedCluster()
    cluster.apply([{**plain, "spec": {**plain["spec"], "template": template}}])
    assert [row["cpu"] for row in cluster.pods()] == ["1"]
    plain["spec"]["template"]["spec"]["tolerations"] = [{"tolerationSeconds": Weight.ONE}]
    with pytest.raises(InvalidInput):
        EmbeddedCluster().apply([plain])
