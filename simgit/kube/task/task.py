"""The task of an agent: a workload, a number of pods, actions, a reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from simgit.errors import InvalidInput
from simgit.kube.cluster import PodSelection
from simgit.kube.manifest import Manifest, containers_of, full_name, gvk_of, lookup, name_of
from simgit.kube.observation import check_target
from simgit.kube.quantity import parse_quantity
from simgit.kube.simulation import SimulationSpec
from simgit.kube.task.actions import ACTIONS, STANDARD, act
from simgit.kube.task.resources import last_applied, read_resources, requests_of
from simgit.kube.task.reward import REWARDS
from simgit.kube.task.vectors import VECTORS
from simgit.kube.trace.edit import ANY, Workload, no_workload
from simgit.kube.trace.model import Trace

Order = Literal["after", "before"]
"""The time of an observation: after the action took effect, or before as in the old loop."""

_DEPLOYMENT: Final = "apps/v1.Deployment"


@dataclass(frozen=True, slots=True)
class Task:
    """The parameters of a task, by the names of the registries; all are checked at once.

    ``workload`` is 'name', 'namespace/name' or 'kind/namespace/name'; None is the first
    Deployment of a trace. Only cost_aware_v2 reads ``step_penalty``.
    """

    target: int = 3
    reward: str = "shaped"
    workload: str | None = None
    actions: tuple[str, ...] = ()
    vector: str = "base"
    order: Order = "after"
    step_penalty: float = 0.0

    def __post_init__(self) -> None:
        """Fill in the standard actions if none are named; raises NotFound or InvalidInput."""
        check_target(self.target)
        REWARDS.get(self.reward)
        VECTORS.get(self.vector)
        if self.order not in get_args(Order):
            raise InvalidInput(f"order must be 'after' or 'before', got '{self.order}'")
        if not 0.0 <= self.step_penalty < float("inf"):
            raise InvalidInput(f"step penalty must be 0 or more, got '{self.step_penalty}'")
        object.__setattr__(self, "actions", tuple(self.actions) or STANDARD)
        for name in self.actions:
            ACTIONS.get(name)
        if len(set(self.actions)) != len(self.actions):
            twice = next(name for name in self.actions if self.actions.count(name) > 1)
            raise InvalidInput(f"action '{twice}' is named twice", value=self.actions)

    def find(self, trace: Trace) -> Workload:
        """Return the task's workload in a trace, after checking it.

        Raises NotFound if it or its container does not exist, InvalidInput for a bad quantity, a
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
    raise InvalidInput(f"workload must be [[kind/]namespace/]name, got '{text}'")


def _first(trace: Trace) -> Workload:
    for manifest in trace.applied():
        if gvk_of(manifest) == _DEPLOYMENT:
            namespace, _, name = full_name(manifest).partition("/")
            return Workload(name, namespace, _DEPLOYMENT)
    raise no_workload(trace, Workload(ANY, gvk=_DEPLOYMENT))


def _check(manifest: Manifest) -> None:
    resources = read_resources(manifest)
    if min(resources.cpu_m, resources.memory, resources.replicas) < 0:
        raise InvalidInput(f"requests and replicas must be 0 or more in '{full_name(manifest)}'")
    for container in containers_of(manifest):
        for text in requests_of(container).values():
            parse_quantity(text)


def selection(trace: Trace, match: Workload, simulation: SimulationSpec) -> PodSelection:
    """Return the selection of the workload's pods: those labelled ``app=<name>``.

    If its pods have no such label, the first label of its selector is used.
    """
    manifest = last_applied(trace, match)
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


def written_requests(manifest: Manifest) -> dict[str, Any]:
    """Return cpu, memory and replicas as a workload writes them."""
    requests = requests_of(containers_of(manifest)[0])
    replicas = lookup(manifest, ("spec", "replicas"))
    return {
        "cpu": str(requests.get("cpu", "0")),
        "memory": str(requests.get("memory", "0")),
        "replicas": 1 if replicas is None else replicas,
    }
