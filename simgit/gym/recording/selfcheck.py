"""The self-check: re-execution of the first episode as soon as it is recorded."""

from __future__ import annotations

import warnings
from typing import Final

from simgit.gym.drivers import randomness
from simgit.gym.restoring.verify import judge
from simgit.repository import Repository

SECONDS: Final = 1.0
"""Longer first episodes are not re-executed: the script waits for it."""
UNKNOWN: Final = "unknown"


def self_check(repo: Repository, run: str) -> None:
    """Re-execute the first episode of a run, and note the verdict with the run.

    The script does not notice: global random generators keep their state, and nothing is raised.
    """
    before = randomness.capture_globals()
    try:
        with warnings.catch_warnings():
            # the script saw the same warnings when it made its environment
            warnings.simplefilter("ignore")
            # this process took the snapshots: their pickles need no trust
            judge(repo, run, trust=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        repo.configure(run, metadata={"verdict": {"result": UNKNOWN, "reason": reason[:1000]}})
    finally:
        randomness.apply_globals(before)
