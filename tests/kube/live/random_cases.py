"""Small random clusters, and changes to what runs on them."""

from __future__ import annotations

import random
from typing import Any

from simgit.kube.embedded.nodes import HOSTNAME, ZONE, NodeSpec, node_spec

Step = tuple[str, dict[str, Any]]
"""('apply' or 'delete', manifest)."""

KINDS = ("Deployment", "Deployment", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")
TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


def random_nodes(rng: random.Random) -> list[NodeSpec]:
    """Return 1 to 4 nodes of several sizes, a few of them tainted or cordoned."""
    return [
        node_spec(
            f"n{number + 1}",
            cpu=rng.choice(["2", "4", "8", "8", "16"]),
            memory=rng.choice(["4Gi", "8Gi", "32Gi"]),
            pods=rng.choice([3, 5, 110, 110]),
            labels={ZONE: rng.choice("12")},
            taints=[{**TAINT, "effect": rng.choice(["NoSchedule", "PreferNoSchedule"])}]
            if rng.random() < 0.2
            else (),
            unschedulable=rng.random() < 0.05,
        )
        for number in range(rng.randint(1, 4))
    ]


def random_steps(rng: random.Random) -> list[Step]:
    """Return 2 to 5 changes to the workloads a, b and c, each of one kind."""
    kinds = {name: rng.choice(KINDS) for name in "abc"}
    steps: list[Step] = []
    for _ in range(rng.randint(2, 5)):
        name = rng.choice("aabbc")
        known = [m for do, m in steps if m["metadata"]["name"] == name]
        if known and rng.random() < 0.15:
            steps.append(("delete", known[-1]))
        elif known and steps[-1] != ("delete", known[-1]) and rng.random() < 0.3:
            steps.append(("apply", _resized(rng, known[-1])))
        else:
            if known and kinds[name] == "Job":
                steps.append(("delete", known[-1]))  # its template cannot change
            steps.append(("apply", _workload(rng, kinds[name], name)))
    return steps


def random_policies(rng: random.Random) -> list[dict[str, Any]]:
    """Return a ResourceQuota or a LimitRange, or both, for what runs afterwards."""
    found = []
    if rng.random() < 0.7:
        hard = {
            "pods": str(rng.randint(2, 10)),
            "requests.cpu": rng.choice(["2", "4500m", "9"]),
            "limits.memory": rng.choice(["4Gi", "10Gi"]),
            "memory": rng.choice(["3Gi", "12Gi"]),
            "count/deployments.apps": str(rng.randint(1, 3)),
        }
        names = rng.sample(sorted(hard), rng.randint(1, 2))
        found.append(_policy("ResourceQuota", {"hard": {name: hard[name] for name in names}}))
    if not found or rng.random() < 0.5:
        limits = {
            "defaultRequest": {"cpu": rng.choice(["250m", "1"])},
            "default": {"cpu": rng.choice(["2", "4"]), "memory": "2Gi"},
            "max": {"cpu": rng.choice(["3", "4"])},
            "min": {"memory": rng.choice(["512Mi", "1Gi"])},
        }
        names = rng.sample(sorted(limits), rng.randint(1, 2))
        if "max" in names:  # a default above it would be refused
            limits["default"], limits["defaultRequest"] = {"memory": "2Gi"}, {"cpu": "250m"}
        limit = {"type": "Container", **{name: limits[name] for name in names}}
        found.append(_policy("LimitRange", {"limits": [limit]}))
    return found


def _policy(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "policy"}, "spec": spec}


def _resized(rng: random.Random, manifest: dict[str, Any]) -> dict[str, Any]:
    field = {"DaemonSet": None, "Job": "parallelism"}.get(manifest["kind"], "replicas")
    if field is None:
        return manifest
    return {**manifest, "spec": {**manifest["spec"], field: rng.randint(0, 7)}}


def _workload(rng: random.Random, kind: str, name: str) -> dict[str, Any]:
    labels = {"app": name}
    template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": _pod(rng, name)}
    spec: dict[str, Any] = {"template": template}
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
        spec |= {"parallelism": rng.randint(0, 6), "completions": rng.randint(1, 6)}
    else:
        spec["selector"] = {"matchLabels": labels}
    if kind in ("Deployment", "StatefulSet", "ReplicaSet"):
        spec["replicas"] = rng.randint(0, 7)
    if kind == "Deployment":
        # one that was rolling cannot become another: the server keeps the defaults of before
        spec["strategy"] = {"type": "Recreate"} if name == "c" else _strategy(rng)
    if kind == "StatefulSet":
        spec["serviceName"] = name
        spec["podManagementPolicy"] = "Parallel" if name == "b" else "OrderedReady"  # for ever
        if rng.random() < 0.4:
            rolling = {"partition": rng.randint(0, 4)}
            spec["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _strategy(rng: random.Random) -> dict[str, Any]:
    surge, unavailable = rng.choice(
        [(0, 1), (1, 0), (1, 1), (2, 0), (3, 2), ("25%", "25%"), ("50%", 0), (0, "50%"), (0, 5)]
    )
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"type": "RollingUpdate", "rollingUpdate": rolling}


def _pod(rng: random.Random, name: str) -> dict[str, Any]:
    pod: dict[str, Any] = {"containers": [_container(rng, "c")]}
    if rng.random() < 0.15:
        pod["containers"].append(_container(rng, "d"))
    if rng.random() < 0.15:
        pod["initContainers"] = [_container(rng, "i")]
    if rng.random() < 0.15:
        pod["nodeSelector"] = {ZONE: rng.choice("12")}
    if rng.random() < 0.15:
        pod["tolerations"] = [{"operator": "Exists"}]
    if rng.random() < 0.15:
        pod["priorityClassName"] = rng.choice(["low", "high"])
    if rng.random() < 0.08:
        pod["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80}]
    term = {
        "labelSelector": {"matchLabels": {"app": rng.choice([name, name, "a", "b"])}},
        "topologyKey": rng.choice([HOSTNAME, ZONE]),
    }
    drawn = rng.random()
    if drawn < 0.2:
        which = "podAntiAffinity" if drawn < 0.12 else "podAffinity"
        pod["affinity"] = {which: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    elif drawn < 0.3:
        spread = {"maxSkew": rng.randint(1, 2), "whenUnsatisfiable": "DoNotSchedule"}
        pod["topologySpreadConstraints"] = [{**term, **spread}]
    return pod


def _container(rng: random.Random, name: str) -> dict[str, Any]:
    requests = {
        "cpu": rng.choice([None, "500m", "1", "1500m", "3", "5"]),
        "memory": rng.choice([None, None, "1Gi", "1.5Gi", "5Gi"]),
    }
    given = {key: amount for key, amount in requests.items() if amount}
    resources: dict[str, Any] = {"requests": given}
    if rng.random() < 0.2:
        resources = {"limits": given}
    return {"name": name, "image": "x", "resources": resources}
