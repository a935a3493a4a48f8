"""KWOK's part: the delays until a bound pod is ready, and how long it then runs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from simgit.errors import InvalidInput
from simgit.kube.embedded.nodes import Pod


class Lifetimes(Protocol):
    """A source of lifetimes: how long pods run after they became ready."""

    def created(self, pod: Pod) -> None:
        """Take note of a new pod; pods come in the order of their creation."""

    def seconds(self, pod: Pod) -> int | None:
        """Return the seconds that a pod runs, None if it never ends."""


@dataclass(frozen=True, slots=True)
class PodDelays:
    """Start delays in milliseconds, as in a Simulation's lifecycleParams.

    A jitter is the upper end of a delay, as in KWOK: the time is drawn between the two. None
    means that the delay is exact.
    """

    create: int = 0
    create_jitter: int | None = None
    ready: int = 0
    ready_jitter: int | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput for a negative delay."""
        given = (self.create, self.create_jitter or 0, self.ready, self.ready_jitter or 0)
        if min(given) < 0:
            raise InvalidInput(f"pod delays must be 0 ms or more, got {min(given)}", value=given)

    @property
    def none(self) -> bool:
        """True if pods become ready as soon as they are bound."""
        return not (self.create or self.create_jitter or self.ready or self.ready_jitter)

    def draw(self, rng: random.Random) -> int:
        """Return a pod's delay from bound to ready, in milliseconds."""
        return _draw(self.create, self.create_jitter, rng) + _draw(
            self.ready, self.ready_jitter, rng
        )


def _draw(delay: int, jitter: int | None, rng: random.Random) -> int:
    if jitter is None:
        return delay
    if jitter <= delay:
        return jitter
    return delay + int(rng.random() * (jitter - delay))
