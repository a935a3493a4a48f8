"""Jobs: run a number of pods to their end, some at a time."""

from __future__ import annotations

from simgit.kube.embedded.controllers.controller import PodOwner
from simgit.kube.embedded.fields import pod_template, text, whole
from simgit.kube.embedded.nodes import SUCCEEDED, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.world import World
from simgit.kube.manifest import Manifest, lookup


class Job(PodOwner):
    """A Job; its pods succeed when their lifetime ends, and a deleted one counts as failed."""

    kind = "Job"

    def __init__(self, world: World, namespace: str, name: str) -> None:
        """Start without a template."""
        super().__init__(world, namespace, name)
        self.facts: PodFacts | None = None
        self.parallelism = 1
        self.completions: int | None = 1
        self.limit = 6
        self.indexed = self.suspended = False
        self.succeeded = self.failed = 0
        self.state = ""
        self.done_at = 0
        self._lasts: int | None = None
        self._keeps: int | None = None
        self._started: int | None = None
        self._done_indexes: set[int] = set()
        self._made = 0
        self._known = False

    def update(self, manifest: Manifest) -> None:
        """Take a manifest; the pod template of a Job never changes."""
        if self.facts is None:
            self.facts = self.read_template(
                pod_template(manifest, "spec", "template"),
                {"batch.kubernetes.io/job-name": self.name, "job-name": self.name},
            )
        completions = whole(manifest, "spec", "completions", default=None)
        parallelism = whole(manifest, "spec", "parallelism", default=None)
        # Without either number a Job runs one pod; with parallelism alone it is a work queue. What
        # the API server has added stays when a later manifest does not have it either.
        if completions is not None or not self._known:
            self.completions = 1 if completions is None and parallelism is None else completions
        self._known = True
        self.parallelism = 1 if parallelism is None else parallelism
        self.limit = whole(manifest, "spec", "backoffLimit", default=6)
        self.indexed = text(manifest, "spec", "completionMode") == "Indexed"
        self.suspended = bool(lookup(manifest, ("spec", "suspend")))
        self._lasts = whole(manifest, "spec", "activeDeadlineSeconds", default=None)
        self._keeps = whole(manifest, "spec", "ttlSecondsAfterFinished", default=None)
        self.mark()

    def sync(self) -> None:
        """Finish, or create and delete pods."""
        if self.state:
            return
        if self.suspended:
            self._started = None
            self._stop_pods(len(self.pods))
            return
        self._start_clock()
        if self._is_complete():
            self._finish("Complete")
        elif self.failed > self.limit:
            self._finish("Failed", "BackoffLimitExceeded")
        elif self._is_late():
            self._finish("Failed", "DeadlineExceeded")
        else:
            self._run()

    def _start_clock(self) -> None:
        if self._started is None:
            self._started = self.world.clock.now
            if self._lasts is not None:
                self.world.clock.at(self._started + 1000 * self._lasts, self.mark)

    def _is_complete(self) -> bool:
        if self.completions is None:
            return self.succeeded > 0 and not self.pods
        return self.succeeded >= self.completions

    def _is_late(self) -> bool:
        if self._lasts is None or self._started is None:
            return False
        return self.world.clock.now - self._started >= 1000 * self._lasts

    def _run(self) -> None:
        if self.completions is not None:
            wanted = min(self.parallelism, self.completions - self.succeeded)
        else:  # none are added once one succeeded
            wanted = len(self.pods) if self.succeeded else self.parallelism
        self._stop_pods(len(self.pods) - wanted)
        for _ in range(wanted - len(self.pods)):
            if self._create() is None:
                return

    def _create(self) -> Pod | None:
        assert self.facts is not None
        number = self._made
        if self.indexed:
            taken = self._done_indexes | {pod.ordinal for pod in self.pods.values()}
            number = next(i for i in range(len(taken) + 1) if i not in taken)
        pod = self.create_pod(f"{self.name}-{number}", self.facts, ordinal=number)
        if pod is not None:
            self._made += 1
        return pod

    def _stop_pods(self, count: int) -> None:
        """Delete so many active pods, those not yet ready first."""
        if count > 0:
            ranked = sorted(self.pods.values(), key=lambda pod: (pod.ready, -pod.uid))
            for pod in ranked[:count]:
                self.pods.pop(pod.uid)
                self.world.delete_pod(pod, "SuccessfulDelete", f"deleted by Job {self.name}")

    def _finish(self, state: str, why: str = "") -> None:
        self.state = state
        self.done_at = self.world.clock.now
        self.log("Completed" if state == "Complete" else why, f"job is {state.lower()}")
        self._stop_pods(len(self.pods))
        if self._keeps is not None:
            due = self.world.clock.now + 1000 * self._keeps
            self.world.clock.at(due, self.remove)
        if self.owner is not None:
            self.owner.mark()

    def pod_finished(self, pod: Pod) -> None:
        """Count a pod that ended."""
        self.pods.pop(pod.uid, None)
        self.ended.append(pod)
        if pod.phase == SUCCEEDED:
            self.succeeded += 1
            self._done_indexes.add(pod.ordinal)
        else:
            self.failed += 1
        super().pod_finished(pod)

    def pod_gone(self, pod: Pod) -> None:
        """Count a deleted pod as failed."""
        if pod.uid in self.pods and not self.gone:
            self.failed += 1
        super().pod_gone(pod)
