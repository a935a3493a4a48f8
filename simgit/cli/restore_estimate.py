"""The announcement of a restore: how many actions it re-executes, and how long that takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from simgit.cli.output import say
from simgit.errors import InvalidInput, SimgitError, plural

if TYPE_CHECKING:
    from simgit.gym.spec.permit import Trust
    from simgit.repository import Repository


def announce(repo: Repository, revision: str, *, whole: bool = False, trust: Trust) -> None:
    """Print at a terminal, before a restore begins, how much it has to re-execute.

    Args:
        repo: the repository.
        revision: the state that is restored.
        whole: True if all states that it names are re-executed: then the one before
            the first is restored.
        trust: see ``restore``.
    """
    if not sys.stderr.isatty():
        return
    try:
        say(estimate(repo, revision, whole=whole, trust=trust))
    except SimgitError:
        return  # what is in the way is said when it is met


def estimate(repo: Repository, revision: str, *, whole: bool, trust: Trust) -> str:
    """Return how many actions are re-executed, and about how long that takes if it is known.

    Raises:
        NotFound, InvalidInput, Untrusted: see ``restore``.
    """
    from simgit.gym.restoring.restore import plan, step_seconds

    states = repo.trajectory(revision)
    if not len(states):
        raise InvalidInput(f"'{revision}' has no states")
    count, target = (len(states), states[0].parents[:1]) if whole else (0, (states[-1].oid,))
    count += sum(plan(repo, oid, trust=trust).cost for oid in target)
    text, step = f"re-executing {plural(count, 'action')}", step_seconds(repo, states[-1].oid)
    return text if step is None else f"{text}, about {duration(count * step)}"


def duration(seconds: float) -> str:
    """Return a duration as text."""
    if seconds < 1:
        return "a second or less"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
