"""CronJobs: create a Job at each time of a schedule."""

from __future__ import annotations

from simgit.kube.embedded.controllers.controller import Controller
from simgit.kube.embedded.controllers.cron_schedule import CronSchedule, Every, parse_schedule
from simgit.kube.embedded.controllers.job import Job
from simgit.kube.embedded.fields import bad, pod_template, text, whole
from simgit.kube.embedded.podspec import read_pod
from simgit.kube.embedded.validation import InvalidPod
from simgit.kube.embedded.world import World
from simgit.kube.manifest import Manifest, lookup

_POLICIES = ("Allow", "Forbid", "Replace")


class CronJob(Controller):
    """A CronJob, which owns its Jobs."""

    kind = "CronJob"

    def __init__(self, world: World, namespace: str, name: str) -> None:
        """Start without a schedule."""
        super().__init__(world, namespace, name)
        self.schedule: CronSchedule | Every | None = None
        self.jobs: list[Job] = []
        self.suspended = False
        self.policy = "Allow"
        self._job: Manifest = {}
        self._keep = {"Complete": 3, "Failed": 1}
        self._generation = 0
        self._deadline: int | None = None
        self._last = world.clock.now // 1000

    def update(self, manifest: Manifest) -> None:
        """Take a manifest; the next time is computed anew."""
        policy = text(manifest, "spec", "concurrencyPolicy", default="Allow")
        if policy not in _POLICIES:
            raise bad(
                manifest,
                ("spec", "concurrencyPolicy"),
                f"unknown policy '{policy[:40]}', expected {', '.join(_POLICIES)}",
            )
        zone = text(manifest, "spec", "timeZone")
        schedule = parse_schedule(text(manifest, "spec", "schedule"), zone)
        template = pod_template(manifest, "spec", "jobTemplate", "spec", "template")
        if causes := read_pod(template, self.namespace, self.world.priorities).causes:
            raise InvalidPod(causes)
        complete = whole(manifest, "spec", "successfulJobsHistoryLimit", default=3)
        failed = whole(manifest, "spec", "failedJobsHistoryLimit", default=1)
        self._deadline = whole(manifest, "spec", "startingDeadlineSeconds", default=None)
        self._keep = {"Complete": complete, "Failed": failed}
        self.schedule, self.policy = schedule, policy
        self.suspended = bool(lookup(manifest, ("spec", "suspend")))
        self._job = {**manifest, "spec": lookup(manifest, ("spec", "jobTemplate", "spec"))}
        self._generation += 1
        self._plan()
        self.mark()

    def sync(self) -> None:
        """Start a run that had to wait, and delete old finished Jobs."""
        self._run_due()
        for state, limit in self._keep.items():
            finished = [job for job in self.jobs if job.state == state]
            for job in finished[: max(0, len(finished) - limit)]:
                self.jobs.remove(job)
                job.remove()
        self.jobs = [job for job in self.jobs if not job.gone]

    def _plan(self) -> None:
        assert self.schedule is not None
        due = self.schedule.following(self.world.clock.now // 1000, self._last)
        if due is not None:
            generation = self._generation
            self.world.clock.at(1000 * due, lambda: self._fire(generation))

    def _fire(self, generation: int) -> None:
        if not self.gone and generation == self._generation:
            self._run_due()
            self._plan()

    def _run_due(self) -> None:
        """Start the last run that is due; earlier ones are skipped."""
        assert self.schedule is not None
        if self.suspended:
            return
        now = self.world.clock.now // 1000
        due = self.schedule.last_until(now, self._last)
        if due is not None and (self._deadline is None or now - due <= self._deadline):
            self._start(due)

    def _start(self, due: int) -> None:
        active = [job for job in self.jobs if not job.state and not job.gone]
        if active and self.policy == "Forbid":
            self.log("JobAlreadyActive", "not starting job: the one before is still running")
            return
        if self.policy == "Replace":
            for job in active:
                job.remove()
        job = Job(self.world, self.namespace, f"{self.name}-{due // 60}")
        if (why := job.refusal()) is not None:
            self.fail(why)
            return
        self._last = due
        job.owner = self
        job.update(self._job)
        job.enter()
        self.jobs.append(job)
        self.log("SuccessfulCreate", f"created job {job.name}")

    def delete(self) -> None:
        """Delete the object and its Jobs."""
        super().delete()
        for job in self.jobs:
            job.remove()
