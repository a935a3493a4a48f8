"""The embedded cluster decides what a real control plane was seen to decide."""

import json
from collections import Counter
from typing import Any

import pytest

from simgit.kube.embedded import EmbeddedCluster, node_spec
from tests.support.paths import RECORDED

FILE = RECORDED / "scheduler-outcomes.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text())["cases"] if FILE.exists() else []
SEEDS = range(12)


def cluster_of(case: dict[str, Any], seed: int) -> EmbeddedCluster:
    nodes = [
        node_spec(
            node["name"],
            cpu=node.get("cpu", "16"),
            memory=node.get("mem", "32Gi"),
            pods=node.get("pods", "110"),
            labels=node.get("labels"),
            taints=node.get("taints", ()),
            extra=node.get("extra"),
        )
        for node in case["nodes"]
    ]
    return EmbeddedCluster(nodes, seed=seed, priority_classes={"low": 10, "high": 1000})


def outcome(cluster: EmbeddedCluster) -> dict[str, Any]:
    pods = cluster.pods()
    apps: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter({"ready": 0, "pending": 0, "total": 0})
    templates: Counter[str] = Counter()
    for pod in pods:
        state = "ready" if pod["ready"] else "pending"
        app = apps.setdefault(pod["labels"]["app"], Counter({"ready": 0, "pending": 0, "total": 0}))
        for counts in (app, total):
            counts[state] += 1
            counts["total"] += 1
        templates[json.dumps([[r or None for r in pod["containers"]], state])] += 1
    return {
        "by_app": {name: dict(counts) for name, counts in apps.items()},
        "total": dict(total),
        "messages": dict(Counter(pod["message"] for pod in pods if not pod["ready"])),
        "by_template": templates,
    }


def expected_templates(rows: list[dict[str, Any]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        requests = [r and dict(sorted(r.items())) for r in row["requests"]]
        counts[json.dumps([requests, row["state"]])] += row["pods"]
    return counts


@pytest.mark.skipif(not CASES, reason="recorded outcomes are absent")
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_recorded_outcome_is_reproduced(case: dict[str, Any], seed: int) -> None:
    cluster = cluster_of(case, seed)
    for step, recorded in zip(case["steps"], case["outcome"], strict=True):
        cluster.apply(step)
        got = outcome(cluster)
        assert got["by_app"] == recorded["by_app"]
        assert got["total"] == recorded["total"]
        assert got["messages"] == recorded["messages"]
        assert got["by_template"] == expected_templates(recorded["by_template"])
