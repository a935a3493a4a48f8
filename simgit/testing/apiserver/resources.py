"""The resources that the server knows: Kubernetes' own, and those of CRDs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ApiResource:
    """A resource: where it is served, and what it may do."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    subresources: frozenset[str] = frozenset()
    custom: bool = False

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full(self) -> str:
        """The name in messages: ``deployments.apps``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def gvk(self) -> str:
        """The kind as traces write it: ``apps/v1.Deployment``."""
        return f"{self.api_version}.{self.kind}"

    @property
    def has_status(self) -> bool:
        """True if the status is written by a path of its own."""
        return "status" in self.subresources


NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of which Kubernetes makes the ends of names."""
_TABLE = """
v1 Namespace namespaces - status,finalize
v1 Pod pods ns status,binding,eviction,log
v1 Node nodes - status
v1 Event events ns
v1 Service services ns status
v1 ConfigMap configmaps ns
v1 Secret secrets ns
v1 ServiceAccount serviceaccounts ns
v1 ResourceQuota resourcequotas ns status
v1 LimitRange limitranges ns
v1 Endpoints endpoints ns
v1 PersistentVolumeClaim persistentvolumeclaims ns status
v1 PersistentVolume persistentvolumes - status
v1 ReplicationController replicationcontrollers ns status
v1 PodTemplate podtemplates ns
apps/v1 Deployment deployments ns status
apps/v1 ReplicaSet replicasets ns status
apps/v1 StatefulSet statefulsets ns status
apps/v1 DaemonSet daemonsets ns status
apps/v1 ControllerRevision controllerrevisions ns
batch/v1 Job jobs ns status
batch/v1 CronJob cronjobs ns status
coordination.k8s.io/v1 Lease leases ns
apiextensions.k8s.io/v1 CustomResourceDefinition customresourcedefinitions - status
scheduling.k8s.io/v1 PriorityClass priorityclasses -
policy/v1 PodDisruptionBudget poddisruptionbudgets ns status
autoscaling/v2 HorizontalPodAutoscaler horizontalpodautoscalers ns status
networking.k8s.io/v1 Ingress ingresses ns status
networking.k8s.io/v1 NetworkPolicy networkpolicies ns
storage.k8s.io/v1 StorageClass storageclasses -
rbac.authorization.k8s.io/v1 Role roles ns
rbac.authorization.k8s.io/v1 RoleBinding rolebindings ns
rbac.authorization.k8s.io/v1 ClusterRole clusterroles -
rbac.authorization.k8s.io/v1 ClusterRoleBinding clusterrolebindings -
admissionregistration.k8s.io/v1 MutatingWebhookConfiguration mutatingwebhookconfigurations -
admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration validatingwebhookconfigurations -
authorization.k8s.io/v1 SelfSubjectAccessReview selfsubjectaccessreviews -
"""


def _row(line: str) -> ApiResource:
    api_version, kind, plural, scope, *more = line.split()
    group, _, version = api_version.rpartition("/")
    subresources = frozenset(more[0].split(",")) if more else frozenset[str]()
    return ApiResource(group, version, kind, plural, scope == "ns", subresources)


BUILT_IN = tuple(_row(line) for line in _TABLE.strip().splitlines())
_BY_PLURAL = {resource.full: resource for resource in BUILT_IN}

NAMESPACES, PODS, NODES, EVENTS = (
    _BY_PLURAL[name] for name in ("namespaces", "pods", "nodes", "events")
)
DEPLOYMENTS, REPLICA_SETS, JOBS = (
    _BY_PLURAL[name] for name in ("deployments.apps", "replicasets.apps", "jobs.batch")
)
STATEFUL_SETS, DAEMON_SETS = (_BY_PLURAL[name] for name in ("statefulsets.apps", "daemonsets.apps"))
CRON_JOBS = _BY_PLURAL["cronjobs.batch"]
LEASES = _BY_PLURAL["leases.coordination.k8s.io"]
CRDS = _BY_PLURAL["customresourcedefinitions.apiextensions.k8s.io"]
PRIORITY_CLASSES = _BY_PLURAL["priorityclasses.scheduling.k8s.io"]
SERVICES = _BY_PLURAL["services"]
WEBHOOKS = _BY_PLURAL["mutatingwebhookconfigurations.admissionregistration.k8s.io"]
ACCESS_REVIEWS = _BY_PLURAL["selfsubjectaccessreviews.authorization.k8s.io"]
WORKLOADS = frozenset(
    {DEPLOYMENTS, REPLICA_SETS, JOBS, STATEFUL_SETS, DAEMON_SETS, CRON_JOBS, PODS}
)
"""Resources whose objects run pods."""


def resources_of(crd: Mapping[str, Any]) -> dict[ApiResource, Mapping[str, Any]]:
    """Return the resource and the OpenAPI schema of each served version of a CRD."""
    spec = crd["spec"]
    found = {}
    for version in spec["versions"]:
        if version.get("served", True):
            resource = ApiResource(
                spec["group"],
                version["name"],
                spec["names"]["kind"],
                spec["names"]["plural"],
                spec["scope"] == "Namespaced",
                frozenset(version.get("subresources") or ()),
                custom=True,
            )
            found[resource] = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    return found
