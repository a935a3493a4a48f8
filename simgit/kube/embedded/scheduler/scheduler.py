"""The scheduler: one pod at a time, by priority, then by waiting time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence

from simgit.kube.embedded.clock import Clock
from simgit.kube.embedded.disruption import Disruptions
from simgit.kube.embedded.nodes import Node, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.scheduler.filters import (
    NODE_AFFINITY,
    Cycle,
    Refusal,
    named_nodes,
    refusal,
    refusal_with_nominated,
)
from simgit.kube.embedded.scheduler.messages import (
    NEVER_PREEMPTS,
    NO_NODES,
    conflict_error,
    fit_error,
    not_eligible,
    not_preempted,
)
from simgit.kube.embedded.scheduler.preemption import PreemptionCandidate, preempt
from simgit.kube.embedded.scheduler.queueing_hints import (
    NOTHING_TO_TRY,
    helps_when_gone,
    helps_when_placed,
)
from simgit.kube.embedded.scheduler.scoring import score

GATED = "Scheduling is blocked due to non-empty scheduling gates"
_OTHER_NODES = f"node(s) didn't satisfy plugin(s) [{NODE_AFFINITY}]"
_CONFLICT = frozenset({NODE_AFFINITY})
_FLUSH_MS = 300_000
"""The time after which a pod is retried that no queueing hint brought back."""
_NO_NODES = frozenset({NOTHING_TO_TRY})

Bind = Callable[[Pod, Node], None]
Evict = Callable[[Pod, Pod], None]
Tell = Callable[[Pod, str], None]


class Scheduler:
    """The queue of pods, and the decisions about them: bind, evict or tell why not."""

    def __init__(self, seed: int, clock: Clock, bind: Bind, evict: Evict, tell: Tell) -> None:
        """Report decisions by ``bind(pod, node)``, ``evict(victim, by)``, ``tell(pod, why)``."""
        self.nodes: list[Node] = []
        self.disruptions: Disruptions | None = None
        self.unschedulable: dict[int, Pod] = {}
        self._clock = clock
        self._bind, self._evict, self._tell = bind, evict, tell
        self._active: list[tuple[int, int, Pod]] = []
        self._seed = seed
        self._random: random.Random | None = None
        self._count = 0
        self._version = 0
        self._failures: dict[PodFacts, tuple[int, str, frozenset[str]]] = {}

    def add(self, pod: Pod) -> None:
        """Queue a pod, unless it is gated or for another scheduler."""
        if pod.facts.foreign:
            return
        if pod.facts.gated:
            pod.message = GATED
            self._tell(pod, GATED)
            return
        self._line_up(pod)
        self._activate(pod)

    def step(self) -> bool:
        """Try the next pod of the queue; return False if there is none."""
        while self._active:
            pod = heapq.heappop(self._active)[2]
            if not pod.removed and pod.node is None:
                self._attempt(pod)
                return True
        return False

    def forget(self, pod: Pod) -> None:
        """Drop a deleted pod from the queue."""
        self.unschedulable.pop(pod.uid, None)
        self._withdraw_nomination(pod)

    def pod_left(self, gone: Pod) -> None:
        """Retry the pods that may be helped by one that left its node."""
        self._retry(lambda pod: helps_when_gone(pod, gone))

    def nodes_changed(self, helps: Callable[[Pod], bool] = lambda pod: True) -> None:
        """Retry the pods that a change of the nodes may help, by default all."""
        self._retry(helps)

    def _pod_joined(self, joined: Pod) -> None:
        # The event of a bound pod comes late: the pods that are queued by then go first.
        self._retry(lambda pod: helps_when_placed(pod, joined), behind=True)

    def _retry(self, helps: Callable[[Pod], bool], *, behind: bool = False) -> None:
        """Retry the pods that a change helps, by age or ``behind`` all that are queued now."""
        self._version += 1
        if not self.unschedulable:
            return
        for pod in list(self.unschedulable.values()):
            if helps(pod):
                del self.unschedulable[pod.uid]
                if behind:
                    self._line_up(pod)
                self._activate(pod)
            elif not pod.overlooked:
                pod.overlooked = True
                self._retry_later(pod)

    def _retry_later(self, pod: Pod) -> None:
        """Plan the flush of a pod after a change for which it had no queueing hint."""
        waited, attempt = self._clock.now - pod.parked_at, pod.queued

        def flush() -> None:
            if pod.queued == attempt and pod.uid in self.unschedulable:
                del self.unschedulable[pod.uid]
                self._activate(pod)

        self._clock.at(self._clock.now + _FLUSH_MS - waited % _FLUSH_MS, flush)

    def _activate(self, pod: Pod) -> None:
        heapq.heappush(self._active, (-pod.facts.priority, pod.queued, pod))

    def _line_up(self, pod: Pod) -> None:
        self._count += 1
        pod.queued = self._count

    def _attempt(self, pod: Pod) -> None:
        known = self._failures.get(pod.facts)
        if known is not None and known[0] == self._version:
            self._park(pod, known[1], known[2])
        elif not self.nodes:
            self._park(pod, NO_NODES, _NO_NODES)
        else:
            self._search(pod)

    def _search(self, pod: Pod) -> None:
        cycle = Cycle(pod, self.nodes)
        refused: dict[int, Refusal] = {}
        names = named_nodes(pod.facts)
        if names is not None and not names:
            self._give_up(pod, conflict_error(len(self.nodes)), _CONFLICT)
            return
        nodes = self.nodes if names is None else [n for n in self.nodes if n.name in names]
        feasible = self._feasible(cycle, nodes, refused)
        if feasible:
            self._place(pod, feasible)
        else:
            self._fail(cycle, refused)

    def _feasible(
        self, cycle: Cycle, nodes: Sequence[Node], refused: dict[int, Refusal]
    ) -> list[Node]:
        """Return the feasible nodes; if the pod's nominated node is one, only that."""
        own = cycle.pod.nominated
        if own is not None and own in nodes and refusal_with_nominated(cycle, own) is None:
            return [own]
        feasible = []
        for node in nodes:
            ask = refusal_with_nominated if node.nominated else refusal
            answer = ask(cycle, node)
            if answer is None:
                feasible.append(node)
            else:
                refused[node.index] = answer
        return feasible

    def _place(self, pod: Pod, feasible: Sequence[Node]) -> None:
        node = feasible[0] if len(feasible) == 1 else self._choose(pod, feasible)
        self._clear_nomination(pod)
        pod.message = None
        node.add(pod)
        self._bind(pod, node)
        self._pod_joined(pod)

    def place_on(self, pod: Pod, node: Node) -> None:
        """Place a pod that names its node."""
        pod.message = None
        node.add(pod)
        self._bind(pod, node)
        self._pod_joined(pod)

    def _choose(self, pod: Pod, feasible: Sequence[Node]) -> Node:
        scores = score(pod, self.nodes, feasible)
        best = max(scores)
        ties = [node for node, value in zip(feasible, scores, strict=True) if value == best]
        if len(ties) == 1:
            return ties[0]
        if self._random is None:
            self._random = random.Random(self._seed)
        return ties[int(self._random.random() * len(ties))]

    def _fail(self, cycle: Cycle, refused: dict[int, Refusal]) -> None:
        pod, count = cycle.pod, len(self.nodes)
        others = count - len(refused)
        reasons = [reason for answer in refused.values() for reason in answer.reasons]
        message = fit_error(count, reasons + [_OTHER_NODES] * others)
        causes = frozenset(answer.plugin for answer in refused.values())
        if others:
            causes |= {NODE_AFFINITY}
        if not pod.facts.preempts:
            self._give_up(pod, f"{message} {not_eligible(NEVER_PREEMPTS)}", causes)
            return
        tried = preempt(cycle, refused, count, self.disruptions)
        if tried.candidate is None:
            self._withdraw_nomination(pod)
            self._give_up(pod, f"{message} {not_preempted(count, tried.histogram)}", causes)
        else:
            self._park(pod, message, causes)
            self._make_room(pod, tried.candidate)

    def _give_up(self, pod: Pod, message: str, causes: frozenset[str]) -> None:
        """Park a pod, and note that its equals fail too until something changes."""
        if not any(node.nominated for node in self.nodes):
            self._failures[pod.facts] = (self._version, message, causes)
        self._park(pod, message, causes)

    def _park(self, pod: Pod, message: str, causes: frozenset[str]) -> None:
        self._line_up(pod)
        pod.rejected_by = causes
        pod.parked_at, pod.overlooked = self._clock.now, False
        self.unschedulable[pod.uid] = pod
        if pod.message != message:
            pod.message = message
            self._tell(pod, message)

    def _make_room(self, pod: Pod, candidate: PreemptionCandidate) -> None:
        node, victims, _ = candidate
        for other in [o for o in node.nominated if o.facts.priority < pod.facts.priority]:
            self._withdraw_nomination(other)
        if pod.nominated is not node:
            self._withdraw_nomination(pod)
            pod.nominated = node
            node.nominated.append(pod)
        for victim in victims:
            self._evict(victim, pod)

    def _withdraw_nomination(self, pod: Pod) -> None:
        """Clear a pod's nomination, and retry the pods that it kept away.

        kube-scheduler treats this as the deletion of a placed pod, for pods of the same or a
        lower priority: nothing was kept from the others.
        """
        if not self._clear_nomination(pod):
            return

        def helps(waiting: Pod) -> bool:
            return waiting.facts.priority <= pod.facts.priority and helps_when_gone(waiting, pod)

        # The event comes late, like that of a bound pod.
        self._retry(helps, behind=True)

    def _clear_nomination(self, pod: Pod) -> bool:
        if pod.nominated is None:
            return False
        pod.nominated.nominated.remove(pod)
        pod.nominated = None
        return True
