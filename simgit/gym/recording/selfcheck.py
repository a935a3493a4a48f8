"""The self-check: is what was just recorded exact, said while the run is young."""

from __future__ import annotations

import warnings
from typing import Final

from simgit.gym.drivers import randomness
from simgit.gym.restoring.verify import judge
from simgit.repository import Repository

SECONDS: Final = 1.0
"""A first episode that took longer is not executed again while its script waits."""
UNKNOWN: Final = "unknown"


def self_check(repo: Repository, run: str) -> None:
    """Execute the first episode of a run again, and note with the run what came of it.

    The script that waits for it does not notice: global random numbers stay what they are, and
    nothing is raised.
    """
    before = randomness.capture_globals()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the script has seen them when it made its own
            judge(repo, run, trust=True)  # this process has just made the snapshots
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        repo.configure(run, metadata={"verdict": {"result": UNKNOWN, "reason": reason[:1000]}})
    finally:
        randomness.apply_globals(before)
