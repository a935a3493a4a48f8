"""What an agent is to do: which workload, how many pods, by which actions, for which reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from simgit.errors import InvalidInput
from simgit.kube.cluster import PodSelection
from simgit.kube.manifest import Manifest, containers_of, full_name, gvk_of, lookup, name_of
from simgit.kube.observation import check_target
from simgit.kube.quantity import parse_quantity
from simgit.kube.simulation import Simulation
from simgit.kube.task.actions import ACTIONS, STANDARD, act
from simgit.kube.task.resources import read_resources, requests_of
from simgit.kube.task.reward import REWARDS
from simgit.kube.task.vectors import VECTORS
from simgit.kube.trace.edit import Workload, no_workload
from simgit.kube.trace.model import Trace

Order = Literal["after", "before"]
"""When the cluster is observed: after the action took effect, or before (the earlier loop)."""

_DEPLOYMENT: Final = "apps/v1.Deployment"


@dataclass(frozen=True, slots=True)
class Task:
    """The names are those of the registries; all of them are checked when a task is made.

    ``workload`` is 'name', 'namespace/name' or 'kind/namespace/name'; None is the first
    Deployment of a trace. ``step_penalty`` is read by cost_aware_v2 only.
    """

    target: int = 3
    reward: str = "shaped"
    workload: str | None = None
    actions: tuple[str, ...] = ()
    vector: str = "base"
    order: Order = "after"
    step_penalty: float = 0.0

    def __post_init__(self) -> None:
        """Fill in the seven actions where none are named; raise NotFound or InvalidInput."""
        check_target(self.target)
        REWARDS.get(self.reward)
        VECTORS.get(self.vector)
        if self.order not in get_args(Order):
            raise InvalidInput(f"bad order '{self.order}', expected after or before")
        if not 0.0 <= self.step_penalty < float("inf"):
            raise InvalidInput(f"bad step penalty '{self.step_penalty}', expected 0 or more")
        object.__setattr__(self, "actions", tuple(self.actions) or STANDARD)
        for name in self.actions:
            ACTIONS.get(name)
        if len(set(self.actions)) != len(self.actions):
            raise InvalidInput("an action is named twice", value=self.actions)

    def find(self, trace: Trace) -> Workload:
        """Return the workload that is meant in a trace, once everything about it is checked.

        Raises NotFound if it or its container is not there, InvalidInput for a bad quantity, a
        negative amount, or an action that its kind does not have.
        """
        match = _named(self.workload) if self.workload else _first(trace)
        found = [manifest for manifest in trace.applied() if match(manifest)]
        if not found:
            raise no_workload(trace, match)
        for manifest in found:
            _check(manifest)
        for action in self.actions:
            act(trace, match, action)
        return match


def _named(text: str) -> Workload:
    name, namespace, kind, *_ = *reversed(text.rsplit("/", 2)), None, None
    if name and namespace != "" and kind != "":
        return Workload(name, namespace, kind)
    raise InvalidInput(f"bad workload '{text}', expected [[kind/]namespace/]name")


def _first(trace: Trace) -> Workload:
    for manifest in trace.applied():
        if gvk_of(manifest) == _DEPLOYMENT:
            namespace, _, name = full_name(manifest).partition("/")
            return Workload(name, namespace, _DEPLOYMENT)
    raise no_workload(trace, Workload("*", gvk=_DEPLOYMENT))


def _check(manifest: Manifest) -> None:
    resources = read_resources(manifest)
    if min(resources.cpu_m, resources.memory, resources.replicas) < 0:
        raise InvalidInput(f"negative request or replicas in '{full_name(manifest)}'")
    for container in containers_of(manifest):
        for text in requests_of(container).values():
            parse_quantity(text)


def selection(trace: Trace, match: Workload, simulation: Simulation) -> PodSelection:
    """Return which pods are the workload's: those labelled ``app=<name>``.

    Where its pods have no such label, the first label of its selector is taken.
    """
    manifest = [each for each in trace.applied() if match(each)][-1]
    namespace = full_name(manifest).partition("/")[0]
    label, value = _label(manifest)
    return PodSelection(simulation.namespace(namespace), value, label)


def _label(manifest: Manifest) -> tuple[str, str]:
    name = name_of(manifest)
    chosen: Any = lookup(manifest, ("spec", "selector", "matchLabels")) or {}
    app = lookup(manifest, ("spec", "template", "metadata", "labels", "app"))
    if app == name or not chosen or not isinstance(chosen, Mapping):
        return "app", name
    label = min(chosen)
    return label, str(chosen[label])


def written_requests(trace: Trace, match: Workload) -> dict[str, Any]:
    """Return cpu, memory and replicas of the workload as it is last applied, as it is written."""
    manifest = [each for each in trace.applied() if match(each)][-1]
    requests = requests_of(containers_of(manifest)[0])
    replicas = lookup(manifest, ("spec", "replicas"))
    return {
        "cpu": str(requests.get("cpu", "0")),
        "memory": str(requests.get("memory", "0")),
        "replicas": 1 if replicas is None else replicas,
    }
