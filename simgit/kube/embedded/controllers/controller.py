"""The base of all controllers: identity, owned pods, and a sync that takes one step."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from simgit.kube.embedded.fields import map_of, texts_of
from simgit.kube.embedded.nodes import Pod
from simgit.kube.embedded.podspec import PodFacts, read_pod
from simgit.kube.embedded.validation import InvalidPod
from simgit.kube.embedded.world import World
from simgit.kube.manifest import Manifest, name_of, namespace_of
from simgit.kube.unmodelled import COUNTED


class Controller:
    """An object with its controller. ``sync`` takes one step from the state to the spec.

    It is called after the object was marked; it marks itself if there is more to do.
    """

    kind = ""

    def __init__(self, world: World, namespace: str, name: str) -> None:
        """Join a world; nothing happens until the first sync."""
        self.world = world
        self.namespace = namespace
        self.name = name
        self.marked = False
        self.gone = False
        self.owner: Controller | None = None
        self.original: Manifest = {}
        self.failure = ""
        self._entered = False

    def mark(self) -> None:
        """Plan a sync."""
        if not self.marked and not self.gone:
            self.marked = True
            self.world.marked.append(self)

    def update(self, manifest: Manifest) -> None:
        """Take a new manifest; raises InvalidInput, and changes nothing, for an invalid one."""
        raise NotImplementedError

    def sync(self) -> None:
        """Take one step towards the spec."""
        raise NotImplementedError

    def fail(self, why: str) -> None:
        """Note that something could not be created; the next change that may help syncs again.

        An event says so, unless the one before said the same.
        """
        if why != self.failure:
            self.log("FailedCreate", why)
        self.failure = why
        self.world.refused[self] = None

    def refusal(self) -> str | None:
        """Return why a quota refuses this object, None if none does."""
        why = self.world.quotas.object_refusal(self.kind, self.namespace)
        return why and f'{COUNTED[self.kind]} "{self.name}" is forbidden: {why}'

    def enter(self) -> None:
        """Count the new object for the quotas."""
        self._entered = True
        self.world.quotas.count(self.kind, self.namespace, 1)

    def delete(self) -> None:
        """Delete the object and everything it owns."""
        if self._entered and not self.gone:
            self.world.quotas.count(self.kind, self.namespace, -1)
            self.world.wake()
        self.world.refused.pop(self, None)
        self.gone = True

    def remove(self) -> None:
        """Delete the object and everything it owns, and tell its owner."""
        if not self.gone:
            self.log("Deleted", "object deleted")
            self.delete()
            if self.owner is not None:
                self.owner.mark()

    def log(self, reason: str, message: str) -> None:
        """Add an event about this object."""
        self.world.log(self.kind, self.namespace, self.name, reason, message)


class PodOwner(Controller):
    """A controller that creates pods; ``available`` holds those ready for long enough."""

    spreads = False
    """True if the scheduler spreads its pods over nodes and zones by default."""
    late = False
    """True if the API server validates the spec of its pods only when they are created."""

    def __init__(self, world: World, namespace: str, name: str) -> None:
        """Start without pods."""
        super().__init__(world, namespace, name)
        self.pods: dict[int, Pod] = {}
        self.ended: list[Pod] = []
        self.available: set[int] = set()
        self.min_ready = 0

    def pod_ready(self, pod: Pod) -> None:
        """Note a ready pod; it is available after ``min_ready`` milliseconds."""
        if not self.min_ready:
            self._count_available(pod)
        else:
            due = pod.ready_at + self.min_ready
            self.world.clock.at(due, lambda: self._count_available(pod))

    def _count_available(self, pod: Pod) -> None:
        long_enough = self.world.clock.now - pod.ready_at >= self.min_ready
        if pod.uid in self.pods and pod.ready and long_enough:
            self.available.add(pod.uid)
            self.mark()

    def pod_unready(self, pod: Pod) -> None:
        """Note a pod that is no longer ready."""
        self.available.discard(pod.uid)
        self.mark()

    def pod_finished(self, pod: Pod) -> None:
        """Note a pod that ran to its end."""
        self.pod_unready(pod)

    def pod_gone(self, pod: Pod) -> None:
        """Note a pod that was deleted."""
        self.pods.pop(pod.uid, None)
        self.pod_unready(pod)

    def create_pod(
        self,
        name: str,
        facts: PodFacts,
        *,
        revision: object = None,
        ordinal: int = 0,
        target: str = "",
    ) -> Pod | None:
        """Create and return a pod; None, with an event, if admission refuses it."""
        facts, why = self.world.admission.admit(facts, self.namespace, name)
        if why is not None:
            self.fail(why)
            return None
        self.failure = ""
        pod = self.world.new_pod(name, self.namespace, facts, self)
        pod.revision, pod.ordinal, pod.target = revision, ordinal, target
        self.pods[pod.uid] = pod
        self.world.admit(pod)
        return pod

    def delete(self) -> None:
        """Delete the object and its pods."""
        super().delete()
        for pod in [*self.pods.values(), *self.ended]:
            self.world.delete_pod(pod, "Killing", "owner deleted")

    def read_template(
        self, template: Mapping[str, Any], extra: Mapping[str, str] | None = None
    ) -> PodFacts:
        """Return the facts of a pod template, with labels that the controller adds.

        Raises InvalidPod for one that the API server refuses.
        """
        read = partial(read_pod, template, self.namespace, self.world.priorities)
        found = None
        labels = None
        if extra:
            labels = {**texts_of(map_of(template.get("metadata")).get("labels")), **extra}
            with suppress(InvalidPod):  # of what is wrong with it the labels may be a part
                found = read().relabelled(labels)
        facts = found or read(labels)
        if facts.causes and not self.late:
            raise InvalidPod(facts.causes)
        return facts


def identity(manifest: Manifest) -> tuple[str, str]:
    """Return (namespace, name)."""
    return namespace_of(manifest), name_of(manifest)
