"""Observations of an application: counts of its pods by state, or why there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from simgit.errors import ClusterError, InvalidInput
from simgit.kube.manifest import Manifest, lookup, name_of, namespace_of, pod_labels

Validity = Literal["ok", "timeout", "error"]
MAX_TARGET = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Observation:
    """Counts of an application's pods by state; None in an observation that failed.

    ``ready`` and ``pending`` are pods, ``total`` includes those that are neither. ``reason`` says
    why no pods were counted, where the cluster knows it; it is not recorded.
    """

    ready: int | None
    pending: int | None
    total: int | None
    validity: Validity = "ok"
    error: str | None = None
    reason: str | None = field(default=None, compare=False)

    @property
    def valid(self) -> bool:
        """True if the pods were counted."""
        return self.validity == "ok"

    def counts(self) -> tuple[int, int, int]:
        """Return (ready, pending, total); raises ClusterError for an observation that failed."""
        if self.ready is None or self.pending is None or self.total is None:
            raise ClusterError(f"observation failed ({self.validity}): {self.error}")
        return self.ready, self.pending, self.total

    def plain(self) -> dict[str, Any]:
        """Return the record of the observation; a failed one has no counts."""
        if self.valid:
            return {"ready": self.ready, "pending": self.pending, "total": self.total}
        return {"validity": self.validity, "error": self.error}


def failed(validity: Literal["timeout", "error"], error: str) -> Observation:
    """Return an observation without counts that says why."""
    return Observation(None, None, None, validity, error)


def why_no_pods(
    namespace: str,
    label: str,
    value: str,
    manifests: Sequence[Manifest],
    refusal: Callable[[Manifest], str | None],
) -> str:
    """Return why there are no pods of a label: what the workloads say, or why one cannot have any.

    ``refusal`` gives the message of the last pod of a workload that could not be created.
    """
    here = [each for each in manifests if namespace_of(each) == namespace]
    wanted = [each for each in here if pod_labels(each).get(label) == value]
    if not here:
        return f"no workload exists in namespace '{namespace}'"
    if not wanted:
        others = {f"{key}={text}" for each in here for key, text in pod_labels(each).items()}
        told = ", ".join(sorted(others)[:5]) or "none"
        return (
            f"no workload in namespace '{namespace}' gives its pods the label {label}={value} "
            f"(labels there: {told})"
        )
    return "; ".join(
        f"{each['kind']} '{name_of(each)}' {_why_idle(each, refusal)}" for each in wanted
    )


def _why_idle(manifest: Manifest, refusal: Callable[[Manifest], str | None]) -> str:
    if (message := refusal(manifest)) is not None:
        return f"cannot create pods: {message}"
    if lookup(manifest, ("spec", "replicas")) == 0:
        return "has 0 replicas"
    if lookup(manifest, ("spec", "paused")):
        return "is paused"
    return "has no pods now"


def at_goal(observation: Observation, target: int) -> bool:
    """Return True if exactly the target number of pods exist, all of them ready."""
    check_target(target)
    return observation.valid and observation.counts() == (target, 0, target)


def check_target(target: int) -> int:
    """Return the target; raises InvalidInput if it is no whole number above 0."""
    if isinstance(target, bool) or not isinstance(target, int) or not 1 <= target <= MAX_TARGET:
        raise InvalidInput(f"target must be a whole number above 0, got '{target}'", value=target)
    return target
