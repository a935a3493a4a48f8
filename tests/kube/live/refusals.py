"""Bad manifests, and what a real API server answers to each: ``tests/kube/data/refusals.json``.

python -m tests.kube.live.refusals DIR    # binaries of a control plane; writes the file
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kube.live.arena import PATHS, path_of
from tests.kube.live.control_plane import APPLY, ControlPlane, Refused

FILE = Path(__file__).parents[1] / "data" / "refusals.json"
ABOUT = (
    "Answers of a real API server to creating 'manifest' in an empty namespace, after "
    "'before' was created; where 'update' is true, to applying it to what was applied before. The "
    "codes 201 and 200 mean that it is accepted; 'stored' are a pod's resources as read back. Of a "
    "message of several lines, the first is recorded; '0x0' stands for addresses, 'UID' for UIDs."
)

Manifest = dict[str, Any]
LABELS = {"app": "web"}


def requests(**amounts: Any) -> Manifest:
    """Return a container's resources: requests by name, limits with the prefix 'limit_'."""
    found: dict[str, dict[str, Any]] = {}
    for name, amount in amounts.items():
        kind, key = ("limits", name[6:]) if name.startswith("limit_") else ("requests", name)
        key = {"gpu": "nvidia.com/gpu", "storage": "ephemeral-storage"}.get(key, key)
        found.setdefault(kind, {})[key] = amount
    return found


def container(name: str = "c", **fields: Any) -> Manifest:
    """Return a container."""
    return {"name": name, "image": "x", **fields}


def pod(*containers: Manifest, name: str = "p", labels: Any = None, **spec: Any) -> Manifest:
    """Return a bare pod."""
    metadata: Manifest = {"name": name}
    if labels is not None:
        metadata["labels"] = labels
    body = {"containers": list(containers or (container(),)), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


def workload(
    kind: str = "Deployment",
    *containers: Manifest,
    name: str = "web",
    labels: Any = None,
    pod_spec: Manifest | None = None,
    **spec: Any,
) -> Manifest:
    """Return a workload of apps/v1 (a Job of batch/v1) with one container by default."""
    template = {
        "metadata": {"labels": LABELS if labels is None else labels},
        "spec": {"containers": list(containers or (container(),)), **(pod_spec or {})},
    }
    body: Manifest = {"template": template, **spec}
    if kind == "Job":
        template["spec"].setdefault("restartPolicy", "Never")
    else:
        body = {"selector": {"matchLabels": LABELS}, **body}
    if kind == "StatefulSet":
        body = {"serviceName": "web", **body}
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": body}


def rolling(**values: Any) -> Manifest:
    """Return a Deployment's strategy."""
    return {"type": "RollingUpdate", "rollingUpdate": values}


def quota(**hard: Any) -> Manifest:
    """Return a ResourceQuota; '__' stands for '.' and '_' for '-' in names."""
    names = {key.replace("__", ".").replace("_", "-"): value for key, value in hard.items()}
    kind = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}}
    return {**kind, "spec": {"hard": names}}


def limit_range(kind: Any = "Container", **limits: Any) -> Manifest:
    """Return a LimitRange."""
    head = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}}
    return {**head, "spec": {"limits": [{"type": kind, **limits}]}}


