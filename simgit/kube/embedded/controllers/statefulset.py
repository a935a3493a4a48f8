"""StatefulSets: numbered pods, created, deleted and updated in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simgit.kube.embedded.controllers.controller import PodOwner
from simgit.kube.embedded.fields import list_of, map_of, maps_of, pod_template, share, text, whole
from simgit.kube.embedded.nodes import Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.template_equality import same_template
from simgit.kube.embedded.world import World
from simgit.kube.manifest import Manifest, lookup

_UPDATE = ("spec", "updateStrategy")


class StatefulSet(PodOwner):
    """A StatefulSet; pods keep the number of the revision that they were created from."""

    kind = "StatefulSet"
    spreads = late = True

    def __init__(self, world: World, namespace: str, name: str) -> None:
        """Start without a revision."""
        super().__init__(world, namespace, name)
        self.replicas = self.start = self.partition = 0
        self.most_unavailable: int | None = None
        self.ordered = self.rolls = True
        self.template: Mapping[str, Any] | None = None
        self._revisions: list[tuple[Mapping[str, Any], PodFacts]] = []
        self._current = self._newest = 0

    def update(self, manifest: Manifest) -> None:
        """Take a manifest; a new template starts a new revision."""
        template = pod_template(manifest, "spec", "template")
        replicas = whole(manifest, "spec", "replicas", default=1)
        policy = text(manifest, "spec", "podManagementPolicy", default="OrderedReady")
        unavailable = (*_UPDATE, "rollingUpdate", "maxUnavailable")
        most = max(1, share(manifest, unavailable, replicas, up=False, default=1))
        partition = whole(manifest, *_UPDATE, "rollingUpdate", "partition")
        strategy = text(manifest, *_UPDATE, "type", default="RollingUpdate")
        start = whole(manifest, "spec", "ordinals", "start")
        min_ready = 1000 * whole(manifest, "spec", "minReadySeconds")
        self._revise(_with_claims(template, manifest))
        self.most_unavailable = None if lookup(manifest, unavailable) is None else most
        self.partition, self.start, self.min_ready = partition, start, min_ready
        self.ordered, self.rolls = policy != "Parallel", strategy != "OnDelete"
        self.replicas = replicas
        self.mark()

    def _revise(self, template: Mapping[str, Any]) -> None:
        for number, (known, _) in enumerate(self._revisions):
            if same_template(known, template):
                self._newest = number
                return
        facts = self.read_template(template)
        self._revisions.append((template, facts))
        self._newest = len(self._revisions) - 1

    def sync(self) -> None:
        """Create missing pods, then delete surplus ones, then update one by one."""
        by_number = {pod.ordinal: pod for pod in self.pods.values()}
        wanted = range(self.start, self.start + self.replicas)
        if self._raise(by_number, wanted):
            return
        surplus = sorted((n for n in by_number if n not in wanted), reverse=True)
        if self._lower([by_number[number] for number in surplus]):
            return
        if self.rolls:
            self._bring_up_to_date([by_number[number] for number in wanted][self.partition :])
        if all(pod.revision == self._newest for pod in self.pods.values()):
            self._current = self._newest

    def _healthy(self, pod: Pod | None) -> bool:
        return pod is not None and pod.uid in self.available

    def _raise(self, by_number: dict[int, Pod], wanted: range) -> bool:
        """Create missing pods; return True to wait for one that is not healthy yet."""
        for number in wanted:
            pod = by_number.get(number) or self._make(number, wanted)
            if pod is None:
                return True
            by_number[number] = pod
            if self.ordered and not self._healthy(pod):
                return True
        return False

    def _make(self, number: int, wanted: range) -> Pod | None:
        old = self.rolls and number - wanted.start < self.partition
        revision = self._current if old else self._newest
        facts = self._revisions[revision][1]
        name = f"{self.name}-{number}"
        return self.create_pod(name, facts, revision=revision, ordinal=number)

    def _lower(self, surplus: Sequence[Pod]) -> bool:
        """Delete surplus pods from the highest number; return True to wait for one.

        In order, one goes at a time, and an unhealthy pod waits for unhealthy ones below it.
        """
        if not self.ordered:
            for pod in surplus:
                self._drop(pod)
            return False
        if not surplus:
            return False
        first_ill = min((p.ordinal for p in surplus if not self._healthy(p)), default=None)
        if first_ill is None or surplus[0].ordinal == first_ill or self._healthy(surplus[0]):
            self._drop(surplus[0])
        return True

    def _bring_up_to_date(self, pods: Sequence[Pod]) -> None:
        """Replace outdated pods from the highest number, one or some at a time."""
        if self.most_unavailable is not None:
            self._replace_some(pods, self.most_unavailable)
            return
        for pod in reversed(pods):
            if self._is_old(pod):
                self._drop(pod)
                return
            if not self._healthy(pod):
                return

    def _replace_some(self, pods: Sequence[Pod], most: int) -> None:
        """Delete outdated pods: unhealthy ones at once, others up to the limit."""
        missing = sum(not self._healthy(pod) for pod in self.pods.values())
        for pod in reversed(pods):
            if self._is_old(pod) and not self._healthy(pod):
                self._drop(pod)
        for pod in reversed(pods):
            if missing < most and self._is_old(pod) and self._healthy(pod):
                self._drop(pod)
                missing += 1

    def _is_old(self, pod: Pod) -> bool:
        return pod.revision != self._newest

    def _drop(self, pod: Pod) -> None:
        self.world.delete_pod(pod, "SuccessfulDelete", f"deleted by StatefulSet {self.name}")

    def pod_finished(self, pod: Pod) -> None:
        """Delete a pod that ended, so that it is replaced."""
        self._drop(pod)


def _with_claims(template: Mapping[str, Any], manifest: Manifest) -> Mapping[str, Any]:
    """Return the template of the pods, with a volume for each claim that they get."""
    claims = maps_of(lookup(manifest, ("spec", "volumeClaimTemplates")))
    names = [lookup(claim, ("metadata", "name")) for claim in claims]
    if not names:
        return template
    spec = map_of(template.get("spec"))
    own = [each for each in list_of(spec.get("volumes")) if lookup(each, ("name",)) not in names]
    return {**template, "spec": {**spec, "volumes": [*own, *({"name": name} for name in names)]}}
