"""Faults of the API server, and the requests that they strike.

Of every request the first fault in the list that strikes is used. ``at`` counts requests from 1.
What a list cannot say a plan can: ``lambda n, method, path: ApiFault("401") if n > 9 else None``
lets a token expire after nine requests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from simgit.errors import InvalidInput, near_or_known

ANSWERS = ("401", "429", "500", "502", "503", "504")
"""Faults that answer with an error instead of doing what was asked."""
CONNECTIONS = ("reset", "reset-after", "half-open", "slow", "split")
"""Faults of the connection: reset before the effect or after it, never answered, bytes one by one,
a character of several bytes cut by chunks. A watch that is half-open was accepted."""
WATCHES = (
    "duplicate", "reorder", "gone", "closed", "cut", "empty-lines", "garbage",
)  # fmt: skip
"""Faults of a watch: events twice or in another order, 410 after ``after`` events, its end or its
connection's end after so many, lines without content, a line that is no JSON."""
FAULT_KINDS = (*ANSWERS, *CONNECTIONS, *WATCHES)


@dataclass(slots=True)
class ApiFault:
    """A fault, and when it strikes.

    Attributes:
        kind: one of ``FAULT_KINDS``.
        at: the number of the request, from 1 (None: every one that ``match`` takes).
        match: takes method and path (with the query), e.g. ``lambda m, p: "watch=" in p``.
        times: how often it strikes (None: always).
        body: ``json`` for a Status object, ``text`` for what a proxy says, ``empty``.
        retry_after: seconds in the header ``Retry-After`` of 429 and 503, None for no header.
        after: events of a watch before ``gone``, ``closed``, ``cut`` and ``garbage``.
    """

    kind: str
    at: int | None = None
    match: Callable[[str, str], bool] | None = None
    times: int | None = 1
    body: str = "json"
    retry_after: int | None = 1
    after: int = 1

    def __post_init__(self) -> None:
        """Raise InvalidInput for an unknown kind or body."""
        if self.kind not in FAULT_KINDS:
            raise InvalidInput(
                f"unknown fault '{self.kind}'{near_or_known(self.kind, FAULT_KINDS)}"
            )
        if self.body not in ("json", "text", "empty"):
            raise InvalidInput(f"body must be json, text or empty, got '{self.body}'")

    def strikes(self, number: int, method: str, path: str) -> bool:
        """Return True if it strikes the request, and count that."""
        if self.times == 0 or (self.at is not None and self.at != number):
            return False
        if self.match is not None and not self.match(method, path):
            return False
        if self.kind in WATCHES and "watch=" not in path:
            return False
        if self.times is not None:
            self.times -= 1
        return True


FaultPlan = Callable[[int, str, str], ApiFault | None]
"""Called with a request's number, method and path; returns its fault."""


def fault_plan(faults: Sequence[ApiFault] | FaultPlan) -> FaultPlan:
    """Return the plan of a list of faults; a plan is returned as it is."""
    if callable(faults):
        return faults
    listed = list(faults)

    def plan(number: int, method: str, path: str) -> ApiFault | None:
        return next((fault for fault in listed if fault.strikes(number, method, path)), None)

    return plan


def random_faults(seed: int, share: float, kinds: Iterable[str] = FAULT_KINDS) -> FaultPlan:
    """Return a plan by which each request is struck with a probability; equal seeds give equal
    plans."""
    known = tuple(kinds)
    for kind in known:
        ApiFault(kind)

    def plan(number: int, method: str, path: str) -> ApiFault | None:
        draw = random.Random(f"{seed}/{number}")
        if draw.random() >= share:
            return None
        usable = [kind for kind in known if kind not in WATCHES or "watch=" in path]
        if not usable:
            return None
        body = draw.choice(("json", "text", "empty"))
        return ApiFault(draw.choice(usable), body=body, after=draw.randrange(3))

    return plan
