"""Recorded states of SimKube: the trace and the cluster behind each, made again from what was kept.

A run's root tells the environment, its traces by their content; the first state of an episode tells
which trace and seed it has; each state tells by ``info["edit"]`` what its actions made of that.
So nothing is needed that is not in the repository, and no code of the actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simgit.errors import InvalidInput
from simgit.history.state import State
from simgit.kube.embedded import EmbeddedCluster
from simgit.kube.task.cluster_setup import ClusterSetup, cluster_setup
from simgit.kube.trace.json_form import trace_from_data
from simgit.kube.trace.model import Trace
from simgit.kube.trace.patch import apply_patch
from simgit.kube.trace.sktrace import load_trace
from simgit.objects.kinds import Spec
from simgit.objects.oid import Oid
from simgit.repository import Repository


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one state stands for.

    ``base`` is the trace that its episode began with, ``trace`` the one that its actions made of
    it, ``observed`` the one that its counts were observed on: not ``trace`` only if the order of
    the loop was 'before'.
    """

    base: Trace
    trace: Trace
    observed: Trace
    setup: ClusterSetup
    seed: int
    replay: int

    def cluster(self) -> EmbeddedCluster:
        """Return the cluster as it was observed; raises ClusterError where a fault struck."""
        return self.setup.replay(self.observed, self.seed, self.replay)


def recorded(repo: Repository, revision: str | Oid) -> Recorded:
    """Return what a recorded state of SimKube stands for.

    Raises:
        NotFound: there is no such state.
        InvalidInput: it is none of SimKube.
    """
    state = repo.state(revision)
    count = state.episode_step
    first = repo.state(f"{state.oid.hex()}~{count}")
    arguments = _arguments(repo, state)
    if "seed" not in (first.info or {}):
        raise _foreign(state)
    base = _base(first.info, arguments)
    late = arguments.get("order") == "before" and count > 0
    before = repo.state(f"{state.oid.hex()}~1") if late else state
    trace = _edited(base, state)
    return Recorded(
        base,
        trace,
        _edited(base, before) if late else trace,
        cluster_setup(arguments["nodes"], arguments["simulation"], arguments["faults"]),
        first.info["seed"],
        first.info["replays"] - 1 + count,
    )


def _arguments(repo: Repository, state: State) -> Mapping[str, Any]:
    """Return the arguments of the environment that a state's history began with."""
    origin = repo.state(f"{state.oid.hex()}@0").origin
    spec = repo.object(origin) if origin is not None else None
    fields = spec.fields if isinstance(spec, Spec) else {}
    found = fields.get("environment") or {}
    arguments = found.get("kwargs") if isinstance(found, Mapping) else None
    if not isinstance(arguments, Mapping) or "faults" not in arguments:
        raise _foreign(state)
    return arguments


def _base(info: Mapping[str, Any], arguments: Mapping[str, Any]) -> Trace:
    if "content" in info:
        return load_trace(info["content"])
    return trace_from_data(arguments["trace"][info["trace"]])


def _edited(base: Trace, state: State) -> Trace:
    return apply_patch(base, state.info.get("edit") or {})


def _foreign(state: State) -> InvalidInput:
    return InvalidInput(f"state '{state.oid.short()}' is none of SimKube: it has no cluster")