def budget(**spec: Any) -> Manifest:
    """Return a PodDisruptionBudget."""
    head = {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"}
    body = {"selector": {"matchLabels": LABELS}, **spec}
    return {**head, "metadata": {"name": "b"}, "spec": body}


def without(manifest: Manifest, *path: str) -> Manifest:
    """Return the manifest without a field."""
    head, *rest = path
    if not rest:
        return {key: value for key, value in manifest.items() if key != head}
    return {**manifest, head: without(manifest[head], *rest)}


def resource_cases() -> Iterator[tuple[Any, ...]]:
    """Yield (name, manifest) of bad amounts."""
    for name, resources in {
        "limits < requests: cpu": requests(cpu="2", limit_cpu="1"),
        "limits < requests: memory": requests(memory="2Gi", limit_memory="1Gi"),
        "limits < requests: both": requests(
            cpu="2", memory="2Gi", limit_cpu="1", limit_memory="1Gi"
        ),
        "limits < requests: written otherwise": requests(cpu="1.5", limit_cpu="1400m"),
        "negative request": requests(cpu="-1"),
        "negative limit": requests(limit_memory="-1Gi"),
        "negative request and limit": requests(cpu="-1", limit_cpu="-2"),
        "no quantity": requests(cpu="1Q"),
        "empty quantity": requests(cpu=""),
        "quantity with a space": requests(memory="1 Gi"),
        "quantity of words": requests(memory="lots"),
        "a number as a quantity": requests(cpu=1.5),
        "a null quantity": requests(cpu=None),
        "a boolean as a quantity": requests(cpu=True),
        "gpu: fractional": requests(gpu="500m", limit_gpu="500m"),
        "gpu: request without a limit": requests(gpu="1"),
        "gpu: limit alone": requests(limit_gpu="1"),
        "gpu: request < limit": requests(gpu="1", limit_gpu="2"),
        "gpu: request > limit": requests(gpu="2", limit_gpu="1"),
        "hugepages without cpu or memory": {
            "requests": {"hugepages-2Mi": "2Mi"},
            "limits": {"hugepages-2Mi": "2Mi"},
        },
        "hugepages: request < limit": {
            "requests": {"hugepages-2Mi": "2Mi", "cpu": "1"},
            "limits": {"hugepages-2Mi": "4Mi", "cpu": "1"},
        },
        "unknown resource without a domain": {"requests": {"gpus": "1"}},
        "unknown resource of kubernetes.io": {"requests": {"kubernetes.io/gpu": "1"}},
        "resource with a bad name": {"requests": {"Bad Name!": "1"}},
        "pods as a resource of a container": {"requests": {"pods": "1"}},
        "storage as a resource of a container": {"requests": {"storage": "1Gi"}},
        "fractional bytes": requests(memory="100m"),
        "finer than a millicore": requests(cpu="0.0001"),
        "more than int64": requests(memory="16Ei"),
        "ephemeral storage: limits < requests": requests(storage="2Gi", limit_storage="1Gi"),
    }.items():
        yield f"pod, {name}", pod(container(resources=resources))
        if "<" in name or "gpu" in name or "quantity" in name:
            deployed = workload("Deployment", container(resources=resources))
            yield f"Deployment, {name}", deployed
    yield (
        "StatefulSet, limits < requests",
        workload("StatefulSet", container(resources=requests(cpu="2", limit_cpu="1"))),
    )
    yield (
        "init container, limits < requests",
        pod(initContainers=[container("i", resources=requests(cpu="2", limit_cpu="1"))]),
    )
    yield (
        "second container, limits < requests",
        pod(container("a"), container("b", resources=requests(cpu="2", limit_cpu="1"))),
    )


def name_cases() -> Iterator[tuple[Any, ...]]:
    """Yield (name, manifest) of bad names and labels."""
    yield "duplicate container names", pod(container("a"), container("a"))
    yield (
        "Deployment, duplicate container names",
        workload("Deployment", container("a"), container("a")),
    )
    yield (
        "init container named as a container",
        pod(container("a"), initContainers=[container("a")]),
    )
    for name in ("Web", "web_1", "-web", "web-", "web..x", "a" * 254, "web/x", "web app", ""):
        yield f"Deployment named '{name[:12]}'", workload(name=name)
        if name:
            yield f"pod named '{name[:12]}'", pod(name=name)
    yield "Deployment named with dots", workload(name="web.one")
    yield "StatefulSet named with dots", workload("StatefulSet", name="web.one")
    yield "StatefulSet with a long name", workload("StatefulSet", name="a" * 64)
    yield "Job with a long name", workload("Job", name="a" * 64)
    for name in ("C", "c_1", "c.d", "-c", "c" * 64, ""):
        yield f"container named '{name[:8]}'", pod(container(name))
    yield "container without a name", pod({"image": "x"})
    yield "container without an image", pod({"name": "c"})
    yield "Deployment, container without an image", workload("Deployment", {"name": "c"})
    yield "no containers", without(pod(), "spec", "containers")
    yield "empty containers", {**pod(), "spec": {"containers": []}}
    yield "Deployment, empty containers", workload(pod_spec={"containers": []})
    for key, value in (
        ("app", "not ok"),
        ("app", "-x"),
        ("app", "x" * 64),
        ("", "x"),
        ("a b", "x"),
        ("a/b/c", "x"),
        ("UPPER.example/ok", "x"),
        ("/name", "x"),
        ("x" * 64, "x"),
    ):
        yield f"label {key[:12]}={value[:12]}", pod(labels={key: value})
    yield "label with a number", pod(labels={"app": 1})
    yield "label with a boolean", pod(labels={"app": True})
    yield "label with null", pod(labels={"app": None})
    yield "Deployment, bad label", workload(labels={"app": "not ok"})
    yield (
        "Deployment, bad label of its own",
        {**workload(), "metadata": {"name": "web", "labels": {"app": "not ok"}}},
    )
    yield "node selector with a bad value", pod(nodeSelector={"a": "not ok"})
    yield "node selector with a bad key", pod(nodeSelector={"a b": "x"})
    yield (
        "annotation with a bad key",
        {**pod(), "metadata": {"name": "p", "annotations": {"a b": "x"}}},
    )


def selector_cases() -> Iterator[tuple[Any, ...]]:
    """Yield (name, manifest) of bad selectors, replicas and strategies."""
    other = {"matchLabels": {"app": "other"}}
    for kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"):
        yield f"{kind}, selector mismatch", workload(kind, selector=other)
        yield f"{kind}, no selector", without(workload(kind), "spec", "selector")
        yield f"{kind}, empty selector", workload(kind, selector={})
        yield f"{kind}, no template", without(workload(kind), "spec", "template")
        yield f"{kind}, no labels in the template", workload(kind, labels={})
        yield f"{kind}, restartPolicy Never", workload(kind, pod_spec={"restartPolicy": "Never"})
        if kind != "DaemonSet":
            yield f"{kind}, negative replicas", workload(kind, replicas=-1)
            yield f"{kind}, replicas are text", workload(kind, replicas="3")
            yield f"{kind}, replicas are fractional", workload(kind, replicas=1.5)
            yield f"{kind}, replicas above int32", workload(kind, replicas=2**31)
    yield "Deployment, no spec", without(workload(), "spec")
    yield "Job, restartPolicy Always", workload("Job", pod_spec={"restartPolicy": "Always"})
    yield "Job, negative parallelism", workload("Job", parallelism=-1)
    yield "Job, negative completions", workload("Job", completions=-1)
    yield "Job, negative backoffLimit", workload("Job", backoffLimit=-1)
    yield "Job, a selector of its own", workload("Job", selector={"matchLabels": LABELS})
    own = {"controller-uid": "1", "job-name": "web"}
    recorded = {"labels": {**LABELS, **own}, "selector": {"matchLabels": {"controller-uid": "1"}}}
    yield "Job, the selector of another", workload("Job", **recorded)
    yield (
        "Job, a selector that is meant",
        workload("Job", selector={"matchLabels": LABELS}, manualSelector=True),
    )
    unknown = {"matchExpressions": [{"key": "app", "operator": "Is", "values": ["web"]}]}
    yield "Deployment, unknown operator", workload(selector=unknown)
    no_values = {"matchExpressions": [{"key": "app", "operator": "In"}]}
    yield "Deployment, In without values", workload(selector=no_values)
    has_values = {"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["x"]}]}
    yield "Deployment, Exists with values", workload(selector=has_values)
    strategies: dict[str, Any] = {
        "maxSurge = maxUnavailable = 0": rolling(maxSurge=0, maxUnavailable=0),
        "maxSurge = maxUnavailable = 0%": rolling(maxSurge="0%", maxUnavailable="0%"),
        "negative maxSurge": rolling(maxSurge=-1),
        "negative maxUnavailable": rolling(maxUnavailable=-1),
        "maxUnavailable of 101%": rolling(maxUnavailable="101%"),
        "maxSurge of 101%": rolling(maxSurge="101%"),
        "maxSurge without %": rolling(maxSurge="5"),
        "maxSurge of words": rolling(maxSurge="some"),
        "maxSurge fractional": rolling(maxSurge="1.5%"),
        "unknown strategy": {"type": "Sideways"},
        "Recreate with rollingUpdate": {**rolling(maxSurge=1), "type": "Recreate"},
        "strategy without a type": {"rollingUpdate": {"maxSurge": 1}},
        "an empty strategy": {},
    }
    for name, strategy in strategies.items():
        yield f"Deployment, {name}", workload(strategy=strategy)
    yield "Deployment, negative minReadySeconds", workload(minReadySeconds=-1)
    yield (
        "Deployment, minReadySeconds above the deadline",
        workload(minReadySeconds=700),
    )
    yield "Deployment, negative revisionHistoryLimit", workload(revisionHistoryLimit=-1)
    yield (
        "StatefulSet, negative partition",
        workload("StatefulSet", updateStrategy=rolling(partition=-1)),
    )
    yield "StatefulSet, unknown strategy", workload("StatefulSet", updateStrategy={"type": "X"})
    yield (
        "StatefulSet, OnDelete with rollingUpdate",
        workload("StatefulSet", updateStrategy={**rolling(partition=1), "type": "OnDelete"}),
    )
    yield (
        "StatefulSet, unknown podManagementPolicy",
        workload("StatefulSet", podManagementPolicy="Sometimes"),
    )
    yield (
        "StatefulSet, no serviceName",
        without(workload("StatefulSet"), "spec", "serviceName"),
    )
    yield (
        "DaemonSet, maxUnavailable of 0",
        workload("DaemonSet", updateStrategy=rolling(maxUnavailable=0)),
    )
    yield "DaemonSet, unknown strategy", workload("DaemonSet", updateStrategy={"type": "X"})


def node_affinity(term: Manifest) -> Manifest:
    """Return a part of a pod's spec with a term of node affinity."""
    required = {"nodeSelectorTerms": [term]}
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    }


def pod_cases() -> Iterator[tuple[Any, ...]]:
    """Yield (name, manifest) of other bad fields of pods."""
    specs: dict[str, Any] = {
        "unknown restartPolicy": {"restartPolicy": "Sometimes"},
        "unknown priority class": {"priorityClassName": "nope"},
        "a priority without a class": {"priority": 5},
        "a negative grace period": {"terminationGracePeriodSeconds": -1},
        "a negative deadline": {"activeDeadlineSeconds": -1},
        "unknown DNS policy": {"dnsPolicy": "X"},
        "toleration: Equal without a key": {"tolerations": [{"value": "x"}]},
        "toleration: Exists with a value": {
            "tolerations": [{"key": "k", "operator": "Exists", "value": "x"}]
        },
        "toleration: unknown operator": {"tolerations": [{"key": "k", "operator": "Is"}]},
        "toleration: unknown effect": {"tolerations": [{"key": "k", "effect": "Maybe"}]},
        "toleration: seconds without NoExecute": {
            "tolerations": [{"key": "k", "effect": "NoSchedule", "tolerationSeconds": 5}]
        },
        "spread: maxSkew of 0": {
            "topologySpreadConstraints": [
                {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}
            ]
        },
        "spread: no topology key": {
            "topologySpreadConstraints": [{"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
        },
        "spread: unknown action": {
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "X"}
            ]
        },
        "spread: twice the same": {
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"},
                {"maxSkew": 2, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"},
            ]
        },
        "affinity: no topology key": {
            "affinity": {
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {"labelSelector": {"matchLabels": LABELS}}
                    ]
                }
            }
        },
        "affinity: no terms": {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}
                }
            }
        },
        "affinity: unknown operator": {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "a", "operator": "Is", "values": ["x"]}]}
                        ]
                    }
                }
            }
        },
        "affinity: Gt with words": {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["x"]}]}
                        ]
                    }
                }
            }
        },
        "affinity: weight of 0": {
            "affinity": {
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 0, "preference": {}}
                    ]
                }
            }
        },
        "affinity: weight of 101": {
            "affinity": {
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 101, "preference": {}}
                    ]
                }
            }
        },
        "volume mount without a volume": {
            "containers": [container(volumeMounts=[{"name": "v", "mountPath": "/v"}])]
        },
        "two volumes of one name": {
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]
        },
        "a runtime class that is not there": {"runtimeClassName": "nope"},
        "a service account that is not there": {"serviceAccountName": "nope"},
        "overhead without a runtime class": {"overhead": {"cpu": "1"}},
        "an unknown field": {"nodeSelectr": {"a": "b"}},
        "nodeName that is no name": {"nodeName": "Node 1"},
        "spread: neither skew nor action": {"topologySpreadConstraints": [{"topologyKey": "z"}]},
        "spread: In without values": {
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "z",
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]},
                }
            ]
        },
        "affinity: Gt of two numbers": node_affinity(
            {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1", "2"]}]}
        ),
        "affinity: a key that is none": node_affinity(
            {"matchExpressions": [{"key": "a/b/c", "operator": "Exists"}]}
        ),
        "affinity: another field": node_affinity(
            {"matchFields": [{"key": "spec.podCIDR", "operator": "In", "values": ["x"]}]}
        ),
        "affinity: a field of two values": node_affinity(
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["x", "y"]}]}
        ),
        "affinity: pods by a number": {
            "affinity": {
                "podAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 101,
                            "podAffinityTerm": {
                                "topologyKey": "z",
                                "labelSelector": {
                                    "matchExpressions": [
                                        {"key": "a", "operator": "Gt", "values": ["1"]}
                                    ]
                                },
                            },
                        }
                    ]
                }
            }
        },
        "two mounts at one place": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [container(volumeMounts=[{"name": "v", "mountPath": "/v"}] * 2)],
        },
        "a mount without a name and a place": {"containers": [container(volumeMounts=[{}])]},
        "host network, one port of two containers": {
            "hostNetwork": True,
            "containers": [container(each, ports=[{"containerPort": 80}]) for each in "ab"],
        },
    }
    for name, spec in specs.items():
        yield f"pod, {name}", pod(**spec)
        if "priority" not in name and "service account" not in name:
            yield f"Deployment, {name}", workload(pod_spec=spec)
    for name, port in {
        "port of 0": {"containerPort": 0},
        "port of 65536": {"containerPort": 65536},
        "port as text": {"containerPort": "http"},
        "hostPort of 65536": {"containerPort": 80, "hostPort": 65536},
        "unknown protocol": {"containerPort": 80, "protocol": "FTP"},
        "bad port name": {"containerPort": 80, "name": "Not_A_Port"},
        "port name of digits and hyphens": {"containerPort": 80, "name": "-1--2-"},
        "port name that is too long": {"containerPort": 80, "name": "a" * 16},
    }.items():
        yield f"pod, {name}", pod(container(ports=[port]))
    twice = [{"containerPort": 80, "hostPort": 80}] * 2
    yield "pod, a host port twice", pod(container(ports=twice))
    yield (
        "pod, host network and another host port",
        pod(container(ports=[{"containerPort": 80, "hostPort": 81}]), hostNetwork=True),
    )
    yield "pod, env without a name", pod(container(env=[{"value": "x"}]))
    yield "pod, unknown pull policy", pod(container(imagePullPolicy="Maybe"))


