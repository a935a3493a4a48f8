"""What is seen of an application: counts of its pods by state, and whether they were seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from simgit.errors import ClusterError, InvalidInput

Validity = Literal["ok", "timeout", "error"]
MAX_TARGET = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Observation:
    """Pods of one application by state. Only a valid one has counts: the rest have None.

    ``ready`` and ``pending`` are pods, ``total`` includes those that are neither.
    """

    ready: int | None
    pending: int | None
    total: int | None
    validity: Validity = "ok"
    error: str | None = None

    @property
    def valid(self) -> bool:
        """Whether the counts were really seen."""
        return self.validity == "ok"

    def counts(self) -> tuple[int, int, int]:
        """Return (ready, pending, total); raises ClusterError if they were not seen."""
        if self.ready is None or self.pending is None or self.total is None:
            raise ClusterError(f"observation failed ({self.validity}): {self.error}")
        return self.ready, self.pending, self.total

    def plain(self) -> dict[str, Any]:
        """Return the record of the observation; a failed one has no counts."""
        if self.valid:
            return {"ready": self.ready, "pending": self.pending, "total": self.total}
        return {"validity": self.validity, "error": self.error}


def failed(validity: Literal["timeout", "error"], error: str) -> Observation:
    """Build an observation that says why nothing was seen."""
    return Observation(None, None, None, validity, error)


def at_goal(observation: Observation, target: int) -> bool:
    """Tell whether exactly the target number of pods exist, all ready; never if unseen."""
    check_target(target)
    return observation.valid and observation.counts() == (target, 0, target)


def check_target(target: int) -> int:
    """Return a target that can be reached; InvalidInput below one."""
    if isinstance(target, bool) or not isinstance(target, int) or not 1 <= target <= MAX_TARGET:
        raise InvalidInput(f"bad target '{target}', expected a whole number above 0", value=target)
    return target
