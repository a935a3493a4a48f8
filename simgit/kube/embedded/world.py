"""The world of the embedded cluster: nodes, pods and time, and the loop that settles them.

At one instant of virtual time the controllers act until none has more to do, then the
scheduler empties its queue, then the next pod becomes ready, and so on until nothing is due.
The order is fixed, so that the same input gives the same world.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from simgit.errors import ClusterError, InvalidInput
from simgit.kube.embedded.admission import Admission
from simgit.kube.embedded.clock import Clock
from simgit.kube.embedded.disruption import Disruptions
from simgit.kube.embedded.labels import UNREACHABLE, Taint, patience
from simgit.kube.embedded.limit_range import LimitRanges
from simgit.kube.embedded.nodes import RUNNING, SUCCEEDED, Node, NodeSpec, Owner, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.quota import Quotas
from simgit.kube.embedded.scheduler.scheduler import Scheduler
from simgit.kube.manifest import Manifest

MAX_PODS = 10_000
MAX_STEPS = 5_000_000
_SHORTEST_STAY = 1
"""Seconds that a pod stays before it is evicted: with none it would be replaced for ever."""

SYSTEM_PRIORITIES = {
    "system-cluster-critical": (2_000_000_000, True),
    "system-node-critical": (2_000_001_000, True),
}


class ClusterEvent(NamedTuple):
    """An event about an object; ``time`` is in virtual milliseconds."""

    time: int
    kind: str
    namespace: str
    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for pods from outside the control plane: start delays and lifetimes."""

    created: Callable[[Pod], None]
    """Called with every new pod, in the order of creation."""
    start_delay: Callable[[Pod], int]
    """Return the milliseconds from bound to ready."""
    lifetime: Callable[[Pod], int | None]
    """Return the milliseconds from ready to succeeded, None for a pod that never ends."""


class Synced(Protocol):
    """An object that waits for its sync: a ``controllers.controller.Controller``."""

    marked: bool
    gone: bool
    failure: str

    @property
    def owner(self) -> object: ...

    def mark(self) -> None: ...

    def sync(self) -> None: ...


class Policy(Protocol):
    """Objects that rule over the pods of their namespace, such as ResourceQuotas."""

    def put(self, manifest: Manifest, namespace: str, name: str) -> None: ...

    def drop(self, namespace: str, name: str) -> None: ...


