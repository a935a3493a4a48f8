"""Where random numbers began anew on the way to a state: at the start of each what-if rollout.

A state does not say so, since rollouts with other numbers may well lead to the same states; the run
that was recorded does, in its metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from simgit.errors import NotFound
from simgit.objects.oid import Oid
from simgit.repository import Repository

WHAT_IF: Final = "what-if"
"""The key of a rollout's metadata: ``from`` (a state), ``seed`` (None for the recorded numbers)."""
Seeds = dict[int, int]
"""The seeds with which environments were given new random numbers, by the steps where they were."""


def reseeds(
    repo: Repository, state: Oid, run: str | None = None, names: Sequence[str] | None = None
) -> Seeds:
    """Return where random numbers began anew on the way to a state.

    Args:
        repo: the repository.
        state: the state.
        run: the run whose way is meant, if the state lies in its history. Else it is any: one
            without new numbers, if there is one.
        names: the runs that have the state, if they are known already.
    """
    names = repo.contains(state) if names is None else names
    if run is not None and run in names:
        names = names if _of_run(repo, run, state) is None else [run]
    found: Seeds | None = None
    for name in names:
        seeds = _of_run(repo, name, state)
        if seeds is not None and (found is None or len(seeds) < len(found)):
            found = seeds
        if found == {}:
            break
    return found or {}


def _of_run(repo: Repository, name: str, state: Oid) -> Seeds | None:
    """Return those of a run up to a state in its history, None if another run recorded that."""
    run = repo.runs[name]
    if run.branch_point is None:
        return {}
    start, step = _step(repo, run.branch_point), _step(repo, state)
    if start is None or step is None:
        return {}
    if step <= start:
        known = run.parent is not None and run.parent in repo.runs
        return _of_run(repo, str(run.parent), state) if known else None
    seed = run.metadata.get(WHAT_IF, {}).get("seed")
    before = reseeds(repo, run.branch_point, run.parent)
    return before if seed is None else {**before, start: seed}


def _step(repo: Repository, state: Oid) -> int | None:
    try:
        return repo.state(state).step
    except NotFound:
        return None  # the run was set back to before it, and gc has removed it
