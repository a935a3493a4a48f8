"""Faults of a simulated cluster, all of them drawn from its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simgit.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of a cluster, none by default: shares are in 0..1, times in seconds.

    ``lost_nodes`` maps a node to the seconds from the start after which it is unreachable.
    """

    late_pods: float = 0.0
    late_seconds: float = 60.0
    lost_nodes: Mapping[str, float] = field(default_factory=dict)
    api_errors: float = 0.0
    timeouts: float = 0.0

    def __post_init__(self) -> None:
        """Raise InvalidInput for a share out of 0..1, or a negative time."""
        for share in (self.late_pods, self.api_errors, self.timeouts):
            if not 0.0 <= share <= 1.0:
                raise InvalidInput(f"share of a fault must be in 0..1, got '{share}'", value=share)
        if not min([self.late_seconds, *self.lost_nodes.values()]) >= 0.0:
            raise InvalidInput("times of faults must be 0 seconds or more")

    @property
    def in_answers(self) -> bool:
        """True if requests to the cluster may fail."""
        return bool(self.api_errors or self.timeouts)


NO_FAULTS = Faults()
