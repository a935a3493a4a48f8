"""Faults that can be switched on. All of them come from the seed, none from the outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simgit.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong: shares are of 0..1, times in seconds.

    ``lost_nodes`` gives for a node the seconds from the start after which it is cut off.
    """

    late_pods: float = 0.0
    late_seconds: float = 60.0
    lost_nodes: Mapping[str, float] = field(default_factory=dict)
    api_errors: float = 0.0
    timeouts: float = 0.0

    def __post_init__(self) -> None:
        """Refuse shares that are none, and times before the start."""
        for share in (self.late_pods, self.api_errors, self.timeouts):
            if not 0.0 <= share <= 1.0:
                raise InvalidInput(f"bad share of faults '{share}', expected 0..1", value=share)
        if not min([self.late_seconds, *self.lost_nodes.values()]) >= 0.0:
            raise InvalidInput("times of faults must not be negative")

    @property
    def in_answers(self) -> bool:
        """Whether requests to the cluster may fail."""
        return bool(self.api_errors or self.timeouts)


NO_FAULTS = Faults()
