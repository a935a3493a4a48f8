"""The embedded cluster and a real control plane come to the same end."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit.kube.embedded import EmbeddedCluster
from simgit.kube.embedded.nodes import Node, NodeSpec
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.scheduler import scoring, spread
from tests.kube.embedded.test_recorded_outcomes import CASES, cluster_of
from tests.kube.live.arena import Arena, embedded_outcome
from tests.kube.live.control_plane import ControlPlane, Refused
from tests.kube.live.random_cases import Step, random_nodes, random_policies, random_steps
from tests.kube.live.spellings import normal

pytestmark = pytest.mark.live
FIRST, _, LAST = os.environ.get("SIMGIT_LIVE_CASES", "0-14").partition("-")
CLASSES = {"low": 10, "high": 1000}


@pytest.fixture(scope="module")
def arena(control_plane: ControlPlane) -> Iterator[Arena]:
    arena = Arena(control_plane)
    yield arena
    arena.close()


@pytest.fixture
def scores_of_its_version(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the embedded scheduler score as the real one does, where that is an old one.

    Until 1.21, the balance of resources was another function, and the spread was cut, not rounded.
    """

    def balance(facts: PodFacts, node: Node) -> int:
        cpu = (node.score_cpu + facts.coming_cpu) / node.spec.cpu
        memory = (node.score_memory + facts.coming_memory) / node.spec.memory
        return 0 if max(cpu, memory) >= 1 else int((1 - abs(cpu - memory)) * 100)

    if control_plane.minor < 22:
        monkeypatch.setattr(scoring, "_balance", balance)
        monkeypatch.setattr(spread, "round", int, raising=False)


@pytest.mark.skipif(not CASES, reason="recorded outcomes are absent")
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_recorded_outcome_happens_again(case: dict[str, Any], arena: Arena) -> None:
    embedded = cluster_of(case, 0)
    arena.reset([node.spec for node in embedded._world.nodes])
    for step, recorded in zip(case["steps"], case["outcome"], strict=True):
        embedded.apply(step)
        wanted = embedded_outcome(embedded.pods())
        arena.apply(step)
        found = arena.outcome(wanted)
        assert found["counts"] == wanted["counts"]
        assert normal(found["messages"]) == normal(wanted["messages"])
        assert normal(found["messages"]) == normal(recorded["messages"])


@pytest.mark.usefixtures("scores_of_its_version")
@pytest.mark.parametrize("seed", range(int(FIRST), int(LAST) + 1))
def test_a_random_case_ends_as_it_does_here(seed: int, arena: Arena) -> None:
    rng = random.Random(seed)
    compare(seed, random_nodes(rng), random_steps(rng), arena)


@pytest.mark.usefixtures("scores_of_its_version")
@pytest.mark.parametrize("seed", range(int(FIRST), int(LAST) + 1))
def test_a_random_case_with_quotas_ends_as_it_does_here(seed: int, arena: Arena) -> None:
    rng = random.Random(f"quotas {seed}")
    policies = [("apply", each) for each in random_policies(rng)]
    compare(f"quotas-{seed}", random_nodes(rng), [*policies, *random_steps(rng)], arena)


def compare(seed: Any, nodes: list[NodeSpec], steps: list[Step], arena: Arena) -> None:
    """Take the steps on both; the outcomes are equal after each.

    Where the embedded cluster's own draws decide, the real outcome is one of its outcomes. A real
    one also decides by chance which of equally old pods goes first and which pod takes freed room:
    a seed where that matters is no seed for this test.
    """
    embedded = [EmbeddedCluster(nodes, seed=n, priority_classes=CLASSES) for n in range(12)]
    arena.reset(nodes)
    for number, (verb, manifest) in enumerate(steps):
        outcomes = []
        for cluster in embedded:
            (cluster.apply if verb == "apply" else cluster.delete)([manifest])
            cluster.advance(10)
            outcomes.append(embedded_outcome(cluster.pods()))
        try:
            (arena.apply if verb == "apply" else arena.delete)([manifest])
        except Refused as refused:  # by a quota: here it is an event
            assert all(refused.message in e.events()[-1]["message"] for e in embedded), refused
        found = arena.outcome(*outcomes)
        counts, words = found["counts"], normal(found["messages"])
        same = [n for n, outcome in enumerate(outcomes) if outcome["counts"] == counts]
        if same:
            same = [n for n in same if normal(outcomes[n]["messages"]) == words]
        assert same, told(seed, nodes, steps[: number + 1], found, outcomes)
        embedded = [embedded[n] for n in same]


def told(seed: Any, nodes: Any, steps: Any, found: Any, outcomes: list[Any]) -> str:
    """Return a disagreement as text; SIMGIT_LIVE_REPORT names a folder to keep it in."""
    different = {json.dumps(outcome, sort_keys=True): outcome for outcome in outcomes}
    case = {
        "seed": seed,
        "nodes": [node.plain() for node in nodes],
        "steps": steps,
        "real": found,
        "embedded": list(different.values()),
    }
    text = json.dumps(case, indent=1)
    if folder := os.environ.get("SIMGIT_LIVE_REPORT"):
        Path(folder, f"random-{seed}.json").write_text(text)
    return text
