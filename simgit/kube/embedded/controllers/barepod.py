"""Pods that stand alone: nobody replaces them."""

from __future__ import annotations

from simgit.kube.embedded.controllers.controller import PodOwner
from simgit.kube.embedded.nodes import Pod
from simgit.kube.embedded.podspec import read_pod
from simgit.kube.manifest import Manifest


class BarePod(PodOwner):
    """One pod without a controller. Applying it again changes nothing of a pod that exists."""

    kind = "Pod"

    def update(self, manifest: Manifest) -> None:
        """Create the pod, unless it exists or has run."""
        facts = read_pod(manifest, self.namespace, self.world.priorities)
        if not self.original:
            self.create_pod(self.name, facts)

    def sync(self) -> None:
        """Do nothing: there is nothing to keep."""

    def pod_finished(self, pod: Pod) -> None:
        """Keep a pod that ended, so that it is still seen."""
        self.available.discard(pod.uid)