class World:
    """The state of the embedded cluster, which controllers and scheduler change."""

    def __init__(
        self,
        nodes: Iterable[NodeSpec],
        rules: Rules,
        *,
        start_ms: int,
        seed: int,
        max_pods: int,
        max_steps: int,
    ) -> None:
        """Start with empty nodes, at a virtual time in milliseconds."""
        self.clock = Clock(start_ms)
        self.rules = rules
        self.max_pods = max_pods
        self.max_steps = max_steps
        self._steps = 0
        self.marked: deque[Synced] = deque()
        self.pods: dict[int, Pod] = {}
        self.priorities: dict[str, tuple[int, bool]] = dict(SYSTEM_PRIORITIES)
        self.quotas = Quotas(self.pods)
        self.disruptions = Disruptions(self.pods)
        limits = LimitRanges()
        self.admission = Admission(limits, self.quotas, self.priorities)
        self.refused: dict[Synced, None] = {}
        self.policies: dict[str, Policy] = {
            "v1.LimitRange": limits,
            "v1.ResourceQuota": self.quotas,
            "policy/v1.PodDisruptionBudget": self.disruptions,
        }
        self.events: list[ClusterEvent] = []
        decisions = (self._bound, self._preempted, self._unschedulable)
        self.scheduler = Scheduler(seed, self.clock, *decisions)
        self.scheduler.disruptions = self.disruptions
        self.scheduler.nodes = [Node(spec, index) for index, spec in enumerate(nodes)]
        self._starting: deque[Pod] = deque()
        self._uid = 0

    @property
    def nodes(self) -> list[Node]:
        """All nodes, unreachable ones included."""
        return self.scheduler.nodes

    def log(self, kind: str, namespace: str, name: str, reason: str, message: str) -> None:
        """Add an event."""
        self.events.append(ClusterEvent(self.clock.now, kind, namespace, name, reason, message))

    def settle(self) -> None:
        """Let everything happen that is due now; raises ClusterError beyond the limit of steps."""
        while self._step():
            self._steps += 1
            if self._steps > self.max_steps:
                raise ClusterError(f"simulation takes more than {self.max_steps} steps")

    def _step(self) -> bool:
        if self.marked:
            controller = self.marked.popleft()
            controller.marked = False
            self.refused.pop(controller, None)
            if not controller.gone:
                controller.sync()
        elif self.scheduler.step():
            pass
        elif self._starting:
            self._become_ready(self._starting.popleft())
        else:
            due = self.clock.pop_due()
            if due is None:
                return False
            due()
        return True

    def advance(self, milliseconds: int) -> None:
        """Let virtual time pass, and settle whenever something is due."""
        end = self.clock.now + milliseconds
        self.settle()
        while (due := self.clock.next_time()) is not None and due <= end:
            self.clock.now = due
            self.settle()
        self.clock.now = end

    def new_pod(self, name: str, namespace: str, facts: PodFacts, owner: Owner) -> Pod:
        """Return a new pod, not yet admitted; raises InvalidInput beyond the limit of pods."""
        if len(self.pods) >= self.max_pods:
            raise InvalidInput(f"cluster has more than {self.max_pods} pods")
        self._uid += 1
        pod = Pod(self._uid, name, namespace, facts, owner, self.clock.now)
        self.pods[pod.uid] = pod
        self.quotas.joined(pod)
        return pod

    def admit(self, pod: Pod) -> None:
        """Queue a pod for the scheduler, or place it on the node that it names."""
        self.rules.created(pod)
        if not pod.facts.node_name:
            self.scheduler.add(pod)
            return
        for node in self.nodes:
            if node.name == pod.facts.node_name:
                self.scheduler.place_on(pod, node)
                return
        pod.message = f"no node '{pod.facts.node_name}'"

    def delete_pod(self, pod: Pod, reason: str, message: str) -> None:
        """Delete a pod at once, as KWOK does, and tell its owner and the scheduler."""
        if pod.removed:
            return
        pod.removed = True
        del self.pods[pod.uid]
        freed = self.quotas.left(pod)
        self.log("Pod", pod.namespace, pod.name, reason, message)
        self.scheduler.forget(pod)
        if pod.node is not None and not pod.finished:
            pod.node.remove(pod)
            self.scheduler.pod_left(pod)
        pod.owner.pod_gone(pod)
        if freed:
            self.wake()

    def wake(self) -> None:
        """Sync again all that was refused, the first refused first: perhaps it is admitted now."""
        for controller in self.refused:
            controller.mark()

    def _bound(self, pod: Pod, node: Node) -> None:
        pod.node = node
        pod.bound_at = self.clock.now
        self.log("Pod", pod.namespace, pod.name, "Scheduled", f"assigned to {node.name}")
        if node.evicts:
            self._limit_stay(pod, node)
        delay = self.rules.start_delay(pod)
        if delay <= 0:
            self._starting.append(pod)
        else:
            self.clock.at(self.clock.now + delay, lambda: self._become_ready(pod))

    def _become_ready(self, pod: Pod) -> None:
        if pod.removed or pod.node is None or not pod.node.ready:
            return
        pod.phase, pod.ready, pod.ready_at = RUNNING, True, self.clock.now
        lifetime = self.rules.lifetime(pod)
        if lifetime is not None:
            self.clock.at(self.clock.now + lifetime, lambda: self._finish(pod))
        pod.owner.pod_ready(pod)

    def _finish(self, pod: Pod) -> None:
        assert pod.node is not None
        if pod.removed or not pod.ready or not pod.node.ready:
            return
        pod.node.remove(pod)
        pod.phase, pod.ready = SUCCEEDED, False
        freed = self.quotas.ended(pod)
        self.log("Pod", pod.namespace, pod.name, "Completed", "pod has succeeded")
        self.scheduler.pod_left(pod)
        pod.owner.pod_finished(pod)
        if freed:
            self.wake()

    def _preempted(self, victim: Pod, by: Pod) -> None:
        self.delete_pod(victim, "Preempted", f"preempted by {by.namespace}/{by.name}")

    def _unschedulable(self, pod: Pod, why: str) -> None:
        self.log("Pod", pod.namespace, pod.name, "FailedScheduling", why)

    def lose_node(self, name: str) -> None:
        """Make a node unreachable: its pods are unready at once, and evicted when they must be."""
        for node in self.nodes:
            if node.name == name and node.ready:
                self._cut_off(node)

    def _cut_off(self, node: Node) -> None:
        node.ready = False
        hard = (Taint(UNREACHABLE, "", "NoSchedule"), Taint(UNREACHABLE, "", "NoExecute"))
        node.taints = (*node.taints, *hard)
        self.log("Node", "", node.name, "NodeNotReady", "node is unreachable")
        for pod in list(node.pods.values()):
            if pod.ready:
                pod.ready = False
                pod.owner.pod_unready(pod)
            self._limit_stay(pod, node)
        self.scheduler.nodes_changed()

    def _limit_stay(self, pod: Pod, node: Node) -> None:
        """Plan the eviction of a pod that tolerates the node's taints only for some time."""
        seconds = patience(node.taints, pod.facts.tolerations)
        if seconds is not None:
            due = self.clock.now + 1000 * max(_SHORTEST_STAY, seconds)
            self.clock.at(due, lambda: self._evict(pod))

    def _evict(self, pod: Pod) -> None:
        if not pod.finished:
            self.delete_pod(pod, "TaintManagerEviction", "its node has a taint")
