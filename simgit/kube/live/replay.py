"""The replayer: a trace's objects applied to a real control plane, with no binaries of SimKube.

It does what ``simgit.kube.simulation.replay`` does on any cluster, between creating namespaces
and removing them again. What it decides from a watch it confirms by a list.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from simgit.errors import ClusterError, SimgitError, plural, warn
from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.live.api import Api, ApiError, Object
from simgit.kube.live.cleanup import RUN, Created, label_value, remove, shielded, terminable
from simgit.kube.live.cluster import (
    MAX_PODS,
    SESSION,
    AppliedWorkload,
    LiveCluster,
    is_open,
    tally,
)
from simgit.kube.live.driver import ClusterFacts, LiveSettings, check_time
from simgit.kube.live.lease import SECONDS, ClusterLease
from simgit.kube.live.nodes import (
    LEASE_SECONDS,
    MAX_NODES,
    beat,
    condition,
    name_of,
    ours,
    played_by_kwok,
    ready,
    virtual,
)
from simgit.kube.live.stages import DEFAULT_STAGES, ReplayTiming, Stage, StageController
from simgit.kube.live.watching import Changes, Watching
from simgit.kube.manifest import lookup, pod_labels
from simgit.kube.recorded_lifetimes import RecordedLifetimes
from simgit.kube.simulation import SimulationSpec, replay
from simgit.kube.trace.edit import cut
from simgit.kube.trace.model import Trace

CLEANUP_SECONDS: Final = 60.0
_NODE_SECONDS: Final = 15.0
_EMPTY_SECONDS: Final = 20.0
_FEW_PODS: Final = 100
"""So many pods are deleted within the five seconds after which a namespace's content is."""
BACKOFF_SECONDS: Final = 10.0
"""The longest time that the scheduler lets a pod that did not fit wait after room was freed."""
_LOOK_SECONDS: Final = 1.0
"""The shortest time between two lists of what the watch should have told."""


