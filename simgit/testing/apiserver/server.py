"""The server as tests use it: a thread with its own event loop, a clock, a log of requests."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from simgit.kube.embedded import NodeSpec, PodDelays, virtual_nodes
from simgit.testing.apiserver.access import EVERYTHING, AccessRules
from simgit.testing.apiserver.api import KubeApi
from simgit.testing.apiserver.controllers import ControllerManager
from simgit.testing.apiserver.engine import ServedCluster
from simgit.testing.apiserver.faults import ApiFault, FaultPlan, fault_plan
from simgit.testing.apiserver.http import HttpServer, RequestRecord
from simgit.testing.apiserver.objects import Json, ObjectStore
from simgit.testing.apiserver.resources import NAMESPACES, ApiResource
from simgit.testing.apiserver.simkube import (
    SimKubeController,
    SimKubeSettings,
    simulation_crds,
)
from simgit.testing.apiserver.statuses import not_found

Result = TypeVar("Result")
TOKEN = "test-token"
_NEWS = 0.01
"""Seconds that an event may take to a client before time passes; one that takes longer is late."""


class ApiServer:
    """A Kubernetes API server on 127.0.0.1 while the context lasts.

    Its time is virtual: ``advance`` lets it pass, or whoever waits by its ``clock``
    (``time="virtual"``). Or it follows the wall clock (``"real"``).

    Attributes:
        url: where it listens.
        requests: every request, in order: number, method, path, status, fault.
        faults: replace it at any time by a list of faults, or by a plan such as
            ``random_faults``; requests are counted from the server's start.
        skew: seconds that the header ``Date`` is ahead of the server's clock.
    """

    def __init__(
        self,
        *,
        kwok: bool = True,
        nodes: int | Sequence[NodeSpec] = 0,
        simkube: bool | SimKubeSettings = False,
        crds: Sequence[Mapping[str, Any]] | None = None,
        faults: Sequence[ApiFault] | FaultPlan = (),
        time: Literal["virtual", "real"] = "virtual",
        start: int | None = None,
        delays: PodDelays | None = None,
        seed: int = 0,
        history: int = 1000,
        expired: Literal["status", "event"] = "status",
        version: str = "1.35.0",
        rules: Mapping[str, AccessRules] | None = None,
        skew: float = 0.0,
    ) -> None:
        """Describe the server; it starts with the context.

        Args:
            kwok: True: the server starts bound pods after ``delays`` and removes deleted ones.
                False: whoever plays the kubelet patches their status, and deletes those with a
                ``deletionTimestamp`` with a grace period of 0.
            nodes: virtual nodes to begin with: how many of 16 CPU and 32Gi, or their specs.
            simkube: run the controller of SimKube, as the settings say.
            crds: CustomResourceDefinitions to begin with (default: none, or SimKube's).
            start: the Unix time at which the clock starts (None: now).
            history: the changes that are kept for watches.
            expired: the answer to a watch from before them: HTTP 410, or an ERROR event.
            rules: what each token may do (default: ``TOKEN`` may do everything); see
                ``access.AccessRules``.
        """
        self.skew = skew
        self._mode, self._faults = time, fault_plan(faults)
        self._first_nodes = virtual_nodes(nodes) if isinstance(nodes, int) else tuple(nodes)
        settings = SimKubeSettings() if simkube is True else simkube or None
        self._simkube = settings
        self._crds = crds if crds is not None else simulation_crds() if settings else ()
        began = int(_wall()) if start is None else start
        self._cluster = ServedCluster(
            start=began, seed=seed, delays=delays or PodDelays(), kwok=kwok
        )
        self._clock = self._cluster.world.clock
        self._api = KubeApi(
            ObjectStore(history),
            self._clock,
            version=version,
            expired=expired,
            rules={TOKEN: [EVERYTHING]} if rules is None else rules,
        )
        self._manager = ControllerManager(self._api, self._cluster)
        self._http = HttpServer(self._api.handle, self._plan, lambda: self.now + self.skew)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="apiserver", daemon=True)
        self._port: Future[int] = Future()

    def __enter__(self) -> Self:
        """Start to listen."""
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._port.result(30)}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every connection, and the thread; raise a mistake of the server's that it met."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        if self._http.errors and error is None:
            raise self._http.errors[0]

    # for tests

    @property
    def now(self) -> float:
        """The server's time in Unix seconds."""
        return self._clock.now / 1000

    @property
    def requests(self) -> list[RequestRecord]:
        """The log."""
        return self._http.requests

    @property
    def clock(self) -> ServerClock:
        """The server's clock for clients: to wait is to let its time pass."""
        return ServerClock(self)

    @property
    def faults(self) -> FaultPlan:
        """The faults of requests to come."""
        return self._faults

    @faults.setter
    def faults(self, faults: Sequence[ApiFault] | FaultPlan) -> None:
        self._faults = fault_plan(faults)

    @property
    def watches(self) -> int:
        """The number of watches that are open."""
        return self._api.watches

    def advance(self, seconds: float) -> None:
        """Let virtual time pass; everything due on the way happens at its own time."""
        self._call(lambda: self._manager.advance(round(1000 * seconds)))

    def kubeconfig(self, path: str | Path, *, token: str = TOKEN, context: str = "loopback") -> str:
        """Write a kubeconfig with one context, and return its path."""
        value = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "clusters": [{"name": context, "cluster": {"server": self.url}}],
            "users": [{"name": context, "user": {"token": token}}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        }
        Path(path).write_text(json.dumps(value, indent=2))
        return str(path)

    def set_tokens(self, rules: Mapping[str, AccessRules]) -> None:
        """Replace the tokens and what they may do: others expire."""
        self._api.rules = dict(rules)

    def forget_history(self) -> None:
        """Make every version before now too old for a watch, as a compaction does."""
        self._call(self._api.store.forget_history)

    def objects(self, plural: str, namespace: str = "") -> list[Json]:
        """Return the stored objects of a resource (``pods``, ``deployments.apps``), no request."""
        return self._call(lambda: self._api.store.every(self._resource(plural), namespace))

    def cluster_nodes(self) -> list[Json]:
        """Return the rows of the nodes behind the API: what is used, and by which pods."""
        return self._call(self._cluster.nodes)

    def create(self, *values: Mapping[str, Any]) -> None:
        """Store objects, and namespaces that they need, without a request."""

        def run() -> None:
            for value in values:
                self._create(json.loads(json.dumps(value)))

        self._call(run)

    def delete(self, plural: str, name: str, namespace: str = "") -> None:
        """Delete an object without a request."""

        def run() -> None:
            resource = self._resource(plural)
            found = self._api.store.get(resource, (namespace, name))
            if found is None:
                raise not_found(resource, name)
            self._api.delete(resource, found)
            self._manager.settle()

        self._call(run)

    # inside

    def _resource(self, plural: str) -> ApiResource:
        found = next((each for each in self._api.resources() if each.full == plural), None)
        if found is None:
            raise LookupError(f"the server has no resource '{plural}'")
        return found

    def _create(self, value: Json) -> None:
        resource = self._api.resource_of(value)
        if resource is None:
            raise LookupError(f"the server has no kind '{value['apiVersion']}.{value['kind']}'")
        metadata = value["metadata"]
        if resource.namespaced:
            namespace = metadata.setdefault("namespace", "default")
            if self._api.store.get(NAMESPACES, ("", namespace)) is None:
                self._create(
                    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
                )
        self._api.create(resource, value)
        self._manager.settle()

    def _plan(self, number: int, method: str, path: str) -> ApiFault | None:
        return self._faults(number, method, path)

    def _call(self, call: Callable[[], Result]) -> Result:
        """Run a function in the server's thread."""

        async def run() -> Result:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            if not self._port.done():
                self._port.set_exception(error)
            raise
        finally:
            self._loop.close()

    async def _main(self) -> None:
        self._end = asyncio.Event()
        names = ("default", "kube-system", "kube-public", "kube-node-lease")
        for name in names:
            self._create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for value in (*self._crds, *map(node_object, self._first_nodes)):
            self._create(json.loads(json.dumps(value)))
        if self._simkube is not None:
            SimKubeController(self._manager, self._simkube)
        server, port = await self._http.listen()
        ticking = [asyncio.ensure_future(self._tick())] if self._mode == "real" else []
        self._port.set_result(port)
        await self._end.wait()
        server.close()
        await self._http.close()
        for task in ticking:
            task.cancel()
        await asyncio.gather(*ticking, return_exceptions=True)

    async def _tick(self) -> None:
        """Let time pass by itself."""
        began, first = time.monotonic(), self._clock.now
        while True:
            await asyncio.sleep(0.02)
            passed = int(1000 * (time.monotonic() - began)) + first - self._clock.now
            self._manager.advance(max(0, passed))


class ServerClock:
    """The time of a server, in the form in which the live cluster takes a clock.

    ``after_sleep`` is called whenever its time has passed: another client, who acts meanwhile.
    """

    def __init__(self, server: ApiServer) -> None:
        """Follow a server."""
        self._server = server
        self.after_sleep: Callable[[], Any] = lambda: None

    def time(self) -> float:
        """Return Unix time."""
        return self._server.now

    def monotonic(self) -> float:
        """Return a time that does not run back."""
        return self._server.now

    def sleep(self, seconds: float, /) -> None:
        """Let the server's time pass."""
        self._server.advance(max(0.0, seconds))
        self.after_sleep()

    def wait(self, condition: threading.Condition, seconds: float, /) -> None:
        """Wait for a notification; the server's time passes, by a second at most, if none comes."""
        if not condition.wait(_NEWS):
            condition.release()
            try:
                self.sleep(min(1.0, max(0.001, seconds)))
            finally:
                condition.acquire()


def _wall() -> float:
    return time.time()


def node_object(spec: NodeSpec) -> Json:
    """Return a ready Node object."""
    plain = spec.plain()
    amounts = {
        "cpu": plain["cpu"],
        "memory": plain["memory"],
        "pods": str(plain["pods"]),
        **({"ephemeral-storage": str(spec.storage)} if spec.storage else {}),
        **{name: str(amount) for name, amount in spec.extra.items()},
    }
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": spec.name, "labels": dict(spec.labels)},
        "spec": {
            "taints": plain["taints"],
            **({"unschedulable": True} if spec.unschedulable else {}),
        },
        "status": {
            "capacity": amounts, "allocatable": amounts, "conditions": [condition],
        },
    }  # fmt: skip
