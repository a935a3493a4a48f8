"""Recorded states of SimKube: the trace and the cluster of each, rebuilt from the recording.

A run's root has the environment's arguments, with the content of its traces; the first state of an
episode has its trace and seed; each state has the edit of the trace in ``info["edit"]``. So nothing
outside the repository is needed, and no code of the actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from simgit.errors import ClusterError, InvalidInput, Missing
from simgit.history.state import State
from simgit.kube.embedded import EmbeddedCluster
from simgit.kube.observation import Observation, failed
from simgit.kube.task.cluster_setup import ClusterSetup, cluster_setup
from simgit.kube.task.task import Task
from simgit.kube.trace.json_form import trace_from_data
from simgit.kube.trace.model import Trace
from simgit.kube.trace.patch import apply_patch
from simgit.kube.trace.sktrace import load_trace
from simgit.objects.kinds import Spec
from simgit.objects.oid import Oid
from simgit.repository import Repository

_SETUP: Final = ("nodes", "simulation", "faults", "cluster")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The trace and the cluster of one state.

    ``base`` is the trace at the episode's beginning, ``trace`` the one after the actions,
    ``observed`` the one of the observed counts: it differs from ``trace`` only for the order
    'before'.
    """

    base: Trace
    trace: Trace
    observed: Trace
    setup: ClusterSetup
    seed: int
    replay: int
    task: Task
    info: Mapping[str, Any]

    @property
    def observation(self) -> Observation:
        """The recorded observation."""
        validity = self.info.get("validity", "ok")
        if validity != "ok":
            return failed(validity, str(self.info.get("failure")))
        return Observation(*(self.info[name] for name in ("ready", "pending", "total")))

    def counted(self) -> str:
        """Return the recorded observation as text."""
        return ", ".join(f"{name} {value}" for name, value in self.observation.plain().items())

    def cluster(self) -> EmbeddedCluster:
        """Return the observed cluster.

        Raises ClusterError where a fault was injected, InvalidInput for a live one: what was there
        is not known beside the counts.
        """
        if self.setup.live is not None:
            raise InvalidInput(
                f"live: not re-executed; of its pods only the counts are recorded: {self.counted()}"
            )
        return self.setup.replay(self.observed, self.seed, self.replay)


def recorded(repo: Repository, revision: str | Oid) -> Recorded:
    """Return the trace and the cluster of a recorded SimKube state.

    Raises:
        NotFound: no such state.
        InvalidInput: it was not recorded from SimKube.
    """
    state = repo.state(revision)
    count = state.episode_step
    if count is None:
        raise Missing("the trace is told where the episode begins, which a shallow history lacks")
    first = repo.state(f"{state.oid.hex()}~{count}")
    arguments = _arguments(repo, state)
    if "seed" not in (first.info or {}):
        raise _foreign(state)
    if "content" in first.info:
        base = load_trace(first.info["content"])
    else:
        base = trace_from_data(arguments["trace"][first.info["trace"]])
    late = arguments.get("order") == "before" and count > 0
    before = repo.state(f"{state.oid.hex()}~1") if late else state
    trace = _edited(base, state)
    return Recorded(
        base,
        trace,
        _edited(base, before) if late else trace,
        cluster_setup(**{name: arguments.get(name) for name in _SETUP}),
        first.info["seed"],
        first.info["replays"] - 1 + count,
        Task(target=first.info.get("target", arguments["target"]), workload=arguments["workload"]),
        state.info,
    )


def cluster_record(repo: Repository, revision: str | Oid) -> dict[str, Any]:
    """Return the cluster of a recorded SimKube state as a record.

    Returns:
        ``oid`` and ``step``; ``seconds`` of the trace that have passed; ``nodes``, ``pods`` and
        ``events`` as the cluster lists them, ``totals`` (the recorded counts of pods, or why there
        are none) and ``reward``. Where only the counts are known, the others are None, and ``why``
        says so.

    Raises:
        NotFound: no such state.
        InvalidInput: it was not recorded from SimKube.
    """
    state = repo.state(revision)
    found = recorded(repo, state.oid)
    record = {
        "oid": state.oid.hex(), "step": state.step, "seconds": None, "nodes": None, "pods": None,
        "events": None, "totals": found.observation.plain(), "reward": state.reward, "why": None,
    }  # fmt: skip
    try:
        cluster = found.cluster()
    except (ClusterError, InvalidInput) as error:
        return record | {"why": str(error)}
    return record | {
        "seconds": cluster.now - cluster.start, "nodes": [*cluster.nodes()],
        "pods": [*cluster.pods()], "events": [*cluster.events()],
    }  # fmt: skip


def _arguments(repo: Repository, state: State) -> Mapping[str, Any]:
    """Return the arguments of the environment that a state's history began with."""
    origin = repo.state(f"{state.oid.hex()}@0").origin
    spec = repo.object(origin) if origin is not None else None
    fields = spec.fields if isinstance(spec, Spec) else {}
    found = fields.get("environment") or {}
    arguments = found.get("kwargs") if isinstance(found, Mapping) else None
    if not isinstance(arguments, Mapping) or "simulation" not in arguments:
        raise _foreign(state)
    return arguments


def _edited(base: Trace, state: State) -> Trace:
    return apply_patch(base, state.info.get("edit") or {})


def _foreign(state: State) -> InvalidInput:
    return InvalidInput(f"state '{state.oid.short()}' was not recorded from SimKube")
