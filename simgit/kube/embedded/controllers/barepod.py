"""Bare pods: no controller replaces them."""

from __future__ import annotations

from simgit.kube.embedded.controllers.controller import PodOwner
from simgit.kube.embedded.nodes import Pod
from simgit.kube.manifest import Manifest


class BarePod(PodOwner):
    """A pod without a controller; applying it again does not change how it runs."""

    kind = "Pod"
    _made = False

    def update(self, manifest: Manifest) -> None:
        """Create the pod, unless it was created before."""
        facts = self.read_template(manifest)
        if not self._made:
            self.world.refused.pop(self, None)
            self._made = self.create_pod(self.name, facts) is not None

    def mark(self) -> None:
        """Do nothing: a bare pod is not replaced, and nobody tries again if it was refused."""

    def sync(self) -> None:
        """Do nothing."""

    def pod_finished(self, pod: Pod) -> None:
        """Keep a pod that ended among the pods, as in Kubernetes."""
        self.available.discard(pod.uid)
