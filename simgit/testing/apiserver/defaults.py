"""The API server's defaults, which it stores with an object, and its form of quantities."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.manifest import TEMPLATE_PATHS, gvk_of, lookup
from simgit.kube.quantity import canonical
from simgit.testing.apiserver.objects import Json

_POD = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "securityContext": {},
}
_ROLLING = {"maxSurge": "25%", "maxUnavailable": "25%"}
_SPECS: Mapping[str, Mapping[str, Any]] = {
    "apps/v1.Deployment": {
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": _ROLLING},
    },
    "apps/v1.ReplicaSet": {"replicas": 1},
    "apps/v1.StatefulSet": {
        "replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
    },
    "apps/v1.DaemonSet": {
        "revisionHistoryLimit": 10,
        "updateStrategy": {
            "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
        },
    },
    "batch/v1.CronJob": {
        "concurrencyPolicy": "Allow", "suspend": False,
        "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
    },
    "batch/v1.Job": {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False},
}  # fmt: skip
_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": "NoExecute",
     "tolerationSeconds": 300}
    for name in ("not-ready", "unreachable")
]  # fmt: skip


def with_defaults(value: Json) -> Json:
    """Return an object with defaults and canonical quantities.

    Raises InvalidInput for a quantity that cannot be read.
    """
    kind = gvk_of(value)
    if kind == "v1.Node":
        return _node(value)
    if kind not in TEMPLATE_PATHS or not isinstance(value.get("spec"), Mapping):
        return value
    value = copy.deepcopy(value)
    spec = value["spec"]
    _fill(spec, _SPECS.get(kind, {}))
    if kind == "batch/v1.Job" and spec.get("completions") is None and not spec.get("parallelism"):
        spec["completions"] = 1
    if kind == "batch/v1.Job":
        spec.setdefault("parallelism", 1)
    template = lookup(value, TEMPLATE_PATHS[kind])
    pod = template.get("spec") if isinstance(template, Mapping) else None
    if isinstance(pod, dict):
        _pod(pod)
        if kind == "v1.Pod":
            _bare_pod(pod)
    return value


def _fill(target: Json, defaults: Mapping[str, Any]) -> None:
    for name, default in defaults.items():
        if target.get(name) is None:
            target[name] = copy.deepcopy(default)
        elif isinstance(default, Mapping) and isinstance(target[name], dict):
            kind = default.get("type")  # maxSurge belongs to RollingUpdate only
            _fill(target[name], default if target[name].get("type", kind) == kind else {})


def _pod(spec: Json) -> None:
    _fill(spec, _POD)
    for name in ("containers", "initContainers"):
        for container in spec.get(name) or ():
            if isinstance(container, dict):
                _container(container)


def _container(container: Json) -> None:
    image = str(container.get("image") or "")
    always = image.endswith(":latest") or ":" not in image.rpartition("/")[2]
    container.setdefault("imagePullPolicy", "Always" if always else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.get("resources")
    if resources is None:
        container["resources"] = {}
    elif isinstance(resources, dict):
        for part in ("requests", "limits"):
            if isinstance(resources.get(part), Mapping):
                resources[part] = _quantities(resources[part])
        if isinstance(resources.get("limits"), Mapping):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def _bare_pod(spec: Json) -> None:
    """Do what admission does to a pod: tolerate nodes that are not ready for five minutes."""
    tolerations = spec.get("tolerations") or []
    keys = {each.get("key") for each in tolerations}
    missing = [each for each in _TOLERATIONS if each["key"] not in keys]
    spec["tolerations"] = [*tolerations, *copy.deepcopy(missing)]
    spec.setdefault("serviceAccountName", "default")


def _node(value: Json) -> Json:
    value = copy.deepcopy(value)
    status = value.get("status")
    if isinstance(status, dict):
        for part in ("capacity", "allocatable"):
            if isinstance(status.get(part), Mapping):
                status[part] = _quantities(status[part])
        if "capacity" in status:
            status.setdefault("allocatable", dict(status["capacity"]))
    value.setdefault("spec", {})
    return value


def _quantities(amounts: Mapping[str, Any]) -> Json:
    try:
        return {name: canonical(amount) for name, amount in amounts.items()}
    except InvalidInput as error:
        raise InvalidInput(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            **{key: item for key, item in vars(error).items() if key != "message"},
        ) from error