class ReplayDriver:
    """A ClusterDriver that replays traces by itself, one by one, on the nodes ``type=virtual``.

    The namespaces of a replay that went well stay, empty, for the next one, as a real cluster takes
    more than five seconds to delete one; ``close`` deletes them. Virtual nodes have room for one
    session at a time: the first replay takes the lease of the cluster, which ``close`` gives back.
    It belongs to one thread.
    """

    def __init__(
        self,
        api: Api,
        settings: LiveSettings,
        *,
        leftovers: Path | None = None,
        stages: tuple[Stage, ...] = DEFAULT_STAGES,
        most_pods: int = MAX_PODS,
        most_nodes: int = MAX_NODES,
        lease_seconds: int = SECONDS,
    ) -> None:
        """Send nothing yet.

        Args:
            api: the API server; the driver does not close it.
            settings: timeout and settle; speed and prefix are those of the simulations.
            leftovers: the file in which is kept what exists on the cluster because of us.
            stages: what happens to pods.
            most_pods: the most pods that a trace may want at a time.
            most_nodes: the most virtual nodes that the cluster may have.
            lease_seconds: how long others wait for a session that was killed.
        """
        self._api = api
        self._settings = settings
        self._stages = stages
        self._most_pods = most_pods
        self._most_nodes = most_nodes
        self._lease_seconds = lease_seconds
        self._lease: ClusterLease | None = None
        self._session = uuid.uuid4().hex[:16]
        self._created = Created(leftovers, api.url)
        self._changes = Changes()
        self._pods: Watching | None = None
        self._roots: Watching | None = None
        self._kept: dict[str, str] = {}  # namespaces without objects, for the next replay: uids
        self._controller: StageController | None = None
        self._root_kind: bool | None = None
        self._facts = ClusterFacts(api)
        self._doing = ""
        self.left: list[str] = []
        """What the last cleanup could not remove, each with the reason."""

    def close(self) -> None:
        """End watches and threads, and remove what is still there of our replays."""
        try:
            if self._lease is not None and self._created.entries():
                with shielded():
                    self._remove(CLEANUP_SECONDS)
        finally:
            for each in (self._pods, self._roots, self._controller):
                if each is not None:
                    each.close()
            self._pods = self._roots = self._controller = None
            if self._lease is not None:
                self._lease.release()
                self._lease = None

    @contextmanager
    def replay(
        self, trace: Trace, simulation: SimulationSpec, selection: PodSelection, *, label: str
    ) -> Iterator[KubeCluster]:
        """Replay a trace, and give the cluster when it has settled: see ``driver.ClusterDriver``.

        Raises InvalidInput for a trace that the API server or a limit refuses, else ClusterError.
        """
        trace = trace if simulation.duration is None else cut(trace, simulation.duration)
        check_time(trace, simulation, self._settings)
        keep = False
        with terminable():
            try:
                with self._timed():
                    cluster = self._begin(trace, simulation, label_value(label))
                    self._doing = "applying the trace's objects"
                    replay(trace, cluster, simulation)
                    self._settling(cluster, selection, simulation).wait()
                    self._check_nodes()
                    self._hold_lease(anew=False)
                yield cluster
                keep = cluster.owns_all
            finally:
                with shielded():
                    self._clean(keep=keep)

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of the cluster, see ``driver.ClusterDriver``."""
        with self._api.within(30.0):
            return self._facts.get()

    # Before

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Give a block the time of a step; where that ends, say what it was waiting for."""
        timeout = self._settings.timeout
        end = self._api.clock.monotonic() + timeout
        try:
            with self._api.within(timeout):
                yield
        except ApiError as error:
            if not error.timeout or self._api.clock.monotonic() < end:
                raise
            why = "" if str(error) == "no time is left" else f": {error}"
            raise ClusterError(
                f"timed out after {timeout:g} s (cluster.timeout) while {self._doing}{why}",
                timeout=True,
            ) from error

    def _begin(self, trace: Trace, simulation: SimulationSpec, label: str) -> LiveCluster:
        self._doing = "waiting for the lease of the cluster"
        self._hold_lease(anew=True)
        self._doing = "removing what an earlier session left"
        if len(self._created.entries()) > len(
            self._kept
        ):  # of a replay that failed, or a killed one
            self._remove(min(CLEANUP_SECONDS, self._settings.timeout / 2))
        self._doing = "listing what is on the cluster"
        pods = self._watch()
        controller = self._controller
        assert controller is not None
        lifetimes = None
        if trace.lifecycles:
            lifetimes = RecordedLifetimes(trace, f"{simulation.prefix}-", simulation.speed)
        timing = ReplayTiming(simulation.delays, lifetimes)
        controller.play(pods, timing)
        self._doing = "waiting for the virtual nodes"
        self._prepare_nodes(controller)
        self._doing = "creating what owns the objects"
        return LiveCluster(
            self._api, self._created, run=label, session=self._session, prefix=simulation.prefix,
            namespaces=self._kept, pods=pods, root=self._root(label), most_pods=self._most_pods,
            applied=timing.applied,
        )  # fmt: skip

    def _hold_lease(self, *, anew: bool) -> None:
        """Check that the cluster is ours still; ``anew`` takes a lease that was lost again."""
        if self._lease is not None:
            try:
                return self._lease.check()
            except ClusterError:
                if not anew:
                    raise
                self._lease.release()
                self._kept.clear()  # whoever had it meanwhile may have removed them
        self._lease = ClusterLease(
            self._api, seconds=self._lease_seconds, renew=self._lease_seconds / 3
        )
        try:
            self._lease.take()
        except BaseException:
            self._lease = None
            raise
        self._created.read()  # others may have run since
        return None

    def _watch(self) -> Watching:
        """Return the watched pods of the session; all watches are opened at the first replay."""
        if self._controller is None:
            self._controller = StageController(self._api, self._stages)
            self._controller.start()
        labels = f"{SESSION}={self._session}"
        if self._roots is None:
            kind = ("simkube.io/v1", "SimulationRoot") if self._has_roots() else ("v1", "ConfigMap")
            path = self._api.kind(*kind).path()
            self._roots = Watching(self._api, path, self._changes, labels=labels)
        if self._pods is None:
            self._pods = Watching(
                self._api, "/api/v1/pods", self._changes,
                labels=labels, on_change=self._controller.changed,
            )  # fmt: skip
        return self._pods

    def _has_roots(self) -> bool:
        """Return True if the cluster has the kind SimulationRoot."""
        if self._root_kind is None:
            listed = self._api.find("/apis/simkube.io/v1") or {}
            kinds = {each.get("kind") for each in listed.get("resources") or ()}
            self._root_kind = "SimulationRoot" in kinds
        return self._root_kind

    def _prepare_nodes(self, controller: StageController) -> None:
        """Find the virtual nodes, and wait until those that are ours are ready."""
        end = time.monotonic() + _NODE_SECONDS
        while True:
            nodes = virtual(self._api)
            if not nodes:
                raise ClusterError(
                    "no virtual nodes (labelled type=virtual): simgit kube nodes create"
                )
            if len(nodes) > self._most_nodes:
                raise ClusterError(
                    f"{len(nodes)} virtual nodes, and {self._most_nodes} are the most"
                )
            own = {name_of(node): node for node in nodes if ours(node)}
            foreign = frozenset(name_of(node) for node in nodes if played_by_kwok(node))
            controller.keep_alive(own, foreign)
            late = [node for node in own.values() if not ready(node)]
            if not late:
                break
            if time.monotonic() > end:  # with less room the same trace ends otherwise
                raise ClusterError(f"node '{name_of(late[0])}' does not become ready")
            for node in late:
                beat(self._api, node)
            self._api.clock.sleep(_LOOK_SECONDS)
        if not any(ready(node) for node in nodes):
            raise ClusterError("no virtual node is ready: is the node's controller running?")
        self._facts.check_nodes(nodes)

    def _check_nodes(self) -> None:
        """Raise ClusterError if nodes of ours may have counted as lost in this replay."""
        assert self._controller is not None
        seconds = self._controller.lapse()
        if seconds > LEASE_SECONDS:
            raise ClusterError(
                f"the virtual nodes had no heartbeat for {seconds:.0f} s, as when this machine "
                "sleeps: pods may have been placed as if they were lost"
            )

    def _root(self, label: str) -> Object | None:
        """Create the SimulationRoot of a replay; None where the cluster has no such kind."""
        if not self._has_roots():
            return None
        body: Object = {
            "apiVersion": "simkube.io/v1",
            "kind": "SimulationRoot",
            "metadata": {
                "name": f"simgit-{uuid.uuid4().hex[:12]}",
                "labels": {RUN: label, SESSION: self._session},
            },
            "spec": {},
        }
        path = self._api.path_of(body)
        self._created.note(path)
        made = self._api.apply(path, body, manager="simkube")
        self._created.note(path, made["metadata"]["uid"])
        return {**body, **made}

    def _settling(
        self, cluster: LiveCluster, selection: PodSelection, simulation: SimulationSpec
    ) -> _Settling:
        assert self._pods is not None and self._controller is not None
        return _Settling(
            self._api, self._settings, self._pods, self._controller, cluster, selection,
            at_once=simulation.delays.none,
        )  # fmt: skip

    # After

    def _clean(self, *, keep: bool) -> None:
        """Remove what was created; raise nothing but an interrupt, and warn of what is left.

        ``keep`` keeps the namespaces, if everything in them is deleted.
        """
        if self._lease is None:
            return  # nothing was created; what is noted may be of the session that runs
        start = time.monotonic()
        empty = False
        with suppress(SimgitError), self._api.within(_EMPTY_SECONDS, afresh=True):
            if not keep:
                self._end_namespaces()
            empty = self._empty()
        if not (keep and empty):
            self._remove(CLEANUP_SECONDS - (time.monotonic() - start))

    def _end_namespaces(self) -> None:
        """Begin to delete the namespaces: a real cluster looks at one after five seconds only.

        Not those of many pods: what is still there then is waited for by its grace period.
        """
        if self._pods is not None and len(self._pods.objects()) <= _FEW_PODS:
            for entry in self._created.entries():
                if _is_namespace(entry["path"]) and entry["uid"] is not None:
                    self._api.delete(entry["path"], uid=entry["uid"])

    def _empty(self) -> bool:
        """Delete the roots and wait for the end of all that they own; return True if that came."""
        if self._pods is None or self._roots is None:
            return False
        entries = self._created.entries()
        roots = [e for e in entries if not _is_namespace(e["path"])]
        if any(each["uid"] is None for each in entries):
            return False  # nobody knows whether it exists: ``remove`` finds out
        for entry in roots:
            self._api.delete(entry["path"], propagation="Foreground", uid=entry["uid"])
        self._gone(self._pods)
        self._gone(self._roots)
        for entry in roots:
            self._created.gone(entry["path"])
        return True

    def _gone(self, watched: Watching) -> None:
        """Wait until no object is left, and confirm it; after a while without news look again."""
        while True:
            self._changes.wait_until(lambda: not watched.objects(), min(2.0, self._api.left()))
            if watched.refresh() and not watched.objects():
                return

    def _remove(self, seconds: float) -> None:
        self._kept.clear()
        self.left = remove(self._api, self._created, seconds=max(1.0, seconds))
        if self.left:
            warn(f"left on the cluster: {'; '.join(self.left)}")


