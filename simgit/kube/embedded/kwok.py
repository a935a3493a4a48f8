"""What KWOK does to a bound pod: make it ready after its delays, end it when its time is up."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from simgit.errors import InvalidInput
from simgit.kube.embedded.nodes import Pod


class Lifetimes(Protocol):
    """Decides how long pods run once they are ready."""

    def created(self, pod: Pod) -> None:
        """Hear of a pod; pods are told in the order of their creation."""

    def seconds(self, pod: Pod) -> int | None:
        """Return how long the pod runs, None for ever."""


@dataclass(frozen=True, slots=True)
class PodDelays:
    """Start delays in milliseconds, as in a Simulation's lifecycleParams.

    A jitter is the upper end of the delay, as KWOK has it: with one above the delay, the time
    is drawn between the two; None means that the delay is exact.
    """

    create: int = 0
    create_jitter: int | None = None
    ready: int = 0
    ready_jitter: int | None = None

    def __post_init__(self) -> None:
        """Refuse what lies before now."""
        given = (self.create, self.create_jitter or 0, self.ready, self.ready_jitter or 0)
        if min(given) < 0:
            raise InvalidInput("pod delays must not be negative", value=given)

    @property
    def none(self) -> bool:
        """Whether pods start at once."""
        return not (self.create or self.create_jitter or self.ready or self.ready_jitter)

    def draw(self, rng: random.Random) -> int:
        """Return one pod's delay from bound to ready."""
        return _draw(self.create, self.create_jitter, rng) + _draw(
            self.ready, self.ready_jitter, rng
        )


def _draw(delay: int, jitter: int | None, rng: random.Random) -> int:
    if jitter is None:
        return delay
    if jitter <= delay:
        return jitter
    return delay + int(rng.random() * (jitter - delay))