def update_cases() -> Iterator[tuple[Any, ...]]:
    """Yield (name, manifest, before, True) of refused changes."""
    other = {"selector": {"matchLabels": {"app": "b"}}, "labels": {"app": "b"}}
    for kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"):
        yield f"{kind}, selector changed", workload(kind, **other), [workload(kind)], True
    sts = "StatefulSet"
    yield "StatefulSet, serviceName changed", workload(sts, serviceName="b"), [workload(sts)], True
    yield (
        "StatefulSet, podManagementPolicy changed",
        workload(sts, podManagementPolicy="Parallel"),
        [workload(sts)],
        True,
    )
    yield (
        "StatefulSet, template and replicas changed",
        workload(sts, container("d"), replicas=2),
        [workload(sts)],
        True,
    )
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    yield (
        "StatefulSet, claim templates changed",
        workload(sts, volumeClaimTemplates=[claim]),
        [workload(sts)],
        True,
    )
    yield "Job, template changed", workload("Job", container("d")), [workload("Job")], True
    yield "Job, completions changed", workload("Job", completions=2), [workload("Job")], True
    yield "Job, parallelism changed", workload("Job", parallelism=2), [workload("Job")], True
    yield (
        "pod, resources changed",
        pod(container(resources=requests(cpu="2"))),
        [pod(container(resources=requests(cpu="1")))],
        True,
    )
    yield "pod, image changed", pod(container(image="y")), [pod()], True
    yield "pod, container renamed", pod(container("d")), [pod()], True
    yield "pod, node selector changed", pod(nodeSelector={"a": "b"}), [pod()], True
    yield "Deployment, exists already", workload(), [workload()]
    tolerant = pod(tolerations=[{"key": "a", "operator": "Exists"}])
    yield "pod, a toleration added", tolerant, [pod()], True
    yield "pod, a toleration taken away", pod(), [tolerant], True
    yield "pod, grace period changed", pod(terminationGracePeriodSeconds=5), [pod()], True
    rolled = {
        "defaults": {},
        "RollingUpdate": {"type": "RollingUpdate"},
        "half of it": rolling(maxSurge=1),
        "all of it": rolling(maxSurge=1, maxUnavailable=1),
    }
    for name, strategy in rolled.items():
        first = workload(**({"strategy": strategy} if strategy else {}))
        yield (
            f"Deployment, Recreate over {name}",
            workload(strategy={"type": "Recreate"}),
            [first],
            True,
        )
    rolled |= {"half of it": rolling(), "all of it": rolling(partition=1)}
    for name, strategy in rolled.items():
        first = workload(sts, **({"updateStrategy": strategy} if strategy else {}))
        yield (
            f"StatefulSet, OnDelete over {name}",
            workload(sts, updateStrategy={"type": "OnDelete"}),
            [first],
            True,
        )
    for name, before, after in (
        ("completions left out", {"completions": 2}, {}),
        ("completions of a queue", {"parallelism": 2}, {"parallelism": 2, "completions": 2}),
        ("a queue made of one", {}, {"parallelism": 2}),
        ("parallelism left out", {"parallelism": 2}, {}),
        ("all left out", {"parallelism": 2, "completions": 1}, {}),
    ):
        yield f"Job, {name}", workload("Job", **after), [workload("Job", **before)], True


