"""The states of a run's own history at which recording can be resumed."""

from __future__ import annotations

from simgit.errors import InvalidInput
from simgit.objects.oid import Oid
from simgit.repository import Repository


def moved(repo: Repository, oid: Oid) -> Oid:
    """Return the state, or the newest before it that the environment gave."""
    state = repo.state(oid)
    while state.action is None and state.reset is None and state.parents:
        state = repo.state(state.parents[0])  # a merge of agents does not step the environment
    return state.oid


def state_of(repo: Repository, run: str, at: str | int | Oid) -> Oid:
    """Return a state of a run's own history.

    Raises:
        InvalidInput: it is not in the run's history.
    """
    oid = repo.resolve(f"{run}@{at}" if isinstance(at, int) else at)
    step = len(repo.trajectory(oid)) - 1
    if step > (repo.runs[run].step or 0) or repo.resolve(f"{run}@{step}") != oid:
        raise InvalidInput(f"state '{oid.short()}' is not in the history of run '{run}'", oid=oid)
    return oid
