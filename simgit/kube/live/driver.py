"""The settings of a live cluster, and what the drivers that run traces on one have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Protocol, get_args

from simgit.errors import InvalidInput, near_or_known, shown, warn
from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.live.api import Api, Object
from simgit.kube.live.nodes import spec_of, virtual
from simgit.kube.simulation import SimulationSpec
from simgit.kube.trace.model import Trace

DriverName = Literal["simkube", "replayer"]
DRIVERS: Final = get_args(DriverName)
_KINDS: Final[dict[str, tuple[Any, str]]] = {
    "float": ((int, float), "a number"), "int": (int, "an integer"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """The settings of a live cluster, as a run's configuration keeps them: no credentials.

    ``timeout`` and ``settle`` are seconds: how long a step may take in all, and how long the counts
    of pods must stay as they are before they are believed. ``speed`` is that of the replay,
    ``virtual_prefix`` begins the names of the namespaces. ``namespace``, ``image`` and ``port`` are
    SimKube's driver's, ``trace_path`` is where it finds traces.
    """

    context: str
    driver: DriverName = "replayer"
    namespace: str = "simkube"
    timeout: float = 300.0
    settle: float = 2.0
    speed: float = 1.0
    virtual_prefix: str = "virtual"
    image: str = "quay.io/appliedcomputing/sk-driver:latest"
    port: int = 8888
    trace_path: str = ""

    def __post_init__(self) -> None:
        """Raise InvalidInput for a driver that does not exist, or a value that cannot be."""
        for each in fields(self):
            value = getattr(self, each.name)
            kind, wanted = _KINDS.get(str(each.type), (str, "a text"))
            if isinstance(value, bool) or not isinstance(value, kind):
                raise InvalidInput(
                    f"cluster.{each.name} must be {wanted}, got {shown(value)}", path=each.name
                )
        if self.driver not in DRIVERS:
            raise InvalidInput(
                f"no cluster driver '{self.driver}'{near_or_known(self.driver, DRIVERS)}",
                path="driver",
            )
        for name in ("timeout", "speed"):
            value = getattr(self, name)
            if not 0 < value < 1e9:
                raise InvalidInput(f"cluster.{name} must be above 0, got '{value}'", path=name)
        if not 0 <= self.settle < 1e9:
            raise InvalidInput(f"cluster.settle must be 0 or more, got '{self.settle}'")

    def plain(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return asdict(self)

    @classmethod
    def of(cls, given: dict[str, Any]) -> LiveSettings:
        """Return the settings of plain data; raises InvalidInput for one that does not exist."""
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                raise InvalidInput(
                    f"a live cluster has no setting '{name}'{near_or_known(name, known)}", path=name
                )
        if not given.get("context"):
            raise InvalidInput("a live cluster needs a context: --context NAME", path="context")
        return cls(**given)


class ClusterDriver(Protocol):
    """The interface of what replays traces on a real cluster, one after another."""

    def replay(
        self, trace: Trace, simulation: SimulationSpec, selection: PodSelection, *, label: str
    ) -> AbstractContextManager[KubeCluster]:
        """Replay a trace from an empty cluster, and give the cluster when it has settled.

        It is observed within the block; leaving the block removes all that the replay created,
        also after an error or Ctrl-C. Empty namespaces may stay for the next replay, until
        ``close``.

        Args:
            trace: the trace.
            simulation: speed, duration and prefix of the namespaces.
            selection: the pods whose counts have to settle.
            label: what the objects created are labelled with: ``simgit.io/run``.

        Raises:
            ClusterError: it failed, or took longer than the settings allow (``timeout``).
        """

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of the cluster; no credentials. Raises ClusterError.

        It has ``server`` (the API server's version), ``nodes`` (the virtual ones, as their specs
        have it), ``crds`` (SimKube's definitions that are installed: simulations, simulationroots;
        to the SHA-256 of their specs) and, of the driver simkube, ``image`` (the driver's).
        """

    def close(self) -> None:
        """Remove what is still there, and end watches and connections."""


class ClusterFacts:
    """The facts of a cluster as drivers record them, asked for once."""

    def __init__(self, api: Api) -> None:
        """Ask nothing yet."""
        self._api = api
        self._known: dict[str, Any] | None = None

    @property
    def known(self) -> bool:
        """True if they were asked for."""
        return self._known is not None

    def get(self) -> dict[str, Any]:
        """Return ``server``, ``nodes`` and ``crds``, see ``ClusterDriver.facts``."""
        if self._known is None:
            crds = {}
            kind = self._api.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
            for name in ("simulations", "simulationroots"):
                found = self._api.find(kind.path(None, f"{name}.simkube.io"))
                if found is not None:
                    text = json.dumps(found["spec"], sort_keys=True, separators=(",", ":"))
                    crds[name] = hashlib.sha256(text.encode()).hexdigest()
            self._known = {
                "server": str(self._api.get("/version").get("gitVersion") or ""),
                "nodes": [spec_of(node).plain() for node in virtual(self._api)],
                "crds": crds,
            }
        return self._known

    def check_nodes(self, nodes: Sequence[Object]) -> None:
        """Warn once if the virtual nodes are others now than those that were recorded."""
        if self._known is not None:
            table = [spec_of(node).plain() for node in nodes]
            if _sizes(self._known["nodes"]) != _sizes(table):
                self._known = {**self._known, "nodes": table}
                warn("the virtual nodes are others now than those that were recorded with the run")


def _sizes(table: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Return what of nodes decides how much fits; taints come and go with a node's readiness."""
    return [[node.get(key) for key in ("name", "cpu", "memory", "pods")] for node in table]


def check_time(trace: Trace, simulation: SimulationSpec, settings: LiveSettings) -> None:
    """Raise InvalidInput for a replay that takes all the time of a step, or more."""
    seconds = trace.seconds / simulation.speed + simulation.linger
    if seconds >= settings.timeout:
        raise InvalidInput(
            f"the replay takes {seconds:.0f} s at speed {simulation.speed:g}, more than "
            f"cluster.timeout {settings.timeout:g}: raise it, or the speed, or give a duration",
            value=seconds,
        )
