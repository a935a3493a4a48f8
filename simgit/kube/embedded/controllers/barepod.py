"""Bare pods: no controller replaces them."""

from __future__ import annotations

from simgit.kube.embedded.controllers.controller import PodOwner
from simgit.kube.embedded.nodes import Pod
from simgit.kube.embedded.podspec import read_pod
from simgit.kube.manifest import Manifest


class BarePod(PodOwner):
    """A pod without a controller; applying it again does not change it."""

    kind = "Pod"

    def update(self, manifest: Manifest) -> None:
        """Create the pod, unless it was created before."""
        facts = read_pod(manifest, self.namespace, self.world.priorities)
        if not self.original:
            self.create_pod(self.name, facts)

    def sync(self) -> None:
        """Do nothing: a bare pod is not replaced."""

    def pod_finished(self, pod: Pod) -> None:
        """Keep a pod that ended among the pods, as in Kubernetes."""
        self.available.discard(pod.uid)
