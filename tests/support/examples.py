"""How many examples Hypothesis tries: few in ``make test``, more in ``make test-all``.

``make faults`` goes on from there, with other seeds.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

FULL: Final = 100
SOME: Final = 40
QUICK: Final = 10


def register_profiles() -> None:
    """Register the profiles ``quick``, ``some`` and ``full``, and load the first.

    Where CI is set, the examples are always the same, as the fixture ``seed`` is. None has a
    deadline, for a busy machine may take any time; SIMGIT_EXAMPLES is another number.
    """
    count = int(os.environ.get("SIMGIT_EXAMPLES") or 0)
    settings.register_profile(
        "quick", max_examples=count or QUICK, deadline=None, print_blob=True,
        suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI")),
    )  # fmt: skip
    settings.register_profile("full", settings.get_profile("quick"), max_examples=count or FULL)
    settings.register_profile("some", settings.get_profile("quick"), max_examples=count or SOME)
    settings.load_profile("quick")


def share(full: int) -> int:
    """Return how many of costly examples are tried, of which the profile ``full`` has so many."""
    count = os.environ.get("SIMGIT_EXAMPLES")
    return int(count) if count else max(2, full * settings().max_examples // FULL)
