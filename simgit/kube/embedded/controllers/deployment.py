"""Deployments: revisions as ReplicaSets, and rolling updates between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simgit.kube.embedded.controllers.controller import PodOwner
from simgit.kube.embedded.controllers.replicaset import ReplicaSet
from simgit.kube.embedded.fields import pod_template, share, text, whole
from simgit.kube.embedded.template_equality import same_template
from simgit.kube.embedded.world import World
from simgit.kube.manifest import Manifest, lookup

_ROLLING = ("spec", "strategy", "rollingUpdate")


class Deployment(PodOwner):
    """A Deployment; ``sets`` are its revisions, the oldest first."""

    kind = "Deployment"

    def __init__(self, world: World, namespace: str, name: str) -> None:
        """Start without revisions."""
        super().__init__(world, namespace, name)
        self.sets: list[ReplicaSet] = []
        self.replicas = 0
        self.template: Mapping[str, Any] = {}
        self.surge = 0
        self.unavailable = 0
        self.recreate = False
        self.paused = False
        self._revision = 0
        self._kept = 10
        self._new: ReplicaSet | None = None

    def update(self, manifest: Manifest) -> None:
        """Take a manifest; the next syncs act on what changed."""
        template = pod_template(manifest, "spec", "template")
        if not self.sets or not same_template(template, self.template):
            self.read_template(template)
        replicas = whole(manifest, "spec", "replicas", default=1)
        min_ready = 1000 * whole(manifest, "spec", "minReadySeconds")
        self._set_strategy(manifest, replicas)
        self.min_ready = min_ready
        self._kept = whole(manifest, "spec", "revisionHistoryLimit", default=10)
        self.paused = bool(lookup(manifest, ("spec", "paused")))
        self.replicas = replicas
        if template is not self.template:
            self.template = template
            same = (found for found in self.sets if same_template(found.template, template))
            self._new = next(same, None)
        for found in self.sets:
            found.min_ready = self.min_ready
        self.mark()

    def _set_strategy(self, manifest: Manifest, replicas: int) -> None:
        kind = text(manifest, "spec", "strategy", "type", default="RollingUpdate")
        surge = share(manifest, (*_ROLLING, "maxSurge"), replicas, up=True, default="25%")
        limit = (*_ROLLING, "maxUnavailable")
        unavailable = share(manifest, limit, replicas, up=False, default="25%")
        self.recreate = kind == "Recreate"
        # With neither surge nor unavailable pods no rollout could begin.
        self.surge = 0 if self.recreate else surge
        self.unavailable = min(replicas, unavailable if surge or unavailable else 1)

    def sync(self) -> None:
        """Scale, or take the next step of a rollout."""
        new = self._new
        old = [found for found in self.sets if found is not new]
        if self.paused or self._is_scaled():
            self._scale(new, old)
        elif self.recreate:
            self._recreate(new, old)
        else:
            new = new or self._create_set()
            if new is not None:
                self._roll(new, old)
                self._forget(old)

    def delete(self) -> None:
        """Delete the object and its revisions."""
        super().delete()
        for found in self.sets:
            found.delete()

    def _forget(self, old: Sequence[ReplicaSet]) -> None:
        """Delete the oldest revisions without pods beyond the limit, once a rollout is complete."""
        new = self._new
        if new is None or not self._is_saturated(new) or any(found.pods for found in old):
            return
        for found in old[: max(0, len(old) - self._kept)]:
            self.sets.remove(found)
            found.delete()

    def _create_set(self) -> ReplicaSet | None:
        """Create the ReplicaSet of the newest revision; return None if a quota refuses it."""
        name = f"{self.name}-{self._revision + 1}"
        created = ReplicaSet(self.world, self.namespace, name)
        if (why := created.refusal()) is not None:
            self.fail(why)
            return None
        self.failure = ""
        self._revision += 1
        created.enter()
        created.deployment = created.owner = self
        created.template, created.min_ready = self.template, self.min_ready
        created.revision = self._revision
        created.original = self.original
        created.facts = self.read_template(
            self.template, {"pod-template-hash": str(self._revision)}
        )
        self.sets.append(created)
        self._new = created
        self._resize(created, self.replicas if self.recreate else self._new_size(created))
        return created

    def _is_scaled(self) -> bool:
        """Return True if the replicas changed since a revision with pods was last sized."""
        return any(found.replicas and found.desired != self.replicas for found in self.sets)

    def _resize(self, found: ReplicaSet, replicas: int) -> bool:
        """Set a revision's size, and note for which replicas; return True if it changes."""
        if found.replicas != replicas:
            self.log(
                "ScalingReplicaSet", f"scaled {found.name} from {found.replicas} to {replicas}"
            )
        noted = (found.desired, found.max_replicas) != (self.replicas, self.replicas + self.surge)
        found.desired, found.max_replicas = self.replicas, self.replicas + self.surge
        if noted:
            self.mark()
        return found.scale(replicas)

    def _scale(self, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> None:
        """Scale the one active revision, or all of them in proportion."""
        active = [found for found in self.sets if found.replicas]
        if len(active) <= 1:
            found = active[0] if active else new or (old[-1] if old else None)
            if found is not None:
                self._resize(found, self.replicas)
        elif new is not None and self._is_saturated(new):
            for found in old:
                if found.replicas:
                    self._resize(found, 0)
        elif not self.recreate:
            self._scale_in_proportion(active)

    def _is_saturated(self, new: ReplicaSet) -> bool:
        return new.replicas == new.desired == self.replicas == len(new.available)

    def _scale_in_proportion(self, active: list[ReplicaSet]) -> None:
        allowed = self.replicas + self.surge if self.replicas else 0
        total = allowed - sum(found.replicas for found in active)
        ordered = sorted(enumerate(active), key=lambda pair: (-pair[1].replicas, _age(total, pair)))
        sizes = {}
        added = 0
        for index, found in ordered:
            part = self._proportion(found, total, added)
            sizes[index] = found.replicas + part
            added += part
        first = ordered[0][0]
        sizes[first] = max(0, sizes[first] + total - added)
        for index, found in ordered:
            self._resize(found, sizes[index])

    def _proportion(self, found: ReplicaSet, total: int, added: int) -> int:
        if total == 0 or total == added:
            return 0
        part = self._fraction(found)
        return min(part, total - added) if total > 0 else max(part, total - added)

    def _fraction(self, found: ReplicaSet) -> int:
        if not self.replicas:
            return -found.replicas
        base = found.max_replicas or sum(len(each.pods) for each in self.sets)
        if not base:
            return 0
        exact = found.replicas * (self.replicas + self.surge) / base
        return int(exact + 0.5) - found.replicas

    def _roll(self, new: ReplicaSet, old: Sequence[ReplicaSet]) -> None:
        """Grow the new revision within the surge, or else shrink old ones within the limit."""
        size = self.replicas if new.replicas > self.replicas else self._new_size(new)
        if self._resize(new, size):
            return
        old = [found for found in old if found.replicas]
        if old:
            self._shrink(new, old)

    def _new_size(self, new: ReplicaSet) -> int:
        total = sum(found.replicas for found in self.sets)
        room = self.replicas + self.surge - total
        if room <= 0:
            return new.replicas
        return new.replicas + min(room, self.replicas - new.replicas)

    def _shrink(self, new: ReplicaSet, old: Sequence[ReplicaSet]) -> None:
        if any(len(found.available) > found.replicas for found in old):
            return  # pods that its last resize surrenders would be counted as available
        least = self.replicas - self.unavailable
        total = sum(found.replicas for found in old) + new.replicas
        room = total - least - (new.replicas - len(new.available))
        if room <= 0:
            return
        room -= self._drop_unhealthy(old, room)
        available = len(new.available) + sum(len(found.available) for found in old)
        spare = available - least
        for found in old:
            cut = min(found.replicas, spare)
            if cut > 0:
                self._resize(found, found.replicas - cut)
                spare -= cut

    def _drop_unhealthy(self, old: Sequence[ReplicaSet], most: int) -> int:
        """Drop old pods that are not available first, since they would block the rollout."""
        dropped = 0
        for found in old:
            cut = min(most - dropped, found.replicas - len(found.available))
            if cut > 0:
                self._resize(found, found.replicas - cut)
                dropped += cut
        return dropped

    def _recreate(self, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> None:
        active = [found for found in old if found.replicas]
        for found in active:
            self._resize(found, 0)
        if active or any(found.pods for found in old):
            return
        new = new or self._create_set()
        if new is not None:
            self._resize(new, self.replicas)
            self._forget(old)


def _age(total: int, pair: tuple[int, ReplicaSet]) -> int:
    """Return a key for equal sizes: the newer grows first, the older shrinks first."""
    return -pair[0] if total > 0 else pair[0]