@dataclass(frozen=True, slots=True)
class _Settling:
    """The wait for counts that can be believed.

    Either nothing was ever taken away, and every pod that is wanted exists and is decided; or the
    counts have been the same for a while, and every controller has seen its newest object. If pods
    become ready ``at_once``, one that is bound and not ready is not decided.
    """

    api: Api
    settings: LiveSettings
    watched: Watching
    controller: StageController
    cluster: LiveCluster
    selection: PodSelection
    at_once: bool

    def wait(self) -> None:
        """Return when the counts have settled; raises ClusterError, with what is known."""
        try:
            self._wait()
        except ClusterError as error:
            if not error.__dict__.get("timeout"):
                raise
            raise self._too_late() from error

    def _wait(self) -> None:
        since, counts = time.monotonic(), self.counts()
        while True:
            left = self.left()
            if not self.decided():
                rest = since + max(self.settings.settle, _LOOK_SECONDS) - time.monotonic()
                self.watched.changes.wait_until(partial(self._news, counts), min(rest, left))
            if not self.decided() and self.counts() != counts:
                since, counts = time.monotonic(), self.counts()
                continue
            if not self.watched.refresh():  # the watch is late, or dead
                since, counts = time.monotonic(), self.counts()
            elif self.decided():
                return
            elif time.monotonic() - since >= self.settings.settle:
                if not self.waiting() and not self.backing_off() and self._seen():
                    return
                since = time.monotonic() - self.settings.settle  # look again in a second

    def _news(self, counts: tuple[int, int, int]) -> bool:
        return self.decided() or self.counts() != counts

    def counts(self) -> tuple[int, int, int]:
        """Return (ready, pending, total) of the selected pods."""
        return tally([
            pod for pod in self.watched.objects()
            if pod["metadata"].get("namespace") == self.selection.namespace
            and lookup(pod, ("metadata", "labels", self.selection.label)) == self.selection.value
        ])  # fmt: skip

    def decided(self) -> bool:
        """Return True if all pods exist, and nobody is about to change one."""
        if self.cluster.deleted or self.controller.freed is not None:
            return False
        wanted = _wanted(self.cluster.workloads.values())
        return wanted == len(self.watched.objects()) and not self.waiting()

    def waiting(self) -> int:
        """Return the number of pods that the scheduler or the stage controller has to act on."""
        foreign = self.controller.foreign
        return sum(
            is_open(pod, self.at_once and lookup(pod, ("spec", "nodeName")) not in foreign)
            for pod in self.watched.objects()
        )

    def backing_off(self) -> bool:
        """Return True if a pod may fit by now that the scheduler will try again later."""
        freed = self.controller.freed
        if freed is None or time.monotonic() - freed > BACKOFF_SECONDS:
            return False
        return any(
            not lookup(pod, ("spec", "nodeName"))
            and condition(pod, "PodScheduled", "reason") == "Unschedulable"
            for pod in self.watched.objects()
        )

    def _seen(self) -> bool:
        return self.cluster.controllers_acted(self.selection, self.counts()[2])

    def left(self) -> float:
        """Return the seconds left; raises ClusterError if there are none, or no hope."""
        failure = self.controller.error
        if getattr(failure, "status", 0) in (400, 401, 403, 422):  # the next try ends no better
            raise ClusterError(f"the stage controller is refused: {failure}")
        return self.api.left()

    def _too_late(self) -> ClusterError:
        ready, pending, total = self.counts()
        app = f"{self.selection.label}={self.selection.value}"
        told = [f"{ready} ready, {pending} pending, {total} in all of {app}"]
        if waiting := self.waiting():
            told.append(f"{plural(waiting, 'pod')} not decided by the scheduler, or not ready yet")
        for error in (self.controller.error, self.watched.error):
            told += [] if error is None else [str(error)]
        text = f"not settled in {self.settings.timeout:g} s: {'; '.join(told)}"
        return ClusterError(text, timeout=True)


def _is_namespace(path: str) -> bool:
    return path.split("/")[-2] == "namespaces"


def _wanted(workloads: Iterable[AppliedWorkload]) -> int | None:
    """Return the number of pods that all want; None if that can change, or is not known."""
    total = 0
    for each in workloads:
        if each.changes > 1 or (each.wanted is None and pod_labels(each.manifest)):
            return None
        total += each.wanted or 0
    return total
