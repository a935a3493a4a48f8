"""Contents of a trace that the embedded cluster ignores, and what a real cluster does with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from simgit.kube.manifest import Manifest, full_name, gvk_of, lookup, namespace_of, template_of
from simgit.kube.trace.model import Trace

_KINDS = {
    "HorizontalPodAutoscaler": "replicas change with the load",
    "VerticalPodAutoscaler": "requests change with the use",
    "ReplicationController": "its pods run",
    "ResourceClaim": "pods wait for its devices",
    "ResourceClaimTemplate": "pods wait for its devices",
    "RuntimeClass": "its overhead is added to pods",
    "MutatingWebhookConfiguration": "objects may be changed",
    "ValidatingWebhookConfiguration": "objects may be refused",
}
_OLD_BUDGET = "policy/v1beta1.PodDisruptionBudget"
COUNTED = {
    "CronJob": "cronjobs.batch",
    "DaemonSet": "daemonsets.apps",
    "Deployment": "deployments.apps",
    "Job": "jobs.batch",
    "ReplicaSet": "replicasets.apps",
    "StatefulSet": "statefulsets.apps",
}
"""Kinds whose objects a quota may count: the resource of each."""
NATIVE = ("cpu", "memory", "ephemeral-storage")
_OF_PODS = frozenset(
    ("pods", "count/pods", *(p + n for p in ("", "requests.", "limits.") for n in NATIVE))
)
_RETIRED = ("extensions/v1beta1", "apps/v1beta1", "apps/v1beta2", "batch/v1beta1")
_RETIRED_KINDS = frozenset({"CronJob", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"})


def covers(resource: str) -> bool:
    """Return True if an entry of a quota is modelled: about pods, or a number of objects."""
    if resource.startswith("count/"):
        return resource[6:] in ("pods", *COUNTED.values())
    return is_of_pods(resource)


def is_of_pods(resource: str) -> bool:
    """Return True if an entry of a quota is about pods."""
    asked = resource.removeprefix("requests.")
    is_extended = asked != resource and "/" in asked and "kubernetes.io/" not in asked
    return resource in _OF_PODS or asked.startswith("hugepages-") or is_extended


def unmodelled_kind(gvk: str) -> str | None:
    """Return what a real cluster does with an object of a kind that is ignored, None for nothing.

    Kinds of other groups than Kubernetes' own may have controllers that run pods.
    """
    if gvk == _OLD_BUDGET:
        return "an API server without policy/v1beta1 refuses it"
    version, _, kind = gvk.rpartition(".")
    group = version.rpartition("/")[0]
    if version in _RETIRED and kind in _RETIRED_KINDS:
        return f"an API server without {version} refuses it, and one that has it runs its pods"
    if "." in group and not group.endswith(".k8s.io"):
        return _KINDS.get(kind, "its controller may run pods")
    return _KINDS.get(kind)


def unmodelled(trace: Trace) -> list[str]:
    """Return a line for each thing that is ignored, with the first object that has it."""
    found: dict[str, str] = {}
    accounts = {full_name(m) for m in trace.applied() if gvk_of(m) == "v1.ServiceAccount"}
    for manifest in trace.applied():
        for what in _ignored(manifest, accounts):
            found.setdefault(what, full_name(manifest))
    return [f"{what} (the first is '{name}')" for what, name in found.items()]


def _ignored(manifest: Manifest, accounts: Set[str]) -> Iterator[str]:
    gvk = gvk_of(manifest)
    told = unmodelled_kind(gvk)
    if told is not None:
        yield f"{gvk} is ignored; in a real cluster {told}"
    for field, effect in (*_ignored_fields(manifest, accounts), *_ignored_amounts(manifest)):
        yield f"{field} of {gvk} is ignored; in a real cluster {effect}"


def _ignored_amounts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    hard = lookup(manifest, ("spec", "hard"))
    if gvk_of(manifest) == "v1.ResourceQuota" and isinstance(hard, Mapping):
        for resource in hard:
            if not covers(str(resource)):
                yield f"'{resource}'", "objects beyond it are refused"


def _ignored_fields(manifest: Manifest, accounts: Set[str]) -> Iterator[tuple[str, str]]:
    spec: Any = lookup(template_of(manifest) or {}, ("spec",))
    if not isinstance(spec, Mapping):
        return
    if spec.get("schedulerName") not in (None, "", "default-scheduler"):
        yield "schedulerName", "another scheduler places its pods, or nothing does"
    if spec.get("runtimeClassName"):
        yield "runtimeClassName", "the class has to exist, and may add overhead"
    account = spec.get("serviceAccountName")
    if account not in (None, "", "default") and (
        f"{namespace_of(manifest)}/{account}" not in accounts
    ):
        yield "serviceAccountName", "its pods are refused while there is no such account"
    if spec.get("resourceClaims"):
        yield "resourceClaims", "its pods wait for devices"
    if lookup(manifest, ("spec", "volumeClaimTemplates")):
        yield "volumeClaimTemplates", "its pods wait for volumes"
    volumes = spec.get("volumes")
    for volume in volumes if isinstance(volumes, (list, tuple)) else ():
        if isinstance(volume, Mapping) and (
            volume.get("persistentVolumeClaim") or volume.get("ephemeral")
        ):
            yield "a volume claim", "its pods wait until it exists and is bound"