def admission_cases() -> Iterator[tuple[Any, ...]]:
    """Yield (name, manifest, before) of quotas, limit ranges and budgets."""
    one = container(resources=requests(cpu="1", memory="1Gi"))
    limited = container(
        resources=requests(cpu="1", limit_cpu="2", memory="1Gi", limit_memory="2Gi")
    )
    for name, hard, made in (
        ("pods", {"pods": "0"}, pod()),
        ("count of pods", {"count/pods": "0"}, pod()),
        ("cpu", {"cpu": "500m"}, pod(one)),
        ("requests.cpu", {"requests.cpu": "500m"}, pod(one)),
        ("cpu and memory", {"cpu": "500m", "memory": "512Mi"}, pod(one)),
        ("limits.cpu", {"limits.cpu": "1"}, pod(limited)),
        ("limits.memory", {"limits.memory": "1Gi"}, pod(limited)),
        ("two names of cpu", {"cpu": "500m", "requests.cpu": "400m"}, pod(one)),
        ("cpu exactly used", {"cpu": "1"}, pod(one)),
        ("memory, canonical form", {"memory": "1000Mi"}, pod(one)),
        ("must specify cpu", {"cpu": "5"}, pod()),
        ("must specify cpu and memory", {"cpu": "5", "memory": "5Gi"}, pod()),
        ("must specify limits", {"limits.cpu": "5", "limits.memory": "5Gi"}, pod(one)),
        (
            "must specify cpu of the second container",
            {"cpu": "5"},
            pod(container("a", resources=requests(cpu="1")), container("b")),
        ),
        (
            "must specify cpu of the init container",
            {"cpu": "5"},
            pod(one, initContainers=[container("i")]),
        ),
        (
            "init container counts with the greatest",
            {"cpu": "2"},
            pod(one, initContainers=[container("i", resources=requests(cpu="3"))]),
        ),
        (
            "gpu",
            {"requests.nvidia.com/gpu": "1"},
            pod(container(resources=requests(gpu="2", limit_gpu="2"))),
        ),
        ("gpu not asked for", {"requests.nvidia.com/gpu": "1"}, pod()),
        ("count of deployments", {"count/deployments.apps": "0"}, workload()),
        ("count of jobs", {"count/jobs.batch": "0"}, workload("Job")),
        ("count of replica sets", {"count/replicasets.apps": "0"}, workload("ReplicaSet")),
        ("count of replica sets, a Deployment", {"count/replicasets.apps": "0"}, workload()),
        ("a limit alone counts as a request", {"cpu": "500m"}, pod(container(resources=requests(limit_cpu="1")))),
    ):  # fmt: skip
        head = quota()
        yield f"quota, {name}", made, [{**head, "spec": {"hard": hard}}]
    scoped = {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}
    yield "quota, scope BestEffort, such a pod", pod(), [{**quota(), "spec": scoped}]
    yield "quota, scope BestEffort, another pod", pod(one), [{**quota(), "spec": scoped}]
    scoped = {"hard": {"pods": "0"}, "scopes": ["NotTerminating"]}
    yield "quota, scope NotTerminating", pod(), [{**quota(), "spec": scoped}]
    two = [
        {**quota(pods="5"), "metadata": {"name": "a"}},
        {**quota(pods="0"), "metadata": {"name": "b"}},
    ]
    yield "quota, two of them", pod(), two
    yield "quota, negative", quota(pods="-1"), []
    yield "quota, fractional pods", quota(pods="500m"), []
    yield "quota, unknown resource", quota(nonsense="1"), []
    classes = [{"scopeName": "PriorityClass", "operator": "In", "values": []}]
    nowhere = [{"scopeName": "Nowhere", "operator": "Exists"}]
    likely = [{"scopeName": "PriorityClass", "operator": "Like", "values": ["high"]}]
    valued = [{"scopeName": "BestEffort", "operator": "Exists", "values": ["high"]}]
    named = [{"scopeName": "BestEffort", "operator": "In", "values": ["high"]}]
    for name, hard, more in (
        ("unknown scope", {"pods": "1"}, {"scopes": ["Nowhere"]}),
        ("two scopes that exclude each other", {"pods": "1"},
         {"scopes": ["BestEffort", "NotBestEffort"]}),
        ("a scope that does not limit services", {"services": "1"}, {"scopes": ["Terminating"]}),
        ("a scope that does not limit cpu", {"cpu": "1"}, {"scopes": ["BestEffort"]}),
        ("unknown scope of a selector", {"pods": "1"}, {"scopeSelector": {"matchExpressions": nowhere}}),
        ("no classes", {"pods": "1"}, {"scopeSelector": {"matchExpressions": classes}}),
        ("unknown operator", {"pods": "1"}, {"scopeSelector": {"matchExpressions": likely}}),
        ("Exists with values", {"pods": "1"}, {"scopeSelector": {"matchExpressions": valued}}),
        ("a scope with values", {"pods": "1"}, {"scopeSelector": {"matchExpressions": named}}),
    ):  # fmt: skip
        yield f"quota, {name}", {**quota(), "spec": {"hard": hard, **more}}, []
    yield (
        "quota, second pod",
        {**pod(one), "metadata": {"name": "second"}},
        [quota(cpu="1500m"), pod(one)],
    )

    for name, limits, made in (
        ("min", {"min": {"cpu": "2"}}, pod(one)),
        ("min, nothing asked", {"min": {"cpu": "2"}}, pod()),
        ("max", {"max": {"cpu": "500m"}}, pod(limited)),
        ("max, no limit", {"max": {"cpu": "500m"}}, pod(one)),
        ("max, request above", {"max": {"memory": "512Mi"}}, pod(limited)),
        ("ratio", {"maxLimitRequestRatio": {"cpu": "1"}}, pod(limited)),
        ("ratio, written with a point", {"maxLimitRequestRatio": {"cpu": "1.5"}}, pod(limited)),
        ("ratio, no limit", {"maxLimitRequestRatio": {"cpu": "2"}}, pod(one)),
        ("ratio, nothing asked", {"maxLimitRequestRatio": {"cpu": "2"}}, pod()),
        ("default", {"default": {"cpu": "2"}}, pod()),
        ("defaultRequest", {"defaultRequest": {"cpu": "250m"}}, pod()),
        ("default and defaultRequest", {"default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}, pod()),
        ("default, request above it", {"default": {"cpu": "500m"}}, pod(one)),
        ("max as default", {"max": {"cpu": "2"}}, pod()),
        ("min and max", {"min": {"cpu": "1"}, "max": {"cpu": "2"}}, pod()),
        ("min, max, both broken", {"min": {"cpu": "2", "memory": "2Gi"}}, pod(one)),
    ):  # fmt: skip
        yield f"limit range, {name}", made, [limit_range(**limits)]
    pair = pod(
        container("a", resources=requests(cpu="1", limit_cpu="1")),
        container("b", resources=requests(cpu="1", limit_cpu="1")),
    )
    yield "limit range of pods, max", pair, [limit_range("Pod", max={"cpu": "1500m"})]
    yield "limit range of pods, max, no limit", pod(), [limit_range("Pod", max={"cpu": "1500m"})]
    yield "limit range of pods, min", pair, [limit_range("Pod", min={"cpu": "3"})]
    yield (
        "limit range of pods, ratio",
        pod(limited),
        [limit_range("Pod", maxLimitRequestRatio={"cpu": "1"})],
    )
    with_init = pod(
        container("a", resources=requests(cpu="1", limit_cpu="1")),
        initContainers=[container("i", resources=requests(cpu="2", limit_cpu="2"))],
    )
    yield (
        "limit range of pods, init container",
        with_init,
        [limit_range("Pod", max={"cpu": "1500m"})],
    )
    yield "limit range of pods, default", limit_range("Pod", default={"cpu": "1"}), []
    yield "limit range, min > max", limit_range(min={"cpu": "2"}, max={"cpu": "1"}), []
    yield (
        "limit range, default > max",
        limit_range(default={"cpu": "2"}, max={"cpu": "1"}),
        [],
    )
    yield (
        "limit range, defaultRequest > default",
        limit_range(default={"cpu": "1"}, defaultRequest={"cpu": "2"}),
        [],
    )
    yield "limit range, ratio below 1", limit_range(maxLimitRequestRatio={"cpu": "500m"}), []
    yield "limit range, unknown type", limit_range("Cupboard", max={"cpu": "1"}), []
    yield (
        "quota and limit range, default makes it fit the quota",
        pod(),
        [quota(cpu="5"), limit_range(defaultRequest={"cpu": "1"})],
    )
    yield (
        "limit range and quota, both refuse",
        pod(one),
        [limit_range(max={"cpu": "500m"}), quota(pods="0")],
    )

    yield "budget, min and max", budget(minAvailable=1, maxUnavailable=1), []
    yield "budget, negative", budget(minAvailable=-1), []
    yield "budget, 101%", budget(maxUnavailable="101%"), []
    yield "budget, words", budget(minAvailable="some"), []
    yield "budget, neither", budget(), []
    yield "budget, bad selector", budget(minAvailable=1, selector={"matchLabels": {"a": "b c"}}), []


def form_cases() -> Iterator[tuple[Any, ...]]:
    """Yield (name, manifest) of objects that are malformed."""
    yield "kind of another path", {**workload(), "kind": "DaemonSet", "path": "Deployment"}
    yield "containers are a map", pod(containers={"name": "c"})
    yield "a container is text", {**pod(), "spec": {"containers": ["c"]}}
    yield "labels are a list", pod(labels=["a"])
    yield "resources are a list", pod(container(resources=[]))
    yield "requests are text", pod(container(resources={"requests": "1"}))
    yield "no name", {**pod(), "metadata": {}}
    yield "no metadata", without(pod(), "metadata")
    yield "generateName", {**pod(), "metadata": {"generateName": "p-"}}
    yield (
        "another namespace",
        {**pod(), "metadata": {"name": "p", "namespace": "nope"}},
    )
    yield "spec is null", {**pod(), "spec": None}
    yield "replicas are null", workload(replicas=None)


def cases() -> Iterator[dict[str, Any]]:
    """Yield all cases without answers."""
    for part in (
        resource_cases, name_cases, selector_cases, pod_cases, update_cases, admission_cases,
        form_cases,
    ):  # fmt: skip
        for name, manifest, *more in part():
            case = {"name": name, "manifest": manifest}
            if more and more[0]:
                case["before"] = more[0]
            if len(more) > 1:
                case["update"] = True
            yield case


def answer(plane: ControlPlane, case: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Ask an API server about a case in a namespace that does not exist yet; nothing stays."""
    plane.api.post(PATHS["v1.Namespace"], {"metadata": {"name": namespace}})
    update = case.get("update", False)
    for each in case.get("before", ()):
        _send(plane, each, path_of(each, namespace), apply=update)
        if each["kind"] == "ResourceQuota":
            _await_quota(plane, f"{path_of(each, namespace)}/{each['metadata']['name']}")
    manifest = dict(case["manifest"])
    kind = manifest.pop("path", None)
    path = PATHS[f"apps/v1.{kind}"].format(namespace) if kind else path_of(manifest, namespace)
    try:
        return _send(plane, manifest, path, apply=update, dryRun="All")
    finally:
        plane.api.delete(f"{PATHS['v1.Namespace']}/{namespace}")


def words(message: str) -> list[str]:
    """Return a message's words without their order: that of several faults differs each time."""
    return sorted(re.split(r"[\[\], ]+", message))


def _send(
    plane: ControlPlane, manifest: Any, path: str, *, apply: bool, **query: Any
) -> dict[str, Any]:
    try:
        if apply:
            path = f"{path}/{manifest['metadata']['name']}"
            made = plane.api.patch(
                path, manifest, APPLY, fieldManager="simkube", force="true", **query
            )
        else:
            made = plane.api.post(path, manifest, **query)
    except Refused as error:
        # addresses differ each time, and so does the form of the differences below the first line
        message = re.sub(r"0xc[0-9a-f]+", "0x0", error.message.partition("\n")[0])
        message = re.sub(r"[0-9a-f]{8}-[-0-9a-f]{27}", "UID", message)
        return {"code": error.code, "message": message}
    found: dict[str, Any] = {"code": 200 if apply else 201}
    if made["kind"] == "Pod":
        spec = made["spec"]
        stored = [
            each["resources"]
            for each in (*spec.get("initContainers", ()), *spec["containers"])
            if each["resources"]
        ]
        if stored:
            found["stored"] = stored
    return found


def _await_quota(plane: ControlPlane, path: str) -> None:
    """Wait until a quota counts: the controller has seen it, and then the admission's cache."""
    while "hard" not in plane.api.get(path).get("status", {}):
        time.sleep(0.01)
    time.sleep(0.05)


def record(plane: ControlPlane) -> dict[str, Any]:
    """Return the table of all cases with the answers of a server."""
    return {
        "about": ABOUT,
        "version": plane.version,
        "cases": [
            {**case, **answer(plane, case, f"answer-{number}")}
            for number, case in enumerate(cases())
        ],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        plane = ControlPlane(Path(sys.argv[1]), Path(folder))
        try:
            table = record(plane)
        finally:
            plane.stop()
    rows = ",\n".join(json.dumps(case) for case in table.pop("cases"))
    FILE.write_text(f'{json.dumps(table)[:-1]}, "cases": [\n{rows}\n]}}\n')
