"""Scenarios: generated traces of a workload that needs a known number of actions.

A scenario turns a severity (the distance from healthy, in steps of its kind) and a random
generator into a demand. Seed 0 varies nothing: with the default severity it gives the
documented start. To add a scenario, write it here under ``@_scenario(name, severity)``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from simgit.errors import InvalidInput
from simgit.kube.observation import check_target
from simgit.kube.quantity import from_bytes, from_millicores
from simgit.kube.task.registry import Registry
from simgit.kube.task.resources import GIB, MIB, Resources
from simgit.kube.trace.edit import rehash
from simgit.kube.trace.model import Event, Trace

NODE_CPU_M = 16_000
NODE_MEMORY = 32 * GIB
CPU_STEP_M = 500
MEMORY_STEP = 256 * MIB
TARGET = 3
MAX_SEVERITY = 48
SECONDS = 60
"""The length of a generated trace: the time that pods have to become ready."""

_NAME: Final = re.compile(
    r"(?P<name>.+?)(?:-severity(?P<severity>\d+))?(?:-seed(?P<seed>\d+))?(?:-target(?P<target>\d+))?"
)
"""A scenario by name, with what differs from its documented start: 'cpu-slight-severity4-seed7'."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The workload's first resources, and the fewest actions from there to the goal."""

    requests: Resources
    steps: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A generated trace, its parameters, and the fewest actions that solve it."""

    name: str
    severity: int
    seed: int
    target: int
    steps: int
    trace: Trace


Build = Callable[[int, int, random.Random | None], Demand]
SCENARIOS: Registry[Build] = Registry("scenario")
_DEFAULT_SEVERITY: dict[str, int] = {}


def _scenario(name: str, severity: int) -> Callable[[Build], Build]:
    _DEFAULT_SEVERITY[name] = severity
    return SCENARIOS.register(name)


def generate(
    name: str, *, severity: int | None = None, seed: int = 0, target: int = TARGET
) -> Scenario:
    """Generate a scenario for three nodes of 16 CPU and 32Gi; equal arguments, equal traces.

    Raises NotFound for an unknown name, InvalidInput for a severity not in 1..48 or a target not
    in 1..3 (each pod may need a node of its own).
    """
    build = SCENARIOS.get(name)
    severity = _DEFAULT_SEVERITY[name] if severity is None else severity
    if not 1 <= severity <= MAX_SEVERITY:
        raise InvalidInput(f"severity must be in 1..{MAX_SEVERITY}, got {severity}", value=severity)
    if check_target(target) > TARGET:
        raise InvalidInput(f"target must be in 1..{TARGET}, got {target}", value=target)
    demand = build(severity, target, random.Random(f"{name}/{severity}/{seed}") if seed else None)
    tracked = {"apps/v1.Deployment": {"podSpecTemplatePaths": ("/spec/template",)}}
    events = (Event(0, (_deployment(demand.requests),)), Event(SECONDS))
    trace = rehash(Trace(events=events, config={"trackedObjects": tracked}))
    return Scenario(name, severity, seed, target, demand.steps, trace)


def default_severity(name: str) -> int:
    """Return a scenario's default severity, which gives the documented start."""
    SCENARIOS.get(name)
    return _DEFAULT_SEVERITY[name]


def scenario_name(scenario: Scenario) -> str:
    """Return the scenario's name, with what differs from its documented start."""
    usual = (default_severity(scenario.name), 0, TARGET)
    given = (scenario.severity, scenario.seed, scenario.target)
    labels = ("severity", "seed", "target")
    parts = [f"-{k}{v}" for k, v, u in zip(labels, given, usual, strict=True) if v != u]
    return scenario.name + "".join(parts)


def parse_scenario(name: str) -> Scenario:
    """Generate the scenario of a name; the inverse of ``scenario_name``.

    Raises NotFound for an unknown scenario, InvalidInput for numbers out of range.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidInput("the name of the scenario is empty")
    SCENARIOS.get(match["name"])
    return generate(
        match["name"],
        severity=None if match["severity"] is None else int(match["severity"]),
        seed=int(match["seed"] or 0),
        target=TARGET if match["target"] is None else int(match["target"]),
    )


@_scenario("cpu-slight", 2)
def cpu_slight(severity: int, target: int, rng: random.Random | None) -> Demand:
    """Request a little more CPU than a node has."""
    cpu_m = _cpu(severity, rng)  # drawn before the memory
    memory = rng.randrange(64, 8 * 1024, 64) * MIB if rng else 2 * GIB
    return Demand(Resources(cpu_m, memory, target), severity)


@_scenario("cpu-heavy", 8)
def cpu_heavy(severity: int, target: int, rng: random.Random | None) -> Demand:
    """Request far more CPU than a node has."""
    return cpu_slight(severity, target, rng)


@_scenario("mem-slight", 4)
def mem_slight(severity: int, target: int, rng: random.Random | None) -> Demand:
    """Request a little more memory than a node has."""
    return Demand(Resources(_some_cpu(500, rng), _memory(severity, rng), target), severity)


@_scenario("mem-heavy", 32)
def mem_heavy(severity: int, target: int, rng: random.Random | None) -> Demand:
    """Request far more memory than a node has."""
    return mem_slight(severity, target, rng)


@_scenario("cpu-mem", 2)
def cpu_mem(severity: int, target: int, rng: random.Random | None) -> Demand:
    """Request more of both than a node has, with twice as many steps in memory as in CPU."""
    requests = Resources(_cpu(severity, rng), _memory(2 * severity, rng), target)
    return Demand(requests, 3 * severity)


@_scenario("replicas-over", 2)
def replicas_over(severity: int, target: int, rng: random.Random | None) -> Demand:
    """Run more replicas than the target, all of them healthy."""
    memory = 512 * MIB if rng is None else rng.randrange(64, 1024) * MIB
    return Demand(Resources(_some_cpu(500, rng), memory, target + severity), severity)


@_scenario("mem-replicas", 2)
def mem_replicas(severity: int, target: int, rng: random.Random | None) -> Demand:
    """Run more replicas than the target, each requesting more memory than a node has."""
    requests = Resources(_some_cpu(250, rng), _memory(2 * severity, rng), target + severity)
    return Demand(requests, 3 * severity)


def _cpu(steps: int, rng: random.Random | None) -> int:
    """Return a request that fits a node after exactly this number of reductions."""
    return NODE_CPU_M + steps * CPU_STEP_M - (rng.randrange(CPU_STEP_M) if rng else 0)


def _memory(steps: int, rng: random.Random | None) -> int:
    return NODE_MEMORY + steps * MEMORY_STEP - (rng.randrange(256) * MIB if rng else 0)


def _some_cpu(usual: int, rng: random.Random | None) -> int:
    return rng.randrange(50, 1001, 50) if rng else usual


def _deployment(requests: Resources) -> dict[str, Any]:
    labels = {"app": "web"}
    asked = {"cpu": from_millicores(requests.cpu_m), "memory": from_bytes(requests.memory)}
    container = {"name": "web", "image": "web", "resources": {"requests": asked}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": (container,)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": requests.replicas,
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }
